"""Writing lines without ever making the caller wait.

A terminal that is stopped with Ctrl-S, or a pipe that nobody reads, blocks the thread that writes.
Only the daemon thread ``h2wsgi-log`` writes; all others append to a queue. The invariants:
:meth:`LogWriter.write` never blocks on the output, the queue never holds more than its limits, and
lines that had to be dropped are counted and reported.

A forked child has no such thread. Threads that log there write themselves, and wait for the output
as ``print`` does.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import IO, Any

from ..process.clock import clock
from ..process.forking import tell_in_child

MAX_LINES = 10_000
MAX_CHARACTERS = 16 * 1024 * 1024
"""A bound beside the number of lines: each may be a traceback or a path of 64 KiB."""
BATCH_LINES = 500
NEWLINE = 10


class LogWriter:
    """Lines on their way to ``stream``, a text or binary file, or None for nowhere."""

    def __init__(
        self,
        stream: IO[Any] | None,
        dropped_line: Callable[[int], str],
        *,
        open_again: Callable[[], IO[Any]] | None = None,
    ) -> None:
        """``dropped_line`` makes the line that says how many lines are missing.

        ``open_again`` opens the file of ``stream`` anew. If it is given, the writer owns the stream
        and closes it after the last line.
        """
        # immutable
        self._output = _Output(stream, open_again)
        self._dropped_line = dropped_line
        # any thread, under _changed, whose lock is re-entrant, as a signal handler may log too
        self._changed = threading.Condition()
        self._lines: deque[str] = deque()
        self._characters = 0
        self._dropped = 0
        self._closing = False
        self._writing = False
        """Whether lines were taken that are not written yet."""
        self.when_lost: Callable[[Exception], None] | None = None
        """Called when lines begin to be lost, as on a full disk. On the writing thread."""
        self._loses = False
        """Whether what was written last was lost."""
        self._reopen_failed: Callable[[Exception], None] | None = None
        """To call if the file cannot be opened anew; None if it is not to be opened anew."""
        self._in_child = False
        """Whether this is a forked child's copy, which writes at once."""
        self._thread = threading.Thread(target=self._run, name="h2wsgi-log", daemon=True)
        self._thread.start()
        tell_in_child(self)

    def forked(self) -> None:
        """See Forkable. What was queued is for the parent to write."""
        self._changed = threading.Condition()
        self._lines.clear()
        self._characters = self._dropped = 0
        self._closing = self._in_child = True
        self._output.forked()

    def write(self, line: str) -> None:
        """Queue ``line``, which ends in a newline, or count it as dropped."""
        with self._changed:
            full = len(self._lines) >= MAX_LINES or self._characters >= MAX_CHARACTERS
            if full or self._closing:
                if not self._in_child or self._output.write(line):
                    self._dropped += 1
                return
            self._lines.append(line)
            self._characters += len(line)
            self._changed.notify()

    def reopen(self, failed: Callable[[Exception], None]) -> None:
        """Go on in a new file of the same name soon, as the present one was renamed.

        If it cannot be opened, ``failed`` is called on the writing thread, and the old one is kept.
        """
        with self._changed:
            self._reopen_failed = failed
            self._changed.notify()

    @property
    def is_reopened(self) -> bool:
        """Whether :meth:`reopen` does something."""
        return self._output.is_reopened

    @property
    def name(self) -> str:
        """The name of the file, as it was given."""
        return self._output.name

    def settle(self, timeout: float = 1.0) -> None:
        """Wait until what is queued is written, for at most ``timeout`` seconds."""
        until = clock.monotonic() + timeout
        while not self._is_settled() and clock.monotonic() < until:
            time.sleep(0.01)

    def _is_settled(self) -> bool:
        with self._changed:  # or lines would be missed that are just being taken
            return not (self._lines or self._writing)

    def close(self, timeout: float = 1.0) -> None:
        """Write what is queued, for at most ``timeout`` seconds. May be called again."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while taken := self._take():
            lines, dropped = taken
            failed, self._reopen_failed = self._reopen_failed, None
            if failed is not None:
                self._output.reopen(failed)
            text = "".join(lines)
            if dropped:
                text += self._dropped_line(dropped)
            if lost := self._output.write(text):
                with self._changed:
                    self._dropped += min(lost - bool(dropped), len(lines)) + dropped
            self._tell(bool(lost))
        self._output.close()

    def _tell(self, loses: bool) -> None:
        """Say once that lines are lost. How many were lost is said by a line after them."""
        begins, self._loses = loses and not self._loses, loses
        if begins and self.when_lost is not None and self._output.error is not None:
            self.when_lost(self._output.error)

    def _take(self) -> tuple[list[str], int] | None:
        """Wait for lines and return some, with the number dropped before; None at the end."""
        with self._changed:
            self._writing = False
            # Dropped lines alone do not end the wait: with the output gone this would never rest.
            while not (self._lines or self._closing or self._reopen_failed):
                self._changed.wait()
            if not self._lines and self._closing:
                return None
            lines = [self._lines.popleft() for _ in range(min(BATCH_LINES, len(self._lines)))]
            self._characters -= sum(map(len, lines))
            self._writing = True
            dropped, self._dropped = (self._dropped, 0) if lines else (0, self._dropped)
            return lines, dropped


class _Output:
    """A file descriptor where there is one, else a file object. Log thread, or a forked child.

    The descriptor is used to avoid the lock of ``sys.stderr``'s buffer. A thread that blocks in a
    write would hold that lock: every ``print`` would wait, and the interpreter could not end.
    """

    def __init__(
        self, stream: IO[Any] | None, open_again: Callable[[], IO[Any]] | None = None
    ) -> None:
        """A stream that can be opened again is closed here."""
        self._stream = stream
        self._open_again = open_again
        self.name = str(getattr(stream, "name", ""))
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._descriptor = _descriptor_of(stream)
        self.is_reopened = (
            open_again is not None
            and self._descriptor >= 0
            and stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        )
        """Whether this is a file that can be opened anew, and no pipe or device."""
        self._at_once = _octets_at_once(self._descriptor)
        self.error: Exception | None = None
        """Why a text was last not all written."""
        self._written = 0
        """Octets of the last text that were written."""
        self._in_line = False
        """Whether what was written ends in the middle of a line."""

    def write(self, text: str) -> int:
        """Write ``text``; return how many of its lines were lost: the output is gone or full."""
        octets = text.encode(self._encoding, "backslashreplace") if self._descriptor >= 0 else b""
        try:
            if self._descriptor >= 0:
                self._write_octets(octets)
            elif self._stream is not None:
                self._stream.write(text)
                self._stream.flush()
        except Exception as error:  # an application may have put anything in its place
            self.error = error
            if cut := self._written - octets.rfind(b"\n", 0, self._written) - 1:
                self._take_back(cut)
            return (octets[self._written :] or text.encode(errors="replace")).count(b"\n")
        return 0

    def _take_back(self, octets: int) -> None:
        """Cut part of a line off the end of a file, or other workers' lines would continue it."""
        with contextlib.suppress(OSError):  # a pipe, or a terminal
            end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
            if end == os.fstat(self._descriptor).st_size:  # nobody else has written since
                os.ftruncate(self._descriptor, end - octets)
                os.lseek(self._descriptor, end - octets, os.SEEK_SET)
                self._in_line = False

    def forked(self) -> None:
        """Give up what belongs to the parent alone."""
        if self._open_again is not None:
            self.close()

    def reopen(self, failed: Callable[[Exception], None]) -> None:
        """Go on in a new file of the same name."""
        if self._open_again is None or not self.is_reopened:
            return
        try:
            stream = self._open_again()
        except Exception as error:
            failed(error)
            return
        before, self._stream = self._stream, stream
        self._descriptor = _descriptor_of(stream)
        self._in_line = False
        if before is not None:
            before.close()

    def close(self) -> None:
        """Close a stream that this output owns."""
        self.is_reopened = False
        if self._open_again is not None and self._stream is not None:
            self._stream.close()
            self._stream, self._descriptor = None, -1

    def _write_octets(self, octets: bytes) -> None:
        start = self._written = 0
        if self._in_line:  # or the new text would continue the line that was cut
            self._write_whole(memoryview(b"\n"))
            self._in_line, self._written = False, 0
        while self._at_once and len(octets) - start > self._at_once:
            # Whole lines, as far as they fit; a longer one goes alone.
            end = octets.rfind(b"\n", start, start + self._at_once) + 1
            end = end or octets.find(b"\n", start) + 1 or len(octets)
            self._write_whole(memoryview(octets)[start:end])
            start = end
        self._write_whole(memoryview(octets)[start:])

    def _write_whole(self, view: memoryview) -> None:
        while view:
            try:
                count = os.write(self._descriptor, view)
                self._written += count
                self._in_line = view[count - 1] != NEWLINE
                view = view[count:]
            except BlockingIOError:
                # Another program made the shared terminal non-blocking. select() does not work on
                # Windows, and this thread has time.
                time.sleep(0.02)


def _octets_at_once(descriptor: int) -> int:
    """Return how much may go into one write without another process writing in the middle of it.

    0 for no bound, as for a file that is appended to.
    """
    if descriptor < 0:
        return 0
    mode = os.fstat(descriptor).st_mode
    is_pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    return getattr(select, "PIPE_BUF", 512) if is_pipe else 0


def _descriptor_of(stream: IO[Any] | None) -> int:
    """Return the descriptor to write to, or -1 where there is none."""
    try:
        return -1 if stream is None else stream.fileno()
    except (OSError, ValueError, AttributeError):  # UnsupportedOperation is both
        return -1
