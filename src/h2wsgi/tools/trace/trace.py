"""The trace: every frame as it comes and goes, to standard error and to a file.

A sink of the tap, on the loop's thread. Lines go through a log writer, so a terminal or a disk that
blocks never stalls the loop. The log writer counts the lines that it has to drop.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import Protocol

from ...config.config import Config
from ...log.logs import Log, dropped_json, dropped_text, file_writer, named
from ...log.terminal import is_coloured
from ...log.writer import LogWriter
from ..tap.frames import ConnectionInfo, Frame
from ..tap.tap import Sink
from .as_json import JSONForm
from .filters import Filter, parse_filter
from .text import TextForm


class Form(Protocol):
    """How a trace looks."""

    def opened(self, info: ConnectionInfo) -> str: ...

    def frame(self, frame: Frame) -> str: ...

    def closed(self, info: ConnectionInfo, reason: str, at: float) -> str: ...


class Trace(Sink):
    """Writes what a filter shows. An ``owned`` writer is closed with the server."""

    def __init__(self, writer: LogWriter, form: Form, wanted: Filter, *, owned: bool) -> None:
        self._writer = writer
        self._form = form
        self._wanted = wanted
        self._owned = owned

    def opened(self, connection: ConnectionInfo) -> None:
        if self._wanted.shows_connection(connection.id):
            self._writer.write(self._form.opened(connection))

    def frame(self, frame: Frame, content: bytes) -> None:
        if self._wanted.shows(frame):
            self._writer.write(self._form.frame(frame))

    def closed(self, connection: ConnectionInfo, reason: str, at: float) -> None:
        if self._wanted.shows_connection(connection.id):
            self._writer.write(self._form.closed(connection, reason, at))

    def close(self) -> None:
        if self._owned:
            self._writer.close()


def open_traces(config: Config, log: Log) -> list[Sink]:
    """Return the traces that ``config`` asks for.

    Raises:
        ConfigurationError: the filter means nothing, or the file cannot be opened.
    """
    wanted = parse_filter(config.trace)
    traces: list[Sink] = []
    if config.trace_file:
        # It holds what clients send: cookies, authorization.
        writer = file_writer(config.trace_file, "trace", "--trace-file", dropped_json, private=True)
        _warn_of_readers(config.trace_file, log)
        log.add_file(writer)
        traces.append(Trace(writer, JSONForm(), Filter(), owned=True))
    if config.trace:
        traces.append(_on_standard_error(config, log, wanted))
    return traces


def _warn_of_readers(path: str, log: Log) -> None:
    """Warn if others may read the file, which may be an old one that keeps its mode."""
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode) and mode & 0o077 and os.name == "posix":
        log.events.warning(
            "the trace file %s holds all that clients send, cookies too, and others may read it "
            "(mode %03o); chmod 600 it, or name a new one",
            path,
            mode & 0o777,
            extra=named("trace_file_readable"),
        )


def _on_standard_error(config: Config, log: Log, wanted: Filter) -> Trace:
    as_json = config.log_format == "json"
    coloured = is_coloured(sys.stderr)
    form = JSONForm() if as_json else TextForm(colour=coloured, windows=wanted.windows)
    if log.standard_error is not None:
        # The command's writer: one queue for log and trace keeps lines whole and in order.
        return Trace(log.standard_error, form, wanted, owned=False)
    writer = LogWriter(sys.stderr, dropped_json if as_json else dropped_text)
    return Trace(writer, form, wanted, owned=True)
