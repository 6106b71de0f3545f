"""RST_STREAM, GOAWAY and connections that are lost, at each point of a response."""

from __future__ import annotations

from collections.abc import Callable

from ...codes import ErrorCode, code_name
from .. import octets
from ..case import Case, Level, Script, Step, Want
from ..conversation import OK, REACTION, Conversation, Request
from ..rules import that
from ..scripts import amid, halves, response, whole
from ..server import Session
from .build import ends_connection, error, fine, optional

LAST = 2**31 - 1
UNKNOWN = (0xFA, 0xFFFF_FFFF)
GRACEFUL = (
    "GOAWAY whose last-stream-id is not below a stream lets the stream end: go on until it has."
)
RESET = "RST_STREAM ends a response that is not whole: an error for the caller, whatever its code."
CUT_OFF = "Only END_STREAM ends a response; a connection that ends before it cuts it off."
NO_STREAM = "No request goes out on a connection that GOAWAY came on."


def _lost(words: str, *, head: bool = True, part: bool = True, **how: bool) -> Script:
    def play(c: Conversation) -> None:
        c.greet()
        request = c.request()
        c.reach()
        if head:
            c.head(request)
        if part:
            c.content(request, halves(request)[0], end=False)
            c.sleep(REACTION)
        c.hang_up(**how)

    return Script(words, play)


def _lost_at_once(c: Conversation) -> None:
    c.reach()
    c.hang_up()


def _lost_after_settings(c: Conversation) -> None:
    c.greet()
    c.reach()
    c.hang_up()


