"""Children that applications fork: they have nothing of the server, and end as programs do."""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import h2wsgi
from conftest import Connect, Serve
from h2wsgi.process import forking
from h2wsgi.testing.fixture_server import FixtureServers
from support.peer import Peer
from support.process import ServerProcess
from support.settled import PATIENCE, eventually, settle

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")

LOOP = os.environ.get("TEST_LOOP", "auto")
ENGINE = os.environ.get("TEST_ENGINE", "auto")

# Every path is a function; what it returns is the content. A child tells of itself in a file that
# is named after its path.
FORKING = """
import json, multiprocessing, os, pathlib, pty, signal, subprocess, sys, threading, time

FOLDER = pathlib.Path(__file__).parent
FORK = multiprocessing.get_context("fork")
environ = {}
forked_on_signal = []


def on_usr1(number, frame):
    if os.fork() == 0:
        sys.exit(5)
    forked_on_signal.append(1)


signal.signal(signal.SIGUSR1, on_usr1)
ended_children = []
signal.signal(signal.SIGCHLD, lambda number, frame: ended_children.append(1))


def tell(name, **what):
    part = FOLDER / (name + ".part")
    part.write_text(json.dumps({"pid": os.getpid(), **what}))
    part.rename(FOLDER / name)


def wait_told(name):
    while not (FOLDER / name).exists():
        time.sleep(0.01)
    return json.loads((FOLDER / name).read_text())


def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink("/proc/self/fd/" + name)
        except OSError:
            pass
    return found


def sleep_for_ever(name):
    tell(name, descriptors=descriptors(), threads=[t.name for t in threading.enumerate()],
         term=str(signal.getsignal(signal.SIGTERM)), int=str(signal.getsignal(signal.SIGINT)),
         wakeup=signal.set_wakeup_fd(-1))
    while True:
        time.sleep(1)


def process():
    child = FORK.Process(target=sleep_for_ever, args=("process",), daemon=True)
    child.start()
    wait_told("process")
    return str(child.pid)


def terminate():
    child = FORK.Process(target=sleep_for_ever, args=("terminate",))
    child.start()
    wait_told("terminate")
    child.terminate()
    child.join()
    return str(child.exitcode)


def terminate_at_once():
    codes = set()
    for _ in range(20):
        child = FORK.Process(target=time.sleep, args=(60,))
        child.start()
        child.terminate()
        child.join()
        codes.add(child.exitcode)
    return str(codes)


def pool():
    with FORK.Pool(2) as workers:
        return str(sum(workers.map(abs, range(-100, 0))))


def manager():
    with FORK.Manager() as manager:
        shared = manager.dict(a=1)
        shared["b"] = 2
        return str(len(shared))


def executor():
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(2, mp_context=FORK) as workers:
        return str(sum(workers.map(abs, range(-10, 0))))


def other_contexts():
    codes = []
    for name in ("spawn", "forkserver"):
        with multiprocessing.get_context(name).Pool(1) as workers:
            codes.append(workers.apply(abs, (-1,)))
        child = multiprocessing.get_context(name).Process(target=time.sleep, args=(600,))
        child.start()
        child.terminate()
        child.join()
        codes.append(child.exitcode)
    return str(codes)


def spawn():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"],
                             preexec_fn=lambda: tell("spawn", descriptors=descriptors()))
    child.terminate()
    return str(child.wait())


def in_pty():
    pid, terminal = pty.fork()
    if pid == 0:
        sleep_for_ever("in_pty")
    wait_told("in_pty")
    os.kill(pid, signal.SIGTERM)
    code = ended(pid)
    os.close(terminal)
    return str(code)


def in_a_thread():
    pids = []

    def fork():
        pid = os.fork()
        if pid == 0:
            sleep_for_ever("in_a_thread")
        pids.append(pid)

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    wait_told("in_a_thread")
    # More than once: CPython 3.13 does not hear a signal that comes between two lines of such a
    # child, which its runtime takes for another thread than the main one; it hears one in a sleep.
    turn = 0
    while not (ended := os.waitpid(pids[0], os.WNOHANG))[0]:
        if turn % 100 == 0:
            os.kill(pids[0], signal.SIGINT)
        turn += 1
        time.sleep(0.01)
    return str(os.waitstatus_to_exitcode(ended[1]))


def log_in_child():
    def log():
        environ["wsgi.errors"].write("a line of the child\\n")
        environ["wsgi.errors"].flush()
    child = FORK.Process(target=log)
    child.start()
    child.join()
    return str(child.exitcode)


def flood():
    def log(number):
        for line in range(300):
            environ["wsgi.errors"].write(f"child {number} line {line}\\n")
    children = [FORK.Process(target=log, args=(number,)) for number in range(8)]
    stop = threading.Event()

    def here_too():
        errors = environ["wsgi.errors"]
        while not stop.is_set():
            errors.write("the parent logs as well\\n")
            time.sleep(0)
    logging = threading.Thread(target=here_too)
    logging.start()
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    stop.set()
    logging.join()
    return str([child.exitcode for child in children])


def daemonize():
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.fork() == 0:
            environ["wsgi.errors"].write("a line of the grandchild\\n")
            sleep_for_ever("daemonize")
        os._exit(0)
    return str(ended(pid))


def sys_exit():
    pid = os.fork()
    if pid == 0:
        sys.exit(7)
    return str(ended(pid))


def sys_exit_with_an_open_file():
    pid = os.fork()
    if pid == 0:
        file = open(FOLDER / "left", "w")
        file.write("what it holds")
        environ["wsgi.errors"].write("half a line of a child")
        sys.exit(9)
    return str(ended(pid))


def sys_exit_with_words():
    pid = os.fork()
    if pid == 0:
        sys.exit("the last words")
    return str(ended(pid))


def raises():
    pid = os.fork()
    if pid == 0:
        raise ValueError("the child's own")
    return str(ended(pid))


def interrupted():
    pid = os.fork()
    if pid == 0:
        raise KeyboardInterrupt
    return str(ended(pid))


def os_exit():
    pid = os.fork()
    if pid == 0:
        os._exit(9)
    return str(ended(pid))


def killed():
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return str(ended(pid))


def returns():
    pid = os.fork()
    if pid == 0:
        print("printed by the child")
        return "from the child"
    return str(ended(pid))


def reads():
    pid = os.fork()
    if pid == 0:
        environ["wsgi.input"].read()
        os._exit(3)
    return str(ended(pid))


def tells_of_its_end():
    before = len(ended_children)
    child = FORK.Process(target=int)
    child.start()
    while len(ended_children) == before:
        time.sleep(0.01)
    child.join()
    return str(child.exitcode)


def on_signal():
    before = len(forked_on_signal)
    os.kill(os.getpid(), signal.SIGUSR1)
    while len(forked_on_signal) == before:
        time.sleep(0.01)
    return str(ended(-1))


def app(env, start_response):
    path = env["PATH_INFO"].strip("/")
    if path in WRITING:
        return WRITING[path](start_response)
    environ.update(env)
    content = globals()[path]() if path else "hello"
    start_response("200 OK", [("content-type", "text/plain")])
    return [content.encode()]


def writes(start_response):
    write = start_response("200 OK", [])
    write(b"begun ")
    pid = os.fork()
    if pid == 0:
        for _ in range(1000):
            write(bytes(16384))
    write(b"%d" % ended(pid))
    return []


def iterates(start_response):
    start_response("200 OK", [])
    yield b"begun "
    pid = os.fork()
    if pid == 0:
        yield b"from the child"
    yield b"%d" % ended(pid)


def whole_before(start_response):
    write = start_response("200 OK", [("content-length", "5")])
    write(b"whole")
    pid = os.fork()
    if pid:
        tell("whole_before", code=ended(pid))
    return []


class Closing:
    def __init__(self, code):
        self.code = code

    def __iter__(self):
        return iter([b"closed"])

    def close(self):
        pid = os.fork()
        if pid == 0:
            sys.exit(self.code)
        tell("closes", code=ended(pid))


def closes(start_response):
    start_response("200 OK", [])
    return Closing(4)


WRITING = {f.__name__: f for f in (writes, iterates, whole_before, closes)}
"""


