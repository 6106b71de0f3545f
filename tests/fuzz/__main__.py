"""``python -m fuzz``, from the folder ``tests``."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from pathlib import Path

# Before h2wsgi is imported: its methods check which thread they are called on.
os.environ["H2WSGI_THREAD_GUARD"] = "1"

import h2wsgi
from fuzz.hunt import explore, shrunk

PROGRESS = 10.0
"""Seconds between lines of progress."""


def main(arguments: list[str] | None = None) -> int:
    """Hunt, print what was found, and return 1 if anything was."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz the server.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--sessions", type=int, default=0, help="how many at most (0: any number)")
    parser.add_argument("--seed", type=int, help="where to begin (default: at random)")
    parser.add_argument("--session", type=int, help="play the session of this seed, no other")
    parser.add_argument("--engine", choices=("fast", "h2", "both"), default="both")
    parser.add_argument("--raw", action="store_true", help="show a finding as it was met")
    options = parser.parse_args(arguments)
    engines = ("fast", "h2") if options.engine == "both" else (options.engine,)
    if options.session is not None:
        return max(_play(options.session, engine, options.raw) for engine in engines)
    seed = random.SystemRandom().randrange(10**9) if options.seed is None else options.seed
    print(f"of {Path(h2wsgi.__file__).parent.parent}")
    print(f"from seed {seed}, engines {', '.join(engines)}, {options.seconds:g} s", flush=True)
    began = said = time.monotonic()
    count = 0
    while time.monotonic() - began < options.seconds:
        if options.sessions and count >= options.sessions:
            break
        for engine in engines:
            if _play(seed + count, engine, options.raw):
                return 1
        count += 1
        if time.monotonic() - said >= PROGRESS:
            said = time.monotonic()
            print(f"{said - began:6.0f} s  {count} sessions on each engine", flush=True)
    print(f"nothing found in {count} sessions on each engine", flush=True)
    return 0


def _play(seed: int, engine: str, raw: bool) -> int:
    case = explore(seed, engine)
    if case is None:
        return 0
    print(case if raw else shrunk(case), flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
