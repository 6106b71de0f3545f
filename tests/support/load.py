"""A thousand requests a second on twenty connections, and what must not be lost of them.

A server may hang up whenever it likes, if it says so: every stream up to the last-stream-id of a
connection's final GOAWAY has its whole response, and none above it has reached the application.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from support.load_client import Exchange, LoadConnection, client_context

CLIENTS = 20
COMERS = 4
RATE = 1_000
"""Requests a second, all clients together."""
AT_ONCE = 90
"""Requests open on one connection, below the server's limit."""
PATIENCE = 60.0
"""Seconds for a whole test's load, a bound for what hangs."""
PIECES = 8
CONTENT = bytes(range(256)) * 120

APPLICATION = """
import hashlib, os, time

RECORD = os.environ.get("RECORD") and os.open(
    os.environ["RECORD"], os.O_CREAT | os.O_APPEND | os.O_WRONLY
)
REACHED = []

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if RECORD is None:
        REACHED.append(path)
    else:
        os.write(RECORD, path.encode() + b"\\n")
    kind = path.split("/")[1]
    if kind == "post":
        path += " " + hashlib.sha256(environ["wsgi.input"].read()).hexdigest()
    if kind == "slow":
        time.sleep(0.05)
    start_response("200 OK", [("content-type", "text/plain")])
    return pieces(path) if kind == "stream" else [path.encode()]

def pieces(path):
    for number in range(8):
        time.sleep(0.003)
        yield f"{number} {path} ".encode() * 100
"""
KINDS = ("quick", "slow", "quick", "post", "quick", "stream", "quick")


def expected(path: str) -> bytes:
    """Return the whole body of a response."""
    kind = path.split("/")[1]
    if kind == "post":
        path += " " + hashlib.sha256(CONTENT).hexdigest()
    if kind == "stream":
        return b"".join(f"{number} {path} ".encode() * 100 for number in range(PIECES))
    return path.encode()


class Load:
    """Clients that ask at a steady rate, and connect anew whenever the server hangs up.

    ``stops_at`` of a client is what ends its asking on a connection: the first GOAWAY, the final
    one, or nothing but the end of the connection. Besides, some come for one request each, so that
    handshakes and first requests are under way at any time.
    """

    def __init__(self, port: int, *, tls: bool = True) -> None:
        self._port = port
        self._tls = client_context() if tls else None
        self._numbers = itertools.count()
        self.connections: list[LoadConnection] = []
        self.over = False
        """Set it to have no client connect any more."""

    async def run(self) -> None:
        """Return once ``over`` is set and every connection has ended."""
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                stops_at = ("announcement", "final", "end")[number % 3]
                clients.create_task(self._client(stops_at))
            for _ in range(COMERS):
                clients.create_task(self._come_and_go())

    async def _client(self, stops_at: str) -> None:
        while not self.over:
            if (connection := await self._connect()) is not None:
                await self._ask(connection, stops_at)
                await connection.wait_lost()

    async def _come_and_go(self) -> None:
        while not self.over:
            if (connection := await self._connect()) is not None:
                exchange = self._ask_once(connection)
                await exchange.done.wait()
                connection.close()
                await connection.wait_lost()

    async def _connect(self) -> LoadConnection | None:
        try:
            connection = await LoadConnection.connect(self._port, self._tls)
        except OSError:
            await asyncio.sleep(0.02)  # refused or cut off: the next attempt's turn comes
            return None
        self.connections.append(connection)
        return connection

    async def _ask(self, connection: LoadConnection, stops_at: str) -> None:
        asked, began = 0, time.monotonic()
        while not connection.is_closing:
            if stops_at == "announcement" and connection.goaways:
                return
            if stops_at == "final" and connection.told_the_end:
                return
            if (time.monotonic() - began) * RATE / CLIENTS > asked and (
                len(connection.open) < AT_ONCE
            ):
                asked += 1
                self._ask_once(connection)
                await asyncio.sleep(0)  # for others to have their turn
            else:
                await connection.wait_changed(CLIENTS / RATE / 2)

    def _ask_once(self, connection: LoadConnection) -> Exchange:
        number = next(self._numbers)
        kind = KINDS[number % len(KINDS)]
        content = CONTENT if kind == "post" else None
        return connection.request(f"/{kind}/{number}", content)

    @property
    def exchanges(self) -> Iterator[Exchange]:
        return itertools.chain.from_iterable(c.exchanges.values() for c in self.connections)

    @property
    def answered(self) -> int:
        return sum(exchange.ended for exchange in self.exchanges)

    async def until_ended(self, count: int) -> None:
        """Wait until so many connections have had their final GOAWAY."""
        async with asyncio.timeout(PATIENCE):
            while sum(connection.told_the_end for connection in self.connections) < count:
                await asyncio.sleep(0.05)

    async def until_answered(self, count: int) -> None:
        """Wait until so many requests have their responses."""
        async with asyncio.timeout(PATIENCE):
            while self.answered < count:
                await asyncio.sleep(0.05)


def assert_nothing_lost(load: Load, reached: list[str], *, goaways: int) -> None:
    """Compare what the clients saw with what the application did.

    ``goaways`` is how many connections at least the server must have ended.
    """
    times = Counter(reached)
    assert max(times.values()) == 1
    for connection in load.connections:
        assert not connection.violations
        last = connection.last_stream_id if connection.told_the_end else None
        for exchange in connection.exchanges.values():
            what = f"stream {exchange.stream_id}, {exchange.path}, last {last}"
            # A client that hung up itself, with what it came for, may not have been told.
            accepted = exchange.ended if last is None else exchange.stream_id <= last
            if accepted:
                assert exchange.ended, f"{what}: lost"
                assert (exchange.status, exchange.body) == (200, expected(exchange.path)), what
            else:
                assert exchange.path not in times, f"{what}: was run"
    whole = {exchange.path for exchange in load.exchanges if exchange.ended}
    assert set(times) == whole
    assert {path.split("/")[1] for path in whole} == set(KINDS)
    assert sum(connection.told_the_end for connection in load.connections) >= goaways


@contextlib.contextmanager
def application() -> Iterator[tuple[Any, list[str]]]:
    """Return the application for this process, and the list of what reaches it."""
    names: dict[str, Any] = {}
    exec(compile(APPLICATION, "web.py", "exec"), names)
    yield names["app"], names["REACHED"]
