"""The order of responses (RFC 9218): ``priority`` of request and response, PRIORITY_UPDATE."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest

from conftest import Connect, Serve
from support.peer import Code, Peer, Setting, Type, one_write

NO_WINDOW = {"settings": {Setting.INITIAL_WINDOW_SIZE: 0}, "window": 1 << 24}
OCTETS = 100_000
PRIORITY_UPDATE = 0x10


def sized(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer with a lot; the query is the response's own ``priority``."""
    fields = [("Content-Length", str(OCTETS))]
    if query := environ["QUERY_STRING"]:
        fields.append(("Priority", query))
    start_response("200 OK", fields)
    return [bytes(OCTETS)]


def ask(peer: Peer, priority: str | None = None, path: str = "/") -> int:
    """Ask for a response that waits for its window."""
    fields = [] if priority is None else [("priority", priority)]
    stream_id = peer.request(path=path, fields=fields)
    peer.wait_headers(stream_id)
    return stream_id


def order(peer: Peer, streams: list[int]) -> list[int]:
    """Open the windows of all streams at once; return whose DATA came, in order, runs as one."""
    with one_write(peer):
        for stream_id in streams:
            peer.window_update(stream_id, OCTETS)
    for stream_id in streams:
        peer.response(stream_id)
    data = [frame.stream_id for frame in peer.log if frame.type == Type.DATA and frame.payload]
    return [stream_id for stream_id, _ in groupby(data) if stream_id in streams]


def test_it_is_announced(serve: Serve, connect: Connect) -> None:
    peer = connect(serve(sized))
    peer.wait_settings()
    assert peer.remote_settings[Setting.NO_RFC7540_PRIORITIES] == 1


def test_the_most_urgent_response_comes_first(serve: Serve, connect: Connect) -> None:
    peer = connect(serve(sized), **NO_WINDOW)
    images, script, style = ask(peer, "u=5"), ask(peer, "u=1"), ask(peer, "u=0")
    seen = order(peer, [images, script, style])
    assert seen[0] == style
    assert list(dict.fromkeys(reversed(seen))) == [images, script, style]


def test_responses_of_one_urgency_come_one_after_the_other_or_in_turns(
    serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(sized), **NO_WINDOW)
    first, second = ask(peer, "u=2"), ask(peer, "u=2")
    assert order(peer, [second, first]) == [first, second]
    one, other = ask(peer, "u=2, i"), ask(peer, "u=2, i")
    assert len(order(peer, [one, other])) > 6


def test_without_a_word_responses_take_turns(serve: Serve, connect: Connect) -> None:
    peer = connect(serve(sized), **NO_WINDOW)
    one, other = ask(peer), ask(peer)
    assert len(order(peer, [one, other])) > 6


def test_an_update_counts_before_the_request_and_while_its_response_waits(
    serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(sized), **NO_WINDOW)
    peer.send_frame(PRIORITY_UPDATE, 0, 0, (3).to_bytes(4, "big") + b"u=0")
    one, other, third = ask(peer, "u=4"), ask(peer, "u=7"), ask(peer, "u=6")
    assert other == 3
    peer.send_frame(PRIORITY_UPDATE, 0, 0, third.to_bytes(4, "big") + b"u=1")
    peer.roundtrip()
    assert order(peer, [one, other, third])[0] == other
    assert peer.response(one).status == 200


def test_the_applications_priority_counts_more_than_the_clients(
    serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(sized), **NO_WINDOW)
    background, wanted = ask(peer, "u=0", "/?u=7"), ask(peer, "u=5")
    seen = order(peer, [background, wanted])
    assert seen[0] == wanted
    assert seen[-1] == background


def test_what_is_no_value_is_ignored(serve: Serve, connect: Connect) -> None:
    peer = connect(serve(sized))
    assert peer.get(fields=[("priority", "u=1,,;")]).status == 200
    peer.send_frame(PRIORITY_UPDATE, 0, 0, (101).to_bytes(4, "big") + b"\xff\xfe")
    peer.send_frame(PRIORITY_UPDATE, 0, 0, (1).to_bytes(4, "big") + b"u=1")  # closed
    assert peer.get().status == 200


@pytest.mark.parametrize(
    ("stream_id", "payload", "code"),
    [
        (1, b"\0\0\0\1u=1", Code.PROTOCOL_ERROR),
        (0, b"\0\0\0", Code.FRAME_SIZE_ERROR),
        (0, b"\0\0\0\0u=1", Code.PROTOCOL_ERROR),
        (0, b"\0\0\0\2u=1", Code.PROTOCOL_ERROR),
    ],
)
def test_a_malformed_update_ends_the_connection(
    serve: Serve, connect: Connect, stream_id: int, payload: bytes, code: int
) -> None:
    peer = connect(serve(sized))
    peer.send_frame(PRIORITY_UPDATE, 0, stream_id, payload)
    assert int.from_bytes(peer.wait_goaway().payload[4:8], "big") == code


def test_the_less_urgent_are_not_starved(serve: Serve, connect: Connect) -> None:
    """An urgent response that never ends leaves a share to another."""

    def endless(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/":
            return sized(environ, start_response)
        start_response("200 OK", [])
        return iter(lambda: bytes(16_384), b"")

    large = {"settings": {Setting.INITIAL_WINDOW_SIZE: 1 << 24}, "window": 1 << 24}
    peer = connect(serve(endless), **large)
    urgent = peer.request(path="/endless", fields=[("priority", "u=0")])
    patient = peer.request(path="/", fields=[("priority", "u=7")])
    assert peer.response(patient).body == bytes(OCTETS)
    peer.rst_stream(urgent)
    assert peer.get().status == 200
