"""Requests that may be sent again, and those that may not (RFC 9113 section 8.7)."""

from __future__ import annotations

from collections.abc import Callable

from ...codes import ErrorCode
from .. import octets
from ..case import Case, Level, Script, Step, Want
from ..conversation import Conversation, Request
from ..rules import should
from ..server import Session
from .build import error, optional

WORDS = ("gives up", "sends it again")
SAFE = "The request was not processed: report that, or send it again."
ONCE = "A POST that may have been processed is not sent again without being asked to."
POST = (Step(Want.EITHER, "post", size=1000),)


def _requests(session: Session) -> int:
    frames = (f for c in session.conversations for f in c.frames)
    return sum(f.block is not None and f.type == octets.HEADERS for f in frames)


def _once(session: Session) -> str:
    count = _requests(session)
    return f"it sent the request {count} times" if count > 1 else ""


def _first(wrong: Callable[[Conversation, Request], None]) -> Callable[[Conversation], None]:
    """Call ``wrong`` for the first request on any connection; answer the others well."""

    def play(c: Conversation) -> None:
        c.greet()
        request = c.request()
        if _requests(c.session) == 1:
            c.until(lambda: c.has_ended(request.stream), 2)
            c.reach()
            wrong(c, request)
        else:
            c.respond(request)
        c.serve()

    return play


def _always(wrong: Callable[[Conversation, Request], None]) -> Callable[[Conversation], None]:
    """Call ``wrong`` for every request, after all of it has come."""

    def play(c: Conversation) -> None:
        c.greet()
        while True:
            request = c.request()
            c.until(lambda: c.has_ended(request.stream), 2)  # noqa: B023
            c.reach()
            wrong(c, request)

    return play


def _refuse(c: Conversation, r: Request) -> None:
    c.send(octets.reset(r.stream, ErrorCode.REFUSED_STREAM))


def _fail(c: Conversation, r: Request) -> None:
    c.send(octets.reset(r.stream, ErrorCode.INTERNAL_ERROR))


def _cancel(c: Conversation, r: Request) -> None:
    c.send(octets.reset(r.stream, ErrorCode.CANCEL))


def _go_away(c: Conversation, r: Request) -> None:
    c.send(octets.goaway(r.stream - 2 if r.stream > 1 else 0))


def _close(c: Conversation, r: Request) -> None:
    c.hang_up()


def _goaway_above(c: Conversation, r: Request) -> None:
    c.send(octets.goaway(r.stream))
    c.hang_up()


def _sent_once(id: str, title: str, script: Script) -> Case:
    """A POST that was processed, and must not be sent again."""
    return error(
        id,
        title,
        script,
        ONCE,
        should("the POST is sent once", _once),
        level=Level.SHOULD,
        steps=(Step(Want.ERROR, "post", size=1000),),
    )


CASES: list[Case] = [
    optional(
        "9113/8.7/1",
        "REFUSED_STREAM once",
        Script("It refuses the first request and answers the next.", _first(_refuse)),
        SAFE,
        WORDS,
    ),
    optional(
        "9113/8.7/2",
        "REFUSED_STREAM once, to a POST",
        Script("It refuses the first POST and answers the next.", _first(_refuse)),
        SAFE,
        WORDS,
        steps=POST,
    ),
    error(
        "9113/8.7/3",
        "REFUSED_STREAM each time",
        Script("It refuses every request.", _always(_refuse)),
        "A request that is refused again and again ends in an error.",
    ),
    optional(
        "9113/6.8/4",
        "GOAWAY below the stream",
        Script("It sends GOAWAY that names no stream, and answers the next.", _first(_go_away)),
        SAFE,
        WORDS,
    ),
    optional(
        "9113/8.7/4",
        "GOAWAY below the stream of a POST",
        Script("It sends GOAWAY below a POST, and answers the next.", _first(_go_away)),
        SAFE,
        WORDS,
        steps=POST,
    ),
    optional(
        "9110/9.2.2/1",
        "a connection closed in place of a response, once",
        Script("It closes the first connection in place of a response.", _first(_close)),
        "A GET may be sent again.",
        WORDS,
    ),
    _sent_once(
        "9110/9.2.2/2",
        "RST_STREAM(INTERNAL_ERROR) behind a POST",
        Script("It takes a POST, and resets the stream each time.", _always(_fail)),
    ),
    _sent_once(
        "9110/9.2.2/5",
        "RST_STREAM(CANCEL) behind a POST",
        Script("It takes a POST, and cancels the stream each time.", _always(_cancel)),
    ),
    _sent_once(
        "9110/9.2.2/3",
        "a connection closed behind a POST",
        Script("It takes a POST, and closes the connection each time.", _always(_close)),
    ),
    _sent_once(
        "9110/9.2.2/4",
        "GOAWAY that names the stream of a POST, and the end",
        Script(
            "It takes a POST, sends GOAWAY that names its stream, and closes each time.",
            _always(_goaway_above),
        ),
    ),
]
