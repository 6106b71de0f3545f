"""Whose request runs next where threads are few: a connection keeps its turn, and a last thread is
for one that runs nothing."""

from __future__ import annotations

import threading
from typing import Any

from conftest import Connect, Serve
from support.peer import Peer
from support.settled import PATIENCE, eventually, wait_blocked


class App:
    """Keeps the order of the calls. ``/hold/...`` waits for the gate, ``/read/...`` for content."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.gate = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        _, kind, name = environ["PATH_INFO"].split("/")
        self.order.append(name)
        if kind == "hold":
            assert self.gate.wait(PATIENCE)
        elif kind == "read":
            environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [b"well"]


def ask(peer: Peer, path: str, **request: Any) -> int:
    """Send a request; return its stream once the server has it."""
    stream_id = peer.request(path=path, **request)
    peer.roundtrip()
    return stream_id


def test_a_connection_that_asks_again_keeps_its_turn(serve: Serve, connect: Connect) -> None:
    app = App()
    server = serve(app, threads=1)
    busy, early, late = connect(server), connect(server), connect(server)
    ask(busy, "/hold/first")
    eventually(lambda: app.order == ["first"], "the only thread to be busy")
    asked = [
        (early, ask(early, "/quick/early")),
        (late, ask(late, "/quick/late")),
        (early, ask(early, "/quick/again")),
    ]
    app.gate.set()
    for peer, stream_id in asked:
        assert peer.response(stream_id).body == b"well"
    assert [name for name in app.order if name != "again"] == ["first", "early", "late"]


def test_a_connection_whose_only_application_waits_on_its_client_gets_one_of_the_last_threads(
    serve: Serve, connect: Connect
) -> None:
    """Three of four threads are for all connections, the last for one that runs nothing."""
    app = App()
    server = serve(app, threads=4)
    busy, reader = connect(server), connect(server)
    for number in range(3):
        ask(busy, f"/hold/{number}")
    eventually(lambda: len(app.order) == 3, "three threads to be busy")
    # It has both its requests wait before the first of them begins to wait on the client.
    first = reader.request("POST", "/read/reads", end_stream=False)
    second = ask(reader, "/quick/second")
    assert reader.response(second).body == b"well"
    wait_blocked(server)
    reader.data(first, b"", end_stream=True)
    assert reader.response(first).body == b"well"
    app.gate.set()
