"""Sessions one after the other, and what to do with the one that has a finding."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from conversations.frames import PREFACE
from support.engine_script import described

from .finding import Finding
from .generator import Mind, setting_of
from .session import Session, Setting, Step, play

SHRINKING = 20.0
"""Seconds that a finding may take to become small."""


@dataclass(slots=True)
class Case:
    """A session that has a finding, and how to have it again."""

    seed: int
    setting: Setting
    steps: list[Step]
    finding: Finding

    def __str__(self) -> str:
        lines = [
            f"FINDING: {self.finding}",
            f"  again: python -m fuzz --engine {self.setting.engine} --session {self.seed}",
            f"  in: {self.setting!r}",
        ]
        lines += [f"  {number:3} {words(step)}" for number, step in enumerate(self.steps, 1)]
        return "\n".join(lines)


def words(step: Step) -> str:
    """Return a step to read."""
    name, *arguments = step
    if name != "feed":
        return " ".join([name, *map(repr, arguments)])
    octets = arguments[0]
    short = octets.hex() if len(octets) <= 80 else f"{octets[:80].hex()}... {len(octets)} octets"
    frames = "; ".join(described(octets.removeprefix(PREFACE)))
    return f"feed {short}\n        {frames}"


def explore(seed: int, engine: str) -> Case | None:
    """Play the session of a seed; return it if it has a finding."""
    rng = random.Random(f"{seed}")
    setting = setting_of(rng, engine)
    steps: list[Step] = []
    session = Session(setting)
    try:
        for step in Mind(rng, session).steps():
            steps.append(step)
            session.do(step)
        session.finish()
    except Finding as finding:
        return Case(seed, setting, steps, finding)
    finally:
        session.abandon()
    return None


def shrunk(case: Case, clock: Callable[[], float] = time.monotonic) -> Case:
    """Return the case without the steps that the finding does not need, as far as time allows."""
    deadline = clock() + SHRINKING
    size = max(1, len(case.steps) // 2)
    while size and clock() < deadline:
        at, smaller = 0, False
        while at < len(case.steps) and clock() < deadline:
            steps = case.steps[:at] + case.steps[at + size :]
            finding = _finding(case.setting, steps)
            if finding is not None and finding.rule == case.finding.rule:
                case = Case(case.seed, case.setting, steps, finding)
                smaller = True
            else:
                at += size
        size = size // 2 if size > 1 or not smaller else 1
    return case


def _finding(setting: Setting, steps: list[Step]) -> Finding | None:
    try:
        play(setting, steps)
    except Finding as finding:
        return finding
    return None
