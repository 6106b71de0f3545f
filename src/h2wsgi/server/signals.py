"""What signals ask of a process that serves.

    SIGTERM, SIGINT, SIGQUIT  stop gracefully; another of them, or the same a second later, ends
                              the process at once
    SIGHUP                    open the log files anew, and read the certificates anew; but stop, as
                              SIGTERM does, if there was a terminal at the start, as its window was
                              closed
    SIGUSR1                   open the log files anew
    SIGUSR2                   nothing, which is said

Main thread. SIGTERM and SIGINT are always the server's, also where they are blocked. The others are
if nobody catches or ignores them: an application, ``faulthandler`` or ``nohup`` have theirs. They
are taken before the application is imported, which may be for long, as their own action would end
the process: what asks to stop raises :class:`Stopped` from the first ``stop_if_asked`` on, the rest
is done once there is a server. A forked child has the handlers that were there before: a loop's do
nothing but write to a pipe, which the parent hears. A worker of several leaves it to its supervisor
what a terminal sends to all of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Self

from ..log.logs import Log, named
from ..process.clock import clock
from ..process.forking import tell_in_child
from ..process.handlers import (
    Handler,
    caught_by_anybody,
    comes_again,
    found,
    free,
    has_terminal,
    is_free,
    unblock,
)
from .ending import end_process

ALWAYS = ("SIGINT", "SIGTERM")
IF_FREE = ("SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2")
"""Windows has none of them."""

TERMINALS = ("SIGINT", "SIGQUIT", "SIGHUP")
"""What a terminal sends to all processes at once: of workers, their supervisor tells them."""


class Stopped(BaseException):
    """A signal asked to stop before there was a server.

    No Exception, as an application that is being imported may catch all of those.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = signal.Signals(number).name
        super().__init__(f"{self.name}: stopped before anything was served")


