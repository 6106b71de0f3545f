"""The metrics of several workers, added up, and the port that shows them. Only with ``--metrics``.

In the supervisor's process. Its main thread has the numbers and adds them up; the port's own
threads ask it. The invariant: what only grows never shrinks, so what a worker has counted stays
when it ends, and what one that does not answer said last counts until it says more.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections import Counter
from collections.abc import Callable
from typing import IO, Any, TypeVar

from .._version import __version__
from ..log.logs import Log
from ..supervisor.survey import PATIENCE, Ask, Workers
from ..tools.metrics.families import FAMILIES
from ..tools.metrics.samples import Samples, from_json, lasting, merged, to_json
from ..tools.metrics.service import (
    MetricsService,
    Unwell,
    answer_of,
    open_socket,
    require_client,
)

T = TypeVar("T")

MOST_WAIT = 2 * PATIENCE + 1.0
"""Seconds that an answer may take: the round that is under way, and the next."""
STATES = ("starting", "serving", "hanging", "leaving")
REASONS = (
    "died", "max_requests", "reload", "signal", "upgrade", "worker_lifetime", "worker_max_rss",
    "worker_timeout",
)  # fmt: skip
"""Why there are others in the place of workers: those that there always are."""


def meter_of(address: str, log: Log, handed: dict[str, int]) -> Totals:
    """Return what ``Config.metrics`` asks for; ``handed`` is what a predecessor has handed over.

    Raises:
        ConfigurationError: prometheus-client is missing, or the address cannot be used.
    """
    require_client()
    if not handed:
        return Totals(open_socket(address), {}, log)
    listening = socket.socket(fileno=handed["listening"])
    listening.set_inheritable(False)
    with os.fdopen(handed["totals"], "rb") as file:
        before = json.loads(file.read())
    return Totals(listening, before, log)


class Totals:
    """See Meter and Source. ``before`` is what the one in whose place this is has counted."""

    def __init__(self, listening: socket.socket, before: dict[str, Any], log: Log) -> None:
        self._gone = from_json(before.get("gone", {}), FAMILIES)
        """What workers have counted that have ended."""
        self._reports = {
            int(worker): from_json(samples, FAMILIES)
            for worker, samples in before.get("reports", {}).items()
        }
        """What each of the others has said last."""
        self._replaced = Counter(dict.fromkeys(REASONS, 0) | before.get("replaced", {}))
        self._written: IO[bytes] | None = None
        self._ask: Ask | None = None
        self._service = MetricsService(listening, FAMILIES, self, log)
        self.url = self._service.url

    # ---------------------------------------------------------------- the supervisor's thread

    def start(self, ask: Ask) -> None:
        """See Meter."""
        self._ask = ask
        self._service.start()

    def reported(self, worker: int, samples: dict[str, Any]) -> None:
        """See Meter."""
        self._reports[worker] = from_json(samples, FAMILIES)

    def ended(self, worker: int) -> None:
        """See Meter."""
        if (said := self._reports.pop(worker, None)) is not None:
            self._gone = merged([self._gone, lasting(said, FAMILIES)], FAMILIES)

    def replaced(self, reason: str, workers: int) -> None:
        """See Meter."""
        self._replaced[reason] += workers

    def is_quiet(self) -> bool:
        """See Meter."""
        return self._service.is_held()

    def go_on(self) -> None:
        """See Meter."""
        self._service.release()
        if self._written is not None:
            self._written.close()
            self._written = None

    def handed_over(self) -> dict[str, int]:
        """See Meter.

        Raises:
            OSError: there is no room for what was counted.
        """
        known = {
            "gone": to_json(self._gone),
            "reports": {worker: to_json(said) for worker, said in self._reports.items()},
            "replaced": self._replaced,
        }
        self._written = tempfile.TemporaryFile()  # noqa: SIM115 (for who comes behind exec)
        self._written.write(json.dumps(known).encode())
        self._written.seek(0)
        return {"listening": self._service.socket.fileno(), "totals": self._written.fileno()}

    def close(self) -> None:
        """See Meter."""
        self._service.close()

    def _sum(self, workers: Workers) -> Samples:
        own: Samples = {
            "h2wsgi_info": {(__version__,): 1},
            "h2wsgi_workers": {(state,): workers.states.get(state, 0) for state in STATES},
            "h2wsgi_workers_wanted": {(): workers.wanted},
            "h2wsgi_worker_restarts_total": {(why,): n for why, n in self._replaced.items()},
        }
        return merged([own, self._gone, *self._reports.values()], FAMILIES)

    # ---------------------------------------------------------------------- the port's threads

    def samples(self) -> Samples:
        """See Source."""
        return self._asked(self._sum)

    def check_alive(self) -> None:
        """See Source. One worker that hangs is ``--worker-timeout``'s to end, not the probe's."""
        states = self._asked(lambda workers: workers.states)
        if states.get("hanging") and not states.get("serving"):
            raise Unwell("the event loop of no worker answers")

    def check_ready(self) -> None:
        """See Source."""
        workers = self._asked(lambda workers: workers)
        if workers.is_stopping:
            raise Unwell("stopping")
        if not workers.states.get("serving"):
            raise Unwell("no worker is ready")

    def _asked(self, look: Callable[[Workers], T]) -> T:
        """Return what is seen on the supervisor's thread once all workers were asked."""
        return answer_of(self._ask, look, MOST_WAIT, "the supervisor")
