"""A little of what ``python -m raising`` does for hours."""

from __future__ import annotations

import random

import pytest

from raising.__main__ import hunt, parse
from raising.child import TRACED
from raising.loose import ENTRANCES, RECURSION

pytestmark = pytest.mark.heavy

RUNS = 50
"""At least, in the time of a sample."""


@pytest.mark.timeout(120)
def test_a_sample_of_what_is_raised_finds_nothing() -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    bounds = ["--sample", "2", "--seconds", "25", "--jobs", "2", "--seed", str(seed)]
    tally = hunt(parse(["--only", *TRACED, *bounds]))
    said = "\n".join(tally.findings)
    assert not tally.findings, f"python -m raising {' '.join(bounds)}\n{said}"
    assert tally.runs > RUNS, f"{tally.runs} runs with seed {seed}"


@pytest.mark.timeout(120)
def test_entrances_near_the_recursion_limit_stop_nobody() -> None:
    entrances = random.SystemRandom().sample(sorted(ENTRANCES), 3)
    options = ["--only", RECURSION, "--engine", "fast", "--scenario", *entrances]
    tally = hunt(parse([*options, "--seconds", "60", "--jobs", "1"]))
    assert not tally.findings, "\n".join(tally.findings)
    assert tally.runs > 3 * RUNS
