"""What frames cost beyond the requests they bring: token buckets (RFC 9113 section 10.5).

Every frame that brings neither a request nor content is legal and costs little, so what gives an
attack away is how many of them come. A bucket holds as many as its option says and fills up again
within 30 seconds; a client that empties it is told ENHANCE_YOUR_CALM, and the connection ends.
Pure but for the clock; loop thread only.
"""

from __future__ import annotations

from collections.abc import Callable

from ..codes import DATA, FLAG_ACK, FLAG_END_STREAM, RST_STREAM, SETTINGS, WINDOW_UPDATE, ErrorCode
from ..config.config import Config
from ..errors import ConnectionFailed
from ..process.clock import clock

SECONDS_TO_FILL = 30
"""Seconds in which an empty bucket fills up: 1,000 and 33 a second, 10,000 and 333 [nghttp2]."""
SETTINGS_COST = 10
"""Glitches that SETTINGS count: applied, acknowledged, and every open stream's window changes."""
WINDOW_UPDATES_AT_FIRST = 100
WINDOW_UPDATES_EACH = 4
"""WINDOW_UPDATE frames that a request, and each DATA frame sent, gives a reason for: one or two for
the stream and as many for the connection."""

_WHAT = {
    "max_resets": "streams were reset",
    "max_glitches": "frames came that brought nothing",
    "max_empty_frames": "DATA frames came without content",
    "max_refusals": "streams over the limit were opened",
}


class _Bucket:
    """Tokens by time. ``size`` is how many it holds."""

    __slots__ = ("_left", "_size", "_then")

    def __init__(self, size: int, now: float) -> None:
        self._size = size
        self._left = float(size)
        self._then = now

    def spend(self, tokens: int, now: float) -> bool:
        """Take tokens; False if there are not as many."""
        filled = self._left + (now - self._then) * self._size / SECONDS_TO_FILL
        self._left = min(filled, self._size) - tokens
        self._then = now
        return self._left >= 0


class FrameMeter:
    """The buckets of one connection. Those that it never needs are never made."""

    __slots__ = ("_buckets", "_config", "_now", "_window_updates", "data_frames", "requests")

    def __init__(self, config: Config, now: Callable[[], float] = clock.monotonic) -> None:
        self._config = config
        self._now = now
        self._buckets: dict[str, _Bucket] = {}
        self._window_updates = 0
        self.requests = 0
        """Requests that came."""
        self.data_frames = 0
        """DATA frames sent, those of responses in one piece aside."""

    def count(self, type_: int, flags: int) -> None:
        """Count a frame that is neither HEADERS with fields nor DATA with content.

        Raises:
            ConnectionFailed: ENHANCE_YOUR_CALM, a bucket is empty.
        """
        if type_ == RST_STREAM:
            self.spend("max_resets")
        elif type_ == WINDOW_UPDATE:
            self._window_updates += 1
            reasons = self.requests + self.data_frames
            if self._window_updates > WINDOW_UPDATES_AT_FIRST + WINDOW_UPDATES_EACH * reasons:
                self.spend("max_glitches")
        elif type_ == DATA:
            # Empty, but not for nothing: Node.js ends an upload with it (END_STREAM).
            if not flags & FLAG_END_STREAM:
                self.spend("max_empty_frames")
                self.spend("max_glitches")
        elif type_ == SETTINGS and not flags & FLAG_ACK:
            self.spend("max_glitches", SETTINGS_COST)
        else:
            self.spend("max_glitches")

    def reset_emitted(self) -> None:
        """Count a stream that the client made us reset (MadeYouReset, CVE-2025-8671).

        Raises:
            ConnectionFailed: ENHANCE_YOUR_CALM.
        """
        self.spend("max_resets")

    def spend(self, option: str, tokens: int = 1) -> None:
        """Take tokens from the bucket of an option.

        Raises:
            ConnectionFailed: ENHANCE_YOUR_CALM, it is empty.
        """
        size: int = getattr(self._config, option)
        if not size:
            return
        now = self._now()
        if (bucket := self._buckets.get(option)) is None:
            bucket = self._buckets[option] = _Bucket(size, now)
        if not bucket.spend(tokens, now):
            reason = f"over {size} {_WHAT[option]}"
            raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, reason, limit=option)
