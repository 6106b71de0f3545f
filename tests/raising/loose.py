"""What is raised without a tracer: into threads from outside, and near the recursion limit."""

from __future__ import annotations

import ctypes
import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from raising import inside
from raising.notes import WHOLE, Interrupted, Notes
from raising.outgoing import PIECES, PLAIN, Environ, Start
from raising.runs import Outcome, Play
from raising.scenarios import SCENARIOS, Scenario, get, post_in_pieces, post_whole
from raising.site import Site
from raising.tracer import Aim, Tracer
from support.recursion import at_the_limit

ASYNC = "async"
RECURSION = "recursion"
PARTS = (ASYNC, RECURSION)

# ------------------------------------------------------------------ raised from another thread

MIXED = "mixed"
"""The one name of the run with exceptions from another thread: it plays many scenarios."""
STRUCK = ("list", "list-declared", "generator", "generator-declared", "write", "room-write",
          "room-generator", "post-whole", "read-n", "read-all", "readline", "iteration", "echo",
          "caught-write", "caught-room", "caught-500", "ceiling")  # fmt: skip
"""None in which the application itself loses count if it is struck in its own lines."""
PAUSE = 0.0004
"""Seconds between two exceptions, at most."""


class Striker(Tracer):
    """Raises in the threads that run applications, at any moment, while it is armed."""

    def __init__(self, site: Site, choose: random.Random) -> None:
        super().__init__()
        self._site = site
        self._choose = choose
        self._lock = threading.Lock()
        self._armed = False
        self._armed_now = threading.Event()
        self.strikes = 0
        threading.Thread(target=self._strike, daemon=True).start()

    def arm(self, aim: Aim) -> None:
        """Raise from here on."""
        self._armed = True
        self._armed_now.set()

    def disarm(self) -> None:
        """Raise no more. What was raised may strike a little later."""
        with self._lock:
            self._armed = False
            self._armed_now.clear()

    def _strike(self) -> None:
        raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
        while True:
            self._armed_now.wait()
            time.sleep(self._choose.random() * PAUSE)
            with self._lock:
                if self._armed:
                    for thread in inside.running_threads(self._site.server):
                        raise_in(ctypes.c_ulong(thread), ctypes.py_object(Interrupted))
                        self.strikes += 1


def strike(site: Site, seed: int, seconds: float) -> Iterator[tuple[int, str, Outcome]]:
    """Play scenarios whose threads are struck; yield number, name and outcome of each run."""
    # Both are called on the threads that are struck, to show what was not caught.
    threading.excepthook = lambda details: None
    sys.unraisablehook = lambda details: None
    # So is what a handler does, whose lock logging takes by acquire and try: with a gap.
    logging.lastResort = logging.NullHandler()  # type: ignore[assignment]
    choose = random.Random(seed)
    striker = Striker(site, choose)
    play = Play(site, striker)
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until:
        number += 1
        scenario = SCENARIOS[choose.choice(STRUCK)]
        before = striker.strikes
        outcome = play.without_tracer(scenario)
        yield number, f"{scenario.name}, struck {striker.strikes - before} times", outcome


# ------------------------------------------------------------------- near the recursion limit

FRAMES_LEFT = range(61)
Call = Callable[[Environ, Start, Notes], object]


def _reading(read: Callable[[Any], bytes]) -> Callable[[int], Scenario]:
    """Return what makes a scenario that reads near the limit, and then all the rest."""

    def make(left: int) -> Scenario:
        def app(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
            source = environ["wsgi.input"]
            at_the_limit(left, lambda: notes.read.append(read(source)))
            notes.read.append(source.read())
            notes.saw_end = True
            return _answer(start, notes)

        return Scenario("", app, post_in_pieces if left % 2 else post_whole)

    return make


def _calling(call: Call) -> Callable[[int], Scenario]:
    """Return what makes a scenario with a call near the limit, and an answer behind it."""

    def make(left: int) -> Scenario:
        def app(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
            at_the_limit(left, lambda: call(environ, start, notes))
            return _answer(start, notes)

        return Scenario("", app, get)

    return make


def _answer(start: Start, notes: Notes) -> Iterable[bytes]:
    notes.expected = WHOLE
    start("200 OK", PLAIN)
    return [WHOLE]


def _starting(left: int) -> Scenario:
    def app(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
        notes.expected = WHOLE
        if not at_the_limit(left, lambda: start("200 OK", PLAIN)):
            start("200 OK", PLAIN, (None, None, None))  # the first may have come to its end
        return [WHOLE]

    return Scenario("", app, get)


def _write(left: int, write: Callable[[bytes], object], piece: bytes, notes: Notes) -> None:
    notes.pieces.append((piece, False))
    if at_the_limit(left, lambda: write(piece)):
        notes.pieces[-1] = (piece, True)


def _writing(left: int) -> Scenario:
    def app(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
        write = start("200 OK", PLAIN)
        for piece in PIECES:
            _write(left, write, piece, notes)
        notes.pieces.append((WHOLE, True))
        return [WHOLE]

    return Scenario("", app, get)


def _writing_in_a_generator(left: int) -> Scenario:
    def app(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
        write = start("200 OK", PLAIN)
        for piece in PIECES:
            _write(left, write, piece, notes)
            notes.pieces.append((WHOLE, True))
            yield WHOLE

    return Scenario("", app, get)


ENTRANCES: dict[str, Callable[[int], Scenario]] = {
    "read(1)": _reading(lambda source: source.read(1)),
    "read(4)": _reading(lambda source: source.read(4)),
    "read(1000)": _reading(lambda source: source.read(1000)),
    "readline": _reading(lambda source: source.readline()),
    "iteration": _reading(lambda source: next(iter(source), b"")),
    "write": _writing,
    "start_response": _starting,
    "ping": _calling(lambda environ, start, notes: environ["h2wsgi.stream"].ping()),
    "reset": _calling(lambda environ, start, notes: environ["h2wsgi.stream"].reset()),
    "send_informational": _calling(
        lambda environ, start, notes: environ["h2wsgi.stream"].send_informational(102)
    ),
    "early_hints": _calling(
        lambda environ, start, notes: environ["wsgi.early_hints"]([("link", "</a>; rel=preload")])
    ),
    "generator": _writing_in_a_generator,
    "errors": _calling(lambda environ, start, notes: environ["wsgi.errors"].write("a line\n")),
}
"""What is called near the limit, by the name of a scenario."""


def recurse(site: Site, entrance: str, frames: Iterable[int]) -> Iterator[tuple[int, str, Outcome]]:
    """Call an entrance with so many frames left, each in turn; yield them, a name and outcomes."""
    play = Play(site, Tracer())
    for left in frames:
        scenario = ENTRANCES[entrance](left)
        yield left, f"{left} frames left", play.without_tracer(scenario)
