"""What start_response was given -> a head to send (PEP 3333, RFC 9110). Any application thread.

Applications answer with the same few heads again and again, so the heads made in the current
second, which share a Date, are remembered as checked. A head with Set-Cookie never is: it is for
one client alone.
"""

from __future__ import annotations

import re
from email.utils import formatdate
from typing import Any

from ..errors import ApplicationError
from ..process.clock import clock
from ..seam.handover import Head
from ..seam.response_fields import HOP_BY_HOP, checked_field, forbidden_in_value

Headers = list[tuple[str, str]]

REMEMBERED_OCTETS = 65_536
"""Names and values of the heads remembered, all together."""

WITHOUT_CONTENT = frozenset({204, 205, 304})
"""Statuses sent without content or Content-Length (RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5).

A 304 might have a length, that of the content it leaves out; but some clients and proxies, Go's
among them, would wait for that content. For a 205 it could only be 0.
"""

_STATUS = re.compile(r"[2-5][0-9]{2}( .*)?").fullmatch


class CheckedHead:
    """A head that may be sent, and what it says of the content. Never changed.

    ``length`` is the declared Content-Length, None without; ``notes`` what the application did
    wrong that does not stop the response.
    """

    __slots__ = ("_sized", "announces_trailers", "head", "length", "notes", "without_content")

    def __init__(self, head: Head, length: int | None, notes: tuple[str, ...]) -> None:
        self.head = head
        self.length = length
        self.notes = notes
        self.without_content = head.status in WITHOUT_CONTENT
        self.announces_trailers = any(name == b"trailer" for name, _ in head.fields)
        """Whether trailers may follow the content, whose end is then not that of the response."""
        self._sized: CheckedHead | None = None

    def with_length(self, length: int) -> CheckedHead:
        """Return this head with a Content-Length added; the same one for the same length."""
        sized = self._sized
        if sized is None or sized.length != length:
            fields = (*self.head.fields[1:], (b"content-length", b"%d" % length))
            head = Head(self.head.status, fields, self.head.priority)
            sized = CheckedHead(head, length, self.notes)
            self._sized = sized
        return sized


_Remembered = tuple[str, Headers, CheckedHead]
"""What start_response was given, and the head for it."""


class HeadMemory:
    """Heads by what start_response was given."""

    def __init__(self) -> None:
        self._expires = 0.0
        """When the second is over, by the clock that Date shows."""
        self._date = b""
        self._known: dict[tuple[Any, ...], _Remembered] = {}
        self._octets = 0
        self._last: _Remembered | None = None
        """The one asked for last, which is the likeliest to be asked for next."""

    def checked(self, status: str, headers: Headers) -> CheckedHead:
        """Return the head for the arguments of start_response.

        Raises:
            ApplicationError: an illegal status or header.
            TypeError: something is not a str, a list or a pair.
        """
        now = clock.time()
        if now >= self._expires or now < self._expires - 1:
            self._begin_second(int(now))
        # A list of pairs is looked up as a tuple; anything else is for _check to judge.
        if type(headers) is not list:
            return _check(status, headers, self._date)
        last = self._last
        if last is not None and last[1] == headers and last[0] == status:
            return last[2]
        known = self._known
        key = (status, *headers)
        try:
            last = known.get(key)
        except TypeError:
            return _check(status, headers, self._date)
        if last is not None:
            self._last = last
            return last[2]
        found = _check(status, headers, self._date)
        self._remember(known, key, (status, headers.copy(), found))
        return found

    def _begin_second(self, second: int) -> None:
        self._date = formatdate(second, usegmt=True).encode("ascii")
        self._known = {}
        self._octets = 0
        self._last = None
        self._expires = second + 1

    def _remember(
        self, known: dict[tuple[Any, ...], _Remembered], key: tuple[Any, ...], given: _Remembered
    ) -> None:
        status, headers, checked = given
        fields = checked.head.fields
        octets = sum(len(name) + len(value) for name, value in fields)
        if self._octets + octets > REMEMBERED_OCTETS:
            return
        # A subclass may compare equal to other values, which would then be given its head.
        plain = type(status) is str and all(
            type(item) is tuple and type(item[0]) is type(item[1]) is str for item in headers
        )
        if plain and all(name != b"set-cookie" for name, _ in fields):
            self._octets += octets
            known[key] = given


def _check(status: str, headers: Headers, date: bytes) -> CheckedHead:
    if not isinstance(status, str):
        raise TypeError(f"the status must be a str, not {type(status).__name__}")
    if not isinstance(headers, list):
        raise TypeError(f"the headers must be a list, not {type(headers).__name__}")
    status = str.__str__(status)  # as checked_field does
    if _STATUS(status) is None or forbidden_in_value(status):
        raise ApplicationError(f"{status!r} is not a status: 200 to 599, a space, a reason")
    fields = [checked_field(item) for item in headers]
    names = {name for name, _ in fields}
    length = _declared_length(fields) if "content-length" in names else None
    code = int(status[:3])
    notes = []
    sent = []
    for name, value in fields:
        if name in HOP_BY_HOP:
            notes.append(f"the field {name!r} is not allowed in HTTP/2 and was left out")
        elif name != "content-length":
            sent.append((name.encode("ascii"), value.encode("latin-1")))
    if length is not None and code not in WITHOUT_CONTENT:
        sent.append((b"content-length", b"%d" % length))
    if "date" not in names:
        sent.append((b"date", date))
    if "server" not in names:
        sent.append((b"server", b"h2wsgi"))
    priority = None
    if "priority" in names:
        priority = b", ".join(value for name, value in sent if name == b"priority")
    return CheckedHead(Head(code, sent, priority), length, tuple(notes))


def _declared_length(fields: Headers) -> int:
    """Return the one length that all Content-Length fields agree on."""
    values = [value for name, value in fields if name == "content-length"]
    for value in values:
        if not (value.isascii() and value.isdigit()):
            raise ApplicationError(f"{value!r} is not a Content-Length")
    lengths = {int(value) for value in values}
    if len(lengths) > 1:
        raise ApplicationError("two different Content-Length fields")
    return lengths.pop()
