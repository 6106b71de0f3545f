"""The pool's threads: when they begin, wait on clients, are idle and end."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

from h2wsgi.wsgi import thread_pool
from support.pool import Pool, begun
from support.settled import PATIENCE, eventually


def test_the_first_jobs_start_without_delay(pools: Pool) -> None:
    pool = pools.make(8)
    jobs = [pools.job() for _ in range(4)]
    for number, job in enumerate(jobs):
        pool.submit(pools.lane(pool, number), [job])
    assert begun(*jobs)
    assert (pool.threads, pool.busy, len(pools.scheduled)) == (4, 4, 0)


def test_a_thread_that_is_idle_is_used_again(pools: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pools.make(8)
    done, idle = pool._done, threading.Event()

    def done_and_said(*args: Any) -> Any:
        following = done(*args)
        idle.set()
        return following

    monkeypatch.setattr(pool, "_done", done_and_said)
    first, second = pools.job(free=True), pools.job()
    pool.submit(pools.lane(pool, "a"), [first])
    assert idle.wait(PATIENCE)
    assert (pool.threads, pool.busy) == (1, 0)
    pool.submit(pools.lane(pool, "a"), [second])
    assert begun(second)
    assert (pool.threads, pool.busy) == (1, 1)


def test_jobs_that_come_as_a_thread_becomes_idle_are_all_begun(
    pools: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread was given the first of them before it could wait: it gives the next one away."""
    pool = pools.make(8)
    done, idle, given = pool._done, threading.Event(), threading.Event()

    def done_and_held_up(*args: Any) -> Any:
        following = done(*args)
        if not idle.is_set():
            idle.set()
            assert given.wait(PATIENCE)
        return following

    monkeypatch.setattr(pool, "_done", done_and_held_up)
    lane = pools.lane(pool, "a")
    pool.submit(lane, [pools.job(free=True)])
    assert idle.wait(PATIENCE)
    computing, quick = pools.job(), pools.job(free=True)
    pool.submit(lane, [computing, quick])
    given.set()
    assert begun(computing, quick)
    computing.go_on.set()


def test_a_job_that_waits_on_its_client_gives_its_place_to_another(pools: Pool) -> None:
    pool = pools.make(1, 8)
    waiting, second, third = pools.job("waiting"), pools.job("second"), pools.job("third")
    waiting.waits.set()
    pool.submit(pools.lane(pool, "a"), [waiting])
    assert waiting.waiting.wait(PATIENCE)
    pool.submit(pools.lane(pool, "b"), [second])
    pool.submit(pools.lane(pool, "b"), [third])
    pools.pass_time(5)
    assert begun(second)
    # It comes back without waiting for a place, and new starts wait for two ends.
    waiting.resume.set()
    waiting.go_on.set()
    assert waiting.over.wait(PATIENCE)
    assert not third.begun.is_set()
    second.go_on.set()
    assert begun(third)


def test_at_the_ceiling_of_threads_the_server_is_asked_for_one_again_and_again(
    pools: Pool,
) -> None:
    pool = pools.make(2, 2)
    waiting = [pools.job(), pools.job()]
    for job in waiting:
        job.waits.set()
        pool.submit(pools.lane(pool, job), [job])
        assert job.waiting.wait(PATIENCE)
    late = pools.job(free=True)
    pool.submit(pools.lane(pool, "late"), [late])
    pools.pass_time(10)
    assert pool.threads == 2
    assert pools.exhausted > 1
    waiting[0].resume.set()
    waiting[0].go_on.set()
    assert late.over.wait(PATIENCE)


def test_a_job_that_waits_can_be_cancelled_and_leaves_nothing(pools: Pool) -> None:
    pool = pools.make(1)
    running, waiting = pools.job(), pools.job()
    lane, other = pool.lane(), pool.lane()
    pool.submit(lane, [running])
    assert begun(running)
    pool.submit(other, [waiting])
    assert pool.cancel(other, waiting)
    assert not pool.cancel(other, waiting)
    assert not pool.cancel(lane, running)
    assert not pool.cancel(pool.lane(), waiting)
    gc.collect()
    # A lane that the pool went on holding would keep its connection alive.
    assert gc.get_referrers(other) == []
    running.go_on.set()
    assert running.over.wait(PATIENCE)
    assert not waiting.begun.is_set()


def test_close_ends_idle_threads_at_once_and_the_others_with_their_job(pools: Pool) -> None:
    pool = pools.make(2)
    running, idle = pools.job(), pools.job(free=True)
    pool.submit(pools.lane(pool, "a"), [running])
    pool.submit(pools.lane(pool, "b"), [idle])
    assert begun(running, idle)
    assert idle.over.wait(PATIENCE)
    (ended,) = (thread for thread in pools.new_threads() if thread.name.endswith("-2"))
    pool.close()
    ended.join(PATIENCE)
    assert not ended.is_alive()
    assert pool.threads == 1
    running.go_on.set()
    for thread in pools.new_threads():
        thread.join(PATIENCE)
    assert pool.threads == 0


