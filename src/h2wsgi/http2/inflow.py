"""Content on its way in, as the process counts it, and the connection's credit for it.

The connection's credit returns when octets come (invariant 4), unless the process is full: then
requests that no application has seen are refused, as far as they hold something that cannot be
spilled to files, and the credit is withheld until there is room (invariant 3). It returns in steps
of half the window: few frames, and the peer always has the other half to go on with. RFC 9113
sections 5.2 and 8.7. Loop thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from ..codes import ErrorCode
from ..seam.budget import Share
from ..seam.stream import Stream
from .client_log import ClientLog
from .engines.interface import Engine
from .interfaces import ServerContext, Wire

TURNS = 3
"""Turns of the loop after which readers are woken, however much goes on coming for others."""


class Spiller(Protocol):
    """What makes room without refusing anybody."""

    def spill(self, stream: Stream) -> bool:
        """Have what the stream holds in memory written; False if it holds nothing of that kind."""


class Streams(Protocol):
    """What the inflow needs of its connection."""

    streams: dict[int, Stream]
    client_log: ClientLog

    def cancel(self, stream: Stream) -> bool:
        """Forget a request whose application has not started; False if it has."""

    @property
    def gathering(self) -> Spiller:
        """What can write content that nobody has seen to files."""

    def give_up(self, stream: Stream, outcome: str) -> None:
        """Give up a stream whose response is not whole, and which the engine has closed."""

    def forget_section(self, stream: Stream) -> None:
        """Count a large field section no more."""


class Inflow:
    """One connection's part of the process's input budget.

    ``streams`` is the connection itself, and ``sections`` its octets of large field sections that
    count as buffered, by stream.
    """

    __slots__ = (
        "_connection",
        "_engine",
        "_sections",
        "_server",
        "_step",
        "_wire",
        "budget",
        "owed",
        "withheld",
    )

    def __init__(
        self,
        streams: Streams,
        engine: Engine,
        server: ServerContext,
        wire: Wire,
        held: Share,
        sections: dict[int, int],
    ) -> None:
        # immutable
        self._connection = streams
        self._engine = engine
        self._server = server
        self._wire = wire
        self.budget = held
        self._step = max(1, server.config.connection_window // 2)
        # loop thread only
        self.owed = 0
        """Octets of the connection's window that were taken and are not announced yet."""
        self.withheld = 0
        """Octets of credit that are kept back until the process has room again."""
        self._sections = sections

    def taken(self, flow_octets: int) -> None:
        """Count octets that left the connection's window, and return the credit when it is due."""
        self.owed += flow_octets
        if self.owed < self._step:
            return
        due, self.owed = self.owed, 0
        if self.budget.full:
            self.withheld += due
        else:
            self._engine.credit(0, due)

    def count(self, octets: int, streams: Iterable[Stream]) -> None:
        """Count what ``streams`` brought; refuse what can be refused, if the process is full."""
        budget = self.budget
        was_full = budget.full
        budget.add(octets)
        if not budget.full:
            return
        if not was_full:
            self._server.input_is_full()
            return
        for stream in streams:
            self._refuse_if_unstarted(stream)

    def credit_stream(self, stream: Stream, octets: int) -> None:
        """Return a stream's credit for octets that its application took."""
        stream.budgeted -= octets
        self._engine.credit(stream.stream_id, octets)
        self.budget.release(octets)

    def return_credit(self) -> None:
        """Return what the streams hold back until it is a step: it counts as buffered so far.

        So do the field sections of running requests. Threads bound how many those are; counted
        on, they could hold the budget full and withhold the credit that they need to get on.
        """
        for stream in list(self._connection.streams.values()):
            if credit := stream.take_credit():
                self.credit_stream(stream, credit)
            if stream.has_begun:
                self._connection.forget_section(stream)

    def refuse_unstarted(self) -> None:
        """Refuse requests that no application has seen and that hold much (section 8.7)."""
        for stream in sorted(self._connection.streams.values(), key=lambda s: -s.stream_id):
            if not self.budget.full:
                break
            self._refuse_if_unstarted(stream)
        # Not sent here: another connection may be in the middle of its turn.
        self._wire.wake_threadsafe()

    def _refuse_if_unstarted(self, stream: Stream) -> None:
        if not (stream.budgeted or stream.stream_id in self._sections):
            return
        if self._connection.gathering.spill(stream):
            return
        if self._connection.cancel(stream):
            self._engine.reset_stream(stream.stream_id, ErrorCode.REFUSED_STREAM)
            said = f"stream {stream.stream_id} refused, out of buffers"
            self._connection.client_log.limit_hit("max_buffered", said)
            self._connection.give_up(stream, "reset by server: REFUSED_STREAM, out of buffers")
        else:
            self._connection.forget_section(stream)

    def relieved(self) -> None:
        """The process has room for content again: return the credit that was withheld."""
        if self.withheld:
            self._engine.credit(0, self.withheld)
            self.withheld = 0
            self._wire.wake_threadsafe()

    @property
    def withholds_credit(self) -> bool:
        """True while the peer may be waiting for us, so that its clocks must not run."""
        return self.withheld > 0


class ReaderWakeups:
    """When application threads that wait for content are woken: for a good piece of it at a time.

    A thread that wakes while the loop still reads only waits for the interpreter, and comes back
    for the next piece. So readers wait until the input is dry for a moment, which is at once unless
    the client is as fast as we are, or until a good part of a stream's window is there.

    ``call_soon`` runs a callback in the loop's next turn; ``enough`` is how many octets wake a
    reader at the end of a slice of input, dry or not.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], None], enough: int) -> None:
        self._call_soon = call_soon
        self._enough = enough
        self._waiting: dict[Stream, None] = {}
        self._scheduled = False
        self.heard = False
        """Whether content came since the last look."""
        self._turns = 0

    def received(self, stream: Stream) -> None:
        """Content came for a stream whose application may be waiting for some."""
        self._waiting[stream] = None
        self.heard = True

    def slice_ended(self) -> None:
        """The loop is about to do something else: wake those that have enough."""
        for stream in [s for s in self._waiting if s.buffered >= self._enough]:
            del self._waiting[stream]
            stream.wake_reader()
        if self._waiting and not self._scheduled:
            self._turns = 0
            self._scheduled = True
            self._call_soon(self._look)

    def _look(self) -> None:
        """Wake all if nothing came in the last turn."""
        self._turns += 1
        if self.heard and self._turns < TURNS:
            self.heard = False
            self._call_soon(self._look)
            return
        self._scheduled = self.heard = False
        waiting, self._waiting = self._waiting, {}
        for stream in waiting:
            stream.wake_reader()
