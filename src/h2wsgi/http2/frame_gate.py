"""Octets -> frames (RFC 9113 section 4). Nothing behind it sees an unchecked frame.

A frame's length is checked on its 9-octet header, before its payload is buffered. HEADERS and
CONTINUATION are assembled into one field block, padding and priority stripped, so what the engine
gets is whole. Pure: bytes in, frames out.
"""

from __future__ import annotations

from typing import NamedTuple

from h2.errors import ErrorCodes

from ..errors import ConnectionFailed

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_SIZE = 9
MAX_FRAME_SIZE = 16_384
"""What this server accepts, the protocol's default (section 4.2)."""
MAX_CONTINUATIONS = 8

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9

FLAG_ACK = FLAG_END_STREAM = 0x1
FLAG_END_HEADERS = 0x4
FLAG_PADDED = 0x8
FLAG_PRIORITY = 0x20

# PRIORITY is missing: its wrong size is an error of the stream, not of the connection.
_EXACT_SIZES = {RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}


class NotHTTP2(Exception):
    """The first octets are not the preface of section 3.4; ``octets`` is what came."""

    def __init__(self, octets: bytes) -> None:
        super().__init__(f"the connection begins with {octets[:16]!r}")
        self.octets = octets


class ReceivedFrame(NamedTuple):
    """A frame as it came in, a field block whole: HEADERS without padding and priority."""

    type: int
    flags: int
    stream_id: int
    payload: bytes


class _FieldBlock:
    """HEADERS whose CONTINUATION frames are still coming."""

    __slots__ = ("flags", "frames", "parts", "size", "stream_id")

    def __init__(self, flags: int, stream_id: int, part: bytes) -> None:
        self.flags = flags
        self.stream_id = stream_id
        self.parts = [part]
        self.size = len(part)
        self.frames = 0


class FrameGate:
    """Cuts a connection's input into frames.

    ``max_block`` is the largest encoded field block, in octets.
    """

    def __init__(self, max_block: int) -> None:
        self._max_block = max_block
        self._buffer = bytearray()
        self._block: _FieldBlock | None = None
        self._settings_received = False
        self.preface_received = False

    def feed(self, data: bytes) -> None:
        """Take octets off the transport. Bounded by what the transport reads at a time."""
        self._buffer += data

    @property
    def buffered(self) -> int:
        """Octets fed and not yet returned as frames."""
        return len(self._buffer)

    def peek(self) -> bytes:
        """Return what is buffered, and keep it."""
        return bytes(self._buffer)

    def next_frame(self) -> ReceivedFrame | None:
        """Return the next frame, or None until more octets come.

        Raises:
            NotHTTP2: the preface is something else.
            ConnectionFailed: FRAME_SIZE_ERROR, PROTOCOL_ERROR or ENHANCE_YOUR_CALM.
        """
        if not self.preface_received and not self._take_preface():
            return None
        while (frame := self._cut()) is not None:
            if not self._settings_received:
                self._check_first(frame)
            if self._block is not None or frame.type == CONTINUATION:
                frame = self._continue_block(frame)
            elif frame.type == HEADERS:
                frame = self._begin_block(frame)
            if frame is not None:
                return frame
        return None

    def _take_preface(self) -> bool:
        start = self._buffer[: len(PREFACE)]
        if not PREFACE.startswith(start):
            raise NotHTTP2(bytes(self._buffer))
        if len(start) < len(PREFACE):
            return False
        del self._buffer[: len(PREFACE)]
        self.preface_received = True
        return True

    def _check_first(self, frame: ReceivedFrame) -> None:
        """The preface is only whole with SETTINGS, which nothing may precede (section 3.4)."""
        if frame.type != SETTINGS or frame.flags & FLAG_ACK:
            raise ConnectionFailed(
                ErrorCodes.PROTOCOL_ERROR, "the first frame of the connection is not SETTINGS"
            )
        self._settings_received = True

    def _cut(self) -> ReceivedFrame | None:
        buffer = self._buffer
        if len(buffer) < HEADER_SIZE:
            return None
        length = int.from_bytes(buffer[:3], "big")
        type_, flags = buffer[3], buffer[4]
        stream_id = int.from_bytes(buffer[5:9], "big") & 0x7FFF_FFFF
        _check_length(type_, length)
        if len(buffer) < HEADER_SIZE + length:
            return None
        payload = bytes(memoryview(buffer)[HEADER_SIZE : HEADER_SIZE + length])
        del buffer[: HEADER_SIZE + length]
        return ReceivedFrame(type_, flags, stream_id, payload)

    def _begin_block(self, frame: ReceivedFrame) -> ReceivedFrame | None:
        part = _strip(frame)
        self._check_block_size(len(part))
        flags = frame.flags & FLAG_END_STREAM
        if frame.flags & FLAG_END_HEADERS:
            return ReceivedFrame(HEADERS, flags | FLAG_END_HEADERS, frame.stream_id, part)
        self._block = _FieldBlock(flags, frame.stream_id, part)
        return None

    def _continue_block(self, frame: ReceivedFrame) -> ReceivedFrame | None:
        block = self._block
        if block is None:
            raise ConnectionFailed(ErrorCodes.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        if frame.type != CONTINUATION or frame.stream_id != block.stream_id:
            raise ConnectionFailed(
                ErrorCodes.PROTOCOL_ERROR, "a frame interrupts a field block (section 4.3)"
            )
        block.parts.append(frame.payload)
        block.size += len(frame.payload)
        block.frames += 1
        self._check_block_size(block.size)
        if block.frames > MAX_CONTINUATIONS:
            raise ConnectionFailed(ErrorCodes.ENHANCE_YOUR_CALM, "too many CONTINUATION frames")
        if not frame.flags & FLAG_END_HEADERS:
            return None
        self._block = None
        return ReceivedFrame(
            HEADERS, block.flags | FLAG_END_HEADERS, block.stream_id, b"".join(block.parts)
        )

    def _check_block_size(self, size: int) -> None:
        if size > self._max_block:
            raise ConnectionFailed(
                ErrorCodes.ENHANCE_YOUR_CALM, f"a field block is over {self._max_block} octets"
            )


def _check_length(type_: int, length: int) -> None:
    if length > MAX_FRAME_SIZE:
        raise ConnectionFailed(
            ErrorCodes.FRAME_SIZE_ERROR, f"a frame of {length} octets, over {MAX_FRAME_SIZE}"
        )
    exact = _EXACT_SIZES.get(type_)
    wrong = exact is not None and length != exact
    if wrong or (type_ == SETTINGS and length % 6) or (type_ == GOAWAY and length < 8):
        raise ConnectionFailed(
            ErrorCodes.FRAME_SIZE_ERROR, f"a frame of type {type_} with {length} octets"
        )


def strip_padding(flags: int, payload: bytes) -> bytes:
    """Return a frame's content without its padding (section 6.1).

    Raises:
        ConnectionFailed: PROTOCOL_ERROR, the padding is longer than the frame.
    """
    if not flags & FLAG_PADDED:
        return payload
    if not payload:
        raise ConnectionFailed(ErrorCodes.FRAME_SIZE_ERROR, "a padded frame without pad length")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFailed(ErrorCodes.PROTOCOL_ERROR, "padding as long as the frame")
    return payload[1 : len(payload) - padding]


def _strip(frame: ReceivedFrame) -> bytes:
    part = strip_padding(frame.flags, frame.payload)
    if not frame.flags & FLAG_PRIORITY:
        return part
    if len(part) < 5:
        raise ConnectionFailed(ErrorCodes.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
    return part[5:]
