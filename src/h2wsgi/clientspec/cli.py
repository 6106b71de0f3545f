"""The command ``h2wsgi-clientspec``. Main thread.

The invariant: a mistake of the user's ends in exit code 2 and a sentence, never in a traceback.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from ..errors import ConfigurationError
from ..log.terminal import is_coloured, is_terminal
from ..log.text import printable
from ..process.clock import clock
from .case import Case
from .catalogue import CATALOGUE, chosen
from .certificates import Identities
from .drivers import Caller, Command, Driver
from .judge import Proof, Result, Verdict
from .report import Terminal, as_json, as_junit, as_markdown, compare, wanted, wrapped
from .run import TIMEOUT, Runner
from .serving import PageServer

FAILED, USER_ERROR, INTERRUPTED = 1, 2, 130
REPORTS = ("junit", "json_file", "markdown")
COMPARED = ("id", "title", "level", "verdict", "word")
"""What a comparison takes of each case."""
HELP = """\
Put an HTTP/2 client through a catalogue of what servers do, right and wrong.

COMMAND is the client, with {url} where its URL goes and {ca} for the file with the CA to trust. It
prints the content of the response; an exit code other than 0 is an error. Each case is played by a
server of the suite's own, on loopback.

\b
Examples:
  h2wsgi-clientspec -- curl -sS --http2 --cacert {ca} {url}
  h2wsgi-clientspec --only 6.8 --junit report.xml -- ./my-client {url}
  h2wsgi-clientspec --driver -- python my_driver.py
"""


@click.command(
    help=HELP,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)
@click.argument("command", nargs=-1)
@click.option(
    "--only", multiple=True, metavar="NAME", help="a section (6.8), case or pattern; repeatable"
)
@click.option("--list", "lists", is_flag=True, help="list the cases and exit")
@click.option("--driver", is_flag=True, help="COMMAND speaks the JSON lines of docs/clientspec.md")
@click.option("--name", metavar="NAME", help="what reports call the client  [default: COMMAND]")
@click.option("--error-text", metavar="REGEX", help="what COMMAND prints of an error it exits 0 on")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 3600),
    default=TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="what a client gets for a request",
)
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    metavar="N",
    help="cases side by side",
)
@click.option("--strict", is_flag=True, help="exit with 1 for what is only a SHOULD too")
@click.option("--verbose", "-v", is_flag=True, help="show the frames of every case")
@click.option("--junit", metavar="FILE", help="write JUnit's XML")
@click.option("--json", "json_file", metavar="FILE", help="write JSON, for --compare")
@click.option("--markdown", metavar="FILE", help="write a table of Markdown")
@click.option(
    "--serve",
    "serves",
    is_flag=True,
    help="serve a page that plays the cases in a browser; clients may be driven by hand too",
)
@click.option(
    "--compare",
    "compares",
    is_flag=True,
    help="make a table of clients of the JSON files that are named in place of COMMAND",
)
def _command(**options: Any) -> int:
    return _run(**options)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments``, or those of the process; return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # What it cannot encode must end no report.
            stream.reconfigure(errors="backslashreplace")
    try:
        with _ended_by_signals():
            result = _command.main(arguments, prog_name="h2wsgi-clientspec", standalone_mode=False)
    except ConfigurationError as error:
        return _report(str(error), error.hint)
    except click.NoSuchOption as error:
        hint = "Put -- before COMMAND, or its options are taken for those of h2wsgi-clientspec."
        return _report(error.format_message(), hint)
    except click.ClickException as error:
        return _report(error.format_message(), "See h2wsgi-clientspec --help.")
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except OSError as error:
        return _report(f"The run has failed: {error}.", "Fewer at once may do: see --jobs.")
    return result if isinstance(result, int) else 0


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have SIGTERM, and the end of the terminal, end a run as Ctrl-C does: with its clients.

    nohup, which ignores SIGHUP, is heeded.
    """

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(message: str, hint: str) -> int:
    with suppress(OSError):  # the terminal may have gone
        click.echo(f"h2wsgi-clientspec: error: {message}", err=True)
        click.echo(f"hint: {hint}", err=True)
    return USER_ERROR


