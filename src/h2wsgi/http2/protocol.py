"""H2Protocol: between an asyncio transport and one connection.

Input goes through the frame gate to the engine in slices, so that one busy client leaves the loop
to the others; output is paused and resumed with the transport, and stalled for an application. How
a connection ends is in closing.py. Loop thread only, except where a name ends in _threadsafe.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
import socket
from collections.abc import Callable
from typing import cast

from ..codes import ErrorCode
from ..errors import ConnectionFailed
from ..log.logs import named
from ..seam import guards
from ..seam.guards import loop_thread
from ..seam.request import ConnectionFacts
from ..seam.stream import Stream
from . import refusal
from .closing import CLOSED, OPEN, READING, SILENT, Closing, State
from .connection import Connection
from .covered import CoveredConnection
from .deadlines import Deadlines
from .frame_gate import FrameGate, NotHTTP2
from .interfaces import ServerContext
from .timeouts import Timeouts

WRITE_HIGH_WATER = 65_536
"""Octets the transport may buffer before it pauses us."""
UNSENT_LOW = 16_384
"""The same, and of the kernel beyond what is on its way, for clients that have priorities."""
UNREAD_REPLIES = 1_048_576
"""Octets of output, answers to PING and SETTINGS included, behind which we stop reading too."""
AGE_JITTER = 0.1
"""The largest part of ``--max-connection-age`` that chance takes off for one connection."""


class H2Protocol(asyncio.BufferedProtocol):
    """One connection's transport. What its :class:`Connection` may ask of it is :class:`Wire`.

    ``advice`` is set where no HTTP/2 may be spoken: what to tell the client. ``made`` is called
    when the transport is there.
    """

    def __init__(
        self,
        server: ServerContext,
        facts: Callable[[asyncio.BaseTransport], ConnectionFacts],
        *,
        advice: str = "",
        made: Callable[[H2Protocol], None],
    ) -> None:
        # immutable
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._make_facts = facts
        self._made = made
        # set when the transport is there
        self.transport: asyncio.Transport
        self.facts: ConnectionFacts
        self.deadlines: Deadlines
        self.connection: Connection
        self._gate: FrameGate
        self.streams_changed: Callable[[int], None]
        # loop thread only
        self.state = State.OPEN
        self._is_made = False
        self.advice = advice
        self.started = False
        self.closing = Closing(self, server)
        self.write_paused = False
        self._transport_full = False
        self._stalled = bytearray()
        """What would have been written since an application has stalled the connection."""
        self._stall: asyncio.TimerHandle | None = None
        self._work_scheduled = False
        self._read_paused = False
        self.wake_threadsafe: Callable[..., None] = functools.partial(
            server.mailbox.post_threadsafe, functools.partial(self.run, self.flush)
        )

    # ------------------------------------------------------------------ asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.run(self._begin)

    def _begin(self) -> None:
        transport = self.transport
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self.facts = self._make_facts(transport)
        make_connection = Connection if self.facts.covers is None else CoveredConnection
        self.connection = make_connection(self._server, self, self.facts)
        config = self._server.config
        self._gate = FrameGate(
            2 * config.max_field_section, config.max_continuations, self.connection.meter
        )
        self.deadlines = Deadlines(Timeouts(self, self._server), config, self.call_at)
        self.deadlines.start(self.connection)
        self.streams_changed = self.deadlines.streams_changed
        if age := config.max_connection_age:
            self.closing.set_timer(age * (1 - AGE_JITTER * random.random()), self.closing.retire)
        self._is_made = True
        self._made(self)
        del self._made, self._make_facts  # with all of the handshake, which they know
        tls = transport.get_extra_info("ssl_object")
        if tls is None:
            return  # the preface comes first, or an HTTP/1.1 client would get our SETTINGS
        if tls.selected_alpn_protocol() != "h2":
            self.advice = refusal.NEEDS_ALPN
        else:
            self.start()

    def start(self) -> None:
        self.started = True
        self.connection.engine.start()
        self.deadlines.settings_sent()
        self._delay("settings")
        if self.state is State.DRAINING:
            self.closing.announce_end()
        self.connection.outflow.transmit()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._server.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.receive(bytes(self._server.read_buffer[:nbytes]))

    def receive(self, data: bytes) -> None:
        """Take what was read. It may be kept, unlike the buffer."""
        try:
            if self.state in READING:
                self.deadlines.heard = True
                self._gate.feed(data)
                if not self._work_scheduled:
                    self._work()
            else:
                self.closing.still_sends = True
        except Exception:
            self._crash()

    def eof_received(self) -> bool:
        """The peer sends no more. Returns True if it may still be answered."""
        self.run(self.closing.peer_ended)
        return self.state is State.FAILED

    def pause_writing(self) -> None:
        self.write_paused = self._transport_full = True

    def resume_writing(self) -> None:
        self._transport_full = False
        self.run(self._resume)

    def _resume(self) -> None:
        """Go on with the output, if nothing holds it up any more."""
        self.write_paused = self._transport_full or self._stall is not None
        self.transmit()
        if self.state in READING:
            self.pause_reading(self._work_scheduled)

    @guards.kernel
    def connection_lost(self, exc: Exception | None) -> None:
        try:
            self._lost()
        except Exception:
            # Once more, or the streams would wait for ever. Each step may be done twice.
            self._log_crash()
            self._lost()

    def _lost(self) -> None:
        self.state = CLOSED
        try:
            if "deadlines" in self.__dict__:
                self.deadlines.stop()
            if "connection" in self.__dict__:
                self.connection.lose("the client closed the connection")
                self.connection.forget()
        finally:
            self.closing.cancel()
            if self._stall is not None:
                self._stall.cancel()
            self._server.connection_closed(self)
        # Else its TLS object, of some 300 KiB, would stay until the garbage collector runs.
        self.__dict__.pop("transport", None)

    # ------------------------------------------------------------------------------- input

    @loop_thread
    def _work(self) -> None:
        """Process one slice of the input, and arrange for the rest."""
        self._work_scheduled = False
        if self.state in READING:
            try:
                self._process_slice()
            except Exception:
                self._crash()

    def _process_slice(self) -> None:
        """Let the engine have some frames, and send what it and the connection have to say."""
        connection, gate = self.connection, self._gate
        try:
            if not (self.started or self._may_start()):
                return
            try:
                more = gate.deliver(connection.engine)
            finally:
                connection.dispatch()
        except NotHTTP2:
            # ALPN or the first octets said HTTP/2, so the answer must be frames.
            self.closing.fail(ErrorCode.PROTOCOL_ERROR, "the preface is wrong (section 3.4)")
            return
        except ConnectionFailed as error:
            self.closing.fail(error.code, str(error), error.limit)
            return
        deadlines = self.deadlines
        if (since := gate.fields_since) != deadlines.fields_since:
            deadlines.fields_begun(since)
        if connection.outflow.has_output or self.state is not OPEN:
            self.transmit()
        if (more or self.write_paused or self._read_paused) and self.state in READING:
            if more:
                # What is left is for another turn of the loop, before anything new.
                self._work_scheduled = True
                self.call_soon(self._work)
            self.pause_reading(more or self._clogged)

    def _may_start(self) -> bool:
        """Start once the preface is whole; False before that, and for a client that is refused."""
        if self.advice:
            self.closing.refuse(self._gate.peek(), self.advice)
            return False
        try:
            if not self._gate.take_preface():
                return False
        except NotHTTP2 as error:
            if error.octets.startswith(b"PRI "):
                raise
            self.closing.refuse(error.octets, refusal.advice_for(error.octets))
            return False
        self.start()
        return True

    @property
    def _clogged(self) -> bool:
        """True while the peer reads no answers, which would pile up without bound."""
        return self.write_paused and self.unsent > UNREAD_REPLIES

    def pause_reading(self, pause: bool) -> None:
        if pause != self._read_paused:
            self._read_paused = pause
            if pause:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # ------------------------------------------------------------------------------ output

    def write(self, data: bytes) -> None:
        """Send octets, or drop them if the end has come.

        Credit may come due as late, when another connection makes room.
        """
        if self._stall is not None:
            self._stalled += data
        elif self.state not in SILENT:
            self.transport.write(data)

    def keep_unsent_low(self) -> None:
        self.transport.set_write_buffer_limits(high=UNSENT_LOW)
        connection = self.transport.get_extra_info("socket")
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError, AttributeError):  # the peer is gone; no such option
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_LOW)

    @property
    def unsent(self) -> int:
        return self.transport.get_write_buffer_size() + len(self._stalled)

    @guards.kernel
    def run(self, call: Callable[[], object]) -> None:
        """Make a call of this connection's; what it raises ends this connection and no other."""
        try:
            call()
        except Exception:
            self._crash()

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon(self.run, callback)

    def call_at(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call ``callback`` in so many seconds, whatever has become of the connection by then."""
        return self._loop.call_later(seconds, self.run, callback)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        def call() -> None:
            if self.state not in SILENT:
                callback()
                self.transmit()

        self.call_at(seconds, call)

    @loop_thread
    def flush(self) -> None:
        """Take what the applications have handed over, and send it."""
        if self.state is CLOSED:
            self.connection.flush()  # drops what came too late, so that nothing is kept alive
        else:
            self._send(self.connection.flush)

    @loop_thread
    def transmit(self) -> None:
        """Send what the connection has to say."""
        if self.state is not CLOSED:
            self._send(self.connection.outflow.transmit)

    def _send(self, send: Callable[[], bool]) -> None:
        try:
            more = send()
        except Exception:
            self._crash()
            return
        if more:
            self.call_soon(self.transmit)
        elif (
            self.state is not OPEN
            and not self.connection.is_in_use
            and (self.state is State.FAILED or self.closing.final_goaway_sent)
            and self._stall is None
        ):
            self.closing.linger()

    # ------------------------------------------------------------------ output kept back

    def stall(self, seconds: float) -> None:
        """Of several the one that ends last counts."""
        until = self._loop.time() + seconds
        if self.state not in READING or (self._stall is not None and self._stall.when() >= until):
            return
        if self._stall is not None:
            self._stall.cancel()
        self.write_paused = True
        self._stall = self.call_at(seconds, self._stall_over)
        self.deadlines.hold(seconds)

    def _stall_over(self) -> None:
        self.end_stall()
        self._resume()

    def end_stall(self) -> None:
        """Write what a stall has kept back."""
        if self._stall is None:
            return
        self._stall.cancel()
        self._stall = None
        self.write_paused = self._transport_full
        kept, self._stalled = bytes(self._stalled), bytearray()
        if kept:
            self.write(kept)  # which shows it to an observer

    def _delay(self, what: str) -> None:
        """Hold up what was just queued, and all that follows, if a rule wants it."""
        if seconds := self._server.settings_delay(what, self.facts):
            self.stall(seconds)

    # ------------------------------------------------------- what the connection tells of

    def settings_received(self) -> None:
        if self.deadlines.settings_received():
            self._delay("ack")

    def accept_frames(self, max_frame_size: int) -> None:
        self._gate.max_frame_size = max_frame_size

    def settings_sent(self) -> None:
        self.deadlines.settings_sent()

    def settings_acknowledged(self) -> None:
        self.deadlines.settings_acknowledged()

    def give_up_slow(self, stream: Stream, option: str, why: str) -> None:
        """Reset a stream whose client keeps what others need, by the limit of an option.

        Nothing, if it has ended meanwhile: what made room for one stream may have let others go on.
        """
        connection = self.connection
        if connection.streams.get(stream.stream_id) is stream:
            said = f"gave up {stream.name}: {why}"
            connection.client_log.limit_hit(option, said, logging.WARNING)
            connection.reset(stream, ErrorCode.ENHANCE_YOUR_CALM, why)
            self.transmit()

    # ------------------------------------------------------------------------ at once

    def abort(self) -> None:
        """Close without sending anything more."""
        if self.state is not State.CLOSED:
            self.transport.abort()

    def _crash(self) -> None:
        """Something failed that must not: end the connection, or nobody would ever serve it.

        Called while the exception is handled.
        """
        self._log_crash()
        try:
            if self._is_made and self.state not in SILENT:
                self.closing.crash()
        finally:
            if self.state is not CLOSED and not self.transport.is_closing():
                self.abort()
        if guards.ACTIVE:
            raise

    def _log_crash(self) -> None:
        peer = self.facts.peer if self._is_made else "a new connection"
        self._server.log.events.exception(
            "%s: internal error, closing", peer, extra=named("internal_error", peer=peer)
        )
