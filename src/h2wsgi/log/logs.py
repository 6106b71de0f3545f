"""What the server tells people: events, a line per request, and ``wsgi.errors``.

Any thread. The command's log stands beside the standard library's ``logging``, so that no
application can break it or take it for its own. The library uses the standard loggers ``h2wsgi``
and ``h2wsgi.access`` and adds no handler. Neither makes logging records of text on ``wsgi.errors``:
a collector of records would take each line for an error of the server. The invariants: no octet of
a peer reaches a line unescaped, no line begins with text that somebody else has chosen, every line
has a bound, and no caller of the command's log waits for a terminal or a pipe.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from io import FileIO
from typing import Any

from ..config.config import Config
from ..errors import ConfigurationError
from ..process.clock import clock
from .terminal import terminal_form
from .text import (
    MAX_METHOD,
    MAX_SHOWN,
    AccessRecord,
    cut,
    name_of_type,
    printable,
    shown,
    time_of_day,
)
from .writer import LogWriter

MAX_LINE = 65_536
"""Characters of any line of the application's, before what is unsafe in it is escaped."""
MAX_TRACEBACK = 65_536
"""The same for a traceback. A client may have chosen the text of an exception, and its length."""
BELOW = " " * 4
"""Stands before all lines of an event but the first, which begins with the time: a newline that
somebody gets into a message, or into an exception's text, cannot begin a new line of the log."""
MAX_UNFINISHED = 65_536
"""Characters that wsgi.errors keeps of a line that does not end."""
TRACE_FIELDS = {b"x-request-id": "request_id", b"traceparent": "traceparent"}
"""Fields that identify a request in other programs' logs too, and their names in ours."""
MAX_TRACE_FIELD = 200
"""Characters of such a field. A traceparent has 55."""
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def named(event: str, **fields: Any) -> dict[str, Any]:
    """Return the ``extra`` of an event: its name, and what JSON shows beside its sentence."""
    return {"event": event, "fields": fields}


def to_standard_error(text: str) -> None:
    """Write the lines of an application where a program's own errors go, if that is anywhere."""
    if sys.stderr is not None:
        with contextlib.suppress(Exception):  # it was closed, or is the application's own
            sys.stderr.write("".join(shown(line, MAX_LINE) + "\n" for line in text.split("\n")))


