"""What becomes of a connection, or of one of its streams, when a clock is over.

The clocks themselves are in :mod:`~h2wsgi.http2.deadlines`. Loop thread only.
"""

from __future__ import annotations

from h2.errors import ErrorCodes

from ..stream import Stream
from .ending import EndingProtocol
from .host import Host

ALIVE_PING = b"alive?  "
"""What the PING carries that asks whether the peer is still there."""


class Timeouts:
    """The :class:`~h2wsgi.http2.deadlines.DeadlineHandler` of one connection."""

    def __init__(self, protocol: EndingProtocol, host: Host) -> None:
        self._protocol = protocol
        self._host = host

    def preface_timed_out(self) -> None:
        """See DeadlineHandler."""
        if self._protocol.advice:
            self._protocol.linger()
        else:
            reason = "no preface and SETTINGS came in time"
            self._protocol.fail(ErrorCodes.SETTINGS_TIMEOUT, reason, "preface_timeout")

    def settings_timed_out(self) -> None:
        """See DeadlineHandler."""
        reason = "our SETTINGS were not acknowledged in time"
        self._protocol.fail(ErrorCodes.SETTINGS_TIMEOUT, reason, "settings_timeout")

    def fields_timed_out(self) -> None:
        """See DeadlineHandler."""
        reason = "a field section did not come whole in time"
        self._protocol.fail(ErrorCodes.ENHANCE_YOUR_CALM, reason, "fields_timeout")

    def ping_due(self) -> None:
        """See DeadlineHandler."""
        self._protocol.connection.engine.ping(ALIVE_PING)
        self._protocol.transmit()

    def ping_timed_out(self) -> None:
        """See DeadlineHandler. Section 6.7: it has to answer, so it is gone or broken."""
        reason = "a PING was not answered in time"
        self._protocol.fail(ErrorCodes.PROTOCOL_ERROR, reason, "ping_timeout")

    def idle_timed_out(self) -> None:
        """See DeadlineHandler."""
        self._host.limit_hit("idle_timeout")
        self._protocol.drain()

    def read_timed_out(self, stream: Stream, option: str) -> None:
        """See DeadlineHandler."""
        self._hit_by(stream, option, "sent nothing, or too little, for too long")
        self._protocol.connection.read_timed_out(stream, "the client sent nothing, or too little")

    def request_timed_out(self, stream: Stream) -> None:
        """See DeadlineHandler. What was handed over until now still counts."""
        self._protocol.flush()
        self._protocol.connection.request_timed_out(stream)
        self._protocol.transmit()

    def write_timed_out(self, stream: Stream, option: str) -> None:
        """See DeadlineHandler."""
        self._hit_by(stream, option, "took nothing, or too little, for too long")
        outcome = "the client took nothing, or too little, for too long"
        self._protocol.connection.reset(stream, ErrorCodes.CANCEL, outcome)
        self._protocol.transmit()

    def _hit_by(self, stream: Stream, option: str, what: str) -> None:
        said = f"the client {what} on stream {stream.stream_id}"
        self._protocol.connection.limit_hit(option, said)
