"""What still comes of requests that were answered before their content had come.

The response is whole and nobody reads the rest, which RST_STREAM(NO_ERROR) may cut off (RFC 9113
section 8.1). But many clients send all they have before they look at an answer: httpx waits for
ever for a window that nobody opens, and curl 7.88 throws the response away if a reset comes with
it. So some of the rest is taken and dropped first, and what the client ends by itself is not reset.
Loop thread only.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from h2.errors import ErrorCodes

from ..config.config import Config
from .engines.interface import Engine

RESET_DELAY = 0.25
"""Seconds between a complete response, or the last octet that was taken, and the reset."""


class _Rest:
    """What comes of one request: octets that are still taken, those to credit, until when."""

    __slots__ = ("left", "uncredited", "until")

    def __init__(self, left: int, uncredited: int, until: float) -> None:
        self.left = left
        self.uncredited = uncredited
        self.until = until


class Leftovers:
    """The rests of one connection's requests; ``call_later`` is its wire's."""

    __slots__ = ("_call_later", "_engine", "_looks", "_max_octets", "_rests", "_seconds")

    def __init__(
        self,
        engine: Engine,
        config: Config,
        call_later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        # immutable
        self._engine = engine
        self._call_later = call_later
        self._max_octets = config.max_discarded
        self._seconds = max(config.discard_timeout, RESET_DELAY) if config.max_discarded else 0.0
        # loop thread only
        self._rests: dict[int, _Rest] = {}
        self._looks = 0
        """Looks that are on their way."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._rests)

    def add(self, stream_id: int, uncredited: int) -> None:
        """Take no more of a request than may be; ``uncredited`` octets of it nobody will read."""
        seconds = self._seconds or RESET_DELAY
        rest = _Rest(self._max_octets, 0, time.monotonic() + seconds)
        self._rests[stream_id] = rest
        if rest.left and uncredited:
            self._engine.credit(stream_id, uncredited)
        if not self._looks:
            self._look_in(seconds)

    def received(self, stream_id: int, octets: int, ended: bool, step: int) -> None:
        """More of it came, or the end; the window is opened by ``step`` octets at a time."""
        rest = self._rests.get(stream_id)
        if rest is None:
            return
        if ended:
            del self._rests[stream_id]
        elif rest.left > 0:
            rest.left -= octets
            rest.uncredited += octets
            if rest.left <= 0:
                rest.until = min(rest.until, time.monotonic() + RESET_DELAY)
                self._look_in(RESET_DELAY)
            elif rest.uncredited >= step:
                self._engine.credit(stream_id, rest.uncredited)
                rest.uncredited = 0

    def _look_in(self, seconds: float) -> None:
        self._looks += 1
        self._call_later(seconds, self._look)

    def _look(self) -> None:
        """Reset those that have had their time, and look again when the next one has."""
        self._looks -= 1
        now = time.monotonic()
        for stream_id in [i for i, rest in self._rests.items() if rest.until <= now]:
            del self._rests[stream_id]
            self._engine.reset_stream(stream_id, ErrorCodes.NO_ERROR)
        if self._rests and not self._looks:
            self._look_in(max(0.001, min(rest.until for rest in self._rests.values()) - now))
