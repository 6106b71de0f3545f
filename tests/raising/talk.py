"""The client's side of one run: what a script of a scenario does with its connection."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from raising import inside
from raising.notes import Notes
from support.peer import ConnectionEnded, Peer, Response, StreamReset

PATIENCE = float(os.environ.get("RAISING_PATIENCE", "10"))
"""Seconds that anything may take which takes milliseconds, on a machine that may stall."""
A_MOMENT = 0.05
"""Seconds that an application gets to come where it waits; it need not come there."""
POLL = 0.0005


class Talk:
    """One connection and the streams that a script opens on it."""

    def __init__(self, peer: Peer, server: Any, notes: Notes, path: str) -> None:
        self.peer = peer
        self.server = server
        self.notes = notes
        self.path = path
        self.streams: list[int] = []
        self.left = ""
        """How the client left, if it did."""
        self.ends_connection = False
        """The application asks for the end of the connection."""

    @property
    def stream(self) -> int:
        """The first stream."""
        return self.streams[0]

    def open(
        self,
        method: str = "GET",
        *,
        fields: Iterable[tuple[str, str]] = (),
        end: bool = True,
    ) -> None:
        """Send a request's field section."""
        self.streams.append(
            self.peer.request(method, self.path, scheme="http", fields=fields, end_stream=end)
        )

    def data(self, data: bytes, end: bool = False) -> None:
        """Send content, unless the stream is over."""
        response = self.peer.responses.get(self.stream)
        if response is None or response.reset is None:
            self.peer.data(self.stream, data, end)

    def until_it_waits(self) -> None:
        """Give the application a moment to come where it waits on us."""
        deadline = time.monotonic() + A_MOMENT
        while not inside.waiting(self.server) and time.monotonic() < deadline:
            if self.peer.read_available(POLL) and self.is_over:
                return

    def until(self, condition: Callable[[Response], bool]) -> None:
        """Read until something has come on the stream, or it is over."""
        response = self.peer._stream(self.stream)
        self.peer.wait_until(
            lambda: condition(response) or self.is_over, "the next step of the script", PATIENCE
        )

    def until_caught(self) -> None:
        """Wait until the application goes on after what was raised, or has come to its end."""
        deadline = time.monotonic() + A_MOMENT
        while not self.notes.caught.is_set() and time.monotonic() < deadline:
            if self.peer.read_available(POLL) and self.is_over:
                return

    @property
    def is_over(self) -> bool:
        """Whether the first stream has ended for its client."""
        response = self.peer.responses.get(self.stream)
        return response is not None and (response.ended or response.reset is not None)

    def end_of(self, stream: int) -> Response | None:
        """Wait for the end of a stream; None if that of the connection came before.

        Raises:
            TimedOut: neither came.
        """
        try:
            return self.peer.response(stream, PATIENCE)
        except ConnectionEnded:
            response = self.peer.responses.get(stream)
            return response if response is not None and response.ended else None

    def reset(self) -> None:
        """The client resets its streams."""
        self.left = "reset"
        for stream in self.streams:
            self.peer.rst_stream(stream)

    def go(self) -> None:
        """The client disconnects."""
        self.left = "gone"
        self.peer.close()


def play(talk: Talk, script: Callable[[Talk], Iterable[None]], leave: str, point: int) -> None:
    """Run a script, up to the point at which the client is to leave, if it is.

    Raises:
        TimedOut: what the script waits for did not come.
    """
    try:
        for number, _ in enumerate(script(talk), 1):
            if leave and number == point:
                (talk.reset if leave == "reset" else talk.go)()
                return
    except (ConnectionEnded, StreamReset):
        return  # what was raised may do that; whether it may here is looked at behind the run
