"""Whatever others hold, a fresh client is answered; and where no thread is left, who has to go.

Applications wait here, on an event of the test's or on their clients, and never compute: what is
tested is who gets a thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from attacks.wire import frame
from conftest import Connect, Serve
from h2wsgi.server import server as server_module
from h2wsgi.server.running import ServerThread
from h2wsgi.wsgi import lanes
from h2wsgi.wsgi.lanes import shared_threads
from support.peer import Code, Peer, Setting, Type
from support.settled import PATIENCE, eventually, settle, wait_blocked

NO_WINDOW = {Setting.INITIAL_WINDOW_SIZE: 0}
HUGE_WINDOW = 2**31 - 1
MANY = 64
"""Requests that one greedy client has running at once."""
SHIPPED: dict[str, int] = {}
"""The options as they come."""
SMALL = {"threads": 16, "max_threads": 32}


class Crowd:
    """Answers by path; remembers who came, and how many were inside at once."""

    def __init__(self) -> None:
        self.end_of_delay = threading.Event()
        """Stands for the sixty seconds of ``/delay/60``."""
        self.lock = threading.Lock()
        self.came: list[str] = []
        self.inside = 0
        self.most = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        kind = environ["PATH_INFO"].split("/")[1]
        if kind == "hello":
            start_response("200 OK", [])
            return [b"hello"]
        with self.lock:
            self.came.append(environ["PATH_INFO"])
            self.inside += 1
            self.most = max(self.most, self.inside)
        try:
            getattr(self, kind)(environ, start_response)
        finally:
            with self.lock:
                self.inside -= 1
        return []

    def delay(self, _environ: dict[str, Any], start_response: Callable[..., Any]) -> None:
        assert self.end_of_delay.wait(2 * PATIENCE)
        start_response("200 OK", [])

    def upload(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> None:
        environ["wsgi.input"].read()
        start_response("200 OK", [])

    def lines(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> None:
        for _ in environ["wsgi.input"]:
            pass
        start_response("200 OK", [])

    def download(self, _environ: dict[str, Any], start_response: Callable[..., Any]) -> None:
        write = start_response("200 OK", [])
        while True:
            write(bytes(16_384))

    def stubborn(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> None:
        """Read, and when the client is lost go on for as long as ``/delay/60`` all the same."""
        try:
            environ["wsgi.input"].read()
        finally:
            self.delay(environ, start_response)


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    crowd.end_of_delay.set()


def is_answered(connect: Connect, server: ServerThread) -> bool:
    """Ask as a client that has never been here."""
    with connect(server) as fresh:
        return fresh.get("/hello").body == b"hello"


# ------------------------------------------------------------- applications that take long


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("options", [SHIPPED, SMALL], ids=["shipped", "small"])
def test_a_fresh_client_is_answered_beside_64_delays_of_a_minute_each(
    serve: Serve, connect: Connect, crowd: Crowd, options: dict[str, int], connections: int
) -> None:
    server = serve(crowd, **options)
    greedy = [connect(server) for _ in range(connections)]
    streams = [(peer, peer.request(path="/delay/60")) for peer in greedy for _ in range(MANY)]
    shared = shared_threads(server.server.config.threads)
    # Beyond what is for all, each connection that runs nothing has one.
    least = min(connections * MANY, shared)
    eventually(lambda: crowd.inside >= least, f"{least} applications to run")
    for _ in range(5):
        assert is_answered(connect, server)
    assert crowd.inside >= least
    crowd.end_of_delay.set()
    for peer, stream_id in streams:
        assert peer.response(stream_id).status == 200
    settle(server, connections=connections)


# --------------------------------------------------------------- clients that keep us waiting


class Attackers:
    """Clients of three kinds, each of whose requests holds a thread that waits on it."""

    def __init__(self, server: ServerThread, connect: Connect) -> None:
        self.server = server
        self.connect = connect
        self.peers: list[Peer] = []
        self.held = 0

    def slow_posters(self, count: int, path: str = "/upload") -> Peer:
        """Begin uploads and send nothing."""
        return self._hold(self.connect(self.server), count, "POST", path)

    def slow_readers(self, count: int) -> Peer:
        """Ask for downloads and open no window."""
        return self._hold(self.connect(self.server, settings=NO_WINDOW), count)

    def vanished(self, count: int) -> Peer:
        """Ask for downloads and go without a FIN: nothing is ever read, nor sent, again."""
        peer = self.connect(
            self.server,
            settings={Setting.INITIAL_WINDOW_SIZE: HUGE_WINDOW},
            window=HUGE_WINDOW - 65_535,
            receive_buffer=4096,
        )
        return self._hold(peer, count)

    def _hold(self, peer: Peer, count: int, method: str = "GET", path: str = "/download") -> Peer:
        self.peers.append(peer)
        for _ in range(count):
            peer.request(method, path, end_stream=method == "GET")
        self.held += count
        return peer

    def wait_until_all_wait(self) -> None:
        wait_blocked(self.server, self.held)


@pytest.mark.parametrize("options", [SHIPPED, SMALL], ids=["shipped", "small"])
def test_clients_that_keep_every_thread_waiting_keep_no_fresh_client_from_one(
    serve: Serve,
    connect: Connect,
    crowd: Crowd,
    options: dict[str, int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = serve(crowd, **options)
    most = server.server.config.max_threads
    for_all = shared_threads(most)
    attackers = Attackers(server, connect)
    oldest = attackers.slow_posters(1, "/upload/first")
    attackers.wait_until_all_wait()
    for _ in range(2):
        attackers.slow_posters(for_all // 16)
        attackers.slow_readers(for_all // 16)
        attackers.vanished(for_all // 16)
    attackers.wait_until_all_wait()
    assert is_answered(connect, server)
    greedy = attackers.slow_readers(for_all // 3)
    attackers.vanished((for_all - attackers.held) // 2)
    attackers.vanished(for_all - attackers.held)
    attackers.wait_until_all_wait()
    assert is_answered(connect, server), "while some threads were left"
    for _ in range(most - for_all):
        attackers.slow_posters(1)
        assert not any(peer.responses for peer in attackers.peers if peer is not greedy)
        if attackers.held < most:
            assert is_answered(connect, server)
    attackers.wait_until_all_wait()
    assert attackers.held == server.server.threads == most

    with caplog.at_level(logging.WARNING, "h2wsgi"):
        assert is_answered(connect, server)
    eventually(lambda: codes(greedy) == {Code.ENHANCE_YOUR_CALM}, "the greediest to be given up")
    given_up = [r.getMessage() for r in caplog.records if "gave up" in r.getMessage()]
    assert "gave up GET /download" in given_up[0]
    assert not codes(oldest), "who was there first keeps one thread alone"
    for peer in attackers.peers:
        peer.close()
    settle(server)


def codes(peer: Peer) -> set[int | None]:
    peer.read_available()
    return {frame.error_code for frame in peer.log if frame.type == Type.RST_STREAM}


class Trickling(Attackers):
    """Uploads that bring a line every now and then, each of which an application waits for."""

    line = b"line\n"

    def __init__(self, server: ServerThread, connect: Connect) -> None:
        super().__init__(server, connect)
        self.lines: dict[Peer, bytes] = {}
        self.lock = threading.Lock()
        """Held by who uses a peer that is among ``lines``: it is no use to two threads at once."""
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._go_on)
        self.thread.start()

    def begin(self, connections: int, count: int) -> None:
        for _ in range(connections):
            peer = self.connect(self.server)
            peer.wait_settings()
            self.peers.append(peer)
            for _ in range(count):
                peer.request("POST", "/lines", end_stream=False)
            data = [frame(Type.DATA, 0, 2 * n + 1, self.line) for n in range(count)]
            peer.send_raw(b"".join(data))
            self.lines[peer] = b"".join(data)

    def _go_on(self) -> None:
        while not self.stop.wait(0.3):
            for peer, lines in list(self.lines.items()):
                with self.lock:
                    peer.send_raw(lines)

    def codes(self, peer: Peer) -> set[int | None]:
        with self.lock:
            return codes(peer)

    def end(self) -> None:
        self.stop.set()
        self.thread.join(PATIENCE)
        for peer in self.peers:
            peer.close()


@pytest.fixture
def trickling(connect: Connect) -> Iterator[Callable[[ServerThread], Trickling]]:
    made = []

    def make(server: ServerThread) -> Trickling:
        made.append(Trickling(server, connect))
        return made[-1]

    yield make
    for attackers in made:
        attackers.end()


def test_uploads_that_trickle_keep_no_fresh_client_waiting_and_are_given_up(
    serve: Serve,
    connect: Connect,
    crowd: Crowd,
    trickling: Callable[[ServerThread], Trickling],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = serve(crowd, **SMALL)
    honest = connect(server)
    upload = honest.request("POST", "/upload", end_stream=False)
    wait_blocked(server)
    attackers = trickling(server)
    attackers.begin(3, 15)
    eventually(lambda: server.server.busy_threads >= shared_threads(32), "the threads to be taken")
    with caplog.at_level(logging.WARNING, "h2wsgi"):
        for turn in range(20):
            assert is_answered(connect, server)
            honest.data(upload, bytes(2_000), end_stream=turn == 19)
            time.sleep(0.2)
    # However short each of its waits: what counts is all of them.
    eventually(
        lambda: all(attackers.codes(p) == {Code.ENHANCE_YOUR_CALM} for p in attackers.peers),
        "some of each attacker's streams to be given up",
    )
    assert honest.response(upload).status == 200


@pytest.mark.parametrize("greedy", [True, False])
def test_who_keeps_several_threads_waiting_at_whatever_pace_gives_one_to_a_fresh_client(
    serve: Serve,
    connect: Connect,
    crowd: Crowd,
    trickling: Callable[[ServerThread], Trickling],
    monkeypatch: pytest.MonkeyPatch,
    greedy: bool,
) -> None:
    """Fast enough not to be slow, and so many that those kept for others are taken as well."""
    monkeypatch.setattr(server_module, "BUSY_CLIENT", 1e9)
    if not greedy:
        monkeypatch.setattr(server_module, "GREEDY_CLIENT", 1e9)
    server = serve(crowd, **SMALL)
    attackers = trickling(server)
    attackers.line = bytes(9_999) + b"\n"  # on a busy machine some come late
    attackers.begin(3, 9)
    shared = shared_threads(32)
    eventually(lambda: server.server.busy_threads >= shared, "the shared threads to be taken")
    attackers.begin(32 - shared, 1)
    eventually(lambda: server.server.busy_threads == 32, "all threads to be taken")
    with connect(server) as fresh:
        stream_id = fresh.request(path="/hello")
        if not greedy:
            fresh.read_available(1.0)
            assert stream_id not in fresh.responses
            return
        assert fresh.response(stream_id).body == b"hello"
    given_up = [peer for peer in attackers.peers if attackers.codes(peer)]
    assert len(given_up) == 1
    assert given_up[0] in attackers.peers[:3], "who keeps one alone keeps it"


@pytest.mark.parametrize("kept", [True, False])
def test_threads_are_kept_for_connections_that_have_none(
    serve: Serve,
    connect: Connect,
    crowd: Crowd,
    trickling: Callable[[ServerThread], Trickling],
    monkeypatch: pytest.MonkeyPatch,
    kept: bool,
) -> None:
    """Where nobody is given up, they alone answer a fresh client; without them nothing does."""
    monkeypatch.setattr(server_module, "SLOW_CLIENT", 1e9)
    monkeypatch.setattr(server_module, "GREEDY_CLIENT", 1e9)
    if not kept:
        monkeypatch.setattr(lanes, "KEPT", 0)
    server = serve(crowd, **SMALL)
    attackers = trickling(server)
    attackers.begin(3, 15)
    eventually(
        lambda: server.server.busy_threads >= (shared_threads(32)), "the threads to be taken"
    )
    with connect(server) as fresh:
        stream_id = fresh.request(path="/hello")
        if kept:
            assert fresh.response(stream_id).body == b"hello"
        else:
            fresh.read_available(1.0)
            assert stream_id not in fresh.responses


# ------------------------------------------------------------------------------- rapid reset


@pytest.mark.parametrize("path", ["/delay/60", "/stubborn"])
def test_applications_of_reset_streams_count_against_their_connection_until_they_end(
    serve: Serve, connect: Connect, crowd: Crowd, path: str
) -> None:
    server = serve(crowd, max_streams=5)
    attacker = connect(server)
    attacker.wait_settings()
    for wave in range(20):
        streams = [
            attacker.request("POST", f"{path}/{wave}", end_stream=path != "/stubborn")
            for _ in range(5)
        ]
        if wave == 0:
            eventually(lambda: crowd.inside == 5, "five applications to run")
        for stream_id in streams:
            attacker.rst_stream(stream_id, Code.CANCEL)
        attacker.roundtrip()
    assert is_answered(connect, server)
    last = attacker.request(path="/hello")
    crowd.end_of_delay.set()
    assert attacker.response(last).body == b"hello"
    settle(server, connections=1)
    assert crowd.most == 5
    assert crowd.came == [f"{path}/0"] * 5, "a request of a reset stream was started"


# ------------------------------------------------------- what only the request timeout bounds


def test_as_many_connections_as_threads_hold_them_no_longer_than_the_request_timeout(
    serve: Serve, connect: Connect, crowd: Crowd
) -> None:
    """Each runs one application and none is over its share: nobody else gets a thread so far."""
    server = serve(crowd, threads=4, max_threads=32, request_timeout=2)
    greedy = [connect(server) for _ in range(8)]
    streams = [(peer, peer.request(path="/delay/60")) for peer in greedy]
    assert {peer.response(stream_id).status for peer, stream_id in streams} == {503}
    eventually(lambda: server.server.stuck_threads == crowd.inside > 0, "the threads to be stuck")
    assert is_answered(connect, server)
    crowd.end_of_delay.set()
    settle(server, connections=8)
    assert server.server.stuck_threads == 0
