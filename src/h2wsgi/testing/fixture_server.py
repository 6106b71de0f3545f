"""What the pytest fixtures hand out: a server in a thread that remembers the application's errors.

Errors are noted on the application's threads and read on the test's. The invariant: when a server
has stopped, each exception of its application is in ``errors``, unless the test took it out. So an
exception fails the test that caused it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

from ..config.config import Config
from ..errors import ConfigurationError
from ..log.logs import Log, library_log
from ..process.forking import tell_in_child
from ..server.running import ServerThread
from ..wsgi.runner import WSGIApplication

GRACEFUL_TIMEOUT = 1.0
"""Seconds that applications which still run get at the end of a test, unless it says otherwise:
nobody waits for their answers then."""


class FixtureServer(ServerThread):
    """A running server, with the names that users of pytest-httpbin know."""

    def __init__(
        self, app: WSGIApplication, config: Config, *, raise_app_errors: bool = True
    ) -> None:
        self.raise_app_errors = raise_app_errors
        """Whether what is left in ``errors`` fails the test."""
        self.errors: list[BaseException] = []
        """What the application raised, oldest first. Take out, or clear, what you expected."""
        self._changed = threading.Condition()
        standard = library_log(config)
        events = _Events(standard.events, self._take)
        access = standard.access if config.access_log else None
        super().__init__(app, config, log=Log(events, access, standard.access_wanted))
        tell_in_child(self)

    def forked(self) -> None:
        """See Forkable. The lock may be held by a thread that the child does not have."""
        self._changed = threading.Condition()

    @classmethod
    def start(
        cls, app: WSGIApplication | str, options: dict[str, Any], *, raise_app_errors: bool = True
    ) -> Self:
        """Return a server that runs; ``options`` are those of :func:`h2wsgi.serve_in_thread`.

        The option ``record`` is on, unless it is given.

        Raises:
            ConfigurationError: something cannot be used; its hint is a note.
        """
        options = {"graceful_timeout": GRACEFUL_TIMEOUT, "record": True} | options
        try:
            return cls.build(app, options, raise_app_errors=raise_app_errors).__enter__()
        except ConfigurationError as error:
            if error.hint:
                error.add_note(error.hint)
            raise

    @property
    def url(self) -> str:
        """The first endpoint's URL, without a slash at its end: ``server.url + "/get"``."""
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

    def _take(self, error: BaseException, message: str) -> None:
        with self._changed:
            error.add_note(f"h2wsgi: {message}")
            self.errors.append(error)
            self._changed.notify_all()


class _Events(logging.Logger):
    """Passes what a server reports on to the standard logger, and takes the exceptions in it.

    Each server has its own logger, to tell the errors of two servers apart. Neither ``dictConfig``
    nor ``disable()`` of the application reaches it.
    """

    def __init__(
        self, standard: logging.Logger, take: Callable[[BaseException, str], None]
    ) -> None:
        super().__init__(standard.name)
        self._standard = standard
        self._take = take

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 (logging's name)
        return level >= logging.ERROR or self._standard.isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        try:
            if self._standard.isEnabledFor(record.levelno):
                self._standard.handle(record)
        finally:
            # After the standard handlers, which would show the note as well.
            if record.exc_info is not None and record.exc_info[1] is not None:
                self._take(record.exc_info[1], record.getMessage())


class FixtureServers:
    """The fixture ``h2_server``: call it for a server; all of them stop when its block ends."""

    def __init__(self) -> None:
        self._servers: list[FixtureServer] = []

    def __call__(
        self, app: WSGIApplication | str, *, raise_app_errors: bool = True, **options: Any
    ) -> FixtureServer:
        """Serve ``app``, or what a target such as ``"module:app"`` names, on a free port.

        ``options`` are the fields of :class:`~h2wsgi.Config`. What the application raises
        fails the test when it ends, unless ``raise_app_errors`` is False.

        Raises:
            ConfigurationError: something cannot be used.
        """
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
        if not errors:
            return
        # In a group even a KeyboardInterrupt fails the test instead of ending pytest.
        if len(errors) == 1 and isinstance(errors[0], Exception):
            raise errors[0]
        raise BaseExceptionGroup("the application under h2_server raised", errors)
