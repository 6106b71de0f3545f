"""What a service manager is told, the sockets that it hands over, the units in examples/deploy."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from h2wsgi.errors import ConfigurationError
from h2wsgi.process.systemd import handed_descriptors
from h2wsgi.server.listeners import open_listeners
from h2wsgi.tls.development import make_certificates
from support.clients import find
from support.peer import Peer
from support.process import START_PATIENCE, packages
from support.settled import PATIENCE, eventually
from support.workers import ENGINE, LOOP, TELLING, WorkersProcess

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are none here")

UNITS = Path(__file__).parents[2] / "examples" / "deploy"
ASKING = TELLING.replace('{"pid"', '{"manager": os.environ.get("NOTIFY_SOCKET"), "pid"')


class Manager:
    """Listens to what it is told, as systemd does."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.sock.settimeout(START_PATIENCE)
        self.told: list[str] = []

    def next(self, but: str = "WATCHDOG=1") -> str:
        """Return the first line of the next message, but for those of a kind."""
        until = time.monotonic() + START_PATIENCE
        while time.monotonic() < until:
            self.told.append(self.sock.recv(4096).decode().splitlines()[0])
            if self.told[-1] != but:
                return self.told[-1]
        raise AssertionError(f"nothing but {but} in {START_PATIENCE} s")


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """Be the service manager of what is started."""
    listening = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    yield listening
    listening.sock.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_service_manager_is_told_and_the_application_does_not_know_it(
    tmp_path: Path, manager: Manager, workers: int
) -> None:
    with WorkersProcess(tmp_path, ASKING, workers=workers) as running:
        assert manager.next() == "READY=1"
        for _ in range(2):
            assert manager.next(but="") == "WATCHDOG=1"
        with running.connect(tls=False) as peer:
            assert json.loads(peer.get().body)["manager"] is None
        running.signal(signal.SIGTERM)
        assert manager.next() == "STOPPING=1"
        assert running.exit_code(PATIENCE) == 0


@pytest.mark.parametrize("secure", [True, False])
def test_a_service_manager_is_told_of_what_one_process_does_for_sighup(
    tmp_path: Path, manager: Manager, secure: bool
) -> None:
    """As Type=notify-reload waits for."""
    options = []
    if secure:
        made = make_certificates(tmp_path / "certs")
        options = [f"--cert={made.cert}", f"--key={made.key}"]
    slow = TELLING + "\n(FOLDER / 'loading').touch()\ntime.sleep(0.2)\n"
    with WorkersProcess(tmp_path, slow, *options, workers=0) as running:
        eventually((tmp_path / "loading").exists, "the application to load", START_PATIENCE)
        running.signal(signal.SIGHUP)  # which is no reload of what is not ready
        assert manager.next() == "READY=1"
        assert manager.next(but="") == "WATCHDOG=1"
        running.signal(signal.SIGHUP)
        assert manager.next() == "RELOADING=1"
        assert manager.next() == "READY=1"
        if secure:
            running.said("certificates read anew")


def test_a_service_manager_is_told_of_a_reload_and_its_end_also_if_it_fails(
    tmp_path: Path, manager: Manager
) -> None:
    with WorkersProcess(tmp_path) as running:
        assert manager.next() == "READY=1"
        running.ready()
        for source in (TELLING + "\n1 / 0\n", TELLING):
            (tmp_path / "web.py").write_text(source)
            running.signal(signal.SIGHUP)
            assert manager.next() == "RELOADING=1"
            assert manager.next() == "READY=1"
        (tmp_path / "h2wsgi.toml").write_text("threads = 0\n")
        running.signal(signal.SIGHUP)
        assert manager.next() == "RELOADING=1"
        assert manager.next() == "READY=1"


@pytest.mark.parametrize("workers", [1, 2])
def test_all_sockets_that_systemd_hands_over_are_served(tmp_path: Path, workers: int) -> None:
    activate = find("systemd-socket-activate", package="systemd")
    (tmp_path / "web.py").write_text(TELLING)
    path = tmp_path / "h2.sock"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path / "stderr.log"
    command = [activate, "-l", f"127.0.0.1:{port}", "-l", str(path)]
    command += ["-E", f"PYTHONPATH={os.pathsep.join(packages())}"]
    command += [sys.executable, "-m", "h2wsgi", "web:app", "--bind", "fd://", "--h2c"]
    command += ["--workers", str(workers), *LOOP, *ENGINE]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=tmp_path, stderr=file, start_new_session=True)
    try:
        eventually(path.exists, "the sockets to be there", START_PATIENCE)
        for where in (("127.0.0.1", port), str(path)):
            with Peer.connect(where, tls=False) as peer:
                assert json.loads(peer.get(timeout=START_PATIENCE).body)["pid"]
        process.terminate()
        assert process.wait(START_PATIENCE) == 0, log.read_text()
        assert path.exists()  # it is the manager's
    finally:
        process.kill()
        process.wait()


def test_sockets_for_another_process_or_none_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    assert handed_descriptors() == [3, 4]
    for wrong in ("", "-1", "\u00b2", "9" * 12):
        monkeypatch.setenv("LISTEN_FDS", wrong)
        assert handed_descriptors() == []
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_PID", "1")
    assert handed_descriptors() == []
    with pytest.raises(ConfigurationError, match="there are none") as caught:
        open_listeners(("fd://",), tls=False)
    assert "fd://3" in caught.value.hint


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_the_units_are_right(tmp_path: Path) -> None:
    for unit in UNITS.glob("h2wsgi.s*"):
        # systemd-analyze looks whether the command is there.
        text = unit.read_text().replace("/srv/shop/.venv/bin/h2wsgi", sys.executable)
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True, text=True, timeout=START_PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
