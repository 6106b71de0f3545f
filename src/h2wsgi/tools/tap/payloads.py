"""Octets -> frames -> the contents of frames (RFC 9113 sections 4 and 6). Pure.

Unlike the server's frame gate this module refuses nothing: it says what is wrong with a frame and
reads the next one. A payload that is too long for any frame is skipped, so that clients cannot make
the tap keep it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ...codes import (
    CONTINUATION,
    DATA,
    FLAG_ACK,
    FLAG_PADDED,
    FLAG_PRIORITY,
    FRAME_LIMIT,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from ...http2.frame_gate import HEADER_SIZE, PREFACE
from .frames import Priority, SettingsEntry

_ON_CONNECTION = frozenset({SETTINGS, PING, GOAWAY})
_ON_STREAM = frozenset({DATA, HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE, CONTINUATION})
_PADDABLE = frozenset({DATA, HEADERS, PUSH_PROMISE})
_STREAM_ID = 0x7FFF_FFFF


class RawFrame(NamedTuple):
    """A frame cut out of the octets; ``payload`` is None if it was too long to be kept."""

    type: int
    flags: int
    stream_id: int
    length: int
    payload: bytes | None


class NotFrames(NamedTuple):
    """The octets that began something else than HTTP/2."""

    octets: bytes


class FrameCutter:
    """Cuts one direction of a connection into frames. The client's begins with the preface."""

    def __init__(self, *, preface: bool) -> None:
        self._data = b""
        self._preface_missing = preface
        self._begun = False
        self._skip = 0
        self.max_frame_size = FRAME_LIMIT
        """What the receiving side's SETTINGS_MAX_FRAME_SIZE allows."""
        self.dead = False
        """True once the octets cannot be read as frames any more."""

    def feed(self, octets: bytes) -> Iterator[RawFrame | NotFrames]:
        """Take ``octets``; return the frames that they complete."""
        if self.dead:
            return
        data = self._data + octets if self._data else octets
        position = 0
        if self._preface_missing:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                yield self._give_up(data)
                return
            if len(data) < len(PREFACE):
                self._data = data
                return
            self._preface_missing = False
            position = len(PREFACE)
        elif not self._begun and data.startswith(b"HTTP/"):
            yield self._give_up(data)  # the server's answer to a client of HTTP/1.1
            return
        self._data = b""
        while True:
            if self._skip:
                skipped = min(self._skip, len(data) - position)
                self._skip -= skipped
                position += skipped
            if len(data) - position < HEADER_SIZE:
                break
            frame, position = self._cut(data, position)
            if frame is None:
                break
            self._begun = True
            yield frame
        self._data = data[position:]

    def _give_up(self, data: bytes) -> NotFrames:
        self.dead = True
        self._data = b""
        return NotFrames(data)

    def _cut(self, data: bytes, position: int) -> tuple[RawFrame | None, int]:
        start = position + HEADER_SIZE
        high, low, type_, flags, stream_id = struct.unpack_from("!HBBBL", data, position)
        length = high << 8 | low
        stream_id &= _STREAM_ID
        if length > self.max_frame_size:
            self._skip = length
            return RawFrame(type_, flags, stream_id, length, None), start
        end = start + length
        if len(data) < end:
            return None, position
        return RawFrame(type_, flags, stream_id, length, data[start:end]), end


class Payload(NamedTuple):
    """What a payload holds: attributes of Frame by name, and the octets that are none of them."""

    details: dict[str, Any]
    content: bytes
    """Of DATA the content; of HEADERS, PUSH_PROMISE and CONTINUATION the piece of a block."""
    problems: list[str]


def read_payload(frame: RawFrame, max_frame_size: int) -> Payload:
    """Return what is in ``frame``; its payload is missing if it is over ``max_frame_size``."""
    details: dict[str, Any] = {}
    problems = _misplaced(frame)
    payload = frame.payload
    if payload is None:
        problems.append(f"{frame.length} octets, over the largest frame size of {max_frame_size}")
        return Payload(details, b"", problems)
    if frame.type in _PADDABLE and frame.flags & FLAG_PADDED:
        payload = _strip_padding(payload, details, problems)
    if frame.type == HEADERS and frame.flags & FLAG_PRIORITY:
        payload = _strip_priority(payload, details, problems)
    reader = _READERS.get(frame.type)
    if reader is not None:
        payload = reader(frame, payload, details, problems)
    return Payload(details, payload, problems)


