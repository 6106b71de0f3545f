"""Which of a connection's responses goes first (RFC 9218). Pure.

A client says so in the ``priority`` field of a request and in PRIORITY_UPDATE, an application in
the ``priority`` field of its response, which wins, parameter by parameter (section 8). A stream of
which nobody has said anything has the default urgency and takes turns with the others, as all
streams do where nobody says anything at all.
"""

from __future__ import annotations

import functools
import re
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

URGENCIES = 8
"""From 0, the most urgent, to 7, which is for the background (section 4.1)."""
DEFAULT_URGENCY = 3
SHARE = 16
"""One turn of so many is for streams that are less urgent, or they might wait for ever."""
LONGEST_VALUE = 256
"""Octets of a field value that are read: the two parameters need eight."""
REMEMBERED = 1_000
"""Streams of a connection of which something is kept that a side has said."""


class Signal(NamedTuple):
    """What one side says of a response; None for what it leaves open."""

    urgency: int | None = None
    incremental: bool | None = None


NOTHING = Signal()


class Priority(NamedTuple):
    """What is done with a response."""

    urgency: int = DEFAULT_URGENCY
    takes_turns: bool = True
    """Whether it shares with others of its urgency, or goes before those with higher numbers."""


# A dictionary of structured fields (RFC 8941 section 3.2), whose values may have parameters.
_KEY = rb"[a-z*][a-z0-9_.*-]*"
_BARE = (
    rb'(?:-?\d{1,15}(?:\.\d{1,3})?|"(?:[ !#-\[\]-~]|\\["\\])*"|:[A-Za-z0-9+/=]*:|\?[01]'
    rb"|[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*)"
)
_PARAMETERS = rb"(?:; *" + _KEY + rb"(?:=" + _BARE + rb")?)*"
_ITEM = _BARE + _PARAMETERS
_LIST = rb"\( *(?:" + _ITEM + rb"(?: +" + _ITEM + rb")* *)?\)" + _PARAMETERS
_MEMBER = re.compile(
    rb"(" + _KEY + rb")(?:=(?:(" + _BARE + rb")" + _PARAMETERS + rb"|(" + _LIST + rb"))|"
    + _PARAMETERS + rb")"
)  # fmt: skip
_COMMA = re.compile(rb"[ \t]*,[ \t]*")


def read_signal(value: bytes) -> Signal | None:
    """Return what the value of a ``priority`` field says; None if it is no such value.

    A parameter that is unknown, out of range or of another type is as if it was not there (section
    4); of one that comes twice the last counts.
    """
    return _read_signal(value) if len(value) <= LONGEST_VALUE else None


@functools.lru_cache(maxsize=128)
def _read_signal(value: bytes) -> Signal | None:
    value = value.strip(b" ")
    if not value:
        return NOTHING
    urgency: int | None = None
    incremental: bool | None = None
    position = 0
    while (member := _MEMBER.match(value, position)) is not None:
        key, bare, inner = member.groups()
        if key == b"u":
            urgency = int(bare) if bare is not None and re.fullmatch(rb"[0-7]", bare) else None
        elif key == b"i":
            absent = bare is None and inner is None
            incremental = True if absent else {b"?1": True, b"?0": False}.get(bare)
        position = member.end()
        if position == len(value):
            return Signal(urgency, incremental)
        comma = _COMMA.match(value, position)
        if comma is None:
            return None
        position = comma.end()
    return None


class Turns(Protocol):
    """Streams that may send, in the order of their turns: a deque, or :class:`PriorityTurns`."""

    def append(self, stream_id: int, /) -> None:
        """Give a stream a turn behind the others."""

    def appendleft(self, stream_id: int, /) -> None:
        """Give a stream the next turn."""

    def extend(self, stream_ids: Iterable[int], /) -> None:
        """Give streams a turn behind the others."""

    def popleft(self) -> int:
        """Take the stream whose turn it is."""

    def remove(self, stream_id: int, /) -> None:
        """Take a stream out."""

    def clear(self) -> None:
        """Take all out."""

    def __len__(self) -> int: ...


class _Level:
    """The streams of one urgency that may send."""

    __slots__ = ("line", "turns", "was_line")

    def __init__(self) -> None:
        self.line: list[int] = []
        """Those that go one after the other, the lowest number first (section 10)."""
        self.turns: deque[int] = deque()
        """Those that share. The first of the line shares with them."""
        self.was_line = False

    def __bool__(self) -> bool:
        return bool(self.line or self.turns)

    def pop(self) -> int:
        self.was_line = bool(self.line) and not (self.was_line and self.turns)
        return self.line.pop(0) if self.was_line else self.turns.popleft()


class PriorityTurns:
    """Streams that may send, the most urgent first.

    What a client or an application said of a stream is kept as long as ``is_known(stream_id)``:
    while the stream is open, or may still be opened.
    """

    def __init__(self, is_known: Callable[[int], bool]) -> None:
        self._is_known = is_known
        self._asked: dict[int, Signal] = {}
        """What the client said."""
        self._answered: dict[int, Signal] = {}
        """What the application said."""
        self._priorities: dict[int, Priority] = {}
        self._first: deque[int] = deque()
        """Streams that go on with their turn."""
        self._levels = [_Level() for _ in range(URGENCIES)]
        self._taken = 0
        """Turns so far."""
        self._served = [0] * URGENCIES
        """When a level had its last turn, in turns."""

    # ------------------------------------------------------------------------- as a deque

    def append(self, stream_id: int, /) -> None:
        """Give a stream a turn, by its priority."""
        urgency, takes_turns = self.priority(stream_id)
        level = self._levels[urgency]
        if takes_turns:
            level.turns.append(stream_id)
        else:
            insort(level.line, stream_id)

    def appendleft(self, stream_id: int, /) -> None:
        """Let a stream go on with its turn."""
        self._first.appendleft(stream_id)

    def extend(self, stream_ids: Iterable[int], /) -> None:
        """Give streams a turn each, by their priorities."""
        for stream_id in stream_ids:
            self.append(stream_id)

    def popleft(self) -> int:
        """Take the stream whose turn it is."""
        if self._first:
            return self._first.popleft()
        waiting = [urgency for urgency, level in enumerate(self._levels) if level]
        self._taken += 1
        urgency = waiting[0]
        if len(waiting) > 1 and self._taken % SHARE == 0:
            urgency = min(waiting[1:], key=self._served.__getitem__)
        self._served[urgency] = self._taken
        return self._levels[urgency].pop()

    def remove(self, stream_id: int, /) -> None:
        """Take a stream out.

        Raises:
            ValueError: it is not in here.
        """
        for waiting in self._all():
            if stream_id in waiting:
                waiting.remove(stream_id)
                return
        raise ValueError(f"stream {stream_id} has no turn")

    def clear(self) -> None:
        """Take all streams out."""
        for waiting in self._all():
            waiting.clear()

    def __len__(self) -> int:
        return sum(map(len, self._all()))

    def _all(self) -> Iterator[deque[int] | list[int]]:
        yield self._first
        for level in self._levels:
            yield level.line
            yield level.turns

    # ----------------------------------------------------------------------- priorities

    def priority(self, stream_id: int) -> Priority:
        """Return the priority of a stream."""
        return self._priorities.get(stream_id, _UNSAID)

    def asked(self, stream_id: int, signal: Signal, *, first: bool) -> None:
        """The client says something of a stream: in its request if ``first``, which what came in
        PRIORITY_UPDATE before that has overtaken (section 7)."""
        if not (first and stream_id in self._asked):
            self._say(self._asked, stream_id, signal)

    def answered(self, stream_id: int, signal: Signal) -> None:
        """The application says something of a stream."""
        self._say(self._answered, stream_id, signal)

    def _say(self, said: dict[int, Signal], stream_id: int, signal: Signal) -> None:
        if stream_id not in said and len(self._priorities) >= REMEMBERED:
            self._forget_closed()
            if len(self._priorities) >= REMEMBERED:
                return
        level = self._levels[self.priority(stream_id).urgency]
        waits = stream_id in level.line or stream_id in level.turns
        if waits:
            self.remove(stream_id)
        said[stream_id] = signal
        asked = self._asked.get(stream_id, NOTHING)
        answered = self._answered.get(stream_id, NOTHING)
        urgency = asked.urgency if answered.urgency is None else answered.urgency
        incremental = asked.incremental if answered.incremental is None else answered.incremental
        if incremental is None:
            incremental = stream_id not in self._asked  # a client that knows nothing of it all
        self._priorities[stream_id] = Priority(
            DEFAULT_URGENCY if urgency is None else urgency, incremental
        )
        if waits:
            self.append(stream_id)

    def _forget_closed(self) -> None:
        for stream_id in [i for i in self._priorities if not self._is_known(i)]:
            del self._priorities[stream_id]
            self._asked.pop(stream_id, None)
            self._answered.pop(stream_id, None)


_UNSAID = Priority()
