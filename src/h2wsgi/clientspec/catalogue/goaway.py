"""RST_STREAM, GOAWAY and connections that are lost, at each point of a response."""

from __future__ import annotations

from ...codes import ErrorCode
from .. import octets
from ..case import Script
from ..conversation import REACTION, Conversation
from ..scripts import amid, before, halves, response
from .build import ends_connection, error, fine, optional

LAST = 2**31 - 1
GRACEFUL = (
    "GOAWAY whose last-stream-id is not below a stream lets the stream end: go on until it has."
)


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


def _lost_in_a_frame(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.reach()
    c.head(request)
    whole = octets.data(request.stream, request.content, end=True)
    c.send(whole[: len(whole) // 2])
    c.sleep(REACTION)
    c.hang_up()


CASES = [
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
    optional(
        "9113/6.8/4",
        "GOAWAY below the stream",
        response("GOAWAY(NO_ERROR) that names no stream", octets.goaway(0)),
        "The request was not processed: report that, or send it again on a new connection.",
        ("gives up", "takes a response"),
    ),
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
        "Only END_STREAM ends a response; a connection that ends before it cuts it off.",
    ),
    error(
        "9113/8.1/3",
        "connection closed in the middle of the content",
        _lost("It closes the connection in the middle of the content."),
        "Only END_STREAM ends a response; a connection that ends before it cuts it off.",
    ),
    error(
        "9113/8.1/4",
        "connection reset in the middle of the content",
        _lost("It resets the TCP connection in the middle of the content.", abort=True),
        "Only END_STREAM ends a response; a connection that is reset before it cuts it off.",
    ),
    error(
        "9113/8.1/5",
        "connection closed inside a DATA frame",
        Script("It closes the connection inside a DATA frame.", _lost_in_a_frame),
        "A frame that is not whole cannot end a response.",
    ),
    fine(
        "9113/5.5/1",
        "a frame of an unknown type",
        before("a frame of type 0xfa", octets.frame(0xFA, 0, b"unknown")),
        "Frames of unknown types must be ignored.",
    ),
]
