"""``h2wsgi --trust`` and ``--untrust``: they show what will be done, ask, and do it.

Main thread. The invariants: nothing is changed that was not shown and agreed to, one failure keeps
nothing else from being done, and what could not be done is reported with its commands.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from ..errors import ConfigurationError
from ..log.text import printable
from ..tls.development import (
    cache_folder,
    ensure_development_certificate,
    is_trust_halfway,
    note_trust,
    while_trust_changes,
)
from ..tls.trust import Change, Command, changes, commands_elsewhere, find_stores, written
from .report import USER_ERROR, report

DECLINED = 1
PATIENCE = 300.0
"""Seconds that a command may take; sudo may be waiting for a password."""
BEYOND = """\
Restart browsers that are open. Some clients have a list of CAs of their own: Node.js
(--use-system-ca), requests and httpx with certifi (SSL_CERT_FILE), Java.
h2wsgi --untrust undoes it."""


def change_trust(*, trusted: bool, yes: bool) -> int:
    """Have this machine's clients trust the development CA, or no longer; return the exit code.

    Raises:
        ConfigurationError: nobody is there to be asked.
        CertificateError: no CA can be made, or this is not the user to do it.
    """
    if sys.platform in ("darwin", "win32"):
        return _print_commands(trusted=trusted)
    stores = find_stores()
    ca = Path(ensure_development_certificate().ca) if trusted else None
    shown = changes(stores, ca, again=is_trust_halfway())
    if not shown:
        note_trust(trusted=trusted)
        _say("All stores trust it already." if trusted else "No store trusts a CA of h2wsgi.")
        return 0
    _show(shown, ca)
    possible = [change for change in shown if not change.problem]
    if possible and not yes and not _agreed():
        _say("Nothing was changed.")
        return DECLINED
    try:
        with while_trust_changes():
            # What another run has done meanwhile is not done again.
            failed = _carry_out(changes(stores, ca, again=is_trust_halfway()), shown)
            if trusted and not failed:
                note_trust(trusted=True)
    except KeyboardInterrupt:
        _say("\nInterrupted. Run the same command again, and it does what is left to do.")
        raise
    if len(failed) < len(shown):
        done = "Done, but for what follows." if failed else "Done."
        _say(f"{done}\n{BEYOND}" if trusted else f"{done} Restart browsers that are open.")
    for change in failed:
        report(f"{change.store}: {change.problem}", change.hint)
        _list(change.commands, err=True)
    return USER_ERROR if failed else 0


def _print_commands(*, trusted: bool) -> int:
    ca = Path(ensure_development_certificate().ca) if trusted else cache_folder() / "ca.crt"
    if not ca.exists():
        _say("There is no development CA.")
        return 0
    commands = commands_elsewhere(ca, trusted=trusted)
    aim = "trust it" if trusted else "trust it no longer"
    _say(f"The development CA is {ca}")
    _say(f"Nothing is changed on this system from here. To have clients {aim}, run:")
    _list(commands)
    return 0


def _show(shown: list[Change], ca: Path | None) -> None:
    if ca is None:
        _say("To have nothing trust a development CA of h2wsgi:")
    else:
        _say(f"The development CA is {ca}")
        _say("It can vouch for localhost and for IP addresses, for no other host name.")
        _say("To have this machine's clients trust it:")
    for change in shown:
        _say(f"\n{change.store}:")
        if change.problem:
            _say(f"  Not from here. {change.problem}")
        else:
            _list(change.commands)
    _say("")


def _list(commands: tuple[Command, ...] | list[Command], *, err: bool = False) -> None:
    for command in commands:
        _say(f"  {written(command)}", err=err)


def _agreed() -> bool:
    """Ask whether to do what was shown.

    Raises:
        ConfigurationError: nobody answers.
    """
    if sys.stdin is not None:
        try:
            return click.confirm("Run these commands?")
        except click.Abort:
            if sys.stdin.isatty():  # Ctrl-C, or Ctrl-D
                raise
    raise ConfigurationError(
        "Nobody answered whether to run these commands, so nothing was changed.",
        "Add --yes to have them run without being asked.",
    )


def _carry_out(planned: list[Change], shown: list[Change]) -> list[Change]:
    """Run the commands of each change; return the changes that failed, with what went wrong."""
    agreed = {command for change in shown for command in change.commands}
    is_halfway = is_trust_halfway()
    note_trust(trusted=None)  # in case this is interrupted
    failed = []
    for change in planned:
        problem = change.problem
        if not problem and not set(change.commands) <= agreed:
            problem = "It has changed since you were asked."
        for number, command in enumerate(() if problem else change.commands):
            if problem := _run(command):
                is_halfway = is_halfway or number > 0
                break
        if problem:
            hint = change.hint or "To try it yourself:"
            failed.append(change._replace(problem=problem, hint=hint))
    if not (failed and is_halfway):
        note_trust(trusted=False)
    return failed


def _run(command: Command) -> str:
    """Run a command; return what went wrong, empty if nothing did."""
    asks = command[0] == "sudo"  # on the terminal, for a password
    try:
        done = subprocess.run(
            command,
            stdin=None if asks else subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            env=os.environ | {"LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not end within {PATIENCE:g} s."
    except OSError as error:
        return f"{command[0]} cannot be run: {error.strerror}."
    if done.returncode == 0:
        return ""
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return said[-1] if said else f"{command[0]} ended with exit code {done.returncode}."


def _say(text: str, *, err: bool = False) -> None:
    for line in text.split("\n"):
        click.echo(printable(line), err=err)
