"""What the two sides of one connection share: a lock, the outbox and the count of unsent octets.

Application threads append finished output; the loop thread drains it in batches. One lock per
connection guards this object *and* the shared fields of its streams, so that a hand-over costs
one acquisition and a batch on the loop costs one too. The loop is woken once per batch.

An exception may strike between any two lines of an application's thread, and a finalizer of the
application's may run there; the rules that make both harmless are at the top of stream.py.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from enum import IntEnum
from itertools import repeat, starmap
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from . import guards
from .budget import Budget
from .guards import loop_thread

if TYPE_CHECKING:
    from .control import Command
    from .stream import Stream


guards.may_hold_locks(__file__)


class Head:
    """A field section to send, never changed once made: the same one may answer many requests.

    ``fields``: ``:status`` first, then lower-case names, as octets; trailers have status 0 and no
    ``:status``. ``block`` and ``whole`` are where an engine keeps them encoded, if that does not
    depend on the connection. ``priority`` is the value of that field, if there is one.
    """

    __slots__ = ("block", "fields", "priority", "status", "whole")

    def __init__(
        self,
        status: int,
        fields: Iterable[tuple[bytes, bytes]] = (),
        priority: bytes | None = None,
    ) -> None:
        self.status = status
        self.priority = priority
        self.fields = ((b":status", b"%d" % status), *fields) if status else tuple(fields)
        self.block: bytes | None = None
        self.whole: tuple[int, bytes, bytes] | None = None
        """Octets of content, and what stands around the stream's number in such a response."""


class Kind(IntEnum):
    """What one hand-over is, and how it leaves its stream."""

    MORE = 0
    """Part of a response; more follows."""
    END = 1
    """The response is complete: END_STREAM."""
    ABORT = 2
    """The application failed: RST_STREAM(INTERNAL_ERROR) after what precedes it."""
    TRAILERS = 3
    """The response is complete: trailers, which come in the place of a head, with END_STREAM."""
    COMMAND = 4
    """No output: what the application asks for, behind what its stream has handed over."""
    CREDIT = 5
    """No output: the application took octets; they go back to the stream's window."""
    FINISHED = 6
    """No output: the application call is over, and it left content unread or its request open."""
    BROKEN = 7
    """No output: an exception struck in the middle of a hand-over of this stream."""
    WRITTEN = 8
    """No output: a part of the request's content is in its file, or cannot be."""


# Names of their own: by way of the class each look takes four times as long (CPython 3.11).
MORE, END, ABORT, TRAILERS = Kind.MORE, Kind.END, Kind.ABORT, Kind.TRAILERS
COMMAND, CREDIT, FINISHED, BROKEN = Kind.COMMAND, Kind.CREDIT, Kind.FINISHED, Kind.BROKEN
WRITTEN = Kind.WRITTEN


class Limits(NamedTuple):
    """How much one stream of a connection may hold, in octets."""

    write_limit: int
    """Unsent content at which ``write`` waits, until a quarter is left."""
    credit_step: int
    """Content that the application takes before its stream's window is opened by as much."""
    max_body: int
    """Content that a request may have; 0 for any."""


Output: TypeAlias = "tuple[Stream, Kind, Head | None, bytes, int, Command | None]"
"""What a thread hands over to the loop's: a stream, a kind, a head, data, credit, a command.

The credit is octets to return to the stream's window. With END they come too: it spares a FINISHED.
The command is what to do, of a COMMAND. A plain tuple, always unpacked whole, by these names: an
object with fields costs each request 0.2 us more (3 % of hello's CPU time).
"""


class Handover:
    """The meeting point of one connection's loop side and its application threads.

    ``wake_threadsafe(about_to_wait)`` has the outbox drained soon on the loop's thread;
    ``about_to_wait`` is what the calling thread is. ``ceiling`` is how many unsent octets the
    connection holds before hand-overs wait, ``output`` the same for the whole process, and how many
    of them each connection may hold in any case; ``input_`` counts the process's unread content,
    None if nothing does.
    """

    __slots__ = ("_input", "_wake_threadsafe", "ceiling", "ceiling_waiters", "lane", "lock",
                 "outbox", "output", "scheduled", "unsent")  # fmt: skip

    def __init__(
        self,
        wake_threadsafe: Callable[[bool], None],
        ceiling: int,
        output: Budget,
        input_: Budget | None = None,
    ) -> None:
        # immutable
        self._wake_threadsafe = wake_threadsafe
        self.ceiling = ceiling
        self.output = output
        self._input = input_
        self.lock = threading.RLock()
        """Re-entrant, as a finalizer that interrupts a thread inside may take it as well."""
        # loop thread only
        self.lane: Any = None
        """Where whoever runs the applications keeps the connection's requests that wait."""
        # any thread: a deque's append and popleft need no lock
        self.outbox: deque[Output] = deque()
        self.scheduled = False
        """Whether the loop will drain the outbox without being told again."""
        # under the lock
        self.unsent = 0
        """Octets handed over and not yet taken towards the transport, all streams together."""
        self.ceiling_waiters: set[Stream] = set()

    @property
    def full(self) -> bool:
        """True while the connection, or the process, holds all the output it may.

        Of a full process a connection keeps a share, which is worth waking for once half of it is
        free.
        """
        output = self.output
        return self.unsent >= self.ceiling or (output.full and 2 * self.unsent >= output.kept)

    def takes_locked(self, octets: int) -> bool:
        """Return True if so many octets may be handed over at once."""
        output = self.output
        return self.unsent < self.ceiling and not (
            output.full and self.unsent + octets > output.kept
        )

    @property
    def input_full(self) -> bool:
        """True while the process holds all the content it may."""
        return self._input is not None and self._input.full

    def forked(self) -> None:
        """See Forkable. The lock may be held by a thread that the child does not have."""
        self.lock = threading.RLock()
        self.scheduled = True

    def wake(self, about_to_wait: bool = False) -> None:
        """Have the loop drain the outbox, unless it will anyway. Call it outside of the lock."""
        if self.scheduled:
            return
        try:
            self.scheduled = True
            self._wake_threadsafe(about_to_wait)
        except BaseException:
            self.scheduled = False  # or whatever is handed over next would wake nobody
            raise

    @loop_thread
    def drain(self) -> list[Output]:
        """Take everything handed over so far, in order."""
        self.scheduled = False  # first: what comes from here on wakes the loop anew
        outbox = self.outbox
        # In C: a loop of ours costs a third more for each.
        return list(starmap(outbox.popleft, repeat((), len(outbox))))

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
        for stream in list(self.ceiling_waiters):
            stream.notify_locked()
