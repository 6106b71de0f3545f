"""What is raised in the seam, or runs there uncalled, ends one request at most.

The four ways in which a server was seen to stop for good. The whole of their kind is tried by
``python -m raising``, see tests/raising.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from conftest import Connect, Serve
from support.recursion import at_the_limit
from support.settled import eventually, settle

DEPTHS = range(60)
"""Frames that are left below the limit where an application calls the server."""


READS: dict[str, Callable[[Any], bytes]] = {
    "read(1)": lambda source: source.read(1),
    "read(4)": lambda source: source.read(4),
    "read(1000)": lambda source: source.read(1_000),
    "read()": lambda source: source.read(),
    "readline()": lambda source: source.readline(),
    "next": lambda source: next(iter(source), b""),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_a_recursion_error_in_a_read_stops_nobody_and_loses_nothing(
    serve: Serve, connect: Connect, read: Callable[[Any], bytes]
) -> None:
    content = bytes(itertools.islice(itertools.cycle(b"0123456789\n"), 3_000))

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["REQUEST_METHOD"] == "GET":
            start_response("200 OK", [])
            return [b"here"]
        source, got = environ["wsgi.input"], []
        at_the_limit(int(environ["PATH_INFO"][1:]), lambda: got.append(read(source)))
        start_response("200 OK", [])
        return [b"".join(got) + source.read()]

    server = serve(app)
    peer = connect(server)
    for left in DEPTHS:
        stream_id = peer.request("POST", f"/{left}", end_stream=False)
        for start in range(0, len(content), 700):
            peer.data(stream_id, content[start : start + 700])
        peer.data(stream_id, b"", end_stream=True)
        assert peer.response(stream_id).body == content, left
        assert peer.get("/").body == b"here"
        assert connect(server).get("/").body == b"here"
    settle(server, connections=None)


def test_a_recursion_error_in_write_stops_nobody(serve: Serve, connect: Connect) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        if (path := environ["PATH_INFO"]) != "/":
            at_the_limit(int(path[1:]), lambda: write(b"a"))
        return [b"b"]

    server = serve(app)
    peer = connect(server)
    for left in DEPTHS:
        assert peer.get(f"/{left}").body in (b"ab", b"b"), left
        assert connect(server).get("/").body == b"b"
    settle(server, connections=None)


@pytest.mark.parametrize("line", ["before", "in the middle", "behind"])
def test_what_strikes_where_a_thread_gives_its_share_away_leaves_the_counts_right(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    server = serve(app)
    peer = connect(server)
    lanes = server.server._pool._lanes
    give_away = lanes.give_away

    def strike(thread: Any, lane: Any) -> None:
        if line == "in the middle":
            lanes.running.discard(thread)
        elif line == "behind":
            give_away(thread, lane)
        raise MemoryError

    monkeypatch.setattr(lanes, "give_away", strike)
    stream_id = peer.request("POST", "/", end_stream=False)
    assert peer.response(stream_id).status == 500
    settle(server, connections=1)
    monkeypatch.undo()
    assert peer.get("/").body == b""
    settle(server, connections=1)


class Finalized:
    """An object in a cycle that calls the server when the collector comes by."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.itself = self
        self.call = call

    def __del__(self) -> None:
        self.call()


FINALIZERS: dict[str, Callable[[dict[str, Any], Any], object]] = {
    "reset": lambda environ, write: environ["h2wsgi.stream"].reset(),
    "write": lambda environ, write: write(b"x"),
    "read": lambda environ, write: environ["wsgi.input"].read(1),
    "ping": lambda environ, write: environ["h2wsgi.stream"].ping(),
    "disconnected": lambda environ, write: environ["h2wsgi.stream"].disconnected.wait(0.01),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("call", FINALIZERS.values(), ids=FINALIZERS.keys())
def test_a_finalizer_that_calls_the_server_stops_nobody(
    serve: Serve, connect: Connect, call: Callable[[dict[str, Any], Any], object]
) -> None:
    calls = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])

        def called() -> None:
            calls.append(1)
            call(environ, write)

        Finalized(called)
        return [bytes(100)]

    server = serve(app)
    peer = connect(server)
    found = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(150):
            stream_id = peer.request("POST", "/", end_stream=False)
            peer.data(stream_id, b"content", end_stream=True)
            peer.response(stream_id)
    finally:
        gc.set_threshold(*found)
    eventually(lambda: calls, "a finalizer to run")
    assert connect(server).get("/").status == 200
    gc.collect()
    settle(server, connections=None)
