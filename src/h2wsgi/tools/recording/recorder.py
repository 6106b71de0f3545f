"""The recorder: keeps what connections and requests were, for tests to read.

A sink of the tap on the loop's thread, read on any thread under one lock. The tap sees a frame
before the frame leaves, so a request is complete here before its client can know of the answer.
The invariant: what is kept is bounded, whatever clients do. The oldest entries are dropped first,
and counted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TypeVar

from ...process.clock import clock
from ...process.forking import tell_in_child
from ...seam.guards import application_thread
from ..tap.frames import NOT_HTTP2, ConnectionInfo, Frame, Section
from .records import ConnectionRecord, GoAway, Records, RequestRecord, Reset

MAX_CONNECTIONS = 1_000
"""Connections kept, with their frames and requests."""
MAX_FRAMES = 10_000
"""Frames kept of one connection."""
MAX_FRAMES_IN_ALL = 100_000
"""Frames kept of all connections; those of the oldest connection are dropped first."""
MAX_REQUESTS = 10_000
"""Requests kept of all connections."""
MAX_BODY = 1_048_576
"""Octets kept of the content of one request."""
MAX_BODIES = 67_108_864
"""Octets kept of the content and fields of all requests; the oldest are dropped to keep to it."""
MAX_FIELDS = 67_108_864
"""Octets kept of what frames say, fields above all; the oldest frames are dropped to keep to it.