def test_a_closed_pool_starts_nothing_more(pools: Pool) -> None:
    pool = pools.make(1)
    running, waiting, late = pools.job("running"), pools.job(free=True), pools.job(free=True)
    pool.submit(pools.lane(pool, "a"), [running])
    assert begun(running)
    pool.submit(pools.lane(pool, "b"), [waiting])
    pool.close()
    pool.submit(pools.lane(pool, "c"), [late])
    pools.pass_time(5)
    running.go_on.set()
    for thread in pools.new_threads():
        thread.join(PATIENCE)
    assert pools.order == ["running"]
    assert pool.threads == 0


def test_idle_threads_end(pools: Pool) -> None:
    pool = pools.make(4)
    jobs = [pools.job() for _ in range(4)]
    for job in jobs:
        pool.submit(pools.lane(pool, job), [job])
    assert begun(*jobs)
    for job in jobs[:3]:
        job.go_on.set()
    eventually(lambda: pool.busy == 1, "three threads to be idle")
    threads = pools.new_threads()
    ((delay, look),) = pools.idle_looks
    pools.idle_looks.clear()
    pools.now += delay - 1
    look()
    assert pool.threads == 4
    assert pools.idle_looks[0][0] == pytest.approx(1)
    pools.now += 1
    pools.idle_looks.popleft()[1]()
    assert pool.threads == 1
    eventually(lambda: sum(t.is_alive() for t in threads) == 1, "three threads to end")
    jobs[3].go_on.set()
    eventually(lambda: pool.busy == 0, "the last thread to be idle")
    pools.now += pools.idle_looks[0][0]
    pools.idle_looks.popleft()[1]()
    assert pool.threads == 0
    assert not pools.idle_looks
    late = pools.job(free=True)
    pool.submit(pools.lane(pool, "late"), [late])
    assert begun(late)
    assert len(pools.idle_looks) == 1


def test_threads_that_are_all_taken_for_long_are_told_of_once_a_minute(pools):
    pool = pools.make(limit=1)
    first, second, third = pools.job(), pools.job(), pools.job(free=True)
    pool.submit(pools.lane(pool, 1), [first])
    assert begun(first)
    assert not pools.full_looks  # nobody waits
    pool.submit(pools.lane(pool, 2), [second])
    pool.submit(pools.lane(pool, 3), [third])
    assert (pool.queued, pool.by_state()) == (2, (1, 0, 0))
    assert pools.full == 0
    assert pools.look_whether_full() == thread_pool.FULL_LOOK
    assert pools.full == 1
    assert pools.look_whether_full() == thread_pool.FULL_AGAIN
    assert pools.full == 2
    first.go_on.set()
    assert begun(second)
    second.go_on.set()
    assert third.over.wait(PATIENCE)
    eventually(lambda: pool.by_state() == (0, 0, 1), "the thread to be idle")
    pools.look_whether_full()
    assert (pools.full, len(pools.full_looks)) == (2, 0)


def test_threads_that_are_all_taken_for_a_moment_are_not_told_of(pools):
    pool = pools.make(limit=1)
    first, second = pools.job(), pools.job(free=True)
    pool.submit(pools.lane(pool, 1), [first, second])
    first.go_on.set()
    assert second.over.wait(PATIENCE)
    eventually(lambda: pool.by_state() == (0, 0, 1), "the thread to be idle")
    for _ in range(len(pools.full_looks)):
        pools.look_whether_full()
    assert (pools.full, len(pools.full_looks)) == (0, 0)


def test_a_pool_that_closes_tells_nothing(pools):
    pool = pools.make(limit=1)
    first, second = pools.job(), pools.job()
    pool.submit(pools.lane(pool, 1), [first])
    pool.submit(pools.lane(pool, 2), [second])
    pool.close()
    pools.look_whether_full()
    assert pools.full == 0


def test_a_thread_that_is_struck_at_the_end_of_a_job_keeps_one_that_it_is_given_meanwhile(
    pools: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes next puts in order what it left half done, and has it for idle."""
    pool = pools.make(8)
    lane, second = pools.lane(pool, "a"), pools.job(free=True)
    end, done, given, told = pool._lanes.end, pool._done, threading.Event(), threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: told.set())

    def struck(*args: Any) -> None:
        monkeypatch.setattr(pool._lanes, "end", end)
        monkeypatch.setattr(pool, "_done", done_again)
        raise MemoryError

    def done_again(*args: Any) -> Any:
        give()
        return done(*args)

    def give() -> None:
        if not given.is_set():
            given.set()
            giving = threading.Thread(target=pool.submit, args=(lane, [second]))
            giving.start()
            giving.join(PATIENCE)

    monkeypatch.setattr(pool._lanes, "end", struck)
    pool.submit(lane, [pools.job(free=True)])
    assert told.wait(PATIENCE)
    give()
    assert begun(second)
    eventually(lambda: pool.busy == 0, "all threads to be idle")
    assert not pool._lanes.running
