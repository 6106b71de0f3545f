"""Octets to frames: whatever the pieces they come in, and no larger than is allowed."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import pytest
from h2.errors import ErrorCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from h2wsgi import codes
from h2wsgi.codes import (
    DATA,
    FLAG_END_HEADERS,
    FLAG_END_STREAM,
    FRAME_LIMIT,
    HEADERS,
    SETTINGS,
)
from h2wsgi.config.config import Config
from h2wsgi.errors import ConnectionFailed
from h2wsgi.http2.frame_gate import PREFACE, FrameGate, NotHTTP2, ReceivedFrame
from h2wsgi.http2.frame_meter import FrameMeter

patient = settings(deadline=None)
"""A busy machine may be slow with any one example."""


def encoded(type: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return (
        struct.pack("!L", len(payload))[1:] + struct.pack("!BBL", type, flags, stream_id) + payload
    )


OPENING = PREFACE + encoded(codes.SETTINGS, 0, 0)
stream_ids = st.integers(0, 2**31 - 1)
payloads = st.binary(max_size=60)
plain_types = st.sampled_from([0, 0, 2, 5, 10, 0xEE])


@st.composite
def field_blocks(draw: st.DrawFn) -> tuple[bytes, ReceivedFrame]:
    """Return HEADERS with CONTINUATION frames, and the frame they make."""
    stream_id, parts = draw(stream_ids), draw(st.lists(payloads, min_size=1, max_size=9))
    ended, padding = draw(st.booleans()), draw(st.none() | st.integers(0, 255))
    flags, first = int(ended), parts[0]
    kept = int(ended)
    if draw(st.booleans()):
        dependency = draw(st.just(0) | st.just(stream_id) | stream_ids)
        priority = struct.pack("!LB", dependency | draw(st.booleans()) << 31, 15)
        flags, first = flags | codes.FLAG_PRIORITY, priority + first
        if stream_id == dependency != 0:
            kept |= codes.FLAG_PRIORITY
    if padding is not None:
        flags |= codes.FLAG_PADDED
        first = bytes([padding]) + first + bytes(padding)
    last = codes.FLAG_END_HEADERS
    octets = encoded(1, flags | (last if len(parts) == 1 else 0), stream_id, first)
    for number, part in enumerate(parts[1:], 2):
        octets += encoded(9, last if number == len(parts) else 0, stream_id, part)
    return octets, (1, kept | last, stream_id, b"".join(parts))


@st.composite
def plain_frames(draw: st.DrawFn) -> tuple[bytes, ReceivedFrame]:
    frame = (draw(plain_types), draw(st.integers(0, 255)), draw(stream_ids), draw(payloads))
    return encoded(*frame), frame


frames_and_octets = st.lists(field_blocks() | plain_frames(), max_size=6)


class FrameList:
    """An engine that only notes the frames it is given."""

    def __init__(self, frames: list[ReceivedFrame]) -> None:
        self._frames = frames

    def receive_frame(self, *frame: Any) -> None:
        self._frames.append(frame)

    def receive_headers(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        flags = codes.FLAG_END_HEADERS | (end_stream and codes.FLAG_END_STREAM)
        self._frames.append((codes.HEADERS, flags, stream_id, block))

    def receive_data(self, stream_id: int, data: bytes, flow_octets: int, end_stream: bool) -> None:
        assert flow_octets == len(data), "padding was stripped by the gate"
        flags = end_stream and codes.FLAG_END_STREAM
        self._frames.append((codes.DATA, flags, stream_id, data))


def received(
    chunks: list[bytes], *, one_by_one: bool = False
) -> tuple[list[ReceivedFrame], object]:
    """Return the frames a fresh gate makes of chunks, and the error it ends with."""
    gate, frames = FrameGate(100_000, 8, FrameMeter(Config())), []
    try:
        for chunk in chunks:
            gate.feed(chunk)
            if one_by_one:
                while (frame := gate.next_frame()) is not None:
                    frames.append(frame)
            else:
                while gate.deliver(FrameList(frames)):
                    pass
    except ConnectionFailed as error:
        return frames, (int(error.code), str(error))
    except NotHTTP2:
        return frames, NotHTTP2
    return frames, gate.buffered


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
    return [octets[start:end] for start, end in itertools.pairwise(edges)]


cuts = st.lists(st.integers(0, 10_000), max_size=20)


@patient
@given(frames_and_octets, cuts)
def test_any_cutting_of_the_octets_gives_the_frames_that_were_sent(
    sent: list[tuple[bytes, ReceivedFrame]], places: list[int]
) -> None:
    octets = OPENING + b"".join(octets for octets, _ in sent)
    for one_by_one in (False, True):
        frames, left = received(cut(octets, places), one_by_one=one_by_one)
        assert frames[1:] == [frame for _, frame in sent]
        assert left == 0


@patient
@given(frames_and_octets, st.binary(max_size=40), cuts, st.integers(0, 500), st.integers(1, 255))
def test_any_cutting_of_damaged_octets_ends_the_same_way(
    sent: list[tuple[bytes, ReceivedFrame]], junk: bytes, places: list[int], at: int, flip: int
) -> None:
    octets = bytearray(OPENING + b"".join(octets for octets, _ in sent) + junk)
    octets[at % len(octets)] ^= flip
    expected = received([bytes(octets)], one_by_one=True)
    assert received([bytes(octets)]) == expected
    assert received(cut(bytes(octets), places)) == expected
    assert received([bytes([octet]) for octet in octets]) == expected


def test_a_frame_too_long_is_refused_before_its_payload() -> None:
    gate = FrameGate(100_000, 8, FrameMeter(Config()))
    gate.feed(OPENING + encoded(0, 0, 1, bytes(16_384)))
    assert [gate.next_frame() is not None for _ in range(3)] == [True, True, False]
    gate.feed(b"\x00\x40\x01\x00\x00\x00\x00\x00\x01")
    with pytest.raises(ConnectionFailed, match="16385"):
        gate.next_frame()


@pytest.mark.parametrize(
    "first",
    [encoded(4, 1, 0), encoded(6, 0, 0, bytes(8)), encoded(1, 5, 1, b"\x82"), encoded(0xEE, 0, 0)],
    ids=["ack", "ping", "headers", "unknown"],
)
def test_settings_come_first(first: bytes) -> None:
    assert received([PREFACE + first])[1][0] == 1  # type: ignore[index]


@pytest.mark.parametrize("sizes", [[101], [60, 41], [0, 0, 101]])
def test_a_field_block_is_refused_once_it_is_too_large(sizes: list[int]) -> None:
    gate = FrameGate(100, 8, FrameMeter(Config()))
    gate.feed(OPENING + encoded(1, 0, 1, bytes(sizes[0])))
    for size in sizes[1:]:
        gate.feed(encoded(9, 0, 1, bytes(size)))
    with pytest.raises(ConnectionFailed):
        [gate.next_frame() for _ in range(2)]


@given(st.lists(st.integers(1, 40_000), max_size=20))
def test_large_frames_come_whole_in_whatever_pieces(cuts: list[int]) -> None:
    gate = FrameGate(100_000, 8, FrameMeter(Config()))
    gate.max_frame_size = 2**24 - 1
    payloads = [bytes([n]) * size for n, size in enumerate((70_000, 10, 16_384, 100_000, 33_000))]
    header = struct.Struct("!HBBBL").pack
    octets = PREFACE + header(0, 0, 4, 0, 0)
    for payload in payloads:
        octets += header(len(payload) >> 8, len(payload) & 0xFF, 0, 0, 1) + payload
    frames, sent = [], 0
    for size in [*cuts, len(octets)]:
        gate.feed(octets[sent : sent + size])
        sent += size
        while (frame := gate.next_frame()) is not None:
            frames.append(frame)
    assert [frame[3] for frame in frames] == [b"", *payloads]
    assert gate.buffered == 0


def test_the_end_of_a_large_frame_may_come_octet_by_octet() -> None:
    gate = FrameGate(100_000, 8, FrameMeter(Config()))
    gate.max_frame_size = 2**24 - 1
    gate.feed(PREFACE + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    assert gate.next_frame() == (4, 0, 0, b"")
    gate.feed(bytes([0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 1]) + bytes(2**23))
    assert gate.next_frame() is None
    kept = gate._data
    for _ in range(1_000):
        gate.feed(b"x")
        assert gate.next_frame() is None
        assert gate._data is kept  # to copy 8 MiB each time would take seconds
    assert gate.buffered == 9 + 2**23 + 1_000


def test_a_field_block_over_the_limit_is_refused_before_it_has_come() -> None:
    gate = FrameGate(100_000, 8, FrameMeter(Config()))
    gate.max_frame_size = 2**24 - 1
    gate.feed(PREFACE + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]) + bytes([2, 0, 0, 1, 4, 0, 0, 0, 1]))
    assert gate.next_frame() == (4, 0, 0, b"")
    with pytest.raises(ConnectionFailed) as failed:
        gate.next_frame()
    assert failed.value.code == ErrorCodes.ENHANCE_YOUR_CALM


def test_what_was_peeked_stays() -> None:
    gate = FrameGate(100, 8, FrameMeter(Config()))
    gate.feed(b"PRI")
    assert gate.peek() == b"PRI"
    assert gate.next_frame() is None
    assert (gate.peek(), gate.buffered, gate.preface_received) == (b"PRI", 3, False)


# -------------------------- the gate where a whole frame is there at once, which is how most come


class Lengths:
    """Stands for an engine: keeps the length of each frame's payload."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def receive_frame(self, type_: int, flags: int, stream_id: int, payload: bytes) -> None:
        if type_ != SETTINGS:
            self.taken.append(len(payload))

    def receive_headers(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        self.taken.append(len(block))

    def receive_data(self, stream_id: int, data: bytes, flow_octets: int, end_stream: bool) -> None:
        self.taken.append(len(data))


def frame(type_: int, flags: int, length: int, stream_id: int = 1) -> bytes:
    return struct.pack("!LBL", length << 8 | type_, flags, stream_id) + bytes(length)


def deliver(max_block: int, whole: bytes) -> list[int]:
    gate, engine = FrameGate(max_block, 8, FrameMeter(Config())), Lengths()
    gate.feed(PREFACE + frame(SETTINGS, 0, 0, 0) + whole)
    while gate.deliver(engine):
        continue
    return engine.taken


SHAPES = [
    (DATA, 0),
    (DATA, FLAG_END_STREAM),
    (HEADERS, FLAG_END_HEADERS),
    (HEADERS, FLAG_END_HEADERS | FLAG_END_STREAM),
]


@pytest.mark.parametrize(("type_", "flags"), SHAPES)
def test_a_frame_that_is_there_whole_may_not_be_too_long(type_: int, flags: int) -> None:
    most = FRAME_LIMIT
    assert deliver(4 * most, frame(type_, flags, most)) == [most]
    with pytest.raises(ConnectionFailed) as failed:
        deliver(4 * most, frame(type_, flags, most + 1))
    assert failed.value.code == ErrorCodes.FRAME_SIZE_ERROR


@pytest.mark.parametrize(("type_", "flags"), SHAPES[2:])
def test_a_field_block_that_is_there_whole_may_not_be_too_large(type_: int, flags: int) -> None:
    assert deliver(1_000, frame(type_, flags, 1_000)) == [1_000]
    with pytest.raises(ConnectionFailed) as failed:
        deliver(1_000, frame(type_, flags, 1_001))
    assert failed.value.code == ErrorCodes.ENHANCE_YOUR_CALM


def test_content_may_be_larger_than_a_field_block() -> None:
    assert deliver(1_000, frame(DATA, 0, 1_001)) == [1_001]
