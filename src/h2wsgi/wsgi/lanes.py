"""Which request runs next: one lane per connection, taken round robin.

A part of :class:`~h2wsgi.wsgi.thread_pool.ThreadPool`, without a lock of its own: whoever calls
holds the pool's. Lanes that run nothing come first: the last threads are theirs alone, however many
connections keep the others busy. A thread that waits on its client gives its share of ``limit`` to
another and takes it back without waiting for it, so an application lock held across ``write``
cannot deadlock.

Who runs is kept in sets of threads, not in counts: to enter or leave a second time changes nothing,
so whatever was interrupted can be done again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable
from typing import Generic, Protocol, TypeVar

Job = TypeVar("Job")


class Lane(Generic[Job]):
    """One connection's share of the pool."""

    __slots__ = ("__weakref__", "away", "ring", "running", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Job] = deque()
        self.running: set[Hashable] = set()
        """Threads that run one of its jobs."""
        self.away: set[Hashable] = set()
        """The same of threads that gave their share away."""
        self.ring: deque[Lane[Job]] | None = None
        """The one of the rings that it is in."""


class Runs(Hashable, Protocol[Job]):
    """A thread that runs jobs."""

    lane: Lane[Job] | None
    job: Job | None


class Lanes(Generic[Job]):
    """The lanes of all connections, and who runs their jobs.

    ``limit`` is how many may run at once, ``lane_limit`` how many of one connection, those that
    wait on their client counted.
    """

    def __init__(self, *, limit: int, lane_limit: int) -> None:
        self.limit = limit
        self.shared = shared_threads(limit)
        """How many of them are for connections that run something already."""
        self._lane_limit = lane_limit
        self.fresh: deque[Lane[Job]] = deque()
        """Lanes with jobs that wait, and none that runs: they may take the last threads."""
        self.ring: deque[Lane[Job]] = deque()
        """Other lanes with jobs that wait and may run."""
        self.running: set[Hashable] = set()
        """Threads that have a share of ``limit``."""

    @property
    def any_wait(self) -> bool:
        """True if a job waits, whether it may run now or not."""
        return bool(self.fresh or self.ring)

    def may_start(self) -> bool:
        """Return True if a job waits that may run now."""
        if self.fresh:
            return len(self.running) < self.limit
        return bool(self.ring) and len(self.running) < self.shared

    def enter(self, lane: Lane[Job]) -> None:
        """Put a lane where it waits for its turn, if it has jobs that may run."""
        if not lane.waiting or len(lane.running) + len(lane.away) >= self._lane_limit:
            return
        ring = self.ring if lane.running else self.fresh
        if lane.ring is not None:
            if lane.running or lane.ring is ring:
                return  # one that runs something by now is moved when its turn comes
            lane.ring.remove(lane)
        lane.ring = ring
        ring.append(lane)

    def leave_if_empty(self, lane: Lane[Job]) -> None:
        """Take a lane without jobs out of the rings, or it would be kept for good."""
        if lane.ring is not None and not lane.waiting:
            lane.ring.remove(lane)
            lane.ring = None

    def next(self, thread: Runs[Job]) -> bool:
        """Write the next job, round robin, on ``thread``; False if none may run now."""
        while self.may_start():
            ring = self.fresh or self.ring
            lane = ring.popleft()
            lane.ring = None
            if ring is self.fresh and lane.running:
                self.enter(lane)  # a thread of its came back meanwhile
                continue
            if not lane.waiting or len(lane.running) + len(lane.away) >= self._lane_limit:
                continue
            lane.running.add(thread)
            self.running.add(thread)
            thread.lane = lane
            thread.job = lane.waiting[0]
            lane.waiting.popleft()  # only now: a job is always somewhere
            if lane.waiting:
                self.enter(lane)
            return True
        return False

    def give_away(self, thread: Hashable, lane: Lane[Job]) -> None:
        """A thread waits on its client, or was given up: another may run meanwhile."""
        self.running.discard(thread)
        lane.running.discard(thread)
        lane.away.add(thread)
        self.enter(lane)

    def take_back(self, thread: Hashable, lane: Lane[Job]) -> None:
        """It goes on. May overshoot the limit: new starts then wait instead."""
        self.running.add(thread)
        lane.running.add(thread)
        lane.away.discard(thread)

    def end(self, thread: Hashable, lane: Lane[Job]) -> None:
        """A thread runs nothing of the lane any more."""
        self.running.discard(thread)
        lane.running.discard(thread)
        lane.away.discard(thread)
        if lane.waiting:
            self.enter(lane)

    def waiting(self) -> int:
        """Return how many jobs wait that may run, if there were threads enough."""
        lanes = [*self.fresh, *self.ring] if len(self.running) < self.shared else self.fresh
        if lanes is self.fresh:
            return len(lanes)
        return sum(len(lane.waiting) for lane in lanes)

    def rebuild(self, lanes: Collection[Lane[Job]], threads: Collection[Runs[Job]]) -> None:
        """Derive everything anew from the lanes there are and from what threads have to run."""
        self.fresh.clear()
        self.ring.clear()
        self.running.clear()
        for lane in lanes:
            lane.ring = None
            lane.running.clear()
            lane.away.intersection_update(t for t in threads if t.lane is lane)
        for thread in threads:
            if thread.lane is not None and thread not in thread.lane.away:
                self.take_back(thread, thread.lane)
        for lane in lanes:
            self.enter(lane)


def shared_threads(limit: int) -> int:
    """Return how many of ``limit`` threads are for all connections: all but 8, or 3/4.

    The others are for connections that have none yet.
    """
    return max(1, limit - min(8, limit // 4))
