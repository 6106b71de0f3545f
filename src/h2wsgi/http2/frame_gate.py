"""Octets -> frames (RFC 9113 section 4). Nothing behind it sees an unchecked frame.

A frame's length is checked on its 9-octet header, before its payload is buffered. HEADERS and
CONTINUATION are assembled into one field block, padding and priority stripped, so what the engine
gets is whole. Frames that bring neither fields nor content are counted by the meter, before any
engine sees them. Pure but for the clock: bytes in, frames out.
"""

from __future__ import annotations

from struct import Struct
from typing import Protocol

from ..codes import (
    CONTINUATION,
    DATA,
    FLAG_ACK,
    FLAG_END_HEADERS,
    FLAG_END_STREAM,
    FLAG_PADDED,
    FLAG_PRIORITY,
    FRAME_LIMIT,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
)
from ..errors import ConnectionFailed
from ..process.clock import clock
from .frame_meter import FrameMeter

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_SIZE = 9
SLICE_FRAMES = 100
SLICE_OCTETS = 262_144
SLICE_SECONDS = 0.005
LOOK_OCTETS = 4_096
"""Octets between looks at the clock. Small frames are quick, and SLICE_FRAMES bounds them."""
LARGEST_PADDING = 1 + 5 + 255
"""Octets that HEADERS may have beside a fragment: pad length, priority and padding."""
# PRIORITY is missing: its wrong size is an error of the stream, not of the connection.
_EXACT_SIZES = {RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}


class FrameHandler(Protocol):
    """What an engine has for frames, see its interface."""

    def receive_frame(self, type_: int, flags: int, stream_id: int, payload: bytes) -> None: ...
    def receive_headers(self, stream_id: int, block: bytes, end_stream: bool) -> None: ...
    def receive_data(
        self, stream_id: int, data: bytes, flow_octets: int, end_stream: bool
    ) -> None: ...


class NotHTTP2(Exception):
    """The first octets are not the preface of section 3.4; ``octets`` is what came."""

    def __init__(self, octets: bytes) -> None:
        super().__init__(f"the connection begins with {octets[:16]!r}")
        self.octets = octets


ReceivedFrame = tuple[int, int, int, bytes]
"""Type, flags, stream and payload; a field block whole: HEADERS without padding and priority.

FLAG_PRIORITY is left on one that makes its stream depend on itself.
"""

# Length (24 bits, in two parts), type, flags, stream (section 4.1).
_read_header = Struct("!HBBBL").unpack_from
# The same with length and type as one number.
_read_length_and_type = Struct("!LBL").unpack_from
_LAST_FIELDS = FLAG_END_HEADERS | FLAG_END_STREAM
"""The flags of HEADERS that are a field block and nothing else, the last of the message."""
_SMALL_ID = (1 << 30) - 1
"""The largest stream number that is taken without a look at its reserved bit."""
_HEADERS_TYPE = bytes((HEADERS,))
_WHOLE = FLAG_END_HEADERS | FLAG_PADDED | FLAG_PRIORITY
"""The flags that tell whether HEADERS is a field block and nothing else: END_HEADERS alone."""


class _FieldBlock:
    """HEADERS whose CONTINUATION frames are still coming."""

    __slots__ = ("flags", "frames", "parts", "since", "size", "stream_id")

    def __init__(self, flags: int, stream_id: int, part: bytes) -> None:
        self.flags = flags
        self.stream_id = stream_id
        self.parts = [part]
        self.size = len(part)
        self.frames = 0
        self.since = clock.monotonic()


