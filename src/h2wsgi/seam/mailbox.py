"""How any thread has something done on the event loop's thread.

Messages are posted far more often than the loop has to be woken: once for all that has been posted
since it last looked.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable

from ..process.forking import close_copy, tell_in_child
from . import guards
from .guards import loop_thread

guards.may_hold_locks(__file__)


class Mailbox:
    """Calls to make on the thread of ``loop``, in the order they were posted.

    There are two ways to wake the loop. A thread that goes on computing keeps the interpreter with
    call_soon_threadsafe: the loop gets it a little later, and finds more to do. One that is about
    to wait writes to an eventfd, where there is one, which lets go of the interpreter: otherwise
    the loop, woken on the same CPU, would only fall asleep again to wait for it. (A request at a
    time, on one CPU: 100 us instead of 79. The eventfd for all: Flask 87 us instead of 77.)
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], None]] = deque()
        self._scheduled = False
        self._fd = -1
        self._fd_lock = threading.RLock()
        """Held while writing to it, so that it is never closed, and used for a file, meanwhile."""
        if hasattr(os, "eventfd"):
            fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            try:
                loop.add_reader(fd, self._read)
            except BaseException:
                os.close(fd)
                raise
            self._fd = fd
        tell_in_child(self)

    def forked(self) -> None:
        """See Forkable. Nobody is there to make the calls, and the parent is not to be woken."""
        self._scheduled = True
        self._fd_lock = threading.RLock()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            close_copy(fd)

    def __len__(self) -> int:
        """Return how many calls have not been made."""
        return len(self._calls)

    def post_threadsafe(self, call: Callable[[], None], about_to_wait: bool = False) -> None:
        """Make ``call`` soon; never, if the loop is closed by then.

        ``about_to_wait`` is what the calling thread is.
        """
        self._calls.append(call)
        if self._scheduled:
            return
        try:
            self._scheduled = True
            self._wake_threadsafe(about_to_wait)
        except BaseException:
            # Whoever posts next has to wake the loop, or nobody ever does again. (An application
            # that is near its recursion limit gets here.)
            self._scheduled = False
            raise

    def _wake_threadsafe(self, about_to_wait: bool) -> None:
        if about_to_wait:
            with self._fd_lock:
                if self._fd >= 0:
                    os.eventfd_write(self._fd, 1)
                    return
        self._call_threadsafe(self._deliver)

    def call_later_threadsafe(self, delay: float, call: Callable[[], None]) -> None:
        """Make ``call`` after ``delay`` seconds."""
        self._call_threadsafe(lambda: self._loop.call_later(delay, call))

    def close(self) -> None:
        """Give the descriptor back; what is posted later is delivered as long as the loop runs."""
        with self._fd_lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                self._loop.remove_reader(fd)
                os.close(fd)
        if self._scheduled:
            self._call_threadsafe(self._deliver)

    @loop_thread
    @guards.kernel
    def _read(self) -> None:
        try:  # noqa: SIM105  suppress() would be three calls more for each batch
            os.eventfd_read(self._fd)
        except (BlockingIOError, ValueError):
            pass  # nothing was written since the last look; or a child's, which has no descriptor
        self._deliver()

    def _call_threadsafe(self, call: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            # A loop that is closed: the server has stopped, and every stream was told so. Any other
            # RuntimeError, such as a RecursionError, is an error.
            if not self._loop.is_closed():
                raise

    @loop_thread
    @guards.kernel
    def _deliver(self) -> None:
        try:
            # Cleared first: who posts after this line wakes anew, who posted before is served.
            self._scheduled = False
            for _ in range(len(self._calls)):
                self._calls.popleft()()
        except BaseException:
            # The calls behind the one that failed are of other connections.
            self._loop.call_soon(self._deliver)
            raise
