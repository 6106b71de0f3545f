"""Applications that do not come back in time: their threads are lost until they do.

Python has no way to end a thread. A thread whose request timed out gives its share of the pool to
another, as one that waits on its client does, and takes it back when its application returns. Such
threads are counted here, and the log says when they are many. Nothing of this runs while
``request_timeout`` is off. Loop thread only, except what an application's thread does in begin
and finished.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

from ..config.config import Config
from ..log.logs import Log, named
from ..process.clock import clock
from ..seam.guards import application_thread, loop_thread
from ..seam.stream import ClientWait, Stream

INTERVAL = 1.0
"""Seconds between looks; shorter where the timeout is shorter ..."""
SHORTEST_INTERVAL = 0.01
"""... but no less than this, or a timeout of a microsecond would keep the loop busy."""
LEAK_SHARE = 4
"""The log speaks of a leak when one in so many of ``threads`` is stuck ..."""
LEAST_LEAK = 4
"""... but not of fewer than this."""


class Timer(Protocol):
    """What ``call_later`` returns."""

    def cancel(self) -> None: ...


class TimedStream(Stream):
    """A request whose application is expected back in time."""

    __slots__ = ("_running", "is_stuck")

    def __init__(self, running: dict[TimedStream, None], *args: Any) -> None:
        super().__init__(*args)
        self._running = running
        """All streams whose application runs."""
        # under the lock
        self.is_stuck = False
        """Whether the thread gave away its share of the pool because its application is late."""

    @application_thread
    def begin(self, client_wait: ClientWait) -> bytes | None:
        """See Stream."""
        content = super().begin(client_wait)
        self._running[self] = None
        return content

    @application_thread
    def finished(self) -> None:
        """See Stream. A share that was given away is taken back without waiting for it."""
        super().finished()
        with self._handover.lock:
            self._running.pop(self, None)
            was_stuck, self.is_stuck = self.is_stuck, False
        # Outside the lock, as the pool has one of its own.
        if was_stuck and self._client_wait is not None:
            self._client_wait.wait_ended()

    @loop_thread
    def give_share_away(self) -> None:
        """Let others run in place of this application, which is late, until it returns.

        Only if it can no longer wait on its client, which would give its share away once more. An
        application that waits now was told that its request ended, and takes its share back.
        """
        with self._handover.lock:
            is_over = self._failure is not None or (self.output_ended and self._input_ended)
            if (
                not is_over
                or self.is_stuck
                or self not in self._running
                or self.waiting_since is not None
            ):
                return
            self.is_stuck = True
        if self._client_wait is not None:
            self._client_wait.wait_begins()


class Overtime:
    """Watches every application of a server whose requests have a time limit."""

    def __init__(
        self, config: Config, log: Log, now: Callable[[], float] = clock.monotonic
    ) -> None:
        self._timeout = config.request_timeout
        self._interval = max(min(INTERVAL, config.request_timeout / 4), SHORTEST_INTERVAL)
        self._config = config
        self._log = log
        self._now = now
        self._running: dict[TimedStream, None] = {}
        """Changed by the applications' threads, each time by one operation of the dict."""
        self._leak = max(LEAST_LEAK, config.threads // LEAK_SHARE)
        self._leak_reported = False
        self._timer: Timer | None = None
        self.new_stream: Callable[..., Stream] = functools.partial(TimedStream, self._running)

    def start(self, call_later: Callable[[float, Callable[[], None]], Timer]) -> None:
        """Begin to look at regular times."""
        self._call_later = call_later
        self._timer = call_later(self._interval, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def stuck(self) -> list[TimedStream]:
        """Requests that timed out, or were lost before, whose application is not back yet."""
        return [stream for stream in list(self._running) if stream.is_stuck]

    @loop_thread
    def _look(self) -> None:
        now = self._now()
        self._report_leak(now)  # first: what times out only now may be about to come back
        for stream in list(self._running):
            if now - stream.started_at >= self._timeout:
                stream.give_share_away()
        self._timer = self._call_later(self._interval, self._look)

    def _report_leak(self, now: float) -> None:
        """Say that threads are lost: once, and again only after fewer than half as many were."""
        stuck = self.stuck
        if len(stuck) >= self._leak and not self._leak_reported:
            self._leak_reported = True
            oldest = min(stuck, key=lambda stream: stream.started_at)
            self._log.events.error(
                "the application leaks threads: %d have not come back from requests that timed "
                "out (--request-timeout), the oldest from %s after %.0f s. Each is lost until it "
                "does, and when all %d (--max-threads) are, nobody is answered. Give what it "
                "waits for (a database, a lock, another server) a timeout of its own, shorter "
                "than this one; until then only a restart brings the threads back",
                len(stuck),
                oldest.name,
                now - oldest.started_at,
                self._config.max_threads,
                extra=named("threads_leak", stuck=len(stuck)),
            )
        elif 2 * len(stuck) < self._leak:
            self._leak_reported = False
