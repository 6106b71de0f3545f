"""The goals: one of h2wsgi's variants against a peer, in the same run."""

from __future__ import annotations

from dataclasses import dataclass

from bench.results import Figure, Results

FAST = "h2wsgi-fast-uvloop"
H2 = "h2wsgi-h2-uvloop"


@dataclass(frozen=True, slots=True)
class Goal:
    load: str
    server: str
    peer: str
    bound: float
    """What server / peer may be at most; at least, where more is better; less than, if strict."""
    figure: Figure = "cpu_us"
    strict: bool = False

    @property
    def more_is_better(self) -> bool:
        return self.figure == "rate"

    def text(self) -> str:
        sign = ">=" if self.more_is_better else "<" if self.strict else "<="
        what = {"cpu_us": "", "rate": "requests/s ", "pss": "memory "}[self.figure]
        return f"{what}{sign} {self.bound:g}x {self.peer}"

    def met(self, ratio: float) -> bool:
        if self.more_is_better:
            return ratio >= self.bound
        return ratio < self.bound if self.strict else ratio <= self.bound


@dataclass(frozen=True, slots=True)
class Verdict:
    goal: Goal
    ratio: float | None
    """Of the medians; None: one of the two gave no figure."""
    word: str
    """PASS, MISS, WITHIN NOISE where some rounds meet the goal and some do not, or - if nothing can
    be said."""
    spread: tuple[float, float] = (0.0, 0.0)
    """The smallest and the largest ratio of a round."""


GOALS = (
    *(Goal(load, FAST, "granian", 0.4) for load in ("hello", "conns")),
    *(Goal(load, FAST, "granian", 0.5) for load in ("many", "varied", "stream")),
    Goal("echo", FAST, "granian", 0.45),
    Goal("latency", FAST, "granian", 1.0),
    Goal("latency", FAST, "granian", 0.95, "rate"),
    Goal("download", FAST, "granian", 1.0),
    Goal("upload", FAST, "granian", 1.0),
    Goal("flask", FAST, "granian", 0.65),
    # 2.7 % more requests would cost a third more CPU time: see docs/decisions.md.
    Goal("sleep", FAST, "granian", 0.97, "rate"),
    Goal("hello", FAST, "granian", 1.0, "pss", strict=True),
    *(Goal(load, H2, "gunicorn", 0.5) for load in ("hello", "conns", "varied", "echo", "upload")),
)


def judge(goal: Goal, results: Results) -> Verdict:
    ours = results.median(goal.load, goal.server, goal.figure)
    theirs = results.median(goal.load, goal.peer, goal.figure)
    if ours is None or not theirs:
        failed = bool(results.error(goal.load, goal.server))
        return Verdict(goal, None, "MISS" if failed else "-")
    ratio = ours / theirs
    ratios = results.ratios(goal.load, goal.server, goal.peer, goal.figure)
    met = {goal.met(one) for one in ratios}
    word = "WITHIN NOISE" if len(met) > 1 else "PASS" if goal.met(ratio) else "MISS"
    return Verdict(goal, ratio, word, (min(ratios), max(ratios)))


def verdicts(results: Results, load: str) -> list[Verdict]:
    """Judge the goals of a load, as far as both servers were measured."""
    measured = set(results.servers)
    goals = [goal for goal in GOALS if goal.load == load and {goal.server, goal.peer} <= measured]
    return [judge(goal, results) for goal in goals]
