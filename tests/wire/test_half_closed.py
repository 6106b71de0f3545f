"""A client that ends its side of a cleartext connection, and one that is gone: FIN says both."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi import ClientDisconnected
from h2wsgi.server.running import ServerThread
from support.peer import Code, Peer, Setting, Type, one_write
from support.settled import PATIENCE, eventually, settle

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
GONE_PING = b"gone?   "


class App:
    """``/held`` answers when it is told to, ``/big`` at length, ``/until`` when the client left."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.release = threading.Event()
        self.failed = threading.Event()
        self.told = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.entered.release()
        path = environ["PATH_INFO"]
        if path == "/held":
            assert self.release.wait(PATIENCE)
        elif path == "/until" and environ["h2wsgi.stream"].disconnected.wait(PATIENCE):
            self.told.set()
        try:
            content = environ["wsgi.input"].read()
        except ClientDisconnected:
            self.failed.set()
            raise
        if path == "/big":
            content = bytes(int(environ["QUERY_STRING"]))
        start_response("200 OK", [])
        return [content or b"well"]


@pytest.fixture
def app() -> App:
    return App()


def silent(peer: Peer) -> Peer:
    """Have a peer answer nothing by itself, which it could not send."""
    peer.auto_window = peer.auto_ack_ping = peer.auto_ack_settings = False
    return peer


def end(peer: Peer) -> None:
    """End the client's side, and wait until the server has seen that."""
    peer.sock.shutdown(socket.SHUT_WR)
    peer.wait_for(lambda frame: frame.type == Type.PING and frame.payload == GONE_PING)


def assert_goodbye(peer: Peer, last_stream_id: int) -> None:
    """The last that comes is GOAWAY, and then the end."""
    assert peer.wait_closed() == "end of file"
    goaways = [frame for frame in peer.log if frame.type == Type.GOAWAY]
    assert [(f.error_code, f.last_stream_id) for f in goaways] == [(Code.NO_ERROR, last_stream_id)]
    assert peer.log[-1] is goaways[0]


@LOOPS
@pytest.mark.parametrize("options", [{}, {"record": True}], ids=["", "observed"])
def test_what_was_asked_before_the_clients_end_is_answered(
    app: App, serve: Serve, connect: Connect, loop: str, options: dict[str, Any]
) -> None:
    server = serve(app, h2c=True, loop=loop, **options)
    peer = silent(connect(server))
    first = peer.request(path="/held")
    assert app.entered.acquire(timeout=PATIENCE)
    second = peer.request("POST", path="/held", body=b"content")
    end(peer)
    app.release.set()
    assert peer.response(first).body == b"well"
    assert peer.response(second).body == b"content"
    assert_goodbye(peer, second)
    settle(server)


@LOOPS
def test_requests_and_the_end_in_one_segment_are_answered(
    app: App, serve: Serve, connect: Connect, loop: str
) -> None:
    server = serve(app, h2c=True, loop=loop, threads=4)
    peer = silent(connect(server, preface=False, settings=None))
    with one_write(peer):
        peer.send_raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        peer.settings()
        streams = [peer.request() for _ in range(100)]
    peer.sock.shutdown(socket.SHUT_WR)
    for stream_id in streams:
        assert peer.response(stream_id).body == b"well"
    peer.wait_closed()
    settle(server)


@LOOPS
def test_an_incomplete_request_fails_at_once_beside_one_that_is_answered(
    app: App, serve: Serve, connect: Connect, loop: str
) -> None:
    server = serve(app, h2c=True, loop=loop)
    peer = silent(connect(server))
    held = peer.request(path="/held")
    upload = peer.request("POST", end_stream=False)
    peer.data(upload, b"some")
    for _ in range(2):
        assert app.entered.acquire(timeout=PATIENCE)
    end(peer)
    assert app.failed.wait(PATIENCE)
    assert peer.wait_reset(upload) == Code.CANCEL
    app.release.set()
    assert peer.response(held).body == b"well"
    assert_goodbye(peer, upload)
    settle(server)


