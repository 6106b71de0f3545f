"""What a comparison finds: samples, their medians, and the file they are kept in."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

Figure = str
"""The name of a number in `Sample`, one of these."""

FIGURES: tuple[Figure, ...] = (
    "cpu_us",
    "rate",
    "mean_ms",
    "worst_ms",
    "rss",
    "pss",
    "peak",
    "busy",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run of one load on one server. If ``error`` is not empty, the numbers mean nothing."""

    load: str
    server: str
    round: int
    error: str = ""
    requests: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    """Requests a second."""
    cpu_us: float = 0.0
    """CPU microseconds of the server's processes for one request."""
    busy: float = 0.0
    """CPU seconds of the server in a second: 1.0 is a CPU kept busy all the time."""
    client_busy: float = 0.0
    """The same of h2load."""
    mean_ms: float = 0.0
    worst_ms: float = 0.0
    rss: int = 0
    """Octets resident in the server's processes after the load, shared pages in each."""
    pss: int = 0
    """Octets resident, shared pages once."""
    peak: int = 0
    """Octets resident at most."""


@dataclass(kw_only=True)
class Results:
    """Everything that is written to results.json."""

    date: str = ""
    rounds: int = 0
    seconds: float = 0.0
    """How long one run was meant to take."""
    commit: str = ""
    machine: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    """Of each server and of each load: the command line."""
    servers: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def of(self, load: str, server: str) -> list[Sample]:
        return [s for s in self.samples if (s.load, s.server) == (load, server)]

    def median(self, load: str, server: str, figure: Figure) -> float | None:
        """Return the median over the rounds, or None if there is none or one of them failed."""
        found = self.of(load, server)
        if not found or any(sample.error for sample in found):
            return None
        return float(statistics.median(getattr(sample, figure) for sample in found))

    def ratios(self, load: str, server: str, peer: str, figure: Figure) -> list[float]:
        """Return the ratio of a server's figure to its peer's, in each round."""
        theirs = {sample.round: getattr(sample, figure) for sample in self.of(load, peer)}
        return [
            getattr(sample, figure) / theirs[sample.round]
            for sample in self.of(load, server)
            if theirs.get(sample.round)
        ]

    def error(self, load: str, server: str) -> str:
        """Return what went wrong in the first round that failed, or an empty string."""
        return next((sample.error for sample in self.of(load, server) if sample.error), "")

    def medians(self) -> dict[str, dict[str, dict[str, float | None]]]:
        return {
            load: {
                server: {figure: self.median(load, server, figure) for figure in FIGURES}
                for server in self.servers
                if self.of(load, server)
            }
            for load in self.loads
        }


def save(results: Results, file: Path) -> None:
    document = asdict(results) | {"medians": results.medians()}
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read(file: Path) -> Results:
    document = json.loads(file.read_text(encoding="utf-8"))
    del document["medians"]
    document["samples"] = [Sample(**sample) for sample in document["samples"]]
    return Results(**document)
