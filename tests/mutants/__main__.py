"""``python -m mutants``, from the folder ``tests``."""

from __future__ import annotations

import argparse
import contextlib
import queue
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from mutants.coverage_map import ROOT, SOURCES, CoverageMap, coverage_map
from mutants.explained import reason
from mutants.operators import mutants_of
from mutants.trial import Bench, Candidate, Outcome, bench

PACKAGES = ("http2", "seam", "wsgi")
SOUND = 20
"""How many tests show, before the first mutant, that the copy of the sources is sound."""
PROGRESS = 20
"""Mutants between lines of progress."""


def main(arguments: list[str] | None = None) -> int:
    """Try mutants, print those that lived, and return 1 if there were any."""
    options = _parser().parse_args(arguments)
    seed = random.SystemRandom().randrange(10**9) if options.seed is None else options.seed
    if options.lines:
        candidates = [c for where in options.lines for c in _on_line(where)]
    else:
        found = [c for name in options.packages for file in _files(name) for c in _of_file(file)]
        candidates = random.Random(seed).sample(found, min(options.sample, len(found)))
        print(f"{len(candidates)} of {len(found)} mutants, from seed {seed}", flush=True)
    lines = coverage_map(anew=options.anew, keep=options.keep_map)
    session = _Session(lines, options)
    with session.benches():
        session.try_all(candidates)
    session.print_summary(len(candidates))
    return 1 if session.count[Outcome.LIVED] + session.count[Outcome.UNTESTED] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=200, help="how many (default: 200)")
    parser.add_argument("--seed", type=int, help="which ones (default: at random)")
    parser.add_argument(
        "--packages", nargs="+", default=PACKAGES, help="folders or files of src/h2wsgi"
    )
    parser.add_argument("--lines", nargs="+", metavar="FILE:LINE", help="all mutants of lines")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (default: 2)")
    parser.add_argument("--seconds", type=float, default=0.0, help="after which none is begun")
    parser.add_argument("--tests", type=int, default=700, help="tests for each (default: 700)")
    parser.add_argument("--first", nargs="+", default=[], help="tests to run before the others")
    parser.add_argument("--only-first", action="store_true", help="and no others")
    parser.add_argument("--anew", action="store_true", help="look anew which tests run which line")
    parser.add_argument("--keep-map", action="store_true", help="do not, whatever has changed")
    return parser


# ---------------------------------------------------------------------------------- mutants


def _files(name: str) -> list[Path]:
    """Return the files of a package, or one file, by its name in ``src/h2wsgi``."""
    home = SOURCES / "h2wsgi"
    path = home / name
    if path.is_dir():
        return sorted(path.rglob("*.py"))
    for file in (path, path.with_suffix(".py"), ROOT / name):
        if file.is_file():
            return [file]
    found = sorted(home.rglob(name if name.endswith(".py") else f"{name}.py"))
    if len(found) != 1:
        raise SystemExit(f"{name}: no file or folder in src/h2wsgi, or more than one")
    return found


def _of_file(file: Path) -> list[Candidate]:
    return [Candidate(file, mutant) for mutant in mutants_of(file.read_text("utf-8"))]


def _on_line(where: str) -> list[Candidate]:
    name, _, line = where.rpartition(":")
    (file,) = _files(name)
    return [c for c in _of_file(file) if c.mutant.line == int(line)]


# ----------------------------------------------------------------------------------- trials


class _Session:
    """Tries mutants, several at once, each on a copy of the sources of its own."""

    def __init__(self, lines: CoverageMap, options: argparse.Namespace) -> None:
        self._lines = lines
        self._options = options
        self._benches: queue.SimpleQueue[Bench] = queue.SimpleQueue()
        self._began = time.monotonic()
        self.count: Counter[Outcome] = Counter()

    @contextlib.contextmanager
    def benches(self) -> Iterator[None]:
        """Make the copies."""
        with contextlib.ExitStack() as stack:
            for _ in range(self._options.jobs):
                made = stack.enter_context(bench())
                made.require_sound(self._options.first or self._lines.fastest(SOUND))
                self._benches.put(made)
            yield

    def try_all(self, candidates: list[Candidate]) -> None:
        """Try mutants until all were, or the time is up; print each that lives."""
        self._began = time.monotonic()
        with ThreadPoolExecutor(self._options.jobs) as threads:
            running: dict[Future[Outcome], Candidate] = {}
            for candidate in candidates:
                if self._is_late():
                    break
                if len(running) >= self._options.jobs:
                    self._take(running)
                running[threads.submit(self._try, candidate)] = candidate
            while running:
                self._take(running)

    def _is_late(self) -> bool:
        seconds = self._options.seconds
        return bool(seconds) and time.monotonic() - self._began >= seconds

    def _try(self, candidate: Candidate) -> Outcome:
        if reason(candidate.file.stem, *candidate.lines()) is not None:
            return Outcome.EXPLAINED
        tests: list[str] = list(self._options.first)
        if not self._options.only_first:
            line, most = candidate.mutant.line, self._options.tests
            tests += self._lines.tests_of(candidate.file, line, most)
        own = self._benches.get()
        try:
            return own.outcome(candidate, list(dict.fromkeys(tests)))
        finally:
            self._benches.put(own)

    def _take(self, running: dict[Future[Outcome], Candidate]) -> None:
        """Wait for a mutant's end, and count it."""
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            candidate, outcome = running.pop(future), future.result()
            self.count[outcome] += 1
            self._print(candidate, outcome)
            if self.count.total() % PROGRESS == 0:
                print(f"({self.count.total()} tried)", flush=True)

    def _print(self, candidate: Candidate, outcome: Outcome) -> None:
        if outcome in (Outcome.KILLED, Outcome.TIMED_OUT):
            return
        before, after = candidate.lines()
        print(f"{outcome}: {candidate.place}\n  - {before}\n  + {after}")
        if outcome is Outcome.EXPLAINED:
            print(f"  {reason(candidate.file.stem, before, after)}")
        print(end="", flush=True)

    def print_summary(self, wanted: int) -> None:
        """Say how many were killed, of those that matter."""
        tried = self.count.total()
        matter = tried - self.count[Outcome.EXPLAINED]
        killed = self.count[Outcome.KILLED] + self.count[Outcome.TIMED_OUT]
        for outcome in Outcome:
            print(f"{self.count[outcome]:5} {outcome}")
        share = 100 * killed / matter if matter else 100.0
        minutes = (time.monotonic() - self._began) / 60
        print(f"{killed} of {matter} killed: {share:.1f} %, in {minutes:.1f} minutes")
        if tried < wanted:
            print(f"{wanted - tried} not tried: the time was up")


if __name__ == "__main__":
    raise SystemExit(main())
