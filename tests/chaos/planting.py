"""Plays chaos against copies of the source with a defect: ``python -m chaos.planting``.

Each defect has to be found. The gate plays one of them, the command all.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from support.planting import environment, find_all, plant

TESTS = Path(__file__).parent.parent
DEFECTS = sorted((Path(__file__).parent / "defects").glob("*.patch"))
PLAYED = "played: "
"""Before the options of the run that finds a defect, in a line of its patch."""
FOUND = "found as: "
"""Before what that run says."""
PATIENCE = 300.0


def _line(defect: Path, name: str) -> str:
    lines = defect.read_text("utf-8").splitlines()
    return next(line for line in lines if line.startswith(name)).removeprefix(name)


def missed(defect: Path) -> str:
    """Plant a defect and play its run; return what was said if it was not found, or ""."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        plant(defect, copy)
        done = subprocess.run(
            [sys.executable, "-m", "chaos", *shlex.split(_line(defect, PLAYED))],
            cwd=TESTS,
            env=environment(copy),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    if done.returncode == 1 and _line(defect, FOUND) in done.stdout:
        return ""
    return f"{defect.name} was not found:\n{done.stdout}"


if __name__ == "__main__":
    sys.exit(find_all(DEFECTS, missed))
