"""One mutant, tried: the tests that run its line, on a copy of the sources with the mistake."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from mutants.coverage_map import ROOT, SOURCES
from mutants.operators import Mutant

TEST_TIMEOUT = 40
"""Seconds that one test may take, with a mutant."""
LONGEST_TRIAL = 600.0
"""Seconds for all tests of a mutant."""


class Outcome(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    LIVED = "lived"
    TIMED_OUT = "timed out"
    """As good as killed: the tests did not end."""
    UNTESTED = "no test runs the line"
    EXPLAINED = "explained"


class Candidate(NamedTuple):
    """A mutant of a file."""

    file: Path
    mutant: Mutant

    @property
    def place(self) -> str:
        """File and line, as editors take them."""
        return f"{self.file.relative_to(ROOT)}:{self.mutant.line}"

    def lines(self) -> tuple[str, str]:
        """Return the line before and after the mistake, stripped."""
        return self.mutant.lines(self.file.read_text("utf-8"))


class Bench:
    """A copy of the sources to make mistakes in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._home = folder / "home"
        self._home.mkdir()
        self._copy = folder / "src"
        shutil.copytree(SOURCES, self._copy, ignore=shutil.ignore_patterns("__pycache__"))

    def require_sound(self, tests: list[str]) -> None:
        """Check that the copy is what tests import, and passes them as it is."""
        show = [sys.executable, "-c", "import h2wsgi; print(h2wsgi.__file__)"]
        shown = subprocess.run(show, env=self._environment(), capture_output=True, text=True)
        if not shown.stdout.startswith(str(self._folder)):
            raise SystemExit(f"not the copy would be tested, but {shown.stdout}{shown.stderr}")
        if self._run(tests) is not Outcome.LIVED:
            said = (self._home / "said").read_text("utf-8", "replace")
            raise SystemExit(f"tests fail without any mutant:\n{said}")

    def outcome(self, candidate: Candidate, tests: list[str]) -> Outcome:
        """Run tests with a mutant until one of them fails."""
        if not tests:
            return Outcome.UNTESTED
        copy = self._copy / candidate.file.relative_to(SOURCES)
        source = candidate.file.read_text("utf-8")
        copy.write_text(candidate.mutant.apply(source), "utf-8")
        try:
            outcome = self._run(tests)
        finally:
            copy.write_text(source, "utf-8")
        if outcome is Outcome.KILLED and not self._has_failed_test():
            # Perhaps nothing could be imported with the mutant, perhaps without it neither.
            self.require_sound(tests[:1])
        return outcome

    def _has_failed_test(self) -> bool:
        said = (self._home / "said").read_text("utf-8", "replace")
        return re.search(r"^\d+ failed", said, re.MULTILINE) is not None

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "PYTHONPATH": os.pathsep.join((str(self._copy), str(ROOT / "tests"))),
            # What was compiled of another mutant may have the same size and time.
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(self._home / "hypothesis"),
        }

    def _run(self, tests: list[str]) -> Outcome:
        command = [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
            *(f"--timeout={TEST_TIMEOUT}", f"--basetemp={self._home / 'tmp'}", *tests),
        ]
        with open(self._home / "said", "wb") as said:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment(),
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        try:
            return Outcome.LIVED if process.wait(LONGEST_TRIAL) == 0 else Outcome.KILLED
        except subprocess.TimeoutExpired:
            return Outcome.TIMED_OUT
        finally:
            # Servers that tests have started as processes too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """Make a copy of the sources for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
        yield Bench(Path(folder))
