"""What a client itself sends (RFC 9113 sections 3.4, 5.1.1, 8.2, 8.3). The server answers well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...codes import Setting
from .. import octets
from ..case import LINES, Case, Level, Script, Step, Want
from ..conversation import Conversation
from ..octets import DATA, HEADERS, SETTINGS
from ..rules import clean, request_fields, that
from ..server import Session
from .build import fine, optional

CONNECTION_FIELDS = (
    "connection",
    "proxy-connection",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
)
PSEUDO = (":method", ":scheme", ":authority", ":path")


def _well(c: Conversation) -> None:
    c.greet()
    c.reach()
    c.serve()


def _well_when_acknowledged(c: Conversation) -> None:
    c.greet()
    c.reach()
    for request in c.requests():
        c.until(c.acknowledged, 2)
        c.respond(request)


WELL = Script("It answers well.", _well)
Check = Callable[[list[tuple[str, str]], Session], str]


def _fields(id: str, title: str, words: str, check: Check, advice: str, **more: Any) -> Case:
    """A case about the fields of every request."""

    def look(session: Session) -> str:
        for fields in request_fields(session.conversations):
            if problem := check(fields, session):
                return problem
        return ""

    return fine(id, title, WELL, advice, that(words, look), **more)


def _once(fields: list[tuple[str, str]], session: Session) -> str:
    names = [name for name, _ in fields]
    wrong = [name for name in (":method", ":scheme", ":path") if names.count(name) != 1]
    return f"{wrong[0]} is there {names.count(wrong[0])} times" if wrong else ""


def _known(fields: list[tuple[str, str]], session: Session) -> str:
    wrong = [name for name, _ in fields if name.startswith(":") and name not in PSEUDO]
    return f"it sent {wrong[0]}" if wrong else ""


def _first(fields: list[tuple[str, str]], session: Session) -> str:
    kinds = [name.startswith(":") for name, _ in fields]
    return "" if kinds == sorted(kinds, reverse=True) else "a pseudo-field is behind a field"


def _authority(fields: list[tuple[str, str]], session: Session) -> str:
    wanted = f"{session.host}:{session.port}"
    got = dict(fields).get(":authority")
    return "" if got == wanted else f":authority is {got!r}, not {wanted!r}"


def _host(fields: list[tuple[str, str]], session: Session) -> str:
    known = dict(fields)
    host = known.get("host", known.get(":authority"))
    return "" if host == known.get(":authority", host) else f"Host is {host!r}"


def _scheme(fields: list[tuple[str, str]], session: Session) -> str:
    known = dict(fields)
    return "" if known.get(":scheme") == "https" else f":scheme is {known.get(':scheme')!r}"


def _path(fields: list[tuple[str, str]], session: Session) -> str:
    path = dict(fields).get(":path", "")
    return "" if path == f"/9113/8.3.1/6?1/{LINES + 1}" else f":path is {path!r}"


def _method(fields: list[tuple[str, str]], session: Session) -> str:
    method = dict(fields).get(":method")
    return "" if method == "GET" else f":method is {method!r}"


def _lower(fields: list[tuple[str, str]], session: Session) -> str:
    wrong = [name for name, _ in fields if name != name.lower()]
    return f"it sent {wrong[0]}" if wrong else ""


def _no_connection(fields: list[tuple[str, str]], session: Session) -> str:
    wrong = [name for name, _ in fields if name.lower() in CONNECTION_FIELDS]
    return f"it sent {wrong[0]}" if wrong else ""


def _te(fields: list[tuple[str, str]], session: Session) -> str:
    wrong = [value for name, value in fields if name == "te" and value != "trailers"]
    return f"it sent TE: {wrong[0]}" if wrong else ""


def _valid(fields: list[tuple[str, str]], session: Session) -> str:
    for name, value in fields:
        if any(c in "\r\n\0" for c in value) or value != value.strip(" \t"):
            return f"the value of {name} is {value!r}"
        if not name or any(c <= " " or c >= "\x7f" for c in name) or ":" in name[1:]:
            return f"it sent a field named {name!r}"
    return ""


def _preface(session: Session) -> str:
    for conversation in session.conversations:
        frames = conversation.frames
        if frames and (frames[0].type != SETTINGS or frames[0].flags & 1):
            return f"its first frame was {frames[0].name}"
    return ""


def _settings(session: Session) -> str:
    for conversation in session.conversations:
        for setting, value in conversation.settings.items():
            if setting == Setting.ENABLE_PUSH and value > 1:
                return f"ENABLE_PUSH is {value}"
            if setting == Setting.INITIAL_WINDOW_SIZE and value > octets.LARGEST_WINDOW:
                return f"INITIAL_WINDOW_SIZE is {value}"
            if setting == Setting.MAX_FRAME_SIZE and not 2**14 <= value < 2**24:
                return f"MAX_FRAME_SIZE is {value}"
    return ""


def _acknowledged(session: Session) -> str:
    for conversation in session.conversations:
        if conversation.exchanged and not conversation.acknowledged():
            return "it did not acknowledge SETTINGS"
    return ""


def _ids(session: Session) -> str:
    for conversation in session.conversations:
        ids = [f.stream_id for f in conversation.frames if f.type == HEADERS]
        if any(not id_ % 2 for id_ in ids):
            return f"it opened stream {next(i for i in ids if not i % 2)}"
        if ids != sorted(set(ids)):
            return f"it opened the streams {ids}"
    return ""


def _ended(session: Session) -> str:
    for conversation in session.conversations:
        for one in conversation.frames:
            if one.type == HEADERS and not one.ends_stream:
                return "HEADERS of a GET have no END_STREAM"
    return ""


def _length(session: Session) -> str:
    for conversation in session.conversations:
        for fields in request_fields([conversation]):
            length = dict(fields).get("content-length")
            stream = next(f.stream_id for f in conversation.frames if f.type == HEADERS)
            if length is not None and int(length) != conversation.received(stream):
                return f"Content-Length is {length}, and {conversation.received(stream)} came"
    return ""


TWICE = (Step(Want.WHOLE), Step(Want.WHOLE))


def _reuse(c: Conversation) -> None:
    """The second request fails unless it comes on the first connection."""
    c.greet()
    c.reach()
    if c.number == 1:
        c.serve()
    request = c.request()
    c.send(octets.reset(request.stream, 0xB))
    c.linger()


CASES: list[Case] = [
    fine(
        "9113/3.4/8",
        "the client's preface",
        WELL,
        "A client's preface is 24 octets that are fixed, and SETTINGS.",
        that("SETTINGS come first", _preface),
    ),
    fine(
        "9113/6.5.2/9",
        "the client's settings",
        WELL,
        "Settings have to be in their bounds.",
        that("the client's settings are in their bounds", _settings),
    ),
    fine(
        "9113/6.5.3/3",
        "the server's SETTINGS are acknowledged",
        Script("It answers well, once its SETTINGS are acknowledged.", _well_when_acknowledged),
        "SETTINGS are acknowledged as soon as possible.",
        that("SETTINGS are acknowledged", _acknowledged, waits=True),
    ),
    fine(
        "9113/4/1",
        "the client's frames",
        WELL,
        "Frames have to be as RFC 9113 section 6 says.",
        clean("no frame of the client has anything wrong with it"),
    ),
    fine(
        "9113/5.1.1/6",
        "the streams of two requests",
        WELL,
        "Streams of a client are odd, and each is higher than the one before.",
        that("streams are odd and ascend", _ids),
        steps=TWICE,
    ),
    fine(
        "9113/8.1/28",
        "a GET ends with its head",
        WELL,
        "A request without content ends with END_STREAM on its head.",
        that("HEADERS have END_STREAM", _ended),
        level=Level.SHOULD,
    ),
    optional(
        "9113/9.1/1",
        "a second request on the same connection",
        Script("It answers every request of the first connection, and none of others.", _reuse),
        "A client should not open a second connection to the same server.",
        ("opens another connection", "uses the connection again"),
        steps=(Step(Want.WHOLE), Step(Want.EITHER)),
    ),
    _fields(
        "9113/8.3.1/1",
        ":method, :scheme and :path once each",
        ":method, :scheme and :path are there once each",
        _once,
        "A request has exactly one :method, one :scheme and one :path.",
    ),
    _fields(
        "9113/8.3.1/2",
        ":method",
        ":method is GET",
        _method,
        ":method is the method, in upper case.",
    ),
    _fields(
        "9113/8.3.1/3",
        ":scheme",
        ":scheme is https",
        _scheme,
        ":scheme is that of the URL.",
    ),
    _fields(
        "9113/8.3.1/4",
        ":authority",
        ":authority is host and port of the URL",
        _authority,
        "A client uses :authority, with the port if it is not the scheme's.",
    ),
    _fields(
        "9113/8.3.1/5",
        "Host beside :authority",
        "Host, if it is there, is :authority",
        _host,
        "A Host that differs from :authority must not be sent.",
    ),
    _fields(
        "9113/8.3.1/6",
        ":path",
        ":path is that of the URL",
        _path,
        ":path is the path of the URL, from its slash on, and its query.",
        lines=LINES + 1,  # So that the URL has a query.
    ),
    _fields(
        "9113/8.3/5",
        "no other pseudo-field",
        "there is no pseudo-field but those of a request",
        _known,
        "Pseudo-fields that are not defined must not be sent.",
    ),
    _fields(
        "9113/8.3/6",
        "pseudo-fields come first",
        "pseudo-fields are before all others",
        _first,
        "Pseudo-fields come before all other fields.",
    ),
    _fields(
        "9113/8.2.1/14",
        "names in lower case",
        "names are in lower case",
        _lower,
        "Names are sent in lower case.",
    ),
    _fields(
        "9113/8.2.1/15",
        "names and values that may be",
        "names and values have no octet that may not be",
        _valid,
        "Names and values keep to what section 8.2.1 allows.",
    ),
    _fields(
        "9113/8.2.2/6",
        "no connection fields",
        "there is no field that is about the connection",
        _no_connection,
        "Fields that are about the connection must not be sent.",
    ),
    _fields(
        "9113/8.2.2/7",
        "TE",
        "TE is trailers, if it is there",
        _te,
        "TE may say trailers, and nothing else.",
    ),
    fine(
        "9113/8.1.1/6",
        "the length of an upload",
        WELL,
        "Content-Length is the length of the content.",
        that("Content-Length is what comes", _length),
        clean("DATA frames have nothing wrong with them", (DATA,)),
        steps=(Step(Want.WHOLE, "post", size=5000),),
    ),
]
