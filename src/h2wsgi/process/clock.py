"""What time it is, whatever an application or a test has done to Python's clocks.

freezegun and time-machine stop them for the whole process: as an application is imported, in a
view, or around a test. A server that followed would have all its timeouts over at once or never,
and make certificates that no client believes. freezegun puts functions of its own into every module
where it finds Python's, but does not look into objects, so here they are attributes of one.
time-machine changes what Python's wall clocks do, but for one that Linux has besides. It is up to
4 ms behind, and quicker to read. Any thread.
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
        """Seconds that pass, from no certain moment on."""
        self.time: Callable[[], float] = _real_time()
        """Seconds since the epoch."""

    def now(self) -> datetime:
        """Return date and time in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)


def _real_monotonic() -> Callable[[], float]:
    # Where this is imported while freezegun has stopped the clocks, it has replaced them already.
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
