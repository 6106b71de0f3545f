"""What the inspector knows, as JSON: rows for the page, details, the export. Any thread.

Times on the page are milliseconds since the inspector began. Objects may change while they are
read here. A row that mixes two moments is sent again, because its stream has changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ...process.clock import clock
from ..tap.frames import Direction, Frame
from ..tap.names import setting_name
from ..trace.as_json import frame_values
from .ledger import Changes, Ledger
from .models import Sample, SeenConnection, SeenStream, Trouble

ROW = (
    "number", "connection", "stream_id", "method", "path", "status", "started", "began",
    "returned", "head", "ended", "closed", "request_ended", "reset", "reset_by_client", "blocks",
    "sent", "received", "frames", "problems",
)  # fmt: skip
"""The columns of a stream's row, in order; the keys of a stream in an export."""


class Shapes:
    """Makes JSON's types, with times counted from a ledger's beginning."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._zero = ledger.started_at

    def _ms(self, at: float | None) -> float | None:
        return None if at is None else round((at - self._zero) * 1000, 2)

    def changes(self, changes: Changes) -> dict[str, Any]:
        """Return what a page is told of changes."""
        return {
            "now": self._ms(clock.monotonic()),
            "at": clock.time() * 1000,
            "cursor": changes.cursor,
            "totals": changes.totals._asdict(),
            "connections": [self.connection(c) for c in changes.connections],
            "streams": [self.row(stream) for stream in changes.streams],
            "troubles": [self.trouble(trouble) for trouble in changes.troubles],
        }

    def row(self, stream: SeenStream) -> list[Any]:
        """Return a stream as a row; see ROW."""
        return [
            stream.number,
            stream.connection,
            stream.stream_id,
            stream.method,
            stream.path,
            stream.status,
            self._ms(stream.started),
            self._ms(stream.began_at),
            self._ms(stream.returned_at),
            self._ms(stream.head_at),
            self._ms(stream.ended_at),
            self._ms(stream.closed_at),
            self._ms(stream.request_ended_at),
            stream.reset_name,
            stream.reset_by_client,
            [[self._ms(begin), self._ms(end)] for begin, end in tuple(stream.blocks)],
            stream.sent,
            stream.received,
            stream.frames_seen,
            stream.problems,
        ]

    def connection(self, connection: SeenConnection) -> dict[str, Any]:
        """Return a connection."""
        info = connection.info
        return {
            "id": info.id,
            "peer": info.peer,
            "scheme": info.scheme,
            "alpn": info.alpn,
            "tls": info.tls_version,
            "cipher": info.cipher,
            "opened": self._ms(info.opened_at),
            "closed": self._ms(connection.closed_at),
            "reason": connection.reason,
            "open": len(connection.open),
            "blocked": len(connection.blocked),
            "streams": connection.streams,
            "frames": connection.frames_seen,
            "resets": connection.resets,
            "goaways": connection.goaways,
            "problems": connection.problems,
            "client_window": connection.client_window,
            "server_window": connection.server_window,
        }

    def trouble(self, trouble: Trouble) -> dict[str, Any]:
        """Return a trouble."""
        return {
            "id": trouble.cursor,
            "at": self._ms(trouble.time),
            "connection": trouble.connection,
            "stream": trouble.stream_id,
            "kind": trouble.kind,
            "text": trouble.text,
        }

    def frame(self, frame: Frame) -> dict[str, Any]:
        """Return a frame, with the keys of a trace."""
        return {"at": self._ms(frame.time)} | frame_values(frame)

    def stream_details(self, stream: SeenStream, frames: Iterable[Frame]) -> dict[str, Any]:
        """Return a stream with its frames."""
        return dict(zip(ROW, self.row(stream), strict=True)) | {
            "frames_dropped": stream.frames_dropped,
            "frame_list": [self.frame(frame) for frame in frames],
        }

    def connection_details(
        self, connection: SeenConnection, frames: Iterable[Frame]
    ) -> dict[str, Any]:
        """Return a connection with its settings, windows over time and frames of stream 0."""
        frame_list = [self.frame(frame) for frame in frames]
        last = Sample(connection.last_at, connection.client_window, connection.server_window)
        return self.connection(connection) | {
            "settings": {
                "client": _settings(connection, Direction.RECEIVED),
                "server": _settings(connection, Direction.SENT),
            },
            "windows": [
                [self._ms(sample.time), sample.client, sample.server]
                for sample in (*connection.samples, last)
            ],
            "frames_dropped": connection.other_frames - len(frame_list),
            "frame_list": frame_list,
        }

    def export(self) -> Iterator[str]:
        """Return everything that is kept as one JSON document, a piece at a time."""
        changes = self._ledger.since(0)
        head = {
            "made_by": "h2wsgi",
            "started": self._ledger.at,
            "totals": changes.totals._asdict(),
            "troubles": [self.trouble(trouble) for trouble in changes.troubles],
        }
        yield json.dumps(head)[:-1] + ',\n"connections": ['
        yield from _joined(self._connections_kept(changes))
        yield '],\n"streams": ['
        yield from _joined(self._streams_kept(changes))
        yield "]}\n"

    def _connections_kept(self, changes: Changes) -> Iterator[dict[str, Any]]:
        for connection in changes.connections:
            if (found := self._ledger.connection(connection.info.id)) is not None:
                yield self.connection_details(*found)

    def _streams_kept(self, changes: Changes) -> Iterator[dict[str, Any]]:
        for stream in changes.streams:
            if (found := self._ledger.stream(stream.number)) is not None:
                yield self.stream_details(*found)


def _joined(values: Iterable[dict[str, Any]]) -> Iterator[str]:
    comma = "\n"
    for value in values:
        yield comma + json.dumps(value)
        comma = ",\n"


def _settings(connection: SeenConnection, side: Direction) -> list[list[Any]]:
    settings = connection.settings[side].copy()
    return [[setting_name(number), value] for number, value in settings.items()]
