"""The seven invariants of the design, each under its name, and all of them under random abuse."""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi import BodyTooLarge, ClientDisconnected, ReadTimeout
from h2wsgi.http2 import connection as connection_module
from h2wsgi.server.running import ServerThread
from support.peer import (
    Code,
    ConnectionEnded,
    Peer,
    Setting,
    StreamReset,
    TimedOut,
    Type,
)
from support.settled import (
    PATIENCE,
    eventually,
    handover_remains,
    settle,
    wait_blocked,
    waiting_on_clients,
)

NO_WINDOW = {Setting.INITIAL_WINDOW_SIZE: 0}
LARGE = 1 << 30


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


class Recorder:
    """An application that does as ``act`` says, and keeps how it ended."""

    def __init__(self, act: Callable[[dict[str, Any], Any], Any]) -> None:
        self.act = act
        self.outcomes: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/hello":
            return hello(environ, start_response)
        try:
            body = self.act(environ, start_response)
        except BaseException as error:
            self.outcomes.put(error)
            raise
        self.outcomes.put(None)
        return body

    def outcome(self) -> BaseException | None:
        return self.outcomes.get(timeout=PATIENCE)


def read_all(environ, start_response):
    content = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [content]


def write_for_ever(environ, start_response):
    write = start_response("200 OK", [])
    while True:
        write(bytes(16_384))


# ------------------------------------------------------------------------ 1. every wait ends


def test_invariant_1_every_wait_ends_a_read_with_data(serve: Serve, connect: Connect) -> None:
    server = serve(read_all)
    peer = connect(server)
    stream_id = peer.request("POST", end_stream=False)
    for turn in range(50):
        wait_blocked(server)
        peer.data(stream_id, b"%d" % (turn % 10), end_stream=turn == 49)
    assert peer.response(stream_id).body == b"0123456789" * 5


@pytest.mark.parametrize("end", ["DATA", "trailers", "empty DATA"])
def test_invariant_1_every_wait_ends_a_read_with_the_end(
    serve: Serve, connect: Connect, end: str
) -> None:
    server = serve(read_all)
    peer = connect(server)
    stream_id = peer.request("POST", end_stream=False)
    wait_blocked(server)
    if end == "trailers":
        peer.headers(stream_id, [("checksum", "none")], end_stream=True)
    else:
        peer.data(stream_id, b"" if end.startswith("empty") else b"x", end_stream=True)
    assert peer.response(stream_id).body == (b"x" if end == "DATA" else b"")


def test_invariant_1_every_wait_ends_a_read_with_its_timeout(
    serve: Serve, connect: Connect
) -> None:
    recorder = Recorder(read_all)
    server = serve(recorder, read_timeout=0.2)
    peer = connect(server)
    stream_id = peer.request("POST", end_stream=False)
    assert peer.response(stream_id).status == 408
    assert isinstance(recorder.outcome(), ReadTimeout)
    settle(server, connections=1)


def test_invariant_1_every_wait_ends_a_write_with_its_timeout(
    serve: Serve, connect: Connect
) -> None:
    recorder = Recorder(write_for_ever)
    server = serve(recorder, write_timeout=0.2)
    peer = connect(server, settings=NO_WINDOW)
    stream_id = peer.request()
    assert peer.wait_reset(stream_id) == Code.CANCEL
    assert isinstance(recorder.outcome(), ClientDisconnected)
    settle(server, connections=1)


def test_invariant_1_every_wait_ends_a_complete_response_with_its_timeout(
    serve: Serve, connect: Connect
) -> None:
    """No thread waits any more, but the octets do."""
    server = serve(hello, write_timeout=0.2)
    peer = connect(server, settings=NO_WINDOW)
    stream_id = peer.request()
    assert peer.wait_reset(stream_id) == Code.CANCEL
    settle(server, connections=1)


