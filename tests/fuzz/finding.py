"""What the fuzzer looks for."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

TOO_LONG = 8.0
"""Seconds of CPU time after which a session is taken for an endless loop; most take some 0.03."""


class Finding(AssertionError):
    """The server did what it must not. ``rule`` says which rule it broke, in few words."""

    def __init__(self, rule: str, detail: object = "") -> None:
        super().__init__(f"{rule}: {detail}" if detail != "" else rule)
        self.rule = rule


def require(true: object, rule: str, detail: object = "") -> None:
    """Report a finding unless ``true``."""
    if not true:
        raise Finding(rule, detail)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Report a finding if what is done here computes for ever. Only the main thread is watched."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGPROF, _give_up)
    signal.setitimer(signal.ITIMER_PROF, TOO_LONG)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _give_up(*_: object) -> None:
    raise Finding("an endless loop", f"{TOO_LONG:g} s of CPU time")
