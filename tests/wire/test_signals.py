"""What signals ask of the command: to stop, to open its log files anew, and no more than that."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.process import LONG_ECHO, START_PATIENCE, ServerProcess, coverages_variables
from support.settled import PATIENCE, eventually
from support.workers import children_of, is_alive

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="the system has none")

LOOP = ("--loop", os.environ.get("TEST_LOOP", "auto"))
OURS = ("SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2")

HELLO = """
import os, pathlib, time

FOLDER = pathlib.Path(__file__).parent

def app(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/wait":
        (FOLDER / "running").touch()
        while not (FOLDER / "go-on").exists():
            time.sleep(0.01)
    return [b"hello"]
"""


@pytest.fixture(autouse=True)
def usual_signals() -> Iterator[None]:
    """Have servers find what a service manager leaves: a shell's background job ignores some."""
    before = {name: signal.getsignal(getattr(signal, name)) for name in OURS}
    for name in OURS:
        if before[name] == signal.SIG_IGN:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    yield
    for name, handler in before.items():
        if handler == signal.SIG_IGN:
            signal.signal(getattr(signal, name), handler)


def start(folder: Path, source: str = HELLO, *arguments: str, **options: Any) -> ServerProcess:
    """``options`` are those of ServerProcess."""
    return ServerProcess(folder, source, "--h2c", *LOOP, *arguments, **options)


def messages(server: ServerProcess) -> list[str]:
    return [line.get("message", "") for line in server.lines()]


def said(server: ServerProcess, text: str) -> None:
    eventually(lambda: any(text in message for message in messages(server)), f"the line {text!r}")


def get(server: ServerProcess, path: str = "/") -> None:
    with server.connect(tls=False) as peer:
        assert peer.get(path).body == b"hello"


def paths_in(log: Path) -> list[str]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line)["path"] for line in lines]


# ------------------------------------------------------------------------------------ to stop


def test_sigquit_stops_gracefully(tmp_path: Path) -> None:
    with start(tmp_path) as server, server.connect(tls=False) as peer:
        stream_id = peer.request(path="/wait")
        eventually((tmp_path / "running").exists, "the request to run")
        server.signal(signal.SIGQUIT)
        peer.wait_goaway()
        (tmp_path / "go-on").touch()
        assert peer.response(stream_id).body == b"hello"
        assert server.exit_code(PATIENCE) == 0
        assert "SIGQUIT: stopping" in messages(server)[-3]


def test_a_stop_by_sigquit_removes_the_socket_file(tmp_path: Path) -> None:
    path = tmp_path / "h2.sock"
    with start(tmp_path, HELLO, f"--bind=unix:{path}") as server:
        server.ready()
        assert path.exists()
        server.signal(signal.SIGQUIT)
        assert server.exit_code(PATIENCE) == 0
        assert not path.exists()


@pytest.mark.parametrize("second", [signal.SIGQUIT, signal.SIGINT])
def test_a_second_signal_of_another_kind_ends_at_once(tmp_path: Path, second: int) -> None:
    with start(tmp_path) as server, server.connect(tls=False) as peer:
        peer.request(path="/wait")
        eventually((tmp_path / "running").exists, "the request to run")
        server.signal(signal.SIGTERM)
        peer.wait_goaway()
        server.signal(second)
        assert server.exit_code(PATIENCE) == 128 + second


