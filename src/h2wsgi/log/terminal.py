"""How the log looks on a terminal: columns of fixed width, and colours for what is important.

Any thread. The invariants: colours go around text that is printable already, so no peer can set
one; without colours the text is the same; and a file or a pipe gets none of this (NO_COLOR and
FORCE_COLOR change that, as in other programs).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from logging import LogRecord
from typing import TextIO

from ..process.clock import clock
from .text import MAX_METHOD, AccessRecord, printable, shown, time_of_day

RESET, BOLD, DIM = "\x1b[0m", "\x1b[1m", "\x1b[2m"
RED, GREEN, YELLOW = "\x1b[31m", "\x1b[32m", "\x1b[33m"
BLUE, CYAN, LOUD = "\x1b[34m", "\x1b[36m", "\x1b[1;31m"

MAX_SHOWN = 300
"""Characters of a path: some lines of a terminal."""
STATUSES = {1: CYAN, 2: GREEN, 3: CYAN, 4: YELLOW, 5: LOUD}
"""The colour of a status, by its first digit."""
LEVELS = {"debug": DIM, "warning": "\x1b[1;33m", "error": LOUD}
LABEL = re.compile(r"(?<=^\d\d:\d\d:\d\d  )(debug|warning|error)(?=: )")
ENDINGS = re.compile(r"\b(?:RST_STREAM|GOAWAY)\([^()\s]*\)")
"""Frames that end something, as the log names them."""
NOTABLE = re.compile(r"DEVELOPMENT CERTIFICATE.*")


def is_coloured(stream: TextIO | None) -> bool:
    """Return whether colours are wanted in ``stream``: it is a terminal, or FORCE_COLOR is set.

    NO_COLOR comes before it (no-color.org, force-color.org).
    """
    if os.environ.get("NO_COLOR") or stream is None:
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and is_terminal(stream)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether ``stream`` is a terminal; None and a closed stream are not."""
    try:
        return stream is not None and stream.isatty()
    except Exception:  # it is closed, or an application's object that can only be written to
        return False


def terminal_form(stream: TextIO | None) -> TerminalForm | None:
    """Return how the log looks on ``stream``; None if it is no terminal and not taken for one."""
    coloured = is_coloured(stream)
    if coloured or is_terminal(stream):
        return TerminalForm(colour=coloured)
    return None


class TerminalForm:
    """Makes the lines."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour
        self._dim, self._loud, self._reset = (DIM, LOUD, RESET) if colour else ("", "", "")
        self._statuses: dict[int, str] = {}
        """Each status that was shown, as it is shown; no more than three digits can make."""

    def access(self, record: AccessRecord) -> str:
        """Return a request: columns of fixed width first, then the path, then how it failed."""
        status = record.status
        client = f"{self._dim}#{record.connection:<3} {printable(record.remote):<15}{self._reset}"
        text = (
            f"{time_of_day(int(clock.time()))}  {client} "
            f"{self._statuses.get(status) or self._status(status)} "
            f"{shown(record.method, MAX_METHOD):<7}{_duration(record.seconds):>8} "
            f"{_size(record.octets):>9}  {shown(record.path, MAX_SHOWN)}"
        )
        if not record.outcome:
            return f"{text}\n"
        outcome = f"stream {record.stream_id}: {printable(record.outcome)}"
        return f"{text}  {self._loud}{outcome}{self._reset}\n"

    def _status(self, status: int) -> str:
        text = str(status or "---")
        if self._colour:
            text = f"{STATUSES.get(status // 100, LOUD)}{text}{RESET}"
        self._statuses[status] = text
        return text

    def event(self, make_text: Callable[[LogRecord], str]) -> Callable[[LogRecord], str]:
        """Return a function that makes the text of ``make_text`` in colour."""
        if not self._colour:
            return make_text
        return lambda record: self._painted(record, make_text(record))

    def _painted(self, record: LogRecord, text: str) -> str:
        first, newline, rest = text.partition("\n")
        if hasattr(record, "lines"):
            rest = NOTABLE.sub(lambda found: f"{YELLOW}{found[0]}{RESET}", rest)
            return f"{BOLD}{first}{RESET}{newline}{rest}"
        first = LABEL.sub(lambda found: f"{LEVELS[found[0]]}{found[0]}{RESET}", first)
        first = ENDINGS.sub(lambda found: f"{LOUD}{found[0]}{RESET}", first)
        return f"{first}{newline}{rest}"


def _duration(seconds: float) -> str:
    if seconds < 0.99995:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.1f} s" if seconds < 99.95 else f"{seconds:.0f} s"


def _size(octets: int) -> str:
    if octets < 1_000_000:
        return f"{octets:,} B"
    return f"{octets / 1e6:,.1f} MB" if octets < 1e9 else f"{octets / 1e9:,.1f} GB"
