"""What a process finds of signals at its start: handlers of others, and a terminal. Any thread."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from .clock import clock

Handler = Callable[[int, FrameType | None], Any] | int | None

SAME_SIGNAL = 1.0
"""Seconds in which a signal may come twice and count once: a supervisor (``timeout``, ``npm``, a
shell script) hands on what the terminal has sent to the whole group of processes."""


def found(names: tuple[str, ...]) -> dict[signal.Signals, Handler]:
    """Return the signals of these names that the system has, and what is there now."""
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return {number: signal.getsignal(number) for number in numbers}


def free(names: tuple[str, ...]) -> dict[signal.Signals, Handler]:
    """Return those of the signals that nobody catches or ignores, and what is there now."""
    caught = caught_by_anybody()
    return {number: handler for number, handler in found(names).items() if is_free(number, caught)}


def is_free(number: signal.Signals, caught: int) -> bool:
    """Return whether nobody did anything about a signal; ``caught`` has those with handlers."""
    return signal.getsignal(number) == signal.SIG_DFL and not caught >> (number - 1) & 1


def unblock(numbers: Iterable[int]) -> set[int]:
    """Have this thread hear of these signals; return those of them that it would not have."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        return set()
    wanted = set(numbers)
    return wanted & signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)


def caught_by_anybody() -> int:
    """Return the mask of signals with a handler, in C too (``faulthandler.register``).

    0 where the system does not tell.
    """
    try:
        with open("/proc/self/status", "rb") as status:
            return next((int(line[7:], 16) for line in status if line.startswith(b"SigCgt:")), 0)
    except OSError:
        return 0


def comes_again(number: int, first: int, at: float) -> bool:
    """Return whether a signal is another than ``first``, which came ``at``, and not its echo.

    ``at`` is by the monotonic clock.
    """
    return number != first or clock.monotonic() - at >= SAME_SIGNAL


def has_terminal() -> bool:
    """Return whether the process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
