"""Ways to run a Server to its end: as the command does, from a program, in a background thread.

The only place besides server, accept and protocol that knows asyncio: it owns the loop.
"""

from __future__ import annotations

import _thread
import asyncio
import dataclasses
import logging
import os
import queue
import select
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from .._version import __version__
from ..config.config import Config
from ..errors import ConfigurationError, H2WSGIError
from ..log.logs import Log, command_log, named
from ..process.clock import clock
from ..process.forking import tell_in_child
from ..process.systemd import ServiceManager
from ..tls.context import resolve, settle_key_log
from ..wsgi.runner import WSGIApplication
from .banner import Endpoint, ready
from .ending import end_process, name_what_is_waited_for
from .loading import load
from .server import Server
from .signals import Signals, Stopped
from .surroundings import enter, name_ignored, pid_file, refuse_in_program

if TYPE_CHECKING:
    from ..config.fault_rules import FaultRules
    from ..config.keywords import Options
    from ..tools.recording.records import ConnectionRecord, Records, RequestRecord

T = TypeVar("T")

SWITCH_INTERVAL = 0.0005
"""Seconds between forced thread switches in the command: a new connection's first answer beside
four computing threads then takes 39 ms instead of 338 (CPython's default is 0.005)."""
HEAP_BUFFER = 1_048_576
"""Octets up to which buffers come from the C library's heap in the command."""
THREAD_START_TIMEOUT = 30.0
THREAD_STOP_GRACE = 5.0


class Loop(asyncio.SelectorEventLoop):
    """asyncio's loop. accept.py watches sockets with add_reader, which Windows' default lacks."""

    def time(self) -> float:
        """Return the moment that timers go by: asyncio's own stands still where freezegun says."""
        return clock.monotonic()


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the event loop of ``Config.loop``. Call it once the application is loaded.

    Raises:
        ConfigurationError: uvloop was asked for, and is not installed or cannot be used; no loop
            can be.
    """
    patched_by = _patched_by()
    if patched_by and name == "uvloop":
        raise ConfigurationError(
            f"The event loop uvloop (--loop) cannot be used with {patched_by}, which has replaced "
            "Python's threads or sockets with its own (monkey_patch).",
            "Leave out --loop: auto takes asyncio's, which uses what is there.",
        )
    if name != "asyncio" and not patched_by:
        try:
            import uvloop
        except ImportError:
            if name == "uvloop":
                raise ConfigurationError(
                    "The event loop uvloop (--loop) is not installed.",
                    'Install it with: pip install "h2wsgi[standard]"',
                ) from None
        else:
            return uvloop.new_event_loop
    return Loop


def _patched_by() -> str:
    """Return who has replaced Python's sockets or threads: ``"gevent"``, ``"eventlet"``, or ``""``.

    Threads are greenlets of one thread then. uvloop waits in C, where no other has its turn.

    Raises:
        ConfigurationError: only a part was replaced of what has to fit together.
    """
    replaced: dict[str, str] = {}
    for what, found in (
        ("threads", _thread.start_new_thread),
        ("sockets", socket.socket),
        ("select", select.select),
        ("queue", queue.SimpleQueue),
    ):
        package = found.__module__.partition(".")[0]
        if package in ("gevent", "eventlet"):
            replaced[what] = package
    if queue.SimpleQueue.__module__ == "queue":  # the one in Python, which fits all locks
        replaced["queue"] = replaced.get("threads", "")
    for one, other in (("threads", "select"), ("threads", "queue"), ("queue", "threads")):
        if replaced.get(one) and other not in replaced:
            raise ConfigurationError(
                f"{replaced[one]} has replaced Python's {one}, but not its {other} "
                "(monkey_patch), so threads and the event loop would wait for each other.",
                "Have it replace all: patch_all() of gevent, monkey_patch() of eventlet.",
            )
    return replaced.get("threads") or replaced.get("sockets", "")


def run(
    app: WSGIApplication,
    config: Config,
    *,
    signals: Signals,
    target: str,
    ignored: Sequence[str] = (),
    ends: bool = False,
) -> int:
    """Serve until a signal says to stop, telling standard error about it; return the exit code.

    ``signals`` were taken before the application was loaded, and are given back here. ``target`` is
    what to call the application; ``ignored`` are variables that were not ours.
    ``ends`` says that the process ends behind it: a second signal is heard until it has, and what
    holds it up is named.

    Raises:
        ConfigurationError: an address, a certificate or a log file cannot be used.
        Stopped: a signal asked to stop before there was a server.
    """
    with ExitStack() as stack:
        stack.enter_context(signals)
        signals.stop_if_asked()
        factory = loop_factory(config.loop)
        identity = resolve(config)
        log = command_log(config)
        stack.callback(log.close)
        signals.log = log
        name_ignored(log, ignored)
        manager = ServiceManager()

        def on_ready(endpoints: list[Endpoint]) -> None:
            ready(
                log,
                config,
                target=target,
                version=__version__,
                endpoints=endpoints,
                certificate=identity,
                inspector=server.inspect_url if config.inspect else "",
                metrics=server.metrics_url,
            )
            manager.ready()
            if manager.watchdog:
                _show_signs_of_life(asyncio.get_running_loop(), manager)

        prepare_process()
        server = Server(app, config, log=log, identity=identity)
        with asyncio.Runner(loop_factory=factory) as runner:
            serving = _serve_until_signal(server, signals, on_ready, manager)
            all_returned = runner.run(serving)
        if not all_returned:
            log.close()
            # Threads cannot be ended, and a normal exit might wait for what they hold.
            end_process(0)
        if ends:
            stack.pop_all()
            go_to_the_end(signals, log, config)
        return 0


def go_to_the_end(signals: Signals, log: Log, config: Config) -> None:
    """Close the log behind a server that has stopped, and say what holds up the process's end."""
    log.close()
    signals.log = command_log(dataclasses.replace(config, access_log=False))
    name_what_is_waited_for(signals.log)