def test_invariant_1_every_wait_ends_a_read_when_the_content_grows_too_large(
    serve: Serve, connect: Connect
) -> None:
    recorder = Recorder(read_all)
    server = serve(recorder, max_body=10)
    peer = connect(server)
    stream_id = peer.request("POST", end_stream=False)
    wait_blocked(server)
    peer.data(stream_id, bytes(11))
    assert peer.response(stream_id).status == 413
    assert isinstance(recorder.outcome(), BodyTooLarge)
    settle(server, connections=1)


def test_invariant_1_every_wait_ends_and_no_truncated_upload_looks_whole(
    serve: Serve, connect: Connect
) -> None:
    recorder = Recorder(read_all)
    server = serve(recorder)
    for leave in (Peer.close, Peer.abort, lambda peer: peer.rst_stream(1, Code.NO_ERROR)):
        peer = connect(server)
        peer.request("POST", end_stream=False)
        peer.data(1, b"half of it")
        wait_blocked(server)
        leave(peer)
        assert isinstance(recorder.outcome(), ClientDisconnected)
    settle(server, connections=1)


def test_invariant_1_every_wait_ends_for_a_thousand_resets_in_a_race(
    serve: Serve, connect: Connect
) -> None:
    """The reset meets the application at every step of its start, its wait and its end."""
    begun: list[None] = []  # appended to, as threads that add at once may lose what one adds
    ended: list[None] = []

    def app(environ, start_response):
        begun.append(None)
        try:
            environ["wsgi.input"].read()
            start_response("200 OK", [])
            return [b"x"]
        finally:
            ended.append(None)

    server = serve(app, threads=4)
    peer = connect(server)
    for turn in range(1000):
        stream_id = peer.request("POST", end_stream=False)
        peer.data(stream_id, b"x", end_stream=turn % 3 == 0)
        if turn % 2:
            peer.roundtrip()
        peer.rst_stream(stream_id)
    peer.roundtrip()
    settle(server, connections=1)
    assert len(begun) == len(ended) > 0


class SlowAccessLog(logging.Handler):
    """Holds the loop's thread up after each stream that ends, so that others get to run."""

    def emit(self, record: logging.LogRecord) -> None:
        if threading.current_thread().name == "h2wsgi-loop":
            time.sleep(0.02)


ENDS_OF_A_CONNECTION: dict[str, Callable[[ServerThread, Peer], object]] = {
    "the client closed it": lambda server, peer: peer.close(),
    "a connection error": lambda server, peer: peer.data(0, b"x"),
    "the server stopped": lambda server, peer: server.stop(),
}


