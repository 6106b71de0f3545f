"""H2Protocol: between an asyncio transport and one connection. The only asyncio in this package.

Input goes through the frame gate to the engine in slices, so that one busy client leaves the loop
to the others; output is paused and resumed with the transport. Here a connection's life is
decided: the preface, GOAWAY in two steps, and the lingering close that lets the last response
arrive (invariant 6).
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
import socket
import struct
import time
from collections.abc import Callable
from typing import Protocol, cast

from h2.errors import ErrorCodes

from .. import guards
from ..codes import code_name
from ..errors import ConnectionFailed
from ..guards import loop_thread
from ..mailbox import Mailbox
from ..request import ConnectionFacts
from ..stream import Stream
from . import refusal
from .connection import Connection
from .deadlines import Deadlines
from .frame_gate import FrameGate, NotHTTP2
from .host import Host
from .observer import ObserverFactory

SLICE_FRAMES = 100
SLICE_OCTETS = 262_144
SLICE_SECONDS = 0.005
WRITE_HIGH_WATER = 65_536
"""Octets the transport may buffer before it pauses us."""
UNREAD_REPLIES = 1_048_576
"""Octets of output, answers to PING and SETTINGS included, behind which we stop reading too."""
DRAIN_WAIT = 0.25
"""Seconds to wait for the PING that shows the peer has seen the first GOAWAY."""
RETIRE_WAIT = 5.0
"""Seconds a connection that has to be replaced is given to be without a stream for once."""
AGE_JITTER = 0.1
"""By what part of it a connection's age is shortened at most."""
LINGER = 0.25
"""Seconds to go on reading after the last octet was written."""
FAILED_LINGER = 5.0
"""Seconds that requests which came before a connection error get to finish."""
ABORT_AFTER = 2.0
"""Seconds a closing transport gets to send what it holds."""
LAST_STREAM_ID = 2**31 - 1
DRAIN_PING, ALIVE_PING = b"draining", b"alive?  "
"""Payloads of the server's PINGs."""


class ProtocolHost(Host, Protocol):
    """What the protocol needs of the server, beside what its connection does."""

    mailbox: Mailbox
    read_buffer: memoryview
    """What every transport reads into; it is copied before another one does."""
    observe: ObserverFactory | None
    """Who watches the connections, if anybody; the same for as long as the server runs."""

    def connection_closed(self, protocol: H2Protocol) -> None:
        """The transport is closed and every stream has ended."""

    def settings_delay(self, what: str, facts: ConnectionFacts) -> float:
        """Return the seconds by which ``"settings"``, or their ``"ack"``, are to be late."""

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