@pytest.fixture
def forker(tmp_path: Path) -> Iterator[ServerProcess]:
    """The command with the application that forks; whatever it left alive is killed."""
    with start(tmp_path) as server:
        yield server
    kill_children(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The same, for tests that do not stop it."""
    folder = tmp_path_factory.mktemp("shared")
    with start(folder) as server:
        yield server
    kill_children(folder)


def start(folder: Path, *arguments: str) -> ServerProcess:
    where = ("--loop", LOOP, "--engine", ENGINE, "--bind", "127.0.0.1:0", "--h2c")
    # Coverage has a handler of SIGTERM, which a child would get back as the application's own, and
    # which waits for ever in a child that was forked while another thread held one of its locks.
    return ServerProcess(folder, FORKING, *where, *arguments, measured=False)


def kill_children(folder: Path) -> None:
    for file in folder.iterdir():
        with contextlib.suppress(OSError, ValueError, KeyError):
            pid = json.loads(file.read_text())["pid"]
            if os.readlink(f"/proc/{pid}/cwd") == str(folder):  # or it is another's by now
                os.kill(pid, signal.SIGKILL)


def told(folder: Path, name: str) -> dict[str, Any]:
    """Wait for what a child tells of itself."""
    eventually((folder / name).exists, f"the child of /{name}")
    return json.loads((folder / name).read_text())


def get(server: ServerProcess, path: str, timeout: float = 30.0) -> bytes:
    with server.connect(tls=False) as peer:
        response = peer.get(path, timeout=timeout)
        assert response.status == 200
        return response.body


def messages(server: ServerProcess) -> list[str]:
    return [line.get("message", "") for line in server.lines()]


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
        return state != "Z"
    return False


def assert_serves(server: ServerProcess) -> None:
    assert get(server, "/") == b"hello"
    assert server.process.poll() is None


def assert_serves_and_stops(server: ServerProcess) -> None:
    assert_serves(server)
    port = server.port()
    start = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.exit_code(PATIENCE) == 0
    assert time.monotonic() - start < 5
    with socket.create_server(("127.0.0.1", port)):
        pass  # nobody has it any more


# ------------------------------------------------------------------- what a child is without


@pytest.mark.parametrize("options", [(), ("--access-log-file=access.log",)])
def test_a_child_has_nothing_of_the_server(tmp_path: Path, options: tuple[str, ...]) -> None:
    more = ("--trace-file", str(tmp_path / "trace.jsonl"), "--inspect=127.0.0.1:0")
    with start(tmp_path, *more, *options) as server, server.connect(tls=False) as idle:
        idle.roundtrip()
        get(server, "/process")
        child = told(tmp_path, "process")
        opened = child["descriptors"]
        own = {n: t for n, t in opened.items() if n in ("0", "1", "2") or t.startswith("pipe:")}
        tcp = listed_inodes(server.process.pid)
        inside = {t for t in opened.values() if t.startswith("socket:")} & tcp
        assert not inside, f"sockets of the server: {inside}"
        left = {n: t for n, t in opened.items() if n not in own}
        assert not [t for t in left.values() if t.endswith((".log", ".jsonl"))], left
        assert child["threads"] == ["MainThread"] or len(child["threads"]) == 1
        assert child["term"] == str(signal.SIG_DFL)
        assert "default_int_handler" in child["int"]
        assert child["wakeup"] == -1
        assert_serves_and_stops(server)
        eventually(lambda: not is_alive(child["pid"]), "the daemon child to be ended")


def listed_inodes(pid: int) -> set[str]:
    """Return the descriptors' targets of the TCP sockets of a process."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            inodes.add(f"socket:[{line.split()[9]}]")
    return inodes


def test_a_child_keeps_no_connection_open(forker: ServerProcess, tmp_path: Path) -> None:
    """It would be the child that keeps the client from seeing the end."""
    with forker.connect(tls=False) as peer:
        assert peer.get("/process").status == 200
        forker.process.kill()
        peer.wait_closed()
        assert is_alive(told(tmp_path, "process")["pid"])


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/terminate", b"-15"),
        ("/terminate_at_once", b"{-15}"),
        ("/pool", b"5050"),
        ("/manager", b"2"),
        ("/executor", b"55"),
        ("/spawn", b"-15"),
        ("/in_pty", b"-15"),
        ("/other_contexts", b"[1, -15, 1, -15]"),
        ("/tells_of_its_end", b"0"),
    ],
)
def test_a_child_can_be_ended_and_the_server_stays(
    shared: ServerProcess, path: str, answer: bytes
) -> None:
    assert get(shared, path) == answer
    assert_serves(shared)
    assert "stopping" not in shared.log.read_text()


