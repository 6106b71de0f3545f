"""``python -m chaos``: clients of four kinds, and a server to which things happen."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random, SystemRandom

from chaos.clients import PATIENCE, Client, CurlClient, HttpxClient, NodeClient, RawClient
from chaos.judge import Attempt, Judgement, Kill, Ledger, judge
from chaos.server import ENDS, EVENTS, Server

SHOWN = 20
"""Findings to print in full."""
KINDS: dict[str, type[Client]] = {
    each.kind: each for each in (RawClient, HttpxClient, CurlClient, NodeClient)
}


@dataclass(slots=True)
class Run:
    """What there is to judge."""

    attempts: list[Attempt] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    kills: list[Kill] = field(default_factory=list)
    stopped: float = float("inf")
    findings: list[str] = field(default_factory=list)
    """What was wrong beside the requests."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m chaos",
        description="Kill, reload, re-certify and fill the disk of workers under load.",
    )
    add = parser.add_argument
    add("--seconds", type=float, default=120, help="of the events (%(default)s)")
    add("--seed", type=int, help="of events and requests (default: another each time)")
    add("--events", help="some of: " + ",".join(dict.fromkeys(EVENTS)))
    add("--end", choices=ENDS, help="how it ends (default: as the seed says)")
    add("--clients", default=",".join(KINDS), help="some of: %(default)s")
    options = parser.parse_args()
    options.events = options.events.split(",") if options.events else list(EVENTS)
    options.clients = options.clients.split(",")
    if unknown := {*options.events} - {*EVENTS} | {*options.clients} - {*KINDS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if options.seed is None:
        options.seed = SystemRandom().randrange(100_000)
    return options


class Pipe:
    """The ledger's pipe, read as it fills."""

    def __init__(self, path: Path, ledger: Ledger) -> None:
        os.mkfifo(path)
        os.environ["CHAOS_LEDGER"] = str(path)
        self._own = os.open(path, os.O_RDWR)  # so that it has no end before close()
        self._ledger = ledger
        self._thread = threading.Thread(target=self._read, args=(path,), daemon=True)
        self._thread.start()

    def _read(self, path: Path) -> None:
        with path.open("rb") as file:
            for line in file:
                self._ledger.take(line.decode())

    def close(self) -> None:
        """Read what is left; all who write have ended."""
        os.close(self._own)
        self._thread.join(PATIENCE)


def chaos(folder: Path, options: argparse.Namespace) -> Run:
    """Run server and clients from beginning to end."""
    random = Random(options.seed)
    run = Run()
    began = time.time()

    def say(text: str) -> None:
        print(f"{time.time() - began:6.1f} s  {text}", flush=True)

    pipe = Pipe(folder / "ledger", run.ledger)
    with Server(folder, random) as server:
        port = server.port()
        clients = [
            KINDS[kind](port, str(server.ca), random, run.attempts) for kind in options.clients
        ]
        for client in clients:
            client.start()
        try:
            events(server, options, run, say)
            end = options.end or random.choice(ENDS)
            run.stopped = time.time()
            happen(server, end, run, say)
        finally:
            for client in clients:
                client.over.set()
            for client in clients:
                client.join(2 * PATIENCE)
        run.kills = server.kills
        for client in clients:
            if client.broke is not None or client.is_alive():
                run.findings.append(f"the client {client.kind} broke: {client.broke!r}")
        run.findings += server.torn_lines() + server.complaints()
    pipe.close()
    return run


def events(
    server: Server, options: argparse.Namespace, run: Run, say: Callable[[str], None]
) -> None:
    """Have things happen, all of them in another order in each round."""
    until = time.monotonic() + options.seconds
    deck: list[str] = []
    while time.monotonic() < until:
        if not deck:
            deck = list(options.events)
            server.random.shuffle(deck)
        time.sleep(server.random.uniform(0.1, 1.0))
        happen(server, deck.pop(), run, say)


def happen(server: Server, name: str, run: Run, say: Callable[[str], None]) -> None:
    """Do one thing, and tell what came of it."""
    try:
        came = getattr(server, name)()
    except (AssertionError, OSError) as error:
        run.findings.append(f"{name}: {error}")
        came = "NOT AS IT SHOULD BE"
    say(f"{name}: {came}" if came else name)


def table(found: Judgement) -> str:
    """Return the counts in Markdown."""
    lines = ["| client | requests | what became of them |", "| --- | ---: | --- |"]
    for kind, counts in found.counts.items():
        each = ", ".join(f"{count} {what}" for what, count in counts.most_common())
        lines.append(f"| {kind} | {counts.total()} | {each} |")
    return "\n".join(lines)


def main() -> int:
    options = arguments()
    again = f"--seed {options.seed}"
    print(f"{again}, {options.seconds:g} s, {', '.join(options.clients)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        run = chaos(Path(name), options)
    found = judge(run.attempts, run.ledger, run.kills, run.stopped)
    findings = run.findings + found.findings
    print(f"\n{table(found)}\n")
    print(f"{len(run.kills)} workers killed, {len(findings)} findings, {again}")
    for finding in findings[:SHOWN]:
        print(f"FOUND: {finding}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
