"""The second port: ``/metrics``, ``/healthz``, ``/readyz``, by HTTP/1.1.

On threads of its own, with the standard library's server, and not on the loop: to make a page holds
up no request, and a loop that hangs is reported by a thread that does not. All answers come from a
:class:`Source`. All threads are daemons, and take no signals. Requests are bounded in number, in
size and in time.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer
from typing import Any, BinaryIO, Protocol, TypeVar

from ...config.addresses import parse_host_port
from ...errors import ConfigurationError
from ...log.logs import Log, named
from ...process.clock import clock
from ...process.forking import close_in_child
from .samples import Family, Samples

T = TypeVar("T")
TIMEOUT = 5.0
"""Seconds that a client may take to send its request, or to take a part of the answer."""
WHOLE_TIMEOUT = 15.0
"""Seconds that a client may be connected."""
MAX_REQUEST = 32_768
"""Octets of a request."""
LOOP_TIMEOUT = 2.0
"""Seconds after which a loop that does not answer counts as hanging."""
MAX_CLIENTS = 16
"""Connections at once; more are closed."""
HELD = 0.02
"""Seconds between looks whether clients are to be accepted again."""
LOOK = 0.5
"""Seconds between looks at whether the service is over, in case its thread cannot be woken."""
JOIN_TIMEOUT = 2.0

Post = Callable[[Callable[[], None]], None]
"""Has a function called on the loop's thread."""


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


class Unwell(Exception):
    """A part of the server does not answer, or wants no requests; ``str()`` says what."""


class Source(Protocol):
    """What a server says of itself. Any thread; all of it returns in a few seconds at most."""

    def samples(self) -> Samples:
        """Return what is counted.

        Raises:
            Unwell: nobody answers.
        """

    def check_alive(self) -> None:
        """Return if the server is alive.

        Raises:
            Unwell: it hangs.
        """

    def check_ready(self) -> None:
        """Return if the server is alive and requests are welcome.

        Raises:
            Unwell: it hangs, or they are not.
        """


def answer_of(
    ask: Callable[[Callable[..., None]], object] | None,
    look: Callable[..., T],
    timeout: float,
    whom: str,
) -> T:
    """Return what ``look`` returns on another thread, where ``ask`` has it called.

    ``ask`` is None as long as nobody can call it.

    Raises:
        Unwell: it did not return within ``timeout`` seconds.
    """
    answer: list[T] = []
    answered = threading.Event()

    def told(*seen: object) -> None:
        try:
            answer.append(look(*seen))
        finally:
            answered.set()

    if ask is not None:
        ask(told)
        answered.wait(timeout)
    if not answer:
        raise Unwell(f"{whom} does not answer")
    return answer[0]


class LoopSource:
    """A source that is one event loop, once :meth:`start` was called.

    ``measure`` returns what is counted, on the loop's thread, in one go; ``is_ready`` says whether
    requests are welcome.
    """

    def __init__(self, measure: Callable[[], Samples], is_ready: Callable[[], bool]) -> None:
        self._measure = measure
        self._is_ready = is_ready
        self._post: Post | None = None

    def start(self, post: Post) -> None:
        """Begin to answer."""
        self._post = post

    def samples(self) -> Samples:
        """See Source."""
        return self._on_the_loop(self._measure)

    def check_alive(self) -> None:
        """See Source."""
        self._on_the_loop(dict)

    def check_ready(self) -> None:
        """See Source."""
        if not self._is_ready():
            raise Unwell("stopping, or not started yet")
        self.check_alive()

    def _on_the_loop(self, call: Callable[[], Samples]) -> Samples:
        return answer_of(self._post, call, LOOP_TIMEOUT, "the event loop")


