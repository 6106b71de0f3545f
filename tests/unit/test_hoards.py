"""Who is given up while the output budget is full, with a clock that goes when the test says so."""

from __future__ import annotations

import types
from typing import Any, cast

import pytest

from h2wsgi.config.config import Config
from h2wsgi.http2 import hoards
from h2wsgi.http2.hoards import Hoards, output_budget
from h2wsgi.seam.budget import Budget
from unit.test_deadlines import Clock

LIMIT = 1_000_000


class Site:
    """Connections that hold output, and who of them was given up."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.budget = Budget(LIMIT, lambda: None, on_full=lambda: self.hoards.watch())
        self.holders: list[Any] = []
        self.hoards = Hoards(
            self.budget, lambda: self.holders, self.clock.call_later, self.clock.now
        )
        self.given_up: list[str] = []
        self.said: list[str] = []

    def holder(self) -> Any:
        connection = types.SimpleNamespace(
            streams={},
            outflow=types.SimpleNamespace(is_waiting=lambda stream: not stream.stalled),
        )
        holder = types.SimpleNamespace(connection=connection, give_up_slow=self.give_up)
        self.holders.append(holder)
        return holder

    def give_up(self, stream: Any, option: str, why: str) -> None:
        self.said.append(f"{option}: {why}")
        self.given_up.append(stream.name)
        del stream.holder.connection.streams[stream.name]
        self.budget.release(stream.queued)

    def stream(self, name: str, queued: int, *, holder: Any = None, sent: int = 0) -> Any:
        holder = holder or self.holder()
        stream = types.SimpleNamespace(
            name=name,
            queued=queued,
            octets_sent=sent,
            started_at=self.clock.time,
            stalled=False,
            holder=holder,
        )
        stream = cast(Any, Hashable(stream))
        holder.connection.streams[name] = stream
        self.budget.add(queued)
        return stream


class Hashable:
    def __init__(self, fields: types.SimpleNamespace) -> None:
        self.__dict__ = fields.__dict__


@pytest.fixture
def site() -> Site:
    return Site()


def test_nobody_is_given_up_while_there_is_room(site: Site) -> None:
    site.stream("held", LIMIT - 1)
    site.clock.advance(1_000)
    assert not site.given_up
    assert not site.clock.armed


def test_who_holds_most_and_takes_nothing_goes_first_and_only_until_there_is_room(
    site: Site,
) -> None:
    for name, queued in (("least", 100_000), ("most", 500_000), ("more", 400_000)):
        site.stream(name, queued)
    site.clock.advance(hoards.SEEN)
    assert not site.given_up
    site.clock.advance(3 * hoards.INTERVAL)
    assert site.given_up == ["most"]
    assert site.said == [
        "max_buffered: its client did not take 500000 octets, and others need the room"
    ]
    site.clock.advance(1_000)
    assert site.given_up == ["most"]
    assert not site.clock.armed


def test_who_takes_by_drips_goes_before_one_that_is_slow(site: Site) -> None:
    slow = site.stream("slow", 900_000)
    drip = site.stream("drip", 300_000)
    for _ in range(8):
        slow.octets_sent += 500
        drip.octets_sent += 1
        site.clock.advance(hoards.INTERVAL)
    assert site.given_up == ["drip"]


@pytest.mark.parametrize(("needed", "gone"), [(hoards.TOO_LONG - 1, 0), (hoards.TOO_LONG + 1, 1)])
def test_a_client_that_takes_what_it_holds_in_time_is_slow_and_stays(
    site: Site, needed: float, gone: int
) -> None:
    stream = site.stream("slow", 2 * LIMIT)
    pace = stream.queued / needed
    began = site.clock.time
    for _ in range(400):
        site.clock.advance(hoards.INTERVAL)
        stream.octets_sent = int(pace * (site.clock.time - began + hoards.INTERVAL))
    assert len(site.given_up) == gone


def test_a_client_that_opens_its_window_by_half_from_time_to_time_stays(site: Site) -> None:
    stream = site.stream("slow", 2 * LIMIT, sent=65_535)
    for second in range(100):
        if second % 8 == 7:
            stream.octets_sent += 32_768
        site.clock.advance(1)
    assert not site.given_up


def test_what_was_taken_long_ago_does_not_count(site: Site) -> None:
    stream = site.stream("stalled", LIMIT, sent=100_000_000)
    stream.started_at -= 10
    site.clock.advance(hoards.WINDOW)
    assert not site.given_up
    site.clock.advance(hoards.WINDOW + 2)
    assert site.given_up == ["stalled"]


def test_a_stream_that_came_just_now_is_not_judged(site: Site) -> None:
    site.stream("old", 200_000)
    site.stream("older", 900_000)
    site.clock.advance(hoards.SEEN)
    site.stream("new", 10 * LIMIT).started_at -= 60
    site.clock.advance(2 * hoards.INTERVAL)
    assert site.given_up == ["older", "old"]
    site.clock.advance(hoards.SEEN)
    assert site.given_up == ["older", "old", "new"]


def test_streams_of_a_connection_are_judged_one_by_one(site: Site) -> None:
    proxy = site.holder()
    read = site.stream("read", 600_000, holder=proxy)
    site.stream("stalled", 600_000, holder=proxy)
    for _ in range(20):
        read.octets_sent += 100_000
        site.clock.advance(hoards.INTERVAL)
    assert site.given_up == ["stalled"]


def test_a_stream_that_an_application_holds_up_is_nobody_elses_fault(site: Site) -> None:
    site.stream("stalled", LIMIT).stalled = True
    site.clock.advance(100)
    assert not site.given_up


def test_many_are_given_up_in_several_looks(site: Site) -> None:
    for number in range(2 * hoards.MOST_AT_ONCE):
        site.stream(str(number), LIMIT)
    site.clock.advance(hoards.SEEN + hoards.INTERVAL)
    assert len(site.given_up) == hoards.MOST_AT_ONCE
    site.clock.advance(hoards.INTERVAL)
    assert len(site.given_up) == 2 * hoards.MOST_AT_ONCE


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, 67_108),
        ({"stream_buffer": 10_000}, 10_000),
        ({"max_connections": 1}, 262_144),
        ({"max_connections": 100_000}, 671),
        ({"max_buffered": 1_048_576}, 262),
    ],
)
def test_what_all_connections_keep_is_within_the_budget(options: dict[str, Any], kept: int) -> None:
    config = Config(**options)
    budget = output_budget(config, lambda: None, lambda: None)
    assert budget.kept == kept
    assert budget.limit + kept * config.max_connections == config.max_buffered
    assert budget.limit >= config.max_buffered * 3 // 4
