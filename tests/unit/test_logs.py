"""What reaches the log and how: each event and request as a line of text or of JSON."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import logging.config
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2wsgi.config.config import Config
from h2wsgi.errors import ConfigurationError
from h2wsgi.log import logs
from h2wsgi.log.logs import (
    BELOW,
    MAX_LINE,
    MAX_TRACEBACK,
    ErrorStream,
    Log,
    command_log,
    library_log,
)
from h2wsgi.log.text import AccessRecord, printable

RECORD = AccessRecord("GET", "/get?a=1", 200, "HTTP/2", 5, 0.01234, 12345, "127.0.0.1:5")
WAIT = 10.0


def lines_of(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def wanted(log: Log) -> bool:
    return log.access_wanted is not None and log.access_wanted()


def test_a_request_is_one_line_that_a_stranger_can_read(stderr):
    log = command_log(Config())
    assert wanted(log)
    log.access(RECORD)
    log.access(RECORD._replace(status=0, path="/a\x1b" + "x" * 5000, outcome="reset by\nclient"))
    log.close()
    first, second = lines_of(stderr)
    pattern = (
        r"[\d-]{10}T[\d:]{8}\.\d+Z 127\.0\.0\.1:5  "
        r"GET  /get\?a=1 +200 HTTP/2 stream 5 +12\.3 ms +12,345 B"
    )
    assert re.fullmatch(pattern, first)
    assert "/a\\x1bxxx" in second
    assert "x... --- HTTP/2" in second
    assert second.endswith("  reset by\\x0aclient")
    assert len(second) < 2300


def test_a_request_in_json_is_one_object_a_line(stderr):
    log = command_log(Config(log_format="json"))
    log.access(RECORD._replace(path="/\x1b\x7f\x9bé"))
    log.close()
    raw = stderr.read_bytes()
    assert raw.isascii()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", raw)
    (line,) = lines_of(stderr)
    shown = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", shown.pop("time"))
    assert shown == {
        "level": "info",
        "event": "request",
        "method": "GET",
        "path": "/\x1b\x7f\x9bé",
        "status": 200,
        "protocol": "HTTP/2",
        "stream": 5,
        "seconds": 0.01234,
        "octets": 12345,
        "remote": "127.0.0.1:5",
        "outcome": "complete",
    }


def test_events_carry_their_fields_in_json_and_escape_text(stderr):
    for log_format in ("text", "json"):
        log = command_log(Config(log_format=log_format))
        log.events.warning("peer said %s", "\x1b", extra={"fields": {"peer": Path("x")}})
        log.close()
    text, raw = lines_of(stderr)
    assert re.fullmatch(r"\d\d:\d\d:\d\d  warning: peer said \\x1b", text)
    shown = json.loads(raw)
    assert (shown["level"], shown["event"], shown["peer"]) == ("warning", "log", "x")
    assert shown["message"] == "peer said \x1b"


def test_a_traceback_is_many_lines_of_text_and_one_field_of_json(stderr):
    for log_format in ("text", "json"):
        log = command_log(Config(log_format=log_format))
        try:
            raise ValueError("bad \x1b value")
        except ValueError:
            log.events.exception("the application failed")
            log.events.error("nothing was raised", exc_info=(None, None, None))
        log.close()
    *text, _, raw, _ = lines_of(stderr)
    assert text[0].endswith("error: the application failed")
    assert text[1] == BELOW + "Traceback (most recent call last):"
    assert BELOW + "ValueError: bad \\x1b value" in text
    shown = json.loads(raw)
    assert (shown["event"], shown["message"]) == ("log", "the application failed")
    assert (shown["exception_type"], shown["exception_message"]) == ("ValueError", "bad \x1b value")
    assert shown["exception_stack"].startswith("Traceback (most recent call last):\n")
    assert shown["exception_stack"].endswith("ValueError: bad \x1b value\n")
    assert "traceback" not in shown


def test_an_event_that_cannot_be_formatted_is_said_and_breaks_nothing(stderr):
    log = command_log(Config())
    log.events.error("%d", "not a number")
    log.close()
    assert lines_of(stderr)[0].endswith("  error: A log record cannot be shown: TypeError")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, True),
        ({"access_log": False}, False),
        ({"log_level": "warning"}, False),
        ({"log_level": "warning", "access_log_file": "requests.log"}, True),
        ({"access_log": False, "access_log_file": "requests.log"}, False),
    ],
)
def test_requests_are_shown_unless_asked_otherwise(
    options, expected, stderr, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    log = command_log(Config(**options))
    assert wanted(log) is expected
    log.access(RECORD)
    log.events.info("hello")
    log.close()
    written = stderr.read_text() + "".join(p.read_text() for p in tmp_path.glob("*.log"))
    assert ("/get" in written) is expected
    assert ("hello" in written) is ("log_level" not in options)


def test_the_access_log_can_have_a_file_which_is_added_to(stderr, tmp_path):
    path = tmp_path / "requests.log"
    for _ in range(2):
        log = command_log(Config(access_log_file=str(path), log_format="json"))
        log.access(RECORD)
        log.close()
    assert [json.loads(line)["status"] for line in lines_of(path)] == [200, 200]
    assert stderr.read_text() == ""


def test_the_access_log_can_go_to_standard_output(stderr):
    log = command_log(Config(access_log_file="-"))
    log.access(RECORD)
    log.close()
    assert "/get?a=1" in stderr.with_name("stdout").read_text()
    assert stderr.read_text() == ""


def test_an_access_log_that_cannot_be_opened_is_an_error(stderr, tmp_path):
    before = set(threading.enumerate())
    for path in (str(tmp_path), "a\0b"):
        with pytest.raises(ConfigurationError, match=r"\(--access-log-file\) cannot be opened"):
            command_log(Config(access_log_file=path))
    assert set(threading.enumerate()) <= before


def test_dropped_lines_are_said_in_the_format_of_the_log(monkeypatch, stderr):
    for log_format in ("text", "json"):
        log = command_log(Config(log_format=log_format))
        (writer,) = log._writers
        with writer._changed:
            writer._dropped = 7
            writer.write("line\n")
        log.close()
    _, text, _, raw = lines_of(stderr)
    assert text.endswith("warning: 7 log lines were dropped, as nobody took them.")
    assert json.loads(raw)["dropped"] == 7


@pytest.fixture
def enabled_loggers() -> Iterator[None]:
    """Undo what ``disable_existing_loggers`` does to the loggers of other tests."""
    loggers = [x for x in logging.root.manager.loggerDict.values() if isinstance(x, logging.Logger)]
    disabled = {logger: logger.disabled for logger in loggers}
    yield
    for logger, was_disabled in disabled.items():
        logger.disabled = was_disabled


def test_an_applications_logging_set_up_neither_hurts_nor_is_touched(stderr, enabled_loggers):
    log = command_log(Config())
    known = set(logging.root.manager.loggerDict)
    handlers = list(logging.root.handlers)
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": True})
    logging.disable(logging.CRITICAL)
    try:
        log.events.info("still here")
    finally:
        logging.disable(logging.NOTSET)
    log.close()
    assert "still here" in stderr.read_text()
    assert set(logging.root.manager.loggerDict) == known
    assert set(logging.root.handlers) <= set(handlers)


def test_a_file_of_requests_says_when_and_who(tmp_path):
    path = tmp_path / "access.log"
    log = command_log(Config(access_log_file=str(path)))
    log.access(RECORD)
    log.close()
    assert re.match(WITH_DATE, path.read_text())


WITH_DATE = rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z {re.escape(RECORD.remote)}  GET  /get"


@pytest.mark.parametrize("where", ["", "-"])
def test_a_pipe_or_a_journal_is_told_when_and_who_too(stderr, where):
    log = command_log(Config(access_log_file=where))
    log.access(RECORD)
    log.close()
    assert re.match(WITH_DATE, (stderr.with_name("stdout") if where else stderr).read_text())


TRACED = RECORD._replace(
    fields=(
        (b"x-request-id", b"abc\xe9\x9b" + b"x" * 300),
        (b"traceparent", b"00-1 status=200"),
        (b"cookie", b"secret"),
    )
)


def test_what_ties_a_request_to_other_logs_is_in_its_line(stderr):
    for log_format in ("text", "json"):
        log = command_log(Config(log_format=log_format))
        log.access(TRACED)
        log.access(RECORD)
        log.close()
    text, _, raw, plain = lines_of(stderr)
    assert re.search(r"  request_id=abcé\\x9bx{195}\.\.\.  traceparent=00-1\\x20status=200$", text)
    shown = json.loads(raw)
    assert shown["request_id"] == "abcé\x9b" + "x" * 195 + "..."
    assert shown["traceparent"] == "00-1 status=200"
    assert "secret" not in text + raw
    assert "request_id" not in plain


def test_requests_that_are_to_be_left_out_are(stderr):
    for options in ({}, {"access_log_format": "common"}, {"log_format": "json"}):
        log = command_log(Config(access_log_skip=("/healthz", "/static/*"), **options))
        for path in ("/healthz", "/healthz?a=1", "/static/", "/static/a", "/healthz/", "/static"):
            log.access(RECORD._replace(path=path))
        log.close()
    lines = lines_of(stderr)
    assert len(lines) == 6
    assert all("/healthz/" in line or "/static " in f"{line} ".replace('"', " ") for line in lines)


def test_a_format_of_the_users_makes_the_line_wherever_it_goes(stderr, caplog):
    for log_format in ("text", "json"):
        log = command_log(Config(access_log_format="%(m)s %(s)s%%", log_format=log_format))
        log.access(RECORD)
        log.close()
    assert lines_of(stderr) == ["GET 200%"] * 2
    with caplog.at_level(logging.INFO, "h2wsgi"):
        library_log(Config(access_log_format="%(m)s %(s)s%%")).access(RECORD)
    assert caplog.messages == ["GET 200%"]


def test_an_event_has_its_name_in_json(stderr):
    log = command_log(Config(log_format="json"))
    log.events.warning("one %s", "sentence", extra=logs.named("kind", peer="a"))
    ErrorStream(log).write("a line\n")
    log.close()
    one, line = map(json.loads, lines_of(stderr))
    assert (one["event"], one["message"], one["peer"]) == ("kind", "one sentence", "a")
    assert (line["event"], line["message"]) == ("wsgi_errors", "a line")


def test_what_an_application_writes_at_once_stays_together(stderr):
    log = command_log(Config())
    ErrorStream(log).write("Traceback:\n  line \x1b one\nKeyError\n")
    log.close()
    first, second, third = lines_of(stderr)
    assert first.endswith("  app: Traceback:")
    assert second == BELOW + "  line \\x1b one"
    assert third == BELOW + "KeyError"


def test_the_library_uses_the_standard_loggers(caplog):
    log = library_log(Config())
    assert log.events is logging.getLogger("h2wsgi")
    assert log.events.handlers == []
    assert not wanted(log)
    with caplog.at_level(logging.INFO, "h2wsgi"):
        assert wanted(log)
        log.access(RECORD)
        assert not wanted(library_log(Config(access_log=False)))
    log.close()
    (record,) = caplog.records
    assert record.name == "h2wsgi.access"
    assert record.fields["status"] == 200
    assert record.event == "request"
    assert record.getMessage().startswith("127.0.0.1:5  GET  /get?a=1")


@pytest.fixture
def taken(monkeypatch) -> Iterator[list[str]]:
    """What an error collector, or an application, that has its hands in ``logging`` gets to see."""
    seen: list[str] = []

    def see(name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: seen.append(name)

    for name in ("callHandlers", "handle", "makeRecord"):
        monkeypatch.setattr(logging.Logger, name, see(name))
    factory = logging.getLogRecordFactory()
    logging.setLogRecordFactory(see("factory"))
    yield seen
    logging.setLogRecordFactory(factory)


def test_nothing_of_the_commands_log_passes_through_what_others_patch(stderr, taken):
    log = command_log(Config())
    log.events.warning("an event")
    try:
        raise ValueError("bad")
    except ValueError:
        log.events.exception("an error")
    log.access(RECORD)
    ErrorStream(log).write("a line\n")
    log.close()
    shown = stderr.read_text()
    assert all(text in shown for text in ("an event", "an error", "ValueError: bad", "a line"))
    assert taken == []


def test_text_of_an_application_is_no_record_of_a_program_either(capsys, taken):
    ErrorStream(library_log(Config())).write("one \x1b\ntwo\n")
    assert taken == []
    assert capsys.readouterr().err == "one \\x1b\ntwo\n"


@pytest.mark.parametrize("how", ["none", "closed", "gone"])
def test_text_of_an_application_without_standard_error_is_dropped(monkeypatch, how):
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    stream = None if how == "none" else Gone() if how == "gone" else io.StringIO()
    if how == "closed" and stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    assert ErrorStream(library_log(Config())).write("line\n") == 5


def kept_stream() -> tuple[ErrorStream, list[str]]:
    """Return a stream and the texts that it gives on."""
    kept: list[str] = []
    return ErrorStream(Log(logging.Logger("test"), None, application_text=kept.append)), kept


def test_wsgi_errors_gives_on_every_full_line():
    stream, kept = kept_stream()
    assert stream.write("half, ") == 6
    assert kept == []
    stream.writelines(["then whole\nand", " 100%s\n", "rest"])
    assert kept == ["half, then whole", "and 100%s"]
    stream.flush()
    stream.flush()
    assert kept[2:] == ["rest"]


def test_wsgi_errors_keeps_the_lines_of_threads_apart():
    stream, kept = kept_stream()
    both = threading.Barrier(2)

    def write(name: str) -> None:
        for part in (name, name, name + "\n"):
            both.wait(WAIT)
            stream.write(part)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept) == ["aaa", "bbb"]


def test_wsgi_errors_does_not_keep_a_line_without_an_end_for_ever():
    stream, kept = kept_stream()
    stream.write("x" * 70_000)
    assert [len(message) for message in kept] == [70_000]


@pytest.mark.parametrize("closed", [False, True])
def test_wsgi_errors_in_the_place_of_standard_error_does_not_go_round_for_ever(monkeypatch, closed):
    stream = ErrorStream(library_log(Config()))
    written = io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", None if closed else written)
    with contextlib.redirect_stderr(stream):
        print("once")
        print("twice", file=sys.stderr)
        stream.flush()
    assert written.getvalue() == ("" if closed else "twice\n")


def test_wsgi_errors_is_a_text_file_that_can_only_be_written(capfd):
    stream = ErrorStream(library_log(Config()))
    assert isinstance(stream, io.TextIOBase)
    assert (stream.writable(), stream.readable(), stream.seekable()) == (True, False, False)
    assert (stream.isatty(), stream.encoding, stream.name) == (False, "utf-8", "<wsgi.errors>")
    assert "x\udc80".encode(stream.encoding, stream.errors)
    for call in (stream.fileno, stream.read, stream.readline, stream.tell, stream.detach):
        with pytest.raises(io.UnsupportedOperation):
            call()
    for octets in (b"octets", bytearray(b"x"), None, 5):
        with pytest.raises(TypeError, match="errors takes str"):
            stream.write(octets)  # type: ignore[arg-type]


def test_wsgi_errors_stays_open_whoever_closes_it():
    stream, kept = kept_stream()
    with stream as file:
        file.write("half")
    assert kept == ["half"]
    stream.close()
    assert not stream.closed
    handler = logging.StreamHandler(stream)
    handler.handle(logging.makeLogRecord({"msg": "a record"}))
    print("printed", file=stream, flush=True)
    assert kept == ["half", "a record", "printed"]


def test_wsgi_errors_takes_the_text_of_a_str_whatever_it_is():
    class Markup(str):
        def __radd__(self, other: str) -> str:
            return "escaped"

        def split(self, *args: Any) -> list[str]:  # type: ignore[override]
            return ["cut", "cut"]

    stream, kept = kept_stream()
    stream.write("<b>")
    stream.write(Markup("bold\n"))
    assert kept == ["<b>bold"]


def test_a_stream_that_goes_as_the_process_ends_asks_for_nothing() -> None:
    class NoThreadsLeft:
        def __getattribute__(self, name: str) -> NoReturn:
            raise RuntimeError("greenlet is being finalized")

    stream, _ = kept_stream()
    stream._thread = NoThreadsLeft()  # type: ignore[assignment]
    del stream  # what is raised in a finalizer is an error of this test


def test_only_an_unfinished_line_has_to_be_flushed() -> None:
    stream, kept = kept_stream()
    stream.write("whole\n")
    assert not stream.unfinished_in
    stream.write("half")
    assert stream.unfinished_in == {threading.get_ident()}
    stream.flush()
    assert not stream.unfinished_in
    assert kept == ["whole", "half"]


# ------------------------------------------------------------------ lines that others choose

FORGED = "12:00:00  info: forged"
LINE_ENDS = ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
OURS = re.compile(r"\d\d:\d\d:\d\d  (error|app|warning): ")


def raised_with(text: str) -> BaseException:
    """Return an exception that says ``text`` wherever an exception can say something."""
    try:
        try:
            try:
                raise LookupError(text)
            except LookupError as cause:
                raise ValueError(text) from cause
        except ValueError as context:
            context.add_note(text)
            raise ExceptionGroup(text, [KeyError(text), SyntaxError(text)])  # noqa: B904
    except ExceptionGroup as error:
        return error


def log_all_kinds(log: Log, text: str) -> None:
    """Log ``text`` as the message of a client's, what an application writes, and what it raises."""
    log.events.warning("peer: %s", text)
    stream = ErrorStream(log)
    stream.write(text + "\n")
    stream.write("app\n" + text + "\n")
    log.events.error("the application failed", exc_info=raised_with(text))


