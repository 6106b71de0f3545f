"""Takes the servers of its parent out of a forked child.

Applications fork by ``os.fork``, ``multiprocessing``, ``pty`` or a ``preexec_fn``, on any thread.
The child is a copy of that one thread, with every descriptor, every signal handler, and every lock
as it was held just then. An object that must not live on there is registered here once, and is told
in the child, on its only thread, before ``fork`` returns to its caller.

The invariants: nothing that is done here reaches the parent, so descriptors are only closed (the
poller is shared: ``remove_reader`` would deafen the parent). No lock from before the fork is taken.
References are weak, as servers come and go.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import traceback
import weakref
from contextlib import suppress
from typing import Any, NoReturn, Protocol

if sys.platform == "win32":  # never forks
    from os import close as _close
else:
    # The system's own, even if os.close is replaced: gevent's waits for users of the descriptor.
    from posix import close as _close


class Forkable(Protocol):
    """Something that is different in a forked child."""

    def forked(self) -> None:
        """The process is a forked child from now on. Called again in a child of the child."""


_told: weakref.WeakSet[Forkable] = weakref.WeakSet()
_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
_forks = threading.RLock()
"""Held while the process forks. Re-entrant, as a finalizer may fork inside.

Looked up at each use, as eventlet replaces locks.
"""
_masks: list[set[int]] = []
"""The signals that were blocked before each fork that is under way."""
_child_thread = 0
"""In a child: the thread that called fork."""
_HELD_BACK = {
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
}
"""Signals that wait while the process forks. Until the child has its own handlers, it would tell
the parent of a signal that was for the child."""


def tell_in_child(thing: Forkable) -> None:
    """Have ``thing.forked()`` called in each child that is forked from now on."""
    _told.add(thing)


def close_in_child(sock: socket.socket) -> None:
    """Have each child that is forked from now on close its copy of a socket."""
    _sockets.add(sock)


def accept(listening: socket.socket) -> tuple[socket.socket, Any]:
    """Accept a connection that each child closes: none is forked before it is registered."""
    with _forks:
        sock, address = listening.accept()
        _sockets.add(sock)
    return sock, address


def close_copy(descriptor: int) -> None:
    """Close the child's copy of a descriptor.

    gevent's greenlets go on in the child, the loop's too. If a descriptor that they wait for were
    closed, that would end the process, so a descriptor that stays silent takes its place.
    """
    with suppress(OSError):  # somebody has closed it before
        if descriptor >= 0 and _gevent_waits():
            silent = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            os.dup2(silent, descriptor, inheritable=False)
            descriptor = silent
        _close(descriptor)


def _gevent_waits() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return hasattr(os, "eventfd") and monkey is not None and monkey.is_module_patched("select")


def end_child(code: object = None) -> NoReturn:
    """End a forked child as ``sys.exit(code)`` does, but without the parent's ``atexit`` functions.

    Greenlets that look like threads all go on in a child: only the one that forked may end the
    process, and any other ends here.
    """
    if threading.get_ident() != _child_thread:
        raise SystemExit
    if code is None and isinstance(error := sys.exception(), SystemExit):
        code = error.code  # it is being raised, and a `finally` on its way led here
    if code is None or isinstance(code, int):
        status = (code or 0) & 0xFF
    else:
        status = 1
        with suppress(Exception):
            sys.stderr.write(f"{code}\n")
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status)


def _before_fork() -> None:
    _forks.acquire()
    _masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK))


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.pop())
    _forks.release()


def _after_fork_in_child() -> None:
    global _child_thread
    try:
        _child_thread = threading.get_ident()
        for sock in list(_sockets):
            # Detached, or the object would later close a descriptor that is another's by then.
            close_copy(sock.detach())
        for thing in list(_told):
            try:
                thing.forked()
            except Exception:  # the others must be told all the same
                traceback.print_exc()
    finally:
        _after_fork()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork,
        after_in_child=_after_fork_in_child,
    )
