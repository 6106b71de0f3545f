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

from raising import commanding, incoming, inside, outgoing
from raising.runs import ACTIONS, EXCEPTIONS, GC, ON_THE_LOOP, Outcome, Play
from raising.scenarios import SCENARIOS, Scenario, find
from raising.site import Site
from raising.tracer import make_tracer

PARTS = ("application", "loop", "finalizer", "finalizer-loop")
"""Where something is done, and what: an exception is raised, or a finalizer runs."""
SCENARIO_MODULES = (commanding, incoming, outgoing)
"""Imported for the scenarios that they define."""


def names(variants: bool) -> list[str]:
    """Return the names of all scenarios, with those in which the client leaves if asked for."""
    if not variants:
        return list(SCENARIOS)
    return [variant.name for base in SCENARIOS.values() for variant in base.variants()]


def kinds(part: str) -> tuple[str, ...]:
    """Return what can be done in a part: names of exceptions or of what a finalizer does."""
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
            print(json.dumps({"kind": "", "at": 0, "where": "", "problems": wrong}), flush=True)
    finally:
        tracer.disarm()
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
    said = {"kind": kind, "at": at, "where": where, "problems": outcome.problems}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
