"""The second port: ``/metrics``, ``/healthz``, ``/readyz``, by HTTP/1.1.

On threads of its own, with the standard library's server, and not on the loop: to make a page holds
up no request, and a loop that hangs is told of by somebody who does not. What is counted is read on
the loop's thread, in one go. All threads are daemons. Requests are bounded in size and in time.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer
from typing import Any

from ...config.addresses import parse_host_port
from ...errors import ConfigurationError
from ...log.logs import Log, named
from ...process.forking import close_in_child
from .samples import Family, Samples

TIMEOUT = 5.0
"""Seconds that a client may take to send its request, or to take a part of the answer."""
LOOP_TIMEOUT = 2.0
"""Seconds after which a loop that does not answer counts as hanging."""
MAX_CLIENTS = 16
"""Connections at once; more are closed."""
LOOK = 0.5
"""Seconds between looks at whether it is over, should nobody be able to wake it."""
JOIN_TIMEOUT = 2.0

Post = Callable[[Callable[[], None]], None]
"""Has a call made on the loop's thread."""


def require_client() -> None:
    """Refuse to start without the library that makes pages for Prometheus.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "The metrics (--metrics) need prometheus-client, which is not installed.",
            'Install it with: pip install "h2wsgi[metrics]"',
        ) from None


def open_socket(address: str) -> socket.socket:
    """Return a listening socket for ``PORT``, on the loopback, or ``HOST:PORT``.

    Raises:
        ConfigurationError: it is neither, or cannot be used.
    """
    hint = "For example --metrics 9090, or --metrics 0.0.0.0:9090 for all who reach this machine."
    try:
        host, port = parse_host_port(address if ":" in address else f"127.0.0.1:{address}")
    except ConfigurationError:
        raise ConfigurationError(
            f"The address of the metrics {address} (--metrics) is neither PORT nor HOST:PORT.", hint
        ) from None
    host = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=MAX_CLIENTS)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"The address of the metrics {address} (--metrics) cannot be used: {reason}.", hint
        ) from None


class MetricsService:
    """Serves the metrics of one server on a socket that listens. Started and closed once.

    ``measure`` returns them, on the loop's thread; ``is_ready`` says whether requests are welcome.
    """

    def __init__(
        self,
        listening: socket.socket,
        families: dict[str, Family],
        measure: Callable[[], Samples],
        is_ready: Callable[[], bool],
        log: Log,
    ) -> None:
        self.families = families
        self.is_ready = is_ready
        self._measure = measure
        self._post: Post | None = None
        self._server = _Server(listening, self, log)

    @property
    def url(self) -> str:
        """Where the metrics are, the real port included."""
        host, port = self._server.server_address[:2]
        host = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{host}:{port}/metrics"

    def start(self, post: Post) -> None:
        """Begin to serve."""
        self._post = post
        self._server.begin()

    def close(self) -> None:
        """Serve no more; does not wait for clients."""
        self._server.end()

    def measured(self) -> Samples | None:
        """Return what the loop's thread says, None if it says nothing in time."""
        answer: list[Samples] = []
        answered = threading.Event()

        def ask() -> None:
            try:
                answer.append(self._measure())
            finally:
                answered.set()

        return answer[0] if self._on_the_loop(ask, answered) and answer else None

    def loop_turns(self) -> bool:
        """Return whether the loop does anything."""
        answered = threading.Event()
        return self._on_the_loop(answered.set, answered)

    def _on_the_loop(self, call: Callable[[], None], answered: threading.Event) -> bool:
        if self._post is None:
            return False
        self._post(call)
        return answered.wait(LOOP_TIMEOUT)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, service: MetricsService, log: Log) -> None:
        BaseServer.__init__(self, listening.getsockname(), _Handler)
        self.socket = listening
        self.timeout = LOOK
        close_in_child(listening)
        self.service = service
        self._log = log
        self._over = threading.Event()
        self._clients = threading.BoundedSemaphore(MAX_CLIENTS)
        self._accepting = threading.Thread(target=self._accept, name="h2wsgi-metrics", daemon=True)

    def begin(self) -> None:
        """Begin to accept."""
        self._accepting.start()

    def end(self) -> None:
        """Accept no more."""
        if self._over.is_set():
            return
        self._over.set()
        if self._accepting.is_alive():
            with suppress(OSError):  # wakes the thread that accepts
                socket.create_connection(self.socket.getsockname()[:2], JOIN_TIMEOUT).close()
            self._accepting.join(JOIN_TIMEOUT)
        self.socket.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            self.handle_request()

    def get_request(self) -> tuple[socket.socket, Any]:
        """See socketserver."""
        try:
            client, address = super().get_request()
        except OSError:
            self._over.wait(LOOK)  # or the accept would be tried again at once, for ever
            raise
        close_in_child(client)
        return client, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """See socketserver."""
        return not self._over.is_set() and self._clients.acquire(blocking=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        """See socketserver."""
        name = f"h2wsgi-metrics-{client_address[1]}"
        arguments = (request, client_address)
        thread = threading.Thread(target=self._serve, args=arguments, name=name, daemon=True)
        thread.start()

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            self._clients.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """See socketserver."""
        self._log.events.exception(
            "the metrics could not answer a request", extra=named("metrics_failed")
        )


class _Handler(BaseHTTPRequestHandler):
    """Answers one request, then closes."""

    timeout = TIMEOUT
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """See BaseHTTPRequestHandler."""
        status, content, content_type = self._answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815 (the standard library's name)

    def _answer(self, path: str) -> tuple[int, bytes, str]:
        service = self.server.service
        if path == "/metrics":
            samples = service.measured()
            if samples is None:
                return 503, b"the event loop does not answer\n", PLAIN
            from .exposition import exposition

            page, content_type = exposition(
                samples, service.families, self.headers.get("Accept", "")
            )
            return 200, page, content_type
        if path == "/healthz":
            return (200, b"alive\n", PLAIN) if service.loop_turns() else HANGING
        if path == "/readyz":
            if not service.is_ready():
                return 503, b"stopping, or not started yet\n", PLAIN
            return (200, b"ready\n", PLAIN) if service.loop_turns() else HANGING
        return 404, b"there are /metrics, /healthz and /readyz\n", PLAIN

    def handle(self) -> None:
        """See BaseHTTPRequestHandler. A client that hangs up is no error."""
        with suppress(ConnectionError, TimeoutError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: probes come every few seconds."""

    def version_string(self) -> str:
        """See BaseHTTPRequestHandler."""
        return "h2wsgi"


PLAIN = "text/plain; charset=utf-8"
HANGING = (503, b"the event loop does not answer\n", PLAIN)
