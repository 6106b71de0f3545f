"""A connection's streams, windows and settings, as its frames tell them. Pure.

The tap keeps these from the frames alone, so that they can be compared with the engine's. A change
of SETTINGS counts from its acknowledgement on (RFC 9113 section 6.5.3).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ...codes import Setting
from .field_blocks import FieldBlock
from .frames import Direction, Section, SettingsEntry, Windows

FIRST_WINDOW = 65_535
"""Octets; the connection's and, until SETTINGS change it, each stream's (section 6.9.2)."""
LARGEST_WINDOW = 2**31 - 1
MAX_STREAMS = 10_000
"""Streams known at once. The server refuses clients long before they open more."""
MAX_PENDING = 1_000
"""SETTINGS frames that wait for their acknowledgement."""


@dataclass(slots=True)
class _Side:
    """What one side may send, and what it has announced."""

    connection: int = FIRST_WINDOW
    initial: int = FIRST_WINDOW
    """The window that a new stream has."""
    announced: deque[tuple[SettingsEntry, ...]] = field(
        default_factory=lambda: deque(maxlen=MAX_PENDING)
    )
    """SETTINGS that this side sent and the other has not acknowledged."""


@dataclass(slots=True)
class _Half:
    """One direction of a stream: what its sender did."""

    spent: int = 0
    """Octets sent less those credited; the window is its initial size less this."""
    head_seen: bool = False
    ended: bool = False


class StreamTable:
    """The streams of one connection, as its frames tell them."""

    def __init__(self) -> None:
        self._sides = {direction: _Side() for direction in Direction}
        self._streams: dict[int, dict[Direction, _Half]] = {}
        self._last_stream_id = 0

    @property
    def open_streams(self) -> int:
        """Streams that have begun and are not closed."""
        return len(self._streams)

    def windows(self, stream_id: int) -> Windows:
        """Return what either side may send now, on the connection and on a stream."""
        client, server = self._sides[Direction.RECEIVED], self._sides[Direction.SENT]
        if (halves := self._streams.get(stream_id)) is None:
            return Windows(client.connection, None, server.connection, None)
        return Windows(
            client.connection,
            client.initial - halves[Direction.RECEIVED].spent,
            server.connection,
            server.initial - halves[Direction.SENT].spent,
        )

    def opened(self, stream_id: int) -> str:
        """The client sent HEADERS; return what is wrong with the stream it names."""
        if stream_id in self._streams:
            return ""
        if not stream_id % 2:
            return "a client's streams have odd numbers"
        if stream_id <= self._last_stream_id:
            return "the stream is closed"
        self._last_stream_id = stream_id
        self._streams[stream_id] = {direction: _Half() for direction in Direction}
        if len(self._streams) > MAX_STREAMS:
            del self._streams[next(iter(self._streams))]
        return ""

    def section(self, direction: Direction, stream_id: int, block: FieldBlock) -> Section:
        """Return what a field section on the stream is for, and remember it."""
        halves = self._streams.get(stream_id)
        half = halves[direction] if halves is not None else _Half(head_seen=True)
        if half.head_seen:
            return Section.TRAILERS
        if direction is Direction.RECEIVED:
            half.head_seen = True
            return Section.REQUEST
        if any(f.name == ":status" and f.value.startswith("1") for f in block.fields):
            return Section.INFORMATIONAL
        half.head_seen = True
        return Section.RESPONSE

    def data(self, direction: Direction, stream_id: int, octets: int) -> list[str]:
        """DATA was sent, padding counted; return what is wrong with it."""
        side = self._sides[direction]
        side.connection -= octets
        problems = []
        if octets and side.connection < 0:
            problems.append(f"{-side.connection} octets over the connection's window")
        if (halves := self._streams.get(stream_id)) is None:
            return [*problems, "the stream is not open"] if stream_id else problems
        half = halves[direction]
        half.spent += octets
        if octets and half.spent > side.initial:
            problems.append(f"{half.spent - side.initial} octets over the stream's window")
        if half.ended:
            problems.append("the stream has ended already")
        return problems

    def credit(self, direction: Direction, stream_id: int, increment: int) -> str:
        """WINDOW_UPDATE lets the other side send more; return what is wrong with it."""
        side = self._sides[_other(direction)]
        if not stream_id:
            side.connection += increment
            window = side.connection
        elif (halves := self._streams.get(stream_id)) is None:
            return ""  # It was on its way when the stream closed (section 6.9).
        else:
            half = halves[_other(direction)]
            half.spent -= increment
            window = side.initial - half.spent
        return f"the window is over {LARGEST_WINDOW} octets" if window > LARGEST_WINDOW else ""

    def settings(self, direction: Direction, settings: tuple[SettingsEntry, ...]) -> None:
        """SETTINGS were announced."""
        self._sides[direction].announced.append(settings)

    def acknowledged(self, direction: Direction) -> Iterable[SettingsEntry] | None:
        """The sender of ``direction`` acknowledged the oldest SETTINGS; return them, or None."""
        announced = self._sides[_other(direction)].announced
        if not announced:
            return None
        settings = announced.popleft()
        for setting in settings:
            if setting.id == Setting.INITIAL_WINDOW_SIZE:
                self._sides[direction].initial = setting.value
        return settings

    def ended(self, direction: Direction, stream_id: int) -> None:
        """One direction of a stream is done; the stream is closed with the second."""
        if (halves := self._streams.get(stream_id)) is not None:
            halves[direction].ended = True
            if all(half.ended for half in halves.values()):
                self.closed(stream_id)

    def closed(self, stream_id: int) -> None:
        """The stream is no more."""
        self._streams.pop(stream_id, None)


def _other(direction: Direction) -> Direction:
    return Direction.SENT if direction is Direction.RECEIVED else Direction.RECEIVED
