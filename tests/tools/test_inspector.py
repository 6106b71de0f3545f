"""The inspector's server: what it knows, whom it answers, what it exports, how it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import h2wsgi
from conversations.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)
from conversations.frames import setting as entry
from h2wsgi.command.cli import main
from h2wsgi.config.config import Config
from h2wsgi.errors import ConfigurationError
from h2wsgi.http2.engines.hpack import encode
from h2wsgi.tools.inspector import handler, har, ledger, service
from h2wsgi.tools.inspector import models as seen
from h2wsgi.tools.inspector.address import open_socket
from h2wsgi.tools.inspector.guard import Guard, content_policy
from h2wsgi.tools.inspector.ledger import Ledger
from h2wsgi.tools.inspector.views import ROW, Shapes
from h2wsgi.tools.inspector.watched import Watched
from support.process import START_PATIENCE, ServerProcess
from support.settled import PATIENCE, eventually
from support.tap import Wire

GET = b"\x82\x87\x84\x41\x01h"
"""GET https://h/ as a field block; :authority enters the dynamic table."""
OK = b"\x88"
WHOLE = END_HEADERS | END_STREAM
HOSTILE = "/<script>alert(1)</script>?\"'><img/src=x/onerror=alert(1)>&a=%00"


def hello(environ: Any, start_response: Any) -> list[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"hello"]


class Client:
    """Asks an inspector over HTTP/1.1, as a browser does."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 0
        self.path = parts.path

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[Any, bytes]:
        """Return the response and its content; ``path`` is below the token."""
        return self.ask_at(self.path + path, method, **headers)

    def ask_at(self, path: str, method: str = "GET", **headers: str) -> tuple[Any, bytes]:
        """Return the same for a path from the root on."""
        with contextlib.closing(http.client.HTTPConnection(self.host, self.port, 10)) as http1:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            http1.request(method, path, headers=named)
            response = http1.getresponse()
            return response, response.read()

    def json(self, path: str) -> Any:
        response, content = self.ask(path)
        assert response.status == 200, content
        return json.loads(content)

    def raw(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), 10)


class Events:
    """One page's server-sent events."""

    def __init__(self, client: Client) -> None:
        self._http = http.client.HTTPConnection(client.host, client.port, 10)
        self._http.request("GET", client.path + "events")
        self._response = self._http.getresponse()
        self.status = self._response.status

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()
        self._http.close()

    def next(self) -> tuple[str, Any]:
        """Return the next event's name and data."""
        lines = [self._response.readline().decode().rstrip("\n") for _ in range(3)]
        assert lines[2] == ""
        return lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: "))

    def until(self, condition: Any) -> dict[str, Any]:
        """Return the first message of changes that fits."""
        while True:
            name, data = self.next()
            assert name == "changes"
            if condition(data):
                assert isinstance(data, dict)
                return data


def rows(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(ROW, row, strict=True)) for row in message["streams"]]


@pytest.fixture
def inspected(serve: Any) -> tuple[Any, Client]:
    """A server with an inspector, and a client of the latter."""
    server = serve(hello, inspect="127.0.0.1:0")
    return server, Client(server.inspect_url)


