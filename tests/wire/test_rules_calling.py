"""How the server calls an application and what it makes of its answer: rules 1 to 11.

Each test is one clause, on a live connection over TLS; its docstring or comment begins with the
number of the rule.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import logging
import os
import queue
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi import ClientDisconnected
from support.peer import TIMEOUT, Code, Peer, Response, Setting, Type

PLAIN = [("content-type", "text/plain")]
LARGE = 200_000
"""Octets that neither a window nor the buffer of a stream holds."""


class Site:
    """An application served, one peer connected to it, and what the server logs."""

    def __init__(self, server: Any, peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
        self.server = server
        self.peer = peer
        self._caplog = caplog

    def get(self, **request: Any) -> Response:
        return self.peer.get(**request)

    def events(self) -> list[logging.LogRecord]:
        """Hang up, stop the server so that nothing more can come, and return its events."""
        with contextlib.suppress(OSError):
            self.peer.close()
        self.server.stop()
        return [record for record in self._caplog.records if record.name == "h2wsgi"]

    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.events()]

    def warnings(self) -> list[str]:
        """Return the messages of warnings and errors alone."""
        return [e.getMessage() for e in self.events() if e.levelno >= logging.WARNING]


@pytest.fixture
def at(serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture) -> Callable[..., Site]:
    """Serve an application and connect a peer; ``settings`` are the peer's."""
    caplog.set_level(logging.DEBUG, "h2wsgi")

    def start(app: Any, *, settings: dict[int, int] | None = None, **options: Any) -> Site:
        server = serve(app, **options)
        return Site(server, connect(server, settings=settings or {}), caplog)

    return start


@pytest.fixture
def go() -> Iterator[threading.Event]:
    """An event that applications wait for; set at the latest when the test is over."""
    event = threading.Event()
    yield event
    event.set()


class Chunks:
    """An iterable which is not a list, and counts how often it was closed."""

    def __init__(self, chunks: Iterable[Any] = ()) -> None:
        self._chunks = chunks
        self.closes = 0
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._chunks)

    def close(self) -> None:
        self.closes += 1
        self.closed.set()


def answering(
    result: Any = (b"fine",), status: str = "200 OK", headers: Any = PLAIN
) -> Callable[..., Any]:
    """Return an application that gives one answer to every request."""

    def app(environ, start_response):
        start_response(status, list(headers))
        return result() if callable(result) else result

    return app


def raising(error: BaseException) -> Iterator[bytes]:
    raise error
    yield b""


# --------------------------------------------------------------- Rule 1: start_response


def refused(at: Callable[..., Site], *arguments: Any) -> tuple[BaseException, Response]:
    """Return what start_response raised, and the answer of an application that then gives up."""
    raised: list[BaseException] = []

    def app(environ, start_response):
        try:
            start_response(*arguments)
        except Exception as error:
            raised.append(error)
            raise
        return [b"not refused"]

    response = at(app).get()
    assert raised, f"start_response took {arguments!r} and answered {response.status}"
    return raised[0], response


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (b"200 OK", []),
        (200, []),
        (None, []),
        ("200 OK", ()),
        ("200 OK", {}),
        ("200 OK", iter([])),
        ("200 OK", None),
        ("200 OK", [["x-a", "b"]]),
        ("200 OK", ["ab"]),
        ("200 OK", [("x-a",)]),
        ("200 OK", [("x-a", "b", "c")]),
        ("200 OK", [(b"x-a", "b")]),
        ("200 OK", [("x-a", b"b")]),
        ("200 OK", [("x-a", 1)]),
        ("200 OK", [("x-a", None)]),
    ],
)
def test_start_response_refuses_a_wrong_type_with_type_error(at, status, headers):
    """1: types are checked."""
    error, response = refused(at, status, headers)
    assert isinstance(error, TypeError)
    assert response.status == 500


@pytest.mark.parametrize("exc_info", [True, "exc_info", ValueError("x"), (), (None, None)])
def test_start_response_refuses_an_exc_info_that_is_no_triple(at, exc_info):
    """1: types are checked, exc_info's too."""
    error, response = refused(at, "200 OK", [], exc_info)
    assert isinstance(error, TypeError)
    assert response.status == 500


@pytest.mark.parametrize(
    "status",
    [
        "",
        "abc",
        "20",
        "2000 OK",
        "200OK",
        "99 Low",
        "099 Low",
        "100 Continue",
        "101 Switching Protocols",
        "103 Early Hints",
        "199 x",
        "600 High",
        "999 High",
        " 200 OK",
        "+200 OK",
        "2.0 OK",
        "\u0662\u0660\u0660 OK",
        "200 O\rK",
        "200 O\nK",
        "200 OK\n",
        "200 O\0K",
    ],
)
def test_start_response_refuses_a_status_that_is_not_200_to_599(at, status):
    """1: three digits, 200 to 599, no CR, LF or NUL."""
    error, response = refused(at, status, [])
    assert type(error).__name__ == "ApplicationError"
    assert response.status == 500


@pytest.mark.parametrize(
    "status", ["200 OK", "200", "299 Odd", "404 Not Found", "599 Last", "500 "]
)
def test_start_response_takes_every_status_from_200_to_599(at, status):
    """1: and no other is refused, with or without a reason."""
    assert at(answering(status=status)).get().status == int(status[:3])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-a", "b\rc"),
        ("x-a", "b\nc"),
        ("x-a", "b\r\nset-cookie: c"),
        ("x-a", "b\n"),
        ("x-a", "b\0c"),
        ("x-a", "\N{SNOWMAN}"),
        ("x\ra", "b"),
        ("x\na", "b"),
        ("x\0a", "b"),
        ("x a", "b"),
        ("x:a", "b"),
        (":status", "200"),
        ("", "b"),
        ("x-\u00e9", "b"),
        ("content-length", "-1"),
        ("content-length", "1.0"),
        ("content-length", ""),
        ("content-length", "\u0661"),
    ],
)
def test_start_response_refuses_a_header_that_cannot_be_sent(at, name, value):
    """1: CR, LF and NUL in names and values; 10: names are tokens, values latin-1."""
    error, response = refused(at, "200 OK", [(name, value)])
    assert type(error).__name__ == "ApplicationError"
    assert response.status == 500


def test_two_different_content_lengths_are_refused(at):
    """1: they cannot both be true."""
    error, _ = refused(at, "200 OK", [("content-length", "1"), ("Content-Length", "2")])
    assert type(error).__name__ == "ApplicationError"


def test_a_second_start_response_without_exc_info_raises(at):
    """1: a second call without exc_info raises."""
    raised = []

    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        try:
            start_response("404 Not Found", PLAIN)
        except Exception as error:
            raised.append(type(error).__name__)
        return [b"the first"]

    response = at(app).get()
    assert raised == ["ApplicationError"]
    assert (response.status, response.body) == (200, b"the first")


def test_a_second_start_response_that_nobody_catches_is_a_500(at):
    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        start_response("200 OK", PLAIN)
        return [b"never"]

    assert at(app).get().status == 500


