"""Endpoints that show the connection as it was on the wire, if the server records it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..recording.records import ConnectionRecord
from ..tap.frames import Section
from ..trace.as_json import frame_values
from .endpoints import endpoint
from .request import Request

GROUP = "Your connection on the wire"
MOST_FRAMES = 1_000


class NotRecorded(Exception):
    """The server does not record, or has dropped the record."""


def _record(request: Request) -> ConnectionRecord:
    record = request.environ.get("h2wsgi.record")
    found = None if record is None else record()
    if found is None:
        raise NotRecorded
    return found  # type: ignore[no-any-return]


@endpoint(
    GROUP,
    "/frames",
    "The frames of your connection so far, both ways, the last 1,000 of them. Needs --record.",
)
def frames(request: Request) -> Iterable[bytes]:
    """Show the frames."""
    record = _record(request)
    shown = record.frames[-MOST_FRAMES:]
    return request.json(
        {
            "dropped": record.frames.dropped + len(record.frames) - len(shown),
            "frames": [frame_values(frame) for frame in shown],
        }
    )


@endpoint(
    GROUP,
    "/connection",
    "What is known of your connection: TLS, its settings, how it was used. Needs --record.",
)
def connection(request: Request) -> Iterable[bytes]:
    """Show the connection."""
    record = _record(request)
    return request.json(
        {
            "peer": record.peer,
            "scheme": record.scheme,
            "alpn": record.alpn,
            "tls_version": record.tls_version,
            "cipher": record.cipher,
            "settings": record.settings,
            "windows": record.frames[-1].windows._asdict(),
            "requests": record.requests_seen,
            "reused": record.reused,
            "highest_concurrency": record.highest_concurrency,
            "resets": [_reset(item) for item in record.resets],
            "goaways": [
                {"direction": item.direction, "code": item.name, "last": item.last_stream_id}
                for item in record.goaways
            ],
            "problems": [frame_values(frame) for frame in record.problems],
        }
    )


def _reset(item: Any) -> dict[str, Any]:
    return {"direction": item.direction, "stream": item.stream_id, "code": item.name}


@endpoint(
    GROUP,
    "/headers",
    "Your header fields as you encoded them: from which table, literal or not, Huffman or not, and "
    "how full the dynamic table is. Needs --record.",
)
def fields(request: Request) -> Iterable[bytes]:
    """Show the field block of this request."""
    block = next(
        frame_values(frame)["block"]
        for frame in _record(request).frames
        if frame.stream_id == request.stream.id and frame.section is Section.REQUEST
    )
    return request.json(block)