def test_a_child_of_a_thread_of_the_application_is_interrupted_alone(
    shared: ServerProcess,
) -> None:
    """It dies by Python's own handler: a traceback, and the end of its only thread."""
    assert get(shared, "/in_a_thread") == b"0"
    assert "KeyboardInterrupt" in shared.log.read_text()
    assert_serves(shared)


def test_a_program_of_a_preexec_fn_has_nothing_of_the_server(shared: ServerProcess) -> None:
    assert get(shared, "/spawn") == b"-15"
    opened = set(told(shared.folder, "spawn")["descriptors"].values())
    assert not opened & listed_inodes(shared.process.pid)


def test_a_grandchild_outlives_the_server_and_does_not_hold_its_port(
    forker: ServerProcess, tmp_path: Path
) -> None:
    assert get(forker, "/daemonize") == b"0"
    child = told(tmp_path, "daemonize")
    assert_serves_and_stops(forker)
    assert is_alive(child["pid"])
    assert "a line of the grandchild" in messages(forker)
    os.kill(child["pid"], signal.SIGTERM)
    eventually(lambda: not is_alive(child["pid"]), "the grandchild to end")


def test_a_child_forked_by_a_signal_handler_takes_nothing_from_the_loop(
    forker: ServerProcess,
) -> None:
    """It comes back into the loop, on the main thread, and leaves it by SystemExit."""
    with forker.connect(tls=False) as peer:
        for _ in range(3):
            # It waits for a whole end of the interpreter, on a machine that may be busy.
            assert peer.get("/on_signal", timeout=60).body == b"5"
        assert peer.get("/").body == b"hello"
    assert_serves_and_stops(forker)


