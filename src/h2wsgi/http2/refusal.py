"""The short answer for a client that does not speak HTTP/2, or speaks it the wrong way. Pure."""

from __future__ import annotations

import re

from hyperframe.frame import GoAwayFrame, SettingsFrame

from ..codes import ErrorCode

_REQUEST_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}( |$)").match
_VERSION = re.compile(r"HTTP/\d(\.\d)?", re.ASCII).fullmatch

NEEDS_ALPN = (
    "This server speaks HTTP/2 only, and this TLS connection did not negotiate it: "
    "offer h2 by ALPN (with curl: --http2)."
)
NEEDS_PRIOR_KNOWLEDGE = (
    "This server speaks HTTP/2 only: begin with the HTTP/2 preface, without Upgrade "
    "(with curl: --http2-prior-knowledge)."
)
NEEDS_TLS = (
    "This port speaks HTTP/2 over TLS only: use https:// and an HTTP/2 client (with curl: --http2)."
)


NEEDS_CLEARTEXT = (
    "This port speaks HTTP/2 in cleartext only: use http:// (with curl: --http2-prior-knowledge)."
)
LONGEST_LINE = 2_048
"""Octets of a request line that is logged."""
UNEXPECTED_PROXY_HEADER = (
    "What came is a PROXY header, which is taken with --proxy-protocol alone, from peers of "
    "--forwarded-allow-ips."
)
PROXY_V1 = b"PROXY "
PROXY_V2 = b"\r\n\r\n\0\r\nQUIT\n"
TLS_HANDSHAKE = 0x16
"""The first octet of every TLS connection: a handshake record."""


def advice_for(octets: bytes) -> str:
    """Return what a client on a cleartext port needs to know that began with ``octets``."""
    return NEEDS_CLEARTEXT if octets[:1] == bytes((TLS_HANDSHAKE,)) else NEEDS_PRIOR_KNOWLEDGE


def is_proxy_header(octets: bytes) -> bool:
    """Return True if ``octets`` begin a header of the PROXY protocol."""
    return octets.startswith((PROXY_V1, PROXY_V2))


def looks_like_http1(octets: bytes) -> bool:
    """Return True if ``octets`` could begin an HTTP/1 request line."""
    return _REQUEST_LINE(octets) is not None


def request_line(octets: bytes) -> tuple[str, str, str] | None:
    """Return method, target and version of what seems to be an HTTP/1 request, as far as it came.

    None if it does not, or if it is HTTP/2's preface.
    """
    if octets.startswith(b"PRI * HTTP/2.0") or not looks_like_http1(octets):
        return None
    line = octets.partition(b"\n")[0][:LONGEST_LINE].decode("utf-8", "backslashreplace")
    method, _, rest = line.rstrip("\r").partition(" ")
    target, _, version = rest.rpartition(" ")
    return (method, target, version) if _VERSION(version) else (method, rest, "HTTP/1")


def refusal(octets: bytes, advice: str) -> bytes:
    """Return what to send to a client whose first octets were ``octets``.

    An HTTP/1.1 client gets a 505 with ``advice``; an HTTP/2 client that came without TLS or ALPN
    a GOAWAY that says the same; anything else nothing.
    """
    if octets.startswith(b"PRI * HTTP/2.0"):
        goaway = GoAwayFrame(0)
        goaway.error_code = ErrorCode.INADEQUATE_SECURITY
        goaway.additional_data = advice.encode("ascii")
        return SettingsFrame(0).serialize() + goaway.serialize()
    if not looks_like_http1(octets):
        return b""
    body = advice.encode("ascii") + b"\n"
    return (
        b"HTTP/1.1 505 HTTP Version Not Supported\r\n"
        b"content-type: text/plain; charset=utf-8\r\n"
        b"content-length: %d\r\n"
        b"connection: close\r\n\r\n" % len(body)
    ) + body
