"""Frames that bring neither a request nor content, in numbers; and frames that are too much."""

from __future__ import annotations

from collections.abc import Iterator

from attacks.resets import FLOODS
from attacks.wire import frame, headers, literal, number, request, streams, upload
from support.attack import Attack, Field, Run, goaway, inside, still_answers
from support.peer import ACK, END_HEADERS, PADDED, TIMEOUT, Code, Peer, Setting, TimedOut, Type

CALM = goaway(Code.ENHANCE_YOUR_CALM)
COUNT = 500
LIMIT = 300
LARGE_WINDOW = 2**30
CONTENT_LENGTH = literal(28, b"10000")
PRIORITY_UPDATE = 0x10
UNKNOWN = 0xEE
MOST_ANSWERS = 400_000
"""Octets: the scaled limit, what a slice adds, and what was written before the transport paused."""
PING = frame(Type.PING, 0, 0, bytes(8))
EMPTY_SETTINGS = frame(Type.SETTINGS, 0, 0)
NEW_WINDOW = [
    frame(Type.SETTINGS, 0, 0, b"\0\4" + number(size)) for size in (60_000, 1_000, 30_000, 0)
]
"""SETTINGS that change every open stream's window."""

GLITCHES: dict[str, bytes] = {
    "PING": PING,
    "PING ACK": frame(Type.PING, ACK, 0, bytes(8)),
    "SETTINGS ACK": frame(Type.SETTINGS, ACK, 0),
    "PRIORITY": frame(Type.PRIORITY, 0, 3, bytes(5)),
    "PRIORITY_UPDATE": frame(PRIORITY_UPDATE, 0, 0, number(1) + b"u=1"),
    "unknown frame": frame(UNKNOWN, 0, 0, b"what"),
    "GOAWAY": frame(Type.GOAWAY, 0, 0, number(0) + number(Code.NO_ERROR)),
    "WINDOW_UPDATE of the connection": frame(Type.WINDOW_UPDATE, 0, 0, number(1)),
    "WINDOW_UPDATE of a stream": frame(Type.WINDOW_UPDATE, 0, 1, number(1)),
}


def flood(octets: bytes, count: int = COUNT, *, read: bool = True) -> Run:
    def run(field: Field) -> Iterator[None]:
        peer = field.connect()
        field.send(peer, request(1, b"/hold"))
        yield from field.flood(peer, [octets] * count, read=read)

    return run


def empty_headers(field: Field) -> Iterator[None]:
    peer = field.connect()
    yield from field.flood(peer, [headers(n, b"", END_HEADERS) for n in streams(COUNT)])


def empty_data(octets: bytes) -> Run:
    def run(field: Field) -> Iterator[None]:
        peer = field.connect()
        yield from field.flood(peer, [upload(1, b"/read")] + [octets] * 80)

    return run


def on_a_reset_stream(octets: bytes) -> Run:
    """Frames of a stream that the server was made to reset, which it has to ignore."""

    def run(field: Field) -> Iterator[None]:
        peer = field.connect()
        field.send(peer, upload(1, b"/read") + frame(Type.WINDOW_UPDATE, 0, 1, number(0)))
        yield from field.flood(peer, [octets] * COUNT)

    return run


def behind_an_answer(field: Field) -> Iterator[None]:
    """Content that nobody reads, as the application has answered without it."""
    peer = field.connect()
    field.send(peer, upload(1, b"/", CONTENT_LENGTH))
    assert peer.response(1).status == 200
    yield from field.flood(peer, [frame(Type.DATA, 0, 1, b"x")] * COUNT)


def behind_an_answer_that_waits(field: Field) -> Iterator[None]:
    """The same while the answer is not whole, as the client has no window for it."""
    peer = field.connect(settings={Setting.INITIAL_WINDOW_SIZE: 0})
    field.send(peer, upload(1, b"/", CONTENT_LENGTH))
    assert peer.wait_headers(1).status == 200
    yield from field.flood(peer, [frame(Type.DATA, 0, 1, b"x")] * COUNT)


def behind_our_goaway(field: Field) -> Iterator[None]:
    """Requests that never happened, on a connection that one is kept open on."""
    peer = field.connect()
    peer.auto_ack_ping = False
    field.send(peer, request(1) + request(3, b"/hold"))
    while peer.wait_goaway().last_stream_id != 3:
        pass
    yield from field.flood(peer, [request(n, b"/read") for n in range(5, 5 + 2 * COUNT, 2)])


def changing_windows(field: Field) -> Iterator[None]:
    """Each frame changes the windows of fifty open streams."""
    peer = field.connect()
    opened = [request(n, b"/hold") for n in streams(50)]
    yield from field.flood(peer, [*opened, *(NEW_WINDOW * 20)])


def unknown_settings(field: Field) -> Iterator[None]:
    """As much as 6 octets for each, which h2 would keep for ever."""
    peer = field.connect()
    frames = []
    for first in range(0x100, 0x1100, 32):
        entries = b"".join(n.to_bytes(2, "big") + number(n) for n in range(first, first + 32))
        frames.append(frame(Type.SETTINGS, 0, 0, entries))
    yield from field.flood(peer, frames)
    peer.roundtrip()


def many_settings(field: Field) -> Iterator[None]:
    peer = field.connect()
    entry = b"\0\4" + number(65_535)
    field.send(peer, frame(Type.SETTINGS, 0, 0, entry * 33))
    yield


