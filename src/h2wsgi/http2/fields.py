"""What a field section must be (RFC 9113 sections 8.1.1 to 8.3). Pure.

A decoded field list goes in, :class:`~h2wsgi.seam.request.RequestFields` come out, or why not:
 MalformedRequest where the RFC says malformed, UnacceptableRequest where the request is legal
and this server does not serve it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import MalformedRequest, UnacceptableRequest
from ..seam import forwarded
from ..seam.request import RequestFields

FieldList = list[tuple[bytes, bytes]]

FIELD_OVERHEAD = 32
"""Octets that each field counts beside name and value (RFC 9113 section 6.5.2)."""
LARGE_SECTION = 4_096
"""Octets above which a field section counts as buffered: many small ones are no burden."""
LONGEST_SHOWN = 80
"""Octets of a name or value that an error shows: a client may send 64 KiB of either."""

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*").fullmatch
_BAD_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
# RFC 3986 has no octets above ASCII, but curl and others send what they are given.
_PATH = re.compile(rb"/[\x21\x22\x24-\x7e\x80-\xff]*").fullmatch
_AUTHORITY = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=:\[\]]+").fullmatch
_DIGITS = re.compile(rb"[0-9]{1,19}").fullmatch

_REQUEST_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})
_CONNECTION_SPECIFIC = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
_DEFAULT_PORTS = {b"http": b"80", b"https": b"443"}
_UNIQUE = frozenset({b"host", b"content-type"})


def section_size(fields: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the octets of a field section as limits count them (RFC 9113 section 6.5.2)."""
    return sum(len(name) + len(value) + FIELD_OVERHEAD for name, value in fields)


def _shown(octets: bytes) -> str:
    """Return octets of a client as an error shows them: in quotes, escaped, and not too many."""
    return repr(octets[:LONGEST_SHOWN])[1:] + ("..." if len(octets) > LONGEST_SHOWN else "")


def check_size(fields: FieldList, *, max_octets: int, max_fields: int) -> int:
    """Return the octets of a decoded field section, if it is within the limits.

    Raises:
        UnacceptableRequest: 431, too many fields or octets.
    """
    size = section_size(fields)
    if size > max_octets:
        reason = f"the field section is over {max_octets} octets"
        raise UnacceptableRequest(431, reason, limit="max_field_section")
    if len(fields) > max_fields and _count(fields) > max_fields:
        reason = f"there are more than {max_fields} fields"
        raise UnacceptableRequest(431, reason, limit="max_fields")
    return size


def _count(fields: FieldList) -> int:
    """Count the crumbs of a cookie as the one field that they are (RFC 9113 section 8.2.3).

    Browsers send each of a site's cookies as one, and it is not theirs how many those are.
    """
    crumbs = sum(name == b"cookie" for name, _ in fields)
    return len(fields) - max(crumbs - 1, 0)


def check_request(fields: FieldList, *, end_stream: bool) -> RequestFields:
    """Return the request that ``fields`` describe.

    Raises:
        MalformedRequest: a rule of RFC 9113 section 8 is broken.
        UnacceptableRequest: legal, but not served here: CONNECT.
    """
    pseudo, regular = _split(fields)
    if unknown := pseudo.keys() - _REQUEST_PSEUDO:
        raise MalformedRequest(f"{_shown(min(unknown))} is not a request pseudo-header field")
    method = pseudo.get(b":method", b"")
    if _METHOD(method) is None:
        raise MalformedRequest(f":method {_shown(method)} is not a token")
    content_length = None
    host = None
    expects_continue = False
    priority = None
    for name, value in regular:
        if name == b"content-length":
            content_length = _content_length(value, content_length)
        elif name == b"host":
            host = value
        elif name == b"expect":
            expects_continue = value.lower() == b"100-continue"
        elif name == b"priority":
            priority = value if priority is None else priority + b", " + value
    if end_stream and content_length:
        raise MalformedRequest(f"content-length is {content_length}, but there is no content")
    authority = _authority(pseudo.get(b":authority"), host, pseudo.get(b":scheme", b""))
    if method == b"CONNECT":
        if b":scheme" in pseudo or b":path" in pseudo or authority is None:
            raise MalformedRequest("CONNECT takes :authority alone (section 8.5)")
        raise UnacceptableRequest(501, "CONNECT is not supported")
    method_name = method.decode("ascii")
    return RequestFields(
        method_name,
        _scheme(pseudo),
        authority,
        check_path(pseudo.get(b":path", b""), method_name),
        tuple(regular),
        content_length,
        # Nothing to continue with where there is no content.
        expects_continue and not end_stream,
        priority,
    )