def begins(line: str) -> str:
    """Return what a line of the log begins with: our own beginning, what goes below, or neither."""
    if OURS.match(line):
        return "ours"
    return "below" if line.startswith(BELOW) or not line else line


@pytest.mark.parametrize("end", LINE_ENDS, ids=ascii)
def test_no_line_of_the_log_begins_with_what_somebody_else_has_written(stderr, end):
    log = command_log(Config())
    log_all_kinds(log, f"text{end}{FORGED}")
    log.close()
    lines = lines_of(stderr)
    assert {begins(line) for line in lines} == {"ours", "below"}
    assert sum(begins(line) == "ours" for line in lines) == len(
        [line for line in stderr.read_bytes().split(b"\n") if OURS.match(line.decode())]
    )
    assert not any(line.startswith(FORGED) for line in lines)
    assert any(FORGED in line for line in lines)


@settings(deadline=None)
@given(st.text(st.characters(codec=None), max_size=200))
def test_whatever_is_written_begins_no_line(text):
    written: list[str] = []
    events = logs._CommandLogger(logging.DEBUG, Queued(written), logs.event_text)
    log = Log(events, None, application_text=lambda text: written.append(logs.errors_text(text)))
    log_all_kinds(log, text)
    log_all_kinds(log, f"{text}\n{FORGED}")
    lines = "".join(written).removesuffix("\n").split("\n")
    assert all(begins(line) in ("ours", "below") for line in lines if line)
    assert all(printable(line) == line for line in lines)