@pytest.mark.parametrize("end", ENDS_OF_A_CONNECTION)
def test_invariant_1_what_ends_with_its_connection_does_not_begin_first(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    """The thread of the stream that ends first is free while the others are still to end."""
    called: list[str] = []

    def app(environ, start_response):
        called.append(environ["PATH_INFO"])
        environ["wsgi.input"].read()

    server = serve(app, threads=1, max_threads=1, graceful_timeout=0)
    peer = connect(server)
    for number in range(5):
        peer.request("POST", path=f"/{number}", end_stream=False)
    peer.roundtrip()
    wait_blocked(server)
    logger, slow = logging.getLogger("h2wsgi.access"), SlowAccessLog()
    logger.addHandler(slow)
    try:
        with caplog.at_level(logging.INFO, "h2wsgi.access"):
            ENDS_OF_A_CONNECTION[end](server, peer)
            settle(server)
    finally:
        logger.removeHandler(slow)
    assert called == ["/0"]
    assert len([r for r in caplog.records if r.name == "h2wsgi.access"]) == 5


# --------------------------------------------------------------- 2. one stream, one order


def test_invariant_2_one_stream_one_order(serve: Serve, connect: Connect) -> None:
    """Chunks of all sizes, windows that open a little at a time, many streams at once."""

    def chunks(seed: int) -> list[bytes]:
        source = random.Random(seed)
        sizes = [source.choice((1, 7, 100, 5_000, 16_384, 40_000)) for _ in range(15)]
        return [source.randbytes(size) for size in sizes]

    def app(environ, start_response):
        write = start_response("200 OK", [])
        first, *rest = chunks(int(environ["PATH_INFO"][1:]))
        write(first)
        return iter(rest)

    server = serve(app, stream_buffer=4096, connection_buffer=65_536)
    peer = connect(server, settings={Setting.INITIAL_WINDOW_SIZE: 1000})
    streams = {peer.request(path=f"/{seed}"): seed for seed in range(20)}
    for stream_id, seed in streams.items():
        assert peer.response(stream_id, 30).body == b"".join(chunks(seed))
    settle(server, connections=1)


def test_invariant_2_one_stream_one_order_for_uploads(serve: Serve, connect: Connect) -> None:
    server = serve(read_all)
    peer = connect(server)
    peer.wait_settings()
    source = random.Random(2)
    content = source.randbytes(600_000)
    stream_id = peer.request("POST", end_stream=False)
    start = 0
    while start < len(content):
        size = source.choice((1, 10, 1000, 16_000))
        peer.upload(stream_id, content[start : start + size], end_stream=False)
        start += size
    peer.data(stream_id, b"", end_stream=True)
    assert peer.response(stream_id).body == content


# ------------------------------------------------------------------------ 3. bounded memory


def test_invariant_3_bounded_memory_of_a_response(serve: Serve, connect: Connect) -> None:
    written: list[int] = []

    def app(environ, start_response):
        write = start_response("200 OK", [])
        while True:
            write(bytes(1000))
            written.append(1000)

    server = serve(app, stream_buffer=20_000)
    peer = connect(server, settings=NO_WINDOW)
    peer.auto_window = False
    stream_id = peer.request()
    wait_blocked(server)
    assert sum(written) < 20_000
    peer.window_update(stream_id, 50_000)
    peer.wait_data(stream_id, 50_000)
    wait_blocked(server)
    assert sum(written) < 50_000 + 20_000


def test_invariant_3_bounded_memory_of_a_connection_finished_responses_counted(
    serve: Serve, connect: Connect
) -> None:
    server = serve(
        lambda environ, start: (start("200 OK", []), [bytes(20_000)])[1],
        stream_buffer=1024,
        connection_buffer=100_000,
    )
    peer = connect(server, settings=NO_WINDOW)
    peer.wait_settings_ack()
    for _ in range(30):
        peer.request()
    eventually(lambda: waiting_on_clients(server) == 25, "all but five to wait")
    (protocol,) = server.server._protocols
    # The ceiling, and a buffer's worth for each stream that has nothing else to send.
    assert 100_000 <= protocol.connection._handover.unsent <= 100_000 + 25 * 1024
    peer.settings({Setting.INITIAL_WINDOW_SIZE: 20_000})
    for stream_id in range(1, 60, 2):
        assert peer.response(stream_id).received == 20_000
    settle(server, connections=1)


def test_invariant_3_bounded_memory_of_an_upload(serve: Serve, connect: Connect) -> None:
    go_on = threading.Event()

    def app(environ, start_response):
        assert go_on.wait(PATIENCE)
        return read_all(environ, start_response)

    server = serve(app, stream_window=20_000)
    peer = connect(server)
    peer.wait_settings()
    stream_id = peer.request("POST", end_stream=False)
    peer.upload(stream_id, bytes(20_000), end_stream=False)
    with pytest.raises(TimedOut):
        peer.upload(stream_id, b"more", timeout=0.2)
    go_on.set()
    peer.upload(stream_id, b"more")
    assert peer.response(stream_id).received == 20_004


def test_invariant_3_bounded_memory_of_an_upload_in_tiny_frames(
    serve: Serve, connect: Connect
) -> None:
    go_on = threading.Event()

    def app(environ, start_response):
        assert go_on.wait(PATIENCE)
        return read_all(environ, start_response)

    server = serve(app)
    peer = connect(server)
    peer.wait_settings()
    stream_id = peer.request("POST", end_stream=False)
    # An object for each would take some thirty times what is counted and has credit.
    tiny = struct.pack("!HBBBL2s", 0, 2, Type.DATA, 0, stream_id, b"ab")
    peer.send_raw(10_000 * tiny)
    peer.roundtrip()
    (protocol,) = server.server._protocols
    stream = protocol.connection.streams[stream_id]
    assert stream.buffered == 20_000
    assert sum(map(sys.getsizeof, stream._chunks)) < 2 * 20_000
    go_on.set()
    peer.data(stream_id, b"end", end_stream=True)
    assert peer.response(stream_id).received == 20_003


def test_invariant_3_bounded_memory_whoever_ignores_the_window_is_cut_off(
    serve: Serve, connect: Connect
) -> None:
    go_on = threading.Event()

    def app(environ, start_response):
        assert go_on.wait(PATIENCE)
        return read_all(environ, start_response)

    server = serve(app, stream_window=20_000)
    peer = connect(server)
    peer.wait_settings()
    stream_id = peer.request("POST", end_stream=False)
    for _ in range(3):
        peer.data(stream_id, bytes(10_000))
    peer.wait_until(
        lambda: any(
            frame.error_code == Code.FLOW_CONTROL_ERROR
            for frame in peer.log
            if frame.type in (Type.GOAWAY, Type.RST_STREAM)
        ),
        "FLOW_CONTROL_ERROR",
    )
    go_on.set()
    settle(server, connections=None)


# ---------------------------------------------------------------------- 4. no credit is lost


def test_invariant_4_no_credit_is_lost_whatever_becomes_of_the_octets(
    serve: Serve, connect: Connect
) -> None:
    """Read, unread, refused, reset by either side, padding, too late: all of it comes back."""

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/read":
            environ["wsgi.input"].read()
        elif environ["PATH_INFO"] == "/fail":
            raise RuntimeError("on purpose")
        return hello(environ, start_response)

    server = serve(app, max_body=100_000, connection_window=200_000)
    peer = connect(server)
    peer.wait_settings_ack()
    source = random.Random(4)
    for _ in range(300):
        path = source.choice(("/read", "/unread", "/fail"))
        stream_id = peer.request("POST", path, end_stream=False)
        padding = source.choice((None, 0, 200))
        for _ in range(3):
            peer.wait_until(lambda: peer.connection_send_window > 5000, "credit")
            peer.data(stream_id, bytes(4000), padding=padding)
        match source.randrange(4):
            case 0:
                peer.rst_stream(stream_id)
                peer.data(stream_id, b"too late")
            case 1:
                peer.data(stream_id, b"", end_stream=True)
            case 2:
                peer.headers(stream_id, [(":bad", "trailers")], end_stream=True)
            case 3:
                peer.data(stream_id, b"x", end_stream=True)
                peer.response(stream_id)
    for stream_id in range(1, peer.next_stream_id, 2):
        if peer.responses.get(stream_id) is None or not peer.responses[stream_id].ended:
            peer.rst_stream(stream_id)
    peer.roundtrip()
    settle(server, connections=1)
    assert peer.connection_send_window > 200_000 - 200_000 // 2 - 1


def test_invariant_4_no_credit_is_fought_over_unread_streams_do_not_starve_others(
    serve: Serve, connect: Connect
) -> None:
    go_on = threading.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/unread":
            assert go_on.wait(PATIENCE)
        return read_all(environ, start_response)

    server = serve(app, stream_window=65_535, connection_window=65_535)
    peer = connect(server)
    peer.wait_settings()
    for _ in range(10):
        unread = peer.request("POST", "/unread", end_stream=False)
        peer.upload(unread, bytes(60_000), end_stream=False)
    read = peer.request("POST", "/read", end_stream=False)
    peer.upload(read, bytes(500_000))
    assert peer.response(read).received == 500_000
    go_on.set()


# ------------------------------------------------- 5. failure is never mistaken for success


class Failing:
    """What an application returns that fails after some chunks."""

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self.chunks):
            yield b"chunk"
        raise RuntimeError("secret detail")