class Tapped(Wire):
    """A connection whose tap tells a ledger."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        super().__init__()

    def attach(self) -> Tapped:
        """Have the ledger hear of the connection, which was opened before it was there."""
        self.taps.add(self.ledger)
        self.ledger.opened(self.heard.connections[0])
        return self


@pytest.fixture
def wire() -> Tapped:
    return Tapped().attach()


def streams_of(known: Ledger) -> list[seen.SeenStream]:
    return known.since(0).streams


# ------------------------------------------------------------------------------ the ledger


def test_a_stream_is_known_from_its_head_to_its_end(wire: Tapped) -> None:
    wire.received(frame(HEADERS, WHOLE, 1, GET))
    (stream,) = streams_of(wire.ledger)
    assert (stream.number, stream.stream_id, stream.method, stream.path) == (1, 1, "GET", "/")
    assert stream.request_ended_at is not None
    assert stream.head_at is None
    wire.sent(frame(HEADERS, END_HEADERS, 1, OK), frame(DATA, 0, 1, b"abc"))
    assert (stream.status, stream.sent, stream.closed_at) == (200, 3, None)
    wire.sent(frame(DATA, END_STREAM, 1, b"de"))
    assert stream.sent == 5
    assert stream.ended_at == stream.closed_at is not None
    assert [f.name for f in stream.frames] == ["HEADERS", "HEADERS", "DATA", "DATA"]
    assert stream.blocks == []


def test_a_look_tells_only_what_changed_since_the_last(wire: Tapped) -> None:
    wire.received(frame(HEADERS, WHOLE, 1, GET), frame(HEADERS, WHOLE, 3, GET[:-3] + b"\xbe"))
    first = wire.ledger.since(0)
    assert [s.stream_id for s in first.streams] == [1, 3]
    assert wire.ledger.since(first.cursor).streams == []
    wire.sent(frame(HEADERS, WHOLE, 1, OK))
    second = wire.ledger.since(first.cursor)
    assert [s.stream_id for s in second.streams] == [1]
    assert [c.info.id for c in second.connections] == [1]
    assert second.troubles == []


def test_a_response_at_the_end_of_its_streams_window_is_blocked_until_it_opens(
    wire: Tapped,
) -> None:
    wire.received(frame(HEADERS, WHOLE, 1, GET))
    wire.received(frame(WINDOW_UPDATE, 0, 0, (1 << 20).to_bytes(4, "big")))
    wire.sent(frame(HEADERS, END_HEADERS, 1, OK))
    for _ in range(5):
        wire.sent(frame(DATA, 0, 1, bytes(13_107)))
    (stream,) = streams_of(wire.ledger)
    ((_, end),) = stream.blocks
    assert (stream.server_window, end) == (0, None)
    wire.received(frame(WINDOW_UPDATE, 0, 1, (100).to_bytes(4, "big")))
    assert stream.blocks[0][1] is not None
    wire.sent(frame(DATA, END_STREAM, 1, b"end"))
    assert len(stream.blocks) == 1
    assert stream.closed_at is not None


def test_the_connections_window_blocks_every_response_that_goes_on(wire: Tapped) -> None:
    block = GET[:-3] + b"\xbe"
    wire.received(frame(HEADERS, WHOLE, 1, GET), frame(HEADERS, WHOLE, 3, block))
    wire.received(frame(HEADERS, WHOLE, 5, block))
    wire.sent(frame(HEADERS, END_HEADERS, 1, OK), frame(HEADERS, END_HEADERS, 3, OK))
    for _ in range(5):
        wire.sent(frame(DATA, 0, 1, bytes(13_107)))
    one, three, five = streams_of(wire.ledger)
    assert [len(s.blocks) for s in (one, three, five)] == [1, 1, 0]
    wire.received(frame(WINDOW_UPDATE, 0, 0, (1000).to_bytes(4, "big")))
    assert three.blocks[0][1] is not None
    assert one.blocks[0][1] is None  # its own window is used up as well
    connection = wire.ledger.since(0).connections[0]
    assert list(connection.blocked) == [one]


def test_a_response_that_settings_let_go_on_is_not_blocked_any_more(wire: Tapped) -> None:
    wire.received(frame(SETTINGS, 0, 0, entry(4, 0)))
    wire.sent(frame(SETTINGS, 1, 0))
    wire.received(frame(HEADERS, WHOLE, 1, GET))
    wire.sent(frame(HEADERS, END_HEADERS, 1, OK))
    (stream,) = streams_of(wire.ledger)
    assert stream.blocks[0][1] is None
    wire.received(frame(SETTINGS, 0, 0, entry(4, 1000)))
    wire.sent(frame(SETTINGS, 1, 0), frame(DATA, 0, 1, b"abc"))
    assert stream.blocks[0][1] is not None


def test_resets_goaways_and_problems_are_troubles(wire: Tapped) -> None:
    wire.received(frame(HEADERS, WHOLE, 1, GET))
    wire.received(frame(RST_STREAM, 0, 1, (8).to_bytes(4, "big")))
    wire.sent(frame(GOAWAY, 0, 0, (1).to_bytes(4, "big") + (11).to_bytes(4, "big") + b"<b>"))
    wire.received(frame(HEADERS, WHOLE, 3, b"\xff\xff\xff\xff\xff\xff"))
    troubles = wire.ledger.since(0).troubles
    assert [t.kind for t in troubles] == ["reset", "goaway", "problem"]
    assert troubles[0].text == "CANCEL, from the client"
    assert "ENHANCE_YOUR_CALM, last stream 1: <b>" in troubles[1].text
    stream = streams_of(wire.ledger)[0]
    assert (stream.reset_name, stream.reset_by_client) == ("CANCEL", True)
    assert stream.closed_at is not None


def test_an_end_without_an_error_is_no_trouble(wire: Tapped) -> None:
    wire.received(frame(HEADERS, END_HEADERS, 1, GET))
    wire.sent(frame(HEADERS, WHOLE, 1, b"\x88"), frame(RST_STREAM, 0, 1, bytes(4)))
    wire.received(frame(GOAWAY, 0, 0, bytes(8)))
    changes = wire.ledger.since(0)
    assert changes.troubles == []
    assert changes.totals.resets == 1
    wire.received(frame(HEADERS, WHOLE, 3, GET[:-3] + b"\xbe"), frame(RST_STREAM, 0, 3, bytes(4)))
    assert [t.text for t in wire.ledger.since(0).troubles] == ["NO_ERROR, from the client"]


def test_responses_of_5xx_are_troubles_that_quote_a_part_of_the_request(wire: Tapped) -> None:
    long = encode([(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/" + b"p" * 900)])
    for stream_id, block, status in ((1, GET, b"503"), (3, GET, b"404"), (5, long, b"500")):
        wire.received(frame(HEADERS, WHOLE, stream_id, block))
        wire.sent(frame(HEADERS, WHOLE, stream_id, encode([(b":status", status)])))
    troubles = wire.ledger.since(0).troubles
    assert [(t.kind, t.stream_id, t.text[:7]) for t in troubles] == [
        ("response", 1, "503 to "),
        ("response", 5, "500 to "),
    ]
    assert troubles[1].text == "500 to GET /" + "p" * (ledger.MAX_QUOTED - 5)


@pytest.mark.parametrize(
    ("streams", "stream_id", "text"),
    [
        (1, 1, "1 response cut off: the client hung up"),
        (3, 0, "3 responses cut off: the client hung up"),
    ],
)
def test_responses_that_a_connections_end_cuts_off_are_one_trouble(
    wire: Tapped, streams: int, stream_id: int, text: str
) -> None:
    ask_often(wire, streams)
    wire.tap.closed("the client hung up")
    (trouble,) = wire.ledger.since(0).troubles
    assert (trouble.kind, trouble.stream_id, trouble.text) == ("lost", stream_id, text)


def test_a_connection_that_ends_takes_its_streams_with_it(wire: Tapped) -> None:
    wire.received(frame(HEADERS, WHOLE, 1, GET))
    wire.tap.closed("the client hung up")
    (stream,) = streams_of(wire.ledger)
    assert stream.closed_at is not None
    assert (stream.ended_at, stream.reset) == (None, None)
    (connection,) = wire.ledger.since(0).connections
    assert (connection.reason, connection.open) == ("the client hung up", {})


def ask_often(wire: Tapped, number: int) -> None:
    """Have the client send so many requests on streams 1, 3, ..., and none be answered."""
    for index in range(number):
        block = GET if index == 0 else GET[:-3] + b"\xbe"
        wire.received(frame(HEADERS, WHOLE, 2 * index + 1, block))


def test_the_oldest_streams_fall_out_and_are_counted(
    wire: Tapped, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MAX_STREAMS", 10)
    ask_often(wire, 25)
    changes = wire.ledger.since(0)
    assert [s.number for s in changes.streams] == list(range(16, 26))
    assert (changes.totals.streams, changes.totals.first_stream) == (25, 16)
    assert wire.ledger.stream(15) is None
    assert wire.ledger._weight == weight_of_all(wire.ledger)


def weight_of_all(ledger: Ledger) -> int:
    changes = ledger.since(0)
    return sum(seen.weight for seen in (*changes.streams, *changes.connections))


def test_a_stream_that_fell_out_while_it_is_open_changes_nothing_any_more(
    wire: Tapped, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MAX_STREAMS", 1)
    ask_often(wire, 2)
    before = wire.ledger.since(0).cursor
    wire.sent(frame(HEADERS, WHOLE, 1, OK))
    assert wire.ledger.since(before).streams == []
    assert [s.stream_id for s in streams_of(wire.ledger)] == [3]


def test_frames_of_old_streams_go_when_all_are_too_heavy(
    wire: Tapped, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 25 * (seen.STREAM_WEIGHT + 100) + 20_000
    monkeypatch.setattr(ledger, "MAX_WEIGHT", most)
    ask_often(wire, 25)
    streams = streams_of(wire.ledger)
    assert len(streams) == 25
    assert streams[0].frames == []
    assert streams[0].frames_dropped == 1
    assert len(streams[-1].frames) == 1
    assert wire.ledger._weight == weight_of_all(wire.ledger) <= most
    wire.sent(frame(HEADERS, WHOLE, 1, OK))
    assert (streams[0].frames, streams[0].frames_dropped) == ([], 2)


def test_a_stream_keeps_its_first_frames_and_its_last(wire: Tapped) -> None:
    wire.received(frame(HEADERS, END_HEADERS, 1, GET))
    for _ in range(500):
        wire.received(frame(DATA, 0, 1, b"x"))
    (stream,) = streams_of(wire.ledger)
    assert len(stream.frames) == seen.MAX_FRAMES
    assert stream.frames[0].name == "HEADERS"
    assert stream.frames[-1].number == stream.frames_seen == 501
    assert stream.frames_dropped == 501 - seen.MAX_FRAMES
    frames = sum(seen.weight_of(f) for f in stream.frames)
    assert stream.weight == seen.STREAM_WEIGHT + len(stream.method + stream.path) + frames


def test_waits_of_one_stream_are_bounded(wire: Tapped) -> None:
    wire.received(frame(SETTINGS, 0, 0, entry(4, 0)))
    wire.sent(frame(SETTINGS, 1, 0))
    wire.received(frame(HEADERS, WHOLE, 1, GET))
    wire.sent(frame(HEADERS, END_HEADERS, 1, OK))
    for _ in range(3 * seen.MAX_BLOCKS):
        wire.received(frame(WINDOW_UPDATE, 0, 1, (1).to_bytes(4, "big")))
        wire.sent(frame(DATA, 0, 1, b"x"))
    (stream,) = streams_of(wire.ledger)
    assert len(stream.blocks) == seen.MAX_BLOCKS
    assert stream.blocks[-1][1] is None


def test_connections_are_bounded_and_closed_ones_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_CONNECTIONS", 2)
    wire = Tapped().attach()
    others = [wire.taps.observe() for _ in range(3)]
    second, third, fourth = (dataclasses.replace(FACTS_OF_ANOTHER, number=n) for n in (2, 3, 4))
    others[0].opened(second, "h2")
    others[0].closed("the client hung up")
    others[1].opened(third, "h2")
    assert [c.info.id for c in wire.ledger.since(0).connections] == [1, 3]
    others[2].opened(fourth, "h2")
    assert [c.info.id for c in wire.ledger.since(0).connections] == [3, 4]
    wire.received(frame(HEADERS, WHOLE, 1, GET))  # of one that is not kept
    assert streams_of(wire.ledger) == []
    assert wire.ledger.since(0).totals.connections == 4


FACTS_OF_ANOTHER = h2wsgi.seam.request.ConnectionFacts("https", "h", "1", "127.0.0.1", "2", {})


def test_frames_beside_streams_are_bounded_in_number_and_weight(wire: Tapped) -> None:
    wire.received(frame(SETTINGS, 0, 0, entry(99, 1) * 2000))
    for _ in range(seen.MAX_CONNECTION_FRAMES + 10):
        wire.received(frame(WINDOW_UPDATE, 0, 0, (1).to_bytes(4, "big")))
    found = wire.ledger.connection(1)
    assert found is not None
    connection, frames = found
    assert len(frames) == seen.MAX_CONNECTION_FRAMES
    assert {f.name for f in frames} == {"WINDOW_UPDATE"}
    assert connection.other_frames == seen.MAX_CONNECTION_FRAMES + 11


# ------------------------------------------------------------------------- the application


class Calls:
    """A ledger that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def began(self, connection: int, stream: int) -> object:
        self.told.append(f"began {connection}:{stream}")
        return self

    def returned(self, stream: object) -> None:
        self.told.append("returned")


