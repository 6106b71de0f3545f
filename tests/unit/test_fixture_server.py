"""The server of the fixtures, without pytest around it."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import httpx
import pytest

from conftest import Connect
from h2wsgi.http2 import closing
from h2wsgi.testing.fixture_server import FixtureServers
from support.settled import PATIENCE, eventually, settle

OPTIONS: dict[str, Any] = {
    "loop": os.environ.get("TEST_LOOP", "auto"),
    "engine": os.environ.get("TEST_ENGINE", "auto"),
}


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"hello"]


def client_of(server: Any) -> httpx.Client:
    return httpx.Client(http2=True, http1=False, verify=server.ssl_context())


# ------------------------------------------------------------------------------------ the end


def test_several_servers_with_idle_clients_stop_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the waits for a client is for those that are at hand."""
    for wait in ("OVERTAKEN_WAIT", "DRAIN_WAIT", "LINGER", "ABORT_AFTER"):
        monkeypatch.setattr(closing, wait, 3 * PATIENCE)
    clients = []
    with FixtureServers() as h2_server:
        for _ in range(2):
            server = h2_server(hello, graceful_timeout=3 * PATIENCE, **OPTIONS)
            clients.append(client_of(server))
            assert clients[-1].get(server.url).text == "hello"
            settle(server, connections=1)
        start = time.monotonic()
    assert time.monotonic() - start < PATIENCE
    for client in clients:
        client.close()


def test_the_requests_of_several_servers_get_their_time_side_by_side(connect: Connect) -> None:
    inside = threading.Barrier(3)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        inside.wait(PATIENCE)  # both run
        inside.wait(PATIENCE)  # both were told of the end
        return hello(environ, start_response)

    def let_go() -> None:
        inside.wait(PATIENCE)
        for peer in peers:
            peer.wait_goaway()
        inside.wait(PATIENCE)

    with FixtureServers() as h2_server:
        servers = [h2_server(app, graceful_timeout=PATIENCE, **OPTIONS) for _ in range(2)]
        peers = [connect(server) for server in servers]
        streams = [peer.request() for peer in peers]
        letting_go = threading.Thread(target=let_go)
        letting_go.start()
        for server in servers:
            eventually(lambda server=server: server.server.busy_threads == 1, "the request to run")
    letting_go.join(PATIENCE)
    for peer, stream_id in zip(peers, streams, strict=True):
        assert peer.response(stream_id).body == b"hello"


# --------------------------------------------------------------------------------- the errors


class Mute(Exception):
    """Fails to say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Shut(Exception):
    """Takes no notes."""

    def add_note(self, note: str) -> None:
        raise TypeError(note)


@pytest.mark.parametrize("kind", [Mute, Shut])
def test_an_exception_that_fails_itself_is_an_error_of_the_application(
    kind: type[Exception],
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise kind("odd")

    with FixtureServers() as h2_server:
        server = h2_server(app, **OPTIONS)
        with client_of(server) as client:
            assert client.get(server.url).status_code == 500
        assert isinstance(server.wait_for_error(), kind)
        assert "the application failed" in server.report()


# --------------------------------------------------------------------------------- the report


def test_a_report_has_what_came_before_it_though_the_loop_is_late(connect: Connect) -> None:
    with FixtureServers() as h2_server:
        server = h2_server(hello, **OPTIONS)
        peer = connect(server)
        peer.roundtrip()
        let_go = threading.Event()
        server.server.mailbox.post_threadsafe(lambda: let_go.wait(PATIENCE))
        peer.goaway(code=11)
        timer = threading.Timer(0.2, let_go.set)
        timer.start()
        assert "recv GOAWAY" in server.report()
        timer.join()
