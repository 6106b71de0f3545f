"""More clients than there may be connections: who has to leave for whom."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from functools import partial
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi.http2 import closing
from h2wsgi.http2.closing import State
from h2wsgi.server import accept
from support.peer import Code, Setting, Type
from support.settled import eventually
from wire.test_http2_limits import TIMEOUT, address, read_all

LOOPS = ("asyncio", "uvloop")


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    path = environ["PATH_INFO"]
    if path == "/read":
        environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [bytes(16_000) if path == "/piece" else b"hello"]


@pytest.mark.parametrize("loop", LOOPS)
def test_at_the_limit_the_connection_idle_longest_leaves_for_the_next(
    serve: Serve, connect: Connect, loop: str
) -> None:
    """One for each that comes, never one with a stream, and PING makes none less idle."""
    server = serve(hello, max_connections=3, loop=loop)
    busy = connect(server)
    upload = busy.request("POST", "/read", end_stream=False)
    busy.roundtrip()
    idle = [connect(server) for _ in range(2)]
    for peer in reversed(idle):
        assert peer.get("/").status == 200
    idle[1].roundtrip()
    newcomer = connect(server)
    assert newcomer.get("/").status == 200
    assert idle[1].wait_goaway().error_code == Code.NO_ERROR
    assert idle[1].wait_closed()
    assert not [f for f in idle[0].read_available() if f.type == Type.GOAWAY]
    assert connect(server).get("/").status == 200
    assert idle[0].wait_goaway().error_code == Code.NO_ERROR
    assert connect(server).get("/").status == 200
    assert newcomer.wait_goaway().error_code == Code.NO_ERROR
    assert not [f for f in busy.read_available() if f.type == Type.GOAWAY]
    busy.data(upload, b"", end_stream=True)
    assert busy.response(upload).status == 200
    eventually(lambda: server.server.open_connections <= 3, "the others to have closed")


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"])
def test_handshakes_that_do_not_go_on_leave_for_a_newcomer(
    serve: Serve, connect: Connect, sent: bytes
) -> None:
    server = serve(hello, max_connections=3)
    socks = [socket.create_connection(address(server)) for _ in range(3)]
    for sock in socks:
        sock.sendall(sent)
    eventually(lambda: server.server.open_connections == 3, "the limit")
    for _ in range(5):
        with connect(server) as newcomer:
            assert newcomer.get("/").status == 200
    socks[0].settimeout(TIMEOUT)
    assert read_all(socks[0]) == b"", "the oldest was the first to go"
    for sock in socks:
        sock.close()


def test_a_preface_that_does_not_come_leaves_for_a_newcomer(serve: Serve, connect: Connect) -> None:
    server = serve(hello, max_connections=2)
    for _ in range(2):
        connect(server, preface=False, settings=None)
    eventually(lambda: server.server.open_connections == 2, "the limit")
    assert connect(server).get("/").status == 200


def test_a_request_on_its_way_when_its_connection_has_to_leave_is_answered(
    serve: Serve, connect: Connect
) -> None:
    server = serve(hello, max_connections=1)
    leaving = connect(server)
    leaving.auto_ack_ping = False
    assert leaving.get("/").status == 200
    newcomer = connect(server)
    leaving.wait_goaway()
    upload = leaving.request("POST", "/read", end_stream=False)
    assert newcomer.get("/").status == 200
    # It has a stream now, so it stays as long as that.
    leaving.data(upload, b"content", end_stream=True)
    assert leaving.response(upload).status == 200
    assert leaving.wait_closed()


def test_clients_that_stay_when_they_are_told_to_leave_keep_nobody_out(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They open a stream at the last moment."""
    monkeypatch.setattr(accept, "MOST_LEAVING", 2)
    server = serve(hello, max_connections=4)
    staying = [connect(server) for _ in range(4)]
    for peer in staying:
        peer.auto_ack_ping = False
        assert peer.get("/").status == 200
    for _ in range(8):
        with connect(server) as newcomer:
            assert newcomer.get("/").status == 200
        for peer in staying:
            told = [f for f in peer.read_available() if f.type == Type.GOAWAY]
            if told and peer.ended is None:
                peer.request("POST", "/read", end_stream=False)
    assert server.server.open_connections <= 4 + 2 + 1


@pytest.mark.parametrize("running", [False, True])
def test_connections_that_failed_and_do_not_go_keep_nobody_out(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, running: bool
) -> None:
    """Whether they send on, or have a request that is answered yet."""
    monkeypatch.setattr(closing, "FAILED_LINGER", 2 * TIMEOUT)
    monkeypatch.setattr(closing, "LONGEST_LINGER", 2 * TIMEOUT)
    go_on = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/wait":
            assert go_on.wait(TIMEOUT)
        return hello(environ, start_response)

    server = serve(app, max_connections=3)
    failed = [connect(server) for _ in range(3)]
    streams = [peer.request(path="/wait") for peer in failed if running]
    for peer in failed:
        peer.send_frame(Type.DATA, 0, 0, b"on stream 0")
        peer.wait_goaway()
    stop = threading.Event()

    def send_on() -> None:
        while not stop.wait(0.1):
            for peer in failed:
                with contextlib.suppress(OSError):
                    peer.sock.sendall(b"more")

    sending = threading.Thread(target=send_on)
    sending.start()
    try:
        for _ in range(5):
            with connect(server) as newcomer:
                assert newcomer.get("/").status == 200
    finally:
        stop.set()
        sending.join()
        go_on.set()
    for peer, stream_id in zip(failed, streams, strict=False):
        assert peer.response(stream_id).status == 200
    eventually(lambda: server.server.open_connections == 0, "those that failed to be gone")


def test_who_has_not_taken_its_last_response_is_not_the_first_to_leave(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "IDLE_ENOUGH", 0.0)
    server = serve(hello, max_connections=2)
    window = 2**31 - 1
    slow = connect(
        server,
        settings={Setting.INITIAL_WINDOW_SIZE: window},
        window=window - 65_535,
        receive_buffer=4096,
    )
    slow.wait_settings_ack()
    (protocol,) = server.server._protocols
    # Of a fixed size, or the kernel would take the rest a little later.
    sock = protocol.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    meter, streams = protocol.connection.meter, protocol.connection.streams
    for count in itertools.count(1):
        slow.request(path="/piece")
        eventually(partial(lambda n: meter.requests == n and not streams, count), "its end")
        if protocol.unsent > 30_000:
            break
    other = connect(server)
    assert other.get("/").status == 200
    newcomer = connect(server)
    assert newcomer.get("/").status == 200
    assert other.wait_goaway().error_code == Code.NO_ERROR
    assert protocol.state is State.OPEN
    # It goes where nobody else may, and is not waited for as long as the write timeout.
    newcomer.request("POST", "/read", end_stream=False)
    newcomer.roundtrip()
    assert connect(server).get("/").status == 200
    eventually(lambda: protocol.state is State.CLOSED, "it to be closed")
