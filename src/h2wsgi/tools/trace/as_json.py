"""Connections and frames as JSON, one object a line; docs/tracing.md has the schema. Pure.

The keys of a frame are the attributes of :class:`~h2wsgi.tools.tap.frames.Frame`; what a frame does
not carry is left out.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from ..tap.field_blocks import Field, FieldBlock
from ..tap.frames import ConnectionInfo, Frame


class JSONForm:
    """Makes the lines; the events are ``opened``, ``frame`` and ``closed``."""

    def opened(self, info: ConnectionInfo) -> str:
        """Return the line of a new connection."""
        return _line(
            "opened",
            info.at,
            connection=info.id,
            peer=info.peer,
            scheme=info.scheme,
            alpn=info.alpn,
            tls_version=info.tls_version,
            cipher=info.cipher,
        )

    def frame(self, frame: Frame) -> str:
        """Return the line of a frame."""
        return _line("frame", frame.at, **frame_values(frame))

    def closed(self, info: ConnectionInfo, reason: str, at: float) -> str:
        """Return the line of a connection that is no more."""
        return _line("closed", info.at + (at - info.opened_at), connection=info.id, reason=reason)


def frame_values(frame: Frame) -> dict[str, Any]:
    """Return a frame as JSON's types, without its times."""
    values: dict[str, Any] = {
        "connection": frame.connection,
        "number": frame.number,
        "direction": frame.direction,
        "type": frame.type,
        "name": frame.name,
        "flags": frame.flags,
        "flag_names": frame.flag_names,
        "stream_id": frame.stream_id,
        "length": frame.length,
        "windows": frame.windows._asdict(),
        "open_streams": frame.open_streams,
        "ends_stream": frame.ends_stream,
    }
    for name in (
        "data_length",
        "padding",
        "section",
        "increment",
        "last_stream_id",
        "promised_stream_id",
        "error_code",
    ):
        if (value := getattr(frame, name)) is not None:
            values[name] = value
    if frame.error_code is not None:
        values["error_name"] = frame.error_name
    if frame.priority is not None:
        values["priority"] = frame.priority._asdict()
    if frame.settings is not None:
        values["settings"] = [
            {"id": s.id, "name": s.name, "value": s.value} for s in frame.settings
        ]
    if frame.debug:
        values["debug"] = frame.debug.decode("latin-1")
    if frame.opaque:
        values["opaque"] = frame.opaque.hex()
    if frame.block is not None:
        values["block"] = _block(frame.block)
    if frame.problems:
        values["problems"] = frame.problems
    return values


def _block(block: FieldBlock) -> dict[str, Any]:
    return {
        "fields": [_field(field) for field in block.fields],
        "octets": block.octets,
        "table_updates": block.table_updates,
        "table_size": block.table_size,
        "table_entries": block.table_entries,
        "table_limit": block.table_limit,
    }


def _field(field: Field) -> dict[str, Any]:
    return {
        "name": field.name,
        "value": field.value,
        "representation": field.representation,
        "table": field.table,
        "index": field.index,
        "name_huffman": field.name_huffman,
        "value_huffman": field.value_huffman,
        "encoded": field.encoded.hex(),
    }


def _line(event: str, at: float, **values: Any) -> str:
    time = datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
    fields = {"time": time.replace("+00:00", "Z"), "event": event} | values
    return json.dumps(fields).replace("\x7f", "\\u007f") + "\n"
