"""Prints the way of one warm GET through the server, function by function: ``python -m docs.walk``.

A server in this process answers the same request again and again on one cleartext connection, with
a list as its application returns it. The functions of ours that are entered are noted on the loop's
thread and on the application's, from the read that brings the request to the next read. What is
printed is the way that came most often: now and then a clock is looked at in between. Two are the
same if each thread goes the same way, whichever of them is ahead. Run it from the folder ``tests``.
"""

from __future__ import annotations

import ast
import functools
import io
import itertools
import sys
import threading
import time
import tokenize
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import h2wsgi
from support.peer import Peer

SOURCE = Path(h2wsgi.__file__).parent
WARM_UP = 4
"""Requests before the first that is noted: the first fill the tables and memories."""
REQUESTS = 9
QUIET = 0.05
"""Seconds without a step after which the server has come to the end of what it does."""


class Step(NamedTuple):
    """A function that was entered."""

    file: str
    """In ``src/h2wsgi``, with slashes."""
    function: str
    """Its qualified name, as ``H2Protocol.receive``."""
    line: int
    """Where it begins."""
    thread: str
    """``"loop"`` or ``"application"``."""

    def __str__(self) -> str:
        return f"{self.file} {self.function}"


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"Hello, world!\n"]


class Tracer:
    """Notes what is entered on threads that begin while it is active."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.codes: dict[int, tuple[str, str, int] | None] = {}
        """By identity: code of two files that reads the same is equal."""

    def __enter__(self) -> Tracer:
        threading.setprofile(self.entered)
        return self

    def __exit__(self, *_: object) -> None:
        threading.setprofile(None)

    def entered(self, frame: FrameType, event: str, arg: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        if id(code) not in self.codes:
            self.codes[id(code)] = _of_ours(code)
        if (ours := self.codes[id(code)]) is not None:
            name = threading.current_thread().name
            self.steps.append(Step(*ours, "application" if "-app-" in name else "loop"))


def _of_ours(code: CodeType) -> tuple[str, str, int] | None:
    """Return file, name and line of a function of the server; comprehensions are part of theirs."""
    path = Path(code.co_filename)
    if not path.is_relative_to(SOURCE) or code.co_name.startswith("<"):
        return None
    file = path.relative_to(SOURCE).as_posix()
    # The thread guard, which is only there in tests, wraps functions in one of its own.
    return None if file == "seam/guards.py" else (file, code.co_qualname, code.co_firstlineno)


def walk() -> list[Step]:
    """Return what a warm GET enters, in order."""
    ways: list[list[Step]] = []
    with Tracer() as tracer, h2wsgi.serve_in_thread(hello, h2c=True, engine="fast") as server:
        port = int(server.url.rstrip("/").rpartition(":")[2])
        with Peer.connect(("127.0.0.1", port), tls=False) as peer:
            for number in range(WARM_UP + REQUESTS):
                tracer.steps.clear()
                assert peer.get("/hello").status == 200
                _wait_for_the_end(server, tracer)
                if number >= WARM_UP:
                    ways.append(_one_read(tracer.steps))
    often = Counter(map(_by_thread, ways))
    return max(ways, key=lambda way: often[_by_thread(way)])


def _wait_for_the_end(server: h2wsgi.ServerThread, tracer: Tracer) -> None:
    before = -1
    while server.server.busy_threads or before != len(tracer.steps):
        before = len(tracer.steps)
        time.sleep(QUIET)


def _by_thread(steps: list[Step]) -> tuple[tuple[Step, ...], ...]:
    """Return the steps of each thread."""
    threads = ("loop", "application")
    return tuple(tuple(step for step in steps if step.thread == name) for name in threads)


def _one_read(steps: list[Step]) -> list[Step]:
    """Leave out what comes with the next read: the peer's WINDOW_UPDATE for the response."""
    reads = [n for n, step in enumerate(steps) if step.function == "H2Protocol.get_buffer"]
    return steps[: reads[1]] if len(reads) > 1 else list(steps)


def body_lines(step: Step) -> int:
    """Return how many lines a function's body has, docstring, comments and empty lines left out."""
    tree, with_code = _parsed(step.file)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first == step.line and node.name == step.function.rpartition(".")[2]:
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                if not body:
                    return 0
                lines = range(body[0].lineno, (node.end_lineno or 0) + 1)
                return len(with_code.intersection(lines))
    raise LookupError(f"{step} is not where it was: line {step.line}")


@functools.cache
def _parsed(file: str) -> tuple[ast.Module, set[int]]:
    text = (SOURCE / file).read_text("utf-8")
    with_code: set[int] = set()
    nothing = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in nothing:
            with_code.update(range(token.start[0], token.end[0] + 1))
    return ast.parse(text), with_code


class Counts(NamedTuple):
    """How much somebody reads who follows a walk."""

    files: int
    functions: int
    lines: int
    changes: int
    """Of file, from one function that is entered to the next."""


def counts(steps: list[Step]) -> Counts:
    """Count a walk; a function that is entered twice counts once, but for the changes of file."""
    functions = {step[:3] for step in steps}
    lines = sum(body_lines(Step(*function, "")) for function in functions)
    changes = sum(a.file != b.file for a, b in itertools.pairwise(steps))
    return Counts(len({step.file for step in steps}), len(functions), lines, changes)


def main() -> None:
    """Print a walk and its counts."""
    steps = walk()
    for number, step in enumerate(steps, 1):
        print(f"{number:3}  {step.thread:11}  {body_lines(step):3} lines  {step}")
    found = counts(steps)
    print(
        f"\n{found.files} files, {found.functions} functions, {found.lines} lines of function "
        f"bodies, {found.changes} changes of file"
    )


if __name__ == "__main__":
    sys.exit(main())
