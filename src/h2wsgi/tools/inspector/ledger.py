"""The ledger: what the inspector knows of connections and streams, and what changed since a look.

The loop's thread writes to it as a sink of the tap, application threads when they begin and end,
and pages' threads read it. One lock guards all, held for microseconds. The invariant: what is kept
is bounded, whatever clients do; the oldest entries are dropped first, and counted. Pages have no
queues: a page asks for what changed since its last look, so a slow page costs no more than a fast
one.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

from ...codes import ErrorCode
from ...process.clock import clock
from ...process.forking import tell_in_child
from ..tap.frames import NOT_HTTP2, ConnectionInfo, Frame, Section
from ..tap.names import code_name
from .models import SeenConnection, SeenStream, Trouble

MAX_CONNECTIONS = 200
"""Connections kept; closed ones go before open ones."""
MAX_STREAMS = 2_000
"""Streams kept of all connections. The page keeps as many."""
MAX_TROUBLES = 500
"""Errors kept: resets, GOAWAYs, problems, responses of 5xx, and those cut off."""
MAX_WEIGHT = 67_108_864
"""Octets of all that is kept, about. Beyond it the frames of the oldest streams are dropped.

Without frames it is always less, by the bounds that each stream and each connection has.
"""
MAX_QUOTED = 200
"""Characters of a trouble that are the client's: debug data, a method and path."""


class Totals(NamedTuple):
    """Counts of all that there was, kept or not."""

    streams: int
    frames: int
    resets: int
    connections: int
    first_stream: int
    """The number of the oldest stream that is kept."""


class Changes(NamedTuple):
    """What changed since a look; the objects go on changing."""

    cursor: int
    """The cursor for the next look."""
    connections: list[SeenConnection]
    streams: list[SeenStream]
    troubles: list[Trouble]
    totals: Totals


