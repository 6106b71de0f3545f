"""Applications that stop Python's clocks for the whole process, as freezegun does."""

from __future__ import annotations

import datetime
import email.utils
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from h2wsgi.tls.development import ensure_development_certificate
from support.peer import Peer
from support.process import ServerProcess

APPLICATION = """
import datetime, sys, time

THEN = 1326499200.0  # in 2012
PYTHONS = (time.time, time.time_ns, time.monotonic, time.monotonic_ns, datetime.datetime)

class StoppedDatetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(THEN, tz)

def stop_clocks():
    seconds = lambda: THEN
    nanoseconds = lambda: int(THEN * 1e9)
    stopped = (seconds, nanoseconds, seconds, nanoseconds, StoppedDatetime)
    instead = {id(real): fake for real, fake in zip(PYTHONS, stopped)}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("threading", "queue", __name__):
            continue
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if id(value) in instead:
                setattr(module, attribute, instead[id(value)])

def app(environ, start_response):
    if environ["PATH_INFO"] == "/stop-clocks":
        stop_clocks()
    if environ["PATH_INFO"] == "/fail":
        raise KeyError
    print("said", file=environ["wsgi.errors"])
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"%d" % time.time()]
"""
ON_IMPORT = APPLICATION + "\nstop_clocks()\n"
THEN = b"1326499200"


def is_now(moment: datetime.datetime) -> bool:
    return abs(moment - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=10)


@pytest.fixture
def authority() -> bytes:
    """The CA that clients trust already."""
    return Path(ensure_development_certificate().ca).read_bytes()


@pytest.fixture(params=["import", "view"])
def process(
    request: pytest.FixtureRequest, tmp_path: Path, authority: bytes
) -> Iterator[ServerProcess]:
    """A server whose application has stopped the clocks on import, or does in a view."""
    options = ["--idle-timeout", "1", "--engine", os.environ.get("TEST_ENGINE", "auto")]
    options += ["--loop", os.environ.get("TEST_LOOP", "asyncio")]
    source = ON_IMPORT if request.param == "import" else APPLICATION
    with ServerProcess(tmp_path, source, *options) as process:
        yield process


def test_a_server_goes_by_the_clocks_as_they_are(process: ServerProcess, authority: bytes) -> None:
    certificate = process.ready()["certificate"]
    assert Path(certificate["ca"]).read_bytes() == authority
    with (
        process.connect(ca_file=certificate["ca"]) as peer,
        process.connect(ca_file=certificate["ca"]) as idle,
    ):
        assert idle.get().status == 200
        assert peer.get("/stop-clocks").body == THEN
        began = time.monotonic()
        assert idle.get().body == THEN  # its time is not over, nor is that of what comes now
        assert_dated_now(peer)
        assert peer.get("/fail").status == 500
        idle.wait_goaway()
        assert time.monotonic() - began > 0.5
    with process.connect(ca_file=certificate["ca"]) as late:
        assert late.get().body == THEN
        process.signal(signal.SIGTERM)
        assert process.exit_code(10.0) == 0
    lines = process.lines()
    assert {"request", "wsgi_errors", "application_failed", "stopped"} <= {
        line["event"] for line in lines
    }
    for line in lines:
        assert is_now(datetime.datetime.fromisoformat(line["time"])), line
        assert 0 <= line.get("seconds", 0) < 10


def assert_dated_now(peer: Peer) -> None:
    date = peer.get().header("date")
    assert date is not None
    assert is_now(email.utils.parsedate_to_datetime(date))
