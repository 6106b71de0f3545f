"""Content whose length nobody told, gathered until it is whole, before its application begins.

CONTENT_LENGTH must be there with content (RFC 3875 section 4.1.2), and many applications read
nothing without it. What is small stays in memory, the rest goes to the file of the
:class:`~h2wsgi.seam.spool.Spool`, and so does the small if the process is full: then it is spilled
where other content is refused (invariant 3). The stream's credit returns when octets come, or once
they are in the file; so a stream has at most IN_MEMORY and a window of it in memory. The clocks of
reading run meanwhile. Loop thread only.
"""

from __future__ import annotations

import logging
from typing import Protocol

from ..log.logs import named
from ..process.clock import clock
from ..seam.handover import MORE
from ..seam.request import RequestFields
from ..seam.spool import Gathered, Spooled, SpoolFull
from ..seam.stream import CONTINUE, SMALL_CHUNK, Stream
from .client_log import ClientLog
from .engines.interface import Engine
from .inflow import Inflow
from .interfaces import ServerContext
from .outflow import Outflow

IN_MEMORY = 262_144
"""Octets of one request's content that are kept out of files."""
BATCH = 65_536
"""Octets that are worth being written."""
STREAMING = (b"application/grpc", b"application/connect+")
"""The beginnings of content types of RPCs: a client may wait for an answer in their middle."""
SLOW = (
    "it is waited for, as its length is not told; for a client that waits for an answer before it "
    "ends its content: --unsized-content stream"
)


class Gatherer(Protocol):
    """What is done with streams, by their connection."""

    client_log: ClientLog

    def begin(self, stream: Stream) -> None:
        """Have the application called: its request is whole."""

    def cancel(self, stream: Stream) -> bool:
        """Forget a request whose application has not started; False if it has."""

    def answer(self, stream: Stream, status: int, reason: str = "") -> None:
        """Answer in place of the application, and take no more of the request."""


