"""Every clock of a connection, on one timer.

The timer looks once a second while streams are open or a field section is not whole, and otherwise
sleeps until the next clock of the connection may be over, so an idle connection costs one timer. No
asyncio: the loop's ``call_later`` is handed in. A clock runs only while the peer holds us up,
but for a request's: that one bounds the application as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from ..config.config import Config
from ..process.clock import clock
from ..seam.stream import Stream
from .connection import Connection
from .outflow import Outflow

INTERVAL = 1.0
"""Seconds between looks while streams are open, or less where a timeout is shorter."""
SHORTEST_INTERVAL = 0.01
"""The least seconds between looks: a timeout of a microsecond must not keep the loop busy."""


class Timer(Protocol):
    """What ``call_later`` returns."""

    def cancel(self) -> None: ...


class DeadlineHandler(Protocol):
    """What happens when time is up. Called on the loop's thread."""

    def preface_timed_out(self) -> None: ...
    def settings_timed_out(self) -> None: ...
    def fields_timed_out(self) -> None: ...
    def ping_due(self) -> None: ...
    def ping_timed_out(self) -> None: ...
    def idle_timed_out(self) -> None: ...
    def read_timed_out(self, stream: Stream, option: str) -> None: ...
    def write_timed_out(self, stream: Stream, option: str) -> None: ...
    def request_timed_out(self, stream: Stream) -> None: ...


class _ReadPace(NamedTuple):
    """Since when it is counted what a stream's client sends, and what there was by then.

    At first that is the stream's begin, later the look that found the pace before good enough.
    """

    since: float
    waited: float
    """Seconds that the application had waited for content."""
    octets: int


class _WritePace(NamedTuple):
    """Since when a stream waits for its client, and what had moved by then."""

    since: float
    octets: int
    of_connection: int
    """Octets of content of all streams."""


