"""What the two sides of one connection share: a lock, the outbox and the count of unsent octets.

Application threads append finished output; the loop thread drains it in batches. One lock per
connection guards this object *and* the shared fields of its streams, so that a hand-over costs
one acquisition and a batch on the loop costs one too. The loop is woken once per batch: only by
the hand-over that finds no flush scheduled.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from .budget import Budget
from .guards import loop_thread

if TYPE_CHECKING:
    from .stream import Stream
    from .stream_control import Command


class Head:
    """A field section to send, never changed once made: the same one may answer many requests.

    ``fields``: ``:status`` first, then lower-case names, as octets; trailers have status 0 and no
    ``:status``. ``block`` and ``whole`` are where an engine keeps them encoded, if that does not
    depend on the connection.
    """

    __slots__ = ("block", "fields", "status", "whole")

    def __init__(self, status: int, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.status = status
        self.fields = ((b":status", b"%d" % status), *fields) if status else tuple(fields)
        self.block: bytes | None = None
        self.whole: tuple[int, bytes, bytes] | None = None
        """Octets of content, and what stands around the stream's number in such a response."""


# How one hand-over leaves its stream.
OPEN = 0
"""More follows."""
END = 1
"""The response is complete: END_STREAM."""
ABORT = 2
"""The application failed: RST_STREAM(INTERNAL_ERROR) after what precedes it."""
FINISHED = 3
"""Not output: the application call is over, and it left content unread or its request open."""
CREDIT = 4
"""Not output: the application took octets; they go back to the stream's window."""
TRAILERS = 5
"""The response is complete: trailers, which come in the place of a head, with END_STREAM."""
COMMAND = 6
"""Not output: the next of :attr:`Handover.commands`, behind what its stream has handed over."""


class Limits(NamedTuple):
    """How much one stream of a connection may hold, in octets."""

    write_limit: int
    """Unsent content at which ``write`` waits, until a quarter is left."""
    credit_step: int
    """Content that the application takes before its stream's window is opened by as much."""
    max_body: int
    """Content that a request may have; 0 for any."""


Output = tuple["Stream", Head | None, bytes, int, int]
"""One hand-over: stream, head or None, content, one of the marks above, octets of credit.

Credit may also come with the whole response, which spares a FINISHED.
"""


class Handover:
    """The meeting point of one connection's loop side and its application threads.

    ``wake_threadsafe`` schedules a flush on the loop, see Wire.flush_threadsafe; ``ceiling`` is how
    many unsent octets the connection holds before hand-overs wait, ``output`` the same for the
    whole process; ``input_`` counts the process's unread content, None if nothing does.
    """

    __slots__ = ("_input", "ceiling", "ceiling_waiters", "commands", "lane", "lock",
                 "outbox", "output", "scheduled", "unsent", "wake_threadsafe")  # fmt: skip

    def __init__(
        self,
        wake_threadsafe: Callable[[bool], None],
        ceiling: int,
        output: Budget,
        input_: Budget | None = None,
    ) -> None:
        # immutable
        self.wake_threadsafe = wake_threadsafe
        """To be called outside of the lock."""
        self.ceiling = ceiling
        self.output = output
        self._input = input_
        self.lock = threading.Lock()
        # loop thread only
        self.lane: Any = None
        """Where whoever runs the applications keeps the connection's requests that wait."""
        # under the lock
        self.outbox: list[Output] = []
        self.commands: deque[Command] = deque()
        """One for each COMMAND in the outbox, in the same order."""
        self.unsent = 0
        """Octets handed over and not yet taken towards the transport, all streams together."""
        self.ceiling_waiters: set[Stream] = set()
        self.scheduled = False
        """Whether the loop will drain the outbox without being told again."""

    @property
    def full(self) -> bool:
        """True while the connection, or the process, holds all the output it may."""
        return self.unsent >= self.ceiling or self.output.full

    @property
    def process_full(self) -> bool:
        """True while the process holds all the output it may."""
        return self.output.full

    @property
    def input_full(self) -> bool:
        """True while the process holds all the content it may."""
        return self._input is not None and self._input.full

    def append_locked(self, output: Output) -> bool:
        """Append to the outbox; True if ``wake_threadsafe`` must be called afterwards."""
        self.outbox.append(output)
        self.unsent += len(output[2])
        if self.scheduled:
            return False
        self.scheduled = True
        return True

    @loop_thread
    def drain(self) -> list[Output]:
        """Take everything handed over so far, in order."""
        with self.lock:
            self.scheduled = False
            batch, self.outbox = self.outbox, []
        return batch

    @loop_thread
    def taken(self, counts: dict[Stream, int]) -> None:
        """Account octets that went towards the transport; wake writers that it makes room for."""
        with self.lock:
            for stream, octets in counts.items():
                self.unsent -= octets
                stream.sent_locked(octets)
            self.notify_ceiling_waiters_locked()

    @loop_thread
    def released(self, octets: int) -> None:
        """Account octets of streams on which nobody can wait any more."""
        with self.lock:
            self.unsent -= octets
            if self.ceiling_waiters:
                self.notify_ceiling_waiters_locked()

    def notify_ceiling_waiters_locked(self) -> None:
        """Let those that wait for the ceiling look again, if the octets are below it."""
        if self.ceiling_waiters and not self.full:
            self.wake_ceiling_waiters_locked()

    def wake_ceiling_waiters_locked(self) -> None:
        """Let those that wait for the ceiling look again."""
        for stream in self.ceiling_waiters:
            stream.notify_locked()
