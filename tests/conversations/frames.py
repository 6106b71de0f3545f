"""A client that writes frames, legal and not, as steps tell it. Pure: steps in, frames out."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable
from typing import Any

from hpack import Encoder, NeverIndexedHeaderTuple
from hpack.hpack import encode_integer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)

ACK = END_STREAM = 0x1
END_HEADERS, PADDED, PRIORITIZED = 0x4, 0x8, 0x20

Step = tuple[Any, ...]
"""The name of a method of `Client`, without its ``on_``, and its arguments."""
Fields = list[tuple[bytes, bytes]]

GET: Fields = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"localhost:8443"),
    (b":path", b"/"),
]
POST: Fields = [(b":method", b"POST"), *GET[1:]]

LEGAL: tuple[Fields, ...] = (
    GET,
    POST,
    [*POST, (b"content-length", b"10")],
    [*POST, (b"content-length", b"0"), (b"content-type", b"text/plain")],
    [*POST, (b"expect", b"100-continue"), (b"te", b"trailers")],
    [(b":method", b"HEAD"), *GET[1:], (b"accept", b"*/*"), (b"cookie", b"a=1"), (b"cookie", b"b")],
    [*GET[:2], (b":path", b"/host?query"), (b"host", b"localhost")],
    [(b":method", b"OPTIONS"), *GET[1:3], (b":path", b"*")],
    [*GET, (b"x-octets", bytes(range(0x80, 0xFF))), (b"x-empty", b"")],
    [*GET, (b"authorization", b"secret"), (b"user-agent", b"a client")],
    [*GET, (b"x-table", b"t" * 3_000)],
    [*GET, (b"x-table", b"u" * 3_500)],
)
UNACCEPTABLE: tuple[Fields, ...] = (
    [(b":method", b"CONNECT"), (b":authority", b"localhost:1")],
    [*GET, (b"x-large", b"l" * 1_000)],
    [*GET, *((b"x-%d" % n, b"") for n in range(140))],
    [(b":method", b"HEAD"), *GET[1:], *((b"x-many", b"") for n in range(130))],
)
MALFORMED: tuple[Fields, ...] = (
    [],
    GET[1:],
    [*GET, (b":path", b"/")],
    [(b"accept", b"*/*"), *GET],
    [*GET, (b"Upper", b"case")],
    [*GET, (b"connection", b"close")],
    [*GET, (b"te", b"gzip")],
    [*GET, (b"x", b" space")],
    [*GET, (b"x", b"new\nline")],
    [*GET, (b":status", b"200")],
    [*GET, (b"host", b"elsewhere")],
    [*POST, (b"content-length", b"1"), (b"content-length", b"2")],
    [*POST, (b"content-length", b"+1")],
    [*GET[:3], (b":path", b"no-slash")],
    [*GET[:2], (b":authority", b"user@host"), (b":path", b"/")],
    [(b":method", b"CONNECT"), *GET[1:]],
    [(b"x-checksum", b"5")],
)
SECTIONS = LEGAL + UNACCEPTABLE + MALFORMED
TRAILERS: tuple[Fields, ...] = (
    [(b"x-checksum", b"5")],
    [],
    [(b"x-large", b"l" * 1_200)],
    [(b":path", b"/")],
    [(b"connection", b"close")],
    [(b"x", b"y")] * 140,
)
BLOCKS: tuple[bytes, ...] = (
    b"\x82\x87\x84",
    b"\x82\x86\x84",
    b"\x83\x87\x85",
    b"\x82\x87\x84\x40\x01a\x01b",
    b"\x3f\xe1\x1f\x82\x87\x84",
    b"\x20\x3f\xe1\x1f\x82\x87\x84",
    b"\x42\x07OPTIONS\x87\x84",
    b"\x82\x87\x84\x40\x01a\x7f\xa1\x05" + b"v" * 800,
    b"\x82\x87\x84\xbe",
    b"\x82\x87\x84\xbf\xbe",
    b"\x82\x87\x84\xbe\xc0",
    b"\x20\x82\x87\x84",
    b"\x20\x20\x20\x82\x87\x84",
    b"\x3f\xe2\x1f\x82\x87\x84",
    b"\x82\x20\x87\x84",
    b"\x82\x87\x84\x00\x01a\x01b",
    b"\x82\x87\x84\x10\x01a\x01b",
    b"\x82\x87\x84\x7e\x01c",
    b"\x82\x87\x84\x0f\x2f\x01c",
    b"\x82\x87\x84\xff\x00",
    b"\x82\x87\x84\xff\x80\x00",
    b"\x82\x87\x84\x80",
    b"\x82\x87\x84\x40\x81\xff\x01b",
    b"\x82\x87\x84\x40\x82\xff\xff\x01b",
    b"\x82\x87\x84\x40\x05a",
    b"\x82\x87\x84\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x82\x87\x44\x82\x60\x3f",
    b"\x82\x87\x04\x82\x63\xff",
    b"",
)
"""Blocks as octets: indexes alone, table updates, literals of each kind, and broken ones."""


def frame(type_: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return one frame as octets."""
    return (
        struct.pack("!L", len(payload))[1:] + struct.pack("!BBL", type_, flags, stream_id) + payload
    )


