"""The end of a connection, in all its forms: a part of :class:`~h2wsgi.http2.protocol.H2Protocol`.

GOAWAY in two steps (RFC 9113 section 6.8), a connection error (section 5.4.1), a client that does
not speak HTTP/2, and the lingering close that lets the last response arrive. Whatever the form, the
connection goes down :class:`State`, ends every stream and loses no response that was whole
(invariants 1 and 6). The state itself is a field of the protocol, which looks at it for each read.
Loop thread only.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
import math
import socket
import struct
import sys
from collections.abc import Callable
from typing import Protocol

from ..codes import ErrorCode, code_name
from ..log.logs import named
from ..process.clock import clock
from ..seam.request import ConnectionFacts
from . import refusal
from .connection import Connection
from .deadlines import Deadlines
from .interfaces import ServerContext

OVERTAKEN_WAIT = 0.05
"""Seconds that requests get which the answer to the PING has overtaken: Go's client writes it from
another goroutine, and repeats no request with content that a GOAWAY rules out."""
DRAIN_WAIT = 0.25
"""Seconds to wait for the PING that shows the peer has seen the first GOAWAY."""
RETIRE_WAIT = 5.0
"""Seconds that a connection which has to be replaced has to be without a stream once."""
LINGER = 0.25
"""Seconds to go on reading after the last octet was written, and after what still comes."""
LONGEST_LINGER = 5.0
"""Seconds after which a client that still sends has not read our end, and never will."""
FAILED_LINGER = 5.0
"""Seconds that requests which came before a connection error, or the peer's end, get to finish."""
IN_THE_WAY = 1.0
"""Seconds of patience with a client whose connection makes room for another."""
GONE_WAIT = 0.05
"""Seconds after which a PING shows that a peer which sends no more is gone; then twice as many."""
GONE_PING = b"gone?   "
"""What that PING carries."""
ABORT_AFTER = 2.0
"""Seconds a closing transport gets to send what it holds."""
AT_HAND = 0.005
"""Seconds that stand for each of these waits where the client is on this machine, idle and has
everything: what it has sent is here by then."""
SETTLED = 0.02
"""Seconds after its last stream in which such a client has read it."""
SIOCOUTQNSD = 0x894B
"""Linux: how many octets of a TCP socket were not sent so far."""
LAST_STREAM_ID = 2**31 - 1
DRAIN_PING = b"draining"
"""What the PING that goes with the first GOAWAY carries."""


class State(enum.Enum):
    """A connection's life; it only goes down this list."""

    OPEN = enum.auto()
    DRAINING = enum.auto()
    """GOAWAY was sent; open streams go on, input is still read."""
    FAILED = enum.auto()
    """A connection error, or the peer has ended its side: no more input, complete requests may
    finish."""
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


