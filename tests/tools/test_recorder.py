"""server.connections and server.requests: what real clients did, for a test to assert on."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import h2wsgi
from conversations.frames import END_HEADERS, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, frame
from conversations.frames import setting as entry
from h2wsgi.codes import PUSH_PROMISE
from h2wsgi.tools.recording import recorder as limits
from h2wsgi.tools.recording.recorder import Recorder
from h2wsgi.tools.tap.field_blocks import Representation
from h2wsgi.tools.tap.frames import ConnectionInfo, Direction
from support import clients
from support.peer import Code, Peer, Setting
from support.settled import PATIENCE, eventually
from support.tap import FACTS, Wire


def echo(environ, start_response):
    content = environ["wsgi.input"].read()
    start_response("200 OK", [("content-type", "text/plain"), ("x-echo", "yes")])
    return [b"you sent ", content]


class Together:
    """An application whose requests wait for each other."""

    def __init__(self, number: int) -> None:
        self._barrier = threading.Barrier(number)

    def __call__(self, environ, start_response):
        self._barrier.wait(10)
        start_response("204 No Content", [])
        return []


def client(server: Any, **options: Any) -> httpx.Client:
    return httpx.Client(http2=True, verify=server.ssl_context(), trust_env=False, **options)


# ---------------------------------------------------------------------------- real clients


def test_a_request_of_httpx_is_complete_as_soon_as_it_is_answered(serve: Any) -> None:
    server = serve(echo, record=True)
    with client(server) as http:
        for number in range(20):
            answer = http.post(
                server.join(f"/form?n={number}"), content=b"a=1", headers={"x-token": "t"}
            )
            request = server.requests[number]
            assert request.complete
            assert (request.method, request.path) == ("POST", f"/form?n={number}")
            assert (request.scheme, request.authority) == ("https", answer.url.netloc.decode())
            assert (request.body, request.body_size) == (b"a=1", 3)
            assert request.header("X-Token") == "t"
            assert (request.status, request.response_size) == (200, len(answer.content))
            assert request.response_header("x-echo") == "yes"
            assert request.seconds is not None
            assert request.reset is None


def test_reuse_of_a_connection_is_counted(serve: Any) -> None:
    server = serve(echo, record=True)
    for _ in range(2):
        with client(server) as http:
            for _ in range(3):
                http.get(server.url)
    assert [c.id for c in server.connections] == [1, 2]
    assert [(c.requests_seen, c.requests_served, c.reused) for c in server.connections] == [
        (3, 3, 2)
    ] * 2
    assert [r.connection for r in server.requests] == [1, 1, 1, 2, 2, 2]
    assert [r.stream_id for r in server.connections[0].requests] == [1, 3, 5]


def test_a_connection_tells_of_tls_and_the_clients_settings(serve: Any) -> None:
    server = serve(echo, record=True)
    with client(server) as http:
        http.get(server.url)
    (connection,) = server.connections
    assert (connection.alpn, connection.tls_version, connection.scheme) == (
        "h2",
        "TLSv1.3",
        "https",
    )
    assert connection.cipher is not None
    assert connection.cipher.startswith("TLS_")
    assert connection.settings["INITIAL_WINDOW_SIZE"] == connection.settings_by_id[4]
    assert connection.settings["ENABLE_PUSH"] == 0
    assert connection.received()[0].name == "SETTINGS"
    assert connection.problems == []


def test_multiplexing_shows_as_the_highest_concurrency(serve: Any) -> None:
    server = serve(Together(10), record=True)

    async def get_all() -> None:
        options: dict[str, Any] = {"verify": server.ssl_context(), "trust_env": False}
        async with httpx.AsyncClient(http2=True, **options) as http:
            await asyncio.gather(*(http.get(server.join(f"/{n}")) for n in range(10)))

    asyncio.run(get_all())
    (connection,) = server.connections
    assert connection.highest_concurrency == 10
    assert len(connection.requests) == 10


def test_requests_one_after_the_other_show_no_concurrency(serve: Any) -> None:
    server = serve(echo, record=True)
    with client(server) as http:
        for _ in range(5):
            http.get(server.url)
    assert server.connections[0].highest_concurrency == 1


def test_the_encoding_of_each_field_shows_what_the_clients_encoder_does(serve: Any) -> None:
    server = serve(echo, record=True)
    with client(server) as http:
        for _ in range(2):
            http.get(server.url, headers={"authorization": "secret", "x-new": "value"})
    first, second = server.requests
    method, token = first.field(":method"), first.field("authorization")
    assert method is not None
    assert (method.representation, method.table) == (Representation.INDEXED, "static")
    assert token is not None
    assert token.representation is Representation.NEVER
    new, again = first.field("x-new"), second.field("x-new")
    assert new is not None
    assert (new.representation, new.table) == (Representation.INCREMENTAL, "")
    assert new.value_huffman is True
    assert again is not None
    assert (again.representation, again.table, len(again.encoded)) == ("indexed", "dynamic", 1)


def test_windows_show_how_a_client_gives_credit(serve: Any) -> None:
    def app(environ, start_response):
        start_response("200 OK", [])
        return [bytes(300_000)]

    server = serve(app, record=True)
    with client(server) as http:
        assert len(http.get(server.url).content) == 300_000
    (connection,) = server.connections
    sent = sum(f.length for f in connection.sent("DATA"))
    credit = sum(f.increment or 0 for f in connection.received("WINDOW_UPDATE") if not f.stream_id)
    assert sent == 300_000
    assert all(f.windows.server_connection >= 0 for f in connection.frames)
    assert connection.frames[-1].windows.server_connection == 65_535 + credit - sent


@pytest.mark.client
def test_a_request_of_curl(serve: Any) -> None:
    server = serve(echo, record=True)
    ca = ["--cacert", server.ca_file, "--no-progress-meter"]
    clients.run(
        [clients.find("curl"), "--http2", *ca, "--data-binary", "@-", server.join("/up")],
        content=b"c" * 50_000,
    )
    (request,) = server.requests
    assert (request.method, request.path, request.body_size) == ("POST", "/up", 50_000)
    agent = request.field("user-agent")
    assert agent is not None
    assert agent.value.startswith("curl/")
    assert agent.representation is Representation.INCREMENTAL
    server.wait_for(lambda: server.connections[0].closed)
    assert server.connections[0].close_reason == "the client hung up"


@pytest.mark.client
def test_requests_of_nghttp_run_at_once_and_it_says_goaway(serve: Any) -> None:
    server = serve(Together(4), record=True)
    nghttp = clients.find("nghttp", package="nghttp2-client")
    clients.run([nghttp, "-n", *(server.join(f"/{n}") for n in range(4))])
    goaway = server.wait_for(lambda: server.connections[0].goaways)[0]
    assert (goaway.direction, goaway.name, goaway.last_stream_id) == ("received", "NO_ERROR", 0)
    assert server.connections[0].highest_concurrency >= 4
    assert {r.path for r in server.requests} == {"/0", "/1", "/2", "/3"}


# ------------------------------------------------------------------------------- raw peers


def test_a_reset_of_the_client_is_recorded_with_its_code(serve: Any, connect: Any) -> None:
    release = threading.Event()

    def app(environ, start_response):
        release.wait(10)
        return echo(environ, start_response)

    server = serve(app, record=True)
    peer = connect(server)
    stream_id = peer.request(method="GET", path="/slow")
    peer.rst_stream(stream_id, Code.CANCEL)
    (reset,) = server.wait_for(lambda: server.connections[0].resets)
    release.set()
    assert (reset.stream_id, reset.direction, reset.name) == (1, Direction.RECEIVED, "CANCEL")
    (request,) = server.requests
    assert request.reset == reset
    assert not request.complete
    assert request.status is None


def test_a_refused_stream_is_recorded_with_our_reset(serve: Any, connect: Any) -> None:
    server = serve(echo, record=True)
    peer = connect(server)
    peer.request("POST", fields=[("content-length", "5")], body=b"four")
    assert peer.wait_reset(1) == Code.PROTOCOL_ERROR
    (request,) = server.requests
    assert request.reset is not None
    assert (request.reset.direction, request.reset.name) == ("sent", "PROTOCOL_ERROR")
    assert server.connections[0].requests_served == 0


def test_a_malformed_request_is_recorded_with_its_answer_and_our_reset(
    serve: Any, connect: Any
) -> None:
    server = serve(echo, record=True)
    peer = connect(server)
    peer.headers(1, [(":method", "GET"), (":scheme", "https"), (":path", "no-slash")], True)
    assert peer.wait_reset(1) == Code.PROTOCOL_ERROR
    (request,) = server.requests
    assert (request.status, request.path) == (400, "no-slash")
    assert request.reset is not None
    assert (request.reset.direction, request.reset.name) == ("sent", "PROTOCOL_ERROR")


def test_trailers_and_informational_responses_are_recorded(serve: Any, connect: Any) -> None:
    server = serve(echo, record=True)
    peer = connect(server)
    head = [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/")]
    peer.headers(1, [*head, ("expect", "100-continue")])
    eventually(lambda: peer.read_available(0.01) is not None and 1 in peer.responses, "the 100")
    peer.data(1, b"content")
    peer.headers(1, [("x-checksum", "7")], end_stream=True)
    assert peer.response(1).status == 200
    (request,) = server.requests
    assert request.informational == (100,)
    assert [(f.name, f.value) for f in request.trailers] == [("x-checksum", "7")]


def test_what_a_peer_saw_is_what_is_recorded(serve: Any, connect: Any) -> None:
    server = serve(echo, record=True)
    peer = connect(server, settings={Setting.INITIAL_WINDOW_SIZE: 100_000}, window=1_000)
    for _ in range(3):
        peer.get("/")
    peer.roundtrip()
    (connection,) = server.connections
    recorded = [(f.type, f.flags, f.stream_id, f.length) for f in connection.sent()]
    assert recorded == [(f.type, f.flags, f.stream_id, len(f.payload)) for f in peer.log]
    assert connection.settings_by_id == {4: 100_000}
    assert connection.frames[-1].windows.client_connection == peer.send_window(0)
    assert connection.frames[-1].windows.server_connection == peer.receive_window(0)


def test_a_client_of_http1_is_a_connection_without_requests(serve: Any, connect: Any) -> None:
    server = serve(echo, record=True)
    with connect(server, alpn=("http/1.1",), settings=None, preface=False) as peer:
        peer.send_raw(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        server.wait_for(lambda: server.connections[0].closed)
    (connection,) = server.connections
    assert connection.alpn is None
    assert [f.name for f in connection.received()] == ["NOT HTTP/2"]
    assert [f.name for f in connection.sent()] == ["NOT HTTP/2"]
    assert server.requests == []


def test_goaways_of_a_stopping_server_are_recorded(serve: Any, connect: Any) -> None:
    server = serve(echo, record=True)
    connect(server).get("/")
    server.stop()
    (connection,) = server.connections
    assert connection.closed
    assert [(g.direction, g.last_stream_id) for g in connection.goaways] == [
        ("sent", 2**31 - 1),
        ("sent", 1),
    ]


# ---------------------------------------------------------------------- reading, any thread


def test_records_are_snapshots_that_never_change(serve: Any, connect: Any) -> None:
    server = serve(echo, record=True)
    peer = connect(server)
    peer.get("/")
    before, requests = server.connections[0], server.requests
    frames = len(before.frames)
    peer.get("/")
    assert (len(before.frames), before.requests_seen, len(requests)) == (frames, 1, 1)
    assert server.connections[0].requests_seen == 2


def test_records_can_be_read_while_the_loop_runs(serve: Any) -> None:
    server = serve(echo, record=True)
    stop = threading.Event()

    def read() -> int:
        most = 0
        while not stop.is_set():
            requests = server.requests
            assert len(requests) >= most
            most = len(requests)
            for connection in server.connections:
                assert len(connection.requests) == connection.requests_seen
        return most

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            with client(server) as http:
                for _ in range(50):
                    http.post(server.url, content=b"x" * 1_000)
        finally:
            stop.set()
        assert all(reader.result() <= 50 for reader in readers)
    assert len(server.requests) == 50


def test_wait_for_raises_when_what_it_waits_for_does_not_come(serve: Any) -> None:
    server = serve(echo, record=True)
    for condition in (lambda: server.requests, lambda: server.requests[7]):
        with pytest.raises(TimeoutError, match=r"was not true within 0.01 s"):
            server.wait_for(condition, timeout=0.01)


@pytest.mark.parametrize("name", ["connections", "requests"])
def test_without_the_option_the_error_says_how_to_turn_it_on(serve: Any, name: str) -> None:
    server = serve(echo)
    for owner in (server, server.server):
        with pytest.raises(h2wsgi.ConfigurationError, match=r"serve_in_thread\(app, record=True\)"):
            getattr(owner, name)
    with pytest.raises(h2wsgi.ConfigurationError, match="record is off"):
        server.wait_for(lambda: True)


def test_a_server_in_somebodys_loop_records_too(cache_folder: Path) -> None:
    async def main() -> list[str]:
        config = h2wsgi.Config(bind=("localhost:0",), record=True)
        async with h2wsgi.Server(echo, config) as server:
            port = int(server.url.rstrip("/").rpartition(":")[2])
            await asyncio.to_thread(ask, port, server.ca_file)
            return [request.path for request in server.requests]

    def ask(port: int, ca_file: str | None) -> None:
        with Peer.connect(("127.0.0.1", port), ca_file=ca_file) as peer:
            peer.get("/path")

    assert asyncio.run(main()) == ["/path"]


# ------------------------------------------------------------------------------- the bounds


def recording() -> tuple[Recorder, Wire]:
    """Return a recorder and a connection that it hears of."""
    recorder, wire = Recorder(), Wire(preface=b"")
    wire.taps.add(recorder)
    recorder.opened(wire.heard.connections[0])
    wire.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    return recorder, wire


def test_frames_of_a_connection_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FRAMES", 10)
    recorder, wire = recording()
    wire.received(*[frame(PING, 0, 0, bytes(8))] * 25)
    (connection,) = recorder.connections
    assert [f.number for f in connection.frames] == list(range(16, 26))
    assert connection.frames.dropped == 15


def test_frames_of_all_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FRAMES_IN_ALL", 10)
    recorder, first = recording()
    first.received(*[frame(PING, 0, 0, bytes(8))] * 8)
    second = first.taps.observe()
    second.opened(dataclasses.replace(FACTS, number=2), "h2")
    second.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(PING, 0, 0, bytes(8)) * 5)
    older, newer = recorder.connections
    assert (len(older.frames), older.frames.dropped) == (5, 3)
    assert (len(newer.frames), newer.frames.dropped) == (5, 0)


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CONNECTIONS", 2)
    recorder, wire = recording()
    wire.received(frame(HEADERS, END_HEADERS, 1, b"\x82\x87\x84"))
    for number in (2, 3, 4):
        recorder.opened(info(number))
    assert [c.id for c in recorder.connections] == [3, 4]
    assert recorder.connections.dropped == 2
    assert (recorder.requests, recorder.requests.dropped) == ([], 1)
    wire.received(frame(PING, 0, 0, bytes(8)))  # of a connection that is forgotten
    wire.tap.closed("")


def info(number: int) -> ConnectionInfo:
    return ConnectionInfo(
        id=number,
        peer="",
        scheme="https",
        alpn="h2",
        tls_version=None,
        cipher=None,
        opened_at=0.0,
        at=0.0,
    )


def test_requests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_REQUESTS", 3)
    recorder, wire = recording()
    wire.received(*[frame(HEADERS, END_HEADERS, n, b"\x82\x87\x84") for n in range(1, 11, 2)])
    wire.received(frame(0, 1, 1, b"of a request that is forgotten"))
    assert [r.stream_id for r in recorder.requests] == [5, 7, 9]
    assert recorder.requests.dropped == 2
    (connection,) = recorder.connections
    assert (len(connection.requests), connection.requests.dropped) == (3, 2)
    assert connection.requests_seen == 5


def test_content_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BODY", 10)
    monkeypatch.setattr(limits, "MAX_BODIES", 25)
    monkeypatch.setattr(limits, "_octets", lambda frame: 0)  # of its fields
    recorder, wire = recording()
    for n in (1, 3):
        wire.received(frame(HEADERS, END_HEADERS, n, b"\x83\x87\x84"))
        wire.received(frame(0, 0, n, b"12345678"), frame(0, 1, n, b"9abc"))
    assert [(r.body, r.body_size) for r in recorder.requests] == [(b"123456789a", 12)] * 2
    wire.received(frame(HEADERS, END_HEADERS, 5, b"\x83\x87\x84"), frame(0, 0, 5, b"12345678"))
    assert [r.stream_id for r in recorder.requests] == [3, 5]


def test_fields_are_bounded_however_few_octets_stand_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_FIELDS", 50_000)
    monkeypatch.setattr(limits, "MAX_BODIES", 20_000)
    recorder, wire = recording()
    # A field of 100 octets enters the table; the others are an octet each.
    block = b"\x82\x87\x84\x40\x01x\x64" + b"v" * 100 + b"\xbe" * 20
    wire.received(*[frame(HEADERS, END_HEADERS | 1, n, block) for n in range(1, 21, 2)])
    (connection,) = recorder.connections
    assert [f.stream_id for f in connection.frames] == [11, 13, 15, 17, 19]
    assert connection.frames.dropped == 5
    assert [r.stream_id for r in recorder.requests] == [17, 19]
    assert recorder.requests.dropped == 8


def test_debug_data_of_goaway_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FIELDS", 10_000)
    recorder, wire = recording()
    wire.received(*[frame(GOAWAY, 0, 0, bytes(8) + bytes(4_000))] * 5)
    (connection,) = recorder.connections
    assert (len(connection.frames), connection.frames.dropped) == (2, 3)


def test_a_request_is_recorded_once_for_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_REQUESTS", 2)
    recorder, wire = recording()
    wire.received(frame(HEADERS, END_HEADERS, 1, b"\x82\x87\x84"))
    wire.received(*[frame(PUSH_PROMISE, END_HEADERS, 1, b"")] * 3)
    for n in (3, 5, 7):
        wire.received(frame(HEADERS, END_HEADERS, n, b"\x82\x87\x84"))
    assert [r.stream_id for r in recorder.requests] == [5, 7]
    assert recorder.requests.dropped == 2


def test_settings_resets_and_goaways_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SETTINGS", 2)
    recorder, wire = recording()
    many = limits.MAX_EVENTS + 5
    wire.received(frame(SETTINGS, 0, 0, b"".join(entry(n, n) for n in range(1, 9))))
    wire.received(frame(SETTINGS, 0, 0, entry(2, 0)))
    wire.received(*[frame(RST_STREAM, 0, 1, bytes(4))] * many)
    wire.received(*[frame(GOAWAY, 0, 0, bytes(8))] * many)
    (connection,) = recorder.connections
    assert connection.settings == {"HEADER_TABLE_SIZE": 1, "ENABLE_PUSH": 0}
    assert (len(connection.resets), connection.resets.dropped) == (limits.MAX_EVENTS, 5)
    assert (len(connection.goaways), connection.goaways.dropped) == (limits.MAX_EVENTS, 5)


# ----------------------------------------------------------------------------------- clear()


def test_clear_forgets_what_was_and_keeps_what_comes(serve: Any, connect: Any) -> None:
    server = serve(echo, record=True)
    for _ in range(2):
        with client(server) as http:
            http.get(server.join("/before"))
    server.wait_for(lambda: all(connection.closed for connection in server.connections))
    server.clear()
    assert (server.connections, server.requests) == ([], [])
    with client(server) as http:
        http.post(server.join("/after"), content=b"12345")
    (request,) = server.requests
    (connection,) = server.connections
    assert (request.path, request.body, request.connection) == ("/after", b"12345", 3)
    assert (connection.id, connection.requests_seen, connection.requests_served) == (3, 1, 1)
    assert server.connections.dropped == server.requests.dropped == 0


def test_a_connection_that_is_open_when_all_is_cleared_counts_from_its_next_request_on(
    serve: Any, connect: Any
) -> None:
    server = serve(echo, record=True)
    with connect(server, settings={Setting.MAX_FRAME_SIZE: 20_000}) as peer, connect(server) as old:
        old.get("/before")
        for _ in range(3):
            peer.get("/before")
        server.clear()
        assert server.connections == []
        peer.ping(b"12345678")
        peer.roundtrip()
        assert server.connections == []
        peer.get("/after")
        (connection,) = server.connections
        assert [request.path for request in connection.requests] == ["/after"]
        assert (connection.requests_seen, connection.reused) == (1, 0)
        assert connection.settings["MAX_FRAME_SIZE"] == 20_000
        assert not [f for f in connection.frames if f.stream_id in (1, 3, 5)]
    with connect(server) as peer:
        peer.get("/next")
    assert [c.requests[0].path for c in server.connections] == ["/after", "/next"]


def test_a_request_that_runs_when_all_is_cleared_is_nobodys(serve: Any, connect: Any) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/before":
            inside.set()
            assert go_on.wait(PATIENCE)
        start_response("200 OK", [])
        return [b"well"]

    server = serve(app, record=True)
    with connect(server) as peer:
        before = peer.request(path="/before")
        assert inside.wait(PATIENCE)
        server.clear()
        go_on.set()
        assert peer.response(before).body == b"well"
        assert (server.connections, server.requests) == ([], [])
        peer.get("/after")
        (connection,) = server.connections
        assert (connection.requests_seen, connection.requests_served) == (1, 1)


def test_a_connection_that_had_no_request_since_is_forgotten_when_it_closes() -> None:
    recorder = Recorder()
    info = ConnectionInfo(
        id=1, peer="", scheme="http", alpn=None, tls_version=None, cipher=None, opened_at=0, at=0
    )
    recorder.opened(info)
    recorder.clear()
    recorder.closed(info, "the client hung up", 1.0)
    assert recorder.connections == []
    assert recorder.connection(1) is None


def test_nothing_can_be_cleared_where_nothing_is_recorded(serve: Any) -> None:
    with pytest.raises(h2wsgi.ConfigurationError, match="the option record is off"):
        serve(echo).clear()
