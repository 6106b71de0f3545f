"""Octets of frames and field blocks, right or wrong (RFC 9113 section 4, RFC 7541). Pure.

Nothing here refuses anything.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from .. import codes

(
    DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE,
    CONTINUATION, ALTSVC, ORIGIN, PRIORITY_UPDATE,
) = map(int, codes.FrameType)  # fmt: skip
END_STREAM, ACK, END_HEADERS = codes.FLAG_END_STREAM, codes.FLAG_ACK, codes.FLAG_END_HEADERS
PADDED, WITH_PRIORITY = codes.FLAG_PADDED, codes.FLAG_PRIORITY
LARGEST_WINDOW = 2**31 - 1
SMALLEST_FRAME, LARGEST_FRAME = codes.FRAME_LIMIT, codes.LARGEST_FRAME_LIMIT
"""Octets; what SETTINGS_MAX_FRAME_SIZE may be."""
FIRST_WINDOW = 65_535

Fields = Iterable[tuple[str | bytes, str | bytes]]


def frame(
    kind: int, stream: int, payload: bytes = b"", flags: int = 0, *, reserved: bool = False
) -> bytes:
    """Return a frame; ``reserved`` sets the bit that has no meaning."""
    head = struct.pack("!LBL", len(payload) << 8 | kind, flags, stream | reserved << 31)
    return head + payload


def settings(*entries: tuple[int, int]) -> bytes:
    """Return SETTINGS."""
    return frame(SETTINGS, 0, b"".join(struct.pack("!HL", *entry) for entry in entries))


def reset(stream: int, code: int) -> bytes:
    """Return RST_STREAM."""
    return frame(RST_STREAM, stream, struct.pack("!L", code))


def goaway(last: int, code: int = 0, debug: bytes = b"") -> bytes:
    """Return GOAWAY."""
    return frame(GOAWAY, 0, struct.pack("!LL", last, code) + debug)


def window_update(stream: int, increment: int) -> bytes:
    """Return WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, stream, struct.pack("!L", increment))


def headers(stream: int, fields: Fields, *, end: bool = False) -> bytes:
    """Return HEADERS with a whole block of literals that are not indexed."""
    return head(stream, block(fields), end=end)


def head(stream: int, encoded: bytes, *, end: bool = False) -> bytes:
    """Return HEADERS with a whole block that is encoded already."""
    return frame(HEADERS, stream, encoded, END_HEADERS | (END_STREAM if end else 0))


def data(stream: int, content: bytes, *, end: bool = False) -> bytes:
    """Return one DATA frame."""
    return frame(DATA, stream, content, END_STREAM if end else 0)


def padded(content: bytes, padding: int) -> bytes:
    """Return the payload of a padded frame."""
    return bytes([padding]) + content + bytes(padding)


def pieces(content: bytes, size: int) -> list[bytes]:
    """Cut ``content`` into pieces of ``size`` octets."""
    return [content[at : at + size] for at in range(0, len(content), size)]


def block(fields: Fields) -> bytes:
    """Return a field block of literals that are not indexed."""
    return b"".join(literal(name, value) for name, value in fields)


def literal(
    name: str | bytes | int,
    value: str | bytes,
    *,
    kind: int = 0x00,
    huffman: bool = False,
) -> bytes:
    """Return a literal field; a number for its name is an index.

    ``kind`` is the first octet's pattern: 0x40 puts it into the dynamic table, 0x10 is never
    indexed.
    """
    prefix = 6 if kind == 0x40 else 4
    if isinstance(name, int):
        return integer(name, prefix, kind) + string(value, huffman=huffman)
    return bytes([kind]) + string(name, huffman=huffman) + string(value, huffman=huffman)


def indexed(index: int) -> bytes:
    """Return a field that is an index."""
    return integer(index, 7, 0x80)


def table_size(size: int) -> bytes:
    """Return an update of the dynamic table's size."""
    return integer(size, 5, 0x20)


def integer(number: int, prefix: int, pattern: int = 0) -> bytes:
    """Return an integer with a prefix of so many bits (RFC 7541 section 5.1)."""
    largest = (1 << prefix) - 1
    if number < largest:
        return bytes([pattern | number])
    out = bytearray([pattern | largest])
    number -= largest
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def string(text: str | bytes, *, huffman: bool = False) -> bytes:
    """Return a string literal (RFC 7541 section 5.2)."""
    octets = text.encode("latin-1") if isinstance(text, str) else text
    if huffman:
        octets = huffman_encoded(octets)
    return integer(len(octets), 7, 0x80 if huffman else 0) + octets


def huffman_encoded(octets: bytes) -> bytes:
    """Return ``octets`` in Huffman's code."""
    encoded: bytes = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(octets)
    return encoded
