"""One of several processes that serve: its supervisor tells it what to serve, and when to end.

Main thread, and the loop's, which is the same. A fresh interpreter, ``python -m
h2wsgi.server.worker N``, where N is the descriptor of its end of the channel. The invariants: it
accepts nothing before it is ready, and tells so; it ends when its supervisor does, however that
came; the sockets, and the file of a Unix socket, stay the supervisor's.

    to a worker      {"do": "stop"}     end gracefully, and take what waits to be accepted
                     {"do": "retire"}   end gracefully: other workers go on
                     {"do": "end"}      end at once
                     {"do": "reopen"}   open the log files anew
    from a worker    {"say": "ready"}, {"say": "failed", "error": ...}
                     {"say": "leave", "why": ...}  it is time for another to take its place
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from .._version import __version__
from ..config.config import Config
from ..errors import ConfigurationError
from ..log.logs import Log, command_log
from ..process.channel import Channel, Message
from ..process.shares import Shares
from ..tls.context import resolve
from .ending import end_process
from .listeners import Share, inherited
from .running import Poller, go_to_the_end, load_application, loop_factory, prepare_process
from .server import Server
from .signals import Signals, Stopped

PATIENCE = 60.0
"""Seconds in which the supervisor says what to serve."""
USER_ERROR = 2
GONE = 1
MAX_TRACEBACK = 65_536


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
    signals = Signals(of_worker=True)
    try:
        return _work(channel, order, signals)
    except Stopped:
        return 0
    except ConfigurationError as error:
        shown = getattr(error, "traceback_text", "")[-MAX_TRACEBACK:]
        channel.send({"say": "failed", "error": str(error), "hint": error.hint, "traceback": shown})
        return USER_ERROR


def _work(channel: Channel, order: Message, signals: Signals) -> int:
    if order["version"] != __version__:
        raise ConfigurationError(
            f"h2wsgi {__version__} is installed, and its supervisor is {order['version']}.",
            "Restart it; its workers are no others than it is itself.",
        )
    shares = Shares(order["shares"])
    os.set_inheritable(shares.descriptor, False)
    listeners = [inherited(each) for each in order["listeners"]]
    config = Config(**{name: _as_kept(value) for name, value in order["config"].items()})
    without_loop = _WithoutLoop(channel)
    with without_loop:
        identity = resolve(config)
        app = load_application(order["target"], config)
        factory = loop_factory(config.loop)
    with ExitStack() as stack:
        stack.enter_context(signals)
        signals.stop_if_asked()
        log = command_log(config)
        stack.callback(log.close)
        signals.log = log
        prepare_process()
        server = Server(
            app,
            config,
            log=log,
            tls=None if identity is None else identity.context,
            share=Share(listeners, shares.place(order["row"])),
        )
        worker = _Worker(server, channel, signals, log)
        with asyncio.Runner(loop_factory=factory) as runner:
            all_returned = runner.run(worker.serve())
        if not all_returned:
            log.close()
            end_process(0)
        stack.pop_all()
        go_to_the_end(signals, log, config)
        without_loop.listen(without_loop.end_when_told)
    return 0


def _as_kept(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class _WithoutLoop:
    """Who listens to the supervisor while there is no loop: before the server, and behind it.

    By a signal and no thread, as applications fork as they are loaded, or replace threads.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._poller = select.poll()
        self._poller.register(channel.sock, 0)
        self._flags = fcntl.fcntl(channel.sock, fcntl.F_GETFL)

    def listen(self, look: Callable[[], None]) -> None:
        """Have ``look`` called now, and whenever there may be something new."""
        signal.signal(signal.SIGIO, lambda _number, _frame: look())
        fcntl.fcntl(self._channel.sock, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self._channel.sock, fcntl.F_SETFL, self._flags | os.O_ASYNC)
        look()

    def __enter__(self) -> None:
        self.listen(self._end_with_the_supervisor)

    def __exit__(self, *_: object) -> None:
        fcntl.fcntl(self._channel.sock, fcntl.F_SETFL, self._flags)
        signal.signal(signal.SIGIO, signal.SIG_DFL)

    def _end_with_the_supervisor(self) -> None:
        if any(event & select.POLLHUP for _, event in self._poller.poll(0)):
            os._exit(GONE)

    def end_when_told(self) -> None:
        """End at once if the supervisor says so, or is gone. The server has stopped by now."""
        told = [message["do"] for message in self._channel.received()]
        if "end" in told or self._channel.ended:
            end_process(0)


class _Worker:
    """A server, and the channel to its supervisor. The loop's thread."""

    def __init__(self, server: Server, channel: Channel, signals: Signals, log: Log) -> None:
        self._server = server
        self._channel = channel
        self._signals = signals
        self._log = log
        self._end = asyncio.Event()
        self._others_go_on = False

    async def serve(self) -> bool:
        """Serve until told to end; return whether all applications have returned."""
        loop = asyncio.get_running_loop()
        # Whoever asks this worker alone to end gets another in its place first.
        self._signals.listen(loop, self._leave)
        poller = Poller(loop)
        try:
            await self._server.start()
            loop.add_reader(self._channel.sock, self._hear)
            self._channel.send({"say": "ready"})
            await self._end.wait()
            all_returned = await self._server.stop(others_go_on=self._others_go_on)
        finally:
            loop.remove_reader(self._channel.sock)
            poller.close()
            self._signals.leave(loop)
        return all_returned

    def _leave(self, why: str) -> None:
        """Ask to be replaced."""
        self._channel.send({"say": "leave", "why": why})

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
                case "end":
                    self._log.close()
                    end_process(0)
        if self._channel.ended:
            asyncio.get_running_loop().remove_reader(self._channel.sock)
            if not self._end.is_set():
                self._log.events.error("the supervisor of this worker is gone: stopping")
            self._end.set()


if __name__ == "__main__":
    sys.exit(main())
