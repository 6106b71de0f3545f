"""One worker as its supervisor sees it: a process, the channel to it, and what is known of it.

Main thread. The invariant: a worker inherits the sockets that listen, its end of the channel, the
memory that workers share and the files of its plan, and nothing else; what it serves comes by the
channel, so no secret is in its arguments.
"""

from __future__ import annotations

import enum
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

from ..process.channel import Channel, Message
from ..process.clock import clock
from .plan import Plan

ROOM = 131_072
"""Octets of messages that may be on their way, each way."""
ROOT = Path(__file__).resolve().parents[2]
"""The folder that the package is in."""


class State(enum.Enum):
    """The life of a worker; it only goes down this list."""

    STARTING = enum.auto()
    SERVING = enum.auto()
    LEAVING = enum.auto()
    """It was told to end, and has a limited time to do so."""


class Process(Protocol):
    """A process that was started here."""

    @property
    def pid(self) -> int:
        """Its number."""

    def poll(self) -> int | None:
        """Return the exit code, less than 0 for a signal; None while it runs."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal, unless it has ended."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""


class _Adopted:
    """A process that this one started before it was executed anew."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has waited for it
                self._code = 0
            else:
                self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def send_signal(self, number: int, /) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        until = clock.monotonic() + (timeout or 0.0)
        while (code := self.poll()) is None:
            if timeout is not None and clock.monotonic() > until:
                raise subprocess.TimeoutExpired("worker", timeout)
            time.sleep(0.01)
        return code


class Child:
    """A worker, from its start on."""

    def __init__(self, plan: Plan, row: int, process: Process, channel: Channel) -> None:
        """``row`` is its place in the shared memory."""
        self.plan = plan
        self.row = row
        self._process = process
        self.channel = channel
        self.state = State.STARTING
        self._reopens = False
        """Whether it is to open its log files anew once it is ready."""
        self.answers = False
        """Whether it will answer when it is asked what it counts."""
        self.asked_at: float | None = None
        """When it was asked, by the monotonic clock; None if it has answered."""
        self.leaves_for = ""
        """Why another is to take its place, in a word."""
        self.failure: Message | None = None
        """Why it could not start, if it could say so."""
        now = clock.monotonic()
        self.began = now
        self.kill_at: float | None = None
        """When its time to end is over, by the monotonic clock."""
        self.turned_at = now
        self.beats = 0
        """How often its loop had turned at the last look, and when that had last changed."""

    @classmethod
    def start(cls, plan: Plan, row: int, order: dict[str, Any], descriptors: list[int]) -> Child:
        """Start a worker; ``order`` is the first thing that it is told.

        Raises:
            OSError: the system has no room for it.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):  # macOS has room for 8 KiB
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
            try:
                process = subprocess.Popen(
                    [sys.executable, *interpreters_flags(), "-m", "h2wsgi.server.worker"]
                    + [str(theirs.fileno())],
                    pass_fds=[theirs.fileno(), *descriptors, *plan.files.values()],
                    cwd=plan.config.chdir or None,
                    env=os.environ | plan.variables,
                    **_become(plan),
                )
            except BaseException:
                ours.close()
                raise
        child = cls(plan, row, process, Channel(ours))
        child.channel.send(order)
        return child

    @classmethod
    def adopt(cls, plan: Plan, known: dict[str, Any]) -> Child:
        """Return a worker that this process started before it was executed anew."""
        sock = socket.socket(fileno=known["channel"])
        os.set_inheritable(sock.fileno(), False)
        child = cls(plan, known["row"], _Adopted(known["pid"]), Channel(sock))
        child.state = State.SERVING
        child.answers = True
        return child

    def description(self) -> dict[str, Any]:
        """Return what it takes to adopt it."""
        return {"pid": self.pid, "row": self.row, "channel": self.channel.sock.fileno()}

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def ended(self) -> str | None:
        """Return how the process ended, in words; None while it runs."""
        code = self._process.poll()
        return None if code is None else in_words(code)

    def is_ready(self) -> None:
        """It has said that it serves."""
        self.state = State.SERVING
        self.answers = True
        if self._reopens:
            self.reopen()

    def reopen(self) -> None:
        """Have it open its log files anew, later if it still starts: it may have opened them."""
        if self.state is State.STARTING:
            self._reopens = True
        else:
            self.channel.send({"do": "reopen"})

    def ask(self) -> bool:
        """Ask what it counts; return False if it still owes an answer, or cannot be told."""
        if self.asked_at is not None:
            return False
        self.asked_at = clock.monotonic()
        return self.channel.send({"do": "report"})

    def end_by(self, moment: float, what: str) -> None:
        """Tell it to end, by ``moment`` at the latest; ``what`` is "stop", "retire" or "end"."""
        if self.state is State.STARTING:
            # It hears nothing else yet, and has nothing to finish.
            self._process.send_signal(signal.SIGTERM)
        self.state = State.LEAVING
        self.kill_at = moment
        self.channel.send({"do": what})

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal that it cannot miss."""
        self._process.send_signal(number)

    def wait(self, timeout: float) -> None:
        """Wait for its end; kill it if that takes too long."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


def in_words(code: int) -> str:
    """Return how a process ended, by its exit code, which is less than 0 for a signal."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was killed by signal {-code}"


def _become(plan: Plan) -> dict[str, Any]:
    """Return the arguments that have a process run as another user from its start on."""
    if plan.account is None:
        return {}
    uid, gid, groups = plan.account
    if os.geteuid():  # this is that user, as any other would have been refused
        return {}
    return {"user": uid, "group": gid, "extra_groups": groups}


def interpreters_flags() -> list[str]:
    """Return the options of this interpreter, for another like it.

    With -P it does not look for modules in the current folder, where an application may have any
    name, unless this package is there.
    """
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return flags if Path(os.getcwd()) == ROOT or "-P" in flags else [*flags, "-P"]