class Ledger:
    """What is known, until the server stops."""

    def __init__(self) -> None:
        # immutable
        self.started_at = clock.monotonic()
        self.at = clock.time()
        """The same in seconds since the epoch."""
        # under the lock
        self._lock = threading.Lock()
        self._cursor = 0
        self._connections: dict[int, SeenConnection] = {}
        self._streams: dict[int, SeenStream] = {}
        """By number: in the order they came."""
        self._changed: dict[SeenStream, None] = {}
        """The streams kept, in the order of their last change."""
        self._troubles: deque[Trouble] = deque(maxlen=MAX_TROUBLES)
        self._light: deque[SeenStream] = deque()
        """Streams whose frames are kept, the oldest first."""
        self._weight = 0
        self._frames = self._resets = self._seen_streams = 0
        self._seen_connections = 0
        tell_in_child(self)

    def forked(self) -> None:
        """See Forkable. The lock may be held by a thread that the child does not have."""
        self._lock = threading.Lock()

    # ------------------------------------------------------------------- the loop's thread

    def opened(self, connection: ConnectionInfo) -> None:
        with self._lock:
            self._seen_connections += 1
            self._connections[connection.id] = SeenConnection(connection)
            self._touch_connection(self._connections[connection.id])
            if len(self._connections) > MAX_CONNECTIONS:
                kept = self._connections.values()
                gone = next((c for c in kept if c.closed_at is not None), None)
                oldest = next(iter(self._connections))
                removed = self._connections.pop(oldest if gone is None else gone.info.id)
                self._weight -= removed.counted

    def frame(self, frame: Frame, content: bytes) -> None:
        with self._lock:
            self._frames += 1
            if (connection := self._connections.get(frame.connection)) is None:
                return
            if frame.section is Section.REQUEST and frame.promised_stream_id is None:
                self._begin(connection, frame)
            stream = connection.open.get(frame.stream_id)
            connection.take(frame, of_stream=stream is not None)
            self._touch_connection(connection)
            if stream is not None:
                stream.take(frame, connection)
                self._touch(stream)
                if frame.section is Section.RESPONSE and stream.status >= 500:
                    self._note_failure(stream, frame.time)
                if stream.closed_at is not None:
                    del connection.open[frame.stream_id]
                    connection.blocked.pop(stream, None)
            self._settle_windows(connection, frame)
            while self._weight > MAX_WEIGHT and self._light:
                self._drop_frames()
            if frame.error_code is not None and frame.last_stream_id is None:
                self._resets += 1
            if frame.problems or _tells_of_error(frame, stream):
                self._note_trouble(frame)

    def closed(self, connection: ConnectionInfo, reason: str, at: float) -> None:
        with self._lock:
            if (seen := self._connections.get(connection.id)) is None:
                return
            seen.closed_at, seen.reason = at, reason
            for stream in seen.open.values():
                stream.lost(at)
                self._touch(stream)
            cut_off = [stream for stream in seen.open.values() if stream.ended_at is None]
            if cut_off:
                self._note_cut_off(cut_off, reason, at)
            seen.open.clear()
            seen.blocked.clear()
            self._touch_connection(seen)

    def close(self) -> None:
        """What is known can still be read."""

    def _begin(self, connection: SeenConnection, frame: Frame) -> None:
        self._seen_streams += 1
        connection.streams += 1
        stream = SeenStream(self._seen_streams, frame)
        connection.open[frame.stream_id] = stream
        self._streams[stream.number] = stream
        self._light.append(stream)
        if len(self._streams) > MAX_STREAMS:
            gone = self._streams.pop(next(iter(self._streams)))
            del self._changed[gone]
            if self._light and self._light[0] is gone:
                self._drop_frames()
            self._weight -= gone.counted

    def _drop_frames(self) -> None:
        """Forget the frames of the oldest stream that has any."""
        stream = self._light.popleft()
        stream.forget_frames()
        self._weigh(stream)

    def _settle_windows(self, connection: SeenConnection, frame: Frame) -> None:
        """Begin and end waits of streams as the connection's window is used up and opens."""
        if frame.windows.server_connection <= 0:
            if frame.data_length and not frame.received:
                for stream in connection.open.values():
                    if stream.block(frame.time, connection):
                        self._touch(stream)
        elif frame.received and not frame.stream_id and connection.blocked:
            for stream in list(connection.blocked):
                if stream.unblock(frame.time, connection):
                    self._touch(stream)

    def _note_trouble(self, frame: Frame) -> None:
        who = "the client" if frame.received else "the server"
        if frame.type == NOT_HTTP2:
            kind, text = "not HTTP/2", "; ".join(frame.problems)
        elif frame.error_code is None:
            kind, text = "problem", f"{frame.name} from {who}: {'; '.join(frame.problems)}"
        elif frame.last_stream_id is not None:
            debug = frame.debug[:MAX_QUOTED].decode("latin-1")
            kind, text = "goaway", f"GOAWAY from {who}: {code_name(frame.error_code)}"
            text += f", last stream {frame.last_stream_id}" + (f": {debug}" if debug else "")
        else:
            kind, text = "reset", f"{code_name(frame.error_code)}, from {who}"
        self._note(kind, text, frame.time, frame.connection, frame.stream_id)

    def _note_failure(self, stream: SeenStream, at: float) -> None:
        request = f"{stream.method} {stream.path}"[:MAX_QUOTED]
        text = f"{stream.status} to {request}"
        self._note("response", text, at, stream.connection, stream.stream_id)

    def _note_cut_off(self, streams: list[SeenStream], reason: str, at: float) -> None:
        """Note responses that their connection's end left incomplete: once, as they may be many."""
        one = len(streams) == 1
        text = f"{len(streams)} response{'' if one else 's'} cut off: {reason}"
        first = streams[0]
        self._note("lost", text, at, first.connection, first.stream_id if one else 0)

    def _note(self, kind: str, text: str, at: float, connection: int, stream_id: int) -> None:
        self._cursor += 1
        self._troubles.append(Trouble(self._cursor, at, connection, stream_id, kind, text))

    # -------------------------------------------------------------------------- any thread

    def began(self, connection_id: int, stream_id: int) -> SeenStream | None:
        """The application was called for a stream; return it, or None if it is not known."""
        with self._lock:
            connection = self._connections.get(connection_id)
            stream = None if connection is None else connection.open.get(stream_id)
            if stream is not None:
                stream.began_at = clock.monotonic()
                self._touch(stream)
            return stream

    def returned(self, stream: SeenStream) -> None:
        """The application is done with a stream."""
        with self._lock:
            stream.returned_at = clock.monotonic()
            self._touch(stream)

    def since(self, cursor: int) -> Changes:
        """Return what has changed since a look that returned ``cursor``; 0 for everything."""
        with self._lock:
            connections = [c for c in self._connections.values() if c.changed > cursor]
            streams = []
            for stream in reversed(self._changed):
                if stream.changed <= cursor:
                    break
                streams.append(stream)
            troubles = [t for t in self._troubles if t.cursor > cursor]
            totals = Totals(
                self._seen_streams,
                self._frames,
                self._resets,
                self._seen_connections,
                next(iter(self._streams), 1),
            )
            cursor = self._cursor
        streams.sort(key=lambda stream: stream.number)
        return Changes(cursor, connections, streams, troubles, totals)

    def stream(self, number: int) -> tuple[SeenStream, list[Frame]] | None:
        """Return a stream and its frames, or None if it is not kept."""
        with self._lock:
            if (stream := self._streams.get(number)) is None:
                return None
            return stream, list(stream.frames)

    def connection(self, number: int) -> tuple[SeenConnection, list[Frame]] | None:
        """Return a connection and the frames of its stream 0, or None if it is not kept."""
        with self._lock:
            if (connection := self._connections.get(number)) is None:
                return None
            return connection, list(connection.frames)

    def _touch(self, stream: SeenStream) -> None:
        self._cursor += 1
        stream.changed = self._cursor
        if stream.number in self._streams:
            self._changed.pop(stream, None)
            self._changed[stream] = None
            self._weigh(stream)

    def _touch_connection(self, connection: SeenConnection) -> None:
        self._cursor += 1
        connection.changed = self._cursor
        self._weigh(connection)

    def _weigh(self, seen: SeenStream | SeenConnection) -> None:
        """Count what it takes now in place of what it took before."""
        weight = seen.weight
        self._weight += weight - seen.counted
        seen.counted = weight


def _tells_of_error(frame: Frame, stream: SeenStream | None) -> bool:
    """Return whether it is a RST_STREAM or GOAWAY for a reason that somebody should look at."""
    if frame.error_code != ErrorCode.NO_ERROR:
        return frame.error_code is not None
    # A graceful end, or "send no more" behind a response that counts (RFC 9113 sections 6.8, 8.1).
    return frame.last_stream_id is None and (stream is None or stream.ended_at is None)