class Gathering:
    """What one connection gathers."""

    __slots__ = (
        "_connection", "_engine", "_inflow", "_max_body", "_max_unsized", "_outflow", "_server",
    )  # fmt: skip

    def __init__(
        self,
        connection: Gatherer,
        engine: Engine,
        server: ServerContext,
        inflow: Inflow,
        outflow: Outflow,
    ) -> None:
        # immutable
        self._connection = connection
        self._engine = engine
        self._server = server
        self._inflow = inflow
        self._outflow = outflow
        self._max_body = server.config.max_body
        self._max_unsized = server.config.max_unsized

    def begin(self, stream: Stream) -> None:
        """Gather the content of a request that came just now."""
        stream.gathered = Gathered()
        stream.reading_since, stream.waited_for_content = stream.started_at, 0.0
        if stream.request.expects_continue:
            self._outflow.push(stream, CONTINUE, b"", MORE)

    def received(self, stream: Stream, gathered: Gathered, data: bytes, flow_octets: int) -> None:
        """Content came; ``flow_octets`` of both windows were taken for it."""
        octets = len(data)
        stream.octets_received += octets
        stream.received_at = clock.monotonic()
        gathered.uncredited += flow_octets
        if not self._fits(stream):
            self._inflow.taken(flow_octets)
            return
        if octets:
            gathered.octets += octets
            gathered.waiting += octets
            chunks = gathered.chunks
            if chunks and octets < SMALL_CHUNK and len(chunks[-1]) < SMALL_CHUNK:
                chunks[-1] += data  # see Stream.receive
            else:
                chunks.append(data)
            stream.budgeted += octets
            self._inflow.count(octets, (stream,))
        self._inflow.taken(flow_octets)
        if stream.gathered is gathered:  # not refused meanwhile
            self._write_if_due(stream, gathered)
            self._return_credit(stream)

    def _fits(self, stream: Stream) -> bool:
        received, log = stream.octets_received, self._connection.client_log
        if self._max_body and received > self._max_body:
            log.body_too_large(stream)
        elif self._max_unsized and received > self._max_unsized:
            log.limit_hit("max_unsized", f"the content of stream {stream.stream_id} is too large")
        else:
            return True
        self._refuse(stream, 413)
        return False

    def ended(self, stream: Stream, gathered: Gathered) -> None:
        """The request is complete."""
        self._wait_no_more(stream)
        if gathered.spooled is None:
            octets = b"".join(gathered.chunks)
            gathered.chunks = []
            gathered.waiting = 0
            stream.receive_whole(octets)
            self._start(stream, gathered)
        else:
            self._write_if_due(stream, gathered)
            self._start_if_whole(stream, gathered)

    def _start(self, stream: Stream, gathered: Gathered) -> None:
        gathered.started = True
        self._connection.begin(stream)

    def _start_if_whole(self, stream: Stream, gathered: Gathered) -> None:
        if stream.request_ended and not (gathered.waiting or gathered.writing):
            self._start(stream, gathered)

    # --------------------------------------------------------------------------- the file

    def _write_if_due(self, stream: Stream, gathered: Gathered) -> None:
        """Have what waits written, if that is worth it and no other write is under way."""
        if gathered.writing or not gathered.waiting:
            return
        if gathered.spooled is None:
            due = gathered.waiting > IN_MEMORY
        else:
            step = min(BATCH, stream.limits.credit_step)
            due = gathered.waiting >= step or stream.request_ended or self._inflow.budget.full
        if due:
            self._write(stream, gathered)

    def _write(self, stream: Stream, gathered: Gathered) -> None:
        try:
            if gathered.spooled is None:
                gathered.spooled = self._server.spool.keep(stream.content_written)
                gathered.written_at = clock.monotonic()
            self._hand_over(stream, gathered, gathered.spooled)
        except SpoolFull as error:
            said = f"the content of stream {stream.stream_id} is refused, {error}"
            self._connection.client_log.limit_hit("max_unsized_total", said)
            self._refuse(stream, 503)
        except RuntimeError as error:
            self._cannot_be_kept(stream, error)
        else:
            gathered.writing, gathered.waiting = gathered.waiting, 0
            gathered.chunks = []
            # The client may be waiting for credit that a slow disk holds back.
            self._wait_no_more(stream)

    def _hand_over(self, stream: Stream, gathered: Gathered, spooled: Spooled) -> None:
        while True:
            try:
                spooled.write(gathered.chunks, gathered.waiting)
                return
            except SpoolFull:
                if not self._server.make_disk_room(stream):
                    raise

    def make_room(self, stream: Stream, gathered: Gathered, spooled: Spooled) -> None:
        """Refuse a request whose content comes slowly, as others need what it holds of the disk."""
        said = f"gave up {stream.name}: its content comes slowly, and others need the room of it"
        self._connection.client_log.limit_hit("max_unsized_total", said, logging.WARNING)
        self._refuse(stream, 503)
        self._server.spool.uncount(spooled)

    def _wait_no_more(self, stream: Stream) -> None:
        """Stop the clock: for now it is not the client that keeps us waiting."""
        if (since := stream.reading_since) is not None:
            stream.reading_since = None
            stream.waited_for_content += clock.monotonic() - since

    def written(self, stream: Stream) -> None:
        """What was on its way into the file is there, or cannot be."""
        gathered = stream.gathered
        if gathered is None or gathered.spooled is None:
            return  # answered meanwhile
        if (error := gathered.spooled.error) is not None:
            self._cannot_be_kept(stream, error)
            return
        stream.budgeted -= gathered.writing
        self._inflow.budget.release(gathered.writing)
        gathered.writing = 0
        gathered.written_at = clock.monotonic()
        if not stream.request_ended:
            stream.reading_since = stream.received_at = gathered.written_at
        self._write_if_due(stream, gathered)
        if stream.gathered is gathered:
            self._return_credit(stream)
            self._start_if_whole(stream, gathered)

    def _cannot_be_kept(self, stream: Stream, error: Exception) -> None:
        self._server.log.events.error(
            "%s: the content of stream %d cannot be kept in a temporary file: %s",
            stream.connection.peer,
            stream.stream_id,
            error,
            extra=named("content_not_kept", peer=stream.connection.peer),
        )
        self._refuse(stream, 503)

    def spill(self, stream: Stream) -> bool:
        """Have what the stream holds in memory written; False if it holds nothing of that kind."""
        gathered = stream.gathered
        if gathered is None or not stream.budgeted:
            return False
        if gathered.started:
            if gathered.spooled is not None or not self._connection.cancel(stream):
                return False
            octets = stream.withdraw_whole()
            gathered.started = False
            gathered.chunks, gathered.waiting = [octets], len(octets)
        if not gathered.writing and gathered.waiting:
            self._write(stream, gathered)
        return True

    def _return_credit(self, stream: Stream) -> None:
        """Open the stream's window by what is in the file, or in memory to stay there."""
        gathered = stream.gathered
        if gathered is None:
            return
        held = gathered.waiting + gathered.writing if gathered.spooled is not None else 0
        due = gathered.uncredited - held
        if due >= stream.limits.credit_step:
            gathered.uncredited -= due
            self._engine.credit(stream.stream_id, due)

    # --------------------------------------------------------------------------- the end

    def timed_out(self, stream: Stream) -> None:
        """The client sent nothing, or too little."""
        self._refuse(stream, 408, f"The content did not come, and {SLOW}.\n")

    def _refuse(self, stream: Stream, status: int, reason: str = "") -> None:
        """Answer in place of the application; whatever still comes is dropped."""
        gathered = stream.gathered
        self.forget(stream)
        if gathered is not None and gathered.uncredited:
            self._engine.credit(stream.stream_id, gathered.uncredited)
        self._connection.answer(stream, status, reason)

    def forget(self, stream: Stream) -> None:
        """The stream has ended, or is answered, and its application was not called.

        One that was has the file until it returns.
        """
        gathered, stream.gathered = stream.gathered, None
        stream.reading_since = None
        if gathered is not None and gathered.spooled is not None:
            gathered.spooled.release()
        self._inflow.budget.release(stream.budgeted)
        stream.budgeted = 0


def waits_for_answers(request: RequestFields) -> bool:
    """Return True if a request is a streaming RPC's, by its content type."""
    for name, value in request.fields:
        if name == b"content-type":
            return value.lower().startswith(STREAMING)
    return False
