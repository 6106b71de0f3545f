"""What may have become of a request, by what its client saw, the ledger, and who was killed."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum

MOMENT = 1.0
"""Seconds by which the end of a connection may be noticed late, where its worker is not known."""


class Outcome(StrEnum):
    """What a client saw of a request."""

    WHOLE = "answered"
    REFUSED = "refused, to be asked anew"
    """By REFUSED_STREAM, or above the last stream of GOAWAY: no application has seen it."""
    GIVEN_UP = "given up by the client at GOAWAY"
    FAILED = "failed"
    LOOKS_WHOLE = "looks whole and is not"
    HANGS = "hangs"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request as its client saw it. Times are those of the wall clock, in seconds."""

    kind: str
    name: str
    """Of this attempt alone; what is asked anew has another."""
    began: float
    ended: float
    outcome: Outcome
    why: str = ""
    port: int = 0
    """The client's, where it is known."""


@dataclass(frozen=True, slots=True)
class Kill:
    """A worker that was killed, and the ports of the clients that it had connections with."""

    pid: int
    moment: float
    ports: frozenset[int]
    gone: float = 0.0
    """When its connections had ended at the latest; 0: at once."""


@dataclass(slots=True)
class Ledger:
    """Which processes began and closed a response, by the name of the request."""

    began: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    closed: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def take(self, line: str) -> None:
        what, name, pid = line.split()
        (self.began if what == "began" else self.closed)[name].append(int(pid))


@dataclass(slots=True)
class Judgement:
    """The sums of a run, and what must not have been."""

    counts: defaultdict[str, Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter[str])
    )
    """By kind of client: how many requests came to what."""
    findings: list[str] = field(default_factory=list)


def judge(
    attempts: list[Attempt], ledger: Ledger, kills: list[Kill], stopped: float = float("inf")
) -> Judgement:
    """Judge a whole run; ``stopped`` is when the server was told to end."""
    found = Judgement()
    dead = {kill.pid for kill in kills}
    for attempt in attempts:
        verdict, is_well = _verdict(attempt, ledger, kills, stopped)
        found.counts[attempt.kind][verdict] += 1
        if not is_well:
            where = ", ".join(map(str, ledger.began[attempt.name])) or "none"
            found.findings.append(
                f"{attempt.kind} {attempt.name}: {verdict}: {attempt.why} (workers that began it: "
                f"{where}; client's port {attempt.port or 'unknown'}, "
                f"after {attempt.ended - attempt.began:.2f} s, at {attempt.ended:.2f})"
            )
    for name, pids in list(ledger.began.items()):
        for pid in set(pids) - dead:
            if (missing := pids.count(pid) - ledger.closed[name].count(pid)) > 0:
                found.findings.append(f"{name}: worker {pid} did not call close() ({missing})")
    return found


def _verdict(
    attempt: Attempt, ledger: Ledger, kills: list[Kill], stopped: float
) -> tuple[str, bool]:
    """Return what became of an attempt, and whether that may be."""
    workers = ledger.began[attempt.name]
    match attempt.outcome:
        case Outcome.WHOLE:
            return attempt.outcome, bool(workers)
        case Outcome.REFUSED if workers:
            return "refused, though an application has seen it", False
        case Outcome.REFUSED | Outcome.GIVEN_UP:
            return attempt.outcome, True
        case Outcome.LOOKS_WHOLE | Outcome.HANGS:
            return attempt.outcome, False
    if _is_excused(attempt, workers, kills):
        return "failed, its worker was killed", True
    if not workers and attempt.ended >= stopped:
        return "not accepted, the server had been told to end", True
    return "lost", False


def _is_excused(attempt: Attempt, workers: list[int], kills: list[Kill]) -> bool:
    if attempt.port:
        return any(
            attempt.port in kill.ports and kill.moment <= attempt.ended + MOMENT for kill in kills
        )
    if workers:
        return any(kill.pid in workers for kill in kills)
    return any(
        attempt.began - MOMENT <= max(kill.moment, kill.gone)
        and kill.moment <= attempt.ended + MOMENT
        for kill in kills
    )