def test_a_refused_first_start_response_does_not_count(at):
    """1: only a call that was accepted makes the next one the second."""

    def app(environ, start_response):
        with contextlib.suppress(TypeError):
            start_response(b"200 OK", [])
        start_response("201 Created", PLAIN)
        return [b"then"]

    assert at(app).get().status == 201


def replacing(environ, start_response):
    start_response("200 OK", [("x-first", "1"), ("content-length", "3"), ("set-cookie", "a=1")])
    try:
        raise ValueError("too late to be seen")
    except ValueError:
        start_response("503 Unavailable", [("x-second", "2")], sys.exc_info())
    return iter([b"longer ", b"than three"])


def test_start_response_with_exc_info_before_the_headers_left_replaces_them(at):
    """1: it replaces them, the length declared before included."""
    response = at(replacing).get()
    assert response.status == 503
    assert response.header("x-second") == "2"
    assert response.headers("x-first") == response.headers("set-cookie") == []
    assert response.headers("content-length") == []
    assert response.body == b"longer than three"


def test_a_refused_replacement_leaves_the_first_response_whole(at):
    """1: headers that are not accepted replace nothing, not even the declared length."""

    def app(environ, start_response):
        start_response("200 OK", [("content-length", "5")])
        try:
            raise ValueError
        except ValueError:
            with contextlib.suppress(Exception):
                start_response("500 Error", [("bad name", "x")], sys.exc_info())
        return iter([b"hello, ", b"world"])

    response = at(app).get()
    assert (response.status, response.header("content-length")) == (200, "5")
    assert response.body == b"hello"


def test_start_response_with_exc_info_after_the_headers_left_re_raises(at):
    """1: it re-raises that exception, and the stream is reset."""
    raised = []

    def app(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"partial")
        original = ValueError("the original")
        try:
            try:
                raise original
            except ValueError:
                start_response("500 Error", PLAIN, sys.exc_info())
        except ValueError as error:
            raised.append(error is original)
            raise
        return [b"never"]

    site = at(app)
    response = site.get()
    assert raised == [True]
    assert (response.status, response.body) == (200, b"partial")
    assert response.reset == Code.INTERNAL_ERROR


def test_an_empty_exc_info_after_the_headers_left_raises(at):
    """1: there is nothing to re-raise, but the headers cannot be replaced either."""
    raised = []

    def app(environ, start_response):
        write = start_response("200 OK", [("content-length", "4")])
        write(b"ab")
        try:
            start_response("500 Error", [], (None, None, None))
        except Exception as error:
            raised.append(type(error).__name__)
        write(b"cdef")
        return []

    response = at(app).get()
    assert raised == ["ApplicationError"]
    assert (response.status, response.body) == (200, b"abcd")


def test_headers_changed_after_start_response_stay_as_they_were(at):
    """1: the list is read when start_response is called."""

    def app(environ, start_response):
        headers = [("x-a", "1")]
        start_response("200 OK", headers)
        headers.append(("x-bad", "line\r\nfeed"))
        return [b"fine"]

    response = at(app).get()
    assert (response.header("x-a"), response.header("x-bad")) == ("1", None)


# --------------------------------------------------- Rule 2: when the headers leave


def assert_nothing_left(site: Site, stream_id: int) -> None:
    """What the application sent before is on its way before a PING that is answered later."""
    site.peer.roundtrip()
    assert stream_id not in site.peer.responses


def test_headers_do_not_leave_before_the_first_chunk_that_is_not_empty(at, go):
    """2: empty chunks send nothing."""
    empty_sent = threading.Event()

    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b""
        yield b""
        empty_sent.set()
        go.wait(TIMEOUT)
        yield b"data"

    site = at(app)
    stream_id = site.peer.request()
    assert empty_sent.wait(TIMEOUT)
    assert_nothing_left(site, stream_id)
    go.set()
    assert site.peer.response(stream_id).body == b"data"


def test_headers_do_not_leave_before_a_write_with_data(at, go):
    """2: start_response alone and an empty write send nothing."""
    nothing_sent = threading.Event()

    def app(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"")
        nothing_sent.set()
        go.wait(TIMEOUT)
        write(b"data")
        return []

    site = at(app)
    stream_id = site.peer.request()
    assert nothing_sent.wait(TIMEOUT)
    assert_nothing_left(site, stream_id)
    go.set()
    assert site.peer.response(stream_id).body == b"data"


def test_headers_leave_with_the_first_chunk(at, go):
    """2: and do not wait for a second one."""

    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"first"
        go.wait(TIMEOUT)
        yield b"second"

    site = at(app)
    stream_id = site.peer.request()
    assert site.peer.wait_data(stream_id, 5) == b"first"
    assert site.peer.responses[stream_id].status == 200
    go.set()
    assert site.peer.response(stream_id).body == b"firstsecond"


def test_headers_leave_at_the_end_of_an_empty_response(at):
    """2: at the end at the latest."""
    assert at(answering(lambda: iter([b"", b""]))).get().status == 200


def test_start_response_may_be_called_while_the_iterable_is_iterated(at):
    """2: by a generator, at its first step."""

    def app(environ, start_response):
        start_response("202 Accepted", [("x-late", "yes")])
        yield b"generated"

    response = at(app).get()
    assert (response.status, response.header("x-late")) == (202, "yes")
    assert response.body == b"generated"


def test_start_response_may_follow_empty_chunks(at):
    """2: the head is needed only for the first chunk that is not empty."""

    def app(environ, start_response):
        yield b""
        start_response("202 Accepted", PLAIN)
        yield b"after"

    response = at(app).get()
    assert (response.status, response.body) == (202, b"after")


def test_an_application_that_never_calls_start_response_is_a_500(at):
    """2: never called: 500."""
    site = at(lambda environ, start_response: [])
    response = site.get()
    assert response.status == 500
    assert any("never called start_response" in str(e.exc_info) for e in site.events())


@pytest.mark.parametrize("result", [[b"data"], (b"data",), Chunks([b"data"])])
def test_content_before_start_response_is_a_500(at, result):
    """2: never called: 500, and none of the content is sent."""
    response = at(lambda environ, start_response: result).get()
    assert response.status == 500
    assert b"data" not in response.body


@pytest.mark.parametrize("result", [None, 5, object()])
def test_a_result_that_is_not_iterable_is_a_500(at, result):
    """2 and 9: the application returned nothing that could be sent."""

    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        return result

    assert at(app).get().status == 500


# ------------------------------------------------------------------ Rule 3: write()


@pytest.mark.parametrize("result", [[b"iterated"], (b"iterated",), Chunks([b"iterated"])])
def test_what_was_written_precedes_what_is_iterated(at, result):
    """3: write() works and its data precedes the iterable's."""

    def app(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"written, ")
        write(b"written again, ")
        return result

    assert at(app).get().body == b"written, written again, iterated"


def test_what_is_written_leaves_at_once(at, go):
    """3: write() does not wait for the application to return."""

    def app(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"early")
        go.wait(TIMEOUT)
        return [b", late"]

    site = at(app)
    stream_id = site.peer.request()
    assert site.peer.wait_data(stream_id, 5) == b"early"
    go.set()
    assert site.peer.response(stream_id).body == b"early, late"