@LOOPS
def test_a_client_that_is_gone_is_noticed_although_its_request_was_whole(
    app: App, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    monkeypatch.setattr("h2wsgi.http2.closing.FAILED_LINGER", 3600.0)
    server = serve(app, h2c=True, loop=loop)
    peer = connect(server)
    peer.request(path="/until")
    assert app.entered.acquire(timeout=PATIENCE)
    peer.roundtrip()
    peer.close()
    assert app.told.wait(PATIENCE)
    settle(server)


@pytest.mark.parametrize("gone", [False, True], ids=["half closed", "gone"])
@LOOPS
def test_the_same_holds_on_a_unix_socket(
    app: App,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    loop: str,
    gone: bool,
) -> None:
    monkeypatch.setattr("h2wsgi.http2.closing.FAILED_LINGER", 3600.0)
    path = tmp_path / "socket"
    server = serve(app, bind=(f"unix:{path}",), h2c=True, loop=loop)
    with silent(Peer.connect(str(path), tls=False)) as peer:
        stream_id = peer.request(path="/until" if gone else "/held")
        assert app.entered.acquire(timeout=PATIENCE)
        if gone:
            peer.close()
            assert app.told.wait(PATIENCE)
        else:
            end(peer)
            app.release.set()
            assert peer.response(stream_id).body == b"well"
            assert_goodbye(peer, stream_id)
        settle(server)


@LOOPS
def test_a_response_gets_what_the_windows_allow_and_the_rest_is_cut_off(
    app: App, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    monkeypatch.setattr("h2wsgi.http2.closing.FAILED_LINGER", 1.0)
    server = serve(app, h2c=True, loop=loop)
    peer = silent(connect(server, settings={Setting.INITIAL_WINDOW_SIZE: 100}))
    small = peer.request()
    big = peer.request(path="/big?1000")
    until = peer.request(path="/until")
    end(peer)
    assert peer.response(small).body == b"well"
    assert peer.wait_reset(big) == Code.CANCEL
    assert peer.responses[big].received == 100
    assert app.told.wait(PATIENCE)
    assert peer.wait_reset(until) == Code.CANCEL
    assert_goodbye(peer, until)
    settle(server)


@LOOPS
def test_what_is_written_already_waits_for_a_slow_client(
    app: App, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    monkeypatch.setattr("h2wsgi.http2.closing.ABORT_AFTER", 0.1)
    monkeypatch.setattr("h2wsgi.http2.closing.LINGER", 0.1)
    server = serve(app, h2c=True, loop=loop)
    size = 20_000_000
    window = {"settings": {Setting.INITIAL_WINDOW_SIZE: size}, "window": size}
    peer = silent(connect(server, **window, receive_buffer=4_096))
    stream_id = peer.request(path=f"/big?{size}")
    peer.wait_headers(stream_id)
    peer.sock.shutdown(socket.SHUT_WR)
    eventually(lambda: _state(server) != "OPEN", "the server to see the end")
    time.sleep(0.5)  # longer than what is closed is given
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    assert peer.response(stream_id).received == size
    peer.wait_closed()
    settle(server)


def _state(server: ServerThread) -> str:
    return "".join(protocol.state.name for protocol in list(server.server._protocols))


@LOOPS
@pytest.mark.parametrize("before", ["drained", "failed"])
def test_a_connection_that_ends_already_answers_all_the_same(
    app: App, serve: Serve, connect: Connect, loop: str, before: str
) -> None:
    server = serve(app, h2c=True, loop=loop)
    peer = silent(connect(server))
    stream_id = peer.request(path="/held")
    assert app.entered.acquire(timeout=PATIENCE)
    stopping = threading.Thread(target=server.stop)
    if before == "failed":
        peer.send_frame(Type.PING, 0, 1, bytes(8))
        assert peer.wait_goaway().error_code == Code.PROTOCOL_ERROR
    else:
        stopping.start()
        peer.wait_goaway()
    end(peer)
    app.release.set()
    assert peer.response(stream_id).body == b"well"
    assert peer.wait_closed() == "end of file"
    if before == "drained":
        stopping.join(PATIENCE)


def test_the_end_of_an_idle_client_ends_the_connection(
    app: App, serve: Serve, connect: Connect
) -> None:
    server = serve(app, h2c=True)
    peer = silent(connect(server))
    assert peer.get().body == b"well"
    peer.sock.shutdown(socket.SHUT_WR)
    peer.wait_closed()
    settle(server)


@LOOPS
@pytest.mark.parametrize("path", ["/", "/ /"])
def test_a_client_that_ends_behind_its_answer_is_told_goodbye(
    app: App, serve: Serve, connect: Connect, loop: str, path: str
) -> None:
    """Behind a request that was malformed too, whose answer is sent at once."""
    server = serve(app, h2c=True, loop=loop)
    peer = silent(connect(server))
    stream_id = peer.request(path=path)
    assert peer.response(stream_id).status == (200 if path == "/" else 400)
    peer.sock.shutdown(socket.SHUT_WR)
    assert_goodbye(peer, stream_id)
    settle(server)
