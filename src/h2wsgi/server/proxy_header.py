"""The PROXY protocol's header, version 1 or 2, which says whose connection a proxy passes on.

Loop thread; parsing is pure. It stands before TLS and before HTTP/2's preface, on a socket that
will be the event loop's, which has no way to be given octets back. The invariant: exactly the
header is taken off the socket. Octets are looked at first (MSG_PEEK), and then taken as far as they
are the header's, an incomplete one as far as it has come: what is left on a socket keeps it
readable, and the loop would spin.
"""

from __future__ import annotations

import enum
import functools
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..config.trusted_peers import UNIX_PEER, parse_address
from ..http2.refusal import PROXY_V1 as V1
from ..http2.refusal import PROXY_V2 as V2
from ..http2.refusal import TLS_HANDSHAKE

LONGEST_V1 = 107
"""Octets of the longest line, its end included."""
FIXED_V2 = 16
"""Octets before what has a length."""
LONGEST = 16_384
"""Octets of a header. Its format has room for four times as many, which nobody needs."""
LOCAL, PROXIED = 0x20, 0x21
"""Version 2, and its command."""
UNSPECIFIED, UNIX_STREAM = 0x00, 0x31
# Family and transport -> struct of both addresses and both ports.
_INTERNET = {0x11: struct.Struct("!4s4sHH"), 0x21: struct.Struct("!16s16sHH")}
_UNIX_OCTETS = 216
ALPN, AUTHORITY, CRC32C, UNIQUE_ID, TLS = 0x01, 0x02, 0x03, 0x05, 0x20
TLS_VERSION, TLS_COMMON_NAME, TLS_CIPHER = 0x21, 0x22, 0x23
OVER_TLS, WITH_CERTIFICATE = 0x01, 0x06
"""Bits of what a client did, its certificate now or earlier in the session."""
SHOWN = 40
"""Octets of something else that are shown."""

_LINE = re.compile(
    rb"PROXY TCP([46]) ([0-9A-Fa-f.:]{2,45}) ([0-9A-Fa-f.:]{2,45})"
    rb" (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n"
).fullmatch
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n").fullmatch
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}").fullmatch


class BadHeader(Exception):
    """What came is no header; its text says what it was."""


class Came(enum.Enum):
    """What there is to say before there is a header."""

    PART = "the header is not whole yet"
    OTHER = "no header: something else begins"


@dataclass(slots=True)
class ProxyHeader:
    """What a proxy says of the connection that it passes on."""

    source: tuple[str, str] | None = None
    """The client's address and port; None where the socket's own count: LOCAL and UNKNOWN. Empty
    for a client on a Unix socket."""
    destination: tuple[str, str] = ("", "")
    """What the client connected to."""
    tls: dict[str, str] | None = None
    """mod_ssl's names to values of the client's TLS, empty for none, or None if nobody told."""
    told: dict[str, str] = field(default_factory=dict)
    """``authority``, ``alpn`` and ``unique_id``, as far as they came: octets as latin-1."""
    is_local: bool = False
    """Whether nobody is passed on: the proxy speaks for itself, as in a health check."""

    @property
    def server_name(self) -> str:
        """The host that the client asked for, if it is one, else the address that it reached."""
        authority = self.told.get("authority", "")
        return authority if _HOST_NAME(authority) else self.destination[0]


class HeaderReader:
    """Takes the header off one socket."""

    def __init__(self) -> None:
        self.taken = bytearray()
        """What was taken off the socket: the header, or what could have been its beginning."""

    def read(self, sock: socket.socket) -> ProxyHeader | Came:
        """Take what is there of a header.

        Raises:
            BadHeader: there is none that could be understood, or not all of one.
            OSError: the connection has ended without a word, or is lost.
        """
        while True:
            try:
                seen = sock.recv(LONGEST, socket.MSG_PEEK)
                if not seen:
                    if self.taken:
                        raise BadHeader(f"the end behind {shown(self.taken)}")
                    raise ConnectionResetError("the end")
                known = len(self.taken)
                end = length(self.taken + seen)
                if end is None:
                    self.taken += sock.recv(len(seen))
                elif not end:
                    return Came.OTHER
                else:
                    self.taken += sock.recv(end - known)
                    if len(self.taken) == end:
                        return parse(bytes(self.taken))
            except (BlockingIOError, InterruptedError):
                return Came.PART


def length(octets: bytes | bytearray) -> int | None:
    """Return the octets of the header that ``octets`` begin with; 0 for none, None for a part.

    Raises:
        BadHeader: it begins like one, and is none.
    """
    if octets[: len(V2)] == V2[: len(octets)]:
        if len(octets) < FIXED_V2:
            return None
        if octets[12] not in (LOCAL, PROXIED):
            raise BadHeader(f"a PROXY header of version and command 0x{octets[12]:02x}")
        whole = FIXED_V2 + int.from_bytes(octets[14:16], "big")
        if whole > LONGEST:
            raise BadHeader(f"a PROXY header of {whole:,} octets; {LONGEST:,} are possible")
        return whole if len(octets) >= whole else None
    if octets[: len(V1)] == V1[: len(octets)]:
        end = octets.find(b"\r\n", 0, LONGEST_V1)
        if end < 0 and len(octets) >= LONGEST_V1:
            raise BadHeader(f"a PROXY line without an end in {LONGEST_V1} octets: {shown(octets)}")
        return end + 2 if end >= 0 else None
    return 0


