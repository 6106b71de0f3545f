"""Plays the runs of one scenario, and says of each on standard output what came of it.

In a process of its own, so that a server that hangs ends nothing but this.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from collections.abc import Iterator
from typing import Any

from raising import commanding, incoming, inside, loose, outgoing
from raising.runs import ACTIONS, EXCEPTIONS, GC, ON_THE_LOOP, Outcome, Play
from raising.scenarios import SCENARIOS, Scenario, find
from raising.site import Site
from raising.tracer import make_tracer

TRACED = ("application", "loop", "finalizer", "finalizer-loop")
"""Where something is done, and what: an exception is raised, or a finalizer runs."""
PARTS = (*TRACED, *loose.PARTS)
SCENARIO_MODULES = (commanding, incoming, outgoing)
"""Imported for the scenarios that they define."""


def names(part: str, variants: bool) -> list[str]:
    """Return the names of all scenarios, with those in which the client leaves if asked for."""
    if part == loose.ASYNC:
        return [loose.MIXED]
    if part == loose.RECURSION:
        return list(loose.ENTRANCES)
    if not variants:
        return list(SCENARIOS)
    return [variant.name for base in SCENARIOS.values() for variant in base.variants()]


def kinds(part: str) -> tuple[str, ...]:
    """Return what can be done in a part: names of exceptions or of what a finalizer does."""
    if part == loose.ASYNC:
        return ("Interrupted",)
    if part == loose.RECURSION:
        return ("RecursionError",)
    if part == "application":
        return tuple(EXCEPTIONS)
    return ON_THE_LOOP if part == "loop" else (*ACTIONS, f"{GC}reset", f"{GC}write")


def one(play: Play, part: str, scenario: Scenario, kind: str, at: int) -> Outcome:
    """Play one run."""
    if part == "application":
        return play.raise_in_application(scenario, kind, at)
    if part == "loop":
        return play.raise_on_loop(scenario, kind, at)
    role = inside.LOOP if part == "finalizer-loop" else inside.APPLICATION
    return play.finalize(scenario, kind, role, at)


def lines(job: dict[str, Any]) -> Iterator[int]:
    """Yield the numbers of the lines to stop at; for a sample, chosen as soon as they are known."""
    if job["at"]:
        yield job["at"]
    elif not job["sample"]:
        yield from range(1, 1 << 20)


def main(job: dict[str, Any]) -> None:
    """Play what ``job`` asks for."""
    threading.excepthook = lambda details: None  # what was raised is shown there, as it should be
    if job["part"] in loose.PARTS:
        play_loose(job)
        return
    scenario = find(job["scenario"])
    tracer = make_tracer()
    tracer.install()
    site = Site(job["engine"], job["loop"], scenario.options)
    play = Play(site, tracer)
    try:
        for kind in job["kinds"]:
            for at in _choose(job, play, scenario, kind):
                outcome = one(play, job["part"], scenario, kind, at)
                _say(kind, at, outcome)
                if outcome.hit is None and not job["at"] and not job["sample"]:
                    break
        if wrong := site.grows():
            _tell("", 0, "", wrong)
    finally:
        tracer.disarm()
    print(json.dumps({"stopped": site.close()}), flush=True)


def play_loose(job: dict[str, Any]) -> None:
    """Play what needs no tracer."""
    site = Site(job["engine"], job["loop"], {})
    if job["part"] == loose.ASYNC:
        outcomes = loose.strike(site, job["seed"], job["seconds"])
    else:
        # The option that says which is 0 for all of them.
        frames = [job["at"] - 1] if job["at"] else loose.FRAMES_LEFT
        outcomes = loose.recurse(site, job["scenario"], frames)
    for number, where, outcome in outcomes:
        at = number if job["part"] == loose.ASYNC else number + 1
        _tell(job["kinds"][0], at, where, outcome.problems)
    if wrong := site.grows():
        _tell("", 0, "", wrong)
    print(json.dumps({"stopped": site.close()}), flush=True)


def _choose(job: dict[str, Any], play: Play, scenario: Scenario, kind: str) -> Iterator[int]:
    if not job["sample"]:
        yield from lines(job)
        return
    total = one(play, job["part"], scenario, kind, 1 << 30).lines
    choose = random.Random(f"{job['seed']} {scenario.name} {kind}")
    numbers = range(1, max(2, total + 1))
    yield from sorted(choose.sample(numbers, min(job["sample"], len(numbers))))


def _say(kind: str, at: int, outcome: Outcome) -> None:
    hit = outcome.hit
    where = f"{hit}: {hit.source}" if hit is not None else ""
    _tell(kind, at, where, outcome.problems)


def _tell(kind: str, at: int, where: str, problems: list[str]) -> None:
    said = {"kind": kind, "at": at, "where": where, "problems": problems}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
