"""Every clock of a connection, on one timer.

The timer looks once a second while streams are open, and otherwise sleeps until the connection
has been idle too long, so an idle connection costs one timer. No asyncio: the loop's
``call_later`` is handed in. A clock runs only while the peer holds us up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from ..config import Config
from ..stream import Stream
from .connection import Connection

INTERVAL = 1.0
"""Seconds between looks while streams are open; shorter where a timeout is shorter."""


class Timer(Protocol):
    """What ``call_later`` returns."""

    def cancel(self) -> None: ...


class DeadlineHandler(Protocol):
    """What happens when time is up. Called on the loop's thread."""

    def preface_timed_out(self) -> None: ...
    def idle_timed_out(self) -> None: ...
    def read_timed_out(self, stream: Stream) -> None: ...
    def write_timed_out(self, stream: Stream) -> None: ...


class Deadlines:
    """The clocks of one connection; a timeout of 0 seconds is off."""

    def __init__(
        self,
        handler: DeadlineHandler,
        config: Config,
        call_later: Callable[[float, Callable[[], None]], Timer],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._handler = handler
        self._config = config
        self._call_later = call_later
        self._now = now
        self._timer: Timer | None = None
        self._due = 0.0
        self._opened_at = now()
        self._idle_since: float | None = self._opened_at
        self._settings_received = False
        self._withheld_until = 0.0
        self._connection: Connection | None = None
        timeouts = [t for t in (config.read_timeout, config.write_timeout) if t]
        self._interval = min([INTERVAL, *(t / 4 for t in timeouts)])

    def start(self, connection: Connection) -> None:
        """Begin: the peer owes its preface and SETTINGS."""
        self._connection = connection
        timeouts = (self._config.preface_timeout, self._config.idle_timeout)
        self._arm(min(filter(None, timeouts), default=0))

    def settings_received(self) -> bool:
        """The peer's SETTINGS came; True if they are its first, which complete its preface."""
        first = not self._settings_received
        self._settings_received = True
        return first

    def streams_changed(self, open_streams: int) -> None:
        """The first stream opened, or the last one closed."""
        if open_streams == 0:
            self._idle_since = self._now()
        elif self._idle_since is not None:
            self._idle_since = None
            if self._timer is None or self._due > self._now() + self._interval:
                self._arm(self._interval)

    def stop(self) -> None:
        """End every clock."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._connection = None

    def _arm(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds:
            self._due = self._now() + seconds
            self._timer = self._call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        connection = self._connection
        if connection is None:
            return
        now = self._now()
        preface_left = self._preface_left(now)
        if preface_left is not None and preface_left <= 0:
            self._handler.preface_timed_out()
            return
        if connection.streams:
            self._check_streams(connection, now)
            self._arm(self._interval)
        else:
            self._check_idle(now, preface_left)

    def _preface_left(self, now: float) -> float | None:
        """Return the seconds the peer still has for its preface; None if it owes none."""
        if self._settings_received or not self._config.preface_timeout:
            return None
        return self._opened_at + self._config.preface_timeout - now

    def _check_idle(self, now: float, preface_left: float | None) -> None:
        left = [] if preface_left is None else [preface_left]
        if self._config.idle_timeout:
            since = now if self._idle_since is None else self._idle_since
            left.append(since + self._config.idle_timeout - now)
            if left[-1] <= 0:
                self._handler.idle_timed_out()
                return
        # A loop's timers may be early: what is not over yet is looked at again.
        self._arm(min(left, default=0))

    def _check_streams(self, connection: Connection, now: float) -> None:
        read, write = self._config.read_timeout, self._config.write_timeout
        if connection.withholds_credit:
            self._withheld_until = now
        for stream in list(connection.streams.values()):
            since = stream.reading_since
            if read and since is not None and now - max(since, self._withheld_until) >= read:
                self._handler.read_timed_out(stream)
            elif (
                write
                and connection.outflow.is_waiting(stream)
                and now - stream.progress_at >= write
            ):
                self._handler.write_timed_out(stream)
