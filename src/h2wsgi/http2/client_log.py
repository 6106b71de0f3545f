"""What the log is told of one client, which may do the same again and again.

Loop thread only.
"""

from __future__ import annotations

import logging
import time

from ..log.logs import AccessRecord
from ..seam.request import ConnectionFacts
from ..seam.stream import Stream
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
        self.say_once(option, f"{text} (--{option.replace('_', '-')})", level)

    def body_too_large(self, stream: Stream) -> None:
        """The content of a request is over the limit."""
        self.limit_hit("max_body", f"the content of stream {stream.stream_id} is too large")

    def say_once(self, kind: str, text: str, level: int = logging.INFO) -> None:
        """Log what a client does, once: the next time of the same kind is for debugging only."""
        if kind in self._said:
            level = logging.DEBUG
        self._said.add(kind)
        self._log.events.log(level, "%s: %s", self._peer, text)

    def access(self, stream: Stream, outcome: str) -> None:
        """Log a request that has ended."""
        request = stream.request
        remote, proxy = self._peer, self._facts.proxy
        forwarded = self._facts.forwarded
        if forwarded is not None and (told := forwarded.read(request.fields).peer):
            remote, proxy = told, proxy or remote
        self._log.access(
            AccessRecord(
                method=request.method,
                path=request.shown_path,
                status=stream.status,
                protocol="HTTP/2",
                stream_id=stream.stream_id,
                seconds=time.monotonic() - stream.started_at,
                octets=stream.octets_sent,
                remote=remote,
                outcome=outcome,
                proxy=proxy,
                connection=self._facts.number,
            )
        )
