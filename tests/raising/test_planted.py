"""Defects of the kinds that the seam is built against, planted into copies: each is found."""

from __future__ import annotations

import random

import pytest

from raising import planting

SAMPLE = 3
"""Defects in the gate; ``python -m raising.planting`` plays all."""


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_a_sample_of_the_planted_defects_is_found() -> None:
    for defect in random.SystemRandom().sample(planting.DEFECTS, SAMPLE):
        assert not planting.missed(defect)


def test_there_are_defects_of_many_kinds() -> None:
    assert len(planting.DEFECTS) >= 14
