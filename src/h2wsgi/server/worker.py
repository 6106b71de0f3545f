"""One of several processes that serve: its supervisor tells it what to serve, and when to end.

Main thread, and the loop's, which is the same. A fresh interpreter, ``python -m
h2wsgi.server.worker N``, where N is the descriptor of its end of the channel. The invariants: it
accepts nothing before it is ready, and tells so; it ends when its supervisor does, however that
came; the sockets, and the file of a Unix socket, stay the supervisor's.

    to a worker      {"do": "stop"}     end gracefully, and take what waits to be accepted
                     {"do": "retire"}   end gracefully: other workers go on
                     {"do": "end"}      end at once
                     {"do": "reopen"}   open the log files anew; once it is ready
                     {"do": "report"}   say what was counted; once it is ready
    from a worker    {"say": "ready"}, {"say": "failed", "error": ...}
                     {"say": "leave", "reason": ..., "why": ...}
                                        it is time for another to take its place
                     {"say": "report", "samples": ..., "last": ...}
                                        what was counted since the start; with --metrics, asked for,
                                        and at the end
"""

from __future__ import annotations

import asyncio
import faulthandler
import fcntl
import os
import random
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from .._version import __version__
from ..config.config import Config
from ..config.options import from_json
from ..errors import ConfigurationError
from ..log.logs import Log, command_log, named
from ..process.channel import Channel, Message
from ..process.handlers import Handler
from ..process.shares import Place, Shares
from ..seam.handover import Handover
from ..seam.stream import Stream
from ..tls import handed
from ..tls.context import resolve
from .ending import end_process
from .listeners import Share, inherited
from .running import Poller, go_to_the_end, load_application, loop_factory, prepare_process
from .server import Server
from .signals import Signals, Stopped

PATIENCE = 60.0
"""Seconds in which the supervisor says what to serve."""
USER_ERROR = 2
FAILED = 1
GONE = 1
MAX_TRACEBACK = 65_536
MEMORY_LOOK = 1.0
"""Seconds between looks at the memory that this process takes."""
BEATS = 8
"""How often the loop shows that it turns, within the worker timeout."""
LONGEST_BEAT = 1.0


def main() -> int:
    """Serve as the supervisor says; return the exit code."""
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    os.set_inheritable(channel.sock.fileno(), False)
    try:
        order = channel.first(PATIENCE)
    except OSError:
        return GONE
    sys.argv[:] = order["argv"]
    sys.path[:] = order["path"]
    signal.signal(signal.SIGINT, lambda _number, _frame: None)  # see TERMINALS in signals.py
    try:
        # Left before a failure is told: a signal ends the process then, and raises nothing there.
        with Signals(of_worker=True) as signals:
            signals.stop_if_asked()
            return _work(channel, order, signals)
    except Stopped:
        return 0
    except ConfigurationError as error:
        _tell_failure(channel, str(error), error.hint, getattr(error, "traceback_text", ""))
        return USER_ERROR
    except (Exception, KeyboardInterrupt) as error:
        said = f"It failed with {type(error).__name__}."
        if not _tell_failure(channel, said, "", traceback.format_exc()):
            raise
        return FAILED


def _tell_failure(channel: Channel, error: str, hint: str, shown: str) -> bool:
    """Have the supervisor say why this worker ends; return whether it was told."""
    message = {"say": "failed", "error": error, "hint": hint, "traceback": shown[-MAX_TRACEBACK:]}
    return channel.send(message)


