"""What signals ask of a process that serves.

    SIGTERM, SIGINT, SIGQUIT  stop gracefully; another of them, or the same a second later, ends
                              the process at once
    SIGHUP                    open the log files anew, and read the certificates anew; but stop, as
                              SIGTERM does, if there was a terminal at the start, as its window was
                              closed
    SIGUSR1                   open the log files anew
    SIGUSR2                   nothing, which is said

Main thread. SIGTERM and SIGINT are always the server's. The others are if nobody catches or ignores
them at the start: an application, ``faulthandler`` or ``nohup`` have theirs. A forked child has the
handlers that were there before: a loop's do nothing but write to a pipe, which the parent hears.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from ..log.logs import Log, named
from ..process.forking import tell_in_child
from .ending import end_process

SAME_SIGNAL = 1.0
"""Seconds in which a signal may come twice and count once: a supervisor (``timeout``, ``npm``, a
shell script) hands on what the terminal has sent to the whole group of processes."""

ALWAYS = ("SIGINT", "SIGTERM")
IF_FREE = ("SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2")
"""Windows has none of them."""

Handler = Callable[[int, FrameType | None], Any] | int | None


class Signals:
    """The signals of one run of a server. Made before its loop, which comes with a handler too."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._found = _to_take()
        """What was there before, of the signals that are ours."""
        self._ours: dict[signal.Signals, Handler] = {}
        """What is there as long as it is ours."""
        self._has_terminal = _has_terminal()
        self._first: tuple[int, float] | None = None
        """What asked to stop first, and when by the monotonic clock."""
        tell_in_child(self)

    def listen(
        self,
        loop: asyncio.AbstractEventLoop,
        stop: Callable[[str], None],
        reload: Callable[[], bool],
    ) -> None:
        """Have ``stop`` called on the loop, with the name of the signal that asks for it.

        ``reload`` has the certificates read anew, and returns False if there are none.
        """

        def heard(number: int) -> None:
            self._heard(number, stop, reload)

        for number in self._found:
            try:
                loop.add_signal_handler(number, heard, number)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda n, _: loop.call_soon_threadsafe(heard, n))
            self._ours[number] = signal.getsignal(number)

    def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on without the loop, which is about to close."""
        for number in self._ours:
            # First, or uvloop would have its own handler stay for good.
            loop.remove_signal_handler(number)
            signal.signal(number, self._heard_late)
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

    def _heard(self, number: int, stop: Callable[[str], None], reload: Callable[[], bool]) -> None:
        name = signal.Signals(number).name
        if self._stops(name):
            if self._first is None:
                self._first = (number, time.monotonic())
                stop(name)
            else:
                self._heard_again(number)
        elif name == "SIGUSR2":
            self.log.events.warning(
                "SIGUSR2: nothing is done for it", extra=named("signal", signal=name)
            )
        else:
            self._reopen_files(name, reloads=name == "SIGHUP" and reload())

    def _heard_late(self, number: int, _frame: FrameType | None) -> None:
        """The server has stopped, and the process is about to end: nothing else can be done."""
        if self._stops(signal.Signals(number).name):
            self._heard_again(number)

    def _stops(self, name: str) -> bool:
        return name in (*ALWAYS, "SIGQUIT") or (name == "SIGHUP" and self._has_terminal)

    def _heard_again(self, number: int) -> None:
        first, at = self._first or (0, 0.0)
        if number != first or time.monotonic() - at >= SAME_SIGNAL:
            name = signal.Signals(number).name
            extra = named("signal", signal=name)
            self.log.events.warning("%s again: ending at once", name, extra=extra)
            self.log.close()
            end_process(128 + number)

    def _reopen_files(self, name: str, *, reloads: bool) -> None:
        paths = self.log.reopen_files()
        self.log.events.info(
            "%s: %s%s",
            name,
            f"opening {' and '.join(paths)} anew"
            if paths
            else "no log goes to a file (--access-log-file, --trace-file), so none is opened anew",
            "; reading the certificates anew" if reloads else "",
            extra=named("signal", signal=name),
        )


def _to_take() -> dict[signal.Signals, Handler]:
    """Return the signals that are to be ours, and what is there now."""
    found: dict[signal.Signals, Handler] = {}
    caught = _caught_by_anybody()
    for name in (*ALWAYS, *IF_FREE):
        if (number := getattr(signal, name, None)) is not None:
            handler = signal.getsignal(number)
            is_free = handler == signal.SIG_DFL and not caught >> (number - 1) & 1
            if name in ALWAYS or is_free:
                found[number] = handler
    return found


def _caught_by_anybody() -> int:
    """Return the mask of signals with a handler, in C too (``faulthandler.register``).

    0 where the system does not tell.
    """
    try:
        with open("/proc/self/status", "rb") as status:
            return next((int(line[7:], 16) for line in status if line.startswith(b"SigCgt:")), 0)
    except OSError:
        return 0


def _has_terminal() -> bool:
    """Return whether the process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
