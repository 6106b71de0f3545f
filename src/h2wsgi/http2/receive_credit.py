"""Octets taken -> WINDOW_UPDATE (RFC 9113 section 5.2). Pure.

Credit is returned in steps of half the window: few frames, and the peer always has the other
half to go on with.
"""

from __future__ import annotations


class ReceiveCredit:
    """The credit owed to the peer for one window of ``window`` octets."""

    __slots__ = ("owed", "step")

    def __init__(self, window: int) -> None:
        self.step = max(1, window // 2)
        self.owed = 0
        """Octets taken and not yet announced."""

    def taken(self, octets: int) -> int:
        """Count octets that left the window; return the increment to announce now, or 0."""
        self.owed += octets
        if self.owed < self.step:
            return 0
        due, self.owed = self.owed, 0
        return due
