"""What a connection may take up: streams, time, descriptors; and who is not served at all."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi.server.running import ServerThread
from support.peer import (
    PREFACE,
    TIMEOUT,
    Code,
    ConnectionEnded,
    Peer,
    Setting,
    Type,
    one_write,
)

SOON = 0.3
"""A timeout of the server, in seconds: short, but long enough for what must come before it."""


class App:
    """Answers by path; says by events what its threads went through."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.entered = threading.Semaphore(0)
        self.failed = threading.Event()
        self.failures: list[str] = []
        self.calls: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        self.calls.append(path)
        try:
            if path == "/hold":
                self.entered.release()
                assert self.release.wait(20)
            elif path == "/read":
                environ["wsgi.input"].read()
            elif path == "/write-then-read":
                start_response("200 OK", [])(b"begun")
                environ["wsgi.input"].read()
            elif path == "/big":
                write = start_response("200 OK", [])
                for _ in range(int(environ["QUERY_STRING"])):
                    write(bytes(65_536))
                return []
        except OSError as error:
            self.failures.append(type(error).__name__)
            self.failed.set()
            raise
        start_response("200 OK", [("content-type", "text/plain")])
        return [b"hello"]


@pytest.fixture
def app(serve: Serve) -> Iterator[App]:
    """An application whose held requests end with the test, before the server does."""
    app = App()
    yield app
    app.release.set()


def address(server: ServerThread) -> tuple[str, int]:
    return "127.0.0.1", int(server.url.rstrip("/").rpartition(":")[2])


def read_all(sock: socket.socket) -> bytes:
    """Return what comes until the server hangs up, in whatever way."""
    sock.settimeout(TIMEOUT)
    parts = []
    try:
        while part := sock.recv(65_536):
            parts.append(part)
    except (ConnectionResetError, ssl.SSLEOFError):
        pass
    return b"".join(parts)


# ------------------------------------------------------------------------------- streams


def test_a_stream_over_the_limit_is_refused_and_the_connection_goes_on(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, max_streams=3))
    peer.wait_settings()
    assert peer.remote_settings[Setting.MAX_CONCURRENT_STREAMS] == 3
    held = [peer.request(path="/hold") for _ in range(3)]
    refused = [peer.request(path="/refused", fields=[("x-remember", "me")]) for _ in range(3)]
    upload = peer.request("POST", "/refused", end_stream=False)
    peer.data(upload, b"content", end_stream=True)
    for stream_id in [*refused, upload]:
        assert peer.wait_reset(stream_id) == Code.REFUSED_STREAM
    app.release.set()
    for stream_id in held:
        assert peer.response(stream_id).status == 200
    assert peer.get("/after", fields=[("x-remember", "me")]).status == 200
    assert "/refused" not in app.calls
    assert not any(frame.type == Type.GOAWAY for frame in peer.log)


def test_a_stream_that_ends_makes_room_for_another(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, max_streams=1))
    for _ in range(20):
        assert peer.get("/").status == 200
        peer.rst_stream(peer.request(path="/read", method="POST", end_stream=False))
    assert peer.get("/").status == 200


# -------------------------------------------------------------------- handshake and preface


CLIENT_HELLO_HEADER = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@pytest.mark.parametrize("octets", [b"", b"\x16", CLIENT_HELLO_HEADER], ids=["none", "one", "half"])
def test_a_handshake_that_does_not_go_on_is_ended(app: App, serve: Serve, octets: bytes) -> None:
    server = serve(app, handshake_timeout=SOON)
    with socket.create_connection(address(server)) as sock:
        sock.sendall(octets)
        assert read_all(sock) == b""


def test_a_handshake_under_way_does_not_hold_others_up(
    app: App, serve: Serve, connect: Connect
) -> None:
    server = serve(app)
    with socket.create_connection(address(server)) as sock:
        sock.sendall(CLIENT_HELLO_HEADER)
        assert connect(server).get("/").status == 200


