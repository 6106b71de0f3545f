"""The command ``h2wsgi-clientspec``. Main thread.

The invariant: a mistake of the user's ends in exit code 2 and a sentence, never in a traceback.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ..errors import ConfigurationError
from .case import Case
from .catalogue import CATALOGUE, chosen
from .certificates import Identities
from .drivers import Caller, Command, Driver
from .judge import Proof, Result, Verdict
from .report import Terminal, as_json, as_junit, as_markdown, compare, wanted
from .run import TIMEOUT, Runner
from .serving import PageServer

FAILED, USER_ERROR, INTERRUPTED = 1, 2, 130
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
    "--only", multiple=True, metavar="SECTION", help="a section (6.8) or case; repeatable"
)
@click.option("--list", "lists", is_flag=True, help="list the cases and exit")
@click.option("--driver", is_flag=True, help="COMMAND speaks the JSON lines of docs/clientspec.md")
@click.option("--name", metavar="NAME", help="what reports call the client  [default: COMMAND]")
@click.option("--error-text", metavar="REGEX", help="what COMMAND prints of an error it exits 0 on")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1),
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
    "--serve", "serves", is_flag=True, help="serve a page that plays the cases in a browser"
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
    try:
        result = _command.main(arguments, prog_name="h2wsgi-clientspec", standalone_mode=False)
    except ConfigurationError as error:
        return _report(str(error), error.hint)
    except click.ClickException as error:
        return _report(error.format_message(), "See h2wsgi-clientspec --help.")
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _report(message: str, hint: str) -> int:
    click.echo(f"h2wsgi-clientspec: error: {message}", err=True)
    click.echo(f"hint: {hint}", err=True)
    return USER_ERROR


def _run(*, command: tuple[str, ...], only: tuple[str, ...], **options: Any) -> int:
    if options["compares"]:
        click.echo(compare([_read(path) for path in command]), nl=False)
        return 0
    cases = chosen(CATALOGUE, only)
    if not cases:
        raise ConfigurationError(
            f"No case is named {', '.join(only)}.", "See h2wsgi-clientspec --list."
        )
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


def _serve(cases: Sequence[Case], **options: Any) -> int:
    """Serve the page until the user has had enough."""
    identities = Identities()
    terminal = Terminal(colour=_colour(), verbose=options["verbose"])
    began = time.monotonic()

    def tell(result: Result) -> None:
        click.echo(terminal.result(result), nl=False)

    with PageServer(cases, identities, tell) as server, suppress(KeyboardInterrupt):
        click.echo(f"Open {server.url} in a browser that trusts {identities.ca}. Ctrl-C to stop.")
        threading.Event().wait()
    name = options.pop("name") or "browser"
    return _ended(name, server.results, began, terminal, **options)


def _listed(cases: Sequence[Case]) -> list[str]:
    lines, group = [], ""
    for case in cases:
        if case.group != group:
            group = case.group
            lines.append(f"\n{group}\n")
        lines.append(f"  {case.id:14} {case.level:6} {case.title}\n")
        lines.append(f"  {'':14} {'':6} {case.script.words} Right: {'; '.join(wanted(case))}.\n")
    return lines


def _play(command: Sequence[str], cases: Sequence[Case], **options: Any) -> int:
    identities = Identities()
    name = options.pop("name") or " ".join(command)

    def make() -> Caller:
        if options["driver"]:
            return Driver(command, identities.ca)
        return Command(command, identities.ca, options["error_text"] or "")

    runner = Runner(make, identities, options["jobs"], options["timeout"])
    began = time.monotonic()
    proof = runner.prove(cases)
    click.echo(f"HTTP/2 client conformance of {name}")
    if not proof.taken:
        return _report(
            f"The client took no good response, so nothing can be said of it: {proof.reason}.",
            "It has to print the content of the response, and to trust the file of {ca}.",
        )
    results = _results(runner, cases, proof, verbose=options["verbose"])
    terminal = Terminal(colour=_colour(), verbose=False)
    return _ended(name, results, began, terminal, **options)


def _ended(
    name: str, results: Sequence[Result], began: float, terminal: Terminal, **options: Any
) -> int:
    """Sum up and write the reports; return the exit code."""
    click.echo(terminal.summary(results, time.monotonic() - began), nl=False)
    _write(options["junit"], as_junit, name, results)
    _write(options["json_file"], as_json, name, results)
    _write(options["markdown"], as_markdown, name, results)
    failed = any(r.fails_must or (options["strict"] and r.fails_should) for r in results)
    return FAILED if failed else 0


def _colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _results(runner: Runner, cases: Sequence[Case], proof: Proof, *, verbose: bool) -> list[Result]:
    """Run the cases and show each as it is done, with a line that says how far it is."""
    terminal = Terminal(colour=_colour(), verbose=verbose)
    shows_progress = sys.stderr.isatty()
    results: list[Result] = []
    for result in runner.run(cases, proof):
        results.append(result)
        if shows_progress:
            click.echo("\r\x1b[K", err=True, nl=False)
        click.echo(terminal.result(result), nl=False)
        if shows_progress:
            failed = sum(r.verdict is Verdict.FAIL for r in results)
            click.echo(f"{len(results)} of {len(cases)}, {failed} failed", err=True, nl=False)
    if shows_progress:
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
        return {"client": report["client"], "cases": report["cases"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigurationError(
            f"The file {path} is no report of h2wsgi-clientspec.", "Make one with --json."
        ) from None


if __name__ == "__main__":
    sys.exit(main())
