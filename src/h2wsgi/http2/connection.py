"""One connection's streams: engine events in, applications' output out.

Between the engine and the seam. Knows no asyncio: a :class:`Wire` takes the octets, a
:class:`Host` runs the applications. Loop thread only, except where a name ends in _threadsafe.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator

from h2.errors import ErrorCodes

from ..codes import code_name
from ..errors import ReadTimeout, RequestTimeout, UnacceptableRequest
from ..guards import loop_thread
from ..handover import (
    ABORT,
    COMMAND,
    CREDIT,
    END,
    FINISHED,
    OPEN,
    Handover,
    Head,
    Limits,
    Output,
)
from ..logs import AccessRecord
from ..request import ConnectionFacts, RequestFields
from ..stream import Stream
from ..stream_control import Command
from .commands import ConnectionCommands
from .engines import make_engine
from .fields import FieldList
from .frame_meter import FrameMeter
from .frame_types import MAX_FRAME_SIZE
from .host import Host, Wire
from .outflow import Outflow
from .readers import Readers
from .receive_credit import ReceiveCredit

SMALL_PIECE = 4_096
"""Octets below which a piece of content is worth being joined to the next."""
REFUSAL_DELAY = 0.25
"""Seconds between a complete response and RST_STREAM(NO_ERROR) for the rest of its request."""


class Connection:
    """An :class:`~h2wsgi.http2.engines.interface.EngineHandler` and the sender of its responses."""

    def __init__(self, host: Host, wire: Wire, facts: ConnectionFacts) -> None:
        config = host.config
        self._host = host
        self._wire = wire
        self._facts = facts
        self._log = host.log
        self._new_stream = host.new_stream
        self.engine = make_engine(self, config)
        self.streams: dict[int, Stream] = {}
        self._handover = Handover(
            wire.flush_threadsafe, config.connection_buffer, host.output_budget, host.input_budget
        )
        self.meter = FrameMeter(config)
        self.outflow = Outflow(
            self, self.engine, wire, self._handover, host.output_budget, self.meter, self.streams
        )
        self._credit = ReceiveCredit(config.connection_window)
        self._limits = Limits(
            config.stream_buffer, credit_step=config.stream_window // 4, max_body=config.max_body
        )
        self._commands = ConnectionCommands(self, self.engine, self.outflow, wire)
        self._trailers: FieldList | None = None
        """Those of the request that ends next."""
        self._readers = Readers(wire.call_soon, enough=config.stream_window // 2)
        self._withheld = 0
        self._settings_acknowledged = False
        self._said: set[str] = set()
        """What the log was told of this client, which may do it again and again."""
        self._sections: dict[int, int] = {}
        """Octets of large field sections that count as buffered, by stream."""
        self._arrived: list[Stream] = []
        """Requests that came in this slice of the input."""
        self._max_requests: float = config.max_requests_per_connection or math.inf

    # ---------------------------------------------------------------- events of the engine

    def request_received(self, stream_id: int, request: RequestFields, end_stream: bool) -> None:
        """See EngineHandler."""
        stream = self._open(stream_id, request, end_stream)
        declared = request.content_length
        if declared is not None and 0 < self._limits.max_body < declared:
            self._say_body_too_large(stream)
            self._answer(stream, 413)
        else:
            self._arrived.append(stream)
        if request.large:
            was_full = self._host.input_budget.full
            self._sections[stream_id] = request.large
            self._host.input_budget.add(request.large)
            self._look_at_budget(stream, was_full)

    def request_unacceptable(self, stream_id: int, error: UnacceptableRequest, head: bool) -> None:
        """See EngineHandler."""
        status = error.status
        method = "HEAD" if head else "GET"
        request = RequestFields(method, b"", None, b"/", (), None, expects_continue=False)
        said = f"answered {status} on stream {stream_id}: {error}"
        if error.limit:
            self.limit_hit(error.limit, said)
        else:
            self.say_once(f"answered {status}", said)
        self._answer(self._open(stream_id, request, False), status)

    @loop_thread
    def slice_ended(self) -> None:
        """Have the applications run for the requests that came since the last call, a batch, and
        go on for the content that came."""
        self._readers.slice_ended()
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            self.meter.requests += len(arrived)
            self._host.start_requests(self._handover, arrived)
            if self.meter.requests >= self._max_requests:
                self._wire.retire()

    def _cancel(self, stream: Stream) -> bool:
        """Forget a request whose application has not started; False if it has."""
        if stream in self._arrived:
            self._arrived.remove(stream)
            return True
        return self._host.cancel_request(self._handover, stream)

    def _open(self, stream_id: int, request: RequestFields, request_ended: bool) -> Stream:
        stream = self._new_stream(
            stream_id,
            request,
            self._facts,
            self._handover,
            self._limits,
            request_ended,
        )
        if not self.streams:
            self._wire.streams_changed(1)
        self.streams[stream_id] = stream
        return stream

    def _answer(self, stream: Stream, status: int) -> None:
        """Answer in place of the application, and take no more of the request."""
        stream.application_done = True
        text = b"" if stream.request.method == "HEAD" else _REASONS[status]
        head = Head(
            status,
            [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"%d" % len(_REASONS[status])),
            ],
        )
        with self._handover.lock:
            stream.unsent += len(text)
            self._handover.unsent += len(text)
        self.outflow.push(stream, head, text, END)

    def data_received(self, stream_id: int, data: bytes, flow_octets: int) -> None:
        """See EngineHandler. The connection's credit returns at once (invariant 4)."""
        if (stream := self.streams.get(stream_id)) is None:
            self.data_discarded(flow_octets)
            return
        budget = self._host.input_budget
        was_full = budget.full
        octets = len(data)
        before = stream.octets_received
        if data and stream.receive(data):
            stream.budgeted += octets
            budget.add(octets)
            if stream.has_waited:
                self._readers.received(stream)
        else:
            octets = 0
            most = self._limits.max_body
            if most and before <= most < stream.octets_received and not stream.application_done:
                self._say_body_too_large(stream)
        if octets < flow_octets:
            self.engine.credit(stream_id, flow_octets - octets)
        self.data_discarded(flow_octets)
        self._look_at_budget(stream, was_full)

    def _look_at_budget(self, stream: Stream, was_full: bool) -> None:
        """Refuse what can be refused, if what ``stream`` has just brought was too much."""
        if self._host.input_budget.full:
            if was_full:
                self._refuse_if_unstarted(stream)
            else:
                self._host.input_is_full()

    def data_discarded(self, flow_octets: int) -> None:
        """See EngineHandler."""
        due = self._credit.taken(flow_octets)
        if self._host.input_budget.full:
            self._withheld += due
        elif due:
            self.engine.credit(0, due)

    def trailers_received(self, stream_id: int, fields: FieldList) -> None:
        """See EngineHandler."""
        self._trailers = fields

    def request_ended(self, stream_id: int) -> None:
        """See EngineHandler."""
        trailers, self._trailers = self._trailers, None
        stream = self.streams.get(stream_id)
        if stream is None or stream.request_ended:
            return
        stream.end_input(trailers)
        if stream.response_ended:
            self._close(stream, "")

    def stream_reset(self, stream_id: int, code: int, by_peer: bool, reason: str) -> None:
        """See EngineHandler."""
        name = code_name(code)
        if not by_peer:
            said = f"stream {stream_id} reset with {name}: {reason}"
            if code == ErrorCodes.REFUSED_STREAM:
                self.limit_hit("max_streams", said)
            else:
                self.say_once(f"reset {name}", said)
        if (stream := self.streams.get(stream_id)) is not None:
            self._cancel(stream)
            who = "client" if by_peer else "server"
            self.abandon(stream, "" if stream.response_ended else f"reset by {who}: {name}")
        if not by_peer:
            # Before it has our SETTINGS, a client cannot know the limit of streams.
            if code == ErrorCodes.REFUSED_STREAM and self._settings_acknowledged:
                self.meter.spend("max_refusals")
            self.meter.reset_emitted()

    def window_opened(self, stream_id: int) -> None:
        """See EngineHandler."""
        self.outflow.window_opened(stream_id)

    def settings_received(self) -> None:
        """See EngineHandler. A larger initial window may let any stream go on."""
        self.outflow.window_opened(0)
        self._wire.settings_received()

    def settings_acknowledged(self, entries: dict[int, int]) -> None:
        """See EngineHandler."""
        self._settings_acknowledged = True
        self._wire.settings_acknowledged()
        self._commands.settings_acknowledged(entries)

    def ping_acknowledged(self, payload: bytes) -> None:
        """See EngineHandler."""
        if not self._commands.ping_acknowledged(payload):
            self._wire.ping_acknowledged(payload)

    def peer_going_away(self, last_stream_id: int, code: int, debug: bytes) -> None:
        """See EngineHandler."""
        if code:
            said = f"the client is going away: {code_name(code)} {debug[:200]!r}"
            self.say_once("going away", said)

    def limit_hit(self, option: str, text: str) -> None:
        """Count that the client went over the limit of an option, and log it once."""
        self._host.limit_hit(option)
        self.say_once(option, f"{text} (--{option.replace('_', '-')})")

    def _say_body_too_large(self, stream: Stream) -> None:
        self.limit_hit("max_body", f"the content of stream {stream.stream_id} is too large")

    def say_once(self, kind: str, text: str) -> None:
        """Log what a client does, once: the next time of the same kind is for debugging only."""
        level = logging.DEBUG if kind in self._said else logging.INFO
        self._said.add(kind)
        self._log.events.log(level, "%s: %s", self._facts.peer, text)

    # -------------------------------------------------------------------------- output

    @loop_thread
    def flush(self) -> bool:
        """Take what the applications handed over and send what may be sent; see transmit."""
        streams, send_whole = self.streams, self.outflow.send_whole
        batch = self._handover.drain()
        # Only then can a stream have more than one piece in it.
        outputs = joined(batch) if len(batch) > len(streams) else batch
        for stream, head, data, mark, credit in outputs:
            if mark == COMMAND:
                self._take_command(stream)
                continue
            if streams.get(stream.stream_id) is not stream:
                continue  # closed meanwhile; its octets were given up then
            if mark == END and head is not None and send_whole(stream, head, data):
                self.response_ended(stream)
                continue
            if credit:
                self._credit_stream(stream, credit)
            if mark == FINISHED:
                self._application_finished(stream)
            elif mark != CREDIT:
                self.outflow.push(stream, head, data, mark)
        return self.transmit()

    def _take_command(self, stream: Stream) -> None:
        # Not run at once: the rest of the batch has not been counted yet.
        command = self._handover.commands.popleft()
        if self._commands.closed:
            self.run(command)
        else:
            self.outflow.push_command(stream, command)

    def run(self, command: Command) -> None:
        """See OutflowHandler."""
        command(self._commands)

    def limit_credit_step(self, window: int) -> None:
        """Return credit in steps that fit a stream window of ``window`` octets.

        They never grow again: the peer may stay with the smaller window until it acknowledged
        the larger.
        """
        step = max(1, min(self._limits.credit_step, window // 4))
        self._limits = self._limits._replace(credit_step=step)
        for stream in self.streams.values():
            stream.set_limits(self._limits)
        self.return_credit()

    @loop_thread
    def transmit(self) -> bool:
        """Write what windows and transport allow; True if there is more to do in another turn."""
        return self.outflow.transmit()

    def _credit_stream(self, stream: Stream, octets: int) -> None:
        stream.budgeted -= octets
        self.engine.credit(stream.stream_id, octets)
        self._host.input_budget.release(octets)

    def _application_finished(self, stream: Stream) -> None:
        budgeted, stream.budgeted = stream.budgeted, 0
        self._host.input_budget.release(budgeted)
        if stream.response_ended:
            self._refuse_rest(stream)

    # ------------------------------------------------------------------- the end of a stream

    def response_ended(self, stream: Stream) -> None:
        """See OutflowHandler."""
        stream.response_ended = True
        if stream.request_ended:
            self._close(stream, "")
        elif stream.application_done:
            self._refuse_rest(stream)

    def response_aborted(self, stream: Stream) -> None:
        """See OutflowHandler."""
        self.reset(stream, ErrorCodes.INTERNAL_ERROR, "the application failed")

    def _refuse_rest(self, stream: Stream) -> None:
        """The response is whole and nobody reads the rest of the request (section 8.1).

        What still comes is discarded. RST_STREAM follows a little later, unless the peer has
        ended the request by then: curl 7.88 throws the response away if both arrive together.
        """
        self._close(stream, "")
        stream_id = stream.stream_id
        self._wire.call_later(
            REFUSAL_DELAY, lambda: self.engine.reset_stream(stream_id, ErrorCodes.NO_ERROR)
        )

    def reset(self, stream: Stream, code: int, outcome: str) -> None:
        """End a stream from our side.

        A client may drop even a whole response because of it, unless the code is NO_ERROR (section
        8.1). So that is the code where only the rest of the request is given up.
        """
        if stream.response_ended:
            code, outcome = ErrorCodes.NO_ERROR, ""
        else:
            outcome = f"reset by server: {code_name(code)}, {outcome}"
        self.engine.reset_stream(stream.stream_id, code)
        self._cancel(stream)
        self.abandon(stream, outcome)

    def abandon(self, stream: Stream, outcome: str) -> None:
        """Give up a stream whose response is not whole, and which the engine has closed."""
        self.outflow.give_up(stream)
        stream.fail(outcome or "the stream was reset")
        self._close(stream, outcome)

    def _close(self, stream: Stream, outcome: str) -> None:
        del self.streams[stream.stream_id]
        if stream.budgeted:
            self._host.input_budget.release(stream.budgeted)
            stream.budgeted = 0
        if self._sections:
            self._forget_section(stream)
        if not self.streams:
            self._wire.streams_changed(0)
        if self._log.accesses:
            self._log.access(self._record(stream, outcome))

    def _record(self, stream: Stream, outcome: str) -> AccessRecord:
        request = stream.request
        return AccessRecord(
            method=request.method,
            path=request.path.decode("latin-1"),
            status=stream.status,
            protocol="HTTP/2",
            stream_id=stream.stream_id,
            seconds=time.monotonic() - stream.started_at,
            octets=stream.octets_sent,
            remote=self._facts.peer,
            outcome=outcome,
        )

    # ------------------------------------------------------------------ the whole connection

    def lose(self, reason: str) -> None:
        """The transport is gone: end every stream."""
        self._commands.close()
        for stream in list(self.streams.values()):
            self._cancel(stream)
            self.abandon(stream, reason)
        for command in self.outflow.take_commands():
            self.run(command)

    def lose_incomplete(self, reason: str) -> None:
        """No more input will be read: end the streams whose request is not whole."""
        for stream in list(self.streams.values()):
            if not stream.request_ended:
                self.reset(stream, ErrorCodes.CANCEL, reason)

    def return_credit(self) -> None:
        """Return what the streams hold back until it is a step: it counts as buffered so far.

        So do the field sections of running requests. Threads bound how many those are; counted
        on, they could hold the budget full and withhold the credit that they need to get on.
        """
        for stream in list(self.streams.values()):
            if credit := stream.take_credit():
                self._credit_stream(stream, credit)
            if stream.has_begun:
                self._forget_section(stream)

    def refuse_unstarted(self) -> None:
        """Refuse requests that no application has seen and that hold much (section 8.7)."""
        for stream in sorted(self.streams.values(), key=lambda s: -s.stream_id):
            if not self._host.input_budget.full:
                break
            self._refuse_if_unstarted(stream)
        # Not here: it may be another connection's turn, and this one's end may have come.
        self._wire.flush_threadsafe()

    def _refuse_if_unstarted(self, stream: Stream) -> None:
        if not (stream.budgeted or stream.stream_id in self._sections):
            return
        if self._cancel(stream):
            self.engine.reset_stream(stream.stream_id, ErrorCodes.REFUSED_STREAM)
            self.limit_hit("max_buffered", f"stream {stream.stream_id} refused, out of buffers")
            self.abandon(stream, "reset by server: REFUSED_STREAM, out of buffers")
        else:
            self._forget_section(stream)

    def _forget_section(self, stream: Stream) -> None:
        self._host.input_budget.release(self._sections.pop(stream.stream_id, 0))

    def input_relieved(self) -> None:
        """The process has room for content again: return the credit that was withheld."""
        if self._withheld:
            self.engine.credit(0, self._withheld)
            self._withheld = 0
            self._wire.flush_threadsafe()

    def output_relieved(self) -> None:
        """The process has room for output again: let hand-overs go on."""
        with self._handover.lock:
            # At the connection's own ceiling too: a stream without unsent octets may go on there.
            self._handover.wake_ceiling_waiters_locked()

    def read_timed_out(self, stream: Stream, reason: str) -> None:
        """The peer kept the application's read waiting too long."""
        stream.fail_input(ReadTimeout(reason))

    def request_timed_out(self, stream: Stream) -> None:
        """The response did not become whole in time: what the application still says is dropped.

        A 503 stands in for a head that has not left. Behind one that has, INTERNAL_ERROR says that
        the response is not whole, as for any other failure of the application: CANCEL would say
        that nobody needs the rest, and that it was the client's fault.
        """
        if self.streams.get(stream.stream_id) is not stream or self.outflow.ends(stream):
            return  # what is left to do is the client's, which has write_timeout for it
        self._cancel(stream)
        self.outflow.give_up(stream)
        stream.fail("the request took too long to be answered", RequestTimeout)
        if stream.response_ended:
            self._refuse_rest(stream)  # which the application reads on and on
        elif stream.status >= 200:
            self._log_late(stream, "its response is cut off")
            self.engine.reset_stream(stream.stream_id, ErrorCodes.INTERNAL_ERROR)
            self._close(stream, "reset by server: INTERNAL_ERROR, not answered in time")
        else:
            self._log_late(stream, "the client gets a 503")
            self._answer(self._stand_in(stream), 503)

    def _stand_in(self, stream: Stream) -> Stream:
        """Put another stream in the place of one whose application is not listened to any more.

        What that one still hands over is dropped, as it is for any stream that is not in the table.
        """
        self._host.input_budget.release(stream.budgeted)
        stream.budgeted = 0
        stand_in = Stream(
            stream.stream_id,
            stream.request,
            self._facts,
            self._handover,
            self._limits,
            stream.request_ended,
        )
        stand_in.started_at = stream.started_at
        self.streams[stream.stream_id] = stand_in
        return stand_in

    def _log_late(self, stream: Stream, outcome: str) -> None:
        self._host.limit_hit("request_timeout")
        limit = self._host.config.request_timeout
        late = f"{stream.name} took longer than {limit:g} s (--request-timeout)"
        self.say_once("request timeout", f"{late}: {outcome}")

    @property
    def withholds_credit(self) -> bool:
        """True while the peer may be waiting for us, so that its clocks must not run."""
        return self._withheld > 0


def joined(batch: list[Output]) -> Iterator[Output]:
    """Return a batch with the small pieces of one stream, as generators make them, put together.

    Up to a frame at a time: each piece costs as much on its way through the queue.
    """
    pending = iter(batch)
    output = next(pending, None)
    while output is not None:
        stream, head, data, mark, credit = output
        output = next(pending, None)
        if mark == OPEN and len(data) < SMALL_PIECE:
            pieces = [data]
            octets = len(data)
            while (
                output is not None
                and output[0] is stream
                and output[1] is None
                and output[3] <= ABORT
                and mark == OPEN
                and octets + len(output[2]) <= MAX_FRAME_SIZE
            ):
                pieces.append(output[2])
                octets += len(output[2])
                mark = output[3]
                output = next(pending, None)
            if len(pieces) > 1:
                data = b"".join(pieces)
        yield stream, head, data, mark, credit


_REASONS = {
    413: b"Content Too Large\n",
    431: b"Request Header Fields Too Large\n",
    501: b"Not Implemented\n",
    503: b"Service Unavailable\n",
}