class FrameGate:
    """Cuts a connection's input into frames.

    ``max_block`` is the largest encoded field block, in octets, ``max_continuations`` how many
    CONTINUATION frames it may have, 0 for any number.
    """

    def __init__(self, max_block: int, max_continuations: int, meter: FrameMeter) -> None:
        self._max_block = max_block
        self._plain = min(max_block, FRAME_LIMIT)
        """Octets up to which no frame is too long, whatever it is."""
        self._max_continuations = max_continuations
        self._meter = meter
        self._data = b""
        self._position = 0
        """Where in the data the next frame begins."""
        self._missing = 0
        """Octets until a frame over the default size is whole; 0 if none is under way."""
        self._rest = bytearray()
        """What has come of that frame so far."""
        self._block: _FieldBlock | None = None
        self._settings_received = False
        self.preface_received = False
        self.fields_since: float | None = None
        """When a field section began that is not whole, by the monotonic clock."""
        self.max_frame_size = FRAME_LIMIT
        """Octets of the largest payload; SETTINGS of ours may allow more than the default."""

    def feed(self, data: bytes) -> None:
        """Take octets off the transport. Bounded by what the transport reads at a time."""
        if self._missing:
            # To copy all of a frame of 16 MiB for each octet of its end would stall the loop.
            self._rest += data
            if len(self._rest) < self._missing:
                return
            data = bytes(self._rest)
            self._rest.clear()
            self._missing = 0
        self._data = self._data[self._position :] + data if self._data else data
        self._position = 0

    @property
    def buffered(self) -> int:
        """Octets fed and not yet returned as frames."""
        return len(self._data) - self._position + len(self._rest)

    def peek(self) -> bytes:
        """Return what is buffered, and keep it."""
        return self._data[self._position :]

    def deliver(self, engine: FrameHandler) -> bool:
        """Give an engine a slice of the frames that are there; True if there may be more.

        Raises: as :meth:`next_frame`, and whatever the engine raises.
        """
        receive_headers, receive_data = engine.receive_headers, engine.receive_data
        stop_at = None  # the time begins with the first look: most slices need none
        data, position = self._data, self._position
        size, plain = len(data), self._plain
        last = position + SLICE_OCTETS
        look_at = position + LOOK_OCTETS
        between_blocks = self._settings_received and self._block is None
        try:
            for _ in range(SLICE_FRAMES):
                # Most frames need no more than to be cut out: HEADERS and DATA with something in
                # them and nothing around it. (0.3 us for HEADERS; next_frame takes 1.3.)
                type_ = -1
                if between_blocks and (start := position + HEADER_SIZE) < size:
                    length, flags, stream_id = _read_length_and_type(data, position)
                    type_ = length & 0xFF
                    length >>= 8
                    end = start + length
                    if end > size or length > plain or not length or stream_id > _SMALL_ID:
                        type_ = -1
                if type_ == HEADERS and flags == _LAST_FIELDS:
                    position = end
                    receive_headers(stream_id, data[start:end], True)
                elif type_ == DATA and flags == FLAG_END_STREAM:
                    position = end
                    receive_data(stream_id, data[start:end], length, True)
                elif type_ == HEADERS and flags == FLAG_END_HEADERS:
                    position = end
                    receive_headers(stream_id, data[start:end], False)
                elif type_ == DATA and not flags:
                    position = end
                    receive_data(stream_id, data[start:end], length, False)
                elif position == size and between_blocks:
                    # next_frame, which would note that nothing is left, is not called.
                    self._data = b""
                    position = 0
                    self.fields_since = None
                    return False
                else:
                    self._position = position
                    frame = self.next_frame()
                    position = self._position
                    if frame is None:
                        return False
                    between_blocks = self._settings_received and self._block is None
                    engine.receive_frame(*frame)
                if position >= look_at:
                    now = clock.monotonic()
                    if stop_at is None:
                        stop_at = now + SLICE_SECONDS
                    if position >= last or now >= stop_at:
                        break
                    look_at = position + LOOK_OCTETS
        finally:
            self._position = position
        return self.buffered > 0

    def next_frame(self) -> ReceivedFrame | None:
        """Return the next frame, or None until more octets come.

        Raises:
            NotHTTP2: the preface is something else.
            ConnectionFailed: FRAME_SIZE_ERROR, PROTOCOL_ERROR or ENHANCE_YOUR_CALM.
        """
        if not self.preface_received and not self.take_preface():
            return None
        data = self._data
        while True:
            start = self._position + HEADER_SIZE
            if len(data) < start:
                break
            high, low, type_, flags, stream_id = _read_header(data, self._position)
            length = high << 8 | low
            if type_ > HEADERS or length > FRAME_LIMIT:
                _check_length(type_, length, self.max_frame_size)
                if type_ in (HEADERS, CONTINUATION):
                    self._check_block_size(length - LARGEST_PADDING)
            end = start + length
            if len(data) < end:
                if end - len(data) > FRAME_LIMIT:
                    self._missing = end - len(data)  # not counting the rest that came since
                break
            self._position = end
            frame = type_, flags, stream_id & 0x7FFF_FFFF, data[start:end]
            if not self._settings_received:
                self._check_first(frame)
            if not _brings_something(type_, flags, frame[3]):
                self._meter.count(type_, flags)
            if type_ in (HEADERS, CONTINUATION) or self._block is not None:
                whole = self._assemble(frame)
                if whole is not None:
                    return whole
            else:
                return frame
        # What is left waits for more octets, and must not keep those that are done with.
        left = data[self._position :]
        if left or self._block is not None:
            self._note_unfinished(left)
        else:
            self.fields_since = None
        self._data = left
        self._position = 0
        return None

    def _note_unfinished(self, left: bytes) -> None:
        """Note since when a field section, or a frame with part of one, is not whole."""
        if self._block is not None:
            self.fields_since = self._block.since
        elif left[3:4] != _HEADERS_TYPE:
            self.fields_since = None
        elif self._position or self.fields_since is None:  # frames before it were whole
            self.fields_since = clock.monotonic()

    def take_preface(self) -> bool:
        """Take the preface off the octets; False until it is whole.

        Raises:
            NotHTTP2: it is something else.
        """
        start = self._data[: len(PREFACE)]
        if not PREFACE.startswith(start):
            raise NotHTTP2(self._data)
        if len(start) < len(PREFACE):
            return False
        self._position = len(PREFACE)
        self.preface_received = True
        return True

    def _check_first(self, frame: ReceivedFrame) -> None:
        """The preface is only whole with SETTINGS, which nothing may precede (section 3.4)."""
        type_, flags, _, _ = frame
        if type_ != SETTINGS or flags & FLAG_ACK:
            raise ConnectionFailed(
                ErrorCode.PROTOCOL_ERROR, "the first frame of the connection is not SETTINGS"
            )
        self._settings_received = True

    def _assemble(self, frame: ReceivedFrame) -> ReceivedFrame | None:
        """Return the field block that ``frame`` completes."""
        type_, flags, stream_id, payload = frame
        if self._block is not None or type_ == CONTINUATION:
            return self._continue_block(frame)
        kept = flags & FLAG_END_STREAM
        if flags & _WHOLE != FLAG_END_HEADERS:
            dependency, payload = _strip(flags, payload)
            if dependency and dependency == stream_id:
                kept |= FLAG_PRIORITY
        self._check_block_size(len(payload))
        if flags & FLAG_END_HEADERS:
            return HEADERS, kept | FLAG_END_HEADERS, stream_id, payload
        self._block = _FieldBlock(kept, stream_id, payload)
        return None

    def _continue_block(self, frame: ReceivedFrame) -> ReceivedFrame | None:
        type_, flags, stream_id, payload = frame
        block = self._block
        if block is None:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        if type_ != CONTINUATION or stream_id != block.stream_id:
            raise ConnectionFailed(
                ErrorCode.PROTOCOL_ERROR, "a frame interrupts a field block (section 4.3)"
            )
        block.parts.append(payload)
        block.size += len(payload)
        block.frames += 1
        self._check_block_size(block.size)
        if 0 < self._max_continuations < block.frames:
            raise ConnectionFailed(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"over {self._max_continuations} CONTINUATION frames for one field section",
                limit="max_continuations",
            )
        if not flags & FLAG_END_HEADERS:
            return None
        self._block = None
        return HEADERS, block.flags | FLAG_END_HEADERS, stream_id, b"".join(block.parts)

    def _check_block_size(self, size: int) -> None:
        if size > self._max_block:
            raise ConnectionFailed(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"a field block is over {self._max_block} octets",
                limit="max_field_section",
            )


