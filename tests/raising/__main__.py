"""Raises an exception, or runs a finalizer, at every line of the seam: ``python -m raising``."""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raising.child import PARTS, TRACED, kinds, names

TESTS = Path(__file__).parent.parent
SILENCE = 90.0
"""Seconds without a word after which a child hangs: longer than all looks that find something."""


@dataclass
class Tally:
    """What all runs came to."""

    runs: int = 0
    lines: set[str] = field(default_factory=set)
    findings: list[str] = field(default_factory=list)

    def find(self, found: str) -> None:
        """Keep a finding, and print it at once."""
        self.findings.append(found)
        print(found, flush=True)


def play(job: dict[str, Any], tally: Tally, deadline: float, first: bool) -> None:
    """Have a child play a job, and note what it says; of the ``first`` finding alone, if so."""
    environment = dict(os.environ)
    # Checks at run time would refuse the very calls that a finalizer makes.
    environment.pop("H2WSGI_THREAD_GUARD", None)
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "raising.child", json.dumps(job)],
            cwd=TESTS,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        said: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(child, said), daemon=True)
        reader.start()
        name = f"--engine {job['engine']} --only {job['part']} --scenario {job['scenario']}"
        last: dict[str, Any] = {"kind": "", "at": 0}
        try:
            while line := said.get(timeout=job["silence"]):
                last = json.loads(line)
                _note(last, name, tally)
                if time.monotonic() > deadline or (first and tally.findings):
                    return
        except queue.Empty:
            tally.find(f"{name}: hangs behind {last}")
            return
        finally:
            child.kill()
            child.wait()
            reader.join()
        if "stopped" not in last and time.monotonic() <= deadline:
            errors.seek(0)
            words = f"{name}: the process ended behind {last}, with exit code {child.returncode}"
            tally.find("\n".join([words, *errors.read().splitlines()[-12:]]))


def _read(child: subprocess.Popen[str], said: queue.SimpleQueue[str]) -> None:
    assert child.stdout is not None
    with child.stdout:
        for line in child.stdout:
            if line.startswith("{"):
                said.put(line)
    said.put("")


def _note(word: dict[str, Any], name: str, tally: Tally) -> None:
    if "stopped" in word:
        if not word["stopped"]:
            tally.find(f"{name}: the server did not stop")
        return
    tally.runs += 1
    if word["where"]:
        tally.lines.add(word["where"])
    for problem in word["problems"]:
        found = (
            f"{name} --kind {word['kind']} --at {word['at']}\n    {word['where']}\n    {problem}"
        )
        tally.find(found)


def jobs(options: argparse.Namespace) -> Iterable[dict[str, Any]]:
    """Yield one job for each scenario, engine and part."""
    for engine in options.engine:
        for part in options.only:
            for scenario in options.scenario or names(part, options.variants):
                wanted = [options.kind] if options.kind else list(kinds(part))
                yield {
                    "engine": engine,
                    "loop": options.loop,
                    "part": part,
                    "scenario": scenario,
                    "kinds": wanted,
                    "at": options.at,
                    "sample": options.sample,
                    "seed": options.seed,
                    "silence": options.silence,
                    # So that there is time for the looks at the end.
                    "seconds": 0.8 * options.seconds * min(1.0, options.jobs / len(options.engine)),
                }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m raising", description=__doc__)
    parser.add_argument("--engine", nargs="*", default=["fast", "h2"], choices=["fast", "h2"])
    parser.add_argument("--loop", default="auto", choices=["auto", "asyncio", "uvloop"])
    parser.add_argument("--only", nargs="*", default=list(TRACED), choices=PARTS)
    parser.add_argument("--scenario", nargs="*", help="names, as findings have them")
    parser.add_argument("--variants", action="store_true", help="the client leaves at each point")
    parser.add_argument("--kind", help="one exception, or one thing that a finalizer does")
    parser.add_argument("--at", type=int, default=0, help="the number of one line")
    parser.add_argument("--sample", type=int, default=0, help="lines of each scenario; 0 for all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--seconds", type=float, default=4 * 3600.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--silence", type=float, default=SILENCE, help="seconds: a child hangs")
    parser.add_argument("--first", action="store_true", help="stop at the first finding")
    return parser.parse_args(arguments)


def hunt(options: argparse.Namespace) -> Tally:
    """Play all jobs, as many at once as asked for, for so many seconds at most."""
    tally = Tally()
    deadline = time.monotonic() + options.seconds
    todo = list(jobs(options))
    if options.sample:
        random.Random(options.seed).shuffle(todo)  # a short time sees something of everything

    def work(job: dict[str, Any]) -> None:
        if time.monotonic() < deadline and not (options.first and tally.findings):
            play(job, tally, deadline, options.first)

    with ThreadPoolExecutor(options.jobs) as executor:
        list(executor.map(work, todo))
    return tally


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(arguments)
    began = time.monotonic()
    tally = hunt(options)
    minutes = (time.monotonic() - began) / 60
    print(
        f"{len(tally.lines)} lines, {tally.runs} runs, {len(tally.findings)} findings, "
        f"{minutes:.1f} minutes, seed {options.seed}"
    )
    return 1 if tally.findings or not tally.runs else 0


if __name__ == "__main__":
    sys.exit(main())
