"""What docs/applications.md says was run is run, with versions that are pinned."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from ecosystem.__main__ import APPLICATIONS, FOR_TESTS, HERE, PINS, ROOT, SAMPLE

PAGE = (ROOT / "docs" / "applications.md").read_text("utf-8")
TABLE = "\n".join(line for line in PAGE.splitlines() if line.startswith("|")).lower()


@pytest.mark.parametrize("name", APPLICATIONS)
def test_each_application_has_tests_and_is_told_of(name):
    assert (HERE / f"test_{name}.py").exists()
    assert name in TABLE


def test_there_are_no_tests_that_nothing_runs():
    assert {path.stem.removeprefix("test_") for path in HERE.glob("test_*.py")} == set(APPLICATIONS)
    assert set(SAMPLE) < set(APPLICATIONS)


def test_all_that_is_installed_is_pinned_and_nothing_says_from_where():
    lines = [line for line in PINS.read_text("utf-8").splitlines() if not line.startswith("#")]
    pins = [re.fullmatch(r"([a-z0-9-]+)==[0-9][0-9a-z.]*", line) for line in lines]
    assert [line for line, pin in zip(lines, pins, strict=True) if pin is None] == []
    needs = {one for several in (*APPLICATIONS.values(), FOR_TESTS) for one in several}
    names = {one.partition("[")[0] for one in needs}
    assert names <= {pin[1] for pin in pins if pin is not None}


def test_the_tests_of_the_clone_leave_them_out():
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, str(HERE)], cwd=ROOT, capture_output=True, text=True)
    assert "no tests collected" in done.stdout


def test_an_unknown_application_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "ecosystem", "zope"], cwd=HERE.parent, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("not here: zope; there are flask, cherrypy, ")
