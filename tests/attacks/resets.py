"""Streams that are opened and ended at once, by the client or by what it makes the server do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attacks.wire import (
    LARGEST_WINDOW,
    POST,
    block,
    frame,
    headers,
    literal,
    number,
    request,
    streams,
    upload,
)
from support.attack import Attack, Field, Run, goaway, inside, reset
from support.peer import END_HEADERS, END_STREAM, Code, Type

COUNT = 280
LIMIT = 200
FLOODS: dict[str, object] = {"max_resets": LIMIT, "max_glitches": 300, "max_empty_frames": 50}
"""All of them small: whatever comes in numbers is met by its own limit, the first it reaches."""
CALM = goaway(Code.ENHANCE_YOUR_CALM)


def rapid_reset(field: Field) -> Iterator[None]:
    """CVE-2023-44487. The applications block: none of the rest may ever start."""
    before = field.server.ask()["started"].get("/hold", 0)
    frames = [
        request(n, b"/hold") + frame(Type.RST_STREAM, 0, n, number(Code.CANCEL))
        for n in streams(COUNT)
    ]
    yield from field.flood(field.connect(), frames)
    assert field.server.ask()["started"]["/hold"] - before <= field.server.threads_of_a_connection


def reset_of_a_closed_stream(field: Field) -> Iterator[None]:
    peer = field.connect()
    peer.get("/")
    resets = [frame(Type.RST_STREAM, 0, 1, number(Code.CANCEL))] * COUNT
    yield from field.flood(peer, resets)


def made_to_reset(provoke: Callable[[int], bytes]) -> Run:
    """MadeYouReset, CVE-2025-8671: each stream ends by a frame that the server must answer so."""

    def run(field: Field) -> Iterator[None]:
        peer = field.connect()
        yield from field.flood(peer, [provoke(n) for n in streams(COUNT)])

    return run


FIVE = literal(28, b"5")
"""content-length: 5"""
PROVOCATIONS: dict[str, Callable[[int], bytes]] = {
    "WINDOW_UPDATE of 0": lambda n: (
        request(n, b"/hold") + frame(Type.WINDOW_UPDATE, 0, n, number(0))
    ),
    "window overflow": lambda n: (
        request(n, b"/hold") + frame(Type.WINDOW_UPDATE, 0, n, number(LARGEST_WINDOW))
    ),
    "DATA after END_STREAM": lambda n: request(n, b"/hold") + frame(Type.DATA, 0, n, b"x"),
    "HEADERS after END_STREAM": lambda n: request(n, b"/hold") + headers(n, b"\xa0"),
    "PRIORITY of 4 octets": lambda n: request(n, b"/hold") + frame(Type.PRIORITY, 0, n, bytes(4)),
    "wrong content-length": lambda n: (
        upload(n, b"/hold", FIVE) + frame(Type.DATA, END_STREAM, n, b"sixsix")
    ),
    "trailers without END_STREAM": lambda n: upload(n, b"/hold") + headers(n, b"\xa0", END_HEADERS),
    "malformed request": lambda n: headers(n, b"\x82\x87"),
}


def over_the_stream_limit(field: Field) -> Iterator[None]:
    peer = field.connect()
    peer.roundtrip()  # now it has acknowledged the limit
    yield from field.flood(peer, [request(n, b"/hold") for n in streams(60)])


def one_over_the_stream_limit(field: Field) -> Iterator[None]:
    peer = field.connect()
    yield from field.flood(peer, [request(n, b"/hold") for n in streams(5)])


def many_made_resets(field: Field) -> Iterator[None]:
    peer = field.connect()
    provoke = PROVOCATIONS["WINDOW_UPDATE of 0"]
    yield from field.flood(peer, [provoke(n) for n in streams(1_500)])
    peer.roundtrip()


def skipped_streams(field: Field) -> Iterator[None]:
    peer = field.connect()
    frames = [headers(n, block(b"/", POST)) for n in streams(300, step=4)]
    yield from field.flood(peer, frames)
    peer.roundtrip()


ATTACKS = [
    Attack(
        name="rapid reset",
        run=rapid_reset,
        sees=CALM,
        limit="max_resets",
        value=LIMIT,
        options=FLOODS,
    ),
    Attack(
        name="RST_STREAM on a closed stream",
        run=reset_of_a_closed_stream,
        sees=CALM,
        limit="max_resets",
        value=LIMIT,
        options=FLOODS,
    ),
    *(
        Attack(
            name=f"MadeYouReset by {what}",
            run=made_to_reset(provoke),
            sees=CALM,
            limit="max_resets",
            value=LIMIT,
            options=FLOODS,
        )
        for what, provoke in PROVOCATIONS.items()
    ),
    Attack(
        name="one stream over the limit",
        run=one_over_the_stream_limit,
        sees=reset(Code.REFUSED_STREAM),
        limit="max_streams",
        value=4,
        off=1_000,
    ),
    Attack(
        name="streams over the limit again and again",
        run=over_the_stream_limit,
        sees=CALM,
        limit="max_refusals",
        value=40,
        options={"max_streams": 4, "max_resets": 0},
    ),
    Attack(
        name="resets that would have to be remembered",
        run=many_made_resets,
        sees=inside("at most 1,000 resets remembered", lambda i: i["resets remembered"] <= 1_000),
        limit="engines.stream_table:REMEMBERED_RESETS",
        value=None,
        off=10**9,
        options={"max_resets": 0, "max_glitches": 0},
    ),
    Attack(
        name="skipped streams that would have to be remembered",
        run=skipped_streams,
        sees=inside("at most 100 gaps remembered", lambda i: i["gaps remembered"] <= 100),
        limit="engines.stream_table:REMEMBERED_GAPS",
        value=None,
        off=10**9,
    ),
]
