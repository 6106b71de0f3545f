"""A client lost, or a stream reset, at every point of a request and a response.

Whatever the point: the application learns of it where it reads or writes, its ``close()`` runs
exactly once, and no thread, stream, count or descriptor stays behind.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi import ClientDisconnected
from support.peer import PREFACE, Code, Peer, Setting
from support.settled import PATIENCE, eventually, settle, wait_blocked

LOOPS = ("asyncio", "uvloop")
NO_WINDOW = {Setting.INITIAL_WINDOW_SIZE: 0}
CHUNK = 16_384

Start = Callable[..., Any]


class Probe:
    """An application that goes to one point, says so, and records how it ended there."""

    def __init__(self, scene: Callable[[Probe, dict[str, Any], Start], Iterator[bytes]]) -> None:
        self.scene = scene
        self.calls = 0
        self.closes = 0
        self.outcome: BaseException | str | None = None
        self.arrived = threading.Event()
        self.client_left = threading.Event()
        self.over = threading.Event()

    def pause(self) -> None:
        """Stop here until the client has left; not a wait on the client, so nothing ends it."""
        self.arrived.set()
        assert self.client_left.wait(PATIENCE)

    def __call__(self, environ: dict[str, Any], start_response: Start) -> Any:
        if environ["PATH_INFO"] == "/fill":
            start_response("200 OK", [])
            return [bytes(65_536)]
        self.calls += 1
        return _Body(self, self.scene(self, environ, start_response))


class _Body:
    """What the application returns: an iterable with a ``close()``."""

    def __init__(self, probe: Probe, chunks: Iterator[bytes]) -> None:
        self.probe = probe
        self.chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self.chunks
        except BaseException as error:
            self.probe.outcome = error
            raise
        self.probe.outcome = "finished"

    def close(self) -> None:
        self.probe.closes += 1
        if getattr(self.probe.scene, "in_close", False):
            self.probe.pause()
        self.probe.over.set()


# ---------------------------------------------------------------------------- the applications


def reads_later(probe: Probe, environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    probe.pause()
    yield from reads(probe, environ, start)


def reads(probe: Probe, environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    probe.arrived.set()
    content = environ["wsgi.input"].read()
    start("200 OK", [])
    yield content


def reads_some_then_waits_for_more(
    probe: Probe, environ: dict[str, Any], start: Start
) -> Iterator[bytes]:
    assert environ["wsgi.input"].read(5) == b"first"
    yield from reads(probe, environ, start)


def reads_after_its_head(probe: Probe, environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    write = start("200 OK", [])
    write(b"head")
    yield from reads_quietly(probe, environ)


def reads_quietly(probe: Probe, environ: dict[str, Any]) -> Iterator[bytes]:
    probe.arrived.set()
    yield environ["wsgi.input"].read()


def writes_later(probe: Probe, _environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    probe.pause()
    write = start("200 OK", [])
    while True:
        write(bytes(CHUNK))
    yield b""


def writes_between(probe: Probe, _environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    write = start("200 OK", [])
    write(b"first")
    probe.pause()
    while True:
        write(bytes(CHUNK))
    yield b""


def writes_without_end(probe: Probe, _environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    write = start("200 OK", [])
    probe.arrived.set()
    while True:
        write(bytes(CHUNK))
    yield b""


def writes_little(probe: Probe, _environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    write = start("200 OK", [])
    probe.arrived.set()
    while True:
        write(b"little")
    yield b""


def works_on_after_its_end(probe: Probe, _environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    start("200 OK", [("content-length", "4")])
    yield b"done"
    probe.pause()


def is_slow_to_close(probe: Probe, _environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    start("200 OK", [("content-length", "4")])
    yield b"done"


is_slow_to_close.in_close = True  # type: ignore[attr-defined]


def is_slow_to_close_an_unfinished_response(
    probe: Probe, _environ: dict[str, Any], start: Start
) -> Iterator[bytes]:
    start("200 OK", [])
    yield b"more follows"


is_slow_to_close_an_unfinished_response.in_close = True  # type: ignore[attr-defined]


# -------------------------------------------------------------------------------- the clients


def ask(peer: Peer) -> int:
    return peer.request()


def begin_upload(peer: Peer) -> int:
    return peer.request("POST", end_stream=False)


def begin_upload_with_content(peer: Peer) -> int:
    stream_id = peer.request("POST", end_stream=False)
    peer.data(stream_id, b"first")
    return stream_id


def fill_the_connection_then_ask(peer: Peer) -> int:
    peer.request(path="/fill")
    return peer.request()


@dataclass(frozen=True)
class Point:
    """One point of a request and a response."""

    scene: Callable[..., Iterator[bytes]]
    request: Callable[[Peer], int]
    learns: bool = True
    """Whether the application reads or writes afterwards, and so sees ClientDisconnected."""
    blocked: bool = False
    """Whether its thread waits on the client when the client leaves."""
    peer: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


POINTS = {
    "before it reads": Point(reads_later, begin_upload),
    "before it reads what came": Point(reads_later, begin_upload_with_content),
    "while it reads": Point(reads, begin_upload, blocked=True),
    "within its content": Point(
        reads_some_then_waits_for_more, begin_upload_with_content, blocked=True
    ),
    "while it reads, its head sent": Point(reads_after_its_head, begin_upload, blocked=True),
    "before its head": Point(writes_later, ask),
    "between two writes": Point(writes_between, ask),
    "at the stream's window": Point(
        writes_without_end, ask, blocked=True, peer={"settings": NO_WINDOW}
    ),
    "at the connection's window": Point(
        writes_without_end,
        ask,
        blocked=True,
        peer={"settings": {Setting.INITIAL_WINDOW_SIZE: 1 << 30}},
    ),
    "at the connection's ceiling": Point(
        writes_little,
        fill_the_connection_then_ask,
        blocked=True,
        peer={"settings": NO_WINDOW},
        config={"connection_buffer": 65_536},
    ),
    "while the socket is full": Point(
        writes_without_end,
        ask,
        blocked=True,
        peer={
            "settings": {Setting.INITIAL_WINDOW_SIZE: 1 << 30},
            "window": 1 << 30,
            "receive_buffer": 4096,
        },
    ),
    "after the end of its response": Point(works_on_after_its_end, ask, learns=False),
    "in close()": Point(is_slow_to_close, ask, learns=False),
    "in close() after its last chunk": Point(
        is_slow_to_close_an_unfinished_response, ask, learns=False
    ),
    "in close() with the request open": Point(is_slow_to_close, begin_upload, learns=False),
}


def leave_by_fin(peer: Peer, _stream_id: int) -> None:
    """Hang up; over TLS without its close_notify."""
    peer.sock.shutdown(socket.SHUT_RDWR)
    peer.close()


def leave_by_rst(peer: Peer, _stream_id: int) -> None:
    peer.abort()


def leave_by_close_notify(peer: Peer, _stream_id: int) -> None:
    peer.sock.settimeout(PATIENCE)
    with contextlib.suppress(OSError):  # what the server sent before it knew is in the way
        peer.sock.unwrap()  # type: ignore[attr-defined]
    peer.close()


def leave_by_goaway_and_fin(peer: Peer, stream_id: int) -> None:
    peer.goaway(code=Code.NO_ERROR)
    leave_by_fin(peer, stream_id)


def reset(peer: Peer, stream_id: int) -> None:
    peer.rst_stream(stream_id, Code.CANCEL)


WAYS = {
    "FIN": (leave_by_fin, {}),
    "RST": (leave_by_rst, {}),
    "close_notify": (leave_by_close_notify, {}),
    "GOAWAY": (leave_by_goaway_and_fin, {}),
    "RST_STREAM": (reset, {}),
    "cleartext FIN": (leave_by_fin, {"h2c": True}),
    "cleartext RST": (leave_by_rst, {"h2c": True}),
    "cleartext RST_STREAM": (reset, {"h2c": True}),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("point", POINTS)
def test_a_client_lost_at_any_point_leaves_nothing_behind(
    serve: Serve, connect: Connect, point: str, way: str, loop: str
) -> None:
    here = POINTS[point]
    leave, transport = WAYS[way]
    probe = Probe(here.scene)
    server = serve(probe, loop=loop, **transport, **here.config)
    peer = connect(server, **here.peer)
    peer.wait_settings_ack()
    stream_id = here.request(peer)
    assert probe.arrived.wait(PATIENCE)
    if here.blocked:
        wait_blocked(server)
    leave(peer, stream_id)
    if leave is reset:
        peer.roundtrip()
    else:
        eventually(lambda: server.server.open_connections == 0, "the connection to be forgotten")
    probe.client_left.set()
    assert probe.over.wait(PATIENCE), "close() was not called"
    if leave is reset:
        _forget_the_filling(peer, stream_id)
    settle(server, connections=1 if leave is reset else 0)
    assert (probe.calls, probe.closes) == (1, 1)
    if here.learns:
        assert isinstance(probe.outcome, ClientDisconnected)
    else:
        assert not isinstance(probe.outcome, ClientDisconnected)
    if leave is reset:
        _prove_the_connection_still_works(peer)


def _forget_the_filling(peer: Peer, stream_id: int) -> None:
    for other in range(1, stream_id, 2):
        peer.rst_stream(other)


def _prove_the_connection_still_works(peer: Peer) -> None:
    peer.settings({Setting.INITIAL_WINDOW_SIZE: 1 << 20})
    peer.window_update(0, 1 << 20)
    assert len(peer.get("/fill").body) == 65_536


# ------------------------------------------------------------------- before there is a request


def nothing(environ: dict[str, Any], start_response: Start) -> list[bytes]:
    raise AssertionError("no request was ever whole")


HANDSHAKE_PIECES = {
    "nothing": b"",
    "one octet": b"\x16",
    "half a hello": b"\x16\x03\x01\x02\x00\x01",
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", ["FIN", "RST"])
@pytest.mark.parametrize("piece", HANDSHAKE_PIECES)
def test_a_client_lost_in_the_tls_handshake_leaves_nothing_behind(
    serve: Serve, piece: str, way: str, loop: str
) -> None:
    server = serve(nothing, loop=loop)
    port = int(server.url.rstrip("/").rpartition(":")[2])
    sock = socket.create_connection(("127.0.0.1", port))
    client = Peer(sock, preface=False, settings=None)
    client.send_raw(HANDSHAKE_PIECES[piece])
    eventually(lambda: server.server.open_connections == 1, "the connection to be accepted")
    WAYS[way][0](client, 0)
    settle(server)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_reset_before_it_was_accepted_leaves_nothing_behind(
    serve: Serve, connect: Connect, loop: str
) -> None:
    server = serve(hello, loop=loop, h2c=True)
    for _ in range(20):
        connect(server).abort()
    settle(server)
    assert connect(server).get().body == b"hello"


def hello(environ: dict[str, Any], start_response: Start) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


BEGINNINGS: dict[str, Callable[[Peer], None]] = {
    "before the preface": lambda peer: None,
    "within the preface": lambda peer: peer.send_raw(PREFACE[:10]),
    "before SETTINGS": lambda peer: peer.send_raw(PREFACE),
    "within a frame header": lambda peer: peer.send_raw(PREFACE + b"\0\0"),
    "within SETTINGS": lambda peer: peer.send_raw(PREFACE + b"\0\0\6\4\0\0\0\0\0\0\0"),
    "within a field block": lambda peer: (
        peer.send_raw(PREFACE),
        peer.settings(),
        peer.headers(1, peer.encode([(":method", "GET")]), end_headers=False),
    )[0],
    "within a CONTINUATION": lambda peer: (
        peer.send_raw(PREFACE),
        peer.settings(),
        peer.headers(1, peer.encode([(":method", "GET")]), end_headers=False),
        peer.send_raw(b"\0\0\x10\x09\4\0\0\0\1half"),
    )[0],
    "without a stream": lambda peer: (peer.send_raw(PREFACE), peer.settings())[0],
    "after its answer": lambda peer: (
        peer.send_raw(PREFACE),
        peer.settings(),
        peer.get(),
    )[0],
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", [name for name in WAYS if "RST_STREAM" not in name])
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_client_lost_outside_a_request_leaves_nothing_behind(
    serve: Serve, connect: Connect, beginning: str, way: str, loop: str
) -> None:
    leave, transport = WAYS[way]
    server = serve(hello if beginning == "after its answer" else nothing, loop=loop, **transport)
    peer = connect(server, preface=False, settings=None)
    BEGINNINGS[beginning](peer)
    eventually(lambda: server.server._protocols, "the connection to be made")
    leave(peer, 0)
    settle(server)


# --------------------------------------------------------------------- requests that wait


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", WAYS)
def test_a_request_lost_while_it_waits_for_a_thread_never_reaches_the_application(
    serve: Serve, connect: Connect, way: str, loop: str
) -> None:
    leave, transport = WAYS[way]
    probe = Probe(works_on_after_its_end)
    server = serve(probe, loop=loop, threads=1, max_threads=1, **transport)
    first = connect(server)
    running = first.request()
    assert probe.arrived.wait(PATIENCE)
    second = connect(server)
    waiting = second.request("POST", end_stream=False)
    second.data(waiting, bytes(1000))
    second.roundtrip()
    leave(second, waiting)
    if leave is reset:
        second.roundtrip()
    else:
        eventually(lambda: server.server.open_connections == 1, "the second client to be forgotten")
    probe.client_left.set()
    assert first.response(running).body == b"done"
    settle(server, connections=2 if leave is reset else 1)
    assert (probe.calls, probe.closes) == (1, 1)


def test_many_streams_lost_at_once_leave_nothing_behind(serve: Serve, connect: Connect) -> None:
    lost = []

    def app(environ, start_response):
        write = start_response("200 OK", [])
        try:
            while True:
                write(bytes(CHUNK))
        except ClientDisconnected as error:
            lost.append(error)
            raise

    server = serve(app, threads=64)
    peer = connect(server, settings=NO_WINDOW)
    for _ in range(100):
        peer.request()
    wait_blocked(server, 100)
    peer.abort()
    settle(server)
    assert len(lost) == 100


def test_a_lost_client_is_an_oserror_that_names_what_happened(
    serve: Serve, connect: Connect
) -> None:
    probe = Probe(reads)
    server = serve(probe)
    peer = connect(server)
    stream_id = peer.request("POST", end_stream=False)
    assert probe.arrived.wait(PATIENCE)
    peer.rst_stream(stream_id, Code.CANCEL)
    assert probe.over.wait(PATIENCE)
    assert isinstance(probe.outcome, OSError)
    assert "CANCEL" in str(probe.outcome)


def test_an_application_that_swallows_the_loss_ends_no_differently(
    serve: Serve, connect: Connect
) -> None:
    """What it sends afterwards reaches nobody, and it is told so every time."""
    errors = []
    over = threading.Event()

    def app(environ, start_response):
        write = start_response("200 OK", [])
        for _ in range(3):
            try:
                while True:
                    write(bytes(CHUNK))
            except ClientDisconnected as error:
                errors.append(error)
        over.set()
        return [b"end"]

    server = serve(app)
    peer = connect(server, settings=NO_WINDOW)
    stream_id = peer.request()
    wait_blocked(server)
    peer.rst_stream(stream_id)
    assert over.wait(PATIENCE)
    settle(server, connections=1)
    assert len(errors) == 3
    assert len({id(error) for error in errors}) == 3, "one instance was raised twice"


def waits_for_the_end(environ: dict[str, Any], _write: Callable[[bytes], object]) -> None:
    assert environ["h2wsgi.stream"].disconnected.wait(PATIENCE), "the application was not told"


def writes_for_ever(_environ: dict[str, Any], write: Callable[[bytes], object]) -> None:
    with contextlib.suppress(ClientDisconnected):
        while True:
            write(bytes(CHUNK))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("act", [waits_for_the_end, writes_for_ever])
def test_a_client_that_answers_no_ping_is_lost_to_its_applications_at_once(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, loop: str, act: Any
) -> None:
    """Those too whose requests were whole, and which other errors leave some time to finish."""
    monkeypatch.setattr("h2wsgi.http2.closing.FAILED_LINGER", 3600.0)
    outcomes: list[BaseException | None] = []
    over = threading.Event()

    def app(environ: dict[str, Any], start_response: Start) -> list[bytes]:
        try:
            act(environ, start_response("200 OK", []))
            outcomes.append(None)
        except BaseException as error:
            outcomes.append(error)
        over.set()
        return []

    server = serve(app, loop=loop, ping_interval=0.3, ping_timeout=0.3)
    peer = connect(server)
    peer.auto_ack_ping = peer.auto_window = False
    peer.request()
    goaway = peer.wait_goaway()
    assert goaway.error_code == Code.PROTOCOL_ERROR
    assert over.wait(PATIENCE)
    assert outcomes == [None]
    settle(server)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_tls_holds_is_freed_with_its_connection_and_not_by_the_garbage_collector(
    serve: Serve, connect: Connect, loop: str
) -> None:
    """Some 300 KiB each, of which connections that come and go would leave many behind."""

    def held() -> int:
        return sum(type(thing).__name__ == "SSLProtocol" for thing in gc.get_objects())

    server = serve(hello, loop=loop)
    gc.collect()
    gc.disable()
    try:
        before = held()
        peers = [connect(server) for _ in range(5)]
        for peer in peers:
            assert peer.get().body == b"hello"
        assert held() == before + 5
        for number, peer in enumerate(peers):
            if number % 2:
                peer.close()
            else:
                peer.abort()
        settle(server)
        eventually(lambda: held() == before, "what TLS held to be freed")
    finally:
        gc.enable()
