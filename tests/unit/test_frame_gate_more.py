"""The gate where a whole frame is there at once, which is how most come."""

from __future__ import annotations

import struct

import pytest
from h2.errors import ErrorCodes

from h2wsgi.config.config import Config
from h2wsgi.errors import ConnectionFailed
from h2wsgi.http2.frame_gate import PREFACE, FrameGate
from h2wsgi.http2.frame_meter import FrameMeter
from h2wsgi.http2.frame_types import (
    DATA,
    FLAG_END_HEADERS,
    FLAG_END_STREAM,
    HEADERS,
    MAX_FRAME_SIZE,
    SETTINGS,
)


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
    most = MAX_FRAME_SIZE
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