class Log:
    """Where a server reports: ``events`` for what happens, :meth:`access` for requests.

    ``application_text`` takes what the application writes on ``wsgi.errors``: one or more lines,
    without the newline behind the last.
    """

    def __init__(
        self,
        events: logging.Logger,
        access: Callable[[AccessRecord], None] | None,
        access_wanted: Callable[[], bool] | None = lambda: True,
        writers: tuple[LogWriter, ...] = (),
        standard_error: LogWriter | None = None,
        application_text: Callable[[str], None] = to_standard_error,
    ) -> None:
        self.events = events
        self.application_text = application_text
        self._access = access
        self.access_wanted = None if access is None else access_wanted
        """Whether :meth:`access` would report anything now; None if it never does."""
        self._writers = writers
        self.standard_error = standard_error
        """The writer to standard error, for others that write there; None inside a program."""
        self._files: list[LogWriter] = []
        """The writers whose files :meth:`reopen_files` opens anew, if they are files."""
        for writer in writers:
            self.add_file(writer)
        self._access_failed = False

    def access(self, record: AccessRecord) -> None:
        """Report one request. Never raises: a program's handlers must not end a connection."""
        if self._access is not None:
            try:
                self._access(record)
            except Exception:
                if not self._access_failed:
                    self._access_failed = True
                    traceback.print_exc()

    def add_file(self, writer: LogWriter) -> None:
        """Have a file opened anew with the others, and an event made when it loses lines."""
        self._files.append(writer)
        if writer is not self.standard_error:
            writer.when_lost = functools.partial(self._lost, writer)

    def reopen_files(self) -> list[str]:
        """Have the files opened anew, as they were renamed; return their names.

        That is done soon, on the threads that write; an error becomes an event.
        """
        files = [writer for writer in self._files if writer.is_reopened]
        for writer in files:
            writer.reopen(self._not_reopened)
        return [writer.name for writer in files]

    def settle(self) -> None:
        """Wait until what is queued is written, a second at most."""
        for writer in self._writers:
            writer.settle()

    def _lost(self, writer: LogWriter, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or error
        self.events.error(
            "%s cannot be written: %s. Lines are dropped until it can.",
            writer.name,
            reason,
            extra=named("log_not_written"),
        )

    def _not_reopened(self, error: Exception) -> None:
        self.events.error("%s The old one goes on.", error, extra=named("log_not_reopened"))

    def close(self) -> None:
        """Write what is queued, waiting a second at most."""
        for writer in self._writers:
            writer.close()


def library_log(config: Config) -> Log:
    """Return the Log of a server inside another program: standard loggers."""
    logger = logging.getLogger("h2wsgi.access")

    make_line = _request_line(config) if config.access_log_format else describe_for_a_file

    def access(record: AccessRecord) -> None:
        extra = named("request", **_access_fields(record))
        logger.info("%s", make_line(record).rstrip("\n"), extra=extra)

    enabled = functools.partial(logger.isEnabledFor, logging.INFO)
    if not config.access_log:
        return Log(logging.getLogger("h2wsgi"), None)
    return Log(logging.getLogger("h2wsgi"), _without(config.access_log_skip, access), enabled)


def _request_line(config: Config) -> Callable[[AccessRecord], str]:
    """Return a function that makes a line of a request, in the format that was asked for."""
    from .access_lines import line_maker

    return line_maker(config.access_log_format)


def _without(
    paths: tuple[str, ...], access: Callable[[AccessRecord], None]
) -> Callable[[AccessRecord], None]:
    """Return ``access`` for all requests but those of ``paths``."""
    if not paths:
        return access
    whole = {path for path in paths if not path.endswith("*")}
    begins = tuple(path[:-1] for path in paths if path.endswith("*"))

    def wanted(record: AccessRecord) -> None:
        path = record.path.partition("?")[0]
        if path not in whole and not (begins and path.startswith(begins)):
            access(record)

    return wanted


def _configured_log(config: Config) -> Log:
    """Return the command's Log if it goes where a configuration file of logging says."""
    from .configured import apply

    apply(config.log_config, LEVELS[config.log_level])
    log = library_log(config)
    errors = logging.getLogger("h2wsgi.errors")

    def application_text(text: str) -> None:
        errors.error("%s", "\n".join(shown(line, MAX_LINE) for line in text.split("\n")))

    log.application_text = application_text
    return log


def command_log(config: Config) -> Log:
    """Return the Log of the command, on standard error.

    Raises:
        ConfigurationError: the access log's file cannot be opened, or what the file of
            --log-config says cannot be done.
    """
    if config.log_config:
        return _configured_log(config)
    as_json = config.log_format == "json"
    errors = LogWriter(sys.stderr, dropped_json if as_json else dropped_text)
    level = LEVELS[config.log_level]
    terminal = None if as_json else terminal_form(sys.stderr)
    text = event_text if terminal is None else terminal.event(event_text)
    events = _CommandLogger(level, errors, event_json if as_json else text)
    make_text = errors_json if as_json else errors_text

    def application_text(text: str) -> None:
        errors.write(make_text(text))

    make_log = functools.partial(
        Log, events, standard_error=errors, application_text=application_text
    )
    wanted = config.access_log_file or level <= logging.INFO
    if not (config.access_log and wanted):
        return make_log(None, writers=(errors,))
    accesses = _access_writer(config, errors)
    if config.access_log_format:
        make_line = _request_line(config)
    elif as_json:
        make_line = access_json
    else:
        # The date and the client come first, unless it is a terminal that somebody watches.
        is_file = config.access_log_file not in ("", "-")
        stream = sys.stdout if config.access_log_file else sys.stderr
        terminal = None if is_file else terminal_form(stream)
        make_line = access_file_text if terminal is None else terminal.access

    def access(record: AccessRecord) -> None:
        accesses.write(make_line(record))

    return make_log(
        _without(config.access_log_skip, access), writers=tuple(dict.fromkeys((errors, accesses)))
    )


def _access_writer(config: Config, errors: LogWriter) -> LogWriter:
    path = config.access_log_file
    if not path:
        return errors
    dropped = dropped_json if config.log_format == "json" else dropped_text
    if path == "-":
        return LogWriter(sys.stdout, dropped)
    try:
        return file_writer(path, "access log", "--access-log-file", dropped)
    except ConfigurationError as error:
        errors.close()
        error.hint = f"{error.hint.rstrip('.')}, or - for standard output."
        raise


def file_writer(
    path: str, what: str, flag: str, dropped: Callable[[int], str], *, private: bool = False
) -> LogWriter:
    """Return a writer that appends to a file; ``what`` and ``flag`` name the file in an error.

    A new file can be read by all that the umask allows, or if ``private`` by its owner alone.

    Raises:
        ConfigurationError: the file cannot be opened.
    """
    mode = 0o600 if private else 0o666
    # The working folder may have changed by then.
    again = functools.partial(_open_file, os.path.abspath(path), what, flag, mode)
    return LogWriter(_open_file(path, what, flag, mode), dropped, open_again=again)


def check_file(path: str, what: str, flag: str) -> None:
    """Refuse a file that :func:`file_writer` would refuse, but never make one.

    Raises:
        ConfigurationError: it cannot be opened.
    """
    is_new = not os.path.exists(path)
    if is_new or os.path.isfile(path) or os.path.isdir(path):  # a pipe would block in open
        _open_file(path, what, flag).close()
        if is_new:
            os.remove(path)


def _open_file(path: str, what: str, flag: str, mode: int = 0o600) -> FileIO:
    try:
        return FileIO(path, "ab", opener=lambda name, flags: os.open(name, flags, mode))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"The {what} {path} ({flag}) cannot be opened: {reason}.",
            "Name a file in a folder that exists and can be written.",
        ) from error


