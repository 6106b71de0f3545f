"""A debug guard: which thread a method belongs to, checked when H2WSGI_THREAD_GUARD is set.

The mark is on the function either way, for the reader; the check costs nothing unless the
variable was set when the package was imported (the test suite sets it).
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, ParamSpec, TypeVar

from ..errors import WouldBlock

ACTIVE = os.environ.get("H2WSGI_THREAD_GUARD") == "1"

_role = threading.local()

P = ParamSpec("P")
T = TypeVar("T")


class WrongThread(AssertionError):
    """A method of one thread was called on another: a bug of ours."""


def set_role(role: str) -> None:
    """Say what the current thread is: ``"loop"``, ``"application"`` or ``""`` for neither."""
    global _role
    if type(_role) is not threading.local:  # Replaced by gevent or eventlet since.
        _role = threading.local()
    _role.name = role


_LOCKING: set[str] = set()
_OUTERMOST: set[CodeType] = set()


def may_hold_locks(file: str) -> None:
    """Say that functions of this file hold locks that others need to get on."""
    _LOCKING.add(file)


def outermost(function: Callable[P, T]) -> Callable[P, T]:
    """Mark a function of such a file that applications are called below, and that holds none."""
    _OUTERMOST.add(function.__code__)
    return function


def kernel(function: Callable[P, T]) -> Callable[P, T]:
    """Mark one of the few functions that put in order what was interrupted.

    Nothing may be raised in their own lines; docs/internals.md says for each why nothing is.
    """
    return function


def require_may_wait() -> None:
    """Refuse to let the calling thread wait where that would stop others for good.

    A finalizer runs wherever the garbage collector starts: on the loop's thread, or on a thread
    that holds a lock of the server. In an ordinary wait the functions that may hold one are the
    innermost. Any behind the application's frames means that one of them was interrupted.

    Raises:
        WouldBlock: the thread may not wait.
    """
    if getattr(_role, "name", "") == "loop":
        raise WouldBlock("the event loop's thread cannot wait (a finalizer ran on it?)")
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename in (__file__, *_LOCKING):
        frame = frame.f_back
    while frame is not None:
        if frame.f_code.co_filename in _LOCKING and frame.f_code not in _OUTERMOST:
            raise WouldBlock("a finalizer that interrupted the server's own work cannot wait")
        frame = frame.f_back


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
