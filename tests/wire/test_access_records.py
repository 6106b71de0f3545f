"""What the access log says of a request: its own time, and who ended it."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi.log.logs import Log
from h2wsgi.log.text import AccessRecord
from support.settled import PATIENCE, eventually


class Recorded:
    """A server whose access records are kept. ``/slow`` takes a while, ``/held`` until told."""

    def __init__(self, serve: Serve, **options: Any) -> None:
        self.records: list[AccessRecord] = []
        self.gate = threading.Event()
        self.server = serve(self._app, **options)
        events = self.server.server.log.events
        self.server.server.log = Log(events, self.records.append)

    def _app(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/held":
            assert self.gate.wait(PATIENCE)
        start_response("200 OK", [])
        return [b"well"]

    def wait(self, number: int) -> AccessRecord:
        """Return the last of so many records."""
        eventually(lambda: len(self.records) == number, f"{number} records")
        return self.records[-1]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_time_of_a_request_is_its_own(serve: Serve, connect: Connect, method: str) -> None:
    """And not that since the connection's first one came: the client waited longer for each."""
    recorded = Recorded(serve)
    peer = connect(recorded.server)
    for number in range(1, 6):
        began = time.monotonic()
        assert peer.get(method=method).body == b"well"
        waited = time.monotonic() - began
        assert 0 <= recorded.wait(number).seconds <= waited


@pytest.mark.parametrize(
    ("path", "shown"),
    [("/\xe9%20?q=\xe9".encode(), "/\xe9%20?q=\xe9"), (b"/\xff\xc3\xa9", "/\\xff\xe9")],
)
def test_a_path_that_was_not_encoded_is_shown_as_utf_8(
    serve: Serve, connect: Connect, path: Any, shown: str
) -> None:
    recorded = Recorded(serve)
    assert connect(recorded.server).get(path).status == 200
    assert recorded.wait(1).path == shown


UNSERVED = {
    "too large": ({"fields": [("x-a", "a" * 2_000)]}, ("GET", "/cookies/path?a", 431)),
    "too many fields": ({"fields": [("x-a", "a")] * 20}, ("GET", "/cookies/path?a", 431)),
    "an upload": (
        {"method": "POST", "fields": [("x-a", "a")] * 20, "end_stream": False},
        ("POST", "/cookies/path?a", 431),
    ),
    "malformed": ({"fields": [("te", "gzip")]}, ("GET", "/cookies/path?a", 400)),
    "a malformed path": ({"path": "a b"}, ("GET", "a b", 400)),
    "no path": ({"path": None}, ("GET", "localhost", 400)),
    "nothing": (dict.fromkeys(("method", "path", "scheme", "authority")), ("", "", 400)),
    "CONNECT": (
        {"method": "CONNECT", "path": None, "scheme": None, "authority": "example:443"},
        ("CONNECT", "example:443", 501),
    ),
}


@pytest.mark.parametrize(("request_", "logged"), UNSERVED.values(), ids=UNSERVED)
@pytest.mark.parametrize("seen", [False, True], ids=["", "seen before"])
def test_a_request_that_is_not_served_is_logged_with_its_method_and_path(
    serve: Serve, connect: Connect, request_: Any, logged: tuple[str, str, int], seen: bool
) -> None:
    recorded = Recorded(serve, max_field_section=1024, max_fields=10)
    peer = connect(recorded.server)
    if seen:
        assert peer.get("/cookies/path?a").status == 200
        recorded.wait(1)
    peer.response(peer.request(**{"path": "/cookies/path?a", **request_}))
    record = recorded.wait(2 if seen else 1)
    assert (record.method, record.path, record.status) == logged


