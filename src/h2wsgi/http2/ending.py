"""The end of a connection, in all its forms: the half of :class:`H2Protocol` that decides about it.

GOAWAY in two steps (RFC 9113 section 6.8), a connection error (section 5.4.1), a client that does
not speak HTTP/2, and the lingering close that lets the last response arrive. Whatever the form, it
goes down :class:`State`, ends every stream and loses no response that was whole (invariants 1 and
6). Loop thread only.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import enum
import socket
import struct
import time
from collections.abc import Callable
from typing import Protocol

from h2.errors import ErrorCodes

from .. import guards
from ..codes import code_name
from ..request import ConnectionFacts
from . import refusal
from .connection import Connection
from .deadlines import Deadlines
from .host import Host

DRAIN_WAIT = 0.25
"""Seconds to wait for the PING that shows the peer has seen the first GOAWAY."""
RETIRE_WAIT = 5.0
"""Seconds a connection that has to be replaced is given to be without a stream for once."""
LINGER = 0.25
"""Seconds to go on reading after the last octet was written, and after what still comes."""
LONGEST_LINGER = 5.0
"""Seconds after which a client that still sends has not read our end, and never will."""
FAILED_LINGER = 5.0
"""Seconds that requests which came before a connection error get to finish."""
ABORT_AFTER = 2.0
"""Seconds a closing transport gets to send what it holds."""
LAST_STREAM_ID = 2**31 - 1
DRAIN_PING = b"draining"
"""What the PING that goes with the first GOAWAY carries."""


class EndingHost(Host, Protocol):
    """What the end of a connection needs of the server, beside what the connection does."""

    def log_refusal(self, facts: ConnectionFacts, advice: str) -> None:
        """A client spoke something else than HTTP/2."""


class State(enum.Enum):
    """A connection's life; it only goes down this list."""

    OPEN = enum.auto()
    DRAINING = enum.auto()
    """GOAWAY was sent; open streams go on, input is still read."""
    FAILED = enum.auto()
    """A connection error: input is dropped, complete requests may finish."""
    LINGERING = enum.auto()
    """Everything was written; waiting for the peer to hang up."""
    CLOSED = enum.auto()


# Names of their own for what is looked at with each request: by way of the class it takes four
# times as long (CPython 3.11).
OPEN, CLOSED = State.OPEN, State.CLOSED
READING = (State.OPEN, State.DRAINING)
"""The states in which input still means something."""
SILENT = (State.LINGERING, State.CLOSED)
"""The states in which nothing is written any more."""