def _run(*, command: tuple[str, ...], only: tuple[str, ...], **options: Any) -> int:
    _check(command, only=only, **options)
    if options["compares"]:
        click.echo(compare([_read(path) for path in command]), nl=False)
        return 0
    cases = chosen(CATALOGUE, only)
    if options["lists"]:
        click.echo("".join(_listed(cases)), nl=False)
        return 0
    if options["serves"]:
        return _serve(cases, **options)
    if not command:
        raise ConfigurationError(
            "No client is named.",
            "For example: h2wsgi-clientspec -- curl -sS --http2 --cacert {ca} {url}",
        )
    if shutil.which(command[0]) is None:
        raise ConfigurationError(
            f"The client {command[0]} cannot be run.", "Check its name, and that it is executable."
        )
    if not options["driver"] and not any("{url}" in word for word in command):
        raise ConfigurationError(
            "The command has no {url}, so it cannot be told what to get.",
            "Put {url} where the URL goes, or say --driver.",
        )
    return _play(command, cases, **options)


def _check(command: Sequence[str], **options: Any) -> None:
    """Refuse what makes no sense, before anything is done.

    Raises:
        ConfigurationError: an option has no meaning here, or a report cannot be written.
    """
    modes = [name for name in ("list", "serve", "compare") if options[f"{name}s"]]
    if len(modes) > 1:
        raise ConfigurationError(f"--{modes[0]} and --{modes[1]} cannot both be had.", "Drop one.")
    if command and modes and modes != ["compare"]:
        raise ConfigurationError(
            f"--{modes[0]} takes no client.", f"Drop --{modes[0]}, or {' '.join(command)}."
        )
    if modes == ["compare"] and not command:
        raise ConfigurationError(
            "No reports are named.", "For example: h2wsgi-clientspec --compare a.json b.json"
        )
    if options["driver"] and modes:
        raise ConfigurationError(f"--{modes[0]} takes no client.", "Drop --driver.")
    if options["driver"] and options["error_text"]:
        raise ConfigurationError(
            "--error-text is about a command.", "A driver tells errors in its answers."
        )
    try:
        re.compile(options["error_text"] or "")
    except re.error as error:
        raise ConfigurationError(
            f"--error-text {options['error_text']!r} is no regular expression: {error}.",
            "Put a backslash before characters that stand for themselves.",
        ) from None
    if math.isnan(options["timeout"]):
        raise ConfigurationError("--timeout nan is no time.", "Give seconds.")
    reports = [path for path in (options[name] for name in REPORTS) if path is not None]
    if modes in (["list"], ["compare"]) and reports:
        raise ConfigurationError(f"--{modes[0]} writes no report.", "Redirect what it prints.")
    if modes == ["compare"] and options["only"]:
        raise ConfigurationError("--compare compares all that the reports have.", "Drop --only.")
    if len(set(reports)) < len(reports):
        raise ConfigurationError("Two reports cannot be one file.", "Name another file.")
    for path in reports:
        folder = Path(path).parent
        target = Path(path) if Path(path).exists() else folder
        is_file = path not in ("", "-") and folder.is_dir() and not Path(path).is_dir()
        if not is_file or not os.access(target, os.W_OK):
            raise ConfigurationError(f"The report {path} cannot be written.", "Name another file.")


def _serve(cases: Sequence[Case], **options: Any) -> int:
    """Serve the page until the user has had enough."""
    identities = Identities()
    terminal = _terminal(verbose=options["verbose"])
    began = clock.monotonic()

    def tell(result: Result) -> None:
        click.echo(terminal.result(result), nl=False)

    def tell_by_hand(case: Case, findings: list[str], frames: str) -> None:
        click.echo(terminal.by_hand(case, findings, frames), nl=False)

    page = PageServer(cases, identities, tell, tell_by_hand, options["timeout"])
    with page as server, suppress(KeyboardInterrupt):
        click.echo(f"Open {server.url} in a browser that trusts {identities.ca}. Ctrl-C to stop.")
        click.echo(
            f"By hand: curl -sS --cacert {identities.ca} {server.url}by-hand/{cases[0].id} "
            "answers with the URL to get."
        )
        threading.Event().wait()
    name = options.pop("name") or "browser"
    return _ended(name, server.results, len(server.results), began, terminal, **options)


