"""Sessions one after the other, and what to do with the one that has a finding."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from support.engine_script import described

from .finding import Finding, watched
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
        octets = b"".join(step[1] for step in self.steps if step[0] == "feed")
        lines += ["  the client's frames:", *(f"      {text}" for text in described(octets))]
        return "\n".join(lines)


def words(step: Step) -> str:
    """Return a step to read; octets whole, so that it can be played again."""
    name, *arguments = step
    return " ".join([name, *(a.hex() if type(a) is bytes else repr(a) for a in arguments)])


def explore(seed: int, engine: str) -> Case | None:
    """Play the session of a seed; return it if it has a finding."""
    rng = random.Random(f"{seed}")
    setting = setting_of(rng, engine)
    steps: list[Step] = []
    session = Session(setting)
    try:
        with watched():
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
    return _joined(case)


def _joined(case: Case) -> Case:
    """Return the case with octets that follow each other in one step, if it is the same then."""
    steps: list[Step] = []
    for step in case.steps:
        if step[0] == "feed" and steps and steps[-1][0] == "feed":
            steps[-1] = ("feed", steps[-1][1] + step[1])
        else:
            steps.append(step)
    finding = _finding(case.setting, steps)
    same = finding is not None and finding.rule == case.finding.rule
    return Case(case.seed, case.setting, steps, finding) if same and finding else case


def _finding(setting: Setting, steps: list[Step]) -> Finding | None:
    try:
        play(setting, steps)
    except Finding as finding:
        return finding
    return None
