"""The data path that was made fast, at its edges: what is put off, remembered or skipped."""

from __future__ import annotations

import errno
import gc
import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from conftest import Connect, Serve
from h2wsgi.server import server as server_module
from h2wsgi.wsgi import growth, thread_pool
from support.peer import Peer, Setting, one_write
from support.settled import PATIENCE, eventually, settle, wait_blocked

NO_WINDOW = {Setting.INITIAL_WINDOW_SIZE: 0}
QUICK_JOBS = 2 * thread_pool.SLOW_MEMORY
"""Requests after which the pool takes the next one to be quick."""


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


def hello_or_fail(environ, start_response):
    if environ["PATH_INFO"] == "/fail":
        raise ValueError("the application failed")
    return hello(environ, start_response)


class Handler(logging.Handler):
    """A program's own handler, which does something odd with what it is to log."""

    def __init__(self, odd: Callable[[], object]) -> None:
        super().__init__(logging.WARNING)
        self.odd = odd

    def handle(self, record: logging.LogRecord) -> bool:
        self.odd()
        return True


AddHandler = Callable[[Callable[[], object]], None]


@pytest.fixture
def add_handler() -> Iterator[AddHandler]:
    """Put a handler on the library's logger, as a program may; taken off after the test."""
    logger = logging.getLogger("h2wsgi")
    handlers: list[Handler] = []

    def add(odd: Callable[[], object]) -> None:
        handlers.append(Handler(odd))
        logger.addHandler(handlers[-1])

    yield add
    for handler in handlers:
        logger.removeHandler(handler)


# -------------------------------------------------------------------- the wake-up that is put off


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_logging_handler_that_raises_loses_no_response(
    serve: Serve, connect: Connect, add_handler: AddHandler
):
    def odd() -> None:
        raise OSError("the log is full")

    add_handler(odd)
    peer = connect(serve(hello_or_fail))
    assert peer.get("/fail", timeout=3).status == 500
    assert peer.get("/", timeout=3).body == b"hello"


def test_a_logging_handler_that_blocks_holds_up_no_response(
    serve: Serve, connect: Connect, add_handler: AddHandler
):
    go_on = threading.Event()
    add_handler(lambda: go_on.wait(PATIENCE))
    peer = connect(serve(hello_or_fail))
    failing = peer.request(path="/fail")
    try:
        assert peer.response(failing, timeout=3).status == 500
        assert peer.get("/", timeout=3).body == b"hello"
    finally:
        go_on.set()


def test_a_handler_that_blocks_on_a_note_holds_up_no_response(
    serve: Serve, connect: Connect, add_handler: AddHandler
):
    go_on, noted = threading.Event(), threading.Event()

    def app(environ, start_response):
        headers = [("Connection", "close")] if environ["PATH_INFO"] == "/noted" else []
        start_response("200 OK", headers)
        return [b"hello"]

    def odd() -> None:
        noted.set()
        go_on.wait(PATIENCE)

    add_handler(odd)
    peer = connect(serve(app))
    stream_id = peer.request(path="/noted")
    try:
        assert peer.response(stream_id, timeout=3).body == b"hello"
        assert peer.get("/", timeout=3).body == b"hello"
    finally:
        go_on.set()
    assert noted.wait(PATIENCE)


def test_an_unfinished_line_of_errors_holds_up_no_response(
    serve: Serve, connect: Connect, add_handler: AddHandler
):
    go_on = threading.Event()

    def app(environ, start_response):
        environ["wsgi.errors"].write("no newline")
        return hello(environ, start_response)

    add_handler(lambda: go_on.wait(PATIENCE))
    peer = connect(serve(app))
    stream_id = peer.request()
    try:
        assert peer.response(stream_id, timeout=3).body == b"hello"
    finally:
        go_on.set()


# ------------------------------------------------------------------------------ the quick pool


def warm_up(peer: Peer) -> None:
    """Make the pool believe that requests are quick."""
    for _ in range(QUICK_JOBS):
        assert peer.get("/").body == b"hello"


