"""A connection that serves no host but those of its certificate (RFC 9110 section 15.5.20).

Clients send requests for all hosts that a certificate names, and that lead to one address, over
one connection (RFC 9113 section 9.1.1). A client that is wrong about it asks again on a connection
of its own when it is told so. A class of its own, as it costs each request a look. Loop thread
only.
"""

from __future__ import annotations

from ..log.text import shown
from ..seam.request import ConnectionFacts, RequestFields
from .connection import Connection
from .interfaces import ServerContext, Wire

MOST_KNOWN = 64
"""Authorities that are remembered, of those that are covered."""
MAX_SHOWN = 200
"""Characters of one that is not, in the log."""


class CoveredConnection(Connection):
    """Answers 421 to a request for a host that the certificate does not cover."""

    def __init__(self, server: ServerContext, wire: Wire, facts: ConnectionFacts) -> None:
        super().__init__(server, wire, facts)
        self._covers = facts.covers or (lambda host: True)
        self._known: set[bytes] = set()

    def request_received(self, stream_id: int, request: RequestFields, end_stream: bool) -> None:
        """See EngineHandler."""
        authority = request.authority
        if authority is None:
            authority = next((value for name, value in request.fields if name == b"host"), b"")
        if authority in self._known or self._is_covered(authority):
            super().request_received(stream_id, request, end_stream)
            return
        self.client_log.say_once(
            "misdirected",
            f"answered 421 on stream {stream_id}: {shown(authority.decode('latin-1'), MAX_SHOWN)} "
            "is not a host of the connection's certificate (--misdirected)",
        )
        self.answer(self._open(stream_id, request, end_stream), 421)

    def _is_covered(self, authority: bytes) -> bool:
        """Return whether this is a host of the certificate. Who names none cannot be wrong."""
        if authority and not self._covers(_host_of(authority.decode("latin-1"))):
            return False
        if len(self._known) < MOST_KNOWN:
            self._known.add(authority)
        return True


def _host_of(authority: str) -> str:
    """Return an authority without its port; an IPv6 address keeps its brackets."""
    host, _, port = authority.rpartition(":")
    return host if host and (not port or port.isdecimal()) else authority
