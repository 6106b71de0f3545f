"""When there are to be more threads, with a clock and a CPU time of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from h2wsgi.wsgi import growth
from h2wsgi.wsgi.growth import CEILING_LOOK, GROWTH_DELAY, STALLED_AFTER, GrowthWatch, Step
from support.pool import Pool, begun


def test_threads_are_added_while_jobs_wait_and_the_processor_does_not(pools: Pool) -> None:
    pool = pools.make(64)
    jobs = [pools.job() for _ in range(40)]
    for number, job in enumerate(jobs):
        pool.submit(pools.lane(pool, number), [job])
    assert pool.threads == 4
    pools.pass_time(2)
    assert pool.threads == 8  # doubled
    pools.pass_time(6)
    assert begun(*jobs)
    assert pool.threads == 40


def test_no_threads_are_added_while_the_process_computes_unless_nothing_moves(
    pools: Pool,
) -> None:
    pool = pools.make(64)
    jobs = [pools.job() for _ in range(10)]
    for number, job in enumerate(jobs):
        pool.submit(pools.lane(pool, number), [job])
    pools.pass_time(1 + 9, busy=True)
    assert pool.threads == 4
    pools.pass_time(2, busy=True)
    assert pool.threads > 4


@pytest.mark.parametrize(("limit", "max_threads"), [(5, 100), (50, 50)])
def test_growth_ends_at_the_limit(pools: Pool, limit: int, max_threads: int) -> None:
    pool = pools.make(limit, max_threads)
    jobs = [pools.job() for _ in range(limit + 20)]
    for number, job in enumerate(jobs):
        pool.submit(pools.lane(pool, number), [job])
    pools.pass_time(40)
    assert begun(*jobs[:limit])
    assert pool.threads == limit
    assert not any(job.begun.is_set() for job in jobs[limit:])
    assert not pools.scheduled
    for job in jobs:
        job.go_on.set()
    assert begun(*jobs)


# ------------------ when the pool's watch calls for help, and how long it waits between its looks


class Watched:
    """A pool that says what it is told to, and the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        clock = SimpleNamespace(monotonic=lambda: self.now, process_time=lambda: 1.0)
        monkeypatch.setattr(growth, "clock", clock)
        monkeypatch.setattr(growth, "time", clock)
        self.started_in_turn = 0
        self.step = Step.LEFT_ALONE
        self.stalled = False
        self.calls_for_help = 0
        self.failures = 0
        """How many times from now on something raises."""
        self._next: tuple[float, Callable[[], None]] | None = None
        GrowthWatch(self, self._schedule, self._exhausted).watch()

    def grow(self, *, busy: bool, stalled: bool, stuck: bool) -> Step:
        self.stalled = stalled
        self._may_fail()
        return self.step

    def _may_fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise MemoryError

    def _schedule(self, delay: float, callback: Callable[[], None]) -> None:
        self._may_fail()
        self._next = delay, callback

    def _exhausted(self) -> None:
        self.calls_for_help += 1

    @property
    def delay(self) -> float | None:
        return self._next and self._next[0]

    def look(self, step: Step, *, started: int = 0) -> None:
        """Have the watch look when it wants to, and find this."""
        assert self._next is not None
        (delay, callback), self._next = self._next, None
        self.now += delay
        self.started_in_turn += started
        self.step = step
        callback()


def test_help_is_called_for_at_the_ceiling_once_nothing_was_started_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Watched(monkeypatch)
    watched.look(Step.AT_CEILING)
    assert (watched.stalled, watched.calls_for_help) == (False, 0)
    assert watched.delay == CEILING_LOOK >= STALLED_AFTER
    watched.look(Step.AT_CEILING)
    assert (watched.stalled, watched.calls_for_help) == (True, 1)


def test_no_help_is_called_for_at_the_ceiling_while_requests_are_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Watched(monkeypatch)
    for _ in range(20):
        watched.look(Step.AT_CEILING, started=1)
    assert watched.calls_for_help == 0


def test_no_help_is_called_for_below_the_ceiling_however_long_nothing_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Watched(monkeypatch)
    for _ in range(20):
        watched.look(Step.LEFT_ALONE)
        assert watched.delay == GROWTH_DELAY
    assert watched.stalled
    assert watched.calls_for_help == 0


def test_the_watch_ends_when_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    watched.look(Step.NOTHING_WAITS)
    assert watched.delay is None


@pytest.mark.parametrize("failures", [1, 2])
def test_the_watch_goes_on_when_a_look_or_the_way_to_the_next_one_raises(
    monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """Nobody else would look: jobs that wait would do so until others come."""
    watched = Watched(monkeypatch)
    watched.failures = failures
    with pytest.raises(MemoryError):
        watched.look(Step.LEFT_ALONE)
    assert watched.failures == 0
    assert watched.delay == GROWTH_DELAY
