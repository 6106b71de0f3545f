"""docs/metrics.md has every metric with its kind and its labels."""

from __future__ import annotations

import re
from pathlib import Path

from h2wsgi.tools.metrics.families import FAMILIES

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_every_metric_has_its_row() -> None:
    table = DOCS.read_text("utf-8").split("<!-- metrics -->")[1].split("<!-- /metrics -->")[0]
    rows = [[cell.strip() for cell in row.split("|")] for row in table.strip().splitlines()[2:]]
    shown = {row[1].strip("`"): (row[2], tuple(re.findall(r"`(\w+)`", row[3]))) for row in rows}
    assert shown == {name: (family.kind, family.labels) for name, family in FAMILIES.items()}