def test_invariant_5_failure_before_the_head_is_a_500_that_tells_nothing(
    serve: Serve, connect: Connect
) -> None:
    def app(environ, start_response):
        start_response("200 OK", [("x-secret", "secret")])
        return Failing(0)

    response = connect(serve(app)).get()
    assert response.status == 500
    assert b"secret" not in response.body
    assert response.header("x-secret") is None


@pytest.mark.parametrize("windows", [None, NO_WINDOW], ids=["open", "closed"])
def test_invariant_5_failure_after_the_head_resets_the_stream(
    serve: Serve, connect: Connect, windows: Any
) -> None:
    def app(environ, start_response):
        start_response("200 OK", [])
        return Failing(2)

    server = serve(app)
    peer = connect(server, settings=windows or {})
    stream_id = peer.request()
    assert peer.wait_reset(stream_id) == Code.INTERNAL_ERROR
    response = peer.responses[stream_id]
    assert response.status == 200
    assert not response.ended
    assert response.body in ((b"chunkchunk", b"chunk") if windows is None else (b"",))
    settle(server, connections=1)


@pytest.mark.parametrize("form", ["list", "iterator", "write"])
def test_invariant_5_too_few_octets_reset_the_stream(
    serve: Serve, connect: Connect, form: str
) -> None:
    def app(environ, start_response):
        write = start_response("200 OK", [("content-length", "10")])
        if form == "write":
            write(b"short")
            return []
        return [b"short"] if form == "list" else iter([b"sho", b"rt"])

    peer = connect(serve(app))
    stream_id = peer.request()
    assert peer.wait_reset(stream_id) == Code.INTERNAL_ERROR
    assert not peer.responses[stream_id].ended


