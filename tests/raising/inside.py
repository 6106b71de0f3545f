"""The one module that knows the server's internals: which files, which threads, which counts."""

from __future__ import annotations

import ast
import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h2wsgi
from support import settled

PACKAGE = Path(h2wsgi.__file__).parent

FLAT_SEAM = ("handover.py", "mailbox.py", "stream.py", "stream_control.py", "stream_input.py",
             "stream_waits.py", "overtime.py")  # fmt: skip
"""The seam's files where they lie flat beside the packages."""

KERNEL: frozenset[str] = frozenset()
"""Functions that restore state and cannot be raised in, as ``seam/handover.py:Handover.undo``.

Those that the source itself marks with a decorator ``kernel`` need no entry.
"""
KERNEL_MARK = "kernel"

APPLICATION = "application"
LOOP = "loop"
_ROLES = {"h2wsgi-app-": APPLICATION, "h2wsgi-loop": LOOP}

JOB = ("runner.py", "run")
"""File and function that a thread of the pool enters with each request."""


def _folder(name: str) -> Iterator[Path]:
    return (PACKAGE / name).rglob("*.py")


def seam() -> set[Path]:
    """Return the files of the seam between the loop and the application's threads."""
    flat = {PACKAGE / name for name in FLAT_SEAM}
    return {path for path in flat if path.exists()} | set(_folder("seam"))


@functools.cache
def files(role: str) -> frozenset[str]:
    """Return the files whose lines count on threads of ``role``."""
    where = seam() | set(_folder("wsgi" if role == APPLICATION else "http2"))
    return frozenset(str(path) for path in where)


@functools.cache
def kernel_lines(path: str) -> frozenset[int]:
    """Return the first line of each function in a file that belongs to the kernel.

    As code objects have it: that of the first decorator, where there is one.
    """
    tree = ast.parse(Path(path).read_text("utf-8"))
    marked: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "KERNEL" for target in node.targets
        ):
            marked |= {c.value for c in ast.walk(node.value) if isinstance(c, ast.Constant)}
    relative = Path(path).relative_to(PACKAGE).as_posix()
    found = set()
    for name, function in _functions(tree, ""):
        decorators = [ast.unparse(d).rpartition(".")[2] for d in function.decorator_list]
        if KERNEL_MARK in decorators or name in marked or f"{relative}:{name}" in KERNEL:
            found.add(min([function.lineno, *(d.lineno for d in function.decorator_list)]))
    return frozenset(found)


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            name = f"{prefix}{child.name}"
            if isinstance(child, ast.FunctionDef):
                yield name, child
            yield from _functions(child, f"{name}.")


def role_of(name: str) -> str:
    """Return what a thread of this name is for the server, "" for none of its own."""
    return next((role for start, role in _ROLES.items() if name.startswith(start)), "")


def application_threads() -> list[threading.Thread]:
    """Return the pool's threads that are alive."""
    return [t for t in threading.enumerate() if role_of(t.name) == APPLICATION]


def pool_of(server: Any) -> Any:
    """Return the pool of a server in a thread."""
    return server.server._pool


def pool_threads(server: Any) -> int:
    """Return how many threads the pool believes it has."""
    return int(pool_of(server).threads)


def retire_idle_threads(server: Any) -> None:
    """End the pool's idle threads: the next job begins one, which is traced from its start."""
    pool = pool_of(server)
    with pool._lock:
        while pool._idle:
            pool._end_locked(pool._idle.pop())


def on_loop(server: Any, call: Callable[..., object], *arguments: object) -> None:
    """Have ``call`` made on the loop's thread."""
    server._loop.call_soon_threadsafe(call, *arguments)


def running_threads(server: Any) -> list[int]:
    """Return the threads that have been called with a job, and are not done with it."""
    workers = list(pool_of(server)._workers.items())
    return [thread.ident for worker, thread in workers if worker.begun and thread.ident]


def waiting(server: Any) -> int:
    """Return how many application threads wait on their clients."""
    return settled.waiting_on_clients(server)


def remains(server: Any) -> dict[str, object]:
    """Return every count that is not at its start, by name."""
    left = settled.remains(server)
    stuck = server.server.stuck_threads
    return left | ({"stuck threads": stuck} if stuck else {})


def open_connections(server: Any) -> int:
    """Return how many connections the server has open."""
    return int(server.server.open_connections)


def busy(server: Any) -> int:
    """Return how many of the pool's threads are inside an application."""
    return int(server.server.busy_threads)