# ------------------------------------------------------------------------- what a child says


def test_a_line_that_a_child_logs_is_written(shared: ServerProcess) -> None:
    assert get(shared, "/log_in_child") == b"0"
    assert "a line of the child" in shared.log.read_text()


def test_children_that_log_in_a_flood_end_and_lose_nothing(forker: ServerProcess) -> None:
    assert get(forker, "/flood", timeout=60) == b"[0, 0, 0, 0, 0, 0, 0, 0]"
    found = [m for m in messages(forker) if m.startswith("child ")]
    for number in range(8):
        mine = [m for m in found if m.startswith(f"child {number} ")]
        assert mine == [f"child {number} line {line}" for line in range(300)]
    assert_serves_and_stops(forker)


# ------------------------------------------------------------------------- how a child ends


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/sys_exit", 7),
        ("/sys_exit_with_words", 1),
        ("/sys_exit_with_an_open_file", 9),
        ("/raises", 1),
        ("/interrupted", 130),
        ("/os_exit", 9),
        ("/killed", -9),
        ("/returns", 0),
        ("/reads", 3),
    ],
)
def test_a_child_that_leaves_the_view_ends_with_its_code(
    shared: ServerProcess, path: str, code: int
) -> None:
    with shared.connect(tls=False) as peer:
        stream_id = peer.request(path=path)
        response = peer.response(stream_id, timeout=30)
        assert response.ended
        assert response.body == str(code).encode()
        # The connection goes on, and no frame but the server's own came.
        assert peer.get("/").body == b"hello"
        assert peer.get("/").body == b"hello"
    if path == "/raises":
        lines = shared.log.read_text().splitlines()
        (failure,) = [line for line in lines if "failed in a forked child" in line]
        assert "the child's own" in json.loads(failure)["exception_stack"]
    if path == "/sys_exit_with_an_open_file":
        assert (shared.folder / "left").read_text() == "what it holds"
        assert "half a line of a child" in shared.log.read_text()
    if path == "/sys_exit_with_words":
        assert "the last words\n" in shared.log.read_text()
    assert_serves(shared)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/writes", b"begun 0"),
        ("/iterates", b"begun 0"),
        ("/whole_before", b"whole"),
        ("/closes", b"closed"),
    ],
)
def test_nothing_of_a_child_reaches_the_client(
    shared: ServerProcess, path: str, body: bytes
) -> None:
    with shared.connect(tls=False) as peer:
        assert peer.get(path, timeout=30).body == body
        if path in ("/whole_before", "/closes"):
            assert told(shared.folder, path[1:])["code"] == (4 if path == "/closes" else 0)
        assert peer.get("/").body == b"hello"
    assert_serves(shared)


