"""Content whose length nobody told: rule 15 and 18, both ways to treat it.

On both engines. Temporary files are real; only where a disk has to be full, slow or away is the
opening of one replaced.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import h2wsgi
from conftest import Connect, Serve
from h2wsgi.http2 import gathering
from h2wsgi.seam import spool
from h2wsgi.server import server as server_module
from h2wsgi.server.running import ServerThread
from support.peer import TIMEOUT, Code, Peer, Response
from support.settled import eventually

SMALL = b"small content"
LARGE = bytes(range(256)) * 4_000  # a million octets: more than stays in memory, and than a window
FIELDS = [("content-type", "application/x-test")]


class App:
    """Notes each call, and answers with CONTENT_LENGTH, the content's length and its trailers."""

    def __init__(self) -> None:
        self.started: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.contents: list[bytes] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, environ, start_response):
        self.started.put(environ["PATH_INFO"])
        assert self.go_on.wait(TIMEOUT)
        match environ["PATH_INFO"]:
            case "/raise":
                raise RuntimeError("as asked")
            case "/unread":
                pass
            case "/part":
                environ["wsgi.input"].read(70_000)
            case "/close":
                environ["wsgi.input"].close()
            case _:
                self.contents.append(environ["wsgi.input"].read())
        start_response("200 OK", [("content-type", "text/plain")])
        length, trailers = environ.get("CONTENT_LENGTH"), environ["h2wsgi.trailers"]()
        return [f"{length} {len(self.contents[-1:] and self.contents[-1])} {trailers}".encode()]


@pytest.fixture
def app() -> Iterator[App]:
    app = App()
    yield app
    app.go_on.set()


@pytest.fixture
def server(serve: Serve, app: App) -> ServerThread:
    return serve(app, unsized_content="buffer")


def post(peer: Peer, *pieces: bytes, end: bool = True, **request: Any) -> int:
    """Send a request with content in pieces, the server at rest between them."""
    stream_id = peer.request(**{"method": "POST"} | request, end_stream=False)
    for piece in pieces:
        peer.roundtrip()
        peer.upload(stream_id, piece, end_stream=False)
    if end:
        peer.data(stream_id, b"", end_stream=True)
    return stream_id


def seen(peer: Peer, stream_id: int) -> Response:
    """Return what has come of a response so far."""
    return peer.responses.setdefault(stream_id, Response(stream_id))


def text(response: Response) -> str:
    return response.body.decode()


def assert_nothing_is_left(server: ServerThread) -> None:
    """No content in memory or in a file, no thread of the application that has it."""
    held = server.server.spool
    eventually(
        lambda: (held.used, held.contents, server.server.input_budget.used) == (0, 0, 0),
        "content to be gone",
    )
    assert not temporary_files()


def temporary_files() -> list[str]:
    """Return the files without a name, in this test's folder, that this process has open."""
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    folder = tempfile.gettempdir() + "/"
    return [link for link in links if link.startswith(folder)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put temporary files where no others are."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


# ------------------------------------------------------------------------ whole before it starts


@pytest.mark.parametrize("content", [b"", b"x", SMALL, LARGE], ids=len)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET"])
def test_content_without_a_length_gets_one(server, app, connect: Connect, method, content):
    """15: whatever the method and the size; of no octets it is 0."""
    peer = connect(server)
    stream_id = post(peer, *([content] if content else []), method=method)
    assert text(peer.response(stream_id)) == f"{len(content)} {len(content)} []"
    assert app.contents == [content]
    assert_nothing_is_left(server)


def test_content_in_the_segment_of_its_request_gets_a_length(server, connect: Connect):
    """15: whatever the timing."""
    peer = connect(server)
    frames: list[bytes] = []
    peer.send_raw = lambda data, timeout=TIMEOUT: frames.append(data)
    stream_id = peer.request("POST", body=SMALL)
    del peer.send_raw
    peer.send_raw(b"".join(frames))
    assert text(peer.response(stream_id)) == f"{len(SMALL)} {len(SMALL)} []"


def test_a_request_that_ends_with_its_fields_has_no_length(server, connect: Connect):
    """15: there is no content."""
    peer = connect(server)
    for method in ("GET", "POST", "HEAD"):
        response = peer.get(method=method)
        assert (method == "HEAD") or text(response).startswith("None ")


def test_a_head_with_content_is_answered_without_any(server, app, connect: Connect):
    """15: its content is read like any other."""
    peer = connect(server)
    response = peer.response(post(peer, SMALL, method="HEAD"))
    assert (response.status, response.body) == (200, b"")
    assert app.contents == [SMALL]


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=len)
def test_the_application_starts_once_all_is_there(server, app, connect: Connect, content):
    """15: and not before, however long that takes."""
    peer = connect(server)
    stream_id = post(peer, content, end=False)
    assert peer.get("/other").status == 200
    assert app.started.get(timeout=TIMEOUT) == "/other"
    assert app.started.empty()
    peer.data(stream_id, b"the end", end_stream=True)
    assert text(peer.response(stream_id)).startswith(f"{len(content) + 7} {len(content) + 7} ")
    assert app.contents[-1] == content + b"the end"