class _CommandLogger(logging.Logger):
    """A logger outside of logging's tree, whose records nobody else makes or handles.

    ``dictConfig`` and ``disable()`` do not reach it, nor does a record factory that the application
    sets, or what an error collector puts in the place of ``Logger.callHandlers``.
    """

    def __init__(
        self, level: int, writer: LogWriter, make_text: Callable[[logging.LogRecord], str]
    ) -> None:
        super().__init__("h2wsgi", level)
        self.manager = logging.Manager(logging.RootLogger(logging.WARNING))
        self._writer = writer
        self._make_text = make_text

    def makeRecord(  # noqa: N802 (logging's name)
        self,
        name: str,
        level: int,
        fn: str,
        lno: int,
        msg: object,
        args: Any,
        exc_info: Any,
        func: str | None = None,
        extra: Mapping[str, object] | None = None,
        sinfo: str | None = None,
    ) -> logging.LogRecord:
        record = logging.LogRecord(name, level, fn, lno, msg, args, exc_info, func, sinfo)
        record.created = clock.time()
        record.__dict__.update(extra or {})
        return record

    def handle(self, record: logging.LogRecord) -> None:
        # On the caller's thread, as arguments may change later.
        try:
            self._writer.write(self._make_text(record))
        except Exception as error:  # A bad format string must not end a connection.
            what = f"A log record cannot be shown: {type(error).__name__}"
            said = self.makeRecord(record.name, record.levelno, "", 0, what, None, None)
            self._writer.write(self._make_text(said))


def event_text(record: logging.LogRecord) -> str:
    """Return an event as a line for people, its traceback or ``lines`` below."""
    if lines := getattr(record, "lines", None):
        return "".join(printable(line) + "\n" for line in lines)
    first = f"{record.levelname.lower()}: {shown(record.getMessage(), MAX_LINE)}"
    return _lines(record.created, first, _traceback(record).splitlines())