def batch(peer: Peer, *paths: str) -> list[int]:
    """Send several requests in one piece, so that they come in one slice of the input."""
    sent: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peer, "send_raw", sent.append)
        stream_ids = [peer.request(path=path) for path in paths]
    peer.send_raw(b"".join(sent))
    return stream_ids


def test_no_client_is_given_up_while_no_request_waits(serve: Serve, connect: Connect):
    """The last request of a batch is taken by the thread of the one before it."""

    def app(environ, start_response):
        if environ["PATH_INFO"] != "/large":
            return hello(environ, start_response)
        write = start_response("200 OK", [])
        for _ in range(10):
            write(b"x" * 65_536)
        return []

    server = serve(app, threads=2, max_threads=2)
    slow = connect(server, settings=NO_WINDOW)
    slow.request(path="/large")
    wait_blocked(server, 1)
    quick = connect(server)
    pool = server.server._pool
    with pytest.MonkeyPatch.context() as patch:
        # Requests do wait until all is set up, for long on a busy machine.
        for limit in ("SLOW_CLIENT", "BUSY_CLIENT"):
            patch.setattr(server_module, limit, 1e9)
        for _ in range(50):
            # Until the thread that answers the quick request takes the other as well.
            warm_up(quick)
            peer = connect(server, settings=NO_WINDOW)
            _, large = batch(peer, "/small", "/large")
            wait_blocked(server, 2)
            if pool._lanes.any_wait:
                break
            peer.rst_stream(large)
            wait_blocked(server, 1)
    resets = slow.read_available(2.0)
    peer.read_available()
    assert not [f for f in resets + peer.log if f.error_code is not None]


