"""Connections that have served long enough are ended, and their clients lose nothing by it."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from conftest import Connect, Serve
from h2wsgi.http2 import closing as ending
from support.clients import Application, find, run
from support.load import CLIENTS, Load, application, assert_nothing_lost
from support.load_client import ANNOUNCED
from support.peer import Peer, Type
from support.settled import PATIENCE, eventually, settle


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"hello"]


def ends(peer: Peer) -> list[tuple[str, int]]:
    """Return the order in which responses ended and GOAWAY came, with stream or last-stream-id."""
    found = []
    for frame in peer.log:
        if frame.end_stream:
            found.append(("response", frame.stream_id))
        elif frame.type == Type.GOAWAY:
            assert frame.last_stream_id is not None
            found.append(("goaway", frame.last_stream_id))
    return found


# ------------------------------------------------------------------------------ by requests


@pytest.mark.parametrize(
    ("option", "limit"), [("max_requests_per_connection", 50), ("max_connection_age", 1.0)]
)
def test_clients_that_keep_asking_while_their_connections_are_ended_lose_nothing(
    serve: Serve, option: str, limit: float
) -> None:
    async def keep_asking(app: Any) -> Load:
        server = await asyncio.to_thread(serve, app, graceful_timeout=30, **{option: limit})
        load = Load(int(server.url.rstrip("/").rpartition(":")[2]))
        clients = asyncio.create_task(load.run())
        await load.until_ended(CLIENTS)
        load.over = True
        await asyncio.to_thread(server.stop)
        await clients
        settle(server)
        return load

    with application() as (app, reached):
        load = asyncio.run(keep_asking(app))
        # As many were ended by the limit, however the machine shares itself out among clients.
        assert_nothing_lost(load, reached, goaways=CLIENTS)


def test_the_last_response_comes_before_goaway(serve: Serve, connect: Connect) -> None:
    """So that a client which gives up its streams on GOAWAY has none to give up."""
    peer = connect(serve(hello, max_requests_per_connection=3))
    for _ in range(2):
        assert peer.get().body == b"hello"
    peer.roundtrip()
    assert not [frame for frame in peer.log if frame.type == Type.GOAWAY]
    assert peer.get().body == b"hello"
    peer.wait_closed()
    expected = [("response", 1), ("response", 3), ("response", 5)]
    assert ends(peer) == [*expected, ("goaway", ANNOUNCED), ("goaway", 5)]


def test_with_a_limit_of_one_a_request_on_its_way_is_served_too(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "DRAIN_WAIT", PATIENCE)
    peer = connect(serve(hello, max_requests_per_connection=1))
    peer.auto_ack_ping = False
    assert peer.get().body == b"hello"
    assert peer.wait_goaway().last_stream_id == ANNOUNCED
    assert peer.get().body == b"hello"
    for ping in [frame for frame in peer.log if frame.type == Type.PING and not frame.ack]:
        peer.ping(ping.payload, ack=True)
    assert peer.wait_goaway().last_stream_id == 3
    peer.wait_closed()


def test_a_connection_that_is_never_without_a_stream_is_ended_all_the_same(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "RETIRE_WAIT", 0.05)
    monkeypatch.setattr(ending, "DRAIN_WAIT", PATIENCE)
    go_on = threading.Event()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        assert go_on.wait(PATIENCE)
        return hello(environ, start_response)

    server = serve(app, max_requests_per_connection=1)
    peer = connect(server)
    streams = [peer.request() for _ in range(3)]
    assert peer.wait_goaway().last_stream_id == ANNOUNCED
    assert peer.wait_goaway().last_stream_id == streams[-1]
    go_on.set()
    for stream_id in streams:
        assert peer.response(stream_id).body == b"hello"
    peer.wait_closed()
    settle(server)


def test_the_limit_does_not_hold_up_a_stop(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reached between the two GOAWAYs, by a client that answers no PING."""
    monkeypatch.setattr(ending, "AT_HAND", 1.0)
    server = serve(hello, max_requests_per_connection=1, graceful_timeout=2 * PATIENCE)
    peer = connect(server)
    peer.auto_ack_ping = False
    peer.wait_settings_ack()
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    assert peer.wait_goaway().last_stream_id == ANNOUNCED
    peer.request()
    assert peer.wait_goaway().last_stream_id <= 1
    peer.wait_closed()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()


def test_without_a_limit_no_connection_is_ended(serve: Serve, connect: Connect) -> None:
    peer = connect(serve(hello))
    for _ in range(300):
        assert peer.get().body == b"hello"
    peer.roundtrip()
    assert not [frame for frame in peer.log if frame.type == Type.GOAWAY]


# ---------------------------------------------------------------------------------- by age


def test_an_old_connection_without_streams_is_ended(serve: Serve, connect: Connect) -> None:
    server = serve(hello, max_connection_age=0.2)
    peer = connect(server)
    peer.wait_closed()
    assert ends(peer) == [("goaway", ANNOUNCED), ("goaway", 0)]
    settle(server)


def test_an_old_connection_ends_behind_the_response_that_is_under_way(
    serve: Serve, connect: Connect
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        inside.set()
        assert go_on.wait(PATIENCE)
        return hello(environ, start_response)

    server = serve(app, max_connection_age=1000)
    peer = connect(server)
    stream_id = peer.request()
    assert inside.wait(PATIENCE)
    (end,) = server.server._protocols
    # What the timer does, which may not come before the request.
    server.server.mailbox.post_threadsafe(end.closing.retire)
    eventually(lambda: end.closing._retiring, "the connection to be old")
    go_on.set()
    assert peer.response(stream_id).body == b"hello"
    peer.wait_closed()
    assert ends(peer) == [("response", 1), ("goaway", ANNOUNCED), ("goaway", 1)]


@pytest.mark.parametrize(("drawn", "seconds"), [(0.0, 1000), (0.5, 950), (1.0, 900)])
def test_not_all_connections_grow_equally_old(
    serve: Serve,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    drawn: float,
    seconds: float,
) -> None:
    monkeypatch.setattr(random, "random", lambda: drawn)
    server = serve(hello, max_connection_age=1000)
    peer = connect(server)
    peer.roundtrip()
    (end,) = server.server._protocols
    left = end.closing._timer.when() - end._loop.time()
    assert seconds - 40 < left < seconds + 1  # in steps of 50


# ---------------------------------------------------------------------------- real clients


@pytest.mark.parametrize("limit", [1, 3])
def test_httpx_goes_on_with_a_new_connection(serve: Serve, limit: int) -> None:
    app = Application()
    server = serve(app, max_requests_per_connection=limit)
    with httpx.Client(http2=True, verify=server.ssl_context()) as client:
        for number in range(12):
            assert client.get(server.join(f"/{number}")).text == f"GET /{number}"
            size = 100_000 * (number % 2)
            assert len(client.get(server.join(f"/zeros?{size}")).content) == size
    assert app.requests == 24
    assert len(app.ports) == 24 // limit


@pytest.mark.client
def test_curl_goes_on_with_a_new_connection(serve: Serve) -> None:
    app = Application()
    server = serve(app, max_requests_per_connection=1)
    paths = [f"/{number}" for number in range(8)]
    said = ["--silent", "--show-error", "--fail", "--http2", "-w", "\n"]
    ca = ["--cacert", str(server.ca_file)]
    output = run([find("curl"), "-q", *said, *ca, *map(server.join, paths)])
    assert output.split("\n") == [*(f"GET {path}" for path in paths), ""]
    assert app.requests == len(app.ports) == 8
