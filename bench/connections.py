"""``python -m bench connections``: ten thousand idle connections, and two thousand busy ones.

What they cost in memory, how fast they are taken, what they cost the requests of others, and how
long a client waits that comes then: connection, TLS handshake and one GET.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median, quantiles

from bench import loads, tables
from bench.flat import MORE, cost
from bench.h2load import Client, Failed
from bench.memory import resident
from bench.peer import END_STREAM, Peer
from bench.servers import Place, Running, Variant, run

IDLE = 10_000
ACTIVE = 2_000
SPARE = 500
"""Descriptors for everything else: what a process needs beside its connections."""
HANDSHAKES = 8
"""Handshakes at once, while the idle connections are made."""
FRESH = 200
"""Clients that come one after the other."""
REQUESTS = 600_000
"""Of the busy connections, all together."""
HANDSHAKING = 3.0
"""Seconds for their handshakes, once all are accepted."""
PATIENCE = 240.0
"""Seconds that those may take."""
HELLO = loads.by_name("hello")
MORE_CONNECTIONS = {
    "h2wsgi": " --max-connections {count} --idle-timeout 0",
    "granian": " --backlog {count} --backpressure {count}",
}
"""Options of servers that have a limit as shipped, by program."""


def ready_for(variant: Variant, count: int) -> Variant:
    """Return a server that takes so many connections and leaves them alone."""
    more = MORE_CONNECTIONS.get(variant.program, "").format(count=count + SPARE)
    return dataclasses.replace(variant, options=variant.options + more)


def most_connections() -> int:
    """Return how many idle connections the descriptors allow; workshop() has raised the limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(IDLE, soft - ACTIVE - SPARE)


def get(port: int) -> float:
    """Be a fresh client; return the seconds until it has its whole answer."""
    began = time.monotonic()
    with Peer.connect(port) as peer:
        peer.open_request(HELLO.path)
        for _, flags, _ in peer.frames():
            if flags & END_STREAM:
                return time.monotonic() - began
    raise Failed("a fresh client got no answer")


def fresh(port: int) -> str:
    """Return the median and the 99th percentile of fresh clients, in milliseconds."""
    times = [get(port) * 1e3 for _ in range(FRESH)]
    return f"{median(times):.1f} / {quantiles(times, n=100)[-1]:.1f}"


def request_cost(server: Running, client: Client) -> str:
    """Return the CPU microseconds of one request; see :mod:`bench.flat`."""
    few = max(2_000, HELLO.least)
    cost(server, client, HELLO, few)
    first = cost(server, client, HELLO, few)
    return tables.number((cost(server, client, HELLO, few + MORE) - first) / MORE * 1e6)


@contextlib.contextmanager
def busy(server: Running, client: Client) -> Iterator[None]:
    """Have so many connections ask, a request at a time each, while the block runs."""
    load = dataclasses.replace(HELLO, connections=ACTIVE, streams=1)
    enough = descriptors(server) + ACTIVE
    with ThreadPoolExecutor(1) as executor:
        asking = executor.submit(client.run, load, server.port, ["-n", str(REQUESTS)])
        while descriptors(server) < enough and not asking.done():
            time.sleep(0.05)
        time.sleep(HANDSHAKING)
        if asking.done():
            raise Failed("the busy connections were done before a fresh client came")
        yield
        if asking.done():
            raise Failed("the busy connections were done before the last fresh client")
        outcome = asking.result()
    if outcome.succeeded != REQUESTS:
        raise Failed(f"{outcome.succeeded} of {REQUESTS} answered beside fresh clients")


def descriptors(server: Running) -> int:
    """Return the most that one process of a server has open."""
    counts = [0]
    for pid in server.pids():
        with contextlib.suppress(OSError):
            counts.append(len(os.listdir(f"/proc/{pid}/fd")))
    return max(counts)


def look(variant: Variant, place: Place, client: Client, count: int) -> Iterator[str]:
    """Yield the cells of a server's row."""
    with (
        run(ready_for(variant, count + ACTIVE), HELLO, place) as server,
        contextlib.ExitStack() as stack,
        ThreadPoolExecutor(HANDSHAKES) as executor,
    ):
        alone, waited_alone = request_cost(server, client), fresh(server.port)
        before, cpu, began = resident(server), server.cpu(), time.monotonic()
        for peer in executor.map(Peer.connect, [server.port] * count):
            stack.enter_context(peer)
        seconds = time.monotonic() - began
        yield f"{count / seconds:,.0f}"
        yield f"{(server.cpu() - cpu) / count * 1e3:.2f}"
        yield f"{(resident(server) - before) / count / 1024:.1f}"
        yield f"{alone} / {request_cost(server, client)}"
        yield waited_alone
        yield fresh(server.port)
        with busy(server, client):
            yield fresh(server.port)


def measure(variants: list[Variant], place: Place, client: Client) -> str:
    """Return a table in Markdown: a row a server."""
    client = dataclasses.replace(client, patience=PATIENCE)
    count = most_connections()
    head = [
        "server",
        "handshakes a second",
        "CPU ms each",
        f"KiB each of {count:,} idle",
        "us a request, alone / beside them",
        "fresh client, alone: ms, median / p99",
        "beside them",
        f"and {ACTIVE:,} busy",
    ]
    rows = []
    for variant in variants:
        cells = [variant.name]
        try:
            cells += list(look(variant, place, client, count))
        except (Failed, OSError) as error:
            cells.append(f"failed: {error}")
        rows.append(cells + [""] * (len(head) - len(cells)))
    text = tables.table(head, rows)
    if count < IDLE:
        text += f"\n{count:,} and not {IDLE:,}: the limit of descriptors (`ulimit -Hn`) is lower.\n"
    return text
