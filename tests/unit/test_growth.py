"""When there are to be more threads, with a clock and a CPU time of the test's own."""

from __future__ import annotations

import pytest

from support.pool import Pool, begun


def test_threads_are_added_while_jobs_wait_and_the_processor_does_not(pools: Pool) -> None:
    pool = pools.make(64)
    jobs = [pools.job() for _ in range(40)]
    for number, job in enumerate(jobs):
        pool.submit(pools.lane(pool, number), [job])
    assert pool.threads == 4
    pools.pass_time(2)
    assert pool.threads == 8  # doubled
    pools.pass_time(6)
    assert begun(*jobs)
    assert pool.threads == 40


def test_no_threads_are_added_while_the_process_computes_unless_nothing_moves(
    pools: Pool,
) -> None:
    pool = pools.make(64)
    jobs = [pools.job() for _ in range(10)]
    for number, job in enumerate(jobs):
        pool.submit(pools.lane(pool, number), [job])
    pools.pass_time(1 + 9, busy=True)
    assert pool.threads == 4
    pools.pass_time(2, busy=True)
    assert pool.threads > 4


@pytest.mark.parametrize(("limit", "max_threads"), [(5, 100), (50, 50)])
def test_growth_ends_at_the_limit(pools: Pool, limit: int, max_threads: int) -> None:
    pool = pools.make(limit, max_threads)
    jobs = [pools.job() for _ in range(limit + 20)]
    for number, job in enumerate(jobs):
        pool.submit(pools.lane(pool, number), [job])
    pools.pass_time(40)
    assert begun(*jobs[:limit])
    assert pool.threads == limit
    assert not any(job.begun.is_set() for job in jobs[limit:])
    assert not pools.scheduled
    for job in jobs:
        job.go_on.set()
    assert begun(*jobs)
