"""The command in a pseudo-terminal: what somebody sees who serves, and asks for things."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from h2wsgi.codes import ErrorCode
from h2wsgi.log.terminal import GREEN, LOUD, RESET, YELLOW
from support.peer import Peer

APPLICATION = """
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/boom":
        raise ValueError("boom")
    if path == "/held":
        environ["wsgi.input"].read()
    start_response("404 Not Found" if path == "/missing" else "200 OK", [])
    return [b"x" * 1234]
"""
WAIT = 30.0


class Screen:
    """The command in a pseudo-terminal of 80 columns; ``text`` is all that it has shown."""

    def __init__(self, folder: Path, **variables: str) -> None:
        (folder / "seen.py").write_text(APPLICATION)
        ours, theirs = os.openpty()
        self._ours = ours
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        path = os.pathsep.join((str(folder), *sys.path))
        unwanted = ("NO_COLOR", "FORCE_COLOR")
        environment = {k: v for k, v in os.environ.items() if k not in unwanted}
        engine, loop = (os.environ.get(f"TEST_{x}", "auto") for x in ("ENGINE", "LOOP"))
        command = [sys.executable, "-m", "h2wsgi", "seen:app", "--h2c", "--bind", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [*command, "--engine", engine, "--loop", loop],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=environment | {"PYTHONPATH": path, "TERM": "xterm", **variables},
            start_new_session=True,
        )
        os.close(theirs)
        self.text = ""
        self.wait("Ctrl-C to stop")
        self.port = int(re.findall(r"http://127.0.0.1:(\d+)/", self.text)[0])

    def wait(self, text: str) -> None:
        """Read until ``text`` is on the screen."""
        deadline = time.monotonic() + WAIT
        while text not in self.text:
            assert select.select([self._ours], [], [], max(0, deadline - time.monotonic()))[0]
            self.text += os.read(self._ours, 65_536).decode().replace("\r\n", "\n")

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(WAIT)
        os.close(self._ours)


def ask(screen: Screen) -> None:
    peer = Peer.connect(("127.0.0.1", screen.port), tls=False)
    try:
        for path in ("/get", "/missing", "/boom", "/" + "long" * 40):
            peer.response(peer.request(path=path))
        held = peer.request("POST", "/held", fields=[("content-length", "5")], end_stream=False)
        peer.roundtrip()
        peer.rst_stream(held, ErrorCode.CANCEL)
        screen.wait("CANCEL")
        # DATA on a stream that was never opened.
        peer.data(99, b"x")
        screen.wait("GOAWAY(")
    finally:
        peer.close()


@pytest.fixture(scope="module", params=["", "1"], ids=["coloured", "NO_COLOR"])
def screen(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Screen]:
    screen = Screen(tmp_path_factory.mktemp("screen"), NO_COLOR=request.param)
    try:
        ask(screen)
        yield screen
    finally:
        screen.close()


def test_columns_hold_and_what_is_wrong_stands_out(screen: Screen) -> None:
    coloured = "\x1b[" in screen.text
    plain = re.sub(r"\x1b\[[\d;]+m", "", screen.text)
    requests = re.findall(r"^\d\d:\d\d:\d\d  #.*$", plain, re.MULTILINE)
    assert [line[31:34] for line in requests] == ["200", "404", "500", "200", "---"]
    assert [line.index("/") for line in requests] == [62] * 5
    assert {line[10:15] for line in requests} == {"#1   "}
    assert all("127.0.0.1:" in line[15:30] for line in requests)
    assert requests[-1].endswith("/held  stream 9: reset by client: CANCEL")
    assert "error: GET /boom (stream 5): the application failed: ValueError" in plain
    assert "info: 127.0.0.1:" in plain
    if not coloured:
        return
    for colour, text in ((GREEN, "200"), (YELLOW, "404"), (LOUD, "500"), (LOUD, "error")):
        assert f"{colour}{text}{RESET}" in screen.text
    assert f"{LOUD}stream 9: reset by client: CANCEL{RESET}" in screen.text
    assert re.search(re.escape(LOUD) + r"GOAWAY\([A-Z_]+\)", screen.text)


def test_colours_are_there_unless_somebody_has_them_not(
    screen: Screen, request: pytest.FixtureRequest
) -> None:
    assert ("\x1b[" in screen.text) is ("coloured" in request.node.name)
