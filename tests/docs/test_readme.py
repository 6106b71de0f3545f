"""The README says what is true: its options, its commands, its links and its example."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import h2wsgi

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def block_after(mark: str) -> str:
    """Return the fenced code block behind an HTML comment."""
    found = re.search(rf"<!-- {mark} -->\n```\w*\n(.*?)```", README, re.DOTALL)
    assert found is not None, mark
    return found[1]


def test_the_table_of_options_is_made_from_config():
    held = re.search(r"<!-- options -->\n(.*)<!-- /options -->", README, re.DOTALL)
    table = runpy.run_path(str(ROOT / "docs" / "options_table.py"))["table"]
    assert held is not None
    assert held[1] == table() + "\n"


def test_the_two_commands_need_nothing_but_python():
    for mark in ("first-command", "second-command"):
        assert block_after(mark).startswith("python3 -m venv .venv && .venv/bin/pip install ")


def test_files_that_are_linked_exist():
    targets = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert targets
    assert [t for t in targets if not (ROOT / t).exists()] == []


def test_the_example_for_test_suites_works():
    """The block is run as it stands, against an application of ours."""
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example is not None
    names: dict[str, object] = {}
    exec(compile(example[1], "README.md", "exec"), names)  # the point is to run what readers paste

    def app(environ, start_response):
        start_response("200 OK", [])
        return [b"hello"]

    names["test_my_client"](app)


def test_every_public_name_can_be_imported():
    for name in h2wsgi.__all__:
        assert getattr(h2wsgi, name) is not None