A field block of 20 octets may stand for 64 KiB, taken from the dynamic table.
"""
FIELD_COST = 300
"""Octets that a field takes beside its name and value."""
MAX_EVENTS = 1_000
"""RST_STREAM frames, and GOAWAY frames, kept of one connection beside the frames."""
MAX_SETTINGS = 100
"""Settings kept of one client; there are eight with a name."""

T = TypeVar("T")


@dataclass(slots=True)
class _Request:
    """A request as it is kept: a record that is replaced, and parts that only grow."""

    record: RequestRecord
    body: bytearray = field(default_factory=bytearray)
    body_size: int = 0
    response_size: int = 0
    field_octets: int = 0

    @property
    def kept(self) -> int:
        """Octets that count against MAX_BODIES."""
        return len(self.body) + self.field_octets

    def snapshot(self) -> RequestRecord:
        return replace(
            self.record,
            body=bytes(self.body),
            body_size=self.body_size,
            response_size=self.response_size,
        )


@dataclass(slots=True)
class _Connection:
    info: ConnectionInfo
    listed: bool = True
    """False from a clear() on until its next request."""
    forgotten: int = 0
    """The last stream that came before the clear()."""
    last_stream: int = 0
    """The last one that came at all."""
    closed_at: float | None = None
    close_reason: str = ""
    settings: dict[int, int] = field(default_factory=dict)
    frames: deque[Frame] = field(default_factory=deque)
    frames_dropped: int = 0
    requests: dict[int, _Request] = field(default_factory=dict)
    """By stream, in order."""
    requests_seen: int = 0
    requests_served: int = 0
    highest_concurrency: int = 0
    resets: deque[Reset] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    resets_seen: int = 0
    goaways: deque[GoAway] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    goaways_seen: int = 0

    def snapshot(self) -> ConnectionRecord:
        return ConnectionRecord(
            **asdict(self.info),
            closed_at=self.closed_at,
            close_reason=self.close_reason,
            settings_by_id=dict(self.settings),
            frames=Records(self.frames, self.frames_dropped),
            requests=Records(
                (request.snapshot() for request in self.requests.values()),
                self.requests_seen - len(self.requests),
            ),
            requests_seen=self.requests_seen,
            requests_served=self.requests_served,
            highest_concurrency=self.highest_concurrency,
            resets=Records(self.resets, self.resets_seen - len(self.resets)),
            goaways=Records(self.goaways, self.goaways_seen - len(self.goaways)),
        )


class Recorder:
    """A :class:`~h2wsgi.tools.tap.tap.Sink` that keeps what it hears."""

    def __init__(self) -> None:
        # any thread, under _changed
        self._changed = threading.Condition()
        self._version = 0
        """A count that grows with everything that is recorded."""
        self._connections: dict[int, _Connection] = {}
        self._connections_dropped = 0
        self._requests: deque[tuple[_Connection, _Request]] = deque()
        self._requests_dropped = 0
        self._frames = 0
        self._frame_octets = 0
        self._request_octets = 0
        tell_in_child(self)

    def forked(self) -> None:
        """See Forkable. The lock may be held by a thread that the child does not have."""
        self._changed = threading.Condition()

    # ------------------------------------------------------------- reading, on any thread

    @property
    def connections(self) -> Records[ConnectionRecord]:
        """Every connection so far, in the order they came."""
        with self._changed:
            found = [each.snapshot() for each in self._connections.values() if each.listed]
            return Records(found, self._connections_dropped)

    def connection(self, number: int) -> ConnectionRecord | None:
        """Return one connection by its ``id``, or None if it is not kept."""
        with self._changed:
            found = self._connections.get(number)
            return None if found is None else found.snapshot()

    @property
    def requests(self) -> Records[RequestRecord]:
        """Every request so far, of all connections, in the order they came."""
        with self._changed:
            found = [request.snapshot() for _, request in self._requests]
            return Records(found, self._requests_dropped)

    def clear(self) -> None:
        """Forget everything so far. A connection that is still open is listed again from its next
        request on, with what it does from now on; of requests that still run nothing is kept."""
        with self._changed:
            self._connections = {
                number: _Connection(
                    old.info,
                    listed=False,
                    forgotten=old.last_stream,
                    last_stream=old.last_stream,
                    settings=old.settings,
                )
                for number, old in self._connections.items()
                if old.closed_at is None
            }
            self._requests.clear()
            self._connections_dropped = self._requests_dropped = 0
            self._frames = self._frame_octets = self._request_octets = 0
            self._touch()

    @application_thread
    def wait_for(self, condition: Callable[[], T], timeout: float = 10.0) -> T:
        """Return what ``condition()`` returns, as soon as that is true.

        It is called now and whenever something was recorded. A LookupError that it raises, as
        ``connections[0]`` does before there is one, means that it is not true yet.

        Raises:
            TimeoutError: it was not true within ``timeout`` seconds.
        """
        deadline = clock.monotonic() + timeout
        while True:
            with self._changed:
                version = self._version
            with suppress(LookupError):
                if found := condition():
                    return found
            with self._changed:
                while self._version == version:
                    if not self._changed.wait(deadline - clock.monotonic()):
                        raise TimeoutError(f"the condition was not true within {timeout:g} s")

    # ---------------------------------------------------------- writing, by the loop alone

    def opened(self, connection: ConnectionInfo) -> None:
        with self._changed:
            self._connections[connection.id] = _Connection(connection)
            if len(self._connections) > MAX_CONNECTIONS:
                self._drop_connection(next(iter(self._connections)))
            self._touch()

    def frame(self, frame: Frame, content: bytes) -> None:
        with self._changed:
            if (connection := self._connections.get(frame.connection)) is None:
                return
            if 0 < frame.stream_id <= connection.forgotten:
                return
            self._keep(connection, frame)
            connection.highest_concurrency = max(connection.highest_concurrency, frame.open_streams)
            if frame.settings and frame.received:
                _take_settings(connection, frame)
            elif frame.last_stream_id is not None:
                connection.goaways_seen += 1
                connection.goaways.append(_goaway(frame))
            elif frame.type != NOT_HTTP2 and frame.stream_id:
                self._take_stream_frame(connection, frame, content)
            self._touch()

    def closed(self, connection: ConnectionInfo, reason: str, at: float) -> None:
        with self._changed:
            if (found := self._connections.get(connection.id)) is not None:
                found.closed_at, found.close_reason = at, reason
                if not found.listed:
                    self._drop_frames(found)
                    del self._connections[connection.id]
            self._touch()

    def close(self) -> None:
        """Records can still be read."""

    def _touch(self) -> None:
        self._version += 1
        self._changed.notify_all()

    def _keep(self, connection: _Connection, frame: Frame) -> None:
        connection.frames.append(frame)
        self._frames += 1
        self._frame_octets += _octets(frame)
        if len(connection.frames) > MAX_FRAMES:
            self._drop_frame(connection)
        while self._frames > MAX_FRAMES_IN_ALL or self._frame_octets > MAX_FIELDS:
            self._drop_frame(next(c for c in self._connections.values() if c.frames))

    def _drop_frame(self, connection: _Connection) -> None:
        self._frame_octets -= _octets(connection.frames.popleft())
        connection.frames_dropped += 1
        self._frames -= 1

    def _drop_connection(self, number: int) -> None:
        connection = self._connections.pop(number)
        self._connections_dropped += connection.listed
        self._drop_frames(connection)
        for request in connection.requests.values():
            self._request_octets -= request.kept
        before = len(self._requests)
        self._requests = deque(kept for kept in self._requests if kept[0] is not connection)
        self._requests_dropped += before - len(self._requests)

    def _drop_frames(self, connection: _Connection) -> None:
        self._frames -= len(connection.frames)
        self._frame_octets -= sum(map(_octets, connection.frames))

    def _drop_request(self) -> None:
        connection, request = self._requests.popleft()
        del connection.requests[request.record.stream_id]
        self._request_octets -= request.kept
        self._requests_dropped += 1

    # ------------------------------------------------------------------- frames of streams

    def _take_stream_frame(self, connection: _Connection, frame: Frame, content: bytes) -> None:
        if frame.error_code is not None:
            connection.resets_seen += 1
            connection.resets.append(_reset(frame))
        # Never twice on a stream, even if a broken PUSH_PROMISE names it again.
        known = frame.promised_stream_id is not None or frame.stream_id in connection.requests
        if frame.section is Section.REQUEST and not known:
            self._begin(connection, frame)
        if frame.ends_stream and not frame.received:
            connection.requests_served += 1
        if (request := connection.requests.get(frame.stream_id)) is None:
            return
        if frame.error_code is not None:
            if request.record.reset is None:
                request.record = replace(request.record, reset=_reset(frame))
        elif frame.data_length is not None:
            self._take_content(request, frame, content)
        elif frame.section is not None:
            request.record = _with_section(request.record, frame)
            self._count(request, _octets(frame))
        if frame.ends_stream:
            request.record = _ended(request.record, frame)

    def _begin(self, connection: _Connection, frame: Frame) -> None:
        record = RequestRecord(
            connection=frame.connection,
            stream_id=frame.stream_id,
            fields=frame.fields or (),
            started=frame.time,
            at=frame.at,
        )
        request = connection.requests[frame.stream_id] = _Request(record)
        connection.listed = True
        connection.last_stream = max(connection.last_stream, frame.stream_id)
        connection.requests_seen += 1
        self._requests.append((connection, request))
        if len(self._requests) > MAX_REQUESTS:
            self._drop_request()

    def _take_content(self, request: _Request, frame: Frame, content: bytes) -> None:
        if not frame.received:
            request.response_size += len(content)
            return
        request.body_size += len(content)
        kept = content[: MAX_BODY - len(request.body)]
        request.body += kept
        self._keep_to_bodies(len(kept))

    def _count(self, request: _Request, octets: int) -> None:
        request.field_octets += octets
        self._keep_to_bodies(octets)

    def _keep_to_bodies(self, more: int) -> None:
        self._request_octets += more
        while self._request_octets > MAX_BODIES:
            self._drop_request()


def _octets(frame: Frame) -> int:
    """Return what a frame takes beside what every frame does."""
    fields = frame.fields or ()
    return len(frame.debug) + sum(len(f.name) + len(f.value) + FIELD_COST for f in fields)


def _take_settings(connection: _Connection, frame: Frame) -> None:
    for setting in frame.settings or ():
        if setting.id in connection.settings or len(connection.settings) < MAX_SETTINGS:
            connection.settings[setting.id] = setting.value


def _goaway(frame: Frame) -> GoAway:
    return GoAway(
        frame.direction,
        frame.last_stream_id or 0,
        frame.error_code or 0,
        frame.debug,
        frame.time,
    )


def _reset(frame: Frame) -> Reset:
    return Reset(frame.stream_id, frame.direction, frame.error_code or 0, frame.time)


def _with_section(record: RequestRecord, frame: Frame) -> RequestRecord:
    """Return ``record`` with a field section that is not the request's head."""
    fields = frame.fields or ()
    if frame.section is Section.TRAILERS:
        if frame.received:
            return replace(record, trailers=fields)
        return replace(record, response_trailers=fields)
    status = next((f.value for f in fields if f.name == ":status"), "")
    number = int(status) if len(status) == 3 and status.isdecimal() else 0
    if frame.section is Section.INFORMATIONAL:
        return replace(record, informational=(*record.informational, number))
    if frame.section is Section.RESPONSE:
        return replace(record, status=number, response_fields=fields)
    return record


def _ended(record: RequestRecord, frame: Frame) -> RequestRecord:
    if frame.received:
        return replace(record, request_ended=frame.time)
    return replace(record, ended=frame.time)
