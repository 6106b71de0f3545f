"""What a failed test shows of a server: connections, requests, the last frames, the log. Pure.

The cause of a client's failure is mostly in the last frames, so of many frames the last are shown.
No octet of a client reaches the terminal unescaped, and the text is bounded whatever the client
did: by ``MAX_...`` below, and by ``MAX_LINE`` characters a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..config.fault_rules import FaultRules
from ..log.text import shown
from ..tools.recording.records import ConnectionRecord, Records, RequestRecord
from ..tools.tap.frames import NOT_HTTP2, Frame, Section

MAX_CONNECTIONS = 4
"""The last of a server's connections are shown ..."""
MAX_REQUESTS = 8
"""... with the last requests of each ..."""
MAX_FRAMES = 16
"""... and the last frames."""
MAX_LOG = 30
MAX_LINE = 150
MAX_TEXT = 60
"""Characters of a path, a setting's list and the like within a line."""


class LogLine(NamedTuple):
    """What a server or its application said, and when (``time.monotonic()``)."""

    time: float
    text: str


def report(
    connections: Records[ConnectionRecord] | None,
    running: int,
    log: Iterable[LogLine],
    faults: FaultRules,
    since: float,
) -> str:
    """Return lines about a server; times are seconds since ``since``, by the monotonic clock.

    ``connections`` is None if nothing is recorded; ``running`` requests are in the application.
    """
    lines = [*_of_connections(connections, since)]
    if running:
        which = "1 request" if running == 1 else f"{running} requests"
        lines.append(f"the application has not returned from {which}")
    for rule in faults:
        lines.append(f"fault {rule.text!r}: hit {rule.hits} of {rule.seen}")
    said = [f"{_at(line.time, since)} {line.text}" for line in log]
    if said:
        lines += ["log:", *_last(said, MAX_LOG, "lines")]
    return "\n".join(shown(line, MAX_LINE) for line in lines)


def _of_connections(records: Records[ConnectionRecord] | None, since: float) -> Iterator[str]:
    if records is None:
        yield "nothing was recorded, as the option record is off"
        return
    if not records:
        yield "no connection was made"
        return
    if (left_out := records.dropped + len(records) - MAX_CONNECTIONS) > 0:
        yield f"... {left_out} connections more, and then"
    for record in records[-MAX_CONNECTIONS:]:
        yield from _of_connection(record, since)


def _of_connection(record: ConnectionRecord, since: float) -> Iterator[str]:
    how = "cleartext" if record.tls_version is None else f"ALPN {record.alpn or 'none'}"
    count = "1 request" if record.requests_seen == 1 else f"{record.requests_seen} requests"
    end = "open"
    if record.closed_at is not None:
        end = f"closed at {record.closed_at - since:.3f}: {record.close_reason}"
    yield f"#{record.id} from {record.peer}, {how}, {count}; {end}"
    requests = [f"stream {r.stream_id}: {_exchange(r)}" for r in record.requests]
    yield from _last(requests, MAX_REQUESTS, "requests", record.requests.dropped)
    frames = [
        f"{_at(frame.time, since)} {describe(frame)}" for frame in record.frames[-MAX_FRAMES:]
    ]
    dropped = record.frames.dropped + len(record.frames) - len(frames)
    yield from _last(frames, MAX_FRAMES, "frames", dropped)


def _last(lines: list[str], most: int, what: str, dropped: int = 0) -> Iterator[str]:
    if (left_out := dropped + max(len(lines) - most, 0)) > 0:
        yield f"    ... {left_out} {what} more, and then"
    yield from (f"    {line}" for line in lines[-most:])


def _at(time: float, since: float) -> str:
    return f"[{time - since:7.3f}]"


def _exchange(request: RequestRecord) -> str:
    """Return a request and what became of it."""
    asked = f"{shown(request.method, MAX_TEXT)} {shown(request.path, MAX_TEXT)}"
    if request.body_size:
        asked += f" with {_octets(request.body_size)}"
    if request.request_ended is None:
        asked += " (no end so far)"
    answered = "no answer" if request.status is None else f"{request.status or 'no status'}"
    if request.response_size:
        answered += f", {_octets(request.response_size)}"
    if request.reset is not None:
        by = "the client" if request.reset.direction == "received" else "the server"
        answered += f", then RST_STREAM({request.reset.name}) of {by}"
    elif request.seconds is not None:
        answered += f" in {request.seconds * 1000:.1f} ms"
    elif request.status is not None:
        answered += ", no end so far"
    return f"{asked} -> {answered}"


def describe(frame: Frame) -> str:
    """Return a frame as a line: direction, type, stream, and what it says."""
    way = "recv" if frame.received else "send"
    if frame.type == NOT_HTTP2:
        return f"{way} {_octets(frame.length)} that are not HTTP/2; {'; '.join(frame.problems)}"
    where = f"stream {frame.stream_id}" if frame.stream_id else "connection"
    said = [*_says(frame), *(f"! {problem}" for problem in frame.problems)]
    return f"{way} {frame.name:<13} {where:<10} {', '.join(said)}".rstrip()


def _says(frame: Frame) -> Iterator[str]:
    if frame.section is not None:
        yield _head(frame)
    if frame.data_length is not None:
        yield _octets(frame.data_length)
    if frame.settings:
        named = " ".join(f"{entry.name}={entry.value}" for entry in frame.settings)
        yield shown(named, MAX_LINE)
    if frame.last_stream_id is not None:
        yield f"last stream {frame.last_stream_id}"
    if frame.error_code is not None:
        yield frame.error_name
    if frame.debug:
        yield shown(repr(frame.debug.decode("latin-1")), MAX_TEXT)
    if frame.increment is not None:
        yield f"+{frame.increment:,}"
    if frame.opaque:
        yield frame.opaque[:8].hex()
    yield from (flag for flag in frame.flag_names if flag in ("END_STREAM", "ACK"))
    yield from _full_window(frame)


def _head(frame: Frame) -> str:
    values = {field.name: field.value for field in frame.fields or ()}
    if frame.section is Section.REQUEST:
        path = shown(values.get(":path", ""), MAX_TEXT)
        return f"{shown(values.get(':method', ''), MAX_TEXT)} {path}"
    if frame.section is Section.TRAILERS:
        return f"trailers {shown(' '.join(values), MAX_TEXT)}"
    return shown(values.get(":status", "no status"), MAX_TEXT)


def _full_window(frame: Frame) -> Iterator[str]:
    """Say that DATA has used up a window, so that its sender has to wait."""
    if frame.data_length is None:
        return
    windows = frame.windows
    connection, stream = windows.server_connection, windows.server_stream
    if frame.received:
        connection, stream = windows.client_connection, windows.client_stream
    if connection <= 0:
        yield "the connection's window is full"
    if stream is not None and stream <= 0:
        yield "the stream's window is full"


def _octets(count: int) -> str:
    return "1 octet" if count == 1 else f"{count:,} octets"
