"""The tap: decodes a connection's octets in both directions once, and tells every sink.

Loop thread only. The tap knows nothing of the engine; both read the same octets. Whatever a client
sends, a tap never raises and keeps a bounded amount: the frame being received, one field block,
two dynamic tables, the open streams. The invariant of order: a sink hears of a frame before the
engine acts on the frame, or before the frame leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from ...codes import (
    CONTINUATION,
    DATA,
    FLAG_ACK,
    FLAG_END_HEADERS,
    FLAG_END_STREAM,
    FRAME_LIMIT,
    HEADERS,
    LARGEST_FRAME_LIMIT,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Setting,
)
from ...config.config import Config
from ...log.logs import Log, named
from ...process.clock import clock
from ...seam.request import ConnectionFacts
from .field_blocks import FieldBlock, FieldBlockReader
from .frames import NOT_HTTP2, ConnectionInfo, Direction, Frame, Section
from .payloads import FrameCutter, NotFrames, Payload, RawFrame, read_payload
from .windows import StreamTable

MAX_SHOWN = 60
"""Octets shown of what is not HTTP/2."""


class Sink(Protocol):
    """Hears of every connection and frame. Loop thread only, so it must not block."""

    def opened(self, connection: ConnectionInfo) -> None:
        """A connection is there."""

    def frame(self, frame: Frame, content: bytes) -> None:
        """A frame was received or is about to leave; ``content`` is that of DATA, else empty."""

    def closed(self, connection: ConnectionInfo, reason: str, at: float) -> None:
        """The connection is no more, as of ``at`` (``time.monotonic()``)."""

    def close(self) -> None:
        """The server has stopped: nothing more will come."""


class Taps:
    """The taps of a server, and the sinks that listen to them."""

    def __init__(self, sinks: Iterable[Sink], log: Log, config: Config) -> None:
        self._sinks = list(sinks)
        self._log = log
        # The engine ends a connection beyond this limit, four times the option.
        self._max_octets = 4 * config.max_field_section

    def observe(self) -> Tap:
        """Return the observer of a new connection; see ObserverFactory."""
        return Tap(self, self._max_octets)

    def add(self, sink: Sink) -> None:
        """Add a sink; it hears nothing of what was before."""
        self._sinks.append(sink)

    def tell(self, event: Callable[[Sink], None]) -> None:
        """Tell every sink of an event. A sink that raises is logged and dismissed for good."""
        for sink in tuple(self._sinks):
            try:
                event(sink)
            except Exception:
                self._sinks.remove(sink)
                self._log.events.exception(
                    "%s failed; going on without it",
                    type(sink).__name__.lower(),
                    extra=named("tool_failed"),
                )

    def close(self) -> None:
        """The server has stopped."""
        self.tell(lambda sink: sink.close())


@dataclass(slots=True)
class _OpenBlock:
    """A field block whose last frame has not come."""

    stream_id: int
    ends_stream: bool
    promise: bool
    octets: bytearray = field(default_factory=bytearray)


class _Way:
    """One direction of a connection."""

    __slots__ = ("cutter", "direction", "open_block", "reader")

    def __init__(self, direction: Direction, max_octets: int) -> None:
        self.direction = direction
        self.cutter = FrameCutter(preface=direction is Direction.RECEIVED)
        self.reader = FieldBlockReader(max_octets)
        self.open_block: _OpenBlock | None = None


class Tap:
    """A :class:`~h2wsgi.http2.interfaces.ConnectionObserver` that makes frames of octets."""

    def __init__(self, taps: Taps, max_octets: int) -> None:
        self._taps = taps
        self._max_octets = max_octets
        self._received = _Way(Direction.RECEIVED, max_octets)
        self._sent = _Way(Direction.SENT, max_octets)
        self._streams = StreamTable()
        self._frames = 0

    def opened(self, facts: ConnectionFacts, alpn: str | None) -> None:
        """See ConnectionObserver."""
        self._info = ConnectionInfo(
            id=facts.number,
            peer=facts.peer,
            scheme=facts.scheme,
            alpn=alpn,
            tls_version=facts.tls.get("SSL_PROTOCOL"),
            cipher=facts.tls.get("SSL_CIPHER"),
            opened_at=clock.monotonic(),
            at=clock.time(),
        )
        self._taps.tell(lambda sink: sink.opened(self._info))

    def received(self, octets: bytes) -> None:
        """See ConnectionObserver."""
        self._take(self._received, octets)

    def sent(self, octets: bytes) -> None:
        """See ConnectionObserver."""
        self._take(self._sent, octets)

    def closed(self, reason: str) -> None:
        """See ConnectionObserver."""
        now = clock.monotonic()
        self._taps.tell(lambda sink: sink.closed(self._info, reason, now))

    def _take(self, way: _Way, octets: bytes) -> None:
        now = clock.monotonic()
        for found in way.cutter.feed(octets):
            if isinstance(found, NotFrames):
                self._not_http2(way, found.octets, now)
            else:
                self._frame(way, found, now)

    def _not_http2(self, way: _Way, octets: bytes, now: float) -> None:
        raw = RawFrame(NOT_HTTP2, 0, 0, len(octets), None)
        problem = f"begins with {octets[:MAX_SHOWN]!r}"
        self._tell(way, raw, now, Payload({}, b"", [problem]), b"")

    def _frame(self, way: _Way, raw: RawFrame, now: float) -> None:
        payload = read_payload(raw, way.cutter.max_frame_size)
        details, problems = payload.details, payload.problems
        if way.open_block is not None and raw.type != CONTINUATION:
            problems.append("interrupts a field block")
        if raw.type in (HEADERS, PUSH_PROMISE, CONTINUATION):
            self._take_fragment(way, raw, payload)
        elif raw.type == DATA:
            problems += self._streams.data(way.direction, raw.stream_id, raw.length)
            details["ends_stream"] = bool(raw.flags & FLAG_END_STREAM)
        elif raw.type == SETTINGS:
            self._take_settings(way, raw, payload)
        elif raw.type == WINDOW_UPDATE:
            increment = details.get("increment", 0)
            problem = self._streams.credit(way.direction, raw.stream_id, increment)
            problems += [problem] if problem else []
        self._tell(way, raw, now, payload, payload.content if raw.type == DATA else b"")
        if details.get("ends_stream"):
            self._streams.ended(way.direction, raw.stream_id)
        if raw.type == RST_STREAM:
            self._streams.closed(raw.stream_id)

    def _tell(self, way: _Way, raw: RawFrame, now: float, payload: Payload, content: bytes) -> None:
        self._frames += 1
        frame = Frame(
            connection=self._info.id,
            number=self._frames,
            time=now,
            at=self._info.at + (now - self._info.opened_at),
            direction=way.direction,
            type=raw.type,
            flags=raw.flags,
            stream_id=raw.stream_id,
            length=raw.length,
            windows=self._streams.windows(raw.stream_id),
            open_streams=self._streams.open_streams,
            problems=tuple(payload.problems),
            **payload.details,
        )
        self._taps.tell(lambda sink: sink.frame(frame, content))

    # ------------------------------------------------------------------------ field blocks

    def _take_fragment(self, way: _Way, raw: RawFrame, payload: Payload) -> None:
        """Add a piece of a field block to the others; read the block if it is the last piece."""
        if payload.problems:
            # Whatever the sender means, its table and ours differ from here on.
            way.reader.lose()
        if raw.type != CONTINUATION:
            ends_stream = raw.type == HEADERS and bool(raw.flags & FLAG_END_STREAM)
            way.open_block = _OpenBlock(raw.stream_id, ends_stream, raw.type == PUSH_PROMISE)
            if raw.type == HEADERS and way.direction is Direction.RECEIVED and raw.stream_id:
                problem = self._streams.opened(raw.stream_id)
                payload.problems.extend([problem] if problem else [])
        block = way.open_block
        if block is None or block.stream_id != raw.stream_id:
            payload.problems.append("continues no field block")
            way.reader.lose()
            return
        block.octets += payload.content
        if len(block.octets) > self._max_octets:
            payload.problems.append(f"the field block is over {self._max_octets} octets")
            way.reader.lose()
            block.octets.clear()
        if raw.flags & FLAG_END_HEADERS:
            way.open_block = None
            self._read_block(way, block, payload)

    def _read_block(self, way: _Way, block: _OpenBlock, payload: Payload) -> None:
        read = way.reader.read(bytes(block.octets))
        payload.details["block"] = read
        payload.details["section"] = self._section(way, block, read)
        payload.details["ends_stream"] = block.ends_stream
        if read.problem:
            payload.problems.append(read.problem)

    def _section(self, way: _Way, block: _OpenBlock, read: FieldBlock) -> Section:
        if block.promise:
            return Section.REQUEST
        return self._streams.section(way.direction, block.stream_id, read)

    # ---------------------------------------------------------------------------- settings

    def _take_settings(self, way: _Way, raw: RawFrame, payload: Payload) -> None:
        if not raw.flags & FLAG_ACK:
            self._streams.settings(way.direction, payload.details.get("settings", ()))
            return
        acknowledged = self._streams.acknowledged(way.direction)
        if acknowledged is None:
            payload.problems.append("acknowledges no SETTINGS")
            return
        for setting in acknowledged:
            if setting.id == Setting.HEADER_TABLE_SIZE:
                way.reader.max_table_size = setting.value
            elif setting.id == Setting.MAX_FRAME_SIZE and setting.value <= LARGEST_FRAME_LIMIT:
                way.cutter.max_frame_size = max(setting.value, FRAME_LIMIT)