class Called:
    """What environ has of a stream."""

    stream_id = 7
    connection = h2wsgi.seam.request.ConnectionFacts("https", "h", "1", "", "", {}, number=3)


def watch(app: Any) -> tuple[Any, list[str]]:
    calls = Calls()
    environ = {"h2wsgi.stream": Called()}
    return (lambda: Watched(app, calls)(environ, lambda *_: None)), calls.told  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [[b"a"], (b"a", b"b"), None, b"abc"])
def test_what_is_whole_is_returned_as_it_is(content: Any) -> None:
    call, told = watch(lambda *_: content)
    assert call() is content
    assert told == ["began 3:7", "returned"]


def test_an_iterable_has_ended_when_it_is_closed() -> None:
    closed = []

    class Content:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"a"])

        def close(self) -> None:
            closed.append(True)

    call, told = watch(lambda *_: Content())
    content = call()
    assert list(content) == [b"a"]
    assert not hasattr(type(content), "__len__")
    assert told == ["began 3:7"]
    content.close()
    assert closed == [True]
    assert told == ["began 3:7", "returned"]


def test_an_iterable_with_a_length_keeps_it() -> None:
    call, _ = watch(lambda *_: {b"a": 1})
    content = call()
    assert len(content) == 1
    content.close()


def test_an_application_that_raises_has_returned() -> None:
    def broken(*_: Any) -> list[bytes]:
        raise RuntimeError("broken")

    call, told = watch(broken)
    with pytest.raises(RuntimeError):
        call()
    assert told == ["began 3:7", "returned"]