def test_a_request_over_the_limit_of_streams_is_in_the_log(serve: Serve, connect: Connect) -> None:
    recorded = Recorded(serve, max_streams=1)
    peer = connect(recorded.server)
    held = peer.request(path="/held")
    refused = peer.request("POST", path="/refused?a")
    record = recorded.wait(1)
    assert (record.method, record.path, record.status) == ("POST", "/refused?a", 0)
    assert record.stream_id == refused
    assert record.outcome == "reset by server: REFUSED_STREAM, too many streams"
    recorded.gate.set()
    assert peer.response(held).status == 200
    assert recorded.wait(2).path == "/held"


HTTP1 = {
    "with a version": (
        b"GET /a%20b?c HTTP/1.1\r\nhost: x\r\n\r\n",
        ("GET", "/a%20b?c", "HTTP/1.1"),
    ),
    "without one": (b"GET /\r\n", ("GET", "/", "HTTP/1")),
    "long": (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n\r\n", ("GET", "/" + "a" * 2_043, "HTTP/1")),
    "hostile": (b"GET \xff\x1b HTTP/1.1\xff\n", ("GET", "\\xff\x1b HTTP/1.1\\xff", "HTTP/1")),
}


@pytest.mark.parametrize(("octets", "logged"), HTTP1.values(), ids=HTTP1)
def test_a_request_of_http_1_is_in_the_log(
    serve: Serve, connect: Connect, octets: bytes, logged: tuple[str, str, str]
) -> None:
    recorded = Recorded(serve, h2c=True, bind="127.0.0.1:0")
    peer = connect(recorded.server, preface=False, settings=None)
    peer.send_raw(octets)
    record = recorded.wait(1)
    assert (record.method, record.path, record.protocol) == logged
    assert (record.status, record.outcome) == (505, "refused: not HTTP/2")
    assert 100 < record.octets < 130


def test_what_is_neither_http_1_nor_http_2_is_not(serve: Serve, connect: Connect) -> None:
    recorded = Recorded(serve, h2c=True, bind="127.0.0.1:0")
    peer = connect(recorded.server, preface=False, settings=None)
    peer.send_raw(bytes(64))
    recorded.gate.set()
    assert connect(recorded.server).get(scheme="http").status == 200
    assert recorded.wait(1).protocol == "HTTP/2"


def test_a_record_has_what_the_formats_show(serve: Serve, connect: Connect) -> None:
    recorded = Recorded(serve)
    assert connect(recorded.server).get("/a", fields=[("user-agent", "test")]).status == 200
    record = recorded.wait(1)
    assert (b"user-agent", b"test") in record.fields
    assert (b":status", b"200") in record.response_fields
    assert record.authority == b"localhost"
    assert record.variables["SSL_PROTOCOL"] == "TLSv1.3"


def test_what_is_logged_of_a_request_that_is_not_served_is_bounded(
    serve: Serve, connect: Connect
) -> None:
    recorded = Recorded(serve)
    peer = connect(recorded.server)
    peer.huffman = False
    assert peer.get("/" + "a" * 50_000, method="M" * 50_000).status == 431
    record = recorded.wait(1)
    assert len(record.method) < 100
    assert len(record.path) < 5_000


@pytest.mark.parametrize("engine", ["fast", "h2"])
def test_a_request_that_the_client_reset_says_so(
    serve: Serve, connect: Connect, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    recorded = Recorded(serve, engine=engine)
    peer = connect(recorded.server)
    stream_id = peer.request(path="/held")
    peer.roundtrip()
    with caplog.at_level("DEBUG", "h2wsgi"):
        peer.rst_stream(stream_id)
        record = recorded.wait(1)
    recorded.gate.set()
    assert record.outcome == "reset by client: CANCEL"
    assert record.connection == 1
    assert not [r for r in caplog.records if "RST_STREAM(" in r.getMessage()]


def test_resets_by_the_client_count_once(serve: Serve, connect: Connect) -> None:
    recorded = Recorded(serve, max_resets=20)
    recorded.gate.set()
    peer = connect(recorded.server)
    for _ in range(20):
        peer.rst_stream(peer.request())
    peer.roundtrip()
    assert peer.get().body == b"well"
