"""A request's content: received on the loop's thread, taken by the application, and its credit.

The middle layer of :class:`~h2wsgi.stream.Stream`; the loop thread calls the upper half, the
application's thread the lower. A stream's credit returns when the application takes its octets
(invariant 4; RFC 9113 section 5.2). Content alone wakes no reader at once: that is done a little
later, by :meth:`IncomingStream.wake_reader` (see http2/readers.py).
"""

from __future__ import annotations

import abc
import threading
import time
from collections import deque

from .errors import BodyTooLarge, ClientDisconnected
from .guards import application_thread, loop_thread
from .handover import Limits
from .stream_waits import ClientWait, WaitingStream, again

NO_CHUNKS: deque[bytes] = deque(maxlen=0)
"""What waits for the application in a stream that has no content, or none yet."""
SMALL_CHUNK = 512
"""Octets of content below which a piece of it is put to the one before: an object has some 50."""


class IncomingStream(WaitingStream):
    """The request's side of a stream. The fields are set by :class:`~h2wsgi.stream.Stream`."""

    __slots__ = (
        "_buffered", "_chunks", "_credit_due", "_input_ended", "_input_failure", "_wanted",
        "_whole", "limits", "octets_received", "reading_since", "request_ended", "trailers",
    )  # fmt: skip

    # set before the application starts
    _whole: bytes | None
    """All the content there will be, if it came that early."""
    # under the lock
    limits: Limits
    _chunks: deque[bytes]
    _buffered: int
    """Octets in them."""
    _wanted: int
    """Octets for which a reader is worth being woken."""
    _credit_due: int
    """Octets taken whose credit waits for the next step."""
    _input_ended: bool
    _input_failure: ClientDisconnected | None
    reading_since: float | None
    """When the application began to wait for content, by the monotonic clock."""
    # loop thread only
    octets_received: int
    """Octets of content that came."""
    request_ended: bool
    trailers: list[tuple[bytes, bytes]]
    """Set only where there are any."""

    # ------------------------------------------------------------------ the loop's thread

    @loop_thread
    def receive(self, data: bytes) -> bool:
        """Buffer content for the application; False if nobody will read it (credit it instead).

        Wakes nobody: see :meth:`wake_reader`.
        """
        octets = len(data)
        self.octets_received += octets
        max_body = self.limits.max_body
        with self._handover.lock:
            if max_body and self.octets_received > max_body and self._input_failure is None:
                self._fail_input_locked(BodyTooLarge(f"the content is over {max_body} octets"))
            if self._input_failure is not None or self.application_done:
                return False
            chunks = self._chunks
            if chunks is NO_CHUNKS:
                chunks = self._chunks = deque()
            if chunks and octets < SMALL_CHUNK and len(chunks[-1]) < SMALL_CHUNK:
                # What comes in tiny frames would otherwise cost thirty times its octets.
                chunks[-1] += data
            else:
                chunks.append(data)
            self._buffered += octets
            if self.reading_since is not None:
                self.reading_since = time.monotonic()
        return True

    @loop_thread
    def receive_whole(self, data: bytes) -> None:
        """Buffer all the content there will be, before any thread knows of the stream.

        So no lock is needed.
        """
        self._whole = data
        self.octets_received = len(data)
        self.request_ended = self._input_ended = True

    @loop_thread
    def wake_reader(self) -> None:
        """Let the application go on reading, if there is what it waits for."""
        with self._handover.lock:
            if self._is_readable_locked():
                self.notify_locked()

    @loop_thread
    def end_input(self, trailers: list[tuple[bytes, bytes]] | None = None) -> None:
        """The request is complete, and these are its trailers."""
        self.request_ended = True
        if trailers is not None:
            self.trailers = trailers  # a field that few have, and none is given otherwise
        with self._handover.lock:
            self._input_ended = True
            if self._changed is not None:
                self._changed.notify_all()

    @loop_thread
    def fail_input(self, failure: ClientDisconnected) -> None:
        """End every read with ``failure``; the response can still be sent."""
        with self._handover.lock:
            self._fail_input_locked(failure)

    def _fail_input_locked(self, failure: ClientDisconnected) -> None:
        self._input_failure = failure
        self._chunks.clear()
        self._buffered = 0
        self.notify_locked()

    @loop_thread
    def set_limits(self, limits: Limits) -> None:
        """Keep to smaller limits: a reader must not wait for more than can come now."""
        with self._handover.lock:
            self.limits = limits
            self._wanted = min(self._wanted, limits.credit_step)
            self.notify_locked()

    @loop_thread
    def take_credit(self) -> int:
        """Return the octets that the application took and whose credit waits for the next step.

        The process is full: a reader had better take what is there, as not much more may come.
        """
        with self._handover.lock:
            due, self._credit_due = self._credit_due, 0
            self.notify_locked()
        return due

    @property
    def buffered(self) -> int:
        """Octets of content that wait for the application (approximate without the lock)."""
        return self._buffered

    # ------------------------------------------------------------ the application's thread

    @application_thread
    def begin(self, client_wait: ClientWait) -> bytes | None:
        """The application is about to be called on this thread, which has a share of the pool.

        Returns all the content there will be, if it came before; it is taken then.
        """
        self._client_wait = client_wait
        self._thread = threading.get_ident()
        if (whole := self._whole) is not None:
            self._whole = None
            # Without the lock: nobody else adds to it before the application has begun.
            self._credit_due = len(whole)
        return whole

    @application_thread
    def take(self, wanted: int, minimum: int = 1) -> bytes:
        """Return content as it is there, waiting for the first octet; ``b""`` only at the end.

        May return up to one DATA frame more than ``wanted`` octets: frames are not cut. Who has
        no use for less than ``minimum`` octets is not woken for less, if there is room for them.

        Raises:
            ClientDisconnected: the client went away or reset the stream before the end.
        """
        handover = self._handover
        with handover.lock:
            if not self._input_ended:
                # The peer has the rest of the window to go on with, so these octets do come.
                self._wanted = min(minimum, self.limits.credit_step)
                if not self._is_readable_locked():
                    self.reading_since = time.monotonic()
                    try:
                        self._wait_locked(self._is_readable_locked)
                    finally:
                        self.reading_since = None
            if self._input_failure is not None:
                raise again(self._input_failure)
            data = self._pop_locked(wanted)
            wake = self._return_credit_locked(len(data))
        if wake:
            handover.wake_threadsafe(False)
        return data

    @application_thread
    def take_whole(self) -> bytes | None:
        """Return all the content there will be, if it has come in one piece; else None."""
        with self._handover.lock:
            if not self._input_ended or len(self._chunks) != 1:
                return None
            self._credit_due += self._buffered
            self._buffered = 0
            return self._chunks.popleft()

    def _is_readable_locked(self) -> bool:
        return (
            self._buffered >= self._wanted
            or self._input_ended
            or self._input_failure is not None
            or (self._buffered > 0 and self._handover.input_full)
        )

    @property
    def input_exhausted(self) -> bool:
        """True once the application has taken all there was, and nothing more can come."""
        return self._input_ended and not self._chunks and self._input_failure is None

    def _pop_locked(self, wanted: int) -> bytes:
        chunks = self._chunks
        if not chunks:
            return b""
        first = chunks.popleft()
        octets = len(first)
        if not chunks or octets >= wanted:
            self._buffered -= octets
            return first
        taken = [first]
        while chunks and octets < wanted:
            taken.append(chunks.popleft())
            octets += len(taken[-1])
        self._buffered -= octets
        return b"".join(taken)

    @abc.abstractmethod
    def _return_credit_locked(self, octets: int) -> bool:
        """Count octets that were taken; True if the loop has to be woken for their credit."""

    @application_thread
    def request_trailers(self) -> list[tuple[str, str]]:
        """``h2wsgi.trailers``: the request's trailers, once ``wsgi.input`` was read to its end."""
        fields = getattr(self, "trailers", ())
        return [(name.decode("ascii"), value.decode("latin-1")) for name, value in fields]
