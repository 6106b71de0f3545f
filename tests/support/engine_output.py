"""What a client makes of an engine's octets: decoded, and joined where the engine is free.

Beside the decoding, a `ClientView` insists on what every client may insist on: whole frames,
uninterrupted field blocks, frame sizes within its SETTINGS, and an encoder that signals a smaller
dynamic table before it goes on (RFC 7541 section 4.2).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

from hpack import Decoder
from hpack.hpack import decode_integer
from hyperframe.frame import Frame

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9,
)  # fmt: skip
HEADER_SIZE = 9
MAX_FRAME_SIZE = 16_384
HEADER_TABLE_SIZE, MAX_FRAME_SIZE_SETTING = 1, 5

Journal = dict[int, list[tuple[Any, ...]]]


class BrokenOutput(AssertionError):
    """An engine sent what no client need accept."""


def settings_of(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yield the entries of a SETTINGS payload."""
    for start in range(0, len(payload) - 5, 6):
        code = int.from_bytes(payload[start : start + 2], "big")
        yield code, int.from_bytes(payload[start + 2 : start + 6], "big")


class ClientView:
    """One engine's client. ``name`` says which, in the errors it raises."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.journal: Journal = {}
        """By stream since the last `clear`: field lists, joined DATA, resets; 0 the connection."""
        self.credit: Counter[int] = Counter()
        """Octets of WINDOW_UPDATE since the beginning."""
        self._decoder = Decoder(max_header_list_size=1 << 24)
        self._unacknowledged: deque[bytes] = deque()
        self._max_frame_size = MAX_FRAME_SIZE
        self._to_signal: int | None = None
        """The smallest table size acknowledged since the last field block."""
        self._block: tuple[int, bool, bytearray] | None = None

    def settings_sent(self, payload: bytes) -> None:
        """The client sent SETTINGS; they count once they are acknowledged."""
        self._unacknowledged.append(payload)

    @property
    def in_a_block(self) -> bool:
        """Whether a field block has come in part."""
        return self._block is not None

    def clear(self) -> None:
        """Forget the journal."""
        self.journal = {}

    def take(self, octets: bytes) -> None:
        """Read whole frames.

        Raises:
            BrokenOutput: a rule is broken.
        """
        at = 0
        while at < len(octets):
            frame, length = Frame.parse_frame_header(memoryview(octets[at : at + HEADER_SIZE]))
            end = at + HEADER_SIZE + length
            self._require(end <= len(octets), "a frame is cut short")
            self._require(length <= self._max_frame_size, f"a frame of {length} octets")
            frame.parse_body(memoryview(octets[at + HEADER_SIZE : end]))
            self._read(frame)
            at = end

    def _require(self, true: bool, what: str) -> None:
        if not true:
            raise BrokenOutput(f"{self.name}: {what}")

    def _read(self, frame: Any) -> None:
        interrupted = self._block is not None and frame.type != CONTINUATION
        self._require(not interrupted, "a frame interrupts a field block")
        match frame.type:
            case 0x0:
                self._read_data(frame.stream_id, bytes(frame.data), "END_STREAM" in frame.flags)
            case 0x1:
                self._block = (frame.stream_id, "END_STREAM" in frame.flags, bytearray())
                self._read_fragment(frame)
            case 0x9:
                self._require(self._block is not None, "CONTINUATION without HEADERS")
                self._read_fragment(frame)
            case 0x3:
                self._note(frame.stream_id, "RST_STREAM", frame.error_code)
            case 0x4:
                self._read_settings(frame)
            case 0x6:
                self._note(0, "PING", "ACK" in frame.flags, bytes(frame.opaque_data))
            case 0x7:
                self._note(0, "GOAWAY", frame.last_stream_id, frame.error_code)
            case 0x8:
                self.credit[frame.stream_id] += frame.window_increment
            case _:
                raise BrokenOutput(f"{self.name}: a frame of type {frame.type}")

    def _note(self, stream_id: int, *item: Any) -> None:
        self.journal.setdefault(stream_id, []).append(item)

    def _read_data(self, stream_id: int, data: bytes, ended: bool) -> None:
        items = self.journal.setdefault(stream_id, [])
        if items and items[-1][0] == "DATA" and not items[-1][2]:
            items[-1] = ("DATA", items[-1][1] + data, ended)
        else:
            items.append(("DATA", data, ended))

    def _read_settings(self, frame: Any) -> None:
        if "ACK" not in frame.flags:
            self._note(0, "SETTINGS", dict(frame.settings))
            return
        self._require(bool(self._unacknowledged), "SETTINGS ACK for no SETTINGS")
        self._note(0, "SETTINGS ACK")
        for code, value in settings_of(self._unacknowledged.popleft()):
            if code == HEADER_TABLE_SIZE:
                self._decoder.max_allowed_table_size = value
                before = value if self._to_signal is None else self._to_signal
                self._to_signal = min(before, value)
            elif code == MAX_FRAME_SIZE_SETTING:
                self._max_frame_size = value

    def _read_fragment(self, frame: Any) -> None:
        assert self._block is not None
        stream_id, ended, block = self._block
        self._require(stream_id == frame.stream_id, "CONTINUATION of another stream")
        block += frame.data
        if "END_HEADERS" in frame.flags:
            self._block = None
            self._check_table_size(bytes(block))
            fields = self._decoder.decode(bytes(block), raw=True)
            self._note(stream_id, "HEADERS", [(bytes(n), bytes(v)) for n, v in fields], ended)

    def _check_table_size(self, block: bytes) -> None:
        """Whatever made the table smaller must be signalled, with two updates at most."""
        smallest, self._to_signal = self._to_signal, None
        updates = table_updates(block)
        self._require(len(updates) <= 2, f"the table sizes {updates} are signalled at once")
        if smallest is not None and smallest < self._decoder.header_table_size:
            told = bool(updates) and min(updates) <= smallest
            self._require(told, f"the table was to shrink to {smallest}, signalled {updates}")


def table_updates(block: bytes) -> list[int]:
    """Return the dynamic table sizes that a block begins with (RFC 7541 section 6.3)."""
    sizes, at = [], 0
    while at < len(block) and block[at] & 0xE0 == 0x20:
        size, length = decode_integer(block[at:], 5)
        sizes.append(size)
        at += length
    return sizes