def _work(channel: Channel, order: Message, signals: Signals) -> int:
    if order["version"] != __version__:
        raise ConfigurationError(
            f"h2wsgi {__version__} is installed, and its supervisor is {order['version']}.",
            "Restart it; its workers are no others than it is itself.",
        )
    shares = Shares(order["shares"])
    os.set_inheritable(shares.descriptor, False)
    place = shares.place(order["row"])
    listeners = [inherited(each) for each in order["listeners"]]
    config = Config(**{name: from_json(value) for name, value in order["config"].items()})
    for descriptor in order["files"].values():
        os.set_inheritable(descriptor, False)
    handed.take(order["files"])
    without_loop = _WithoutLoop(channel)
    with without_loop:
        identity = resolve(config)
        app = load_application(order["target"], config)
        factory = loop_factory(config.loop)
    with ExitStack() as stack:
        signals.stop_if_asked()
        log = command_log(config)
        stack.callback(log.close)
        signals.log = log
        prepare_process()
        if config.worker_timeout:
            faulthandler.enable()  # for the supervisor's SIGABRT, and what kills the process
        server = (_CountingServer if config.max_requests else Server)(
            app,
            config,
            log=log,
            identity=identity,
            share=Share(listeners, place),
        )
        worker = _Worker(server, place, channel, signals, log)
        with asyncio.Runner(loop_factory=factory) as runner:
            all_returned = runner.run(worker.serve())
        if not all_returned:
            log.close()
            end_process(0)
        stack.pop_all()
        go_to_the_end(signals, log, config)
        without_loop.to_the_end()
    return 0


class _WithoutLoop:
    """Who listens to the supervisor while there is no loop: before the server, and behind it.

    By a signal and no thread, as applications fork as they are loaded, or replace threads.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._poller = select.poll()
        self._poller.register(channel.sock, 0)
        self._flags = fcntl.fcntl(channel.sock, fcntl.F_GETFL)

    def _listen(self, handler: Handler, look: Callable[[], None]) -> None:
        signal.signal(signal.SIGIO, handler)
        fcntl.fcntl(self._channel.sock, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self._channel.sock, fcntl.F_SETFL, self._flags | os.O_ASYNC)
        look()  # at what has come before

    def __enter__(self) -> None:
        """End if the supervisor does, or as soon as it says anything, which is that."""

        def heard(_number: int, _frame: object) -> None:
            self._end_with_the_supervisor()

        # On Linux the signal ends the process by itself. A handler in Python waits for the end of
        # what has just begun to block, as an import may for ever.
        on_linux = sys.platform == "linux"
        self._listen(signal.SIG_DFL if on_linux else heard, self._end_with_the_supervisor)

    def __exit__(self, *_: object) -> None:
        fcntl.fcntl(self._channel.sock, fcntl.F_SETFL, self._flags)
        signal.signal(signal.SIGIO, signal.SIG_DFL)

    def _end_with_the_supervisor(self) -> None:
        if any(event & select.POLLHUP for _, event in self._poller.poll(0)):
            os._exit(GONE)

    def to_the_end(self) -> None:
        """End at once if the supervisor says so, or is gone. The server has stopped by now."""
        self._listen(lambda _number, _frame: self._end_if_told(), self._end_if_told)

    def _end_if_told(self) -> None:
        told = [message["do"] for message in self._channel.received()]
        if "end" in told or self._channel.ended:
            end_process(0)


class _CountingServer(Server):
    """One that is over after some requests."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._left = round(_a_little_less(self.config.max_requests))
        self.when_over: Callable[[], None] = lambda: None

    def start_requests(self, handover: Handover, streams: list[Stream]) -> None:
        self._left -= len(streams)
        if self._left <= 0:
            self.when_over()
        super().start_requests(handover, streams)


def _a_little_less(limit: float) -> float:
    """Return a limit that is another in each worker, or all would have had their time at once."""
    return limit * random.uniform(0.9, 1.0)


