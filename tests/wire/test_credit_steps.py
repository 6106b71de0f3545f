"""How a stream's credit comes back, once an application has asked for a smaller window."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi import Setting
from support.peer import Peer
from support.settled import PATIENCE, eventually, settle


@pytest.fixture(params=["fast", "h2"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Reader:
    """Reads ``first`` octets, asks for a smaller window, and reads the rest octet by octet."""

    def __init__(self, first: int, window: int) -> None:
        self.first = first
        self.window = window
        self.octets = 0
        self.has_asked = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        content = environ["wsgi.input"].read(self.first)
        environ["h2wsgi.stream"].change_settings({"INITIAL_WINDOW_SIZE": self.window})
        self.has_asked.set()
        self.octets = len(content)
        while octet := environ["wsgi.input"].read(1):
            self.octets += len(octet)
        start_response("200 OK", [])
        return [b"%d" % self.octets]


def begin(peer: Peer, app: Reader) -> int:
    """Send what is read first; return the stream once the smaller window counts."""
    peer.wait_settings()
    stream_id = peer.request("POST", "/", end_stream=False)
    if app.first:
        peer.data(stream_id, bytes(app.first))
    peer.wait_until(
        lambda: peer.remote_settings.get(Setting.INITIAL_WINDOW_SIZE) == app.window,
        "the smaller window",
    )
    return stream_id


def test_credit_comes_in_quarters_of_the_smaller_window(
    serve: Serve, connect: Connect, engine: str
) -> None:
    app = Reader(0, 100)
    server = serve(app, engine=engine)
    with connect(server) as peer:
        stream_id = begin(peer, app)
        for octets in range(24, 240, 25):
            peer.data(stream_id, bytes(24))
            eventually(lambda octets=octets: app.octets == octets, "the content to be read")
            peer.roundtrip()
            assert peer.send_window(stream_id) == 76
            peer.data(stream_id, bytes(1))
            peer.wait_until(lambda: peer.send_window(stream_id) == 100, "all of the credit")
        peer.data(stream_id, b"", end_stream=True)
        assert peer.response(stream_id).body == b"225"
    settle(server)


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5])
def test_a_window_of_a_few_octets_is_opened_again_and_again(
    serve: Serve, connect: Connect, engine: str, window: int
) -> None:
    app = Reader(0, window)
    server = serve(app, engine=engine)
    with connect(server) as peer:
        stream_id = begin(peer, app)
        peer.upload(stream_id, bytes(20))
        assert peer.response(stream_id).body == b"20"
    settle(server)


def test_credit_that_was_not_due_by_the_larger_window_comes_at_once(
    serve: Serve, connect: Connect, engine: str
) -> None:
    """Or the client would wait for a window far below zero, and the application for content."""
    app = Reader(10_000, 100)
    server = serve(app, engine=engine)
    with connect(server) as peer:
        stream_id = begin(peer, app)
        assert app.has_asked.wait(PATIENCE)
        peer.upload(stream_id, bytes(10))
        assert peer.response(stream_id).body == b"10010"
    settle(server)