@pytest.mark.parametrize("h2c", [False, True], ids=["tls", "cleartext"])
@pytest.mark.parametrize(
    "octets",
    [b"", PREFACE[:10], PREFACE, PREFACE + b"\0\0\6\4"],
    ids=["none", "half", "bare", "cut"],
)
def test_a_preface_that_does_not_come_ends_the_connection(
    app: App, serve: Serve, connect: Connect, octets: bytes, h2c: bool
) -> None:
    server = serve(app, preface_timeout=SOON, h2c=h2c)
    peer = connect(server, preface=False, settings=None)
    peer.auto_ack_settings = False
    peer.send_raw(octets)
    goaway = peer.wait_goaway()
    assert (goaway.error_code, goaway.last_stream_id) == (Code.SETTINGS_TIMEOUT, 0)
    assert peer.wait_closed() == "end of file"


def test_a_connection_whose_preface_came_outlives_the_preface_timeout(
    app: App, serve: Serve, connect: Connect
) -> None:
    server = serve(app, preface_timeout=SOON)
    busy, quiet = connect(server), connect(server)
    held = busy.request(path="/hold")
    assert app.entered.acquire(timeout=10)
    quiet.roundtrip()
    late = connect(server, preface=False, settings=None)
    late.auto_ack_settings = False
    assert late.wait_goaway().error_code == Code.SETTINGS_TIMEOUT
    app.release.set()
    assert busy.response(held).status == 200
    assert quiet.get("/").status == 200


# ---------------------------------------------------------------------------------- idle


def test_a_connection_without_a_stream_is_ended_without_error(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, idle_timeout=SOON))
    assert peer.get("/").status == 200
    assert peer.wait_goaway().error_code == Code.NO_ERROR
    last = peer.wait_goaway()
    assert (last.error_code, last.last_stream_id) == (Code.NO_ERROR, 1)
    assert peer.wait_closed() == "end of file"


def test_a_connection_that_never_opens_a_stream_is_idle_from_its_start(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, idle_timeout=SOON))
    assert peer.wait_goaway(timeout=5).error_code == Code.NO_ERROR
    assert peer.wait_closed() == "end of file"


def test_pings_do_not_keep_an_idle_connection_open(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, idle_timeout=SOON))
    assert peer.get("/").status == 200
    with contextlib.suppress(ConnectionEnded):
        while True:
            peer.roundtrip()
    assert any(frame.type == Type.GOAWAY for frame in peer.log)


def test_a_connection_with_an_open_stream_is_not_idle(
    app: App, serve: Serve, connect: Connect
) -> None:
    server = serve(app, idle_timeout=SOON)
    busy = connect(server)
    held = busy.request(path="/hold")
    assert app.entered.acquire(timeout=10)
    other = connect(server)
    assert other.get("/").status == 200
    assert other.wait_goaway().error_code == Code.NO_ERROR
    busy.roundtrip()
    assert not any(frame.type == Type.GOAWAY for frame in busy.log)
    app.release.set()
    assert busy.response(held).status == 200
    assert busy.wait_goaway().error_code == Code.NO_ERROR


def test_a_request_that_crosses_the_first_goaway_is_answered(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, idle_timeout=SOON))
    peer.auto_ack_ping = False
    assert peer.get("/").status == 200
    peer.wait_goaway()
    assert peer.get("/crossed").status == 200
    assert peer.wait_goaway().last_stream_id == 3
    assert peer.wait_closed() == "end of file"


# ----------------------------------------------------------------- reading and writing


def test_a_read_that_waits_too_long_is_answered_408_and_others_go_on(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, read_timeout=SOON))
    held = peer.request(path="/hold")
    stream_id = peer.request("POST", "/read", end_stream=False)
    peer.data(stream_id, b"some")
    response = peer.response(stream_id)
    assert (response.status, response.body) == (408, b"Request Timeout\n")
    assert peer.wait_reset(stream_id) == Code.NO_ERROR
    assert app.failures == ["ReadTimeout"]
    app.release.set()
    assert peer.response(held).status == 200
    assert peer.get("/").status == 200


def test_a_read_that_waits_too_long_behind_a_head_resets_the_stream(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, read_timeout=SOON))
    stream_id = peer.request("POST", "/write-then-read", end_stream=False)
    assert peer.wait_data(stream_id, 5) == b"begun"
    assert peer.wait_reset(stream_id) != Code.NO_ERROR
    assert not peer.responses[stream_id].ended
    assert app.failures == ["ReadTimeout"]
    assert peer.get("/").status == 200