# ------------------------------------- 6. errors stay where they belong


STREAM_ERRORS: dict[str, Callable[[Peer, int], None]] = {
    "window update of 0": lambda peer, s: peer.window_update(s, 0),
    "window overflow": lambda peer, s: peer.window_update(s, 2**31 - 1),
    "bad trailers": lambda peer, s: peer.headers(s, [("Upper", "x")], end_stream=True),
    "trailers without end": lambda peer, s: peer.headers(s, [("x", "y")]),
    "reset": lambda peer, s: peer.rst_stream(s),
}


@pytest.mark.parametrize("error", STREAM_ERRORS)
def test_invariant_6_a_bad_stream_does_not_kill_its_connection(
    serve: Serve, connect: Connect, error: str
) -> None:
    recorder = Recorder(read_all)
    server = serve(recorder)
    peer = connect(server)
    good = peer.request("POST", end_stream=False)
    bad = peer.request("POST", end_stream=False)
    wait_blocked(server, 2)
    STREAM_ERRORS[error](peer, bad)
    assert isinstance(recorder.outcome(), ClientDisconnected)
    peer.data(good, b"still here", end_stream=True)
    assert peer.response(good).body == b"still here"
    assert recorder.outcome() is None
    assert peer.get("/hello").body == b"hello"
    settle(server, connections=1)


CONNECTION_ERRORS: dict[str, tuple[int, Callable[[Peer], None]]] = {
    "DATA on stream 0": (Code.PROTOCOL_ERROR, lambda peer: peer.data(0, b"x")),
    "an idle stream": (Code.PROTOCOL_ERROR, lambda peer: peer.rst_stream(9_999)),
    "bad HPACK": (Code.COMPRESSION_ERROR, lambda peer: peer.headers(999, b"\xff\xff\xff\xff\xff")),
    "an oversized frame": (
        Code.FRAME_SIZE_ERROR,
        lambda peer: peer.send_raw(b"\xff\xff\xff\0\0\0\0\0\1"),
    ),
    "the connection's window": (
        Code.FLOW_CONTROL_ERROR,
        lambda peer: peer.window_update(0, 2**31 - 1),
    ),
}