class Queued:
    """What is written to it, kept."""

    def __init__(self, lines: list[str]) -> None:
        self.write = lines.append


def test_without_what_stands_before_it_an_exception_would_forge_a_line(stderr, monkeypatch):
    monkeypatch.setattr(logs, "BELOW", "")
    log = command_log(Config())
    log_all_kinds(log, f"text\n{FORGED}")
    log.close()
    assert sum(line.startswith(FORGED) for line in lines_of(stderr)) >= 3


ESCAPED = 6
"""Characters that one may become in JSON."""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_somebody_else_has_written_is_cut(stderr, log_format):
    log = command_log(Config(log_format=log_format))
    log_all_kinds(log, "\xe9\x1b" * 1_000_000)
    log.access(RECORD._replace(method="M" * 60_000, path="/" + "a" * 60_000))
    log.close()
    lines = lines_of(stderr)
    assert max(map(len, lines)) <= ESCAPED * (MAX_LINE + MAX_TRACEBACK) + 1_000
    assert len(stderr.read_text()) <= 30 * ESCAPED * MAX_LINE
    assert "M" * 33 not in lines[-1]


def test_without_its_bound_a_line_would_be_as_long_as_somebody_likes(stderr, monkeypatch):
    for name in ("MAX_LINE", "MAX_TRACEBACK", "MAX_METHOD", "MAX_SHOWN"):
        monkeypatch.setattr(logs, name, 10**9)
    log = command_log(Config())
    log_all_kinds(log, "x" * 300_000)
    log.access(RECORD._replace(method="M" * 60_000, path="/" + "a" * 60_000))
    log.close()
    assert sum(len(line) > 100_000 for line in lines_of(stderr)) >= 4