def test_queue_application_and_response_show_as_phases(serve: Any, connect: Any) -> None:
    entered, leave = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        entered.set()
        assert leave.wait(10)
        start_response("200 OK", [])
        yield b"a"

    server = serve(app, inspect="127.0.0.1:0", threads=1, max_threads=1)
    peer = connect(server)
    with Events(Client(server.inspect_url)) as events:
        first, second = peer.request(path="/first"), peer.request(path="/second")
        assert entered.wait(10)
        seen_rows: dict[str, dict[str, Any]] = {}

        def has(condition: Any) -> Any:
            def check(message: dict[str, Any]) -> bool:
                seen_rows.update({row["path"]: row for row in rows(message)})
                return len(seen_rows) == 2 and condition()

            return check

        events.until(has(lambda: seen_rows["/first"]["began"] is not None))
        assert seen_rows["/second"]["began"] is None
        assert seen_rows["/first"]["head"] is None
        leave.set()
        peer.response(first)
        peer.response(second)
        events.until(has(lambda: all(r["returned"] and r["closed"] for r in seen_rows.values())))
        for row in seen_rows.values():
            assert row["started"] <= row["began"] <= row["head"] <= row["ended"]
        assert seen_rows["/second"]["began"] >= seen_rows["/first"]["returned"]


