"""Which request runs next: one lane per connection, taken round robin.

A part of :class:`~h2wsgi.wsgi.thread_pool.ThreadPool`, without a lock of its own: its callers hold
the pool's. Lanes that have no thread come first, then lanes whose threads all wait on clients; the
last shares of ``limit`` are for these two alone, however busy other connections are. A thread that
waits on its client gives its share to another and takes it back without waiting, so an application
lock held across ``write`` cannot deadlock. The last threads are kept for lanes that have none,
however many threads wait on the clients of other lanes.

The threads that run are kept in sets, not counted: to add or remove one twice changes nothing, so
a step that was interrupted can be done again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable
from typing import Generic, Protocol, TypeVar

KEPT = 8
"""Threads, and shares, kept for connections that have none yet."""

Job = TypeVar("Job")


class Lane(Generic[Job]):
    """One connection's share of the pool."""

    __slots__ = ("__weakref__", "away", "ring", "running", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Job] = deque()
        self.running: set[Hashable] = set()
        """Threads that run one of its jobs."""
        self.away: set[Hashable] = set()
        """Threads that run one of its jobs, but gave their share away."""
        self.ring: deque[Lane[Job]] | None = None
        """The ring of Lanes that it waits in."""


class Runs(Hashable, Protocol[Job]):
    """A thread that runs jobs."""

    lane: Lane[Job] | None
    job: Job | None


class Lanes(Generic[Job]):
    """The lanes of all connections, and who runs their jobs.

    ``limit`` is how many threads may run at once, ``most`` how many there may be, counting those
    that wait on their clients, ``lane_limit`` how many of both kinds one connection may have.
    """

    def __init__(self, *, limit: int, most: int, lane_limit: int) -> None:
        self.limit = limit
        self.shared = shared_threads(limit)
        """How many of ``limit`` are open to connections that run something already."""
        self._crowd = shared_threads(most)
        """How many threads are open to connections that have one already."""
        self._lane_limit = lane_limit
        # Lanes with jobs that wait and may run:
        self.fresh: deque[Lane[Job]] = deque()
        """Those that have no thread: they may take the last threads, and the last shares."""
        self.quiet: deque[Lane[Job]] = deque()
        """Those whose threads all wait on their clients: they may take the last shares."""
        self.ring: deque[Lane[Job]] = deque()
        """Those that run something."""
        self.running: set[Hashable] = set()
        """Threads that have a share of ``limit``."""
        self.away: set[Hashable] = set()
        """Threads that gave their share away."""
        self.beside = 0
        """Jobs so far that took one of the last threads while other lanes were held back."""

    @property
    def rings(self) -> tuple[deque[Lane[Job]], ...]:
        """Where lanes wait for their turn."""
        return self.fresh, self.quiet, self.ring

    @property
    def any_wait(self) -> bool:
        """True if a job waits, whether it may run now or not."""
        return bool(self.fresh or self.quiet or self.ring)

    @property
    def crowded(self) -> bool:
        """True if the threads that are left are kept for lanes that have none."""
        return len(self.running) + len(self.away) >= self._crowd

    def turn(self) -> deque[Lane[Job]] | None:
        """Return the ring whose first lane may run a job now, on a thread that is there."""
        running = len(self.running)
        if self.fresh:
            return self.fresh if running < self.limit else None
        ring, share = (self.quiet, self.limit) if self.quiet else (self.ring, self.shared)
        # As `crowded`, written out to save a call for each job.
        return ring if ring and running < share and running + len(self.away) < self._crowd else None

    def held_back(self) -> bool:
        """Return True if a job may not run only because too many threads wait on clients."""
        share = self.limit if self.quiet else self.shared
        waits = not self.fresh and bool(self.quiet or self.ring)
        return waits and len(self.running) < share and self.crowded

    def enter(self, lane: Lane[Job]) -> None:
        """Put a lane where it waits for its turn, if it has jobs that may run."""
        if not lane.waiting or len(lane.running) + len(lane.away) >= self._lane_limit:
            return
        ring = self.ring if lane.running else self.quiet if lane.away else self.fresh
        if lane.ring is not None:
            if lane.running or lane.ring is ring:
                return  # one that runs something by now is moved when its turn comes
            lane.ring.remove(lane)
        lane.ring = ring
        ring.append(lane)

    def leave_if_empty(self, lane: Lane[Job]) -> None:
        """Take a lane without jobs out of its ring, which would keep it alive for good."""
        if lane.ring is not None and not lane.waiting:
            lane.ring.remove(lane)
            lane.ring = None

    def next(self, thread: Runs[Job]) -> bool:
        """Give ``thread`` the next job, round robin; False if none may run now."""
        while (ring := self.turn()) is not None:
            lane = ring.popleft()
            lane.ring = None
            if ring is not self.ring and (lane.running or (lane.away and ring is self.fresh)):
                self.enter(lane)  # one of its threads came back meanwhile
                continue
            waiting = lane.waiting
            if not waiting or len(lane.running) + len(lane.away) >= self._lane_limit:
                continue
            if ring is self.fresh and (self.quiet or self.ring) and self.crowded:
                self.beside += 1
            lane.running.add(thread)
            self.running.add(thread)
            thread.lane = lane
            thread.job = waiting[0]
            waiting.popleft()  # only now: a job is always somewhere
            if waiting:
                self.enter(lane)
            return True
        return False

    def give_away(self, thread: Hashable, lane: Lane[Job]) -> None:
        """A thread waits on its client, or was given up: another may run meanwhile."""
        self.running.discard(thread)
        lane.running.discard(thread)
        self.away.add(thread)
        lane.away.add(thread)
        self.enter(lane)

    def take_back(self, thread: Hashable, lane: Lane[Job]) -> None:
        """A thread goes on, even if that exceeds the limit: new starts then wait instead."""
        self.running.add(thread)
        lane.running.add(thread)
        self.away.discard(thread)
        lane.away.discard(thread)

    def end(self, thread: Hashable, lane: Lane[Job]) -> None:
        """A thread runs nothing of the lane any more."""
        self.running.discard(thread)
        lane.running.discard(thread)
        if self.away:
            self.away.discard(thread)
            lane.away.discard(thread)
        if lane.waiting:
            self.enter(lane)

    def waiting(self) -> int:
        """Return how many of the waiting jobs could run if there were enough threads."""
        if self.crowded:
            return len(self.fresh)
        if len(self.running) >= self.shared:
            return len(self.fresh) + len(self.quiet)
        lanes = (*self.fresh, *self.quiet, *self.ring)
        return sum(len(lane.waiting) for lane in lanes)

    def rebuild(self, lanes: Collection[Lane[Job]], threads: Collection[Runs[Job]]) -> None:
        """Derive everything anew from the lanes and from what is written on the threads."""
        for ring in self.rings:
            ring.clear()
        self.running.clear()
        self.away.clear()
        for lane in lanes:
            lane.ring = None
            lane.running.clear()
            lane.away.intersection_update(t for t in threads if t.lane is lane)
        for thread in threads:
            if thread.lane is None:
                continue
            if thread in thread.lane.away:
                self.away.add(thread)
            else:
                self.take_back(thread, thread.lane)
        for lane in lanes:
            self.enter(lane)


def shared_threads(limit: int) -> int:
    """Return how many of ``limit`` threads are open to all connections: all but KEPT, at least 3/4.

    The others are kept for connections that have none yet.
    """
    return max(1, limit - min(KEPT, limit // 4))
