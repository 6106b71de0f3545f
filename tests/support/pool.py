"""A thread pool whose clock, loop and jobs do what a test tells them."""

from __future__ import annotations

import threading
import types
from collections import deque
from collections.abc import Callable

import pytest

from h2wsgi.wsgi import growth, thread_pool
from h2wsgi.wsgi.lanes import Lane
from h2wsgi.wsgi.thread_pool import ThreadPool, Worker
from support.settled import PATIENCE, eventually


class Job:
    """Work that says when it has begun and ends when it is told."""

    def __init__(self, name: str = "", *, free: bool = False) -> None:
        self.name = name
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.waits = threading.Event()
        self.waiting = threading.Event()
        self.resume = threading.Event()
        self.over = threading.Event()
        if free:
            self.go_on.set()


class Pool:
    """A pool whose clock and whose loop are the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.cpu = 100.0
        clock = types.SimpleNamespace(monotonic=lambda: self.now, process_time=lambda: self.cpu)
        for module in (thread_pool, growth):
            monkeypatch.setattr(module, "clock", clock)
        monkeypatch.setattr(growth, "time", clock)
        self.scheduled: deque[tuple[float, Callable[[], None]]] = deque()
        self.idle_looks: deque[tuple[float, Callable[[], None]]] = deque()
        self.full_looks: deque[tuple[float, Callable[[], None]]] = deque()
        self.order: list[str] = []
        self.exhausted = self.full = 0
        self.failed: list[Job] = []
        self.jobs: list[Job] = []
        self.pools: list[ThreadPool[Job]] = []
        self.before = set(threading.enumerate())
        self._lanes: dict[object, Lane[Job]] = {}

    def lane(self, pool: ThreadPool[Job], connection: object) -> Lane[Job]:
        """Return the lane of a connection by whatever stands for it."""
        if connection not in self._lanes:
            self._lanes[connection] = pool.lane()
        return self._lanes[connection]

    def make(
        self, limit: int, max_threads: int | None = None, lane_limit: int = 1_000
    ) -> ThreadPool[Job]:
        pool = ThreadPool(
            self.run,
            limit=limit,
            max_threads=max_threads or limit,
            lane_limit=lane_limit,
            schedule_threadsafe=self.schedule,
            exhausted=self.count_exhausted,
            full=self.count_full,
            failed=lambda job, worker: self.failed.append(job),
        )
        self.pools.append(pool)
        return pool

    def schedule(self, delay: float, callback: Callable[[], None]) -> None:
        """Keep the looks at idle and at full threads, which are rare, apart from the others."""
        looks = self.idle_looks if delay > 0.5 else self.scheduled
        if getattr(callback, "__name__", "") == "_look_whether_full":
            looks = self.full_looks
        looks.append((delay, callback))

    def look_whether_full(self) -> float:
        """Make the one look that is to come; return after which delay."""
        ((delay, callback),) = self.full_looks
        self.full_looks.clear()
        callback()
        return delay

    def count_exhausted(self) -> None:
        self.exhausted += 1

    def count_full(self) -> None:
        self.full += 1

    def job(self, name: str = "", *, free: bool = False) -> Job:
        job = Job(name, free=free)
        self.jobs.append(job)
        return job

    def run(self, job: Job, worker: Worker[Job]) -> None:
        self.order.append(job.name)
        job.begun.set()
        if job.waits.is_set():
            worker.wait_begins()
            job.waiting.set()
            assert job.resume.wait(PATIENCE)
            worker.wait_ended()
        assert job.go_on.wait(PATIENCE)
        job.over.set()

    def pass_time(self, steps: int = 1, *, busy: bool = False) -> None:
        """Let the loop run what it was asked to, each after its delay."""
        for _ in range(steps):
            self.let_begin()
            for _ in range(len(self.scheduled)):
                delay, callback = self.scheduled.popleft()
                self.now += delay
                self.cpu += delay if busy else 0
                callback()
        self.let_begin()

    def let_begin(self) -> None:
        """Wait until each job that was given to a thread has begun.

        Before it, its thread has given the next job to another, if there was one for it.
        """
        eventually(
            lambda: (
                sum(job.begun.is_set() for job in self.jobs)
                == sum(pool.started for pool in self.pools)
            ),
            "the jobs to begin",
        )

    def new_threads(self) -> list[threading.Thread]:
        return [
            t for t in set(threading.enumerate()) - self.before if t.name.startswith("h2wsgi-app")
        ]

    def close(self) -> None:
        for job in self.jobs:
            job.resume.set()
            job.go_on.set()
        for pool in self.pools:
            pool.close()
        for thread in self.new_threads():
            thread.join(PATIENCE)
            assert not thread.is_alive()


def begun(*jobs: Job) -> bool:
    return all(job.begun.wait(PATIENCE) for job in jobs)
