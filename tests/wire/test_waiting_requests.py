"""Requests that wait for a thread hold their field sections: a ceiling of the process bounds them.

On both engines. `--max-buffered` is at its least here, a mebibyte, and each section 60 KiB of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi.http2.fields import LARGE_SECTION
from h2wsgi.server.running import ServerThread
from h2wsgi.wsgi.lanes import shared_threads
from support.peer import Code, Peer
from support.settled import PATIENCE, eventually, settle, wait_blocked

SMALLEST = 1_048_576
SECTION = 61_440
THREADS = 16
TAKEN = shared_threads(THREADS)
"""Threads that one connection keeps busy."""

LITERAL = 0x00
"""A literal field that enters no table, its name spelt out (RFC 7541 section 6.2.2)."""
PATH = 0x04
"""A literal ``:path`` that enters no table."""

engines = pytest.mark.parametrize("engine", ["fast", "h2"])


class App:
    """Requests for ``/held`` wait until the test lets them go."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.started: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.started.append(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/held":
            assert self.go_on.wait(2 * PATIENCE)
        content = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [b"%d" % (len(content) + len(environ.get("HTTP_X_LARGE", "")))]


@pytest.fixture
def app() -> Iterator[App]:
    app = App()
    yield app
    app.go_on.set()


def ask(peer: Peer, octets: int, method: str = "GET") -> int:
    """Send a request for ``/large`` with a field of so many octets, as they are; no Huffman code.

    POST is left without its end.
    """
    block = peer.encode(
        [(":method", method), (":scheme", "https"), (":authority", "a"), (":path", "/large")]
    )
    name, rest = b"x-large", octets - 0x7F
    length = bytearray([0x7F])  # section 5.1: seven bits are full, the rest follows in sevens
    while rest >= 0x80:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    length.append(rest)
    block += bytes([LITERAL, len(name)]) + name + bytes(length) + b"v" * octets
    stream_id = peer.next_stream_id
    peer.next_stream_id += 2
    peer.headers(stream_id, block, end_stream=method == "GET", split=16_384)
    return stream_id


def take_threads(peer: Peer, app: App) -> None:
    """Have as many small requests run as one connection may."""
    for _ in range(TAKEN):
        peer.request(path="/held")
    eventually(lambda: len(app.started) == TAKEN, "the threads to be taken")


def assert_forgotten(server: ServerThread) -> None:
    settle(server, connections=None)
    for protocol in server.server._protocols:
        assert not protocol.connection._sections


@engines
def test_waiting_requests_with_many_octets_of_fields_are_refused_at_the_ceiling(
    serve: Serve, connect: Connect, app: App, engine: str
) -> None:
    server = serve(app, engine=engine, max_buffered=SMALLEST, threads=THREADS)
    attackers = [connect(server) for _ in range(3)]
    take_threads(attackers[0], app)
    waiting: list[tuple[Peer, int]] = []
    for peer in attackers:
        peer.wait_settings()
        waiting += [(peer, ask(peer, SECTION)) for _ in range(20)]
        peer.roundtrip()
        assert server.server.input_budget.used < SMALLEST
    for peer in attackers:
        peer.roundtrip()

    def refused(peer: Peer, stream_id: int) -> bool:
        response = peer.responses.get(stream_id)
        return response is not None and response.reset == Code.REFUSED_STREAM

    kept = [(p, s) for p, s in waiting if not refused(p, s)]
    # The second and the third connection had a thread each, which answered one after the other.
    assert len(kept) < len(waiting)
    assert connect(server).get("/fresh").body == b"0"
    app.go_on.set()
    for peer, stream_id in kept:
        assert peer.response(stream_id).body == b"%d" % SECTION
    assert_forgotten(server)
    assert app.started.count("/large") == len(kept), "a refused request was started"