def test_a_response_the_client_gives_no_window_is_reset_and_others_go_on(
    app: App, serve: Serve, connect: Connect
) -> None:
    settings = {Setting.INITIAL_WINDOW_SIZE: 0}
    peer = connect(serve(app, write_timeout=SOON), settings=settings, window=1_000_000)
    peer.wait_settings_ack()
    with one_write(peer):  # so that nothing that is fed waits for this thread
        starved = peer.request(path="/big?4")
        small = peer.request(path="/")
        fed = peer.request(path="/big?4")
        peer.window_update(fed, 1_000_000)
    assert peer.response(fed).received == 4 * 65_536
    assert peer.wait_reset(starved) == Code.CANCEL
    assert peer.wait_reset(small) == Code.CANCEL
    assert app.failed.wait(10)
    assert app.failures == ["ClientDisconnected"]
    peer.settings({Setting.INITIAL_WINDOW_SIZE: 65_535})
    assert peer.get("/").status == 200


def test_a_client_that_reads_nothing_frees_the_thread_that_writes_to_it(
    app: App, serve: Serve, connect: Connect
) -> None:
    server = serve(app, write_timeout=SOON)
    window = 2**31 - 1
    peer = connect(
        server,
        settings={Setting.INITIAL_WINDOW_SIZE: window},
        window=window - 65_535,
        receive_buffer=4096,
    )
    peer.request(path="/big?2000")
    assert app.failed.wait(10)
    assert app.failures == ["ClientDisconnected"]
    assert connect(server).get("/").status == 200


# --------------------------------------------------------------------------- connections


def test_at_the_limit_of_connections_the_next_one_waits_for_an_end(
    app: App, serve: Serve, connect: Connect
) -> None:
    """As long as each of those that are there has a stream."""
    server = serve(app, max_connections=2)
    first, second = connect(server), connect(server)
    assert first.get("/").status == second.get("/").status == 200
    for peer in (first, second):
        upload = peer.request("POST", "/read", end_stream=False)
        peer.roundtrip()
    with ThreadPoolExecutor() as executor:
        third = executor.submit(connect, server)
        for _ in range(50):
            first.roundtrip()
            assert server.server.open_connections == 2
        assert not third.done()
        first.close()
        peer = third.result(TIMEOUT)
    assert peer.get("/").status == 200
    second.data(upload, b"", end_stream=True)
    assert second.response(upload).status == 200
    assert server.server.open_connections == 2


