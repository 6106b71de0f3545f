"""Content that has to be whole before its application begins, and lies in a file until it is read.

All requests share one file, a block at a time, so that no number of descriptors bounds how many of
them may wait. Three threads touch it. The loop's hands octets over, a batch at a time; the one
thread of the :class:`Spool` opens, writes and closes, so that no disk ever holds up the loop; the
application's reads, once all is written. Who is done with a content, whoever that is and whatever
happened, and be it that all of it was read, calls :meth:`Spooled.release`: its octets are counted
until its blocks are free. The file is as long as its last block that is taken, and closed when none
is. It has no name, so it goes with the process at the latest.
"""

from __future__ import annotations

import contextlib
import os
import queue
import tempfile
import threading
import weakref
from array import array
from collections.abc import Callable, Iterable

from ..errors import ClientDisconnected, StreamBroken
from ..process import forking
from . import guards
from .guards import application_thread, loop_thread

BLOCK = 4_096
"""Octets of a block: as file systems have them, so small contents take no more disk than alone."""

guards.may_hold_locks(__file__)


class SpoolFull(Exception):
    """The file holds all it may."""


class Gathered:
    """What there is of a request's content whose length nobody has told.

    The loop's thread gathers it, see http2/gathering.py; the application's finds it whole.
    """

    __slots__ = (
        "chunks",
        "octets",
        "spooled",
        "started",
        "uncredited",
        "waiting",
        "writing",
        "written_at",
    )

    def __init__(self) -> None:
        self.octets = 0
        """Octets of it, all in all."""
        self.spooled: Spooled | None = None
        """Where it is, if not in memory."""
        # loop thread only
        self.chunks: list[bytes] = []
        self.waiting = 0
        """Octets in them."""
        self.writing = 0
        """Octets that are on their way into the file."""
        self.uncredited = 0
        """Octets for which the stream's window was not opened again."""
        self.started = False
        """Whether it is whole, and its request waits for a thread or has one."""
        self.written_at = 0.0
        """When some of it was last written to the file, by the monotonic clock."""


class Blocks:
    """A temporary file in blocks. The spool's thread alone, but for ``read``."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self._lock = threading.RLock()
        """For systems that cannot read or write at a place (Windows)."""
        self._taken = bytearray()
        """An octet for each block."""
        self._none_free_below = 0

    @property
    def any_taken(self) -> bool:
        """True while somebody has a block."""
        return bool(self._taken)

    def take(self, numbers: array[int]) -> None:
        """Take the first block that is free, and append its number."""
        number = self._taken.find(0, self._none_free_below)
        if number < 0:
            number = len(self._taken)
            self._taken.append(1)
        else:
            self._taken[number] = 1  # first: better lost, until all are free, than given twice
        numbers.append(number)
        self._none_free_below = number + 1

    def free(self, numbers: Iterable[int]) -> None:
        """Give blocks back; those at the end to the disk."""
        for number in numbers:
            self._taken[number] = 0
            self._none_free_below = min(self._none_free_below, number)
        if self._taken and not self._taken[-1]:
            length = len(self._taken.rstrip(b"\0"))
            del self._taken[length:]
            with contextlib.suppress(OSError):  # it only stays as long as it is
                self._file.truncate(length * BLOCK)

    def write(self, data: memoryview, place: int) -> int:
        """Write what the disk takes of ``data`` at a place; return how many octets."""
        if hasattr(os, "pwrite"):
            return os.pwrite(self._file.fileno(), data, place)
        with self._lock:
            self._file.seek(place)
            return self._file.write(data)

    def read(self, octets: int, place: int) -> bytes:
        """Read at a place. Any thread."""
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), octets, place)
        with self._lock:
            self._file.seek(place)
            return self._file.read(octets)

    def close(self) -> None:
        """Give back all of it, or a child's copy."""
        with contextlib.suppress(OSError):  # it is gone all the same
            self._file.close()


