"""Workers that have had their time, one at a time, and those that are stuck."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

import h2wsgi
from support.process import START_PATIENCE
from support.settled import eventually
from support.workers import TELLING, WorkersProcess, is_alive

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")

GREEDY = TELLING.replace(
    "    names =",
    """    if environ["PATH_INFO"] == "/take":
        kept.append(b"x" * 200_000_000)
    if environ["PATH_INFO"] == "/stick":
        import ctypes
        ctypes.PyDLL(None).sleep(3600)  # which keeps the interpreter's lock
    names =""",
).replace("FOLDER =", "kept = []\nFOLDER =")


def pid_of(server: WorkersProcess, path: str = "/") -> int:
    with server.connect(tls=False) as peer:
        return int(json.loads(peer.get(path, timeout=START_PATIENCE).body)["pid"])


def test_a_worker_that_has_had_its_requests_is_replaced_without_losing_one(tmp_path: Path) -> None:
    with WorkersProcess(tmp_path, TELLING, "--max-requests=20") as running:
        running.ready()
        before = running.workers()
        asked = 0
        with running.connect(tls=False) as peer:
            first = json.loads(peer.get().body)["pid"]
            while not any("--max-requests" in event for event in running.events()):
                asked += 1
                assert json.loads(peer.get().body)["pid"] == first
                assert asked < 1000
            said = running.said("it has had 20 requests (--max-requests); another takes its place")
            assert f"worker {first}: " in said
            assert asked >= 17
            peer.wait_goaway(START_PATIENCE)
        left = running.wait_for_workers(2, without=(first,))
        assert set(before) - {first} < set(left)


def test_a_limit_of_memory_that_no_worker_keeps_is_said_and_replaces_none(tmp_path: Path) -> None:
    with WorkersProcess(tmp_path, TELLING, "--worker-max-rss=1MiB") as running:
        running.ready()
        before = running.workers()
        line = running.said("which is above --worker-max-rss")
        assert line.startswith("a worker takes ")
        assert pid_of(running) in before
        assert running.workers() == before


def test_workers_are_replaced_one_at_a_time_when_they_are_old(tmp_path: Path) -> None:
    with WorkersProcess(tmp_path, TELLING, "--worker-lifetime=1", workers=2) as running:
        running.ready()
        before = running.workers()
        seen: set[int] = set()

        def all_are_replaced() -> bool:
            now = running.workers()
            seen.add(len(now))
            return not set(before) & set(now)

        eventually(all_are_replaced, "both to be replaced", START_PATIENCE)
        assert seen <= {2, 3}
        assert pid_of(running) not in before


def test_one_worker_may_be_replaced_too(tmp_path: Path) -> None:
    with WorkersProcess(tmp_path, GREEDY, "--worker-max-rss=150MiB", workers=0) as running:
        assert running.ready()["workers"] == 1
        (only,) = running.workers()
        assert pid_of(running, "/take") == only
        running.said("MiB of memory (--worker-max-rss); another takes its place")
        (other,) = running.wait_for_workers(1, without=(only,))
        assert pid_of(running) == other


def test_a_worker_whose_loop_does_not_turn_is_shown_and_replaced(tmp_path: Path) -> None:
    with WorkersProcess(tmp_path, GREEDY, "--worker-timeout=2") as running:
        running.ready()
        before = set(running.workers())
        with running.connect(tls=False) as peer:
            peer.request(path="/stick")
            text = "its event loop has not turned for 2 s (--worker-timeout)"
            eventually(lambda: text in running.log.read_text(), "it to be said", START_PATIENCE)
            assert peer.wait_closed(START_PATIENCE)
        eventually(lambda: len(before & set(running.workers())) == 1, "it to end", START_PATIENCE)
        eventually(lambda: len(running.workers()) == 2, "another to start", START_PATIENCE)
        assert pid_of(running) in running.workers()
        dumped = running.log.read_text()
        assert "Fatal Python error: Aborted" in dumped
        assert '/web.py", line' in dumped
        assert "was killed by SIGABRT; another is started" in dumped


def test_workers_that_stood_still_with_their_supervisor_are_not_stuck(tmp_path: Path) -> None:
    with WorkersProcess(tmp_path, TELLING, "--worker-timeout=3") as running:
        running.ready()
        before = running.workers()
        everybody = [running.process.pid, *before]
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3.3)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        time.sleep(1)
        assert running.workers() == before
        assert all(map(is_alive, before))


@pytest.mark.parametrize(
    ("name", "value"),
    [("worker_lifetime", 5), ("worker_max_rss", 2**30), ("max_requests", 9), ("worker_timeout", 3)],
)
def test_an_option_that_needs_another_process_asks_for_a_supervisor(name: str, value: int) -> None:
    config = h2wsgi.Config.build(**{name: value})
    assert config.supervised_by == "--" + name.replace("_", "-")
    assert not h2wsgi.Config.build(**{name: 0}).is_supervised
