"""Responses on their way out: queued, framed by the engine, written in batches, accounted.

One write to the transport per batch, as each becomes TLS records and a system call of its own.
Loop thread only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from ..codes import FRAME_LIMIT
from ..process.clock import clock
from ..seam.budget import Share
from ..seam.control import Command
from ..seam.handover import ABORT, END, MORE, Handover, Head, Kind, Output
from ..seam.stream import Stream
from .engines.interface import Engine
from .frame_meter import FrameMeter
from .interfaces import Wire
from .priorities import PriorityTurns, read_signal
from .send_queue import SendQueue

BATCH = 131_072
"""Octets gathered for one write to the transport."""
LARGEST_BATCH = 524_288
"""Octets of one write once the socket has taken several in a row at once.

A download of 10 MiB takes a fifth less CPU time then, most of it the kernel's. But a client that
stops reading leaves a batch in the transport, where no budget counts it, and TLS keeps a buffer as
large as the largest write.
"""
PRIORITIZED_BATCH = 32_768
"""The same where several responses have priorities: nothing overtakes what was written."""
BATCHES_PER_TURN = 2
"""Writes in a row before other connections get their turn."""
SMALL_PIECE = 4_096
"""Octets below which a piece of content is worth being joined to the next."""
HEAD_COST = 64
"""What a piece without content counts against a batch, in octets."""


class OutflowHandler(Protocol):
    """What becomes of a stream whose last piece was sent."""

    def response_ended(self, stream: Stream) -> None:
        """END_STREAM was handed to the engine."""

    def close(self, stream: Stream, outcome: str) -> None:
        """END_STREAM was handed to the engine, and both sides have ended."""

    def response_aborted(self, stream: Stream) -> None:
        """The application failed in the middle: what it sent has left, the end never will."""

    def run(self, command: Command) -> None:
        """Do what an application asked for; what it sent before has been framed."""


class Outflow:
    """The send queue of a connection and what drains it.

    ``streams`` is the connection's own table. ``budget`` counts octets from :meth:`push` until they
    are written or released.
    """

    def __init__(
        self,
        handler: OutflowHandler,
        engine: Engine,
        wire: Wire,
        handover: Handover,
        budget: Share,
        meter: FrameMeter,
        streams: dict[int, Stream],
    ) -> None:
        self._handler = handler
        self._engine = engine
        self._wire = wire
        self._handover = handover
        self._budget = budget
        self._meter = meter
        self._streams = streams
        self._queue = SendQueue(engine.send_window)
        self.whole_unwritten = 0
        """Octets of responses that were sent whole, given to the engine since the last write."""
        self._written: dict[Stream, int] = {}
        """Octets given to the engine since the last write to the transport."""
        self._gathered = 0
        self._batch = self._least_batch = BATCH
        self._turns: PriorityTurns | None = None
        """Set once anybody has said which response is to go first."""
        self._octets_written = 0
        """Octets of frames given to the transport so far."""
        self._content_written = 0
        """How many of those octets were content of responses."""
        self._octets_taken = self._content_taken = 0
        """The octets of frames, and of content, that the transport had sent at the last look."""

    def push(self, stream: Stream, head: Head | None, data: bytes, kind: Kind) -> None:
        """Queue output that an application handed over."""
        if data:
            self._budget.add(len(data))
            stream.queued += len(data)
        if head is not None and head.priority is not None:
            signal = read_signal(head.priority)
            if signal is not None:
                self._prioritized().answered(stream.stream_id, signal)
        self._begin_to_wait(stream)
        self._queue.push(stream.stream_id, head, data, kind)

    def frame_whole(self, outputs: Iterator[Output]) -> Output | None:
        """Frame complete responses at once, until one has to go through the queue, or is something
        else; return that one, or None at the end.

        Most responses are like this. They leave in the order in which they were handed over, and
        no octet of them waits, so that none needs to be counted.
        """
        streams, pending = self._streams, self._queue.pending
        send_response, handler, wire = self._engine.send_response, self._handler, self._wire
        if wire.write_paused or (pending and self._queue.has_ready):
            return next(outputs, None)
        for output in outputs:
            stream, kind, head, data, _, _ = output
            stream_id = stream.stream_id
            if (
                kind is not END
                or head is None
                or streams.get(stream_id) is not stream
                or (pending and stream_id in pending)
                or not send_response(stream_id, head, data)
            ):
                return output
            size = len(data)
            stream.head = head
            stream.octets_sent = size
            stream.unsent = 0  # no thread adds to it behind END
            self.whole_unwritten += size
            self._gathered += size + HEAD_COST
            if stream.request_ended:
                handler.close(stream, "")  # as response_ended does, a call (0.06 us) sooner
            else:
                handler.response_ended(stream)
            if self._gathered >= self._least_batch:
                self.write()
                if self._wire.write_paused:
                    return next(outputs, None)
        return None

    def push_command(self, stream: Stream, command: Command) -> None:
        """Have a command run behind what its stream has to send."""
        self._begin_to_wait(stream)
        self._queue.push_command(stream.stream_id, command)

    def prioritize(self, stream_id: int, value: bytes, *, first: bool) -> None:
        """The client says how urgent a response is: in its request if ``first``."""
        if (signal := read_signal(value)) is not None:
            self._prioritized().asked(stream_id, signal, first=first)

    def _prioritized(self) -> PriorityTurns:
        if self._turns is None:
            self._turns = PriorityTurns(self._may_be_answered)
            self._queue.take_turns_by(self._turns)
            self._batch = self._least_batch = PRIORITIZED_BATCH
            self._wire.keep_unsent_low()
        return self._turns

    def _may_be_answered(self, stream_id: int) -> bool:
        return stream_id in self._streams or stream_id > self._engine.last_stream_id

    def _begin_to_wait(self, stream: Stream) -> None:
        """Note since when a stream waits for its client, if nothing of it is queued yet."""
        if stream.stream_id not in self._queue.pending:
            stream.progress_at = clock.monotonic()

    def take_commands(self) -> list[Command]:
        """Take the commands that were not run; no stream is left."""
        return self._queue.take_commands()

    def stall(self, stream: Stream) -> None:
        """Send nothing of a stream until :meth:`resume`."""
        self._queue.stall(stream.stream_id)

    def resume(self, stream: Stream) -> None:
        """Let a stream go on that was held up."""
        stream.progress_at = clock.monotonic()
        self._queue.resume(stream.stream_id)

    def is_waiting(self, stream: Stream) -> bool:
        """Return True if output of the stream waits for its window, the transport or its turn."""
        stream_id = stream.stream_id
        return stream_id in self._queue.pending and stream_id not in self._queue.stalled

    def content_taken(self) -> int:
        """Return the octets of content that the transport has sent so far.

        Other frames do not count, as a client that takes only answers to PING takes nothing. Of
        what the transport still holds, content is taken to be sent first.
        """
        taken = self._octets_written - self._wire.unsent
        outstanding = self._content_written - self._content_taken
        self._content_taken += min(taken - self._octets_taken, outstanding)
        self._octets_taken = taken
        return self._content_taken

    def is_held_up(self, stream: Stream) -> bool:
        """Return True while the stream waits for the socket, or for the connection's window alone.

        Then it shares what is taken with the other streams.
        """
        if self._wire.write_paused:
            return True
        engine = self._engine
        return engine.send_window(0) <= 0 and engine.own_window(stream.stream_id) > 0

    def ends(self, stream: Stream) -> bool:
        """Return True if the end of the stream's response waits to be sent."""
        return self._queue.ends(stream.stream_id)

    def window_opened(self, stream_id: int) -> None:
        """The window of a stream grew, or with 0 perhaps that of any."""
        self._queue.window_opened(stream_id)

    @property
    def has_output(self) -> bool:
        """True if there may be something for :meth:`transmit` to do."""
        return len(self._queue.pending) > 0 or len(self._engine.output) > 0

    def transmit(self) -> bool:
        """Write what windows and transport allow; True if there is more to do in another turn."""
        if not self._queue.pending:  # The usual case: whole responses are not queued.
            self.write()
            return False
        for _ in range(BATCHES_PER_TURN):
            more = not self._wire.write_paused and self._gather()
            self.write()
            if not more:
                return False
        return True

    def drop(self, stream: Stream) -> None:
        """Drop what is queued of a stream whose response is not whole, and stop counting it.

        Octets still in the outbox were never counted here; they are dropped when it is drained.
        """
        self._written.pop(stream, None)
        self._queue.discard(stream.stream_id)
        octets, stream.queued = stream.queued, 0
        self._budget.release(octets)

    def relieved(self) -> None:
        """The process has room for output again: let hand-overs go on."""
        with self._handover.lock:
            # At the connection's own ceiling too: a stream without unsent octets may go on there.
            self._handover.wake_ceiling_waiters_locked()

    def _gather(self) -> bool:
        """Let the engine frame up to a batch; True if there may be more."""
        gathered = 0
        next_piece, send_data = self._queue.next, self._engine.send_data
        while gathered < self._batch:
            piece = next_piece()
            if piece is None:
                return False
            stream_id, head, data, kind, command = piece
            octets = len(data)
            gathered += octets + HEAD_COST
            if octets:
                stream = self._streams[stream_id]
                send_data(stream_id, data, kind is END)
                self._meter.data_frames += 1
                stream.octets_sent += octets
                self._written[stream] = self._written.get(stream, 0) + octets
                if kind is not MORE:
                    self._left(stream, kind)
            elif command is not None:
                self._handler.run(command)
            else:
                self._send_without_data(self._streams[stream_id], head, kind)
        return True

    def _send_without_data(self, stream: Stream, head: Head | None, kind: Kind) -> None:
        ended = kind is END
        if head is not None:
            self._engine.send_headers(stream.stream_id, head, ended)
            if head.status:  # trailers have none
                stream.head = head
        elif ended:
            self._engine.send_data(stream.stream_id, b"", True)
            self._meter.data_frames += 1
        self._left(stream, kind)

    def _left(self, stream: Stream, kind: Kind) -> None:
        if kind is END:
            self._handler.response_ended(stream)
        elif kind is ABORT:
            self._handler.response_aborted(stream)

    def write(self) -> None:
        """Write what the engine has framed."""
        self._gathered = 0
        data = self._engine.data_to_send()
        if data:
            self._octets_written += len(data)
            self._wire.write(data)
            if len(data) >= self._least_batch:
                # Of several streams with priorities the next to come may be the most urgent.
                alone = self._turns is None or len(self._queue.pending) == 1
                taken = alone and not self._wire.unsent
                self._batch = min(2 * self._batch, LARGEST_BATCH) if taken else self._least_batch
        if self.whole_unwritten:
            octets, self.whole_unwritten = self.whole_unwritten, 0
            self._content_written += octets
            self._handover.released(octets)
        if self._written:
            written, self._written = self._written, {}
            now = clock.monotonic()
            for stream, octets in written.items():
                stream.progress_at = now
                stream.queued -= octets
            octets = sum(written.values())
            self._content_written += octets
            self._budget.release(octets)
            self._handover.taken(written)


def joined(batch: list[Output]) -> Iterator[Output]:
    """Return a batch with the small pieces of one stream, as generators make them, put together.

    Up to a frame at a time: each piece costs as much on its way through the queue.
    """
    pending = iter(batch)
    output = next(pending, None)
    while output is not None:
        first = output
        output = next(pending, None)
        stream, kind, head, data, _, _ = first
        if kind is MORE and len(data) < SMALL_PIECE:
            pieces = [data]
            octets = len(data)
            while output is not None and kind is MORE:
                its_stream, its_kind, its_head, its_data, _, _ = output
                octets += len(its_data)
                if (
                    its_stream is not stream
                    or its_head is not None
                    or its_kind > ABORT
                    or octets > FRAME_LIMIT
                ):
                    break
                pieces.append(its_data)
                kind = its_kind
                output = next(pending, None)
            if len(pieces) > 1:
                first = (stream, kind, head, b"".join(pieces), 0, None)
        yield first
