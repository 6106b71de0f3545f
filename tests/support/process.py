"""The command in a process of its own, as a service manager or a shell would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from support.peer import Peer
from support.settled import eventually

START_PATIENCE = 30.0
"""Seconds a process gets to start, or to end after it was killed."""
LONG_ECHO = (
    "-c",
    "from h2wsgi.process import handlers\n"
    "handlers.SAME_SIGNAL = 3600.0\n"
    "from h2wsgi.command import cli\n"
    "raise SystemExit(cli.main())\n",
)
"""An ``entry`` to which the same signal once more is an echo however late it comes: a busy machine
may take more than the second that it has otherwise."""


def coverages_variables() -> list[str]:
    """Return the names of the variables that have coverage measure what this process starts."""
    return [name for name in os.environ if name.startswith("COVERAGE_PROCESS")]


def packages() -> list[str]:
    """Return where this interpreter finds modules, but for those that each has of its own."""
    return [path for path in sys.path if not path.startswith(sys.base_prefix + os.sep)]


class ServerProcess:
    """``python -m h2wsgi web:app`` on ``source`` in ``folder``, running while its block does."""

    def __init__(
        self,
        folder: Path,
        source: str,
        *arguments: str,
        stderr: int | None = None,
        measured: bool = True,
        entry: tuple[str, ...] = ("-m", "h2wsgi"),
        executable: str = sys.executable,
    ):
        """``stderr`` is a descriptor to use in place of the file that tells the addresses.

        ``measured`` is whether coverage counts there too, where it does here; ``entry`` is what
        the interpreter, ``executable``, runs.
        """
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(packages())}
        if not measured:
            for name in coverages_variables():
                del environment[name]
        (folder / "web.py").write_text(source)
        self.folder = folder
        self._ready: list[dict[str, Any]] = []
        self.log = folder / "stderr.log"
        where = ["--app-dir", str(folder), "--log-format", "json"]
        if not any(a.startswith("--bind") for a in arguments):
            where += ["--bind", "127.0.0.1:0"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [executable, *entry, "web:app", *where, *arguments],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log if stderr is None else stderr,
                start_new_session=True,  # without the terminal that the tests may have
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(START_PATIENCE)

    def lines(self) -> list[dict[str, Any]]:
        """Return the log so far, whole lines only."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        return [_parsed(line) for line in whole.splitlines()]

    def ready(self) -> dict[str, Any]:
        """Wait for the ready line and return it. What comes behind it need not be JSON."""
        found = self._ready

        def is_ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            found.extend(line for line in self.lines() if line["event"] == "ready")
            return bool(found)

        if not found:
            eventually(is_ready, "the server to be ready", START_PATIENCE)
        return found[0]

    def port(self) -> int:
        """Return the port of the first endpoint."""
        return int(self.ready()["endpoints"][0]["url"].rstrip("/").rpartition(":")[2])

    def connect(self, **options: Any) -> Peer:
        """Connect a raw peer; ``options`` are those of Peer.connect."""
        return Peer.connect(("127.0.0.1", self.port()), **options)

    def signal(self, number: int) -> None:
        """Send a signal to this process alone."""
        self.process.send_signal(number)

    def exit_code(self, timeout: float) -> int:
        """Wait for the process to end by itself."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the process still runs after {timeout} s") from None


def _parsed(line: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        raise AssertionError(f"a line that is no JSON: {line!r}") from None
    return found