def test_a_response_that_waits_for_its_client_shows_as_blocked(serve: Any, connect: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return (bytes(100_000) for _ in range(20))

    server = serve(app, inspect="127.0.0.1:0")
    client = Client(server.inspect_url)
    peer = connect(server, settings={4: 1000})
    stream_id = peer.request()
    peer.wait_data(stream_id, 1000)
    # The peer has given credit for what it has read, once.
    eventually(lambda: client.json("stream?n=1")["sent"] == 2000, "the window to be used up again")
    assert client.json("stream?n=1")["blocks"][-1][1] is None
    assert client.json("connection?n=1")["blocked"] == 1
    peer.rst_stream(stream_id)
    eventually(lambda: client.json("stream?n=1")["reset"] == "CANCEL", "the reset")
    assert client.json("stream?n=1")["blocks"][0][1] is not None
    assert client.json("connection?n=1")["settings"]["client"] == [["INITIAL_WINDOW_SIZE", 1000]]


# ---------------------------------------------------------------------------------- events


def test_a_page_gets_what_is_kept_and_then_what_happens(
    inspected: tuple[Any, Client], connect: Any
) -> None:
    server, client = inspected
    peer = connect(server)
    peer.get("/before")
    with Events(client) as events:
        name, snapshot = events.next()
        assert (name, snapshot["snapshot"]) == ("changes", True)
        assert [row["path"] for row in rows(snapshot)] == ["/before"]
        assert snapshot["connections"][0]["tls"] == "TLSv1.3"
        peer.get("/after?a=b")
        message = events.until(lambda m: m["streams"])
        assert message["snapshot"] is False
        assert [row["path"] for row in rows(message)] == ["/after?a=b"]


def test_a_page_that_comes_again_gets_everything_again(
    inspected: tuple[Any, Client], connect: Any
) -> None:
    server, client = inspected
    connect(server).get("/")
    for _ in range(2):
        with Events(client) as events:
            assert len(events.next()[1]["streams"]) == 1


def test_while_nothing_happens_a_page_hears_of_it_now_and_then(
    inspected: tuple[Any, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "SILENCE", 0.01)
    with Events(inspected[1]) as events:
        cursors = {events.next()[1]["cursor"] for _ in range(3)}
    assert len(cursors) == 1


def test_the_end_of_the_server_is_told(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler.Handler, "LAST_WORDS", PATIENCE)
    server = serve(hello, inspect="127.0.0.1:0")
    with Events(Client(server.inspect_url)) as events:
        events.next()
        server.stop()
        while (name := events.next()[0]) != "stopped":
            assert name == "changes"


def test_pages_over_the_limit_are_told_so_and_may_come_back(inspected: tuple[Any, Client]) -> None:
    _, client = inspected
    with contextlib.ExitStack() as stack:
        for _ in range(handler.Handler.MAX_PAGES):
            assert stack.enter_context(Events(client)).status == 200
        response, content = client.ask("events")
        assert response.status == 503
        assert b"close one" in content

    def lets_in() -> bool:
        with Events(client) as events:
            return events.status == 200

    eventually(lets_in, "a place for a page")


def test_a_page_that_reads_nothing_costs_no_memory_and_delays_nobody(
    serve: Any, connect: Any
) -> None:
    server = serve(hello, inspect="127.0.0.1:0")
    client = Client(server.inspect_url)
    with client.raw() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        stuck.sendall(
            f"GET {client.path}events HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n\r\n".encode()
        )
        peer = connect(server)
        for number in range(300):
            assert peer.get(f"/{number}/{'x' * 1000}").status == 200
        with Events(client) as events:
            assert events.next()[1]["totals"]["streams"] == 300


# -------------------------------------------------------------------------------- security


def test_the_page_allows_nothing_but_itself(inspected: tuple[Any, Client]) -> None:
    response, content = inspected[1].ask("")
    assert response.status == 200
    policy = response.headers["Content-Security-Policy"]
    nonce = policy.partition("'nonce-")[2].partition("'")[0]
    assert policy == content_policy(nonce)
    assert policy.startswith("default-src 'none'; ")
    assert content.count(f'nonce="{nonce}"'.encode()) == 2
    assert b"NONCE" not in content
    for name, value in {
        "X-Frame-Options": "DENY",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }.items():
        assert response.headers[name] == value
    assert not [name for name in response.headers if name.lower().startswith("access-control")]
    assert "Python" not in response.headers["Server"]
    assert inspected[1].ask("")[0].headers["Content-Security-Policy"] != policy


def test_the_page_names_no_other_address() -> None:
    text = handler.page()
    assert "http://" not in text
    assert "https://" not in text
    assert "//" not in [line.strip() for line in text.splitlines()]
    for dangerous in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert dangerous not in text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_names_of_the_loopback_are_answered(inspected: tuple[Any, Client], host: str) -> None:
    client = inspected[1]
    assert client.ask("", Host=f"{host}:{client.port}")[0].status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost:1", "127.0.0.1.nip.io:{port}",
     "localhost:{port}.evil.example", "", "127.0.0.2:{port}"],
)  # fmt: skip
def test_a_name_that_was_made_to_lead_here_is_refused(
    inspected: tuple[Any, Client], host: str
) -> None:
    client = inspected[1]
    response, _ = client.ask("", Host=host.format(port=client.port))
    assert response.status == 421


def test_a_request_with_two_hosts_or_none_is_refused(inspected: tuple[Any, Client]) -> None:
    client = inspected[1]
    host = f"Host: 127.0.0.1:{client.port}\r\n"
    for hosts in (host * 2, ""):
        with client.raw() as raw:
            raw.sendall(f"GET {client.path} HTTP/1.1\r\n{hosts}\r\n".encode())
            assert raw.recv(100).startswith(b"HTTP/1.0 421 ")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "same-origin", "Origin": "http://evil.example"},
    ],
)
@pytest.mark.parametrize("path", ["", "events", "export.json", "export.har", "stream?n=1"])
def test_other_sites_are_refused_everywhere(
    inspected: tuple[Any, Client], path: str, headers: dict[str, str]
) -> None:
    response, content = inspected[1].ask(path, **headers)
    assert response.status == 403
    assert b"script" not in content
    assert "Access-Control-Allow-Origin" not in response.headers