def _lines(at: float, first: str, rest: list[str]) -> str:
    """Return a line with the time of day before it, and below it text that others have chosen."""
    below = "".join(f"{BELOW}{shown(line, MAX_LINE)}\n" if line else "\n" for line in rest)
    return f"{time_of_day(int(at))}  {first}\n{below}"


def event_json(record: logging.LogRecord) -> str:
    """Return an event as one JSON object on one line."""
    fields: dict[str, Any] = {
        "time": _iso(record.created),
        "level": record.levelname.lower(),
        "event": getattr(record, "event", "log"),
        "message": "\n".join(cut(line, MAX_LINE) for line in record.getMessage().split("\n")),
    }
    fields |= getattr(record, "fields", {})
    if record.exc_info is not None and (error := record.exc_info[1]) is not None:
        fields["exception_type"] = _type_of(error)
        fields["exception_message"] = message_of(error)
        fields["exception_stack"] = _traceback(record)
    return _json_line(fields)


def _type_of(error: BaseException) -> str:
    kind = type(error)
    try:
        module = str(kind.__module__)
        name = kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
    except BaseException:  # a metaclass
        name = name_of_type(kind)
    return cut(name, MAX_LINE)


def message_of(error: BaseException) -> str:
    """Return what an exception says, cut. An application's own exception may fail to say it."""
    try:
        return cut(str(error), MAX_LINE)
    except BaseException as failure:
        return f"The message cannot be shown: {name_of_type(type(failure))}"


def errors_text(text: str) -> str:
    """Return lines of ``wsgi.errors`` for people; the application's newlines are its layout."""
    first, *rest = text.split("\n")
    return _lines(clock.time(), f"app: {shown(first, MAX_LINE)}", rest)


def errors_json(text: str) -> str:
    """Return lines of ``wsgi.errors`` as one JSON object on one line."""
    said = "\n".join(cut(line, MAX_LINE) for line in text.split("\n"))
    fields = {"time": _iso(clock.time()), "level": "error", "event": "wsgi_errors", "message": said}
    return _json_line(fields)


def access_file_text(record: AccessRecord) -> str:
    """Return a request as a line to keep, or for a program to read: date and time first."""
    return f"{_iso(clock.time())} {describe_for_a_file(record)}\n"


def describe_for_a_file(record: AccessRecord) -> str:
    """Return a request with its client, and what ties it to lines of other programs."""
    text = f"{record.remote}  {describe_request(record)}"
    for name, value in trace_fields(record).items():
        # What follows a space would look like the next value.
        text += f"  {name}=" + printable(value).replace(" ", "\\x20")
    return text


def trace_fields(record: AccessRecord) -> dict[str, str]:
    """Return the TRACE_FIELDS that the request has, by their names here."""
    return {
        TRACE_FIELDS[name]: cut(value.decode("latin-1"), MAX_TRACE_FIELD)
        for name, value in record.fields
        if name in TRACE_FIELDS
    }


def describe_request(record: AccessRecord) -> str:
    """Return a request without time of day: method, path, status, protocol, stream, time, size."""
    text = (
        f"{shown(record.method, MAX_METHOD):<4} {shown(record.path, MAX_SHOWN):<20} "
        f"{record.status or '---'} {record.protocol} stream {record.stream_id:<3} "
        f"{record.seconds * 1000:7.1f} ms {record.octets:>8,} B"
    )
    return f"{text}  {printable(record.outcome)}" if record.outcome else text


def access_json(record: AccessRecord) -> str:
    """Return a request as one JSON object on one line."""
    return _json_line(
        {"time": _iso(clock.time()), "level": "info", "event": "request"} | _access_fields(record)
    )