def test_a_quick_request_behind_a_computing_one_gets_a_thread_of_its_own(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(growth, "STALLED_AFTER", 60.0)
    served = threading.Event()
    overtaken: list[bool] = []

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/compute":
            deadline = time.monotonic() + 1
            while not served.is_set() and time.monotonic() < deadline:
                sum(range(1000))
            overtaken.append(served.is_set())
        elif environ["PATH_INFO"] == "/quick":
            served.set()
        return hello(environ, start_response)

    peer = connect(serve(app))
    warm_up(peer)
    for stream_id in batch(peer, "/compute", "/quick"):
        peer.response(stream_id)
    assert overtaken == [True]


def test_an_idle_thread_keeps_no_connection_alive(serve: Serve, connect: Connect):
    server = serve(hello)
    peer = connect(server)
    assert peer.get("/").body == b"hello"
    (protocol,) = server.server._protocols
    gone = weakref.ref(protocol)
    del protocol
    peer.close()
    settle(server)

    def collected() -> bool:
        gc.collect()
        return gone() is None

    eventually(collected, "the connection to be forgotten", timeout=3)


# ----------------------------------------------------------------------------------- starting


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="there is no eventfd")
def test_a_start_without_a_descriptor_left_leaves_no_port_open(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    listening: list[socket.socket] = []
    listen = socket.socket.listen

    def fail(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    def remember(sock: socket.socket, *args: int) -> None:
        listening.append(sock)
        listen(sock, *args)

    monkeypatch.setattr(socket.socket, "listen", remember)
    monkeypatch.setattr(os, "eventfd", fail)
    with pytest.raises(OSError, match="Too many"):
        serve(hello)
    left = [sock for sock in listening if sock.fileno() >= 0]
    for sock in left:
        sock.close()
    assert listening
    assert not left


# ---------------------------------------------------------------------------- what is remembered


def test_no_request_sees_what_an_earlier_one_did_to_its_environ(serve: Serve, connect: Connect):
    seen: list[tuple[str, ...]] = []

    def app(environ, start_response):
        seen.append(tuple(str(environ.get(k)) for k in ("PATH_INFO", "QUERY_STRING", "mine")))
        body = environ["wsgi.input"].read()
        environ["mine"] = environ["PATH_INFO"] = environ["QUERY_STRING"] = "spoilt"
        headers = [("X-Path", environ["RAW_URI"])]
        start_response("200 OK", headers)
        headers[:] = [("X-Path", "spoilt")]
        return [body]

    peer = connect(serve(app))
    paths = ["/a?1", "/a?1", "/a?1", "/b", "/a?1", "/b?" + "x" * 200, "/b?" + "x" * 200] * 3
    for path in paths:
        response = peer.get(path, method="POST")
        assert (response.body, response.header("x-path")) == (b"", path)
        response = peer.get(path, method="POST", body=b"content")
        assert (response.body, response.header("x-path")) == (b"content", path)
    expected = [(p.partition("?")[0], p.partition("?")[2], "None") for p in paths for _ in "12"]
    assert seen == expected


def test_no_response_gets_the_head_of_another_like_it(serve: Serve, connect: Connect):
    def app(environ, start_response):
        kind, _, number = environ["PATH_INFO"][1:].partition("/")
        headers = [("Set-Cookie", f"id={number}")] if kind == "cookie" else []
        start_response("404 Not Found" if kind == "missing" else "200 OK", headers)
        return [b"x" * int(number)]

    peer = connect(serve(app))
    for number in (3, 4, 3, 0, 4):
        for method in ("GET", "HEAD", "GET"):
            for kind in ("plain", "missing", "cookie"):
                response = peer.get(f"/{kind}/{number}", method=method)
                assert response.status == (404 if kind == "missing" else 200)
                assert response.body == (b"" if method == "HEAD" else b"x" * number)
                length = [] if method == "HEAD" and not number else [str(number)]
                assert response.headers("content-length") == length
                assert response.headers("set-cookie") == [f"id={number}"] * (kind == "cookie")


# ------------------------------------- content that comes before any thread knows of its request


def sizes(environ, start_response):
    """Answer with how many octets each read returned, and the names of the trailers."""
    first = environ["wsgi.input"].read(1000)
    rest = environ["wsgi.input"].read()
    trailers = [name for name, _ in environ["h2wsgi.trailers"]()]
    start_response("200 OK", [])
    return [" ".join([str(len(first)), str(len(rest)), *trailers]).encode()]


SHAPES: dict[str, tuple[Callable[[Peer, int], object], str]] = {
    "whole": (lambda peer, stream: peer.data(stream, bytes(999), True), "999 0"),
    "more than is asked for": (
        lambda peer, stream: peer.data(stream, bytes(1024), True),
        "1000 24",
    ),
    "empty": (lambda peer, stream: peer.data(stream, b"", True), "0 0"),
    "padded": (lambda peer, stream: peer.data(stream, bytes(7), True, padding=9), "7 0"),
    "in three": (
        lambda peer, stream: [peer.data(stream, bytes(800), last) for last in (False, False, True)],
        "1000 1400",
    ),
    "with trailers": (
        lambda peer, stream: [
            peer.data(stream, bytes(5)),
            peer.headers(stream, [("checked", "yes")], end_stream=True),
        ],
        "5 0 checked",
    ),
}


@pytest.mark.parametrize("max_body", [0, 2400])
@pytest.mark.parametrize("shape", SHAPES)
def test_content_that_comes_with_its_request_is_like_any_other(
    serve: Serve, connect: Connect, shape: str, max_body: int
) -> None:
    server = serve(sizes, h2c=True, max_body=max_body)
    peer = connect(server)
    peer.roundtrip()
    send_content, answer = SHAPES[shape]
    for _ in range(3):
        streams = []
        with one_write(peer):
            for _ in range(10):
                streams.append(peer.request("POST", end_stream=False))
                send_content(peer, streams[-1])
        assert [peer.response(stream).body.decode() for stream in streams] == [answer] * 10
    settle(server, connections=1)


def test_a_reset_that_comes_with_its_request_leaves_nothing(serve: Serve, connect: Connect) -> None:
    server = serve(sizes, h2c=True)
    peer = connect(server)
    peer.roundtrip()

    with one_write(peer):
        for number in range(20):
            stream = peer.request("POST", body=bytes(1024))
            if number % 2:
                peer.rst_stream(stream)
    assert peer.response(stream - 2).body == b"1000 24"
    settle(server, connections=1)
