"""The threads that run applications: grown on demand, fair between connections, shrunk when idle.

Requests wait in one lane per connection, taken round robin, lanes that run nothing first: the last
threads are theirs alone, however many connections keep the others busy. A thread that waits on its
client gives its share of ``limit`` to another and takes it back without waiting for it, so an
application lock held across ``write`` cannot deadlock; only ``max_threads`` is never exceeded.

Growth is for applications that wait: a request that nobody takes within a few milliseconds gets
a new thread unless the process was busy computing meanwhile, since more threads would then only
share the same interpreter.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from ..guards import loop_thread, set_role
from .yielding import SwitchInterval, leave_the_cpu_to_the_loop

Job = TypeVar("Job")

GROWTH_DELAY = 0.005
"""Seconds a request waits before another thread is considered."""
BUSY_SHARE = 0.8
"""CPU seconds of the process per second of waiting above which a new thread would not help."""
STALLED_AFTER = 0.05
"""Seconds in which no waiting request was started, after which growth goes on even when busy."""
IDLE_TIMEOUT = 30.0
"""Seconds after which a thread without work ends."""
CEILING_LOOK = 0.05
"""Seconds between looks while every thread there may be waits on a client."""
EAGER_THREADS = 4
"""Threads started without delay."""
QUICK = 0.001
"""Seconds below which a job was quick: the next one had better wait for its thread."""
SLOW_MEMORY = 16
"""How many jobs in a row have to be quick, before the next one is taken to be quick as well."""
TURN = 0.001
"""Seconds that a thread stays with the jobs of one connection while others wait for their turn."""


class Lane(Generic[Job]):
    """One connection's share of the pool. Guarded by the pool's lock.

    Handed to each job, which tells it when its thread waits on the client.
    """

    __slots__ = ("_pool", "away", "key", "ring", "running", "waiting")

    def __init__(self, pool: ThreadPool[Job], key: Hashable) -> None:
        self._pool = pool
        self.key = key
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


class _Worker(Generic[Job]):
    """A thread and where it gets its next job. SimpleQueue waits in C, without a lock of ours."""

    __slots__ = ("began", "inbox", "turn_began")

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[Assignment[Job] | None] = queue.SimpleQueue()
        # by the monotonic clock
        self.began = 0.0
        """When its present job began."""
        self.turn_began = 0.0
        """When it began with the jobs of its present lane."""


class ThreadPool(Generic[Job]):
    """Runs jobs for connections: ``run(job, lane)``, which must not raise.

    What it returns, if not None, is called before the thread waits (True) or runs another job
    (False).

    ``limit`` is how many applications may run at once, ``max_threads`` how many threads there may
    be with those that wait on clients, ``lane_limit`` how many of both one connection may have;
    ``schedule_threadsafe(delay, callback)`` arranges a call on the loop's thread. ``exhausted``
    is called there, again and again, while a job waits and every thread there may be waits on a
    client.
    """

    def __init__(
        self,
        run: Callable[[Job, Lane[Job]], Callable[[bool], None] | None],
        *,
        limit: int,
        max_threads: int,
        lane_limit: int,
        schedule_threadsafe: Callable[[float, Callable[[], None]], None],
        exhausted: Callable[[], None],
    ) -> None:
        # immutable
        self._run = run
        self._limit = limit
        self._shared = shared_threads(limit)
        self._max_threads = max_threads
        self._lane_limit = lane_limit
        self._schedule_threadsafe = schedule_threadsafe
        self._exhausted = exhausted
        # under the lock
        self._lock = threading.Lock()
        self._switch_interval = SwitchInterval()
        self._lanes: dict[Hashable, Lane[Job]] = {}
        self._fresh: deque[Lane[Job]] = deque()
        """Lanes with jobs that wait, and none that runs: they may take the last threads."""
        self._ring: deque[Lane[Job]] = deque()
        """Other lanes with jobs that wait and may run."""
        self._idle: list[_Worker[Job]] = []
        self._threads = 0
        self._running = 0
        self._started = 0
        self._slow_lately = SLOW_MEMORY
        """How many more jobs have to be quick until the next one is taken to be."""
        self._progress_at = 0.0
        """When a job was given to a thread or finished last, by the monotonic clock."""
        self._watching = False
        self._closing = False
        # loop thread only: what the growth check saw last
        self._seen = (0.0, 0.0, 0)
        self._last_start = 0.0

    @property
    def threads(self) -> int:
        """Threads alive."""
        return self._threads

    @property
    def busy(self) -> int:
        """Threads that are inside an application, waiting on a client or not."""
        return self._threads - len(self._idle)

    @loop_thread
    def submit(self, key: Hashable, jobs: list[Job]) -> None:
        """Run each job on a thread as soon as the share of the connection ``key`` allows it."""
        with self._lock:
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = Lane(self, key)
            lane.waiting.extend(jobs)
            self._enter_ring_locked(lane)
            self._assign_locked()

    @loop_thread
    def cancel(self, key: Hashable, job: Job) -> bool:
        """Forget a job that has not been started; False if it was, or never came."""
        with self._lock:
            lane = self._lanes.get(key)
            if lane is None or job not in lane.waiting:
                return False
            lane.waiting.remove(job)
            self._leave_ring_if_empty_locked(lane)
            self._forget_if_empty_locked(lane)
            return True

    def close(self) -> None:
        """Start nothing more; idle threads end now, running ones when their job returns."""
        with self._lock:
            self._closing = True
            for lane in self._lanes.values():
                lane.waiting.clear()
                self._leave_ring_if_empty_locked(lane)
            self._lanes.clear()
            self._switch_interval.fit(0)
            for worker in self._idle:
                worker.inbox.put(None)

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

    def _assign_locked(self) -> None:
        """Give waiting jobs to idle threads, then to new ones as far as those start eagerly."""
        while self._may_start_locked():
            if self._served_soon() or not (self._idle or self._spawn_eagerly_locked()):
                if not self._watching:
                    self._watching = True
                    self._schedule_threadsafe(0.0, self._begin_watch)
                return
            if (assignment := self._next_locked()) is None:
                return
            self._progress_at = time.monotonic()
            self._idle.pop().inbox.put(assignment)

    def _served_soon(self) -> bool:
        """Return True if a thread that runs now will come for what waits.

        While applications return at once, one thread takes one job after the other: a second one
        would only contend with it for the interpreter.
        """
        return (
            self._running > 0
            and not self._slow_lately
            and time.monotonic() - self._progress_at < QUICK
        )

    def _spawn_eagerly_locked(self) -> bool:
        return self._threads < min(EAGER_THREADS, self._limit) and self._spawn_locked()

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
                self._forget_if_empty_locked(lane)
                continue
            job = lane.waiting.popleft()
            lane.running += 1
            self._running += 1
            self._started += 1
            self._enter_ring_locked(lane)
            return lane, job
        return None

    def _spawn_locked(self) -> bool:
        """Start a thread, idle at first; False if the system has none to give."""
        worker: _Worker[Job] = _Worker()
        name = f"h2wsgi-app-{self._threads + 1}"
        try:
            threading.Thread(target=self._work, args=(worker,), name=name, daemon=True).start()
        except RuntimeError:
            return False
        self._threads += 1
        self._switch_interval.fit(self._threads)
        self._idle.append(worker)
        return True

    def _forget_if_empty_locked(self, lane: Lane[Job]) -> None:
        if not (lane.waiting or lane.running or lane.away or lane.ring is not None):
            self._lanes.pop(lane.key, None)

    # ------------------------------------------------------------------ a worker thread

    def _work(self, worker: _Worker[Job]) -> None:
        set_role("application")
        leave_the_cpu_to_the_loop()
        while (assignment := self._wait_for_assignment(worker)) is not None:
            current: Assignment[Job] | None = assignment
            del assignment
            worker.began = worker.turn_began = time.monotonic()
            while current is not None:
                lane, job = current
                afterwards = None
                try:
                    afterwards = self._run(job, lane)
                except BaseException as error:
                    _report(error)
                del job, current  # or the request would live until the next one comes
                current = self._done(worker, lane)
                if afterwards is not None:
                    afterwards(current is None)
            del lane, afterwards  # or the connection would

    def _done(self, worker: _Worker[Job], lane: Lane[Job]) -> Assignment[Job] | None:
        began, now = worker.began, time.monotonic()
        worker.began = self._progress_at = now
        with self._lock:
            if now - began >= QUICK:
                self._slow_lately = SLOW_MEMORY
            elif self._slow_lately:
                self._slow_lately -= 1
            if (
                lane.waiting
                and now - worker.turn_began < TURN
                and self._running <= self._limit
                and not self._closing
            ):
                self._started += 1
                job = lane.waiting.popleft()
                self._leave_ring_if_empty_locked(lane)
                return lane, job
            worker.turn_began = now
            self._running -= 1
            lane.running -= 1
            self._enter_ring_locked(lane)
            self._forget_if_empty_locked(lane)
            assignment = self._next_locked()
            if assignment is None:
                self._idle.append(worker)
                if self._closing:
                    worker.inbox.put(None)
            return assignment

    def _wait_for_assignment(self, worker: _Worker[Job]) -> Assignment[Job] | None:
        """Return the next job; None when this thread is to end."""
        while True:
            try:
                if (assignment := worker.inbox.get(timeout=IDLE_TIMEOUT)) is not None:
                    return assignment
            except queue.Empty:
                pass
            with self._lock:
                if worker in self._idle:
                    self._idle.remove(worker)
                    self._threads -= 1
                    if not self._closing:
                        self._switch_interval.fit(self._threads)
                    return None
            # Taken off the idle list an instant ago: its job is on the way.

    # --------------------------------------------------------------- growth, loop thread

    @loop_thread
    def _begin_watch(self) -> None:
        self._last_start = time.monotonic()
        self._look(GROWTH_DELAY)

    def _look(self, delay: float) -> None:
        self._seen = (time.monotonic(), time.process_time(), self._started)
        self._schedule_threadsafe(delay, self._consider_growth)

    @loop_thread
    def _consider_growth(self) -> None:
        """Start threads if requests wait, nobody is idle and the time did not go into computing."""
        then, cpu_then, started_then = self._seen
        now = time.monotonic()
        stuck = self._started == started_then
        if not stuck:
            self._last_start = now
        busy = time.process_time() - cpu_then >= BUSY_SHARE * (now - then)
        stalled = now - self._last_start >= STALLED_AFTER
        with self._lock:
            if not self._may_start_locked():
                self._watching = False
                return
            at_ceiling = self._threads >= self._max_threads and not self._idle
            at_hand = self._idle or self._threads < min(EAGER_THREADS, self._limit)
            if not at_ceiling and (not busy or stalled or (stuck and at_hand)):
                self._slow_lately = SLOW_MEMORY
                if at_hand:
                    self._assign_locked()
                else:
                    self._grow_locked()
                self._last_start = now
        if at_ceiling and stalled:
            self._exhausted()
        self._look(CEILING_LOOK if at_ceiling else GROWTH_DELAY)

    def _grow_locked(self) -> None:
        # Doubling reaches the limit in a few steps and does not overshoot a short queue.
        waiting = len(self._fresh)
        if self._running < self._shared:
            waiting = sum(len(lane.waiting) for lane in (*self._fresh, *self._ring))
        room = min(self._limit - self._running, self._max_threads - self._threads)
        for _ in range(min(waiting, room, max(1, self._threads))):
            if not self._spawn_locked():
                break
        self._assign_locked()


def _report(error: BaseException) -> None:
    """Show what a job let out, such as an error in an application's logging handler.

    The thread goes on: ending it would lose its share of the pool for good.
    """
    thread = threading.current_thread()
    details = (type(error), error, error.__traceback__, thread)
    threading.excepthook(threading.ExceptHookArgs(details))


def shared_threads(limit: int) -> int:
    """Return how many of ``limit`` threads are for all connections: all but 8, or 3/4.

    The others are for connections that have none yet.
    """
    return max(1, limit - min(8, limit // 4))
