"""``python -m bench memory``: octets an idle connection and an open request cost a server."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass

from bench import loads, tables
from bench.h2load import Failed
from bench.peer import Peer
from bench.servers import Place, Running, Variant, run

IDLE = 1_000
"""Idle connections."""
OPEN_CONNECTIONS = 100
OPEN_STREAMS = 100
"""Open requests on each of those."""
WAITING = dataclasses.replace(loads.by_name("hello"), app="wait")
QUIET = 1.0
"""Seconds between the last frame and the look at the memory."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Resident memory before and with so many of a thing."""

    before: int
    after: int
    count: int

    def each(self) -> float:
        """Return KiB for one."""
        return (self.after - self.before) / self.count / 1024


def resident(server: Running) -> int:
    time.sleep(QUIET)
    return server.memory().rss


def connect(server: Running, count: int, stack: contextlib.ExitStack) -> list[Peer]:
    return [stack.enter_context(Peer.connect(server.port)) for _ in range(count)]


def idle_connections(variant: Variant, place: Place) -> Cost:
    """Measure connections with TLS and SETTINGS done on both sides, and nothing else."""
    with (
        run(variant, loads.by_name("hello"), place) as server,
        contextlib.ExitStack() as stack,
    ):
        # One at first, so that what is made once for all of them does not count.
        connect(server, 1, stack)
        before = resident(server)
        connect(server, IDLE - 1, stack)
        return Cost(before, resident(server), IDLE - 1)


def open_streams(variant: Variant, place: Place) -> Cost:
    """Measure requests that have come: some wait in the application, the others for a thread.

    With bodies that do not end h2wsgi would not keep them: it gives those up whose clients hold
    threads that others need.
    """
    with (
        run(variant, WAITING, place) as server,
        contextlib.ExitStack() as stack,
    ):
        peers = connect(server, OPEN_CONNECTIONS, stack)
        before = resident(server)
        for peer in peers:
            for _ in range(OPEN_STREAMS):
                peer.open_request(WAITING.path)
            peer.ping()
        after = resident(server)
        for peer in peers:
            # Still there? A server that reset or closed any of them has not kept it.
            peer.ping()
        return Cost(before, after, OPEN_CONNECTIONS * OPEN_STREAMS)


def measure(variants: list[Variant], place: Place) -> str:
    """Return a table in Markdown: a row a server."""
    rows = []
    for variant in variants:
        cells = [variant.name]
        for look in (idle_connections, open_streams):
            try:
                cost = look(variant, place)
            except (Failed, OSError) as error:
                cells += [f"failed: {error}", ""]
            else:
                grown = f"{cost.before / loads.MIB:.0f} to {cost.after / loads.MIB:.0f}"
                cells += [f"{cost.each():.1f}", grown]
        rows.append(cells)
    head = ["server", "KiB an idle connection", "MiB", "KiB an open request", "MiB"]
    return tables.table(head, rows)
