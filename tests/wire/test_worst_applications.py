"""The application that behaves worst: whatever it does, its neighbours are served and it ends.

Each case is one thing that an application must not do. Its client is told the truth about the
response; a request behind it on the same connection is answered, and nothing is left behind.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi import ApplicationError, ClientDisconnected
from support.peer import Code, Peer, Response, StreamReset
from support.process import START_PATIENCE, ServerProcess
from support.settled import PATIENCE, eventually, settle

ENGINES = ("fast", "h2")
Application = Callable[[dict[str, Any], Any], Any]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Raises(BaseException):
    """What no application should raise: not even an Exception."""


ERRORS = [
    Raises("x"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    StopIteration(1),
    MemoryError(),
]


def beside(app: Application) -> Application:
    """Answer ``/`` as one should, and leave the rest to ``app``."""

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/":
            start_response("200 OK", [])
            return [b"well"]
        return app(environ, start_response)

    return application


def outcome(peer: Peer, **request: Any) -> Response | int:
    """Return the response of ``/bad``, or the code it was reset with."""
    stream_id = peer.request(path="/bad", **request)
    return ended(peer, stream_id)


def ended(peer: Peer, stream_id: int) -> Response | int:
    """Return the whole response of a stream, or the code it was reset with."""
    try:
        response = peer.response(stream_id)
    except StreamReset:
        response = peer.responses[stream_id]
    return response if response.reset is None else response.reset


class Content:
    """An iterable that raises where it is told to."""

    def __init__(self, error: BaseException, where: str) -> None:
        self.error = error
        self.where = where
        self.closed = 0

    def _raise(self, where: str) -> None:
        if where == self.where:
            raise self.error

    def __iter__(self) -> Iterator[bytes]:
        self._raise("iter")
        return self._pieces()

    def _pieces(self) -> Iterator[bytes]:
        self._raise("first")
        yield b"one"
        self._raise("second")
        yield b"two"

    def __len__(self) -> int:
        self._raise("len")
        return 2

    def close(self) -> None:
        self.closed += 1
        self._raise("close")


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("where", ["call", "start", "iter", "first", "second", "len", "close"])
def test_an_error_anywhere_ends_its_own_response_alone(
    serve: Serve, connect: Connect, engine: str, where: str, error: BaseException
) -> None:
    content = Content(error, where)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if where == "call":
            raise error
        start_response("200 OK", [])
        if where == "start":
            raise error
        return content

    server = serve(beside(app), engine=engine)
    peer = connect(server)
    answer = outcome(peer)
    if where == "close" or (where == "len" and isinstance(error, Exception)):
        assert isinstance(answer, Response)
        assert answer.body == b"onetwo"
    elif where == "second":
        assert answer == Code.INTERNAL_ERROR
    else:
        assert isinstance(answer, Response)
        assert answer.status == 500
    closed = where not in ("call", "start")
    eventually(lambda: content.closed >= closed, "close(), which comes behind the response")
    assert content.closed == closed
    assert peer.get("/").body == b"well"
    settle(server, connections=None)


def late_calls(environ: dict[str, Any], write: Any) -> list[Callable[[], object]]:
    """Return what an application may do with what it was given, to be done after its call."""
    stream = environ["h2wsgi.stream"]
    return [
        lambda: write(b"late"),
        environ["wsgi.input"].read,
        lambda: environ["wsgi.early_hints"]([("Link", "</x>")]),
        lambda: stream.send_informational(103, []),
        lambda: environ["wsgi.ext.http.send_trailers"]([("x-late", "1")]),
        stream.reset,
        lambda: stream.stall(1),
        stream.abandon,
        lambda: stream.disconnected.wait(0.01),
        environ.get("h2wsgi.trailers", list),
    ]


def test_environ_and_stream_are_harmless_once_the_call_is_over(
    serve: Serve, connect: Connect, engine: str
) -> None:
    kept: list[dict[str, Any]] = []
    writes: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        kept.append(environ)
        writes.append(start_response("200 OK", []))
        return [b"done"]

    server = serve(beside(app), engine=engine)
    peer = connect(server)
    assert isinstance(outcome(peer), Response)
    cut_off = peer.request("POST", path="/bad", end_stream=False)
    peer.data(cut_off, b"unread")
    assert isinstance(ended(peer, cut_off), Response)
    settle(server, connections=None)
    said: list[object] = []

    def use() -> None:
        for environ, write in zip(kept, writes, strict=True):
            for call in late_calls(environ, write):
                try:
                    said.append(call())
                except (ClientDisconnected, ApplicationError) as error:
                    said.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    # Nothing of it can reach a client, and content that was cut off does not look whole.
    assert b"unread" not in said
    assert sum(isinstance(one, ClientDisconnected) for one in said) == 1
    assert sum(isinstance(one, ApplicationError) for one in said) == 4
    assert {type(one) for one in said} <= {
        *(type(None), bytes, bool, list),
        *(ClientDisconnected, ApplicationError),
    }
    assert peer.get("/").body == b"well"
    settle(server, connections=None)


def test_two_threads_that_write_at_once_lose_nothing(
    serve: Serve, connect: Connect, engine: str
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", [])
        both = threading.Barrier(2)

        def some(octet: bytes) -> None:
            both.wait(PATIENCE)
            for _ in range(200):
                write(octet * 1_000)

        other = threading.Thread(target=some, args=(b"b",))
        other.start()
        some(b"a")
        other.join(PATIENCE)
        return []

    server = serve(beside(app), engine=engine)
    peer = connect(server, window=2**24)
    answer = outcome(peer)
    assert isinstance(answer, Response)
    assert sorted(answer.body) == sorted(b"a" * 200_000 + b"b" * 200_000)
    assert peer.get("/").body == b"well"
    settle(server, connections=None)


def test_an_application_cannot_change_how_signals_are_handled(
    serve: Serve, connect: Connect, engine: str
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return []

    server = serve(beside(app), engine=engine)
    peer = connect(server)
    answer = outcome(peer)
    assert isinstance(answer, Response)
    assert answer.status == 500
    assert peer.get("/").body == b"well"
    settle(server, connections=None)


def test_what_a_thread_left_behind_still_sends_is_dropped(
    serve: Serve, connect: Connect, engine: str
) -> None:
    over = threading.Event()
    done = threading.Event()
    raised: list[BaseException] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", [])

        def later() -> None:
            over.wait(PATIENCE)
            try:
                for _ in range(1000):
                    write(b"late" * 1000)
                environ["wsgi.ext.http.send_trailers"]([("x", "y")])
            except BaseException as error:
                raised.append(error)
            done.set()

        threading.Thread(target=later).start()
        write(b"some")
        return []

    server = serve(beside(app), engine=engine)
    peer = connect(server)
    answer = outcome(peer)
    over.set()
    assert done.wait(PATIENCE)
    assert isinstance(answer, Response)
    assert answer.body == b"some"
    assert [type(error) for error in raised] == [ApplicationError]  # of the trailers alone
    assert peer.get("/").body == b"well"
    settle(server, connections=None)


@pytest.mark.parametrize(
    ("method", "how", "body", "trailers"),
    [
        ("HEAD", "200 OK", b"", []),
        ("GET", "204 No Content", b"", []),
        ("GET", "304 Not Modified", b"", []),
        ("GET", "200 OK", b"some", [("x-one", "1"), ("x-two", "2")]),
        ("GET", "raise", b"some", None),
    ],
)
def test_trailers_leave_only_behind_content_that_is_whole(
    serve: Serve,
    connect: Connect,
    engine: str,
    method: str,
    how: str,
    body: bytes,
    trailers: list[tuple[str, str]] | None,
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        send_trailers = environ["wsgi.ext.http.send_trailers"]
        start_response("200 OK" if how == "raise" else how, [("Trailer", "x-one")])
        send_trailers([("x-one", "1")])

        def content() -> Iterator[bytes]:
            yield b"some"
            if how == "raise":
                raise Raises("x")
            send_trailers([("x-two", "2")])

        return content()

    server = serve(beside(app), engine=engine)
    peer = connect(server)
    stream_id = peer.request(method, "/bad")
    answer = ended(peer, stream_id)
    assert peer.responses[stream_id].body == body
    if trailers is None:
        assert answer == Code.INTERNAL_ERROR
        assert peer.responses[stream_id].trailers == []
    else:
        assert peer.responses[stream_id].trailers == trailers
    assert peer.get("/").body == b"well"
    settle(server, connections=None)


def test_close_that_blocks_and_sys_exit_in_it(serve: Serve, connect: Connect, engine: str) -> None:
    go = threading.Event()

    class Blocks:
        def __iter__(self) -> Iterator[bytes]:
            yield b"x"

        def close(self) -> None:
            go.wait(PATIENCE)
            sys.exit(1)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "1")])
        return Blocks()

    server = serve(beside(app), engine=engine)
    peer = connect(server)
    answer = outcome(peer)
    assert isinstance(answer, Response)
    assert answer.body == b"x"
    assert peer.get("/").body == b"well"
    go.set()
    settle(server, connections=None)


HOSTILE = """
class Exit(BaseException): pass

