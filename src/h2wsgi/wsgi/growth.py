"""When the thread pool grows: for applications that wait, not for those that compute.

A request that no thread takes within a few milliseconds gets a new one, unless the process was
busy computing meanwhile: more threads would then only share the same interpreter. If no request at
all was started for longer, it gets a thread even so. Loop thread only; the pool decides under its
own lock what can be done.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import Protocol

from ..process.clock import clock
from ..seam.guards import loop_thread

GROWTH_DELAY = 0.005
"""Seconds a request waits before another thread is considered."""
BUSY_SHARE = 0.8
"""CPU seconds of the process per second of waiting above which a new thread would not help."""
STALLED_AFTER = 0.05
"""Seconds in which no waiting request was started, after which growth goes on even when busy."""
CEILING_LOOK = 0.05
"""Seconds between looks while all the threads that may exist wait on clients."""


class Step(enum.Enum):
    """What came of a look at the pool."""

    NOTHING_WAITS = enum.auto()
    """The watch is over."""
    LEFT_ALONE = enum.auto()
    GREW = enum.auto()
    AT_CEILING = enum.auto()
    """No thread is idle, and no more may be started for the jobs that wait."""


class Growing(Protocol):
    """The pool."""

    @property
    def started_in_turn(self) -> int:
        """Jobs given to a thread so far, except to threads kept for connections without one."""

    def grow(self, *, busy: bool, stalled: bool, stuck: bool) -> Step:
        """Use more threads, if that helps."""


class GrowthWatch:
    """Looks at a pool, again and again, while jobs wait in it.

    ``schedule_threadsafe`` and ``exhausted`` are those that the pool was given.
    """

    def __init__(
        self,
        pool: Growing,
        schedule_threadsafe: Callable[[float, Callable[[], None]], None],
        exhausted: Callable[[], None],
    ) -> None:
        # immutable
        self._pool = pool
        self._schedule_threadsafe = schedule_threadsafe
        self._exhausted = exhausted
        # loop thread only: what the last look saw
        self._seen = (0.0, 0.0, 0)
        """Time by the monotonic clock, CPU time of the process, jobs started."""
        self._last_start = 0.0
        """When a job was started last, as far as is known, by the monotonic clock."""

    @loop_thread
    def watch(self) -> None:
        """A job waits: look in a moment whether it still does."""
        self._last_start = clock.monotonic()
        self._look_in(GROWTH_DELAY)

    def _look_in(self, delay: float) -> None:
        self._seen = (clock.monotonic(), time.process_time(), self._pool.started_in_turn)
        try:
            self._schedule_threadsafe(delay, self._look)
        except Exception:
            # Such as a MemoryError. Try once more, as nobody else looks while jobs wait.
            self._schedule_threadsafe(delay, self._look)

    @loop_thread
    def _look(self) -> None:
        """Have threads started if that helps, and look again while jobs wait."""
        delay: float | None = GROWTH_DELAY
        try:
            delay = self._grow()
        finally:
            if delay is not None:
                self._look_in(delay)

    def _grow(self) -> float | None:
        """Have threads started if requests wait, no thread is idle and the process is not busy.

        Returns the seconds until the next look; None if there need be none.
        """
        then, cpu_then, started_then = self._seen
        now = clock.monotonic()
        stuck = self._pool.started_in_turn == started_then
        if not stuck:
            self._last_start = now
        busy = time.process_time() - cpu_then >= BUSY_SHARE * (now - then)
        stalled = now - self._last_start >= STALLED_AFTER
        step = self._pool.grow(busy=busy, stalled=stalled, stuck=stuck)
        if step is Step.NOTHING_WAITS:
            return None
        if step is Step.GREW:
            self._last_start = now
        elif step is Step.AT_CEILING and stalled:
            self._exhausted()
        return CEILING_LOOK if step is Step.AT_CEILING else GROWTH_DELAY
