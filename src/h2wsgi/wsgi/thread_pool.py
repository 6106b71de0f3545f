"""The threads that run applications: grown on demand, shrunk when idle.

lanes.py decides whose turn it is, growth.py when there are to be more threads. While applications
return at once, one thread takes one job after the other. ``max_threads`` is never exceeded. A
method whose name ends in _locked is called with the pool's lock held.

An exception may strike a thread at any line. So what a worker has is written on the worker itself
(``lane``, ``job``), where it can be found and finished, and the threads that run are a set. Each
section under the lock begins with ``_torn = True`` and ends with ``_torn = False``: a section that
finds it True first sorts the lanes and the idle threads anew.
"""

from __future__ import annotations

import queue
import threading
import traceback
import weakref
from collections.abc import Callable
from contextvars import Context
from typing import Generic

from ..process.clock import clock
from ..process.forking import end_child
from ..seam import guards
from ..seam.guards import loop_thread, set_role
from ..seam.handover import Handover
from .growth import GrowthWatch, Step
from .lanes import Job, Lane, Lanes
from .scheduling import SwitchInterval, leave_the_cpu_to_the_loop

IDLE_TIMEOUT = 30.0
"""Seconds after which a thread without work ends."""
EAGER_THREADS = 4
"""Threads started without delay."""
QUICK = 0.001
"""Seconds below which a job was quick: the next one had better wait for the same thread."""
SLOW_MEMORY = 16
"""How many jobs in a row must be quick before the next one is expected to be quick as well."""
TURN = 0.001
"""Seconds that a thread stays with the jobs of one connection while others wait for their turn."""

FULL_LOOK = 0.5
"""Seconds that jobs have to wait, with no thread for them, until ``full`` is called ..."""
FULL_AGAIN = 60.0
"""... and seconds until the next look."""

guards.may_hold_locks(__file__)


class Worker(Generic[Job]):
    """A thread of the pool, and its share of the pool: see ClientWait.

    The inbox waits in C without a lock of ours, and without a timeout, which would cost each wait a
    timer of the kernel's. (A request at a time, on one CPU: 5 %.) What comes out of it says only to
    look; the fields say what there is to do.
    """

    __slots__ = (
        "_pool", "began", "ends", "error", "inbox", "job", "lane", "turn_began", "unwoken",
    )  # fmt: skip

    def __init__(self, pool: ThreadPool[Job]) -> None:
        self._pool = pool
        self.inbox: queue.SimpleQueue[None] = queue.SimpleQueue()
        # under the pool's lock
        self.lane: Lane[Job] | None = None
        """Whose job it runs; None while it is idle."""
        self.job: Job | None = None
        self.ends = False
        # the thread's own
        self.unwoken: Handover | None = None
        """See ClientWait."""
        self.error: BaseException | None = None
        """The exception that struck, until what it left half done is in order."""
        # by the monotonic clock
        self.began = clock.monotonic()
        """When its present job began, or when it became idle."""
        self.turn_began = 0.0
        """When it began with the jobs of its present lane."""

    def wait_begins(self) -> None:
        """The thread is about to wait on its client, or was given up: let another run meanwhile."""
        self._pool.wait_begins(self)

    def wait_ended(self) -> None:
        """The thread goes on, even if that exceeds the limit: new starts then wait instead."""
        self._pool.wait_ended(self)


