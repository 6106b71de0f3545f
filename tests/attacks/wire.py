"""Octets of frames and field blocks, made by hand: attacks send what no library would."""

from __future__ import annotations

import struct

from support.peer import END_HEADERS, END_STREAM, Type

LARGEST_WINDOW = 2**31 - 1
GET, POST = b"\x82", b"\x83"
"""Indexed fields (RFC 7541 appendix A), as most of a request is."""


def frame(type: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    header = struct.pack("!L", len(payload))[1:] + struct.pack("!BBL", type, flags, stream_id)
    return header + payload


def literal(index: int, value: bytes) -> bytes:
    """Return a field by the index of its name and a value, not to be indexed (section 6.2.2)."""
    name = bytes((index,)) if index < 15 else bytes((0x0F, index - 15))
    return name + bytes((len(value),)) + value


def block(path: bytes = b"/", method: bytes = GET, more: bytes = b"") -> bytes:
    """Return the field block of a request, which leaves the dynamic table alone."""
    return method + b"\x87" + literal(1, b"localhost") + literal(4, path) + more


def headers(stream_id: int, octets: bytes, flags: int = END_STREAM | END_HEADERS) -> bytes:
    return frame(Type.HEADERS, flags, stream_id, octets)


def request(stream_id: int, path: bytes = b"/") -> bytes:
    return headers(stream_id, block(path))


def upload(stream_id: int, path: bytes, more: bytes = b"") -> bytes:
    """Return a request whose content is still to come."""
    return headers(stream_id, block(path, POST, more), END_HEADERS)


def number(value: int) -> bytes:
    return struct.pack("!L", value)


def streams(count: int, step: int = 2) -> range:
    """Return so many stream identifiers of a client."""
    return range(1, 1 + step * count, step)
