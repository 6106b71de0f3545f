"""What the good clients saw: how long their requests took, and what was wrong."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Latencies:
    """Seconds that requests took, of one kind and one span of time."""

    seconds: list[float] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        """Return the seconds that so many percent of the requests took at most; 0 without any."""
        ordered = sorted(self.seconds)
        rank = math.ceil(len(ordered) * percent / 100)
        return ordered[max(rank, 1) - 1] if ordered else 0.0

    def text(self) -> str:
        """Return p50, p90, p99 and the longest in milliseconds."""
        figures = [self.percentile(percent) * 1000 for percent in (50, 90, 99, 100)]
        return " / ".join(f"{figure:.1f}" for figure in figures)


class Tally:
    """Counts of a whole run, and latencies of the span that :meth:`take` ends."""

    def __init__(self) -> None:
        self.requests = 0
        """Requests of good clients that were answered as they should be."""
        self.errors: list[str] = []
        self.others: Counter[str] = Counter()
        """What the other clients did, by kind."""
        self.small, self.large = Latencies(), Latencies()

    def answered(self, seconds: float, *, large: bool) -> None:
        self.requests += 1
        (self.large if large else self.small).seconds.append(seconds)

    def take(self) -> tuple[Latencies, Latencies]:
        """Return the latencies since the last call, of small and of large requests."""
        taken = self.small, self.large
        self.small, self.large = Latencies(), Latencies()
        return taken