class Deadlines:
    """The clocks of one connection; a timeout of 0 seconds is off."""

    def __init__(
        self,
        handler: DeadlineHandler,
        config: Config,
        call_later: Callable[[float, Callable[[], None]], Timer],
        now: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._handler = handler
        self._config = config
        self._call_later = call_later
        self._now = now
        self._timer: Timer | None = None
        self._due = 0.0
        self._opened_at = now()
        self.idle_since: float | None = self._opened_at
        """Since when there is no stream, by the monotonic clock; None while there is one."""
        self._settings_received = False
        self._settings_owed: list[float] = []
        """When we sent each SETTINGS frame that the peer has not acknowledged."""
        self.fields_since: float | None = None
        """When the field section began that is not whole, as :meth:`fields_begun` was told."""
        self._heard_at = self._opened_at
        self._ping_sent_at: float | None = None
        self._withheld_until = 0.0
        self._held_until = 0.0
        self._reads: dict[int, _ReadPace] = {}
        self._writes: dict[int, _WritePace] = {}
        self._connection: Connection | None = None
        self.heard = False
        """Set whenever octets come from the peer; taken back here."""
        timeouts = (
            config.read_timeout,
            config.write_timeout,
            config.fields_timeout,
            config.request_timeout,
        )
        shortest = min([INTERVAL, *(t / 4 for t in timeouts if t)])
        self._interval = max(shortest, SHORTEST_INTERVAL)

    def start(self, connection: Connection) -> None:
        """Begin: the peer owes its preface and SETTINGS."""
        self._connection = connection
        self._arm_for_rest(self._now())

    def settings_received(self) -> bool:
        """The peer's SETTINGS came; True if they are its first, which complete its preface."""
        first = not self._settings_received
        self._settings_received = True
        return first

    def settings_sent(self) -> None:
        """The peer owes the acknowledgement of our SETTINGS."""
        now = self._now()
        self._settings_owed.append(now)
        if self._connection is not None:
            self._arm_for_rest(now)

    def settings_acknowledged(self) -> None:
        """The peer has the oldest of our SETTINGS that it owed."""
        del self._settings_owed[:1]

    def hold(self, seconds: float) -> None:
        """We keep back what the peer is to answer, or to take, for so long from now on."""
        self._held_until = max(self._held_until, self._now() + seconds)

    def fields_begun(self, since: float | None) -> None:
        """A field section began to come at ``since``; None: none is under way."""
        if since is not None and self.fields_since is None and self._config.fields_timeout:
            self._look_soon()
        self.fields_since = since

    def streams_changed(self, open_streams: int) -> None:
        """The first stream opened, or the last one closed."""
        if open_streams == 0:
            self.idle_since = self._now()
            self._reads.clear()
            self._writes.clear()
        elif (idle_since := self.idle_since) is not None:
            self.idle_since = None
            # Requests that follow one another at once find the look that the first arranged.
            if self._timer is None or self._due > idle_since + self._interval:
                self._look_soon()

    def stop(self) -> None:
        """End every clock."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._connection = None

    def _look_soon(self) -> None:
        if self._connection is not None and (
            self._timer is None or self._due > self._now() + self._interval
        ):
            self._arm(self._interval)

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
        if self.heard:
            self.heard = False
            self._heard_at = now
            self._ping_sent_at = None
        for timed_out, left in self._clocks(now):
            # A loop's timers may be early: what is not over yet is looked at again.
            if left <= 0:
                timed_out()
                if timed_out != self._send_ping:
                    return
        if connection.streams:
            self._check_streams(connection, now)
        if self._connection is not None:
            self._arm_for_rest(now)

    def _arm_for_rest(self, now: float) -> None:
        left = [max(left, 0.001) for _, left in self._clocks(now)]
        if self.fields_since is not None or (self._connection and self._connection.is_in_use):
            left.append(self._interval)
        self._arm(min(left, default=0))

    def _clocks(self, now: float) -> list[tuple[Callable[[], None], float]]:
        """Return the clocks of the connection that run: whom to tell, and the seconds left."""
        config, handler = self._config, self._handler
        clocks: list[tuple[Callable[[], None], float]] = []

        def run(timeout: float, since: float | None, timed_out: Callable[[], None]) -> None:
            if timeout and since is not None:
                clocks.append((timed_out, since + timeout - now))

        def after_hold(since: float | None) -> float | None:
            return None if since is None else max(since, self._held_until)

        if not self._settings_received:
            run(config.preface_timeout, self._opened_at, handler.preface_timed_out)
        owed_since = self._settings_owed[0] if self._settings_owed else None
        run(config.settings_timeout, after_hold(owed_since), handler.settings_timed_out)
        run(config.fields_timeout, self.fields_since, handler.fields_timed_out)
        run(config.idle_timeout, self.idle_since, handler.idle_timed_out)
        if config.ping_interval and self._settings_received:
            if self._ping_sent_at is None:
                run(config.ping_interval, after_hold(self._heard_at), self._send_ping)
            else:
                run(config.ping_timeout, after_hold(self._ping_sent_at), handler.ping_timed_out)
        return clocks

    def _send_ping(self) -> None:
        self._ping_sent_at = self._now()
        self._handler.ping_due()

    def _check_streams(self, connection: Connection, now: float) -> None:
        self._check_requests(connection, now)
        if connection.inflow.withholds_credit:
            self._withheld_until = now
        for gone in self._reads.keys() - connection.streams.keys():
            del self._reads[gone]
        for gone in self._writes.keys() - connection.streams.keys():
            del self._writes[gone]
        for stream in list(connection.streams.values()):
            if stream.has_waited or stream.reading_since is not None:
                self._check_read(stream, now)
            if connection.outflow.is_waiting(stream):
                self._check_write(stream, connection.outflow, now)
            else:
                self._writes.pop(stream.stream_id, None)

    def _check_requests(self, connection: Connection, now: float) -> None:
        """End what was not answered in time, whoever it waits for."""
        if limit := self._config.request_timeout:
            for stream in list(connection.streams.values()):
                if now - stream.started_at >= limit:
                    # A stand-in may follow under the same number, with a pace of its own.
                    self._reads.pop(stream.stream_id, None)
                    self._writes.pop(stream.stream_id, None)
                    self._handler.request_timed_out(stream)

    # A rate is an average over a whole timeout, no less: an honest client on a slow line opens its
    # window by half, then not for long; one that uploads may be busy making the next part. It is
    # the time that the application waited which counts, not what it was doing at a look.

    def _check_read(self, stream: Stream, now: float) -> None:
        """The application waits for content, or did: how long in all, and how much has come?"""
        timeout, rate = self._config.read_timeout, self._config.min_rate
        if not timeout:
            return
        # In this order: a wait that ends in between is missed for now, and none counts twice.
        waited, since = stream.waited_for_content, stream.reading_since
        if since is not None:
            if now - max(since, stream.received_at, self._withheld_until) >= timeout:
                self._handler.read_timed_out(stream, "read_timeout")
                return
            waited += now - since
        # A client that has part of an answer may have nothing to say just now.
        if not rate or (stream.status >= 200 and stream.request.content_length is None):
            return
        pace = self._reads.get(stream.stream_id) or _ReadPace(stream.started_at, 0.0, 0)
        came, waited_since = stream.octets_received - pace.octets, waited - pace.waited
        if pace.since < self._withheld_until or waited_since >= timeout:
            self._reads[stream.stream_id] = _ReadPace(now, waited, stream.octets_received)
            if pace.since >= self._withheld_until and came < rate * waited_since:
                self._handler.read_timed_out(stream, "min_rate")

    def _check_write(self, stream: Stream, outflow: Outflow, now: float) -> None:
        """Output waits for the client: for how long, and how much has left meanwhile?"""
        timeout, rate = self._config.write_timeout, self._config.min_rate
        if not timeout:
            return
        if now - max(stream.progress_at, self._held_until) >= timeout:
            self._handler.write_timed_out(stream, "write_timeout")
            return
        pace = self._writes.get(stream.stream_id)
        if pace is None or pace.since < self._held_until:
            pace = _WritePace(now, stream.octets_sent, outflow.content_taken())
            self._writes[stream.stream_id] = pace
        elif rate and now - pace.since >= timeout:
            del self._writes[stream.stream_id]
            taken = stream.octets_sent - pace.octets
            if outflow.is_held_up(stream):  # then all streams share what is taken
                taken = max(taken, outflow.content_taken() - pace.of_connection)
            if taken < rate * (now - pace.since):
                self._handler.write_timed_out(stream, "min_rate")
