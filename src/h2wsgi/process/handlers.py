"""What a process finds at its start: signals that others handle, and a terminal. Any thread."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from .clock import clock

Handler = Callable[[int, FrameType | None], Any] | int | None

SAME_SIGNAL = 1.0
"""Seconds within which a signal that comes twice counts once: a supervisor (``timeout``, ``npm``, a
shell script) hands on what the terminal has sent to the whole group of processes."""


def found(names: tuple[str, ...]) -> dict[signal.Signals, Handler]:
    """Return the signals of these names that the system has, and their present handlers."""
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return {number: signal.getsignal(number) for number in numbers}


def free(names: tuple[str, ...]) -> dict[signal.Signals, Handler]:
    """Return those of the signals that nobody catches or ignores, and their present handlers."""
    caught = caught_by_anybody()
    return {number: handler for number, handler in found(names).items() if is_free(number, caught)}


def is_free(number: signal.Signals, caught: int) -> bool:
    """Return whether a signal has its default action; ``caught`` is the mask of those caught."""
    return signal.getsignal(number) == signal.SIG_DFL and not caught >> (number - 1) & 1


def unblock(numbers: Iterable[int]) -> set[int]:
    """Unblock these signals on this thread; return those of them that were blocked."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        return set()
    wanted = set(numbers)
    return wanted & signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)


def caught_by_anybody() -> int:
    """Return the mask of signals with a handler, even one in C (``faulthandler.register``).

    0 if the system does not tell.
    """
    try:
        with open("/proc/self/status", "rb") as status:
            return next((int(line[7:], 16) for line in status if line.startswith(b"SigCgt:")), 0)
    except OSError:
        return 0


def comes_again(number: int, first: int, at: float) -> bool:
    """Return whether a signal differs from ``first``, or comes too late to be its echo.

    ``at`` is when ``first`` came, by the monotonic clock.
    """
    return number != first or clock.monotonic() - at >= SAME_SIGNAL


def has_terminal() -> bool:
    """Return whether the process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
