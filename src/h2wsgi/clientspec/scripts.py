"""Scripts that many cases share: a good response with something in it that is not right. Pure data
and short functions, for the thread of a connection.

Whatever is wrong comes before the end of the response, and the rest of the response follows it: a
client that does not notice gets all of it, and so can be told from one that does.
"""

from __future__ import annotations

from collections.abc import Callable

from . import octets
from .case import Script
from .conversation import OK, REACTION, Conversation, Request
from .octets import Fields

Octets = bytes | Callable[[Request], bytes]
"""What is sent, or how it is made for a request."""


def made(what: Octets, request: Request) -> bytes:
    """Return the octets for a request."""
    return what(request) if callable(what) else what


def halves(request: Request) -> tuple[bytes, bytes]:
    """Return the content of a response in two pieces."""
    content = request.content
    return content[: len(content) // 2], content[len(content) // 2 :]


def whole(request: Request, *more: tuple[str, str]) -> bytes:
    """Return a good response, its content in two frames."""
    stream, (first, second) = request.stream, halves(request)
    head = octets.headers(stream, (*OK, *more))
    return head + octets.data(stream, first) + octets.data(stream, second, end=True)


def response(thing: str, what: Octets, *settings: tuple[int, int]) -> Script:
    """Send these octets in place of a response."""

    def play(c: Conversation) -> None:
        c.greet(*settings)
        for request in c.requests():
            c.reach()
            c.send(made(what, request))

    return Script(f"It answers with {thing}.", play)


def before(thing: str, what: Octets) -> Script:
    """Send these octets before a good response."""

    def play(c: Conversation) -> None:
        c.greet()
        for request in c.requests():
            c.reach()
            c.send(made(what, request))
            c.sleep(REACTION)
            c.respond(request)

    return Script(f"Before a good response it sends {thing}.", play)


def amid(thing: str, what: Octets) -> Script:
    """Send these octets between two pieces of a good response."""

    def play(c: Conversation) -> None:
        c.greet()
        for request in c.requests():
            first, second = halves(request)
            c.head(request)
            c.content(request, first, end=False)
            c.reach()
            c.send(made(what, request))
            c.sleep(REACTION)
            c.content(request, second)

    return Script(f"In the middle of a good response it sends {thing}.", play)


def greeting(thing: str, what: bytes) -> Script:
    """Send these octets as the server's preface, then respond well."""

    def play(c: Conversation) -> None:
        c.reach()
        c.is_greeted = True
        c.send(what)
        for request in c.requests():
            # Some clients are gone as soon as they have the response.
            c.until(c.acknowledged, 2 * REACTION)
            c.respond(request)

    return Script(f"Its connection begins with {thing}.", play)


def with_head(thing: str, fields: Fields) -> Script:
    """Send a good response whose head is these fields."""

    def make(request: Request) -> bytes:
        stream = request.stream
        return octets.headers(stream, fields) + octets.data(stream, request.content, end=True)

    return response(f"a response that has {thing}", make)


def with_block(thing: str, encoded: bytes) -> Script:
    """Send a good response whose head is a block that is encoded already."""

    def make(request: Request) -> bytes:
        stream = request.stream
        return octets.head(stream, encoded) + octets.data(stream, request.content, end=True)

    return response(f"a response whose field block has {thing}", make)