def test_write_may_be_called_while_the_iterable_is_iterated(at):
    """3: PEP 3333 allows it, in the order of the calls."""

    def app(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"1")
        yield b"2"
        write(b"3")
        yield b"4"

    assert at(app).get().body == b"1234"


def test_more_than_any_buffer_holds_can_be_written(at):
    """3: write() waits for room and goes on."""
    content = bytes(range(256)) * 4096

    def app(environ, start_response):
        start_response("200 OK", PLAIN)(content)
        return []

    assert at(app).get().body == content


@pytest.mark.parametrize("data", ["text", bytearray(b"x"), memoryview(b"x"), None, 1])
def test_write_refuses_what_is_not_bytes(at, data):
    """9: TypeError, and the response can still be changed."""
    raised = []

    def app(environ, start_response):
        write = start_response("200 OK", PLAIN)
        try:
            write(data)
        except TypeError as error:
            raised.append(error)
        return [b"fine"]

    assert at(app).get().body == b"fine"
    assert len(raised) == 1


# ---------------------------------------------------------------- Rule 4: close()

LONG = [("content-length", "100")]
ENDINGS: dict[str, tuple[str, str, Any, Callable[[], Iterable[Any]]]] = {
    "whole": ("GET", "200 OK", PLAIN, lambda: [b"a", b"b"]),
    "empty": ("GET", "200 OK", PLAIN, list),
    "head": ("HEAD", "200 OK", PLAIN, lambda: [b"a", b"b"]),
    "endless answer to head": ("HEAD", "200 OK", PLAIN, lambda: itertools.repeat(b"a")),
    "no content": ("GET", "204 No Content", [], list),
    "content for 204": ("GET", "204 No Content", [], lambda: [b"a", b"b"]),
    "content for 205": ("GET", "205 Reset Content", [("content-length", "2")], lambda: [b"ab"]),
    "not modified": ("GET", "304 Not Modified", [], lambda: [b"a"]),
    "too long": ("GET", "200 OK", [("content-length", "1")], lambda: [b"a", b"b", b"c"]),
    "too short": ("GET", "200 OK", LONG, lambda: [b"a"]),
    "error before the head": ("GET", "200 OK", PLAIN, lambda: raising(ValueError())),
    "error after the head": (
        "GET",
        "200 OK",
        PLAIN,
        lambda: itertools.chain([b"a"], raising(ValueError())),
    ),
    "exit": ("GET", "200 OK", PLAIN, lambda: raising(SystemExit())),
    "text": ("GET", "200 OK", PLAIN, lambda: ["text"]),
    "text after bytes": ("GET", "200 OK", PLAIN, lambda: [b"a", "text"]),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_close_is_called_exactly_once(at, ending):
    """4: however the response ends."""
    method, status, headers, chunks = ENDINGS[ending]
    result = Chunks(chunks())
    site = at(answering(result, status, headers))
    site.get(method=method)
    site.events()
    assert result.closes == 1


def test_close_is_called_once_if_start_response_never_was(at):
    """4: also on an error of this kind."""
    result = Chunks([b"data"])
    site = at(lambda environ, start_response: result)
    assert site.get().status == 500
    site.events()
    assert result.closes == 1


def test_close_is_called_once_if_it_cannot_be_iterated(at):
    """4: also if __iter__ raises."""

    class Broken(Chunks):
        def __iter__(self) -> Iterator[bytes]:
            raise ValueError

    result = Broken()
    site = at(answering(result))
    assert site.get().status == 500
    site.events()
    assert result.closes == 1


def test_close_of_a_list_subclass_is_called(at):
    """4: whatever has a close method."""

    class Closing(list[bytes]):
        closes = 0

        def close(self) -> None:
            self.closes += 1

    result = Closing([b"a"])
    site = at(answering(result))
    assert site.get().body == b"a"
    site.events()
    assert result.closes == 1


def test_a_generator_is_closed(at):
    """4: its finally clause runs, on the thread that ran it."""
    threads: list[int] = []

    def app(environ, start_response):
        start_response("200 OK", [("content-length", "1")])
        threads.append(threading.get_ident())
        try:
            yield b"a"
            yield b"beyond the declared length"
            yield b"never asked for"
        finally:
            threads.append(threading.get_ident())

    site = at(app)
    assert site.get().body == b"a"
    site.events()
    assert len(threads) == 2
    assert threads[0] == threads[1]


def leave(site: Site, stream_id: int, how: str) -> None:
    """End a stream, or its connection, from the client's side."""
    if how == "reset":
        site.peer.rst_stream(stream_id)
    elif how == "abort":
        site.peer.abort()
    else:
        site.peer.close()


WAYS = ["reset", "abort", "hang up"]


@pytest.mark.parametrize("how", WAYS)
def test_close_is_called_once_when_the_client_leaves_a_writer_that_waits(at, how):
    """4: a write that waits for the client's window ends, and the iterable is closed."""
    result = Chunks(itertools.repeat(b"x" * LARGE))
    site = at(answering(result), settings={Setting.INITIAL_WINDOW_SIZE: 0})
    stream_id = site.peer.request()
    site.peer.wait_headers(stream_id)
    leave(site, stream_id, how)
    assert result.closed.wait(TIMEOUT)
    site.events()
    assert result.closes == 1


@pytest.mark.parametrize("how", WAYS)
def test_close_is_called_once_when_the_client_leaves_between_two_chunks(at, how):
    """4: a client that has gone is noticed at the latest when there is more to send."""
    result = Chunks(itertools.repeat(b"x"))
    site = at(answering(result))
    stream_id = site.peer.request()
    site.peer.wait_data(stream_id, 1)
    leave(site, stream_id, how)
    assert result.closed.wait(TIMEOUT)
    site.events()
    assert result.closes == 1


@pytest.mark.parametrize("how", WAYS)
def test_close_is_called_once_when_the_client_leaves_amid_its_request(at, how):
    """4: a read that waits for the client ends, and the iterable is closed."""
    reading = threading.Event()
    result = Chunks()

    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        result._chunks = read(environ["wsgi.input"])
        return result

    def read(source: Any) -> Iterator[bytes]:
        reading.set()
        yield source.read()

    site = at(app)
    stream_id = site.peer.request("POST", end_stream=False)
    assert reading.wait(TIMEOUT)
    leave(site, stream_id, how)
    assert result.closed.wait(TIMEOUT)
    site.events()
    assert result.closes == 1


def test_close_is_called_once_when_the_body_of_the_request_was_not_read(at):
    """4: also after an early response."""
    result = Chunks([b"early"])
    site = at(answering(result))
    stream_id = site.peer.request("POST", end_stream=False)
    assert site.peer.response(stream_id).body == b"early"
    site.events()
    assert result.closes == 1


def test_an_exception_in_close_is_logged_and_the_response_stays_whole(at):
    """4: an exception in it is logged."""

    class Failing(Chunks):
        def close(self) -> None:
            super().close()
            raise RuntimeError("close went wrong")

    result = Failing([b"whole"])
    site = at(answering(result))
    response = site.get()
    assert (response.status, response.body, response.reset) == (200, b"whole", None)
    logged = [e for e in site.events() if e.exc_info and isinstance(e.exc_info[1], RuntimeError)]
    assert result.closes == 1
    assert len(logged) == 1
    assert "close()" in logged[0].getMessage()
    assert logged[0].levelno == logging.ERROR


class Unclosable(Chunks):
    """An iterable whose ``close`` cannot be looked up, or called."""

    def __init__(self, how: str) -> None:
        super().__init__([b"whole"])
        self._how = how

    def __getattribute__(self, name: str) -> Any:
        if name != "close":
            return super().__getattribute__(name)
        if self._how == "raises":
            raise RuntimeError("no look-up today")
        return {"none": None, "number": 5}[self._how]


@pytest.mark.parametrize(("how", "error"), [("raises", RuntimeError), ("number", TypeError)])
def test_a_close_that_cannot_be_had_is_logged_and_the_response_stays_whole(at, how, error):
    """4: whatever goes wrong with it, the look-up too; with a traceback, as 8 says."""
    site = at(answering(lambda: Unclosable(how)))
    assert site.get().body == b"whole"
    (logged,) = [e for e in site.events() if e.exc_info]
    assert isinstance(logged.exc_info[1], error)
    assert logged.exc_info[1].__traceback__ is not None
    assert "close()" in logged.getMessage()


def test_a_close_of_none_is_no_close(at):
    """4: there is nothing to call."""
    site = at(answering(lambda: Unclosable("none")))
    assert site.get().body == b"whole"
    assert site.warnings() == []


def test_a_close_that_is_false_is_called(at):
    """4: a callable may have a truth of its own, such as a list of callbacks that is empty."""

    class Callbacks(list[Any]):
        calls = 0

        def __call__(self) -> None:
            self.calls += 1

    result = Chunks([b"a"])
    result.close = callbacks = Callbacks()  # type: ignore[method-assign]
    site = at(answering(result))
    assert site.get().body == b"a"
    site.events()
    assert callbacks.calls == 1


def test_an_exception_in_close_does_not_hide_the_first_one(at):
    """4 and 8: both are logged."""

    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        result = Chunks(raising(ValueError("first")))
        result.close = lambda: next(raising(RuntimeError("second")))  # type: ignore[method-assign]
        return result

    site = at(app)
    assert site.get().status == 500
    kinds = {type(e.exc_info[1]) for e in site.events() if e.exc_info}
    assert kinds == {ValueError, RuntimeError}


@pytest.mark.parametrize("how", ["object", "generator"])
def test_an_exception_in_close_is_logged_though_the_client_has_left(at, how):
    """4: what ``close()`` raises by itself is not the client's doing."""

    def generated():
        try:
            yield from itertools.repeat(b"x" * LARGE)
        finally:
            raise RuntimeError("in close")

    result: Any = generated()
    if how == "object":
        result = Chunks(itertools.repeat(b"x" * LARGE))
        result.close = lambda: next(raising(RuntimeError("in close")))
    site = at(answering(result))
    stream_id = site.peer.request()
    site.peer.wait_data(stream_id, 1)
    site.peer.rst_stream(stream_id)
    (logged,) = [e for e in site.events() if e.exc_info]
    assert isinstance(logged.exc_info[1], RuntimeError)


def test_a_loss_of_the_client_that_close_meets_is_no_error(at):
    """4: be it the one that is known already, or one of its own."""
    done = threading.Event()

    def app(environ, start_response):
        write = start_response("200 OK", PLAIN)
        result = Chunks(itertools.repeat(b"x" * LARGE))

        def close() -> None:
            try:
                write(b"the end")
            except OSError as error:
                done.set()
                raise RuntimeError("could not say goodbye") from error

        result.close = close  # type: ignore[method-assign]
        return result

    site = at(app)
    stream_id = site.peer.request()
    site.peer.wait_data(stream_id, 1)
    site.peer.rst_stream(stream_id)
    assert done.wait(TIMEOUT)
    assert [e for e in site.events() if e.exc_info] == []


def test_a_client_that_leaves_is_no_error_of_the_application(at):
    """4: a disconnect is not logged as a failure."""
    result = Chunks(itertools.repeat(b"x" * LARGE))
    site = at(answering(result))
    stream_id = site.peer.request()
    site.peer.wait_data(stream_id, 1)
    site.peer.rst_stream(stream_id)
    assert result.closed.wait(TIMEOUT)
    assert site.warnings() == []


def test_a_write_after_the_client_left_raises_client_disconnected(at, go):
    """4: the application can tell, and ClientDisconnected is an OSError."""
    raised: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

    def app(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"x")
        go.wait(TIMEOUT)
        try:
            write(b"y")
        except OSError as error:
            raised.put(error)
            raise
        return []

    site = at(app)
    stream_id = site.peer.request()
    site.peer.wait_data(stream_id, 1)
    site.peer.rst_stream(stream_id)
    site.peer.roundtrip()
    go.set()
    assert isinstance(raised.get(timeout=TIMEOUT), ClientDisconnected)


# -------------------------------------------------------- Rule 5: empty responses


@pytest.mark.parametrize("result", [[], (), [b""], [b"", b""], Chunks(), Chunks([b""]), b""])
def test_an_empty_iterable_is_an_empty_response(at, result):
    """5: an empty iterable works."""
    response = at(answering(result)).get()
    assert (response.status, response.body, response.ended) == (200, b"", True)


@pytest.mark.parametrize("result", [[], [b""], Chunks()])
def test_204_works(at, result):
    """5: 204 works."""
    response = at(answering(result, "204 No Content", [])).get()
    assert (response.status, response.body, response.ended) == (204, b"", True)


# ------------------------------------- Rule 6: Content-Length and responses without content


@pytest.mark.parametrize("result", [[b"eleven"], (b"eleven",)])
def test_a_single_chunk_gets_a_content_length(at, result):
    """6: a one-element iterable without Content-Length gets one."""
    assert at(answering(result)).get().headers("content-length") == ["6"]


def test_any_iterable_that_says_it_has_one_element_gets_a_content_length(at):
    """6: by its len(), as PEP 3333 says."""

    class One(Chunks):
        def __len__(self) -> int:
            return 1

    assert at(answering(One([b"eleven"]))).get().headers("content-length") == ["6"]


class Proxy(Chunks):
    """A proxy of a generator: its type has a length, of which only a call says that there is none.

    ``said`` is what ``__len__`` returns or raises.
    """

    def __init__(self, said: Any = None) -> None:
        super().__init__(iter([b"all ", b"of it"]))
        self._said = said

    def __len__(self) -> int:
        if isinstance(self._said, BaseException):
            raise self._said
        return len(self._chunks) if self._said is None else self._said  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "said", [None, AttributeError(), ValueError("odd"), StopIteration(), "1", 1.0, -1, 2**70]
)
def test_a_len_that_fails_is_no_length(at, said):
    """6: PEP 3333 relies on it only if a call to len(iterable) succeeds."""
    result = Proxy(said)
    site = at(answering(result))
    response = site.get()
    assert (response.status, response.body) == (200, b"all of it")
    assert response.headers("content-length") == []
    assert site.warnings() == []
    assert result.closes == 1