def resident_memory() -> int:
    """Return the octets of memory that this process has; where nobody tells, its most so far."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:  # macOS
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class _Worker:
    """A server, and the channel to its supervisor. The loop's thread."""

    def __init__(
        self, server: Server, place: Place, channel: Channel, signals: Signals, log: Log
    ) -> None:
        self._server = server
        self._place = place
        self._channel = channel
        self._signals = signals
        self._log = log
        self._end = asyncio.Event()
        self._others_go_on = False
        self._asked = False

    async def serve(self) -> bool:
        """Serve until told to end; return whether all applications have returned."""
        loop = asyncio.get_running_loop()
        # Whoever asks this worker alone to end gets another in its place first.
        # A reload is the supervisor's.
        self._signals.listen(loop, lambda name: self._leave("signal", name), lambda: False)
        poller = Poller(loop)
        try:
            await self._server.start()
            loop.add_reader(self._channel.sock, self._hear)
            self._watch(self._place)
            self._channel.send({"say": "ready"})
            await self._end.wait()
            all_returned = await self._server.stop(others_go_on=self._others_go_on)
            self._report(is_last=True)
        finally:
            loop.remove_reader(self._channel.sock)
            poller.close()
            self._signals.leave(loop)
        return all_returned

    def _leave(self, reason: str, why: str) -> None:
        """Ask to be replaced."""
        self._channel.send({"say": "leave", "reason": reason, "why": why})

    def _has_had_its_time(self, option: str, why: str) -> None:
        """Ask to be replaced, once."""
        if not self._asked:
            self._asked = True
            self._leave(option, why)

    def _report(self, *, is_last: bool = False) -> None:
        """Say what was counted."""
        if self._server.config.metrics:
            from ..tools.metrics.samples import to_json

            samples = to_json(self._server.measure())
            self._channel.send({"say": "report", "samples": samples, "last": is_last})

    def _watch(self, place: Place) -> None:
        """Have it noticed when this worker has had its time, or is stuck."""
        config, loop = self._server.config, asyncio.get_running_loop()
        if lifetime := config.worker_lifetime:
            why = f"it is {lifetime:g} s old (--worker-lifetime)"
            loop.call_later(
                _a_little_less(lifetime), self._has_had_its_time, "worker_lifetime", why
            )
        if isinstance(self._server, _CountingServer):
            why = f"it has had {config.max_requests} requests (--max-requests)"
            self._server.when_over = lambda: self._has_had_its_time("max_requests", why)
        if config.worker_max_rss:
            self._look_at_memory_first()
        if config.worker_timeout:
            self._beat(place, min(LONGEST_BEAT, config.worker_timeout / BEATS))

    def _beat(self, place: Place, pause: float) -> None:
        place.beat()
        asyncio.get_running_loop().call_later(pause, self._beat, place, pause)

    def _look_at_memory_first(self) -> None:
        limit = self._server.config.worker_max_rss
        if (octets := resident_memory()) > limit:
            self._log.events.warning(
                "a worker takes %.0f MiB of memory before its first request, which is above "
                "--worker-max-rss: none is replaced for it, as the next would take as much",
                octets / 1_048_576,
                extra=named("worker_too_large"),
            )
        else:
            self._look_at_memory()

    def _look_at_memory(self) -> None:
        limit = self._server.config.worker_max_rss
        if (octets := resident_memory()) > limit:
            mebibytes = f"{octets / 1_048_576:.0f} MiB"
            why = f"it takes {mebibytes} of memory (--worker-max-rss)"
            self._has_had_its_time("worker_max_rss", why)
        else:
            asyncio.get_running_loop().call_later(MEMORY_LOOK, self._look_at_memory)

    def _hear(self) -> None:
        for message in self._channel.received():
            match message["do"]:
                case "stop":
                    self._end.set()
                case "retire":
                    self._others_go_on = True
                    self._end.set()
                case "reopen":
                    self._log.reopen_files()
                case "report":
                    self._report()
                case "end":
                    try:
                        self._report(is_last=True)
                    finally:
                        self._log.close()
                        end_process(0)
        if self._channel.ended:
            asyncio.get_running_loop().remove_reader(self._channel.sock)
            if not self._end.is_set():
                self._log.events.error(
                    "the supervisor of this worker is gone: stopping",
                    extra=named("supervisor_gone"),
                )
            self._end.set()


if __name__ == "__main__":
    sys.exit(main())
