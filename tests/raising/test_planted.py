"""Defects of the kinds that the seam is built against, planted into copies: each is found."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import h2wsgi
from raising import planting
from support.planting import plant

pytestmark = pytest.mark.heavy

SAMPLE = 3
"""Runs of those that find a defect which are made on the source as it is as well."""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("defect", planting.DEFECTS, ids=lambda defect: defect.stem)
def test_a_planted_defect_is_found(defect: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    plant(defect, folder)
    options = planting.played(defect)
    status, output = planting.play(folder, options)
    assert status == 1, output
    scenario = options[options.index("--scenario") + 1]
    assert f"--scenario {scenario}" in output, output
    assert " 0 findings" not in output, output


@pytest.mark.timeout(180)
def test_the_same_runs_find_nothing_on_the_source_as_it_is() -> None:
    runs = sorted({tuple(planting.played(defect)) for defect in planting.DEFECTS})
    for options in random.SystemRandom().sample(runs, SAMPLE):
        status, output = planting.play(Path(h2wsgi.__file__).parents[1], list(options))
        assert status == 0, f"{' '.join(options)}\n{output}"


def test_there_are_defects_of_many_kinds() -> None:
    assert len(planting.DEFECTS) >= 14
