"""Calls near the recursion limit, as of an application that has recursed too far."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any


def at_the_limit(left: int, call: Callable[[], object]) -> bool:
    """Make a call with about ``left`` frames left; False if that ends in a RecursionError.

    It is caught far below, where there is room again.
    """

    def descend(frames: int) -> None:
        if frames > 0:
            descend(frames - 1)
        else:
            call()

    depth = len(list(_frames()))
    try:
        descend(sys.getrecursionlimit() - depth - left)
    except RecursionError:
        return False
    return True


def _frames() -> Iterator[object]:
    frame: Any = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back
