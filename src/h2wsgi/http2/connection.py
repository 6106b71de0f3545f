"""One connection: engine events in, applications' output out, and its streams from begin to end.

Between the engine and the seam. Knows no asyncio: a :class:`Wire` takes the octets, a
:class:`ServerContext` runs the applications. A stream that leaves the table has ended for good: its
waits are over (invariant 1), nothing of it is counted any more (invariant 3), and what its
application still hands over is dropped. RFC 9113 sections 5.1, 5.4.2 and 8.1. Loop thread only.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from ..codes import ErrorCode, code_name
from ..errors import ClientDisconnected, MalformedRequest, StreamGivenUp, UnacceptableRequest
from ..log.logs import named
from ..process.clock import clock
from ..seam.control import Command
from ..seam.guards import loop_thread
from ..seam.handover import BROKEN, CREDIT, END, FINISHED, WRITTEN, Handover, Head, Limits, Output
from ..seam.request import ConnectionFacts, RequestFields
from ..seam.stream import BROKEN_HERE, Stream
from .client_log import ClientLog
from .commands import ConnectionCommands
from .engines import make_engine
from .engines.interface import EngineHandler
from .fields import FieldList, unserved_request
from .frame_meter import FrameMeter
from .gathering import Gathering, waits_for_answers
from .inflow import Inflow, ReaderWakeups
from .interfaces import ServerContext, Wire
from .leftovers import RESET_DELAY, Leftovers
from .outflow import Outflow, joined

NO_STREAM = 1 << 31
"""Above the number of any stream."""
SMALL_DATA = 1_024
"""Octets below which DATA that nobody takes counts as a frame that brought nothing.