@pytest.mark.parametrize("error", CONNECTION_ERRORS)
def test_invariant_6_a_connection_error_loses_no_earlier_request_and_no_neighbour(
    serve: Serve, connect: Connect, error: str
) -> None:
    go_on = threading.Event()
    begun: queue.SimpleQueue[str] = queue.SimpleQueue()

    def app(environ, start_response):
        begun.put(environ["PATH_INFO"])
        assert go_on.wait(PATIENCE)
        return hello(environ, start_response)

    server = serve(app)
    neighbour, peer = connect(server), connect(server)
    kept = neighbour.request()
    streams = [peer.request() for _ in range(5)]
    code, send = CONNECTION_ERRORS[error]
    send(peer)
    goaway = peer.wait_goaway()
    assert goaway.error_code == code
    assert goaway.last_stream_id == streams[-1]
    for _ in range(6):
        begun.get(timeout=PATIENCE)
    go_on.set()
    for stream_id in streams:
        assert peer.response(stream_id).body == b"hello"
    peer.wait_closed()
    assert neighbour.response(kept).body == b"hello"
    settle(server, connections=1)


def test_invariant_6_a_connection_error_ends_requests_that_are_not_whole(
    serve: Serve, connect: Connect
) -> None:
    recorder = Recorder(read_all)
    server = serve(recorder)
    peer = connect(server)
    half = peer.request("POST", end_stream=False)
    wait_blocked(server)
    peer.data(0, b"x")
    assert peer.wait_goaway().last_stream_id == half
    assert isinstance(recorder.outcome(), ClientDisconnected)
    peer.wait_closed()
    settle(server)


# --------------------------------------------------------------------- 7. close() runs once


class Body:
    """An iterable that counts its ``close()``."""

    def __init__(self, chunks: Iterator[bytes], fails: bool = False) -> None:
        self.chunks = chunks
        self.fails = fails
        self.closes = 0

    def __iter__(self) -> Iterator[bytes]:
        return self.chunks

    def close(self) -> None:
        self.closes += 1
        if self.fails:
            raise RuntimeError("close() failed")


def endless() -> Iterator[bytes]:
    while True:
        yield bytes(16_384)


def failing() -> Iterator[bytes]:
    yield b"x"
    raise RuntimeError("on purpose")


CLOSED: dict[str, tuple[Callable[[], Body], list[tuple[str, str]], str]] = {
    "after a whole response": (lambda: Body(iter([b"x"])), [], "GET"),
    "after no chunk": (lambda: Body(iter([])), [], "GET"),
    "after its length was reached": (lambda: Body(endless()), [("content-length", "5")], "GET"),
    "after HEAD": (lambda: Body(endless()), [], "HEAD"),
    "after it failed": (lambda: Body(failing()), [], "GET"),
    "though it fails itself": (lambda: Body(iter([b"x"]), fails=True), [], "GET"),
    "after a chunk that is no bytes": (lambda: Body(iter(["text"])), [], "GET"),  # type: ignore[list-item]
    "where iter() fails": (lambda: Body(None), [], "GET"),  # type: ignore[arg-type]
    "though its length is short": (lambda: Body(iter([b"x"])), [("content-length", "5")], "GET"),
}


@pytest.mark.parametrize("case", CLOSED)
def test_invariant_7_close_runs_exactly_once(serve: Serve, connect: Connect, case: str) -> None:
    make, headers, method = CLOSED[case]
    bodies: list[Body] = []

    def app(environ, start_response):
        start_response("200 OK", list(headers))
        bodies.append(make())
        return bodies[-1]

    server = serve(app)
    peer = connect(server)
    peer.response(peer.request(method))
    settle(server, connections=1)
    assert [body.closes for body in bodies] == [1]


