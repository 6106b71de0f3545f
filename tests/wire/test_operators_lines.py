"""Lines for who runs the server: threads that are all taken, fields that are left out."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi.wsgi import thread_pool
from h2wsgi.wsgi.runner import MAX_NAME, MOST_DROPPED
from support.peer import one_write
from support.process import ServerProcess
from support.settled import PATIENCE, eventually


def said(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [message for message in caplog.messages if text in message]


def test_a_line_says_that_all_threads_are_taken_and_what_to_turn(
    serve: Serve,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(thread_pool, "FULL_LOOK", 0.05)
    go_on = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        assert go_on.wait(PATIENCE)
        start_response("200 OK", [])
        return []

    server = serve(app, threads=1, max_threads=2)
    peer = connect(server)
    with caplog.at_level(logging.WARNING, "h2wsgi"):
        with one_write(peer):  # or the look may come when only some of them wait
            streams = [peer.request() for _ in range(4)]
        eventually(lambda: said(caplog, "are inside applications"), "the line")
    go_on.set()
    assert [peer.response(stream).status for stream in streams] == [200] * 4
    (line,) = said(caplog, "are inside applications")
    assert line.startswith("all 1 threads (--threads) are inside applications, and 3 requests wait")
    assert "raise --threads" in line


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [environ.get("HTTP_X_USER", "nobody").encode()]


SMALL_DISK = """
import resource, sys
from h2wsgi.command.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
sys.exit(main())
"""
GROWS = """
import gc, resource
from h2wsgi.log.writer import LogWriter

def app(environ, start_response):
    if environ["PATH_INFO"] == "/grow":
        for writer in [each for each in gc.get_objects() if isinstance(each, LogWriter)]:
            writer.settle(30.0)  # or what is still queued would be written, and no longer lost
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    start_response("200 OK", [])
    return []
"""


def test_a_log_that_cannot_be_written_is_told_of_and_goes_on_in_whole_lines(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    options = ("--h2c", f"--access-log-file={file}")
    entry = ("-c", SMALL_DISK)
    with ServerProcess(tmp_path, GROWS, *options, entry=entry, measured=False) as running:
        with running.connect(tls=False) as peer:
            for _ in range(30):
                assert peer.get().status == 200
            (told,) = lines_of(running, "log_not_written")
            assert told["level"] == "error"
            assert told["message"] == (
                f"{file} cannot be written: File too large. Lines are dropped until it can."
            )
            assert peer.get("/grow").status == 200
            eventually(lambda: '"/grow"' in file.read_text(), "the line of the last request")
        written = [json.loads(line) for line in file.read_text().splitlines()]  # none is cut
        kinds = [line["event"] for line in written]
        assert kinds[-2:] == ["request", "lines_dropped"]
        assert kinds.count("request") + written[-1]["dropped"] == 31


def lines_of(running: ServerProcess, event: str) -> list[dict[str, Any]]:
    """Wait for the lines of an event, and return them."""

    def found() -> list[dict[str, Any]]:
        return [line for line in running.lines() if line["event"] == event]

    eventually(lambda: bool(found()), f"the event {event}")
    return found()


def test_a_field_that_is_dropped_is_told_of_once(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(hello)
    with caplog.at_level(logging.WARNING, "h2wsgi"):
        for _ in range(2):
            peer = connect(server)
            for path in ("/", "/a"):
                fields = [("x_user", "root"), ("x-user", "ann")]
                assert peer.get(path, fields=fields).body == b"ann"
    (line,) = said(caplog, "is dropped")
    assert ": the field x_user is dropped, as with its underscore it would pass for x-user;" in line


def test_names_that_clients_make_up_are_told_of_a_few_times(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    peer = connect(serve(hello))
    peer.huffman = False
    with caplog.at_level(logging.WARNING, "h2wsgi"):
        for number in range(2 * MOST_DROPPED):
            name = f"x_{number}{'y' * 5_000}"
            assert peer.get(fields=[(name, "1"), (f"z_{number}", "1")]).status == 200
    lines = said(caplog, "is dropped")
    assert len(lines) == MOST_DROPPED
    assert max(map(len, lines)) < 2 * MAX_NAME + 200


def test_a_log_that_fails_does_not_fail_the_request(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(hello)

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError

    monkeypatch.setattr(server.server.log.events, "warning", fail)
    assert connect(server).get(fields=[("x_user", "root")]).body == b"nobody"