LONG = 100_000


def long_frame(field: Field) -> Iterator[None]:
    """Nine octets that announce more than any frame may have; none of it is sent."""
    peer = field.connect()
    field.send(peer, frame(UNKNOWN, 0, 0, bytes(LONG))[:9])
    yield


def sent_after_all(peer: Peer) -> None:
    peer.send_raw(bytes(LONG))
    still_answers(peer)


def tiny_frames(field: Field) -> Iterator[None]:
    peer = field.connect()
    yield from field.flood(peer, [PING] * 6_000, parts=2)


def unread_answers(field: Field) -> Iterator[None]:
    """Pings whose answers nobody reads, behind a response that nobody reads."""
    peer = field.connect(
        settings={Setting.INITIAL_WINDOW_SIZE: LARGE_WINDOW},
        window=LARGE_WINDOW,
        receive_buffer=4_096,
    )
    peer.wait_settings_ack()
    field.send(peer, request(1, b"/big"))
    yield
    while field.server.ask()["unsent"] < 65_536:
        yield
    for _ in range(60):  # 10 MB, more than sockets take
        try:
            peer.send_raw(PING * 10_000, timeout=1 if field.limited else TIMEOUT)
        except TimedOut:
            return
        yield
        if field.server.ask()["unsent"] > MOST_ANSWERS:
            return
    raise AssertionError("all of it was read, and nowhere are the answers")


ATTACKS = [
    *(
        Attack(
            name=f"{what} flood",
            run=flood(octets),
            sees=CALM,
            limit="max_glitches",
            value=LIMIT,
            options=FLOODS,
        )
        for what, octets in GLITCHES.items()
    ),
    *(
        Attack(
            name=f"{what} on a stream that was reset",
            run=on_a_reset_stream(octets),
            sees=CALM,
            limit="max_glitches",
            value=LIMIT,
            options=FLOODS,
        )
        for what, octets in (
            ("DATA", frame(Type.DATA, 0, 1, b"x")),
            ("HEADERS", headers(1, b"\xa0")),
        )
    ),
    *(
        Attack(
            name=name,
            run=run,
            sees=CALM,
            limit="max_glitches",
            value=LIMIT,
            options=FLOODS,
        )
        for name, run in (
            ("DATA on a stream that was answered", behind_an_answer),
            ("DATA on a stream whose answer waits", behind_an_answer_that_waits),
        )
    ),
    Attack(
        name="HEADERS behind our GOAWAY",
        run=behind_our_goaway,
        sees=CALM,
        limit="max_glitches",
        value=LIMIT,
        options={**FLOODS, "max_requests_per_connection": 2},
        ends_anyway=True,
    ),
    Attack(
        name="PING flood without reading the answers",
        run=flood(PING, read=False),
        sees=CALM,
        limit="max_glitches",
        value=LIMIT,
        options=FLOODS,
    ),
    Attack(
        name="SETTINGS flood",
        run=changing_windows,
        sees=CALM,
        limit="max_glitches",
        value=LIMIT,
        options=FLOODS,
    ),
    Attack(
        name="empty HEADERS flood",
        run=empty_headers,
        sees=CALM,
        limit="max_glitches",
        value=LIMIT,
        options={"max_resets": 0, "max_refusals": 0, "max_empty_frames": 50},
    ),
    Attack(
        name="empty DATA flood",
        run=empty_data(frame(Type.DATA, 0, 1)),
        sees=CALM,
        limit="max_empty_frames",
        value=50,
        options=FLOODS,
    ),
    Attack(
        name="DATA flood of nothing but padding",
        run=empty_data(frame(Type.DATA, PADDED, 1, b"\x09" + bytes(9))),
        sees=CALM,
        limit="max_empty_frames",
        value=50,
        options=FLOODS,
    ),
    Attack(
        name="33 settings in one frame",
        run=many_settings,
        sees=CALM,
        limit="engines.settings:MAX_ENTRIES",
        value=None,
        off=10**6,
    ),
    Attack(
        name="unknown settings that would have to be kept",
        run=unknown_settings,
        sees=inside("at most 8 settings kept", lambda i: i["settings kept"] <= 8),
        limit="engines.settings:_KNOWN",
        value=None,
        off=range(2**16),
        options={"max_resets": 0, "max_glitches": 0},
        engines=("h2",),
    ),
    Attack(
        name="a frame over 16,384 octets announced",
        run=long_frame,
        sees=goaway(Code.FRAME_SIZE_ERROR),
        limit="frame_gate:FRAME_LIMIT",
        value=None,
        off=2**24,
        lives=sent_after_all,
    ),
    Attack(
        name="many tiny frames in one read",
        run=tiny_frames,
        sees=inside("at most 100 frames at a time", lambda i: i["frames in a slice"] <= 100),
        limit="frame_gate:SLICE_FRAMES frame_gate:SLICE_SECONDS",
        value=None,
        off=10**9,
        options={"max_resets": 0, "max_glitches": 0},
    ),
    Attack(
        name="answers that are not read",
        run=unread_answers,
        sees=inside("at most 400,000 octets of answers", lambda i: i["unsent"] <= MOST_ANSWERS),
        limit="protocol:UNREAD_REPLIES",
        value=131_072,
        off=2**40,
        options={"max_glitches": 0},
        lives=lambda peer: None,
    ),
]