@pytest.mark.parametrize("way", ["buffer", "stream"])
@pytest.mark.parametrize("content", [b"", SMALL, LARGE], ids=len)
def test_trailers_are_there_either_way(serve: Serve, app, connect: Connect, content, way):
    """14: once the content was read."""
    peer = connect(serve(app, unsized_content=way))
    stream_id = post(peer, content, end=False)
    peer.headers(stream_id, peer.encode([("x-sum", "1")]), end_stream=True)
    length = len(content) if way == "buffer" else None
    assert text(peer.response(stream_id)) == f"{length} {len(content)} [('x-sum', '1')]"


def test_content_with_a_length_streams_as_ever(server, app, connect: Connect):
    """18: nobody waits for its end."""
    peer = connect(server)
    stream_id = post(peer, b"part", end=False, fields=[("content-length", "8")])
    assert app.started.get(timeout=TIMEOUT) == "/"
    peer.data(stream_id, b"part", end_stream=True)
    assert text(peer.response(stream_id)) == "8 8 []"


def test_100_goes_out_at_once(server, app, connect: Connect):
    """19: nobody reads before all is there, so nobody else would ask for it."""
    peer = connect(server)
    stream_id = post(peer, end=False, fields=[("expect", "100-continue")])
    peer.wait_until(lambda: bool(seen(peer, stream_id).informational), "100")
    peer.upload(stream_id, LARGE)
    response = peer.response(stream_id)
    assert response.informational == [(100, [])]
    assert app.contents == [LARGE]


def test_tiny_frames_and_padding_add_up(server, app, connect: Connect):
    """15: and their credit returns."""
    peer = connect(server)
    stream_id = post(peer, end=False)
    octets = b""
    for number in range(3_000):
        peer.wait_until(lambda: peer.send_window(stream_id) > 300, "a window")
        peer.data(stream_id, b"%d," % number, padding=200)
        octets += b"%d," % number
    peer.data(stream_id, b"", end_stream=True)
    peer.response(stream_id)
    assert app.contents == [octets]
    assert_nothing_is_left(server)


def test_many_at_once_are_all_kept_apart(server, app, connect: Connect):
    """15: files and memory, in turns."""
    peer = connect(server)
    streams = {}
    for number in range(40):
        stream_id = post(peer, end=False)
        streams[stream_id] = bytes([number]) * (300_000 if number % 2 else 30_000)
    for start in range(0, 300_000, 30_000):
        for stream_id, content in streams.items():
            if piece := content[start : start + 30_000]:
                peer.upload(stream_id, piece, end_stream=False)
    for stream_id in streams:
        peer.data(stream_id, b"", end_stream=True)
    for stream_id, content in streams.items():
        assert text(peer.response(stream_id)).startswith(f"{len(content)} ")
    assert sorted(app.contents) == sorted(streams.values())
    assert_nothing_is_left(server)


def test_a_small_window_is_enough(serve: Serve, app, connect: Connect):
    """Credit goes on, however little of it there is."""
    server = serve(app, unsized_content="buffer", stream_window=16_384, connection_window=65_535)
    peer = connect(server)
    peer.wait_settings()
    stream_id = post(peer, LARGE)
    assert text(peer.response(stream_id)) == f"{len(LARGE)} {len(LARGE)} []"


# ---------------------------------------------------------------------------- who wants to stream


