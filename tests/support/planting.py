"""Defects planted into a copy of the source, to see that what hunts for such finds them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import h2wsgi

PREFIX = "+++ b/src/"


class DoesNotApply(AssertionError):
    """The source has changed: the defect has to be planted anew."""


def hunks(patch: str) -> Iterator[tuple[str, str, str]]:
    """Yield file, old lines and new lines of each hunk of a unified diff."""
    name, before, after = "", "", ""
    for line in [*patch.splitlines(keepends=True), "@@"]:
        if line.startswith(("@@", "--- ")) and before:
            yield name, before, after
            before = after = ""
        if line.startswith(PREFIX):
            name = line.removeprefix(PREFIX).strip()
        elif name and line[0] in " -+" and not line.startswith("--- "):
            before += line[1:] if line[0] in " -" else ""
            after += line[1:] if line[0] in " +" else ""


def plant(defect: Path, folder: Path) -> None:
    """Copy the package to ``folder`` and apply a patch, wherever in a file its lines are now.

    Raises:
        DoesNotApply: they are not there, or more than once.
    """
    package = Path(h2wsgi.__file__).parent
    shutil.copytree(package, folder / "h2wsgi", ignore=shutil.ignore_patterns("__pycache__"))
    for name, before, after in hunks(defect.read_text("utf-8")):
        path = folder / name
        source = path.read_text("utf-8") if path.exists() else ""
        if source.count(before) != 1:
            raise DoesNotApply(
                f"{defect.name} does not apply: {name} has these lines {source.count(before)} "
                f"times; make the patch anew, or choose another defect:\n{before}"
            )
        path.write_text(source.replace(before, after), "utf-8")


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a process that imports the package in ``folder``."""
    # What a damaged copy covers says nothing of the real one.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return kept | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def find_all(defects: Iterable[Path], missed: Callable[[Path], str]) -> int:
    """Play each; return the exit code. ``missed`` returns what was said of one not found, or ""."""
    failures = 0
    for defect in defects:
        said = missed(defect)
        failures += bool(said)
        print(said or f"{defect.name}: found", flush=True)
    return 1 if failures else 0
