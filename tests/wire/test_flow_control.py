"""Flow control both ways: windows, ceilings and budgets hold, and hold up nobody else."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi.codes import FRAME_LIMIT
from h2wsgi.http2.outflow import LARGEST_BATCH
from h2wsgi.seam.stream import Stream
from h2wsgi.server import server as server_module
from support.peer import Code, Peer, Setting, StreamReset, Type, one_write
from support.settled import PATIENCE, eventually, settle, wait_blocked, waiting_on_clients

LARGE = 1 << 30
OPEN_WINDOWS: dict[str, Any] = {
    "settings": {Setting.INITIAL_WINDOW_SIZE: LARGE},
    "window": LARGE,
}
NO_WINDOW = {Setting.INITIAL_WINDOW_SIZE: 0}
LOOPS = ("asyncio", "uvloop")
MUCH = 6 * PATIENCE
"""Seconds for what is much work, or takes many turns."""


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


def endless(environ, start_response):
    """Write for ever, a chunk at a time; /hello is the exception."""
    if environ["PATH_INFO"] == "/hello":
        return hello(environ, start_response)
    write = start_response("200 OK", [])
    while True:
        write(bytes(16_384))


def sized(environ, start_response):
    """Answer with as many octets as the path says, all at once for /list, else in pieces."""
    _, form, octets = environ["PATH_INFO"].split("/")
    body = pattern(int(octets))
    start_response("200 OK", [])
    if form == "list":
        return [body]
    return (body[start : start + 10_000] for start in range(0, len(body), 10_000))


def pattern(octets: int) -> bytes:
    return (b"0123456789abcdef" * (octets // 16 + 1))[:octets]


def digest(environ, start_response):
    """Read the content and answer with its digest."""
    sha = hashlib.sha256()
    source = environ["wsgi.input"]
    while data := source.read1():
        sha.update(data)
    start_response("200 OK", [])
    return [sha.hexdigest().encode()]


# ------------------------------------------------------------- windows of the peer's making


def test_a_closed_window_stalls_no_other_stream_of_the_connection(
    serve: Serve, connect: Connect
) -> None:
    server = serve(endless)
    peer = connect(server)
    peer.auto_window = False
    stuck = peer.request()
    wait_blocked(server)
    peer.window_update(0, LARGE)
    for _ in range(20):
        stream_id = peer.request(path="/hello")
        assert peer.response(stream_id).body == b"hello"
    assert peer.responses[stuck].received == 65_535


def test_a_closed_window_stalls_no_other_connection(serve: Serve, connect: Connect) -> None:
    server = serve(endless)
    stuck = connect(server, settings=NO_WINDOW)
    for _ in range(100):
        stuck.request()
    wait_blocked(server, 100)
    other = connect(server)
    for _ in range(20):
        assert other.get("/hello").body == b"hello"


@pytest.mark.parametrize("path", ["/list/3000000", "/pieces/3000000"])
def test_streams_that_are_not_read_stall_no_other_stream_at_the_ceiling(
    serve: Serve, connect: Connect, path: str
) -> None:
    """Their octets fill all that the connection may hold, and yet a stream that is read goes on."""
    server = serve(sized)
    peer = connect(server, settings=NO_WINDOW, window=LARGE)
    peer.wait_settings_ack()
    for _ in range(99):
        peer.request(path=path)
    (protocol,) = server.server._protocols
    handover = protocol.connection._handover
    eventually(lambda: handover.unsent >= server.server.config.connection_buffer, "the ceiling")
    for octets in (5, 500_000):
        for form in ("list", "pieces"):
            stream_id = peer.request(path=f"/{form}/{octets}")
            peer.window_update(stream_id, octets)
            assert peer.response(stream_id).body == pattern(octets)


def test_what_is_not_read_is_bounded_by_the_ceiling(serve: Serve, connect: Connect) -> None:
    """However many complete responses wait: the ceiling, and for each stream its own buffer."""
    server = serve(sized, connection_buffer=1_000_000)
    config = server.server.config
    peer = connect(server, settings=NO_WINDOW, window=LARGE)
    peer.wait_settings_ack()
    streams = [peer.request(path="/list/500000") for _ in range(60)]
    (protocol,) = server.server._protocols
    handover = protocol.connection._handover
    eventually(lambda: waiting_on_clients(server) >= 57, "the others to wait")
    assert handover.unsent <= 1_000_000 + 500_000 + len(streams) * config.stream_buffer
    peer.settings({Setting.INITIAL_WINDOW_SIZE: 500_000})
    for stream_id in streams:
        assert peer.response(stream_id, MUCH).received == 500_000
    settle(server, connections=1)


def test_a_window_of_one_octet_delivers_everything(serve: Serve, connect: Connect) -> None:
    server = serve(sized)
    peer = connect(server, settings={Setting.INITIAL_WINDOW_SIZE: 1})
    response = peer.get("/pieces/300", timeout=MUCH)
    assert response.body == pattern(300)
    assert {len(chunk) for chunk in response.chunks} <= {0, 1}


def test_a_connection_window_opened_octet_by_octet_serves_every_stream(
    serve: Serve, connect: Connect
) -> None:
    server = serve(sized)
    peer = connect(server)
    peer.auto_window = False
    peer.settings({Setting.INITIAL_WINDOW_SIZE: LARGE})
    peer.wait_settings_ack()
    first = peer.request(path="/list/65535")
    assert len(peer.response(first).body) == 65_535
    streams = [peer.request(path="/list/30") for _ in range(5)]
    for _ in range(150):
        peer.window_update(0, 1)
    for stream_id in streams:
        assert peer.response(stream_id).body == pattern(30)


def test_a_negative_window_waits_until_it_is_positive_again(serve: Serve, connect: Connect) -> None:
    server = serve(sized)
    peer = connect(server)
    peer.auto_window = False
    peer.window_update(0, LARGE)
    other = peer.request(path="/list/70000")
    peer.wait_data(other, 65_535)
    peer.settings({Setting.INITIAL_WINDOW_SIZE: 10_000})
    peer.wait_settings_ack()
    assert peer.receive_window(other) == 10_000 - 65_535
    peer.window_update(other, 65_535 - 10_000)
    peer.roundtrip()
    assert peer.responses[other].received == 65_535
    peer.window_update(other, 1)
    peer.wait_data(other, 65_536)
    peer.window_update(other, LARGE)
    assert peer.response(other).received == 70_000


def test_a_larger_initial_window_alone_lets_streams_go_on(serve: Serve, connect: Connect) -> None:
    server = serve(sized)
    peer = connect(server, settings=NO_WINDOW)
    streams = [peer.request(path="/pieces/5000") for _ in range(10)]
    for stream_id in streams:
        peer.wait_headers(stream_id)
    assert not any(peer.responses[stream_id].received for stream_id in streams)
    peer.settings({Setting.INITIAL_WINDOW_SIZE: 5000})
    for stream_id in streams:
        assert peer.response(stream_id).received == 5000


def test_streams_share_a_scarce_connection_window(serve: Serve, connect: Connect) -> None:
    """None gets everything while another waits."""
    server = serve(endless)
    peer = connect(server, settings={Setting.INITIAL_WINDOW_SIZE: LARGE})
    peer.auto_window = False
    streams = [peer.request() for _ in range(4)]
    peer.wait_until(lambda: peer.data_received[0] == 65_535, "the window to be used up")
    eventually(lambda: waiting_on_clients(server) == 4, "all four to wait")
    for _ in range(16):
        peer.window_update(0, 16_384)
        expected = peer.data_received[0] + 16_384
        peer.wait_until(lambda at=expected: peer.data_received[0] == at, "one more frame")
    received = [peer.responses[stream_id].received for stream_id in streams]
    assert min(received) >= 3 * 16_384


# ------------------------------------------------------------------- a client that is slow


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("h2c", [False, True], ids=["tls", "cleartext"])
def test_a_client_that_reads_no_octet_blocks_the_application(
    serve: Serve, connect: Connect, h2c: bool, loop: str
) -> None:
    """With all windows open: what is held is the stream's buffer, the transport's and TCP's."""
    produced = []

    def app(environ, start_response):
        write = start_response("200 OK", [])
        while True:
            write(bytes(16_384))
            produced.append(16_384)

    server = serve(app, h2c=h2c, loop=loop)
    peer = connect(server, receive_buffer=4096, **OPEN_WINDOWS)
    stream_id = peer.request()
    wait_blocked(server)
    (protocol,) = server.server._protocols
    eventually(lambda: protocol.write_paused, "the transport to be full")
    held = protocol.transport.get_write_buffer_size()
    assert held <= LARGEST_BATCH + FRAME_LIMIT
    assert protocol.connection._handover.unsent < server.server.config.stream_buffer + 65_536
    before = sum(produced)
    peer.wait_data(stream_id, before + 1_000_000)
    eventually(lambda: sum(produced) > before, "the application to go on")


