"""Starts workers, replaces those that die or whose time is over, and ends with them.

    SIGTERM, SIGINT, SIGQUIT  all end gracefully; another of these signals, or the same one a second
                              later, ends them at once
    SIGHUP                    workers with the new code, options and certificates take the place of
                              those that serve; but end, if the terminal of the start was closed
    SIGUSR1                   all open their log files anew
    SIGUSR2                   this process is executed anew, if the new code's --check finds nothing
    SIGTTIN, SIGTTOU          one worker more, one less

Main thread, which waits for signals, for what workers say, and for the next moment at which there
is something to do. The invariants: no worker that serves is told to leave before another is ready
to take its place, except for SIGTTOU and the end; every wait for a worker ends, by SIGKILL at last;
a plan that cannot be started changes nothing.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from ..errors import ConfigurationError, H2WSGIError
from ..log.logs import Log, named
from ..process.clock import clock
from ..process.handlers import Handler, comes_again, found, free, has_terminal, unblock
from ..process.shares import ROWS, Shares
from ..process.systemd import ServiceManager
from . import succession
from .child import Child, State, in_words
from .plan import Plan, Site
from .survey import Meter, Survey

if TYPE_CHECKING:
    from .watching import Watcher

KILL_GRACE = 8.0
"""Seconds beyond the graceful timeout in which a worker resets what is left and ends by itself."""
QUIET = 2.5
"""Seconds that requests for metrics may hold up an upgrade."""
QUIET_LOOK = 0.02
"""Seconds between looks whether all of them have their answers."""
AT_ONCE = 1.0
"""Seconds that workers get when they are to end at once."""
MOST_SAID = 65_536
"""Octets shown of what a check says."""
LOOKS = 4
"""How many looks within the worker timeout find out whether a worker's loop has turned."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds before a worker that died young is replaced: twice as long each time."""
YOUNG = 60.0
"""Seconds. A worker that lived longer is replaced at once."""

STUCK = "worker_timeout"
"""Why a worker is replaced whose loop does not turn: the name of the option that has it so."""
STOPPING = ("SIGTERM", "SIGINT", "SIGQUIT")
ALWAYS = ("SIGTERM", "SIGINT", "SIGCHLD")
IF_FREE = ("SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU")