@pytest.mark.parametrize("content", [b"", SMALL, LARGE], ids=len)
def test_stream_never_sets_a_length(serve: Serve, app, connect: Connect, content):
    """15: also if all came at once."""
    app.go_on.clear()
    peer = connect(serve(app, unsized_content="stream"))
    stream_id = peer.request("POST", body=content[:20_000], end_stream=len(content) <= 20_000)
    assert app.started.get(timeout=TIMEOUT) == "/"
    app.go_on.set()
    if len(content) > 20_000:
        peer.upload(stream_id, content[20_000:])
    assert text(peer.response(stream_id)) == f"None {len(content)} []"


class Middleware:
    def __init__(self, app: Any, name: str) -> None:
        setattr(self, name, app)
        self.name = name

    def __call__(self, environ, start_response):
        return getattr(self, self.name)(environ, start_response)


def wanting(app: App, wanted: str = "stream") -> Callable[..., Any]:
    def wants(environ, start_response):
        return app(environ, start_response)

    wants.h2wsgi_unsized_content = wanted
    return wants


def wrapping(app: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(app)
    def wrapper(environ, start_response):
        return app(environ, start_response)

    del wrapper.h2wsgi_unsized_content  # found by way of __wrapped__, as of other decorators
    return wrapper


class Site:
    """As Flask: its method, which may be wrapped, is what is called."""

    h2wsgi_unsized_content = "stream"

    def __init__(self, app: App) -> None:
        self.app = app

    def wsgi_app(self, environ, start_response):
        return self.app(environ, start_response)


LAYERS = {
    "itself": wanting,
    "functools.wraps": lambda app: wrapping(wanting(app)),
    "partial": lambda app: functools.partial(wanting(app)),
    "app": lambda app: Middleware(wanting(app), "app"),
    "application": lambda app: Middleware(wanting(app), "application"),
    "wsgi_app": lambda app: Middleware(wanting(app), "wsgi_app"),
    "three": lambda app: Middleware(Middleware(functools.partial(wanting(app)), "wsgi"), "app"),
    "method": lambda app: Middleware(Site(app).wsgi_app, "app"),
}


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_an_application_asks_for_it_by_an_attribute(serve: Serve, app, connect: Connect, layers):
    """18: found through middlewares that keep what they wrap."""
    peer = connect(serve(layers(app), unsized_content="buffer"))
    stream_id = post(peer, SMALL, end=False)
    assert app.started.get(timeout=TIMEOUT) == "/"
    peer.data(stream_id, b"", end_stream=True)
    assert text(peer.response(stream_id)) == f"None {len(SMALL)} []"


def test_an_application_may_ask_for_a_length_too(serve: Serve, app, connect: Connect):
    """15: its word counts for more than the option's."""
    peer = connect(serve(wanting(app, "buffer"), unsized_content="stream"))
    assert text(peer.response(post(peer, SMALL))) == f"{len(SMALL)} {len(SMALL)} []"


@pytest.mark.parametrize("wanted", ["streaming", True, 1])
def test_an_attribute_that_says_nothing_is_refused(app, wanted):
    """One sentence, before anything is served."""
    with pytest.raises(h2wsgi.ConfigurationError, match="h2wsgi_unsized_content of the appl"):
        h2wsgi.serve_in_thread(wanting(app, wanted))


class AnyAttribute:
    """A proxy of something that is not there yet."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"working outside of {name}")

    def __call__(self, environ, start_response):
        start_response("200 OK", [])
        return [environ.get("CONTENT_LENGTH", "none").encode()]


def test_an_application_whose_attributes_raise_is_served(serve: Serve, connect: Connect):
    """15: by the option."""
    peer = connect(serve(AnyAttribute(), unsized_content="buffer"))
    assert peer.response(post(peer, SMALL)).body == b"%d" % len(SMALL)


def test_an_application_that_has_an_attribute_of_any_name_is_served(
    serve: Serve, app, connect: Connect
):
    """15: by the option, as a mock says nothing of it."""
    peer = connect(serve(Mock(side_effect=app), unsized_content="buffer"))
    assert text(peer.response(post(peer, SMALL))) == f"{len(SMALL)} {len(SMALL)} []"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/grpc",
        "application/grpc+proto",
        "Application/gRPC-Web",
        "application/connect+json",
    ],
)
def test_a_streaming_rpc_streams(server, app, connect: Connect, content_type):
    """18: its client may wait for an answer before it ends its content."""
    peer = connect(server)
    stream_id = post(peer, SMALL, end=False, fields=[("content-type", content_type)])
    assert app.started.get(timeout=TIMEOUT) == "/"
    peer.data(stream_id, b"", end_stream=True)
    assert text(peer.response(stream_id)) == f"None {len(SMALL)} []"


@pytest.mark.parametrize("content_type", ["application/connect", "application/json", "x/y"])
def test_other_content_types_do_not(server, connect: Connect, content_type):
    """15: such as a unary call of Connect."""
    peer = connect(server)
    stream_id = post(peer, SMALL, fields=[("content-type", content_type)])
    assert text(peer.response(stream_id)) == f"{len(SMALL)} {len(SMALL)} []"


# --------------------------------------------------------------------------------------- limits


def test_content_over_max_unsized_is_a_413(serve: Serve, app, connect: Connect, caplog):
    """One octet more than may be."""
    server = serve(app, unsized_content="buffer", max_unsized=400_000)
    peer = connect(server)
    assert text(peer.response(post(peer, LARGE[:400_000]))) == "400000 400000 []"
    with caplog.at_level(logging.INFO, "h2wsgi"):
        response = peer.response(post(peer, LARGE[:400_001], end=False))
    assert (response.status, response.body) == (413, b"Content Too Large\n")
    assert "is too large (--max-unsized)" in caplog.text
    assert server.server.limits_hit["max_unsized"] == 1
    assert len(app.contents) == 1
    assert peer.get("/other").status == 200
    assert_nothing_is_left(server)


def test_max_body_holds_for_it_too(serve: Serve, app, connect: Connect):
    """Whichever is smaller."""
    server = serve(app, unsized_content="buffer", max_body=1_000)
    peer = connect(server)
    assert peer.response(post(peer, LARGE[:1_001], end=False)).status == 413
    assert server.server.limits_hit["max_body"] == 1
    assert text(peer.response(post(peer, LARGE[:1_000]))) == "1000 1000 []"


def test_without_limits_there_is_none(serve: Serve, app, connect: Connect):
    """0 is off, as for other limits."""
    server = serve(app, unsized_content="buffer", max_unsized=0, max_unsized_total=0)
    peer = connect(server)
    assert text(peer.response(post(peer, LARGE))) == f"{len(LARGE)} {len(LARGE)} []"


def test_content_over_what_the_files_may_hold_is_a_503(serve: Serve, app, connect: Connect, caplog):
    """All requests together; once one is done there is room for another."""
    server = serve(app, unsized_content="buffer", max_unsized_total=len(LARGE) + 150_000)
    peer = connect(server)
    first = post(peer, LARGE, end=False)
    # All but less than a batch of it, so that the other has room for less than what is in memory.
    eventually(lambda: server.server.spool.used > len(LARGE) - 65_536, "content to be written")
    with caplog.at_level(logging.INFO, "h2wsgi"):
        response = peer.response(post(peer, LARGE[:270_000], end=False))
    assert response.status == 503
    assert "(--max-unsized-total)" in caplog.text
    assert server.server.limits_hit["max_unsized_total"] == 1
    peer.data(first, b"", end_stream=True)
    assert text(peer.response(first)) == f"{len(LARGE)} {len(LARGE)} []"
    assert_nothing_is_left(server)
    assert text(peer.response(post(peer, LARGE))) == f"{len(LARGE)} {len(LARGE)} []"


@pytest.mark.parametrize("judged", [True, False])
def test_who_fills_the_disk_and_brings_little_goes_for_others(
    serve: Serve, app, connect: Connect, monkeypatch, caplog, judged
):
    """Whoever holds most for longest first; and nobody who brings what a slow line can."""
    monkeypatch.setattr(server_module, "SLOW_CONTENT", 0.3 if judged else 1e9)
    monkeypatch.setattr(server_module, "DISK_LOOK", 0.0)
    server = serve(app, unsized_content="buffer", max_unsized_total=2_000_000)
    holding = connect(server)
    small = post(holding, LARGE[:300_000], end=False)
    large = post(holding, LARGE, end=False)
    eventually(lambda: server.server.spool.used > 1_200_000, "content to be written")
    time.sleep(0.4)
    honest = connect(server)
    stream_id = post(honest, LARGE[:400_000], end=False)  # the first look finds who is slow
    honest.roundtrip()
    honest.upload(stream_id, LARGE[400_000:], end_stream=False)
    if not judged:
        assert honest.response(stream_id).status == 503
        return
    honest.data(stream_id, b"", end_stream=True)
    assert text(honest.response(stream_id)) == f"{len(LARGE)} {len(LARGE)} []"
    assert holding.response(large).status == 503
    assert seen(holding, small).status == 0
    holding.data(small, b"", end_stream=True)
    assert text(holding.response(small)) == "300000 300000 []"
    given_up = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(given_up) == 1
    assert "comes slowly, and others need the room of it (--max-unsized-total)" in given_up[0]
    assert_nothing_is_left(server)


def test_a_slow_response_keeps_nothing_of_the_disk_that_was_read(serve: Serve, connect: Connect):
    """Or who uploads and takes no answer would keep all others from it."""

    def app(environ, start_response):
        length = len(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return iter([b"%d" % length, *[b"x" * 65_536] * (32 * (environ["PATH_INFO"] == "/slow"))])

    server = serve(app, unsized_content="buffer", max_unsized_total=1_500_000)
    slow = connect(server, settings={4: 0})
    stream_id = post(slow, LARGE, path="/slow")
    slow.wait_until(lambda: seen(slow, stream_id).status == 200, "the head of the response")
    eventually(lambda: server.server.spool.used == 0, "its content to be gone")
    honest = connect(server)
    assert text(honest.response(post(honest, LARGE))) == str(len(LARGE))


@pytest.mark.parametrize("judged", [True, False])
def test_who_takes_no_response_and_has_content_that_is_not_read_goes_for_others(
    serve: Serve, connect: Connect, monkeypatch, caplog, judged
):
    """As of an application that echoes."""
    monkeypatch.setattr(server_module, "SLOW_CLIENT", 0.2 if judged else 1e9)
    monkeypatch.setattr(server_module, "DISK_LOOK", 0.0)
    ended = threading.Event()

    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            while data := environ["wsgi.input"].read(65_536):
                yield data
        except h2wsgi.ClientDisconnected:
            assert environ["PATH_INFO"] == "/slow"
        finally:
            ended.set()

    server = serve(app, unsized_content="buffer", max_unsized_total=1_500_000)
    slow = connect(server, settings={4: 0})
    stream_id = post(slow, LARGE, path="/slow")
    slow.wait_until(lambda: seen(slow, stream_id).status == 200, "the head of the response")
    time.sleep(0.4)
    honest = connect(server)
    response = honest.response(post(honest, LARGE))
    assert response.status == (200 if judged else 503)
    if judged:
        assert response.body == LARGE
        assert slow.response(stream_id).reset == Code.ENHANCE_YOUR_CALM
        assert ended.wait(TIMEOUT)
        assert "others need the room of its content (--max-unsized-total)" in caplog.text
        assert_nothing_is_left(server)
    else:
        slow.rst_stream(stream_id)


def test_more_contents_than_a_process_may_have_files_are_kept(serve: Serve, app, connect: Connect):
    """All at once, in one file: they take one descriptor."""
    server = serve(app, unsized_content="buffer", max_buffered=1_048_576, max_streams=200)
    peers = [connect(server) for _ in range(2)]
    for peer in peers:
        peer.wait_settings()
    streams = [(peer, post(peer, LARGE[:8_000], end=False)) for peer in peers for _ in range(180)]
    for peer in peers:
        peer.roundtrip()
    assert server.server.spool.contents > 256
    assert len(temporary_files()) == 1
    for peer, stream_id in streams:
        peer.data(stream_id, LARGE[8_000:8_010], end_stream=True)
    for peer, stream_id in streams:
        assert text(peer.response(stream_id)) == "8010 8010 []"
    assert app.contents == [LARGE[:8_010]] * 360
    assert server.server.limits_hit["max_unsized_total"] == 0
    assert_nothing_is_left(server)


def test_without_a_thread_that_writes_it_is_a_503(server, connect: Connect, monkeypatch, caplog):
    """The operator is told that it is no limit of ours."""
    started = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "h2wsgi-files":
            raise RuntimeError("can't start new thread")
        started(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    peer = connect(server)
    assert peer.response(post(peer, LARGE[:270_000], end=False)).status == 503
    assert "cannot be kept in a temporary file: can't start new thread" in caplog.text
    assert not server.server.limits_hit
    assert_nothing_is_left(server)


class Full:
    """A disk without room."""

    def __call__(self, **options: Any) -> Any:
        return open("/dev/full", "r+b", **options)


class Away:
    """No folder to put temporary files in."""

    def __call__(self, **options: Any) -> Any:
        raise FileNotFoundError(2, "No usable temporary directory found in [...]")


@pytest.mark.parametrize("disk", [Full(), Away()])
def test_a_disk_that_takes_nothing_is_a_503(
    server, app, connect: Connect, monkeypatch, caplog, disk
):
    """The operator is told why, the connection goes on, small content too."""
    monkeypatch.setattr(spool.tempfile, "TemporaryFile", disk)
    peer = connect(server)
    response = peer.response(post(peer, LARGE[:270_000], end=False))
    assert (response.status, response.body) == (503, b"Service Unavailable\n")
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "cannot be kept in a temporary file: [Errno " in errors[0]
    assert text(peer.response(post(peer, SMALL))) == f"{len(SMALL)} {len(SMALL)} []"
    assert app.contents == [SMALL]
    assert_nothing_is_left(server)


# ---------------------------------------------------------------------------------------- clocks


def test_a_client_that_does_not_end_its_content_is_told_what_to_do(
    serve: Serve, app, connect: Connect, caplog
):
    """It may be waiting for an answer; the 408 and the log name the option."""
    server = serve(app, unsized_content="buffer", read_timeout=0.3, min_rate=0)
    peer = connect(server)
    for content in (b"", SMALL, LARGE[:400_000]):
        with caplog.at_level(logging.DEBUG, "h2wsgi"):
            response = peer.response(post(peer, content, end=False))
        assert response.status == 408
        assert "--unsized-content stream" in text(response)
        assert "--unsized-content stream" in caplog.text
        caplog.clear()
    assert server.server.limits_hit["read_timeout"] == 3
    assert app.started.empty()
    assert_nothing_is_left(server)


def test_content_that_comes_too_slowly_is_a_408(serve: Serve, app, connect: Connect):
    """min_rate runs as if an application were reading, 100 (Continue) or not."""
    server = serve(app, unsized_content="buffer", read_timeout=0.5, min_rate=1_000)
    peer = connect(server)
    slow = [post(peer, end=False, fields=f) for f in ([], [("expect", "100-continue")])]
    answered = lambda: all(seen(peer, s).status == 408 for s in slow)  # noqa: E731
    for _ in range(int(TIMEOUT / 0.05)):
        if answered():
            break
        for stream_id in slow:
            if seen(peer, stream_id).status != 408:
                peer.data(stream_id, b"x")
        peer.read_available(0.05)
    assert answered()
    assert server.server.limits_hit["min_rate"] == 2


def test_time_that_the_disk_takes_is_not_the_clients(
    serve: Serve, app, connect: Connect, monkeypatch
):
    """The loop goes on meanwhile, the client gets no more credit, and no clock runs for it."""
    disk = SlowDisk()
    monkeypatch.setattr(spool.tempfile, "TemporaryFile", disk)
    # So that what needs a file fits into the first window: the next depends on the disk.
    monkeypatch.setattr(gathering, "IN_MEMORY", 100_000)
    server = serve(app, unsized_content="buffer", read_timeout=0.3)
    peer = connect(server)
    stream_id = post(peer, LARGE[:150_000], end=False)
    assert disk.begun.wait(TIMEOUT)
    taken = 150_000
    while (window := min(16_384, peer.send_window(stream_id))) > 0 and taken < len(LARGE):
        peer.data(stream_id, LARGE[taken : taken + window])
        taken += window
        peer.roundtrip()
    assert taken <= 262_144 * 2 + 65_536
    for _ in range(4):
        assert connect(server).get("/other").status == 200
        peer.read_available(0.25)
    assert seen(peer, stream_id).status == 0
    disk.go_on.set()
    peer.upload(stream_id, LARGE[taken:])
    assert text(peer.response(stream_id)) == f"{len(LARGE)} {len(LARGE)} []"
    assert app.contents[-1] == LARGE


class SlowDisk:
    """Temporary files whose writes wait."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._open = tempfile.TemporaryFile

    def __call__(self, **options: Any) -> Any:
        self.begun.set()
        assert self.go_on.wait(6 * TIMEOUT)  # the test does much meanwhile
        return self._open(**options)


def test_no_file_is_touched_on_the_loops_thread(server, app, connect: Connect, monkeypatch):
    """Opened, written and closed on a thread of its own, read on the application's."""
    touched: set[tuple[str, str]] = set()

    def note(name: str) -> None:
        done = getattr(spool.Blocks, name)

        def noted(*arguments: Any) -> Any:
            touched.add((name, threading.current_thread().name.rstrip("0123456789")))
            return done(*arguments)

        monkeypatch.setattr(spool.Blocks, name, noted)

    for name in ("__init__", "take", "write", "read", "free", "close"):
        note(name)
    peer = connect(server)
    peer.response(post(peer, LARGE))
    peer.rst_stream(post(peer, LARGE, end=False))
    assert_nothing_is_left(server)
    own = ("__init__", "take", "write", "free", "close")
    assert touched == {("read", "h2wsgi-app-"), *((name, "h2wsgi-files") for name in own)}


# ---------------------------------------------------------------------------------- under pressure


def test_under_pressure_it_is_spilled_rather_than_refused(serve: Serve, app, connect: Connect):
    """Small as it is: other content would be refused."""
    server = serve(app, unsized_content="buffer", max_buffered=1_048_576)
    peers = [connect(server) for _ in range(4)]
    streams = [(peer, post(peer, LARGE[:100_000], end=False)) for peer in peers for _ in range(5)]
    assert server.server.spool.used > 0
    for peer, stream_id in streams:
        peer.upload(stream_id, LARGE[:100_000])
        assert text(peer.response(stream_id)) == "200000 200000 []"
    assert server.server.limits_hit["max_buffered"] == 0
    assert_nothing_is_left(server)


def test_what_waits_for_a_thread_is_spilled_too(serve: Serve, app, connect: Connect):
    """Whole already, but nobody has begun to read it."""
    app.go_on.clear()
    server = serve(app, unsized_content="buffer", max_buffered=1_048_576, threads=1, max_threads=1)
    peers = [connect(server) for _ in range(4)]
    busy = peers[0].request()
    assert app.started.get(timeout=TIMEOUT) == "/"
    streams = [(peer, post(peer, LARGE[:100_000])) for peer in peers for _ in range(5)]
    for peer in peers:
        peer.roundtrip()
    eventually(lambda: server.server.spool.used > 0, "content to be spilled")
    app.go_on.set()
    assert peers[0].response(busy).status == 200
    for peer, stream_id in streams:
        assert text(peer.response(stream_id)) == "100000 100000 []"
    assert server.server.limits_hit["max_buffered"] == 0
    assert_nothing_is_left(server)


# ------------------------------------------------------------------------------- every way out


@pytest.mark.parametrize("path", ["/", "/raise", "/unread", "/part", "/close"])
@pytest.mark.parametrize("content", [SMALL, LARGE], ids=len)
def test_nothing_is_left_whatever_the_application_does(server, connect: Connect, path, content):
    """Also if it reads nothing, or not all."""
    peer = connect(server)
    response = peer.response(post(peer, content, path=path))
    assert response.status == (500 if path == "/raise" else 200)
    assert_nothing_is_left(server)


def reset(peer: Peer, stream_id: int) -> None:
    peer.rst_stream(stream_id)


def vanish(peer: Peer, stream_id: int) -> None:
    peer.abort()


def break_a_rule(peer: Peer, stream_id: int) -> None:
    peer.send_frame(0, 0, 0, b"DATA on stream 0")


@pytest.mark.parametrize("leave", [reset, vanish, break_a_rule])
@pytest.mark.parametrize("content", [SMALL, LARGE], ids=len)
def test_nothing_is_left_of_a_client_that_leaves_in_the_middle(
    server, app, connect: Connect, leave, content
):
    """And its application never starts."""
    peer = connect(server)
    leave(peer, post(peer, content, end=False))
    assert_nothing_is_left(server)
    assert app.started.empty()


@pytest.mark.parametrize("leave", [reset, vanish])
@pytest.mark.parametrize("content", [SMALL, LARGE], ids=len)
def test_nothing_is_left_of_a_client_that_leaves_while_it_is_served(
    server, app, connect: Connect, leave, content
):
    """The application can still read what is whole."""
    app.go_on.clear()
    peer = connect(server)
    stream_id = post(peer, content)
    assert app.started.get(timeout=TIMEOUT) == "/"
    leave(peer, stream_id)
    eventually(lambda: server.server.running_requests == 0, "the stream to end")
    app.go_on.set()
    eventually(lambda: app.contents == [content], "the content to be read")
    assert_nothing_is_left(server)


def test_nothing_is_left_of_requests_that_wait_for_a_thread(serve: Serve, app, connect: Connect):
    """Reset before one was there."""
    app.go_on.clear()
    server = serve(app, unsized_content="buffer", threads=1, max_threads=1)
    peer = connect(server)
    busy = peer.request()
    app.started.get(timeout=TIMEOUT)
    for content in (SMALL, LARGE):
        stream_id = post(peer, content)
        peer.roundtrip()
        peer.rst_stream(stream_id)
    assert_nothing_is_left(server)
    app.go_on.set()
    assert peer.response(busy).status == 200
    assert app.started.empty()


@pytest.mark.parametrize("end", [False, True])
def test_nothing_is_left_of_a_request_that_takes_too_long(serve: Serve, app, connect: Connect, end):
    """While it comes, and while its application has it."""
    app.go_on.clear()
    server = serve(app, unsized_content="buffer", request_timeout=0.5)
    peer = connect(server)
    assert peer.response(post(peer, LARGE, end=end)).status == 503
    app.go_on.set()
    assert_nothing_is_left(server)


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=len)
def test_a_server_that_stops_waits_for_what_comes(server, app, connect: Connect, content):
    """As for any request that it has accepted."""
    peer = connect(server)
    stream_id = post(peer, content, end=False)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    peer.wait_goaway()
    peer.data(stream_id, b"!", end_stream=True)
    assert text(peer.response(stream_id)).startswith(f"{len(content) + 1} ")
    stopping.join(TIMEOUT)
    assert not temporary_files()


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=len)
def test_a_server_that_stops_leaves_no_file_behind(serve: Serve, app, connect: Connect, content):
    """Of content that does not end in time."""
    server = serve(app, unsized_content="buffer", graceful_timeout=0.2)
    peer = connect(server)
    stream_id = post(peer, content, end=False)
    server.stop()
    assert peer.wait_reset(stream_id) == Code.CANCEL
    assert not temporary_files()
    assert app.started.empty()


