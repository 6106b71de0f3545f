"""docs/shared-fields.md names every field of the objects that two threads share."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from h2wsgi.seam import budget, handover, mailbox, spool, stream
from h2wsgi.wsgi import head, lanes, thread_pool

PAGE = (Path(__file__).parents[2] / "docs" / "shared-fields.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))

MADE = [
    stream.Stream,
    handover.Handover,
    budget.Budget,
    mailbox.Mailbox,
    spool.Gathered,
    spool.Spooled,
    spool.Blocks,
    spool.Spool,
    thread_pool.ThreadPool,
    thread_pool.Worker,
    lanes.Lanes,
    lanes.Lane,
]


def section_of(name: str) -> str:
    found = [text for title, text in SECTIONS.items() if f"`{name}`" in title]
    assert len(found) == 1, name
    return found[0]


def fields_of(made: type[Any]) -> set[str]:
    """Return the fields that its own __init__ sets."""
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(made.__init__))).body
    targets = [
        target
        for node in ast.walk(function)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    places = [part for target in targets for part in ast.walk(target)]
    slots = getattr(made, "__slots__", ())
    return {part.attr for part in places if isinstance(part, ast.Attribute)} | {
        slot for slot in slots if slot != "__weakref__"
    }


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.__name__)
def test_each_field_has_its_row(made: type[Any]) -> None:
    named = set(re.findall(r"`(\w+)`", section_of(made.__name__)))
    assert fields_of(made) - named == set()


@pytest.mark.parametrize("made", [head.HeadMemory, head.CheckedHead])
def test_what_may_change_of_what_requests_have_in_common_is_named(made: type[Any]) -> None:
    rows = [row for row in PAGE.splitlines() if row.startswith(f"| `{made.__name__}`")]
    assert rows
    changing = {name for name in fields_of(made) if name.startswith("_")}
    assert changing - set(re.findall(r"`(\w+)`", "".join(rows))) == set()


def test_a_field_that_is_not_there_is_not_named() -> None:
    """Of the first column of the tables, which has no other words in it."""
    known: set[str] = set().union(*map(fields_of, MADE))
    for title, text in SECTIONS.items():
        if "`" in title:
            first = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
            assert set(re.findall(r"`(\w+)`", "".join(first))) - known == set(), title
