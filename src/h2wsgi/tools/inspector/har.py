"""What the inspector knows, as an HTTP Archive: HAR 1.2, one entry a stream. Any thread.

The timings are the server's: ``blocked`` until the application was called, ``send`` until the
request's content was there, ``wait`` until the response's head left, ``receive`` until its end.
They add up to ``time``, as HAR demands. Contents are not kept, so the archive has none.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from ..._version import __version__
from ..tap.field_blocks import Field
from ..tap.frames import Frame, Section
from .ledger import Ledger
from .models import SeenStream

VERSION = "HTTP/2"


def export(ledger: Ledger) -> Iterator[str]:
    """Return the archive, a piece at a time."""
    creator = {"name": "h2wsgi", "version": __version__}
    head = {"version": "1.2", "creator": creator, "pages": []}
    yield '{"log": ' + json.dumps(head)[:-1] + ', "entries": ['
    comma = "\n"
    for stream in ledger.since(0).streams:
        found = ledger.stream(stream.number)
        if found is not None:
            at = ledger.at + (stream.started - ledger.started_at)
            yield comma + json.dumps(entry(*found, at))
            comma = ",\n"
    yield "]}}\n"


def entry(stream: SeenStream, frames: list[Frame], at: float) -> dict[str, Any]:
    """Return the entry of a stream that began ``at`` (seconds since the epoch)."""
    request = _section(frames, Section.REQUEST)
    response = _section(frames, Section.RESPONSE)
    timings = _timings(stream, frames)
    made: dict[str, Any] = {
        "startedDateTime": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
        "time": round(sum(ms for ms in timings.values() if ms > 0), 3),
        "request": _request(stream, request, frames),
        "response": _response(stream, response, frames),
        "cache": {},
        "timings": timings,
        "connection": str(stream.connection),
        "_streamId": stream.stream_id,
        "_blockedOnWindow": _blocked(stream),
    }
    if stream.reset is not None:
        who = "client" if stream.reset_by_client else "server"
        made["_reset"] = {"code": stream.reset_name, "by": who}
    return made


def _request(stream: SeenStream, fields: tuple[Field, ...], frames: list[Frame]) -> dict[str, Any]:
    known = {field.name: field.value for field in reversed(fields)}
    authority = known.get(":authority") or known.get("host") or "unknown"
    # A URL has no octets above ASCII, whatever the client sent.
    path = quote(known.get(":path", stream.path), safe=string.printable, encoding="latin-1")
    return {
        "method": stream.method,
        "url": f"{known.get(':scheme', 'https')}://{authority}{path}",
        "httpVersion": VERSION,
        "cookies": [
            {"name": name.strip(), "value": value}
            for field in fields
            if field.name == "cookie"
            for crumb in field.value.split(";")
            for name, _, value in (crumb.partition("="),)
        ],
        "headers": _headers(fields),
        "queryString": _query(path),
        "headersSize": _octets(frames, Section.REQUEST),
        "bodySize": stream.received,
    }


def _query(path: str) -> list[dict[str, str]]:
    try:
        pairs = parse_qsl(urlsplit(path).query, keep_blank_values=True)
    except ValueError:  # urlsplit cannot take it apart
        return []
    return [{"name": name, "value": value} for name, value in pairs]


def _response(stream: SeenStream, fields: tuple[Field, ...], frames: list[Frame]) -> dict[str, Any]:
    known = {field.name: field.value for field in reversed(fields)}
    content = {"size": stream.sent, "mimeType": known.get("content-type", "")}
    try:
        phrase = HTTPStatus(stream.status).phrase
    except ValueError:  # 0 without a status; applications may have numbers of their own
        phrase = ""
    return {
        "status": stream.status,
        "statusText": phrase,
        "httpVersion": VERSION,
        "cookies": [
            {"name": name.strip(), "value": value.strip()}
            for field in fields
            if field.name == "set-cookie"
            for name, _, value in (field.value.partition(";")[0].partition("="),)
        ],
        "headers": _headers(fields),
        "content": content,
        "redirectURL": known.get("location", ""),
        "headersSize": _octets(frames, Section.RESPONSE),
        "bodySize": stream.sent,
    }


def _section(frames: Iterable[Frame], wanted: Section) -> tuple[Field, ...]:
    return next((f.fields or () for f in frames if f.section is wanted), ())


def _octets(frames: Iterable[Frame], wanted: Section) -> int:
    """Return the octets of a field section as encoded, -1 (HAR's "unknown") without one."""
    return next((f.block.octets for f in frames if f.section is wanted and f.block), -1)


def _headers(fields: Iterable[Field]) -> list[dict[str, str]]:
    return [{"name": field.name, "value": field.value} for field in fields]


def _timings(stream: SeenStream, frames: list[Frame]) -> dict[str, float]:
    """Return the parts of the time between the first frame and the last, none below zero."""
    end = stream.ended_at or stream.closed_at or (frames[-1].time if frames else stream.started)
    marks = [stream.started]
    for at in (stream.began_at, stream.request_ended_at, stream.head_at, end):
        # An event that has not happened, or that came before the previous one, took no time.
        marks.append(min(max(marks[-1], marks[-1] if at is None else at), max(end, marks[0])))
    names = ("blocked", "send", "wait", "receive")
    parts = {
        name: round((after - before) * 1000, 3)
        for name, before, after in zip(names, marks[:-1], marks[1:], strict=True)
    }
    return {"blocked": parts["blocked"], "dns": -1, "connect": -1, "ssl": -1} | parts


def _blocked(stream: SeenStream) -> float:
    """Return the milliseconds that the response waited for a window."""
    end = stream.closed_at
    waits = ((begin, end if until is None else until) for begin, until in tuple(stream.blocks))
    return round(sum((until - begin) * 1000 for begin, until in waits if until is not None), 3)
