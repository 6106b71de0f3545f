"""Requests side by side, and the validator's judgement of everything: rules 21 and 22."""

from __future__ import annotations

import asyncio
import decimal
import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any
from wsgiref.validate import validator

import pytest

from conftest import Connect, Serve
from support.peer import TIMEOUT, Code, Peer, Response, Setting, Type

PLAIN = [("content-type", "text/plain")]

# ------------------------------------------------------------- Rule 21: side by side


def meeting(parties: int) -> Callable[..., Any]:
    """Return an application that answers only when so many calls are inside it at once."""
    together = threading.Barrier(parties)

    def app(environ, start_response):
        together.wait(TIMEOUT)
        start_response("200 OK", PLAIN)
        return [environ["PATH_INFO"].encode()]

    return app


@pytest.mark.parametrize("parties", [3, 50])
def test_streams_of_one_connection_run_side_by_side(serve: Serve, connect: Connect, parties):
    """21: one after the other, they would wait for each other for ever."""
    peer = connect(serve(meeting(parties)))
    streams = [peer.request(path=f"/{number}") for number in range(parties)]
    for number, stream_id in enumerate(streams):
        assert peer.response(stream_id).body == f"/{number}".encode()


def test_streams_of_several_connections_run_side_by_side(serve: Serve, connect: Connect):
    """21: as do those of others."""
    server = serve(meeting(4))
    peers = [connect(server) for _ in range(2)]
    requests = [(peer, peer.request()) for peer in peers for _ in range(2)]
    for peer, stream_id in requests:
        assert peer.response(stream_id).status == 200


def test_responses_come_in_the_order_in_which_they_are_ready(serve: Serve, connect: Connect):
    """21: a slow request holds up none that came after it."""
    release = threading.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            release.wait(TIMEOUT)
        start_response("200 OK", PLAIN)
        return [b"done"]

    peer = connect(serve(app))
    slow = peer.request(path="/slow")
    try:
        for _ in range(5):
            assert peer.get(path="/quick").body == b"done"
        assert slow not in peer.responses
    finally:
        release.set()
    assert peer.response(slow).body == b"done"


def test_responses_interleave_on_one_connection(serve: Serve, connect: Connect):
    """21: two that are being sent take turns, chunk by chunk."""
    turns = [threading.Event(), threading.Event()]

    def app(environ, start_response):
        own, other = turns if environ["PATH_INFO"] == "/0" else reversed(turns)
        start_response("200 OK", PLAIN)
        for _ in range(3):
            assert own.wait(TIMEOUT)
            own.clear()
            yield b"x"
            other.set()

    peer = connect(serve(app))
    streams = [peer.request(path=f"/{number}") for number in range(2)]
    turns[0].set()
    for stream_id in streams:
        assert peer.response(stream_id).body == b"xxx"


def test_a_response_that_its_client_does_not_take_holds_up_no_other(serve: Serve, connect: Connect):
    """21: its writer waits, others write."""

    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        return iter([b"x" * 100_000] * (10 if environ["PATH_INFO"] == "/large" else 1))

    peer = connect(serve(app), settings={Setting.INITIAL_WINDOW_SIZE: 0})
    stuck = peer.request(path="/large")
    peer.wait_headers(stuck)
    other = peer.request()
    peer.window_update(other, 100_000)
    peer.window_update(0, 100_000)
    assert peer.response(other).received == 100_000
    assert peer.responses[stuck].received == 0
    peer.window_update(stuck, 1_000_000)
    assert peer.response(stuck).received == 1_000_000


def test_a_request_that_waits_for_content_holds_up_no_other(serve: Serve, connect: Connect):
    """21: not even where one application may compute at a time."""

    def app(environ, start_response):
        content = environ["wsgi.input"].read()
        start_response("200 OK", PLAIN)
        return [content]

    peer = connect(serve(app, threads=1))
    waiting = [peer.request("POST", end_stream=False) for _ in range(3)]
    assert peer.get().status == 200
    for stream_id in waiting:
        peer.upload(stream_id, b"content")
        assert peer.response(stream_id).body == b"content"


# ------------------------------------------- Rule 21: what a request has for itself alone

WHOSE: ContextVar[str] = ContextVar("WHOSE", default="nobody")
ONE_THREAD = {"threads": 1, "max_threads": 1}