def test_its_own_page_and_the_address_bar_are_not_refused(inspected: tuple[Any, Client]) -> None:
    client = inspected[1]
    origin = f"http://127.0.0.1:{client.port}"
    for headers in (
        {"Origin": origin, "Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "none"},
    ):
        assert client.ask("", **headers)[0].status == 200


def test_without_the_token_there_is_nothing(inspected: tuple[Any, Client]) -> None:
    client = inspected[1]
    token = client.path.strip("/")
    assert len(token) >= 22
    for path in ("/", "/events", f"/{token[:-1]}/", f"/x{token}/", "/%2e/", f"//{token}/x"):
        response, _ = client.ask_at(path)
        assert response.status == 404
    assert client.ask("nothing")[0].status == 404
    assert client.ask("../..")[0].status == 404


def test_on_port_80_a_host_needs_no_port() -> None:
    guard = Guard(("127.0.0.1", 80))
    for host in ("localhost", "localhost:80"):
        assert guard.refusal(f"/{guard.token}/", [host], {}) is None


def test_every_server_has_a_token_of_its_own() -> None:
    assert Guard(("127.0.0.1", 1)).token != Guard(("127.0.0.1", 1)).token


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE"])
def test_only_get_and_head_are_methods(inspected: tuple[Any, Client], method: str) -> None:
    response, content = inspected[1].ask("", method)
    assert response.status == 501
    assert method.encode() not in content


def test_head_has_the_head_alone(inspected: tuple[Any, Client]) -> None:
    for path in ("", "export.json", "export.har", "events", "connection?n=1"):
        response, content = inspected[1].ask(path, "HEAD")
        assert response.status in (200, 404)
        assert content == b""


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET /<script> HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n: x\r\n\r\n",
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"GET /\r\n\r\n",
        b"GET /\xff\xfe/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_nonsense_is_refused_and_not_repeated(
    inspected: tuple[Any, Client], request_: bytes
) -> None:
    client = inspected[1]
    with client.raw() as raw:
        raw.sendall(request_)
        answer = b"".join(iter(lambda: raw.recv(10_000), b""))
    assert b"script" not in answer
    assert b"200 OK" not in answer
    assert client.ask("")[0].status == 200


