"""What may watch a connection: every octet of HTTP/2 in both directions, as it is on the wire.

Loop thread only. An observer sees octets, not what the engine made of them, so what it reports is
independent of the engine. The invariants: octets received reach it before the engine acts on them,
octets sent before the transport has them; and nothing that it does or fails to do changes what the
connection does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..request import ConnectionFacts


class ConnectionObserver(Protocol):
    """Watches one connection. Calls come in this order: opened, received and sent, closed."""

    def opened(self, facts: ConnectionFacts, alpn: str | None) -> None:
        """The connection is there, TLS included; its version and cipher are in ``facts.tls``.

        ``alpn`` is what TLS agreed on, None for nothing and on cleartext.
        """

    def received(self, octets: bytes) -> None:
        """The client sent ``octets``, frames or not."""

    def sent(self, octets: bytes) -> None:
        """``octets`` are about to go to the client."""

    def closed(self, reason: str) -> None:
        """The connection is no more."""


ObserverFactory = Callable[[], ConnectionObserver]
"""Makes the observer of a new connection."""
