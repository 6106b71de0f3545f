"""Which files have changed, for --reload. A thread of its own, in which watchfiles does the work.

The invariant: ``changed`` gets nothing but the names of files, and leaves it to its own thread to
act on them.
"""

from __future__ import annotations

import fnmatch
import importlib
import logging
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from ..config.config import Config
from ..errors import ConfigurationError
from ..log.logs import named

DEBOUNCE = 50
STEP = 10
"""Milliseconds: changes are told after a STEP without any, or DEBOUNCE after the first."""
PAUSE = 1.0
"""Seconds after a failure to watch before it is tried again."""
PATTERNS = ("*.py",)
NEVER = ("__pycache__", ".*")


class Watcher:
    """Watches folders from :meth:`start` on, until :meth:`stop`.

    Raises:
        ConfigurationError: watchfiles is not installed, or a folder does not exist.
    """

    def __init__(
        self, config: Config, changed: Callable[[list[str]], None], log: logging.Logger
    ) -> None:
        try:
            self._watchfiles = importlib.import_module("watchfiles")
        except ImportError:
            raise ConfigurationError(
                "The package watchfiles is not installed, which --reload needs.",
                'Install it with: pip install "h2wsgi[reload]"',
            ) from None
        self._folders = config.reload_dir or (config.app_dir or config.chdir or os.getcwd(),)
        for folder in self._folders:
            if not os.path.isdir(folder):
                raise ConfigurationError(
                    f"The folder {folder} (--reload-dir) does not exist.", "Name one that does."
                )
        self._wanted = PATTERNS + config.reload_include
        self._excluded = NEVER + config.reload_exclude
        self._changed = changed
        self._log = log
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="h2wsgi-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def is_watched(self, path: str) -> bool:
        """Return whether a change of a file counts."""
        folder = next((f for f in self._folders if Path(path).is_relative_to(f)), os.sep)
        parts = Path(path).relative_to(folder).parts
        if not parts:  # the folder itself
            return False
        if any(fnmatch.fnmatch(part, each) for part in parts for each in self._excluded):
            return False
        inside = os.sep.join(parts)
        if any(fnmatch.fnmatch(inside, each) for each in self._excluded):
            return False
        return any(fnmatch.fnmatch(parts[-1], each) for each in self._wanted)

    def _run(self) -> None:
        said = ""
        while not self._over.is_set():
            try:
                self._watch()
            except Exception as error:  # as where the system has no more watches
                if str(error) != said:
                    said = str(error)
                    self._log.error(
                        "files cannot be watched, and it is tried again: %s",
                        said,
                        extra=named("watch_failed"),
                    )
                self._over.wait(PAUSE)
            else:
                self._await_folders()

    def _watch(self) -> None:
        """Tell of changes, until the end, or until a folder is gone or replaced."""
        places = self._places()
        changes = self._watchfiles.watch(
            *self._folders,
            watch_filter=lambda _change, path: self.is_watched(path),
            debounce=DEBOUNCE,
            step=STEP,
            stop_event=self._over,
            rust_timeout=200,
            yield_on_timeout=True,
            raise_interrupt=False,
        )
        for found in changes:
            if found:
                self._changed(sorted(path for _, path in found))
            if self._places() != places:
                return

    def _await_folders(self) -> None:
        """Wait until all folders are there (a change of branch may remove one), and tell of it."""
        while not self._over.is_set():
            if None not in self._places():
                self._changed([self._folders[0]])
                return
            self._over.wait(PAUSE)

    def _places(self) -> list[tuple[int, int] | None]:
        """Return the identities of the watched folders, None for one that is gone."""
        return [_place_of(folder) for folder in self._folders]


def _place_of(folder: str) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None
