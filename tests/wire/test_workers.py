"""Several workers: what they have of their supervisor, what becomes of those that die, the end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

import h2wsgi
from h2wsgi.errors import ConfigurationError
from h2wsgi.tls.development import make_certificates
from support.certificates import pem_of
from support.peer import Peer
from support.process import START_PATIENCE
from support.settled import PATIENCE, eventually
from support.workers import TELLING, WorkersProcess, is_alive

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkersProcess]:
    """Serve by two workers, for tests that end none of them for good."""
    with WorkersProcess(tmp_path_factory.mktemp("workers")) as running:
        running.ready()
        yield running


def told(server: WorkersProcess, path: str = "/", **options: object) -> dict[str, object]:
    with server.connect(**({"tls": False} | options)) as peer:
        answer: dict[str, object] = json.loads(peer.get(path).body)
        return answer


def answering(server: WorkersProcess, count: int, **options: object) -> set[object]:
    """Return who answers, once so many do: connections are held until then, so all get some."""
    peers = []
    try:
        for _ in range(2 * count):
            peers.append(server.connect(**({"tls": False} | options)))
        return {json.loads(peer.get().body)["pid"] for peer in peers}
    finally:
        for peer in peers:
            peer.close()


# ------------------------------------------------------------------------------- what they are


def test_all_workers_answer_and_know_that_there_are_others(server: WorkersProcess) -> None:
    assert server.ready()["workers"] == 2
    assert answering(server, 2) == set(server.workers())
    assert told(server)["wsgi.multiprocess"] is True


def test_what_belongs_to_the_sockets_is_passed_on_and_no_secret_shows(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    key = serialization.load_pem_private_key(Path(made.key).read_bytes(), None)
    Path(made.key).write_bytes(pem_of(key, b"hush-hush"))
    options = (f"--cert={made.cert}", f"--key={made.key}", "--bind=localhost:0")
    (tmp_path / "h2wsgi.toml").write_text('key_password = "hush-hush"\n')
    with WorkersProcess(tmp_path, TELLING, *options) as running:
        assert running.ready()["workers"] == 2
        for _ in range(2):
            answer = told(running, tls=True, ca_file=made.ca)
            assert answer["SERVER_NAME"] == "localhost"
            assert answer["wsgi.url_scheme"] == "https"
            assert answer["SERVER_PORT"] == str(running.port())
        for pid in running.workers():
            assert b"hush" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_auto_is_one_for_each_cpu() -> None:
    cpus = len(os.sched_getaffinity(0))
    assert h2wsgi.Config.build(workers="auto").workers == cpus


def test_one_worker_is_the_single_process_and_imports_no_supervisor() -> None:
    look = """
import sys, h2wsgi.server.running
assert not [name for name in sys.modules if name.startswith("h2wsgi.supervisor")]
"""
    subprocess.run([sys.executable, "-c", look], check=True, timeout=START_PATIENCE)


def test_the_supervisor_imports_neither_the_protocol_nor_what_serves_an_application() -> None:
    look = """
import sys, h2wsgi.server.supervised, h2wsgi.server.totals
import h2wsgi.tools.metrics.exposition
known = ("asyncio", "h2", "h2wsgi.http2", "h2wsgi.wsgi", "h2wsgi.server.server")
assert not set(known) & set(sys.modules), set(known) & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", look], check=True, timeout=START_PATIENCE)