def told_by(app: Callable[..., Any], serve: Serve, connect: Connect) -> list[bytes]:
    """Return what an application says to two clients, one after the other on the same thread."""
    server = serve(app, **ONE_THREAD)
    return [connect(server).get(path=path).body for path in ("/a", "/b")]


def test_what_a_request_sets_in_its_context_the_next_one_has_not(serve: Serve, connect: Connect):
    """21: also on the same thread, and for another client."""
    threads = []

    def app(environ, start_response):
        threads.append(threading.get_ident())
        before = WHOSE.get()
        WHOSE.set(environ["PATH_INFO"])
        start_response("200 OK", PLAIN)
        return [f"{before} then {WHOSE.get()}".encode()]

    assert told_by(app, serve, connect) == [b"nobody then /a", b"nobody then /b"]
    assert len(set(threads)) == 1


def test_a_decimal_context_is_one_requests_alone(serve: Serve, connect: Connect):
    """21: the next one rounds as ever."""

    def app(environ, start_response):
        before = decimal.getcontext().prec
        decimal.getcontext().prec = 3
        start_response("200 OK", PLAIN)
        return [f"{before} {decimal.Decimal(1) / 3}".encode()]

    default = decimal.DefaultContext.prec
    assert told_by(app, serve, connect) == [f"{default} 0.333".encode()] * 2


