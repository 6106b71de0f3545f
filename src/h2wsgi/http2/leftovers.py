"""What still comes of requests that were answered before their content had come.

The response is whole and nobody reads the rest, which RST_STREAM(NO_ERROR) may cut off (RFC 9113
section 8.1). But many clients send all they have before they look at an answer: httpx waits for
ever for a window that nobody opens, and curl 7.88 throws the response away if a reset comes with
it. So some of the rest is taken and dropped first, and what the client ends by itself is not reset.
Loop thread only.
"""

from __future__ import annotations

from collections.abc import Callable

from ..codes import ErrorCode
from ..config.config import Config
from ..process.clock import clock
from .engines.interface import Engine

RESET_DELAY = 0.25
"""Seconds between a complete response, or the last octet that was taken, and the reset; and between
looks at whether the time of one has come."""


class _Rest:
    """What comes of one request: octets that are still taken, those to credit, until when."""

    __slots__ = ("left", "uncredited", "until")

    def __init__(self, left: int, uncredited: int, until: float) -> None:
        self.left = left
        self.uncredited = uncredited
        self.until = until


class Leftovers:
    """The rests of one connection's requests.

    ``call_later`` is its wire's; ``ended`` is called when nothing more of one is taken.
    """

    __slots__ = ("_call_later", "_ended", "_engine", "_looking", "_max_octets", "_seconds", "rests")

    def __init__(
        self,
        engine: Engine,
        config: Config,
        call_later: Callable[[float, Callable[[], None]], None],
        ended: Callable[[], None],
    ) -> None:
        # immutable
        self._engine = engine
        self._call_later = call_later
        self._ended = ended
        self._max_octets = config.max_discarded
        seconds = config.discard_timeout if config.max_discarded else 0
        self._seconds = max(seconds, RESET_DELAY)
        # loop thread only
        self.rests: dict[int, _Rest] = {}
        """By the stream of the request."""
        self._looking = False
        """Whether a look is on its way."""

    def forget(self) -> None:
        """Nothing comes any more."""
        self.rests.clear()

    def add(self, stream_id: int, uncredited: int) -> None:
        """Begin to drop the rest of a request; nobody will read ``uncredited`` octets of it."""
        rest = _Rest(self._max_octets, 0, clock.monotonic() + self._seconds)
        self.rests[stream_id] = rest
        if rest.left and uncredited:
            self._engine.credit(stream_id, uncredited)
        if not self._looking:
            self._looking = True
            self._call_later(RESET_DELAY, self._look)

    def received(self, stream_id: int, octets: int, ended: bool, step: int) -> None:
        """More of it came, or the end; the window is opened by ``step`` octets at a time."""
        rest = self.rests.get(stream_id)
        if rest is None:
            return
        if ended:
            self.drop(stream_id)
        elif rest.left > 0:
            rest.left -= octets
            rest.uncredited += octets
            if rest.left <= 0:
                rest.until = min(rest.until, clock.monotonic() + RESET_DELAY)
            elif rest.uncredited >= step:
                self._engine.credit(stream_id, rest.uncredited)
                rest.uncredited = 0

    def drop(self, stream_id: int) -> None:
        """Nothing more of a request comes, by its client's will or ours."""
        if self.rests.pop(stream_id, None) is not None:
            self._ended()

    def _look(self) -> None:
        """Reset those that have had their time, and go on looking while there are others."""
        now = clock.monotonic()
        for stream_id in [i for i, rest in self.rests.items() if rest.until <= now]:
            self._engine.reset_stream(stream_id, ErrorCode.NO_ERROR)
            self.drop(stream_id)
        self._looking = bool(self.rests)
        if self._looking:
            self._call_later(RESET_DELAY, self._look)
