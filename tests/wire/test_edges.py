"""Applications and peers at the edges of the seam: threads left behind, polling, unread replies."""

from __future__ import annotations

import socket
import threading

import pytest

from conftest import Connect, Serve
from h2wsgi import ClientDisconnected
from h2wsgi.log.logs import Log
from support.peer import PeerError
from support.settled import settle

PING = bytes((0, 0, 8, 6, 0, 0, 0, 0, 0)) + b"12345678"


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


def test_a_read_in_a_thread_left_behind_ends_and_counts_nothing(serve: Serve, connect: Connect):
    ended: list[object] = []
    threads: list[threading.Thread] = []

    def app(environ, start_response):
        def read() -> None:
            try:
                ended.append(environ["wsgi.input"].read())
            except ClientDisconnected as error:
                ended.append(error)

        threads.append(threading.Thread(target=read, daemon=True))
        threads[0].start()
        start_response("200 OK", [])
        return [b"ok"]

    server = serve(app)
    peer = connect(server)
    stream_id = peer.request("POST", end_stream=False)
    assert peer.response(stream_id).body == b"ok"
    peer.wait_reset(stream_id)
    threads[0].join(10)
    assert [type(outcome) for outcome in ended] == [ClientDisconnected]
    peer.close()
    settle(server)


def test_an_application_that_polls_with_empty_chunks_learns_that_its_client_left(
    serve: Serve, connect: Connect
):
    began, closed = threading.Event(), threading.Event()

    class Polling:
        def __iter__(self):
            return self

        def __next__(self) -> bytes:
            began.set()
            return b""

        def close(self) -> None:
            closed.set()

    def app(environ, start_response):
        start_response("200 OK", [])
        return Polling()

    peer = connect(serve(app))
    stream_id = peer.request()
    assert began.wait(10)
    peer.rst_stream(stream_id)
    assert closed.wait(10)


def test_a_peer_that_reads_no_reply_is_read_no_further(serve: Serve, connect: Connect):
    server = serve(hello, max_glitches=0)  # it would end the connection before
    peer = connect(server, receive_buffer=4096)
    assert peer.get("/").body == b"hello"
    with pytest.raises(PeerError):  # 56 MB, unless the server stops to read them
        peer.send_raw(PING * 3_300_000, timeout=5)
    (protocol,) = server.server._protocols
    assert protocol.transport.get_write_buffer_size() < 8_000_000
    assert connect(server).get("/").body == b"hello"


def test_an_access_handler_that_raises_ends_no_connection(serve: Serve, connect: Connect, capsys):
    server = serve(hello)

    def broken(record: object) -> None:
        raise ValueError("a broken handler")

    server.server.log = Log(server.server.log.events, broken)
    peer = connect(server)
    assert peer.get("/").body == b"hello"
    assert peer.get("/").body == b"hello"
    assert capsys.readouterr().err.count("ValueError: a broken handler") == 1


def test_a_connection_that_was_reset_already_is_closed_without_a_word(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
):
    """asyncio lets the socket's error out of write_eof()."""
    server = serve(hello, h2c=True, loop="asyncio")
    peer = connect(server)
    assert peer.get().body == b"hello"
    (protocol,) = server.server._protocols

    def not_connected() -> None:
        raise OSError("not connected")

    protocol.transport.write_eof = not_connected
    server.server.mailbox.post_threadsafe(protocol.closing.drain)
    peer.wait_closed()
    settle(server)
    assert not caplog.records


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("h2c", [False, True], ids=["tls", "cleartext"])
def test_small_frames_leave_at_once(serve: Serve, connect: Connect, loop: str, h2c: bool):
    """Or each second WINDOW_UPDATE would wait 40 ms for the peer to acknowledge the first."""
    server = serve(hello, loop=loop, h2c=h2c)
    assert connect(server).get().body == b"hello"
    (protocol,) = server.server._protocols
    sock = protocol.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
