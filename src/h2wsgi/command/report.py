"""How the command tells its user of a mistake. Main thread."""

from __future__ import annotations

import click

USER_ERROR = 2
"""The exit code of what the user has to put right."""


def report(message: str, hint: str) -> int:
    """Tell the user what is wrong and what to do; return the exit code for it."""
    from ..log.logs import printable

    click.echo(f"h2wsgi: error: {printable(message)}", err=True)
    click.echo(f"hint: {printable(hint or 'See h2wsgi --help.')}", err=True)
    return USER_ERROR