class Signals:
    """The signals of one run of a server. Made before its application is imported."""

    def __init__(self, *, of_worker: bool = False) -> None:
        self._of_worker = of_worker
        self.log: Log | None = None
        """Where to say what is done, once there is one."""
        self._found = found(ALWAYS) | free(IF_FREE)
        """What was there before, of the signals that are ours."""
        self._ours: dict[signal.Signals, Handler] = {}
        """What is there as long as it is ours."""
        self._in_c: dict[signal.Signals, int] = {}
        """What C calls for those."""
        self._blocked: set[int] = set()
        """What was blocked, and is not as long as it is ours."""
        self._has_terminal = has_terminal()
        self._first: tuple[int, float] | None = None
        """What asked to stop first, and when by the monotonic clock."""
        self._beside: tuple[int, float] | None = None
        """The same, as the main thread heard of it, whether or not the loop has."""
        self._early: list[int] = []
        """What came before there was a server, and does not ask to stop."""
        self._serving: Callable[[int], None] | None = None
        """What hands a signal to the loop."""
        self._raises = False
        """Whether what asks to stop raises Stopped: not while nobody could catch it."""
        self._over = False
        self._is_ending = False
        """Whether the process ends at once: what comes now may interrupt just that."""
        tell_in_child(self)
        for number in self._found:
            if number != signal.SIGINT:  # Python's own raises KeyboardInterrupt
                self._take(number)
        self._unblock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def _take(self, number: signal.Signals) -> None:
        signal.signal(number, self._hear)
        self._ours[number] = signal.getsignal(number)
        self._in_c[number] = _in_c(number)

    def _unblock(self) -> None:
        # The main thread is asked first, so a thread of the application's that waits for them by
        # sigwait() gets none.
        self._blocked |= unblock(number for number in self._found if number.name in ALWAYS)

    def stop_if_asked(self) -> None:
        """Raise Stopped if the process was asked to stop, and from now on as soon as it is.

        Again, if an application that was imported may have swallowed it.

        Raises:
            Stopped: the process was asked to stop.
        """
        self._raises = True
        if self._first is not None:
            raise Stopped(self._first[0])

    def listen(
        self,
        loop: asyncio.AbstractEventLoop,
        stop: Callable[[str], None],
        reload: Callable[[], bool],
    ) -> None:
        """Have ``stop`` called on the loop, with the name of the signal that asks for it.

        ``reload`` has the certificates read anew, and returns False if there are none.
        """

        def heard(number: int) -> None:
            self._heard(number, stop, reload)

        def serving(number: int) -> None:
            loop.call_soon_threadsafe(heard, number)

        self._serving = serving
        caught = caught_by_anybody()
        for number in self._found:
            if number.name in ALWAYS:
                try:
                    # With this the loop hears of all signals.
                    loop.add_signal_handler(number, heard, number)
                    if isinstance(loop, asyncio.BaseEventLoop):
                        signal.signal(number, self._hear_beside)
                except NotImplementedError:  # Windows
                    signal.signal(number, self._hear)
                self._ours[number] = signal.getsignal(number)
            elif signal.getsignal(number) != self._ours[number]:  # the application's
                del self._ours[number]
                if is_free(number, caught):
                    self._take(number)
            elif self._in_c[number] != _in_c(number):  # somebody's in C, put above ours
                del self._ours[number]
        self._unblock()  # what the application has blocked
        for early in self._early:
            heard(early)
        if self._first is not None:
            stop(signal.Signals(self._first[0]).name)

    def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on without the loop, which is about to close."""
        self._over = True
        for number in self._ours:
            if number.name in ALWAYS:
                # First, or uvloop would have its own handler stay for good.
                loop.remove_signal_handler(number)
                signal.signal(number, self._hear)
                self._ours[number] = signal.getsignal(number)

    def restore(self) -> None:
        """Put back what was there before, but for what somebody has changed since."""
        self._raises = False
        if self._blocked:
            signal.pthread_sigmask(signal.SIG_BLOCK, self._blocked)
            self._blocked = set()
        for number, handler in self._ours.items():
            if signal.getsignal(number) == handler:
                before = self._found[number]
                signal.signal(number, signal.SIG_DFL if before is None else before)
        self._ours.clear()

    def forked(self) -> None:
        """See Forkable."""
        if self._serving is not None:
            signal.set_wakeup_fd(-1)
        self.restore()

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        """Called by Python between two lines of the main thread."""
        if self._is_supervisors(number):
            return
        stops = self._stops(signal.Signals(number).name)
        if self._over:  # and the process is about to end: nothing else can be done
            if stops:
                self._heard_again(number)
        elif self._serving is not None:
            self._serving(number)
        elif not stops:
            self._early.append(number)
        elif self._first is None:
            self._first = (number, clock.monotonic())
            if self._raises:
                raise Stopped(number)
        else:
            self._heard_again(number)

    def _hear_beside(self, number: int, _frame: FrameType | None) -> None:
        """Called by Python in whatever the main thread does, while the loop hears it as well.

        With gevent and eventlet that may be an application that lets the loop have no turn.
        """
        if self._is_supervisors(number):
            return
        if self._beside is None:
            self._beside = (number, clock.monotonic())
        elif self._is_ending or not comes_again(number, *self._beside):
            return
        else:
            self._end(number)

    def _is_supervisors(self, number: int) -> bool:
        return self._of_worker and signal.Signals(number).name in TERMINALS

    def _heard(self, number: int, stop: Callable[[str], None], reload: Callable[[], bool]) -> None:
        if self._is_supervisors(number):
            return
        name = signal.Signals(number).name
        if self._stops(name):
            if self._first is None:
                self._first = (number, clock.monotonic())
                stop(name)
            else:
                self._heard_again(number)
        elif name == "SIGUSR2":
            self._say("SIGUSR2: nothing is done for it", name)
        else:
            self._reopen_files(name, reloads=name == "SIGHUP" and reload())

    def _stops(self, name: str) -> bool:
        return name in (*ALWAYS, "SIGQUIT") or (name == "SIGHUP" and self._has_terminal)

    def _heard_again(self, number: int) -> None:
        if self._is_ending or not (self._first is None or comes_again(number, *self._first)):
            return
        self._end(number)

    def _end(self, number: int) -> None:
        self._is_ending = True
        try:
            name = signal.Signals(number).name
            self._say(f"{name} again: ending at once", name)
            if self.log is not None:
                self.log.close()
        finally:
            end_process(128 + number)

    def _say(self, what: str, name: str) -> None:
        if self.log is None:
            with suppress(OSError):
                os.write(2, f"h2wsgi: {what}\n".encode())
        else:
            self.log.events.warning("%s", what, extra=named("signal", signal=name))

    def _reopen_files(self, name: str, *, reloads: bool) -> None:
        if self.log is None:
            return
        paths = self.log.reopen_files()
        self.log.events.info(
            "%s: %s%s",
            name,
            f"opening {' and '.join(paths)} anew"
            if paths
            else "no log goes to a file (--access-log-file, --trace-file), so none is opened anew",
            "; reading the certificates anew" if reloads else "",
            extra=named("signal", signal=name),
        )


def _in_c(number: signal.Signals) -> int:
    """Return the address of what C calls for a signal, 0 if that cannot be told.

    It is the same for all handlers of Python's, and another for ``faulthandler.register``, which
    nothing else tells from them.
    """
    try:
        import ctypes

        action = ctypes.create_string_buffer(512)  # the address comes first in all of them
        if ctypes.CDLL(None).sigaction(int(number), None, action):
            return 0
    except (ImportError, OSError, AttributeError, TypeError):  # no such thing there, as on Windows
        return 0
    return int.from_bytes(action.raw[: ctypes.sizeof(ctypes.c_void_p)], sys.byteorder)