class H2Protocol(asyncio.BufferedProtocol):
    """One connection.

    ``advice`` is set where no HTTP/2 may be spoken: what to tell the client. ``made`` is called
    when the transport is there.
    """

    def __init__(
        self,
        host: ProtocolHost,
        facts: Callable[[asyncio.BaseTransport], ConnectionFacts],
        *,
        advice: str = "",
        made: Callable[[H2Protocol], None],
    ) -> None:
        self._host = host
        self._made = made
        self._make_facts = facts
        self._advice = advice
        self._loop = asyncio.get_running_loop()
        self.state = State.OPEN
        self.write_paused = False
        self._transport_full = False
        self._stalled = bytearray()
        """What would have been written since an application has stalled the connection."""
        self._stall: asyncio.TimerHandle | None = None
        self._started = False
        self._work_scheduled = False
        self._read_paused = False
        self._final_goaway_sent = False
        self._retiring = False
        self._left_to_send = 0
        self._patient_until = 0.0
        self._closing_timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------ asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self._facts = self._make_facts(transport)
        self.connection = Connection(self._host, self, self._facts)
        config = self._host.config
        self._gate = FrameGate(
            2 * config.max_field_section, config.max_continuations, self.connection.meter
        )
        self._deadlines = Deadlines(self, config, self._loop.call_later)
        self._deadlines.start(self.connection)
        if age := config.max_connection_age:
            self._set_closing_timer(age * (1 - AGE_JITTER * random.random()), self.retire)
        self._made(self)
        tls = transport.get_extra_info("ssl_object")
        if tls is None:
            return  # the preface comes first, or an HTTP/1.1 client would get our SETTINGS
        if tls.selected_alpn_protocol() != "h2":
            self._advice = refusal.NEEDS_ALPN
        else:
            self._start()

    def _start(self) -> None:
        self._started = True
        self.connection.engine.start()
        self._deadlines.settings_sent()
        self._delay("settings")
        if self.state is State.DRAINING:
            self._announce_end()
        self.connection.transmit()

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio.BufferedProtocol."""
        return self._host.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""
        self.data_received(bytes(self._host.read_buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Take what was read. It may be kept, unlike the buffer."""
        if self._reads:
            self._deadlines.heard = True
            self._gate.feed(data)
            if not self._work_scheduled:
                self._work()

    def eof_received(self) -> None:
        """The peer hung up: no more requests, and no more windows for our responses."""
        self._close()

    def pause_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self.write_paused = self._transport_full = True

    def resume_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self._transport_full = False
        self._resume()

    def _resume(self) -> None:
        """Go on with the output, if nothing holds it up any more."""
        self.write_paused = self._transport_full or self._stall is not None
        self._transmit()
        if self._reads:
            self._pause_reading(self._work_scheduled)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        self.state = State.CLOSED
        self._deadlines.stop()
        for timer in (self._closing_timer, self._stall):
            if timer is not None:
                timer.cancel()
        try:
            self.connection.lose("the client closed the connection")
        finally:
            # TLS holds some 300 KiB, which would wait for the garbage collector with the rest.
            del self._transport
            self._host.connection_closed(self)

    # ------------------------------------------------------------------------------- input

    @property
    def _reads(self) -> bool:
        """True while input still means something."""
        return self.state in (State.OPEN, State.DRAINING)

    @loop_thread
    def _work(self) -> None:
        """Process one slice of the input, and arrange for the rest."""
        self._work_scheduled = False
        if self._reads:
            try:
                self._process_input()
            except Exception:
                self._crash()

    def _process_input(self) -> None:
        try:
            more = not self._advice and self._process_slice()
            if self._advice:
                self._refuse(self._gate.peek(), self._advice)
                return
        except NotHTTP2 as error:
            if self._started or error.octets.startswith(b"PRI "):
                # ALPN or the first octets said HTTP/2, so the answer must be frames.
                self._fail(ErrorCodes.PROTOCOL_ERROR, "the preface is wrong (section 3.4)")
                return
            self._refuse(error.octets, refusal.advice_for(error.octets))
            return
        except ConnectionFailed as error:
            self._fail(error.code, str(error), error.limit)
            return
        self._deadlines.fields_begun(self._gate.fields_since)
        self._transmit()
        self._read_on(more)

    def _read_on(self, more: bool) -> None:
        """Go on with the input: what is left of it now first, in another turn of the loop."""
        if self._reads:
            if more:
                self._work_scheduled = True
                self._loop.call_soon(self._work)
            self._pause_reading(more or self._clogged)

    @property
    def _clogged(self) -> bool:
        """True while the peer makes us answer and reads no answer: they would pile up for ever."""
        return self.write_paused and self.unsent > UNREAD_REPLIES

    def _process_slice(self) -> bool:
        """Let the engine have some frames; True if there may be more."""
        gate = self._gate
        receive_frame = self.connection.engine.receive_frame
        stop_at = time.monotonic() + SLICE_SECONDS
        octets_left = gate.buffered - SLICE_OCTETS
        try:
            for _ in range(SLICE_FRAMES):
                frame = gate.next_frame()
                if not self._started and gate.preface_received:
                    self._start()
                if frame is None:
                    return False
                receive_frame(*frame)
                if gate.buffered <= octets_left or time.monotonic() >= stop_at:
                    break
        finally:
            self.connection.slice_ended()
        return gate.buffered > 0

    def _pause_reading(self, pause: bool) -> None:
        if pause != self._read_paused:
            self._read_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # ------------------------------------------------------------------------------ output

    def write(self, data: bytes) -> None:
        """See Wire. Credit may come due after the end, by what another connection gives back."""
        if self._stall is not None:
            self._stalled += data
        elif self.state not in (State.LINGERING, State.CLOSED):
            self._transport.write(data)

    @property
    def unsent(self) -> int:
        """See Wire."""
        return self._transport.get_write_buffer_size() + len(self._stalled)

    def flush_threadsafe(self, about_to_wait: bool = False) -> None:
        """See Wire."""
        self._host.mailbox.post_threadsafe(self._flush, about_to_wait)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """See Wire."""
        self._loop.call_soon(callback)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """See Wire."""

        def call() -> None:
            if self._reads:
                callback()
                self._transmit()

        self._loop.call_later(seconds, call)

    # ------------------------------------------------------- what applications ask for

    def stall(self, seconds: float) -> None:
        """See Wire. Of several the one that ends last counts."""
        until = self._loop.time() + seconds
        if not self._reads or (self._stall is not None and self._stall.when() >= until):
            return
        if self._stall is not None:
            self._stall.cancel()
        self.write_paused = True
        self._stall = self._loop.call_later(seconds, self._stall_over)
        self._deadlines.hold(seconds)

    def _stall_over(self) -> None:
        self._end_stall()
        self._resume()

    def _end_stall(self) -> None:
        """Write what a stall has kept back."""
        if self._stall is None:
            return
        self._stall.cancel()
        self._stall = None
        self.write_paused = self._transport_full
        kept, self._stalled = bytes(self._stalled), bytearray()
        if kept and self.state not in (State.LINGERING, State.CLOSED):
            self._transport.write(kept)

    def goes_away(self) -> None:
        """See Wire."""
        if self.state is State.OPEN:
            self.state = State.DRAINING
        self._final_goaway_sent = True

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

    def accept_frames(self, max_frame_size: int) -> None:
        """See Wire."""
        self._gate.max_frame_size = max_frame_size

    @loop_thread
    def _flush(self) -> None:
        if self.state is State.CLOSED:
            self.connection.flush()  # drops what came too late, so that nothing is kept alive
        else:
            self._send(self.connection.flush)

    @loop_thread
    def _transmit(self) -> None:
        if self.state is not State.CLOSED:
            self._send(self.connection.transmit)

    def _send(self, send: Callable[[], bool]) -> None:
        try:
            more = send()
        except Exception:
            self._crash()
            return
        if more:
            self._loop.call_soon(self._transmit)
        elif (
            not self.connection.streams
            and (self.state is State.FAILED or self._final_goaway_sent)
            and self._stall is None
        ):
            self._linger()

    # ------------------------------------------------------------------ the end, in its forms

    def drain(self) -> None:
        """Shut down gracefully: announce it, then name the last stream, then finish those open."""
        if self.state is not State.OPEN:
            return
        self.state = State.DRAINING
        self._end_stall()
        if self._started:
            self._announce_end()
            self._transmit()
        elif self._advice:
            self._linger()
        else:
            # The preface may be on its way, with requests behind it.
            self._set_closing_timer(DRAIN_WAIT, self._linger)

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
        else:
            self.drain()

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
        self._transmit()

    def stop(self) -> None:
        """Time is up: reset what still runs, then close."""
        if self.state in (State.LINGERING, State.CLOSED):
            self.abort()
            return
        for stream in list(self.connection.streams.values()):
            self.connection.reset(stream, ErrorCodes.CANCEL, "the server stops")
        self.connection.transmit()
        self._close()

    def give_up(self, stream: Stream) -> None:
        """Reset a stream whose client keeps a thread waiting that others need."""
        outcome = "no thread was left and its client was the slowest"
        self.connection.reset(stream, ErrorCodes.ENHANCE_YOUR_CALM, outcome)
        self._transmit()

    def abort(self) -> None:
        """Close without sending anything more."""
        if self.state is not State.CLOSED:
            self._transport.abort()

    def _crash(self) -> None:
        """A bug of ours, being handled: the connection must not stay with nobody to serve it."""
        self.abort()
        self._host.log.events.exception("%s: internal error, closing", self._facts.peer)
        if guards.ACTIVE:
            raise

    def _fail(self, code: int, reason: str, limit: str = "") -> None:
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
        self._set_closing_timer(FAILED_LINGER, self._linger)
        self._transmit()
        if limit:
            self._host.limit_hit(limit)
            reason += f" (--{limit.replace('_', '-')})"
        self._host.log.events.info(
            "%s: connection failed with %s: %s", self._facts.peer, code_name(code), reason
        )

    def _refuse(self, octets: bytes, advice: str) -> None:
        """Answer a client that does not speak HTTP/2 here."""
        self._host.log_refusal(self._facts, advice)
        if answer := refusal.refusal(octets, advice):
            self.write(answer)
        self._linger()

    def _linger(self) -> None:
        """Hang up our side, and read on shortly: unread octets would make the kernel send RST,
        which can destroy the last response before the peer has read it."""
        if self.state in (State.LINGERING, State.CLOSED):
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
        self._set_closing_timer(LINGER, self._close_when_sent)

    def _be_patient(self) -> None:
        self._left_to_send = self._transport.get_write_buffer_size()
        self._patient_until = time.monotonic() + (self._host.config.write_timeout or ABORT_AFTER)

    def _close_when_sent(self) -> None:
        """Close, but leave a slow client of a drained connection the time for its last response."""
        left = self._transport.get_write_buffer_size()
        if 0 < left < self._left_to_send and self._patient_until:
            self._be_patient()
        if left and time.monotonic() < self._patient_until:
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

    # ---------------------------------------------------------------------------- deadlines

    def settings_received(self) -> None:
        """See Wire."""
        if self._deadlines.settings_received():
            self._delay("ack")

    def _delay(self, what: str) -> None:
        """Hold up what was just queued, and all that follows, if a rule wants it."""
        if seconds := self._host.settings_delay(what, self._facts):
            self.stall(seconds)

    def settings_acknowledged(self) -> None:
        """See Wire."""
        self._deadlines.settings_acknowledged()

    def streams_changed(self, open_streams: int) -> None:
        """See Wire."""
        self._deadlines.streams_changed(open_streams)
        if self._retiring and open_streams == 0 and self.state is State.OPEN:
            # Who closed the last stream is about to transmit: GOAWAY comes with the response.
            self.state = State.DRAINING
            self._announce_end()

    def preface_timed_out(self) -> None:
        """See DeadlineHandler."""
        if self._advice:
            self._linger()
        else:
            reason = "no preface and SETTINGS came in time"
            self._fail(ErrorCodes.SETTINGS_TIMEOUT, reason, "preface_timeout")

    def settings_timed_out(self) -> None:
        """See DeadlineHandler."""
        reason = "our SETTINGS were not acknowledged in time"
        self._fail(ErrorCodes.SETTINGS_TIMEOUT, reason, "settings_timeout")

    def fields_timed_out(self) -> None:
        """See DeadlineHandler."""
        reason = "a field section did not come whole in time"
        self._fail(ErrorCodes.ENHANCE_YOUR_CALM, reason, "fields_timeout")

    def ping_due(self) -> None:
        """See DeadlineHandler."""
        self.connection.engine.ping(ALIVE_PING)
        self._transmit()

    def ping_timed_out(self) -> None:
        """See DeadlineHandler. Section 6.7: it has to answer, so it is gone or broken."""
        self._fail(ErrorCodes.PROTOCOL_ERROR, "a PING was not answered in time", "ping_timeout")

    def idle_timed_out(self) -> None:
        """See DeadlineHandler."""
        self._host.limit_hit("idle_timeout")
        self.drain()

    def read_timed_out(self, stream: Stream, option: str) -> None:
        """See DeadlineHandler."""
        self._hit_by(stream, option, "sent nothing, or too little, for too long")
        self.connection.read_timed_out(stream, "the client sent nothing, or too little")

    def request_timed_out(self, stream: Stream) -> None:
        """See DeadlineHandler. What was handed over until now still counts."""
        self._flush()
        self.connection.request_timed_out(stream)
        self._transmit()

    def write_timed_out(self, stream: Stream, option: str) -> None:
        """See DeadlineHandler."""
        self._hit_by(stream, option, "took nothing, or too little, for too long")
        outcome = "the client took nothing, or too little, for too long"
        self.connection.reset(stream, ErrorCodes.CANCEL, outcome)
        self._transmit()

    def _hit_by(self, stream: Stream, option: str, what: str) -> None:
        self.connection.limit_hit(option, f"the client {what} on stream {stream.stream_id}")
