"""SIGUSR2: the supervisor is executed anew with its sockets and workers, if the check is well."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from support.peer import Peer
from support.process import START_PATIENCE
from support.settled import PATIENCE, eventually
from support.workers import TELLING, WorkersProcess, is_alive

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")


def pid_of(server: WorkersProcess) -> int:
    with server.connect(tls=False) as peer:
        return int(json.loads(peer.get(timeout=START_PATIENCE).body)["pid"])


def start_of(pid: int) -> bytes:
    """Return what a process was executed with, which exec changes and a fork does not."""
    return Path(f"/proc/{pid}/environ").read_bytes()


def test_an_upgrade_keeps_number_sockets_and_requests(tmp_path: Path) -> None:
    path = tmp_path / "h2.sock"
    options = ("--bind=127.0.0.1:0", f"--bind=unix:{path}", "--pid=h2.pid")
    answered = 0
    failures: list[BaseException] = []
    over = threading.Event()

    def ask() -> None:
        nonlocal answered
        while not over.is_set():
            try:
                pid_of(running)
                answered += 1
            except BaseException as error:
                failures.append(error)

    with WorkersProcess(tmp_path, TELLING, *options) as running:
        running.ready()
        old = running.workers()
        running.signal(signal.SIGTTIN)
        before = running.wait_for_workers(3)
        client = threading.Thread(target=ask)
        client.start()
        try:
            with running.connect(tls=False) as busy:
                stream_id = busy.request(path="/wait")
                eventually((tmp_path / "running").exists, "the request to run")
                running.signal(signal.SIGUSR2)
                running.said("executed anew: reloading, with 3 workers to start")
                running.said("reloaded: 3 workers; of the old ones 3 to end")
                (tmp_path / "go-on").touch()
                assert json.loads(busy.response(stream_id).body)["pid"] in old
                busy.wait_goaway()
            eventually(lambda: not any(map(is_alive, old)), "the old ones to end", START_PATIENCE)
        finally:
            over.set()
            client.join()
        assert failures == []
        assert answered > 5
        before = running.wait_for_workers(3)
        assert b"H2WSGI_TAKEN_OVER" not in start_of(running.workers()[0])
        with Peer.connect(str(path), tls=False) as peer:
            assert json.loads(peer.get().body)["pid"] in running.workers()
        # And again, by what has taken over; which hears of the end of workers as before.
        running.signal(signal.SIGUSR2)
        eventually(
            lambda: sum("reloaded: " in event for event in running.events()) == 2,
            "the second",
            2 * START_PATIENCE,
        )
        first, *_ = running.wait_for_workers(3, without=tuple(before))
        os.kill(first, signal.SIGKILL)
        running.said(f"worker {first} was killed by SIGKILL")
        assert (tmp_path / "h2.pid").read_text() == f"{running.process.pid}\n"
        running.signal(signal.SIGTERM)
        assert running.exit_code(PATIENCE) == 0
    assert not path.exists()
    assert not (tmp_path / "h2.pid").exists()


def test_options_that_stay_until_a_restart_stay_over_an_upgrade(tmp_path: Path) -> None:
    with WorkersProcess(tmp_path) as running:
        running.ready()
        before = running.workers()
        (tmp_path / "h2wsgi.toml").write_text('bind_h2c = "127.0.0.1:1"\nroot_path = "/shop"\n')
        running.signal(signal.SIGUSR2)
        running.said("--bind-h2c changed, which a reload does not: it takes a restart")
        running.said("reloaded: 2 workers; of the old ones 2 to end")
        running.wait_for_workers(2, without=tuple(before))
        with running.connect(tls=False) as peer:
            assert json.loads(peer.get(timeout=START_PATIENCE).body)["SCRIPT_NAME"] == "/shop"
        assert [line["event"] for line in running.lines()].count("reload_leaves_options") == 1


def test_a_check_that_finds_something_changes_nothing(tmp_path: Path) -> None:
    with WorkersProcess(tmp_path) as running:
        running.ready()
        before, started = running.workers(), start_of(running.process.pid)
        (tmp_path / "web.py").write_text("1 / 0\n")
        running.signal(signal.SIGUSR2)
        said = running.said("SIGUSR2: nothing changes, as the check found this")
        assert "ZeroDivisionError" in said
        assert running.workers() == before
        assert start_of(running.process.pid) == started
        assert pid_of(running) in before
        dies = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
        (tmp_path / "web.py").write_text(dies)
        running.signal(signal.SIGUSR2)
        running.said("SIGUSR2: nothing changes, as the check was killed by SIGKILL")
        assert running.workers() == before


def test_workers_that_die_while_the_process_is_executed_anew_are_noticed(tmp_path: Path) -> None:
    """The new code is slow to load, and an old worker dies meanwhile: a new one takes its place."""
    slow = TELLING + "\nif (FOLDER / 'slow').exists():\n    time.sleep(2)\n"
    with WorkersProcess(tmp_path, slow) as running:
        running.ready()
        first, second = running.workers()
        (tmp_path / "slow").touch()
        running.signal(signal.SIGUSR2)
        running.said("executed anew")
        os.kill(first, signal.SIGKILL)
        running.said(f"worker {first} was killed by SIGKILL")
        running.said("reloaded: ")
        eventually(lambda: not is_alive(second), "the other to leave", START_PATIENCE)
        running.wait_for_workers(2)
        assert pid_of(running) in running.workers()


def test_a_program_has_no_command_line_to_start_by(tmp_path: Path) -> None:
    program = """
import sys, h2wsgi
sys.exit(h2wsgi.serve("web:app", workers=2, h2c=True, bind="127.0.0.1:0", log_format="json"))
"""
    with WorkersProcess(tmp_path, entry=("-c", program)) as running:
        running.ready()
        running.signal(signal.SIGUSR2)
        running.said("SIGUSR2: nothing is done for it")
        assert pid_of(running) in running.workers()
