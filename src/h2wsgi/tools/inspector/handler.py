"""One request to the inspector. Threads of the inspector's own, one for each client.

Below the token: ``/`` is the page, ``/events`` its server-sent events, ``/stream?n=1`` and
``/connection?n=1`` are details, ``/export.json`` and ``/export.har`` what can be kept. All are GET
or HEAD. The invariant: a request is whole within HEAD_TIMEOUT and MAX_HEAD octets, or given up.
"""

from __future__ import annotations

import io
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from ...process.clock import clock
from . import har
from .guard import HEADERS, content_policy
from .views import Shapes

MAX_HEAD = 16_384
"""Octets of a request."""
HEAD_TIMEOUT = 5.0
"""Seconds that a request may take to arrive."""
SEND_TIMEOUT = 10.0
"""Seconds that a client may go without reading."""
TICK = 0.15
"""Seconds between two messages to a page."""
SILENCE = 5.0
"""Seconds after which a page is told that nothing has changed."""
PIECE = 65_536
"""Characters sent at once of an export, about."""
JSON = "application/json"


@cache
def page() -> str:
    """Return the page, with ``NONCE`` where one belongs."""
    return files(__package__).joinpath("page.html").read_text("utf-8")


class Handler(BaseHTTPRequestHandler):
    """Answers one request, then closes: browsers open connections as they need them."""

    MAX_PAGES: ClassVar[int] = 6
    """Pages that get events at once; a browser opens no more connections to one host."""
    LAST_WORDS: ClassVar[float] = 0.5
    """Seconds in which a page is told that the server has stopped."""
    timeout = HEAD_TIMEOUT
    server: Any

    def setup(self) -> None:
        """See socketserver. Reads the whole request first, with one deadline."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BytesIO(self._read_head())
        self.connection.settimeout(SEND_TIMEOUT)

    def _read_head(self) -> bytes:
        head = bytearray()
        deadline = clock.monotonic() + HEAD_TIMEOUT
        self.server.awaited.add(self.connection)
        try:
            while b"\r\n\r\n" not in head and b"\n\n" not in head:
                left = deadline - clock.monotonic()
                if left <= 0 or len(head) > MAX_HEAD or self.server.stopping.is_set():
                    return b""
                self.connection.settimeout(left)
                if not (octets := self.connection.recv(MAX_HEAD)):
                    return b""
                head += octets
        except OSError:
            return b""
        finally:
            self.server.awaited.discard(self.connection)
        return bytes(head)

    def handle(self) -> None:
        """See socketserver."""
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the client is gone, or too slow

    def do_GET(self) -> None:
        """Answer."""
        hosts = self.headers.get_all("Host", [])
        refusal = self.server.guard.refusal(self.path, hosts, self.headers)
        if refusal is not None:
            self._refuse(*refusal)
            return
        url = urlsplit(self.path)
        name = url.path.partition(self.server.guard.token)[2]
        answers: dict[str, Callable[[], None]] = {
            "/": self._page,
            "/events": self._events,
            "/export.json": lambda: self._export("json", Shapes(self.server.ledger).export()),
            "/export.har": lambda: self._export("har", har.export(self.server.ledger)),
            "/stream": lambda: self._details("stream", parse_qs(url.query)),
            "/connection": lambda: self._details("connection", parse_qs(url.query)),
        }
        if (answer := answers.get(name)) is None:
            self._refuse(HTTPStatus.NOT_FOUND, "The inspector has nothing there.")
        else:
            answer()

    def do_HEAD(self) -> None:
        """Answer without content; see _head."""
        self.do_GET()

    def version_string(self) -> str:
        """See http.server, which would tell Python's version too."""
        return "h2wsgi"

    # ------------------------------------------------------------------------ what is asked

    def _page(self) -> None:
        nonce = secrets.token_urlsafe(16)
        content = page().replace("NONCE", nonce).encode()
        policy = {"Content-Security-Policy": content_policy(nonce)}
        self._answer(HTTPStatus.OK, "text/html; charset=utf-8", content, policy)

    def _details(self, kind: str, query: dict[str, list[str]]) -> None:
        text = query.get("n", [""])[0]
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
        ledger, shapes = self.server.ledger, Shapes(self.server.ledger)
        found = ledger.stream(number) if kind == "stream" else ledger.connection(number)
        if found is None:
            self._refuse(HTTPStatus.NOT_FOUND, f"This {kind} is not kept any more.")
            return
        make = shapes.stream_details if kind == "stream" else shapes.connection_details
        self._answer(HTTPStatus.OK, JSON, json.dumps(make(*found)).encode())

    def _export(self, extension: str, pieces: Iterable[str]) -> None:
        name = f"h2wsgi-{time.strftime('%Y%m%d-%H%M%S', time.localtime(clock.time()))}.{extension}"
        disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
        if self._head(HTTPStatus.OK, JSON, disposition):
            for piece in _joined(pieces):
                if self.server.stopping.is_set():
                    return
                self.wfile.write(piece.encode())

    def _events(self) -> None:
        if not self.server.pages.acquire(blocking=False):
            text = f"There are {self.MAX_PAGES} pages open already; close one."
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, text)
            return
        try:
            if self._head(HTTPStatus.OK, "text/event-stream", {}):
                self._send_changes()
        finally:
            self.server.pages.release()

    def _send_changes(self) -> None:
        """Send everything that is kept, then what changes, until the server stops."""
        ledger, stopping = self.server.ledger, self.server.stopping
        shapes = Shapes(ledger)
        cursor, sent_at, first = 0, 0.0, True
        while True:
            stopped = stopping.is_set()
            changes = ledger.since(cursor)
            if first or changes.cursor != cursor or clock.monotonic() - sent_at > SILENCE:
                message = shapes.changes(changes) | {"snapshot": first}
                self._send_event("changes", json.dumps(message, separators=(",", ":")))
                cursor, sent_at, first = changes.cursor, clock.monotonic(), False
            if stopped:
                self._send_event("stopped", "{}")
                return
            stopping.wait(TICK)
            if self._has_hung_up():
                return  # so that another page gets the place at once, and not when a write fails

    def _has_hung_up(self) -> bool:
        self.connection.settimeout(0)
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.connection.settimeout(SEND_TIMEOUT)

    def _send_event(self, name: str, data: str) -> None:
        self.wfile.write(f"event: {name}\ndata: {data}\n\n".encode())

    # ------------------------------------------------------------------------------ answers

    def _head(self, status: HTTPStatus, kind: str, headers: dict[str, str]) -> bool:
        """Send the head; return whether content follows."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, **HEADERS, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        return self.command != "HEAD"

    def _answer(
        self, status: HTTPStatus, kind: str, content: bytes, headers: dict[str, str] | None = None
    ) -> None:
        length = {"Content-Length": str(len(content))}
        if self._head(status, kind, length | (headers or {})):
            self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self._answer(status, "text/plain; charset=utf-8", text.encode() + b"\n")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """See http.server, whose page would repeat what the client sent."""
        status = HTTPStatus(code)
        self.close_connection = True
        if not hasattr(self, "command") or self.command is None:
            self.command = "GET"
        self._refuse(status, status.phrase)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing; http.server would write to standard error."""


def _joined(pieces: Iterable[str]) -> Iterator[str]:
    """Return small pieces as larger ones."""
    kept: list[str] = []
    size = 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield "".join(kept)
            kept, size = [], 0
    yield "".join(kept)