def prepare_process() -> None:
    """Make the process one that is there to serve."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    _keep_buffers_on_the_heap()
    _say_nothing_of_odd_names()


def _say_nothing_of_odd_names() -> None:
    """Have clients that ask for a name (SNI) which is no ASCII write no traceback.

    ssl decodes the name before it asks for a certificate, and has nobody else to tell. The line of
    the handshake, which fails, says it.
    """
    hook = sys.unraisablehook

    def all_but_those(details: sys.UnraisableHookArgs) -> None:
        is_name = isinstance(details.exc_value, UnicodeDecodeError)
        if not (is_name and isinstance(details.object, bytes)):
            hook(details)

    sys.unraisablehook = all_but_those


def _keep_buffers_on_the_heap() -> None:
    """Have glibc take TLS's buffers from its heap instead of mapping each.

    glibc maps allocations above 128 KiB, at first, and what TLS reads and holds may be 256 KiB.
    Mapping costs some page faults each: half as much CPU time again in an upload of 10 MiB. A
    mapped one that is freed raises that bound to its own size. (Untouched, it takes no memory.)
    """
    _ = bytes(HEAP_BUFFER)


def _show_signs_of_life(loop: asyncio.AbstractEventLoop, manager: ServiceManager) -> None:
    """Tell the service manager again and again that the loop turns."""
    manager.alive()
    loop.call_later(manager.watchdog, _show_signs_of_life, loop, manager)


async def _serve_until_signal(
    server: Server,
    signals: Signals,
    on_ready: Callable[[list[Endpoint]], None],
    manager: ServiceManager,
) -> bool:
    stop = asyncio.Event()

    def stop_for(name: str) -> None:
        stop.set()  # first: what the application has made of logging may raise
        manager.stopping()
        waits = _what_is_waited_for(server)
        extra = named("stopping", signal=name)
        server.log.events.info("%s: stopping%s", name, waits, extra=extra)

    def reload() -> bool:
        if not server.endpoints:  # it was told to as it started, and has read all of it just now
            return False
        manager.reloading()
        return server.reload_certificates(manager.ready)

    loop = asyncio.get_running_loop()
    signals.listen(loop, stop_for, reload)
    poller = Poller(loop)
    try:
        await server.start()
        on_ready(server.endpoints)
        await stop.wait()
        all_returned = await server.stop()
        server.log.events.info("stopped", extra=named("stopped"))
    finally:
        poller.close()
        signals.leave(loop)
    return all_returned


class Poller:
    """What a loop waits with, until it closes: a child would share it.

    One that is forked on the loop's thread, as a signal handler of the application's may do, ends
    in the loop. It gets an empty one, or it would have the parent's forget its sockets.
    """

    def __init__(self, loop: Any) -> None:
        # There is no public name for either: uvloop's, and asyncio's. The selectors of gevent and
        # eventlet have no descriptor, and nor has any where there is no epoll.
        uvloops = getattr(loop, "_get_backend_id", None)
        find = uvloops or getattr(loop._selector, "fileno", None)
        self._descriptor: int = find() if find and hasattr(select, "epoll") else -1
        tell_in_child(self)

    def close(self) -> None:
        """Forget the loop's, which is about to close it."""
        self._descriptor = -1

    def forked(self) -> None:
        """See Forkable."""
        if self._descriptor >= 0:
            with select.epoll() as empty:
                os.dup2(empty.fileno(), self._descriptor, inheritable=False)


