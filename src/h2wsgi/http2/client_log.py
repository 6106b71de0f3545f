"""What the log is told of one client, which may do the same again and again.

Loop thread only.
"""

from __future__ import annotations

import logging
from typing import Any

from ..log.logs import named
from ..log.text import AccessRecord
from ..process.clock import clock
from ..seam.request import ConnectionFacts
from ..seam.stream import Stream
from .fields import FieldList, unserved_request
from .interfaces import ServerContext


class ClientLog:
    """Tells the log of one connection's client: each kind of event once, each request."""

    __slots__ = ("_facts", "_log", "_peer", "_said", "_server")

    def __init__(self, server: ServerContext, facts: ConnectionFacts) -> None:
        # immutable
        self._server = server
        self._log = server.log
        self._facts = facts
        self._peer = facts.peer
        # loop thread only
        self._said: set[str] = set()

    def limit_hit(self, option: str, text: str, level: int = logging.INFO) -> None:
        """Count that the client went over the limit of an option, and log it once."""
        self._server.limit_hit(option)
        extra = named("limit_hit", peer=self._peer, limit=option)
        self._say_once(option, f"{text} (--{option.replace('_', '-')})", level, extra)

    def body_too_large(self, stream: Stream) -> None:
        """The content of a request is over the limit."""
        self.limit_hit("max_body", f"the content of stream {stream.stream_id} is too large")

    def say_once(self, kind: str, text: str, level: int = logging.INFO) -> None:
        """Log what a client does, once: the next time of the same kind is for debugging only."""
        extra = named("client_event", peer=self._peer, kind=kind)
        self._say_once(kind, text, level, extra)

    def _say_once(self, kind: str, text: str, level: int, extra: dict[str, Any]) -> None:
        if kind in self._said:
            level = logging.DEBUG
        self._said.add(kind)
        self._log.events.log(level, "%s: %s", self._peer, text, extra=extra)

    def refused(self, stream_id: int, fields: FieldList) -> None:
        """Log a request that was over the limit of streams, and that nobody has begun with."""
        request = unserved_request(fields)
        self._log.access(
            AccessRecord(
                method=request.method,
                path=request.shown_path,
                status=0,
                protocol="HTTP/2",
                stream_id=stream_id,
                seconds=0.0,
                octets=0,
                remote=self._peer,
                outcome="reset by server: REFUSED_STREAM, too many streams",
                variables=self._facts.tls,
                proxy=self._facts.proxy,
                connection=self._facts.number,
            )
        )

    def not_http2(self, method: str, target: str, version: str, octets: int) -> None:
        """Log a request that was answered with a 505, as it is none of HTTP/2."""
        self._log.access(
            AccessRecord(
                method=method,
                path=target,
                status=505,
                protocol=version,
                stream_id=0,
                seconds=0.0,
                octets=octets,
                remote=self._peer,
                outcome="refused: not HTTP/2",
                variables=self._facts.tls,
                proxy=self._facts.proxy,
                connection=self._facts.number,
            )
        )

    def access(self, stream: Stream, outcome: str) -> None:
        """Log a request that has ended."""
        request, head = stream.request, stream.head
        remote, proxy = self._peer, self._facts.proxy
        forwarded = self._facts.forwarded
        if forwarded is not None and (told := forwarded.read(request.fields).peer):
            remote, proxy = told, proxy or remote
        self._log.access(
            AccessRecord(
                method=request.method,
                path=request.shown_path,
                status=0 if head is None else head.status,
                protocol="HTTP/2",
                stream_id=stream.stream_id,
                seconds=clock.monotonic() - stream.started_at,
                octets=stream.octets_sent,
                remote=remote,
                outcome=outcome,
                authority=request.authority,
                fields=request.fields,
                response_fields=() if head is None else head.fields,
                variables=self._facts.tls,
                proxy=proxy,
                connection=self._facts.number,
            )
        )
