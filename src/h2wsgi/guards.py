"""A debug guard: which thread a method belongs to, checked when H2WSGI_THREAD_GUARD is set.

The mark is on the function either way, for the reader; the check costs nothing unless the
variable was set when the package was imported (the test suite sets it).
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

ACTIVE = os.environ.get("H2WSGI_THREAD_GUARD") == "1"

_role = threading.local()

P = ParamSpec("P")
T = TypeVar("T")


class WrongThread(AssertionError):
    """A method of one thread was called on another: a bug of ours."""


def set_role(role: str) -> None:
    """Say what the current thread is: ``"loop"``, ``"application"`` or ``""`` for neither."""
    _role.name = role


def loop_thread(method: Callable[P, T]) -> Callable[P, T]:
    """Mark a method that only the event loop's thread may call."""
    return _guarded(method, forbidden="application")


def application_thread(method: Callable[P, T]) -> Callable[P, T]:
    """Mark a method that may block, and that the event loop's thread therefore must not call."""
    return _guarded(method, forbidden="loop")


def _guarded(method: Callable[..., Any], *, forbidden: str) -> Callable[..., Any]:
    if not ACTIVE:
        return method

    @functools.wraps(method)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if getattr(_role, "name", "") == forbidden:
            raise WrongThread(f"{method.__qualname__} was called on the {forbidden} thread")
        return method(*args, **kwargs)

    return checked