@engines
def test_requests_with_few_octets_of_fields_are_not_counted(
    serve: Serve, connect: Connect, app: App, engine: str
) -> None:
    server = serve(app, engine=engine, max_buffered=SMALLEST, threads=THREADS)
    peer = connect(server)
    take_threads(peer, app)
    streams = [ask(peer, LARGE_SECTION // 2) for _ in range(50)]
    peer.roundtrip()
    assert server.server.input_budget.used == 0
    app.go_on.set()
    assert [peer.response(stream_id).status for stream_id in streams] == [200] * 50
    assert_forgotten(server)


@engines
@pytest.mark.parametrize("way", ["reset", "lost", "answered"])
def test_a_large_field_section_counts_as_long_as_its_stream_is_there(
    serve: Serve, connect: Connect, app: App, engine: str, way: str
) -> None:
    """Fields that came before too, by the same octets: the application gets a copy each time."""
    server = serve(app, engine=engine, max_buffered=SMALLEST, threads=THREADS)
    peer = connect(server)
    take_threads(peer, app)
    cookies = [("cookie", "!" * 100)] * 50
    streams = [peer.request(path="/large", fields=cookies)]
    known = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost")]
    whole = peer.encode([*known, (":path", "/large"), *cookies])
    assert len(whole) == 54, "each field is in the table by now, and the table stays as it is"
    before, behind = peer.encode(known), peer.encode(cookies)
    another_path = [before + bytes([PATH, 8]) + b"/large?%d" % n + behind for n in range(3)]
    for block in (whole, whole, *another_path):
        streams.append(peer.next_stream_id)
        peer.next_stream_id += 2
        peer.headers(streams[-1], block, end_stream=True)
    peer.roundtrip()
    counted = server.server.input_budget.used
    assert counted >= 6 * 50 * (len("cookie") + 100 + 32)
    if way == "reset":
        for stream_id in streams:
            peer.rst_stream(stream_id)
        peer.roundtrip()
        assert server.server.input_budget.used == 0
    elif way == "lost":
        peer.close()
        eventually(lambda: server.server.input_budget.used == 0, "the fields to be forgotten")
    app.go_on.set()
    if way == "answered":
        assert [peer.response(stream_id).status for stream_id in streams] == [200] * 6
    assert_forgotten(server)


@engines
def test_fields_and_content_are_counted_apart(
    serve: Serve, connect: Connect, app: App, engine: str
) -> None:
    """What the application takes of the content is not taken off the fields, nor the reverse."""
    server = serve(app, engine=engine, max_buffered=SMALLEST, threads=THREADS)
    peer = connect(server)
    take_threads(peer, app)
    stream_id = ask(peer, SECTION, "POST")
    peer.roundtrip()
    fields = server.server.input_budget.used
    assert fields > SECTION
    peer.data(stream_id, bytes(10_000))
    peer.roundtrip()
    assert server.server.input_budget.used == fields + 10_000
    app.go_on.set()
    wait_blocked(server)
    assert fields <= server.server.input_budget.used <= fields + 10_000
    peer.upload(stream_id, bytes(300_000))
    assert peer.response(stream_id).body == b"%d" % (SECTION + 310_000)
    assert_forgotten(server)


@engines
def test_fields_of_running_requests_never_keep_their_own_content_out(
    serve: Serve, connect: Connect, app: App, engine: str
) -> None:
    """Thirty sections are over the ceiling, and nothing of them can be refused any more."""
    app.go_on.set()
    server = serve(app, engine=engine, max_buffered=SMALLEST, threads=64)
    peer = connect(server)
    peer.wait_settings()
    streams = []
    for count in range(1, 31):
        streams.append(ask(peer, SECTION, "POST"))
        wait_blocked(server, count)
    for stream_id in streams:
        peer.upload(stream_id, bytes(100_000), end_stream=False)
    for stream_id in streams:
        peer.data(stream_id, b"", end_stream=True)
    expected = b"%d" % (SECTION + 100_000)
    assert [peer.response(stream_id).body for stream_id in streams] == [expected] * 30
    assert_forgotten(server)
