"""When application threads that wait for content are woken: for a good piece of it at a time.

A thread that wakes while the loop still reads only waits for the interpreter, and comes back for
the next piece. So readers wait until the input is dry for a moment, which is at once unless the
client is as fast as we are, or until a good part of a stream's window is there. Loop thread only.
"""

from __future__ import annotations

from collections.abc import Callable

from ..stream import Stream

TURNS = 3
"""Turns of the loop after which readers are woken, however much goes on coming for others."""


class Readers:
    """The streams of a connection whose readers may go on.

    ``call_soon`` runs a callback in the loop's next turn; ``enough`` is how many octets wake a
    reader at the end of a slice of input, dry or not.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], None], enough: int) -> None:
        self._call_soon = call_soon
        self._enough = enough
        self._waiting: dict[Stream, None] = {}
        self._scheduled = False
        self.heard = False
        """Whether some came since the last look."""
        self._turns = 0

    def received(self, stream: Stream) -> None:
        """Content came for a stream whose application may be waiting for some."""
        self._waiting[stream] = None
        self.heard = True

    def slice_ended(self) -> None:
        """The loop is about to do something else: wake those that have enough."""
        for stream in [s for s in self._waiting if s.buffered >= self._enough]:
            del self._waiting[stream]
            stream.wake_reader()
        if self._waiting and not self._scheduled:
            self._turns = 0
            self._scheduled = True
            self._call_soon(self._look)

    def _look(self) -> None:
        """Wake all if nothing came in the last turn."""
        self._turns += 1
        if self.heard and self._turns < TURNS:
            self.heard = False
            self._call_soon(self._look)
            return
        self._scheduled = self.heard = False
        waiting, self._waiting = self._waiting, {}
        for stream in waiting:
            stream.wake_reader()
