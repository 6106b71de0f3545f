"""Frames on streams that are idle, closed, or not the client's to open (RFC 9113 section 5.1)."""

from __future__ import annotations

from collections.abc import Callable

from ...codes import ErrorCode
from .. import octets
from ..case import Case, Level, Script, Step, Want
from ..conversation import OK, REACTION, Conversation
from ..octets import END_HEADERS, HEADERS, block, frame
from ..rules import reached, that
from ..scripts import amid, response
from ..server import Session
from .build import GET_WHOLE, ends_connection, error, optional

PROTOCOL = ErrorCode.PROTOCOL_ERROR
IDLE = 1001
"""A stream that no client has opened yet."""
IS_IDLE = "Anything but HEADERS and PRIORITY on an idle stream is a connection error."
ODD = "A client opens the odd streams: a server that does is in error."
EVEN = "A server opens even streams by PUSH_PROMISE alone."
DISCARD = "What still comes on a stream that the client has reset is processed and discarded."


def _behind(thing: str, make: Callable[[int], bytes]) -> Script:
    """Send something on a stream that a whole response has closed, then serve on."""

    def play(c: Conversation) -> None:
        c.greet()
        request = c.request()
        c.respond(request)
        c.reach()
        c.send(make(request.stream))
        c.serve()

    return Script(f"Behind a whole response it sends {thing} on its stream.", play)


def _continuation(stream: int) -> bytes:
    return frame(octets.CONTINUATION, stream, block(OK), END_HEADERS)


def _late_frames(c: Conversation) -> None:
    """Answer, then send what may be under way when a stream ends."""
    c.greet()
    request = c.request()
    c.respond(request)
    c.send(octets.window_update(request.stream, 100), octets.reset(request.stream, 0))
    second = c.request()
    c.reach()
    c.respond(second)


def _after_reset(c: Conversation) -> None:
    """Have the client reset a stream; go on sending on it, with its fields in the table."""
    c.greet()
    request = c.request()
    c.send(octets.headers(request.stream, (*OK, ("X-Upper", "case"))))
    c.until(lambda: any(f.type == octets.RST_STREAM for f in c.frames), REACTION)
    added = octets.literal("x-check", "kept", kind=0x40)
    c.send(octets.data(request.stream, b"x" * 1000))
    c.send(frame(HEADERS, request.stream, added, END_HEADERS | 1))
    second = c.request()
    c.reach()
    head = block(OK) + octets.indexed(62)
    c.send(octets.head(second.stream, head))
    c.content(second, second.content)


def _behind_the_end(c: Conversation) -> None:
    """Answer an upload that goes on, send more behind the end, and then let the upload go on.

    A client that sends more of the upload after that has seen all of this.
    """
    c.credits = False
    c.greet()
    request = c.request()
    c.until(lambda: c.received(request.stream) > 1000)
    c.respond(request)
    c.send(octets.data(request.stream, b"more"))
    c.sleep(REACTION)
    c.send(*(octets.window_update(stream, 2**20) for stream in (0, request.stream)))
    c.sleep(REACTION)
    c.reach()


def _went_on(session: Session) -> str:
    if not reached(session):
        return "it left"
    for c in session.conversations:
        credited = False
        for frame_ in c.exchanged:
            credited |= not frame_.received and frame_.type == octets.WINDOW_UPDATE
            if credited and frame_.received and frame_.type == octets.DATA:
                return "it went on with its upload"
    return ""


