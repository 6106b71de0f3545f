"""What the pytest fixtures hand out: a server in a thread that remembers the application's errors.

Errors are noted on the application's threads and read on the test's. The invariant: when a server
has stopped, each exception of its application is in ``errors``, unless the test took it out. So an
exception fails the test that caused it. A server that several tests share shows each of them only
what happened in that test: the plugin says when a test begins.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Self, Unpack
from urllib.parse import urljoin, urlsplit

from ..config.config import Config
from ..config.keywords import Options
from ..errors import ConfigurationError
from ..log.logs import Log, library_log, message_of
from ..process.clock import clock
from ..process.forking import tell_in_child
from ..server.running import ServerThread
from ..wsgi.runner import WSGIApplication
from .report import LogLine, report

GRACEFUL_TIMEOUT = 1.0
"""Seconds that applications still running get at the end of a test, unless the test says otherwise:
nobody waits for their answers then."""
MAX_LOG_KEPT = 200
"""Lines of the log kept for a report."""
MAX_LINE_KEPT = 500
"""Characters of each."""
MAX_SERVERS = 4
"""Servers that a failed test shows."""
ERROR_PATIENCE = 1.0
"""Seconds to wait, at most, for applications to return, as what they raise is known a moment after
their clients have an answer, and for the loop to read what clients have sent."""
OF_EARLIER_TEST = "its request is of an earlier test"


class FixtureServer(ServerThread):
    """A running server, with the names that users of pytest-httpbin know."""

    def __init__(
        self, app: WSGIApplication, config: Config, *, raise_app_errors: bool = True
    ) -> None:
        self.raise_app_errors = raise_app_errors
        """Whether what is left in ``errors`` fails the test."""
        self.errors: list[BaseException] = []
        """What the application raised, oldest first. Take out, or clear, what you expected."""
        self.is_for_all = False
        """Whether any test may use it; then no test meets the faults that another has added."""
        self._is_of_before = False
        """Whether it ran already when the current test began."""
        self._was_asked = False
        """Whether the current test has asked for its URL."""
        self._test_began = clock.monotonic()
        """When the current test began, if the server is older."""
        self._since = clock.monotonic()
        """From when on it shows what happened."""
        self._said: deque[LogLine] = deque(maxlen=MAX_LOG_KEPT)
        self._changed = threading.Condition()
        standard = library_log(config)

        def application_text(text: str) -> None:
            standard.application_text(text)
            for line in text.split("\n"):
                self._note(f"app: {line}")

        log = Log(
            _Events(standard.events, self._note, self._take),
            standard.access if config.access_log else None,
            standard.access_wanted,
            application_text=application_text,
        )
        super().__init__(app, config, log=log)
        tell_in_child(self)

    def forked(self) -> None:
        """See Forkable. The lock may be held by a thread that the child does not have."""
        self._changed = threading.Condition()

    @classmethod
    def start(
        cls, app: WSGIApplication | str, options: Options, *, raise_app_errors: bool = True
    ) -> Self:
        """Return a server that runs; ``options`` are those of :func:`h2wsgi.serve_in_thread`.

        The option ``record`` is on, unless it is given.

        Raises:
            ConfigurationError: something cannot be used; its hint is a note.
        """
        defaults: Options = {"graceful_timeout": GRACEFUL_TIMEOUT, "record": True}
        try:
            server = cls.build(app, {**defaults, **options}, raise_app_errors=raise_app_errors)
            server.__enter__()
        except ConfigurationError as error:
            if error.hint:
                error.add_note(error.hint)
            # The traceback is to end at the line of the test that gave the option.
            __tracebackhide__ = True
            raise error.with_traceback(None) from error.__cause__
        _started.append(server)
        return server

    @property
    def url(self) -> str:
        """The first endpoint's URL, without a slash at its end: ``server.url + "/get"``."""
        self._was_asked = True
        return super().url.rstrip("/")

    @property
    def urls(self) -> list[str]:
        """The URLs of all endpoints, likewise."""
        return [url.rstrip("/") for url in super().urls]

    @property
    def host(self) -> str:
        """The first endpoint's host, such as ``localhost``; empty for a Unix socket."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The first endpoint's port; 0 for a Unix socket."""
        return urlsplit(self.url).port or 0

    def __repr__(self) -> str:
        where = super().url.rstrip("/") if self.server.endpoints else "not started"
        return f"<{type(self).__name__} {where}>"

    def join(self, path: str) -> str:
        """Return the URL of ``path`` on this server."""
        return urljoin(f"{self.url}/", path)

    def __add__(self, path: str) -> str:
        """Return the URL and ``path``: ``server + "/get"``."""
        return self.url + path

    def wait_for_error(self, timeout: float = 10.0) -> BaseException:
        """Take the oldest exception of the application out of ``errors``, waiting for one.

        A client has its 500 a moment before the exception is there.

        Raises:
            TimeoutError: there was none within ``timeout`` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.errors, timeout):
                raise TimeoutError(f"The application raised nothing within {timeout:g} seconds.")
            return self.errors.pop(0)

    def clear(self) -> None:
        """Forget the connections and requests so far, and errors that are not to fail the test.

        A connection that is open now is in ``connections`` again from its next request on.
        """
        if self.server.config.record:
            super().clear()
        if not self.raise_app_errors:
            self.errors.clear()
        self._said.clear()
        self._since = clock.monotonic()

    def begin_test(self) -> None:
        """Another test begins while the server runs."""
        self.clear()
        self._is_of_before = True
        self._was_asked = False
        self._test_began = clock.monotonic()
        with self._changed:
            for error in self.errors:  # those that came after the end of their test
                _add_note(error, OF_EARLIER_TEST)
        if self.is_for_all:
            self.faults.clear()

    def report(self) -> str:
        """Return what a failed test shows of the server: see :mod:`h2wsgi.testing.report`."""
        self._wait_for_loop()
        self._wait_for_applications()
        connections = self.connections if self.server.config.record else None
        running = self.server.busy_threads
        return report(connections, running, list(self._said), self.faults, self._since)

    def take_errors(self) -> list[BaseException]:
        """Return what is left in ``errors``, to fail the test that is over."""
        if not self.raise_app_errors:
            return []
        self._wait_for_applications()
        with self._changed:
            taken, self.errors[:] = self.errors[:], []
        return taken

    def _wait_for_loop(self) -> None:
        """Have the loop read what has come: a client may know before that it failed, and why."""
        for _ in range(2):  # the turn that it is at may have begun before that
            if not self.is_running:
                return
            turned = threading.Event()
            self.server.mailbox.post_threadsafe(turned.set, True)
            if not turned.wait(ERROR_PATIENCE):
                return

    def _wait_for_applications(self) -> None:
        deadline = clock.monotonic() + ERROR_PATIENCE
        while self.server.busy_threads and clock.monotonic() < deadline:
            time.sleep(0.005)

    @property
    def was_used(self) -> bool:
        """Whether the current test has started the server, or used it."""
        seen = self.server.config.record and self.connections
        return bool(not self._is_of_before or self._was_asked or seen or self._said)

    def _note(self, text: str) -> None:
        self._said.append(LogLine(clock.monotonic(), text[:MAX_LINE_KEPT]))

    def _take(self, error: BaseException, message: str, age: float) -> None:
        """Keep an exception of the application whose request began ``age`` seconds ago."""
        _add_note(error, message)
        with self._changed:
            if clock.monotonic() - age < self._test_began:
                _add_note(error, OF_EARLIER_TEST)
            self.errors.append(error)
            self._changed.notify_all()


_started: list[FixtureServer] = []
"""The servers of the current test, and those that ran when it began."""


def begin_test() -> None:
    """A test begins: servers that run already show it nothing of earlier tests."""
    _started[:] = [server for server in _started if server.is_running]
    for server in _started:
        server.begin_test()


def end_test() -> BaseException | None:
    """A test is over: return the errors that it caused in applications whose servers go on."""
    errors = [error for server in _started if server.is_running for error in server.take_errors()]
    return _together(errors) if errors else None


def _together(errors: list[BaseException]) -> BaseException:
    # In a group even a KeyboardInterrupt fails the test instead of ending pytest.
    if len(errors) == 1 and isinstance(errors[0], Exception):
        return errors[0]
    return BaseExceptionGroup("the application under h2_server raised", errors)


def reports(used: Collection[object]) -> list[tuple[str, str]]:
    """Return title and text for each server that the current test used.

    ``used`` are the fixtures that it asked for.
    """
    servers = [s for s in _started if s.was_used or any(s is value for value in used)]
    found = [(f"h2wsgi {server.url}", server.report()) for server in servers[-MAX_SERVERS:]]
    if (left_out := len(servers) - len(found)) > 0:
        found.insert(0, ("h2wsgi", f"... {left_out} servers more, and then"))
    return found


class _Events(logging.Logger):
    """Passes what a server reports on to the standard logger, notes it, and takes the exceptions.

    Each server has its own logger, to tell the errors of two servers apart. Neither ``dictConfig``
    nor ``disable()`` of the application reaches it.
    """

    def __init__(
        self,
        standard: logging.Logger,
        note: Callable[[str], None],
        take: Callable[[BaseException, str, float], None],
    ) -> None:
        super().__init__(standard.name)
        self._standard = standard
        self._note = note
        self._take = take

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 (logging's name)
        return level >= logging.INFO or self._standard.isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        error = None if record.exc_info is None else record.exc_info[1]
        if record.levelno >= logging.INFO:
            where = "" if error is None else f" ({_raised(error)})"
            self._note(f"{record.levelname.lower()}: {record.getMessage()}{where}")
        try:
            if self._standard.isEnabledFor(record.levelno):
                self._standard.handle(record)
        finally:
            # After the standard handlers, which would show the note as well.
            if error is not None:
                fields: dict[str, float] = getattr(record, "fields", {})
                self._take(error, record.getMessage(), fields.get("seconds", 0.0))


def _add_note(error: BaseException, note: str) -> None:
    line = f"h2wsgi: {note}"
    with suppress(Exception):  # an application's exception may refuse it
        if line not in getattr(error, "__notes__", ()):
            error.add_note(line)


def _raised(error: BaseException) -> str:
    """Return what an exception says and where it was raised, on one line."""
    said = " ".join(message_of(error).split())
    places = traceback.extract_tb(error.__traceback__)
    if not places:
        return said
    place = places[-1]
    return f"{said}, at {os.path.basename(place.filename)}:{place.lineno} in {place.name}"


class FixtureServers:
    """The fixture ``h2_server``: call it for a server; all of them stop when its block ends."""

    def __init__(self) -> None:
        self._servers: list[FixtureServer] = []

    def __call__(
        self,
        app: WSGIApplication | str,
        *,
        raise_app_errors: bool = True,
        **options: Unpack[Options],
    ) -> FixtureServer:
        """Serve ``app``, or what a target such as ``"module:app"`` names, on a free port.

        ``options`` are the fields of :class:`~h2wsgi.Config`. What the application raises
        fails the test when it ends, unless ``raise_app_errors`` is False.

        Raises:
            ConfigurationError: something cannot be used.
        """
        __tracebackhide__ = True  # tells pytest to leave this frame out
        server = FixtureServer.start(app, options, raise_app_errors=raise_app_errors)
        self._servers.append(server)
        return server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        __tracebackhide__ = True  # tells pytest to leave these frames out
        errors: list[BaseException] = []
        for server in self._servers:
            server.begin_stop()  # all at once, as each may have something to wait for
        for server in reversed(self._servers):
            try:
                server.stop()
            except Exception as error:
                errors.append(error)
            if server.raise_app_errors:
                errors += server.errors
        if errors:
            raise _together(errors)
