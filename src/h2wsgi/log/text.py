"""Text of others made safe for a line of a log, and what a line says of a request. Pure."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

# C0, DEL and C1; marks that reorder text; line separators; surrogates; what nobody can see.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
MAX_SHOWN = 2048
"""Characters of a path in a text line; a JSON line has the whole path."""
MAX_METHOD = 32
"""Characters of a method. The longest that is registered has 17."""
MAX_NAME = 256
"""Characters of a type's name."""
UTC_OFFSET = time.localtime().tm_gmtoff
"""Seconds. Read once, as applications change the process's time zone (Django always does)."""


class AccessRecord(NamedTuple):
    """One request and how it ended.

    ``status`` is 0 if no response head left; ``seconds`` run from its HEADERS to its end;
    ``octets`` are those of the response's content; ``outcome`` is empty for a complete response.
    ``remote`` is the client, ``proxy`` the peer if a proxy named the client; ``connection`` is the
    connection's number.
    """

    method: str
    path: str
    status: int
    protocol: str
    stream_id: int
    seconds: float
    octets: int
    remote: str
    outcome: str = ""
    proxy: str = ""
    connection: int = 0
    authority: bytes | None = None
    fields: Iterable[tuple[bytes, bytes]] = ()
    response_fields: Iterable[tuple[bytes, bytes]] = ()
    variables: Mapping[str, str] = {}
    """What environ says of the connection, set by the server."""


def printable(text: str) -> str:
    """Return ``text`` with what controls terminals or fakes lines as ``\\xNN``, ``\\uNNNN``."""
    if text.isascii() and text.isprintable():
        return text
    return UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def cut(text: str, most: int) -> str:
    """Return no more than ``most`` characters of ``text``, and dots for the rest."""
    return text if len(text) <= most else f"{text[:most]}..."


def shown(text: str, most: int) -> str:
    """Return somebody else's text as a line may hold it: cut and printable."""
    return printable(cut(text, most))


@functools.lru_cache(maxsize=2)
def time_of_day(second: int) -> str:
    """Return the local time of day of a second since the epoch."""
    return time.strftime("%H:%M:%S", time.gmtime(second + UTC_OFFSET))


def name_of_type(kind: type) -> str:
    """Return the name of a type, cut, without asking its metaclass."""
    name: str = vars(type)["__name__"].__get__(kind)
    return cut(name, MAX_NAME)
