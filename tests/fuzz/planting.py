"""The fuzzer against a copy of the source with a defect, to see that it finds that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.planting import environment

TESTS = Path(__file__).parent.parent
DEFECTS = sorted((Path(__file__).parent / "defects").glob("*.patch"))
SEED = 370
SESSIONS = 130
"""Played on each engine: a defect has to show in these."""
PATIENCE = 300.0
"""Seconds that a hunt may take on a busy machine."""


def hunt(folder: Path, sessions: int = SESSIONS, engine: str = "fast") -> tuple[int, str]:
    """Run the fuzzer against the package in ``folder``; return its exit status and output."""
    command = [sys.executable, "-m", "fuzz", "--seed", str(SEED), "--engine", engine, "--raw"]
    done = subprocess.run(
        [*command, "--sessions", str(sessions), "--seconds", str(PATIENCE)],
        cwd=TESTS,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout
