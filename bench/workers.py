"""``python -m bench workers``: what a second worker brings, on a machine with two CPUs.

The workers may use both CPUs, h2load the first alone; so with two workers it takes from one of them
what it needs itself, and how much that was is in the table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from bench import goals, loads, tables
from bench.compare import Bench
from bench.h2load import Client
from bench.loads import Load
from bench.results import Results, Sample
from bench.servers import Place, Variant, by_name

COUNTS = (1, 2)
"""Workers."""
SERVERS = (goals.FAST, "granian", "gunicorn")
MANY = {"connections": 32, "streams": 4}
"""Connections enough for workers to share them evenly, if they do."""
COMPUTE = dataclasses.replace(loads.by_name("hello"), name="compute", app="compute", **MANY)
LOADS = (
    COMPUTE,
    dataclasses.replace(loads.by_name("flask"), **MANY),
    dataclasses.replace(loads.by_name("hello"), **MANY),
)


def variant_of(server: str, count: int) -> Variant:
    """Return a server with so many workers."""
    one = by_name(server)
    options = one.options.replace("--workers 1", f"--workers {count}")
    if "--workers" not in options and count > 1:
        options += f" --workers {count}"
    return dataclasses.replace(one, name=f"{server}, {count}", options=options)


def measure(
    place: Place, client: Client, cpus: tuple[int, ...], rounds: int, seconds: float
) -> str:
    """Return a table in Markdown: a row for each load and server."""
    place = dataclasses.replace(place, cpus=cpus)
    bench = Bench(place, client, seconds, warm_up=0.5)
    variants = [variant_of(server, count) for server in SERVERS for count in COUNTS]
    results = Results()
    for load in LOADS:
        results.samples += bench.rounds(load, variants, rounds)
    failures = "".join(f"\n* did not count: {line}" for line in tables.errors(results))
    return tables.table(head(), rows_of(results)) + failures


def head() -> list[str]:
    """Return the head of the table."""
    both = "1 / 2 workers"
    return [
        "load", "server", f"requests/s, {both}", "2 for 1", f"CPU us a request, {both}",
        f"CPUs busy: server, {both}", f"h2load, {both}", f"MiB, {both}",
    ]  # fmt: skip


def rows_of(results: Results) -> Iterator[list[str]]:
    """Yield a row for each load and server."""
    for load in LOADS:
        for server in SERVERS:
            yield [load.name, server, *_cells(results, load, server)]


def _cells(results: Results, load: Load, server: str) -> list[str]:
    best = [_best(results, load, f"{server}, {count}") for count in COUNTS]

    def figures(name: str, scale: float = 1.0) -> list[float | None]:
        return [None if sample is None else getattr(sample, name) * scale for sample in best]

    one, two = figures("rate")
    gained = f"{two / one:.2f}x" if one and two else ""
    return [
        _both(one, two),
        gained,
        _both(*figures("cpu_us")),
        _both(*figures("busy")),
        _both(*figures("client_busy")),
        _both(*figures("pss", 1 / loads.MIB)),
    ]


def _best(results: Results, load: Load, server: str) -> Sample | None:
    """Return the fastest round, as what else the machine does only takes away from it."""
    found = [sample for sample in results.of(load.name, server) if not sample.error]
    return max(found, key=lambda sample: sample.rate, default=None)


def _both(*values: float | None) -> str:
    return " / ".join(tables.number(value) or "failed" for value in values)
