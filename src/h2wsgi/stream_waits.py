"""How the application's threads wait on a stream, and what ends their waits (invariant 1).

The lowest layer of :class:`~h2wsgi.stream.Stream`. Every shared field is guarded by the
connection's :class:`~h2wsgi.handover.Handover` lock. A thread that blocks here wakes on data, room,
end, reset or connection loss, exactly once each: whatever changes what a waiter waits for calls
:meth:`WaitingStream.notify_locked` while it holds the lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from .errors import ClientDisconnected
from .guards import application_thread
from .handover import Handover
from .stream_control import StreamControl


class ClientWait(Protocol):
    """Told when a thread starts and stops waiting on its client, so that others may run.

    Both are called with the connection's lock held and must not take it, nor block.
    """

    def wait_begins(self) -> None: ...
    def wait_ended(self) -> None: ...


class WaitingStream(StreamControl):
    """What a thread may wait on. The fields are set by :class:`~h2wsgi.stream.Stream`."""

    __slots__ = (
        "_changed", "_client_wait", "_failure", "_handover", "_thread", "application_done",
        "waiting_since",
    )  # fmt: skip

    # immutable
    _handover: Handover
    # set before the application starts
    _client_wait: ClientWait | None
    _thread: int
    # under the lock
    _changed: threading.Condition | None
    """Made when somebody waits, which most requests never do."""
    _failure: ClientDisconnected | None
    """Why nothing can come or go any more; ends every wait."""
    waiting_since: float | None
    """When the application's thread began to wait on the client, by the monotonic clock."""
    application_done: bool

    @property
    def has_begun(self) -> bool:
        """Whether the application was called, or is about to be."""
        return self._client_wait is not None

    @property
    def has_waited(self) -> bool:
        """True once a thread has waited on this stream, as it may do again."""
        return self._changed is not None

    def notify_locked(self) -> None:
        """Let every thread that waits on this stream look again."""
        if self._changed is not None:
            self._changed.notify_all()

    # ------------------------------------------------------------ the application's thread

    def require_client(self) -> None:
        """Raise ClientDisconnected if the client can no longer be reached on this stream."""
        if self._failure is not None:
            raise again(self._failure)

    def _wait_locked(self, ready: Callable[[], bool]) -> None:
        """Block until ``ready()`` or the stream fails."""
        if ready() or self._failure is not None:
            return
        if self._changed is None:
            self._changed = threading.Condition(self._handover.lock)
        self.waiting_since = time.monotonic()
        # Another thread of the application has no share of the pool to give away.
        client_wait = self._client_wait if threading.get_ident() == self._thread else None
        if client_wait is not None:
            client_wait.wait_begins()
        try:
            while not ready() and self._failure is None:
                self._changed.wait()
        finally:
            self.waiting_since = None
            if client_wait is not None:
                client_wait.wait_ended()

    def _disconnected(self) -> bool:
        return self._failure is not None

    @application_thread
    def _wait_disconnected(self, timeout: float | None) -> bool:
        # Not a wait on the client as _wait_locked knows it: nobody is slow here.
        with self._handover.lock:
            if self._changed is None:
                self._changed = threading.Condition(self._handover.lock)
            self._changed.wait_for(
                lambda: self._failure is not None or self.application_done, timeout
            )
            return self._failure is not None


def again(failure: ClientDisconnected) -> ClientDisconnected:
    """Return a copy to raise: one instance raised in two threads would mix their tracebacks."""
    return type(failure)(*failure.args)