def test_a_child_ends_past_the_tools_as_well(tmp_path: Path) -> None:
    """Middlewares with locks, and streams with a clock."""
    tools = ("--inspect=127.0.0.1:0", "--trace-file", str(tmp_path / "trace"), "--record")
    more = ("--request-timeout=60", "--fault=refuse /never")
    with start(tmp_path, *tools, *more) as server:
        with server.connect(tls=False) as peer:
            assert peer.get("/returns").body == b"0"
            assert peer.get("/raises").body == b"1"
            assert peer.get("/sys_exit").body == b"7"
            assert peer.get("/iterates").body == b"begun 0"
        assert_serves_and_stops(server)


# -------------------------------------------------------- servers inside somebody's program


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


def in_child(check) -> int:
    """Run ``check`` in a forked child of this thread, and return the child's exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            check()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_servers_in_threads_are_not_there_in_a_child(serve: Serve, connect: Connect) -> None:
    servers = [serve(hello, h2c=True), serve(hello), serve(hello, h2c=True)]
    peers = [connect(server) for server in servers]
    for peer in peers:
        assert peer.get().body == b"hello"
    servers[0].stop()
    ports = [int(server.url.rstrip("/").rpartition(":")[2]) for server in servers]

    def check() -> None:
        opened = {os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                  if os.path.exists(f"/proc/self/fd/{n}")}  # fmt: skip
        for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) in ports:
                assert f"socket:[{fields[9]}]" not in opened
        for server in servers:
            server.stop()  # does nothing

    assert in_child(check) == 0
    for server, peer in zip(servers[1:], peers[1:], strict=True):
        assert peer.get().body == b"hello"
        assert connect(server).get().body == b"hello"


def test_a_child_may_serve_by_itself(serve: Serve, connect: Connect) -> None:
    outer = serve(hello, h2c=True)
    peer = connect(outer)
    assert peer.get().body == b"hello"

    def check() -> None:
        with h2wsgi.serve_in_thread(hello, h2c=True, loop=LOOP, engine=ENGINE) as inner:
            port = int(inner.url.rstrip("/").rpartition(":")[2])
            with Peer.connect(("127.0.0.1", port), tls=False) as client:
                assert client.get().body == b"hello"

    assert in_child(check) == 0
    assert peer.get().body == b"hello"


def test_the_fixtures_servers_live_through_a_childs_end() -> None:
    with FixtureServers() as servers:
        server = servers(hello, h2c=True, loop=LOOP, engine=ENGINE)

        def check() -> None:
            servers.__exit__()  # as where a child leaves the test
            assert server.errors == []
            assert len(server.requests) == 0

        assert in_child(check) == 0
        with Peer.connect(("127.0.0.1", server.port), tls=False) as peer:
            assert peer.get().body == b"hello"


def test_a_child_on_its_way_out_keeps_its_code_whatever_it_meets() -> None:
    """Such as the pool, by a finally of the loop's thread that a signal handler had interrupted."""

    def leave() -> None:
        try:
            sys.exit(5)
        finally:
            forking.end_child()

    assert in_child(leave) == 5
    assert in_child(forking.end_child) == 0