def test_a_content_length_of_the_application_is_not_doubled(at):
    """6: only one without Content-Length gets one."""
    response = at(answering([b"abc"], headers=[("Content-Length", "3")])).get()
    assert response.headers("content-length") == ["3"]


def test_a_content_length_given_twice_is_sent_once(at):
    """6: RFC 9110 section 8.6 allows no list."""
    twice = [("content-length", "3"), ("Content-Length", "3")]
    assert at(answering([b"abc"], headers=twice)).get().headers("content-length") == ["3"]


def test_no_content_length_is_invented_once_something_was_written(at):
    """6: it would be too late, and wrong."""

    def app(environ, start_response):
        start_response("200 OK", PLAIN)(b"written")
        return [b"iterated"]

    response = at(app).get()
    assert response.headers("content-length") == []
    assert response.body == b"writteniterated"


def test_an_iterator_of_unknown_length_gets_no_content_length(at):
    """6: nobody knows it."""
    assert at(answering(lambda: iter([b"a", b"b"]))).get().headers("content-length") == []


def only_frame(site: Site, stream_id: int) -> Any:
    """Return the one frame that a stream got, which must be all of it."""
    site.peer.roundtrip()
    frames = [frame for frame in site.peer.log if frame.stream_id == stream_id]
    assert len(frames) == 1, [str(frame) for frame in frames]
    return frames[0]


