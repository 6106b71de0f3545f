"""A request that is not answered in time: what its client gets, what becomes of its thread.

On both engines. No test measures time: each waits for what has to happen.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import h2wsgi
from conftest import Connect, Serve
from h2wsgi.http2.timeouts import Timeouts
from h2wsgi.seam.stream import Stream
from h2wsgi.server.running import ServerThread
from support.peer import Code, Peer, Setting
from support.settled import PATIENCE, eventually, settle

SOON = 0.7
"""The server's timeout, in seconds: short, but long enough for what must come before it."""
NO_WINDOW = {Setting.INITIAL_WINDOW_SIZE: 0}
UNAVAILABLE = b"Service Unavailable\n"


class Body:
    """An iterable that counts its closing."""

    def __init__(self, app: App, chunks: Iterator[bytes]) -> None:
        self._app = app
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        self._app.closings += 1
        self._app.closed.release()


class App:
    """Does what the path says, and waits for the test where it is to be late."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.calls: list[str] = []
        self.errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        self.swallowed = threading.Semaphore(0)
        self.closed = threading.Semaphore(0)
        self.closings = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ["PATH_INFO"]
        self.calls.append(path)
        try:
            return getattr(self, path.strip("/"))(environ, start_response)
        except OSError as error:
            self.errors.put(error)
            raise

    def hello(self, _environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [])
        return [b"hello"]

    def wait(self) -> None:
        assert self.go_on.wait(2 * PATIENCE)

    def late(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        self.wait()
        return self.hello(environ, start_response)

    def late_body(self, _environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        def chunks() -> Iterator[bytes]:
            self.wait()
            yield b"late"

        start_response("200 OK", [])
        return Body(self, chunks())

    def late_end(self, _environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        def chunks() -> Iterator[bytes]:
            yield b"begun"
            self.wait()
            yield b"late"

        start_response("200 OK", [])
        return Body(self, chunks())

    def late_close(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        app = self

        class Slow(list[bytes]):
            def close(self) -> None:
                app.wait()
                app.closed.release()

        return Slow(self.hello(environ, start_response))

    def read(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        while environ["wsgi.input"].read(1000):
            pass
        return self.hello(environ, start_response)

    def answer_and_read(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [("content-length", "5")])(b"hello")
        while environ["wsgi.input"].read(1000):
            pass
        return []

    def endless(self, _environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        write = start_response("200 OK", [])
        while True:
            write(b"event\n")
            threading.Event().wait(0.001)

    def endless_and_large(self, _environ: Any, start_response: Callable[..., Any]) -> Any:
        write = start_response("200 OK", [])
        while True:
            write(bytes(65_536))

    def deaf(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Go on whatever read and write raise, until the test has enough."""
        write = start_response("200 OK", [])
        while not self.go_on.wait(0.001):
            for step in (environ["wsgi.input"].read, lambda: write(bytes(1000))):
                try:
                    step()
                except h2wsgi.RequestTimeout:
                    self.swallowed.release()
        return [b"end"]

    def large(self, _environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [])
        return [bytes(200_000)]


@pytest.fixture
def app() -> Iterator[App]:
    app = App()
    yield app
    app.go_on.set()


@pytest.fixture(params=["fast", "h2"])
def serve_soon(serve: Serve, request: pytest.FixtureRequest) -> Serve:
    """Serve with a timeout that is over soon, on either engine."""

    def start(app: Any, **options: Any) -> ServerThread:
        return serve(app, engine=request.param, request_timeout=SOON, **options)

    return start


def assert_unavailable(peer: Peer, stream_id: int) -> None:
    response = peer.response(stream_id)
    assert (response.status, response.body) == (503, UNAVAILABLE)
    assert response.header("content-length") == str(len(UNAVAILABLE))


def assert_served(peer: Peer) -> None:
    """Ask on, as on a busy machine this may be late as well."""
    eventually(lambda: peer.get("/hello").body == b"hello", "a request to be answered")


def wait_stuck(server: ServerThread, count: int) -> None:
    eventually(lambda: server.server.stuck_threads == count, f"{count} threads to be stuck")


def on_the_loop(server: ServerThread, call: Callable[[], Any]) -> None:
    """Have the loop's thread make a call, and wait for its end."""
    done = threading.Event()

    def call_and_say() -> None:
        try:
            call()
        finally:
            done.set()

    server.server.mailbox.post_threadsafe(call_and_say)
    assert done.wait(PATIENCE)


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if "the application failed" in r.getMessage()]


