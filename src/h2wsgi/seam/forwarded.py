"""What a proxy says of its client: X-Forwarded-* and Forwarded (RFC 7239) -> :class:`Forwarded`.

Pure; the loop's thread asks for the access log, application threads for environ. Only a connection
whose peer is trusted has a :class:`ForwardedReader`.

Each proxy of a chain appends what it knows of the one before it, so the chain is walked from the
right: each entry that is trusted itself is believed what stands to the left of it, and the first
that is not is the client. What is left of it anybody may have written, and is not looked at. The
other fields are read at the client's place, counted from the right as well.

The invariant: what is malformed, or contradicts itself, counts as if it had not been sent. Where
both kinds of fields come, only what both say alike counts: the proxy knows one of them, and the
other may be its client's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from ..config.addresses import joined
from ..config.trusted_peers import TrustedPeers, parse_address

FORWARDED = b"forwarded"
FOR = b"x-forwarded-for"
PROTO = b"x-forwarded-proto"
HOST = b"x-forwarded-host"
PORT = b"x-forwarded-port"
PREFIX = b"x-forwarded-prefix"
NAMES = frozenset({FORWARDED, FOR, PROTO, HOST, PORT, PREFIX})
MAX_HOPS = 100
"""Proxies in a chain that is believed; more are a mistake, or made to cost time."""
MAX_PAIRS = 10 * MAX_HOPS
"""Pairs in one field of RFC 7239, likewise; empty ones count too."""
DEFAULT_PORTS = {"http": "80", "https": "443"}
MAX_PORT = 65_535

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# Unquoted addresses are no tokens, and common. White space is not given back (*+), or a long run of
# it would be tried in all ways to divide it between its two places.
_PAIR = re.compile(
    rf'[ \t]*+(?:({_TOKEN})=(?:([!#$%&\'*+\-.^_`|~0-9A-Za-z:\[\]]+)|"((?:[^"\\]|\\.)*)"))?'
    r"[ \t]*+(;|,|$)"
)
_NODE = re.compile(
    r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15}))(?::(?:([0-9]{1,5})|_[A-Za-z0-9._-]+))?"
).fullmatch
_BARE_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}").fullmatch
_HIDDEN = re.compile(
    r"(?:unknown|_[A-Za-z0-9._-]+)(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?", re.IGNORECASE
).fullmatch
_HOST = re.compile(
    r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,255}))(?::([0-9]{1,5}))?"
).fullmatch
_PATH = re.compile(r"/[\x21\x22\x24-\x3e\x40-\x5b\x5d-\x7e\x80-\xff]*").fullmatch
_UNFIT_IN_PATH = re.compile(r"[\x00-\x1f\x7f\\]").search  # browsers take \ for /


class _Malformed(Exception):
    """A field is not what it has to be."""


class Forwarded(NamedTuple):
    """What is known of a client from its proxy; None is what nothing was said of."""

    address: str | None = None
    port: str | None = None
    """The client's port, with ``address``; empty if nobody told."""
    scheme: str | None = None
    """``http`` or ``https``."""
    host: str | None = None
    """Host and, where it has one, port: as in ``:authority``."""
    server_port: str | None = None
    prefix: str | None = None
    """The path under which the proxy has the application, as environ has paths, without a slash at
    its end."""

    @property
    def peer(self) -> str:
        """The client as a log line names it; empty if it is not known."""
        return joined(self.address, self.port or "") if self.address else ""


NOTHING = Forwarded()


class ForwardedReader:
    """Reads what one connection's proxy says. Any thread."""

    def __init__(self, trusted: TrustedPeers) -> None:
        self._trusted = trusted
        self._last: tuple[tuple[tuple[bytes, bytes], ...], Forwarded] = ((), NOTHING)
        """The fields of one request, and what they say: environ and access log both ask."""

    def read(self, fields: tuple[tuple[bytes, bytes], ...]) -> Forwarded:
        """Return what a request's fields say of its client."""
        last, found = self._last
        if last is not fields:
            found = read(fields, self._trusted)
            self._last = (fields, found)
        return found


def read(fields: tuple[tuple[bytes, bytes], ...], trusted: TrustedPeers) -> Forwarded:
    """Return what ``fields`` say of the client of a trusted peer."""
    found: dict[bytes, list[str]] = {}
    for name, value in fields:
        if name in NAMES:
            found.setdefault(name, []).append(value.decode("latin-1"))
    if not found:
        return NOTHING
    standard = _standard(found.pop(FORWARDED, []), trusted)
    usual = _usual(found, trusted)
    if NOTHING in (standard, usual):
        return usual if standard == NOTHING else standard
    alike = (a if a == b else None for a, b in zip(usual, standard, strict=True))
    return Forwarded(*alike)


