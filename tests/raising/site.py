"""A server under test in this process, and the looks at it between two runs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import h2wsgi
from raising import inside
from raising.notes import Notes
from raising.scenarios import Scenario
from raising.talk import PATIENCE, POLL, Talk
from support.peer import Peer, PeerError, Response

PING = "/ping"
HELPER = "/helper"
CROWD = "/crowd"
RUN = "/run"
GROWN = 5
"""Requests at once of which each waits for the others: more threads than start eagerly."""

OPTIONS: dict[str, Any] = {
    "bind_h2c": "127.0.0.1:0",
    "access_log": False,
    "graceful_timeout": 1.0,
    "threads": 16,
    "max_threads": 24,
    "stream_buffer": 4096,
    "connection_buffer": 65_536,
    "stream_window": 16_384,
    "unsized_content": "stream",
}


class Helper:
    """A request of another stream that stays where it is while a run goes on."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.input = environ["wsgi.input"]
        self.stream = environ["h2wsgi.stream"]


class Site:
    """One server in a thread, with an idle connection that has to live on."""

    def __init__(self, engine: str, loop: str, options: dict[str, Any]) -> None:
        self.notes = Notes()
        self.scenario: Scenario | None = None
        self.helpers: list[Helper] = []
        self.release = threading.Event()
        self.crowd = threading.Barrier(GROWN)
        everything: dict[str, Any] = OPTIONS | {"engine": engine, "loop": loop} | options
        self.server = h2wsgi.serve_in_thread(self._app, **everything)
        self.server.__enter__()
        self.port = int(self.server.url.rstrip("/").rpartition(":")[2])
        self.keeper = self.connect(patience=10 * PATIENCE)  # all that is loaded late is loaded now

    def connect(
        self, settings: dict[int, int] | None = None, *, patience: float = PATIENCE
    ) -> Peer:
        """Open a connection whose settings count from the beginning."""
        peer = Peer.connect(("127.0.0.1", self.port), tls=False, settings=settings or {})
        peer.wait_settings_ack(patience)
        return peer

    def talk(self, scenario: Scenario) -> Talk:
        """Begin a run: a connection for its script."""
        self.scenario = scenario
        self.notes = Notes()
        return Talk(self.connect(scenario.settings), self.server, self.notes, RUN)

    def warm(self) -> None:
        """Have one idle thread that is followed from its start, and no other."""
        inside.retire_idle_threads(self.server)
        self.eventually(lambda: not inside.application_threads())
        assert self.keeper.get(PING, timeout=PATIENCE).status == 200
        self.eventually(lambda: not inside.remains(self.server))

    def eventually(self, condition: Callable[[], bool], patience: float = PATIENCE) -> bool:
        """Wait for a condition; return whether it came."""
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
        return True

    # ---------------------------------------------------------------- the applications

    def _app(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == RUN and self.scenario is not None:
            self.notes.stream = environ["h2wsgi.stream"]
            self.notes.begun.set()
            return self.scenario.app(environ, start, self.notes)
        if path == HELPER:
            self.helpers.append(Helper(environ))
            self.release.wait(4 * PATIENCE)
        elif path == CROWD:
            with contextlib.suppress(threading.BrokenBarrierError):
                self.crowd.wait(PATIENCE)
        start("200 OK", [("content-type", "text/plain")])
        return [b"pong"]

    def begin_helper(self, peer: Peer) -> int:
        """Send a request without its content. It begins at once, whatever the scenario's options,
        by its content type."""
        fields = [("content-type", "application/grpc")]
        return peer.request("POST", HELPER, scheme="http", fields=fields, end_stream=False)

    def open_helpers(self, peer: Peer, contents: Iterable[bytes]) -> list[int]:
        """Begin a request for each content, which is not its end."""
        self.release.clear()
        self.helpers = []
        streams = []
        for number, content in enumerate(contents, 1):
            stream = self.begin_helper(peer)
            if content:
                peer.data(stream, content)
            streams.append(stream)
            if not self.eventually(lambda number=number: len(self.helpers) == number):  # type: ignore[misc]
                raise RuntimeError("a helper did not begin")
        return streams

    def end_helpers(self, peer: Peer, streams: list[int]) -> list[str]:
        """Let the helpers go; return what is wrong with their answers."""
        self.release.set()
        wrong = []
        for stream in streams:
            try:
                if peer.responses.get(stream, Response(stream)).reset is None:
                    peer.data(stream, b"", end_stream=True)
                peer.response(stream, PATIENCE)
            except PeerError as error:
                if peer.ended is None:
                    wrong.append(f"a helper's stream did not end: {_first_line(error)}")
        self.helpers = []
        return wrong

    # ----------------------------------------------------------------- looks behind a run

    def answers(self, peer: Peer, whose: str) -> list[str]:
        """Return what is wrong with the answer to one more request."""
        try:
            response = peer.get(PING, timeout=PATIENCE)
        except PeerError as error:
            return [f"{whose} connection does not answer: {_first_line(error)}"]
        if response.status != 200 or response.body != b"pong" or not response.ended:
            return [f"{whose} connection answers {response.status} {response.body[:50]!r}"]
        return []

    def answers_fresh(self) -> list[str]:
        """The same on a connection of its own."""
        try:
            with self.connect() as peer:
                return self.answers(peer, "a fresh")
        except (PeerError, OSError) as error:
            return [f"no fresh connection: {_first_line(error)}"]

    def counts_are_back(self, connections: int = 1) -> list[str]:
        """Return what is not at its start; ``connections`` stay open."""

        def left() -> dict[str, object]:
            found = inside.remains(self.server)
            if (opened := inside.open_connections(self.server)) != connections:
                found["connections"] = f"{opened}, not {connections}"
            alive, known = len(inside.application_threads()), inside.pool_threads(self.server)
            if alive != known:
                found["threads"] = f"{alive} alive, {known} known to the pool"
            return found

        if self.eventually(lambda: not left()):
            return []
        return [f"counts are not back: {left()}"]

    def grows(self) -> list[str]:
        """Return what is wrong if requests that need a thread each do not get it."""
        self.crowd.reset()
        try:
            with self.connect() as peer:
                streams = [peer.request(path=CROWD, scheme="http") for _ in range(GROWN)]
                for stream in streams:
                    peer.response(stream, 2 * PATIENCE)
        except (PeerError, OSError) as error:
            return [f"the pool does not grow: {_first_line(error)}"]
        return ["the pool does not grow"] if self.crowd.broken else []

    def close(self) -> bool:
        """Stop the server; return False if something of it is left in this process."""
        self.release.set()
        self.keeper.close()
        stopped = threading.Thread(target=self._stop, daemon=True)
        stopped.start()
        stopped.join(3 * PATIENCE)
        return not stopped.is_alive() and self.eventually(lambda: not inside.application_threads())

    def _stop(self) -> None:
        with contextlib.suppress(Exception):
            self.server.stop()


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else repr(error)