def _misplaced(frame: RawFrame) -> list[str]:
    if frame.type in _ON_CONNECTION and frame.stream_id:
        return ["belongs on stream 0"]
    if frame.type in _ON_STREAM and not frame.stream_id:
        return ["belongs on a stream, not on stream 0"]
    return []


def _strip_padding(payload: bytes, details: dict[str, Any], problems: list[str]) -> bytes:
    if not payload:
        problems.append("padded, without the octet that says by how much")
        return payload
    padding = details["padding"] = payload[0]
    if padding >= len(payload):
        problems.append("the padding is as long as the frame, or longer")
        return b""
    return payload[1 : len(payload) - padding]


def _strip_priority(payload: bytes, details: dict[str, Any], problems: list[str]) -> bytes:
    if len(payload) < 5:
        problems.append("too short for its priority")
        return b""
    depends_on, weight = struct.unpack_from("!LB", payload)
    details["priority"] = Priority(depends_on & _STREAM_ID, weight + 1, depends_on > _STREAM_ID)
    return payload[5:]


_Reader = Callable[[RawFrame, bytes, dict[str, Any], list[str]], bytes]


def _data(_: RawFrame, payload: bytes, details: dict[str, Any], problems: list[str]) -> bytes:
    details["data_length"] = len(payload)
    return payload


def _priority(_: RawFrame, payload: bytes, details: dict[str, Any], problems: list[str]) -> bytes:
    if _has_size(payload, 5, problems):
        _strip_priority(payload, details, problems)
    return b""


def _reset(_: RawFrame, payload: bytes, details: dict[str, Any], problems: list[str]) -> bytes:
    if _has_size(payload, 4, problems):
        details["error_code"] = int.from_bytes(payload)
    return b""


def _settings(
    frame: RawFrame, payload: bytes, details: dict[str, Any], problems: list[str]
) -> bytes:
    whole = len(payload) - len(payload) % 6
    details["settings"] = tuple(
        SettingsEntry(*entry) for entry in struct.iter_unpack("!HL", payload[:whole])
    )
    if whole != len(payload):
        problems.append("the payload is not a multiple of 6 octets")
    if payload and frame.flags & FLAG_ACK:
        problems.append("an acknowledgement with a payload")
    return b""


def _push_promise(
    _: RawFrame, payload: bytes, details: dict[str, Any], problems: list[str]
) -> bytes:
    if len(payload) < 4:
        problems.append("too short for its promised stream")
        return b""
    details["promised_stream_id"] = int.from_bytes(payload[:4]) & _STREAM_ID
    return payload[4:]


def _ping(_: RawFrame, payload: bytes, details: dict[str, Any], problems: list[str]) -> bytes:
    _has_size(payload, 8, problems)
    details["opaque"] = payload
    return b""


def _goaway(_: RawFrame, payload: bytes, details: dict[str, Any], problems: list[str]) -> bytes:
    if len(payload) < 8:
        problems.append("shorter than 8 octets")
        return b""
    last, details["error_code"] = struct.unpack_from("!LL", payload)
    details["last_stream_id"] = last & _STREAM_ID
    details["debug"] = payload[8:]
    return b""


def _window_update(
    _: RawFrame, payload: bytes, details: dict[str, Any], problems: list[str]
) -> bytes:
    if _has_size(payload, 4, problems):
        details["increment"] = int.from_bytes(payload) & _STREAM_ID
        if not details["increment"]:
            problems.append("an increment of 0")
    return b""


def _has_size(payload: bytes, octets: int, problems: list[str]) -> bool:
    if len(payload) != octets:
        problems.append(f"{len(payload)} octets of payload, not {octets}")
    return len(payload) == octets


_READERS: dict[int, _Reader] = {
    DATA: _data,
    PRIORITY: _priority,
    RST_STREAM: _reset,
    SETTINGS: _settings,
    PUSH_PROMISE: _push_promise,
    PING: _ping,
    GOAWAY: _goaway,
    WINDOW_UPDATE: _window_update,
}
