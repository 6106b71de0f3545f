"""A frame as lines for people, much as ``nghttp -v`` shows it. Pure.

No octet of a client reaches a line unescaped, and no frame takes more than a screen or two.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...log.terminal import BLUE, BOLD, CYAN, DIM, GREEN, LOUD, RED, RESET
from ...log.text import printable
from ..tap.field_blocks import Field, FieldBlock
from ..tap.frames import NOT_HTTP2, ConnectionInfo, Frame

MAX_FIELDS = 200
"""Fields shown of one block."""
MAX_VALUE = 1_024
"""Characters shown of a name, a value or other text of a client."""
_INDENT = " " * 10
_WITH_WINDOWS = frozenset({"DATA", "HEADERS", "SETTINGS", "WINDOW_UPDATE"})
_ENDINGS = frozenset({"RST_STREAM", "GOAWAY"})


class TextForm:
    """Makes the lines.

    ``colour`` says whether they have colours, ``windows`` whether windows are shown after frames.
    """

    def __init__(self, *, colour: bool, windows: bool) -> None:
        self._colour = colour
        self._windows = windows
        self._start: float | None = None
        """The time of the first event; lines show times since then."""

    def opened(self, info: ConnectionInfo) -> str:
        """Return the line of a new connection."""
        tls = f"{info.tls_version}, {info.cipher}, ALPN {info.alpn or 'none'}"
        how = "cleartext" if info.tls_version is None else tls
        return self._head(info.opened_at, info.id, f"opened by {info.peer}, {how}")

    def closed(self, info: ConnectionInfo, reason: str, at: float) -> str:
        """Return the line of a connection that is no more."""
        return self._head(at, info.id, f"closed: {shown(reason)}")

    def frame(self, frame: Frame) -> str:
        """Return the lines of a frame."""
        way = self._in("recv", CYAN) if frame.received else self._in("send", GREEN)
        what = f"{way} {frame.length} octets that are not HTTP/2"
        if frame.type != NOT_HTTP2:
            name = self._in(frame.name, LOUD if frame.name in _ENDINGS else BOLD)
            what = (
                f"{way} {name} frame <length={frame.length}, "
                f"flags=0x{frame.flags:02x}, stream_id={frame.stream_id}>"
            )
        lines = [self._head(frame.time, frame.connection, what)]
        lines += [f"{_INDENT}{line}\n" for line in self._details(frame)]
        return "".join(lines)

    def _head(self, time: float, connection: int, text: str) -> str:
        if self._start is None:
            self._start = time
        return f"[{time - self._start:7.3f}] #{connection} {text}\n"

    def _in(self, text: str, colour: str) -> str:
        return f"{colour}{text}{RESET}" if self._colour else text

    def _details(self, frame: Frame) -> Iterator[str]:
        if frame.flag_names:
            yield "; " + " | ".join(frame.flag_names)
        if numbers := list(_numbers(frame)):
            text = f"({', '.join(numbers)})"
            yield self._in(text, LOUD) if frame.name in _ENDINGS else text
        for setting in (frame.settings or ())[:MAX_FIELDS]:
            yield f"[{setting.name}(0x{setting.id:02x}):{setting.value}]"
        if frame.block is not None:
            yield f"; {frame.section}"
            yield from self._fields(frame.block)
        if self._windows and frame.name in _WITH_WINDOWS:
            yield self._in(_windows(frame), DIM)
        for problem in frame.problems:
            yield self._in(f"! {shown(problem)}", RED)

    def _fields(self, block: FieldBlock) -> Iterator[str]:
        for field in block.fields[:MAX_FIELDS]:
            name = self._in(shown(field.name), BLUE)
            yield f"{name}: {shown(field.value)}  {self._in(f'; {encoding(field)}', DIM)}"
        if (more := len(block.fields) - MAX_FIELDS) > 0:
            yield f"... and {more} fields more"
        updates = "".join(f"set to {size}, " for size in block.table_updates)
        entries = "1 entry" if block.table_entries == 1 else f"{block.table_entries} entries"
        table = (
            f"; block of {block.octets} octets; dynamic table: {updates}{entries}, "
            f"{block.table_size} of {block.table_limit} octets"
        )
        yield self._in(table, DIM)


def shown(text: str) -> str:
    """Return text of a client, escaped and cut."""
    if len(text) > MAX_VALUE:
        text = f"{text[:MAX_VALUE]}... ({len(text)} octets)"
    return printable(text)


def encoding(field: Field) -> str:
    """Return how a field was encoded, as a phrase."""
    if field.indexed:
        return f"indexed, {field.table} {field.index}"
    name = f"{field.table} {field.index}" if field.index else _string(field.name_huffman)
    return f"{field.representation}, name {name}, value {_string(field.value_huffman)}"


def _string(huffman: bool | None) -> str:
    return "Huffman" if huffman else "raw"


def _numbers(frame: Frame) -> Iterator[str]:
    """Yield what a frame says in numbers, as nghttp names it."""
    if frame.padding is not None:
        yield f"padlen={frame.padding}"
    if (priority := frame.priority) is not None:
        yield f"dep_stream_id={priority.depends_on}"
        yield f"weight={priority.weight}"
        yield f"exclusive={priority.exclusive:d}"
    if frame.settings:
        yield f"niv={len(frame.settings)}"
    if frame.promised_stream_id is not None:
        yield f"promised_stream_id={frame.promised_stream_id}"
    if frame.increment is not None:
        yield f"window_size_increment={frame.increment}"
    if frame.last_stream_id is not None:
        yield f"last_stream_id={frame.last_stream_id}"
    if frame.error_code is not None:
        yield f"error_code={frame.error_name}(0x{frame.error_code:02x})"
    if frame.last_stream_id is not None:
        yield f"opaque_data({len(frame.debug)})=[{shown(frame.debug.decode('latin-1'))}]"
    if frame.name == "PING":
        yield f"opaque_data={frame.opaque[:8].hex()}"


def _windows(frame: Frame) -> str:
    windows = frame.windows
    return (
        f"; client may send {_window(windows.client_connection, windows.client_stream)}; "
        f"server may send {_window(windows.server_connection, windows.server_stream)}"
    )


def _window(connection: int, stream: int | None) -> str:
    return str(connection) if stream is None else f"{connection}, {stream} on the stream"
