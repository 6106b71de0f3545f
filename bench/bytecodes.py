"""``python -m bench bytecodes``: bytecodes of h2wsgi a request, which no noise moves by much.

A tracer counts what CPython executes of the package's own code while a client of ours asks, on one
thread of the pool and asyncio's loop. It tells nothing of time, nor of what C does; but it is the
same on every machine, so a commit that makes a request longer is seen the day it is made:
tests/docs/test_cost.py compares it with bytecodes.json, where ``--write`` keeps it.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from bench import tables
from bench.loads import BROWSER, by_name

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "bench" / "bytecodes.json"
BATCH = 50
"""Requests in a run."""
RUNS = 29
"""Of which the one with the fewest counts: others met a timer, or a thread that came late."""
PATIENCE = 120.0
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

Counts = dict[str, float]


class Counter:
    """Counts bytecodes of files whose path holds ``part``, in threads made from here on."""

    def __init__(self, part: str) -> None:
        self._part = part
        self.count = 0

    def trace(self, frame: FrameType, _event: str, _argument: object) -> Any:
        """Follow a frame, if it is one of the package's."""
        if self._part not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._opcode

    def _opcode(self, _frame: FrameType, event: str, _argument: object) -> Any:
        if event == "opcode":
            self.count += 1
        return self._opcode


def measured(python: str) -> Counts:
    """Return the bytecodes a request of each load, counted by a process of this interpreter.

    Raises:
        subprocess.SubprocessError: it failed, or took longer than PATIENCE.
    """
    command = [python, "-c", "from bench import bytecodes; bytecodes.main()"]
    # Coverage would trace as well, and the guard of threads is the tests' own.
    others = ("COV", "H2WSGI_")
    environment = {name: text for name, text in os.environ.items() if not name.startswith(others)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=PATIENCE,
        check=True,
    )  # fmt: skip
    counts: Counts = json.loads(done.stdout)
    return counts


def main() -> None:
    """Count, and print the counts as JSON."""
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    counter = Counter("/src/h2wsgi/")
    threading.settrace(counter.trace)
    # Threads take turns where they wait, and nowhere else: else each run has other batches.
    sys.setswitchinterval(PATIENCE)
    sys.setswitchinterval = lambda interval, /: None
    import h2wsgi
    from bench import apps
    from support.peer import Peer, Setting, one_write

    def app(environ: apps.Environ, start_response: apps.StartResponse) -> Iterable[bytes]:
        answer = apps.echo if environ["REQUEST_METHOD"] == "POST" else apps.hello
        return answer(environ, start_response)

    fields = [tuple(field.split(": ", 1)) for field in BROWSER]
    numbers = itertools.count()
    with h2wsgi.serve_in_thread(app, h2c=True, threads=1, loop="asyncio") as server:
        port = int(server.url.rstrip("/").rpartition(":")[2])
        windows = {Setting.INITIAL_WINDOW_SIZE: 1 << 24}
        peer = Peer.connect(("127.0.0.1", port), tls=False, settings=windows, window=1 << 28)
        peer.auto_window = False  # when its WINDOW_UPDATE comes would be another thing each time

        def one_after_the_other() -> None:
            for _ in range(BATCH):
                peer.response(peer.request(path=by_name("latency").path))

        def at_once(ask: Callable[[], int]) -> Callable[[], None]:
            def play() -> None:
                with one_write(peer):
                    asked = [ask() for _ in range(BATCH)]
                for stream_id in asked:
                    peer.response(stream_id)

            return play

        hello, echo = by_name("hello"), by_name("echo")
        sized = [("content-length", str(echo.body))]
        plays = {
            "hello": at_once(lambda: peer.request(path=hello.path)),
            "varied": at_once(
                lambda: peer.request(path=f"{hello.path}?page={next(numbers)}", fields=fields)
            ),
            "echo": at_once(
                lambda: peer.request("POST", path=echo.path, fields=sized, body=bytes(echo.body))
            ),
            "latency": one_after_the_other,
        }
        sys.stdout.write(json.dumps({name: _fewest(play, counter) for name, play in plays.items()}))
        peer.close()


def _fewest(play: Callable[[], None], counter: Counter) -> float:
    found = []
    for _ in range(RUNS + 1):  # the first one fills memories
        counter.count = 0
        play()
        time.sleep(0.02)  # for what is done behind the last response
        found.append(counter.count / BATCH)
    return round(min(found[1:]), 1)


def kept() -> dict[str, Counts]:
    """Return the counts that are kept, by the version of Python."""
    known: dict[str, Counts] = json.loads(KEPT.read_text("utf-8"))
    return known


def report(python: Path, *, write: bool) -> str:
    """Measure; return a table beside what is kept, and keep it if told to."""
    counts = measured(str(python))
    known = kept()
    before = known.get(VERSION, {})
    rows = [
        [name, f"{count:,.0f}", f"{before.get(name, 0):,.0f}"] for name, count in counts.items()
    ]
    if write:
        known[VERSION] = counts
        KEPT.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", "utf-8")
    head = ["load", f"bytecodes a request, Python {VERSION}", "kept"]
    return tables.table(head, rows)
