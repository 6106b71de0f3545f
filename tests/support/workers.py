"""A server of several workers, in processes of their own."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from support.process import ServerProcess
from support.settled import PATIENCE, eventually

LOOP = ("--loop", os.environ.get("TEST_LOOP", "auto"))
ENGINE = ("--engine", os.environ.get("TEST_ENGINE", "auto"))

TELLING = """
import json, os, pathlib, time

FOLDER = pathlib.Path(__file__).parent

def app(environ, start_response):
    start_response("200 OK", [("content-type", "application/json")])
    if environ["PATH_INFO"] == "/wait":
        (FOLDER / "running").touch()
        while not (FOLDER / "go-on").exists():
            time.sleep(0.01)
    names = ("SCRIPT_NAME", "SERVER_NAME", "SERVER_PORT", "wsgi.url_scheme", "wsgi.multiprocess")
    return [json.dumps({"pid": os.getpid()} | {n: environ[n] for n in names}).encode()]
"""


def is_alive(pid: int) -> bool:
    """Return whether a process runs, and is not only waited for."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # ended meanwhile
            stat = Path(f"/proc/{name}/stat").read_text()
            state, parent = stat.rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(name))
    return sorted(found)


class WorkersProcess(ServerProcess):
    """``h2wsgi web:app --workers N``, in cleartext unless told otherwise."""

    def __init__(
        self, folder: Path, source: str = TELLING, *arguments: str, workers: int = 2, **more: Any
    ) -> None:
        security = () if any(a.startswith("--cert") for a in arguments) else ("--h2c",)
        many = ("--workers", str(workers)) if workers else ()
        super().__init__(folder, source, *many, *security, *LOOP, *ENGINE, *arguments, **more)

    def __exit__(self, *details: object) -> None:
        workers = self.workers()
        super().__exit__(*details)
        for pid in workers:  # which end by themselves, but not in the middle of a failed test
            if is_alive(pid):
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)

    def workers(self) -> list[int]:
        """Return the workers that run now."""
        return children_of(self.process.pid)

    def wait_for_workers(self, count: int, *, without: tuple[int, ...] = ()) -> list[int]:
        """Wait until there are so many, and none of some."""
        eventually(
            lambda: len(self.workers()) == count and not set(without) & set(self.workers()),
            f"{count} workers",
            3 * PATIENCE,
        )
        return self.workers()

    def events(self) -> list[str]:
        """Return what was said so far."""
        return [line.get("message", "") for line in self.lines()]

    def said(self, text: str) -> str:
        """Wait until a line with that text was said, and return it."""
        eventually(
            lambda: any(text in line for line in self.events()),
            f"the line {text!r} in {self.events()}",
            3 * PATIENCE,
        )
        return next(line for line in self.events() if text in line)
