"""Faults on demand: a middleware that makes responses go wrong by ``--fault`` rules.

Runs on application threads, in front of the application, and only while there are rules. Any
application can do the same by ``environ["h2wsgi.stream"]``. Only :func:`settings_delay`, which is
about whole connections, is called by the loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..codes import ErrorCode, code_name
from ..config.fault_rules import FaultRule, FaultRules
from ..errors import ClientDisconnected
from ..log.logs import Log, named
from ..seam.control import StreamControl

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

ENDING = frozenset({"reset", "refuse", "drop"})
"""Faults after which nothing more is sent."""


def ends(rule: FaultRule, stream: StreamControl) -> bool:
    """Return whether nothing more is sent on a stream once ``rule`` has hit it."""
    if rule.kind == "goaway":
        return int(rule.named.get("last", stream.id)) < stream.id  # says that it was not processed
    return rule.kind in ENDING


class Faults:
    """An application in front of another one, with the rules for its requests."""

    def __init__(self, app: WSGIApplication, rules: FaultRules, log: Log) -> None:
        self._app = app
        self._rules = rules
        self._log = log

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer the request, or do what the rules say instead."""
        path = environ["PATH_INFO"]
        at_once: list[FaultRule] = []
        later: list[FaultRule] = []
        for rule in self._rules:
            if rule.kind != "delay-settings" and rule.matches(path):
                (later if rule.after or rule.kind == "drip" else at_once).append(rule)
        stream: StreamControl = environ["h2wsgi.stream"]
        what = f"{environ['REQUEST_METHOD']} {path} (stream {stream.id})"
        for rule in at_once:
            # One by one: once the stream has ended, those left are for the next request.
            if rule.strikes():
                self._inject(rule, stream, what)
                if ends(rule, stream):
                    raise ClientDisconnected(f"ended by the fault {rule.text!r}")
        later = [rule for rule in later if rule.strikes()]
        if not later:
            return self._app(environ, start_response)
        return self._later(later, stream, what, environ, start_response)

    def _later(
        self,
        rules: list[FaultRule],
        stream: StreamControl,
        what: str,
        environ: dict[str, Any],
        start_response: Callable[..., Any],
    ) -> Iterable[bytes]:
        pieces = _Pieces(rules, stream, lambda rule: self._inject(rule, stream, what))

        def start(*args: Any) -> Callable[[bytes], None]:
            write = start_response(*args)

            def write_in_pieces(data: bytes) -> None:
                for piece in pieces.of(data):
                    write(piece)

            return write_in_pieces

        try:
            return _Content(self._app(environ, start), pieces)
        except BaseException:
            pieces.end()
            raise

    def _inject(self, rule: FaultRule, stream: StreamControl, what: str) -> None:
        rule.struck()
        self._log.events.info("fault %r: %s", rule.text, what, extra=named("fault"))
        match rule.kind:
            case "reset":
                stream.reset(rule.value)
            case "refuse":
                stream.reset(ErrorCode.REFUSED_STREAM)
            case "goaway":
                debug = f"fault: {code_name(rule.value)}".encode()
                stream.goaway(rule.value, rule.named.get("last"), debug)
            case "stall":
                stream.stall(rule.value, connection=rule.named.get("of") == "connection")
            case "drop":
                stream.close_transport(abort=rule.value == "rst")
            case "tiny-windows":
                stream.change_settings({"INITIAL_WINDOW_SIZE": rule.value})
            case "max-streams":
                stream.change_settings({"MAX_CONCURRENT_STREAMS": rule.value})


class _Pieces:
    """Cuts a response's content where faults are due, and causes them there."""

    def __init__(
        self, rules: list[FaultRule], stream: StreamControl, inject: Callable[[FaultRule], None]
    ) -> None:
        self._stream = stream
        self._due = sorted((rule for rule in rules if rule.after), key=lambda rule: rule.after)
        self._drip = next((rule for rule in rules if rule.kind == "drip"), None)
        self._inject = inject
        self._sent = 0

    def of(self, data: bytes) -> Iterator[bytes]:
        """Return ``data`` in pieces.

        Raises:
            ClientDisconnected: a fault has ended the stream.
        """
        position = 0
        while position < len(data):
            size = len(data) - position
            if self._due:
                size = min(size, self._due[0].after - self._sent)
            if self._drip is not None:
                size = min(size, self._drip.value)
            yield data[position : position + size]
            position += size
            self._sent += size
            self._strike()

    def end(self) -> None:
        """There is no more content: faults that are still due do not come."""
        while self._due:
            self._due.pop().missed()
        if self._drip is not None and not self._sent:
            self._drip.missed()
            self._drip = None

    def _strike(self) -> None:
        while self._due and self._due[0].after <= self._sent:
            rule = self._due.pop(0)
            self._inject(rule)
            if ends(rule, self._stream):
                raise ClientDisconnected(f"ended by the fault {rule.text!r}")
        if self._drip is not None:
            if self._sent <= self._drip.value:
                self._inject(self._drip)  # only says so in the log
            # A loop that is busy for longer than the delay would join the pieces into one frame.
            self._stream.stall(0)
            time.sleep(self._drip.named.get("delay", 0.1))


class _Content:
    """What the application returned, in pieces. Closing it closes the original."""

    def __init__(self, content: Iterable[bytes], pieces: _Pieces) -> None:
        self._content = content
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._content:
            if not chunk:
                yield chunk
            yield from self._pieces.of(chunk)

    def close(self) -> None:
        """Close what was wrapped."""
        self._pieces.end()
        close = getattr(self._content, "close", None)
        if close is not None:
            close()


def settings_delay(rules: FaultRules, log: Log, what: str, peer: str) -> float:
    """Return the seconds by which ``"settings"`` or their ``"ack"`` are to be late. Loop thread."""
    seconds = 0.0
    for rule in rules:
        if rule.kind != "delay-settings" or rule.named.get("what", "settings") != what:
            continue
        if rule.strikes():
            rule.struck()
            log.events.info("fault %r: %s", rule.text, peer, extra=named("fault"))
            seconds = max(seconds, rule.value)
    return seconds
