"""Responses that cost a client more than they should: it ends in bounded time and memory.

RFC 9113 section 10.5 lets a client give up on each of them, or not.
"""

from __future__ import annotations

from typing import Any

from .. import octets
from ..case import Case, Level, Script
from ..conversation import OK, Conversation, Request
from ..octets import CONTINUATION, DATA, END_HEADERS, HEADERS, PING, PRIORITY, frame, settings
from ..scripts import Octets, made
from .build import optional

WORDS = ("gives up", "takes the response")
COUNT = 50_000
CHUNK = 500
BOUNDED = "What a server may have a client do has to have a bound, in time and in memory."
ENDLESS = 256 * 2**20
"""Octets of a field block that no client takes."""


def _flood(number: int, title: str, what: Octets, count: int = COUNT, **more: Any) -> Case:
    """Send so many frames in the middle of a response, then the rest of it."""

    def play(c: Conversation) -> None:
        c.greet()
        request = c.request()
        c.head(request)
        c.reach()
        part = made(what, request) * CHUNK
        for _ in range(count // CHUNK):
            c.send(part, seen=False)
        c.content(request, request.content)

    script = Script(f"In the middle of a response it sends {count:,} frames: {title}.", play)
    return _costly(number, f"{count:,} frames: {title}", script, **more)


def _costly(number: int, title: str, script: Script, **more: Any) -> Case:
    id_ = f"9113/10.5/{number}"
    return optional(
        id_, title, script, BOUNDED, WORDS, **({"level": Level.MUST, "is_costly": True} | more)
    )


def _endless_block(c: Conversation, request: Request) -> None:
    """Send a field block that does not end, up to a size that no client would keep."""
    c.reach()
    piece = frame(CONTINUATION, request.stream, octets.literal("x-more", "v" * 16_000))
    for _ in range(ENDLESS // len(piece)):
        c.send(piece, seen=False)
    c.hang_up()


def _endless_head(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.send(frame(HEADERS, request.stream, octets.block(OK)))
    _endless_block(c, request)


def _endless_trailers(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.head(request)
    c.content(request, request.content, end=False)
    c.send(frame(HEADERS, request.stream, octets.literal("x-trailer", "1"), octets.END_STREAM))
    _endless_block(c, request)


def _bomb(c: Conversation) -> None:
    """One large field in the table, and an index to it in every octet of the block."""
    c.greet()
    request = c.request()
    c.reach()
    first = octets.block(OK) + octets.literal("x-bomb", "b" * 3900, kind=0x40)
    c.send(frame(HEADERS, request.stream, first), seen=False)
    indexes = octets.indexed(62) * 2**14
    for _ in range(5):
        c.send(frame(CONTINUATION, request.stream, indexes), seen=False)
    c.send(frame(CONTINUATION, request.stream, b"", END_HEADERS))
    c.content(request, request.content)


def _informational(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.reach()
    part = octets.headers(request.stream, [(":status", "103"), ("x-hint", "1")]) * CHUNK
    for _ in range(20_000 // CHUNK):
        c.send(part, seen=False)
    c.respond(request)


CASES: list[Case] = [
    _flood(1, "empty DATA", lambda r: octets.data(r.stream, b"")),
    _flood(2, "PING", frame(PING, 0, bytes(8))),
    _flood(3, "empty SETTINGS", settings(), 20_000),
    _flood(4, "PRIORITY", lambda r: frame(PRIORITY, r.stream, bytes(5))),
    _flood(5, "WINDOW_UPDATE", octets.window_update(0, 1)),
    _flood(6, "of an unknown type", frame(0xFA, 0, b"")),
    _flood(
        7,
        "DATA that is all padding",
        lambda r: frame(DATA, r.stream, b"\0", octets.PADDED),
        5_000,
    ),
    _flood(8, "GOAWAY", octets.goaway(2**31 - 1), 5_000),
    _costly(
        9,
        "a head without end",
        Script("It sends CONTINUATION without end, 256 MiB of it at most.", _endless_head),
    ),
    _costly(
        10,
        "trailers without end",
        Script("It sends trailers without end, 256 MiB of them at most.", _endless_trailers),
    ),
    _costly(
        11,
        "an HPACK bomb",
        Script("It sends 80 KiB that decode to 320 MB of fields.", _bomb),
    ),
    _costly(
        12,
        "20,000 informational responses",
        Script(
            "It sends 20,000 informational responses before the good one.",
            _informational,
        ),
    ),
]