def raising(self, *_):
    raise Exit

class Metaclass(type):
    __module__ = __name__ = property(raising)

class Type(Exception, metaclass=Metaclass): pass

def hostile(name):
    return type(f"With{name}", (Exception,), {name: property(raising, raising)})

ALL = [Type] + [
    hostile(name)
    for name in ("__cause__", "__context__", "__traceback__", "__notes__", "__class__",
                 "__suppress_context__", "__dict__")
] + [type("WithText", (Exception,), {"__str__": raising, "__repr__": raising})]

class Closing(list):
    def close(self):
        raise self.error

def app(environ, start_response):
    _, where, number = environ["PATH_INFO"].split("/")
    error = ALL[int(number)]()
    if where == "call":
        raise error
    start_response("200 OK", [])
    response = Closing([b"whole"])
    response.error = error
    return response
"""
HOSTILES = 9


def test_an_exception_whose_attributes_raise_is_an_error_as_any_other(tmp_path: Path) -> None:
    engine = os.environ.get("TEST_ENGINE", "auto")
    with ServerProcess(tmp_path, HOSTILE, "--h2c", "--engine", engine) as process:
        with process.connect(tls=False) as peer:
            for number in range(HOSTILES):
                assert peer.get(f"/call/{number}").status == 500
                assert peer.get(f"/close/{number}").body == b"whole"
        process.signal(signal.SIGTERM)
        assert process.exit_code(PATIENCE) == 0
        failed = [line for line in process.lines() if line["event"] == "application_failed"]
        assert len(failed) == 2 * HOSTILES
        for line in failed:
            assert "web.py" in line["exception_stack"]


WRITING = """
import sys

