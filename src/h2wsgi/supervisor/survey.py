"""Asks workers what they count, when somebody wants to know.

Main thread, except :meth:`Survey.ask_threadsafe`. The invariants: a worker has at most one question
to answer, and is waited for no longer than PATIENCE, so one that hangs is waited for once; what a
worker has said counts until it says something else, or ends.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from ..process.clock import clock
from .child import Child, State

PATIENCE = 2.0
"""Seconds after which a worker that does not answer counts as hanging."""


@dataclass(frozen=True, slots=True)
class Workers:
    """How many workers there are in each state, and how many there should be."""

    states: dict[str, int]
    wanted: int
    is_stopping: bool


Told = Callable[[Workers], None]
"""What to call once all workers that will answer have done so."""
Ask = Callable[[Told], None]


class Meter(Protocol):
    """Adds up what workers count, and shows it."""

    url: str
    """Where it is shown."""

    def start(self, ask: Ask) -> None:
        """Begin to show it; ``ask`` may be called on any thread."""

    def reported(self, worker: int, samples: dict[str, Any]) -> None:
        """The worker with this process number has said what it has counted since its start."""

    def ended(self, worker: int) -> None:
        """A worker says nothing more; its number may be used again."""

    def replaced(self, reason: str, workers: int) -> None:
        """So many workers were replaced."""

    def is_quiet(self) -> bool:
        """Take no requests from now on; return whether all that came are answered."""

    def go_on(self) -> None:
        """Take requests again."""

    def handed_over(self) -> dict[str, int]:
        """Return the descriptors with which a successor goes on."""

    def close(self) -> None:
        """Show it no longer."""


class Survey:
    """Rounds of questions, one after the other; each serves all that asked before it began."""

    def __init__(self, meter: Meter, wake_threadsafe: Callable[[], None]) -> None:
        self._meter = meter
        self._wake_threadsafe = wake_threadsafe
        self._next: deque[Told] = deque()
        """What to call after the next round."""
        self._now: list[Told] = []
        """What to call after the round that is under way."""
        self._waits_for: set[Child] = set()
        self._until = 0.0

    def ask_threadsafe(self, told: Told) -> None:
        """Have ``told`` called on the main thread, soon."""
        self._next.append(told)
        self._wake_threadsafe()

    @property
    def moment(self) -> float | None:
        """When the round ends even if a worker has not answered, by the monotonic clock."""
        return self._until if self._now else None

    def reported(self, child: Child, message: dict[str, Any]) -> None:
        """A worker has said what it counts."""
        self._meter.reported(child.pid, message["samples"])
        child.asked_at = None
        child.answers = not message["last"]
        self._waits_for.discard(child)

    def ended(self, child: Child) -> None:
        """A worker has ended, or its channel has."""
        self._waits_for.discard(child)

    def turn(self, children: Iterable[Child], wanted: int, is_stopping: bool) -> None:
        """Begin and end rounds."""
        now = clock.monotonic()
        if self._now and (not self._waits_for or now >= self._until):
            self._tell(children, wanted, is_stopping)
        if self._next and not self._now:
            while self._next:
                self._now.append(self._next.popleft())
            self._waits_for = {child for child in children if child.answers and child.ask()}
            self._until = clock.monotonic() + PATIENCE
            if not self._waits_for:
                self._tell(children, wanted, is_stopping)

    def _tell(self, children: Iterable[Child], wanted: int, is_stopping: bool) -> None:
        workers = Workers(Counter(map(_state, children)), wanted, is_stopping)
        for_whom, self._now = self._now, []
        for told in for_whom:
            told(workers)


def _state(child: Child) -> str:
    """Return the state of a worker in a word."""
    asked = child.asked_at
    if child.state is State.SERVING and asked is not None:
        # It may still answer what it was asked just now, but not what a round waited for in vain.
        return "hanging" if clock.monotonic() - asked >= PATIENCE else "serving"
    return child.state.name.lower()