def _brings_something(type_: int, flags: int, payload: bytes) -> bool:
    """Return True for a frame with fields or with content, padding aside."""
    if type_ == DATA and flags & FLAG_PADDED:
        return len(payload) > 1 + payload[0] if payload else False
    return type_ in (DATA, HEADERS, CONTINUATION) and len(payload) > 0


def _check_length(type_: int, length: int, most: int) -> None:
    if length > most:
        raise ConnectionFailed(
            ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} octets, over {most}"
        )
    exact = _EXACT_SIZES.get(type_)
    wrong = exact is not None and length != exact
    if wrong or (type_ == SETTINGS and length % 6) or (type_ == GOAWAY and length < 8):
        raise ConnectionFailed(
            ErrorCode.FRAME_SIZE_ERROR, f"a frame of type {type_} with {length} octets"
        )


def strip_padding(flags: int, payload: bytes) -> bytes:
    """Return a frame's content without its padding (section 6.1).

    Raises:
        ConnectionFailed: PROTOCOL_ERROR, the padding is longer than the frame.
    """
    if not flags & FLAG_PADDED:
        return payload
    if not payload:
        raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "a padded frame without pad length")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "padding as long as the frame")
    return payload[1 : len(payload) - padding]


def _strip(flags: int, payload: bytes) -> tuple[int, bytes]:
    """Return the stream that HEADERS makes its own depend on, or 0, and the fragment of a field
    block that it holds, without padding and priority."""
    part = strip_padding(flags, payload)
    if not flags & FLAG_PRIORITY:
        return 0, part
    if len(part) < 5:
        raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
    return dependency_of(part), part[5:]


def dependency_of(priority: bytes) -> int:
    """Return the stream that another depends on (RFC 7540 section 6.3)."""
    return int.from_bytes(priority[:4], "big") & 0x7FFF_FFFF
