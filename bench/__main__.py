"""Measure HTTP/2 servers for WSGI side by side: CPU time a request, and more.

With no word: the comparison. "memory", "connections", "flat", "instructions", "workers" and
"bytecodes" measure that; "report" draws chart and tables of docs/ again from results.json. Whole
runs write into docs/, runs of some servers or some loads only print.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from bench import (
    bytecodes,
    connections,
    document,
    environment,
    flat,
    goals,
    instructions,
    loads,
    memory,
    servers,
    tables,
    workers,
)
from bench.compare import Bench
from bench.h2load import Client
from bench.loads import LOADS
from bench.results import Results, read, save
from bench.servers import ROOT, VARIANTS, Place, Variant

PATIENCE = 60.0
"""Seconds for one run of h2load at most."""
WORDS = (
    "compare", "memory", "connections", "flat", "instructions", "workers", "bytecodes", "report",
)  # fmt: skip
RESULTS = ROOT / "bench" / "results.json"
SECOND = ROOT / "bench" / "second.json"
CHOSEN = "BENCH_PYTHON"
"""Set where this is the interpreter that ``--python`` has chosen."""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("what", nargs="?", default="compare", choices=WORDS)
    add("--quick", action="store_true", help="one short round")
    add("--rounds", type=int, help="rounds (default: 3; 1 with --quick)")
    add("--seconds", type=float, help="of a run (default: 2; 0.7 with --quick)")
    add("--loads", help="some of: " + ",".join(load.name for load in LOADS))
    add("--servers", help="some of: " + ",".join(variant.name for variant in VARIANTS))
    add("--json", type=Path, help=f"file for the figures (whole runs: bench/{RESULTS.name})")
    add("--python", help="the interpreter for all servers (default: the one that runs this)")
    add("--second", action="store_true", help="compare two servers, for the section of this build")
    add("--write", action="store_true", help="bytecodes: keep them in bench/bytecodes.json")
    add("--source", type=Path, default=ROOT / "src", help="the folder that has h2wsgi in it")
    return parser.parse_args(arguments)


def chosen(names: str | None, known: list[str]) -> list[str]:
    """Return the known names that are asked for, in their own order; all if none is."""
    if names is None:
        return known
    found = names.split(",")
    if unknown := [name for name in found if name not in known]:
        raise SystemExit(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return [name for name in known if name in found]


def variants_of(options: argparse.Namespace, default: list[str]) -> list[Variant]:
    if options.servers is None:
        return [servers.by_name(name) for name in default]
    known = [variant.name for variant in VARIANTS]
    return [servers.by_name(name) for name in chosen(options.servers, known)]


@contextlib.contextmanager
def workshop(python: Path, source: Path) -> Iterator[tuple[Place, Client]]:
    """Yield where servers and where h2load run, with a folder of certificate and files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server_cpu, client_cpu = environment.cpus()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loads.write_files(folder)
        servers.make_certificate(folder)
        yield Place(python, folder, (server_cpu,), source), Client(folder, client_cpu, PATIENCE)


def compare(options: argparse.Namespace, python: Path) -> None:
    every = [variant.name for variant in VARIANTS]
    variants = variants_of(options, [goals.FAST, "granian"] if options.second else every)
    names = chosen(options.loads, [load.name for load in LOADS])
    results = Results(
        date=date.today().isoformat(),
        rounds=options.rounds or (1 if options.quick else 3),
        seconds=options.seconds or (0.7 if options.quick else 2.0),
        commit=environment.commit(),
        machine=environment.machine(),
        versions=environment.versions(python),
        commands=document.command_lines(),
        servers=[variant.name for variant in variants],
    )
    say(f"CPU microseconds of the server a request, medians of {results.rounds} rounds\n")
    say(tables.table(tables.comparison_head(results), []).rstrip())
    with workshop(python, options.source.resolve()) as (place, client):
        bench = Bench(place, client, results.seconds, warm_up=0.3 if options.quick else 0.5)
        for name in names:
            results.loads.append(name)
            results.samples += bench.rounds(loads.by_name(name), variants, results.rounds)
            say(tables.row(tables.comparison_row(results, name)))
    finish(options, results)


def finish(options: argparse.Namespace, results: Results) -> None:
    """Print the rest, and write what is to be written."""
    say("\nRequests a second\n\n" + tables.figure_table(results, "rate"))
    if "hello" in results.loads:
        say("MiB resident after hello\n\n" + tables.memory_table(results, "hello"))
    for line in tables.errors(results):
        say(f"failed: {line}")
    if options.json:
        save(results, options.json)
    elif whole(options):
        save(results, SECOND if options.second else RESULTS)
        (document.write_second if options.second else document.write_comparison)(results)


def whole(options: argparse.Namespace) -> bool:
    """Say whether a run is one for the document."""
    some = options.loads or options.servers or options.quick
    return not some and options.source == ROOT / "src"


def others(options: argparse.Namespace, python: Path) -> None:
    """Run one of the smaller measurements, print its table and keep it if the run is whole."""
    variants = variants_of(options, [goals.FAST, "granian"])
    with workshop(python, options.source.resolve()) as (place, client):
        if options.what == "memory":
            text = memory.measure(variants, place)
        elif options.what == "connections":
            text = connections.measure(variants, place, client)
        elif options.what == "flat":
            text = flat.measure(variants, place, client)
        elif options.what == "workers":
            rounds, seconds = options.rounds or 6, options.seconds or 1.0
            text = workers.measure(place, client, environment.cpus(), rounds, seconds)
        else:
            text = instructions.measure(
                chosen(options.loads, list(instructions.LOADS)), variants, place, client
            )
    say(text)
    if whole(options):
        document.write(f"bench:{options.what}", text)


def main(arguments: list[str]) -> None:
    options = parse(arguments)
    if options.python and not os.environ.get(CHOSEN):
        os.environ[CHOSEN] = options.python
        os.execvp(options.python, [options.python, "-m", "bench", *arguments])
    # As with Ctrl-C, end the server that runs.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if options.what == "report":
        document.write_comparison(read(options.json or RESULTS))
        document.write_second(read(SECOND))
        return
    try:
        python = environment.prepare()
    except environment.Missing as error:
        raise SystemExit(str(error)) from None
    if options.what == "bytecodes":
        say(bytecodes.report(python, write=options.write))
    else:
        (compare if options.what == "compare" else others)(options, python)


if __name__ == "__main__":
    main(sys.argv[1:])