def _listed(cases: Sequence[Case]) -> list[str]:
    lines, group = [], ""
    for case in cases:
        if case.group != group:
            group = case.group
            lines.append(f"\n{group}\n")
        lines.append(f"  {case.id:14} {case.level:6} {case.title}\n")
        said = f"{case.script.words} Right: {'; '.join(wanted(case))}."
        lines += [f"{line}\n" for line in wrapped(said, " " * 24, _width())]
    return lines


def _play(command: Sequence[str], cases: Sequence[Case], **options: Any) -> int:
    identities = Identities()
    name = options.pop("name") or _unquoted(shlex.join(command))

    def make() -> Caller:
        if options["driver"]:
            return Driver(command, identities.ca)
        return Command(command, identities.ca, options["error_text"] or "")

    runner = Runner(make, identities, options["jobs"], options["timeout"])
    began = clock.monotonic()
    proof = runner.prove(cases)
    click.echo(f"HTTP/2 client conformance of {name}")
    if not proof.taken:
        reason = printable(next(iter(proof.reasons.values())))
        hint = "It has to print the content of the response, and to trust the file of {ca}."
        if options["driver"]:
            hint = (
                "It has to answer each order as docs/clientspec.md says, and to trust the CA of it."
            )
        return _report(
            f"The client took no good response, so nothing can be said of it: {reason}", hint
        )
    terminal = _terminal(verbose=options["verbose"])
    results = _results(runner, cases, proof, terminal)
    return _ended(name, results, len(cases), began, terminal, **options)


def _unquoted(line: str) -> str:
    """Return a command line whose placeholders look as the user typed them."""
    return line.replace("'{url}'", "{url}").replace("'{ca}'", "{ca}")


def _ended(
    name: str,
    results: Sequence[Result],
    planned: int,
    began: float,
    terminal: Terminal,
    **options: Any,
) -> int:
    """Write the reports first, as the terminal may be gone, and sum up; return the exit code."""
    summary = terminal.summary(results, clock.monotonic() - began, planned)
    try:
        _write(options["junit"], as_junit, name, results)
        _write(options["json_file"], as_json, name, results)
        _write(options["markdown"], as_markdown, name, results)
    finally:
        click.echo(summary, nl=False)
    if len(results) < planned:
        return INTERRUPTED
    failed = any(r.fails_must or (options["strict"] and r.fails_should) for r in results)
    return FAILED if failed else 0


def _width() -> int:
    """Return the columns of the terminal, or 0 if there is none."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else 0


def _terminal(*, verbose: bool) -> Terminal:
    return Terminal(
        colour=is_coloured(sys.stdout),
        verbose=verbose,
        width=_width(),
        encoding=getattr(sys.stdout, "encoding", None) or "utf-8",
    )


def _results(
    runner: Runner, cases: Sequence[Case], proof: Proof, terminal: Terminal
) -> list[Result]:
    """Run the cases and show each as it is done, with a line that says how far it is.

    Ctrl-C ends it early, with the results that there are.
    """
    shows_progress = is_terminal(sys.stderr)
    results: list[Result] = []
    with suppress(KeyboardInterrupt), closing(runner.run(cases, proof)) as played:
        for result in played:
            results.append(result)
            if shows_progress:
                click.echo("\r\x1b[K", err=True, nl=False)
            click.echo(terminal.result(result), nl=False)
            if shows_progress:
                failed = sum(r.verdict is Verdict.FAIL for r in results)
                click.echo(f"{len(results)} of {len(cases)}, {failed} failed", err=True, nl=False)
    if is_terminal(sys.stderr):
        click.echo("\r\x1b[K", err=True, nl=False)
    return results


def _write(path: str | None, form: Any, name: str, results: Sequence[Result]) -> None:
    if path is None:
        return
    try:
        Path(path).write_text(form(name, results), "utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"The report {path} cannot be written: {error.strerror}.", "Name another file."
        ) from None


def _read(path: str) -> dict[str, Any]:
    try:
        report = json.loads(Path(path).read_text("utf-8"))
        cases = [{name: str(case[name]) for name in COMPARED} for case in report["cases"]]
        return {"client": report["client"], "cases": cases}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ConfigurationError(
            f"The file {path} is no report of h2wsgi-clientspec.", "Make one with --json."
        ) from None


if __name__ == "__main__":
    sys.exit(main())