CONTENTS = {
    "list": lambda: [b"body"],
    "two": lambda: [b"bo", b"dy"],
    "iterator": lambda: iter([b"bo", b"dy"]),
    "empty": list,
    "empty iterator": lambda: iter([b""]),
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize(
    ("method", "status"),
    [("HEAD", "200 OK"), ("GET", "204 None"), ("GET", "205 Reset"), ("GET", "304 Same")],
)
def test_headers_end_the_stream_where_no_content_is_allowed(at, method, status, content):
    """6: HEAD, 204, 205, 304: END_STREAM on HEADERS, the body dropped."""
    site = at(answering(CONTENTS[content], status, []))
    stream_id = site.peer.request(method)
    response = site.peer.response(stream_id)
    frame = only_frame(site, stream_id)
    assert (frame.type, frame.end_stream) == (Type.HEADERS, True)
    assert (response.status, response.body) == (int(status[:3]), b"")


@pytest.mark.parametrize(
    ("method", "status"),
    [("HEAD", "200 OK"), ("GET", "204 None"), ("GET", "205 Reset"), ("GET", "304 Same")],
)
def test_what_is_written_is_dropped_where_no_content_is_allowed(at, method, status):
    """6: also what comes by write()."""

    def app(environ, start_response):
        write = start_response(status, [])
        write(b"dropped")
        write(b"dropped too")
        return [b"and this"]

    site = at(app)
    stream_id = site.peer.request(method)
    site.peer.response(stream_id)
    assert only_frame(site, stream_id).end_stream
    assert site.warnings() == []


@pytest.mark.parametrize("length", ["0", "1234"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", ["204 None", "205 Reset", "304 Same"])
def test_a_status_without_content_carries_no_content_length(at, status, method, length):
    """6: not even the application's: a 304 may, but Go and some proxies fail on it."""
    headers = [("content-length", length), ("x-a", "b")]
    site = at(answering([], status, headers))
    response = site.get(method=method)
    assert response.headers("content-length") == []
    assert response.header("x-a") == "b"
    assert (response.ended, response.reset) == (True, None)
    assert site.warnings() == []


def test_head_may_carry_a_content_length(at):
    """6: HEAD may, and it says nothing about what follows."""
    response = at(answering([], headers=[("content-length", "1234")])).get(method="HEAD")
    assert response.header("content-length") == "1234"
    assert (response.ended, response.reset) == (True, None)


def test_head_tells_the_length_that_get_would_have(at):
    """6: where the application answers HEAD as it answers GET."""
    site = at(answering([b"eleven"]))
    assert site.get(method="HEAD").header("content-length") == "6"
    assert site.get(method="GET").header("content-length") == "6"


def test_head_with_nothing_to_measure_claims_no_length(at):
    """6: an application that saves itself the body has not said that it is empty."""
    assert at(answering([])).get(method="HEAD").headers("content-length") == []


def test_an_error_answered_to_head_has_no_content(at):
    """6 and 8: a 500 too."""
    site = at(answering(lambda: raising(ValueError())))
    response = site.get(method="HEAD")
    assert (response.status, response.body, response.reset) == (500, b"", None)


# ------------------------------------------------ Rule 7: Content-Length and the content

THREE = [("content-length", "3")]


def wrote(*chunks: bytes) -> Callable[..., Any]:
    """Return an application that declares three octets and writes ``chunks``."""

    def app(environ, start_response):
        write = start_response("200 OK", THREE)
        for chunk in chunks:
            write(chunk)
        return []

    return app


@pytest.mark.parametrize(
    "app",
    [
        answering([b"abcdef"], headers=THREE),
        answering([b"ab", b"cdef"], headers=THREE),
        answering(lambda: iter([b"ab", b"cd", b"ef"]), headers=THREE),
        answering(lambda: iter([b"abc", b"def"]), headers=THREE),
        wrote(b"abcdef"),
        wrote(b"abc", b"def"),
        wrote(b"ab", b"cd", b"ef"),
    ],
)
def test_more_than_content_length_is_cut_off_and_logged(at, app):
    """7: more octets than Content-Length: truncate and log."""
    site = at(app)
    response = site.get()
    assert (response.body, response.ended, response.reset) == (b"abc", True, None)
    assert sum("Content-Length" in message for message in site.warnings()) == 1


def test_content_beyond_a_content_length_of_zero_is_cut_off(at):
    """7: nothing at all is sent."""
    site = at(answering([b"abc"], headers=[("content-length", "0")]))
    response = site.get()
    assert (response.body, response.ended, response.reset) == (b"", True, None)
    assert any("Content-Length" in message for message in site.warnings())


@pytest.mark.parametrize(
    "app",
    [
        answering([b"ab"], headers=THREE),
        answering([b"a", b"b"], headers=THREE),
        answering(lambda: iter([b"a", b"b"]), headers=THREE),
        wrote(b"a", b"b"),
    ],
)
def test_less_than_content_length_resets_the_stream_after_what_there_was(at, app):
    """7: fewer: RST_STREAM(INTERNAL_ERROR), and it is logged."""
    site = at(app)
    stream_id = site.peer.request()
    assert site.peer.wait_reset(stream_id) == Code.INTERNAL_ERROR
    response = site.peer.responses[stream_id]
    assert (response.body, response.ended) == (b"ab", False)
    assert any("Content-Length" in message for message in site.warnings())


@pytest.mark.parametrize("result", [[], [b""], Chunks(), Chunks([b""])])
def test_nothing_instead_of_content_length_resets_the_stream(at, result):
    """7: fewer: also none at all."""
    response = at(answering(result, headers=THREE)).get()
    assert (response.reset, response.ended, response.body) == (Code.INTERNAL_ERROR, False, b"")


def test_exactly_content_length_is_whole_and_not_logged(at):
    """7: neither more nor fewer."""
    site = at(answering(lambda: iter([b"a", b"bc", b""]), headers=THREE))
    response = site.get()
    assert (response.body, response.ended, response.reset) == (b"abc", True, None)
    assert site.warnings() == []


def test_the_response_ends_with_its_last_declared_octet(at, go):
    """7: an application with work left to do does not keep its client waiting."""

    def app(environ, start_response):
        start_response("200 OK", THREE)
        yield b"abc"
        go.wait(TIMEOUT)

    assert at(app).get().body == b"abc"


# -------------------------------------------------------- Rule 8: failing applications


def failing_midway(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"partial"
    raise ValueError("midway")


def test_an_exception_mid_body_resets_the_stream(at):
    """8: RST_STREAM(INTERNAL_ERROR), after what was sent."""
    response = at(failing_midway).get()
    assert (response.status, response.body) == (200, b"partial")
    assert (response.reset, response.ended) == (Code.INTERNAL_ERROR, False)


def test_an_exception_mid_body_leaves_other_streams_alone(at, go):
    """8: for that stream alone; the connection and its other streams go on."""

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/failing":
            return failing_midway(environ, start_response)
        return steady(environ, start_response)

    def steady(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"before, "
        go.wait(TIMEOUT)
        yield b"after"

    site = at(app)
    neighbour = site.peer.request(path="/steady")
    site.peer.wait_data(neighbour, 8)
    assert site.get(path="/failing").reset == Code.INTERNAL_ERROR
    go.set()
    assert site.peer.response(neighbour).body == b"before, after"
    assert site.get(path="/steady").body == b"before, after"
    assert not [frame for frame in site.peer.log if frame.type == Type.GOAWAY]


class BadIterator:
    """Its ``__iter__`` returns what is no iterator, which only ``iter()`` notices."""

    def __iter__(self) -> Any:
        return [b"a"]


@pytest.mark.parametrize(
    "result", [BadIterator(), 5, ["text"], Chunks(["text"]), (b"a", bytearray(b"b")), b"octets"]
)
def test_what_fails_on_an_object_of_the_application_has_a_traceback(at, result):
    """8: also if no frame of the application's is in it, as it fails in ours."""
    site = at(answering(result))
    assert site.get().status == 500
    (logged,) = [e for e in site.events() if e.exc_info]
    assert isinstance(logged.exc_info[1], TypeError)
    assert logged.exc_info[1].__traceback__ is not None


class NoErrors(Exception):
    """A list of errors that is empty, and so false."""

    def __len__(self) -> int:
        return 0


def test_a_loss_of_the_client_is_found_behind_an_exception_that_is_false(at):
    """4: exceptions are not asked whether they are true."""
    waiting = threading.Event()
    closed = threading.Event()

    def app(environ, start_response):
        empty = NoErrors()
        try:
            waiting.set()
            environ["wsgi.input"].read()
        except OSError as error:
            empty.__cause__ = error
        closed.set()
        raise ValueError from empty

    site = at(app)
    stream_id = site.peer.request("POST", end_stream=False)
    assert waiting.wait(TIMEOUT)
    site.peer.rst_stream(stream_id)
    assert closed.wait(TIMEOUT)
    assert site.warnings() == []


def test_an_exception_that_is_false_is_logged_with_its_traceback(at):
    """8: nor is it asked there."""
    site = at(answering(lambda: raising(NoErrors("as asked"))))
    assert site.get().status == 500
    (logged,) = [e for e in site.events() if e.levelno == logging.ERROR]
    assert isinstance(logged.exc_info[1], NoErrors)
    assert logged.exc_info[2] is not None


def test_a_module_without_a_name_has_a_traceback(at):
    """8: code that was made by exec may have globals of any kind."""
    scope: dict[str, Any] = {"__name__": None}
    exec("def app(environ, start_response):\n    raise ValueError('nameless')", scope)
    site = at(scope["app"])
    assert site.get().status == 500
    assert [type(e.exc_info[1]) for e in site.events() if e.exc_info] == [ValueError]


def failing_at(when: str) -> Callable[..., Any]:
    """Return an application that fails before any of its response has left."""
    error = ValueError("secret words")

    def app(environ, start_response):
        if when == "at once":
            raise error
        start_response("200 OK", [("x-secret", "words")])
        if when == "after start_response":
            raise error
        return itertools.chain([b""], raising(error))

    return app


@pytest.mark.parametrize("when", ["at once", "after start_response", "in the iteration"])
def test_an_exception_before_the_headers_left_is_a_500_that_tells_nothing(at, when):
    """8: before headers: 500, whose body says nothing of the error."""
    site = at(failing_at(when))
    response = site.get()
    assert (response.status, response.ended, response.reset) == (500, True, None)
    shown = response.body + repr(response.fields).encode()
    for word in (b"secret", b"ValueError", b"Traceback", b"test_rules"):
        assert word not in shown
    assert response.body == b"Internal Server Error\n"
    assert response.header("content-type") == "text/plain; charset=utf-8"
    assert response.header("content-length") == str(len(response.body))


@pytest.mark.parametrize("app", [failing_at("at once"), failing_midway])
def test_the_traceback_goes_to_the_log(at, app):
    """8: as an error."""
    site = at(app)
    site.get(path="/it?q=1")
    (failure,) = [event for event in site.events() if event.levelno == logging.ERROR]
    assert isinstance(failure.exc_info[1], ValueError)
    assert failure.exc_info[2] is not None
    assert "GET /it" in failure.getMessage()


def test_an_exception_after_the_whole_response_is_logged_only(at):
    """8: what was sent was whole."""

    def app(environ, start_response):
        start_response("200 OK", THREE)
        yield b"abc"
        raise ValueError("afterwards")

    site = at(app)
    response = site.get()
    assert (response.body, response.ended, response.reset) == (b"abc", True, None)
    assert any(isinstance(e.exc_info[1], ValueError) for e in site.events() if e.exc_info)


# ------------------------------------------------------- Rule 9: wrong chunks and exits

NOT_BYTES = ["text", bytearray(b"x"), memoryview(b"x"), None, 7]


@pytest.mark.parametrize("kind", [list, tuple, iter])
@pytest.mark.parametrize("chunk", NOT_BYTES)
def test_a_first_chunk_that_is_not_bytes_is_a_500(at, chunk, kind):
    """9: TypeError -> 500."""
    site = at(answering(lambda: kind([chunk])))
    assert site.get().status == 500
    assert any(isinstance(e.exc_info[1], TypeError) for e in site.events() if e.exc_info)


@pytest.mark.parametrize("chunk", NOT_BYTES)
def test_a_later_chunk_that_is_not_bytes_resets_the_stream(at, chunk):
    """9: TypeError -> reset, once something has left."""
    response = at(answering(lambda: iter([b"x", chunk]))).get()
    assert (response.body, response.reset) == (b"x", Code.INTERNAL_ERROR)


@pytest.mark.parametrize("result", ["text", b"bytes"])
def test_a_string_instead_of_an_iterable_of_bytes_is_a_500(at, result):
    """9: it is iterated by characters, or by numbers."""
    assert at(answering(result)).get().status == 500


class Misleading(bytes):
    """Bytes that say another length than they have, and stay what they are."""

    def __len__(self) -> int:
        return 1

    def __bytes__(self) -> bytes:
        return self


def test_bytes_that_lie_about_their_length_harm_nobody(at, go):
    """9: what is counted and what is sent are the same octets."""
    content = b"some" * 3000

    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        yield Misleading(content)
        go.wait(TIMEOUT)

    site = at(app)
    stream_id = site.peer.request()
    assert site.peer.wait_data(stream_id, len(content)) == content
    go.set()
    assert site.peer.response(stream_id).body == content
    assert site.get().body == content


def test_bytes_of_a_subclass_are_sent(at):
    """9: they are bytes."""

    class Special(bytes):
        pass

    assert at(answering(lambda: iter([Special(b"a"), Special(b"b")]))).get().body == b"ab"


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("when", ["at once", "mid-body"])
def test_an_exit_does_not_kill_a_worker(at, error, when):
    """9: SystemExit in an application does not kill a worker: the same thread serves the next."""
    threads = []

    def app(environ, start_response):
        threads.append(threading.get_ident())
        if environ["PATH_INFO"] == "/next":
            return answering([b"alive"])(environ, start_response)
        if when == "at once":
            raise error(1)
        start_response("200 OK", PLAIN)
        return itertools.chain([b"x"], raising(error(1)))

    site = at(app, threads=1, max_threads=1)
    response = site.get()
    assert response.status == 500 if when == "at once" else response.reset == Code.INTERNAL_ERROR
    assert site.get(path="/next").body == b"alive"
    assert threads[0] == threads[1]
    assert any(isinstance(e.exc_info[1], error) for e in site.events() if e.exc_info)


# ------------------------------------------------------------ Rule 10: response fields

HOP_BY_HOP = [
    ("Connection", "close"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Connection", "keep-alive"),
    ("TE", "trailers"),
    ("Transfer-Encoding", "chunked"),
    ("Upgrade", "h2c"),
]


@pytest.mark.parametrize("field", HOP_BY_HOP, ids=lambda field: field[0])
def test_a_hop_by_hop_field_is_stripped_and_logged_once(at, field):
    """10: stripped from every response, logged for the first."""
    site = at(answering(headers=[field, ("x-kept", "yes")]))
    for _ in range(3):
        response = site.get()
        assert response.status == 200
        assert response.headers(field[0]) == []
        assert response.header("x-kept") == "yes"
    assert sum(field[0].lower() in message for message in site.warnings()) == 1


def test_names_are_sent_in_lower_case(at):
    """10: names lower-cased (RFC 9113 section 8.2)."""
    response = at(answering(headers=[("X-MiXeD", "Kept As It Is")])).get()
    assert [f for f in response.fields if f[0].lower() == "x-mixed"] == [
        ("x-mixed", "Kept As It Is")
    ]


def test_values_are_sent_as_latin_1(at):
    """10: values latin-1: one octet each."""
    site = at(answering(headers=[("x-name", "caf\u00e9 \u00ff")]))
    # The peer decodes as Latin-1 too, so any other octets would show.
    assert site.get().header("x-name") == "caf\u00e9 \u00ff"


def test_white_space_around_a_value_is_taken_off(at):
    """10: RFC 9113 section 8.2.1 forbids to send it."""
    assert at(answering(headers=[("x-name", " \tvalue\t ")])).get().header("x-name") == "value"


def test_several_set_cookie_fields_stay_separate_and_in_order(at):
    """10: several Set-Cookie stay separate."""
    cookies = ["a=1; Path=/", "b=2, c", "a=3"]
    response = at(answering(headers=[("Set-Cookie", cookie) for cookie in cookies])).get()
    assert response.headers("set-cookie") == cookies


def test_date_and_server_are_added(at):
    """10: where absent."""
    response = at(answering()).get()
    assert len(response.headers("date")) == 1
    assert response.header("date").endswith(" GMT")
    assert parsedate_to_datetime(response.header("date")).tzinfo is not None
    assert response.headers("server") == ["h2wsgi"]


def test_date_and_server_of_the_application_are_kept(at):
    """10: only where absent, whatever the case of their names."""
    date = "Thu, 01 Jan 1970 00:00:00 GMT"
    response = at(answering(headers=[("DATE", date), ("Server", "mine")])).get()
    assert response.headers("date") == [date]
    assert response.headers("server") == ["mine"]


def test_a_500_has_date_and_server_too(at):
    """10: it is a response like any other."""
    response = at(answering(lambda: raising(ValueError()))).get()
    names = Counter(name for name, _ in response.fields)
    assert (names["date"], names["server"]) == (1, 1)


# --------------------------------------------------------- Rule 11: wsgi.file_wrapper


class File(io.BytesIO):
    """A file that counts how often it was closed, and remembers how it was read."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.closes = 0
        self.sizes: list[int | None] = []

    def read(self, size: int | None = -1) -> bytes:
        self.sizes.append(size)
        return super().read(size)

    def close(self) -> None:
        self.closes += 1


def sending(file: Any, headers: Any = PLAIN, *arguments: int) -> Callable[..., Any]:
    """Return an application that answers with a wrapped file."""

    def app(environ, start_response):
        start_response("200 OK", list(headers))
        return environ["wsgi.file_wrapper"](file, *arguments)

    return app


def test_a_wrapped_file_is_sent_whole_and_closed_once(at):
    """11: wsgi.file_wrapper exists and closes its file."""
    file = File(bytes(range(256)) * 1000)
    site = at(sending(file))
    assert site.get().body == file.getvalue()
    site.events()
    assert file.closes == 1


def test_a_wrapped_file_is_sent_from_where_it_stands(at):
    """11: not from its beginning."""
    file = File(b"0123456789")
    file.seek(4)
    assert at(sending(file)).get().body == b"456789"


def test_a_wrapped_file_is_read_in_blocks_of_the_given_size(at):
    """11: the block size is the application's to choose."""
    file = File(b"0123456789")
    assert at(sending(file, PLAIN, 4)).get().body == b"0123456789"
    assert set(file.sizes) == {4}


def test_a_wrapped_file_is_sent_up_to_content_length_and_no_further(at):
    """11: respects Content-Length; as that is how a part of a file is sent, it is no mistake."""
    file = File(b"0123456789" * 10)
    file.seek(5)
    site = at(sending(file, [("content-length", "10")], 4))
    response = site.get()
    assert (response.body, response.ended, response.reset) == (b"5678901234", True, None)
    assert site.warnings() == []
    assert file.closes == 1
    assert file.sizes == [4, 4, 2]


def test_a_wrapped_file_with_content_length_zero_is_not_sent(at):
    """11: respects Content-Length, 0 included."""
    file = File(b"0123456789")
    site = at(sending(file, [("content-length", "0")]))
    response = site.get()
    assert (response.body, response.ended, response.reset) == (b"", True, None)
    assert site.warnings() == []
    assert file.closes == 1


def test_a_wrapped_file_shorter_than_content_length_resets_the_stream(at):
    """11 and 7: as any other content that is missing."""
    file = File(b"0123")
    site = at(sending(file, [("content-length", "5")]))
    stream_id = site.peer.request()
    assert site.peer.wait_reset(stream_id) == Code.INTERNAL_ERROR
    site.events()
    assert file.closes == 1


@pytest.mark.parametrize("how", WAYS)
def test_a_wrapped_file_is_closed_when_the_client_leaves(at, how):
    """11 and 4: closes its file, then too."""
    file = File(b"x" * 10_000_000)
    site = at(sending(file))
    stream_id = site.peer.request()
    site.peer.wait_data(stream_id, 1)
    leave(site, stream_id, how)
    site.events()
    assert file.closes == 1


def test_a_wrapped_file_answered_to_head_is_closed_unsent(at):
    """11 and 6: HEAD has no content."""
    file = File(b"0123456789")
    site = at(sending(file, [("content-length", "10")]))
    response = site.get(method="HEAD")
    assert (response.body, response.header("content-length")) == (b"", "10")
    site.events()
    assert file.closes == 1


class Unread(File):
    """A file that nobody may read, as it would wait."""

    def read(self, size: int | None = -1) -> bytes:
        raise AssertionError("read where nothing is sent")


@pytest.mark.parametrize("headers", [PLAIN, [("content-length", "10")]])
@pytest.mark.parametrize(
    ("method", "status"),
    [("HEAD", "200 OK"), ("GET", "204 No"), ("GET", "205 No"), ("GET", "304 No")],
)
def test_a_wrapped_file_is_not_read_where_nothing_is_sent(at, method, status, headers):
    """11 and 6: it may be a pipe that has nothing yet."""
    file = Unread(b"0123456789")

    def app(environ, start_response):
        start_response(status, list(headers))
        return environ["wsgi.file_wrapper"](file)

    site = at(app)
    response = site.get(method=method)
    assert (response.status, response.body, response.reset) == (int(status[:3]), b"", None)
    assert site.warnings() == []
    assert file.closes == 1


@contextlib.contextmanager
def ends(kind: str) -> Iterator[tuple[Any, Callable[[bytes], object], Callable[[], None]]]:
    """Give a file to read, how to put octets into its other end, and how to close that."""
    if kind == "socket":
        ours, theirs = socket.socketpair()
        file: Any = ours.makefile("rb")
        ours.close()
        with file, theirs:
            yield file, theirs.sendall, theirs.close
        return
    read, write = os.pipe()
    source: Any = os.fdopen(read, "rb", -1 if kind == "pipe" else 0)
    target = os.fdopen(write, "wb", 0)
    with source, target:
        file = gzip.GzipFile(fileobj=source) if kind == "gzip" else source
        put = target.write if kind != "gzip" else lambda data: target.write(gzip.compress(data))
        yield file, put, target.close


@pytest.mark.parametrize("kind", ["pipe", "raw pipe", "socket", "gzip"])
def test_what_a_wrapped_pipe_has_is_sent_when_it_is_there(at, kind):
    """11: it does not wait for a whole block, which a pipe may never have."""
    with ends(kind) as (file, put, close):
        site = at(sending(file))
        stream_id = site.peer.request()
        put(b"first")
        assert site.peer.wait_data(stream_id, 5) == b"first"
        put(b", second")
        assert site.peer.wait_data(stream_id, 13) == b"first, second"
        close()
        response = site.peer.response(stream_id)
        assert (response.body, response.ended) == (b"first, second", True)


@pytest.mark.parametrize("kind", ["pipe", "raw pipe", "socket"])
def test_no_more_of_a_wrapped_pipe_is_waited_for_than_content_length(at, kind):
    """11: nothing comes behind it where the other end stays open, as a connection does."""
    with ends(kind) as (file, put, _close):
        site = at(sending(file, [("content-length", "10")]))
        stream_id = site.peer.request()
        put(b"0123456789")
        assert site.peer.response(stream_id).body == b"0123456789"


def test_a_wrapped_file_that_can_only_read_is_asked_for_no_more_than_content_length(at):
    """11: so one that waits until it has all it was asked for does not wait for ever."""
    asked = []

    class Whole:
        def read(self, size: int) -> bytes:
            asked.append(size)
            return b"x" * size

    site = at(sending(Whole(), [("content-length", "70000")]))
    assert len(site.get().body) == 70_000
    assert asked == [65_536, 70_000 - 65_536]


@pytest.mark.parametrize("buffering", [0, -1])
def test_a_wrapped_file_that_does_not_wait_has_not_ended(at, buffering):
    """11 and 7: where there is nothing yet the response fails; it is not cut off as if whole."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    with os.fdopen(read, "rb", buffering) as file, os.fdopen(write, "wb", 0) as target:
        target.write(b"some")
        response = at(sending(file)).get()
        assert (response.body, response.reset) == (b"some", Code.INTERNAL_ERROR)


def test_a_file_whose_class_has_its_own_read_is_read_by_it(at):
    """11: read() is what PEP 3333 asks for; a read1() of another class may say something else."""

    class Upper(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(size).upper()

    assert at(sending(Upper(b"octets"))).get().body == b"OCTETS"


@pytest.mark.parametrize("block_size", [-1, None])
def test_a_wrapped_file_without_a_block_size_is_sent(at, block_size):
    """11: in one piece, or in those that are there."""
    file = File(b"0123456789")
    assert at(sending(file, PLAIN, block_size)).get().body == b"0123456789"
    file.seek(0)
    headers = [("content-length", "4")]
    assert at(sending(file, headers, block_size)).get().body == b"0123"


def test_a_file_without_close_can_be_wrapped(at):
    """11: all that PEP 3333 asks of it is read()."""

    class Bare:
        def __init__(self) -> None:
            self.read = io.BytesIO(b"bare").read

    site = at(sending(Bare()))
    assert site.get().body == b"bare"
    assert site.warnings() == []


def test_a_file_that_fails_midway_is_closed_and_the_stream_reset(at):
    """11 and 8: as with any iterable."""

    class Failing(File):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= 4:
                raise OSError("the disk is gone")
            return super().read(size)

    file = Failing(b"01234567")
    site = at(sending(file, PLAIN, 4))
    response = site.get()
    assert (response.body, response.reset) == (b"0123", Code.INTERNAL_ERROR)
    assert any("OSError" in message for message in site.warnings())
    assert file.closes == 1


def test_a_failure_is_logged_from_the_applications_first_frame_on(serve, connect, caplog):
    """8: the traceback is the application's, without the server's frames above it."""

    def broken(environ, start_response):
        raise KeyError("missing")

    server = serve(broken)
    assert connect(server).get("/").status == 500
    server.stop()  # the answer goes first, so that no handler of the log holds it up
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert record.exc_info[2].tb_frame.f_code.co_name == "broken"


def test_a_forgotten_return_is_said_in_words(serve, connect, caplog):
    """8: None is the commonest wrong answer."""

    def forgetful(environ, start_response):
        start_response("200 OK", [])

    server = serve(forgetful)
    assert connect(server).get("/").status == 500
    server.stop()
    assert "the application returned NoneType, not an iterable of bytes" in caplog.text
