"""The clients of a soak: good ones, slow ones, and those that reset, hang up or do nothing.

All in one event loop. Good and slow clients compare every response with what it has to be; of the
others only what the server may not do is counted against it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from random import Random
from typing import Any

from soak import app
from soak.tally import Tally
from support.load_client import Broken, Exchange, LoadConnection, client_context

KIB = 1024
MIB = 1024 * 1024
ONE_CONNECTION = 200
"""Requests after which a client that resets takes a new connection."""
PATIENCE = 60.0
"""Seconds after which a good client calls a response lost."""

CROWD: dict[str, int] = {
    "keeps_its_connection": 6,
    "comes_anew": 3,
    "moves_much": 1,
    "reads_slowly": 6,
    "leaves_the_socket_full": 2,
    "sends_slowly": 6,
    "resets": 4,
    "hangs_up": 4,
    "hangs_up_in_the_handshake": 2,
    "stays_idle": 20,
}
"""How many of each kind there are; together they ask some 200 times a second."""


class Clients:
    """Everybody who asks the server at ``port``. ``random`` makes a run repeatable in its mixture,
    though not in its moments."""

    def __init__(self, port: int, tally: Tally, random: Random) -> None:
        self._port = port
        self._tally = tally
        self._random = random
        self._tls = client_context()
        self._numbers = itertools.count()
        self._open: set[LoadConnection] = set()

    async def run(self) -> None:
        """Run until cancelled; then everybody has hung up, some in order and some not."""
        try:
            async with asyncio.TaskGroup() as group:
                for kind, count in CROWD.items():
                    for _ in range(count):
                        group.create_task(getattr(self, kind)())
        finally:
            await self._hang_up()

    async def _hang_up(self) -> None:
        left = list(self._open)
        for number, connection in enumerate(left):
            if number % 2:
                connection.close()
            else:
                connection.abort()
        await asyncio.gather(*(connection.wait_lost() for connection in left))

    # ------------------------------------------------------------------------------- tools

    async def _turns(self, rate: float) -> AsyncIterator[None]:
        """Give a turn so many times a second on average, at irregular intervals."""
        while True:
            await asyncio.sleep(self._random.expovariate(rate))
            yield

    async def _connect(self, window: int = 65_535) -> LoadConnection:
        connection = await LoadConnection.connect(self._port, self._tls, window)
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._closed(connection))
        return connection

    def _closed(self, connection: LoadConnection) -> None:
        self._open.discard(connection)
        self._tally.errors += connection.violations

    def _path(self, kind: str, *rest: int) -> str:
        return "/" + "/".join([kind, str(next(self._numbers)), *map(str, rest)])

    async def _check(self, connection: LoadConnection, exchange: Exchange, body: bytes) -> None:
        """Wait for a response, compare it, and forget it.

        Raises:
            Broken: it is not whole, or not what it has to be.
        """
        async with asyncio.timeout(PATIENCE):
            await connection.whole(exchange)
        if (exchange.status, exchange.body) != (200, body):
            raise Broken(f"{exchange.path}: status {exchange.status} and other content")
        connection.forget(exchange)

    async def _fetch(
        self, visitor: Visitor, path: str, body: bytes, content: bytes | None = None
    ) -> None:
        """Have a good client ask once, and again if GOAWAY says that its request was not seen."""
        large = len(body) + len(content or b"") > 4 * KIB
        try:
            while True:
                connection = await visitor.connection()
                exchange = connection.request(path, content)
                try:
                    await self._check(connection, exchange, body)
                except Broken:
                    last = connection.last_stream_id
                    if last is not None and exchange.stream_id > last:
                        continue
                    raise
                self._tally.answered(exchange.finished - exchange.began, large=large)
                return
        except (Broken, OSError) as error:
            self._tally.errors.append(f"{path}: {error!r}")

    # ------------------------------------------------------------------------ good clients

    def _something(self, visitor: Visitor) -> Coroutine[Any, Any, None]:
        """Return a request such as clients make."""
        kind = self._random.choices(
            ("hello", "work", "digest", "stream", "echo"), (60, 15, 15, 5, 5)
        )[0]
        octets = self._random.randrange(8 * KIB, 96 * KIB)
        path = self._path(kind, octets) if kind == "stream" else self._path(kind)
        number = path.split("/")[2]
        if kind == "digest":
            content = app.text(number, 1 * KIB)
            return self._fetch(visitor, path, app.digest(content), content)
        if kind == "echo":
            content = app.text(number, octets)
            return self._fetch(visitor, path, content, content)
        return self._fetch(visitor, path, app.text(number, octets if kind == "stream" else 100))

    async def keeps_its_connection(self) -> None:
        visitor = Visitor(self._connect)
        async for _ in self._turns(10):
            together = [self._something(visitor) for _ in range(self._random.randint(1, 4))]
            await asyncio.gather(*together)

    async def comes_anew(self) -> None:
        async for _ in self._turns(2):
            visitor = Visitor(self._connect)
            await asyncio.gather(*(self._something(visitor) for _ in range(3)))
            await visitor.leave()

    async def moves_much(self) -> None:
        """Up and down at the same time, many times what the windows hold."""
        visitor = Visitor(self._connect)
        async for _ in self._turns(0.5):
            down = self._path("stream", MIB)
            up = self._path("digest")
            content = app.text(up, MIB)
            await asyncio.gather(
                self._fetch(visitor, down, app.text(down.split("/")[2], MIB)),
                self._fetch(visitor, up, app.digest(content), content),
            )

    # ------------------------------------------------------------------------ slow clients

    async def _slowly(
        self,
        kind: str,
        connection: LoadConnection,
        exchange: Exchange,
        body: bytes,
        turns: Iterator[Callable[[], None]],
    ) -> None:
        """Take twenty turns a second until the response is whole, then hang up."""
        while not exchange.done.is_set():
            await asyncio.sleep(0.05)
            next(turns)()
        try:
            await self._check(connection, exchange, body)
        except Broken as error:
            self._tally.errors.append(f"{kind}: {error}")
        self._tally.others[kind] += 1
        connection.resume_reading()
        connection.close()
        await connection.wait_lost()

    async def reads_slowly(self) -> None:
        """Opens its stream's window by a little at a time."""
        async for _ in self._turns(1):
            connection = await self._connect(window=16 * KIB)
            path = self._path("stream", 128 * KIB)
            exchange = connection.request(path)
            exchange.reading = False
            turn = functools.partial(connection.read_on, exchange, 4 * KIB)
            body = app.text(path.split("/")[2], 128 * KIB)
            await self._slowly("slow readers", connection, exchange, body, itertools.repeat(turn))

    async def leaves_the_socket_full(self) -> None:
        """Gives a large window and does not read what comes, but for a moment now and then."""
        async for _ in self._turns(0.5):
            connection = await self._connect(window=8 * MIB)
            path = self._path("stream", MIB)
            exchange = connection.request(path)
            turns = itertools.cycle((*[connection.pause_reading] * 9, connection.resume_reading))
            body = app.text(path.split("/")[2], MIB)
            await self._slowly("full sockets", connection, exchange, body, turns)

    async def sends_slowly(self) -> None:
        """Sends 20 KiB within two seconds."""
        async for _ in self._turns(1):
            connection = await self._connect()
            path = self._path("digest")
            exchange = connection.request(path, b"", content_ended=False)
            part = app.text(path, 512)
            send = functools.partial(connection.send, exchange)
            turns = itertools.chain(
                [functools.partial(send, part, content_ended=False)] * 39,
                [functools.partial(send, part, content_ended=True)],
                itertools.repeat(lambda: None),
            )
            await self._slowly("slow posters", connection, exchange, app.digest(part * 40), turns)

    # ---------------------------------------------------------------- those that break off

    def _begin(self, connection: LoadConnection) -> Exchange:
        """Begin something that takes a while: a download, an upload, a wait or both ways."""
        kind = self._random.choice(("stream", "digest", "echo", "work"))
        if kind == "stream":
            return connection.request(self._path(kind, MIB))
        if kind == "work":
            return connection.request(self._path(kind))
        return connection.request(self._path(kind), bytes(20 * KIB), content_ended=False)

    async def _a_moment(self) -> None:
        await asyncio.sleep(self._random.choice((0, 0.002, 0.02, 0.1)))

    async def resets(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                connection = await self._connect()
                async for _ in self._turns(5):
                    exchange = self._begin(connection)
                    await self._a_moment()
                    connection.reset(exchange)
                    self._tally.others["resets"] += 1
                    if exchange.stream_id > 2 * ONE_CONNECTION or connection.is_closing:
                        break
                connection.close()
                await connection.wait_lost()

    async def hangs_up(self) -> None:
        async for _ in self._turns(1.5):
            with contextlib.suppress(OSError):
                connection = await self._connect()
                for _ in range(self._random.randint(0, 4)):
                    self._begin(connection)
                await self._a_moment()
                if self._random.random() < 0.5:
                    connection.close()
                    self._tally.others["hang-ups in order"] += 1
                else:
                    connection.break_off()
                    self._tally.others["hang-ups by RST"] += 1
                await connection.wait_lost()

    async def hangs_up_in_the_handshake(self) -> None:
        hello = client_hello(self._tls)
        async for _ in self._turns(2):
            with contextlib.suppress(OSError):
                transport, _ = await asyncio.get_running_loop().create_connection(
                    asyncio.Protocol, "127.0.0.1", self._port
                )
                with contextlib.closing(transport):
                    transport.write(hello[: self._random.randint(0, len(hello))])
                    await self._a_moment()
                self._tally.others["broken handshakes"] += 1

    async def stays_idle(self) -> None:
        """Connects and says nothing more, until the server has had enough of it."""
        while True:
            connection = await self._connect()
            await connection.wait_lost()
            self._tally.others["idle connections closed"] += 1


class Visitor:
    """A good client's connection, replaced once the server said that it is going away."""

    def __init__(self, connect: Callable[[], Coroutine[Any, Any, LoadConnection]]) -> None:
        self._connect = connect
        self._current: LoadConnection | None = None
        self._connecting = asyncio.Lock()

    async def connection(self) -> LoadConnection:
        """Return a connection that takes requests.

        Raises:
            Broken: the last one was closed without GOAWAY.
            OSError: there is none to be had.
        """
        async with self._connecting:
            current = self._current
            if current is None or current.goaways:
                current = self._current = await self._connect()
            elif current.is_closing:
                self._current = None
                raise Broken("the connection was closed without GOAWAY")
            return current

    async def leave(self) -> None:
        """Hang up."""
        if self._current is not None:
            self._current.close()
            await self._current.wait_lost()


def client_hello(tls: ssl.SSLContext) -> bytes:
    """Return the first octets of a TLS handshake."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()