def _what_is_waited_for(server: Server) -> str:
    running = server.running_requests
    if not running:
        return ""
    requests = "1 running request has" if running == 1 else f"{running} running requests have"
    seconds = f"{server.config.graceful_timeout:g} s"
    return f"; {requests} up to {seconds} to finish, a second signal ends at once"


def serve(app: WSGIApplication | str, **options: Unpack[Options]) -> int:
    """Serve ``app``, or the one that a target such as ``"module:app"`` names, as the command does.

    ``options`` are the fields of :class:`~h2wsgi.Config`. Logs to standard error, returns
    the exit code after SIGINT or SIGTERM. Call it on the main thread, outside of any event loop.

    Raises:
        ConfigurationError: an option, the target, a certificate or an address is wrong, or the
            thread is.
    """
    _require_main_thread()
    config = Config.build(**options)
    if config.is_supervised:
        if not isinstance(app, str):
            raise ConfigurationError(
                f"An application that is an object is this process's, and {config.supervised_by} "
                "asks for others, which have to import it.",
                'Name it: h2wsgi.serve("module:app", ...). Or leave the option out.',
            )
        from .supervised import run_supervised

        return run_supervised(config, target=app, read_again=lambda: (config, app))
    target = app if isinstance(app, str) else _describe(app)
    try:
        with Signals() as signals:
            signals.stop_if_asked()
            enter(config)
            with pid_file(config.pid):
                return run(_application(app, config), config, signals=signals, target=target)
    except Stopped:
        return 0


def _require_main_thread() -> None:
    """Refuse to serve where no signal could stop the server, or where a loop runs already.

    Raises:
        ConfigurationError: naming what to call instead.
    """
    if (current := threading.current_thread()) is not threading.main_thread():
        raise ConfigurationError(
            f"serve() was called on the thread {current.name!r}, but signals, which stop it, reach "
            "the main thread alone.",
            "Call it on the main thread, or use serve_in_thread(app), which needs no signals.",
        )
    with suppress(RuntimeError):  # there is none
        asyncio.get_running_loop()
        raise ConfigurationError(
            "serve() was called in a running event loop, and has a loop of its own.",
            "Use: async with Server(app, config). Or call serve() where no loop runs.",
        )


def serve_in_thread(app: WSGIApplication | str, **options: Unpack[Options]) -> ServerThread:
    """Return a context manager that serves ``app`` in a background thread::

        with serve_in_thread(app) as server:
            httpx.Client(http2=True, verify=server.ssl_context()).get(server.url)

    ``options`` are the fields of :class:`~h2wsgi.Config`; without ``bind`` a free port of
    localhost is taken. Idle clients do not hold up the end: see :meth:`ServerThread.stop`.

    Raises:
        ConfigurationError: here or on entering, if something cannot be used.
    """
    return ServerThread.build(app, options)