def test_a_client_that_reads_slowly_gets_everything_in_order(
    serve: Serve, connect: Connect
) -> None:
    server = serve(sized)
    peer = connect(server, receive_buffer=4096, **OPEN_WINDOWS)
    assert peer.get("/pieces/3000000", timeout=MUCH).body == pattern(3_000_000)


# ------------------------------------------------------------------------------- uploads


def test_an_upload_that_nobody_reads_stops_at_its_window(serve: Serve, connect: Connect) -> None:
    go_on = threading.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/hello":
            return hello(environ, start_response)
        assert go_on.wait(PATIENCE)
        return digest(environ, start_response)

    server = serve(app)
    peer = connect(server)
    stream_id = peer.request("POST", end_stream=False)
    peer.wait_settings()
    content = pattern(300_000)
    peer.upload(stream_id, content[:262_144], end_stream=False)
    peer.roundtrip()
    assert peer.send_window(stream_id) == 0
    assert peer.connection_send_window > 0, "the connection's credit returns at once"
    assert peer.get("/hello").body == b"hello"
    go_on.set()
    peer.upload(stream_id, content[262_144:])
    assert peer.response(stream_id).body == hashlib.sha256(content).hexdigest().encode()


def test_unread_uploads_on_one_connection_leave_room_for_another(
    serve: Serve, connect: Connect
) -> None:
    """Invariant 4: queued uploads do not starve the ones that run."""
    go_on = threading.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/stuck":
            assert go_on.wait(PATIENCE)
        return digest(environ, start_response)

    server = serve(app)
    peer = connect(server)
    content = pattern(262_144)
    stuck = [peer.request("POST", "/stuck", end_stream=False) for _ in range(8)]
    for stream_id in stuck:
        peer.upload(stream_id, content, end_stream=False)
    running = peer.request("POST", "/", end_stream=False)
    peer.upload(running, content * 8)
    assert peer.response(running).body == hashlib.sha256(content * 8).hexdigest().encode()
    go_on.set()
    for stream_id in stuck:
        peer.data(stream_id, b"", end_stream=True)
        assert peer.response(stream_id).body == hashlib.sha256(content).hexdigest().encode()
    settle(server, connections=1)