def _access_fields(record: AccessRecord) -> dict[str, Any]:
    fields = {
        "method": cut(record.method, MAX_METHOD),
        "path": record.path,
        "status": record.status,
        "protocol": record.protocol,
        "stream": record.stream_id,
        "seconds": round(record.seconds, 6),
        "octets": record.octets,
        "remote": record.remote,
        "outcome": record.outcome or "complete",
    }
    if record.proxy:
        fields["proxy"] = record.proxy
    return fields | trace_fields(record)


def _json_line(fields: dict[str, Any]) -> str:
    # JSON escapes all control octets except DEL.
    return json.dumps(fields, default=str).replace("\x7f", "\\u007f") + "\n"


def dropped_text(count: int) -> str:
    """Return the line that says how many lines are missing."""
    return f"{time_of_day(int(clock.time()))}  warning: {_dropped(count)}\n"


def dropped_json(count: int) -> str:
    """Return the line that says how many lines are missing, as JSON."""
    fields = {"time": _iso(clock.time()), "level": "warning", "event": "lines_dropped"}
    return _json_line(fields | {"message": _dropped(count), "dropped": count})


def _dropped(count: int) -> str:
    return f"{count} log lines were dropped, as nobody took them."


def _iso(seconds: float) -> str:
    shown = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return shown.replace("+00:00", "Z")


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info is None or record.exc_info[1] is None:
        return ""
    kind, raised, frames = record.exc_info
    try:
        text = "".join(traceback.format_exception(kind, raised, frames))
    except BaseException as error:  # its cause or its notes may raise anything
        text = "".join(traceback.format_tb(frames))
        why = name_of_type(type(error))
        text += f"{name_of_type(type(raised))}, which cannot be shown: {why}\n"
    if (left_out := len(text) - MAX_TRACEBACK) > 0:
        half = MAX_TRACEBACK // 2
        text = f"{text[:half]}\n... {left_out} characters ...\n{text[-half:]}"
    return text


class ErrorStream(io.TextIOBase):
    """``wsgi.errors``: the full lines of one write are logged together.

    One for the whole process, so nothing closes it. Each thread has its own unfinished line, so
    lines are never mixed.
    """

    encoding = "utf-8"
    errors = "backslashreplace"
    name = "<wsgi.errors>"

    def __init__(self, log: Log) -> None:
        self._log = log
        self._thread = threading.local()
        self.unfinished_in: set[int] = set()
        """The threads with an unfinished line, which a flush would log."""

    # IOBase's own finalizer calls close(). When the process ends nothing is left to flush, and with
    # gevent or eventlet no thread is left to ask: an error, which is shown from 3.13 on.
    __del__ = int  # type: ignore[assignment]

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Take ``text``, and log each line that it completes."""
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        if getattr(self._thread, "is_logging", False):
            # The application has put this in the place of standard error: do not log in a circle.
            if sys.__stderr__ is not None:
                sys.__stderr__.write(text)
            return len(text)
        # Joined, as a subclass decides what `+` does: markupsafe's would escape the text.
        *lines, unfinished = "".join((getattr(self._thread, "unfinished", ""), text)).split("\n")
        if len(unfinished) > MAX_UNFINISHED:
            lines.append(unfinished)
            unfinished = ""
        self._keep(unfinished)
        if lines:
            # Lines written by one call, such as a traceback, stay together.
            self._give("\n".join(lines))
        return len(text)

    def flush(self) -> None:
        """Log the unfinished line of this thread."""
        unfinished = getattr(self._thread, "unfinished", "")
        if unfinished and not getattr(self._thread, "is_logging", False):
            self._keep("")
            self._give(unfinished)

    def close(self) -> None:
        """Flush, as at the end of a ``with`` statement, and stay open for all others."""
        self.flush()

    def _keep(self, unfinished: str) -> None:
        self._thread.unfinished = unfinished
        if unfinished:
            self.unfinished_in.add(threading.get_ident())
        else:
            self.unfinished_in.discard(threading.get_ident())

    def _give(self, text: str) -> None:
        self._thread.is_logging = True
        try:
            self._log.application_text(text)
        finally:
            self._thread.is_logging = False
