"""One connection: engine events in, applications' output out.

Between the engine and the seam. Knows no asyncio: a :class:`Wire` takes the octets, a
:class:`Host` runs the applications. How streams begin and end is in streams.py. Loop thread only.
"""

from __future__ import annotations

import math

from h2.errors import ErrorCodes

from ..codes import code_name
from ..errors import UnacceptableRequest
from ..guards import loop_thread
from ..handover import BROKEN, CREDIT, FINISHED, Output
from ..request import ConnectionFacts, RequestFields
from ..stream import BROKEN_HERE, Stream
from ..stream_control import Command
from .answers import unreadable_request
from .commands import ConnectionCommands
from .engines import make_engine
from .fields import FieldList
from .frame_meter import FrameMeter
from .host import Host, Wire
from .inflow import Inflow
from .joining import joined
from .outflow import Outflow
from .readers import Readers
from .streams import NO_STREAM, Streams


class Connection(Streams):
    """An :class:`~h2wsgi.http2.engines.interface.EngineHandler` and the sender of its responses."""

    def __init__(self, host: Host, wire: Wire, facts: ConnectionFacts) -> None:
        super().__init__(host, wire, facts)
        config = host.config
        self.engine = make_engine(self, config)
        self.meter = FrameMeter(config)
        self.outflow = Outflow(
            self, self.engine, wire, self._handover, host.output_budget, self.meter, self.streams
        )
        self.inflow = Inflow(self, self.engine, host, wire, self._sections)
        self._commands = ConnectionCommands(self, self.engine, self.outflow, wire)
        self._trailers: FieldList | None = None
        """Those of the request that ends next."""
        self._readers = Readers(wire.call_soon, enough=config.stream_window // 2)
        self._settings_acknowledged = False
        self._max_body = config.max_body
        self._uncounted = 0
        """Octets of content in this slice's requests that the budget does not know of yet."""
        self._max_requests: float = config.max_requests_per_connection or math.inf

    # ---------------------------------------------------------------- events of the engine

    def request_received(self, stream_id: int, request: RequestFields, end_stream: bool) -> None:
        """See EngineHandler."""
        stream = self._open(stream_id, request, end_stream)
        if self._max_body and (request.content_length or 0) > self._max_body:
            self.client_log.body_too_large(stream)
            self.answer(stream, 413)
        else:
            self._arrived.append(stream)
        if request.large:
            self._sections[stream_id] = request.large
            self.inflow.count(request.large, (stream,))

    def request_unacceptable(self, stream_id: int, error: UnacceptableRequest, head: bool) -> None:
        """See EngineHandler."""
        status = error.status
        said = f"answered {status} on stream {stream_id}: {error}"
        if error.limit:
            self.client_log.limit_hit(error.limit, said)
        else:
            self.client_log.say_once(f"answered {status}", said)
        self.answer(self._open(stream_id, unreadable_request(head), False), status)

    @loop_thread
    def slice_ended(self) -> None:
        """Have the applications run for the requests that came since the last call, a batch, and
        go on for the content that came."""
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
            self._host.start_requests(self._handover, arrived)
            if self.meter.requests >= self._max_requests:
                self._wire.retire()

    def data_received(
        self, stream_id: int, data: bytes, flow_octets: int, end_stream: bool
    ) -> None:
        """See EngineHandler. The connection's credit returns at once (invariant 4)."""
        if (stream := self.streams.get(stream_id)) is None:
            self.inflow.taken(flow_octets)
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
        """See EngineHandler."""
        self.inflow.taken(flow_octets)

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
            self.close(stream, "")

    def stream_reset(self, stream_id: int, code: int, by_peer: bool, reason: str) -> None:
        """See EngineHandler."""
        name = code_name(code)
        if not by_peer:
            said = f"stream {stream_id} reset with {name}: {reason}"
            if code == ErrorCodes.REFUSED_STREAM:
                self.client_log.limit_hit("max_streams", said)
            else:
                self.client_log.say_once(f"reset {name}", said)
        if (stream := self.streams.get(stream_id)) is not None:
            self.cancel(stream)
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
            self.client_log.say_once("going away", said)

    # -------------------------------------------------------------------------- output

    @loop_thread
    def flush(self) -> bool:
        """Take what the applications handed over, and send what may be sent as Outflow.transmit."""
        batch = self._handover.drain()
        # Only then can a stream have more than one piece in it.
        outputs = joined(batch) if len(batch) > len(self.streams) else iter(batch)
        while (output := self.outflow.send_whole(outputs)) is not None:
            self._take(output)
        return self.outflow.transmit()

    def _take(self, output: Output) -> None:
        """Take what is not a whole response that may leave at once."""
        stream, kind = output.stream, output.kind
        if output.command is not None:
            self._take_command(stream, output.command)
            return
        if kind is BROKEN:
            self._repair(stream)
            return
        if self.streams.get(stream.stream_id) is not stream:
            return  # closed meanwhile; its octets were given up then
        if output.credit:
            self.inflow.credit_stream(stream, output.credit)
        if kind is FINISHED:
            self._application_finished(stream)
        elif kind is not CREDIT:
            self.outflow.push(stream, output.head, output.data, kind)

    def _take_command(self, stream: Stream, command: Command) -> None:
        # Not run at once: the rest of the batch has not been counted yet.
        if self._commands.closed:
            self.run(command)
        else:
            self.outflow.push_command(stream, command)

    def _repair(self, stream: Stream) -> None:
        """Count anew what is unsent, and end a stream that nobody knows the state of."""
        self._log.events.error("%s: %s: %s", self._facts.peer, stream.name, BROKEN_HERE)
        is_open = self.streams.get(stream.stream_id) is stream
        with self._handover.lock:
            stream.unsent = 0
            unsent = sum(other.unsent for other in self.streams.values())
            self._handover.unsent = unsent + self.outflow.whole_unwritten
        if is_open:
            self.reset(stream, ErrorCodes.INTERNAL_ERROR, "an exception struck in a hand-over")

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
        self.inflow.return_credit()

    def _application_finished(self, stream: Stream) -> None:
        budgeted, stream.budgeted = stream.budgeted, 0
        self._input_budget.release(budgeted)
        if stream.response_ended:
            self.refuse_rest(stream)

    # ------------------------------------------------------------------ the whole connection

    def lose(self, reason: str) -> None:
        """The transport is gone: end every stream."""
        self._commands.close()
        self.lose_all(reason)
        for command in self.outflow.take_commands():
            self.run(command)
