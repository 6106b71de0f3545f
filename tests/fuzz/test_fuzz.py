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
from fuzz.finding import Finding
from fuzz.generator import Mind, setting_of
from fuzz.hunt import explore, shrunk
from fuzz.session import Session, play
from fuzz.stateful import ConnectionMachine, ReferenceMachine
from h2wsgi.http2.engines.fast import FastEngine
from support.planting import DoesNotApply, plant

pytestmark = pytest.mark.heavy
"""It has both engines in it, and nothing that depends on the interpreter."""

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


@pytest.mark.timeout(600)
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


@pytest.mark.parametrize("engine", ENGINES)
def test_a_session_is_the_same_each_time(engine: str) -> None:
    def played(seed: int) -> list[object]:
        rng = random.Random(seed)
        session = Session(setting_of(rng, engine))
        steps = []
        try:
            for step in Mind(rng, session).steps():
                steps.append(step)
                session.do(step)
            session.finish()
        finally:
            session.abandon()
        return [steps, session.transport.written, session.loop.now, list(session.started)]

    for seed in range(15):
        assert played(seed) == played(seed)


def test_a_defect_whose_lines_are_gone_says_so(tmp_path: Path) -> None:
    defect = tmp_path / "00-of-another-time.patch"
    lines = ["--- a/src/h2wsgi/seam/stream.py", "+++ b/src/h2wsgi/seam/stream.py", "@@ -1 +1 @@"]
    defect.write_text("\n".join([*lines, "-    def nobody_has_this(self) -> None:", "+    pass"]))
    with pytest.raises(DoesNotApply, match=r"00-of-another-time.patch does not apply"):
        plant(defect, tmp_path / "copy")


def test_a_finding_is_told_small_and_can_be_had_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a defect of its own: PING is answered with other octets."""
    answer = FastEngine._answer_ping
    monkeypatch.setattr(
        FastEngine, "_answer_ping", lambda self, payload: answer(self, payload[::-1])
    )
    case = next(filter(None, (explore(seed, "fast") for seed in range(100))))
    small = shrunk(case)
    assert small.finding.rule == "the answer to another PING"
    assert len(small.steps) <= 3
    with pytest.raises(Finding, match="the answer to another PING"):
        play(small.setting, small.steps)
    assert f"--engine fast --session {case.seed}" in str(small)
    assert "PING flags=00 stream=0 8 octets" in str(small)


@pytest.mark.timeout(900)
def test_every_planted_defect_is_found(tmp_path: Path) -> None:
    def found(defect: Path) -> str:
        folder = tmp_path / defect.stem
        plant(defect, folder)
        status, output = planting.hunt(folder)
        assert f"of {folder}" in output, output
        return "" if status == 1 and "FINDING" in output else f"{defect.name}: {output}"

    with ThreadPoolExecutor(2) as executor:
        missed = [words for words in executor.map(found, planting.DEFECTS) if words]
    assert len(planting.DEFECTS) >= 10
    assert not missed, "\n".join(missed)
