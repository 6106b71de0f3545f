"""H2Protocol: between an asyncio transport and one connection.

Input goes through the frame gate to the engine in slices, so that one busy client leaves the loop
to the others; output is paused and resumed with the transport, and stalled for an application. How
a connection ends is in ending.py. Loop thread only, except where a name ends in _threadsafe.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable
from typing import Protocol, cast

from h2.errors import ErrorCodes

from ..errors import ConnectionFailed
from ..guards import loop_thread
from ..mailbox import Mailbox
from ..request import ConnectionFacts
from ..stream import Stream
from . import refusal
from .connection import Connection
from .deadlines import Deadlines
from .ending import CLOSED, OPEN, READING, SILENT, EndingHost, EndingProtocol, State
from .frame_gate import FrameGate, NotHTTP2
from .observer import ObserverFactory
from .timeouts import Timeouts

WRITE_HIGH_WATER = 65_536
"""Octets the transport may buffer before it pauses us."""
UNREAD_REPLIES = 1_048_576
"""Octets of output, answers to PING and SETTINGS included, behind which we stop reading too."""
AGE_JITTER = 0.1
"""By what part of it a connection's age is shortened at most."""


class ProtocolHost(EndingHost, Protocol):
    """What the protocol needs of the server, beside what its connection and its end do."""

    mailbox: Mailbox
    read_buffer: memoryview
    """What every transport reads into; it is copied before another one does."""
    observe: ObserverFactory | None
    """Who watches the connections, if anybody; the same for as long as the server runs."""

    def connection_closed(self, protocol: H2Protocol) -> None:
        """The transport is closed and every stream has ended."""

    def settings_delay(self, what: str, facts: ConnectionFacts) -> float:
        """Return the seconds by which ``"settings"``, or their ``"ack"``, are to be late."""


