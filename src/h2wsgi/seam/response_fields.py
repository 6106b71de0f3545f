"""What the fields of a response must be: of its head, of 1xx heads, of trailers. Pure.

RFC 9110 sections 5 and 6.5.1, RFC 9113 section 8.2. What an application gives is refused or comes
out as it is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import ApplicationError

Fields = list[tuple[bytes, bytes]]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
forbidden_in_value = re.compile("[\x00-\x08\x0a-\x1f\x7f]").search

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"}
)
"""Fields about the connection, which have no place in HTTP/2 (RFC 9113 section 8.2.2)."""

NOT_IN_TRAILERS = frozenset(
    {
        "age", "authorization", "cache-control", "content-encoding", "content-length",
        "content-range", "content-type", "date", "expires", "host", "location",
        "proxy-authenticate", "proxy-authorization", "retry-after", "set-cookie", "trailer",
        "vary", "www-authenticate",
    }
)  # fmt: skip
"""Fields that a client has to know before the content (RFC 9110 section 6.5.1)."""


def checked_field(item: tuple[str, str]) -> tuple[str, str]:
    """Return a field with its name in lower case and nothing around its value.

    Raises:
        ApplicationError: an illegal name or value.
        TypeError: it is no pair of str.
    """
    if not isinstance(item, tuple) or len(item) != 2:
        raise TypeError(f"a header must be a tuple of name and value, not {item!r}")
    name, value = item
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"a header's name and value must be str: {item!r}")
    # The text of a subclass, whose methods may say something else: what is checked is sent.
    name, value = str.__str__(name), str.__str__(value)
    if _TOKEN(name) is None:
        raise ApplicationError(f"{name!r} is not a field name")
    if forbidden_in_value(value):
        raise ApplicationError(f"the value of {name!r} holds a control character: {value!r}")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise ApplicationError(f"the value of {name!r} is not latin-1: {value!r}") from None
    return name.lower(), value.strip(" \t")


def informational_fields(headers: Iterable[tuple[str, str]]) -> Fields:
    """Return the fields of a 1xx head, as octets.

    Raises: as :func:`checked_field`.
    """
    return _section(headers, HOP_BY_HOP | {"content-length"}, "a 1xx response")


def trailer_fields(headers: Iterable[tuple[str, str]]) -> Fields:
    """Return the fields of a trailer section, as octets.

    Raises: as :func:`checked_field`.
    """
    return _section(headers, HOP_BY_HOP | NOT_IN_TRAILERS, "trailers")


def _section(headers: Iterable[tuple[str, str]], refused: frozenset[str], where: str) -> Fields:
    if isinstance(headers, str | bytes | dict) or not isinstance(headers, Iterable):
        raise TypeError(f"fields are a list of pairs, not {type(headers).__name__}")
    fields = []
    for item in headers:
        name, value = checked_field(tuple(item) if isinstance(item, list) else item)
        if name in refused:
            raise ApplicationError(f"the field {name!r} has no place in {where}")
        fields.append((name.encode("ascii"), value.encode("latin-1")))
    return fields
