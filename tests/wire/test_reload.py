"""SIGHUP with workers: the new ones serve before the old ones leave, or all stays as it was.

SIGUSR1, SIGTTIN and SIGTTOU of workers too.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from h2wsgi.tls.development import make_certificates
from support.clients import environment, find
from support.peer import Peer, Type
from support.process import START_PATIENCE, packages
from support.settled import PATIENCE, eventually
from support.workers import TELLING, WorkersProcess, is_alive

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkersProcess]:
    folder = tmp_path_factory.mktemp("reload")
    access = folder / "access.log"
    option = f"--access-log-file={access}"
    # Not measured: coverage fails, on the log, where a worker is ended while it saves, as it fails.
    with WorkersProcess(folder, TELLING, option, measured=False) as running:
        running.ready()
        yield running


def reload(server: WorkersProcess) -> None:
    """Reload, and wait until the new workers serve and the old ones have ended."""
    before = server.workers()
    count = sum("reloaded: " in event for event in server.events())
    server.signal(signal.SIGHUP)
    eventually(
        lambda: sum("reloaded: " in event for event in server.events()) > count,
        f"the reload: {server.events()}",
        START_PATIENCE,
    )
    eventually(lambda: not any(map(is_alive, before)), "the old workers to end", START_PATIENCE)


def body_of(server: WorkersProcess, **options: object) -> bytes:
    with server.connect(**({"tls": False} | options)) as peer:
        return peer.get(timeout=START_PATIENCE).body


def test_a_reload_serves_the_new_code_and_lets_old_requests_finish(tmp_path: Path) -> None:
    with WorkersProcess(tmp_path) as running:
        running.ready()
        old = running.workers()
        with running.connect(tls=False) as busy, running.connect(tls=False) as idle:
            stream_id = busy.request(path="/wait")
            eventually((tmp_path / "running").exists, "the request to run")
            idle.get()
            (tmp_path / "web.py").write_text(TELLING.replace('{"pid"', '{"new": True, "pid"'))
            running.signal(signal.SIGHUP)
            running.said("reloaded: 2 workers; of the old ones 2 to end")
            # The old ones are told next, and may accept one more connection until then.
            eventually(lambda: "new" in json.loads(body_of(running)), "the new code to answer")
            idle.wait_goaway()
            # Not in the middle of a response, if that can be helped.
            assert not [f for f in busy.read_available() if f.type == Type.GOAWAY]
            (tmp_path / "go-on").touch()
            answer = json.loads(busy.response(stream_id).body)
            assert "new" not in answer
            assert answer["pid"] in old
            busy.wait_goaway()
        eventually(lambda: not any(map(is_alive, old)), "the old workers to end")
        assert len(running.workers()) == 2


def test_a_reload_that_cannot_start_leaves_the_old_ones_serving_and_says_why(
    server: WorkersProcess,
) -> None:
    before = server.workers()
    web = server.folder / "web.py"
    web.write_text(TELLING + "\nraise LookupError('no such database')\n")
    server.signal(signal.SIGHUP)
    said = server.said("the reload failed, so all stays as it was: ")
    assert "LookupError: no such database" in said
    eventually(lambda: server.workers() == before, "the new ones to be gone")
    assert json.loads(body_of(server))["pid"] in before
    web.write_text(TELLING)
    reload(server)
    assert json.loads(body_of(server))["pid"] in server.workers()


def test_options_are_read_again_and_those_that_make_no_sense_change_nothing(
    server: WorkersProcess,
) -> None:
    config = server.folder / "h2wsgi.toml"
    try:
        before = server.workers()
        config.write_text("threads = 0\n")
        server.signal(signal.SIGHUP)
        server.said("SIGHUP: all stays as it is: ")
        assert server.workers() == before
        config.write_text('root_path = "/shop"\nbind_h2c = "127.0.0.1:1"\n')
        reload(server)
        server.said("--bind-h2c changed, which a reload does not: it takes a restart")
        assert json.loads(body_of(server))["SCRIPT_NAME"] == "/shop"
    finally:
        config.unlink()
    reload(server)
    assert json.loads(body_of(server))["SCRIPT_NAME"] == ""


FAILS_LATER = """
import sys
from h2wsgi.command import cli

