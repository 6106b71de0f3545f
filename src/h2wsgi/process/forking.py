"""What a forked child has of the servers of its parent: nothing.

Applications fork by ``os.fork``, ``multiprocessing``, ``pty`` or a ``preexec_fn``, on any thread.
The child is a copy of that one thread, with every descriptor, every signal handler, and every lock
as it was held just then. What must not live on there tells this module once, and is told in the
child, on its only thread, before ``fork`` returns to who called it.

The invariants: nothing that is done here reaches the parent, so descriptors go by ``close``
alone (the poller is shared: ``remove_reader`` would deafen the parent). No lock is taken that is
from before the fork. References are weak, as servers come and go.
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

if sys.platform == "win32":  # which does not fork
    from os import close as _close
else:
    # The system's own, whoever replaces that of os: gevent's waits for whoever uses a descriptor.
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
"""In a child: the one that has forked."""
_HELD_BACK = {
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
}
"""What waits while the process forks. Until the child has its own handlers, it would tell the
parent of a signal that was for the child."""


def tell_in_child(thing: Forkable) -> None:
    """Have ``thing.forked()`` called in each child that is forked from now on."""
    _told.add(thing)


def close_in_child(sock: socket.socket) -> None:
    """Have each child that is forked from now on close its copy of a socket."""
    _sockets.add(sock)


def accept(listening: socket.socket) -> tuple[socket.socket, Any]:
    """Accept a connection that each child closes, as none is forked before that is known."""
    with _forks:
        sock, address = listening.accept()
        _sockets.add(sock)
    return sock, address


def close_copy(descriptor: int) -> None:
    """Close the child's copy of a descriptor.

    gevent's greenlets go on in the child, the loop's too, and what they wait with must not find one
    closed that it watches: that ends the process. It finds one that is silent for ever.
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
    """End a forked child as ``sys.exit(code)`` does, but for what ``atexit`` has of the parent.

    Greenlets that look like threads go on in a child, all of them: others than the one that has
    forked get no further.
    """
    if threading.get_ident() != _child_thread:
        raise SystemExit
    if code is None and isinstance(error := sys.exception(), SystemExit):
        code = error.code  # on its way out, through a finally that leads here
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
            # Detached, or the object would close a descriptor that is another's by then.
            close_copy(sock.detach())
        for thing in list(_told):
            try:
                thing.forked()
            except Exception:  # the others are told all the same
                traceback.print_exc()
    finally:
        _after_fork()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork,
        after_in_child=_after_fork_in_child,
    )
