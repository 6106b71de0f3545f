"""What time it is, whatever an application or a test has done to Python's clocks.

freezegun and time-machine stop them for the whole process: when an application is imported, in a
view, or around a test. A server that followed them would have all timeouts end at once or never,
and make certificates that no client believes. freezegun replaces Python's functions in every module
that has them, but does not look into objects, so here they are attributes of one. time-machine
changes Python's wall clocks, except one that only Linux has, which is up to 4 ms behind, and
quicker to read. Any thread.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import BuiltinFunctionType

CLOCK_REALTIME_COARSE = 5
"""Linux' number, which Python has no name for."""


class Clock:
    """The clocks of this process, as they are."""

    def __init__(self) -> None:
        self.monotonic: Callable[[], float] = _real_monotonic()
        """Seconds from an arbitrary moment on, never set back."""
        self.time: Callable[[], float] = _real_time()
        """Seconds since the epoch."""

    def now(self) -> datetime:
        """Return date and time in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)


def _real_monotonic() -> Callable[[], float]:
    # If freezegun has stopped the clocks before this is imported, it has replaced them already.
    if isinstance(time.monotonic, BuiltinFunctionType) or not hasattr(time, "CLOCK_MONOTONIC"):
        return time.monotonic
    return functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)


def _real_time() -> Callable[[], float]:
    try:
        coarse = time.clock_gettime(CLOCK_REALTIME_COARSE)
    except (AttributeError, OSError):  # Windows, macOS
        return time.time
    return functools.partial(time.clock_gettime, CLOCK_REALTIME_COARSE) if coarse else time.time


clock = Clock()