class ServerThread:
    """A server in a background thread, running while its ``with`` block does."""

    def __init__(self, app: WSGIApplication, config: Config, *, log: Log | None = None) -> None:
        refuse_in_program(config)
        self.server = Server(app, config, log=log)
        self._loop_factory = loop_factory(config.loop)
        self._thread = threading.Thread(target=self._run, name="h2wsgi-loop", daemon=True)
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @classmethod
    def build(cls, app: WSGIApplication | str, options: Options, **more: Any) -> Self:
        """Return what :func:`serve_in_thread` does, of this class; ``more`` goes to ``__init__``.

        Raises:
            ConfigurationError: an option or the target is wrong.
        """
        if not options.get("bind") and not options.get("bind_h2c"):
            options = {**options, "bind": "localhost:0"}
        config = Config.build(**options)
        return cls(_application(app, config), config, **more)

    @property
    def url(self) -> str:
        """The first endpoint's URL, ending in ``/``."""
        return self.server.url

    @property
    def urls(self) -> list[str]:
        """The URLs of all endpoints."""
        return self.server.urls

    @property
    def ca_file(self) -> str | None:
        """The file a client must trust to accept the certificate; None for cleartext."""
        return self.server.ca_file

    @property
    def inspect_url(self) -> str:
        """The URL of the inspector's page, if the option ``inspect`` is on."""
        return self.server.inspect_url

    def ssl_context(self) -> ssl.SSLContext:
        """Return a client's context that trusts this server's certificate."""
        return self.server.ssl_context()

    def join(self, path: str) -> str:
        """Return the URL of ``path`` on this server."""
        return self.server.join(path)

    @property
    def connections(self) -> Records[ConnectionRecord]:
        """What every connection so far was, if the option ``record`` is on."""
        return self.server.connections

    @property
    def requests(self) -> Records[RequestRecord]:
        """What every request so far was, if the option ``record`` is on."""
        return self.server.requests

    def clear(self) -> None:
        """Forget the connections and requests so far, as before the part of a test that counts.

        A connection that is open now is in ``connections`` again from its next request on.

        Raises:
            ConfigurationError: the option ``record`` is off.
        """
        self.server.clear()

    @property
    def faults(self) -> FaultRules:
        """The rules by which requests go wrong, to be changed at any time::

        fault = server.faults.add("goaway last=0 times=1")
        ...
        assert fault.hits == 1
        server.faults.clear()
        """
        return self.server.faults

    def wait_for(self, condition: Callable[[], T], timeout: float = 10.0) -> T:
        """Return what ``condition()`` does as soon as it is true, asked after each frame.

        For what the client does last, and gets no answer to::

            server.wait_for(lambda: server.connections[0].closed)

        A LookupError, as there is no first connection yet, means that it is not true yet.

        Raises:
            TimeoutError: it was not true within ``timeout`` seconds.
            ConfigurationError: the option ``record`` is off.
        """
        return self.server.recorder.wait_for(condition, timeout)

    def __enter__(self) -> Self:
        if self._thread.ident is not None:
            raise H2WSGIError("A server starts only once: make another one.")
        self._thread.start()
        if not self._ready.wait(THREAD_START_TIMEOUT):
            raise H2WSGIError(f"The server did not start within {THREAD_START_TIMEOUT:g} seconds.")
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        """Whether the server's thread is alive."""
        return self._thread.is_alive()

    def begin_stop(self) -> None:
        """Tell the server to stop, and wait for nothing: :meth:`stop` does."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            with suppress(RuntimeError):  # the loop may have ended just now
                self._loop.call_soon_threadsafe(self._stop.set)

    def stop(self) -> None:
        """Stop the server and wait for it; does nothing if it has stopped.

        Requests that run get the ``graceful_timeout``. Where there are none it takes less than
        50 ms on Linux, whatever clients are connected, which are sent GOAWAY.
        """
        self.begin_stop()
        if self._loop is not None:
            config = self.server.config
            patience = config.drain_delay + config.graceful_timeout + THREAD_STOP_GRACE
            self._thread.join(patience)
        if self._thread.is_alive():
            raise H2WSGIError("The server did not stop.")

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._error = error
            if self._ready.is_set():
                logging.getLogger("h2wsgi").exception("the server thread failed")
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        poller = Poller(self._loop)
        try:
            await self.server.start()
            try:
                self._ready.set()
                await self._stop.wait()
            finally:
                await self.server.stop(clients_at_hand=True)
        finally:
            poller.close()


def load_application(target: str, config: Config) -> WSGIApplication:
    """Return the application that ``target`` names, imported as ``config`` says.

    Raises:
        LoadError: see :func:`~h2wsgi.server.loading.load`.
    """
    settle_key_log()
    return load(target, app_dir=config.app_dir, factory=config.factory)


def _application(app: WSGIApplication | str, config: Config) -> WSGIApplication:
    if isinstance(app, str):
        return load_application(app, config)
    if config.factory:
        raise ConfigurationError(
            "factory applies to a target given as text, such as 'module:make_app'.",
            "Call the factory, and pass what it returns.",
        )
    return app


def _describe(app: object) -> str:
    module = getattr(app, "__module__", type(app).__module__)
    return f"{module}:{getattr(app, '__qualname__', type(app).__qualname__)}"
