"""PROXY headers of version 2, right or wrong."""

from __future__ import annotations

import socket
import struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
TCP4, TCP6, UNIX = 0x11, 0x21, 0x31
SOURCE, DESTINATION = ("203.0.113.9", 4711), ("198.51.100.1", 443)


def extension(kind: int, value: bytes) -> bytes:
    """Return a TLV."""
    return struct.pack("!BH", kind, len(value)) + value


def tls(*parts: tuple[int, bytes], did: int = 0x01, unverified: int = 0, kind: int = 0x20) -> bytes:
    """Return the TLV that says what TLS the client spoke; ``parts`` are those within it."""
    within = b"".join(extension(*part) for part in parts)
    return extension(kind, struct.pack("!BI", did, unverified) + within)


def addresses(
    source: tuple[str, int] = SOURCE, destination: tuple[str, int] = DESTINATION
) -> bytes:
    """Return the two ends, of IPv4 or IPv6."""
    family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
    packed = [socket.inet_pton(family, host) for host, _ in (source, destination)]
    return b"".join(packed) + struct.pack("!HH", source[1], destination[1])


def version_2(
    rest: bytes | None = None,
    *,
    command: int = PROXY,
    family: int = TCP4,
    length: int | None = None,
) -> bytes:
    """Return a header; ``rest`` are its addresses and TLVs, ``length`` what it says of them."""
    rest = addresses() if rest is None else rest
    said = len(rest) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, said) + rest
