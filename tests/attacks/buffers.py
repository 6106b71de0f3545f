"""Content and connections that would be kept."""

from __future__ import annotations

from collections.abc import Iterator

from attacks.wire import frame, literal, request, streams, upload
from support.attack import Attack, Field, Run, inside, reset, status
from support.peer import Code, Peer, Setting, StreamReset, Type

MiB = 1_048_576
CONTENT_LENGTH = literal(28, b"2000")


def large_content(more: bytes) -> Run:
    def run(field: Field) -> Iterator[None]:
        peer = field.connect()
        field.send(peer, upload(1, b"/read", more) + frame(Type.DATA, 0, 1, bytes(2_000)))
        yield

    return run


def finished_upload(peer: Peer) -> None:
    peer.data(1, b"", end_stream=True)
    assert peer.response(1).received == 2_000


def unread_uploads(field: Field) -> Iterator[None]:
    """More uploads than there are threads for one connection, none of which is read."""
    peer = field.connect()
    for _ in range(40):
        length = [("content-length", "60000")]
        stream_id = peer.request("POST", "/hold", fields=length, end_stream=False)
        try:
            peer.upload(stream_id, bytes(60_000), end_stream=False)
        except StreamReset:
            return
        if stream_id % 8 == 1:
            yield


def full_files(field: Field) -> Iterator[None]:
    """Uploads that do not end, each just large enough for a file."""
    peer = field.connect()
    for _ in range(8):
        stream_id = peer.request("POST", "/read", end_stream=False)
        try:
            peer.upload(stream_id, bytes(270_000), end_stream=False)
        except StreamReset:
            return
        yield


def endless_upload(field: Field) -> Iterator[None]:
    """An upload that was answered long ago, and that nobody reads."""
    peer = field.connect()
    stream_id = peer.request("POST", "/", fields=[("content-length", "9999999")], end_stream=False)
    for _ in range(8):
        try:
            peer.upload(stream_id, bytes(65_536), end_stream=False)
        except StreamReset:
            return
        yield


def abandoned_upload(field: Field) -> Iterator[None]:
    """The same, of a client that sends no more."""
    peer = field.connect()
    peer.request("POST", "/", fields=[("content-length", "10")], end_stream=False)
    yield


def clinging(field: Field) -> Iterator[None]:
    """Clients that were sent GOAWAY and keep their side open."""
    for _ in range(20):
        peer = field.connect()
        field.send(peer, frame(Type.PING, 0, 1, bytes(8)))
        peer.wait_goaway()
        yield


def held_output(field: Field) -> Iterator[None]:
    """More responses than the whole process may hold, none of which is taken."""
    for _ in range(3):
        peer = field.connect(settings={Setting.INITIAL_WINDOW_SIZE: 0})
        peer.wait_settings_ack()
        field.send(peer, b"".join(request(n, b"/whole") for n in streams(5)))
        yield
    yield from until_full(field)


def until_full(field: Field) -> Iterator[None]:
    while field.server.ask()["output"] < 3 * MiB // 4:
        yield


def dripped_output(field: Field) -> Iterator[None]:
    """The same, but they are taken: some octets at a time."""
    yield from held_output(field)
    for _ in field.lasts(field.peers[0]):
        for peer in field.peers:
            peer.auto_window = False
            for n in streams(5):
                peer.window_update(n, 3)
        yield


def trickling_uploads(field: Field) -> Iterator[None]:
    """More uploads than there may be threads, each of which brings a line now and then."""
    length = literal(28, b"999999")
    for _ in range(3):
        peer = field.connect()
        field.send(peer, b"".join(upload(n, b"/lines", length) for n in streams(15)))
    lines = b"".join(frame(Type.DATA, 0, n, b"line\n") for n in streams(15))
    for peer in field.peers:
        for _ in field.lasts(peer):
            for each in field.peers:
                field.send(each, lines)
            yield


ATTACKS = [
    *(
        Attack(
            name=name,
            run=large_content(more),
            sees=status(413),
            limit="max_body",
            value=1_000,
            lives=finished_upload,
        )
        for name, more in (
            ("content over max_body announced", CONTENT_LENGTH),
            ("content over max_body that comes", b""),
        )
    ),
    Attack(
        name="content without a length over max_unsized",
        run=large_content(b""),
        sees=status(413),
        limit="max_unsized",
        value=1_000,
        lives=finished_upload,
    ),
    Attack(
        name="files full of content without a length",
        run=full_files,
        sees=status(503),
        limit="max_unsized_total",
        value=1_000_000,
    ),
    Attack(
        name="upload behind an early answer",
        run=endless_upload,
        sees=reset(Code.NO_ERROR),
        limit="max_discarded",
        value=65_536,
        off=10**9,
        options={"discard_timeout": 60},
        counted=False,
        said=None,
    ),
    Attack(
        name="upload behind an early answer that does not go on",
        run=abandoned_upload,
        sees=reset(Code.NO_ERROR),
        limit="discard_timeout",
        value=0.5,
        off=60,
        counted=False,
        said=None,
        watch=1.5,
    ),
    Attack(
        name="uploads that nobody reads",
        run=unread_uploads,
        sees=reset(Code.REFUSED_STREAM),
        limit="max_buffered",
        value=1_048_576,
        off=268_435_456,
    ),
    *(
        Attack(
            name=name,
            run=run,
            sees=reset(Code.ENHANCE_YOUR_CALM),
            limit="hoards:TOO_LONG",
            value=None,
            off=10**12,
            options={"max_buffered": MiB, "max_connections": 50},
            said="(--max-buffered)",
            watch=3.0,
        )
        for name, run in (
            ("all of the process's output held with a window of 0", held_output),
            ("all of the process's output held and taken by drips", dripped_output),
        )
    ),
    Attack(
        name="threads held by uploads that trickle",
        run=trickling_uploads,
        sees=reset(Code.ENHANCE_YOUR_CALM),
        limit="server.server:SLOW_CLIENT",
        value=None,
        off=10**9,
        said="(--max-threads)",
        watch=2.5,
    ),
    Attack(
        name="a client that does not hang up after GOAWAY",
        run=clinging,
        sees=inside("the connection closed", lambda i: i["connections"] == 1),
        limit="closing:LINGER",
        value=None,
        off=10**9,
        watch=1.0,
        lives=lambda peer: None,
        ends_anyway=True,
    ),
]