def split_host(host: str) -> tuple[str, str]:
    """Return the name of a host, without brackets, and its port; empty is what it has not."""
    found = _HOST(host)
    return (found[1] or found[2], found[3] or "") if found else ("", "")


# ------------------------------------------------------------------------------- both kinds


def _walk(nodes: Iterator[str], trusted: TrustedPeers) -> tuple[str | None, str | None, int]:
    """Return the client's address and port, and how many nodes are to the right of it.

    A node without an address ends the walk: the last one that is known stays.
    """
    address = port = None
    hop = -1
    for hop, node in enumerate(nodes):
        if hop >= MAX_HOPS:
            raise _Malformed
        if (known := _node(node)) is None:
            break
        address, port = known
        if not trusted.include(address):
            break
    return address, port, max(hop, 0)


def _node(text: str) -> tuple[str, str] | None:
    """Return the address and port of a node, or None for one that does not tell its address."""
    if _HIDDEN(text):
        return None
    found = _NODE(text)
    port = found[3] or "" if found else ""
    if found is None and _BARE_IPV6(text) is None:
        raise _Malformed
    address = parse_address((found[1] or found[2]) if found else text)
    if address is None or int(port or 0) > MAX_PORT:
        raise _Malformed
    return str(address), port


# ------------------------------------------------------------------------------ X-Forwarded-*


def _usual(found: dict[bytes, list[str]], trusted: TrustedPeers) -> Forwarded:
    try:
        address, port, hops = _walk(_from_the_right(found.get(FOR, [])), trusted)
    except _Malformed:
        address, port, hops = None, None, 0

    def at_the_client(name: bytes, check: Callable[[str], str | None]) -> str | None:
        values = list(_from_the_right(found.get(name, [])))
        if hops < len(values):
            return check(values[hops])
        # Proxies further in often pass on what the outermost said.
        return check(values[0]) if len(values) == 1 else None

    scheme, prefix = at_the_client(PROTO, _scheme), at_the_client(PREFIX, _prefix)
    host, server_port = at_the_client(HOST, _host), at_the_client(PORT, _port)
    if (
        host is not None
        and server_port is not None
        and split_host(host)[1] not in ("", server_port)
    ):
        host = server_port = None
    return Forwarded(address, port, scheme, host, server_port, prefix)


def _from_the_right(values: list[str]) -> Iterator[str]:
    """Yield the entries of a list that may be spread over several fields, the last one first."""
    for value in reversed(values):
        for entry in reversed(value.split(",")):
            if stripped := entry.strip(" \t"):
                yield stripped


# ------------------------------------------------------------------------ Forwarded, RFC 7239


def _standard(values: list[str], trusted: TrustedPeers) -> Forwarded:
    elements: list[dict[str, str]] = []

    def nodes() -> Iterator[str]:
        for value in reversed(values):  # each looked at when it is its turn
            for element in reversed(_parse(value)):
                elements.append(element)
                yield element.get("for", "unknown")

    try:
        address, port, hops = _walk(nodes(), trusted)
    except _Malformed:
        return NOTHING
    client = elements[hops] if elements else {}
    return Forwarded(address, port, _scheme(client.get("proto", "")), _host(client.get("host", "")))


def _parse(value: str) -> list[dict[str, str]]:
    elements: list[dict[str, str]] = [{}]
    position = 0
    for _ in range(MAX_PAIRS):
        found = _PAIR.match(value, position)
        if found is None:
            raise _Malformed
        name, token, quoted, end = found.groups()
        if name is not None:
            name = name.lower()
            if name in elements[-1]:
                raise _Malformed
            elements[-1][name] = token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        if not end:
            return [element for element in elements if element]
        if end == ",":
            elements.append({})
        position = found.end()
    raise _Malformed


# ---------------------------------------------------------------------------- what values are


def _scheme(text: str) -> str | None:
    scheme = text.lower()
    return scheme if scheme in DEFAULT_PORTS else None


def _host(text: str) -> str | None:
    found = _HOST(text)
    if found is None or (found[1] and parse_address(found[1]) is None):
        return None
    return None if found[3] and _port(found[3]) is None else text


def _port(text: str) -> str | None:
    is_number = text.isascii() and text.isdigit() and len(text) <= 5
    return text if is_number and text[0] != "0" and int(text) <= MAX_PORT else None


def _prefix(text: str) -> str | None:
    """Return a path that begins with one slash: with two it would be another host's address."""
    if _PATH(text) is None:
        return None
    path = unquote_to_bytes(text.encode("latin-1")).decode("latin-1").rstrip("/")
    _, *segments = path.split("/")
    is_plain = not any(segment in ("", ".", "..") for segment in segments)
    return path if is_plain and not _UNFIT_IN_PATH(path) else None
