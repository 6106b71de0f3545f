"""Clients that read nothing for a while: they are heard all the same, and answered in the end."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi import Setting
from support.settled import PATIENCE, eventually, remains, settle, wait_blocked

LARGEST_WINDOW = 2**31 - 1
OPEN_WINDOWS = {
    "settings": {Setting.INITIAL_WINDOW_SIZE: LARGEST_WINDOW},
    "window": LARGEST_WINDOW - 65_535,
}
LARGE = 8_000_000
MUCH = 6 * PATIENCE
"""Seconds for so much to come through a small buffer."""


class App:
    """``/large`` does not fit the transport; ``/upload`` tells what it reads; ``/`` is small."""

    def __init__(self) -> None:
        self.upload_begun = threading.Event()
        self.uploaded = threading.Event()
        self.small_is_answered = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", [])
        if environ["PATH_INFO"] == "/large":
            for _ in range(LARGE // 100_000):
                write(bytes(100_000))
            return []
        if environ["PATH_INFO"] == "/upload":
            self.upload_begun.set()
            content = environ["wsgi.input"].read()
            self.uploaded.set()
            return [content]
        return [b"small"]


def wait_until_nothing_moves(server: Any) -> None:
    """Wait until the transport is full, as windows are wide open, and so is what is below it."""
    (protocol,) = server.server._protocols
    looks: list[int] = []

    def is_full() -> bool:
        looks.append(protocol.connection.outflow.content_taken())
        return protocol.write_paused and len(looks) > 100 and len(set(looks[-100:])) == 1

    eventually(is_full, "the transport to be full")


def test_a_client_that_reads_nothing_for_now_is_heard_and_then_answered(
    serve: Serve, connect: Connect
) -> None:
    app = App()
    server = serve(app)
    with connect(server, receive_buffer=4_096, **OPEN_WINDOWS) as peer:
        peer.wait_settings_ack()
        large = peer.request(path="/large")
        wait_until_nothing_moves(server)
        upload = peer.request("POST", "/upload", end_stream=False)
        assert app.upload_begun.wait(PATIENCE)
        peer.data(upload, b"content")
        peer.data(upload, b" and more", end_stream=True)
        assert app.uploaded.wait(PATIENCE)
        small = peer.request()
        eventually(lambda: server.server._pool.busy == 1, "the other applications to return")
        assert peer.response(large, MUCH).received == LARGE
        assert peer.response(upload).body == b"content and more"
        assert peer.response(small).body == b"small"
    settle(server)


def test_what_a_thread_left_behind_writes_at_the_ceiling_is_dropped_behind_the_end(
    serve: Serve, connect: Connect
) -> None:
    """One response holds all the room; another ends while a thread of its own waits for some."""
    threads: list[threading.Thread] = []
    first_is_written = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        if environ["PATH_INFO"] == "/full":
            write(bytes(1_000_000))
            return []

        def write_twice() -> None:
            write(b"before the end")
            first_is_written.set()
            write(b"behind it")

        threads.append(threading.Thread(target=write_twice))
        threads[0].start()
        assert first_is_written.wait(PATIENCE)
        eventually(
            lambda: any(name.endswith("ceiling waiters") for name in remains(server)),
            "the thread to wait for room",
        )
        return []

    server = serve(app, connection_buffer=262_144)
    with connect(server, settings={Setting.INITIAL_WINDOW_SIZE: 0}) as peer:
        peer.wait_settings_ack()
        full = peer.request(path="/full")
        wait_blocked(server)
        ended = peer.request(path="/ended")
        eventually(lambda: threads and not threads[0].is_alive(), "the thread to go on")
        peer.roundtrip()  # the server has all that it handed over
        peer.window_update(ended, 1_000_000)
        assert peer.response(ended).body == b"before the end"
        peer.window_update(full, 1_000_000)
        assert peer.response(full).received == 1_000_000
    settle(server)


@pytest.mark.parametrize("h2c", [False, True], ids=["tls", "cleartext"])
def test_what_was_written_before_the_transport_is_closed_reaches_a_client_that_reads_late(
    serve: Serve, connect: Connect, h2c: bool
) -> None:
    """On uvloop: asyncio's TLS drops what the socket had no room for (CPython 3.11)."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        for _ in range(LARGE // 100_000):
            write(bytes(100_000))
        environ["h2wsgi.stream"].close_transport()
        return []

    server = serve(app, loop="uvloop", h2c=h2c)
    with connect(server, receive_buffer=4_096, **OPEN_WINDOWS) as peer:
        peer.auto_window = False  # what comes to a closed socket is answered by a reset
        peer.wait_settings_ack()
        large = peer.request()
        wait_until_nothing_moves(server)
        peer.wait_closed(MUCH)
        assert peer.responses[large].received == LARGE
        assert peer.ended == "end of file"
    settle(server)