class Spooled:
    """One request's content in the file.

    ``written`` is called on the spool's thread when a batch was written, or failed to be.
    """

    __slots__ = (
        "__weakref__", "_batch", "_blocks", "_lock", "_numbers", "_octets", "_position",
        "_promised", "_released", "_spool", "_torn", "_written", "error", "reserved",
    )  # fmt: skip

    def __init__(self, spool: Spool, written: Callable[[], None]) -> None:
        # immutable
        self._spool = spool
        self._written = written
        # loop thread only
        self._promised = 0
        """Octets that it has got to write, written or not."""
        # any thread
        self._released = False
        self._batch: list[bytes] = []
        """What is to be written. The next is handed over when it was."""
        self.error: Exception | None = None
        """Why it could not be."""
        self.reserved = 0
        """Octets of its blocks, counted against the spool's limit, under its lock."""
        # under the lock, which is held as long as a disk may take
        self._lock = threading.RLock()
        self._blocks: Blocks | None = None
        self._numbers: array[int] = array("Q")
        """The blocks that it has, in the order of its octets."""
        self._octets = 0
        # the application's thread only
        self._position = 0
        self._torn = False
        """Whether something struck between what was read and the position that says so."""

    @loop_thread
    def write(self, batch: list[bytes], octets: int) -> None:
        """Have so many octets written behind the others.

        Raises:
            SpoolFull: not these as well.
        """
        self._spool.reserve(self, self._promised + octets)
        self._promised += octets
        self._batch = batch
        self._spool.look_at(self)

    def release(self) -> None:
        """Give the disk back. May be called again, and on any thread."""
        self._batch = []
        self._released = True
        self._spool.look_at(self)

    def work(self) -> None:
        """Do what there is to do, on the spool's thread."""
        with self._lock:
            batch, self._batch = self._batch, []
            if not self._released:
                try:
                    self._write(memoryview(b"".join(batch)))
                except Exception as error:
                    self.error = error
        if self._released:
            with self._lock:
                self._blocks, numbers, self._numbers = None, self._numbers, array("Q")
            self._spool.closed(self, numbers)
        else:
            self._written()

    def _write(self, data: memoryview) -> None:
        blocks = self._blocks = self._spool.blocks()
        while len(self._numbers) * BLOCK < self._octets + len(data):
            blocks.take(self._numbers)
        while data:
            place, octets = self._run(self._octets, len(data))
            written = blocks.write(data[:octets], place)
            self._octets += written
            data = data[written:]

    def _run(self, position: int, octets: int) -> tuple[int, int]:
        """Return where octets are in the file, and how many of them one behind the other."""
        index = position // BLOCK
        first = self._numbers[index]
        end = index + 1
        while end * BLOCK < position + octets and self._numbers[end] == first + end - index:
            end += 1
        return first * BLOCK + position % BLOCK, min(octets, end * BLOCK - position)

    def forked(self) -> None:
        """The process is a child, in which no request goes on."""
        self._lock = threading.RLock()
        self._released = True
        self._blocks = None

    @application_thread
    def take(self, parts: list[bytes], wanted: int, minimum: int = 1) -> int:
        """Read content behind ``parts``, at most ``wanted`` octets; 0 only at the end.

        What was read to its end is given back: the response may be long, its client slow.

        Raises:
            ClientDisconnected: the request is over.
        """
        with self._lock:
            if self._torn:
                raise StreamBroken("an exception struck in the middle of a read")
            if self.input_exhausted or not wanted:
                return 0
            if self._blocks is None or self._released:
                raise ClientDisconnected("the request is over")
            place, octets = self._run(self._position, min(wanted, self._octets - self._position))
            data = self._blocks.read(octets, place)
            if not (octets := len(data)):
                raise OSError("a temporary file has become shorter")
            self._torn = True
            parts.append(data)
            self._position += octets
            self._torn = False
        if self._position == self._octets:
            self.release()
        return octets

    @property
    def input_exhausted(self) -> bool:
        """True once the application has taken all there was."""
        return self._position == self._octets


class Spool:
    """What a server has in its file, and the thread that works on it, which is there as needed.

    ``limit`` is how many octets there may be, 0 for any.
    """

    def __init__(self, limit: int) -> None:
        # immutable
        self._limit = limit
        self._jobs: queue.SimpleQueue[Spooled] = queue.SimpleQueue()
        # its own thread only
        self._blocks: Blocks | None = None
        # under the lock
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[Spooled] = weakref.WeakSet()
        """Weak, as something may strike before anybody has a new one to give back."""
        self._thread: threading.Thread | None = None
        """The one that is there, or is about to be."""
        self.used = 0
        """Octets of the blocks that are taken, or about to be."""
        forking.tell_in_child(self)

    def forked(self) -> None:
        """See Forkable. A copy of the file would keep its disk taken as long as the child lives."""
        self._lock = threading.Lock()
        self._jobs = queue.SimpleQueue()
        self._thread = None
        self.used = 0
        contents, self._open = self._open, weakref.WeakSet()
        for content in list(contents):
            content.forked()
        blocks, self._blocks = self._blocks, None
        if blocks is not None:
            blocks.close()

    @loop_thread
    def keep(self, written: Callable[[], None]) -> Spooled:
        """Return what is to hold a new content; see Spooled.

        Raises:
            RuntimeError: the system has no thread to give.
        """
        content = Spooled(self, written)
        with self._lock:
            self._open.add(content)
            thread = self._thread  # which does not end from here on
        if thread is None or not thread.is_alive():
            thread = threading.Thread(target=self._live, name="h2wsgi-files", daemon=True)
            self._thread = thread
            try:
                thread.start()
            except RuntimeError:
                self._forget(content)
                raise
        return content

    @property
    def contents(self) -> int:
        """How many requests have something there."""
        return len(self._open)

    def reserve(self, content: Spooled, octets: int) -> None:
        """Count the blocks that a content of so many octets takes, all in all.

        Raises:
            SpoolFull: that would be too many.
        """
        reserved = -(-octets // BLOCK) * BLOCK
        with self._lock:
            used = self.used - content.reserved + reserved
            if self._limit and used > self._limit:
                raise SpoolFull(f"temporary files hold {self.used} octets")
            self.used, content.reserved = used, reserved

    @loop_thread
    def uncount(self, content: Spooled) -> None:
        """Count a content no more that was released: its blocks are free before the next write."""
        with self._lock:
            self.used -= content.reserved
            content.reserved = 0

    def blocks(self) -> Blocks:
        """Return the file, opened if need be. The spool's thread."""
        if self._blocks is None:
            self._blocks = Blocks()
        return self._blocks

    def closed(self, content: Spooled, numbers: Iterable[int]) -> None:
        """A content holds nothing any more; its blocks are free."""
        if self._blocks is not None:
            self._blocks.free(numbers)
            if not self._blocks.any_taken:
                blocks, self._blocks = self._blocks, None
                blocks.close()
        self._forget(content)

    def _forget(self, content: Spooled) -> None:
        with self._lock:
            self._open.discard(content)
            self.used -= content.reserved
            content.reserved = 0

    def look_at(self, content: Spooled) -> None:
        """Have the thread do what a content wants. Any thread."""
        self._jobs.put(content)

    def _live(self) -> None:
        while True:
            self._jobs.get().work()
            with self._lock:
                if not self._open:
                    self._thread = None
                    return