def test_a_traceback_that_is_too_long_keeps_its_beginning_and_its_end(stderr):
    log = command_log(Config())
    log.events.error("failed", exc_info=ValueError("first" + "x" * 200_000 + "last"))
    log.close()
    text = stderr.read_text()
    assert "ValueError: firstxxx" in text
    assert re.search(r"\n {4}\.\.\. 1\d\d\d\d\d characters \.\.\.\n {4}xxx", text)
    assert text.endswith("xlast\n")


def test_an_exception_that_cannot_be_shown_has_its_frames_and_its_type_all_the_same(stderr):
    class Hostile(Exception):
        @property
        def __cause__(self):
            raise ValueError

    try:
        raise Hostile
    except Hostile as error:
        hostile = error
    for log_format in ("text", "json"):
        log = command_log(Config(log_format=log_format))
        log.events.error("the application failed", exc_info=hostile)
        log.close()
    *text, raw = lines_of(stderr)
    said = [line.removeprefix(BELOW) for line in text[1:]]
    assert text[0].endswith("error: the application failed")
    assert re.match(rf'  File "{re.escape(__file__)}", line \d+, in test_an', said[0])
    assert said[1].strip() == "raise Hostile"
    assert said[-1].startswith("Hostile, which cannot be shown: ValueError")
    assert json.loads(raw)["exception_stack"].splitlines() == said


def test_an_exception_that_cannot_say_what_it_is_has_a_type_all_the_same(stderr):
    class Silent(Exception):
        def __str__(self) -> str:
            raise ValueError

    log = command_log(Config(log_format="json"))
    log.events.error("the application failed", exc_info=Silent())
    log.close()
    shown = json.loads(lines_of(stderr)[0])
    assert shown["exception_type"].endswith(".Silent")
    assert shown["exception_message"] == "The message cannot be shown: ValueError"
