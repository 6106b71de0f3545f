"""What signals ask of a process that serves: to stop, or to end at once.

Main thread. A forked child has the handlers that were there before, or it could not be stopped: a
loop's handlers do nothing but write to a pipe, which the parent would hear.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from ..forking import tell_in_child
from ..log.logs import Log

SAME_SIGNAL = 1.0
"""Seconds in which a signal may come twice and count once: a supervisor (``timeout``, ``npm``, a
shell script) hands on what the terminal has sent to the whole group of processes."""

STOPPING = (signal.SIGINT, signal.SIGTERM)

Handler = Callable[[int, FrameType | None], Any] | int | None


class Signals:
    """The signals of one run of a server. Made before its loop, which comes with a handler too."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._found: dict[signal.Signals, Handler] = {n: signal.getsignal(n) for n in STOPPING}
        """What was there before."""
        self._ours: dict[signal.Signals, Handler] = {}
        """What is there as long as it is ours."""
        self._first: tuple[int, float] | None = None
        """What asked to stop first, and when by the monotonic clock."""
        tell_in_child(self)

    def listen(self, loop: asyncio.AbstractEventLoop, stop: Callable[[str], None]) -> None:
        """Have ``stop`` called on the loop, with the name of the signal that asks for it."""

        def heard(number: int) -> None:
            self._heard(number, stop)

        for number in self._found:
            try:
                loop.add_signal_handler(number, heard, number)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda n, _: loop.call_soon_threadsafe(heard, n))
            self._ours[number] = signal.getsignal(number)

    def restore(self) -> None:
        """Put back what was there before, but for what somebody has changed since."""
        for number, handler in self._ours.items():
            if signal.getsignal(number) == handler:
                found = self._found[number]
                signal.signal(number, signal.SIG_DFL if found is None else found)
        self._ours.clear()

    def forked(self) -> None:
        """See Forkable."""
        if self._ours:
            signal.set_wakeup_fd(-1)
            self.restore()

    def _heard(self, number: int, stop: Callable[[str], None]) -> None:
        name = signal.Signals(number).name
        if self._first is None:
            self._first = (number, time.monotonic())
            stop(name)
        elif number != self._first[0] or time.monotonic() - self._first[1] >= SAME_SIGNAL:
            self._log.events.warning("%s again: ending at once", name)
            self._log.close()
            os._exit(128 + number)
