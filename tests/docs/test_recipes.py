"""The recipes of docs/testing-clients.md, and the README's, are run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.clients import find

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.client

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENT = (ROOT / "docs" / "testing-clients.md").read_text("utf-8")
RECIPES: dict[str, str] = dict(
    re.findall(r"<!-- (?:recipe )?([\w.]+) -->\n```\w+\n(.*?)```", DOCUMENT + README, re.DOTALL)
)
PATIENCE = 100.0
"""Seconds that a recipe may take on a busy machine."""


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def assert_passes(pytester: pytest.Pytester, **tests: int) -> None:
    """Run recipes in one go: so many ``tests`` of each."""
    for name in tests:
        (pytester.path / f"test_{name}.py").write_text(RECIPES[name])
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", timeout=PATIENCE)
    result.assert_outcomes(passed=sum(tests.values()))


TESTS = {
    "concurrency": 2,
    "errors": 1,
    "expectations": 2,
    "fixtures": 1,
    "goaway": 2,
    "httpx": 1,
    "niquests": 1,
    "once": 1,
    "shared": 2,
    "trailers": 1,
}
"""How many tests there are in each recipe for Python, but urllib3's."""
PROGRAMS = {
    "curl": ("curl", "", ""),
    "node": ("node", "nodejs", "node.mjs"),
    "go": ("go", "golang-go", "client.go"),
    "java": ("java", "default-jdk-headless", "Client.java"),
}
"""What the others need: a program, Debian's package with it, and the file that it is given."""


def test_the_recipes_that_need_nothing_but_python_work(pytester: pytest.Pytester) -> None:
    assert_passes(pytester, **TESTS)


def test_the_recipe_for_urllib3_works(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, urllib3_folder: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(urllib3_folder))
    assert_passes(pytester, urllib3=1)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_recipe_with_a_program_works(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    program, package, file = PROGRAMS[name]
    folder = os.path.dirname(find(program, package=package))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("GOCACHE", str(pytester.path / "cache"))
    if file:
        (pytester.path / file).write_text(RECIPES[file])
    assert_passes(pytester, **{name: 1})


def test_the_recipe_for_unittest_works(tmp_path: Path) -> None:
    (tmp_path / "test_recipe.py").write_text(RECIPES["unittest"])
    command = [sys.executable, "-m", "unittest", "test_recipe"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr


def test_every_recipe_is_run() -> None:
    files = {file for _, _, file in PROGRAMS.values() if file}
    assert set(RECIPES) == {*TESTS, *PROGRAMS, *files, "urllib3", "unittest"}