# ----------------------------------------------------------------------- what the client gets


@pytest.mark.parametrize("path", ["/late", "/late_body"])
def test_a_request_that_is_not_answered_in_time_gets_a_503(
    serve_soon: Serve,
    connect: Connect,
    app: App,
    path: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "h2wsgi")
    server = serve_soon(app)
    peer = connect(server)
    assert_unavailable(peer, peer.request(path=path))
    assert server.server.limits_hit["request_timeout"] == 1
    assert f"GET {path} (stream 1) took longer than 0.7 s" in caplog.text
    wait_stuck(server, 1)
    assert_served(peer)
    app.go_on.set()
    wait_stuck(server, 0)
    settle(server, connections=1)
    assert_served(peer)
    assert peer.responses[1].body == UNAVAILABLE
    assert not failures(caplog)
    assert app.closings == (path == "/late_body")


def test_a_head_request_gets_a_503_without_content(
    serve_soon: Serve, connect: Connect, app: App
) -> None:
    peer = connect(serve_soon(app))
    response = peer.response(peer.request("HEAD", "/late"))
    assert (response.status, response.body) == (503, b"")
    assert response.header("content-length") == str(len(UNAVAILABLE))


def test_a_response_that_has_begun_is_cut_off_as_failed(
    serve_soon: Serve, connect: Connect, app: App
) -> None:
    server = serve_soon(app)
    peer = connect(server)
    stream_id = peer.request(path="/late_end")
    assert peer.wait_data(stream_id, 5) == b"begun"
    assert peer.wait_reset(stream_id) == Code.INTERNAL_ERROR
    assert not peer.responses[stream_id].ended
    wait_stuck(server, 1)
    app.go_on.set()
    settle(server, connections=1)
    assert app.closings == 1
    assert_served(peer)


def test_a_head_that_has_not_left_is_replaced(
    serve_soon: Serve, connect: Connect, app: App
) -> None:
    """It was handed over, and waits in the queue: the transport takes nothing at the time."""
    server = serve_soon(app)
    peer = connect(server)
    assert_served(peer)
    (protocol,) = server.server._protocols
    on_the_loop(server, protocol.pause_writing)
    late = peer.request(path="/late_end")
    wait_stuck(server, 1)
    on_the_loop(server, protocol.resume_writing)
    assert_unavailable(peer, late)
    app.go_on.set()
    settle(server, connections=1)
    assert app.closings == 1


def test_a_request_that_waits_for_a_thread_gets_a_503_and_never_starts(
    serve_soon: Serve, connect: Connect, app: App
) -> None:
    server = serve_soon(app, threads=1, max_threads=1)
    peer = connect(server)
    streams = [peer.request(path=path) for path in ("/late", "/hello", "/late_body")]
    for stream_id in streams:
        assert_unavailable(peer, stream_id)
    app.go_on.set()
    settle(server, connections=1)
    assert app.calls == ["/late"]


