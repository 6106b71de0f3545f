"""``wsgi.input``: a request's content as a file that blocks until the client has sent enough.

Octets taken from the stream and not yet asked for stay in a buffer here, so nothing is lost between
mixed calls, nor by a call that raises: whatever it needs is gathered first, and leaves the buffer
as the very last thing. Runs on the application's thread; not meant for several at once, as in any
WSGI server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..seam.stream import Stream

STEP = 65_536
"""Octets to ask of the stream at a time where the caller sets no bound."""


class Input:
    """The file object of PEP 3333, plus ``read1`` and ``readinto`` as in ``io.BufferedReader``.

    ``on_first_read`` is called before the stream is first asked: that is when a client that sent
    ``Expect: 100-continue`` is told to go on.

    Every method raises ClientDisconnected (an OSError) when the client resets the stream, vanishes
    or sends too much; the end of the content is only ever the real end.
    """

    __slots__ = ("_buffer", "_ended", "_on_first_read", "_stream")

    def __init__(self, stream: Stream, on_first_read: Callable[[], None] | None = None) -> None:
        self._stream = stream
        self._on_first_read = on_first_read
        self._buffer: tuple[bytes, int, list[bytes]] = (b"", 0, [])
        """Octets, how many of them were returned, and the parts that follow. One object, so that
        nothing that strikes can leave half of a change."""
        self._ended = False

    def read(self, size: int | None = -1) -> bytes:
        """Return ``size`` octets, fewer only at the end; all that remains without a size."""
        left = -1 if size is None or size < 0 else size
        have = self._have()
        while left < 0 or have < left:
            missing = STEP if left < 0 else left - have
            if not (octets := self._fill(missing, missing)):
                break
            have += octets
        return self._take(have if left < 0 else min(have, left))

    def read1(self, size: int | None = -1) -> bytes:
        """Return what is there, at most ``size`` octets, waiting only for the first of them."""
        size = STEP if size is None or size < 0 else size
        have = self._have()
        if size and not have:
            have = self._fill(size)
        return self._take(min(have, size))

    def readinto(self, target: bytearray | memoryview) -> int:
        """Fill ``target`` and return how many octets it got; 0 only at the end."""
        view = memoryview(target).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def readline(self, size: int | None = -1) -> bytes:
        """Return up to and including the next newline, at most ``size`` octets."""
        limit = -1 if size is None or size < 0 else size
        have = 0
        index = -1  # of the next of the parts to search, behind the octets that stand before them
        while limit < 0 or have < limit:
            data, position, parts = self._buffer
            if index < 0:
                piece, start = data, position
            elif index < len(parts):
                piece, start = parts[index], 0
            elif self._fill(STEP):
                continue
            else:
                break
            index += 1
            if stop := piece.find(b"\n", start) + 1:
                have += stop - start
                break
            have += len(piece) - start
        return self._take(have if limit < 0 else min(have, limit))

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Return whole lines: all, or as many as first reach ``hint`` octets."""
        lines = []
        have = 0
        for line in self:
            lines.append(line)
            have += len(line)
            if hint is not None and 0 < hint <= have:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def _have(self) -> int:
        """Return how many octets the buffer holds."""
        data, position, parts = self._buffer
        return len(data) - position + sum(map(len, parts))

    def _fill(self, wanted: int, minimum: int = 1) -> int:
        """Have more octets in the buffer, and return how many; 0 at the end of the content.

        Less than ``minimum`` is of no use to the caller, who comes back for the rest.
        """
        if self._ended:
            return 0
        if self._on_first_read is not None:
            self._on_first_read()
            self._on_first_read = None
        octets = self._stream.take(self._buffer[2], wanted, minimum)
        self._ended = not octets or self._stream.input_exhausted
        return octets

    def _take(self, octets: int) -> bytes:
        """Take so many octets, which are there, out of the buffer."""
        data, position, parts = self._buffer
        stop = position + octets
        if stop > len(data):
            data = data[position:] + b"".join(parts) if data else b"".join(parts)
            position, stop, parts = 0, octets, []
        taken = data if octets == len(data) else data[position:stop]
        rest = (data, stop, parts) if stop < len(data) else (b"", 0, parts)
        # The last thing that is done, on the line that returns: what raises before takes nothing.
        return (taken, setattr(self, "_buffer", rest))[0]  # type: ignore[func-returns-value]


class EmptyInput(Input):
    """The content of a request without any. It never changes, so one does for all of them."""

    __slots__ = ()

    def __init__(self) -> None:
        self._on_first_read = None
        self._buffer = (b"", 0, [])
        self._ended = True