def in_terminal(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start the command with a terminal that controls it, whose other end is returned."""
    (folder / "web.py").write_text(HELLO)
    terminal, other = pty.openpty()
    with (folder / "stderr.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "h2wsgi", "web:app", "--app-dir", str(folder), *LOOP]
            + ["--h2c", "--bind=127.0.0.1:0", "--log-format=json"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=other,
            stdout=other,
            stderr=log,
            start_new_session=True,
            # The first terminal that the leader of a session opens controls it.
            preexec_fn=lambda: os.close(os.open(os.ttyname(other), os.O_RDWR)),
        )
    os.close(other)
    return process, terminal


@pytest.mark.parametrize("how", ["window", "kill"])
def test_a_closed_window_stops_gracefully(tmp_path: Path, how: str) -> None:
    process, terminal = in_terminal(tmp_path)
    log = tmp_path / "stderr.log"
    try:
        eventually(lambda: "ready" in log.read_text(), "the server to be ready", START_PATIENCE)
        if how == "kill":
            process.send_signal(signal.SIGHUP)
        else:
            os.close(terminal)
        assert process.wait(PATIENCE) == 0
        assert "SIGHUP: stopping" in log.read_text()
    finally:
        process.kill()
        process.wait(PATIENCE)
        if how == "kill":
            os.close(terminal)


# -------------------------------------------------------------- while the application is imported

SLOW = (
    """
import pathlib, time

FOLDER = pathlib.Path(__file__).parent

def wait():
    (FOLDER / "importing").touch()
    while not (FOLDER / "imported").exists():
        time.sleep(0.01)

try:
    wait()
except Exception as error:
    pass
"""
    + HELLO
)
SWALLOWING = SLOW.replace("except Exception as error:\n    pass", "except:\n    wait()")
assert SWALLOWING != SLOW


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_a_stop_while_the_application_is_imported_is_prompt(tmp_path: Path, number: int) -> None:
    with start(tmp_path, SLOW) as server:
        eventually((tmp_path / "importing").exists, "the import", START_PATIENCE)
        server.signal(number)
        expected = 128 + number if number == signal.SIGINT else 0
        assert server.exit_code(PATIENCE) == expected
        said = f"h2wsgi: {signal.Signals(number).name}: stopped before anything was served\n"
        assert server.log.read_text() == ("\n" if number == signal.SIGINT else said)


def test_a_stop_that_the_applications_import_swallows_is_not_forgotten(tmp_path: Path) -> None:
    with start(tmp_path, SWALLOWING) as server:
        eventually((tmp_path / "importing").exists, "the import", START_PATIENCE)
        (tmp_path / "importing").unlink()
        server.signal(signal.SIGTERM)
        eventually((tmp_path / "importing").exists, "the import to go on")
        (tmp_path / "imported").touch()
        assert server.exit_code(PATIENCE) == 0
        assert "ready" not in server.log.read_text()


def test_a_second_signal_ends_an_import_that_swallows_the_first(tmp_path: Path) -> None:
    with start(tmp_path, SWALLOWING) as server:
        eventually((tmp_path / "importing").exists, "the import", START_PATIENCE)
        (tmp_path / "importing").unlink()
        server.signal(signal.SIGTERM)
        eventually((tmp_path / "importing").exists, "the import to go on")
        server.signal(signal.SIGQUIT)
        assert server.exit_code(PATIENCE) == 128 + signal.SIGQUIT
        assert "SIGQUIT again: ending at once" in server.log.read_text()


def test_other_signals_wait_until_the_application_is_imported(tmp_path: Path) -> None:
    with start(tmp_path, SLOW) as server:
        eventually((tmp_path / "importing").exists, "the import", START_PATIENCE)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            server.signal(number)
        (tmp_path / "imported").touch()
        get(server)
        for text in ("SIGHUP: no log", "SIGUSR1: no log", "SIGUSR2: nothing"):
            said(server, text)


def test_serve_returns_if_it_is_stopped_while_it_imports(tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(SLOW)
    program = (
        "import signal, h2wsgi\n"
        "print(h2wsgi.serve('web:app', bind='localhost:0', h2c=True))\n"
        "print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for name in coverages_variables():  # whose handler of SIGTERM would be found
        del environment[name]
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
    )
    eventually((tmp_path / "importing").exists, "the import", START_PATIENCE)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=PATIENCE)[0] == b"0\nTrue\n"


AT_SET_UP = """
import ctypes, os, signal
before = ctypes.create_string_buffer

def late(*arguments):  # the first thing that is done with a signal that was taken
    ctypes.create_string_buffer = before
    os.kill(os.getpid(), signal.SIGTERM)
    return before(*arguments)

ctypes.create_string_buffer = late
"""
COMMAND = "from h2wsgi.command import cli\nraise SystemExit(cli.main())\n"
SERVE = "import h2wsgi\nprint(h2wsgi.serve('web:app', bind='127.0.0.1:0', h2c=True))\n"


@pytest.mark.parametrize(
    ("program", "arguments", "expected"),
    [
        (COMMAND, [], (0, "", "h2wsgi: SIGTERM: stopped before anything was served\n")),
        (COMMAND, ["--check"], (128 + 15, "", "h2wsgi: SIGTERM: not all was checked\n")),
        (SERVE, [], (0, "0\n", "")),
    ],
    ids=["command", "check", "serve"],
)
def test_a_stop_while_the_signals_are_set_up_is_a_stop(
    tmp_path: Path, program: str, arguments: list[str], expected: tuple[int, str, str]
) -> None:
    (tmp_path / "web.py").write_text(HELLO)
    argv = [sys.executable, "-c", AT_SET_UP + program, "web:app", "--h2c", "--bind=127.0.0.1:0"]
    done = subprocess.run(
        argv + arguments,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=START_PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == expected


def check(folder: Path) -> subprocess.Popen[bytes]:
    (folder / "web.py").write_text(SLOW)
    return subprocess.Popen(
        [sys.executable, "-m", "h2wsgi", "web:app", "--check", "--app-dir", str(folder)]
        + ["--h2c", "--bind=127.0.0.1:0"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_check_that_is_stopped_says_nothing_of_being_well(tmp_path: Path, number: int) -> None:
    process = check(tmp_path)
    eventually((tmp_path / "importing").exists, "the import", START_PATIENCE)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    name = signal.Signals(number).name.encode()
    assert (process.returncode, out) == (128 + number, b"")
    assert err == b"h2wsgi: " + name + b": not all was checked\n"


def test_a_check_goes_on_at_other_signals(tmp_path: Path) -> None:
    process = check(tmp_path)
    eventually((tmp_path / "importing").exists, "the import", START_PATIENCE)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        process.send_signal(number)
    (tmp_path / "imported").touch()
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert b"All is well." in out


# -------------------------------------------------------------------------- to open logs anew


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_log_files_are_opened_anew(tmp_path: Path, number: int) -> None:
    access, trace = tmp_path / "access.log", tmp_path / "trace.jsonl"
    options = ("--access-log-file", str(access), "--trace-file", str(trace))
    with start(tmp_path, HELLO, *options) as server:
        get(server, "/before")
        eventually(lambda: paths_in(access) == ["/before"], "the access to be logged")
        access.rename(tmp_path / "access.log.1")
        trace.rename(tmp_path / "trace.jsonl.1")
        server.signal(number)
        said(server, f"opening {access} and {trace} anew")
        eventually(lambda: access.exists() and trace.exists(), "the files to be there")
        get(server, "/behind")
        eventually(lambda: paths_in(access) == ["/behind"], "the access to be logged")
        assert paths_in(tmp_path / "access.log.1") == ["/before"]
        server.signal(signal.SIGTERM)
        assert server.exit_code(PATIENCE) == 0
        assert "/behind" in trace.read_text()
        assert "/behind" not in (tmp_path / "trace.jsonl.1").read_text()


MOVING = HELLO.replace("    if environ", '    os.chdir(FOLDER / "elsewhere")\n    if environ')


def test_a_relative_log_file_is_opened_anew_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    with start(tmp_path, MOVING, "--access-log-file", "access.log") as server:
        access = tmp_path / "access.log"
        get(server, "/before")
        eventually(lambda: paths_in(access) == ["/before"], "the access to be logged")
        access.unlink()
        server.signal(signal.SIGUSR1)
        eventually(access.exists, "the file to be there")
        assert not (tmp_path / "elsewhere" / "access.log").exists()


def test_a_log_file_that_cannot_be_opened_anew_goes_on_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    access = folder / "access.log"
    with start(tmp_path, HELLO, "--access-log-file", str(access)) as server:
        get(server, "/before")
        eventually(lambda: paths_in(access) == ["/before"], "the access to be logged")
        moved = tmp_path / "moved"
        folder.rename(moved)
        server.signal(signal.SIGUSR1)
        said(server, "The old one goes on.")
        get(server, "/behind")
        eventually(
            lambda: paths_in(moved / "access.log") == ["/before", "/behind"], "both accesses"
        )


def test_a_pipe_for_the_access_log_is_left_alone(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with start(tmp_path, HELLO, "--access-log-file", str(pipe)) as server:
            server.ready()
            server.signal(signal.SIGUSR1)
            said(server, "no log goes to a file")
            get(server)
            eventually(lambda: has_come(reading), "the access")
            assert b'"path": "/"' in os.read(reading, 4096)
    finally:
        os.close(reading)


def has_come(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def test_without_log_files_the_signals_say_so(tmp_path: Path) -> None:
    with start(tmp_path) as server:
        get(server)
        server.signal(signal.SIGHUP)
        said(server, "SIGHUP: no log goes to a file")
        server.signal(signal.SIGUSR2)
        said(server, "SIGUSR2: nothing is done for it")
        get(server)
        server.signal(signal.SIGTERM)
        assert server.exit_code(PATIENCE) == 0


# ------------------------------------------------------------------------------ what stays

THEIRS = (
    """
import signal, faulthandler, pathlib

CAUGHT = pathlib.Path(__file__).parent / "caught"
signal.signal(signal.SIGUSR1, lambda number, frame: CAUGHT.write_text("the application's"))
faulthandler.register(signal.SIGUSR2, file=open(CAUGHT.with_name("stacks"), "w"))
signal.signal(signal.SIGHUP, signal.SIG_IGN)
"""
    + HELLO
)


def test_what_the_application_has_for_a_signal_stays(tmp_path: Path) -> None:
    with start(tmp_path, THEIRS) as server:
        get(server)
        server.signal(signal.SIGUSR1)
        eventually((tmp_path / "caught").exists, "the application to be told")
        server.signal(signal.SIGUSR2)
        eventually(lambda: "running.py" in (tmp_path / "stacks").read_text(), "the stacks")
        server.signal(signal.SIGHUP)
        get(server)
        server.signal(signal.SIGTERM)
        assert server.exit_code(PATIENCE) == 0
        assert not [m for m in messages(server) if m.startswith(("SIGUSR", "SIGHUP"))]


BLOCKING = (
    """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
"""
    + HELLO
)


@pytest.mark.parametrize(
    ("by", "number"),
    [
        ("the application", signal.SIGTERM),
        ("who started it", signal.SIGINT),
        ("who started its supervisor", signal.SIGTERM),
    ],
)
def test_a_stop_is_heard_where_its_signal_was_blocked(
    tmp_path: Path, by: str, number: signal.Signals
) -> None:
    options = ("--workers", "1") if by == "who started its supervisor" else ()
    source = BLOCKING if by == "the application" else HELLO
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [] if source is BLOCKING else [number])
    try:
        server = start(tmp_path, source, *options)  # children inherit that
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with server:
        get(server)
        server.signal(number)
        assert server.exit_code(PATIENCE) == 0
        assert any(m.startswith(f"{number.name}: stopping") for m in messages(server))


def test_a_server_under_nohup_stays(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # children inherit that
    try:
        server = start(tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
    with server:
        get(server)
        server.signal(signal.SIGHUP)
        get(server)
        server.signal(signal.SIGTERM)
        assert server.exit_code(PATIENCE) == 0


def test_serve_puts_back_what_it_found(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import signal, sys, h2wsgi\n"
        "def mine(number, frame): pass\n"
        "signal.signal(signal.SIGTERM, mine)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "def app(environ, start_response): ...\n"
        "h2wsgi.serve(app, bind='localhost:0', loop=sys.argv[1])\n"
        "try:\n"
        "    h2wsgi.serve('no_such_module:app')\n"
        "except h2wsgi.ConfigurationError:\n"
        "    pass\n"
        "assert signal.getsignal(signal.SIGTERM) is mine\n"
        "assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {signal.SIGTERM}\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "for name in ('SIGQUIT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'):\n"
        "    assert signal.getsignal(getattr(signal, name)) == signal.SIG_DFL\n"
        "print('well')\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(program), LOOP[1]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if b"Ctrl-C to stop" in line:
            break
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE)
    assert out == b"well\n"


# --------------------------------------------------------------- behind the end of the server

HOLDING = (
    """
import multiprocessing, os, signal, threading, time

def hold():
    while True:
        time.sleep(0.1)

if os.environ["HOLD"] == "thread":
    threading.Thread(target=hold, name="the consumer").start()
elif os.environ["HOLD"] == "process":
    multiprocessing.get_context("fork").Process(target=hold, name="the worker").start()
elif os.environ["HOLD"] == "pool":
    from concurrent.futures import ProcessPoolExecutor
    pool = ProcessPoolExecutor(2, multiprocessing.get_context("fork"))
    pool.submit(hold)
    pool.submit(hold)
elif os.environ["HOLD"] == "executor":
    from concurrent.futures import ThreadPoolExecutor
    pool = ThreadPoolExecutor(1, thread_name_prefix="the cook")
    threading.Thread(target=lambda: pool.submit(hold), daemon=True).start()
elif os.environ["HOLD"] == "atexit":
    import atexit
    atexit.register(hold)
elif os.environ["HOLD"] == "daemons":
    threading.Thread(target=hold, daemon=True).start()
    multiprocessing.get_context("fork").Process(target=hold, daemon=True).start()
    from concurrent.futures import ThreadPoolExecutor
    pool = ThreadPoolExecutor(2)
    pool.submit(int)
"""
    + HELLO
)


@pytest.mark.parametrize(
    ("what", "named", "second"),
    [
        ("thread", "no daemons (the consumer)", signal.SIGTERM),
        ("thread", "no daemons (the consumer)", signal.SIGINT),
        ("process", "the worker, pid ", signal.SIGQUIT),
        ("pool", "its processes (ForkProcess-", signal.SIGTERM),
        ("executor", "threads of its executors (the cook_0)", signal.SIGTERM),
        ("atexit", "given to atexit", signal.SIGTERM),
    ],
)
def test_what_holds_up_the_end_is_named_and_a_second_signal_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, named: str, second: int
) -> None:
    monkeypatch.setenv("HOLD", what)
    # Not measured: a signal that comes while coverage saves has its default effect.
    with start(tmp_path, HOLDING, measured=False) as server:
        get(server)
        server.signal(signal.SIGTERM)
        said(server, named)
        assert "stopped" in messages(server)
        assert server.process.poll() is None
        children = children_of(server.process.pid)

        def ends() -> bool:
            server.signal(second)
            return server.process.poll() is not None

        eventually(ends, "the signal to count")
        assert server.exit_code(PATIENCE) == 128 + second
        assert f"{signal.Signals(second).name} again: ending at once" in messages(server)
        assert len(children) == {"process": 1, "pool": 2}.get(what, 0)
        eventually(lambda: not any(map(is_alive, children)), "its processes to end with it")


def test_signals_by_the_hundred_end_it_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each interrupts what the one before has begun."""
    monkeypatch.setenv("HOLD", "thread")
    with start(tmp_path, HOLDING, measured=False) as server:
        get(server)
        server.signal(signal.SIGTERM)
        said(server, "no daemons (the consumer)")
        until = time.monotonic() + PATIENCE
        while server.process.poll() is None and time.monotonic() < until:
            server.signal(signal.SIGTERM)
        assert server.exit_code(PATIENCE) == 128 + signal.SIGTERM
        assert messages(server)[-1] == "SIGTERM again: ending at once"


def test_the_same_signal_twice_at_once_still_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``timeout`` hands it on: the second may come when the server has stopped."""
    monkeypatch.setenv("HOLD", "thread")
    with start(tmp_path, HOLDING, entry=LONG_ECHO) as server:
        get(server)
        server.signal(signal.SIGTERM)
        said(server, "stopped")
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGUSR1)
        server.signal(signal.SIGUSR2)
        server.signal(signal.SIGHUP)
        said(server, "the consumer")
        assert server.process.poll() is None


def test_daemons_and_idle_executors_hold_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLD", "daemons")
    with start(tmp_path, HOLDING) as server:
        get(server)
        start_of_stop = time.monotonic()
        children = children_of(server.process.pid)
        server.signal(signal.SIGTERM)
        assert server.exit_code(PATIENCE) == 0
        assert time.monotonic() - start_of_stop < 5
        assert messages(server)[-1] == "stopped"
        assert len(children) == 1
        assert not Path(f"/proc/{children[0]}").exists()


STUCK = """
import multiprocessing

def begin_child():
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True).start()
""" + HELLO.replace("        (FOLDER", "        begin_child()\n        (FOLDER", 1)


def test_daemon_children_end_with_a_server_whose_application_is_stuck(tmp_path: Path) -> None:
    with start(tmp_path, STUCK, "--graceful-timeout", "0.2") as server:
        with server.connect(tls=False) as peer:
            peer.request(path="/wait")
            eventually((tmp_path / "running").exists, "the request to run")
            (child,) = children_of(server.process.pid)
            server.signal(signal.SIGTERM)
            assert server.exit_code(PATIENCE) == 0
        eventually(lambda: not is_alive(child), "the child to be ended")
