"""What a client knows of one stream, and which requests it may expect an answer to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

Fields = list[tuple[bytes, bytes]]

_NAME = re.compile(rb"[a-z0-9-]+").fullmatch
_VALUE = re.compile(rb"(?! )[\x20-\x7e\x80-\xff]*(?<! )").fullmatch
_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE")
_PATH = re.compile(rb"/[A-Za-z0-9/?=_.~&%-]*").fullmatch
_AUTHORITY = re.compile(rb"[a-z0-9.]+(:[0-9]+)?").fullmatch
_SPECIAL = (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")


@dataclass(slots=True)
class Exchange:
    """A request that was sent whole as a field section, and its response so far."""

    stream_id: int
    fields: Fields
    foul: str = ""
    """What is wrong with it, so that the server may end it; empty if nothing is."""
    gathered: bool = False
    """Whether its application begins once its content is whole."""
    crowded: bool = False
    """Whether it came when as many streams were open as there may be."""
    # the client's half
    ended: bool = False
    reset: bool = False
    content: bytearray = field(default_factory=bytearray)
    flow: int = 0
    """Octets of DATA, padding included."""
    left: int | None = None
    """Of the declared content."""
    updates: int = 0
    """Octets of WINDOW_UPDATE."""
    # the server's half
    status: int = 0
    """Of the final response."""
    declared: int | None = None
    received: bytearray = field(default_factory=bytearray)
    received_flow: int = 0
    trailers: bool = False
    """Whether they came."""
    response_ended: bool = False
    response_reset: int | None = None
    abandoned: bool = False
    """Whether the application has told of a reset itself, in a raw frame."""
    credit: int = 0
    silent_from: int | None = None
    """Octets of the server behind which it knew that the client had reset the stream."""

    @property
    def method(self) -> bytes:
        """Return the request's method."""
        return dict(self.fields).get(b":method", b"")

    @property
    def over(self) -> bool:
        """Whether nothing more has to come."""
        ended = self.response_ended or self.response_reset is not None
        return self.reset or self.abandoned or ended

    @property
    def uploading(self) -> bool:
        """Whether the client may send more content."""
        over = self.ended or self.reset or self.abandoned
        return not over and self.response_reset is None


def is_gathered(fields: Fields, ended: bool) -> bool:
    """Return whether the length of a request's content is not known before its end.

    A streaming RPC's content is read as it comes all the same.
    """
    known = dict(fields)
    kind = known.get(b"content-type", b"").lower()
    streams = kind.startswith((b"application/grpc", b"application/connect+"))
    return not (ended or b"content-length" in known or streams)


def foul_in(fields: Fields, ended: bool, max_octets: int, max_fields: int) -> str:
    """Return what may be wrong with a request. Knows fewer legal requests than there are."""
    pseudo = [(name, value) for name, value in fields if name.startswith(b":")]
    regular = fields[len(pseudo) :]
    known = dict(pseudo)
    if fields[: len(pseudo)] != pseudo or len(known) != len(pseudo):
        return "pseudo-header fields are not first, or twice"
    if not {b":method", b":scheme", b":path"} <= known.keys() <= _WANTED:
        return "pseudo-header fields are missing, or unknown"
    if known[b":method"] not in _METHODS or known[b":scheme"] != b"https":
        return "method or scheme"
    if not _PATH(known[b":path"]) or not _AUTHORITY(known.get(b":authority", b"a")):
        return "path or authority"
    lengths = [value for name, value in regular if name == b"content-length"]
    if lengths and (len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 9):
        return "content-length"
    if ended and lengths and int(lengths[0]):
        return "content-length without content"
    return foul_in_fields(regular) or _too_large(fields, max_octets, max_fields)


_WANTED = {b":method", b":scheme", b":path", b":authority"}


def _too_large(fields: Fields, max_octets: int, max_fields: int) -> str:
    size = sum(len(name) + len(value) + 32 for name, value in fields)
    crumbs = [name for name, _ in fields].count(b"cookie")
    number = len(fields) - crumbs + bool(crumbs)
    return "too large" if size > max_octets or number > max_fields else ""


def foul_in_fields(regular: Fields) -> str:
    """Return what may be wrong with fields of a request or a trailer section."""
    for name, value in regular:
        if not _NAME(name) or not _VALUE(value) or name in _SPECIAL:
            return f"field {name!r}"
        if name == b"te" and value != b"trailers":
            return "te"
    names = [name for name, _ in regular]
    if names.count(b"host") or names.count(b"content-type") > 1:
        return "host, or content-type twice"
    return ""


def expected_environ(fields: Fields) -> dict[str, str]:
    """Return what environ has to say of a request, as far as fields alone decide it."""
    known = dict(fields)
    raw = known[b":path"].decode("latin-1")
    expected = {"REQUEST_METHOD": known[b":method"].decode("ascii"), "RAW_URI": raw}
    expected["QUERY_STRING"] = raw.partition("?")[2]
    for name, value in fields:
        text = value.decode("latin-1")
        if name in (b"content-length", b"content-type"):
            expected[name.decode("ascii").upper().replace("-", "_")] = text
        elif not name.startswith(b":") and name != b"proxy":
            key = "HTTP_" + name.decode("ascii").upper().replace("-", "_")
            glue = "; " if name == b"cookie" else ","
            expected[key] = f"{expected[key]}{glue}{text}" if key in expected else text
    return expected
