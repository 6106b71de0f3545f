"""Clients that say nothing, or too little, and hold on to what they have."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from attacks.fields import STALL
from attacks.wire import frame, literal, request, upload
from support import proxying
from support.attack import HUNG_UP, Attack, Field, Run, goaway, reset, status
from support.peer import PREFACE, Code, Peer, Setting, Type

DEFAULT_WINDOW = 65_535
LARGE_WINDOW = 2**30
CONTENT_LENGTH = literal(28, b"10000")
SHORT = 0.5
"""Seconds of a timeout; long enough for what has to come before it."""
LONG = 1.2
"""Seconds to watch that nothing happens where there is no timeout."""
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""The beginning of one, the rest of which does not come."""


def nothing_more(field: Field) -> Iterator[None]:
    field.connect()
    yield


def stalled_handshake(field: Field) -> Iterator[None]:
    for octets in (b"", CLIENT_HELLO[:1], CLIENT_HELLO):
        sock = socket.create_connection(field.server.tls_address)
        peer = field.own(Peer(sock, preface=False, settings=None))
        field.send(peer, octets)
    yield


def unfinished_header(octets: bytes) -> Run:
    def run(field: Field) -> Iterator[None]:
        for address in (field.server.tls_address, field.server.address):
            sock = socket.create_connection(address)
            peer = field.own(Peer(sock, preface=False, settings=None))
            field.send(peer, octets)
        yield

    return run


def still_open(peer: Peer) -> None:
    assert peer.ended is None


def preface(octets: bytes) -> Run:
    def run(field: Field) -> Iterator[None]:
        peer = field.connect(ready=False, preface=False, settings=None)
        peer.auto_ack_settings = False
        field.send(peer, octets)
        yield

    return run


def rest_of_preface(begun: int) -> Run:
    def lives(peer: Peer) -> None:
        peer.auto_ack_settings = True
        peer.send_raw(PREFACE[begun:])
        peer.settings()
        peer.roundtrip()

    return lives  # type: ignore[return-value]


def unacknowledged_settings(field: Field) -> Iterator[None]:
    peer = field.connect(ready=False)
    peer.auto_ack_settings = False
    yield


def unanswered_ping(field: Field) -> Iterator[None]:
    """A client that vanished without a word, in the middle of an upload."""
    peer = field.connect()
    peer.auto_ack_ping = False
    field.send(peer, upload(1, b"/read"))
    yield


def closed_window(field: Field) -> Iterator[None]:
    peer = field.connect(settings={Setting.INITIAL_WINDOW_SIZE: 0})
    field.send(peer, request(1, b"/big"))
    yield


def window_drip(field: Field) -> Iterator[None]:
    peer = field.connect(settings={Setting.INITIAL_WINDOW_SIZE: 0})
    peer.auto_window = False
    field.send(peer, request(1, b"/big"))
    for _ in field.lasts(peer):
        peer.window_update(1, 1)
        yield


def received(peer: Peer, stream_id: int) -> int:
    """Return the octets of content that came on a stream."""
    response = peer.responses.get(stream_id)
    return 0 if response is None else response.received


def window_drip_of_the_connection(field: Field) -> Iterator[None]:
    """Octet by octet for all streams together; what answers PING is no content."""
    peer = field.connect(settings={Setting.INITIAL_WINDOW_SIZE: LARGE_WINDOW})
    peer.auto_window = False
    field.send(peer, request(1, b"/big"))
    peer.wait_until(lambda: received(peer, 1) >= DEFAULT_WINDOW, "the window to be used up")
    for _ in field.lasts(peer):
        peer.window_update(0, 1)
        field.send(peer, frame(Type.PING, 0, 0, bytes(8)) * 3)
        yield


def unread_socket(field: Field) -> Iterator[None]:
    peer = field.connect(
        settings={Setting.INITIAL_WINDOW_SIZE: LARGE_WINDOW},
        window=LARGE_WINDOW,
        receive_buffer=4_096,
    )
    field.send(peer, request(1, b"/big"))
    yield from field.until_hit("write_timeout")


def idle_upload(more: bytes) -> Run:
    def run(field: Field) -> Iterator[None]:
        peer = field.connect()
        field.send(peer, upload(1, b"/read", more))
        yield

    return run


def dripped_upload(
    more: bytes = CONTENT_LENGTH, path: bytes = b"/read", every: float = 0.03
) -> Run:
    def run(field: Field) -> Iterator[None]:
        peer = field.connect()
        field.send(peer, upload(1, path, more))
        for _ in field.lasts(peer, every):
            field.send(peer, frame(Type.DATA, 0, 1, b"x"))
            yield

    return run


