"""Applications that wait for the connection's ceiling go on once other responses have left it."""

from __future__ import annotations

import threading
from typing import Any

from conftest import Connect, Serve
from h2wsgi import Setting
from support.settled import PATIENCE, eventually, remains, settle

CEILING = 65_536
WHOLE = 16_000
RESPONSES = 5
"""Of WHOLE octets each: more than the ceiling together."""


class App:
    """``/whole`` answers at once when it may; ``/writes`` writes twice when it may."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.whole = threading.Event()
        self.write = threading.Event()
        self.has_written: list[bytes] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.begun.append(environ["PATH_INFO"])
        write = start_response("200 OK", [])
        if environ["PATH_INFO"] == "/whole":
            assert self.whole.wait(PATIENCE)
            return [bytes(WHOLE)]
        assert self.write.wait(PATIENCE)
        for data in (b"first", b"second"):
            write(data)
            self.has_written.append(data)
        return []


def test_responses_that_leave_whole_make_room_for_one_that_is_blocked_itself(
    serve: Serve, connect: Connect
) -> None:
    app = App()
    server = serve(app, connection_buffer=CEILING)
    held, gate = threading.Event(), threading.Event()

    def hold_the_loop() -> None:
        held.set()
        gate.wait(PATIENCE)

    with connect(server, settings={Setting.INITIAL_WINDOW_SIZE: 0}, window=1_000_000) as peer:
        peer.wait_settings_ack()
        blocked = peer.request(path="/writes")
        others = [peer.request(path="/whole") for _ in range(RESPONSES)]
        for stream_id in others:
            peer.window_update(stream_id, WHOLE)
        peer.roundtrip()
        eventually(lambda: len(app.begun) == 1 + RESPONSES, "all applications to begin")
        server.server.mailbox.post_threadsafe(hold_the_loop)
        assert held.wait(PATIENCE)
        app.whole.set()
        eventually(lambda: server.server._pool.busy == 1, "the others to have answered")
        app.write.set()
        eventually(lambda: app.has_written == [b"first"], "the first of two writes")
        eventually(
            lambda: any(name.endswith("ceiling waiters") for name in remains(server)),
            "the second to wait for room",
        )
        gate.set()
        for stream_id in others:
            assert peer.response(stream_id).received == WHOLE
        # Its own window is closed: what made room for it are the other responses.
        eventually(lambda: app.has_written == [b"first", b"second"], "the second write")
        peer.window_update(blocked, 1_000)
        assert peer.response(blocked).body == b"firstsecond"
    settle(server)