class ThreadPool(Generic[Job]):
    """Runs jobs for connections: ``run(job, worker)``.

    ``failed(job, worker)`` is called for a job that raised, or before which an exception struck,
    and again if ``failed`` raises too.

    ``limit`` is how many applications may run at once, ``max_threads`` how many threads there may
    be, counting those that wait on clients, ``lane_limit`` how many of both kinds one connection
    may have; ``schedule_threadsafe(delay, callback)`` arranges a call on the loop's thread.
    ``exhausted`` is called there, again and again, while a job waits and all threads that it may
    have wait on clients; ``full``, at most once a minute, while jobs have waited for some time
    because ``limit`` applications run.
    """

    def __init__(
        self,
        run: Callable[[Job, Worker[Job]], None],
        *,
        limit: int,
        max_threads: int,
        lane_limit: int,
        schedule_threadsafe: Callable[[float, Callable[[], None]], None],
        exhausted: Callable[[], None],
        full: Callable[[], None],
        failed: Callable[[Job, Worker[Job]], None],
    ) -> None:
        # immutable
        self._run = run
        self._failed = failed
        self._full = full
        self._max_threads = max_threads
        self._schedule_threadsafe = schedule_threadsafe
        self._begin_watch = GrowthWatch(self, schedule_threadsafe, exhausted).watch
        self._lock = threading.RLock()
        # under the lock
        self._lanes: Lanes[Job] = Lanes(limit=limit, most=max_threads, lane_limit=lane_limit)
        self._all_lanes: weakref.WeakSet[Lane[Job]] = weakref.WeakSet()
        self._workers: dict[Worker[Job], threading.Thread] = {}
        self._idle: list[Worker[Job]] = []
        self._torn = False
        """Whether an exception struck in a section: see the top."""
        self._in_child = False
        """Whether this is a forked child's copy, in which no job is done any more."""
        self._closing = False
        self._started = 0
        self._switch_interval = SwitchInterval()
        self._slow_lately = SLOW_MEMORY
        """How many more jobs must be quick before the next one is expected to be."""
        self._progress_at = 0.0
        """When a job was given to a thread or finished last, by the monotonic clock."""
        self._looks_at_idle = False
        """Whether a look at the idle threads is on its way."""
        self._watching = False
        """Whether jobs wait and growth.py looks at them."""
        self._looks_at_full = False
        """Whether a look is on its way, as jobs wait while as many run as may."""

    @property
    def threads(self) -> int:
        """Threads alive."""
        return len(self._workers)

    @property
    def busy(self) -> int:
        """Threads that are inside an application, waiting on a client or not."""
        return len(self._workers) - len(self._idle)

    @property
    @loop_thread
    def queued(self) -> int:
        """Jobs that wait for a thread."""
        with self._lock:
            return sum(len(lane.waiting) for lane in self._all_lanes)

    @loop_thread
    def by_state(self) -> tuple[int, int, int]:
        """Return how many threads run, have given their share away, and are idle."""
        with self._lock:
            return len(self._lanes.running), len(self._lanes.away), len(self._idle)

    @property
    def started(self) -> int:
        """Jobs given to a thread so far."""
        return self._started

    @property
    def started_in_turn(self) -> int:
        """The same without jobs that brought no waiting ones nearer to their turn."""
        return self._started - self._lanes.beside

    @property
    def fresh_waiting(self) -> int:
        """Connections without a thread that wait for one."""
        return len(self._lanes.fresh)

    @property
    @loop_thread
    def fewest_threads(self) -> int:
        """The fewest threads that any of the connections has that wait for one."""
        with self._lock:
            waiting = [lane for ring in self._lanes.rings for lane in ring]
            return min((len(lane.running) + len(lane.away) for lane in waiting), default=0)

    # ------------------------------------------------------------------ the loop's thread

    @loop_thread
    def lane(self) -> Lane[Job]:
        """Return the lane of a new connection."""
        lane: Lane[Job] = Lane()
        self._all_lanes.add(lane)
        return lane

    @loop_thread
    def submit(self, lane: Lane[Job], jobs: list[Job]) -> None:
        """Run each job on a thread as soon as its connection's share allows it."""
        with self._lock:
            self._begin_locked()
            lane.waiting.extend(jobs)
            self._lanes.enter(lane)
            self._assign_locked()
            self._torn = False

    @loop_thread
    def cancel(self, lane: Lane[Job], job: Job) -> bool:
        """Forget a job that has not been started; False if it was, or never came."""
        with self._lock:
            if job not in lane.waiting:
                return False
            self._begin_locked()
            lane.waiting.remove(job)
            self._lanes.leave_if_empty(lane)
            self._torn = False
            return True

    @loop_thread
    def close(self) -> None:
        """Start nothing more; idle threads end now, running ones when their job returns."""
        with self._lock:
            self._begin_locked()
            self._closing = True
            for ring in self._lanes.rings:
                for lane in list(ring):
                    lane.waiting.clear()
                    self._lanes.leave_if_empty(lane)
            self._switch_interval.fit(0)
            while self._idle:
                self._end_locked(self._idle[-1])
                self._idle.pop()
            self._torn = False

    @loop_thread
    def grow(self, *, busy: bool, stalled: bool, stuck: bool) -> Step:
        """Use more threads for jobs that wait, if that helps; see :class:`GrowthWatch`.

        ``busy``: the process computes; ``stuck``: no job was started since the last look;
        ``stalled``: none was for long.
        """
        with self._lock:
            self._begin_locked()
            step = self._grow_locked(busy=busy, stalled=stalled, stuck=stuck)
            self._torn = False
            return step

    def _grow_locked(self, *, busy: bool, stalled: bool, stuck: bool) -> Step:
        if not self._closing and self._lanes.held_back():
            return Step.AT_CEILING
        if self._closing or self._lanes.turn() is None:
            self._watching = False
            return Step.NOTHING_WAITS
        if len(self._workers) >= self._max_threads and not self._idle:
            return Step.AT_CEILING
        at_hand = self._idle or len(self._workers) < min(EAGER_THREADS, self._lanes.limit)
        if busy and not stalled and not (stuck and at_hand):
            return Step.LEFT_ALONE
        self._slow_lately = SLOW_MEMORY
        if not at_hand:
            # Doubling reaches the limit in a few steps and does not overshoot a short queue.
            threads = len(self._workers)
            room = min(self._lanes.limit - len(self._lanes.running), self._max_threads - threads)
            for _ in range(min(self._lanes.waiting(), room, max(1, threads))):
                if not self._spawn_locked():
                    break
        while self._assign_locked():
            pass
        return Step.GREW

    @loop_thread
    def _end_idle(self) -> None:
        """End the threads that have been idle for long, and look again while there are others."""
        with self._lock:
            if self._closing:
                return
            self._begin_locked()
            self._looks_at_idle = False
            now = clock.monotonic()
            # The thread that has been idle for longest comes first.
            while self._idle and self._idle[0].began <= now - IDLE_TIMEOUT:
                self._end_locked(self._idle[0])
                self._idle.pop(0)
            self._switch_interval.fit(len(self._workers))
            if self._workers:
                since = self._idle[0].began if self._idle else now
                self._schedule_threadsafe(since + IDLE_TIMEOUT - now, self._end_idle)
                self._looks_at_idle = True
            self._torn = False

    @loop_thread
    def _look_whether_full(self) -> None:
        """Call ``full`` if requests still wait while as many run as may, and look again later."""
        with self._lock:
            if self._closing:
                return
            self._begin_locked()
            lanes = self._lanes
            is_full = lanes.any_wait and lanes.turn() is None and not lanes.held_back()
            if is_full:
                self._schedule_threadsafe(FULL_AGAIN, self._look_whether_full)
            self._looks_at_full = is_full
            self._torn = False
        if is_full:
            self._full()

    # ------------------------------------------------------------------- a forked child

    def forked(self) -> list[Job]:
        """Return the jobs that ran, one of them perhaps on the thread that the child is.

        The child ends with that job: the next thing that its thread does here is to repair.
        """
        self._lock = threading.RLock()
        self._torn = self._in_child = True
        for worker in self._workers:
            worker.ends = True  # see end_child
        return [job for worker in self._workers if (job := worker.job) is not None]

    # ------------------------------------------------------------------- under the lock

    def _begin_locked(self) -> None:
        """Begin to change something; first put in order what somebody else left half done."""
        if self._torn:
            self._repair_locked()
        self._torn = True

    def _repair_locked(self) -> None:
        """Derive the rings and the idle threads from the lanes and from the workers."""
        if self._in_child:
            end_child()
        for worker, thread in list(self._workers.items()):
            if not thread.is_alive():
                del self._workers[worker]
                continue
            if worker.job is None:
                worker.lane = None  # it was about to get a job, or is done with one
            elif worker.lane is not None:
                waiting = worker.lane.waiting
                if waiting and waiting[0] is worker.job:
                    waiting.popleft()
            worker.inbox.put(None)  # it may not have been told
        self._idle[:] = [w for w in self._workers if w.lane is None and not w.ends]
        self._lanes.rebuild(self._all_lanes, self._workers)

    def _assign_locked(self) -> bool:
        """Give a job to an idle thread, or to a new one while those start eagerly; True if done.

        That thread does the same for the next job before it begins its own, and so on: the loop
        would be busy for a millisecond if it woke a hundred itself.
        """
        if self._closing:
            return False
        if self._lanes.turn() is None:
            if self._lanes.held_back():
                self._watch_locked()
            elif self._lanes.any_wait and not self._looks_at_full:
                self._schedule_threadsafe(FULL_LOOK, self._look_whether_full)
                self._looks_at_full = True
            return False
        # While applications return at once, one thread takes one job after the other: a second one
        # would only contend with it for the interpreter.
        served_soon = (
            self._lanes.running
            and not self._slow_lately
            and clock.monotonic() - self._progress_at < QUICK
        )
        if served_soon or not (self._idle or self._spawn_eagerly_locked()):
            self._watch_locked()
            return False
        worker = self._idle[-1]
        if not self._lanes.next(worker):
            return False
        self._started += 1
        self._progress_at = clock.monotonic()
        self._idle.pop()
        worker.inbox.put(None)
        return True

    def _watch_locked(self) -> None:
        if not self._watching:
            self._schedule_threadsafe(0.0, self._begin_watch)
            self._watching = True

    def _spawn_eagerly_locked(self) -> bool:
        few = min(EAGER_THREADS, self._lanes.limit)
        return len(self._workers) < few and self._spawn_locked()

    def _spawn_locked(self) -> bool:
        """Start a thread, idle at first; False if the system has none to give."""
        worker: Worker[Job] = Worker(self)
        name = f"h2wsgi-app-{len(self._workers) + 1}"
        thread = threading.Thread(target=self._live, args=(worker,), name=name, daemon=True)
        self._workers[worker] = thread
        try:
            thread.start()
        except RuntimeError:
            del self._workers[worker]
            return False
        self._idle.append(worker)
        self._switch_interval.fit(len(self._workers))
        if not self._looks_at_idle:
            self._schedule_threadsafe(IDLE_TIMEOUT, self._end_idle)
            self._looks_at_idle = True
        return True

    def _end_locked(self, worker: Worker[Job]) -> None:
        """End a thread that has no job and gets none any more."""
        worker.ends = True
        self._workers.pop(worker, None)
        worker.inbox.put(None)

    # ------------------------------------------------------------------ a worker's thread

    @guards.kernel
    @guards.outermost
    def _live(self, worker: Worker[Job]) -> None:
        """Be the thread of a worker until it is told to end, whatever is raised in it."""
        while not worker.ends:
            try:
                if worker.error is not None:
                    self._recover(worker)
                self._serve(worker)
            except BaseException as error:
                worker.error = error
        if self._in_child:
            # A greenlet (see end_child): threading in the child does not know it, and would raise.
            queue.SimpleQueue[None]().get()

    @guards.outermost
    def _serve(self, worker: Worker[Job]) -> None:
        set_role("application")
        leave_the_cpu_to_the_loop()
        run = self._run
        while not worker.ends:
            if worker.job is None:
                worker.inbox.get()
                continue
            if self._lanes.any_wait:
                with self._lock:
                    self._begin_locked()
                    self._assign_locked()
                    self._torn = False
            worker.began = worker.turn_began = clock.monotonic()
            job: Job | None = worker.job
            while job is not None:
                # A new one, or the next job would have what this one sets: a decimal context, say.
                Context().run(run, job, worker)
                job = self._done(worker)
                if (unwoken := worker.unwoken) is not None:
                    if not unwoken.scheduled:
                        unwoken.wake(job is None)
                    # The local as well, or an idle thread would keep a closed connection alive.
                    worker.unwoken = unwoken = None

    @guards.outermost
    def _recover(self, worker: Worker[Job]) -> None:
        """Put in order what an exception has left half done; called again if it raises as well."""
        if worker.job is not None:
            Context().run(self._failed, worker.job, worker)
            self._done(worker)
        # Without a job it is idle for whoever repairs, and may be given one at any moment.
        if worker.unwoken is not None:
            worker.unwoken.wake()
            worker.unwoken = None
        with self._lock:
            self._begin_locked()
            self._assign_locked()  # it may have been struck before it gave others their jobs
            self._torn = False
        error, worker.error = worker.error, None
        if error is not None:
            _report(error)

    def _done(self, worker: Worker[Job]) -> Job | None:
        """A job is over: return the next one of its lane, or of another; None to become idle.

        An idle thread may be given a job at once. Others may wait behind that one, which this
        thread is then to give away.
        """
        began, now = worker.began, clock.monotonic()
        worker.began = self._progress_at = now
        lanes = self._lanes
        with self._lock:
            if self._torn:
                self._repair_locked()
            if (lane := worker.lane) is None:  # it was taken away already: the thread is idle
                self._torn = False
                return None
            self._torn = True
            job = None
            if now - began >= QUICK:
                self._slow_lately = SLOW_MEMORY
            elif self._slow_lately:
                self._slow_lately -= 1
            if (
                (waiting := lane.waiting)
                and now - worker.turn_began < TURN
                and len(lanes.running) <= lanes.limit
                and not self._closing
            ):
                job = worker.job = waiting[0]
                waiting.popleft()
                self._started += 1
                if not waiting:
                    lanes.leave_if_empty(lane)
            else:
                worker.turn_began = now
                worker.job = None
                lanes.end(worker, lane)
                worker.lane = None
                if self._closing:
                    self._end_locked(worker)
                elif lanes.any_wait and lanes.next(worker):
                    self._started += 1
                    job = worker.job
                else:
                    self._idle.append(worker)
            self._torn = False
        return job

    def wait_begins(self, worker: Worker[Job]) -> None:
        """See :meth:`Worker.wait_begins`. Any thread."""
        with self._lock:
            self._begin_locked()
            if worker.lane is not None:
                self._lanes.give_away(worker, worker.lane)
                self._assign_locked()
            self._torn = False

    def wait_ended(self, worker: Worker[Job]) -> None:
        """See :meth:`Worker.wait_ended`. Any thread."""
        with self._lock:
            self._begin_locked()
            if worker.lane is not None:
                self._lanes.take_back(worker, worker.lane)
            self._torn = False


def _report(error: BaseException) -> None:
    """Show what a job raised, such as an error in an application's logging handler.

    The thread goes on: ending it would lose its share of the pool for good.
    """
    details = (type(error), error, error.__traceback__, threading.current_thread())
    try:
        threading.excepthook(threading.ExceptHookArgs(details))
    except Exception:
        traceback.print_exc()