def fails(*_):
    raise OSError("nobody has thought of this")

def once(*arguments, gather=cli.gather):
    cli.gather = fails
    return gather(*arguments)

cli.gather = once
sys.exit(cli.main())
"""


def test_a_mistake_of_ours_at_a_reload_is_told_of_as_its_end(tmp_path: Path) -> None:
    with WorkersProcess(tmp_path, entry=("-c", FAILS_LATER)) as running:
        running.ready()
        running.signal(signal.SIGHUP)
        running.said("SIGHUP: all stays as it is: OSError('nobody has thought of this')")
        assert "supervisor_failed" not in [line["event"] for line in running.lines()]
        body_of(running)


def test_a_worker_that_fails_where_nobody_expects_it_is_told_of_by_its_supervisor(
    server: WorkersProcess,
) -> None:
    web = server.folder / "web.py"
    try:
        web.write_text("raise KeyboardInterrupt\n")
        server.signal(signal.SIGHUP)
        line = server.said("It failed with KeyboardInterrupt.")
        assert "the reload failed, so all stays as it was" in line
        assert "Traceback (most recent call last):" in line  # in this line of JSON, and in no other
    finally:
        web.write_text(TELLING)


def test_a_reload_that_is_asked_for_during_the_start_comes_behind_it(tmp_path: Path) -> None:
    slow = TELLING + (
        "\n(FOLDER / 'loading').touch()\nwhile not (FOLDER / 'go').exists(): time.sleep(0.01)\n"
    )
    with WorkersProcess(tmp_path, slow) as running:
        eventually((tmp_path / "loading").exists, "the application to load", START_PATIENCE)
        (tmp_path / "web.py").write_text(TELLING)
        running.signal(signal.SIGHUP)
        (tmp_path / "go").touch()
        running.said("reloaded: 2 workers")
        events = [line["event"] for line in running.lines()]
        assert events.index("ready") < events.index("reloading")


def test_another_reload_before_the_last_is_through_starts_over(server: WorkersProcess) -> None:
    web = server.folder / "web.py"
    try:
        web.write_text(TELLING + "\n(FOLDER / 'loading').touch()\ntime.sleep(3600)\n")
        server.signal(signal.SIGHUP)
        eventually((server.folder / "loading").exists, "the application to load", START_PATIENCE)
    finally:
        web.write_text(TELLING)
    reload(server)
    assert len(server.workers()) == 2


def test_a_reload_that_is_given_up_loses_no_request_that_its_workers_accepted(
    tmp_path: Path,
) -> None:
    half = """
if (FOLDER / "slow").exists():
    try:
        (FOLDER / "first").mkdir()
    except FileExistsError:
        time.sleep(3600)
