"""What the inspector keeps takes the memory that it says, whatever clients send.

At a part of its size, each kind of frames that could be heavier than it is taken for.
"""

from __future__ import annotations

import dataclasses
import gc
import tracemalloc
from collections.abc import Callable

import pytest

from conversations.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)
from conversations.frames import setting as entry
from h2wsgi.config.config import Config
from h2wsgi.http2.engines.hpack import encode
from h2wsgi.log.logs import library_log
from h2wsgi.tools.inspector import ledger, models
from h2wsgi.tools.inspector.ledger import Ledger
from h2wsgi.tools.tap.tap import Tap, Taps
from support.tap import FACTS

SCALE = 32
WHOLE = END_HEADERS | END_STREAM
ABOUT = 1.25
"""How much more than the limit it may be."""
Sends = Callable[[Tap, int], None]


def request(stream_id: int, *fields: tuple[bytes, bytes], flags: int = WHOLE) -> bytes:
    pseudo = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"h")]
    return frame(HEADERS, flags, stream_id, encode([*pseudo, (b":path", b"/"), *fields]))


def long_values(tap: Tap, number: int) -> None:
    tap.received(request(2 * number + 1, (b"x", b"%08d" % number + b"\xe9" * 15_000)))


def many_fields(tap: Tap, number: int) -> None:
    tap.received(request(2 * number + 1, *[(b"x%07d" % number, b"%08d" % number)] * 100))


def long_paths(tap: Tap, number: int) -> None:
    path = b"/%08d" % number + b"p" * 2_000
    fields = [(b":method", b"M" * 2_000), (b":scheme", b"https"), (b":path", path)]
    tap.received(frame(HEADERS, WHOLE, 2 * number + 1, encode(fields)))


def debug_data(tap: Tap, number: int) -> None:
    tap.received(frame(GOAWAY, 0, 0, bytes(8) + b"%08d" % number + b"d" * 3_000))


def wrong_frames(tap: Tap, number: int) -> None:
    tap.received(frame(WINDOW_UPDATE, 0, 2 * number + 1, bytes(number % 200 + 5)))


def tiny_data(tap: Tap, number: int) -> None:
    if number == 0:
        tap.received(request(1, flags=END_HEADERS))
    tap.received(frame(DATA, 0, 1, b"x"))


def waits(tap: Tap, number: int) -> None:
    """Responses that wait for a window again and again, an octet at a time."""
    if number == 0:
        tap.received(frame(SETTINGS, 0, 0, entry(4, 0)))
        tap.sent(frame(SETTINGS, 1, 0))
    stream_id = 2 * (number // 60) + 1
    if number % 60 == 0:
        tap.received(request(stream_id))
        tap.sent(frame(HEADERS, END_HEADERS, stream_id, b"\x88"))
    tap.received(frame(WINDOW_UPDATE, 0, stream_id, (1).to_bytes(4, "big")))
    tap.sent(frame(DATA, 0, stream_id, b"x"))


def failures(tap: Tap, number: int) -> None:
    """Responses of 5xx to requests that are long to quote."""
    long_paths(tap, number)
    tap.sent(frame(HEADERS, WHOLE, 2 * number + 1, encode([(b":status", b"503")])))


def all_at_once(tap: Tap, number: int) -> None:
    debug_data(tap, number)
    long_values(tap, number)


KINDS: list[tuple[Sends, int]] = [
    (long_values, 60),
    (many_fields, 20),
    (long_paths, 60),
    (debug_data, 150),
    (wrong_frames, 150),
    (tiny_data, 300),
    (waits, 300),
    (failures, 60),
    (all_at_once, 120),
]
"""What a client sends, and how many of it on each connection."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_WEIGHT", "MAX_STREAMS", "MAX_CONNECTIONS", "MAX_TROUBLES"):
        monkeypatch.setattr(ledger, name, getattr(ledger, name) // SCALE)


def octets_kept(sends: Sends, count: int) -> int:
    """Return the memory that a ledger takes after all that clients could do to it."""
    config = Config()
    kept = Ledger()
    taps = Taps([kept], library_log(config), config)
    gc.collect()
    tracemalloc.start()
    try:
        for connection in range(ledger.MAX_CONNECTIONS + 4):
            tap = taps.observe()
            tap.opened(dataclasses.replace(FACTS, number=connection + 1), "h2")
            tap.received(PREFACE)
            for number in range(count):
                sends(tap, number)
            tap.closed("the client hung up")
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("sends", "count"), KINDS, ids=lambda x: getattr(x, "__name__", ""))
def test_what_is_kept_takes_no_more_than_is_said(sends: Sends, count: int) -> None:
    assert octets_kept(sends, count) <= ABOUT * ledger.MAX_WEIGHT


@pytest.mark.parametrize("sends", [long_values, many_fields])
def test_without_the_limit_it_would_take_more(
    sends: Sends, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = ledger.MAX_WEIGHT
    monkeypatch.setattr(ledger, "MAX_WEIGHT", 10**12)
    monkeypatch.setattr(ledger, "MAX_STREAMS", 10**6)
    assert octets_kept(sends, 40) > ABOUT * limit


def test_without_the_limit_of_a_connections_frames_they_would_take_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(models, "MAX_CONNECTION_FRAMES_WEIGHT", 10**12)
    monkeypatch.setattr(models, "MAX_CONNECTION_FRAMES", 150)
    assert octets_kept(debug_data, 150) > ABOUT * ledger.MAX_WEIGHT