@pytest.mark.parametrize("way", ["reset", "lost", "timeout", "stop"])
def test_invariant_7_close_runs_exactly_once_when_the_client_is_lost(
    serve: Serve, connect: Connect, way: str
) -> None:
    bodies: list[Body] = []

    def app(environ, start_response):
        start_response("200 OK", [])
        bodies.append(Body(endless()))
        return bodies[-1]

    server = serve(app, write_timeout=0.2 if way == "timeout" else 60, graceful_timeout=0.2)
    peer = connect(server, settings=NO_WINDOW)
    stream_id = peer.request()
    wait_blocked(server)
    if way == "reset":
        peer.rst_stream(stream_id)
    elif way == "lost":
        peer.abort()
    elif way == "stop":
        server.stop()
    eventually(lambda: bodies[0].closes, "close()")
    settle(server, connections=None)
    assert bodies[0].closes == 1


def test_invariant_7_close_runs_exactly_once_without_a_start_response(
    serve: Serve, connect: Connect
) -> None:
    body = Body(iter([b"x"]))
    server = serve(lambda environ, start_response: body)
    assert connect(server).get().status == 500
    settle(server, connections=1)
    assert body.closes == 1


# ------------------------------------------------------------------------ all of them at once


class Zoo:
    """Applications of every temper, by path; counts its calls and closes."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def __call__(self, environ, start_response):
        self.count("calls")
        return _ZooBody(self, getattr(self, environ["PATH_INFO"][1:])(environ, start_response))

    def hello(self, environ, start_response):
        start_response("200 OK", [("content-length", "5")])
        yield b"hello"

    def list(self, environ, start_response):
        start_response("200 OK", [])
        yield bytes(50_000)

    def pieces(self, environ, start_response):
        write = start_response("200 OK", [])
        for size in (1, 3_000, 20_000, 100, 30_000):
            write(bytes(size))
            yield bytes(size)

    def echo(self, environ, start_response):
        start_response("200 OK", [])
        while data := environ["wsgi.input"].read1(5_000):
            yield data

    def read(self, environ, start_response):
        content = environ["wsgi.input"].read()
        start_response("200 OK", [])
        yield b"%d" % len(content)

    def fail(self, environ, start_response):
        yield from ()
        raise RuntimeError("on purpose")

    def fail_late(self, environ, start_response):
        start_response("200 OK", [])
        yield bytes(20_000)
        raise SystemExit("on purpose")

    def short(self, environ, start_response):
        start_response("200 OK", [("content-length", "100000")])
        yield bytes(70_000)

    def swallow(self, environ, start_response):
        write = start_response("200 OK", [])
        for _ in range(3):
            with contextlib.suppress(ClientDisconnected):
                environ["wsgi.input"].read(10)
            with contextlib.suppress(ClientDisconnected):
                write(bytes(30_000))
        yield b"end"


class _ZooBody:
    def __init__(self, zoo: Zoo, chunks: Iterator[bytes]) -> None:
        self.zoo = zoo
        self.chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self.chunks

    def close(self) -> None:
        self.zoo.count("closes")


PATHS = ("hello", "list", "pieces", "echo", "read", "fail", "fail_late", "short", "swallow")


class Vandal(threading.Thread):
    """A client that does random things, most of them legal, until its time is up."""

    def __init__(self, ports: dict[bool, int], seed: int, until: float) -> None:
        super().__init__(name=f"vandal-{seed}", daemon=True)
        self.ports = ports
        self.random = random.Random(seed)
        self.until = until
        self.failure: BaseException | None = None
        self.connections = 0

    def run(self) -> None:
        try:
            while time.monotonic() < self.until:
                self.connections += 1
                self.one_connection()
        except BaseException as error:
            self.failure = error

    def one_connection(self) -> None:
        tls = self.random.random() < 0.5
        settings = {Setting.INITIAL_WINDOW_SIZE: self.random.choice((0, 1_000, 65_535, 1 << 20))}
        with contextlib.suppress(OSError, ConnectionEnded):
            peer = Peer.connect(
                ("127.0.0.1", self.ports[tls]),
                tls=tls,
                settings=settings,
                receive_buffer=self.random.choice((None, 4096)),
            )
            try:
                for _ in range(self.random.randrange(1, 150)):
                    if time.monotonic() > self.until:
                        break
                    self.one_action(peer)
            finally:
                self.leave(peer)

    def one_action(self, peer: Peer) -> None:
        action = self.random.choices(
            (self.ask, self.send, self.reset, self.open_window, self.resize, self.take, self.err),
            (30, 40, 8, 15, 4, 30, 0.3),
        )[0]
        action(peer)

    def any_stream(self, peer: Peer) -> int:
        return self.random.randrange(max(1, peer.next_stream_id - 30) | 1, peer.next_stream_id, 2)

    def ask(self, peer: Peer) -> None:
        path = "/" + self.random.choice(PATHS)
        peer.request("POST", path, end_stream=self.random.random() < 0.4)

    def send(self, peer: Peer) -> None:
        if peer.next_stream_id == 1:
            return
        stream_id = self.any_stream(peer)
        room = min(peer.send_window(stream_id), peer.connection_send_window)
        size = min(room, self.random.choice((0, 1, 500, 9_000)))
        if size >= 0:
            peer.data(stream_id, bytes(size), end_stream=self.random.random() < 0.2)

    def reset(self, peer: Peer) -> None:
        if peer.next_stream_id > 1:
            peer.rst_stream(self.any_stream(peer), self.random.choice(list(Code)))

    def open_window(self, peer: Peer) -> None:
        stream_id = self.random.choice((0, self.any_stream(peer) if peer.next_stream_id > 1 else 0))
        peer.window_update(stream_id, self.random.choice((1, 100, 20_000)))

    def resize(self, peer: Peer) -> None:
        peer.settings({Setting.INITIAL_WINDOW_SIZE: self.random.choice((0, 500, 40_000))})

    def take(self, peer: Peer) -> None:
        peer.auto_window = self.random.random() < 0.7
        peer.read_available(self.random.choice((0, 0, 0.001, 0.01)))

    def err(self, peer: Peer) -> None:
        peer.data(0, b"a connection error")

    def leave(self, peer: Peer) -> None:
        match self.random.randrange(4):
            case 0:
                peer.abort()
            case 1:
                with contextlib.suppress(ConnectionEnded):
                    peer.goaway()
                peer.close()
            case 2:
                with contextlib.suppress(ConnectionEnded, StreamReset):
                    peer.read_available(0.01)
                peer.close()
            case _:
                peer.close()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("seed", [1, 2])
def test_after_random_abuse_every_count_is_back_to_zero(
    serve: Serve,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    seed: int,
    loop: str,
) -> None:
    caplog.set_level(logging.ERROR)
    handovers: list[Any] = []

    class Recorded(connection_module.Handover):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            handovers.append(self)

    monkeypatch.setattr(connection_module, "Handover", Recorded)
    zoo = Zoo()
    server = serve(
        zoo,
        loop=loop,
        bind="localhost:0",
        bind_h2c="localhost:0",
        threads=8,
        max_threads=24,
        stream_buffer=8_192,
        connection_buffer=65_536,
        stream_window=20_000,
        connection_window=65_535,
        max_buffered=1_048_576,
        max_streams=20,
        read_timeout=1,
        write_timeout=1,
        log_level="error",
    )
    ports = {
        url.startswith("https"): int(url.rstrip("/").rpartition(":")[2])
        for url in server.urls
        if "[" not in url
    }
    until = time.monotonic() + 2.5
    vandals = [Vandal(ports, 100 * seed + n, until) for n in range(5)]
    for vandal in vandals:
        vandal.start()
    for vandal in vandals:
        vandal.join(2.5 + 3 * PATIENCE)
        assert not vandal.is_alive(), f"seed {seed}: {vandal.name} hangs"
        assert vandal.failure is None, f"seed {seed}: {vandal.name}: {vandal.failure!r}"
    settle(server, timeout=20)
    left = {k: v for n, h in enumerate(handovers) for k, v in handover_remains(h, str(n)).items()}
    assert not left, f"seed {seed}"
    assert zoo.counts["calls"] == zoo.counts["closes"] > 50, f"seed {seed}"
    assert len(handovers) >= len(vandals)
    assert connect(server).get("/hello").body == b"hello"
