"""The fuzzer for a few seconds, the state machines, and the defects that both are to find.

``python -m fuzz --seconds 600`` hunts for longer; fuzz/README.md says how.
"""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from fuzz import planting
from fuzz.hunt import explore, shrunk
from fuzz.stateful import ConnectionMachine, ReferenceMachine

ENGINES = ("fast", "h2")
FRESH = 2.0
"""Seconds of sessions that nobody has seen before, on each engine."""

bounded = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestFast = ConnectionMachine.TestCase
TestFast.settings = bounded
TestReference = ReferenceMachine.TestCase
TestReference.settings = bounded


@pytest.mark.parametrize("engine", ENGINES)
def test_sessions_that_find_every_defect_find_nothing_else(engine: str) -> None:
    for number in range(planting.SESSIONS):
        case = explore(planting.SEED + number, engine)
        assert case is None, str(shrunk(case))


@pytest.mark.parametrize("engine", ENGINES)
def test_sessions_that_nobody_has_seen_find_nothing(engine: str) -> None:
    seed = random.SystemRandom().randrange(10**6, 10**9)
    print(f"from seed {seed}")
    deadline = time.monotonic() + FRESH
    while time.monotonic() < deadline:
        case = explore(seed, engine)
        assert case is None, str(shrunk(case))
        seed += 1


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_every_planted_defect_is_found(tmp_path: Path) -> None:
    def found(defect: Path) -> str:
        folder = tmp_path / defect.stem
        planting.plant(defect, folder)
        status, output = planting.hunt(folder)
        assert f"of {folder}" in output, output
        return "" if status == 1 and "FINDING" in output else f"{defect.name}: {output}"

    with ThreadPoolExecutor(2) as executor:
        missed = [words for words in executor.map(found, planting.DEFECTS) if words]
    assert len(planting.DEFECTS) >= 10
    assert not missed, "\n".join(missed)