What a client had under way when its stream ended is no offence, and comes in large frames mostly.
"""
_REASONS = {
    400: b"Bad Request: ",
    408: b"Request Timeout\n",
    413: b"Content Too Large\n",
    421: b"Misdirected Request\n",
    431: b"Request Header Fields Too Large\n",
    501: b"Not Implemented\n",
    503: b"Service Unavailable\n",
}


class Connection(EngineHandler):
    """What the engine tells becomes streams; what applications hand over goes to the engine."""

    # Beyond thirty fields a dict of an instance would be 1.5 KiB.
    __slots__ = (
        "_access_wanted", "_arrived", "_arrived_at", "_arrives_from", "_commands", "_facts",
        "_gathers", "_handover", "_held", "_leftovers", "_limits", "_log", "_max_body",
        "_max_requests", "_new_stream", "_queued", "_readers", "_sections", "_server",
        "_settings_acknowledged", "_trailers", "_uncounted", "_wire", "client_log", "engine",
        "gathering", "inflow", "meter", "outflow", "streams",
    )  # fmt: skip

    def __init__(self, server: ServerContext, wire: Wire, facts: ConnectionFacts) -> None:
        config = server.config
        # immutable
        self._server = server
        self._wire = wire
        self._facts = facts
        self._log = server.log
        self._counts = server.counts
        self._new_stream = server.new_stream
        self._held = server.input_budget.share()
        self._queued = server.output_budget.share()
        self._handover = Handover(
            wire.wake_threadsafe,
            config.connection_buffer,
            server.output_budget,
            server.input_budget,
        )
        self._max_body = config.max_body
        self._gathers = server.unsized_content == "buffer"
        self._max_requests: float = config.max_requests_per_connection or math.inf
        self.client_log = ClientLog(server, facts)
        self._end_wanted = server.log.access_wanted
        self._tell_end: Callable[[Stream, str], None] = self.client_log.access
        """Who hears of each request that has ended, if that is wanted."""
        if self._counts is not None:
            self._end_wanted = True.__bool__  # a lambda's call takes twice as long
            self._tell_end = self._counts.told_with(self.client_log.access, self._log.access_wanted)
        # loop thread only
        self.streams: dict[int, Stream] = {}
        self._sections: dict[int, int] = {}
        """Octets of large field sections that count as buffered, by stream."""
        self._arrived: list[Stream] = []
        """Requests that came in this slice of the input."""
        self._arrives_from = NO_STREAM
        """The stream of the first of them; those below are with their applications."""
        self._arrived_at = 0.0
        """When the first of them came, by the monotonic clock. The others count from then too."""
        self._uncounted = 0
        """Octets of content in this slice's requests that the budget does not know of yet."""
        self._trailers: FieldList | None = None
        """The trailers of the request that ends next."""
        self._settings_acknowledged = False
        self._limits = Limits(
            config.stream_buffer, credit_step=config.stream_window // 4, max_body=config.max_body
        )
        self.engine = make_engine(self, config)
        self.meter = FrameMeter(config)
        self.outflow = Outflow(
            self, self.engine, wire, self._handover, self._queued, self.meter, self.streams
        )
        self.inflow = Inflow(self, self.engine, server, wire, self._held, self._sections)
        self.gathering = Gathering(self, self.engine, server, self.inflow, self.outflow)
        self._leftovers = Leftovers(self.engine, config, wire.call_later, self._tell_if_idle)
        self._readers = ReaderWakeups(wire.call_soon, enough=config.stream_window // 2)
        self._commands = ConnectionCommands(self, self.engine, self.outflow, wire)

    # ---------------------------------------------------------------- events of the engine

    def request_received(self, stream_id: int, request: RequestFields, end_stream: bool) -> None:
        stream = self._open(stream_id, request, end_stream)
        if self._max_body and (request.content_length or 0) > self._max_body:
            self.client_log.body_too_large(stream)
            self.answer(stream, 413)
        elif (
            end_stream
            or request.content_length is not None
            or not self._gathers
            or waits_for_answers(request)
        ):
            self._arrived.append(stream)
        else:
            self.gathering.begin(stream)
        if request.priority is not None:
            self.outflow.prioritize(stream_id, request.priority, first=True)
        if request.large:
            self._sections[stream_id] = request.large
            self.inflow.count(request.large, (stream,))

    def request_unacceptable(
        self, stream_id: int, error: MalformedRequest | UnacceptableRequest, fields: FieldList
    ) -> None:
        malformed = isinstance(error, MalformedRequest)
        if malformed:
            self.meter.reset_emitted()
        status = error.status
        said = f"answered {status} on stream {stream_id}: {error}"
        if error.limit:
            self.client_log.limit_hit(error.limit, said)
        else:
            self.client_log.say_once(f"answered {status}", said)
        # A malformed request is reset in a moment: nobody waits for its content.
        stream = self._open(stream_id, unserved_request(fields), malformed)
        self.answer(stream, status, f"{error}\n" if malformed else "")
        if malformed:
            self._wire.call_later(RESET_DELAY, lambda: self._reset_malformed(stream_id))

    def request_refused(self, stream_id: int, fields: FieldList) -> None:
        if self._log.access_wanted is not None and self._log.access_wanted():
            self.client_log.refused(stream_id, fields)
        if self._counts is not None:
            self._counts.request_refused(fields)

    def _reset_malformed(self, stream_id: int) -> None:
        """End the stream of a malformed request (section 8.1.1), answered or not.

        With the answer before it, and a moment to read that, people see what is wrong, and clients
        that would ask again on another connection (Go's, 500 times in 3 s) do not.
        """
        if (stream := self.streams.get(stream_id)) is not None:
            self.give_up(stream, "reset by server: PROTOCOL_ERROR, malformed")
        self.engine.reset_ended(stream_id, ErrorCode.PROTOCOL_ERROR)

    @loop_thread
    def dispatch(self) -> None:
        """A slice of the input is over: start the applications of the requests that came in it, and
        let others go on that wait for content that came."""
        if self._readers.heard:
            self._readers.slice_ended()
        if self._uncounted:
            # Before any application starts, so that what is too much can be refused.
            uncounted, self._uncounted = self._uncounted, 0
            self.inflow.count(uncounted, self._arrived.copy())
        self._arrives_from = NO_STREAM
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            self.meter.requests += len(arrived)
            self._server.start_requests(self._handover, arrived)
            if self.meter.requests >= self._max_requests:
                self._wire.closing.retire()

    def data_received(
        self, stream_id: int, data: bytes, flow_octets: int, end_stream: bool
    ) -> None:
        # The connection's credit returns at once (invariant 4).
        if (stream := self.streams.get(stream_id)) is None:
            step = self._limits.credit_step
            self._leftovers.received(stream_id, flow_octets, end_stream, step)
            self.data_discarded(flow_octets)
            return
        if (gathered := stream.gathered) is not None:
            self.gathering.received(stream, gathered, data, flow_octets)
            if end_stream:
                self.request_ended(stream_id)
            return
        if (
            end_stream
            and stream_id >= self._arrives_from
            and not (stream.octets_received or stream.application_done or self._max_body)
        ):
            # Most small requests: no thread knows of the stream yet, so nothing has to be locked,
            # and the octets are counted with those of the other requests of the slice. (A client
            # may send the field sections of many requests first, as nghttp2 does.)
            stream.receive_whole(data)
            stream.budgeted = len(data)
            self._uncounted += len(data)
            self.inflow.taken(flow_octets)
            return
        kept = self._receive(stream, data)
        stream.budgeted += kept
        if kept < flow_octets:
            self.engine.credit(stream_id, flow_octets - kept)
            if not kept:
                self._count_discarded(flow_octets)
        self.inflow.count(kept, (stream,))
        self.inflow.taken(flow_octets)
        if end_stream:
            self.request_ended(stream_id)

    def _receive(self, stream: Stream, data: bytes) -> int:
        """Buffer content; return how many octets were kept, none if nobody will read them."""
        octets = len(data)
        if octets and stream.receive(data):
            if stream.has_waited:
                self._readers.received(stream)
            return octets
        received, most = stream.octets_received, self._max_body
        if most and received - octets <= most < received and not stream.application_done:
            self.client_log.body_too_large(stream)
        return 0

    def data_discarded(self, flow_octets: int) -> None:
        self.inflow.taken(flow_octets)
        self._count_discarded(flow_octets)

    def _count_discarded(self, flow_octets: int) -> None:
        if flow_octets < SMALL_DATA:
            self.meter.spend("max_glitches")

    def fields_discarded(self) -> None:
        self.meter.spend("max_glitches")

    def trailers_received(self, stream_id: int, fields: FieldList) -> None:
        self._trailers = fields

    def request_ended(self, stream_id: int) -> None:
        trailers, self._trailers = self._trailers, None
        stream = self.streams.get(stream_id)
        if stream is None or stream.request_ended:
            self._leftovers.received(stream_id, 0, True, 0)
            return
        stream.end_input(trailers)
        if stream.gathered is not None:
            self.gathering.ended(stream, stream.gathered)
        elif stream.response_ended:
            self.close(stream, "")

    def content_is_short(self, stream_id: int) -> bool:
        """Who has an answer need not send what it announced, as of ``Expect:
        100-continue`` (RFC 9110 section 10.1.1): the answer goes on, a read fails."""
        stream = self.streams.get(stream_id)
        if stream is None:
            return True
        if stream.status < 200:
            return False
        stream.fail_input(ClientDisconnected("the client has ended its content early"))
        return True

    def begin(self, stream: Stream) -> None:
        self._arrived.append(stream)

    def stream_reset(self, stream_id: int, code: int, by_peer: bool, reason: str) -> None:
        name = code_name(code)
        if not by_peer:
            said = f"stream {stream_id} ended by RST_STREAM({name}): {reason}"
            if code == ErrorCode.REFUSED_STREAM:
                self.client_log.limit_hit("max_streams", said)
            else:
                self.client_log.say_once(f"reset {name}", said)
        if (stream := self.streams.get(stream_id)) is not None:
            self.cancel(stream)
            who = "client" if by_peer else "server"
            self.give_up(stream, "" if stream.response_ended else f"reset by {who}: {name}")
        self._leftovers.drop(stream_id)
        if not by_peer:
            # Before it has our SETTINGS, a client cannot know the limit of streams.
            if code == ErrorCode.REFUSED_STREAM and self._settings_acknowledged:
                self.meter.spend("max_refusals")
            self.meter.reset_emitted()

    def window_opened(self, stream_id: int) -> None:
        self.outflow.window_opened(stream_id)

    def settings_received(self) -> None:
        # A larger initial window may let any stream go on.
        self.outflow.window_opened(0)
        self._wire.settings_received()

    def section_too_large(self, stream_id: int, octets: int, limit: int) -> None:
        stream = self.streams.get(stream_id)
        which = f"stream {stream_id}" if stream is None else stream.name
        said = (
            f"{which}: a field section of {octets:,} octets is sent to a client that takes no more "
            f"than {limit:,} (SETTINGS_MAX_HEADER_LIST_SIZE); it may drop the whole connection"
        )
        self.client_log.say_once("section too large", said, logging.WARNING)

    def settings_acknowledged(self, entries: dict[int, int]) -> None:
        self._settings_acknowledged = True
        self._wire.settings_acknowledged()
        self._commands.settings_acknowledged(entries)

    def ping_acknowledged(self, payload: bytes) -> None:
        if not self._commands.ping_acknowledged(payload):
            self._wire.closing.ping_acknowledged(payload)

    def priority_updated(self, stream_id: int, value: bytes) -> None:
        self.outflow.prioritize(stream_id, value, first=False)

    def peer_going_away(self, last_stream_id: int, code: int, debug: bytes) -> None:
        if code:
            said = f"the client sent GOAWAY({code_name(code)}) {debug[:200]!r}"
            self.client_log.say_once("going away", said)

    # -------------------------------------------------------------------------- output

    @loop_thread
    def flush(self) -> bool:
        """Take what the applications handed over, and send what may be sent as Outflow.transmit."""
        batch = self._handover.drain()
        # Only a batch of several can hold more than one piece of a stream.
        outputs = joined(batch) if len(batch) > len(self.streams) else iter(batch)
        while (output := self.outflow.frame_whole(outputs)) is not None:
            self._take(output)
        return self.outflow.transmit()

    def _take(self, output: Output) -> None:
        """Take what is more than a whole response that may leave at once."""
        stream, kind, head, data, credit, command = output
        if command is not None:
            self._take_command(stream, command)
            return
        if kind is BROKEN:
            self._repair(stream)
            return
        if self.streams.get(stream.stream_id) is not stream:
            return  # the stream was closed meanwhile, and its octets given up
        if credit:
            self.inflow.credit_stream(stream, credit)
        if kind is FINISHED:
            self._application_finished(stream)
        elif kind is WRITTEN:
            self.gathering.written(stream)
            self.dispatch()
        elif kind is not CREDIT:
            self.outflow.push(stream, head, data, kind)

    def _take_command(self, stream: Stream, command: Command) -> None:
        # Not run at once: the rest of the batch has not been counted yet.
        if self._commands.closed:
            self.run(command)
        else:
            self.outflow.push_command(stream, command)

    def _repair(self, stream: Stream) -> None:
        """Count anew what is unsent, and end a stream whose state is not known."""
        peer = self._facts.peer
        extra = named("stream_broken", peer=peer)
        self._log.events.error("%s: %s: %s", peer, stream.name, BROKEN_HERE, extra=extra)
        is_open = self.streams.get(stream.stream_id) is stream
        with self._handover.lock:
            stream.unsent = 0
            unsent = sum(other.unsent for other in self.streams.values())
            self._handover.unsent = unsent + self.outflow.whole_unwritten
        if is_open:
            self.reset(stream, ErrorCode.INTERNAL_ERROR, "an exception struck in a hand-over")

    def run(self, command: Command) -> None:
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
        self.inflow.return_credit()

    def _application_finished(self, stream: Stream) -> None:
        # Its thread says so only after this was handed over, and may be held up in between.
        stream.application_done = True
        if stream.response_ended:
            self.refuse_rest(stream)
        elif stream.budgeted:
            # What comes from here on is credited as it comes.
            self.inflow.credit_stream(stream, stream.budgeted)

    # ----------------------------------------------------------------- streams: their begin

    def _open(self, stream_id: int, request: RequestFields, request_ended: bool) -> Stream:
        if stream_id < self._arrives_from:
            self._arrives_from = stream_id
            self._arrived_at = clock.monotonic()
        new_stream = self._new_stream  # a call of an attribute takes twice as long, 0.04 us
        stream = new_stream(
            stream_id,
            request,
            self._facts,
            self._handover,
            self._limits,
            self._arrived_at,
            request_ended,
        )
        if not self.streams:
            self._wire.streams_changed(1)
        self.streams[stream_id] = stream
        return stream

    def cancel(self, stream: Stream) -> bool:
        """Forget a request whose application has not started; False if it has."""
        if stream in self._arrived:
            self._arrived.remove(stream)
            return True
        if stream.gathered is not None and not stream.gathered.started:
            return True
        return self._server.cancel_request(self._handover, stream)

    # ------------------------------------------------------ in place of the application

    def answer(self, stream: Stream, status: int, reason: str = "") -> None:
        """Answer in place of the application, and take no more of the request.

        ``reason`` ends its content, for a status that does not speak for itself.
        """
        stream.application_done = True
        head, text = _short_answer(status, reason, stream.request.method)
        with self._handover.lock:
            stream.unsent += len(text)
            self._handover.unsent += len(text)
        self.outflow.push(stream, head, text, END)

    def stand_in(self, stream: Stream) -> Stream:
        """Put another stream in the place of one whose application is not listened to any more.

        What that one still hands over is dropped, as it is for any stream that is not in the table.
        """
        self._forget_content(stream)
        stand_in = Stream(
            stream.stream_id,
            stream.request,
            self._facts,
            self._handover,
            self._limits,
            stream.started_at,
            stream.request_ended,
        )
        self.streams[stream.stream_id] = stand_in
        return stand_in

    # ------------------------------------------------------------------- the end of a stream

    def response_ended(self, stream: Stream) -> None:
        stream.response_ended = True
        if stream.request_ended:
            self.close(stream, "")
        elif stream.application_done:
            self.refuse_rest(stream)

    def response_aborted(self, stream: Stream) -> None:
        self.reset(stream, ErrorCode.INTERNAL_ERROR, "the application failed")

    def refuse_rest(self, stream: Stream) -> None:
        """The response is whole and nobody reads the rest of the request (section 8.1).

        What still comes is discarded. RST_STREAM follows, unless the peer has ended the request
        by then.
        """
        self._leftovers.add(stream.stream_id, stream.budgeted)
        self.close(stream, "")

    @property
    def is_in_use(self) -> bool:
        """Whether a stream is open, or the rest of a request is still taken."""
        return bool(self.streams or self._leftovers.rests)

    def _tell_if_idle(self) -> None:
        if not self.is_in_use:
            self._wire.streams_changed(0)

    def holds_up(self, stream: Stream) -> Stream | None:
        """Return the stream that keeps ``stream`` waiting for the room of their connection.

        Of several, the one that would need longest, at its pace so far, to take what it holds;
        None if ``stream`` waits for its own client.
        """
        if stream.unsent or stream not in self._handover.ceiling_waiters:
            return None
        now = clock.monotonic()
        holders = [s for s in self.streams.values() if self.outflow.is_waiting(s) and s.queued]
        return max(
            holders,
            key=lambda s: s.queued * (now - s.started_at) / max(1, s.octets_sent),
            default=None,
        )

    def reset(
        self,
        stream: Stream,
        code: int,
        outcome: str,
        kind: type[ClientDisconnected] = ClientDisconnected,
    ) -> None:
        """End a stream from our side; its application's reads and writes raise ``kind``.

        A client may drop even a whole response because of it, unless the code is NO_ERROR (section
        8.1). So that is the code where only the rest of the request is given up.
        """
        if stream.response_ended:
            code, outcome = ErrorCode.NO_ERROR, ""
        else:
            outcome = f"reset by server: {code_name(code)}, {outcome}"
        self.engine.reset_stream(stream.stream_id, code)
        self.cancel(stream)
        self.give_up(stream, outcome, kind)

    def give_up(
        self, stream: Stream, outcome: str, kind: type[ClientDisconnected] = ClientDisconnected
    ) -> None:
        """Give up a stream whose response is not whole, and which the engine has closed."""
        self.outflow.drop(stream)
        stream.fail(outcome or "the stream was reset", kind)
        self.close(stream, outcome)

    def ignore_above(self, last_stream_id: int) -> None:
        """Give up what GOAWAY has just called unprocessed: an answer would give it the lie."""
        above = [s for s in self.streams.values() if s.stream_id > last_stream_id]
        self._cancel_all(above)
        for stream in above:
            self.engine.abandon(stream.stream_id)
            self.give_up(stream, "above the last stream of GOAWAY", StreamGivenUp)

    def close(self, stream: Stream, outcome: str) -> None:
        """Take a stream out of the table; ``outcome`` says why, if it did not end as it should."""
        del self.streams[stream.stream_id]
        if stream.has_content:
            self._forget_content(stream)
        if self._sections:
            self.forget_section(stream)
        if not self.streams:
            self._tell_if_idle()
        if self._end_wanted is not None and self._end_wanted():
            self._tell_end(stream, outcome)

    def _forget_content(self, stream: Stream) -> None:
        """Count the content of a stream no more, and keep none that no application has seen."""
        if stream.gathered is not None and not stream.has_begun:
            self.gathering.forget(stream)
        elif stream.budgeted:
            self._held.release(stream.budgeted)
            stream.budgeted = 0

    def forget_section(self, stream: Stream) -> None:
        """Count a large field section no more."""
        self._held.release(self._sections.pop(stream.stream_id, 0))

    def lose_incomplete(self, reason: str) -> None:
        """No more input will be read: end the streams whose request is not whole."""
        self._leftovers.forget()
        self._reset_all([s for s in self.streams.values() if not s.request_ended], reason)

    def reset_all(self, reason: str) -> None:
        """The time for all open streams is up."""
        self._reset_all(list(self.streams.values()), reason)

    def _reset_all(self, streams: list[Stream], reason: str) -> None:
        self._cancel_all(streams)
        for stream in streams:
            self.reset(stream, ErrorCode.CANCEL, reason)

    def _cancel_all(self, streams: list[Stream]) -> None:
        # Before a stream ends: the thread that its end wakes would begin the next request.
        for stream in streams:
            self.cancel(stream)

    def lose(self, reason: str) -> None:
        """The transport is gone: end every stream."""
        self._commands.close()
        lost = list(self.streams.values())
        self._cancel_all(lost)
        for stream in lost:
            self.give_up(stream, reason)
        for command in self.outflow.take_commands():
            self.run(command)

    def forget(self) -> None:
        """The transport is gone and every stream has ended: hold nothing of the budgets."""
        self._held.end()
        self._queued.end()
        self._leftovers.forget()


def _short_answer(status: int, reason: str, method: str) -> tuple[Head, bytes]:
    """Return head and content of a response that says what the status means."""
    text = _REASONS[status] + reason.encode("ascii", "backslashreplace")
    head = Head(
        status,
        [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(text)),
        ],
    )
    return head, b"" if method == "HEAD" else text