class Writer:
    def write(self, text):
        if "unwanted" in text:
            raise KeyError
        sys.__stderr__.write(text)
        sys.__stderr__.flush()

    def flush(self): pass

sys.stdout = sys.stderr = Writer()

def app(environ, start_response):
    print(environ["PATH_INFO"], file=environ["wsgi.errors"], flush=True)
    start_response("200 OK", [])
    return [b"served"]
"""


def test_standard_error_may_be_an_object_that_can_only_be_written_to(tmp_path: Path) -> None:
    """As programs have that turn what is printed into records of logging."""
    with ServerProcess(tmp_path, WRITING, "--h2c", "--log-format", "text") as process:
        eventually(
            lambda: "Ctrl-C to stop" in process.log.read_text(),
            "the server to be ready",
            START_PATIENCE,
        )
        port = re.search(r"http://127\.0\.0\.1:(\d+)/", process.log.read_text())
        assert port is not None
        with Peer.connect(("127.0.0.1", int(port[1])), tls=False) as peer:
            assert peer.get("/unwanted").body == b"served"
            # What it does not take is no reason to drop all that comes behind.
            eventually(
                lambda: peer.get("/told") and "app: /told\n" in process.log.read_text(),
                "a line behind it",
            )
        process.signal(signal.SIGTERM)
        assert process.exit_code(PATIENCE) == 0
        assert "stopped\n" in process.log.read_text()
