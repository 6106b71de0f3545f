"""Which request runs next: connections take turns, and none takes all threads."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2wsgi.wsgi import thread_pool
from h2wsgi.wsgi.lanes import shared_threads
from support.pool import Pool, begun
from support.settled import PATIENCE, eventually

patient = settings(deadline=None)
"""A busy machine may be slow with any one example."""


def test_connections_take_turns(pools: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_pool, "TURN", 0.0)
    pool = pools.make(1)
    first = pools.job("first")
    pool.submit(pools.lane(pool, "z"), [first])
    assert begun(first)
    jobs = []
    for key, count in (("a", 3), ("b", 1), ("c", 2)):
        for number in range(count):
            jobs.append(pools.job(f"{key}{number}", free=True))
            pool.submit(pools.lane(pool, key), [jobs[-1]])
    first.go_on.set()
    assert all(job.over.wait(PATIENCE) for job in jobs)
    assert pools.order == ["first", "a0", "b0", "c0", "a1", "c1", "a2"]


def test_one_connection_leaves_threads_to_the_others(pools: Pool) -> None:
    pool = pools.make(12)
    share = shared_threads(12)
    assert share == 9
    greedy = [pools.job() for _ in range(20)]
    for job in greedy:
        pool.submit(pools.lane(pool, "greedy"), [job])
    pools.pass_time(20)
    assert begun(*greedy[:share])
    other = pools.job(free=True)
    pool.submit(pools.lane(pool, "other"), [other])
    pools.pass_time(20)
    assert other.over.wait(PATIENCE)
    assert sum(job.begun.is_set() for job in greedy) == share
    greedy[0].go_on.set()
    assert begun(greedy[share])


def test_the_last_threads_are_for_connections_that_run_nothing(
    pools: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine of twelve are for all; each connection that runs nothing gets one of the last three."""
    monkeypatch.setattr(thread_pool, "TURN", 0.0)
    pool = pools.make(12)
    greedy = [[pools.job() for _ in range(10)] for _ in range(3)]

    def running() -> list[int]:
        return [sum(j.begun.is_set() and not j.over.is_set() for j in jobs) for jobs in greedy]

    for number, jobs in enumerate(greedy):
        pool.submit(pools.lane(pool, number), jobs)
        pools.pass_time(20)
    eventually(lambda: running() == [9, 1, 1], "all that may run to run")
    late = [pools.job(), pools.job()]
    pool.submit(pools.lane(pool, "late"), late)
    pools.pass_time(20)
    assert begun(late[0])
    # Twelve run: a place that becomes free is for a connection that runs nothing.
    greedy[0][0].go_on.set()
    assert greedy[0][0].over.wait(PATIENCE)
    fresh = pools.job()
    pool.submit(pools.lane(pool, "fresh"), [fresh])
    pools.pass_time(20)
    assert begun(fresh)
    assert running() == [8, 1, 1]
    assert not late[1].begun.is_set()
    # Only with fewer than nine running do the others get on, and in turn.
    for job in greedy[0][1:8]:
        job.go_on.set()
    pools.pass_time(20)
    assert begun(late[1])


def test_the_last_threads_there_may_be_are_for_connections_that_have_none(pools: Pool) -> None:
    """However many wait on the clients of the others, and so leave their shares to anybody."""
    pool = pools.make(12)
    greedy = [pools.job() for _ in range(12)]
    for job in greedy:
        job.waits.set()
    pool.submit(pools.lane(pool, "greedy"), greedy)
    pools.pass_time(20)
    share = shared_threads(12)
    assert all(job.waiting.wait(PATIENCE) for job in greedy[:share])
    assert not any(job.begun.is_set() for job in greedy[share:])
    assert pool.fewest_threads == share
    assert pools.exhausted > 1, "the others wait for one of these to come back"
    for number in range(3):
        fresh = [pools.job(), pools.job(free=True)]
        pool.submit(pools.lane(pool, number), fresh)
        pools.pass_time(3)
        assert begun(fresh[0])
        assert pool.fewest_threads == 1
        before = pools.exhausted
        pools.pass_time(5)
        assert pools.exhausted > before, "although others were started meanwhile"
        assert not any(job.begun.is_set() for job in (fresh[1], *greedy[share:]))
    late = pools.job(free=True)
    pool.submit(pools.lane(pool, "late"), [late])
    assert (pool.fresh_waiting, pool.fewest_threads) == (1, 0)
    for job in greedy[:4]:
        job.resume.set()
        job.go_on.set()
    assert late.over.wait(PATIENCE)
    pools.pass_time(20)
    assert begun(greedy[share])


def test_a_connection_whose_threads_all_wait_goes_before_those_that_run_something(
    pools: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has threads, so the last of those are not for it; but it has none of the shares."""
    monkeypatch.setattr(thread_pool, "TURN", 0.0)
    pool = pools.make(4, 100)
    waiting = pools.job()
    waiting.waits.set()
    pool.submit(pools.lane(pool, "quiet"), [waiting])
    assert waiting.waiting.wait(PATIENCE)
    busy = [pools.job() for _ in range(5)]
    pool.submit(pools.lane(pool, "busy"), busy)
    pools.pass_time(20)
    assert [job.begun.is_set() for job in busy] == [True] * 3 + [False] * 2
    quiet = pools.job()
    pool.submit(pools.lane(pool, "quiet"), [quiet])
    pools.pass_time(20)
    assert begun(quiet)
    assert not busy[3].begun.is_set()


def test_a_connection_has_no_more_applications_than_it_may_have_streams(pools: Pool) -> None:
    """Whether they run or wait on the client: their streams may have been reset long ago."""
    pool = pools.make(64, lane_limit=5)
    waiting = [pools.job() for _ in range(3)]
    for job in waiting:
        job.waits.set()
    jobs = [pools.job() for _ in range(6)]
    pool.submit(pools.lane(pool, "a"), [*waiting, *jobs])
    pools.pass_time(20)
    assert begun(*waiting, *jobs[:2])
    assert not any(job.begun.is_set() for job in jobs[2:])
    other = pools.job(free=True)
    pool.submit(pools.lane(pool, "b"), [other])
    assert other.over.wait(PATIENCE)
    waiting[0].resume.set()
    waiting[0].go_on.set()
    assert begun(jobs[2])
    assert not any(job.begun.is_set() for job in jobs[3:])


@patient
@given(st.integers(1, 1_000))
def test_a_share_is_at_least_one_and_leaves_some(limit: int) -> None:
    share = shared_threads(limit)
    assert 1 <= share <= limit
    assert limit < 4 or share < limit
    assert limit < 32 or share == limit - 8