def unserved_request(fields: FieldList) -> RequestFields:
    """Return what stands for a request that no application is to see: what logs say of it."""
    known = dict(fields)
    method = known.get(b":method", b"")[:LONGEST_SHOWN].decode("latin-1")
    # CONNECT has a target, but no path.
    path = known.get(b":path", known.get(b":authority", b""))[:LARGE_SECTION]
    # Who its client is may be said by its proxy, whatever else is wrong with it.
    told = tuple(f for f in fields if f[0] in forwarded.NAMES and len(f[1]) < LARGE_SECTION)
    return RequestFields(method, b"", None, path, told, None, expects_continue=False)


def check_trailers(fields: FieldList) -> FieldList:
    """Return a trailer section, checked.

    Raises:
        MalformedRequest: it holds a pseudo-header field or an illegal field.
    """
    pseudo, regular = _split(fields)
    if pseudo:
        raise MalformedRequest("trailers hold a pseudo-header field")
    return regular


def _split(fields: FieldList) -> tuple[dict[bytes, bytes], FieldList]:
    """Separate pseudo-header fields from the others, checking every name and value."""
    pseudo: dict[bytes, bytes] = {}
    regular: FieldList = []
    seen: set[bytes] = set()
    for name, value in fields:
        if _BAD_IN_VALUE(value):
            raise MalformedRequest(f"the value of {_shown(name)} holds a control character")
        if name[:1] == b":":
            if regular:
                raise MalformedRequest(f"pseudo-header field {_shown(name)} after other fields")
            if name in pseudo:
                raise MalformedRequest(f"pseudo-header field {_shown(name)} twice")
            pseudo[name] = value
            continue
        _check_regular(name, value)
        if name in _UNIQUE:
            if name in seen:
                raise MalformedRequest(f"{_shown(name)} twice")
            seen.add(name)
        regular.append((name, value))
    return pseudo, regular


def _check_regular(name: bytes, value: bytes) -> None:
    if _NAME(name) is None:
        raise MalformedRequest(f"{_shown(name)} is not a lower-case field name")
    if value and (value[0] in b" \t" or value[-1] in b" \t"):
        raise MalformedRequest(f"the value of {_shown(name)} begins or ends with white space")
    if name == b"te" and value.lower() != b"trailers":
        raise MalformedRequest("'te' is not 'trailers' (section 8.2.2)")
    if name in _CONNECTION_SPECIFIC:
        raise MalformedRequest(f"{_shown(name)} is connection-specific (section 8.2.2)")


def _content_length(value: bytes, before: int | None) -> int:
    if _DIGITS(value) is None:
        raise MalformedRequest(f"content-length {_shown(value)} is not a number")
    length = int(value)
    if before is not None and before != length:
        raise MalformedRequest("two different content-length fields")
    return length


def _authority(authority: bytes | None, host: bytes | None, scheme: bytes) -> bytes | None:
    if authority is None:
        authority = host
    elif host is not None and _normal(host, scheme) != _normal(authority, scheme):
        raise MalformedRequest(f"host {_shown(host)} is not :authority {_shown(authority)}")
    if authority is not None and _AUTHORITY(authority) is None:
        raise MalformedRequest(f":authority {_shown(authority)} is not host and port")
    return authority


def _normal(authority: bytes, scheme: bytes) -> bytes:
    """Return an authority without the port that its scheme implies (RFC 3986 section 6.2.3)."""
    authority = authority.lower()
    host, colon, port = authority.rpartition(b":")
    return host if colon and port in (b"", _DEFAULT_PORTS.get(scheme.lower())) else authority


def _scheme(pseudo: dict[bytes, bytes]) -> bytes:
    scheme = pseudo.get(b":scheme", b"")
    if _SCHEME(scheme) is None:
        raise MalformedRequest(f":scheme {_shown(scheme)} is not a scheme")
    return scheme


def check_path(path: bytes, method: str) -> bytes:
    """Return ``path``.

    Raises:
        MalformedRequest: it is not a ``:path``.
    """
    if _PATH(path) is None and not (path == b"*" and method == "OPTIONS"):
        raise MalformedRequest(f":path {_shown(path)} is not a path")
    return path
