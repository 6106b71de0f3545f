"""docs/clientspec.md and docs/clients.md name cases that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from h2wsgi.clientspec.catalogue import CATALOGUE, GROUPS

DOCS = Path(__file__).parent.parent.parent / "docs"
IDS = {case.id for case in CATALOGUE}
CASE = re.compile(r"\b\d{4}/[\d.]+/\d+\b")


@pytest.mark.parametrize("page", ["clientspec.md", "clients.md"])
def test_the_cases_that_a_page_names_are_in_the_catalogue(page: str) -> None:
    named = CASE.findall((DOCS / page).read_text("utf-8"))
    assert len(named) > 20
    assert set(named) <= IDS


def test_the_page_tells_how_many_cases_there_are() -> None:
    text = (DOCS / "clientspec.md").read_text("utf-8")
    told = re.search(r"<!-- count -->(\d+)<!-- /count --> cases in (\d+) groups", text)
    assert told is not None
    assert (int(told[1]), int(told[2])) == (len(CATALOGUE), len(GROUPS))
