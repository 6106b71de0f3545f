"""``wsgi.input``: a request's content as a file that blocks until the client has sent enough.

Octets taken from the stream and not yet asked for stay in a buffer here, so nothing is lost
between mixed calls. Runs on the application's thread; not meant for several at once, as in any
WSGI server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..stream import Stream

STEP = 65_536
"""Octets to ask of the stream at a time where the caller sets no bound."""


class Input:
    """The file object of PEP 3333, plus ``read1`` and ``readinto`` as in ``io.BufferedReader``.

    ``on_first_read`` is called before the stream is first asked: that is when a client that sent
    ``Expect: 100-continue`` is told to go on.

    Every method raises ClientDisconnected (an OSError) when the client resets the stream, vanishes
    or sends too much; the end of the content is only ever the real end.
    """

    __slots__ = ("_buffer", "_ended", "_on_first_read", "_position", "_stream")

    def __init__(self, stream: Stream, on_first_read: Callable[[], None] | None = None) -> None:
        self._stream = stream
        self._on_first_read = on_first_read
        self._buffer = b""
        self._position = 0
        self._ended = False

    def read(self, size: int | None = -1) -> bytes:
        """Return ``size`` octets, fewer only at the end; all that remains without a size."""
        if size is None or size < 0:
            size = -1
        if size == 0:
            return b""
        left = STEP if size < 0 else size
        part = self._next(left, left)
        parts = []
        while part:
            parts.append(part)
            if size > 0:
                left -= len(part)
                if not left:
                    break
            part = self._next(left, left)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read1(self, size: int | None = -1) -> bytes:
        """Return what is there, at most ``size`` octets, waiting only for the first of them."""
        if size == 0:
            return b""
        return self._next(STEP if size is None or size < 0 else size)

    def readinto(self, target: bytearray | memoryview) -> int:
        """Fill ``target`` and return how many octets it got; 0 only at the end."""
        view = memoryview(target).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def readline(self, size: int | None = -1) -> bytes:
        """Return up to and including the next newline, at most ``size`` octets."""
        limit = -1 if size is None or size < 0 else size
        parts = []
        have = 0
        while limit < 0 or have < limit:
            if not self._fill(STEP):
                break
            stop = self._buffer.find(b"\n", self._position) + 1 or len(self._buffer)
            if limit >= 0:
                stop = min(stop, self._position + limit - have)
            part = self._buffer[self._position : stop]
            self._position = stop
            parts.append(part)
            have += len(part)
            if part.endswith(b"\n"):
                break
        return b"".join(parts)

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

    def _next(self, size: int, minimum: int = 1) -> bytes:
        """Return 1 to ``size`` octets from the buffer, filling it when it is empty.

        Less than ``minimum`` is of no use to the caller, who comes back for the rest.
        """
        if not self._fill(size, minimum):
            return b""
        start, stop = self._position, min(self._position + size, len(self._buffer))
        self._position = stop
        if start == 0 and stop == len(self._buffer):
            return self._buffer
        return self._buffer[start:stop]

    def _fill(self, wanted: int, minimum: int = 1) -> bool:
        """Make sure the buffer holds an octet; False at the end of the content."""
        if self._position < len(self._buffer):
            return True
        if self._ended:
            return False
        if self._on_first_read is not None:
            on_first_read, self._on_first_read = self._on_first_read, None
            on_first_read()
        self._buffer = self._stream.take(wanted, minimum)
        self._position = 0
        self._ended = not self._buffer or self._stream.input_exhausted
        return bool(self._buffer)


class EmptyInput(Input):
    """The content of a request without any. It never changes, so one does for all of them."""

    __slots__ = ()

    def __init__(self) -> None:
        self._on_first_read = None
        self._buffer = b""
        self._position = 0
        self._ended = True
