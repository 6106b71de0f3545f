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


def assert_passes(pytester: pytest.Pytester, name: str, passed: int = 1) -> None:
    (pytester.path / "test_recipe.py").write_text(RECIPES[name])
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", timeout=PATIENCE)
    result.assert_outcomes(passed=passed)


@pytest.mark.parametrize("name", ["errors", "fixtures", "httpx", "niquests", "once"])
def test_a_recipe_works(pytester: pytest.Pytester, name: str) -> None:
    assert_passes(pytester, name)


def test_the_recipe_for_urllib3_works(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, urllib3_folder: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(urllib3_folder))
    assert_passes(pytester, "urllib3")


def test_the_recipe_for_curl_works(pytester: pytest.Pytester) -> None:
    find("curl")
    assert_passes(pytester, "curl")


def test_the_recipe_for_node_works(pytester: pytest.Pytester) -> None:
    find("node", package="nodejs")
    (pytester.path / "node.mjs").write_text(RECIPES["node.mjs"])
    assert_passes(pytester, "node")


def test_the_recipe_for_unittest_works(tmp_path: Path) -> None:
    (tmp_path / "test_recipe.py").write_text(RECIPES["unittest"])
    command = [sys.executable, "-m", "unittest", "test_recipe"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr


def test_every_recipe_is_run() -> None:
    run = {"errors", "fixtures", "httpx", "niquests", "once", "urllib3", "curl", "node", "node.mjs"}
    assert set(RECIPES) == run | {"unittest"}
