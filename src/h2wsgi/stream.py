"""THE SEAM between the two threads: one request, its content coming in, its response going out.

The loop thread calls the upper half, the application's thread the lower. A stream is made of
layers: how threads wait on it (stream_waits.py), the request's content (stream_input.py), and here
the response and what else an application may send. Every shared field is guarded by the
connection's :class:`~h2wsgi.handover.Handover` lock. What is handed over leaves in that order
(invariant 2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .errors import ApplicationError, ClientDisconnected, StreamGivenUp
from .field_rules import informational_fields
from .guards import application_thread, loop_thread
from .handover import COMMAND, CREDIT, END, FINISHED, OPEN, Handover, Head, Limits
from .request import ConnectionFacts, RequestFields
from .stream_control import Command
from .stream_input import NO_CHUNKS, IncomingStream

CONTINUE = Head(100)


class Stream(IncomingStream):
    """One request and its response.

    It is what the application gets of both as ``environ["h2wsgi.stream"]``, and, to be called,
    as ``environ["wsgi.early_hints"]``: objects of their own would cost every request.
    """

    __slots__ = (
        "_head_left", "_output_ended", "budgeted", "connection", "has_content", "octets_sent",
        "progress_at", "request", "response_ended", "started_at", "status", "stream_id", "unsent",
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
        # The fields of the other layers too: a call for each would cost every request.
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
        self._client_wait = None
        self._thread = 0
        self._whole = None
        # under the lock
        self.limits = limits
        self._chunks = NO_CHUNKS
        self._buffered = 0
        self._wanted = 1
        self._credit_due = 0
        self._input_ended = request_ended
        self._failure = None
        self._input_failure = None
        self._changed = None
        self._head_left = False
        self._output_ended = False
        self.unsent = 0
        """Octets of the response handed over and not yet taken towards the transport."""
        self.reading_since = None
        self.waiting_since = None
        self.application_done = False
        # loop thread only
        self.octets_received = 0
        self.budgeted = 0
        """Octets of content counted against the process's budget."""
        self.request_ended = request_ended
        self.response_ended = False
        self.status = 0
        self.octets_sent = 0
        self.progress_at = started_at
        """When response content last moved, by the monotonic clock."""

    # ------------------------------------------------------------------ the loop's thread

    @loop_thread
    def fail(self, reason: str, kind: type[ClientDisconnected] = ClientDisconnected) -> None:
        """End every wait: the application's next read or write raises ``kind``.

        Octets still unsent are given up; those in the outbox must be dropped when they are drained.
        """
        handover = self._handover
        with handover.lock:
            if self._failure is None:
                self._failure = kind(reason)
                self._fail_input_locked(self._failure)
                handover.unsent -= self.unsent
                self.unsent = 0
                handover.notify_ceiling_waiters_locked()

    @property
    def name(self) -> str:
        """The request as a log line names it: without its query, which may hold secrets."""
        path = self.request.path.partition(b"?")[0].decode("latin-1")
        return f"{self.request.method} {path} (stream {self.stream_id})"

    def sent_locked(self, octets: int) -> None:
        """Count octets that went towards the transport; wake a writer once it is worth it."""
        self.unsent -= octets
        if self.unsent <= self.limits.write_limit // 4:
            self.notify_locked()

    # ------------------------------------------------------------ the application's thread

    def _return_credit_locked(self, octets: int) -> bool:
        # Announced in steps of part of the window: the peer always has the rest of it to go on
        # with, so holding a step back never stalls it. But what is held back still counts as
        # buffered, and with the process full that would keep other connections waiting.
        handover = self._handover
        self._credit_due += octets
        if self._credit_due < (1 if handover.input_full else self.limits.credit_step):
            return False
        due, self._credit_due = self._credit_due, 0
        return handover.append_locked((self, None, b"", CREDIT, due))

    @application_thread
    def send(self, head: Head | None, data: bytes, mark: int = OPEN) -> None:
        """Hand over part of a response and return when there is room for more.

        ``mark`` is OPEN, END or ABORT. A complete response is one call with END and does not
        wait for its own octets, only for the connection's ceiling. What another thread of the
        application hands over behind END or ABORT is dropped.

        Raises:
            ClientDisconnected: nobody will get it.
        """
        handover = self._handover
        with handover.lock:
            fits = not data or not handover.full
            if fits:
                self.require_client()
                if self._output_ended:
                    return
                wake = self._hand_over_locked(head, data, mark)
        if fits:
            self._handed_over(wake, mark)
        else:
            self._send_in_parts(head, data, mark)

    def _handed_over(self, wake: bool, mark: int) -> None:
        """Wake the loop, if it has to be, and wait for room, if more follows."""
        waits = mark == OPEN and self.unsent >= self.limits.write_limit
        if wake:
            self._handover.wake_threadsafe(waits)
        if waits:
            with self._handover.lock:
                self._wait_locked(lambda: self.unsent <= self.limits.write_limit // 4)
                self.require_client()

    def _send_in_parts(self, head: Head | None, data: bytes, mark: int) -> None:
        """Hand over content that the connection or the process has no room for at once."""
        sent = 0
        while sent < len(data):
            with self._handover.lock:
                part = data[sent : sent + self._room_at_ceiling_locked(len(data))]
                self.require_client()
                if self._output_ended:
                    return
                sent += len(part)
                mark_now = OPEN if sent < len(data) else mark
                wake = self._hand_over_locked(head, part, mark_now)
            self._handed_over(wake, mark_now)
            head = None

    def _room_at_ceiling_locked(self, wanted: int) -> int:
        """Wait until some of ``wanted`` octets may be handed over; return how many.

        Octets of streams whose windows stay closed may hold the ceiling for good. A stream whose
        own are all sent goes on beside them, a buffer at a time, or they would stall it too.
        """
        handover = self._handover
        handover.ceiling_waiters.add(self)
        try:
            self._wait_locked(
                lambda: (
                    not handover.full
                    or (not self.unsent and not handover.process_full)
                    or self._output_ended
                )
            )
        finally:
            handover.ceiling_waiters.discard(self)
        return self.limits.write_limit if handover.full else wanted

    @application_thread
    def send_whole(self, head: Head, data: bytes) -> Callable[[bool], None] | None:
        """Hand over a complete response in one piece, as most are.

        Returns what the thread has to call before it waits or runs anything else, or None; the
        argument is whether it waits then.

        Raises:
            ClientDisconnected: nobody will get it.
        """
        handover = self._handover
        size = len(data)
        lock = handover.lock
        lock.acquire()  # "with" takes twice as long, 0.06 us
        try:
            # As full, _hand_over_locked and append_locked, whose calls would cost as much again.
            if not (
                self._output_ended
                or self._failure
                or (size and (handover.unsent >= handover.ceiling or handover.output.full))
            ):
                self._head_left = self._output_ended = True
                if self._changed is not None:
                    self._changed.notify_all()
                self.unsent += size
                handover.unsent += size
                due, self._credit_due = self._credit_due, 0
                handover.outbox.append((self, head, data, END, due))
                if handover.scheduled:
                    return None
                handover.scheduled = True
                return handover.wake_threadsafe
        finally:
            lock.release()
        self.send(head, data, END)
        return None

    def _hand_over_locked(self, head: Head | None, data: bytes, mark: int) -> bool:
        self.unsent += len(data)
        self._head_left = True
        if mark != OPEN:
            self._output_ended = True
            self.notify_locked()
        return self._handover.append_locked((self, head, data, mark, 0))

    @application_thread
    def send_continue(self) -> None:
        """Tell the client to go on, unless the final head was handed over before."""
        if self._failure is None:
            self._send_informational(CONTINUE)

    def _send_informational(self, head: Head) -> bool:
        """Hand over a 1xx head; False if it is too late."""
        with self._handover.lock:
            if self._head_left or self._failure is not None:
                return False
            wake = self._handover.append_locked((self, head, b"", OPEN, 0))
        if wake:
            self._handover.wake_threadsafe(False)
        return True

    @application_thread
    def send_informational(self, status: int, headers: Iterable[tuple[str, str]] = ()) -> None:
        """See StreamControl."""
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

    @application_thread
    def finished(self) -> None:
        """The application call is over, ``close()`` included.

        A thread that it left behind reads no further: nothing would end its wait, and a content
        that is cut off here must not look whole.
        """
        nothing_left = self._input_ended and not (self._chunks or self._credit_due)
        if nothing_left or not self.has_content:
            self.application_done = True
            if self._changed is not None:
                with self._handover.lock:
                    self.notify_locked()
            return
        handover = self._handover
        wake = False
        with handover.lock:
            self.application_done = True
            self.notify_locked()
            counted = self._buffered + self._credit_due
            self._credit_due = 0
            if self._input_failure is None and (self._chunks or not self._input_ended):
                self._fail_input_locked(ClientDisconnected("the application call is over"))
            if (counted or not self._input_ended) and self._failure is None:
                wake = handover.append_locked((self, None, b"", FINISHED, 0))
        if wake:
            handover.wake_threadsafe(False)

    # ----------------------------------------------------------------- see StreamControl

    @property
    def id(self) -> int:
        """See StreamControl."""
        return self.stream_id

    @property
    def shared(self) -> dict[Any, Any]:
        """See StreamControl."""
        return self.connection.shared

    @application_thread
    def _command(self, command: Command) -> None:
        handover = self._handover
        with handover.lock:
            if type(self._failure) is not StreamGivenUp:
                self.require_client()
            handover.commands.append(command)
            wake = handover.append_locked((self, None, b"", COMMAND, 0))
        if wake:
            handover.wake_threadsafe(False)