def setting(code: int, value: int) -> bytes:
    """Return one entry of SETTINGS."""
    return struct.pack("!HL", code, value)


HEADS_OF_BLOCKS = (b"\x82\x87", b"\x83\x87", b"\xbe\x87", b"\x87", b"\x82\x87\x84")
PATHS = (
    *(b"/", b"/a", b"/b?c=d", b"*", b"bad", b"/sp ace", b"", b"/" + b"x" * 200, b"/" * 1_000),
    *(b"/" * 68, b"/" * 69),
)
PATH_NAMES = (b"\x04", b"\x05", b"\x14", b"\x15", b"\x44")
EXPECT = b"\x0f\x14\x0c100-continue"
TAILS = (
    b"",
    b"\xbe",
    b"\x00\x01a\x01b",
    b"\x41\x01h",
    b"\x84",
    b"\x90\xbe",
    b"\x0f\x0d\x015",
    EXPECT,
)

UNENDED = 20


class Client:
    """Turns steps into frames. Where a step names a stream, a small number picks one.

    0 to 7 count back from the stream opened last; 8 is the connection, 9 an even one, 10 and 11
    such as were never opened. From `UNENDED` on it counts back over requests that are not whole,
    and opens one if there is none.
    """

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self._encoder = Encoder()
        self._opened: list[int] = []
        self._unended: list[int] = []

    def write(self, steps: Iterable[Step]) -> list[bytes]:
        """Return the frames for ``steps``, the preface and SETTINGS before them."""
        for name, *arguments in steps:
            getattr(self, f"on_{name}")(*arguments)
        return [PREFACE + frame(SETTINGS, 0, 0), *self.frames]

    def _send(self, type_: int, flags: int, stream_id: int, payload: bytes = b"") -> None:
        self.frames.append(frame(type_, flags, stream_id, payload))

    def _pick(self, number: int) -> int:
        if number >= UNENDED:
            if not self._unended:
                self.on_request(1, False)
            return self._unended[-1 - (number - UNENDED) % len(self._unended)]
        if not self._opened:
            self.on_request(1, False)
        if number < 8:
            return self._opened[-1 - number % len(self._opened)]
        return {8: 0, 9: 2, 10: self._opened[-1] + 2, 11: self._opened[-1] + 6}[number]

    def _open(self, skip: int = 0) -> int:
        stream_id = (self._opened[-1] if self._opened else -1) + 2 + 2 * skip
        self._opened.append(stream_id)
        self._unended.append(stream_id)
        return stream_id

    def _ended(self, stream_id: int) -> None:
        if stream_id in self._unended:
            self._unended.remove(stream_id)

    def on_skip(self) -> None:
        """Do nothing."""

    # -------------------------------------------------------------------------- messages

    def on_request(self, section: int, ended: bool, form: int = 0, skip: int = 0) -> None:
        """A request on a new stream; `_headers` explains ``form``, ``skip`` leaves out streams."""
        stream_id = self._open(skip)
        self._headers(stream_id, self._encode(SECTIONS[section], form), ended, form)

    def on_block(self, number: int, ended: bool, form: int = 0) -> None:
        """A request from octets, behind the encoder's back."""
        self._headers(self._open(), BLOCKS[number], ended, form)

    def on_path(
        self, head: int, name: int, path: int, tail: int, huffman: bool, ended: bool = True
    ) -> None:
        """A request as small clients write it: indexes, and a path that enters no table."""
        string = PATHS[path]
        coded = self._encoder.huffman_coder.encode(string) if huffman else string
        length = encode_integer(len(coded), 7)
        length[0] |= 0x80 if huffman else 0
        block = HEADS_OF_BLOCKS[head] + PATH_NAMES[name] + bytes(length) + coded + TAILS[tail]
        self._headers(self._open(), block, ended, 0)

    def on_trailers(self, stream: int, section: int, ended: bool, form: int = 0) -> None:
        """A trailer section, or a second field section wherever it does not belong."""
        block = self._encode(TRAILERS[section], form)
        self._headers(self._pick(stream), block, ended, form)

    def on_table(self, octets: int) -> None:
        """Change the size of the encoder's table: the next block begins with an update."""
        self._encoder.header_table_size = octets

    def _encode(self, fields: Fields, form: int) -> bytes:
        if form & 1:
            return self._encoder.encode([NeverIndexedHeaderTuple(*field) for field in fields])
        return self._encoder.encode(fields, huffman=not form & 2)

    def _headers(self, stream_id: int, block: bytes, ended: bool, form: int) -> None:
        """Send a block; bits of ``form``: 4 padded, 8 with priority, 16 and 32 in pieces."""
        flags = END_STREAM if ended else 0
        if ended:
            self._ended(stream_id)
        number = 1 + (form >> 4 & 3)
        size = -(-len(block) // number) or 1
        parts = [block[at : at + size] for at in range(0, len(block), size)] or [b""]
        first = parts[0]
        if form & 8:
            flags, first = flags | PRIORITIZED, b"\x00\x00\x00\x00\x0f" + first
        if form & 4:
            flags, first = flags | PADDED, b"\x03" + first + bytes(3)
        last = END_HEADERS if len(parts) == 1 else 0
        self._send(HEADERS, flags | last, stream_id, first)
        for place, part in enumerate(parts[1:], 2):
            self._send(CONTINUATION, END_HEADERS if place == len(parts) else 0, stream_id, part)

    def on_data(self, stream: int, octets: int, ended: bool, padding: int | None = None) -> None:
        """Content, perhaps with padding."""
        payload, flags = b"c" * octets, END_STREAM if ended else 0
        if padding is not None:
            flags, payload = flags | PADDED, bytes((padding,)) + payload + bytes(padding)
        stream_id = self._pick(stream)
        self._send(DATA, flags, stream_id, payload)
        if ended:
            self._ended(stream_id)

    def on_flood(self, stream: int, octets: int, ended: bool) -> None:
        """Content in frames as large as they may be."""
        for left in range(octets, 0, -16_384):
            self.on_data(stream, min(left, 16_384), ended and left <= 16_384)

    # ---------------------------------------------------------------------- other frames

    def on_reset(self, stream: int, code: int) -> None:
        """RST_STREAM."""
        stream_id = self._pick(stream)
        self._send(RST_STREAM, 0, stream_id, struct.pack("!L", code))
        self._ended(stream_id)

    def on_settings(self, *entries: tuple[int, int]) -> None:
        """SETTINGS."""
        self._send(SETTINGS, 0, 0, b"".join(setting(*entry) for entry in entries))

    def on_settings_ack(self) -> None:
        """The acknowledgement of SETTINGS, asked for or not."""
        self._send(SETTINGS, ACK, 0)

    def on_ping(self, ack: bool, number: int) -> None:
        """PING, or an answer to one."""
        self._send(PING, ACK if ack else 0, 0, struct.pack("!Q", number))

    def on_goaway(self, last: int, code: int) -> None:
        """GOAWAY."""
        self._send(GOAWAY, 0, 0, struct.pack("!LL", last, code) + b"bye")

    def on_window(self, stream: int, increment: int) -> None:
        """WINDOW_UPDATE."""
        self._send(WINDOW_UPDATE, 0, self._pick(stream), struct.pack("!L", increment))

    def on_priority(self, stream: int, octets: int) -> None:
        """PRIORITY, whole with 5 octets."""
        self._send(PRIORITY, 0, self._pick(stream), bytes(octets))

    def on_raw(self, type_: int, flags: int, stream: int, payload: bytes) -> None:
        """Any frame."""
        self._send(type_, flags, self._pick(stream), payload)


# ----------------------------------------------------------------------------- mutations

Mutation = tuple[str, int, int]
"""A kind of damage, and two numbers that say where; any will do."""
MUTATIONS = ("drop", "repeat", "swap", "flip", "shorten", "lengthen", "misread", "cut")


def mutated(frames: list[bytes], mutations: Iterable[Mutation]) -> list[bytes]:
    """Return frames with some damage done; the first, with the preface, stays whole."""
    frames = list(frames)
    for kind, a, b in mutations:
        if len(frames) > 1:
            _mutate(frames, kind, 1 + a % (len(frames) - 1), b)
    return frames


def _mutate(frames: list[bytes], kind: str, at: int, b: int) -> None:
    whole = frames[at]
    match kind:
        case "drop":
            del frames[at]
        case "repeat":
            frames.insert(1 + b % (len(frames) - 1), whole)
        case "swap":
            other = 1 + b % (len(frames) - 1)
            frames[at], frames[other] = frames[other], whole
        case "flip":
            place, bit = b // 8 % max(len(whole), 1), 1 << b % 8
            frames[at] = (
                whole[:place]
                + bytes(x ^ bit for x in whole[place : place + 1])
                + whole[place + 1 :]
            )
        case "shorten":
            frames[at] = _resized(whole[: max(9, len(whole) - 1 - b % 8)])
        case "lengthen":
            frames[at] = _resized(whole + bytes((b % 256,)) * (1 + b % 5))
        case "misread":
            # Type, flags or stream become another frame's.
            frames[at] = (
                whole[: 3 + b % 6] + frames[1 + b % (len(frames) - 1)][3 + b % 6 : 9] + whole[9:]
            )
        case "cut":
            frames[at] = whole[: b % max(len(whole), 1)]


def _resized(octets: bytes) -> bytes:
    return struct.pack("!L", len(octets) - 9)[1:] + octets[3:] if len(octets) >= 9 else octets


def split(octets: bytes) -> list[bytes]:
    """Return the frames of a recording, the preface with the first."""
    at, frames = len(PREFACE), []
    while at < len(octets):
        end = at + 9 + int.from_bytes(octets[at : at + 3], "big")
        frames.append(octets[at:end])
        at = end
    return [PREFACE + frames[0], *frames[1:]]


def cut(octets: bytes, places: Iterable[int]) -> tuple[bytes, ...]:
    """Return ``octets`` in pieces, cut at each place modulo the length."""
    edges = [0, *sorted({place % (len(octets) + 1) for place in places}), len(octets)]
    return tuple(octets[a:b] for a, b in itertools.pairwise(edges) if a < b)
