"""Run h2load and read what it says."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.loads import Load, write_paths

FINISHED = re.compile(r"finished in ([\d.]+)(us|ms|s|m|h), ([\d.]+) req/s")
REQUESTS = re.compile(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded")
STATUS = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
TRAFFIC = re.compile(r"traffic: .*\((\d+)\) data")
TIME = r" +([\d.]+)(us|ms|s|m|h)"
TIMES = re.compile(rf"time for request:{TIME}{TIME}{TIME}")
"""The shortest, the longest and the mean."""
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class Failed(Exception):
    """A run that must not become a figure; says what went wrong."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What h2load says at its end."""

    seconds: float
    rate: float
    """Requests a second."""
    succeeded: int
    statuses: tuple[int, int, int, int]
    """Answers with 2xx, 3xx, 4xx, 5xx."""
    octets: int
    """Content received."""
    mean: float
    worst: float
    """Seconds from a request to the end of its answer."""


def parse(text: str) -> Outcome:
    """Return the outcome in h2load's output; raise `Failed` if it is not complete."""
    finished, requests = FINISHED.search(text), REQUESTS.search(text)
    status, traffic = STATUS.search(text), TRAFFIC.search(text)
    times = TIMES.search(text)
    if not (finished and requests and status and traffic and times):
        lines = text.strip().splitlines()
        raise Failed(f"no summary of h2load: {lines[-1] if lines else 'not a word'}")
    ok, redirect, client, server = (int(status[number]) for number in range(1, 5))
    return Outcome(
        seconds=float(finished[1]) * UNITS[finished[2]],
        rate=float(finished[3]),
        succeeded=int(requests[2]),
        statuses=(ok, redirect, client, server),
        octets=int(traffic[1]),
        mean=float(times[5]) * UNITS[times[6]],
        worst=float(times[3]) * UNITS[times[4]],
    )


def check(outcome: Outcome, requests: int, answer: int) -> None:
    """Raise `Failed` unless every request got a 2xx with ``answer`` octets."""
    ok = outcome.statuses[0]
    if outcome.succeeded != requests or ok != requests or any(outcome.statuses[1:]):
        raise Failed(f"{ok} of {requests} answered with 2xx")
    if outcome.octets != requests * answer:
        raise Failed(f"{outcome.octets} octets of content instead of {requests * answer}")


@dataclass(frozen=True, slots=True)
class Client:
    """h2load on a CPU of its own, its files in a folder."""

    folder: Path
    cpu: int
    patience: float
    """Seconds after which a run is ended and has failed."""

    def command(self, load: Load, port: int, more: list[str]) -> list[str]:
        base = f"https://127.0.0.1:{port}"
        found = ["taskset", "-c", str(self.cpu), "h2load", *load.options(self.folder), *more]
        if load.varied:
            return [*found, f"--base-uri={base}", "-i", str(write_paths(self.folder, base))]
        return [*found, base + load.path]

    def run(self, load: Load, port: int, more: list[str]) -> Outcome:
        command = self.command(load, port, more)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=self.patience)
        except subprocess.TimeoutExpired:
            raise Failed(f"not finished in {self.patience:.0f} s") from None
        return parse(done.stdout + done.stderr)

    def warm_up(self, load: Load, port: int, seconds: float, most: int) -> float:
        """Load the server in ever longer runs and return the requests a second it answers.

        Each run is whole: some servers do not get over one that breaks off (h2load -D).
        """
        requests = min(load.least, most)
        while True:
            outcome = self.run(load, port, ["-n", str(requests)])
            check(outcome, requests, load.answer)
            if outcome.seconds >= seconds / 2 or requests == most:
                return outcome.rate
            requests = min(most, max(2 * requests, round(outcome.rate * seconds)))

    def measure(self, load: Load, port: int, requests: int) -> Outcome:
        """Run the load. Without h2load's log of each request, which would slow it by half."""
        outcome = self.run(load, port, ["-n", str(requests)])
        check(outcome, requests, load.answer)
        return outcome
