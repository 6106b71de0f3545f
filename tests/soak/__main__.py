"""``python -m soak``: a mixed load for some minutes, and what the server is like at both ends."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from soak.clients import Clients
from soak.tally import Latencies, Tally
from soak.watch import MIB, Look, average, look
from support.load_client import LoadConnection, client_context
from support.process import ServerProcess

POOL_PATIENCE = 30.0
"""Seconds without work after which the pool's threads end."""
STOP_PATIENCE = 40.0
"""Seconds the server gets to end."""
SETTLING = 1.0
"""Seconds between the first visit and the look at the server as it starts."""
SHOWN = 10
"""Errors to print in full."""


@dataclass(frozen=True, slots=True)
class Span:
    """What one span of the load was like."""

    requests: int
    small: Latencies
    large: Latencies
    server: Look


@dataclass(frozen=True, slots=True)
class Outcome:
    """What there is to judge."""

    start: Look
    """Before the load, idle."""
    first: Span
    last: Span
    idle: Look
    """After the load, when all clients are gone."""
    tally: Tally
    exit_code: int
    complaints: list[str]
    """What the server logged as an error."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m soak",
        description="Mix good clients, slow ones, resets and hang-ups for some minutes.",
    )
    parser.add_argument("--minutes", type=float, default=20, help="of the load (%(default)s)")
    parser.add_argument(
        "--warm-up",
        type=float,
        default=30,
        help="seconds before that, not looked at (%(default)s)",
    )
    parser.add_argument(
        "--idle", type=float, default=40, help="seconds of rest at the end (%(default)s)"
    )
    parser.add_argument("--engine", default="auto", help="the server's (%(default)s)")
    parser.add_argument("--loop", default="auto", help="the server's (%(default)s)")
    parser.add_argument(
        "--growth", type=float, default=32, help="MiB the server may grow by (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the mixture (%(default)s)")
    parser.add_argument("options", nargs="*", help="more options of the server, behind --")
    return parser.parse_args()


async def load(port: int, pid: int, options: argparse.Namespace) -> tuple[list[Span], Tally]:
    """Run the clients; return every span of their time."""
    seconds = options.minutes * 60
    span = min(60.0, seconds / 3)
    tally = Tally()
    clients = asyncio.create_task(Clients(port, tally, Random(options.seed)).run())
    spans: list[Span] = []
    try:
        await rest(clients, options.warm_up)
        tally.take()
        for number in range(1, max(round(seconds / span), 2) + 1):
            before = tally.requests
            looks = []
            until = time.monotonic() + span
            while time.monotonic() < until:
                await rest(clients, min(1.0, span / 3))
                looks.append(look(pid))
            small, large = tally.take()
            spans.append(Span(tally.requests - before, small, large, average(looks)))
            print(f"{number * span / 60:5.1f} min: {line(spans[-1], tally)}", flush=True)
    finally:
        clients.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await clients
    return spans, tally


async def rest(clients: asyncio.Task[None], seconds: float) -> None:
    """Let the clients run; raise what one of them raised."""
    done, _ = await asyncio.wait([clients], timeout=seconds)
    for task in done:
        task.result()


def line(span: Span, tally: Tally) -> str:
    rss, pss, threads, descriptors = span.server.cells()
    return (
        f"{span.requests} good requests, {len(tally.errors)} errors so far; "
        f"small {span.small.text()} ms, large {span.large.text()} ms; "
        f"RSS {rss} MiB, PSS {pss} MiB, {threads} threads, {descriptors} descriptors"
    )


async def visit(port: int) -> None:
    """Ask once, so that what is made with the first connection is there."""
    connection = await LoadConnection.connect(port, client_context())
    await connection.whole(connection.request("/hello/0"))
    connection.close()
    await connection.wait_lost()


def soak(folder: Path, options: argparse.Namespace) -> Outcome:
    """Run a server and its clients from beginning to end."""
    given = ["--engine", options.engine, "--loop", options.loop, "--access-log-file", os.devnull]
    with ServerProcess(folder, "from soak.app import app\n", *given, *options.options) as server:
        port, pid = server.port(), server.process.pid
        asyncio.run(visit(port))
        time.sleep(SETTLING)
        start = look(pid)
        spans, tally = asyncio.run(load(port, pid, options))
        time.sleep(options.idle)
        until = time.monotonic() + STOP_PATIENCE
        while (idle := look(pid)).descriptors > start.descriptors and time.monotonic() < until:
            time.sleep(SETTLING)  # a busy machine closes the last connections late
        server.signal(signal.SIGTERM)
        code = server.exit_code(STOP_PATIENCE)
        complaints = [str(e) for e in server.lines() if e.get("level") in ("error", "critical")]
    return Outcome(start, spans[0], spans[-1], idle, tally, code, complaints)


def table(outcome: Outcome) -> str:
    """Return the figures in Markdown."""
    first, last = outcome.first, outcome.last
    looks = [outcome.start, first.server, last.server, outcome.idle]
    rows = [
        ["", "before", "first minute", "last minute", "after, idle"],
        ["---", "---:", "---:", "---:", "---:"],
    ]
    for name, cells in zip(
        ("RSS, MiB", "PSS, MiB", "threads", "descriptors"),
        zip(*(one.cells() for one in looks), strict=True),
        strict=True,
    ):
        rows.append([name, *cells])
    rows += [
        ["good requests", "", str(first.requests), str(last.requests), ""],
        ["small requests, ms", "", first.small.text(), last.small.text(), ""],
        ["large requests, ms", "", first.large.text(), last.large.text(), ""],
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def failures(outcome: Outcome, options: argparse.Namespace) -> list[str]:
    """Return what is not as it should be."""
    found = [f"good clients saw {len(outcome.tally.errors)} errors"] * bool(outcome.tally.errors)
    if not (outcome.first.requests and outcome.last.requests):
        found.append("good clients were not served")
    found += [f"the server logged: {text}" for text in outcome.complaints]
    if outcome.exit_code:
        found.append(f"the server ended with {outcome.exit_code}")
    start, first, idle = outcome.start, outcome.first.server, outcome.idle
    if idle.descriptors != start.descriptors:
        found.append(f"{start.descriptors} descriptors before, {idle.descriptors} after")
    if options.idle > POOL_PATIENCE and idle.threads > start.threads:
        found.append(f"{start.threads} threads before, {idle.threads} after")
    for when, now in (("in the last minute", outcome.last.server), ("after it all", idle)):
        if now.rss > first.rss + options.growth * MIB:
            grown = (now.rss - first.rss) / MIB
            found.append(f"{grown:.1f} MiB more {when} than in the first minute")
    return found


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        outcome = soak(Path(folder), options)
    others = ", ".join(f"{count} {name}" for name, count in sorted(outcome.tally.others.items()))
    print(f"\n{outcome.tally.requests} good requests; {others}\n\n{table(outcome)}\n")
    for error in outcome.tally.errors[:SHOWN]:
        print(f"error: {error}")
    found = failures(outcome, options)
    for failure in found:
        print(f"FAILED: {failure}")
    if not found:
        print("passed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
