"""``python -m bench instructions``: instructions a request, which noise hardly moves.

perf counts them where the machine lets it (many virtual ones do not); else valgrind's callgrind
does, which runs the server some fifty times slower. Both count the user's side only.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

from bench import loads, tables
from bench.h2load import Client, Failed, check
from bench.loads import Load
from bench.servers import Place, Running, Variant, run

EVENT = "instructions:u"
LOADS = ("hello", "varied", "echo", "latency", "flask")
"""Those that are counted: a request of the others takes too long, or waits."""
REQUESTS = 5_000
WARM_UP = 2_000
PATIENCE = 300.0
"""Seconds that one command of valgrind may take."""


def perf_counts() -> bool:
    """Say whether perf can count instructions on this machine."""
    if shutil.which("perf") is None:
        return False
    command = ["perf", "stat", "-x,", "-e", EVENT, "true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return done.returncode == 0 and re.search(r"^\d+,", done.stderr, re.MULTILINE) is not None


def send(server: Running, client: Client, load: Load, requests: int) -> None:
    check(client.run(load, server.port, ["-n", str(requests)]), requests, load.answer)


def with_perf(variant: Variant, load: Load, place: Place, client: Client) -> float:
    with run(variant, load, place) as server:
        send(server, client, load, WARM_UP)
        pids = ",".join(str(pid) for pid in server.pids())
        command = ["perf", "stat", "-x,", "-e", EVENT, "-p", pids]
        perf = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            time.sleep(0.5)
            send(server, client, load, REQUESTS)
        finally:
            perf.send_signal(signal.SIGINT)
            _, said = perf.communicate(timeout=30)
    counts = re.findall(r"^(\d+),", said, re.MULTILINE)
    if not counts:
        raise Failed("perf counted nothing")
    return sum(int(count) for count in counts) / REQUESTS


def control(option: str, pids: list[int]) -> None:
    for pid in pids:
        command = ["callgrind_control", option, str(pid)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            raise Failed(f"callgrind_control {option}: {done.stderr.strip()[:80]}")


def with_valgrind(variant: Variant, load: Load, place: Place, client: Client) -> float:
    """Set the counters of all processes to zero, send requests, and read them."""
    out = place.folder / f"callgrind-{variant.name}-{load.name}"
    prefix = ("valgrind", "--tool=callgrind", "--trace-children=yes", "--quiet")
    options = (f"--callgrind-out-file={out}.%p", "--combine-dumps=no")
    with run(variant, load, place, (*prefix, *options)) as server:
        send(server, client, load, WARM_UP)
        pids = server.pids()
        control("-z", pids)
        send(server, client, load, REQUESTS)
        control("-d", pids)
        total = sum(dumped(place, f"{out.name}.{pid}.1") for pid in pids)
    return total / REQUESTS


def dumped(place: Place, name: str) -> int:
    """Return the instructions in a dump of callgrind."""
    deadline = time.monotonic() + PATIENCE
    file = place.folder / name
    while time.monotonic() < deadline:
        if file.is_file() and (found := re.search(r"^totals: (\d+)", file.read_text(), re.M)):
            return int(found[1])
        time.sleep(0.2)
    raise Failed("callgrind wrote no dump")


def choose() -> tuple[str, Callable[[Variant, Load, Place, Client], float]] | None:
    if perf_counts():
        return "perf stat", with_perf
    if shutil.which("valgrind") and shutil.which("callgrind_control"):
        return "valgrind --tool=callgrind", with_valgrind
    return None


def measure(names: Sequence[str], variants: list[Variant], place: Place, client: Client) -> str:
    """Return a table in Markdown, or a sentence that says why there is none."""
    if (way := choose()) is None:
        return "Not measured: perf does not count here, and valgrind is not installed.\n"
    title, count = way
    # Hashes at random would change the way through some dicts from run to run.
    os.environ["PYTHONHASHSEED"] = "0"
    rows = []
    for name in names:
        row = [name]
        for variant in variants:
            try:
                row.append(f"{count(variant, loads.by_name(name), place, client):,.0f}")
            except (Failed, OSError, subprocess.SubprocessError) as error:
                row.append(f"failed: {error}")
        rows.append(row)
    head = ["load", *(variant.name for variant in variants)]
    return f"Instructions a request, counted by {title}:\n\n" + tables.table(head, rows)