class Supervisor:
    """The workers of one server."""

    def __init__(
        self,
        plan: Plan,
        site: Site,
        log: Log,
        manager: ServiceManager,
        state: dict[str, Any] | None = None,
        meter: Meter | None = None,
    ) -> None:
        """``state`` is from before this process was executed anew; ``meter`` is closed here.

        Raises:
            ConfigurationError: files are to be watched, and cannot be.
        """
        self._plan = plan
        self._site = site
        self._manager = manager
        self._state = state or {}
        self._log = log.events
        self._count = plan.config.workers
        """How many workers there should be."""
        self._shares = Shares(self._state["shares"]) if self._state else Shares.make()
        self._children: list[Child] = []
        self._next: Plan | None = None
        """What takes the place of the plan once its workers are ready."""
        self._to_replace: deque[tuple[Child, str]] = deque()
        """Workers that asked to be replaced, and why."""
        self._replaced: Child | None = None
        """The one of these whose successor is being started."""
        self._has_served = False
        """Whether all workers were ready once."""
        self._early = ""
        """What asked for a reload before that: perhaps a change that no worker had read yet."""
        self._watcher: Watcher | None = None
        if plan.config.reload:
            from .watching import Watcher

            self._watcher = Watcher(plan.config, self._note_changes, self._log)
        self._changes: deque[list[str]] = deque()
        """Files that the watching thread saw change."""
        self._awaits_change = False
        """Whether nothing is started until a file changes, as the present code cannot start."""
        self._wakeup = -1
        """The descriptor that ends a wait; less than 0 before and after there can be one."""
        self._waking = threading.Lock()
        self._meter = meter
        self._survey = None if meter is None else Survey(meter, self._wake_threadsafe)
        self._pause = 0.0
        self._retry_at = 0.0
        """When a worker may be started in place of one that died, by the monotonic clock."""
        self._looked_at = clock.monotonic()
        """When the last look was whether all loops turn."""
        self._alive_at = 0.0
        """When the service manager was last told that this process is not stuck."""
        self._check: subprocess.Popen[bytes] | None = None
        self._check_said: IO[bytes] | None = None
        """The check of the new code, and what it says, from SIGUSR2 on."""
        self._is_upgraded = False
        """Whether this process is executed anew as soon as all its workers just serve."""
        self._quiet_by: float | None = None
        """Until when it waits for requests for metrics to be answered."""
        self._reload_is = "reload"
        """What the reload under way is called in the metrics."""
        self._stopped_by: tuple[int, float] | None = None
        """The signal that asked for the end, and when, by the monotonic clock."""
        self._exit_code = 0
        self._signals: deque[int] = deque()
        self._found: dict[signal.Signals, Handler] = {}
        self._blocked: set[int] = set()
        self._had_terminal = has_terminal()
        self._selector = selectors.DefaultSelector()

    def run(self) -> int:
        """Serve until a signal says to end; return the exit code.

        Raises:
            ConfigurationError: the workers cannot be started.
        """
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        self._selector.register(reader, selectors.EVENT_READ)
        try:
            wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
            self._take_signals()
            self._wakeup = writer
            try:
                if self._watcher is not None:
                    self._watcher.start()
                if self._meter is not None and self._survey is not None:
                    self._meter.start(self._survey.ask_threadsafe)
                if self._state:
                    self._succeed()
                self._settle()
                while self._children or self._stopped_by is None:
                    self._wait(reader)
                    try:
                        self._turn()
                    except ConfigurationError:
                        raise
                    except Exception:
                        # A mistake of ours is no reason to end the workers, which serve.
                        self._log.exception(
                            "the supervisor failed, and goes on", extra=named("supervisor_failed")
                        )
                        time.sleep(AT_ONCE)
            finally:
                self._give_signals_back(wakeup)
        finally:
            self._end_check()
            self._end_all()
            if self._watcher is not None:
                self._watcher.stop()
            self._drop_next()
            self._plan.close()
            if self._meter is not None:
                self._meter.close()
            self._selector.close()
            os.close(reader)
            with self._waking:
                self._wakeup = -1
                os.close(writer)
            self._shares.close()
        return self._exit_code

    def _turn(self) -> None:
        while self._signals:
            self._heard(self._signals.popleft())
        if self._changes:
            self._files_changed()
        for child in self._children:
            self._hear(child)
        for child in list(self._children):
            if (how := child.ended()) is not None:
                self._hear(child)  # what it said last
                self._died(child, how)
        if self._check is not None and (code := self._check.poll()) is not None:
            self._checked(code)
        self._look_at_clocks()
        self._settle()
        if self._survey is not None:
            is_stopping = self._stopped_by is not None
            self._survey.turn(self._children, self._count, is_stopping)
        if self._is_upgraded and self._may_go:
            self._execute_anew()

    def _wait(self, reader: int) -> None:
        moments = [child.kill_at for child in self._children if child.kill_at is not None]
        if self._stopped_by is None and self._retry_at:
            moments.append(self._retry_at)
        if self._plan.config.worker_timeout:
            moments.append(self._looked_at + self._plan.config.worker_timeout / LOOKS)
        if self._manager.watchdog:
            moments.append(self._alive_at + self._manager.watchdog)
        if self._survey is not None and (moment := self._survey.moment) is not None:
            moments.append(moment)
        if self._quiet_by is not None:
            moments.append(clock.monotonic() + QUIET_LOOK)
        timeout = max(0.0, min(moments) - clock.monotonic()) if moments else None
        self._selector.select(timeout)
        with suppress(BlockingIOError):
            while os.read(reader, 1024):
                pass

    # ----------------------------------------------------------------------------- signals

    def _take_signals(self) -> None:
        def note(number: int, _frame: FrameType | None) -> None:
            self._signals.append(number)

        self._found = found(ALWAYS) | free(IF_FREE)
        for number in self._found:
            signal.signal(number, note)
        self._blocked = unblock(number for number in self._found if number.name in ALWAYS)

    def _give_signals_back(self, wakeup: int) -> None:
        signal.set_wakeup_fd(wakeup)
        if self._blocked:
            signal.pthread_sigmask(signal.SIG_BLOCK, self._blocked)
        for number, handler in self._found.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _heard(self, number: int) -> None:
        name = signal.Signals(number).name
        if name in STOPPING:
            self._stop(number)
        elif name == "SIGHUP":
            if self._had_terminal and not has_terminal():
                self._stop(number)
            else:
                self._reload(name)
        elif name == "SIGUSR1":
            self._log.info(
                "SIGUSR1: all workers open their log files anew",
                extra=named("signal", signal="SIGUSR1"),
            )
            for child in self._children:
                child.reopen()
        elif name in ("SIGTTIN", "SIGTTOU"):
            self._set_count(self._count + (1 if name == "SIGTTIN" else -1), name)
        elif name == "SIGUSR2":
            self._upgrade()

    def _stop(self, number: int) -> None:
        name = signal.Signals(number).name
        now = clock.monotonic()
        if self._stopped_by is not None:
            if comes_again(number, *self._stopped_by):
                self._log.warning(
                    "%s again: ending at once", name, extra=named("signal", signal=name)
                )
                self._exit_code = 128 + number
                for child in self._children:
                    child.end_by(now + AT_ONCE, "end")
            return
        self._stopped_by = (number, now)
        timeout = self._plan.config.graceful_timeout
        patience = self._plan.config.drain_delay + timeout + KILL_GRACE
        self._log.info(
            "%s: stopping; running requests have up to %g s to finish, a second signal ends them",
            name,
            timeout,
            extra=named("stopping"),
        )
        self._manager.stopping()
        # Closed first, so that the last worker to end closes them, which tells clients that wait.
        self._site.close()
        for child in self._children:
            if child.state is not State.LEAVING:
                child.end_by(now + patience, "stop")

    def _set_count(self, count: int, name: str) -> None:
        if self._stopped_by is not None:
            return
        if not 1 <= count <= ROWS // 4:
            self._log.warning(
                "%s: %s, as %s",
                name,
                _counted(self._count),
                "somebody has to serve" if count < 1 else "there can be no more",
                extra=named("signal", signal=name),
            )
        else:
            self._count = count
            self._log.info(
                "%s: %s from now on",
                name,
                _counted(count),
                extra=named("workers_changed", workers=count),
            )

    def _note_changes(self, files: list[str]) -> None:
        """Files have changed. On the thread that watches them."""
        self._changes.append(files)
        self._wake_threadsafe()

    def _wake_threadsafe(self) -> None:
        with self._waking, suppress(BlockingIOError):  # there is something to wake it for already
            if self._wakeup >= 0:
                os.write(self._wakeup, b"\0")

    def _files_changed(self) -> None:
        files = sorted({file for files in self._changes for file in files})
        self._changes.clear()
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        self._reload(f"{files[0]}{more} changed")

    # ----------------------------------------------------------------------------- workers

    def _of(self, plan: Plan | None) -> list[Child]:
        """Return the workers of a plan that are not on their way out."""
        return [c for c in self._children if c.plan is plan and c.state is not State.LEAVING]

    def _start(self, plan: Plan, count: int) -> None:
        """Start workers, as many as the system allows."""
        try:
            for _ in range(count):
                self._start_one(plan)
        except OSError as error:  # no memory, or too many processes
            if not self._has_served:
                hint = "See ulimit -a, and how much memory there is."
                if plan.account is not None:
                    hint = "The user of --user has to be allowed to run this interpreter."
                raise ConfigurationError(f"No worker can be started: {error}.", hint) from None
            if plan is self._next:
                self._give_reload_up(f"no worker can be started: {error}")
            else:
                self._log.error("no worker can be started: %s", error, extra=named("worker_failed"))
                self._pause_a_while(clock.monotonic())

    def _start_one(self, plan: Plan) -> None:
        taken = {child.row for child in self._children}
        row = next(row for row in range(ROWS) if row not in taken)
        self._shares.reserve(row)
        listeners = self._site.listeners()
        descriptors = [each["descriptor"] for each in listeners]
        child = Child.start(
            plan,
            row,
            plan.order(listeners, self._shares.descriptor, row),
            [*descriptors, self._shares.descriptor],
        )
        self._add(child)

    def _add(self, child: Child) -> None:
        self._children.append(child)
        self._selector.register(child.channel.sock, selectors.EVENT_READ)

    def _retire(self, child: Child) -> None:
        """Have a worker end while others go on."""
        patience = child.plan.config.graceful_timeout + KILL_GRACE
        child.end_by(clock.monotonic() + patience, "retire")

    def _hear(self, child: Child) -> None:
        for message in child.channel.received():
            if message["say"] == "ready" and child.state is State.STARTING:
                child.is_ready()
                self._log.debug(
                    "worker %d is ready", child.pid, extra=named("worker_ready", worker=child.pid)
                )
            elif message["say"] == "failed":
                child.failure = message
            elif message["say"] == "leave" and child.state is State.SERVING:
                # A worker of an older version gives no reason.
                child.leaves_for = message.get("reason", "signal")
                self._to_replace.append((child, message["why"]))
            elif message["say"] == "report" and self._survey is not None:
                self._survey.reported(child, message)
        if child.channel.ended:
            self._hear_no_more(child)

    def _hear_no_more(self, child: Child) -> None:
        child.answers = False
        if self._survey is not None:
            self._survey.ended(child)
        if child.channel.sock in self._selector.get_map():
            self._selector.unregister(child.channel.sock)

    def _forget(self, child: Child) -> None:
        self._children.remove(child)
        self._shares.free(child.row)
        self._hear_no_more(child)
        child.channel.close()
        if self._meter is not None:
            self._meter.ended(child.pid)
        if child is self._replaced:
            self._replaced = None

    def _died(self, child: Child, how: str) -> None:
        self._forget(child)
        if child.state is State.LEAVING:
            self._log.debug(
                "worker %d has ended", child.pid, extra=named("worker_ended", worker=child.pid)
            )
        elif child.plan is self._next:
            self._give_reload_up(_why(child, how))
        elif not self._has_served and self._watcher is not None:
            if not self._awaits_change:
                self._log.error(
                    "%s; waiting for a file to change",
                    _why(child, how),
                    extra=named("worker_failed", worker=child.pid),
                )
            self._awaits_change = True
        elif not self._has_served:
            raise _start_error(child, how)
        else:
            self._lost(child, how)

    def _lost(self, child: Child, how: str) -> None:
        """Have another started, after a pause that grows while workers do not live long."""
        self._note_replaced(child.leaves_for if child.leaves_for == STUCK else "died")
        now = clock.monotonic()
        if now - child.began >= YOUNG:
            self._pause = 0.0
            self._retry_at = max(self._retry_at, now)
        else:
            self._pause_a_while(now)
        soon = f"in {self._pause:g} s" if self._retry_at > now else "now"
        self._log.error(
            "%s; another is started %s",
            _why(child, how),
            soon,
            extra=named("worker_failed", worker=child.pid),
        )

    def _note_replaced(self, reason: str, workers: int = 1) -> None:
        if self._meter is not None:
            self._meter.replaced(reason, workers)

    def _pause_a_while(self, now: float) -> None:
        if now >= self._retry_at:
            self._pause = min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)
            self._retry_at = now + self._pause

    def _give_reload_up(self, why: str) -> None:
        self._log.error(
            "the reload failed, so all stays as it was: %s", why, extra=named("reload_failed")
        )
        self._drop_next()
        self._manager.ready()

    def _drop_next(self) -> None:
        unready, self._next = self._next, None
        for child in self._of(unready):
            self._hear(child)  # it may have become ready just now
            if child.state is State.SERVING:  # it has accepted connections already
                self._retire(child)
            else:
                child.end_by(clock.monotonic() + AT_ONCE, "end")
        if unready is not None:
            unready.close()

    def _look_at_clocks(self) -> None:
        now = clock.monotonic()
        for child in self._children:
            if child.kill_at is not None and now >= child.kill_at:
                child.kill_at = None
                if child.state is State.LEAVING and not self._exit_code:
                    self._log.warning(
                        "worker %d did not end in time: killed",
                        child.pid,
                        extra=named("worker_killed", worker=child.pid),
                    )
                child.kill()

        if self._manager.watchdog and now >= self._alive_at + self._manager.watchdog:
            self._alive_at = now
            self._manager.alive()
        if self._plan.config.worker_timeout:
            self._look_for_stuck(now, self._plan.config.worker_timeout)

    def _look_for_stuck(self, now: float, timeout: float) -> None:
        """Replace workers whose loop has not turned for too long."""
        # The supervisor itself may have stood still, and workers with it, as with Ctrl-Z.
        stood_still = now - self._looked_at > timeout / 2
        self._looked_at = now
        for child in self._of(self._plan):
            beats = self._shares.beats(child.row)
            if child.state is State.STARTING or beats != child.beats or stood_still:
                child.beats, child.turned_at = beats, now
            elif now - child.turned_at > timeout and child.kill_at is None:
                self._log.error(
                    "worker %d: its event loop has not turned for %g s (--worker-timeout); its "
                    "threads are shown on standard error, and it is ended",
                    child.pid,
                    timeout,
                    extra=named("worker_stuck", worker=child.pid),
                )
                child.kill_at = now + AT_ONCE
                child.leaves_for = STUCK
                child.kill(signal.SIGABRT)

    # ---------------------------------------------------------------------- what should be

    def _settle(self) -> None:
        """Start and retire workers until the right ones are there."""
        if self._stopped_by is not None:
            return
        self._finish_reload()
        self._begin_replacement()
        workers = self._of(self._plan)
        serving = [c for c in workers if c.state is State.SERVING and c is not self._replaced]
        if self._replaced is not None and len(serving) >= self._count:
            self._retire(self._replaced)
            self._note_replaced(self._replaced.leaves_for)
            self._replaced = None
        staying = [child for child in workers if child is not self._replaced]
        if clock.monotonic() >= self._retry_at:
            self._retry_at = 0.0
            if len(staying) < self._count and not self._awaits_change:
                self._start(self._plan, self._count - len(staying))
        if len(serving) > self._count:
            for child in serving[: len(serving) - self._count]:
                self._retire(child)
        if not self._has_served and len(serving) == self._count:
            self._has_served = True
            self._site.ready(self._count)
            self._manager.ready()
            if self._early:
                self._reload(self._early)

    def _begin_replacement(self) -> None:
        """Begin to replace the next worker that asked for it, one after the other."""
        if self._next is not None or self._replaced is not None:
            return
        if any(child.state is State.LEAVING for child in self._children):
            return
        while self._to_replace and self._replaced is None:
            child, why = self._to_replace.popleft()
            if child in self._children and child.plan is self._plan:
                self._log.info(
                    "worker %d: %s; another takes its place",
                    child.pid,
                    why,
                    extra=named("worker_replaced", worker=child.pid),
                )
                self._replaced = child

    def _reload(self, why: str) -> None:
        if self._stopped_by is not None:
            return
        if self._awaits_change:
            self._log.info("%s: starting", why, extra=named("reloading"))
            self._awaits_change = False
            self._retry_at = 0.0
            return
        if not self._has_served:
            self._early = why
            return
        self._drop_next()
        self._manager.reloading()
        try:
            plan = self._site.read_again()
        except Exception as error:
            if isinstance(error, ConfigurationError):
                said, shown = f"{error} {error.hint}", None
            else:  # a mistake of ours; but a reload that was announced must be seen to end
                said, shown = repr(error), error
            self._log.error(
                "%s: all stays as it is: %s",
                why,
                said,
                exc_info=shown,
                extra=named("reload_failed"),
            )
            self._manager.ready()
            return
        count = self._count
        if plan.config.workers != self._plan.config.workers:  # else the count SIGTTIN left stays
            count = plan.config.workers
        self._log.info(
            "%s: reloading, with %s to start", why, _counted(count), extra=named("reloading")
        )
        self._next = plan
        self._reload_is = "reload"
        self._start(plan, count)

    def _finish_reload(self) -> None:
        """Have the workers of the next plan take over once they are ready."""
        if self._next is None:
            return
        new = self._of(self._next)
        if any(child.state is State.STARTING for child in new):
            return
        self._plan.close()
        old, self._plan, self._next = self._of(self._plan), self._next, None
        self._count = len(new)
        self._pause = self._retry_at = 0.0
        self._replaced = None
        self._log.info(
            "reloaded: %s; of the old ones %d to end",
            _counted(len(new)),
            len(old),
            extra=named("reloaded"),
        )
        self._manager.ready()
        self._note_replaced(self._reload_is, min(len(old), len(new)))
        for child in old:
            self._retire(child)

    # ----------------------------------------------------------------------------- upgrade

    def _upgrade(self) -> None:
        """Have the new code checked, and go on with it if nothing is wrong."""
        if self._stopped_by is not None or not self._has_served:
            return
        if not self._site.has_command:
            self._log.warning(
                "SIGUSR2: nothing is done for it, as there is no command line to start by",
                extra=named("signal", signal="SIGUSR2"),
            )
            return
        self._end_check()
        self._log.info("SIGUSR2: checking the new code", extra=named("upgrade"))
        self._check_said = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the check)
        with_application = self._plan.account is None  # root must not load it for another user
        try:
            self._check = subprocess.Popen(
                [*succession.command(), "--check"],
                env=os.environ | succession.for_check(with_application, self._meter is None),
                stdin=subprocess.DEVNULL,
                stdout=self._check_said,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            self._log.error("SIGUSR2: nothing changes: %s", error, extra=named("upgrade_failed"))
            self._end_check()

    def _checked(self, code: int) -> None:
        said = self._check_said
        assert said is not None
        said.seek(0)
        text = said.read(MOST_SAID).decode("utf-8", "backslashreplace").rstrip()
        self._end_check()
        if code:
            self._log.error(
                "SIGUSR2: nothing changes, as the check %s",
                f"found this:\n{text}" if text else in_words(code),
                extra=named("upgrade_failed"),
            )
        elif self._stopped_by is None:
            self._is_upgraded = True

    def _end_check(self) -> None:
        if self._check is not None:
            self._check.kill()
            self._check.wait()
            self._check = None
        if self._check_said is not None:
            self._check_said.close()
            self._check_said = None

    @property
    def _is_settled(self) -> bool:
        """Whether all workers just serve."""
        return (
            self._stopped_by is None
            and self._next is None
            and self._replaced is None
            and all(child.state is State.SERVING for child in self._children)
            and not any(child.channel.is_in_a_message for child in self._children)
        )

    @property
    def _may_go(self) -> bool:
        """Whether nothing would be lost: no worker is starting, and no answer is awaited."""
        if self._meter is None:
            return self._is_settled
        if not self._is_settled:
            self._quiet_by = None
            self._meter.go_on()
            return False
        now = clock.monotonic()
        self._quiet_by = self._quiet_by or now + QUIET
        return self._meter.is_quiet() or now >= self._quiet_by

    def _execute_anew(self) -> None:
        self._is_upgraded = False
        self._quiet_by = None
        self._log.info(
            "SIGUSR2: going on as a new process of the same number", extra=named("upgrade")
        )
        self._manager.reloading()
        state: dict[str, Any] = {
            "listeners": self._site.handed_over(),
            "fixed": self._site.fixed(),
            "shares": self._shares.descriptor,
            "children": [child.description() for child in self._children],
            "count": self._count,
            "workers": self._plan.config.workers,
        }
        descriptors = [self._shares.descriptor]
        descriptors += [each["descriptor"] for each in state["listeners"]]
        descriptors += [child.channel.sock.fileno() for child in self._children]
        self._site.prepare_to_go()
        try:
            if self._meter is not None:
                state["metrics"] = self._meter.handed_over()
                descriptors += state["metrics"].values()
            succession.execute_anew(state, descriptors, self._manager.variables, self._found)
        except OSError as error:
            self._log.error("SIGUSR2: nothing changes: %s", error, extra=named("upgrade_failed"))
            self._manager.ready()
            if self._meter is not None:
                self._meter.go_on()

    def _succeed(self) -> None:
        """Take over from what this process was before, and reload."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._found)
        os.set_inheritable(self._shares.descriptor, False)
        self._has_served = True
        self._next, self._plan = self._plan, self._site.read_again()
        self._reload_is = "upgrade"
        for known in self._state["children"]:
            self._add(Child.adopt(self._plan, known))
        if self._state["workers"] == self._count:  # the count that SIGTTIN left stays
            self._count = self._state["count"]
        self._log.info(
            "executed anew: reloading, with %s to start",
            _counted(self._count),
            extra=named("reloading"),
        )
        self._start(self._next, self._count)

    def _end_all(self) -> None:
        """Leave no worker behind, whatever happened."""
        for child in self._children:
            child.channel.close()  # this makes it end
            child.kill()
        for child in self._children:
            child.wait(AT_ONCE)


def _counted(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"


def _why(child: Child, how: str) -> str:
    """Return what became of a worker, and why, as far as that is known."""
    if child.failure is None:
        return f"worker {child.pid} {how}"
    failure = child.failure
    shown = f"\n{failure['traceback'].rstrip()}" if failure["traceback"] else ""
    return f"worker {child.pid}: {failure['error']} {failure['hint']}{shown}"


def _start_error(child: Child, how: str) -> H2WSGIError:
    """Return what to raise for a worker that has ended before it was ready."""
    if child.failure is None:
        return ConfigurationError(
            f"A worker {how} before it was ready.", "What it said is above, if it said anything."
        )
    error = ConfigurationError(child.failure["error"], child.failure["hint"])
    error.traceback_text = child.failure["traceback"]  # type: ignore[attr-defined]
    return error
