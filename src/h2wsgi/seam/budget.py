"""Octets of one kind that the whole process holds (invariant 3).

Written on the loop's thread alone; application threads only look at :attr:`Budget.full`.
"""

from __future__ import annotations

from collections.abc import Callable

from .guards import loop_thread


class Budget:
    """Counts buffered octets against ``limit``; ``on_relief`` is told when there is room again."""

    __slots__ = ("_on_relief", "full", "limit", "used")

    def __init__(self, limit: int, on_relief: Callable[[], None]) -> None:
        self.limit = limit
        self._on_relief = on_relief
        self.used = 0
        self.full = False

    @loop_thread
    def add(self, octets: int) -> None:
        """Count octets that were buffered."""
        self.used += octets
        if self.used >= self.limit:
            self.full = True

    @loop_thread
    def release(self, octets: int) -> None:
        """Count octets that left. Relief comes at three quarters: worth the wake-ups it causes."""
        self.used -= octets
        if self.full and self.used < self.limit * 3 // 4:
            self.full = False
            self._on_relief()
