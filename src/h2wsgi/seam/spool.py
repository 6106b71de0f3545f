"""Content that has to be whole before its application begins, and lies in a file until it is read.

Three threads touch it. The loop's hands octets over, a batch at a time; the one thread of the
:class:`Spool` opens, writes and closes, so that no disk ever holds up the loop; the application's
reads, once all is written. Who is done with a file, whoever that is and whatever happened, calls
:meth:`SpoolFile.release`: its octets are counted until it is closed. The files have no name, so
they go with the process at the latest.
"""

from __future__ import annotations

import contextlib
import queue
import tempfile
import threading
import weakref
from collections.abc import Callable
from io import FileIO

from ..errors import ClientDisconnected, StreamBroken
from ..process import forking
from . import guards
from .guards import application_thread, loop_thread

MAX_FILES = 256
"""Files at once, as each takes a descriptor."""

guards.may_hold_locks(__file__)


class SpoolFull(Exception):
    """The files hold all they may, or no more of them can be opened."""


class Gathered:
    """What there is of a request's content whose length nobody has told.

    The loop's thread gathers it, see http2/gathering.py; the application's finds it whole.
    """

    __slots__ = ("chunks", "file", "octets", "started", "uncredited", "waiting", "writing")

    def __init__(self) -> None:
        self.octets = 0
        """Octets of it, all in all."""
        self.file: SpoolFile | None = None
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


class SpoolFile:
    """One request's content in a temporary file.

    ``written`` is called on the spool's thread when a batch was written, or failed to be.
    """

    __slots__ = (
        "__weakref__", "_batch", "_file", "_lock", "_octets", "_position", "_released", "_spool",
        "_torn", "_written", "error", "reserved",
    )  # fmt: skip

    def __init__(self, spool: Spool, written: Callable[[], None]) -> None:
        # immutable
        self._spool = spool
        self._written = written
        # any thread
        self._released = False
        self._batch: list[bytes] = []
        """What is to be written. The next is handed over when it was."""
        self.error: Exception | None = None
        """Why it could not be."""
        self.reserved = 0
        """Octets counted against the spool's limit, under its lock."""
        # under the lock, which is held as long as a disk may take
        self._lock = threading.RLock()
        self._file: FileIO | None = None
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
        self._spool.reserve(self, octets)
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
                    self._write(batch)
                except Exception as error:
                    self.error = error
        if self._released:
            self._close()
        else:
            self._written()

    def _write(self, batch: list[bytes]) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        for data in batch:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
            self._octets += len(data)

    def _close(self) -> None:
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                with contextlib.suppress(OSError):  # it is gone all the same
                    file.close()
        self._spool.closed(self)

    def forked(self) -> None:
        """The process is a child, whose copy keeps the disk taken as long as it lives."""
        self._lock = threading.RLock()
        self._released = True
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    @application_thread
    def take(self, parts: list[bytes], wanted: int, minimum: int = 1) -> int:
        """Read content behind ``parts``, at most ``wanted`` octets; 0 only at the end.

        Raises:
            ClientDisconnected: the request is over.
        """
        with self._lock:
            if self._torn:
                raise StreamBroken("an exception struck in the middle of a read")
            if self._file is None or self._released:
                raise ClientDisconnected("the request is over")
            self._file.seek(self._position)
            data = self._file.read(min(wanted, self._octets - self._position))
            octets = len(data)
            if not octets and not self.input_exhausted:
                raise OSError("a temporary file has become shorter")
            self._torn = True
            parts.append(data)
            self._position += octets
            self._torn = False
        return octets

    @property
    def input_exhausted(self) -> bool:
        """True once the application has taken all there was."""
        return self._position == self._octets


class Spool:
    """The files of a server, and the thread that works on them, which is there while they are.

    ``limit`` is how many octets they may hold together, 0 for any.
    """

    def __init__(self, limit: int) -> None:
        # immutable
        self._limit = limit
        self._jobs: queue.SimpleQueue[SpoolFile] = queue.SimpleQueue()
        # under the lock
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[SpoolFile] = weakref.WeakSet()
        """Weak, as something may strike before anybody has a new one to give back."""
        self._thread: threading.Thread | None = None
        """The one that is there, or is about to be."""
        forking.tell_in_child(self)

    def forked(self) -> None:
        """See Forkable."""
        self._lock = threading.Lock()
        self._jobs = queue.SimpleQueue()
        self._thread = None
        files, self._open = self._open, weakref.WeakSet()
        for file in list(files):
            file.forked()

    @loop_thread
    def file(self, written: Callable[[], None]) -> SpoolFile:
        """Return a new file; see SpoolFile.

        Raises:
            SpoolFull: there are too many.
        """
        file = SpoolFile(self, written)
        with self._lock:
            if len(self._open) >= MAX_FILES:
                raise SpoolFull(f"{MAX_FILES} temporary files are open")
            self._open.add(file)
            thread = self._thread  # which does not end from here on
        if thread is None or not thread.is_alive():
            thread = threading.Thread(target=self._live, name="h2wsgi-files", daemon=True)
            self._thread = thread
            try:
                thread.start()
            except RuntimeError as error:
                self.closed(file)
                raise SpoolFull(str(error)) from None
        return file

    @property
    def used(self) -> int:
        """Octets in the files, and on their way there."""
        return sum(file.reserved for file in list(self._open))

    @property
    def files(self) -> int:
        """How many files there are."""
        return len(self._open)

    def reserve(self, file: SpoolFile, octets: int) -> None:
        """Count octets that a file is to hold.

        Raises:
            SpoolFull: that would be too many.
        """
        with self._lock:
            if self._limit and self.used + octets > self._limit:
                raise SpoolFull(f"temporary files hold {self.used} octets")
            file.reserved += octets

    def closed(self, file: SpoolFile) -> None:
        """A file holds nothing any more."""
        with self._lock:
            self._open.discard(file)
            file.reserved = 0

    def look_at(self, file: SpoolFile) -> None:
        """Have the thread do what a file wants. Any thread."""
        self._jobs.put(file)

    def _live(self) -> None:
        while True:
            self._jobs.get().work()
            with self._lock:
                if not self._open:
                    self._thread = None
                    return
