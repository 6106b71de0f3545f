"""What ends a drain: one final GOAWAY, whenever the client answers the PING that went before."""

from __future__ import annotations

import threading
from typing import Any

from conftest import Connect, Serve
from support.peer import Type, one_write
from support.settled import PATIENCE

DRAIN_PING = b"draining"


def goaways(log: list[Any]) -> list[int]:
    return [frame.last_stream_id for frame in log if frame.type == Type.GOAWAY]


def test_a_late_answer_to_the_ping_of_a_drain_brings_no_second_final_goaway(
    serve: Serve, connect: Connect
) -> None:
    gate = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        assert gate.wait(PATIENCE)
        start_response("200 OK", [])
        return [b"well"]

    server = serve(app)
    with connect(server) as peer:
        peer.auto_ack_ping = False
        stream_id = peer.request()
        peer.roundtrip()
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert peer.wait_goaway().last_stream_id == 2**31 - 1
        assert peer.wait_goaway().last_stream_id == stream_id
        peer.ping(DRAIN_PING, ack=True)
        peer.roundtrip()
        gate.set()
        assert peer.response(stream_id).body == b"well"
        peer.wait_closed()
        assert goaways(peer.log) == [2**31 - 1, stream_id]
        stopping.join(PATIENCE)


def test_a_request_that_the_answer_to_the_ping_has_overtaken_is_served(
    serve: Serve, connect: Connect
) -> None:
    """Go's client writes both from different goroutines, and would lose an upload."""
    gate = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        assert gate.wait(PATIENCE)
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    server = serve(app)
    with connect(server) as peer:
        peer.auto_ack_ping = False
        first = peer.request()
        peer.roundtrip()
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert peer.wait_goaway().last_stream_id == 2**31 - 1
        with one_write(peer):
            for _ in range(3):  # the others postpone nothing
                peer.ping(DRAIN_PING, ack=True)
            overtaken = peer.request(method="POST", end_stream=False)
            peer.data(overtaken, b"sent once", end_stream=True)
        assert peer.wait_goaway().last_stream_id == overtaken
        gate.set()
        assert peer.response(overtaken).body == b"sent once"
        assert peer.response(first).status == 200
        stopping.join(PATIENCE)


def test_an_answer_to_a_ping_that_nobody_sent_ends_nothing(serve: Serve, connect: Connect) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"well"]

    with connect(serve(app)) as peer:
        assert peer.get().body == b"well"
        peer.ping(DRAIN_PING, ack=True)
        assert peer.get().body == b"well"
        assert goaways(peer.log) == []