class EndingProtocol(asyncio.BufferedProtocol, abc.ABC):
    """One connection, as far as its end is concerned.

    Input and output are :class:`~h2wsgi.http2.protocol.H2Protocol`'s, which this is a base of and
    not a part: each octet in and out depends on ``state``.
    """

    def __init__(self, host: EndingHost, advice: str) -> None:
        # immutable
        self._host = host
        self._loop = asyncio.get_running_loop()
        # set when the transport is there
        self._transport: asyncio.Transport
        self._facts: ConnectionFacts
        self._deadlines: Deadlines
        self.connection: Connection
        self.streams_changed: Callable[[int], None]
        """See Wire."""
        # loop thread only
        self.state = State.OPEN
        self.advice = advice
        """What to tell the client, where no HTTP/2 may be spoken."""
        self._started = False
        """Whether our SETTINGS were sent."""
        self._final_goaway_sent = False
        self._retiring = False
        self._still_sends = False
        """Whether anything came since the lingering close began, or was looked at last."""
        self._linger_until = 0.0
        """The end of its patience with a client that still sends, by the monotonic clock."""
        self._left_to_send = 0
        """Octets that the transport held when it was looked at last, on the way out."""
        self._patient_until = 0.0
        """How long a slow client has for them, by the monotonic clock."""
        self._closing_timer: asyncio.TimerHandle | None = None
        """The next step of the end, whichever that is."""

    # ------------------------------------------------------------- what H2Protocol does

    @abc.abstractmethod
    def write(self, data: bytes) -> None:
        """Send octets."""

    @abc.abstractmethod
    def flush(self) -> None:
        """Take what the applications have handed over, and send it."""

    @abc.abstractmethod
    def transmit(self) -> None:
        """Send what the connection has to say."""

    @abc.abstractmethod
    def _start(self) -> None:
        """Send our SETTINGS."""

    @abc.abstractmethod
    def _pause_reading(self, pause: bool) -> None:
        """Read no further, or go on."""

    @abc.abstractmethod
    def _end_stall(self) -> None:
        """Write what an application's stall has kept back."""

    # ------------------------------------------------------------------------ gracefully

    def drain(self) -> None:
        """Shut down gracefully: announce it, then name the last stream, then finish those open."""
        if self.state is not State.OPEN:
            return
        self.state = State.DRAINING
        self._end_stall()
        if self._started:
            self._announce_end()
            self.transmit()
        elif self.advice:
            self.linger()
        else:
            # The preface may be on its way, with requests behind it.
            self._set_closing_timer(DRAIN_WAIT, self.linger)

    def _announce_end(self) -> None:
        # Section 6.8: the first GOAWAY only says that an end is near, so that requests already
        # on their way are still served; the PING shows when they must have arrived. It goes first,
        # in the same write: behind GOAWAY clients made with h2 4.4 take it for an error.
        self.connection.engine.ping(DRAIN_PING)
        self.connection.engine.go_away(LAST_STREAM_ID, ErrorCodes.NO_ERROR)
        self._set_closing_timer(DRAIN_WAIT, self._send_final_goaway)

    def retire(self) -> None:
        """See Wire. Drain at once if no stream is open, else behind the last response.

        Some clients (httpx 0.28) give up every open stream when GOAWAY comes, and open a new
        connection without an error when it comes between requests.
        """
        if self._retiring or self.state is not State.OPEN:
            return  # its end has begun, and has timers of its own
        self._retiring = True
        if self.connection.streams:
            self._set_closing_timer(RETIRE_WAIT, self.drain)
            self.streams_changed = self._drain_behind_the_last
        else:
            self.drain()

    def _drain_behind_the_last(self, open_streams: int) -> None:
        self._deadlines.streams_changed(open_streams)
        if open_streams == 0 and self.state is State.OPEN:
            # Who closed the last stream is about to transmit: GOAWAY comes with the response.
            self.state = State.DRAINING
            self._announce_end()

    def ping_acknowledged(self, payload: bytes) -> None:
        """See Wire."""
        if payload == DRAIN_PING:
            self._send_final_goaway()

    def _send_final_goaway(self) -> None:
        if self._final_goaway_sent or self.state is not State.DRAINING:
            return
        self._final_goaway_sent = True
        engine = self.connection.engine
        engine.go_away(engine.last_stream_id, ErrorCodes.NO_ERROR)
        self.transmit()

    def goes_away(self) -> None:
        """See Wire."""
        if self.state is State.OPEN:
            self.state = State.DRAINING
        self._final_goaway_sent = True

    # -------------------------------------------------------------------------- at once

    def stop(self) -> None:
        """Time is up: reset what still runs, then close."""
        if self.state in SILENT:
            self.abort()
            return
        for stream in list(self.connection.streams.values()):
            self.connection.reset(stream, ErrorCodes.CANCEL, "the server stops")
        self.connection.outflow.transmit()
        self._close()

    def abort(self) -> None:
        """Close without sending anything more."""
        if self.state is not State.CLOSED:
            self._transport.abort()

    def hang_up(self, abort: bool) -> None:
        """See Wire. The connection may have closed while this was on its way from a thread."""
        if self.state is State.CLOSED:
            return
        if not abort:
            self._close()
            return
        # With nothing left to linger for, the kernel ends the connection by a reset.
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
        self.abort()

    def _crash(self) -> None:
        """A bug of ours, being handled: the connection must not stay with nobody to serve it."""
        self.abort()
        self._host.log.events.exception("%s: internal error, closing", self._facts.peer)
        if guards.ACTIVE:
            raise

    def fail(self, code: int, reason: str, limit: str = "") -> None:
        """A connection error (section 5.4.1). What came before it may still be answered.

        ``limit`` is the option whose limit the client went over, if it was one.
        """
        self.state = State.FAILED
        self._deadlines.stop()
        self._pause_reading(False)
        engine = self.connection.engine
        if not self._started:
            self._start()
        engine.go_away(engine.last_stream_id, code, reason.encode("ascii", "replace")[:200])
        self.connection.lose_incomplete("the connection failed")
        self._set_closing_timer(FAILED_LINGER, self.linger)
        self.transmit()
        if limit:
            self._host.limit_hit(limit)
            reason += f" (--{limit.replace('_', '-')})"
        self._host.log.events.info(
            "%s: connection failed with %s: %s", self._facts.peer, code_name(code), reason
        )

    def refuse(self, octets: bytes, advice: str) -> None:
        """Answer a client that does not speak HTTP/2 here."""
        self._host.log_refusal(self._facts, advice)
        if answer := refusal.refusal(octets, advice):
            self.write(answer)
        self.linger()

    # ------------------------------------------------------------------- the last octets

    def linger(self) -> None:
        """Hang up our side, and read on shortly: unread octets would make the kernel send RST,
        which can destroy the last response before the peer has read it."""
        if self.state in SILENT:
            return
        self._end_stall()
        if self.state is State.DRAINING:
            self._be_patient()
        self.state = State.LINGERING
        self._deadlines.stop()
        self.connection.lose("the connection is closing")
        self._pause_reading(False)
        if self._transport.can_write_eof():
            # asyncio lets the socket's error out if the peer has reset the connection already.
            with contextlib.suppress(OSError):
                self._transport.write_eof()
        self._linger_until = time.monotonic() + LONGEST_LINGER
        self._set_closing_timer(LINGER, self._close_when_sent)

    def _be_patient(self) -> None:
        self._left_to_send = self._transport.get_write_buffer_size()
        self._patient_until = time.monotonic() + (self._host.config.write_timeout or ABORT_AFTER)

    def _close_when_sent(self) -> None:
        """Close, but leave a slow client of a drained connection the time for its last response,
        and one that still sends the time to see our end."""
        left = self._transport.get_write_buffer_size()
        if 0 < left < self._left_to_send and self._patient_until:
            self._be_patient()
        still_sends, self._still_sends = self._still_sends, False
        until = self._patient_until if left else self._linger_until if still_sends else 0.0
        if time.monotonic() < until:
            self._set_closing_timer(LINGER, self._close_when_sent)
        else:
            self._close()

    def _close(self) -> None:
        if self.state is State.CLOSED or self._transport.is_closing():
            return
        self._end_stall()
        self.state = State.LINGERING
        self._deadlines.stop()
        self.connection.lose("the connection is closing")
        self._transport.close()
        # close() waits for a peer that does not read; this does not.
        self._set_closing_timer(ABORT_AFTER, self.abort)

    def _set_closing_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        if self._closing_timer is not None:
            self._closing_timer.cancel()
        self._closing_timer = self._loop.call_later(seconds, callback)
