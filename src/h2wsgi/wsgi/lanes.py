"""Which request runs next: one lane per connection, taken round robin.

The base of :class:`~h2wsgi.wsgi.thread_pool.ThreadPool`. Lanes that run nothing come first: the
last threads are theirs alone, however many connections keep the others busy. A thread that waits on
its client gives its share of ``limit`` to another and takes it back without waiting for it, so an
application lock held across ``write`` cannot deadlock. Any thread; what ends in _locked holds the
pool's lock.
"""

from __future__ import annotations

import abc
import threading
from collections import deque
from typing import Generic, TypeVar

from ..guards import loop_thread

Job = TypeVar("Job")


class Lane(Generic[Job]):
    """One connection's share of the pool. Guarded by the pool's lock.

    Handed to each job, which tells it when its thread waits on the client.
    """

    __slots__ = ("_pool", "away", "ring", "running", "waiting")

    def __init__(self, pool: Lanes[Job]) -> None:
        self._pool = pool
        self.waiting: deque[Job] = deque()
        self.running = 0
        self.away = 0
        """Threads inside the application that gave their share away."""
        self.ring: deque[Lane[Job]] | None = None
        """The one of the pool's rings that it is in."""

    def wait_begins(self) -> None:
        """A thread is about to wait on its client, or given up: let another run meanwhile."""
        self._pool.wait_begins(self)

    def wait_ended(self) -> None:
        """It goes on. May overshoot the limit: new starts then wait instead."""
        self._pool.wait_ended(self)


Assignment = tuple[Lane[Job], Job]


class Lanes(abc.ABC, Generic[Job]):
    """The lanes of all connections, and how many of their jobs run.

    ``limit`` is how many may run at once, ``lane_limit`` how many of one connection, those that
    wait on their client counted.
    """

    def __init__(self, *, limit: int, lane_limit: int) -> None:
        # immutable
        self._limit = limit
        self._shared = shared_threads(limit)
        self._lane_limit = lane_limit
        self._lock = threading.Lock()
        # under the lock
        self._fresh: deque[Lane[Job]] = deque()
        """Lanes with jobs that wait, and none that runs: they may take the last threads."""
        self._ring: deque[Lane[Job]] = deque()
        """Other lanes with jobs that wait and may run."""
        self._running = 0
        self._started = 0
        self._closing = False

    def lane(self) -> Lane[Job]:
        """Return the lane of a new connection."""
        return Lane(self)

    @loop_thread
    def submit(self, lane: Lane[Job], jobs: list[Job]) -> None:
        """Run each job on a thread as soon as the share of its lane's connection allows it."""
        with self._lock:
            lane.waiting.extend(jobs)
            self._enter_ring_locked(lane)
            self._assign_locked()

    @loop_thread
    def cancel(self, lane: Lane[Job], job: Job) -> bool:
        """Forget a job that has not been started; False if it was, or never came."""
        with self._lock:
            if job not in lane.waiting:
                return False
            lane.waiting.remove(job)
            self._leave_ring_if_empty_locked(lane)
            return True

    @abc.abstractmethod
    def _assign_locked(self) -> bool:
        """Give a job that waits and may run to a thread; False if there is none, or no thread."""

    # -------------------------------------------------- waiting on a client, any thread

    def wait_begins(self, lane: Lane[Job]) -> None:
        """See :meth:`Lane.wait_begins`."""
        with self._lock:
            self._running -= 1
            lane.running -= 1
            lane.away += 1
            self._enter_ring_locked(lane)
            self._assign_locked()

    def wait_ended(self, lane: Lane[Job]) -> None:
        """See :meth:`Lane.wait_ended`."""
        with self._lock:
            self._running += 1
            lane.running += 1
            lane.away -= 1

    # ------------------------------------------------------------------- under the lock

    def _enter_ring_locked(self, lane: Lane[Job]) -> None:
        if not lane.waiting or lane.running + lane.away >= self._lane_limit:
            return
        ring = self._ring if lane.running else self._fresh
        if lane.ring is not None:
            if lane.running or lane.ring is ring:
                return  # one that runs something by now is moved when its turn comes
            lane.ring.remove(lane)
        lane.ring = ring
        ring.append(lane)

    def _leave_ring_if_empty_locked(self, lane: Lane[Job]) -> None:
        # An empty lane in the ring would be kept for good, and its connection with it.
        if lane.ring is not None and not lane.waiting:
            lane.ring.remove(lane)
            lane.ring = None

    def _may_start_locked(self) -> bool:
        """Return True if a job waits that may run now."""
        if self._fresh:
            return self._running < self._limit and not self._closing
        return bool(self._ring) and self._running < self._shared and not self._closing

    def _next_locked(self) -> Assignment[Job] | None:
        """Take the next job round robin; None if there is none that may run now."""
        while self._may_start_locked():
            ring = self._fresh or self._ring
            lane = ring.popleft()
            lane.ring = None
            if ring is self._fresh and lane.running:
                self._enter_ring_locked(lane)  # a thread of its came back meanwhile
                continue
            if not lane.waiting or lane.running + lane.away >= self._lane_limit:
                continue
            job = lane.waiting.popleft()
            lane.running += 1
            self._running += 1
            self._started += 1
            if lane.waiting:
                self._enter_ring_locked(lane)
            return lane, job
        return None


def shared_threads(limit: int) -> int:
    """Return how many of ``limit`` threads are for all connections: all but 8, or 3/4.

    The others are for connections that have none yet.
    """
    return max(1, limit - min(8, limit // 4))
