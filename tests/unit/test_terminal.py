"""How the log looks on a terminal: columns that hold, colours for whoever wants them."""

from __future__ import annotations

import io
import logging
import re
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2wsgi.command.report import report, warn
from h2wsgi.config.config import Config
from h2wsgi.log import logs
from h2wsgi.log.logs import command_log, event_text
from h2wsgi.log.terminal import (
    BOLD,
    CYAN,
    DIM,
    GREEN,
    LEVELS,
    LOUD,
    RESET,
    YELLOW,
    TerminalForm,
    is_coloured,
    terminal_form,
)
from h2wsgi.log.text import AccessRecord, printable

RECORD = AccessRecord(
    "GET", "/get?a=1", 200, "HTTP/2", 5, 0.01234, 12345, "127.0.0.1:50000", connection=3
)
PLAIN, COLOURED = TerminalForm(colour=False), TerminalForm(colour=True)
TIME = r"\d\d:\d\d:\d\d  "


class Terminal(io.StringIO):
    """What is written to a terminal."""

    name = "terminal"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def coloured(record: logging.LogRecord) -> str:
    return COLOURED.event(event_text)(record)


def plain(record: logging.LogRecord) -> str:
    return PLAIN.event(event_text)(record)


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]+m", "", text)


def event(level: int, text: str, **more: Any) -> logging.LogRecord:
    record = logging.LogRecord("h2wsgi", level, "", 0, text, None, None)
    record.__dict__.update(more)
    return record