def _lost_in_a_frame(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.reach()
    c.head(request)
    whole = octets.data(request.stream, request.content, end=True)
    c.send(whole[: len(whole) // 2])
    c.sleep(REACTION)
    c.hang_up()


def _lost_with_a_length(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.reach()
    c.head(request, ("content-length", str(len(request.content))))
    c.content(request, halves(request)[0], end=False)
    c.sleep(REACTION)
    c.hang_up()


def _lost_before_the_end(c: Conversation) -> None:
    """All of the content is there, but not the end."""
    c.greet()
    request = c.request()
    c.reach()
    c.head(request)
    c.content(request, request.content, end=False)
    c.sleep(REACTION)
    c.hang_up()


def _closed_behind(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.reach()
    c.respond(request)
    c.hang_up()


def _lost_in_an_upload(c: Conversation) -> None:
    c.greet()
    c.credits = False
    request = c.request()
    c.until(lambda: c.received(request.stream) > 1000)
    c.reach()
    c.hang_up()


def _goaway_and_close(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.reach()
    c.head(request)
    c.content(request, halves(request)[0], end=False)
    c.send(octets.goaway(request.stream))
    c.sleep(REACTION)
    c.hang_up()


def _goaway_then_well(c: Conversation) -> None:
    """The first connection is told to go away while it answers; the next ones are good."""
    c.greet()
    request = c.request()
    if c.number == 1:
        c.send(octets.goaway(request.stream))
    c.reach()
    c.respond(request)
    c.serve()


def _one_request_on_the_first(session: Session) -> str:
    first = session.conversations[0]
    requests = sum(f.type == octets.HEADERS for f in first.frames)
    return f"it sent {requests} requests on it" if requests > 1 else ""


def _no_error_behind(c: Conversation) -> None:
    """A whole response to a request that is still being sent, then RST_STREAM(NO_ERROR)."""
    c.greet()
    c.credits = False
    request = c.request()
    c.until(lambda: c.received(request.stream) > 1000)
    c.reach()
    c.respond(request)
    c.send(octets.reset(request.stream, ErrorCode.NO_ERROR))


def _reset_in_an_upload(c: Conversation) -> None:
    c.greet()
    c.credits = False
    request = c.request()
    c.until(lambda: c.received(request.stream) > 1000)
    c.reach()
    c.send(octets.reset(request.stream, ErrorCode.CANCEL))


def _reset_then_well(c: Conversation) -> None:
    """One response is cut off; the connection has to be good for the next."""
    c.greet()
    request = c.request()
    c.head(request)
    c.send(octets.reset(request.stream, ErrorCode.INTERNAL_ERROR))
    second = c.request()
    c.reach()
    c.respond(second)


def _reset_amid(words: str, before: Callable[[Request], bytes], code: int) -> Script:
    """Reset a stream, and go on as if nothing was: a client that takes no notice gets all of it."""

    def play(c: Conversation) -> None:
        c.greet()
        for request in c.requests():
            c.reach()
            sent = before(request)
            c.send(sent, octets.reset(request.stream, code))
            c.sleep(REACTION)
            c.send(whole(request)[len(sent) :])

    return Script(words, play)


def _nothing(request: Request) -> bytes:
    return b""


def _in_place(number: int, code: int) -> Case:
    thing = f"RST_STREAM({code_name(code)})"
    script = _reset_amid(f"It answers with {thing}, and a response behind it.", _nothing, code)
    return error(f"9113/6.4/{number}", f"{thing} in place of a response", script, RESET)


def _amid(number: int, code: int) -> Case:
    thing = f"RST_STREAM({code_name(code)})"
    words = f"It sends {thing} in the middle of the content, and the rest behind it."
    return error(
        f"9113/6.4/{number}",
        f"{thing} in the middle of the content",
        _reset_amid(words, _half, code),
        RESET,
    )


def _head(r: Request) -> bytes:
    return octets.headers(r.stream, OK)


def _half(r: Request) -> bytes:
    return _head(r) + octets.data(r.stream, halves(r)[0])


def _all(r: Request) -> bytes:
    return _half(r) + octets.data(r.stream, halves(r)[1])


CODES = [*ErrorCode, *UNKNOWN]
POST_ERROR = (Step(Want.ERROR, "post", size=100_000),)

CASES: list[Case] = [
    # ----------------------------------------------------------------------- RST_STREAM (6.4, 7)
    *[_in_place(10 + number, code) for number, code in enumerate(CODES)],
    *[_amid(30 + number, code) for number, code in enumerate(CODES)],
    error(
        "9113/6.4/4",
        "RST_STREAM behind all of the content",
        response(
            "all of the content and RST_STREAM(NO_ERROR), but no END_STREAM",
            lambda r: _all(r) + octets.reset(r.stream, 0),
        ),
        RESET,
    ),
    error(
        "9113/6.4/5",
        "RST_STREAM behind the head",
        _reset_amid("It sends a head, RST_STREAM(INTERNAL_ERROR), and the content.", _head, 2),
        RESET,
    ),
    Case(
        id="9113/6.4/6",
        title="a response behind one that was reset",
        level=Level.MUST,
        script=Script("It resets a first response and answers the next well.", _reset_then_well),
        steps=(Step(Want.ERROR), Step(Want.WHOLE)),
        wire=(),
        advice="RST_STREAM ends one stream: what follows is not concerned.",
    ),
    Case(
        id="9113/8.1/23",
        title="a whole response and RST_STREAM(NO_ERROR) during an upload",
        level=Level.MUST,
        script=Script(
            "It answers an upload before it has ended, and resets the stream with NO_ERROR.",
            _no_error_behind,
        ),
        steps=(Step(Want.WHOLE, "post", size=100_000),),
        wire=(),
        advice="A response that was whole must not be discarded because RST_STREAM follows it.",
    ),
    error(
        "9113/6.4/7",
        "RST_STREAM during an upload",
        Script("It resets the stream in the middle of an upload.", _reset_in_an_upload),
        RESET,
        steps=POST_ERROR,
    ),
    # ------------------------------------------------------------------------------ GOAWAY (6.8)
    fine(
        "9113/6.8/1",
        "GOAWAY that lets the response come",
        amid("GOAWAY(NO_ERROR) that names the stream", lambda r: octets.goaway(r.stream)),
        GRACEFUL,
    ),
    fine(
        "9113/6.8/2",
        "GOAWAY with the largest last-stream-id, then one that names the stream",
        amid(
            "GOAWAY(NO_ERROR) with 2^31-1 and then one that names the stream",
            lambda r: octets.goaway(LAST) + octets.goaway(r.stream),
        ),
        GRACEFUL,
    ),
    ends_connection(
        "9113/6.8/3",
        "GOAWAY on a stream",
        amid("GOAWAY on the stream", lambda r: octets.frame(octets.GOAWAY, r.stream, bytes(8))),
        "GOAWAY is about the connection: on a stream it is a connection error.",
        ErrorCode.PROTOCOL_ERROR,
    ),
    fine(
        "9113/6.8/6",
        "GOAWAY with a great deal of debug data",
        amid(
            "GOAWAY(NO_ERROR) with 16,000 octets of debug data",
            lambda r: octets.goaway(r.stream, 0, b"\x1b[31m" * 3200),
        ),
        "Debug data has no meaning, and may be as long as a frame.",
    ),
    optional(
        "9113/6.8/7",
        "GOAWAY with an error that lets the response come",
        amid("GOAWAY(INTERNAL_ERROR) that names the stream", lambda r: octets.goaway(r.stream, 2)),
        GRACEFUL,
        ("gives up", "takes the response"),
    ),
    optional(
        "9113/7/1",
        "GOAWAY with a code that nobody knows",
        amid("GOAWAY(0xff00) that names the stream", lambda r: octets.goaway(r.stream, 0xFF00)),
        "Codes that are not known must not lead to anything special.",
        ("gives up", "takes the response"),
    ),
    error(
        "9113/6.8/8",
        "GOAWAY, and the connection closed in the middle of the content",
        Script("In the middle of the content it sends GOAWAY and closes.", _goaway_and_close),
        CUT_OFF,
    ),
    error(
        "9113/6.8/9",
        "GOAWAY(ENHANCE_YOUR_CALM) below the stream, each time",
        response("GOAWAY(ENHANCE_YOUR_CALM) that names no stream", octets.goaway(0, 0xB)),
        "A request that is never processed ends in an error, after a few attempts at most.",
    ),
    Case(
        id="9113/6.8/10",
        title="a request behind GOAWAY",
        level=Level.MUST,
        script=Script(
            "It sends GOAWAY before the response to the first request.", _goaway_then_well
        ),
        steps=(Step(Want.WHOLE), Step(Want.WHOLE)),
        wire=(that("the second request goes out on a new connection", _one_request_on_the_first),),
        advice=NO_STREAM,
    ),
    # -------------------------------------------------------------------- connections that are lost
    error(
        "9113/8.1/1",
        "connection closed before a response",
        _lost("It closes the connection in place of a response.", head=False, part=False),
        "A connection that ends without a response is an error for the caller.",
    ),
    error(
        "9113/8.1/2",
        "connection closed behind the head",
        _lost("It closes the connection behind the head of a response.", part=False),
        CUT_OFF,
    ),
    error(
        "9113/8.1/3",
        "connection closed in the middle of the content",
        _lost("It closes the connection in the middle of the content."),
        CUT_OFF,
    ),
    error(
        "9113/8.1/4",
        "connection reset in the middle of the content",
        _lost("It resets the TCP connection in the middle of the content.", abort=True),
        CUT_OFF,
    ),
    error(
        "9113/8.1/5",
        "connection closed inside a DATA frame",
        Script("It closes the connection inside a DATA frame.", _lost_in_a_frame),
        "A frame that is not whole cannot end a response.",
    ),
    error(
        "9113/8.1/24",
        "connection closed without TLS's close_notify",
        _lost("It closes the connection in the middle of the content, untold.", notify=False),
        CUT_OFF,
    ),
    error(
        "9113/8.1/25",
        "connection closed behind all of the content, without END_STREAM",
        Script("It sends all of the content, no END_STREAM, and closes.", _lost_before_the_end),
        CUT_OFF,
    ),
    error(
        "9113/8.1/26",
        "connection closed in the middle of content whose length is known",
        Script("It closes in the middle of content whose length it has told.", _lost_with_a_length),
        CUT_OFF,
    ),
    error(
        "9113/3.4/6",
        "connection closed before SETTINGS",
        Script("It closes the connection before its preface.", _lost_at_once),
        "A connection that ends without a response is an error for the caller.",
    ),
    error(
        "9113/3.4/7",
        "connection closed behind SETTINGS",
        Script("It closes the connection behind its preface.", _lost_after_settings),
        "A connection that ends without a response is an error for the caller.",
    ),
    error(
        "9113/8.1/27",
        "connection closed during an upload",
        Script("It closes the connection in the middle of an upload.", _lost_in_an_upload),
        "A connection that ends without a response is an error for the caller.",
        steps=POST_ERROR,
    ),
    fine(
        "9113/8.1/29",
        "connection closed behind the response",
        Script("It closes the connection behind a whole response.", _closed_behind),
        "A response that was whole stays whole when the connection ends.",
    ),
    fine(
        "9113/7/2",
        "GOAWAY behind the response",
        response(
            "a good response and GOAWAY(NO_ERROR)",
            lambda r: (
                _half(r) + octets.data(r.stream, halves(r)[1], end=True) + octets.goaway(r.stream)
            ),
        ),
        "What comes behind a whole response does not change it.",
        steps=(Step(Want.WHOLE),),
    ),
]
