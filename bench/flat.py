"""``python -m bench flat``: does a request cost the same with more of them, and more clients?"""

from __future__ import annotations

import dataclasses

from bench import loads, tables
from bench.compare import settle
from bench.h2load import Client, Failed, check
from bench.loads import Load
from bench.servers import Place, Running, Variant, run

CONNECTIONS = (1, 10, 100, 1_000)
REQUESTS = (1_000, 10_000, 100_000, 1_000_000)
STREAMS = 10
"""Concurrent requests on each of many connections; 100 on a single one."""
MORE = 30_000
"""Requests that are added to see what they cost."""
PATIENCE = 240.0
"""Seconds for one run; a run that takes longer gives no figure."""


def cost(server: Running, client: Client, load: Load, requests: int) -> float:
    """Return the CPU seconds of a run on new connections."""
    settle(server)
    before = server.cpu()
    outcome = client.run(load, server.port, ["-n", str(requests)])
    check(outcome, requests, load.answer)
    return server.cpu() - before


def by_connections(server: Running, client: Client, count: int) -> str:
    """Return the CPU microseconds that one more request costs on so many connections.

    Two runs of different length: the difference is free of the handshakes.
    """
    load = dataclasses.replace(loads.by_name("hello"), connections=count, streams=STREAMS)
    few = max(2_000, load.least)
    # The first run also grows what the server keeps.
    cost(server, client, load, few)
    first = cost(server, client, load, few)
    second = cost(server, client, load, few + MORE)
    return tables.number((second - first) / MORE * 1e6)


def by_requests(server: Running, client: Client, count: int) -> str:
    """Return CPU microseconds a request, and the MiB resident after so many on a connection."""
    load = loads.by_name("hello")
    seconds = cost(server, client, load, count)
    resident = server.memory().rss / loads.MIB
    return f"{tables.number(seconds / count * 1e6)} ({resident:.0f} MiB)"


def measure(variants: list[Variant], place: Place, client: Client) -> str:
    """Return two tables in Markdown: by connections, and by requests on one connection."""
    client = dataclasses.replace(client, patience=PATIENCE)
    found = []
    for what, counts, look in (
        ("connections", CONNECTIONS, by_connections),
        ("requests on one connection", REQUESTS, by_requests),
    ):
        rows = []
        for variant in variants:
            cells = [variant.name]
            try:
                with run(variant, loads.by_name("hello"), place) as server:
                    for count in counts:
                        cells.append(look(server, client, count))
            except (Failed, OSError) as error:
                cells.append(f"failed: {error}")
            rows.append(cells + [""] * (1 + len(counts) - len(cells)))
        found.append(tables.table([what, *(f"{count:,}" for count in counts)], rows))
    return "\n".join(found)
