"""h2wsgi used from a program: serve, Server, serve_in_thread, and what they refuse."""

from __future__ import annotations

import asyncio
import importlib.resources
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

import h2wsgi
from conftest import Serve
from support.peer import Peer
from support.process import START_PATIENCE, packages

USER_PROGRAM = """
from collections.abc import Callable, Iterable
from typing import Any

import h2wsgi


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"typed"]


with h2wsgi.serve_in_thread(app, threads=4) as server:
    url: str = server.url
    ca_file: str | None = server.ca_file


async def main() -> None:
    async with h2wsgi.Server(app, h2wsgi.Config(bind=("localhost:0",))) as running:
        print(running.endpoints[0].url)


code: int = h2wsgi.serve(app, bind="localhost:0")
"""


def hello(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"hello"]


def test_a_server_runs_in_somebodys_event_loop(cache_folder: Path):
    async def main() -> str:
        async with h2wsgi.Server(hello, h2wsgi.Config(bind=("localhost:0",))) as server:
            port = int(server.url.rstrip("/").rpartition(":")[2])
            answer = await asyncio.to_thread(ask, port, server.ca_file)
            assert server.open_connections <= 1
            assert server.threads >= 1
        return answer

    def ask(port: int, ca_file: str | None) -> str:
        with Peer.connect(("127.0.0.1", port), ca_file=ca_file) as peer:
            return peer.get("/").body.decode()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(main()) == "hello"


def test_a_server_in_a_thread_knows_its_urls_and_its_ca(serve: Serve):
    server = serve(hello, bind="localhost:0", bind_h2c="127.0.0.1:0")
    secure, cleartext = server.urls
    assert server.url == secure
    assert secure.startswith("https://localhost:")
    assert cleartext.startswith("http://127.0.0.1:")
    assert server.join("/get") == secure + "get"
    with httpx.Client(http2=True, verify=server.ssl_context()) as client:
        assert client.get(secure).text == "hello"


ALL_LOADED = """
import sys, h2wsgi
from support.peer import Peer

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

with h2wsgi.serve_in_thread(app, h2c=True, bind="127.0.0.1:0", engine=sys.argv[1]) as server:
    before = set(sys.modules)
    with Peer.connect(("127.0.0.1", int(server.url[:-1].rpartition(":")[2])), tls=False) as peer:
        assert peer.get().body == b"hello"
    print(sorted(name for name in set(sys.modules) - before if name.startswith("h2wsgi")))
"""


def test_what_serves_requests_is_loaded_before_they_come():
    """Later there may be no descriptor to load it with, or another version in its place."""
    for engine in ("fast", "h2"):
        done = subprocess.run(
            [sys.executable, "-c", ALL_LOADED, engine],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(packages())},
            capture_output=True,
            text=True,
            timeout=START_PATIENCE,
        )
        assert done.stdout == "[]\n", done.stderr


def test_a_server_in_a_thread_can_be_stopped_twice(serve: Serve):
    server = serve(hello)
    server.stop()
    server.stop()


def test_an_application_may_be_named_as_on_the_command_line(serve: Serve, tmp_path: Path):
    (tmp_path / "named_app.py").write_text(
        "def make():\n"
        "    def app(environ, start_response):\n"
        "        start_response('200 OK', [])\n"
        "        return [b'by name']\n"
        "    return app\n"
    )
    server = serve("named_app:make", app_dir=str(tmp_path), factory=True)
    with httpx.Client(http2=True, verify=server.ssl_context()) as client:
        assert client.get(server.url).content == b"by name"


def test_serve_runs_until_a_signal_and_returns_the_exit_code(tmp_path: Path):
    program = tmp_path / "program.py"
    program.write_text(
        "import h2wsgi\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'served']\n"
        "print('code', h2wsgi.serve(app, bind='localhost:0', log_level='info'))\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert process.stderr is not None
    shown = ""
    for line in process.stderr:
        shown += line
        if "Ctrl-C to stop" in line:
            break
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=30)
    assert "serves __main__:app" in shown
    assert out == "code 0\n", rest


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"thread": 3}, "'thread'"),
        ({"threads": "many"}, "not a whole number"),
        ({"threads": 0}, "threads"),
        ({"factory": True}, "factory applies to a target given as text"),
        ({"bind": "nonsense"}, "nonsense"),
        ({"bind": "192.0.2.1:8443"}, "192.0.2.1:8443"),
    ],
)
def test_a_wrong_option_is_a_configuration_error(serve: Serve, options, said):
    with pytest.raises(h2wsgi.ConfigurationError, match=said):
        serve(hello, **options)


@pytest.mark.parametrize(
    ("name", "value"), [("chdir", "/"), ("env_file", "x"), ("umask", "022"), ("pid", "x")]
)
def test_what_would_change_the_programs_process_is_refused(name: str, value: str):
    said = f"{name} is for a process of the server's own"
    with pytest.raises(h2wsgi.ConfigurationError, match=said):
        h2wsgi.serve_in_thread(lambda *_: [], **{name: value})

    async def serve() -> None:
        async with h2wsgi.Server(lambda *_: [], h2wsgi.Config.build(**{name: value})):
            pass

    with pytest.raises(h2wsgi.ConfigurationError, match=said):
        asyncio.run(serve())


def test_what_is_not_callable_is_refused(serve: Serve):
    with pytest.raises(h2wsgi.ConfigurationError, match="not callable"):
        serve(object())


def test_a_port_in_use_is_an_error_where_the_server_is_started_and_leaves_nothing(serve: Serve):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(h2wsgi.ConfigurationError, match=f"127.0.0.1:{port} .* in use"):
            serve(hello, bind="localhost:0", bind_h2c=f"127.0.0.1:{port}")


def test_an_application_that_does_not_return_is_left_behind_and_said(serve: Serve, caplog):
    inside, leave = threading.Event(), threading.Event()

    def stuck(environ, start_response):
        inside.set()
        leave.wait(30)
        start_response("200 OK", [])
        return [b""]

    server = serve(stuck, graceful_timeout=0.2)
    port = int(server.url.rstrip("/").rpartition(":")[2])
    with Peer.connect(("127.0.0.1", port), ca_file=server.ca_file) as peer:
        peer.request()
        assert inside.wait(10)
        server.stop()
    leave.set()
    assert "1 application did not return within the graceful timeout" in caplog.text


def test_a_users_program_is_checked_against_our_types(tmp_path: Path):
    assert importlib.resources.files("h2wsgi").joinpath("py.typed").is_file()
    (tmp_path / "program.py").write_text(USER_PROGRAM)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_server_that_cannot_watch_its_sockets_leaves_none_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That none is left is what the fixture no_leaks looks for."""

    def refuse(self: object) -> None:
        raise OSError("no more descriptors can be watched")

    monkeypatch.setattr("h2wsgi.server.accept.Acceptor.start", refuse)
    server = h2wsgi.serve_in_thread(lambda environ, start_response: [], bind="localhost:0")
    with pytest.raises(OSError, match="watched"), server:
        pass