def test_an_upload_that_never_ends_is_answered_503(
    serve_soon: Serve, connect: Connect, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve_soon(app)
    peer = connect(server)
    stream_id = peer.request("POST", "/read", end_stream=False)
    deadline = time.monotonic() + PATIENCE
    while stream_id not in peer.responses or not peer.responses[stream_id].ended:
        assert time.monotonic() < deadline
        if peer.send_window(stream_id) > 0:
            peer.data(stream_id, b"drip")
        peer.read_available(0.01)
    assert_unavailable(peer, stream_id)
    assert peer.wait_reset(stream_id) == Code.NO_ERROR
    assert type(app.errors.get(timeout=PATIENCE)) is h2wsgi.RequestTimeout
    settle(server, connections=1)
    assert not failures(caplog)


def test_an_application_that_reads_on_for_ever_behind_its_answer_is_stopped(
    serve_soon: Serve, connect: Connect, app: App
) -> None:
    server = serve_soon(app)
    peer = connect(server)
    stream_id = peer.request("POST", "/answer_and_read", end_stream=False)
    assert peer.response(stream_id).body == b"hello"
    assert peer.wait_reset(stream_id) == Code.NO_ERROR
    assert type(app.errors.get(timeout=PATIENCE)) is h2wsgi.RequestTimeout
    settle(server, connections=1)


@pytest.mark.parametrize("path", ["/endless", "/endless_and_large"])
def test_a_response_that_never_ends_is_cut_off(
    serve_soon: Serve,
    connect: Connect,
    app: App,
    path: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whether its application writes at the time or waits for the client."""
    server = serve_soon(app)
    peer = connect(server)
    assert peer.wait_reset(peer.request(path=path)) == Code.INTERNAL_ERROR
    error = app.errors.get(timeout=PATIENCE)
    assert type(error) is h2wsgi.RequestTimeout
    assert isinstance(error, h2wsgi.ClientDisconnected | OSError)
    settle(server, connections=1)
    assert not failures(caplog)


def test_what_an_application_says_after_its_time_is_dropped(
    serve_soon: Serve, connect: Connect, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve_soon(app)
    peer = connect(server)
    stream_id = peer.request("POST", "/deaf", end_stream=False)
    assert_unavailable(peer, stream_id)
    for _ in range(10):
        assert app.swallowed.acquire(timeout=PATIENCE)
    wait_stuck(server, 1)
    app.go_on.set()
    settle(server, connections=1)
    assert peer.responses[stream_id].body == UNAVAILABLE
    assert not failures(caplog)


def test_a_response_that_is_whole_in_time_waits_for_its_client_as_long_as_it_may(
    serve_soon: Serve, connect: Connect, app: App
) -> None:
    server = serve_soon(app)
    peer = connect(server, settings=NO_WINDOW)
    peer.wait_settings_ack()
    whole = peer.request(path="/large")
    peer.wait_headers(whole)
    late = peer.request(path="/late")
    peer.wait_headers(late)  # later than the other, and its time is over
    assert peer.responses[whole].reset is None
    peer.settings({Setting.INITIAL_WINDOW_SIZE: 1 << 20})
    peer.window_update(0, 1 << 20)
    assert peer.response(whole).received == 200_000
    assert_unavailable(peer, late)


# ------------------------------------------------------------------------------------ races


@pytest.mark.parametrize("path", ["/late", "/late_body"])
@pytest.mark.parametrize("moment", ["in time", "at the same time", "too late"])
@pytest.mark.parametrize("engine", ["fast", "h2"])
def test_an_end_handed_over_at_the_last_moment_counts_if_it_came_first(
    serve: Serve, connect: Connect, app: App, path: str, moment: str, engine: str
) -> None:
    server = serve(app, engine=engine, request_timeout=1000)
    peer = connect(server)
    stream_id = peer.request(path=path)
    eventually(lambda: app.calls == [path], "the application to run")
    (protocol,) = server.server._protocols
    timeouts = Timeouts(protocol, server.server)
    stream = protocol.connection.streams[stream_id]

    def let_it_end() -> None:
        app.go_on.set()
        eventually(lambda: stream.application_done, "the application to end")

    def time_is_up() -> None:
        if moment != "too late":
            let_it_end()
        if moment == "at the same time":  # as if handed over behind the last drain
            timeouts.cut_off(stream)
        timeouts.request_timed_out(stream)
        let_it_end()
        timeouts.request_timed_out(stream)  # once more: it is not there any longer

    on_the_loop(server, time_is_up)
    if moment == "in time":
        response = peer.response(stream_id)
        assert (response.status, response.body[-5:]) in ((200, b"hello"), (200, b"late"))
    else:
        assert_unavailable(peer, stream_id)
    settle(server, connections=1)
    assert app.closings == (path == "/late_body")


def test_answers_and_timeouts_that_meet_leave_whole_responses_and_nothing_else(
    serve_soon: Serve, connect: Connect
) -> None:
    def close_call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        number = int(environ["PATH_INFO"].strip("/"))
        threading.Event().wait(SOON + (number - 20) / 500)
        start_response("200 OK", [])
        return [b"hello"] if number % 2 else iter([b"hel", b"lo"])

    server = serve_soon(close_call)
    peer = connect(server)
    for stream_id in [peer.request(path=f"/{number}") for number in range(80)]:
        response = peer.wait_until(
            lambda stream_id=stream_id: (
                stream_id in peer.responses
                and (peer.responses[stream_id].ended or peer.responses[stream_id].reset is not None)
            ),
            "an end",
        )
        response = peer.responses[stream_id]
        if response.reset is None:
            assert (response.status, response.body) in ((200, b"hello"), (503, UNAVAILABLE))
        else:
            assert (response.reset, response.status) == (Code.INTERNAL_ERROR, 200)
    settle(server, connections=1)
    assert server.server.stuck_threads == 0


# -------------------------------------------------------------------------- what becomes stuck


def test_a_stuck_application_gives_its_share_of_the_pool_away(
    serve_soon: Serve, connect: Connect, app: App
) -> None:
    server = serve_soon(app, threads=1, max_threads=4)
    peer = connect(server)
    for count in range(1, 4):
        assert_unavailable(peer, peer.request(path="/late"))
        wait_stuck(server, count)
    assert_served(connect(server))
    app.go_on.set()
    wait_stuck(server, 0)
    settle(server, connections=2)
    assert_served(connect(server))


@pytest.mark.parametrize("way", ["reset", "lost"])
def test_an_application_whose_client_went_before_its_time_is_counted_too(
    serve_soon: Serve, connect: Connect, app: App, way: str
) -> None:
    server = serve_soon(app, threads=1, max_threads=2)
    peer = connect(server)
    stream_id = peer.request(path="/late_body")
    eventually(lambda: app.calls == ["/late_body"], "the application to run")
    if way == "reset":
        peer.rst_stream(stream_id)
    else:
        peer.abort()
    wait_stuck(server, 1)
    assert_served(connect(server))
    if way == "reset":
        peer.roundtrip()
        assert stream_id not in peer.responses
    app.go_on.set()
    wait_stuck(server, 0)
    settle(server, connections=None)
    assert app.closings == 1


def test_an_application_that_hangs_in_close_behind_its_answer_is_counted_too(
    serve_soon: Serve, connect: Connect, app: App
) -> None:
    server = serve_soon(app)
    peer = connect(server)
    assert peer.get("/late_close").body == b"hello"
    wait_stuck(server, 1)
    app.go_on.set()
    assert app.closed.acquire(timeout=PATIENCE)
    settle(server, connections=1)


def test_a_server_stops_beside_stuck_applications(
    serve_soon: Serve, connect: Connect, app: App
) -> None:
    server = serve_soon(app, graceful_timeout=0)
    peer = connect(server)
    stuck = peer.request(path="/late_body")
    assert_unavailable(peer, stuck)
    wait_stuck(server, 1)
    peer.request(path="/late")
    eventually(lambda: len(app.calls) == 2, "another request to run")
    server.stop()
    app.go_on.set()
    eventually(lambda: server.server.busy_threads == 0, "the applications to return")
    assert server.server.stuck_threads == 0
    assert app.closings == 1


def test_the_log_says_loudly_and_once_that_threads_leak(
    serve_soon: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    ends = [threading.Event() for _ in range(8)]

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        assert ends[int(environ["PATH_INFO"].rpartition("/")[2])].wait(2 * PATIENCE)
        start_response("200 OK", [])
        return []

    server = serve_soon(application, threads=4)
    peer = connect(server)

    def hang(*numbers: int) -> None:
        for stream_id in [peer.request(path=f"/hang/{number}?secret") for number in numbers]:
            assert_unavailable(peer, stream_id)

    def leaks() -> list[str]:
        return [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]

    hang(0, 1, 2)
    wait_stuck(server, 3)
    assert not leaks()
    hang(3)
    eventually(leaks, "the log to say so")
    assert "the application leaks threads: 4 have not come back" in leaks()[0]
    assert "the oldest from GET /hang/0 (stream 1)" in leaks()[0]
    assert "secret" not in leaks()[0]
    hang(4)
    wait_stuck(server, 5)
    looks = LooksOf(server)
    for end in ends[:3]:
        end.set()
    wait_stuck(server, 2)
    looks.wait_for_another()
    hang(5, 6)
    wait_stuck(server, 4)
    looks.wait_for_another()
    assert len(leaks()) == 1, "it was not below the half of four meanwhile"
    for end in ends[3:6]:
        end.set()
    wait_stuck(server, 1)
    looks.wait_for_another()
    for end in ends[:3]:
        end.clear()
    hang(0, 1, 2)
    eventually(lambda: len(leaks()) == 2, "the log to say so again")
    for end in ends:
        end.set()
    settle(server, connections=1)


class LooksOf:
    """Tells when a server has looked for stuck threads."""

    def __init__(self, server: ServerThread) -> None:
        self._overtime = server.server._overtime

    def wait_for_another(self) -> None:
        for _ in range(2):  # one may be under way
            timer = self._overtime._timer
            eventually(lambda timer=timer: self._overtime._timer is not timer, "another look")


def test_without_a_timeout_requests_are_the_plain_ones(
    serve: Serve, connect: Connect, app: App
) -> None:
    server = serve(app)
    assert server.server.new_stream is Stream
    peer = connect(server)
    assert peer.get("/hello").body == b"hello"
    assert server.server.stuck_threads == 0
    assert server.server._overtime._timer is None
