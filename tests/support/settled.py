"""Waiting for an event that only shows as a state, and for a server that has forgotten everything.

Looks into the server on purpose: a count that is off by one stream shows nowhere else until the
process has run for a week.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 10.0
"""Seconds that a wait may take on a busy machine."""
POLL = 0.002


def eventually(condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
    """Return as soon as ``condition()`` is true; fail, naming ``what``, if that takes too long."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{timeout} s passed waiting for {what}")
        time.sleep(POLL)


def waiting_on_clients(server: Any) -> int:
    """Return how many application threads wait on their clients now."""
    lanes = [p.connection._handover.lane for p in list(server.server._protocols)]
    return sum(len(lane.away) for lane in lanes if lane is not None)


def wait_blocked(server: Any, threads: int = 1) -> None:
    """Wait until so many application threads wait on their clients."""
    eventually(
        lambda: waiting_on_clients(server) == threads,
        f"{threads} applications to wait on their clients",
    )


def remains(server: Any) -> dict[str, object]:
    """Return every count that is not zero although nothing runs any more, by name."""
    inner = server.server
    pool = inner._pool
    found: dict[str, object] = {
        "busy threads": pool.busy,
        "running": len(pool._lanes.running),
        "ring": sum(map(len, pool._lanes.rings)),
        "input budget": inner.input_budget.used,
        "input budget full": inner.input_budget.full,
        "output budget": inner.output_budget.used,
        "output budget full": inner.output_budget.full,
        "undelivered": len(inner.mailbox),
    }
    for number, protocol in enumerate(list(inner._protocols)):
        connection = protocol.connection
        found |= {
            f"connection {number} streams": len(connection.streams),
            f"connection {number} engine": len(connection.engine._streams.open),
            f"connection {number} queue": len(connection.outflow._queue.pending),
            f"connection {number} unaccounted": len(connection.outflow._written),
            f"connection {number} withheld": connection.inflow.withheld,
        }
        found |= handover_remains(connection._handover, f"connection {number}")
    return {name: value for name, value in found.items() if value}


def handover_remains(handover: Any, name: str) -> dict[str, object]:
    """Return what one connection's meeting point still holds."""
    lane = handover.lane
    with handover.lock:
        found = {
            f"{name} lane": lane and len(lane.waiting) + len(lane.running) + len(lane.away),
            f"{name} unsent": handover.unsent,
            f"{name} outbox": len(handover.outbox),
            f"{name} ceiling waiters": len(handover.ceiling_waiters),
        }
    return {key: value for key, value in found.items() if value}


def settle(server: Any, *, connections: int | None = 0, timeout: float = PATIENCE) -> None:
    """Wait until no request is left and every count is back to zero.

    ``connections`` is how many stay open, None for any number.
    """
    deadline = time.monotonic() + timeout
    while True:
        left = remains(server)
        opened = server.server.open_connections
        if connections is not None and opened != connections:
            left["connections"] = f"{opened}, not {connections}"
        if not left:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"{timeout} s after the end the server still holds {left}")
        time.sleep(POLL)