def test_a_hundred_uploads_at_once_on_one_connection_all_finish(
    serve: Serve, connect: Connect
) -> None:
    server = serve(digest, threads=64)
    peer = connect(server)
    peer.wait_settings()
    content = pattern(400_000)
    streams = [peer.request("POST", end_stream=False) for _ in range(100)]
    for start in range(0, len(content), 10_000):
        for stream_id in streams:
            peer.upload(stream_id, content[start : start + 10_000], end_stream=False)
    for stream_id in streams:
        peer.data(stream_id, b"", end_stream=True)
    expected = hashlib.sha256(content).hexdigest().encode()
    assert [peer.response(stream_id).body for stream_id in streams] == [expected] * 100
    settle(server, connections=1)


def test_more_uploads_than_threads_finish_though_their_clients_send_in_turn(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one thread: those that wait for it may fill their windows and no more."""
    for limit in ("SLOW_CLIENT", "BUSY_CLIENT"):  # the last may take seconds to come
        monkeypatch.setattr(server_module, limit, 1e9)
    server = serve(digest, threads=1, max_threads=1)
    peer = connect(server)
    peer.wait_settings()
    content = pattern(200_000)
    streams = [peer.request("POST", end_stream=False) for _ in range(20)]
    for stream_id in reversed(streams):
        peer.upload(stream_id, content)
    expected = hashlib.sha256(content).hexdigest().encode()
    assert [peer.response(stream_id).body for stream_id in streams] == [expected] * 20


def test_an_upload_whose_application_ends_early_is_told_to_stop(
    serve: Serve, connect: Connect
) -> None:
    """Section 8.1: a whole response, then RST_STREAM(NO_ERROR); its credit is not lost."""
    server = serve(hello)
    peer = connect(server)
    peer.wait_settings()
    for _ in range(10):
        stream_id = peer.request("POST", end_stream=False)
        peer.data(stream_id, bytes(16_384))
        response = peer.response(stream_id)
        assert (response.status, response.body) == (200, b"hello")
        assert peer.wait_reset(stream_id) == Code.NO_ERROR
        for _ in range(15):
            peer.data(stream_id, bytes(16_384))
    peer.roundtrip()
    assert peer.connection_send_window > 1_048_576 // 2
    settle(server, connections=1)


def test_padding_returns_to_both_windows(serve: Serve, connect: Connect) -> None:
    server = serve(digest, max_empty_frames=0, max_glitches=0, min_rate=0, read_timeout=0)
    peer = connect(server)
    peer.wait_settings()
    stream_id = peer.request("POST", end_stream=False)
    for _ in range(20_000):
        if peer.send_window(stream_id) < 256 or peer.connection_send_window < 256:
            peer.wait_until(
                lambda: peer.send_window(stream_id) >= 256 and peer.connection_send_window >= 256,
                "the windows to open",
            )
        peer.data(stream_id, b"", padding=255)
        if peer.data_sent[0] > 3_000_000:
            break
    peer.data(stream_id, b"", end_stream=True)
    assert peer.response(stream_id).body == hashlib.sha256().hexdigest().encode()


def test_two_ways_at_once_each_chunk_answered_as_it_comes(serve: Serve, connect: Connect) -> None:
    def app(environ, start_response):
        start_response("200 OK", [])
        source = environ["wsgi.input"]
        return iter(lambda: source.read1(100_000)[::-1], b"")

    server = serve(app)
    peer = connect(server)
    stream_id = peer.request("POST", end_stream=False)
    received = 0
    for turn in range(200):
        message = b"message %d" % turn
        peer.data(stream_id, message)
        received += len(message)
        assert peer.wait_data(stream_id, received).endswith(message[::-1])
    peer.data(stream_id, b"", end_stream=True)
    assert peer.response(stream_id).ended


# ------------------------------------------------------------------ ceilings of the process


def blocked_then_digest(go_on: threading.Event, started: queue.SimpleQueue[str]) -> Any:
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/hello":
            return hello(environ, start_response)
        started.put(environ["PATH_INFO"])
        assert go_on.wait(PATIENCE)
        return digest(environ, start_response)

    return app


def refused_by_the_limit(peer: Peer, streams: list[int]) -> list[int]:
    """Return those of the streams that were refused: some, and with the code for it."""
    resets = {s: peer.responses[s].reset for s in streams if s in peer.responses}
    refused = [s for s, reset in resets.items() if reset is not None]
    assert refused
    assert {resets[s] for s in refused} == {Code.REFUSED_STREAM}
    return refused


def require_digests(peer: Peer, streams: list[int], content: bytes) -> None:
    expected = hashlib.sha256(content).hexdigest().encode()
    assert [peer.response(stream_id).body for stream_id in streams] == [expected] * len(streams)


def test_at_the_process_limit_unstarted_uploads_are_refused_and_running_ones_finish(
    serve: Serve, connect: Connect
) -> None:
    go_on, started = threading.Event(), queue.SimpleQueue[str]()
    server = serve(
        blocked_then_digest(go_on, started), max_buffered=1_048_576, threads=2, max_threads=2
    )
    peer = connect(server)
    peer.wait_settings()
    content = pattern(200_000)
    streams = [peer.request("POST", f"/{n}", end_stream=False) for n in range(8)]
    for stream_id in streams:
        with contextlib.suppress(StreamReset):
            peer.upload(stream_id, content, end_stream=False)
    peer.roundtrip()
    refused = refused_by_the_limit(peer, streams)
    go_on.set()
    kept = [s for s in streams if s not in refused]
    for stream_id in kept:
        peer.data(stream_id, b"", end_stream=True)
    require_digests(peer, kept, content)
    settle(server, connections=1)
    seen = {started.get() for _ in kept}
    assert started.empty(), "a refused request reached the application"
    assert len(seen) == len(kept)


def post_together(peer: Peer, requests: int, content: bytes) -> list[int]:
    """Send the field sections of all requests, then the content of each, as nghttp2 does."""
    with one_write(peer):
        streams = [peer.request("POST", f"/{n}", end_stream=False) for n in range(requests)]
        for stream_id in streams:
            peer.data(stream_id, content, end_stream=True)
    return streams


def test_content_that_comes_with_its_requests_counts_at_the_process_limit(
    serve: Serve, connect: Connect
) -> None:
    """It is counted a slice at a time; what no application has seen is refused all the same."""
    go_on, started = threading.Event(), queue.SimpleQueue[str]()
    server = serve(
        blocked_then_digest(go_on, started), max_buffered=1_048_576, threads=2, max_threads=2
    )
    peer = connect(server)
    peer.roundtrip()  # its window is open
    content = pattern(15_000)
    streams: list[int] = []
    while len(streams) < 90 and peer.connection_send_window > 10 * len(content):
        streams += post_together(peer, 10, content)
        peer.roundtrip()
    peer.roundtrip()  # what is refused when a slice ends may come behind the answer to its PING
    refused = refused_by_the_limit(peer, streams)
    assert 40 * len(content) < server.server.input_budget.used < 1_048_576 + 10 * len(content)
    go_on.set()
    kept = [s for s in streams if s not in refused]
    require_digests(peer, kept, content)
    settle(server, connections=1)
    assert started.qsize() == len(kept), "a refused request reached the application"


def test_content_that_comes_behind_many_requests_is_taken_without_a_lock(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bytes] = []
    receive_whole = Stream.receive_whole

    def counted(stream: Stream, data: bytes) -> None:
        taken.append(data)
        receive_whole(stream, data)

    monkeypatch.setattr(Stream, "receive_whole", counted)
    peer = connect(serve(digest))
    peer.wait_settings()
    content = pattern(600)  # all in one TLS record
    streams = post_together(peer, 20, content)
    require_digests(peer, streams, content)
    assert taken == [content] * 20


@pytest.mark.parametrize("loop", LOOPS)
def test_credit_withheld_at_the_process_limit_returns_when_the_application_reads(
    serve: Serve, connect: Connect, loop: str
) -> None:
    go_on, started = threading.Event(), queue.SimpleQueue[str]()
    server = serve(
        blocked_then_digest(go_on, started),
        max_buffered=1_048_576,
        threads=16,
        connection_window=65_535,
        loop=loop,
    )
    peer = connect(server)
    peer.wait_settings()
    streams = [peer.request("POST", f"/{n}", end_stream=False) for n in range(8)]
    for _ in streams:
        started.get(timeout=PATIENCE)
    content = pattern(262_144)
    sent = dict.fromkeys(streams, 0)
    # All applications have started, so nothing can be refused: the connection has to wait.
    while peer.data_sent[0] < 1_048_576 + 65_535:
        for stream_id in streams:
            room = min(peer.send_window(stream_id), peer.connection_send_window, 8192)
            if room > 0:
                peer.data(stream_id, content[sent[stream_id] : sent[stream_id] + room])
                sent[stream_id] += room
        peer.roundtrip()
        if peer.connection_send_window <= 0:
            break
    assert server.server.input_budget.full
    assert peer.connection_send_window <= 0
    go_on.set()
    for stream_id in streams:
        peer.upload(stream_id, content[sent[stream_id] :])
    require_digests(peer, streams, content)
    settle(server, connections=1)


def test_content_that_was_read_does_not_count_as_buffered(serve: Serve, connect: Connect) -> None:
    """Many streams that each wait for a little more never hold each other up.

    Credit goes back to a stream in steps; what is read between two steps is not in memory, and
    counted as if it were, the streams would fill the process's limit and wait for ever.
    """
    go_on, started = threading.Event(), queue.SimpleQueue[str]()
    go_on.set()
    server = serve(blocked_then_digest(go_on, started), max_buffered=1_048_576, threads=100)
    peer = connect(server)
    peer.wait_settings()
    content = pattern(40_000)
    streams = [peer.request("POST", end_stream=False) for _ in range(60)]
    for _ in streams:
        started.get(timeout=PATIENCE)
    for start in range(0, len(content), 8_000):
        for stream_id in streams:
            peer.upload(stream_id, content[start : start + 8_000], end_stream=False)
    for stream_id in streams:
        peer.data(stream_id, b"", end_stream=True)
    expected = hashlib.sha256(content).hexdigest().encode()
    assert [peer.response(stream_id).body for stream_id in streams] == [expected] * 60
    settle(server, connections=1)


def test_content_that_an_application_left_unread_counts_no_longer_when_it_is_done(
    serve: Serve, connect: Connect
) -> None:
    server = serve(hello)
    peer = connect(server, settings=NO_WINDOW)
    peer.wait_settings_ack()
    for _ in range(4):
        stream_id = peer.request("POST", body=bytes(100_000))
        peer.wait_headers(stream_id)
    eventually(lambda: server.server.busy_threads == 0, "the applications to return")
    eventually(lambda: server.server.input_budget.used == 0, "their content to be forgotten")


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", ["FIN", "RST"])
@pytest.mark.parametrize("h2c", [False, True], ids=["tls", "cleartext"])
def test_a_client_lost_while_its_credit_is_withheld_hurts_no_neighbour(
    serve: Serve, connect: Connect, h2c: bool, way: str, loop: str
) -> None:
    go_on, started = threading.Event(), queue.SimpleQueue[str]()
    server = serve(
        blocked_then_digest(go_on, started),
        max_buffered=1_048_576,
        connection_window=65_535,
        h2c=h2c,
        loop=loop,
    )
    lost = [connect(server) for _ in range(2)]
    for peer in lost:
        peer.wait_settings()
        _fill_until_withheld(peer, server, started)
    assert server.server.input_budget.full
    neighbour = connect(server)
    for peer in lost:
        if way == "RST":
            peer.abort()
        else:
            peer.close()
    eventually(lambda: server.server.open_connections == 1, "the lost ones to be forgotten")
    assert neighbour.get("/hello").body == b"hello"
    go_on.set()
    settle(server, connections=1)
    upload = neighbour.request("POST", end_stream=False)
    neighbour.upload(upload, pattern(1_000_000))
    assert neighbour.response(upload).status == 200


def _fill_until_withheld(peer: Peer, server: Any, started: queue.SimpleQueue[str]) -> None:
    streams = []
    while not server.server.input_budget.full or peer.connection_send_window > 0:
        if not streams or peer.send_window(streams[-1]) <= 0:
            streams.append(peer.request("POST", end_stream=False))
            started.get(timeout=PATIENCE)
        room = min(peer.send_window(streams[-1]), peer.connection_send_window, 8192)
        if room > 0:
            peer.data(streams[-1], bytes(room))
        peer.roundtrip()


def test_at_the_process_limit_of_output_hand_overs_wait_and_go_on(
    serve: Serve, connect: Connect
) -> None:
    server = serve(sized, max_buffered=1_048_576)
    hoarders = [connect(server, settings=NO_WINDOW, window=LARGE) for _ in range(2)]
    for peer in hoarders:
        for _ in range(4):
            peer.request(path="/list/200000")
    eventually(lambda: server.server.output_budget.full, "the process to be full")
    other = connect(server)
    stream_id = other.request(path="/list/50000")
    eventually(
        lambda: any(
            stream.request.path == b"/list/50000"
            for protocol in list(server.server._protocols)
            for stream in list(protocol.connection._handover.ceiling_waiters)
        ),
        "the other client's response to wait",
    )
    for peer in hoarders:
        peer.close()
    assert other.response(stream_id).body == pattern(50_000)
    settle(server, connections=1)


def test_an_empty_data_frame_costs_no_window(serve: Serve, connect: Connect) -> None:
    server = serve(sized)
    peer = connect(server, settings=NO_WINDOW)
    response = peer.get("/list/0")
    assert response.ended
    assert response.body == b""


def test_the_end_of_a_response_needs_no_window(serve: Serve, connect: Connect) -> None:
    server = serve(sized)
    peer = connect(server, settings={Setting.INITIAL_WINDOW_SIZE: 1000})
    peer.auto_window = False
    response = peer.get("/pieces/1000")
    assert response.received == 1000
    assert not [frame for frame in peer.log if frame.type == Type.RST_STREAM]
