"""Which lines are a ``with`` statement's exit: the one place where a tracer breaks what is right.

CPython comes back to the line of the ``with`` to call ``__exit__``. What a tracer raises there is
raised before the call, and the lock stays held; no real exception can come at that point.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

Bodies = dict[int, list[tuple[int, int]]]
"""First and last line of the bodies of the ``with`` statements that begin on a line."""


@functools.cache
def with_bodies(path: str) -> Bodies:
    """Return where the bodies of a file's ``with`` statements are."""
    found: Bodies = {}
    for node in ast.walk(ast.parse(Path(path).read_text("utf-8"))):
        if isinstance(node, ast.With):
            body = (node.body[0].lineno, node.body[-1].end_lineno or node.body[-1].lineno)
            for item in node.items:
                first = item.context_expr.lineno
                for line in {node.lineno, first, item.context_expr.end_lineno or first}:
                    found.setdefault(line, []).append(body)
    return found


def is_exit(bodies: Bodies, line: int, before: int) -> bool:
    """Return whether a frame that was at line ``before`` has come to ``line`` to leave a body."""
    return any(first <= before <= last for first, last in bodies.get(line, ()))