def test_a_forked_child_keeps_no_file(serve: Serve, connect: Connect):
    """Or its disk would be taken as long as the child lives."""

    def app(environ, start_response):
        source = environ["wsgi.input"]
        first = source.read(10)
        found = len(temporary_files())
        if not (child := os.fork()):
            try:
                source.read(1)
            except h2wsgi.ClientDisconnected:
                os._exit(len(temporary_files()))
            os._exit(99)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        rest = source.read()
        start_response("200 OK", [])
        return [f"{found} {status} {first + rest == LARGE}".encode()]

    server = serve(app, unsized_content="buffer")
    peer = connect(server)
    assert text(peer.response(post(peer, LARGE))) == "1 0 True"
    assert_nothing_is_left(server)


def test_content_that_comes_behind_an_answer_is_dropped(serve: Serve, app, connect: Connect):
    """A 413 does not wait for the rest, and what comes all the same goes nowhere."""
    server = serve(app, unsized_content="buffer", max_unsized=1_000)
    peer = connect(server)
    streams = [post(peer, SMALL, end=False) for _ in range(3)]
    for stream_id, _ in itertools.product(streams, range(3)):
        peer.data(stream_id, bytes(1_000))
    for stream_id in streams:
        assert peer.response(stream_id).status == 413
    assert_nothing_is_left(server)
    assert peer.get("/other").status == 200
