"""Many requests at once: the pool grows where that helps, is fair, and nothing ends a thread."""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi.wsgi import growth, lanes, thread_pool
from h2wsgi.wsgi.lanes import shared_threads
from support.peer import Code, Peer, Setting
from support.settled import PATIENCE, eventually, settle, wait_blocked

NO_WINDOW = {Setting.INITIAL_WINDOW_SIZE: 0}


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


class Meeting:
    """An application whose requests wait until it lets them go, and which counts them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside: list[str] = []
        self.most = 0
        self.go_on = threading.Event()

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/hello":
            return hello(environ, start_response)
        with self.lock:
            self.inside.append(path)
            self.most = max(self.most, len(self.inside))
        try:
            assert self.go_on.wait(PATIENCE)
        finally:
            with self.lock:
                self.inside.remove(path)
        return hello(environ, start_response)

    def wait_for(self, count: int) -> None:
        eventually(lambda: len(self.inside) == count, f"{count} requests to run")


def delay(environ, start_response):
    time.sleep(float(environ["PATH_INFO"].rpartition("/")[2]))
    start_response("200 OK", [])
    return [b"slept"]


# ------------------------------------------------------------------------------ side by side


def test_a_hundred_waits_of_a_second_on_one_connection_take_about_two(
    serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(delay))
    start = time.monotonic()
    streams = [peer.request(path="/delay/1") for _ in range(100)]
    for stream_id in streams:
        assert peer.response(stream_id).body == b"slept"
    assert time.monotonic() - start < 4


def test_a_quick_request_overtakes_a_slow_one(serve: Serve, connect: Connect) -> None:
    meeting = Meeting()
    peer = connect(serve(meeting))
    slow = peer.request(path="/slow")
    meeting.wait_for(1)
    assert peer.get("/hello").body == b"hello"
    assert not peer.responses[slow].ended if slow in peer.responses else True
    meeting.go_on.set()
    assert peer.response(slow).body == b"hello"


def test_one_connection_does_not_take_all_threads(serve: Serve, connect: Connect) -> None:
    """At most all but eight; the rest is there for others at once."""
    meeting = Meeting()
    server = serve(meeting, threads=16, max_threads=16)
    greedy = connect(server)
    streams = [greedy.request(path="/stuck") for _ in range(40)]
    allowed = lanes.shared_threads(16)
    assert allowed == 12
    meeting.wait_for(allowed)
    other = connect(server)
    for _ in range(10):
        assert other.get("/hello").body == b"hello"
    assert meeting.most == allowed
    meeting.go_on.set()
    for stream_id in streams:
        assert greedy.response(stream_id).ended
    settle(server, connections=2)


def test_connections_take_turns(serve: Serve, connect: Connect) -> None:
    """With one thread: a second connection's request does not wait behind all of the first's."""
    served: list[str] = []
    go_on = threading.Event()

    def app(environ, start_response):
        assert go_on.wait(PATIENCE)
        served.append(environ["PATH_INFO"])
        time.sleep(2 * thread_pool.TURN)
        return hello(environ, start_response)

    server = serve(app, threads=1, max_threads=1)
    first, second = connect(server), connect(server)
    mine = [first.request(path="/first") for _ in range(20)]
    first.roundtrip()
    yours = [second.request(path="/second") for _ in range(3)]
    second.roundtrip()
    go_on.set()
    for stream_id in yours:
        assert second.response(stream_id).ended
    for stream_id in mine:
        assert first.response(stream_id).ended
    assert served[:7].count("/second") == 3


def test_a_lock_held_across_write_does_not_deadlock(serve: Serve, connect: Connect) -> None:
    """Who comes back from its client never waits for a slot that lock waiters occupy."""
    lock = threading.Lock()

    def app(environ, start_response):
        write = start_response("200 OK", [])
        with lock:
            for _ in range(20):
                write(bytes(16_384))
        return []

    server = serve(app, threads=2, max_threads=8)
    peer = connect(server, settings=NO_WINDOW, window=1 << 30)
    streams = [peer.request() for _ in range(12)]
    wait_blocked(server)
    peer.settings({Setting.INITIAL_WINDOW_SIZE: 1 << 20})
    for stream_id in streams:
        assert peer.response(stream_id).received == 20 * 16_384
    settle(server, connections=1)


def test_threads_that_wait_on_clients_make_room_for_others(serve: Serve, connect: Connect) -> None:
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/hello":
            return hello(environ, start_response)
        environ["wsgi.input"].read()
        return hello(environ, start_response)

    server = serve(app, threads=2, max_threads=64)
    slow = connect(server)
    streams = [slow.request("POST", end_stream=False) for _ in range(20)]
    wait_blocked(server, 20)
    assert connect(server).get("/hello").body == b"hello"
    for stream_id in streams:
        slow.data(stream_id, b"", end_stream=True)
        assert slow.response(stream_id).body == b"hello"
    settle(server, connections=2)


def test_many_connections_with_many_streams_get_each_its_own_answer(
    serve: Serve, connect: Connect
) -> None:
    def app(environ, start_response):
        content = environ["wsgi.input"].read()
        start_response("200 OK", [])
        name = environ["PATH_INFO"].encode()
        return [hashlib.sha256(name + content).hexdigest().encode()]

    server = serve(app)
    peers = [connect(server) for _ in range(10)]
    expected: dict[tuple[int, int], bytes] = {}
    for number, peer in enumerate(peers):
        for turn in range(30):
            path = f"/{number}/{turn}"
            body = path.encode() * turn
            stream_id = peer.request("POST", path, body=body)
            expected[number, stream_id] = hashlib.sha256(path.encode() + body).hexdigest().encode()
    for (number, stream_id), body in expected.items():
        assert peers[number].response(stream_id).body == body
    settle(server, connections=10)


def test_servers_of_one_process_read_at_once_what_their_own_clients_send(
    serve: Serve, connect: Connect
) -> None:
    def app(environ, start_response):
        content = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [hashlib.sha256(content).hexdigest().encode()]

    def upload(peer: Peer, content: bytes) -> bytes:
        stream_id = peer.request("POST", end_stream=False)
        peer.upload(stream_id, content)
        return peer.response(stream_id).body

    servers = [serve(app) for _ in range(2)]
    peers = [connect(server) for server in servers for _ in range(3)]
    contents = [bytes([number]) * 3_000_000 for number in range(len(peers))]
    with ThreadPoolExecutor(len(peers)) as clients:
        answers = list(clients.map(upload, peers, contents))
    assert answers == [hashlib.sha256(content).hexdigest().encode() for content in contents]
    assert servers[0].server.read_buffer.obj is not servers[1].server.read_buffer.obj
    for server in servers:
        settle(server, connections=3)


# ---------------------------------------------------------------------- growing and shrinking


def test_the_pool_starts_with_no_thread_and_grows_to_what_waits(
    serve: Serve, connect: Connect
) -> None:
    meeting = Meeting()
    server = serve(meeting, threads=64)
    assert server.server.threads == 0
    peer = connect(server)
    streams = [peer.request(path=f"/{n}") for n in range(20)]
    meeting.wait_for(20)
    assert 20 <= server.server.threads <= 40
    meeting.go_on.set()
    for stream_id in streams:
        assert peer.response(stream_id).ended


def test_the_pool_never_exceeds_its_limit_of_running_applications(
    serve: Serve, connect: Connect
) -> None:
    meeting = Meeting()
    server = serve(meeting, threads=6, max_threads=100)
    peers = [connect(server) for _ in range(3)]
    streams = [(peers[0], peers[0].request(path="/x")) for _ in range(10)]
    meeting.wait_for(5)  # the last thread is for a connection that runs nothing yet
    streams += [(peer, peer.request(path="/x")) for peer in peers[1:] for _ in range(10)]
    meeting.wait_for(6)
    for peer in peers:
        peer.roundtrip()
    meeting.go_on.set()
    for peer, stream_id in streams:
        assert peer.response(stream_id).ended
    assert meeting.most <= 6
    settle(server, connections=3)


def test_idle_threads_end(serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_pool, "IDLE_TIMEOUT", 0.05)
    meeting = Meeting()
    server = serve(meeting)
    peer = connect(server)
    streams = [peer.request(path="/x") for _ in range(10)]
    meeting.wait_for(10)
    meeting.go_on.set()
    for stream_id in streams:
        assert peer.response(stream_id).ended
    eventually(lambda: server.server.threads == 0, "all threads to end")
    for _ in range(5):
        assert peer.get("/hello").body == b"hello"
        eventually(lambda: server.server.threads == 0, "the thread to end")


@pytest.fixture
def switch_interval():
    """Sets the interpreter's switch interval, and what it was afterwards."""
    found = sys.getswitchinterval()
    yield sys.setswitchinterval
    sys.setswitchinterval(found)