def test_a_request_that_is_too_large_or_too_slow_is_over(
    inspected: tuple[Any, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = inspected[1]
    with client.raw() as raw, contextlib.suppress(ConnectionError):
        raw.sendall(b"GET / HTTP/1.1\r\nx: " + b"a" * 100_000)
        assert raw.recv(1) == b""
    monkeypatch.setattr(handler, "HEAD_TIMEOUT", 0.2)
    with client.raw() as raw, contextlib.suppress(ConnectionError):
        raw.sendall(b"GET / HT")
        assert raw.recv(1) == b""


def test_connections_over_the_limit_are_closed_and_hurt_nobody(
    inspected: tuple[Any, Client], connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_CLIENTS", 3)
    server, client = inspected
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(client.raw())
        eventually(lambda: len(inspect_threads()) == 4, "three clients")
        with client.raw() as more, contextlib.suppress(ConnectionError):
            assert more.recv(1) == b""
        assert connect(server).get("/").status == 200
    eventually(lambda: len(inspect_threads()) == 1, "the clients to be gone")
    assert client.ask("")[0].status == 200


def inspect_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("h2wsgi-inspect")]


# ----------------------------------------------------------------------- start and end


def test_clients_that_ask_nothing_do_not_hold_up_the_end(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these would, for longer than a busy machine does."""
    monkeypatch.setattr(handler.Handler, "LAST_WORDS", 3 * PATIENCE)
    monkeypatch.setattr(handler, "HEAD_TIMEOUT", 3 * PATIENCE)
    server = serve(hello, inspect="127.0.0.1:0")
    client = Client(server.inspect_url)
    with client.raw(), client.raw() as half:
        half.sendall(b"GET / HTTP/1.1\r\n")
        eventually(lambda: len(inspect_threads()) == 3, "two clients")
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < PATIENCE


def test_the_server_ends_promptly_whatever_its_inspectors_clients_do(serve: Any) -> None:
    server = serve(hello, inspect="127.0.0.1:0")
    client = Client(server.inspect_url)
    with client.raw(), client.raw() as half, Events(client) as events:
        half.sendall(b"GET / HTTP/1.1\r\n")
        events.next()
        eventually(lambda: len(inspect_threads()) == 4, "three clients")
        server.stop()
        assert inspect_threads() == []
    with pytest.raises(ConnectionRefusedError):
        client.raw()


def test_true_means_a_loopback_address_of_its_own_choice() -> None:
    with (
        h2wsgi.serve_in_thread(hello, inspect=True) as one,
        h2wsgi.serve_in_thread(hello, inspect=True) as two,
    ):
        assert one.inspect_url != two.inspect_url
        for server in (one, two):
            assert server.inspect_url.startswith("http://127.0.0.1:")
            assert Client(server.inspect_url).ask("")[0].status == 200


def test_the_default_port_is_taken_where_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    port = 20_000 + os.getpid() % 10_000  # none that the system gives to somebody meanwhile
    with socket.create_server(("127.0.0.1", port)):
        monkeypatch.setattr("h2wsgi.tools.inspector.address.DEFAULT_PORT", port)
        with open_socket("auto") as other:
            assert other.getsockname()[1] != port
    with open_socket("auto") as free:
        assert free.getsockname()[1] == port


@pytest.mark.parametrize("text", ["0", "127.0.0.1:0", "localhost:0", "127.0.0.3:0"])
def test_loopback_addresses_are_taken(text: str) -> None:
    with open_socket(text if text != "0" else "127.0.0.1:0") as listening:
        assert listening.getsockname()[0].startswith("127.")


def test_the_loopback_of_ipv6_is_answered_by_its_name(serve: Any) -> None:
    server = serve(hello, inspect="[::1]:0")
    assert server.inspect_url.startswith("http://[::1]:")
    assert Client(server.inspect_url).ask("")[0].status == 200


@pytest.mark.parametrize(
    "text", ["0.0.0.0:8444", "[::]:8444", "192.0.2.1:80", "example.com:80", ":80", "*:80"]
)
def test_an_address_that_others_could_reach_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="not on the loopback") as caught:
        open_socket(text)
    assert "ssh -L" in caught.value.hint


@pytest.mark.parametrize("text", ["port", "127.0.0.1", "127.0.0.1:99999", "unix:/tmp/x", "a b:1"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--inspect") as caught:
        open_socket(text)
    assert "--inspect=8444" in caught.value.hint


def test_an_address_in_use_is_an_error_that_leaves_nothing_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(ConfigurationError, match="in use"),
            h2wsgi.serve_in_thread(hello, inspect=address),
        ):
            pass
    assert inspect_threads() == []


def test_a_server_without_one_says_how_to_turn_it_on(serve: Any) -> None:
    with pytest.raises(ConfigurationError, match="inspect is off") as caught:
        _ = serve(hello).inspect_url
    assert "inspect=True" in caught.value.hint


@pytest.mark.parametrize(
    ("raw", "value"), [(True, "auto"), (False, ""), ("on", "auto"), ("9000", "9000"), ("", "")]
)
def test_the_option_may_stand_alone(raw: Any, value: str) -> None:
    assert Config.build(inspect=raw).inspect == value


def test_check_tells_a_wrong_address(tmp_path: Path, capsys: Any) -> None:
    assert main(["wsgiref.simple_server:demo_app", "--inspect=0.0.0.0:1", "--check"]) == 2
    assert "not on the loopback" in capsys.readouterr().err


SOURCE = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]
"""


@pytest.mark.parametrize("engine", ["fast", "h2"])
def test_the_command_tells_the_url_and_serves_the_page(tmp_path: Path, engine: str) -> None:
    arguments = ("--inspect=127.0.0.1:0", "--h2c", "--engine", engine)
    with ServerProcess(tmp_path, SOURCE, *arguments) as server:
        client = Client(server.ready()["inspector"])
        with server.connect(tls=False) as peer:
            assert peer.get("/").body == b"hello"
        assert client.json("stream?n=1")["path"] == "/"
        with Events(client) as events:
            events.next()
            server.process.terminate()
            assert server.exit_code(START_PATIENCE) == 0
    assert client.path.strip("/") in server.log.read_text()


def test_a_person_is_told_the_url(tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(SOURCE)
    where = ["--app-dir", str(tmp_path), "--bind-h2c", "127.0.0.1:0", "--inspect=127.0.0.1:0"]
    with subprocess.Popen(
        [sys.executable, "-m", "h2wsgi", "web:app", *where],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        line = next(line for line in lines if "Inspector:" in line)
        process.terminate()
        process.stderr.read()
    assert line.split()[1].startswith("http://127.0.0.1:")


# --------------------------------------------------------------------------------- exports


@pytest.fixture
def used(serve: Any, connect: Any) -> Client:
    """An inspector that has seen some requests: good, hostile, posted, failed, cancelled."""

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/wait":
            start_response("200 OK", [])
            return (bytes(1000) for _ in range(1000))
        environ["wsgi.input"].read()
        start_response(
            "302 Found",
            [("location", "/there"), ("set-cookie", "a=b; Path=/"), ("content-type", "text/html")],
        )
        return [b"moved"]

    server = serve(app, inspect="127.0.0.1:0")
    peer = connect(server, settings={4: 10})
    cookie = [("cookie", "one=1; two=2"), ("x-evil", "<script>alert(1)</script>")]
    peer.get("/form?a=1&b=%20", method="POST", body=b"abc", fields=cookie)
    peer.get(HOSTILE)
    stream_id = peer.request(path="/wait")
    peer.wait_data(stream_id, 10)
    peer.rst_stream(stream_id)
    client = Client(server.inspect_url)
    eventually(lambda: client.json("stream?n=3")["reset"] == "CANCEL", "the reset")
    return client


def test_the_json_export_has_everything_that_is_kept(used: Client) -> None:
    response, content = used.ask("export.json")
    assert response.headers["Content-Disposition"].startswith('attachment; filename="h2wsgi-')
    everything = json.loads(content)
    assert everything["totals"]["streams"] == 3
    assert [s["path"] for s in everything["streams"]] == ["/form?a=1&b=%20", HOSTILE, "/wait"]
    assert everything["streams"][0]["received"] == 3
    names = [f["name"] for f in everything["streams"][0]["frame_list"]]
    assert names == ["HEADERS", "DATA", "HEADERS", "DATA"]
    (connection,) = everything["connections"]
    assert ["INITIAL_WINDOW_SIZE", 10] in connection["settings"]["client"]
    assert connection["windows"]
    assert [t["kind"] for t in everything["troubles"]] == ["reset"]


REQUIRED = {
    "entry": {"startedDateTime", "time", "request", "response", "cache", "timings"},
    "request": {
        "method", "url", "httpVersion", "cookies", "headers", "queryString", "headersSize",
        "bodySize",
    },
    "response": {
        "status", "statusText", "httpVersion", "cookies", "headers", "content", "redirectURL",
        "headersSize", "bodySize",
    },
}  # fmt: skip
"""What HAR 1.2 demands of each object."""


def test_the_har_export_is_valid_har_1_2(used: Client) -> None:
    response, content = used.ask("export.har")
    assert response.headers["Content-Disposition"].endswith('.har"')
    log = json.loads(content)["log"]
    assert log["version"] == "1.2"
    assert log["creator"] == {"name": "h2wsgi", "version": h2wsgi.__version__}
    assert len(log["entries"]) == 3
    for made in log["entries"]:
        assert made.keys() >= REQUIRED["entry"]
        assert made["request"].keys() >= REQUIRED["request"]
        assert made["response"].keys() >= REQUIRED["response"]
        assert made["response"]["content"].keys() >= {"size", "mimeType"}
        assert datetime.fromisoformat(made["startedDateTime"]).tzinfo is not None
        timings = made["timings"]
        assert timings.keys() >= {"send", "wait", "receive"}
        assert all(timings[name] >= 0 for name in ("send", "wait", "receive"))
        assert made["time"] == pytest.approx(sum(ms for ms in timings.values() if ms >= 0))
        # What is not in the specification begins with an underscore.
        assert all(n.startswith("_") for n in made.keys() - REQUIRED["entry"] - {"connection"})
        for side in ("request", "response"):
            for pair in (*made[side]["headers"], *made[side]["cookies"]):
                assert pair.keys() == {"name", "value"}


def test_the_har_tells_what_was_asked_and_answered(used: Client) -> None:
    form, hostile, waiting = json.loads(used.ask("export.har")[1])["log"]["entries"]
    assert form["request"]["method"] == "POST"
    assert form["request"]["url"] == "https://localhost/form?a=1&b=%20"
    assert form["request"]["queryString"] == [
        {"name": "a", "value": "1"},
        {"name": "b", "value": " "},
    ]
    assert form["request"]["cookies"] == [
        {"name": "one", "value": "1"},
        {"name": "two", "value": "2"},
    ]
    assert form["request"]["bodySize"] == 3
    assert (form["response"]["status"], form["response"]["statusText"]) == (302, "Found")
    assert form["response"]["redirectURL"] == "/there"
    assert form["response"]["cookies"] == [{"name": "a", "value": "b"}]
    assert form["response"]["content"] == {"size": 5, "mimeType": "text/html"}
    assert hostile["request"]["url"] == f"https://localhost{HOSTILE}"
    assert waiting["_reset"] == {"code": "CANCEL", "by": "client"}
    assert waiting["_blockedOnWindow"] > 0


def test_the_har_encodes_what_a_client_left_as_it_was(
    inspected: tuple[Any, Client], connect: Any
) -> None:
    server, client = inspected
    connect(server).get("/\xe9?q=\xe9".encode())
    request = json.loads(client.ask("export.har")[1])["log"]["entries"][-1]["request"]
    assert request["url"] == "https://localhost/%C3%A9?q=%C3%A9"
    assert request["queryString"] == [{"name": "q", "value": "\xe9"}]


def test_a_stream_that_has_lost_its_frames_is_still_an_entry(wire: Tapped) -> None:
    wire.received(frame(HEADERS, WHOLE, 1, GET))
    (stream,) = streams_of(wire.ledger)
    stream.forget_frames()
    made = har.entry(stream, [], 0.0)
    assert made["request"]["method"] == "GET"
    assert made["response"]["status"] == 0
    assert made["request"]["headersSize"] == -1
    assert Shapes(wire.ledger).stream_details(stream, [])["frame_list"] == []


def test_an_export_that_nobody_reads_ends_with_the_server(serve: Any, connect: Any) -> None:
    server = serve(hello, inspect="127.0.0.1:0")
    peer = connect(server)
    for _ in range(50):
        peer.get("/", fields=[("x-large", "x" * 15_000)])
    client = Client(server.inspect_url)
    with client.raw() as raw:
        raw.sendall(
            f"GET {client.path}export.json HTTP/1.1\r\n"
            f"Host: localhost:{client.port}\r\n\r\n".encode()
        )
        assert raw.recv(15) == b"HTTP/1.0 200 OK"
        peer.close()
        server.stop()
        assert inspect_threads() == []


def test_what_is_not_kept_is_said_to_be_so(inspected: tuple[Any, Client]) -> None:
    for path in ("stream?n=1", "stream", "stream?n=-1", "stream?n=x", "connection?n=9" + "9" * 99):
        response, content = inspected[1].ask(path)
        assert (response.status, b"not kept" in content) == (404, True)
