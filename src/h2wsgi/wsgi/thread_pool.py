"""The threads that run applications: grown on demand, shrunk when idle.

Whose turn it is, lanes.py knows; when there are to be more threads, growth.py. While applications
return at once, one thread takes one job after the other. ``max_threads`` is never exceeded. What
ends in _locked holds the pool's lock.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic

from ..guards import loop_thread, set_role
from .growth import GrowthWatch, Step
from .lanes import Assignment, Job, Lane, Lanes
from .yielding import (
    SwitchInterval,
    is_alone_on_its_cpu,
    leave_the_cpu_to_the_loop,
    let_the_loop_go_first,
)

IDLE_TIMEOUT = 30.0
"""Seconds after which a thread without work ends."""
EAGER_THREADS = 4
"""Threads started without delay."""
QUICK = 0.001
"""Seconds below which a job was quick: the next one had better wait for its thread."""
SLOW_MEMORY = 16
"""How many jobs in a row have to be quick, before the next one is taken to be quick as well."""
CROWD = 4
"""How many applications run beside a thread before it looks whether the loop is late."""
TURN = 0.001
"""Seconds that a thread stays with the jobs of one connection while others wait for their turn."""


class _Worker(Generic[Job]):
    """A thread and where it gets its next job; None is the end.

    SimpleQueue waits in C without a lock of ours, and here without a timeout, which would cost each
    wait a timer of the kernel's. (A request at a time, on one CPU: 5 %.)
    """

    __slots__ = ("began", "inbox", "turn_began")

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[Assignment[Job] | None] = queue.SimpleQueue()
        # by the monotonic clock
        self.began = time.monotonic()
        """When its present job began, or when it became idle."""
        self.turn_began = 0.0
        """When it began with the jobs of its present lane."""


class ThreadPool(Lanes[Job]):
    """Runs jobs for connections: ``run(job, lane)``, which must not raise.

    What it returns, if not None, is called before the thread waits (True) or runs another job
    (False).

    ``limit`` is how many applications may run at once, ``max_threads`` how many threads there may
    be with those that wait on clients, ``lane_limit`` how many of both one connection may have;
    ``schedule_threadsafe(delay, callback)`` arranges a call on the loop's thread. ``exhausted``
    is called there, again and again, while a job waits and every thread there may be waits on a
    client. ``loop_is_late_threadsafe()`` says whether the loop was woken and cannot come.
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
        loop_is_late_threadsafe: Callable[[], bool],
    ) -> None:
        super().__init__(limit=limit, lane_limit=lane_limit)
        # immutable
        self._run = run
        self._max_threads = max_threads
        self._schedule_threadsafe = schedule_threadsafe
        self._loop_is_late_threadsafe = loop_is_late_threadsafe
        self._is_alone = is_alone_on_its_cpu()
        self._begin_watch = GrowthWatch(self, schedule_threadsafe, exhausted).watch
        # under the lock
        self._switch_interval = SwitchInterval()
        self._idle: list[_Worker[Job]] = []
        self._threads = 0
        self._slow_lately = SLOW_MEMORY
        """How many more jobs have to be quick until the next one is taken to be."""
        self._progress_at = 0.0
        """When a job was given to a thread or finished last, by the monotonic clock."""
        self._looks_at_idle = False
        """Whether a look at the idle threads is on its way."""
        self._watching = False
        """Whether jobs wait and growth.py looks at them."""

    @property
    def threads(self) -> int:
        """Threads alive."""
        return self._threads

    @property
    def busy(self) -> int:
        """Threads that are inside an application, waiting on a client or not."""
        return self._threads - len(self._idle)

    def close(self) -> None:
        """Start nothing more; idle threads end now, running ones when their job returns."""
        with self._lock:
            self._closing = True
            for ring in (self._fresh, self._ring):
                for lane in list(ring):
                    lane.waiting.clear()
                    self._leave_ring_if_empty_locked(lane)
            self._switch_interval.fit(0)
            while self._idle:
                self._end_locked(self._idle.pop())

    # ------------------------------------------------------------------- under the lock

    def _assign_locked(self) -> bool:
        """Give a job to an idle thread, or to a new one as far as those start eagerly.

        That thread does the same for the next job before it begins its own, and so on: the loop
        would be busy for a millisecond if it woke a hundred itself. True if there was a job for it.
        """
        if not self._may_start_locked():
            return False
        # While applications return at once, one thread takes one job after the other: a second one
        # would only contend with it for the interpreter.
        served_soon = (
            self._running > 0
            and not self._slow_lately
            and time.monotonic() - self._progress_at < QUICK
        )
        if served_soon or not (self._idle or self._spawn_eagerly_locked()):
            if not self._watching:
                self._watching = True
                self._schedule_threadsafe(0.0, self._begin_watch)
            return False
        if (assignment := self._next_locked()) is None:
            return False
        self._progress_at = time.monotonic()
        self._idle.pop().inbox.put(assignment)
        return True

    def _spawn_eagerly_locked(self) -> bool:
        return self._threads < min(EAGER_THREADS, self._limit) and self._spawn_locked()

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
        if not self._looks_at_idle:
            self._looks_at_idle = True
            self._schedule_threadsafe(IDLE_TIMEOUT, self._end_idle)
        return True

    def _end_locked(self, worker: _Worker[Job]) -> None:
        """End a thread that has no job and gets none any more."""
        self._threads -= 1
        worker.inbox.put(None)

    # ------------------------------------------------------------------ a worker thread

    def _work(self, worker: _Worker[Job]) -> None:
        set_role("application")
        leave_the_cpu_to_the_loop()
        run = self._run
        while (assignment := worker.inbox.get()) is not None:
            if self._fresh or self._ring:
                with self._lock:
                    self._assign_locked()
            current: Assignment[Job] | None = assignment
            del assignment
            worker.began = worker.turn_began = time.monotonic()
            while current is not None:
                lane, job = current
                afterwards = None
                try:
                    afterwards = run(job, lane)
                except BaseException as error:
                    _report(error)
                del job, current  # or the request would live until the next one comes
                current = self._done(worker, lane)
                if afterwards is not None:
                    afterwards(current is None)
            if self._is_alone and self._running > CROWD and self._loop_is_late_threadsafe():
                let_the_loop_go_first()
            del lane, afterwards  # or the connection would

    def _done(self, worker: _Worker[Job], lane: Lane[Job]) -> Assignment[Job] | None:
        began, now = worker.began, time.monotonic()
        worker.began = self._progress_at = now
        lock = self._lock
        lock.acquire()  # "with" takes twice as long, 0.06 us
        try:
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
                if not lane.waiting:
                    self._leave_ring_if_empty_locked(lane)
                return lane, job
            worker.turn_began = now
            self._running -= 1
            lane.running -= 1
            if lane.waiting:
                self._enter_ring_locked(lane)
            assignment = self._next_locked() if self._fresh or self._ring else None
            if assignment is None:
                if self._closing:
                    self._end_locked(worker)
                else:
                    self._idle.append(worker)
            return assignment
        finally:
            lock.release()

    # --------------------------------------------------- growth and its end, loop thread

    @loop_thread
    def _end_idle(self) -> None:
        """End the threads that have been idle for long, and look again while there are others."""
        with self._lock:
            if self._closing:
                return
            now = time.monotonic()
            # A thread takes its place behind those that were idle before it.
            while self._idle and self._idle[0].began <= now - IDLE_TIMEOUT:
                self._end_locked(self._idle.pop(0))
            self._switch_interval.fit(self._threads)
            self._looks_at_idle = self._threads > 0
            if self._looks_at_idle:
                since = self._idle[0].began if self._idle else now
                self._schedule_threadsafe(since + IDLE_TIMEOUT - now, self._end_idle)

    @property
    def started(self) -> int:
        """Jobs given to a thread so far."""
        return self._started

    @loop_thread
    def grow(self, *, busy: bool, stalled: bool, stuck: bool) -> Step:
        """Use more threads for jobs that wait, if that helps; see :class:`GrowthWatch`.

        ``busy``: the process computes; ``stuck``: no job was started since the last look, or,
        ``stalled``, for long.
        """
        with self._lock:
            if not self._may_start_locked():
                self._watching = False
                return Step.NOTHING_WAITS
            if self._threads >= self._max_threads and not self._idle:
                return Step.AT_CEILING
            at_hand = self._idle or self._threads < min(EAGER_THREADS, self._limit)
            if busy and not stalled and not (stuck and at_hand):
                return Step.LEFT_ALONE
            self._slow_lately = SLOW_MEMORY
            if not at_hand:
                self._grow_locked()
            while self._assign_locked():
                pass
            return Step.GREW

    def _grow_locked(self) -> None:
        # Doubling reaches the limit in a few steps and does not overshoot a short queue.
        waiting = len(self._fresh)
        if self._running < self._shared:
            waiting = sum(len(lane.waiting) for lane in (*self._fresh, *self._ring))
        room = min(self._limit - self._running, self._max_threads - self._threads)
        for _ in range(min(waiting, room, max(1, self._threads))):
            if not self._spawn_locked():
                break


def _report(error: BaseException) -> None:
    """Show what a job let out, such as an error in an application's logging handler.

    The thread goes on: ending it would lose its share of the pool for good.
    """
    thread = threading.current_thread()
    details = (type(error), error, error.__traceback__, thread)
    threading.excepthook(threading.ExceptHookArgs(details))