class H2Protocol(EndingProtocol):
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
        super().__init__(host, advice)
        # immutable
        self._host: ProtocolHost = host
        self._make_facts = facts
        self._made = made
        # set when the transport is there
        self._gate: FrameGate
        # loop thread only
        self.write_paused = False
        self._transport_full = False
        self._stalled = bytearray()
        """What would have been written since an application has stalled the connection."""
        self._stall: asyncio.TimerHandle | None = None
        self._work_scheduled = False
        self._read_paused = False
        self.flush_threadsafe: Callable[..., None] = functools.partial(
            host.mailbox.post_threadsafe, self.flush
        )
        """See Wire."""

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
        self._deadlines = Deadlines(Timeouts(self, self._host), config, self._loop.call_later)
        self._deadlines.start(self.connection)
        self.streams_changed = self._deadlines.streams_changed
        if age := config.max_connection_age:
            self._set_closing_timer(age * (1 - AGE_JITTER * random.random()), self.retire)
        self._made(self)
        tls = transport.get_extra_info("ssl_object")
        if tls is None:
            return  # the preface comes first, or an HTTP/1.1 client would get our SETTINGS
        if tls.selected_alpn_protocol() != "h2":
            self.advice = refusal.NEEDS_ALPN
        else:
            self._start()

    def _start(self) -> None:
        self._started = True
        self.connection.engine.start()
        self._deadlines.settings_sent()
        self._delay("settings")
        if self.state is State.DRAINING:
            self._announce_end()
        self.connection.outflow.transmit()

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio.BufferedProtocol."""
        return self._host.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""
        self.data_received(bytes(self._host.read_buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Take what was read. It may be kept, unlike the buffer."""
        if self.state in READING:
            self._deadlines.heard = True
            self._gate.feed(data)
            if not self._work_scheduled:
                self._work()
        else:
            self._still_sends = True

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
        self.transmit()
        if self.state in READING:
            self._pause_reading(self._work_scheduled)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        self.state = CLOSED
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
            if not (self._started or self._may_start()):
                return
            try:
                more = gate.deliver(connection.engine)
            finally:
                connection.slice_ended()
        except NotHTTP2:
            # ALPN or the first octets said HTTP/2, so the answer must be frames.
            self.fail(ErrorCodes.PROTOCOL_ERROR, "the preface is wrong (section 3.4)")
            return
        except ConnectionFailed as error:
            self.fail(error.code, str(error), error.limit)
            return
        deadlines = self._deadlines
        if (since := gate.fields_since) != deadlines.fields_since:
            deadlines.fields_begun(since)
        if connection.outflow.has_output or self.state is not OPEN:
            self.transmit()
        if (more or self.write_paused or self._read_paused) and self.state in READING:
            if more:
                # What is left is for another turn of the loop, before anything new.
                self._work_scheduled = True
                self._loop.call_soon(self._work)
            self._pause_reading(more or self._clogged)

    def _may_start(self) -> bool:
        """Start with the preface; False before it is whole, and for one who is refused."""
        if self.advice:
            self.refuse(self._gate.peek(), self.advice)
            return False
        try:
            if not self._gate.take_preface():
                return False
        except NotHTTP2 as error:
            if error.octets.startswith(b"PRI "):
                raise
            self.refuse(error.octets, refusal.advice_for(error.octets))
            return False
        self._start()
        return True

    @property
    def _clogged(self) -> bool:
        """True while the peer makes us answer and reads no answer: they would pile up for ever."""
        return self.write_paused and self.unsent > UNREAD_REPLIES

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
        elif self.state not in SILENT:
            self._transport.write(data)

    @property
    def unsent(self) -> int:
        """See Wire."""
        return self._transport.get_write_buffer_size() + len(self._stalled)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """See Wire."""
        self._loop.call_soon(callback)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """See Wire."""

        def call() -> None:
            if self.state not in SILENT:
                callback()
                self.transmit()

        self._loop.call_later(seconds, call)

    @loop_thread
    def flush(self) -> None:
        """See EndingProtocol."""
        if self.state is CLOSED:
            self.connection.flush()  # drops what came too late, so that nothing is kept alive
        else:
            self._send(self.connection.flush)

    @loop_thread
    def transmit(self) -> None:
        """See EndingProtocol."""
        if self.state is not CLOSED:
            self._send(self.connection.outflow.transmit)

    def _send(self, send: Callable[[], bool]) -> None:
        try:
            more = send()
        except Exception:
            self._crash()
            return
        if more:
            self._loop.call_soon(self.transmit)
        elif (
            self.state is not OPEN
            and not self.connection.streams
            and (self.state is State.FAILED or self._final_goaway_sent)
            and self._stall is None
        ):
            self.linger()

    # ------------------------------------------------------------------ output kept back

    def stall(self, seconds: float) -> None:
        """See Wire. Of several the one that ends last counts."""
        until = self._loop.time() + seconds
        if self.state not in READING or (self._stall is not None and self._stall.when() >= until):
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
        if kept:
            self.write(kept)  # which shows it to an observer

    def _delay(self, what: str) -> None:
        """Hold up what was just queued, and all that follows, if a rule wants it."""
        if seconds := self._host.settings_delay(what, self._facts):
            self.stall(seconds)

    # ------------------------------------------------------- what the connection tells of

    def settings_received(self) -> None:
        """See Wire."""
        if self._deadlines.settings_received():
            self._delay("ack")

    def accept_frames(self, max_frame_size: int) -> None:
        """See Wire."""
        self._gate.max_frame_size = max_frame_size

    def settings_sent(self) -> None:
        """See Wire."""
        self._deadlines.settings_sent()

    def settings_acknowledged(self) -> None:
        """See Wire."""
        self._deadlines.settings_acknowledged()

    def give_up(self, stream: Stream) -> None:
        """Reset a stream whose client keeps a thread waiting that others need."""
        outcome = "no thread was left and its client was the slowest"
        self.connection.reset(stream, ErrorCodes.ENHANCE_YOUR_CALM, outcome)
        self.transmit()