def test_a_process_of_multiprocessing_beside_a_server_is_ended(
    serve: Serve, connect: Connect
) -> None:
    server = serve(hello, h2c=True)
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    # Coverage's handler would wait for ever for a lock that another thread held at the fork.
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        child.start()
        child.terminate()
        child.join(PATIENCE)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert child.exitcode == -signal.SIGTERM
    assert connect(server).get().body == b"hello"


class Accepting:
    """A listening socket that waits in ``accept``, where a fork would miss the connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.pids: list[int] = []
        self.forked = threading.Event()
        self.forks = threading.Thread(target=self.fork)

    def fork(self) -> None:
        pid = os.fork()
        if pid == 0:
            held = [s for s in forking._sockets if s.fileno() >= 0]
            os._exit(len(held))
        self.pids.append(pid)
        self.forked.set()

    def accept(self) -> tuple[socket.socket, Any]:
        accepted = self.sock.accept()
        self.forks.start()
        assert not self.forked.wait(0.1)
        return accepted


def test_no_child_is_forked_while_a_connection_is_accepted() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        accepting = Accepting(listening)
        sock, _ = forking.accept(accepting)  # type: ignore[arg-type]
        with sock:
            accepting.forks.join(PATIENCE)
            assert os.waitpid(accepting.pids[0], 0)[1] == 0


def test_a_child_closes_its_copies_whoever_replaced_the_close_of_os(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As gevent does: its own asks others who use a descriptor, and of -1 raises ValueError."""

    def close(descriptor: int) -> None:
        raise ValueError(descriptor)

    monkeypatch.setattr(os, "close", close)
    with (
        socket.create_server(("127.0.0.1", 0)) as open_one,
        socket.create_server(("127.0.0.1", 0)) as closed,
    ):
        closed.close()
        forking.close_in_child(open_one)
        forking.close_in_child(closed)
        told = Told()
        forking.tell_in_child(told)
        copy = open_one.fileno()
        if not (pid := os.fork()):
            try:
                os.fstat(copy)
            except OSError:
                os._exit(told.children)
            os._exit(99)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_where_gevent_waits_a_copy_is_not_closed_but_silent_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its greenlets go on in a child, and one that finds a descriptor closed ends the process."""
    gevents = types.SimpleNamespace(is_module_patched=lambda name: name == "select")
    monkeypatch.setitem(sys.modules, "gevent.monkey", gevents)
    reading, writing = os.pipe()
    try:
        os.write(writing, b"for somebody")
        forking.close_copy(reading)
        assert select.select([reading], [], [], 0) == ([], [], [])
        with pytest.raises(BrokenPipeError):
            os.write(writing, b"for nobody")
        assert not os.get_inheritable(reading)
    finally:
        os.close(reading)
        os.close(writing)


class Told:
    """What is to know that it is in a child."""

    children = 0

    def forked(self) -> None:
        self.children += 1


def test_what_was_open_is_forgotten_with_its_server(serve: Serve, connect: Connect) -> None:
    def known() -> int:
        gc.collect()
        return len([s for s in forking._sockets if s.fileno() >= 0])

    before = known()
    server = serve(hello, h2c=True)
    assert connect(server).get().body == b"hello"
    settle(server, connections=1)
    assert known() > before
    server.stop()
    eventually(lambda: known() <= before, "its sockets to be forgotten")


def test_a_program_without_fork_is_served_as_ever() -> None:
    """As on Windows."""
    code = "import os; del os.register_at_fork, os.fork; import h2wsgi.process.forking"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