class Closable(Protocol):
    """What the end of a connection needs of its protocol."""

    transport: asyncio.Transport
    facts: ConnectionFacts
    deadlines: Deadlines
    connection: Connection
    state: State
    started: bool
    """Whether our SETTINGS were sent."""
    advice: str
    """What to tell the client, where no HTTP/2 may be spoken."""
    streams_changed: Callable[[int], None]

    def start(self) -> None:
        """Send our SETTINGS."""

    @property
    def unsent(self) -> int:
        """Octets written that the transport could not send yet."""

    def write(self, data: bytes) -> None:
        """Send octets."""

    def transmit(self) -> None:
        """Send what the connection has to say."""

    def pause_reading(self, pause: bool) -> None:
        """Read no further, or go on."""

    def end_stall(self) -> None:
        """Write what an application's stall has kept back."""

    def abort(self) -> None:
        """Close without sending anything more."""

    def call_at(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call ``callback`` in so many seconds."""


class Closing:
    """How one connection ends."""

    __slots__ = (
        "_drain_answered", "_hurried_at", "_in_the_way", "_left_to_send", "_linger_until",
        "_patient_until", "_protocol", "_retiring", "_server", "_timer", "final_goaway_sent",
        "still_sends",
    )  # fmt: skip

    def __init__(self, protocol: Closable, server: ServerContext) -> None:
        # immutable
        self._protocol = protocol
        self._server = server
        # loop thread only
        self.final_goaway_sent = False
        self.still_sends = False
        """Whether anything came since the last look, or since the lingering close began."""
        self._retiring = False
        self._drain_answered = False
        self._in_the_way = False
        """Whether another connection waits for its end."""
        self._hurried_at = math.inf
        """When the server, with this client on its machine, began to stop (monotonic clock)."""
        self._linger_until = 0.0
        """When the patience with a client that still sends ends, by the monotonic clock."""
        self._left_to_send = 0
        """Octets that the transport held when it was looked at last, on the way out."""
        self._patient_until = 0.0
        """Until when a slow client may take those octets, by the monotonic clock."""
        self._timer: asyncio.TimerHandle | None = None
        """The next step of the end, whichever that is."""

    # ------------------------------------------------------------------------ gracefully

    def drain(self) -> None:
        """Shut down gracefully: announce it, then name the last stream, then finish those open."""
        if self._protocol.state is not State.OPEN:
            return
        self._protocol.state = State.DRAINING
        self._protocol.end_stall()
        if self._protocol.started:
            self.announce_end()
            self._protocol.transmit()
        elif self._protocol.advice:
            self.linger()
        else:
            # The preface may be on its way, with requests behind it.
            self.set_timer(self._wait_of(DRAIN_WAIT), self.linger)

    def hurry(self) -> None:
        """The server stops, and the client is at hand: wait hardly for it where it is idle.

        For where the end has begun already as well; :meth:`drain` follows. Who is in the middle of
        something may be slow to read it, and send on: that gets the usual patience.
        """
        self._hurried_at = clock.monotonic()
        if self._protocol.state in SILENT:
            if self._protocol.transport.is_closing():
                self.set_timer(self._wait_of(ABORT_AFTER), self._protocol.abort)
            else:
                self.set_timer(self._wait_of(LINGER), self._close_when_sent)
        elif self._protocol.state is State.DRAINING and not self.final_goaway_sent:
            self.set_timer(self._wait_of(DRAIN_WAIT), self._send_final_goaway)

    def _wait_of(self, seconds: float) -> float:
        """Return what is left of a wait for the client where that is at hand, and has been idle."""
        protocol = self._protocol
        idle_since = protocol.deadlines.idle_since
        if idle_since is None or idle_since > self._hurried_at or self._hurried_at == math.inf:
            return seconds
        if protocol.unsent or _may_hold_output(protocol.transport):
            return seconds
        return min(seconds, max(AT_HAND, idle_since + SETTLED - clock.monotonic()))

    def make_room(self) -> None:
        """Shut down gracefully, for another connection: with little patience at the very end."""
        self._in_the_way = True
        if self._protocol.state is State.LINGERING:
            until = clock.monotonic() + IN_THE_WAY
            self._linger_until = min(self._linger_until, until)
            self._patient_until = min(self._patient_until, until)
        else:
            self.drain()

    def announce_end(self) -> None:
        # Section 6.8: the first GOAWAY only says that an end is near, so that requests already
        # on their way are still served; the PING shows when they must have arrived. It goes first,
        # in the same write: behind GOAWAY clients made with h2 4.4 take it for an error.
        self._protocol.connection.engine.ping(DRAIN_PING)
        self._protocol.connection.engine.go_away(LAST_STREAM_ID, ErrorCode.NO_ERROR)
        self.set_timer(self._wait_of(DRAIN_WAIT), self._send_final_goaway)

    def retire(self) -> None:
        """The connection has had its time: drain it at once if no stream is open, else behind the
        last response.

        Some clients (httpx 0.28) give up every open stream when GOAWAY comes, and open a new
        connection without an error when it comes between requests.
        """
        if self._retiring or self._protocol.state is not State.OPEN:
            return  # its end has begun, and has timers of its own
        self._retiring = True
        if self._protocol.connection.is_in_use:
            self.set_timer(RETIRE_WAIT, self.drain)
            self._protocol.streams_changed = self._drain_behind_the_last
        else:
            self.drain()

    def _drain_behind_the_last(self, open_streams: int) -> None:
        self._protocol.deadlines.streams_changed(open_streams)
        if open_streams == 0 and self._protocol.state is State.OPEN:
            # The caller is about to transmit, so GOAWAY leaves with the last response.
            self._protocol.state = State.DRAINING
            self.announce_end()

    def ping_acknowledged(self, payload: bytes) -> None:
        """The peer answered a PING."""
        is_awaited = self._protocol.state is State.DRAINING and not self.final_goaway_sent
        if payload == DRAIN_PING and is_awaited and not self._drain_answered:
            self._drain_answered = True
            self.set_timer(self._wait_of(OVERTAKEN_WAIT), self._send_final_goaway)

    def _send_final_goaway(self) -> None:
        if self.final_goaway_sent or self._protocol.state is not State.DRAINING:
            return
        self.final_goaway_sent = True
        engine = self._protocol.connection.engine
        engine.go_away(engine.last_stream_id, ErrorCode.NO_ERROR)
        self._protocol.transmit()

    def goes_away(self) -> None:
        """GOAWAY was sent for an application: close when the open streams are done."""
        if self._protocol.state is State.OPEN:
            self._protocol.state = State.DRAINING
        self.final_goaway_sent = True

    # -------------------------------------------------------------------------- at once

    def stop(self) -> None:
        """Time is up: reset what still runs, then close."""
        if self._protocol.state in SILENT:
            self._protocol.abort()
            return
        self._protocol.connection.reset_all("the server stops")
        self._protocol.connection.outflow.transmit()
        self.close()

    def hang_up(self, abort: bool) -> None:
        """Close without a word more, with a TCP reset if ``abort``.

        The connection may have closed while this was on its way from a thread.
        """
        if self._protocol.state is State.CLOSED:
            return
        if not abort:
            self.close()
            return
        # With nothing left to linger for, the kernel ends the connection by a reset.
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            self._protocol.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
        self._protocol.state = State.LINGERING
        self._protocol.connection.lose("the connection is closing")
        self._protocol.abort()

    def crash(self) -> None:
        """A failure of ours: say so, if frames can still be sent, and close."""
        protocol = self._protocol
        if protocol.started:
            engine = protocol.connection.engine
            engine.go_away(engine.last_stream_id, ErrorCode.INTERNAL_ERROR)
            protocol.write(engine.data_to_send())
        self.close()

    def fail(self, code: int, reason: str, limit: str = "") -> None:
        """A connection error (section 5.4.1). What came before it may still be answered.

        ``limit`` is the option whose limit the client went over, if it was one.
        """
        self._protocol.state = State.FAILED
        self._protocol.deadlines.stop()
        self._protocol.pause_reading(False)
        engine = self._protocol.connection.engine
        if not self._protocol.started:
            self._protocol.start()
        engine.go_away(engine.last_stream_id, code, reason.encode("ascii", "replace")[:200])
        self._protocol.connection.lose_incomplete("the connection failed")
        self.set_timer(FAILED_LINGER, self.linger)
        self._protocol.transmit()
        if limit:
            self._server.limit_hit(limit)
            reason += f" (--{limit.replace('_', '-')})"
        peer, name = self._protocol.facts.peer, code_name(code)
        self._server.log.events.info(
            "%s: connection ended by GOAWAY(%s): %s",
            peer,
            name,
            reason,
            extra=named("connection_failed", peer=peer, code=name, limit=limit or None),
        )

    # ------------------------------------------------------------------ the peer's own end

    def peer_ended(self) -> None:
        """The peer sends no more: no requests, and no windows for our responses.

        It may have closed its socket, or only shut down its half, as one does that was given all
        its requests on a pipe; TCP says the same of both. So what was asked whole is answered,
        while a PING makes the kernel of one that is gone say so. With TLS both loops close at its
        end, whatever is done here.
        """
        protocol = self._protocol
        if protocol.state in SILENT or not protocol.transport.can_write_eof():
            self.close()
            return
        connection = protocol.connection
        connection.lose_incomplete("the client sends no more")
        if not (connection.is_in_use or protocol.unsent):
            if protocol.state in READING and protocol.started and not self.final_goaway_sent:
                self._go_away_behind_the_last(0)
                protocol.write(connection.engine.data_to_send())
            self.close()
            return
        if protocol.state is not State.FAILED and not self.final_goaway_sent:
            # At the end, as httpx 0.28 gives up every open stream when GOAWAY comes.
            protocol.streams_changed = self._go_away_behind_the_last
        protocol.state = State.FAILED
        protocol.deadlines.stop()
        self._patient_until = clock.monotonic() + FAILED_LINGER
        self._look_whether_gone(GONE_WAIT)
        connection.engine.ping(GONE_PING)
        if not connection.is_in_use:
            protocol.streams_changed(0)
        protocol.transmit()

    def _look_whether_gone(self, next_look: float) -> None:
        """Give up a peer whose kernel has answered with RST, or else look again in a while."""
        protocol = self._protocol
        left = self._patient_until - clock.monotonic()
        error = protocol.transport.get_extra_info("socket").getsockopt(
            socket.SOL_SOCKET, socket.SO_ERROR
        )
        if error:
            protocol.abort()
        elif left > 0:
            look = functools.partial(self._look_whether_gone, 2 * next_look)
            self.set_timer(min(next_look, left), look)
        else:
            protocol.connection.reset_all("the client sends no more")
            protocol.transmit()
            self.linger()

    def _go_away_behind_the_last(self, open_streams: int) -> None:
        if open_streams == 0:
            engine = self._protocol.connection.engine
            engine.go_away(engine.last_stream_id, ErrorCode.NO_ERROR)

    def refuse(self, octets: bytes, advice: str) -> None:
        """Answer a client that does not speak HTTP/2 here."""
        if refusal.is_proxy_header(octets):
            self._server.log_refusal(self._protocol.facts, refusal.UNEXPECTED_PROXY_HEADER)
            self.linger()  # a proxy has no use for an answer
            return
        self._server.log_refusal(self._protocol.facts, advice)
        if answer := refusal.refusal(octets, advice):
            self._protocol.write(answer)
        if request := refusal.request_line(octets):
            content = answer.partition(b"\r\n\r\n")[2]
            self._protocol.connection.client_log.not_http2(*request, len(content))
        self.linger()

    # ------------------------------------------------------------------- the last octets

    def linger(self, reason: str = "the connection is closing") -> None:
        """Hang up our side, and read on shortly: unread octets would make the kernel send RST,
        which can destroy the last response before the peer has read it.

        ``reason`` is what applications of streams that are still open are told.
        """
        if self._protocol.state in SILENT:
            return
        self._protocol.end_stall()
        if self._protocol.state is State.DRAINING:
            self._be_patient()
        self._protocol.state = State.LINGERING
        self._protocol.deadlines.stop()
        self._protocol.connection.lose(reason)
        self._protocol.pause_reading(False)
        if self._protocol.transport.can_write_eof():
            # asyncio lets the socket's error out if the peer has reset the connection already.
            with contextlib.suppress(OSError):
                self._protocol.transport.write_eof()
        self._linger_until = clock.monotonic() + (
            IN_THE_WAY if self._in_the_way else LONGEST_LINGER
        )
        self.set_timer(self._wait_of(LINGER), self._close_when_sent)

    def _be_patient(self) -> None:
        self._left_to_send = self._protocol.transport.get_write_buffer_size()
        patience = self._server.config.write_timeout or ABORT_AFTER
        self._patient_until = clock.monotonic() + (IN_THE_WAY if self._in_the_way else patience)

    def _close_when_sent(self) -> None:
        """Close, but leave a slow client of a drained connection the time for its last response,
        and one that still sends the time to see our end."""
        left = self._protocol.transport.get_write_buffer_size()
        if 0 < left < self._left_to_send and self._patient_until:
            self._be_patient()
        still_sends, self.still_sends = self.still_sends, False
        until = self._patient_until if left else self._linger_until if still_sends else 0.0
        if clock.monotonic() < until:
            self.set_timer(self._wait_of(LINGER), self._close_when_sent)
        else:
            self.close()

    def close(self) -> None:
        if self._protocol.state is State.CLOSED or self._protocol.transport.is_closing():
            return
        self._protocol.end_stall()
        self._protocol.state = State.LINGERING
        self._protocol.deadlines.stop()
        self._protocol.connection.lose("the connection is closing")
        wait = self._wait_of(LINGER if self._in_the_way else ABORT_AFTER)
        self._protocol.transport.close()
        # close() waits for a peer that does not read; this does not.
        self.set_timer(wait, self._protocol.abort)

    def cancel(self) -> None:
        """The transport is gone: nothing is left to do."""
        if self._timer is not None:
            self._timer.cancel()

    def set_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        """Have ``callback`` called later, as the next step of the end, in place of any other."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._protocol.call_at(seconds, callback)


def _may_hold_output(transport: asyncio.Transport) -> bool:
    """Return whether the kernel may hold octets that are not on their way to the peer.

    What comes of the peer once the socket is closed would have it drop them.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0 or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    if sys.platform != "linux":
        return True  # nobody says, so there every client is waited for
    import fcntl  # which Windows does not have

    unsent = bytearray(4)
    with contextlib.suppress(OSError):
        fcntl.ioctl(sock.fileno(), SIOCOUTQNSD, unsent)
    return any(unsent)
