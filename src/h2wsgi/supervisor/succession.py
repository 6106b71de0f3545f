"""A supervisor that is executed anew: what it takes over from the one that it was before.

Sockets and workers outlive exec, and a variable says which descriptors they are. Main thread. The
invariant: what is handed over is taken once, and nothing that is started later sees it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

VARIABLE = "H2WSGI_TAKEN_OVER"


def taken_over() -> dict[str, Any]:
    """Return what this process handed over when it was executed anew; nothing if it was not."""
    text = os.environ.pop(VARIABLE, "")
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def command() -> list[str]:
    """Return the command line that this process was started with."""
    return [sys.executable, *sys.orig_argv[1:]]


def for_check(with_application: bool, with_metrics: bool) -> dict[str, str]:
    """Return the variables for a check whose addresses are in use, by us.

    ``with_application`` and ``with_metrics`` say whether the application, and the address of the
    metrics, are to be checked.
    """
    asked = {"check": True, "application": with_application, "metrics": with_metrics}
    return {VARIABLE: json.dumps(asked)}


def execute_anew(
    state: dict[str, Any],
    descriptors: Iterable[int],
    variables: dict[str, str],
    held_back: Iterable[int],
) -> NoReturn:
    """Become a new process of the same number, which has ``state`` and the descriptors.

    Signals in ``held_back`` are blocked until the new process takes them.

    Raises:
        OSError: it cannot be done; all is as before.
    """
    descriptors = list(descriptors)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held_back)
    try:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, True)
        argv = command()
        os.execve(argv[0], argv, os.environ | variables | {VARIABLE: json.dumps(state)})
    finally:  # only if it fails
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
