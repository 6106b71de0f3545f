"""Defects that are planted: each must still apply, whichever of them a sample plays."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.planting import plant

TESTS = Path(__file__).parent.parent
DEFECTS = sorted(TESTS.glob("*/defects/*.patch"))


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect.parts[-3]}-{defect.stem}")
def test_a_defect_applies(defect: Path, tmp_path: Path) -> None:
    plant(defect, tmp_path)


def test_all_kinds_of_defects_are_found() -> None:
    assert {defect.parts[-3] for defect in DEFECTS} == {"chaos", "fuzz", "raising"}
