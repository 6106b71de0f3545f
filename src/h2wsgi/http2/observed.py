"""H2Protocol with somebody watching: only servers that were asked to watch make these.

Loop thread only. A class of its own, so that a server without an observer does not even ask
whether there is one. An observer that raises is logged and dismissed; its connection goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..log.logs import named
from ..seam.request import ConnectionFacts
from .closing import SILENT, State
from .interfaces import ConnectionObserver, ObserverFactory, ServerContext
from .protocol import H2Protocol


class ObservedProtocol(H2Protocol):
    """One connection, whose octets ``observe``'s observer sees before anybody acts on them."""

    def __init__(
        self,
        server: ServerContext,
        facts: Callable[[asyncio.BaseTransport], ConnectionFacts],
        *,
        observe: ObserverFactory,
        advice: str = "",
        made: Callable[[H2Protocol], None],
    ) -> None:
        super().__init__(server, facts, advice=advice, made=made)
        self._make_observer = observe
        self._observer: ConnectionObserver | None = None
        self._peer_hung_up = False
        self._aborted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        facts = self._make_facts(transport)
        self._make_facts = lambda _: facts
        tls = transport.get_extra_info("ssl_object")
        alpn = None if tls is None else tls.selected_alpn_protocol()

        def open_() -> None:
            self._observer = self._make_observer()
            self._observer.opened(facts, alpn)

        self._tell(facts, open_)
        # Now, because over TLS this sends our SETTINGS.
        super().connection_made(transport)

    def receive(self, data: bytes) -> None:
        if self._observer is not None:
            self._tell(self.facts, self._observer.received, data)
        super().receive(data)

    def eof_received(self) -> bool:
        self._peer_hung_up = True
        return super().eof_received()

    def write(self, data: bytes) -> None:
        # What a stall keeps back is written again at its end, and seen then.
        leaves = self._stall is None and self.state not in SILENT
        if leaves and self._observer is not None:
            self._tell(self.facts, self._observer.sent, data)
        super().write(data)

    def abort(self) -> None:
        self._aborted = True
        super().abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._observer is not None:
            # First, so that whoever waits for the server to forget the connection finds it closed.
            self._tell(self.facts, self._observer.closed, self._reason(exc))
        super().connection_lost(exc)

    def _reason(self, exc: Exception | None) -> str:
        # Not every transport tells of the peer's end before it is lost itself.
        if not self._peer_hung_up and (self._aborted or self.state is State.LINGERING):
            return "the server closed it"
        return "the client hung up" if exc is None else f"lost: {exc}"

    def _tell(self, facts: ConnectionFacts, event: Callable[..., None], *arguments: Any) -> None:
        try:
            event(*arguments)
        except Exception:
            self._observer = None
            self._server.log.events.exception(
                "%s: the observer of the connection failed; going on without it",
                facts.peer,
                extra=named("observer_failed", peer=facts.peer),
            )
