"""How many WINDOW_UPDATE frames a client may send: four for each request and each DATA frame."""

from __future__ import annotations

from typing import Any

from conftest import Connect, Serve
from h2wsgi import ErrorCode
from h2wsgi.http2.frame_meter import WINDOW_UPDATES_AT_FIRST, WINDOW_UPDATES_EACH
from support.peer import Peer

REQUESTS = 50
FRAMES = 2
"""DATA frames of each response: content, and an empty one that ends it."""
GLITCHES = 100


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Send some content, and the end once the client has it."""
    start_response("200 OK", [])(b"x")
    environ["wsgi.input"].read()
    return []


def update(peer: Peer, times: int) -> None:
    for _ in range(times):
        peer.window_update(0, 1)


def test_every_data_frame_is_a_reason_for_window_updates_an_empty_one_too(
    serve: Serve, connect: Connect
) -> None:
    with connect(serve(app, max_glitches=GLITCHES)) as peer:
        peer.auto_window = False
        for _ in range(REQUESTS):
            stream_id = peer.request("POST", "/", end_stream=False)
            peer.wait_data(stream_id, 1)
            peer.data(stream_id, b"", end_stream=True)
            assert peer.response(stream_id).chunks == [b"x", b""]
        update(peer, WINDOW_UPDATES_AT_FIRST + WINDOW_UPDATES_EACH * REQUESTS * (1 + FRAMES))
        peer.roundtrip()
        # Beyond that each is one of the frames that bring nothing.
        update(peer, 9 * GLITCHES // 5)
        assert peer.wait_goaway().error_code == ErrorCode.ENHANCE_YOUR_CALM