CASES: list[Case] = [
    ends_connection(
        "9113/5.1/1",
        "DATA on an idle stream",
        amid("DATA on an idle stream", octets.data(IDLE, b"x")),
        IS_IDLE,
        PROTOCOL,
    ),
    ends_connection(
        "9113/5.1/2",
        "RST_STREAM on an idle stream",
        amid("RST_STREAM on an idle stream", octets.reset(IDLE, 8)),
        IS_IDLE,
        PROTOCOL,
    ),
    ends_connection(
        "9113/5.1/3",
        "WINDOW_UPDATE on an idle stream",
        amid("WINDOW_UPDATE on an idle stream", octets.window_update(IDLE, 100)),
        IS_IDLE,
        PROTOCOL,
    ),
    ends_connection(
        "9113/5.1/4",
        "CONTINUATION on an idle stream",
        amid("CONTINUATION on an idle stream", frame(octets.CONTINUATION, IDLE, b"", END_HEADERS)),
        IS_IDLE,
        PROTOCOL,
    ),
    ends_connection(
        "9113/5.1.1/1",
        "HEADERS on an odd stream that is idle",
        amid("HEADERS on an odd stream that is idle", octets.headers(IDLE, OK, end=True)),
        ODD,
        PROTOCOL,
    ),
    ends_connection(
        "9113/5.1.1/2",
        "HEADERS on an even stream",
        amid("HEADERS on an even stream", octets.headers(2, OK, end=True)),
        EVEN,
        PROTOCOL,
    ),
    ends_connection(
        "9113/5.1.1/3",
        "DATA on an even stream",
        amid("DATA on an even stream", octets.data(2, b"x", end=True)),
        EVEN,
        PROTOCOL,
    ),
    ends_connection(
        "9113/5.1.1/4",
        "RST_STREAM on an even stream",
        amid("RST_STREAM on an even stream that is idle", octets.reset(2, 8)),
        IS_IDLE,
        PROTOCOL,
    ),
    ends_connection(
        "9113/5.1.1/5",
        "WINDOW_UPDATE on an even stream",
        amid("WINDOW_UPDATE on an even stream that is idle", octets.window_update(2, 100)),
        IS_IDLE,
        PROTOCOL,
    ),
    *[
        optional(
            f"9113/5.1/{number}",
            f"{thing} behind the end of a response",
            _behind(thing, make),
            "The response was whole: what comes behind it does not change that.",
            ("error", "takes the response"),
        )
        for number, thing, make in (
            (5, "DATA", lambda stream: octets.data(stream, b"more")),
            (6, "HEADERS", lambda stream: octets.headers(stream, OK)),
            (9, "CONTINUATION", _continuation),
        )
    ],
    ends_connection(
        "9113/5.1/10",
        "CONTINUATION on a stream that the server has reset",
        response(
            "half a response, RST_STREAM, CONTINUATION and the rest",
            lambda r: (
                octets.headers(r.stream, OK)
                + octets.reset(r.stream, 8)
                + _continuation(r.stream)
                + octets.data(r.stream, r.content, end=True)
            ),
        ),
        "CONTINUATION follows HEADERS without END_HEADERS, and nothing else.",
        PROTOCOL,
        ErrorCode.STREAM_CLOSED,
    ),
    error(
        "9113/5.1/11",
        "DATA behind the end of a response to an upload that goes on",
        Script(
            "It answers an upload before it has ended, and sends DATA behind the response.",
            _behind_the_end,
        ),
        "DATA on a stream that the server has ended is a stream error of type STREAM_CLOSED.",
        that("the upload ends, with RST_STREAM(STREAM_CLOSED)", _went_on, waits=True),
        steps=(Step(Want.EITHER, "post", size=100_000),),
    ),
    Case(
        id="9113/5.1/7",
        title="WINDOW_UPDATE and RST_STREAM behind the end of a response",
        level=Level.MUST,
        script=Script(
            "Behind a whole response it sends WINDOW_UPDATE and RST_STREAM(NO_ERROR).", _late_frames
        ),
        steps=(*GET_WHOLE, *GET_WHOLE),
        wire=(),
        advice="WINDOW_UPDATE and RST_STREAM may be under way as a stream ends: ignore them.",
    ),
    Case(
        id="9113/5.1/8",
        title="HEADERS and DATA on a stream that the client has reset",
        level=Level.MUST,
        script=Script(
            "It answers with a malformed response, goes on sending on that stream, and refers to "
            "its fields in the next response.",
            _after_reset,
        ),
        steps=(Step(Want.ERROR), Step(Want.WHOLE)),
        wire=(),
        advice=DISCARD,
        fields={"check": "kept"},
    ),
]