ATTACKS = [
    Attack(
        name="stalled TLS handshake",
        run=stalled_handshake,
        sees=HUNG_UP,
        limit="handshake_timeout",
        value=SHORT,
        options={"settings_timeout": 0, "preface_timeout": SHORT},
        said="the TLS handshake took too long",
        watch=LONG,
        lives=still_open,
    ),
    *(
        Attack(
            name=f"a PROXY {what} that does not come whole",
            run=unfinished_header(octets),
            sees=HUNG_UP,
            limit="handshake_timeout",
            value=SHORT,
            options={
                "proxy_protocol": "optional",
                "forwarded_allow_ips": "127.0.0.1",
                "settings_timeout": 0,
                "preface_timeout": SHORT,
            },
            said="the PROXY header took too long",
            watch=LONG,
            lives=still_open,
        )
        for what, octets in (
            ("line", b"PROXY TCP4 203.0.113.9"),
            ("header", proxying.version_2(bytes(1_000), length=16_000)),
        )
    ),
    *(
        Attack(
            name=name,
            run=preface(PREFACE[:begun]),
            sees=goaway(Code.SETTINGS_TIMEOUT),
            limit="preface_timeout",
            value=SHORT,
            options={"settings_timeout": 0},
            watch=LONG,
            lives=rest_of_preface(begun),
        )
        for name, begun in (("no preface", 0), ("half a preface", 10), ("no SETTINGS", 24))
    ),
    Attack(
        name="SETTINGS that are never acknowledged",
        run=unacknowledged_settings,
        sees=goaway(Code.SETTINGS_TIMEOUT),
        limit="settings_timeout",
        value=SHORT,
        watch=LONG,
    ),
    Attack(
        name="idle connection",
        run=nothing_more,
        sees=goaway(Code.NO_ERROR),
        limit="idle_timeout",
        value=SHORT,
        said=None,
        watch=LONG,
    ),
    Attack(
        name="unanswered PING",
        run=unanswered_ping,
        sees=goaway(Code.PROTOCOL_ERROR),
        limit="ping_timeout",
        value=SHORT,
        options={"ping_interval": SHORT},
        watch=LONG,
    ),
    Attack(
        name="vanished client that nobody asks",
        run=unanswered_ping,
        sees=goaway(Code.PROTOCOL_ERROR),
        limit="ping_interval",
        value=SHORT,
        options={"ping_timeout": SHORT},
        counted=False,
        said="(--ping-timeout)",
        watch=LONG,
    ),
    Attack(
        name="window of 0",
        run=closed_window,
        sees=reset(Code.CANCEL),
        limit="write_timeout",
        value=0.5,
        options=STALL,
        watch=LONG,
    ),
    Attack(
        name="window opened by one octet at a time",
        run=window_drip,
        sees=reset(Code.CANCEL),
        limit="min_rate",
        value=240,
        options=STALL,
        watch=LONG,
    ),
    Attack(
        name="the connection's window opened by one octet at a time, beside PING",
        run=window_drip_of_the_connection,
        sees=reset(Code.CANCEL),
        limit="min_rate",
        value=240,
        options=STALL,
        watch=LONG,
    ),
    Attack(
        name="socket that is not read",
        run=unread_socket,
        sees=reset(Code.CANCEL),
        limit="write_timeout",
        value=0.5,
        options=STALL,
        watch=LONG,
        lives=still_open,
    ),
    Attack(
        name="upload that does not go on",
        run=idle_upload(CONTENT_LENGTH),
        sees=status(408),
        limit="read_timeout",
        value=0.5,
        options=STALL,
        watch=LONG,
    ),
    Attack(
        name="upload without a length that does not go on",
        run=idle_upload(b""),
        sees=status(408),
        limit="read_timeout",
        value=0.5,
        options=STALL,
        watch=LONG,
    ),
    *(
        Attack(
            name=name,
            run=run,
            sees=status(408),
            limit="min_rate",
            value=240,
            options=STALL,
            watch=LONG,
        )
        for name, run in (
            ("upload by one octet at a time", dripped_upload()),
            ("upload without a length by one octet at a time", dripped_upload(b"")),
            (
                "upload by one octet at a time, to an application that is busy in between",
                dripped_upload(path=b"/sip", every=0.1),
            ),
        )
    ),
]
