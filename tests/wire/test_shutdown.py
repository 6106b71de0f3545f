"""How a server ends: announced, true about what it served, and never held up for ever."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from conftest import Connect, Serve
from h2wsgi import ClientDisconnected
from h2wsgi.http2 import closing as ending
from h2wsgi.server import accept
from h2wsgi.server import server as server_module
from support.load_client import client_context
from support.peer import PREFACE, Code, Peer, Setting, Type
from support.process import LONG_ECHO, ServerProcess
from support.settled import PATIENCE, eventually, settle, wait_blocked

ANNOUNCED = 2**31 - 1
MUCH = 6 * PATIENCE
"""Seconds for what goes through a small buffer."""
PROMPT = 2.0
"""Seconds in which a server without requests stops."""
LOOPS = ("asyncio", "uvloop")

RECORDING = """
import os, time

FOLDER = os.path.dirname(os.path.abspath(__file__))
RECORD = os.open(os.path.join(FOLDER, "record"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
GO_ON = os.path.join(FOLDER, "go-on")

def app(environ, start_response):
    path = environ["PATH_INFO"]
    os.write(RECORD, path.encode() + b"\\n")
    write = start_response("200 OK", [("content-type", "text/plain")])
    write(b"begun ")
    while path.startswith("/wait") and not os.path.exists(GO_ON):
        time.sleep(0.01)
    while path.startswith("/stuck"):
        time.sleep(0.1)
    return [b"ended " + path.encode()]
"""


def recorded(folder: Path) -> list[str]:
    """Return the paths of the requests that reached the application."""
    record = folder / "record"
    return record.read_text().split() if record.exists() else []


def ask(peer: Peer, paths: dict[int, str], count: int) -> None:
    """Send requests, each with a path of its own."""
    for _ in range(count):
        path = f"/wait/{id(peer)}/{len(paths)}"
        paths[peer.request(path=path)] = path


def assert_true_to_its_word(peer: Peer, paths: dict[int, str], last: int, reached: set[str]):
    """Every stream up to the last has its whole response; none above reached the application."""
    for stream_id, path in paths.items():
        if stream_id <= last:
            response = peer.responses[stream_id]
            assert response.ended, f"stream {stream_id} of {last} was not finished"
            assert response.body == b"begun ended " + path.encode()
        else:
            assert path not in reached, f"stream {stream_id}, above {last}, was run"
            assert stream_id not in peer.responses


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("options", [(), ("--h2c",)], ids=["tls", "cleartext"])
def test_a_signal_while_50_requests_run_ends_them_all_truthfully(
    tmp_path: Path, number: int, options: tuple[str, ...]
) -> None:
    with ServerProcess(tmp_path, RECORDING, *options) as server:
        tls = not options
        peers = [server.connect(tls=tls) for _ in range(2)]
        paths: list[dict[int, str]] = [{}, {}]
        for peer, mine in zip(peers, paths, strict=True):
            peer.auto_ack_ping = False
            ask(peer, mine, 25)
        eventually(lambda: len(recorded(tmp_path)) == 50, "50 requests to run")
        server.signal(number)
        finals = []
        for peer, mine in zip(peers, paths, strict=True):
            first = peer.wait_goaway()
            assert (first.last_stream_id, first.error_code) == (ANNOUNCED, Code.NO_ERROR)
            ask(peer, mine, 5)  # on their way when the server said so
            for ping in [f for f in peer.log if f.type == Type.PING and not f.ack]:
                peer.ping(ping.payload, ack=True)
            final = peer.wait_goaway()
            assert final.error_code == Code.NO_ERROR
            finals.append(final.last_stream_id)
            assert 49 <= finals[-1] <= max(mine)
            ask(peer, mine, 5)  # too late
            peer.roundtrip()
        (tmp_path / "go-on").touch()
        for peer in peers:
            peer.wait_closed()
        assert server.exit_code(PATIENCE) == 0
        reached = set(recorded(tmp_path))
        for peer, mine, last in zip(peers, paths, finals, strict=True):
            assert_true_to_its_word(peer, mine, last, reached)
            peer.close()


def test_a_client_that_never_stops_asking_learns_what_was_served(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, RECORDING) as server, server.connect(tls=True) as peer:
        (tmp_path / "go-on").touch()
        paths: dict[int, str] = {}
        asked = threading.Event()
        ask(peer, paths, 10)
        eventually(lambda: len(recorded(tmp_path)) == 10, "requests to run")
        server.signal(signal.SIGTERM)
        goaways: list[int] = []
        with contextlib.suppress(AssertionError):  # until the connection ends
            while not asked.is_set():
                ask(peer, paths, 1)
                peer.read_available(0.001)
        peer.wait_closed()
        goaways = [f.last_stream_id or 0 for f in peer.log if f.type == Type.GOAWAY]
        assert goaways[0] == ANNOUNCED
        assert len(goaways) == 2
        assert server.exit_code(PATIENCE) == 0
        assert_true_to_its_word(peer, paths, goaways[-1], set(recorded(tmp_path)))


def test_a_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, RECORDING) as server, server.connect() as peer:
        peer.request(path="/stuck")
        eventually(lambda: recorded(tmp_path), "the request to run")
        server.signal(signal.SIGTERM)
        peer.wait_goaway()
        start = time.monotonic()
        server.signal(signal.SIGINT)
        assert server.exit_code(PATIENCE) == 128 + signal.SIGINT
        assert time.monotonic() - start < 3


def test_a_signal_that_comes_twice_at_once_counts_once(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path, RECORDING, entry=LONG_ECHO) as server,
        server.connect() as peer,
    ):
        stream_id = peer.request(path="/wait")
        peer.wait_data(stream_id, len(b"begun "))
        # As from ``timeout``: to the process, and to its group.
        server.signal(signal.SIGTERM)
        peer.wait_goaway()  # or the system would make one of the two
        server.signal(signal.SIGTERM)
        peer.roundtrip()
        (tmp_path / "go-on").touch()
        assert peer.response(stream_id).body == b"begun ended /wait"
        assert server.exit_code(PATIENCE) == 0


def test_the_same_signal_a_while_later_ends_the_process_at_once(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, RECORDING) as server, server.connect() as peer:
        peer.request(path="/stuck")
        eventually(lambda: recorded(tmp_path), "the request to run")

        def ends() -> bool:
            server.signal(signal.SIGTERM)
            return server.process.poll() is not None

        eventually(ends, "the signal to count")
        assert server.exit_code(PATIENCE) == 128 + signal.SIGTERM


@pytest.mark.parametrize("client", ["stays", "left", "reset"])
def test_an_application_stuck_for_ever_does_not_outlive_the_graceful_timeout(
    tmp_path: Path, client: str
) -> None:
    with ServerProcess(tmp_path, RECORDING, "--graceful-timeout", "0.5") as server:
        with server.connect() as peer:
            stream_id = peer.request(path="/stuck")
            # Only then is it stuck: a write() to a client that is gone would end it.
            peer.wait_data(stream_id, len(b"begun "))
            if client == "left":
                peer.abort()
            elif client == "reset":
                peer.rst_stream(stream_id)
                peer.roundtrip()
            server.signal(signal.SIGTERM)
            if client == "stays":
                assert peer.wait_reset(stream_id) == Code.CANCEL
            assert server.exit_code(PATIENCE) == 0
        events = [line["message"] for line in server.lines() if "message" in line]
        assert any("did not return" in event for event in events)


def test_a_signal_without_any_connection_ends_the_process(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, RECORDING) as server:
        server.ready()
        start = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.exit_code(PATIENCE) == 0
        assert time.monotonic() - start < 3


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def test_standard_error_that_nobody_reads_stalls_nothing(tmp_path: Path) -> None:
    """A terminal stopped with Ctrl-S; here a pipe, full after a few hundred lines."""
    unread, blocked = os.pipe()
    address = f"{tmp_path}/h2.sock"
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, unread)
        with contextlib.ExitStack() as writing:
            writing.callback(os.close, blocked)
            server = stack.enter_context(
                ServerProcess(
                    tmp_path, RECORDING, "--h2c", f"--bind=unix:{address}", stderr=blocked
                )
            )
        # Not the file: it is there from bind() on, and refuses whoever connects until listen().
        eventually(lambda: _accepts(address), "the server to accept", 30)
        peer = stack.enter_context(Peer.connect(address, tls=False))
        path = "/" + "x" * 500
        for _ in range(40):
            for stream_id in [peer.request(path=path) for _ in range(50)]:
                assert peer.response(stream_id).ended
        server.signal(signal.SIGTERM)
        assert peer.wait_goaway().last_stream_id == ANNOUNCED
        peer.wait_closed()
        assert server.exit_code(PATIENCE) == 0


# -------------------------------------------------------------------------- in a thread


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("h2c", [False, True], ids=["tls", "cleartext"])
def test_idle_clients_cost_a_stop_in_a_thread_nothing(serve: Serve, h2c: bool, loop: str) -> None:
    """Some 35 ms; with the patience that clients on a network get it would be 500, over TLS 1,500.

    The best of five, as a busy machine may hold up any of them.
    """
    seconds = []
    for _ in range(5):
        server = serve(hello, h2c=h2c, loop=loop, graceful_timeout=30, record=True)
        context = httpx.create_ssl_context() if h2c else server.ssl_context()
        with httpx.Client(http2=True, http1=False, verify=context) as idle:
            assert idle.get(server.url).status_code == 200
            start = time.monotonic()
            server.stop()
            seconds.append(time.monotonic() - start)
            (connection,) = server.connections
            assert [goaway.last_stream_id for goaway in connection.goaways] == [ANNOUNCED, 1]
    assert min(seconds) < 0.25


def test_an_idle_client_goes_at_once_beside_a_running_request(
    serve: Serve, connect: Connect
) -> None:
    go_on = threading.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/wait":
            assert go_on.wait(PATIENCE)
        return hello(environ, start_response)

    server = serve(app, graceful_timeout=2 * PATIENCE)
    busy, idle = connect(server), connect(server)
    assert idle.get().body == b"hello"
    stream_id = busy.request(path="/wait")
    eventually(lambda: server.server.busy_threads == 1, "the request to run")
    stopping = stop_in_thread(server)
    idle.wait_closed()
    assert stopping.is_alive()
    go_on.set()
    assert busy.response(stream_id).body == b"hello"
    stopping.join(PATIENCE)
    assert not stopping.is_alive()


def test_time_that_is_up_is_up_for_a_client_that_does_not_hang_up(
    serve: Serve, connect: Connect
) -> None:
    """Some 0.1 s; TLS would wait for a second for its end. The best of three, as above."""

    def app(environ, start_response):
        environ["wsgi.input"].read()
        return hello(environ, start_response)

    seconds = []
    for _ in range(3):
        server = serve(app, graceful_timeout=0)
        peer = connect(server)
        stream_id = peer.request(method="POST", end_stream=False)
        peer.data(stream_id, b"content", end_stream=False)
        peer.roundtrip()
        start = time.monotonic()
        server.stop()
        seconds.append(time.monotonic() - start)
        assert peer.wait_reset(stream_id) == Code.CANCEL
    assert min(seconds) < 0.5


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_client_that_asked_at_the_end_has_time_to_read_its_answer(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """It is slow, and sends on: were our socket closed, many would fail and read no more."""
    monkeypatch.setattr(ending, "LINGER", 1.0)
    monkeypatch.setattr(ending, "SETTLED", 1.0)
    go_on = threading.Event()

    def app(environ, start_response):
        assert go_on.wait(PATIENCE)
        return hello(environ, start_response)

    server = serve(app, h2c=True, graceful_timeout=2 * PATIENCE)
    peer = connect(server)
    peer.wait_settings_ack()
    stream_id = peer.request() if when == "before" else 1
    peer.roundtrip()
    stopping = stop_in_thread(server)
    peer.wait_goaway()
    if when == "meanwhile":
        stream_id = peer.request()
    go_on.set()
    eventually(lambda: server.server.running_requests == 0, "the answer to leave")
    for _ in range(3):
        stopping.join(20 * ending.AT_HAND)
        peer.ping(b"here yet")
    assert peer.response(stream_id).body == b"hello"
    assert peer.wait_closed() == "end of file"
    stopping.join(PATIENCE)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("h2c", [False, True], ids=["tls", "cleartext"])
def test_a_server_in_a_thread_stops_promptly_under_idle_clients(
    serve: Serve, connect: Connect, h2c: bool, loop: str
) -> None:
    """None of them reads, answers PING or hangs up; one has not said a word yet."""
    server = serve(hello, h2c=h2c, loop=loop, graceful_timeout=30)
    for _ in range(5):
        assert connect(server).get().body == b"hello"
    connect(server, preface=False, settings=None)
    port = int(server.url.rstrip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(b"" if h2c else b"\x16\x03")
        eventually(lambda: server.server.open_connections == 7, "all to be connected")
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < PROMPT
    assert server.server.open_connections == 0


def test_nobody_can_connect_once_a_server_stops(serve: Serve, connect: Connect) -> None:
    go_on = threading.Event()

    def app(environ, start_response):
        assert go_on.wait(PATIENCE)
        return hello(environ, start_response)

    server = serve(app)
    peer = connect(server)
    stream_id = peer.request()
    eventually(lambda: server.server.busy_threads == 1, "the request to run")
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    peer.wait_goaway()
    with pytest.raises(OSError, match=r"refused|reset"):
        connect(server)
    go_on.set()
    assert peer.response(stream_id).body == b"hello"
    stopping.join(PATIENCE)
    assert not stopping.is_alive()


def stop_in_thread(server) -> threading.Thread:
    thread = threading.Thread(target=server.stop)
    thread.start()
    return thread


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_whose_handshake_the_stop_overtakes_is_served_and_told(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    """Its first request comes with the end of the handshake: a reset would leave it in doubt."""
    monkeypatch.setattr(accept, "HANDSHAKE_GRACE_AT_HAND", PATIENCE)
    server = serve(hello, loop=loop, graceful_timeout=2 * PATIENCE)
    first = connect(server)
    port = int(server.url.rstrip("/").rpartition(":")[2])
    with client_context().wrap_socket(
        socket.socket(), server_hostname="localhost", do_handshake_on_connect=False
    ) as sock:
        sock.connect(("127.0.0.1", port))
        eventually(lambda: server.server.open_connections == 2, "the connection to be accepted")
        stopping = stop_in_thread(server)
        first.wait_goaway()
        sock.do_handshake()
        with Peer(sock) as peer:
            stream_id = peer.request()
            assert peer.wait_goaway().last_stream_id == ANNOUNCED
            assert peer.wait_goaway().last_stream_id == stream_id
            assert peer.response(stream_id).body == b"hello"
            peer.wait_closed()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_whose_preface_comes_after_the_stop_is_served_and_told(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    monkeypatch.setattr(ending, "DRAIN_WAIT", PATIENCE)
    monkeypatch.setattr(ending, "AT_HAND", PATIENCE)
    server = serve(hello, h2c=True, loop=loop, graceful_timeout=2 * PATIENCE)
    first = connect(server)
    late = connect(server, preface=False, settings=None)
    eventually(lambda: server.server.open_connections == 2, "the connections to be accepted")
    stopping = stop_in_thread(server)
    first.wait_goaway()
    late.send_raw(PREFACE)
    late.settings()
    stream_id = late.request()
    assert late.wait_goaway().last_stream_id == ANNOUNCED
    assert late.wait_goaway().last_stream_id == stream_id
    assert late.response(stream_id).body == b"hello"
    late.wait_closed()
    first.wait_closed()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()


@pytest.mark.parametrize("loop", LOOPS)
def test_uploads_and_queued_requests_finish_after_goaway(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    for limit in ("SLOW_CLIENT", "BUSY_CLIENT"):  # an upload may take seconds to come
        monkeypatch.setattr(server_module, limit, 1e9)

    def app(environ, start_response):
        content = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [b"%d" % len(content)]

    server = serve(app, threads=1, max_threads=2, graceful_timeout=20, loop=loop)
    peer = connect(server)
    peer.wait_settings_ack()
    streams = [peer.request("POST", end_stream=False) for _ in range(6)]
    for stream_id in streams:
        peer.upload(stream_id, bytes(1000), end_stream=False)
    peer.roundtrip()
    stopping = stop_in_thread(server)
    peer.wait_goaway()
    assert peer.wait_goaway().last_stream_id == streams[-1]
    for stream_id in streams:
        peer.upload(stream_id, bytes(300_000))
    for stream_id in streams:
        assert peer.response(stream_id).body == b"301000"
    peer.wait_closed()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("waits_for", ["content", "window", "nothing yet"])
def test_at_the_end_of_the_graceful_timeout_every_wait_ends(
    serve: Serve, connect: Connect, waits_for: str, loop: str
) -> None:
    outcomes: list[BaseException] = []
    called: list[str] = []

    def app(environ, start_response):
        called.append(environ["PATH_INFO"])
        try:
            if waits_for == "content":
                environ["wsgi.input"].read()
            write = start_response("200 OK", [])
            while True:
                write(bytes(16_384))
        except ClientDisconnected as error:
            outcomes.append(error)
            raise

    threads = 4 if waits_for != "nothing yet" else 1
    most = 2 * threads - 1  # of which one connection may have 1, or 4
    server = serve(app, threads=threads, max_threads=most, graceful_timeout=0.3, loop=loop)
    peer = connect(server, settings={Setting.INITIAL_WINDOW_SIZE: 0})
    streams = [peer.request("POST", end_stream=False) for _ in range(4)]
    peer.roundtrip()
    wait_blocked(server, threads)
    server.stop()
    for stream_id in streams:
        assert peer.wait_reset(stream_id) == Code.CANCEL
    peer.wait_closed()
    assert len(outcomes) == len(called) == threads
    settle(server)


def test_a_client_that_sends_on_for_a_second_still_reads_its_end(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing before would have the kernel answer what comes with a reset."""
    for wait in ("LINGER", "AT_HAND"):  # as for one that is far away, on a busy machine
        monkeypatch.setattr(ending, wait, 0.6)
    server = serve(
        lambda environ, start: (start("200 OK", []), [b"hello"])[1], bind_h2c="127.0.0.1:0"
    )
    peer = connect(server)
    peer.roundtrip()
    stream_id = peer.request()
    stopping = stop_in_thread(server)
    for _ in range(20):
        peer.ping(b"sends on")
        stopping.join(0.05)
    assert peer.response(stream_id).body == b"hello"
    peer.wait_goaway()
    assert peer.wait_goaway().last_stream_id == stream_id
    assert peer.wait_closed() == "end of file"
    stopping.join(PATIENCE)


def test_a_response_that_is_whole_when_the_server_stops_arrives(
    serve: Serve, connect: Connect
) -> None:
    """Through a small socket buffer, slowly: closing must not cut off its end."""
    body = bytes(range(256)) * 8_000
    server = serve(lambda environ, start: (start("200 OK", []), [body])[1], graceful_timeout=MUCH)
    peer = connect(
        server,
        settings={Setting.INITIAL_WINDOW_SIZE: 1 << 30},
        window=1 << 30,
        receive_buffer=4096,
    )
    stream_id = peer.request()
    peer.wait_headers(stream_id)
    stopping = stop_in_thread(server)
    assert peer.response(stream_id, MUCH).body == body
    peer.wait_closed()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()


@pytest.mark.parametrize("h2c", [False, True], ids=["tls", "cleartext"])
def test_a_response_that_only_the_kernel_holds_when_the_server_stops_arrives(
    serve: Serve, connect: Connect, h2c: bool
) -> None:
    """Its client has read none of it, and says something: a closed socket would drop the rest."""
    body = bytes(range(256)) * 400
    server = serve(lambda environ, start: (start("200 OK", []), [body])[1], h2c=h2c)
    peer = connect(
        server,
        settings={Setting.INITIAL_WINDOW_SIZE: 1 << 30},
        window=1 << 30,
        receive_buffer=4096,
    )
    peer.wait_settings_ack()
    stream_id = peer.request()
    eventually(lambda: server.server.running_requests == 0, "the response to leave")
    stopping = stop_in_thread(server)
    stopping.join(20 * ending.AT_HAND)
    peer.ping(b"here yet")
    assert peer.response(stream_id).body == body
    peer.wait_closed()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()


@pytest.mark.parametrize("engine", ["fast", "h2"])
def test_a_whole_response_is_not_reset_with_an_error_by_a_stop(
    serve: Serve, connect: Connect, engine: str
) -> None:
    """The application reads on behind it. Clients drop a response for any code but NO_ERROR."""

    def app(environ, start_response):
        write = start_response("200 OK", [("content-length", "5")])
        write(b"whole")
        environ["wsgi.input"].read()
        return []

    server = serve(app, engine=engine, graceful_timeout=0.3)
    peer = connect(server)
    stream_id = peer.request("POST", end_stream=False)
    assert peer.wait_data(stream_id, 5) == b"whole"
    wait_blocked(server)
    server.stop()
    assert peer.wait_reset(stream_id) == Code.NO_ERROR
    assert peer.responses[stream_id].ended
    settle(server)


def test_stopping_twice_and_from_two_threads_is_harmless(serve: Serve, connect: Connect) -> None:
    server = serve(hello)
    assert connect(server).get().body == b"hello"
    both = [stop_in_thread(server) for _ in range(2)]
    for thread in both:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    server.stop()


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_stops_cleanly_while_clients_come_and_go(serve: Serve, loop: str) -> None:
    """Handshakes, requests and hang-ups in every state; nothing may stay behind."""
    server = serve(hello, loop=loop, graceful_timeout=2)
    port = int(server.url.rstrip("/").rpartition(":")[2])
    stopped = threading.Event()
    answered = []

    def come_and_go() -> None:
        while not stopped.is_set():
            with (
                contextlib.suppress(OSError, AssertionError),
                Peer.connect(("127.0.0.1", port)) as peer,
            ):
                answered.append(peer.get(timeout=PATIENCE).body)

    clients = [threading.Thread(target=come_and_go) for _ in range(4)]
    for client in clients:
        client.start()
    eventually(lambda: len(answered) > 20, "some requests to be served")
    server.stop()
    stopped.set()
    for client in clients:
        client.join(2 * PATIENCE)
        assert not client.is_alive()
    settle(server)
    assert set(answered) <= {b"hello", b""}
