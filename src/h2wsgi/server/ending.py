"""The end of the process: what Python waits for behind the server, and how not to wait.

Python ends only when every thread that is no daemon has ended, every thread of an executor, every
such child of multiprocessing, and what the application has given to atexit. It may have forgotten
all of them.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from ..log.logs import Log, named

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

PATIENCE = 1.0
"""Seconds that threads and children get before they are named: some end when the process does."""
MAX_NAMES = 5
LAST: list[Callable[[], None]] = []
"""What is done last, if the process ends at once."""


def name_what_is_waited_for(log: Log) -> None:
    """Have it said what holds up the end of the process, if something does for long."""

    def look() -> None:
        never.wait(PATIENCE)
        held = _held_by() or ["what the application or a package has given to atexit"]
        log.events.warning(
            "the process cannot end before %s; a second signal ends it at once",
            " and ".join(held),
            extra=named("end_held_up"),
        )

    never = threading.Event()
    threading.Thread(target=look, name="h2wsgi-end", daemon=True).start()


def end_process(code: int) -> NoReturn:
    """End at once, whatever runs.

    Children of multiprocessing end too, daemons or not: nobody would be there to wait for one, and
    those of an executor would wait for work for ever.
    """
    for child in _children():
        with suppress(Exception):
            child.terminate()
    for call in LAST:
        call()
    os._exit(code)


def _held_by() -> list[str]:
    alive = [t for t in threading.enumerate() if t is not threading.main_thread()]
    threads = [thread.name for thread in alive if not thread.daemon]
    # Those that are made in a view are daemons, as its thread is; they are waited for all the same.
    executors = getattr(sys.modules.get("concurrent.futures.thread"), "_threads_queues", {})
    working = [thread.name for thread in alive if thread.daemon and thread in executors]
    children = [f"{child.name}, pid {child.pid}" for child in _children() if not child.daemon]
    held = []
    if threads:
        held.append(f"threads of the application that are no daemons ({_listed(threads)})")
    if working:
        held.append(f"threads of its executors ({_listed(working)})")
    if children:
        held.append(f"its processes ({_listed(children)})")
    return held


def _listed(names: list[str]) -> str:
    more = [f"{len(names) - MAX_NAMES} more"] if len(names) > MAX_NAMES else []
    return ", ".join([*names[:MAX_NAMES], *more])


def _children() -> list[BaseProcess]:
    """Return the children of multiprocessing that live, if anybody has imported it."""
    multiprocessing = sys.modules.get("multiprocessing")
    return [] if multiprocessing is None else multiprocessing.active_children()
