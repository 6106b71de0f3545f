"""A little of what ``python -m raising`` does for hours."""

from __future__ import annotations

import random

import pytest

from raising.__main__ import hunt, parse
from raising.child import TRACED
from raising.loose import ENTRANCES, RECURSION

pytestmark = pytest.mark.heavy

RUNS = 50
"""At least: the time of a sample brings many more, but not where it takes that long to start."""


@pytest.mark.timeout(900)
def test_a_sample_of_what_is_raised_finds_nothing() -> None:
    runs, seconds = 0, 25
    while runs <= RUNS:
        seed = random.SystemRandom().randrange(1 << 30)
        bounds = ["--sample", "2", "--seconds", str(seconds), "--jobs", "2", "--seed", str(seed)]
        tally = hunt(parse(["--only", *TRACED, *bounds]))
        said = "\n".join(tally.findings)
        assert not tally.findings, f"python -m raising {' '.join(bounds)}\n{said}"
        runs, seconds = runs + tally.runs, 2 * seconds


@pytest.mark.timeout(900)
def test_entrances_near_the_recursion_limit_stop_nobody() -> None:
    entrances = random.SystemRandom().sample(sorted(ENTRANCES), 3)
    options = ["--only", RECURSION, "--engine", "fast", "--scenario", *entrances]
    tally = hunt(parse([*options, "--seconds", "300", "--jobs", "1"]))
    assert not tally.findings, "\n".join(tally.findings)
    assert tally.runs > 3 * RUNS
