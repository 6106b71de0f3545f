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
import time
from collections.abc import Callable
from typing import Protocol, cast

from h2.errors import ErrorCodes

from .. import guards
from ..errors import ConnectionFailed
from ..guards import loop_thread
from ..mailbox import Mailbox
from ..request import ConnectionFacts
from ..stream import Stream
from . import refusal
from .connection import Connection, code_name
from .deadlines import Deadlines
from .frame_gate import FrameGate, NotHTTP2
from .host import Host

SLICE_FRAMES = 100
SLICE_OCTETS = 262_144
SLICE_SECONDS = 0.005
WRITE_HIGH_WATER = 65_536
"""Octets the transport may buffer before it pauses us."""
UNREAD_REPLIES = 1_048_576
"""Octets of output, answers to PING and SETTINGS included, behind which we stop reading too."""
DRAIN_WAIT = 0.25
"""Seconds to wait for the PING that shows the peer has seen the first GOAWAY."""
LINGER = 0.25
"""Seconds to go on reading after the last octet was written."""
FAILED_LINGER = 5.0
"""Seconds that requests which came before a connection error get to finish."""
ABORT_AFTER = 2.0
"""Seconds a closing transport gets to send what it holds."""
LAST_STREAM_ID = 2**31 - 1


class ProtocolHost(Host, Protocol):
    """What the protocol needs of the server, beside what its connection does."""

    mailbox: Mailbox

    def connection_closed(self, protocol: H2Protocol) -> None:
        """The transport is closed and every stream has ended."""

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


class H2Protocol(asyncio.Protocol):
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
        self._gate = FrameGate(2 * host.config.max_field_section)
        self.state = State.OPEN
        self.write_paused = False
        self._started = False
        self._work_scheduled = False
        self._read_paused = False
        self._final_goaway_sent = False
        self._left_to_send = 0
        self._patient_until = 0.0
        self._closing_timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------ asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self._facts = self._make_facts(transport)
        self.connection = Connection(self._host, self, self._facts)
        self._deadlines = Deadlines(self, self._host.config, self._loop.call_later)
        self._deadlines.start(self.connection)
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
        self.connection.transmit()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._reads:
            self._gate.feed(data)
            if not self._work_scheduled:
                self._work()

    def eof_received(self) -> None:
        """The peer hung up: no more requests, and no more windows for our responses."""
        self._close()

    def pause_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self.write_paused = False
        self._transmit()
        if self._reads:
            self._pause_reading(self._work_scheduled)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        self.state = State.CLOSED
        self._deadlines.stop()
        if self._closing_timer is not None:
            self._closing_timer.cancel()
        try:
            self.connection.lose("the client closed the connection")
        finally:
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
            self._fail(error.code, str(error))
            return
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
        return self.write_paused and self._transport.get_write_buffer_size() > UNREAD_REPLIES

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
        if self.state not in (State.LINGERING, State.CLOSED):
            self._transport.write(data)

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
        elif not self.connection.streams and (
            self.state is State.FAILED or self._final_goaway_sent
        ):
            self._linger()

    # ------------------------------------------------------------------ the end, in its forms

    def drain(self) -> None:
        """Shut down gracefully: announce it, then name the last stream, then finish those open."""
        if self.state is not State.OPEN:
            return
        self.state = State.DRAINING
        if not self._started:
            self._linger()
            return
        # Section 6.8: the first GOAWAY only says that an end is near, so that requests already
        # on their way are still served; the PING shows when they must have arrived.
        self.connection.engine.go_away(LAST_STREAM_ID, ErrorCodes.NO_ERROR)
        self.connection.engine.ping(b"draining")
        self._transmit()
        self._set_closing_timer(DRAIN_WAIT, self._send_final_goaway)

    def ping_acknowledged(self) -> None:
        """See Wire."""
        if self.state is State.DRAINING:
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

    def _fail(self, code: int, reason: str) -> None:
        """A connection error (section 5.4.1). What came before it may still be answered."""
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
        name = code_name(code)
        self._host.log.events.info(
            "%s: connection failed with %s: %s", self._facts.peer, name, reason
        )

    def _refuse(self, octets: bytes, advice: str) -> None:
        """Answer a client that does not speak HTTP/2 here."""
        self._host.log_refusal(self._facts, advice)
        if answer := refusal.refusal(octets, advice):
            self._transport.write(answer)
        self._linger()

    def _linger(self) -> None:
        """Hang up our side, and read on shortly: unread octets would make the kernel send RST,
        which can destroy the last response before the peer has read it."""
        if self.state in (State.LINGERING, State.CLOSED):
            return
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
        self._deadlines.settings_received()

    def streams_changed(self, open_streams: int) -> None:
        """See Wire."""
        self._deadlines.streams_changed(open_streams)

    def preface_timed_out(self) -> None:
        """See DeadlineHandler."""
        if self._advice:
            self._linger()
        else:
            self._fail(ErrorCodes.SETTINGS_TIMEOUT, "no preface and SETTINGS came in time")

    def idle_timed_out(self) -> None:
        """See DeadlineHandler."""
        self.drain()

    def read_timed_out(self, stream: Stream) -> None:
        """See DeadlineHandler."""
        self.connection.read_timed_out(stream)

    def write_timed_out(self, stream: Stream) -> None:
        """See DeadlineHandler."""
        self.connection.reset(stream, ErrorCodes.CANCEL, "the client took nothing for too long")
        self._transmit()
