"""Limits that a server sets, and those of the client (RFC 9113 sections 5.1.2, 10.5.1)."""

from __future__ import annotations

from collections.abc import Callable

from ...codes import Setting
from .. import octets
from ..case import Case, Level, Script, Step, Want
from ..conversation import OK, REACTION, Conversation, DoesNotApply, Request
from ..octets import ACK, CONTINUATION, END_HEADERS, HEADERS, SETTINGS, block, frame, settings
from ..rules import Rule, that
from ..scripts import response
from ..server import Session
from .build import fine, optional

LIMIT = Setting.MAX_CONCURRENT_STREAMS
OBEY = "No more streams may be open at once than the limit that was acknowledged."
MANY = 5


def _within(session: Session) -> str:
    for conversation in session.conversations:
        limits: list[int] = []
        limit = 2**31
        for one in conversation.exchanged:
            if one.type == SETTINGS and not one.received and not one.flags & ACK:
                found = [entry.value for entry in one.settings or () if entry.id == LIMIT]
                limits.append(found[-1] if found else -1)
            elif one.type == SETTINGS and one.received and one.flags & ACK and limits:
                new = limits.pop(0)
                limit = new if new >= 0 else limit
            elif one.type == HEADERS and one.received and one.open_streams > limit:
                return f"it had {one.open_streams} streams open, over the limit of {limit}"
    return ""


WITHIN: Rule = that("never more streams are open than MAX_CONCURRENT_STREAMS allows", _within)


def _serve(*entries: tuple[int, int], lowered: bool = False) -> Callable[[Conversation], None]:
    def play(c: Conversation) -> None:
        c.greet(*entries)
        first = c.request()
        c.sleep(REACTION)
        if lowered:
            c.send(settings((LIMIT, 1)))
            c.sleep(REACTION)
        c.reach()
        c.respond(first)
        while True:
            request = c.request(3600)
            c.sleep(0.02)
            c.respond(request)

    return play


def _none_for_a_while(c: Conversation) -> None:
    c.greet()
    c.respond(c.request())
    had = c.acknowledged()
    c.send(settings((LIMIT, 0)))
    c.until(lambda: c.acknowledged() > had, 1)
    c.reach()
    c.sleep(4 * REACTION)
    c.send(settings((LIMIT, 100)))
    c.serve()


def _large_head(octets_: int) -> Script:
    def make(r: Request) -> bytes:
        more = tuple((f"x-large-{n}", "v" * 1000) for n in range(octets_ // 1000))
        return _in_pieces(r.stream, block((*OK, *more))) + octets.data(
            r.stream, r.content, end=True
        )

    return response(f"a response with {octets_:,} octets of fields", make)


def _in_pieces(stream: int, encoded: bytes) -> bytes:
    pieces = octets.pieces(encoded, 2**14)
    frames = [
        frame(CONTINUATION if n else HEADERS, stream, piece, END_HEADERS if last else 0)
        for n, piece in enumerate(pieces)
        for last in [n == len(pieces) - 1]
    ]
    return b"".join(frames)


def _over_its_limit(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.until(lambda: c.settings, 1)
    limit = c.settings.get(Setting.MAX_HEADER_LIST_SIZE)
    if limit is None or limit > 2**20:
        raise DoesNotApply("it announces no MAX_HEADER_LIST_SIZE, or a large one")
    c.reach()
    more = tuple((f"x-large-{n}", "v" * 1000) for n in range(limit // 1000 + 5))
    c.send(_in_pieces(request.stream, block((*OK, *more))))
    c.content(request, request.content)


AT_ONCE = (Step(Want.WHOLE, times=MANY),)

CASES: list[Case] = [
    fine(
        "9113/5.1.2/1",
        "requests at once",
        Script("It answers requests that come at once.", _serve()),
        "Streams run side by side, and each response is its own.",
        steps=AT_ONCE,
    ),
    fine(
        "9113/5.1.2/2",
        "MAX_CONCURRENT_STREAMS of 1",
        Script("It allows one stream at a time.", _serve((LIMIT, 1))),
        OBEY,
        WITHIN,
        steps=AT_ONCE,
    ),
    fine(
        "9113/5.1.2/3",
        "MAX_CONCURRENT_STREAMS lowered in flight",
        Script(
            "It allows two streams, and then one, while requests run.",
            _serve((LIMIT, 2), lowered=True),
        ),
        OBEY,
        WITHIN,
        steps=AT_ONCE,
    ),
    Case(
        id="9113/5.1.2/4",
        title="MAX_CONCURRENT_STREAMS of 0 for a second",
        level=Level.MUST,
        script=Script(
            "After a first response it allows no stream for a second.", _none_for_a_while
        ),
        steps=(Step(Want.WHOLE), Step(Want.EITHER)),
        wire=(WITHIN,),
        advice=OBEY,
    ),
    fine(
        "9113/10.5.1/1",
        "fields of 10,000 octets",
        _large_head(10_000),
        "Fields of some KiB are common.",
        level=Level.ROBUST,
    ),
    optional(
        "9113/10.5.1/2",
        "fields of 40,000 octets",
        _large_head(40_000),
        "A client may refuse large fields, with an error.",
        ("refuses it", "takes it"),
    ),
    optional(
        "9113/10.5.1/3",
        "fields over the client's MAX_HEADER_LIST_SIZE",
        Script("It sends more fields than the client's SETTINGS allow.", _over_its_limit),
        "The setting is advice: a client that gets more may refuse it.",
        ("refuses it", "takes it"),
    ),
]
