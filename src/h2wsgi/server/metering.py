"""The metrics of one process that serves: its counts, and the port. Only with ``--metrics``.

Loop thread, but for what the port's own threads ask.
"""

from __future__ import annotations

from collections.abc import Callable

from ..http2.counting import Counts, FrameCounts
from ..http2.interfaces import ConnectionObserver, ObserverFactory
from ..log.logs import Log
from ..seam.request import ConnectionFacts
from ..tools.metrics.families import FAMILIES, SECONDS
from ..tools.metrics.samples import Samples
from ..tools.metrics.service import (
    LoopSource,
    MetricsService,
    Post,
    open_socket,
    require_client,
)


def new_counts() -> Counts:
    """Return what a server counts with."""
    return Counts(SECONDS)


def counting(counts: Counts, observe: ObserverFactory | None) -> ObserverFactory:
    """Return who counts the frames of connections, beside ``observe``."""
    if observe is None:
        return lambda: FrameCounts(counts)
    return lambda: _Both(FrameCounts(counts), observe())


class MetricsPort:
    """The port of ``Config.metrics``. Opened once and closed once.

    ``measure`` and ``is_ready`` are as :class:`LoopSource` wants them.

    Raises:
        ConfigurationError: prometheus-client is missing.
    """

    def __init__(
        self,
        address: str,
        measure: Callable[[], Samples],
        is_ready: Callable[[], bool],
        log: Log,
    ) -> None:
        require_client()
        self._address = address
        self._source = LoopSource(measure, is_ready)
        self._log = log
        self._service: MetricsService | None = None

    @property
    def url(self) -> str:
        """Where the metrics are, once the port is open."""
        return "" if self._service is None else self._service.url

    def open(self) -> None:
        """Open the port.

        Raises:
            ConfigurationError: the address cannot be used.
        """
        self._service = MetricsService(
            open_socket(self._address), FAMILIES, self._source, self._log
        )

    def start(self, post: Post) -> None:
        """Begin to answer; ``post`` has a call made on the loop's thread."""
        if self._service is not None:
            self._source.start(post)
            self._service.start()

    def close(self) -> None:
        """Answer no more."""
        if self._service is not None:
            self._service.close()


class _Both:
    """Two observers of one connection."""

    def __init__(self, first: ConnectionObserver, second: ConnectionObserver) -> None:
        self._both = (first, second)

    def opened(self, facts: ConnectionFacts, alpn: str | None) -> None:
        """See ConnectionObserver."""
        for observer in self._both:
            observer.opened(facts, alpn)

    def received(self, octets: bytes) -> None:
        """See ConnectionObserver."""
        for observer in self._both:
            observer.received(octets)

    def sent(self, octets: bytes) -> None:
        """See ConnectionObserver."""
        for observer in self._both:
            observer.sent(octets)

    def closed(self, reason: str) -> None:
        """See ConnectionObserver."""
        for observer in self._both:
            observer.closed(reason)
