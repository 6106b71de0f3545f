"""THE SEAM between the two threads: one request, its content coming in, its response going out.

The loop's thread calls the first half of :class:`Stream`, the application's threads the second. The
lock of the connection's :class:`~h2wsgi.seam.handover.Handover` guards all shared fields. What is
handed over leaves in that order (invariant 2); a wait ends on data, room, end, reset or
connection loss (invariant 1); credit returns when the application takes octets (invariant 4).

The two directions of a stream (RFC 9113 section 5.1), by the fields that say so:

    request    open       not _input_ended: content may come
               ended      _input_ended: END_STREAM came                         end_input
               failed     _input_failure: reads raise, the response may go on   fail_input
    response   no head    not head_left: 1xx may leave, the status may change
               begun      head_left                                             send
               ended      output_ended: END, ABORT or TRAILERS was handed over  send, send_whole
    both       lost       _failure: reset, connection lost, given up            fail
               broken     _failure is BROKEN_HERE: see below                    Connection.repair
    call       begun      has_begun: a thread of the pool has it                begin
               over       application_done: close() included                    finished

Anything may be raised between any two lines of an application's thread: a RecursionError near its
limit, a MemoryError, an exception from another thread (PyThreadState_SetAsyncExc). A finalizer of
the application's may run there and call this very object. So:

1. Locks are taken by ``with`` alone; ``acquire`` and ``try`` on two lines leave a gap.
2. Under the lock, all that may raise comes first. Then ``_failure`` is set to BROKEN_HERE, the
   fields change by plain statements, with no call of a Python function and no allocation of ours,
   and it is set back. If something strikes in between, the mark stays: every later call raises
   StreamBroken, and :meth:`finished` has the loop recount and reset the stream.
3. Nobody waits while holding a lock. A waiter registers a lock of its own under the connection's,
   and waits for it outside. Who wakes it releases first, and forgets it afterwards.
4. A wake-up of the loop that raised is made again, by the next hand-over or before the next wait.
5. The connection's lock is re-entrant. What a finalizer does in the middle of a section is
   harmless: each statement leaves what others look at whole. What would wait raises WouldBlock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from ..errors import (
    ApplicationError,
    BodyTooLarge,
    ClientDisconnected,
    StreamBroken,
    StreamGivenUp,
)
from ..log.text import MAX_METHOD, MAX_SHOWN, shown
from ..process.clock import clock
from . import guards
from .control import Command, StreamControl
from .guards import application_thread, loop_thread
from .handover import (
    BROKEN,
    COMMAND,
    CREDIT,
    END,
    FINISHED,
    MORE,
    TRAILERS,
    WRITTEN,
    Handover,
    Head,
    Kind,
    Limits,
    Output,
)
from .request import ConnectionFacts, RequestFields
from .response_fields import informational_fields
from .spool import Gathered

CONTINUE = Head(100)
NO_CHUNKS: deque[bytes] = deque(maxlen=0)
"""What waits for the application in a stream that has no content, or none yet."""
NO_WAITS: list[threading.Lock] = []
"""The same of threads that wait. Never changed."""
PACE = 1_024
"""Octets a second at which a client is taken to do what it can, however long it takes."""
SMALL_CHUNK = 512
"""Octets of content below which a piece of it is put to the one before: an object has some 50."""
BROKEN_HERE = StreamBroken("an exception struck in the middle of a hand-over")
"""Marks a stream while its fields change. Never raised itself, see :func:`again`."""

guards.may_hold_locks(__file__)


def allocate_lock() -> threading.Lock:
    """Return what a thread waits for. Looked up at each call, as gevent and eventlet replace it."""
    return threading.Lock()


class ClientWait(Protocol):
    """A thread of the pool: told when it starts and stops waiting on its client.

    Others run meanwhile. Both may be called twice in a row, and neither may wait.
    """

    unwoken: Handover | None
    """Whose loop the thread has still to wake: before it waits, or runs what is not ours."""

    def wait_begins(self) -> None: ...
    def wait_ended(self) -> None: ...


class Waited(NamedTuple):
    """How long threads have waited on the client of a stream, before the present wait."""

    idle: float = 0.0
    """Seconds beyond those in which what moved meanwhile would have moved at PACE."""
    seconds: float = 0.0
    octets: int = 0
    """Octets that had moved when the present wait began, or the last one."""

    def and_one_of(self, seconds: float, octets: int) -> Waited:
        """Return the same with one more wait, and the octets that have moved until now."""
        idle = max(0.0, seconds - (octets - self.octets) / PACE)
        return Waited(self.idle + idle, self.seconds + seconds, octets)


NEVER_WAITED = Waited()


class Stream(StreamControl):
    """One request and its response.

    It is what the application gets of both as ``environ["h2wsgi.stream"]``, and, to be called,
    as ``environ["wsgi.early_hints"]``: objects of their own would cost every request.
    """

    __slots__ = (
        "_buffered", "_chunks", "_client_wait", "_credit_due", "_failure", "_handover",
        "_input_ended", "_input_failure", "_thread", "_wanted", "_whole",
        "application_done", "budgeted", "connection", "gathered", "handed_over", "has_content",
        "head", "head_left", "limits", "octets_received", "octets_sent", "output_ended",
        "progress_at", "queued", "reading_since", "received_at", "request", "request_ended",
        "response_ended", "started_at", "stream_id", "trailers", "unsent", "waited",
        "waited_for_content", "waiting_since", "waits",
    )  # fmt: skip

    def __init__(
        self,
        stream_id: int,
        request: RequestFields,
        connection: ConnectionFacts,
        handover: Handover,
        limits: Limits,
        started_at: float,
        request_ended: bool = False,
    ) -> None:
        # immutable
        self.stream_id = stream_id
        self.request = request
        self.connection = connection
        self.has_content = not request_ended
        """Whether content, or the end of none, was still to come behind the field section."""
        self._handover = handover
        self.started_at = started_at
        """By the monotonic clock."""
        # set before the application starts
        self._client_wait: ClientWait | None = None
        self.gathered: Gathered | None = None
        """The content, if it had to be whole before the application starts."""
        if not request_ended:  # what only content needs: four fields less for most requests
            self._whole: bytes | None = None
            """All the content there will be, if it came that early."""
            self._wanted = 1
            """Octets for which a reader is worth being woken."""
            self.received_at = 0.0
            """When content came last while the application waited, by the monotonic clock."""
            self.trailers: list[tuple[bytes, bytes]] | None = None
        # under the lock
        self.limits = limits
        self._chunks = NO_CHUNKS
        self._buffered = 0
        """Octets in them."""
        self._credit_due = 0
        """Octets taken whose credit waits for the next step."""
        self._input_ended = request_ended
        self._input_failure: ClientDisconnected | None = None
        self._failure: ClientDisconnected | None = None
        """Why nothing can come or go any more; ends every wait. Or BROKEN_HERE, see above."""
        self.waits: list[threading.Lock] = NO_WAITS
        """What the threads that wait are blocked on. Most requests never have any."""
        self.head_left = False
        """Whether a head was handed over, or an end: the status can no longer change."""
        self.output_ended = False
        """Whether the end of the response was handed over, good or bad."""
        self.handed_over = 0
        """Octets of content, all in all."""
        self.unsent = 0
        """Those of them that were not yet taken towards the transport."""
        self.application_done = False
        # the application's threads only; others look
        self.reading_since: float | None = None
        """When the application began to wait for content, by the monotonic clock."""
        self.waited_for_content: float
        """Seconds that it has waited for content, all in all, but for a wait that goes on. Not set
        before :attr:`has_waited`, as most requests never wait."""
        self.waiting_since: float | None = None
        """When a thread began to wait on the client, for content or for room."""
        self.waited: Waited
        """The same of all waits on the client, and set as late."""
        # loop thread only
        self.octets_received = 0
        """Octets of content that came."""
        self.budgeted = 0
        """Octets of content counted against the process's budget."""
        self.queued = 0
        """Octets of the response in the send queue, or framed and not yet written."""
        self.request_ended = request_ended
        self.response_ended = False
        self.head: Head | None = None
        """The head that was sent last, an informational one perhaps."""
        self.octets_sent = 0
        self.progress_at = started_at
        """When response content last moved, by the monotonic clock."""

    @property
    def status(self) -> int:
        """The status that was sent last; 0 if none was."""
        return 0 if self.head is None else self.head.status

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
            self.received_at = clock.monotonic()
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
    def withdraw_whole(self) -> bytes:
        """Take that content back, of a stream that no thread knows of any more."""
        whole, self._whole = self._whole, None
        return whole or b""

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
        self.trailers = trailers
        with self._handover.lock:
            self._input_ended = True
            self.notify_locked()

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
            if self.has_content:
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

    @loop_thread
    def fail(self, reason: str, kind: type[ClientDisconnected] = ClientDisconnected) -> None:
        """End every wait: the application's next read or write raises ``kind``.

        Octets still unsent are given up; those in the outbox must be dropped when they are drained.
        """
        handover = self._handover
        with handover.lock:
            if self._failure is None or self.is_broken:
                if self.is_broken:
                    self._hand_over_break()
                self._failure = kind(reason)
            # Done again if it was interrupted: whoever waits must be told.
            self._fail_input_locked(self._failure)
            handover.unsent -= self.unsent
            self.unsent = 0
            handover.notify_ceiling_waiters_locked()

    def forked(self) -> None:
        """See Forkable: there is no loop, so nothing comes and nothing can leave."""
        self._handover.forked()
        self.waits = NO_WAITS
        self._failure = self._input_failure = ClientDisconnected("a forked child has no client")

    def sent_locked(self, octets: int) -> None:
        """Count octets that went towards the transport; wake a writer once it is worth it."""
        self.unsent -= octets
        if self.unsent <= self.limits.write_limit // 4:
            self.notify_locked()

    @property
    def buffered(self) -> int:
        """Octets of content that wait for the application (approximate without the lock)."""
        return self._buffered

    def waited_until(self, now: float) -> Waited:
        """Return how long threads have waited on the client, until now."""
        if not self.has_waited:
            return NEVER_WAITED
        since = self.waiting_since
        if since is None:
            return self.waited
        return self.waited.and_one_of(now - since, self._octets_moved)

    @property
    def _octets_moved(self) -> int:
        return self.octets_received + self.octets_sent

    @property
    def has_begun(self) -> bool:
        """Whether the application was called, or is about to be."""
        return self._client_wait is not None

    @property
    def has_waited(self) -> bool:
        """True once a thread has waited on this stream, as it may do again."""
        return self.waits is not NO_WAITS

    # ----------------------------------------------------------------------- either thread

    @property
    def name(self) -> str:
        """The request as a log line names it: without its query, which may hold secrets."""
        path = shown(self.request.shown_path.partition("?")[0], MAX_SHOWN)
        return f"{shown(self.request.method, MAX_METHOD)} {path} (stream {self.stream_id})"

    @property
    def is_broken(self) -> bool:
        """True if an exception struck in the middle of a hand-over, and nobody repaired it yet."""
        return self._failure is BROKEN_HERE

    def notify_locked(self) -> None:
        """Let every thread that waits on this stream look again."""
        if waits := self.waits:
            for wait in waits:
                if wait.locked():
                    wait.release()
            waits.clear()  # last: who is forgotten before it is woken waits for ever

    def content_written(self) -> None:
        """Part of the content is in its file, or cannot be: let the loop know.

        Called on the thread that writes files.
        """
        self._handover.outbox.append((self, WRITTEN, None, b"", 0, None))
        self._handover.wake()

    def _is_readable_locked(self) -> bool:
        return (
            self._buffered >= self._wanted
            or self._input_ended
            or self._input_failure is not None
            or (self._buffered > 0 and self._handover.input_full)
        )

    # ----------------------------------- the application's threads: begin, wait and be done

    @application_thread
    def begin(self, client_wait: ClientWait) -> bytes | None:
        """The application is about to be called on this thread, which has a share of the pool.

        Returns all the content there will be, if it came before; it is taken then.
        """
        self._thread = threading.get_ident()
        self._client_wait = client_wait  # last: it is what says that the call has begun
        if not self.has_content:
            return None
        if (whole := self._whole) is not None:
            # Without the lock: nobody else adds to it before the application has begun.
            self._credit_due = len(whole)
            self._whole = None
        return whole

    def require_client(self) -> None:
        """Raise ClientDisconnected if the client can no longer be reached on this stream."""
        if self._failure is not None:
            raise again(self._failure)

    def _wait(self, ready: Callable[[], bool], reading: bool = False) -> None:
        """Block until ``ready()``, called under the lock, is true, or the stream fails."""
        since = 0.0
        while True:
            with self._handover.lock:
                if ready() or self._failure is not None:
                    break
                wait = self._register_locked()
            try:
                if not since:
                    since = clock.monotonic()
                    self.waited = self.waited._replace(octets=self._octets_moved)
                self._block(wait, since, reading)
            except BaseException:
                with self._handover.lock:
                    if wait in self.waits:
                        self.waits.remove(wait)
                raise
        if since:
            waited = clock.monotonic() - since
            if reading:
                self.waited_for_content += waited
            self.waited = self.waited.and_one_of(waited, self._octets_moved)

    def _register_locked(self) -> threading.Lock:
        """Return a lock that is held, and released by :meth:`notify_locked`."""
        wait = allocate_lock()
        wait.acquire()
        if self.waits is NO_WAITS:
            self.waited_for_content, self.waited = 0.0, NEVER_WAITED
            self.waits = []
        self.waits.append(wait)
        return wait

    def _block(self, wait: threading.Lock, since: float, reading: bool) -> None:
        guards.require_may_wait()
        if self._handover.outbox:
            self._handover.wake(True)
        # Another thread of the application has no share of the pool to give away.
        share = self._client_wait
        if share is not None and threading.get_ident() != self._thread:
            share = None
        try:
            self.waiting_since = since
            if reading:
                self.reading_since = since
            if share is not None:
                share.wait_begins()
            wait.acquire()
        finally:
            self.waiting_since = self.reading_since = None
            if share is not None:
                share.wait_ended()

    def _disconnected(self) -> bool:
        failure = self._failure  # once: a hand-over may be marking it just now
        return failure is not None and failure is not BROKEN_HERE

    @application_thread
    def _wait_disconnected(self, timeout: float | None) -> bool:
        # Not a wait on the client as _wait knows it: nobody is slow here.
        until = None if timeout is None else clock.monotonic() + timeout
        while True:
            with self._handover.lock:
                left = -1.0 if until is None else max(0.0, until - clock.monotonic())
                if self._failure is not None or self.application_done or not left:
                    return self._failure is not None
                wait = self._register_locked()
            try:
                guards.require_may_wait()
                wait.acquire(True, min(left, threading.TIMEOUT_MAX))
            finally:
                with self._handover.lock:
                    if wait in self.waits:
                        self.waits.remove(wait)

    @application_thread
    def finished(self) -> None:
        """The application call is over, ``close()`` included. May be called again.

        A thread that it left behind reads no further: nothing would end its wait, and a content
        that is cut off here must not look whole.
        """
        handover = self._handover
        if self._failure is BROKEN_HERE:  # the property's call would be one for each request
            self._hand_over_break()
        if self.has_content:
            self._leave_content()
        if not handover.scheduled and handover.outbox:
            thread = self._client_wait
            if thread is None or thread.unwoken is None:
                handover.wake()  # something struck between a hand-over and its wake-up
        self.application_done = True
        if self.waits is not NO_WAITS:
            with handover.lock:
                handover.ceiling_waiters.discard(self)  # where something struck beside the wait
                self.notify_locked()

    def _hand_over_break(self) -> None:
        self._handover.outbox.append((self, BROKEN, None, b"", 0, None))
        self._handover.wake()

    def _leave_content(self) -> None:
        """Read no further, and let the loop know that nobody does, unless all was read."""
        handover = self._handover
        if (gathered := self.gathered) is not None and gathered.spooled:
            gathered.spooled.release()
        if self._input_ended and not (self._chunks or self._credit_due):
            return
        output: Output = (self, FINISHED, None, b"", 0, None)
        with handover.lock:
            if self._input_failure is None and (self._chunks or not self._input_ended):
                self._fail_input_locked(ClientDisconnected("the application call is over"))
            if self._failure is None:
                handover.outbox.append(output)
            self._credit_due = 0
        if handover.outbox:
            handover.wake()

    # ---------------------------------------------- the application's threads: the request

    @application_thread
    def take(self, parts: list[bytes], wanted: int, minimum: int = 1) -> int:
        """Move content, as it is there, behind ``parts``, waiting for the first octet.

        Returns the number of octets, 0 only at the end. May be up to one DATA frame more than
        ``wanted``: frames are not cut. Who has no use for less than ``minimum`` octets is not woken
        for less, if there is room for them.

        Raises:
            ClientDisconnected: the client went away or reset the stream before the end.
        """
        handover = self._handover
        if not self._input_ended:
            with handover.lock:
                # The peer has the rest of the window to go on with, so these octets do come.
                self._wanted = min(minimum, self.limits.credit_step)
                readable = self._is_readable_locked()
            if not readable:
                self._wait(self._is_readable_locked, reading=True)
        octets = 0
        with handover.lock:
            if (failure := self._input_failure or self._failure) is not None:
                raise again(failure)
            chunks = self._chunks
            self._failure = BROKEN_HERE
            while chunks and octets < wanted:
                parts.append(chunks[0])
                octets += len(chunks.popleft())
            self._buffered -= octets
            self._credit_due += octets
            self._failure = None
            self._return_credit_locked()
        if handover.outbox:
            handover.wake()
        return octets

    def _return_credit_locked(self) -> None:
        # Announced in steps of part of the window: the peer always has the rest of it to go on
        # with, so holding a step back never stalls it. But what is held back still counts as
        # buffered, and with the process full that would keep other connections waiting.
        handover = self._handover
        if self._credit_due < (1 if handover.input_full else self.limits.credit_step):
            return
        output: Output = (self, CREDIT, None, b"", self._credit_due, None)
        self._failure = BROKEN_HERE
        self._credit_due = 0
        handover.outbox.append(output)
        self._failure = None

    @application_thread
    def take_whole(self) -> bytes | None:
        """Return all the content there will be, if it has come in one piece; else None."""
        with self._handover.lock:
            if not self._input_ended or len(self._chunks) != 1 or self._failure is not None:
                return None
            self._failure = BROKEN_HERE
            self._credit_due += self._buffered
            self._buffered = 0
            whole = self._chunks.popleft()
            self._failure = None
        return whole

    @property
    def input_exhausted(self) -> bool:
        """True once the application has taken all there was, and nothing more can come."""
        return self._input_ended and not self._chunks and self._input_failure is None

    @application_thread
    def request_trailers(self) -> list[tuple[str, str]]:
        """``h2wsgi.trailers``: the request's trailers, once ``wsgi.input`` was read to its end."""
        return [(n.decode("ascii"), v.decode("latin-1")) for n, v in self.trailers or ()]

    # --------------------------------------------- the application's threads: the response

    @application_thread
    def send(self, head: Head | None, data: bytes, kind: Kind = MORE) -> None:
        """Hand over part of a response and return when there is room for more.

        A ``head`` behind another is left out. ``kind`` is MORE, END, ABORT or TRAILERS. A complete
        response is one call with END and does not wait for its own octets, only for the
        connection's ceiling. What another thread of the application hands over behind the end is
        dropped.

        Raises:
            ClientDisconnected: nobody will get it.
        """
        handover = self._handover
        with handover.lock:
            self.require_client()
            fits = not data or handover.takes_locked(len(data))
            if fits:
                self._hand_over_locked(head, data, kind)
        if fits:
            self._handed_over(kind)
        else:
            self._send_in_parts(head, data, kind)

    def _hand_over_locked(self, head: Head | None, data: bytes, kind: Kind) -> None:
        handover = self._handover
        size = len(data)
        if self.waits and kind is not MORE:
            self.notify_locked()
        late = self.head_left and kind is not TRAILERS
        output: Output = (self, kind, None if late else head, data, 0, None)
        self._failure = BROKEN_HERE
        # Only now, as a finalizer may have written to this stream since the caller looked.
        if self.output_ended:
            self._failure = None
            return
        if self.head_left and not late and kind is not TRAILERS:
            self._failure = None
            self._hand_over_locked(None, data, kind)  # a finalizer's head is there: leave ours out
            return
        self.handed_over += size
        self.unsent += size
        handover.unsent += size
        self.head_left = True
        self.output_ended = kind is not MORE
        handover.outbox.append(output)
        self._failure = None

    def _handed_over(self, kind: Kind) -> None:
        """Wake the loop, and wait for room, if more follows."""
        waits = kind is MORE and self.unsent >= self.limits.write_limit
        self._handover.wake(waits)
        if waits:
            self._wait(lambda: self.unsent <= self.limits.write_limit // 4)
            self.require_client()

    def _send_in_parts(self, head: Head | None, data: bytes, kind: Kind) -> None:
        """Hand over content that the connection or the process has no room for at once."""
        sent = 0
        while sent < len(data):
            self._wait_at_ceiling()
            with self._handover.lock:
                self.require_client()
                part = data[sent : sent + self._room_locked(len(data) - sent)]
                if not part:
                    continue  # others were sooner
                kind_now = MORE if sent + len(part) < len(data) else kind
                self._hand_over_locked(head, part, kind_now)
            sent += len(part)
            self._handed_over(kind_now)
            head = None

    def _room_locked(self, octets: int) -> int:
        """Return how many of so many octets may be handed over now."""
        handover = self._handover
        if self.output_ended:
            return octets  # they are dropped
        if handover.output.full:
            kept = handover.output.kept - handover.unsent
            return max(0, min(octets, self.limits.write_limit, kept))
        return self.limits.write_limit if handover.full else octets

    def _wait_at_ceiling(self) -> None:
        """Wait until some content may be handed over.

        Octets of streams whose windows stay closed may hold the ceiling for good. A stream whose
        own are all sent goes on beside them, a buffer at a time, or they would stall it too.
        """
        handover = self._handover

        def ready() -> bool:
            beside = not self.unsent and not handover.output.full
            return not handover.full or beside or self.output_ended

        try:
            with handover.lock:
                handover.ceiling_waiters.add(self)
            self._wait(ready)
        finally:
            handover.ceiling_waiters.discard(self)

    @application_thread
    def send_whole(self, head: Head, data: bytes) -> None:
        """Hand over a complete response in one piece, as most are.

        Wakes nobody: :attr:`ClientWait.unwoken` says that the thread has to do it, a little later.

        Raises:
            ClientDisconnected: nobody will get it.
        """
        handover = self._handover
        size = len(data)
        with handover.lock:
            credit = self._credit_due
            output: Output = (self, END, head, data, credit, None)
            if self.waits:
                self.notify_locked()
            if self._failure is None:
                self._failure = BROKEN_HERE
                # As takes_locked and _hand_over_locked, whose calls would cost as much again.
                if not (
                    self.head_left
                    or credit != self._credit_due  # a finalizer has read meanwhile
                    or (size and handover.unsent >= handover.ceiling)
                    or (handover.output.full and size > handover.output.kept - handover.unsent)
                ):
                    if (thread := self._client_wait) is not None:
                        # First: it is done even if something strikes once the output is there.
                        thread.unwoken = handover
                    self._credit_due = 0
                    self.handed_over = self.unsent = size
                    handover.unsent += size
                    self.head_left = self.output_ended = True
                    handover.outbox.append(output)
                    self._failure = None
                    return
                self._failure = None
        self.send(head, data, END)

    @application_thread
    def send_continue(self) -> None:
        """Tell the client to go on, unless the final head was handed over before."""
        if self._failure is None:
            self._send_informational(CONTINUE)

    def _send_informational(self, head: Head) -> bool:
        """Hand over a 1xx head; False if it is too late."""
        handover = self._handover
        output: Output = (self, MORE, head, b"", 0, None)
        with handover.lock:
            if self.head_left or self._failure is not None:
                return False
            handover.outbox.append(output)
        handover.wake()
        return True

    @application_thread
    def send_informational(self, status: int, headers: Iterable[tuple[str, str]] = ()) -> None:
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"the status is a number, not {type(status).__name__}")
        if not 100 <= status <= 199 or status == 101:
            raise ValueError(f"{status} is no informational status of HTTP/2")
        head = Head(status, informational_fields(headers))
        self.require_client()
        if not self._send_informational(head):
            self.require_client()
            raise ApplicationError(f"a {status} response after the final head")

    @application_thread
    def __call__(self, headers: Iterable[tuple[str, str]]) -> None:
        """``wsgi.early_hints``: send 103 with these fields; too late, they are of no use.

        Raises: as :meth:`send_informational`.
        """
        head = Head(103, informational_fields(headers))
        self.require_client()
        self._send_informational(head)

    # -------------------------------------------------- any thread: the rest of StreamControl

    @property
    def id(self) -> int:
        return self.stream_id

    @property
    def shared(self) -> dict[Any, Any]:
        return self.connection.shared

    @application_thread
    def _command(self, command: Command) -> None:
        failure = self._failure
        if (
            failure is not None
            and failure is not BROKEN_HERE
            and type(failure) is not StreamGivenUp
        ):
            raise again(failure)
        self._handover.outbox.append((self, COMMAND, None, b"", 0, command))
        self._handover.wake()


def again(failure: ClientDisconnected) -> ClientDisconnected:
    """Return a copy to raise: one instance raised in two threads would mix their tracebacks."""
    return type(failure)(*failure.args)
