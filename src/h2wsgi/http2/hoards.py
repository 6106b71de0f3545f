"""Who has to go while the process holds all the output it may: whoever holds most and reads least.

Each connection keeps a share of the budget (:attr:`~h2wsgi.seam.budget.Budget.kept`), so the others
are answered meanwhile, and there is time to tell a slow client from one that does not read: a
stream is given up only if it was seen to wait for a second, and at its pace would hold what it
holds for a quarter of an hour more. Streams are given up, not connections, as one of a proxy has
many users. Loop thread only, and nothing of it runs while there is room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from ..config.config import Config
from ..process.clock import clock
from ..seam.budget import Budget
from ..seam.guards import loop_thread
from ..seam.stream import Stream
from .connection import Connection

KEPT_PART = 4
"""``max_buffered`` divided by this is kept for connections that hold little."""
INTERVAL = 0.25
"""Seconds between looks while the budget is full."""
SEEN = 1.0
"""Seconds that a stream has to have waited before it is judged."""
WINDOW = 30.0
"""Seconds, up to twice as many, over which the pace of a stream is taken. Honest clients open their
window by half and are silent until it is used up."""
TOO_LONG = 900.0
"""Seconds in which a client may take what it holds: it is slow, and not to blame. So whoever wants
to keep the budget full has to take all of it in that time."""
MOST_AT_ONCE = 256
"""Streams to give up in one look, or others would wait for it."""


def output_budget(
    config: Config, on_relief: Callable[[], None], on_full: Callable[[], None]
) -> Budget:
    """Return the budget of responses. What each connection keeps is within ``max_buffered``."""
    kept = config.max_buffered // KEPT_PART // config.max_connections
    kept = min(kept, config.stream_buffer)
    limit = config.max_buffered - kept * config.max_connections
    return Budget(limit, on_relief, on_full=on_full, kept=kept)


class Holder(Protocol):
    """The protocol of a connection."""

    connection: Connection

    def give_up_slow(self, stream: Stream, option: str, why: str) -> None:
        """Reset a stream whose client keeps what others need, by the limit of an option."""


class _Pace:
    """What a stream has taken, since when. It has two marks, the older of which counts."""

    __slots__ = ("first_seen", "newer", "older")

    def __init__(self, stream: Stream, now: float) -> None:
        self.first_seen = now
        # This is the first look, so the application's own time counts as well.
        self.older = (stream.started_at, 0)
        self.newer = (now, stream.octets_sent)

    def look(self, stream: Stream, now: float) -> float:
        """Return the seconds in which the stream would have taken what it holds."""
        since, taken_before = self.older
        taken = stream.octets_sent - taken_before
        if now - self.newer[0] >= WINDOW:
            self.older, self.newer = self.newer, (now, stream.octets_sent)
        return stream.queued * (now - since) / max(1, taken)


class Hoards:
    """Watches the streams of all connections while ``budget`` is full.

    ``holders`` are the connections there are; ``call_later`` is the loop's.
    """

    def __init__(
        self,
        budget: Budget,
        holders: Callable[[], Iterable[Holder]],
        call_later: Callable[[float, Callable[[], None]], object],
        now: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._budget = budget
        self._holders = holders
        self._call_later = call_later
        self._now = now
        self._paces: dict[Stream, _Pace] = {}
        """The paces of the streams that were waiting at the last look."""
        self._watching = False

    @loop_thread
    def watch(self) -> None:
        """The budget is full: look at regular times until it is not."""
        if not self._watching:
            self._watching = True
            self._call_later(INTERVAL, self._look)

    @loop_thread
    def _look(self) -> None:
        if not self._budget.full:
            self._watching = False
            self._paces.clear()
            return
        self._make_room()
        self._call_later(INTERVAL, self._look)

    def _make_room(self) -> None:
        for _, holder, stream in self._too_slow()[:MOST_AT_ONCE]:
            why = f"its client did not take {stream.queued} octets, and others need the room"
            holder.give_up_slow(stream, "max_buffered", why)
            if not self._budget.full:
                return

    def _too_slow(self) -> list[tuple[float, Holder, Stream]]:
        """Return the streams that may be given up, and the seconds they would need, worst first."""
        now = self._now()
        before, self._paces = self._paces, {}
        found = []
        for holder in self._holders():
            outflow = holder.connection.outflow
            for stream in holder.connection.streams.values():
                if not (stream.queued and outflow.is_waiting(stream)):
                    continue
                pace = self._paces[stream] = before.get(stream) or _Pace(stream, now)
                seconds = pace.look(stream, now)
                if seconds >= TOO_LONG and now - pace.first_seen >= SEEN:
                    found.append((seconds, holder, stream))
        found.sort(key=lambda each: -each[0])
        return found