def parse(octets: bytes) -> ProxyHeader:
    """Return what a whole header says.

    Raises:
        BadHeader: it is not one.
    """
    return _parse_v2(octets) if octets.startswith(V2) else _parse_v1(octets)


def shown(octets: bytes | bytearray) -> str:
    """Return what octets are, for a line of the log."""
    if octets[:1] == bytes((TLS_HANDSHAKE,)):
        return "a TLS handshake"
    if octets.startswith(b"PRI * HTTP/2"):
        return "HTTP/2's preface"
    return repr(bytes(octets[:SHOWN])) + ("..." if len(octets) > SHOWN else "")


def _parse_v1(line: bytes) -> ProxyHeader:
    if _UNKNOWN(line):
        return ProxyHeader()
    if (found := _LINE(line)) is None:
        raise BadHeader(f"a PROXY line that is none: {shown(line)}")
    source, destination = (
        _internet(found[1] == b"6", address.decode("ascii"), int(port))
        for address, port in ((found[2], found[4]), (found[3], found[5]))
    )
    if source is None or destination is None:
        raise BadHeader(f"a PROXY line with a wrong address or port: {shown(line)}")
    return ProxyHeader(source, destination)


def _internet(six: bool, address: str, port: int) -> tuple[str, str] | None:
    parsed = parse_address(address)
    is_right = parsed is not None and (":" in address) is six and port <= 65_535
    return (str(parsed), str(port)) if is_right else None


def _parse_v2(octets: bytes) -> ProxyHeader:
    family = octets[13]
    if octets[12] == LOCAL:
        return ProxyHeader(is_local=True)  # whatever else it says
    if family == UNSPECIFIED:
        header, position = ProxyHeader(), FIXED_V2
    elif family == UNIX_STREAM:
        header, position = ProxyHeader((UNIX_PEER, "")), FIXED_V2 + _UNIX_OCTETS
    elif (addresses := _INTERNET.get(family)) is not None:
        position = FIXED_V2 + addresses.size
        if position > len(octets):
            raise BadHeader("a PROXY header that is too short for its addresses")
        source, destination, source_port, port = addresses.unpack_from(octets, FIXED_V2)
        header = ProxyHeader(
            (_numbers(source), str(source_port)), (_numbers(destination), str(port))
        )
    else:
        raise BadHeader(f"a PROXY header of the address family 0x{family:02x}")
    if position > len(octets):
        raise BadHeader("a PROXY header that is too short for its addresses")
    for kind, start, value in _extensions(octets, position):
        _extend(header, octets, kind, start, value)
    return header


def _numbers(packed: bytes) -> str:
    host = socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
    return str(parse_address(host))


def _extensions(octets: bytes, position: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, place and value of each TLV."""
    while position < len(octets):
        start = position + 3
        end = start + int.from_bytes(octets[position + 1 : start], "big")
        if start > len(octets) or end > len(octets):
            raise BadHeader("a PROXY header with an extension beyond its end")
        yield octets[position], start, octets[start:end]
        position = end


def _extend(header: ProxyHeader, octets: bytes, kind: int, start: int, value: bytes) -> None:
    names = {ALPN: "alpn", AUTHORITY: "authority", UNIQUE_ID: "unique_id"}
    if kind in names:
        header.told[names[kind]] = value.decode("latin-1")
    elif kind == TLS:
        header.tls = _tls_variables(value)
    elif kind == CRC32C:
        without = octets[:start] + bytes(len(value)) + octets[start + len(value) :]
        if value != crc32c(without).to_bytes(4, "big"):
            raise BadHeader("a PROXY header with a wrong checksum")


def _tls_variables(value: bytes) -> dict[str, str]:
    if len(value) < 5:
        raise BadHeader("a PROXY header whose extension of TLS is too short")
    did, unverified = struct.unpack_from("!BI", value)
    if not did & OVER_TLS:
        return {}
    parts = {kind: part.decode("latin-1") for kind, _, part in _extensions(value, 5)}
    verified = bool(did & WITH_CERTIFICATE) and not unverified
    variables = {
        "HTTPS": "on",
        "SSL_PROTOCOL": parts.get(TLS_VERSION, ""),
        "SSL_CLIENT_VERIFY": "SUCCESS" if verified else "NONE",
    }
    if did & WITH_CERTIFICATE and unverified:
        variables["SSL_CLIENT_VERIFY"] = f"FAILED:{unverified}"
    if TLS_CIPHER in parts:
        variables["SSL_CIPHER"] = parts[TLS_CIPHER]
    if verified and TLS_COMMON_NAME in parts:
        variables["SSL_CLIENT_S_DN_CN"] = parts[TLS_COMMON_NAME]
    return variables


@functools.cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        table.append(number)
    return tuple(table)


def crc32c(octets: bytes) -> int:
    """Return the checksum of Castagnoli (RFC 9260, appendix A)."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for octet in octets:
        crc = crc >> 8 ^ table[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF
