"""Which frames a trace shows: ``headers,reset``, ``stream=5``, ``-window_update``. Pure.

Commas separate terms. A type that is named is shown, a type behind a minus is left out. Streams,
connections and directions narrow the choice. Octets that are not HTTP/2 are always shown.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from ...errors import ConfigurationError
from ..tap.frames import NOT_HTTP2, Direction, Frame
from ..tap.names import FRAMES

UNKNOWN = "unknown"
"""Stands for all types without a name."""
WINDOWS = "windows"
_TYPES = {name.lower(): frozenset({name}) for name in FRAMES.values()} | {
    # A sink gets fields with the last frame of their block.
    "headers": frozenset({"HEADERS", "CONTINUATION", "PUSH_PROMISE"}),
    "reset": frozenset({"RST_STREAM"}),
    "rst": frozenset({"RST_STREAM"}),
    "window": frozenset({"WINDOW_UPDATE"}),
    "push": frozenset({"PUSH_PROMISE"}),
    UNKNOWN: frozenset({UNKNOWN}),
}
_DIRECTIONS = {
    "received": Direction.RECEIVED,
    "recv": Direction.RECEIVED,
    "sent": Direction.SENT,
    "send": Direction.SENT,
}
_WORDS = ("all", "problems", WINDOWS, *_TYPES, *_DIRECTIONS, "stream=", "conn=")


@dataclass(frozen=True, slots=True)
class Filter:
    """Decides which frames are shown. An empty set lets all pass."""

    types: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    directions: frozenset[Direction] = frozenset()
    streams: frozenset[int] = frozenset()
    connections: frozenset[int] = frozenset()
    problems: bool = False
    """Only frames that have something wrong with them."""
    windows: bool = False
    """Whether the windows are shown as well, after each frame that may change them."""

    def shows(self, frame: Frame) -> bool:
        """Return whether the frame is shown."""
        if self.directions and frame.direction not in self.directions:
            return False
        if not self.shows_connection(frame.connection):
            return False
        if frame.type == NOT_HTTP2:
            return True
        name = frame.name if frame.type in FRAMES else UNKNOWN
        if name in self.without or (self.types and name not in self.types):
            return False
        if self.streams and frame.stream_id not in self.streams:
            return False
        return bool(frame.problems) or not self.problems

    def shows_connection(self, number: int) -> bool:
        """Return whether anything of a connection is shown."""
        return not self.connections or number in self.connections


def parse_filter(text: str) -> Filter:
    """Return the filter that ``text`` describes.

    Raises:
        ConfigurationError: naming the term that means nothing, and the nearest one that does.
    """
    types: set[str] = set()
    without: set[str] = set()
    directions: set[Direction] = set()
    numbers: dict[str, set[int]] = {"stream": set(), "conn": set()}
    problems = windows = False
    for written in filter(None, (part.strip() for part in text.split(","))):
        term = written.lower()
        name, equals, value = term.partition("=")
        key = "conn" if name == "connection" else name
        if equals and key in numbers and value.isascii() and value.isdecimal():
            numbers[key].add(int(value[:10]))
        elif term.startswith("-") and term[1:] in _TYPES:
            without |= _TYPES[term[1:]]
        elif term in _TYPES:
            types |= _TYPES[term]
        elif term in _DIRECTIONS:
            directions.add(_DIRECTIONS[term])
        elif term == "problems":
            problems = True
        elif term == WINDOWS:
            windows = True
        elif term != "all":
            raise _unknown(written, needs_number=key in numbers)
    return Filter(
        frozenset(types),
        frozenset(without),
        frozenset(directions),
        frozenset(numbers["stream"]),
        frozenset(numbers["conn"]),
        problems,
        windows or bool(types & _TYPES["window"]),
    )


def _unknown(written: str, needs_number: bool) -> ConfigurationError:
    example = (
        "For example --trace=headers,reset or --trace=all,windows or "
        "--trace=conn=1,stream=5; --trace alone shows every frame."
    )
    if needs_number:
        return ConfigurationError(
            f"The trace filter (--trace) has {written!r}, which names no number.", example
        )
    near = difflib.get_close_matches(written.lower().lstrip("-"), _WORDS, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return ConfigurationError(
        f"The trace filter (--trace) has {written!r}, which is no type of frame and no other term.",
        hint + example,
    )
