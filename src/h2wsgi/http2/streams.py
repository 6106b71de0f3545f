"""The streams of one connection: how each begins and how it ends, whoever ends it.

The base of :class:`~h2wsgi.http2.connection.Connection`. A stream that leaves the table here has
ended for good: its waits are over (invariant 1), nothing of it is counted any more (invariant 3),
and what its application still hands over is dropped. RFC 9113 sections 5.1, 5.4.2 and 8.1. Loop
thread only.
"""

from __future__ import annotations

import time

from h2.errors import ErrorCodes

from ..codes import code_name
from ..errors import ClientDisconnected
from ..handover import END, Handover, Limits
from ..request import ConnectionFacts, RequestFields
from ..stream import Stream
from .answers import short_answer
from .client_log import ClientLog
from .engines.interface import Engine
from .host import Host, Wire
from .outflow import Outflow

NO_STREAM = 1 << 31
"""Above the number of any stream."""
REFUSAL_DELAY = 0.25
"""Seconds between a complete response and RST_STREAM(NO_ERROR) for the rest of its request."""


class Streams:
    """The streams that a connection has open.

    What sends for them is the derived class's to make: ``engine`` and ``outflow``.
    """

    def __init__(self, host: Host, wire: Wire, facts: ConnectionFacts) -> None:
        config = host.config
        # immutable
        self._host = host
        self._wire = wire
        self._facts = facts
        self._log = host.log
        self._new_stream = host.new_stream
        self._input_budget = host.input_budget
        self._handover = Handover(
            wire.flush_threadsafe, config.connection_buffer, host.output_budget, host.input_budget
        )
        self.engine: Engine
        self.outflow: Outflow
        self.client_log = ClientLog(host, facts)
        # loop thread only
        self.streams: dict[int, Stream] = {}
        self._sections: dict[int, int] = {}
        """Octets of large field sections that count as buffered, by stream."""
        self._arrived: list[Stream] = []
        """Requests that came in this slice of the input."""
        self._arrives_from = NO_STREAM
        """The stream of the first of them; those below are with their applications."""
        self._arrived_at = 0.0
        """When it came, by the monotonic clock: one look for all of them."""
        self._limits = Limits(
            config.stream_buffer, credit_step=config.stream_window // 4, max_body=config.max_body
        )

    def _open(self, stream_id: int, request: RequestFields, request_ended: bool) -> Stream:
        if stream_id < self._arrives_from:
            self._arrives_from = stream_id
            self._arrived_at = time.monotonic()
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
        return self._host.cancel_request(self._handover, stream)

    # ------------------------------------------------------ in place of the application

    def answer(self, stream: Stream, status: int) -> None:
        """Answer in place of the application, and take no more of the request."""
        stream.application_done = True
        head, text = short_answer(status, stream.request.method)
        with self._handover.lock:
            stream.unsent += len(text)
            self._handover.unsent += len(text)
        self.outflow.push(stream, head, text, END)

    def stand_in(self, stream: Stream) -> Stream:
        """Put another stream in the place of one whose application is not listened to any more.

        What that one still hands over is dropped, as it is for any stream that is not in the table.
        """
        self._input_budget.release(stream.budgeted)
        stream.budgeted = 0
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
        """See OutflowHandler."""
        stream.response_ended = True
        if stream.request_ended:
            self.close(stream, "")
        elif stream.application_done:
            self.refuse_rest(stream)

    def response_aborted(self, stream: Stream) -> None:
        """See OutflowHandler."""
        self.reset(stream, ErrorCodes.INTERNAL_ERROR, "the application failed")

    def refuse_rest(self, stream: Stream) -> None:
        """The response is whole and nobody reads the rest of the request (section 8.1).

        What still comes is discarded. RST_STREAM follows a little later, unless the peer has
        ended the request by then: curl 7.88 throws the response away if both arrive together.
        """
        self.close(stream, "")
        stream_id = stream.stream_id
        self._wire.call_later(
            REFUSAL_DELAY, lambda: self.engine.reset_stream(stream_id, ErrorCodes.NO_ERROR)
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
            code, outcome = ErrorCodes.NO_ERROR, ""
        else:
            outcome = f"reset by server: {code_name(code)}, {outcome}"
        self.engine.reset_stream(stream.stream_id, code)
        self.cancel(stream)
        self.abandon(stream, outcome, kind)

    def abandon(
        self, stream: Stream, outcome: str, kind: type[ClientDisconnected] = ClientDisconnected
    ) -> None:
        """Give up a stream whose response is not whole, and which the engine has closed."""
        self.outflow.give_up(stream)
        stream.fail(outcome or "the stream was reset", kind)
        self.close(stream, outcome)

    def close(self, stream: Stream, outcome: str) -> None:
        """Take a stream out of the table; ``outcome`` says why, if it did not end as it should."""
        del self.streams[stream.stream_id]
        if stream.budgeted:
            self._input_budget.release(stream.budgeted)
            stream.budgeted = 0
        if self._sections:
            self.forget_section(stream)
        if not self.streams:
            self._wire.streams_changed(0)
        if self._log.accesses:
            self.client_log.access(stream, outcome)

    def forget_section(self, stream: Stream) -> None:
        """Count a large field section no more."""
        self._input_budget.release(self._sections.pop(stream.stream_id, 0))

    def lose_incomplete(self, reason: str) -> None:
        """No more input will be read: end the streams whose request is not whole."""
        lost = [stream for stream in self.streams.values() if not stream.request_ended]
        self._cancel_all(lost)
        for stream in lost:
            self.reset(stream, ErrorCodes.CANCEL, reason)

    def lose_all(self, reason: str) -> None:
        """The transport is gone: end every stream."""
        lost = list(self.streams.values())
        self._cancel_all(lost)
        for stream in lost:
            self.abandon(stream, reason)

    def _cancel_all(self, streams: list[Stream]) -> None:
        # Before the first of them ends: its thread, woken, would take the next of those that wait.
        for stream in streams:
            self.cancel(stream)
