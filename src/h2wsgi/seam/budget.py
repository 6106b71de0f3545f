"""Octets of one kind that the whole process holds (invariant 3), and each connection's share.

Written on the loop's thread alone; application threads only look at :attr:`Budget.full`.
"""

from __future__ import annotations

from collections.abc import Callable

from .guards import loop_thread


def nothing() -> None:
    """Tell nobody."""


class Budget:
    """Counts buffered octets against ``limit``.

    ``on_full`` is told when the limit is reached, ``on_relief`` when there is room again. ``kept``
    is what each connection may hold beyond the limit, whatever the others hold.
    """

    __slots__ = ("_on_full", "_on_relief", "_shares", "full", "kept", "limit", "used")

    def __init__(
        self,
        limit: int,
        on_relief: Callable[[], None],
        *,
        on_full: Callable[[], None] = nothing,
        kept: int = 0,
    ) -> None:
        self.limit = limit
        self.kept = kept
        self._on_full = on_full
        self._on_relief = on_relief
        self._shares: set[Share] = set()
        self.used = 0
        self.full = False

    def share(self) -> Share:
        """Return the part of a new connection."""
        share = Share(self)
        self._shares.add(share)
        return share

    @loop_thread
    def add(self, octets: int) -> None:
        """Count octets that were buffered."""
        self.used += octets
        if self.used >= self.limit and not self.full:
            self.full = True
            self._on_full()

    @loop_thread
    def release(self, octets: int) -> None:
        """Count octets that left. Relief comes at three quarters: worth the wake-ups it causes."""
        self.used -= octets
        if self.full and self.used < self.limit * 3 // 4:
            self.full = False
            self._on_relief()

    @loop_thread
    def forget(self, share: Share) -> None:
        """A connection has ended in the middle of something: count what the others hold."""
        self._shares.discard(share)
        self.release(self.used - sum(other.used for other in self._shares))


class Share:
    """What one connection holds of a budget."""

    __slots__ = ("_budget", "used")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.used = 0

    @property
    def full(self) -> bool:
        """True while the process holds all it may."""
        return self._budget.full

    def add(self, octets: int) -> None:
        """Count octets that were buffered."""
        self.used += octets
        self._budget.add(octets)

    def release(self, octets: int) -> None:
        """Count octets that left."""
        self.used -= octets
        self._budget.release(octets)

    def end(self) -> None:
        """The connection has ended, and holds nothing any more."""
        self._budget.forget(self)
