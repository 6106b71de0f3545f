"""Applications whose import has gevent or eventlet replace threads, locks and sockets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.peer import Peer
from support.process import ServerProcess
from support.settled import eventually

PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}
APPLICATION = """
import warnings
warnings.simplefilter("ignore")
{patch}
import time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/sleep":
        time.sleep(0.3)
    content = environ["wsgi.input"].read()
    start_response("200 OK", [("content-type", "text/plain")])
    if environ["PATH_INFO"] == "/large":
        return (b"x" * 100_000 for _ in range(10))
    return [b"served %d" % len(content)]
"""
PROMPT = 10.0
"""Seconds in which a server without requests stops, on a busy machine."""


@pytest.mark.parametrize("transport", ["tls", "h2c"])
@pytest.mark.parametrize("package", PATCHES)
def test_a_patched_application_is_served_on_asyncios_loop(
    tmp_path: Path, package: str, transport: str
) -> None:
    options = ["--engine", os.environ.get("TEST_ENGINE", "auto")]
    options += ["--h2c"] if transport == "h2c" else []
    source = APPLICATION.format(patch=PATCHES[package])
    with ServerProcess(tmp_path, source, *options) as process:
        certificate = process.ready()["certificate"]
        trust = {"tls": False} if certificate is None else {"ca_file": certificate["ca"]}
        with process.connect(**trust) as peer:
            assert peer.get().body == b"served 0"
            answer_each_while_others_wait(peer)
            assert len(peer.get("/large").body) == 1_000_000
        process.signal(signal.SIGTERM)
        assert process.exit_code(PROMPT) == 0
        assert process.lines()[-1]["event"] == "stopped"


def answer_each_while_others_wait(peer: Peer) -> None:
    """One request sleeps, one waits for its content: the others have their turn meanwhile."""
    length = [("content-length", "1000")]
    uploading = peer.request("POST", fields=length, end_stream=False)
    sleeping = peer.request(path="/sleep")
    assert peer.get().body == b"served 0"
    assert peer.response(sleeping).body == b"served 0"
    peer.data(uploading, b"x" * 1000, end_stream=True)
    assert peer.response(uploading).body == b"served 1000"


@pytest.mark.parametrize("arguments", [(), ("--check",)])
@pytest.mark.parametrize("package", PATCHES)
def test_uvloop_by_name_says_why_it_cannot_be_used(
    tmp_path: Path, package: str, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "web.py").write_text(APPLICATION.format(patch=PATCHES[package]))
    command = [sys.executable, "-m", "h2wsgi", "web", "--h2c", "--bind", "localhost:0"]
    done = subprocess.run(
        [*command, "--loop", "uvloop", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert f"error: The event loop uvloop (--loop) cannot be used with {package}" in done.stderr
    assert "hint: Leave out --loop" in done.stderr


KEEPING = """
import warnings
warnings.simplefilter("ignore")
{patch}
import pathlib

def app(environ, start_response):
    pathlib.Path(__file__).with_name("running").touch()
    while True:
        pass
"""


@pytest.mark.parametrize("package", PATCHES)
def test_a_second_signal_ends_a_server_whose_application_never_yields(
    tmp_path: Path, package: str
) -> None:
    """The loop has no turn, and hears of neither."""
    with ServerProcess(tmp_path, KEEPING.format(patch=PATCHES[package]), "--h2c") as process:
        process.ready()
        with process.connect(tls=False) as peer:
            peer.request()
            eventually((tmp_path / "running").exists, "the application to run")
            process.signal(signal.SIGTERM)
            process.signal(signal.SIGINT)
            ended_by = process.exit_code(PROMPT) - 128  # whichever Python hears of last
            assert ended_by in (signal.SIGTERM, signal.SIGINT)


FORKING = """
import warnings
warnings.simplefilter("ignore")
{patch}
import os, time

forked = []

def app(environ, start_response):
    content = b"served"
    if environ["PATH_INFO"] == "/fork":
        child = os.fork()
        if child:
            content = b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    elif environ["PATH_INFO"] == "/fork-late":
        child = os.fork()
        forked.append(child)
        if not child:
            time.sleep(1.0)
            os._exit(3)
        content = b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    elif environ["PATH_INFO"] == "/wait":
        while not forked:
            time.sleep(0.05)
    start_response("200 OK", [("content-type", "text/plain")])
    return [content]
"""


def test_a_child_of_an_application_that_eventlet_patches_has_nothing_of_the_server(
    tmp_path: Path,
) -> None:
    """eventlet replaces locks that are there already, those of the server too."""
    source = FORKING.replace("{patch}", PATCHES["eventlet"])
    with ServerProcess(tmp_path, source, "--h2c", measured=False) as process:
        process.ready()
        with process.connect(tls=False) as peer:
            assert peer.get("/fork").body == b"0"
            assert peer.get("/").body == b"served"
        process.signal(signal.SIGTERM)
        assert process.exit_code(PROMPT) == 0


@pytest.mark.parametrize("package", PATCHES)
def test_requests_that_go_on_in_a_child_of_greenlets_do_not_end_it(
    tmp_path: Path, package: str
) -> None:
    """The child is a copy of all of them, not of the one that forks alone as with threads."""
    source = FORKING.replace("{patch}", PATCHES[package])
    with ServerProcess(tmp_path, source, "--h2c", measured=False) as process:
        process.ready()
        with process.connect(tls=False) as peer:
            waiting = peer.request(path="/wait")
            assert peer.get("/fork-late").body == b"3"
            assert peer.response(waiting).body == b"served"
        process.signal(signal.SIGTERM)
        assert process.exit_code(PROMPT) == 0
        assert process.lines()[-1]["event"] == "stopped"
