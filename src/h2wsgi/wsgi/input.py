"""``wsgi.input``: a request's content as a file that blocks until the client has sent enough.

One kind of object whatever the request and the timing: no content, content that came whole, content
still to come. Octets taken from the stream and not yet asked for stay in a buffer here, so nothing
is lost between mixed calls, nor by a call that raises: what a call returns is gathered first, and
leaves the buffer as its very last step. Runs on the application's thread; not meant for several
threads at once, as in any WSGI server.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from operator import index
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STEP = 65_536
"""Octets to ask of the stream at a time where the caller sets no bound."""
NO_PARTS: list[bytes] = []
"""The parts in the buffer of an open file whose content is all there. Never changed."""
NOTHING: tuple[bytes, int, list[bytes]] = (b"", 0, NO_PARTS)
CLOSED: tuple[bytes, int, list[bytes]] = (b"", 0, [])


class Source(Protocol):
    """The source of content that is not all there yet: a Stream."""

    def take(self, parts: list[bytes], wanted: int, minimum: int = 1) -> int:
        """Append content to ``parts`` and return how many octets; 0 only at the end."""

    @property
    def input_exhausted(self) -> bool:
        """True once all was taken, and nothing more can come."""


class Input(io.BufferedIOBase):
    """The file object of PEP 3333, with all that ``io.BufferedIOBase`` promises for reading.

    ``content`` is what is there already; the rest is to come from ``source``, if there is one.
    ``on_first_read`` is called before the source is first asked: that is when a client that sent
    ``Expect: 100-continue`` is told to go on.

    Every method raises ClientDisconnected (an OSError) when the client resets the stream, vanishes
    or sends too much; the end of the content is only ever the real end.
    """

    __slots__ = ("_buffer", "_ended", "_on_first_read", "_source", "closed")

    closed: bool
    _buffer: tuple[bytes, int, list[bytes]]
    """Octets, how many of them were returned, and the parts that follow. One object, so that
    no exception can leave a change half made."""
    _ended: bool
    """Whether all that there will be is in the buffer."""

    def __init__(
        self,
        content: bytes = b"",
        source: Source | None = None,
        on_first_read: Callable[[], None] | None = None,
    ) -> None:
        self.closed = False
        self._source = source
        self._on_first_read = on_first_read
        self._ended = source is None
        self._buffer = (content, 0, NO_PARTS if self._ended else [])

    # IOBase's own finalizer would close the object: 0.2 us a request for nothing, as there is
    # nothing to release. `int` is in C, so that no exception can strike a line of it.
    __del__ = int  # type: ignore[assignment]

    def read(self, size: int | None = -1, /) -> bytes:
        """Return ``size`` octets, fewer only at the end; all that remains without a size."""
        data, position, parts = self._buffer
        if (
            self._ended
            and parts is NO_PARTS
            and not position
            and (size is None or (type(size) is int and (size < 0 or size >= len(data))))
        ):
            # Most requests read all at once. One line without a call: see the top.
            self._buffer = NOTHING; return data  # fmt: skip  # noqa: E702
        left = -1 if size is None else index(size)
        have = self._have()
        while left < 0 or have < left:
            missing = STEP if left < 0 else left - have
            if not (octets := self._fill(missing, missing)):
                break
            have += octets
        return self._take(have if left < 0 else min(have, left))

    def read1(self, size: int | None = -1, /) -> bytes:
        """Return what is there, at most ``size`` octets, waiting only for the first of them."""
        size = STEP if size is None or (size := index(size)) < 0 else size
        have = self._have()
        if size and not have:
            have = self._fill(size)
        return self._take(min(have, size))

    def peek(self, size: int | None = 0, /) -> bytes:
        """Return what is there and leave it there, waiting only for the first octet.

        As with ``io.BufferedReader``, it may be more or less than ``size``.
        """
        if not self._have():
            self._fill(STEP)
        data, position, parts = self._buffer
        return data[position:] or b"".join(parts)

    def readinto(self, target: WriteableBuffer, /) -> int:
        """Fill ``target`` and return how many octets it got; 0 only at the end."""
        return self._read_into(target, self.read)

    def readinto1(self, target: WriteableBuffer, /) -> int:
        """Put what is there into ``target``, waiting only for the first octet of it."""
        return self._read_into(target, self.read1)

    def _read_into(self, target: WriteableBuffer, read: Callable[[int], bytes]) -> int:
        view = memoryview(target).cast("B")
        if view.readonly:
            raise TypeError("a read-only buffer cannot be read into")
        data = read(len(view))
        view[: len(data)] = data
        return len(data)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return up to and including the next newline, at most ``size`` octets."""
        limit = -1 if size is None else index(size)
        have = 0
        at = -1  # the next part to search; -1 stands for the octets before the parts
        self._require_open()
        while limit < 0 or have < limit:
            data, position, parts = self._buffer
            if at < 0:
                piece, start = data, position
            elif at < len(parts):
                piece, start = parts[at], 0
            elif self._fill(STEP):
                continue
            else:
                break
            at += 1
            if stop := piece.find(b"\n", start) + 1:
                have += stop - start
                break
            have += len(piece) - start
        return self._take(have if limit < 0 else min(have, limit))

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """Return whole lines: all, or as many as first reach ``hint`` octets."""
        lines = []
        have = 0
        for line in self:  # IOBase's own iterator: readline until it returns nothing
            lines.append(line)
            have += len(line)
            if hint is not None and 0 < hint <= have:
                break
        return lines

    def readable(self) -> bool:
        """Return True; IOBase itself says what cannot be done."""
        self._require_open()
        return True

    def close(self) -> None:
        """Read no further. Content that still comes is dropped when the request ends."""
        if not self.closed:
            self.closed = True
            self._buffer = CLOSED
            super().close()

    def _require_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def _have(self) -> int:
        """Return how many octets the buffer holds."""
        self._require_open()
        data, position, parts = self._buffer
        have = len(data) - position
        return have + sum(map(len, parts)) if parts else have

    def _fill(self, wanted: int, minimum: int = 1) -> int:
        """Put more octets into the buffer and return how many; 0 at the end of the content.

        Fewer than ``minimum`` are of no use to the caller, who comes back for the rest.
        """
        if self._ended or self._source is None:
            return 0
        if self._on_first_read is not None:
            self._on_first_read()
            self._on_first_read = None
        octets = self._source.take(self._buffer[2], wanted, minimum)
        self._ended = not octets or self._source.input_exhausted
        return octets

    def _take(self, octets: int) -> bytes:
        """Take so many octets out of the buffer, which has them."""
        data, position, parts = self._buffer
        stop = position + octets
        if stop > len(data):
            data = data[position:] + b"".join(parts) if data else b"".join(parts)
            position, stop, parts = 0, octets, []
        taken = data if octets == len(data) else data[position:stop]
        rest = (data, stop, parts) if stop < len(data) else (b"", 0, parts)
        # As the last step, on the line that returns: an exception before it takes nothing out.
        return (taken, setattr(self, "_buffer", rest))[0]  # type: ignore[func-returns-value]


class EmptyInput(Input):
    """The input of a request without content, as most are: it is made in half the time (0.1 us).

    Its attributes begin as those of the class.
    """

    __init__ = object.__init__
    closed = False
    _buffer = NOTHING
    _ended = True
    _source = _on_first_read = None
