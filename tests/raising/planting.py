"""The harness against a copy of the source with a defect, to see that it finds that."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from support.planting import environment

TESTS = Path(__file__).parent.parent
DEFECTS = sorted((Path(__file__).parent / "defects").glob("*.patch"))
PLAYED = "played: "
"""Before the options of the run that finds a defect, in a line of its patch."""
SECONDS = 45.0
"""For a run, on a busy machine: most take ten."""
SILENCE = 25.0
"""Seconds without a word after which a run hangs: longer than all looks that find something."""


def played(defect: Path) -> list[str]:
    """Return the options of the run that finds a defect."""
    lines = defect.read_text("utf-8").splitlines()
    return shlex.split(next(line for line in lines if line.startswith(PLAYED))[len(PLAYED) :])


def play(folder: Path, options: list[str], seconds: float = SECONDS) -> tuple[int, str]:
    """Make a run against the package in ``folder``; return its exit status and output."""
    bounds = ["--jobs", "1", "--seconds", str(seconds), "--silence", str(SILENCE), "--first"]
    done = subprocess.run(
        [sys.executable, "-m", "raising", *options, *bounds],
        cwd=TESTS,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds + 2 * SILENCE,
        check=False,
    )
    return done.returncode, done.stdout
