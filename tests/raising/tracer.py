"""Does something at the n-th line that the server executes on threads of one role.

``sys.settrace`` for each thread, or ``sys.monitoring`` where there is one: a tool of its own, so
that coverage goes on beside it. While nothing is armed lines are followed, as the exits of ``with``
statements must be known, but not counted.
"""

from __future__ import annotations

import itertools
import linecache
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

from raising import inside
from raising.withs import Bodies, is_exit, with_bodies

TOOL = 4
"""No tool of the standard library's has this number in ``sys.monitoring``."""
NEVER = 1 << 62


class Hit(NamedTuple):
    """The line at which it was done."""

    file: str
    line: int
    function: str

    @property
    def source(self) -> str:
        """The line's text."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        name = Path(self.file).relative_to(inside.PACKAGE).as_posix()
        return f"{name}:{self.line}:{self.function}"


class Aim:
    """What is to be done, where, and what came of it."""

    def __init__(self, role: str, at: int, act: Callable[[], object]) -> None:
        self.role = role
        self.at = at
        self.act = act
        self.hit: Hit | None = None
        self._counter = itertools.count(1)  # one step of it cannot be cut in two by another thread
        self.lines = 0
        """Lines so far."""

    def pass_line(self, code: CodeType, line: int) -> None:
        """Count a line, and act if it is the one."""
        self.lines = number = next(self._counter)
        if number == self.at:
            self.hit = Hit(code.co_filename, line, code.co_qualname)
            self.act()


class Tracer:
    """Follows the server's threads; one for the process."""

    def __init__(self) -> None:
        self._aim: Aim | None = None
        self._working: set[int] = set()
        """Threads of the pool that have had a job: what they do before is their start."""
        self._files = {role: inside.files(role) for role in (inside.APPLICATION, inside.LOOP)}

    def arm(self, aim: Aim) -> None:
        """Count from here on."""
        self._aim = aim

    def disarm(self) -> None:
        """Count no more."""
        self._aim = None

    def install(self) -> None:
        """Follow every thread that starts from now on."""
        threading.settrace(self._called)

    def follow_loop(self, server: Any) -> None:
        """Follow the thread of a server's loop, again if an exception has ended that."""
        inside.on_loop(server, sys.settrace, self._called)

    # ------------------------------------------------------------------ the thread followed

    def _called(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        role = inside.role_of(threading.current_thread().name)
        code = frame.f_code
        if not role:
            sys.settrace(None)
            return None
        if not self._is_followed(role, code):
            return None
        return _Frame(self, role, code).passed

    def _is_followed(self, role: str, code: CodeType) -> bool:
        name = code.co_filename
        if name not in self._files[role]:
            return False
        if role == inside.APPLICATION and name.endswith(inside.JOB[0]):
            self._note_job(code)
        return code.co_firstlineno not in inside.kernel_lines(name)

    def _note_job(self, code: CodeType) -> None:
        if code.co_name == inside.JOB[1]:
            self._working.add(threading.get_ident())

    def passed(self, role: str, code: CodeType, line: int) -> None:
        """A line that counts is about to be executed."""
        aim = self._aim
        if aim is None or aim.role != role:
            return
        if role == inside.APPLICATION and threading.get_ident() not in self._working:
            return
        aim.pass_line(code, line)


class _Frame:
    """One call that is followed."""

    __slots__ = ("_before", "_bodies", "_code", "_role", "_tracer")

    def __init__(self, tracer: Tracer, role: str, code: CodeType) -> None:
        self._tracer = tracer
        self._role = role
        self._code = code
        self._bodies: Bodies = with_bodies(code.co_filename)
        self._before = 0

    def passed(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any]:
        if event == "line":
            line, before = frame.f_lineno, self._before
            self._before = line
            if not (line in self._bodies and is_exit(self._bodies, line, before)):
                self._tracer.passed(self._role, self._code, line)
        return self.passed


class Monitor(Tracer):
    """The same by ``sys.monitoring`` (CPython 3.12), which an exception does not end."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[int, tuple[CodeType, int]] = {}
        """The last line of each frame, by its address."""
        self._any = self._files[inside.APPLICATION] | self._files[inside.LOOP]

    def arm(self, aim: Aim) -> None:
        """See Tracer. Frames that have ended are forgotten, as their addresses come again."""
        self._before.clear()
        super().arm(aim)

    def install(self) -> None:
        """See Tracer."""
        monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        monitoring.use_tool_id(TOOL, "raising")
        monitoring.register_callback(TOOL, monitoring.events.LINE, self._line)
        monitoring.register_callback(TOOL, monitoring.events.PY_START, self._started)
        monitoring.set_events(TOOL, monitoring.events.LINE | monitoring.events.PY_START)

    def follow_loop(self, server: Any) -> None:
        """See Tracer."""

    def _started(self, code: CodeType, _: int) -> object:
        if code.co_filename in self._any:
            role = inside.role_of(threading.current_thread().name)
            if role == inside.APPLICATION and code.co_filename.endswith(inside.JOB[0]):
                self._note_job(code)
            self._before.pop(id(sys._getframe(1)), None)
            return None
        return sys.monitoring.DISABLE  # type: ignore[attr-defined,unused-ignore]

    def _line(self, code: CodeType, line: int) -> object:
        name = code.co_filename
        if name not in self._any or code.co_firstlineno in inside.kernel_lines(name):
            return sys.monitoring.DISABLE  # type: ignore[attr-defined,unused-ignore]
        role = inside.role_of(threading.current_thread().name)
        if not role or name not in self._files[role]:
            return None
        frame = id(sys._getframe(1))
        known, before = self._before.get(frame, (None, 0))
        self._before[frame] = (code, line)
        bodies = with_bodies(name)
        if known is code and line in bodies and is_exit(bodies, line, before):
            return None
        self.passed(role, code, line)
        return None


def make_tracer() -> Tracer:
    """Return what follows threads with this interpreter."""
    return Monitor() if hasattr(sys, "monitoring") else Tracer()


def raising(kind: type[BaseException]) -> Callable[[], object]:
    """Return what raises an exception of ``kind``."""

    def act() -> None:
        raise kind("raised by the harness")

    return act
