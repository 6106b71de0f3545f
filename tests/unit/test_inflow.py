"""Content on its way in: credit for it, and when the threads that wait for it are woken."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast
from unittest.mock import ANY

from hypothesis import given, settings
from hypothesis import strategies as st

from h2wsgi.http2.inflow import TURNS, Inflow, ReaderWakeups
from h2wsgi.seam.budget import Budget
from h2wsgi.seam.stream import Stream

patient = settings(deadline=None)
"""A busy machine may be slow with any one example."""


# ---------------------------------------------------------------------------------- credit


@patient
@given(st.integers(1, 2_000), st.lists(st.integers(0, 1_500), max_size=50))
def test_credit_is_returned_in_steps_and_never_lost(window: int, taken: list[int]) -> None:
    announced: list[int] = []
    engine = SimpleNamespace(credit=lambda stream_id, octets: announced.append(octets))
    server = SimpleNamespace(config=SimpleNamespace(connection_window=window))
    share = Budget(1, lambda: None).share()
    inflow = Inflow(ANY, engine, server, ANY, share, {})  # type: ignore[arg-type]
    step = max(1, window // 2)
    for octets in taken:
        inflow.taken(octets)
        assert 0 <= inflow.owed < step
    assert all(due >= step for due in announced)
    assert sum(announced) + inflow.owed == sum(taken)


# --------------------------------------------------------------------------------- readers


class Turns:
    """A loop that makes one turn when it is told to."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self._calls.append(call)

    def turn(self) -> int:
        """Make the calls that are due; return how many there were."""
        calls, self._calls = self._calls, []
        for call in calls:
            call()
        return len(calls)


class FedStream:
    """What ReaderWakeups sees of a stream."""

    def __init__(self) -> None:
        self.buffered = 0
        self.woken = 0

    def wake_reader(self) -> None:
        self.woken += 1


class Feeding:
    """Two streams of a connection, whose readers are worth waking for 100 octets."""

    def __init__(self) -> None:
        self.loop = Turns()
        self.readers = ReaderWakeups(self.loop.call_soon, enough=100)
        self.first, self.second = FedStream(), FedStream()

    def receive(self, stream: FedStream, octets: int) -> None:
        stream.buffered += octets
        self.readers.received(cast(Stream, stream))
        self.readers.slice_ended()

    @property
    def woken(self) -> tuple[int, int]:
        return self.first.woken, self.second.woken


def test_a_reader_is_woken_when_the_input_is_dry_for_a_turn() -> None:
    feeding = Feeding()
    feeding.receive(feeding.first, 10)
    feeding.loop.turn()  # before the loop has looked at its sockets again
    assert feeding.woken == (0, 0)
    feeding.loop.turn()
    assert feeding.woken == (1, 0)
    assert feeding.loop.turn() == 0


def test_a_reader_waits_while_more_comes_but_not_for_long() -> None:
    feeding = Feeding()
    feeding.receive(feeding.first, 10)
    for _ in range(TURNS):
        assert feeding.woken == (0, 0)
        feeding.receive(feeding.second, 1)
        feeding.loop.turn()
    assert feeding.woken == (1, 1)


def test_a_reader_with_a_good_part_of_its_window_is_woken_at_the_end_of_the_slice() -> None:
    feeding = Feeding()
    feeding.receive(feeding.first, 10)
    feeding.receive(feeding.second, 100)
    assert feeding.woken == (0, 1)
    while feeding.loop.turn():
        pass
    assert feeding.woken == (1, 1)


def test_content_that_comes_after_a_reader_was_woken_wakes_it_again() -> None:
    feeding = Feeding()
    for count in (1, 2, 3):
        feeding.receive(feeding.first, 10)
        while feeding.loop.turn():
            pass
        assert feeding.woken == (count, 0)
