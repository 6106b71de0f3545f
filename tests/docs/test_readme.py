"""README and docs say what is true: options, commands, links and the example."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import h2wsgi

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text("utf-8")
OPTIONS = (ROOT / "docs" / "options.md").read_text("utf-8")
PAGES = [
    *ROOT.glob("*.md"),
    *(page for folder in ("bench", "docs", "examples") for page in (ROOT / folder).glob("*.md")),
    *(ROOT / "tests").rglob("*.md"),
]
SKIPPED = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
"""Code, in which brackets are no links."""


def block_after(mark: str) -> str:
    """Return the fenced code block behind an HTML comment."""
    found = re.search(rf"<!-- {mark} -->\n```\w*\n(.*?)```", README, re.DOTALL)
    assert found is not None, mark
    return found[1]


def links(page: Path) -> list[tuple[str, str]]:
    """Return the path and the anchor of each link to a file of ours."""
    found = re.findall(r"\]\(([^)\s]+)\)", SKIPPED.sub("code", page.read_text("utf-8")))
    own = [target for target in found if "://" not in target and not target.startswith("mailto:")]
    return [(path, anchor) for path, _, anchor in (target.partition("#") for target in own)]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    names: list[str] = []
    for heading in re.findall(r"^#{1,6} +(.+?) *$", text, re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        repeated = names.count(name)
        names.append(name)
        if repeated:
            names.append(f"{name}-{repeated}")
    return set(names)


def test_the_table_of_options_is_made_from_config():
    held = re.search(r"<!-- options -->\n(.*)<!-- /options -->", OPTIONS, re.DOTALL)
    table = runpy.run_path(str(ROOT / "docs" / "options_table.py"))["table"]
    assert held is not None
    assert held[1] == table() + "\n"


def test_the_two_commands_need_nothing_but_python():
    for mark in ("first-command", "second-command"):
        command = block_after(mark)
        assert command.startswith("python3 -m venv ")
        assert " .venv && .venv/bin/pip install " in command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_linked_exist(page):
    missing = [path for path, _ in links(page) if path and not (page.parent / path).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_headings_that_are_linked_exist(page):
    missing = []
    for path, anchor in links(page):
        target = page.parent / path if path else page
        if anchor and target.suffix == ".md" and anchor not in anchors(target):
            missing.append(f"{path}#{anchor}")
    assert missing == []


def test_links_are_found():
    """As the two tests above would pass without any."""
    assert ("docs/design.md", "") in links(ROOT / "README.md")
    assert any(anchor for page in PAGES for _, anchor in links(page))
    assert "tried-and-left-out" in anchors(ROOT / "docs" / "decisions.md")


def test_every_page_of_docs_is_in_its_index():
    index = ROOT / "docs" / "README.md"
    linked = {path for path, _ in links(index)}
    assert {page.name for page in index.parent.glob("*.md")} - {index.name} <= linked


def test_the_page_for_newcomers_is_short():
    design = (ROOT / "docs" / "design.md").read_text("utf-8")
    assert len(design.split()) <= 1800


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
