"""The comparison: every server on a load, round by round, then the next load."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.h2load import Client, Failed
from bench.loads import Load
from bench.results import Sample
from bench.servers import ROOT, Place, Running, Variant, run

MOST = 300_000
"""Requests of a run at most."""


@dataclass(frozen=True, slots=True)
class Bench:
    place: Place
    client: Client
    seconds: float
    """How long a measured run should take."""
    warm_up: float
    """Seconds of the load before it, which also tell how many requests that is."""

    def rounds(self, load: Load, variants: list[Variant], count: int) -> Iterator[Sample]:
        """Yield a sample of every server, ``count`` times over, so that noise hits them all."""
        for number in range(1, count + 1):
            for variant in variants:
                if variant.can(load):
                    yield self.sample(load, variant, number)

    def sample(self, load: Load, variant: Variant, number: int) -> Sample:
        """Start a server, measure it, end it; what goes wrong becomes the sample's error."""
        try:
            with run(variant, load, self.place) as server:
                return self._measure(load, variant, number, server)
        except (Failed, OSError) as error:
            # Figures are published: the folders of this machine are nobody's business.
            reason = str(error).replace(str(ROOT), ".")
            return Sample(load=load.name, server=variant.name, round=number, error=reason)

    def _measure(self, load: Load, variant: Variant, number: int, server: Running) -> Sample:
        most = min(MOST, variant.most(load))
        rate = self.client.warm_up(load, server.port, self.warm_up, most)
        settle(server)
        requests = min(most, max(load.least, round(rate * self.seconds)))
        before = server.cpu()
        clients = client_seconds()
        outcome = self.client.measure(load, server.port, requests)
        cpu, clients = server.cpu() - before, client_seconds() - clients
        memory = server.memory()
        return Sample(
            load=load.name,
            server=variant.name,
            round=number,
            requests=requests,
            seconds=round(outcome.seconds, 4),
            rate=round(requests / outcome.seconds, 1),
            cpu_us=round(cpu / requests * 1e6, 2),
            busy=round(cpu / outcome.seconds, 3),
            client_busy=round(clients / outcome.seconds, 3),
            mean_ms=round(outcome.mean * 1000, 3),
            worst_ms=round(outcome.worst * 1000, 3),
            rss=memory.rss,
            pss=memory.pss,
            peak=memory.peak,
        )


def client_seconds() -> float:
    """Return the CPU seconds of all programs that have been run to their end, as h2load is."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def settle(server: Running, patience: float = 3.0) -> None:
    """Wait until the server spends less than a millisecond in 50, or patience is over."""
    deadline = time.monotonic() + patience
    spent = server.cpu()
    while time.monotonic() < deadline:
        time.sleep(0.05)
        now = server.cpu()
        if now - spent < 0.001:
            return
        spent = now
