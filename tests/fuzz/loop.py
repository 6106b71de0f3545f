"""An event loop in which nothing happens by itself, and the clock that the server sees.

Callbacks run and time passes when a session says so, which makes each run of a session the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import heapq
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from h2wsgi.http2 import gathering, protocol
from h2wsgi.http2.deadlines import Deadlines
from h2wsgi.process.clock import clock
from h2wsgi.seam import stream

from .applications import new_wait

EPOCH = 1_800_000_000
"""What the clock of the date begins with, in seconds since 1970."""
IN_MEMORY = 20_000
"""Octets of content without a length that stay in memory: sessions send little."""
Call = Callable[[], object]


class Timer:
    """What ``call_later`` returns."""

    def __init__(self, call: Call, when: float) -> None:
        self.call = call
        self.cancelled = False
        self._when = when

    def when(self) -> float:
        """See asyncio.TimerHandle."""
        return self._when

    def cancel(self) -> None:
        """See asyncio.TimerHandle."""
        self.cancelled = True


class Loop:
    """As much of asyncio's loop as the protocol uses. ``now`` is its time in seconds."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.ready: deque[Call] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0
        self._deadlines: Any = functools.partial(Deadlines, now=self.time)

    def time(self) -> float:
        """See asyncio."""
        return self.now

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        """See asyncio."""
        self.ready.append(functools.partial(callback, *args))

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        """See asyncio."""
        when = self.now + delay
        timer = Timer(functools.partial(callback, *args), when)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def turn(self) -> None:
        """Run what is ready, not what becomes so meanwhile."""
        for _ in range(len(self.ready)):
            self.ready.popleft()()

    def advance(self, seconds: float) -> None:
        """Let time pass, and make the calls that fall due, each at its time."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            if not timer.cancelled:
                timer.call()
                self.turn()
        self.now = end

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Be the running loop of this thread, and every clock of the server, for a while."""
        real = clock.monotonic, clock.time
        clock.monotonic, clock.time = self.time, lambda: EPOCH + self.now
        allocate_lock, stream.allocate_lock = stream.allocate_lock, new_wait
        in_memory, gathering.IN_MEMORY = gathering.IN_MEMORY, IN_MEMORY
        # Its clock is a default argument.
        protocol.Deadlines = self._deadlines  # type: ignore[misc]
        asyncio._set_running_loop(self)  # type: ignore[arg-type]
        try:
            yield
        finally:
            asyncio._set_running_loop(None)
            protocol.Deadlines = Deadlines  # type: ignore[misc]
            stream.allocate_lock = allocate_lock
            gathering.IN_MEMORY = in_memory
            clock.monotonic, clock.time = real