"""
    with WorkersProcess(tmp_path, TELLING + half) as running:
        running.ready()
        old = running.workers()
        (tmp_path / "slow").touch()
        running.signal(signal.SIGHUP)
        with ExitStack() as stack:
            new: list[Peer] = []

            def a_new_one_answers() -> bool:
                peer = stack.enter_context(running.connect(tls=False))
                if json.loads(peer.get().body)["pid"] not in old:
                    new.append(peer)
                return bool(new)

            # Connections are kept, so the one that has none is the next to get one.
            eventually(a_new_one_answers, "one of the new workers", START_PATIENCE)
            stream_id = new[0].request(path="/wait")
            eventually((tmp_path / "running").exists, "the request to run")
            (tmp_path / "slow").unlink()
            running.signal(signal.SIGHUP)
            running.said("reloaded: ")
            (tmp_path / "go-on").touch()
            assert json.loads(new[0].response(stream_id).body)["pid"] not in old


def test_workers_are_added_and_taken_away(server: WorkersProcess) -> None:
    server.signal(signal.SIGTTIN)
    assert len(server.wait_for_workers(3)) == 3
    reload(server)
    assert len(server.workers()) == 3
    server.signal(signal.SIGTTOU)
    server.wait_for_workers(2)
    assert json.loads(body_of(server))["pid"] in server.workers()


def test_the_last_worker_stays_and_that_is_said(server: WorkersProcess) -> None:
    server.signal(signal.SIGTTOU)
    server.said("SIGTTOU: 1 worker from now on")
    server.signal(signal.SIGTTOU)
    server.said("SIGTTOU: 1 worker, as somebody has to serve")
    assert len(server.wait_for_workers(1)) == 1
    server.signal(signal.SIGTTIN)
    server.wait_for_workers(2)


def test_a_supervisor_in_a_terminal_reloads_until_its_window_is_closed(tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(TELLING)
    log = tmp_path / "stderr.log"
    terminal, other = pty.openpty()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "h2wsgi", "web:app", "--h2c", "--bind=127.0.0.1:0"]
            + ["--workers=2", "--log-format=json", f"--app-dir={tmp_path}"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(packages())},
            stdin=other,
            stdout=other,
            stderr=file,
            start_new_session=True,
            # The first terminal that the leader of a session opens controls it.
            preexec_fn=lambda: os.close(os.open(os.ttyname(other), os.O_RDWR)),
        )
    os.close(other)
    try:
        eventually(lambda: '"ready"' in log.read_text(), "the server to be ready", START_PATIENCE)
        process.send_signal(signal.SIGHUP)
        eventually(lambda: "reloaded: " in log.read_text(), "the reload", START_PATIENCE)
        os.close(terminal)  # which sends SIGHUP to all of them
        assert process.wait(START_PATIENCE) == 0
        assert "SIGHUP: stopping" in log.read_text()
        assert "again" not in log.read_text()
    finally:
        process.kill()
        process.wait(PATIENCE)


def test_all_workers_open_their_log_files_anew(server: WorkersProcess) -> None:
    access = server.folder / "access.log"

    def ask_all(path: str) -> None:
        peers = [server.connect(tls=False) for _ in range(4)]
        assert {json.loads(p.get(path).body)["pid"] for p in peers} == set(server.workers())
        for peer in peers:
            peer.close()

    def paths() -> list[str]:
        lines = access.read_text().splitlines() if access.exists() else []
        return [json.loads(line)["path"] for line in lines]

    ask_all("/before")
    eventually(lambda: paths().count("/before") == 4, "the requests to be logged")
    access.rename(server.folder / "access.log.1")
    server.signal(signal.SIGUSR1)
    server.said("SIGUSR1: all workers open their log files anew")
    eventually(access.exists, "the file to be there")
    eventually(lambda: all(_has_open(pid, access) for pid in server.workers()), "all to have it")
    ask_all("/behind")
    eventually(lambda: paths() == ["/behind"] * 4, "the requests to be in the new file")


def _has_open(pid: int, path: Path) -> bool:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile, as those of connections that end
            if os.readlink(descriptor) == str(path):
                return True
    return False


def certificate_at(port: int) -> bytes:
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as tls,
    ):
        return tls.getpeercert(binary_form=True) or b""


def test_a_reload_shows_the_new_certificate_and_a_broken_one_changes_nothing(
    tmp_path: Path,
) -> None:
    made = make_certificates(tmp_path)
    options = (f"--cert={made.cert}", f"--key={made.key}")
    with WorkersProcess(tmp_path, TELLING, *options) as running:
        first = certificate_at(running.port())
        Path(made.cert).write_text("nothing\n")
        running.signal(signal.SIGHUP)
        assert "holds no PEM certificate" in running.said("the reload failed")
        assert certificate_at(running.port()) == first
        other = make_certificates(tmp_path / "other")
        Path(made.cert).write_bytes(Path(other.cert).read_bytes())
        Path(made.key).write_bytes(Path(other.key).read_bytes())
        reload(running)
        assert certificate_at(running.port()) != first


# ------------------------------------------------------------------------------- under load

SECONDS_BETWEEN = 0.005
"""Between requests of one client, of which there are three: 300 requests a second and more."""
RELOADS = int(os.environ.get("TEST_RELOADS", "3"))


class HttpxClient(threading.Thread):
    """Asks at a pace; repeats a GET once whose connection was given up, as httpx does at GOAWAY."""

    def __init__(self, url: str, ca: str) -> None:
        super().__init__()
        self.url, self.ca = url, ca
        self.over = threading.Event()
        self.answered = self.repeated = 0
        self.failures: list[str] = []

    def run(self) -> None:
        trusted = ssl.create_default_context(cafile=self.ca)
        with httpx.Client(http2=True, http1=False, trust_env=False, verify=trusted) as client:
            while not self.over.wait(SECONDS_BETWEEN):
                for attempt in range(2):
                    try:
                        answer = client.get(self.url + "?client=httpx")
                        answer.raise_for_status()
                        answer.json()
                        self.answered += 1
                        break
                    except Exception as error:
                        self.repeated += 1
                        if attempt:
                            self.failures.append(repr(error))


class CurlClient(threading.Thread):
    """Has curl ask 50 times on a connection, two at once, again and again; repeats nothing."""

    def __init__(self, url: str, ca: str) -> None:
        super().__init__()
        self.url, self.ca = url, ca
        self.over = threading.Event()
        self.answered = 0
        self.failures: list[str] = []
        self.curl = find("curl")

    def run(self) -> None:
        argv = [self.curl, "-sS", "--http2", "--fail", "--cacert", self.ca, "--rate", "6000/m"]
        argv += ["-w", "\\n%{http_code}\\n", self.url + "?client=curl&n=[1-50]"]
        while not self.over.is_set():
            done = subprocess.run(argv, capture_output=True, text=True, env=environment())
            good = done.stdout.count("\n200\n")
            self.answered += good
            if done.returncode or good != 50:
                self.failures.append(f"{done.returncode} {good} {done.stderr[:200]}")


@pytest.mark.client
def test_reloads_under_load_lose_no_request(tmp_path: Path) -> None:
    access = tmp_path / "access.log"
    node = find("node", package="nodejs")
    made = make_certificates(tmp_path)
    options = (f"--cert={made.cert}", f"--key={made.key}", f"--access-log-file={access}")
    with WorkersProcess(tmp_path, TELLING, *options, measured=False) as running:
        url = f"https://localhost:{running.port()}/"
        httpx_client, curl = HttpxClient(url, made.ca), CurlClient(url, made.ca)
        clients = [httpx_client, curl]
        for client in clients:
            client.start()
        script = Path(__file__).parents[1] / "clients" / "reload_client.mjs"
        asking = subprocess.Popen(
            [node, str(script), url, str(SECONDS_BETWEEN)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment(NODE_EXTRA_CA_CERTS=made.ca),
        )  # fmt: skip
        try:
            for _ in range(RELOADS):
                reload(running)
        finally:
            for client in clients:
                client.over.set()
            said, _ = asking.communicate("", timeout=START_PATIENCE)
            for client in clients:
                client.join()
        nodes = json.loads(said)
        running.signal(signal.SIGTERM)
        assert running.exit_code(START_PATIENCE) == 0
    assert nodes["failures"] == []
    assert nodes["refused"] + httpx_client.repeated <= 4 * RELOADS
    assert len(nodes["pids"]) >= 2
    for client in clients:
        assert client.failures == []
        assert client.answered
    assert nodes["answered"]
    logged = [json.loads(line) for line in access.read_text().splitlines()]
    # httpx gives up what is open when GOAWAY comes; of all others, what was accepted was answered.
    lost = [
        line for line in logged if line["outcome"] != "complete" and "httpx" not in line["path"]
    ]
    assert lost == []
    for name, answered in (("curl", curl.answered), ("node", nodes["answered"])):
        assert sum(f"client={name}" in line["path"] for line in logged) == answered