@pytest.mark.parametrize(
    ("variables", "on_terminal", "on_pipe"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "", "TERM": "dumb"}, False, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_colours_are_for_terminals_of_people_who_want_them(
    monkeypatch, variables, on_terminal, on_pipe
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_coloured(Terminal()) is on_terminal
    assert is_coloured(io.StringIO()) is on_pipe
    assert not is_coloured(None)
    assert terminal_form(Terminal()) is not None
    assert (terminal_form(io.StringIO()) is not None) is on_pipe
    assert terminal_form(None) is None


def test_a_stream_that_is_closed_is_no_terminal():
    closed = io.StringIO()
    closed.close()
    assert not is_coloured(closed)
    assert terminal_form(closed) is None


def test_a_request_has_its_columns_before_its_path():
    line = PLAIN.access(RECORD)
    pattern = r"#3   127\.0\.0\.1:50000 200 GET     12\.3 ms  12,345 B  /get\?a=1\n"
    assert re.fullmatch(TIME + pattern, line)
    others = [
        RECORD._replace(method="OPTIONS", path="/" + "long" * 20, connection=123),
        RECORD._replace(status=0, seconds=0.0, octets=0, outcome="reset by client: CANCEL"),
        RECORD._replace(seconds=0.99994, octets=999_999),
        RECORD._replace(seconds=0.99996, octets=1_000_000, remote="[::1]:50000"),
        RECORD._replace(seconds=86_400, octets=10**11),
    ]
    for record in others:
        shown = PLAIN.access(record)
        assert shown.index(record.path) == line.index("/get")
        assert shown[line.index(" 200 ") :].startswith(f" {record.status or '---'} ")
    assert "999.9 ms 999,999 B" in PLAIN.access(others[2])
    assert "   1.0 s    1.0 MB" in PLAIN.access(others[3])
    assert " 86400 s  100.0 GB" in PLAIN.access(others[4])


def test_a_request_that_failed_says_of_which_stream():
    line = PLAIN.access(RECORD._replace(status=0, outcome="reset by client: CANCEL"))
    assert line.endswith("/get?a=1  stream 5: reset by client: CANCEL\n")
    assert " --- GET " in line


def test_a_typical_request_fits_into_80_columns():
    assert len(PLAIN.access(RECORD._replace(path="/bytes/100000"))) <= 80


@pytest.mark.parametrize(
    ("status", "colour"),
    [(200, GREEN), (304, CYAN), (404, YELLOW), (500, LOUD), (0, LOUD), (999, LOUD)],
)
def test_statuses_have_colours(status, colour):
    for _ in range(2):  # the second time it is remembered
        assert f"{colour}{status or '---'}{RESET}" in COLOURED.access(
            RECORD._replace(status=status)
        )


def test_how_a_request_failed_stands_out():
    line = COLOURED.access(RECORD._replace(outcome="reset by client: CANCEL"))
    assert line.endswith(f"  {LOUD}stream 5: reset by client: CANCEL{RESET}\n")
    assert f"{DIM}#3   127.0.0.1:50000{RESET}" in line


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_colours_are_the_only_difference_and_none_is_a_peers(path, outcome):
    record = RECORD._replace(path=path, method=path, outcome=outcome)
    shown = without_colours(COLOURED.access(record))
    assert shown == PLAIN.access(record)
    assert printable(shown[:-1]) == shown[:-1]
    said = event(logging.WARNING, f"peer: {path} GOAWAY({outcome}) {outcome}")
    assert without_colours(coloured(said)) == plain(said)
    assert printable(plain(said)[:-1]) == plain(said)[:-1]


def test_a_long_path_takes_some_lines_and_no_more():
    assert len(PLAIN.access(RECORD._replace(path="/" + "a" * 60_000))) < 400


@pytest.mark.parametrize("name", ["debug", "warning", "error"])
def test_the_level_of_an_event_is_coloured(name):
    said = event(getattr(logging, name.upper()), f"{name}: warning: text")
    assert re.match(
        rf"{TIME}{re.escape(LEVELS[name])}{name}{re.escape(RESET)}: {name}: warning: text\n",
        coloured(said),
    )
    assert coloured(event(logging.INFO, "text")) == plain(event(logging.INFO, "text"))


def test_frames_that_end_something_stand_out():
    line = coloured(event(logging.INFO, "stream 1 ended by RST_STREAM(CANCEL): why"))
    assert f" {LOUD}RST_STREAM(CANCEL){RESET}: why" in line
    line = coloured(event(logging.INFO, "the client sent GOAWAY(0x1234) b''"))
    assert f"{LOUD}GOAWAY(0x1234){RESET}" in line


def test_lines_below_an_event_are_as_they_were():
    try:
        raise ValueError("GOAWAY(NO_ERROR)\n12:00:00  error: forged")
    except ValueError as error:
        raised = error
    said = event(logging.ERROR, "failed", exc_info=(ValueError, raised, raised.__traceback__))
    assert coloured(said).partition("\n")[2] == plain(said).partition("\n")[2]


def test_the_start_names_its_certificate_in_colour():
    lines = ["h2wsgi serves", "  DEVELOPMENT CERTIFICATE, made before: refused", "  \x1b[2J"]
    shown = coloured(event(logging.INFO, "ready", lines=lines))
    assert shown == (
        f"{BOLD}h2wsgi serves{RESET}\n"
        f"  {YELLOW}DEVELOPMENT CERTIFICATE, made before: refused{RESET}\n"
        "  \\x1b[2J\n"
    )


def logged(monkeypatch: pytest.MonkeyPatch, errors: Any, output: Any, **options: Any) -> None:
    streams = types.SimpleNamespace(stderr=errors, stdout=output)
    monkeypatch.setattr(logs, "sys", streams)
    log = command_log(Config(**options))
    log.events.warning("careful")
    log.access(RECORD)
    log.close()


def test_the_log_of_a_terminal_is_a_terminals(monkeypatch, tmp_path: Path):
    terminal, pipe = Terminal(), io.StringIO()
    logged(monkeypatch, terminal, pipe)
    assert f"{GREEN}200{RESET} GET " in terminal.getvalue()
    assert f"{LEVELS['warning']}warning{RESET}: careful" in terminal.getvalue()
    terminal, pipe = Terminal(), io.StringIO()
    logged(monkeypatch, terminal, pipe, access_log_file="-")
    assert "200" not in terminal.getvalue()
    assert re.fullmatch(
        r"[\d-]{10}T[\d:]{8}\.\d+Z 127\.0\.0\.1:50000  "
        r"GET  /get\?a=1 +200 HTTP/2 stream 5 +12\.3 ms +12,345 B\n",
        pipe.getvalue(),
    )
    terminal, pipe = Terminal(), io.StringIO()
    logged(monkeypatch, pipe, terminal, access_log_file="-")
    assert f"{GREEN}200{RESET} GET " in terminal.getvalue()
    assert re.fullmatch(TIME + "warning: careful\n", pipe.getvalue())
    for options in ({"log_format": "json"}, {"access_log_file": str(tmp_path / "access.log")}):
        terminal = Terminal()
        logged(monkeypatch, terminal, pipe, **options)
        assert GREEN not in terminal.getvalue()
    assert "\x1b" not in (tmp_path / "access.log").read_text()


def test_mistakes_are_told_in_colour(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert report("wrong \x1b[2J", "") == 2
    warn("careful")
    assert capsys.readouterr().err.splitlines() == [
        f"h2wsgi: {LOUD}error{RESET}: wrong \\x1b[2J",
        f"{BOLD}hint{RESET}: See h2wsgi --help.",
        f"h2wsgi: {LEVELS['warning']}warning{RESET}: careful",
    ]
    monkeypatch.delenv("FORCE_COLOR")
    report("wrong", "Right.")
    assert capsys.readouterr().err == "h2wsgi: error: wrong\nhint: Right.\n"
