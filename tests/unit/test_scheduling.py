"""What threads leave to the loop where they share a CPU."""

from __future__ import annotations

import threading

import pytest

from h2wsgi.wsgi import thread_pool
from support.pool import Pool, begun
from support.settled import PATIENCE


@pytest.mark.parametrize(
    ("alone", "late", "running", "yields"),
    [(True, True, 6, True), (True, True, 5, False), (True, False, 6, False)]
    + [(False, True, 6, False)],
)
def test_a_thread_of_a_crowd_lets_a_late_loop_go_first_where_they_share_a_cpu(
    pools: Pool,
    monkeypatch: pytest.MonkeyPatch,
    alone: bool,
    late: bool,
    running: int,
    yields: bool,
) -> None:
    yielded = threading.Event()
    monkeypatch.setattr(thread_pool, "is_alone_on_its_cpu", lambda: alone)
    monkeypatch.setattr(thread_pool, "let_the_loop_go_first", yielded.set)
    pool = pools.make(8)
    jobs = [pools.job() for _ in range(running)]
    for number, job in enumerate(jobs):
        pool.submit(pools.lane(pool, number), [job])
    pools.pass_time(5)
    assert begun(*jobs)
    pools.loop_is_late = late
    jobs[0].go_on.set()
    if yields:
        assert yielded.wait(PATIENCE)
        return
    pool.close()
    for job in jobs:
        job.go_on.set()
    for thread in pools.new_threads():
        thread.join(PATIENCE)
    assert pool.threads == 0
    assert not yielded.is_set()