@pytest.mark.parametrize("fails", [False, True])
def test_a_request_has_one_context_from_its_call_to_its_close(
    serve: Serve, connect: Connect, fails, caplog
):
    """21: while its iterable is iterated and closed too, and when its failure is logged."""
    seen: list[str] = []

    class Look(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if record.exc_info:
                seen.append("logged for " + WHOSE.get())
            return True

    class Content:
        def __iter__(self) -> Iterator[bytes]:
            yield WHOSE.get().encode()
            WHOSE.set(WHOSE.get() + "!")
            if fails:
                raise ValueError
            yield WHOSE.get().encode()

        def close(self) -> None:
            seen.append("closed for " + WHOSE.get())

    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        WHOSE.set(environ["PATH_INFO"])
        return Content()

    look = Look()
    logging.getLogger("h2wsgi").addFilter(look)
    try:
        server = serve(app, **ONE_THREAD)
        told = [connect(server).get(path=path).body for path in ("/a", "/b")]
        server.stop()
    finally:
        logging.getLogger("h2wsgi").removeFilter(look)
    if fails:
        assert told == [b"/a", b"/b"]
        assert seen == ["closed for /a!", "logged for /a!", "closed for /b!", "logged for /b!"]
    else:
        assert told == [b"/a/a!", b"/b/b!"]
        assert seen == ["closed for /a!", "closed for /b!"]


def test_an_event_loop_of_a_requests_own_has_its_context(serve: Serve, connect: Connect):
    """21: as views of asyncio have it, in WSGI."""

    async def whose() -> str:
        await asyncio.sleep(0)
        return WHOSE.get()

    def app(environ, start_response):
        WHOSE.set(environ["PATH_INFO"])
        start_response("200 OK", PLAIN)
        return [asyncio.run(whose()).encode()]

    assert told_by(app, serve, connect) == [b"/a", b"/b"]


# --------------------------------------------------------- Rule 22: wsgiref.validate


def empty(environ, start_response):
    start_response("200 OK", PLAIN)
    return []


def one_chunk(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
    return [b"hello"]


def chunks(environ, start_response):
    start_response("200 OK", PLAIN)
    return iter([b"one, ", b"", b"two, ", b"three"])


def generating(environ, start_response):
    start_response("200 OK", PLAIN)
    return (str(number).encode() for number in range(10))


def writing(environ, start_response):
    write = start_response("200 OK", PLAIN)
    write(b"written, ")
    write(b"")
    return [b"iterated"]


def replacing(environ, start_response):
    start_response("200 OK", PLAIN)
    try:
        raise ValueError
    except ValueError:
        start_response("500 Internal Server Error", PLAIN, sys.exc_info())
    return [b"replaced"]


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return []


def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"1"')])
    return []


def with_cookies(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    return [b"cookies"]


def wrapped_file(environ, start_response):
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](io.BytesIO(b"x" * 100_000), 7_000)


def reading(environ, start_response):
    content = environ["wsgi.input"].read(1_000_000)
    start_response("200 OK", PLAIN)
    return [content]


def reading_in_parts(environ, start_response):
    start_response("200 OK", PLAIN)
    return iter(lambda: environ["wsgi.input"].read(1000), b"")


def reading_lines(environ, start_response):
    source = environ["wsgi.input"]
    content = [source.readline(), source.readline(3), *source.readlines(10), *source]
    start_response("200 OK", PLAIN)
    return [b"".join(content)]


def complaining(environ, start_response):
    errors = environ["wsgi.errors"]
    errors.write("one\n")
    errors.writelines(["two\n", "three\n"])
    errors.flush()
    start_response("200 OK", PLAIN)
    return [b"complained"]


class Closing:
    """An iterable with a close() that the validator must see called."""

    def __init__(self, environ, start_response) -> None:
        start_response("200 OK", PLAIN)
        self._left = 3

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._left:
            raise StopIteration
        self._left -= 1
        return b"x"

    def close(self) -> None:
        self._left = 0


CONTENT = b"line one\nline two\n\nline four " + b"x" * 30_000 + b"\nlast"

ANSWERS: dict[Callable[..., Any], tuple[int, bytes]] = {
    empty: (200, b""),
    one_chunk: (200, b"hello"),
    chunks: (200, b"one, two, three"),
    generating: (200, b"0123456789"),
    writing: (200, b"written, iterated"),
    replacing: (500, b"replaced"),
    no_content: (204, b""),
    not_modified: (304, b""),
    with_cookies: (200, b"cookies"),
    wrapped_file: (200, b"x" * 100_000),
    reading: (200, CONTENT),
    reading_in_parts: (200, CONTENT),
    reading_lines: (200, CONTENT),
    complaining: (200, b"complained"),
    Closing: (200, b"xxx"),
}


class Judged:
    """An application inside the validator; everything that it or the validator raised.

    An iterator that the server does not close fails the test too: the validator raises in its
    ``__del__``, which pytest reports.
    """

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = validator(app)
        self.raised: list[BaseException] = []

    def __call__(self, environ, start_response):
        try:
            return JudgedIterator(self._app(environ, start_response), self.raised)
        except BaseException as error:
            self.raised.append(error)
            raise


class JudgedIterator:
    """What the validator returned, noting what it raises when it is used."""

    def __init__(self, iterator: Any, raised: list[BaseException]) -> None:
        self._iterator = iter(iterator)
        self._raised = raised

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._iterator)
        except StopIteration:
            raise
        except BaseException as error:
            self._raised.append(error)
            raise

    def close(self) -> None:
        try:
            self._iterator.close()
        except BaseException as error:
            self._raised.append(error)
            raise


@pytest.fixture
def judge(serve: Serve, connect: Connect) -> Callable[..., Response]:
    """Serve an application inside the validator; return its answer if nothing was raised."""

    def answer(app: Callable[..., Any], options: Any = None, **request: Any) -> Response:
        judged = Judged(app)
        server = serve(judged, **options or {})
        peer = connect(server)
        stream_id = peer.request(**request)
        response = peer.response(stream_id)
        peer.close()
        server.stop()
        assert judged.raised == []
        return response

    return answer


@pytest.mark.parametrize("options", [{}, {"h2c": True}, {"root_path": "/mount"}], ids=str)
@pytest.mark.parametrize("app", ANSWERS)
def test_the_validator_finds_nothing_wrong(judge, app, options):
    """22: around every kind of application, with content to read."""
    response = judge(app, options, method="POST", body=CONTENT, path="/mount/a%20b?c=d")
    assert (response.status, response.body) == ANSWERS[app]
    assert response.ended


@pytest.mark.parametrize("app", [app for app in ANSWERS if not app.__name__.startswith("reading")])
def test_the_validator_finds_nothing_wrong_without_content(judge, app):
    """22: and for a GET."""
    response = judge(app)
    assert (response.status, response.body) == ANSWERS[app]


@pytest.mark.parametrize("app", ANSWERS)
def test_the_validator_finds_nothing_wrong_with_head(judge, app):
    """22: an iterator that is not iterated to its end is closed all the same."""
    response = judge(app, method="HEAD")
    assert (response.status, response.body) == (ANSWERS[app][0], b"")


FIELDS = {
    "repeated": [("accept", "a"), ("accept", "b"), ("cookie", "a=1"), ("cookie", "b=2")],
    "underscore": [("content_type", "x"), ("content_length", "9"), ("proxy", "x")],
    "content": [("content-type", "text/plain"), ("content-length", str(len(CONTENT)))],
    "latin-1": [("x-name", "caf\xe9")],
    "continue": [("expect", "100-continue")],
}


@pytest.mark.parametrize("fields", FIELDS)
def test_the_validator_finds_nothing_wrong_with_any_fields(judge, fields):
    """22: environ has no keys that it must not have, and only strings."""
    response = judge(reading, method="POST", body=CONTENT, fields=FIELDS[fields])
    assert response.body == CONTENT


@pytest.mark.parametrize("path", ["/", "/?", "//", "/%00%ff", "/a/../b", "/caf%C3%A9?%C3%A9"])
def test_the_validator_finds_nothing_wrong_with_any_path(judge, path):
    """22: PATH_INFO begins with a slash."""
    assert judge(one_chunk, path=path).body == b"hello"


@pytest.mark.parametrize("root_path", ["/", "/a/", "a"])
def test_the_validator_finds_nothing_wrong_with_any_root_path(judge, root_path):
    """22: SCRIPT_NAME is never a lone slash."""
    assert judge(one_chunk, {"root_path": root_path}, path="/a/b").body == b"hello"


def test_the_validator_finds_nothing_wrong_with_options_for_the_server(judge):
    """22: PATH_INFO begins with a slash or is empty, so it cannot be *."""
    assert judge(one_chunk, method="OPTIONS", path="*").body == b"hello"


def test_the_validator_finds_nothing_wrong_on_a_unix_socket(serve: Serve, tmp_path):
    """22: SERVER_NAME and SERVER_PORT are there."""
    judged = Judged(one_chunk)
    server = serve(judged, bind=f"unix:{tmp_path}/socket")
    with Peer.connect(f"{tmp_path}/socket", ca_file=server.ca_file) as peer:
        assert peer.get().body == b"hello"
    assert judged.raised == []


def failing(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"partial"
    raise ValueError("midway")


def test_the_validator_sees_a_failing_iterator_closed(serve: Serve, connect: Connect):
    """22: nothing but the application's own exception is raised."""
    judged = Judged(failing)
    server = serve(judged)
    peer = connect(server)
    assert peer.get().reset == Code.INTERNAL_ERROR
    peer.close()
    server.stop()
    assert [type(error) for error in judged.raised] == [ValueError]


@pytest.mark.parametrize("how", ["reset", "hang up"])
def test_the_validator_sees_an_iterator_closed_when_the_client_leaves(
    serve: Serve, connect: Connect, how
):
    """22: nothing at all is raised by closing it."""

    def endless(environ, start_response):
        start_response("200 OK", PLAIN)
        return iter(lambda: b"x" * 10_000, b"")

    judged = Judged(endless)
    server = serve(judged)
    peer = connect(server)
    stream_id = peer.request()
    peer.wait_data(stream_id, 1)
    if how == "reset":
        peer.rst_stream(stream_id)
        peer.roundtrip()
    peer.close()
    server.stop()
    assert judged.raised == []


def test_the_validator_finds_nothing_wrong_with_requests_side_by_side(
    serve: Serve, connect: Connect
):
    """22 and 21: many at once, some of them early responses."""
    together = threading.Barrier(6)

    def app(environ, start_response):
        together.wait(TIMEOUT)
        return (reading if environ["PATH_INFO"] == "/read" else chunks)(environ, start_response)

    judged = Judged(app)
    server = serve(judged)
    peer = connect(server)
    streams = [
        peer.request("POST", path=path, body=b"content", end_stream=path == "/read")
        for path in ["/read", "/early"] * 3
    ]
    bodies = [peer.response(stream_id).body for stream_id in streams]
    assert bodies == [b"content", b"one, two, three"] * 3
    assert not [frame for frame in peer.log if frame.type == Type.GOAWAY]
    peer.close()
    server.stop()
    assert judged.raised == []
