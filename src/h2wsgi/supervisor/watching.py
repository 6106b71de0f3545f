"""Which files have changed, for --reload. A thread of its own, in which watchfiles does the work.

The invariant: what is told are names of files alone; whoever is told decides on its own thread.
"""

from __future__ import annotations

import fnmatch
import importlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from ..config.config import Config
from ..errors import ConfigurationError

DEBOUNCE = 50
STEP = 10
"""Milliseconds: changes are told once there was none for a step, or the first is so long ago."""
PATTERNS = ("*.py",)
NEVER = ("__pycache__", ".*")


class Watcher:
    """Watches folders from :meth:`start` on, until :meth:`stop`.

    Raises:
        ConfigurationError: watchfiles is not installed, or a folder does not exist.
    """

    def __init__(self, config: Config, changed: Callable[[list[str]], None]) -> None:
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
        if any(fnmatch.fnmatch(part, each) for part in parts for each in self._excluded):
            return False
        inside = os.sep.join(parts)
        if any(fnmatch.fnmatch(inside, each) for each in self._excluded):
            return False
        return any(fnmatch.fnmatch(parts[-1], each) for each in self._wanted)

    def _run(self) -> None:
        changes = self._watchfiles.watch(
            *self._folders,
            watch_filter=lambda _change, path: self.is_watched(path),
            debounce=DEBOUNCE,
            step=STEP,
            stop_event=self._over,
            rust_timeout=200,
            yield_on_timeout=False,
            raise_interrupt=False,
        )
        for found in changes:
            self._changed(sorted(path for _, path in found))