class MetricsService:
    """Serves what ``source`` says on a socket that listens. Started and closed once."""

    def __init__(
        self,
        listening: socket.socket,
        families: dict[str, Family],
        source: Source,
        log: Log,
    ) -> None:
        self.families = families
        self.source = source
        self._server = _Server(listening, self, log)

    @property
    def socket(self) -> socket.socket:
        """The one that listens."""
        return self._server.socket

    @property
    def url(self) -> str:
        """Where the metrics are, the real port included."""
        host, port = self._server.server_address[:2]
        host = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{host}:{port}/metrics"

    def start(self) -> None:
        """Begin to serve."""
        self._server.begin()

    def is_held(self) -> bool:
        """Accept nobody from now on; return whether all clients are gone."""
        return self._server.is_held()

    def release(self) -> None:
        """Accept again."""
        self._server.release()

    def close(self) -> None:
        """Serve no more; does not wait for clients."""
        self._server.end()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, service: MetricsService, log: Log) -> None:
        BaseServer.__init__(self, listening.getsockname(), _Handler)
        self.socket = listening
        self.timeout = LOOK
        listening.settimeout(LOOK)  # for a client that is gone by the time it is accepted
        close_in_child(listening)
        self.service = service
        self._log = log
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._is_held = False
        """Whether clients are left in the backlog."""
        self._clients: dict[socket.socket, float] = {}
        """When the time of each client is over, by the monotonic clock."""
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

    def is_held(self) -> bool:
        """See MetricsService."""
        with self._lock:
            self._is_held = True
            return not self._clients

    def release(self) -> None:
        """See MetricsService."""
        with self._lock:
            self._is_held = False

    def _accept(self) -> None:
        if hasattr(signal, "pthread_sigmask"):  # signals are for threads that act on them
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not self._over.is_set():
            self.handle_request()
            self._end_overdue()

    def _end_overdue(self) -> None:
        """End clients whose time is over, such as one that sends an octet every few seconds."""
        now = clock.monotonic()
        with self._lock:
            overdue = [client for client, until in self._clients.items() if now >= until]
        for client in overdue:
            with suppress(OSError):  # it has ended just now
                client.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> tuple[socket.socket, Any]:
        """See socketserver."""
        try:
            with self._lock:
                if self._is_held:
                    raise BlockingIOError
                client, address = super().get_request()
                self._clients[client] = clock.monotonic() + WHOLE_TIMEOUT
        except OSError:
            # Or the accept would be tried again at once, for ever.
            self._over.wait(HELD if self._is_held else LOOK)
            raise
        close_in_child(client)
        return client, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """See socketserver."""
        return not self._over.is_set() and len(self._clients) <= MAX_CLIENTS

    def process_request(self, request: Any, client_address: Any) -> None:
        """See socketserver."""
        name = f"h2wsgi-metrics-{client_address[1]}"
        arguments = (request, client_address)
        thread = threading.Thread(
            target=self.process_request_thread, args=arguments, name=name, daemon=True
        )
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """See socketserver. This is how each client ends."""
        try:
            super().shutdown_request(request)
        finally:
            with self._lock:
                self._clients.pop(request, None)

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
        try:
            if path == "/metrics":
                from .exposition import exposition

                accept = self.headers.get("Accept", "")
                return 200, *exposition(service.source.samples(), service.families, accept)
            if path == "/healthz":
                service.source.check_alive()
                return 200, b"alive\n", PLAIN
            if path == "/readyz":
                service.source.check_ready()
                return 200, b"ready\n", PLAIN
        except Unwell as why:
            return 503, f"{why}\n".encode(), PLAIN
        return 404, b"there are /metrics, /healthz and /readyz\n", PLAIN

    def setup(self) -> None:
        """See BaseHTTPRequestHandler."""
        super().setup()
        self.rfile: Any = _Bounded(self.rfile, MAX_REQUEST)

    def handle(self) -> None:
        """See BaseHTTPRequestHandler. A client that hangs up is no error."""
        with suppress(ConnectionError, TimeoutError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: probes come every few seconds."""

    def version_string(self) -> str:
        """See BaseHTTPRequestHandler."""
        return "h2wsgi"


class _Bounded:
    """A file of which only so many octets can be read, by lines."""

    def __init__(self, file: BinaryIO, octets: int) -> None:
        self._file = file
        self._left = octets

    def readline(self, limit: int) -> bytes:
        """Return a line, or the part of it that is within the limit.

        Raises:
            ConnectionError: there are more octets.
        """
        line = self._file.readline(min(limit, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise ConnectionError("a request that is too long")
        return line

    def close(self) -> None:
        """See io.IOBase."""
        self._file.close()


PLAIN = "text/plain; charset=utf-8"
