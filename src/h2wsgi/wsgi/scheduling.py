"""How application threads leave the CPU and the interpreter to the loop, and to each other."""

from __future__ import annotations

import contextlib
import os
import sys

CPYTHON_INTERVAL = 0.005
"""CPython's own switch interval, in seconds."""
FEW_THREADS = 4
"""Threads up to which the switch interval stays as it was found."""


def leave_the_cpu_to_the_loop() -> None:
    """Keep the calling thread from pushing the loop off the CPU at the moment it is woken.

    The loop still holds the interpreter then, so the thread could do nothing but wait for it.
    Only Linux has such a scheduling class, which is otherwise like the ordinary one. What the
    application starts inherits it. (A request at a time, on one CPU: 115 us without, 100 with.)
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(0) == os.SCHED_OTHER:  # any other is somebody's choice
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class SwitchInterval:
    """The interpreter's switch interval, longer the more threads there are.

    A thread that waits for the interpreter wakes after each interval to ask for it. A hundred
    threads that come out of a sleep together would do little else. An interval that is not shorter
    than CPython's is left alone.
    """

    def __init__(self) -> None:
        self._found = sys.getswitchinterval()

    def fit(self, threads: int) -> None:
        """Set what suits ``threads``; 0 sets what was there in the beginning."""
        if self._found < CPYTHON_INTERVAL:
            longer = self._found * max(1.0, threads / FEW_THREADS)
            sys.setswitchinterval(min(longer, CPYTHON_INTERVAL))