@pytest.mark.parametrize("option", ["inspect", "record"])
def test_what_sees_one_process_only_is_refused(option: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--{option} sees what one process does"):
        h2wsgi.Config.build(workers=2, **{option: True})


def test_an_application_that_is_an_object_is_refused() -> None:
    def app(environ: object, start_response: object) -> list[bytes]:
        return []

    with pytest.raises(ConfigurationError, match="an object is this process's") as caught:
        h2wsgi.serve(app, workers=2)
    assert "module:app" in caught.value.hint
    with pytest.raises(ConfigurationError, match="inside a program is one process"):
        h2wsgi.serve_in_thread(app, workers=2)


def test_a_program_may_have_its_application_served_by_workers(tmp_path: Path) -> None:
    program = """
import sys, h2wsgi
sys.exit(h2wsgi.serve("web:app", workers=2, h2c=True, bind="127.0.0.1:0", log_format="json"))
"""
    with WorkersProcess(tmp_path, entry=("-c", program)) as running:
        assert running.ready()["workers"] == 2
        assert told(running)["pid"] in running.workers()
        running.signal(signal.SIGTERM)
        assert running.exit_code(PATIENCE) == 0


GREEN = {
    "gevent": "from gevent import monkey\nmonkey.patch_all()\n",
    "eventlet": "import eventlet\neventlet.monkey_patch()\n",
}


@pytest.mark.parametrize("package", GREEN)
def test_workers_share_connections_where_greenlets_take_the_place_of_threads(
    tmp_path: Path, package: str
) -> None:
    with WorkersProcess(tmp_path, GREEN[package] + TELLING, "--loop=auto") as running:
        where = re.compile(r"http://127.0.0.1:(\d+)/")  # eventlet writes lines of its own
        eventually(lambda: where.search(running.log.read_text()), "the start", START_PATIENCE)
        port = int(where.search(running.log.read_text())[1])
        peers = [Peer.connect(("127.0.0.1", port), tls=False) for _ in range(8)]
        assert {json.loads(p.get().body)["pid"] for p in peers} == set(running.workers())
        for peer in peers:
            peer.close()
        running.signal(signal.SIGTERM)
        assert running.exit_code(PATIENCE) == 0


# ------------------------------------------------------------------------------- those that die


def test_a_worker_that_dies_is_replaced_and_that_is_said(server: WorkersProcess) -> None:
    first, second = server.workers()
    os.kill(first, signal.SIGKILL)
    server.said(f"worker {first} was killed by SIGKILL; another is started in 0.5 s")
    assert told(server)["pid"] == second
    left = server.wait_for_workers(2, without=(first,))
    assert second in left
    eventually(lambda: answering(server, 2) == set(left), "the new one to answer", START_PATIENCE)


def test_who_dies_young_again_and_again_is_replaced_ever_more_slowly(tmp_path: Path) -> None:
    with WorkersProcess(tmp_path) as running:
        running.ready()
        broken = TELLING + "\nif (FOLDER / 'broken').exists():\n    os._exit(7)\n"
        (tmp_path / "web.py").write_text(broken)
        (tmp_path / "broken").touch()
        first, second = running.workers()
        os.kill(first, signal.SIGKILL)
        running.said("another is started in 0.5 s")
        running.said("ended with exit code 7; another is started in 1 s")
        assert told(running)["pid"] == second
        (tmp_path / "broken").unlink()
        eventually(lambda: len(answering(running, 2)) == 2, "both to answer", START_PATIENCE)


def test_a_worker_that_is_told_something_as_it_dies_is_replaced(server: WorkersProcess) -> None:
    """The supervisor hears of it only when it cannot tell it any more."""
    first, second = server.workers()
    server.signal(signal.SIGSTOP)
    os.kill(first, signal.SIGKILL)
    server.signal(signal.SIGUSR1)
    eventually(lambda: not is_alive(first), "the worker to die")
    server.signal(signal.SIGCONT)
    server.said(f"worker {first} was killed by SIGKILL")
    left = server.wait_for_workers(2, without=(first,))
    assert second in left
    eventually(lambda: answering(server, 2) == set(left), "the new one to answer", START_PATIENCE)


SLOW_TO_REPLACE = """
import sys
from h2wsgi.supervisor import supervisor
supervisor.FIRST_PAUSE = 30.0
from h2wsgi.command.cli import main
sys.exit(main())
"""


def test_a_supervisor_that_has_nothing_to_start_rests(tmp_path: Path) -> None:
    """One worker dies, and before another is started it is said that one is enough."""

    def processor_time() -> float:
        fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    entry = ("-c", SLOW_TO_REPLACE)
    with WorkersProcess(tmp_path, entry=entry, measured=False) as running:
        running.ready()
        first, second = running.workers()
        os.kill(first, signal.SIGKILL)
        running.said("another is started in 30 s")
        running.signal(signal.SIGTTOU)
        running.said("SIGTTOU: 1 worker from now on")
        before = processor_time()
        time.sleep(1.5)
        assert processor_time() - before < 0.3
        assert running.workers() == [second]


def test_a_worker_that_is_told_to_end_is_replaced_first(server: WorkersProcess) -> None:
    first, second = server.workers()
    with ExitStack() as stack:
        of: dict[int, Peer] = {}

        def each_has_a_connection() -> bool:
            peer = stack.enter_context(server.connect(tls=False))
            of[json.loads(peer.get().body)["pid"]] = peer
            return len(of) == 2

        eventually(each_has_a_connection, "a connection to each")
        os.kill(first, signal.SIGTERM)
        server.said(f"worker {first}: SIGTERM; another takes its place")
        of[first].wait_goaway(START_PATIENCE)
        left = server.wait_for_workers(2, without=(first,))
        assert second in left
        assert json.loads(of[second].get().body)["pid"] == second


# ---------------------------------------------------------------------------- a start that fails


def fails(folder: Path, source: str) -> str:
    with WorkersProcess(folder, source) as running:
        assert running.exit_code(START_PATIENCE) == 2
        assert running.workers() == []
        return running.log.read_text()


def test_an_application_that_cannot_be_loaded_ends_the_start_with_its_traceback(tmp_path) -> None:
    text = fails(tmp_path, "1 / 0\n")
    assert text.count("ZeroDivisionError: division by zero") >= 1
    assert text.count("h2wsgi: error: ") == 1
    assert "hint: " in text


def test_workers_that_die_at_the_start_end_it(tmp_path: Path) -> None:
    text = fails(tmp_path, "import os\nos._exit(9)\n")
    assert "A worker ended with exit code 9 before it was ready." in text


FEW_DESCRIPTORS = """
import resource, sys
from h2wsgi.command.cli import main
resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))
sys.exit(main())
"""


ENDED_EARLY = """
import os, signal, sys

def end():
    os.kill(os.getpid(), signal.SIGTERM)

if "h2wsgi.server.worker" in sys.orig_argv:
    WHERE
"""
WHERE = {
    "as it sets up its signals": """
    import ctypes
    before = ctypes.create_string_buffer
    ctypes.create_string_buffer = lambda *arguments: (end(), before(*arguments))[1]
""",
    "as it tells of a failure": """
    from h2wsgi.process.channel import Channel
    before = Channel.send
    Channel.send = lambda *arguments: (end(), before(*arguments))[1]
""",
}


@pytest.mark.parametrize("where", WHERE)
def test_a_worker_that_is_told_to_end_at_the_start_writes_nothing_itself(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(ENDED_EARLY.replace("    WHERE\n", WHERE[where]))
    monkeypatch.syspath_prepend(site)
    with WorkersProcess(tmp_path, "1 / 0\n", measured=False) as server:
        assert server.exit_code(START_PATIENCE) == 2
        (line, *hint) = server.log.read_text().splitlines()
        assert re.fullmatch(
            r"h2wsgi: error: A worker (ended with exit code 0|was killed by SIGTERM) before it was "
            r"ready\.",
            line,
        )
        assert len(hint) <= 1


def test_a_system_that_has_no_room_for_workers_is_named(tmp_path: Path) -> None:
    entry = ("-c", FEW_DESCRIPTORS)
    with WorkersProcess(tmp_path, TELLING, entry=entry, measured=False) as running:
        assert running.exit_code(START_PATIENCE) == 2
        text = running.log.read_text()
    assert "No worker can be started: [Errno 24] Too many open files." in text
    assert "hint: See ulimit -a" in text


# ------------------------------------------------------------------------------------- the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_requests_finish_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    path = tmp_path / "h2.sock"
    with WorkersProcess(tmp_path, TELLING, "--bind=127.0.0.1:0", f"--bind=unix:{path}") as running:
        running.ready()
        workers = running.workers()
        assert path.exists()
        with running.connect(tls=False) as peer:
            stream_id = peer.request(path="/wait")
            eventually((tmp_path / "running").exists, "the request to run")
            # As a terminal does, to all of them.
            os.killpg(running.process.pid, number)
            peer.wait_goaway()
            (tmp_path / "go-on").touch()
            assert json.loads(peer.response(stream_id).body)["pid"] in workers
        assert running.exit_code(PATIENCE) == 0
        assert not path.exists()
        assert not any(map(is_alive, workers))
        assert running.events()[-1] == "stopped"
        assert not any("again" in event or "killed" in event for event in running.events())


def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    with WorkersProcess(tmp_path) as running:
        running.ready()
        workers = running.workers()
        with running.connect(tls=False) as peer:
            peer.request(path="/wait")
            eventually((tmp_path / "running").exists, "the request to run")
            running.signal(signal.SIGTERM)
            peer.wait_goaway()
            running.signal(signal.SIGINT)
            assert running.exit_code(PATIENCE) == 128 + signal.SIGINT
        assert not any(map(is_alive, workers))


def test_who_does_not_end_within_the_graceful_timeout_is_killed(tmp_path: Path) -> None:
    entry = """
import sys
from h2wsgi.supervisor import supervisor
supervisor.KILL_GRACE = 0.2
from h2wsgi.command.cli import main
sys.exit(main())
"""
    options = ("--graceful-timeout=0.1",)
    with WorkersProcess(tmp_path, TELLING, *options, entry=("-c", entry)) as running:
        running.ready()
        first, second = running.workers()
        os.kill(first, signal.SIGSTOP)
        running.signal(signal.SIGTERM)
        running.said(f"worker {first} did not end in time: killed")
        assert running.exit_code(PATIENCE) == 0
        assert not is_alive(first)
        assert not is_alive(second)


def test_workers_finish_and_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    with WorkersProcess(tmp_path) as running:
        running.ready()
        workers = running.workers()
        with running.connect(tls=False) as peer:
            stream_id = peer.request(path="/wait")
            eventually((tmp_path / "running").exists, "the request to run")
            running.process.kill()
            peer.wait_goaway()
            (tmp_path / "go-on").touch()
            assert json.loads(peer.response(stream_id).body)["pid"] in workers
        eventually(lambda: not any(map(is_alive, workers)), "the workers to end")
        running.said("the supervisor of this worker is gone: stopping")


def test_workers_that_still_load_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    source = """
import pathlib, time
FOLDER = pathlib.Path(__file__).parent
(FOLDER / "loading").touch()
time.sleep(3600)
"""
    with WorkersProcess(tmp_path, source) as running:
        eventually((tmp_path / "loading").exists, "the application to be loaded", START_PATIENCE)
        workers = running.workers()
        running.process.kill()
        eventually(lambda: not any(map(is_alive, workers)), "the workers to end")