def test_a_handshake_that_fails_makes_room_for_another(
    app: App, serve: Serve, connect: Connect
) -> None:
    server = serve(app, max_connections=1)
    for octets in (b"\x16junk that is no handshake", b"", b"GET / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(address(server)) as sock:
            sock.sendall(octets)
            sock.shutdown(socket.SHUT_WR)
            read_all(sock)
    assert connect(server).get("/").status == 200


SERVE_WITH_FEW_DESCRIPTORS = """
import resource, sys
import h2wsgi

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

with h2wsgi.serve_in_thread(app, loop=sys.argv[1]) as server:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (48, hard))
    print(server.url, server.ca_file, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_server_out_of_descriptors_goes_on_with_those_it_has(loop: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVE_WITH_FEW_DESCRIPTORS, loop],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        url, ca_file = process.stdout.readline().split()
        where = ("127.0.0.1", int(url.rstrip("/").rpartition(":")[2]))
        with Peer.connect(where, ca_file=ca_file) as peer:
            assert peer.get("/").status == 200
            crowd = [socket.create_connection(where) for _ in range(60)]
            assert "Too many open files" in process.stderr.readline()
            assert peer.get("/").status == 200
            for sock in crowd:
                sock.close()
            with Peer.connect(where, ca_file=ca_file) as late:
                assert late.get("/").status == 200
        process.stdin.close()
        assert process.wait(20) == 0
        assert "Traceback" not in process.stderr.read()


# --------------------------------------------------------------------- who is not served

HTTP1 = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, http2-settings\r\n"
    b"upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n"
)


def assert_505(answer: bytes, advice: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 505 ")
    assert b"content-length: %d" % len(body) in head
    assert advice in body


def test_http1_in_clear_on_a_tls_port_is_told_what_to_do(app: App, serve: Serve) -> None:
    with socket.create_connection(address(serve(app))) as sock:
        sock.sendall(HTTP1)
        assert_505(read_all(sock), b"https://")


@pytest.mark.parametrize("request_octets", [HTTP1, UPGRADE], ids=["plain", "upgrade"])
def test_http1_on_a_cleartext_port_is_told_what_to_do(
    app: App, serve: Serve, request_octets: bytes
) -> None:
    with socket.create_connection(address(serve(app, h2c=True))) as sock:
        sock.sendall(request_octets)
        assert_505(read_all(sock), b"--http2-prior-knowledge")
    assert not app.calls


@pytest.mark.parametrize("alpn", [(), ("http/1.1",)], ids=["none", "http/1.1"])
def test_tls_without_h2_is_told_what_to_do(
    app: App, serve: Serve, connect: Connect, alpn: tuple[str, ...]
) -> None:
    peer = connect(serve(app), alpn=alpn, preface=False, settings=None)
    assert peer.alpn is None
    peer.send_raw(HTTP1)
    assert_505(read_all(peer.sock), b"ALPN")
    assert not app.calls


def test_h2_over_tls_without_alpn_is_told_so_in_frames(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app), alpn=())
    peer.auto_ack_settings = False
    goaway = peer.wait_goaway()
    assert goaway.error_code == Code.INADEQUATE_SECURITY
    assert b"ALPN" in goaway.payload
    assert peer.wait_closed() == "end of file"


def test_h2_in_clear_on_a_tls_port_is_told_so_in_frames(app: App, serve: Serve) -> None:
    with Peer.connect(address(serve(app)), tls=False) as peer:
        peer.auto_ack_settings = False
        goaway = peer.wait_goaway()
        assert goaway.error_code == Code.INADEQUATE_SECURITY
        assert b"https://" in goaway.payload


def client_hello_1_1() -> bytes:
    """Return the first record of a client that knows TLS 1.1 at most."""
    suites = struct.pack("!4H", 0xC00A, 0xC014, 0x0035, 0x002F)
    body = b"\x03\x02" + bytes(32) + b"\0" + struct.pack("!H", len(suites)) + suites + b"\x01\0"
    handshake = b"\x01" + struct.pack("!L", len(body))[1:] + body
    return b"\x16\x03\x01" + struct.pack("!H", len(handshake)) + handshake


def test_tls_1_1_is_refused(
    app: App, serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "h2wsgi")
    server = serve(app)
    with socket.create_connection(address(server)) as sock:
        sock.sendall(client_hello_1_1())
        # At most an alert: asyncio closes before OpenSSL's has left.
        assert read_all(sock)[:1] in (b"", b"\x15")
    assert connect(server).get("/").status == 200
    assert "unsupported protocol" in caplog.text


def tls_1_2(ciphers: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    context.set_alpn_protocols(["h2"])
    return context


@pytest.mark.parametrize(
    "cipher", ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA", "AES128-GCM-SHA256"]
)
def test_a_tls_1_2_cipher_that_http2_forbids_is_refused(
    app: App, serve: Serve, connect: Connect, cipher: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "h2wsgi")
    server = serve(app)
    with (
        socket.create_connection(address(server)) as sock,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        tls_1_2(cipher).wrap_socket(sock)
    assert connect(server).get("/").status == 200
    assert "no shared cipher" in caplog.text


def test_tls_1_2_with_authenticated_encryption_is_served(app: App, serve: Serve) -> None:
    with socket.create_connection(address(serve(app))) as sock:
        tls = tls_1_2("ECDHE+AESGCM").wrap_socket(sock)
        with Peer(tls) as peer:
            assert peer.alpn == "h2"
            assert peer.get("/").status == 200


def test_a_tls_client_on_a_cleartext_port_is_logged_with_what_it_should_do(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(lambda environ, start_response: [], h2c=True)
    peer = connect(server, preface=False, settings=None)
    peer.send_raw(bytes.fromhex("160301000501000001fc"))
    peer.wait_closed()
    assert "This port speaks HTTP/2 in cleartext only" in caplog.text


def test_content_that_was_under_way_when_its_stream_was_answered_is_no_offence(
    serve: Serve, connect: Connect
) -> None:
    """Of tiny frames that nobody takes some are, as tests/attacks shows."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"well"]

    with connect(serve(app, max_glitches=20)) as peer:
        for _ in range(3):
            stream_id = peer.request("POST", end_stream=False)
            peer.response(stream_id)
            for _ in range(30):
                peer.data(stream_id, bytes(2_000))
        peer.roundtrip()
        assert peer.get().status == 200