@pytest.mark.parametrize(
    ("found", "with_many"),
    [(0.0005, 0.005), (0.01, 0.01)],
    ids=["a short one is lengthened", "another is left alone"],
)
def test_the_switch_interval_suits_many_threads(
    serve: Serve, connect: Connect, switch_interval, found: float, with_many: float
) -> None:
    switch_interval(found)
    meeting = Meeting()
    server = serve(meeting)
    peer = connect(server)
    assert peer.get("/hello").body == b"hello"
    assert sys.getswitchinterval() == pytest.approx(found)
    streams = [peer.request(path="/x") for _ in range(60)]
    meeting.wait_for(60)
    assert sys.getswitchinterval() == pytest.approx(with_many)
    meeting.go_on.set()
    for stream_id in streams:
        assert peer.response(stream_id).ended
    server.stop()
    assert sys.getswitchinterval() == pytest.approx(found)


def test_threads_that_end_while_work_arrives_lose_none_of_it(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle thread's time is up in the very moment that it gets a job."""
    monkeypatch.setattr(thread_pool, "IDLE_TIMEOUT", 0.0005)
    server = serve(hello)
    peer = connect(server)
    for _ in range(500):
        assert peer.get("/hello").body == b"hello"
    settle(server, connections=1)


def test_computing_stays_on_few_threads(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More threads would share one interpreter; what waits is served one after the other.

    The process counts as busy throughout and as never held up, or other processes of the machine
    would decide.
    """
    monkeypatch.setattr(time, "process_time", time.monotonic)
    monkeypatch.setattr(growth, "STALLED_AFTER", 60.0)
    most = []

    def app(environ, start_response):
        end = time.thread_time() + 0.002
        while time.thread_time() < end:
            pass
        most.append(server.server.threads)
        return hello(environ, start_response)

    server = serve(app, threads=64)
    peer = connect(server)
    for _ in range(4):
        streams = [peer.request() for _ in range(80)]
        for stream_id in streams:
            assert peer.response(stream_id).body == b"hello"
    assert max(most) <= 16


# --------------------------------------------------------------- what applications may raise


class Odd(BaseException):
    """Not even an Exception."""


@pytest.mark.parametrize(
    "error", [SystemExit, KeyboardInterrupt, GeneratorExit, Odd, MemoryError, RecursionError]
)
@pytest.mark.parametrize("place", ["call", "iteration", "close"])
def test_nothing_that_an_application_raises_ends_its_thread(
    serve: Serve, connect: Connect, error: type[BaseException], place: str
) -> None:
    class Body:
        def __iter__(self) -> Any:
            if place == "iteration":
                raise error("in the iteration")
            yield b"hello"

        def close(self) -> None:
            if place == "close":
                raise error("in close")

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/hello":
            return hello(environ, start_response)
        if place == "call":
            raise error("in the call")
        start_response("200 OK", [])
        return Body()

    server = serve(app, threads=1, max_threads=1)
    peer = connect(server)
    for _ in range(3):
        response = peer.get("/bad")
        assert response.status == (200 if place == "close" else 500)
        assert peer.get("/hello").body == b"hello"
    assert server.server.threads == 1
    settle(server, connections=1)


def test_an_application_that_hangs_up_its_own_thread_pool_slot_is_not_waited_for(
    serve: Serve, connect: Connect
) -> None:
    """A stuck request on one connection, reset by its client, leaves the others alone."""
    meeting = Meeting()
    server = serve(meeting, threads=4, max_threads=4)
    peer = connect(server)
    stuck = [peer.request(path="/stuck") for _ in range(2)]
    meeting.wait_for(2)
    for stream_id in stuck:
        peer.rst_stream(stream_id, Code.CANCEL)
    for _ in range(5):
        assert peer.get("/hello").body == b"hello"
    meeting.go_on.set()
    settle(server, connections=1)


def test_slow_clients_do_not_keep_threads_from_others_at_the_hard_ceiling(
    serve: Serve, connect: Connect
) -> None:
    """At max_threads whoever has waited longest on its client is reset, so that others run."""

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/hello":
            return hello(environ, start_response)
        write = start_response("200 OK", [])
        while True:
            write(bytes(16_384))

    server = serve(app, threads=4, max_threads=8)
    stuck = connect(server, settings=NO_WINDOW)
    streams = [stuck.request() for _ in range(12)]
    wait_blocked(server, shared_threads(8))
    other = connect(server)
    for _ in range(3):
        assert other.get("/hello").body == b"hello"
    # Those were answered on the threads that are kept; its own requests that wait need another.
    stuck.wait_until(
        lambda: any(_reset_code(stuck, stream_id) is not None for stream_id in streams),
        "a stream to be given up",
    )


def _reset_code(peer: Peer, stream_id: int) -> int | None:
    response = peer.responses.get(stream_id)
    return None if response is None else response.reset
