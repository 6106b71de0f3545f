"""How the command tells its user of a mistake. Main thread."""

from __future__ import annotations

import sys

import click

USER_ERROR = 2
"""The exit code for what the user has to put right."""


def report(message: str, hint: str) -> int:
    """Tell the user what is wrong and what to do; return the exit code for it."""
    _say("h2wsgi: ", "error", message)
    _say("", "hint", hint or "See h2wsgi --help.")
    return USER_ERROR


def warn(message: str) -> None:
    """Tell the user what is not as it should be."""
    _say("h2wsgi: ", "warning", message)


def _say(before: str, label: str, text: str) -> None:
    from ..log.terminal import BOLD, LEVELS, RESET, is_coloured
    from ..log.text import printable

    if coloured := is_coloured(sys.stderr):
        label = f"{LEVELS.get(label, BOLD)}{label}{RESET}"
    # Click would remove colours where there is no terminal, even if FORCE_COLOR asks for them.
    click.echo(f"{before}{label}: {printable(text)}", err=True, color=coloured)
