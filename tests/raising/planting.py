"""Plays the harness against copies of the source with a defect: ``python -m raising.planting``.

Each defect has to be found. The gate plays a few of them, the command all.
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
SECONDS = 150.0
"""For a run, on a busy machine: most take ten."""
PATIENCE = 3.0
"""Seconds for a look, as many wait for nothing where there is a defect."""
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
        env=environment(folder) | {"RAISING_PATIENCE": str(PATIENCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds + 2 * SILENCE,
        check=False,
    )
    return done.returncode, done.stdout


def missed(defect: Path) -> str:
    """Plant a defect and play its run; return what was said if it was not found, or ""."""
    options = played(defect)
    scenario = options[options.index("--scenario") + 1]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        plant(defect, copy)
        status, output = play(copy, options)
    if status == 1 and f"--scenario {scenario}" in output and " 0 findings" not in output:
        return ""
    return f"{defect.name} was not found:\n{output}"


if __name__ == "__main__":
    sys.exit(find_all(DEFECTS, missed))
