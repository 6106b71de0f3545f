"""What workers know of each other: how many connections each has, and that each still runs.

Numbers in memory that a supervisor and its workers share. A worker has one row and writes no other.
Any thread. The invariant: each number is one machine word and written by one process at a time, so
there are no locks, which a process that dies could leave locked.
"""

from __future__ import annotations

import mmap
import os

ROWS = 1024
"""Workers that there can be at once: four times as many as may be asked for. A reload doubles them,
and may come before those of the last reload have ended."""
WORD = 8
AWAY = 2**62
"""In place of a number of connections: this worker accepts none, and counts as having the most."""


class Shares:
    """The rows of all workers. Word 0 is how many rows, from the first on, were ever used."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, (1 + 2 * ROWS) * WORD)
        words = memoryview(self._memory).cast("q")
        self._used = words[:1]
        self._connections = words[1 : 1 + ROWS]
        self._beats = words[1 + ROWS :]

    @classmethod
    def make(cls) -> Shares:
        """Make rows, all of which are free."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("h2wsgi-shares")
        else:  # macOS
            import tempfile

            descriptor, path = tempfile.mkstemp(prefix="h2wsgi-")
            os.unlink(path)
        try:
            os.ftruncate(descriptor, (1 + 2 * ROWS) * WORD)
            shares = cls(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        for row in range(ROWS):
            shares._connections[row] = AWAY
        return shares

    def reserve(self, row: int) -> None:
        """Have all workers look at this row too, whose worker accepts nothing yet."""
        self._used[0] = max(self._used[0], row + 1)
        self._connections[row] = AWAY

    def free(self, row: int) -> None:
        """Forget the worker of this row, which has ended."""
        self._connections[row] = AWAY

    def connections(self, row: int) -> int:
        """Return how many connections the worker of this row has, or AWAY."""
        return self._connections[row]

    def beats(self, row: int) -> int:
        """Return how many turns the loop of this worker has noted."""
        return self._beats[row]

    def place(self, row: int) -> Place:
        """Return the row of a worker, for itself."""
        return Place(row, self._used, self._connections, self._beats)

    def close(self) -> None:
        """Release the memory, after which no Place of it may be used."""
        for words in (self._used, self._connections, self._beats):
            words.release()
        self._memory.close()
        os.close(self.descriptor)


class Place:
    """What one worker knows of the others, and tells them of itself."""

    def __init__(
        self, row: int, used: memoryview, connections: memoryview, beats: memoryview
    ) -> None:
        self._row = row
        self._used = used
        self._connections = connections
        self._beats = beats

    def count(self, connections: int) -> None:
        """Note how many connections there are."""
        self._connections[self._row] = connections

    def leave(self) -> None:
        """Note that nothing is accepted any more."""
        self._connections[self._row] = AWAY

    @property
    def has_more_than_another(self) -> bool:
        """Whether some other worker has fewer connections."""
        return self._connections[self._row] > min(self._connections[: self._used[0]])

    def beat(self) -> None:
        """Note that the loop has turned."""
        self._beats[self._row] += 1
