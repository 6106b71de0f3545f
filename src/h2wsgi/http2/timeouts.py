"""What becomes of a connection, or of one of its streams, when a clock is over.

The clocks themselves are in :mod:`~h2wsgi.http2.deadlines`. Loop thread only.
"""

from __future__ import annotations

from typing import Protocol

from ..codes import ErrorCode
from ..errors import ReadTimeout, RequestTimeout
from ..seam.stream import Stream
from .closing import Closable, Closing
from .deadlines import DeadlineHandler
from .gathering import SLOW
from .interfaces import ServerContext

ALIVE_PING = b"alive?  "
"""What the PING carries that asks whether the peer is still there."""


class Timed(Closable, Protocol):
    """What is done about a clock that is over, by its protocol."""

    closing: Closing

    def flush(self) -> None:
        """Take what the applications have handed over, and send it."""


class Timeouts(DeadlineHandler):
    """What becomes of one connection and its streams when a deadline has passed."""

    __slots__ = ("_protocol", "_server")

    def __init__(self, protocol: Timed, server: ServerContext) -> None:
        self._protocol = protocol
        self._server = server

    def preface_timed_out(self) -> None:
        if self._protocol.advice:
            self._protocol.closing.linger()
        else:
            reason = "no preface and SETTINGS came in time"
            self._protocol.closing.fail(ErrorCode.SETTINGS_TIMEOUT, reason, "preface_timeout")

    def settings_timed_out(self) -> None:
        reason = "our SETTINGS were not acknowledged in time"
        self._protocol.closing.fail(ErrorCode.SETTINGS_TIMEOUT, reason, "settings_timeout")

    def fields_timed_out(self) -> None:
        reason = "a field section did not come whole in time"
        self._protocol.closing.fail(ErrorCode.ENHANCE_YOUR_CALM, reason, "fields_timeout")

    def ping_due(self) -> None:
        self._protocol.connection.engine.ping(ALIVE_PING)
        self._protocol.transmit()

    def ping_timed_out(self) -> None:
        """Section 6.7: it has to answer, so it is gone or broken.

        Nobody is left to wait for the responses of what was asked before, as after other errors.
        """
        reason = "a PING was not answered in time"
        self._protocol.closing.fail(ErrorCode.PROTOCOL_ERROR, reason, "ping_timeout")
        self._protocol.closing.linger("the client does not answer")

    def idle_timed_out(self) -> None:
        self._server.limit_hit("idle_timeout")
        self._protocol.closing.drain()

    def read_timed_out(self, stream: Stream, option: str) -> None:
        """The response can still be sent."""
        if stream.gathered is not None:
            what = f"sent nothing, or too little, of content that had to be whole first ({SLOW}),"
            self._hit_by(stream, option, what)
            self._protocol.connection.gathering.timed_out(stream)
            self._protocol.transmit()
            return
        self._hit_by(stream, option, "sent nothing, or too little, for too long")
        stream.fail_input(ReadTimeout("the client sent nothing, or too little"))

    def request_timed_out(self, stream: Stream) -> None:
        """What was handed over until now still counts."""
        self._protocol.flush()
        self.cut_off(stream)
        self._protocol.transmit()

    def write_timed_out(self, stream: Stream, option: str) -> None:
        self._hit_by(stream, option, "took nothing, or too little, for too long")
        outcome = "the client took nothing, or too little, for too long"
        self._protocol.connection.reset(stream, ErrorCode.CANCEL, outcome)
        self._protocol.transmit()

    def _hit_by(self, stream: Stream, option: str, what: str) -> None:
        said = f"the client {what} on stream {stream.stream_id}"
        self._protocol.connection.client_log.limit_hit(option, said)

    def cut_off(self, stream: Stream) -> None:
        """The response did not become whole in time: what the application still says is dropped.

        A 503 stands in for a head that has not left. Behind one that has, INTERNAL_ERROR says that
        the response is not whole, as for any other failure of the application: CANCEL would say
        that nobody needs the rest, and that it was the client's fault.
        """
        connection = self._protocol.connection
        is_open = connection.streams.get(stream.stream_id) is stream
        if not is_open or connection.outflow.ends(stream):
            return  # what is left to do is the client's, which has write_timeout for it
        connection.cancel(stream)
        connection.outflow.drop(stream)
        stream.fail("the request took too long to be answered", RequestTimeout)
        if stream.response_ended:
            connection.refuse_rest(stream)  # which the application reads on and on
        elif stream.status >= 200:
            self._log_late(stream, "its response is cut off")
            connection.engine.reset_stream(stream.stream_id, ErrorCode.INTERNAL_ERROR)
            connection.close(stream, "reset by server: INTERNAL_ERROR, not answered in time")
        else:
            self._log_late(stream, "the client gets a 503")
            connection.answer(connection.stand_in(stream), 503)

    def _log_late(self, stream: Stream, outcome: str) -> None:
        self._server.limit_hit("request_timeout")
        limit = self._server.config.request_timeout
        late = f"{stream.name} took longer than {limit:g} s (--request-timeout)"
        self._protocol.connection.client_log.say_once("request timeout", f"{late}: {outcome}")
