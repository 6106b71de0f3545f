"""The inspector's HTTP/1.1 server: the page, its events, details and exports.

Runs on threads of its own: one accepts, and one serves each client, MAX_CLIENTS of them at most.
All are daemons, and have ended when :meth:`Inspector.close` returns. They share nothing but the
ledger with the server, so no client of the inspector disturbs the server. Requests are bounded in
size and in time.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from http.server import ThreadingHTTPServer
from socket import SHUT_RD, SHUT_RDWR, create_connection, socket
from socketserver import BaseServer
from typing import Any

from ...log.logs import Log, named
from ...process.clock import clock
from ...process.forking import close_in_child
from ...wsgi.runner import WSGIApplication
from .address import open_socket, url_of
from .guard import Guard
from .handler import Handler
from .ledger import Ledger
from .watched import Watched

MAX_CLIENTS = 32
"""Connections at once; more are closed."""
ACCEPT_PAUSE = 0.1
"""Seconds to wait after an accept that failed, for want of descriptors perhaps."""
JOIN_TIMEOUT = 2.0
"""Seconds that a thread gets to end; no thread should need them."""


class Inspector:
    """What ``Config.inspect`` asks for. Started once and closed once."""

    def __init__(self, where: str, log: Log) -> None:
        self.ledger = Ledger()
        self.url = ""
        """The page's URL, with its token, once the inspector is started."""
        self._where = where
        self._log = log
        self._server: _Server | None = None

    def watched(self, app: WSGIApplication) -> WSGIApplication:
        """Return ``app`` with its calls noted."""
        return Watched(app, self.ledger)

    def start(self) -> None:
        """Open the socket and serve.

        Raises:
            ConfigurationError: the address cannot be used.
        """
        self._server = _Server(open_socket(self._where), self.ledger, self._log)
        self.url = f"{url_of(self._server.address)}/{self._server.guard.token}/"
        self._server.start()

    def close(self) -> None:
        """Tell pages that it is over, and end every thread; does nothing if it never started."""
        if self._server is not None:
            self._server.stop()


class _Server(ThreadingHTTPServer):
    timeout = 1.0
    """Seconds between looks at whether the server is over, in case its thread cannot be woken."""
    daemon_threads = True
    block_on_close = False  # socketserver would wait without end; stop() waits itself

    def __init__(self, listening: socket, ledger: Ledger, log: Log) -> None:
        self.address: tuple[str, int] = listening.getsockname()[:2]
        BaseServer.__init__(self, self.address, Handler)
        self.socket = listening
        close_in_child(listening)
        self.ledger = ledger
        self.guard = Guard(self.address)
        self.stopping = threading.Event()
        self.pages = threading.BoundedSemaphore(Handler.MAX_PAGES)
        self.awaited: set[socket] = set()
        """Clients whose request has not come whole, each for as long as its thread reads it."""
        self._log = log
        self._clients: dict[threading.Thread, socket] = {}
        """Clients by the thread that serves them. For the accepting thread, and then stop()."""
        self._accepting = threading.Thread(
            target=self._accept, name="h2wsgi-inspect-accept", daemon=True
        )

    def start(self) -> None:
        """Begin to accept."""
        self._accepting.start()

    def stop(self) -> None:
        """Close everything and wait for it."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        with suppress(OSError):  # wakes the thread that accepts
            create_connection(self.address, JOIN_TIMEOUT).close()
        self._accepting.join(JOIN_TIMEOUT)
        self.socket.close()
        for client in list(self.awaited):  # browsers open some in advance
            with suppress(OSError):
                client.shutdown(SHUT_RD)
        deadline = clock.monotonic() + Handler.LAST_WORDS
        for thread in self._clients:
            thread.join(max(0.0, deadline - clock.monotonic()))
        for thread, client in self._clients.items():
            if thread.is_alive():
                with suppress(OSError):
                    client.shutdown(SHUT_RDWR)
                thread.join(JOIN_TIMEOUT)

    def _accept(self) -> None:
        while not self.stopping.is_set():
            self.handle_request()

    def get_request(self) -> tuple[socket, Any]:
        """See socketserver."""
        try:
            client, address = super().get_request()
            close_in_child(client)
            return client, address
        except OSError:
            self.stopping.wait(ACCEPT_PAUSE)  # or the accept would be tried again at once, for ever
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """See socketserver."""
        self._clients = {t: client for t, client in self._clients.items() if t.is_alive()}
        return not self.stopping.is_set() and len(self._clients) < MAX_CLIENTS

    def process_request(self, request: Any, client_address: Any) -> None:
        """See socketserver."""
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name=f"h2wsgi-inspect-{client_address[1]}",
            daemon=True,
        )
        thread.start()
        self._clients[thread] = request

    def handle_error(self, request: Any, client_address: Any) -> None:
        """See socketserver. Clients that hang up are no error; see Handler."""
        self._log.events.exception(
            "the inspector could not answer a request", extra=named("inspector_failed")
        )
