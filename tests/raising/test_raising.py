"""A little of what ``python -m raising`` does for hours."""

from __future__ import annotations

import random

import pytest

from raising.__main__ import hunt, parse
from raising.child import TRACED
from raising.loose import ENTRANCES, RECURSION

pytestmark = pytest.mark.heavy

RUNS = 50
"""At least: a sample's time brings many more, but hardly as many on a machine that is busy."""


@pytest.mark.timeout(400)
def test_a_sample_of_what_is_raised_finds_nothing() -> None:
    runs = 0
    while runs <= RUNS:
        seed = random.SystemRandom().randrange(1 << 30)
        bounds = ["--sample", "2", "--seconds", "25", "--jobs", "2", "--seed", str(seed)]
        tally = hunt(parse(["--only", *TRACED, *bounds]))
        said = "\n".join(tally.findings)
        assert not tally.findings, f"python -m raising {' '.join(bounds)}\n{said}"
        runs += tally.runs


@pytest.mark.timeout(400)
def test_entrances_near_the_recursion_limit_stop_nobody() -> None:
    entrances = random.SystemRandom().sample(sorted(ENTRANCES), 3)
    options = ["--only", RECURSION, "--engine", "fast", "--scenario", *entrances]
    tally = hunt(parse([*options, "--seconds", "300", "--jobs", "1"]))
    assert not tally.findings, "\n".join(tally.findings)
    assert tally.runs > 3 * RUNS
