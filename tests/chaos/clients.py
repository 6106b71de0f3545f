"""Those who ask: a raw peer that knows what was accepted, httpx, curl and Node.js.

Each puts what it saw of every request into a list of attempts, until it is told that it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import IO

import httpx

from chaos import bodies
from chaos.judge import Attempt, Outcome
from support.clients import environment, find
from support.load_client import Broken, Exchange, LoadConnection

PATIENCE = 60.0
"""Seconds after which a request hangs: twice the longest pause before a worker is started."""
PAUSE = 0.02
"""Seconds between what a client asks, on average."""
BATCH = 12
"""Requests that one curl makes."""
AT_ONCE = 3
"""Clients of httpx."""
REPEATS = 3
"""How often httpx asks again for what it gave up at GOAWAY."""
REFUSED_STREAM = 7
KINDS = ("whole", "pieces", "slow", "take")
SIZES = (200, 9_000, 150_000)
SLOW_SIZES = (9_000, 40_000)
"""What is slow comes in pieces of 4 KiB, 50 of them a second."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    name: str
    kind: str
    octets: int

    @property
    def path(self) -> str:
        return f"/{self.kind}/{self.name}/{self.octets}"

    @property
    def content(self) -> bytes | None:
        """What is sent with it."""
        return bodies.upload(self.name, self.octets) if self.kind == "take" else None

    def wrong(self, status: int, body: bytes) -> str:
        """Return what is wrong with a response that is whole for its client, or ""."""
        note = "-" if self.content is None else bodies.note_of(self.content)
        if status != 200:
            return f"status {status}"
        return bodies.wrong(self.name, self.octets, body, note)


class Asks(Iterator[Ask]):
    """Requests such as clients make, for ever; any thread."""

    def __init__(self, prefix: str, random: Random) -> None:
        self._prefix = prefix
        self._random = random
        self._numbers = itertools.count(1)

    def __next__(self) -> Ask:
        what = self._random.choice(KINDS)
        octets = self._random.choice(SLOW_SIZES if what == "slow" else SIZES)
        return Ask(f"{self._prefix}-{next(self._numbers)}", what, octets)


class Client(threading.Thread):
    """One who asks until it is over."""

    kind = ""

    def __init__(self, port: int, ca: str, random: Random, attempts: list[Attempt]) -> None:
        super().__init__(name=f"chaos-{self.kind}", daemon=True)
        self.url = f"https://localhost:{port}"
        self.port = port
        self.ca = ca
        self.random = Random(random.random())
        self.attempts = attempts
        self.asks = Asks(self.kind, self.random)
        self.over = threading.Event()
        self.broke: BaseException | None = None
        """What ended it, if that was a mistake of its own."""

    def run(self) -> None:
        try:
            self.ask_on()
        except BaseException as error:
            self.broke = error

    def ask_on(self) -> None:
        raise NotImplementedError

    def saw(
        self,
        ask: Ask,
        began: float,
        outcome: Outcome,
        why: str = "",
        port: int = 0,
        ended: float | None = None,
    ) -> None:
        ended = time.time() if ended is None else ended
        if outcome is Outcome.WHOLE and why:
            outcome = Outcome.LOOKS_WHOLE
        self.attempts.append(Attempt(self.kind, ask.name, began, ended, outcome, why, port))


class RawClient(Client):
    """Frames by hand, four connections: what GOAWAY and RST_STREAM say is taken at its word."""

    kind = "raw"
    connections = 4

    def ask_on(self) -> None:
        # A write to a connection that has just broken is told as a reset; asyncio warns as well.
        logging.getLogger("asyncio").setLevel(logging.ERROR)
        asyncio.run(self._ask_on_all())

    async def _ask_on_all(self) -> None:
        tls = ssl.create_default_context(cafile=self.ca)
        tls.set_alpn_protocols(["h2"])
        async with asyncio.TaskGroup() as group:
            for _ in range(self.connections):
                group.create_task(self._visit(tls))

    async def _visit(self, tls: ssl.SSLContext) -> None:
        while not self.over.is_set():
            began = time.time()
            ask = next(self.asks)
            try:
                async with asyncio.timeout(PATIENCE):
                    connection = await LoadConnection.connect(self.port, tls)
            except TimeoutError as error:
                self.saw(ask, began, Outcome.HANGS, f"no connection: {error!r}")
                continue
            except OSError as error:
                self.saw(ask, began, Outcome.FAILED, f"no connection: {error!r}")
                await asyncio.sleep(PAUSE)
                continue
            try:
                await self._use(connection)
            finally:
                connection.close()
            for violation in connection.violations:
                self.saw(ask, began, Outcome.LOOKS_WHOLE, violation)

    async def _use(self, connection: LoadConnection) -> None:
        """Ask until GOAWAY comes, the connection ends, or it was enough."""
        enough = self.random.choice((5, 100, 100_000))
        open_ = set[asyncio.Task[None]]()
        while not (self.over.is_set() or connection.is_closing or connection.goaways) and enough:
            enough -= 1
            open_ = {task for task in open_ if not task.done()}
            if len(open_) < 20:
                open_.add(asyncio.create_task(self._ask(connection, next(self.asks))))
            await asyncio.sleep(self.random.expovariate(1 / PAUSE) / 2)
        await asyncio.gather(*open_)

    async def _ask(self, connection: LoadConnection, ask: Ask) -> None:
        if connection.is_closing:
            return
        began = time.time()
        port = connection.client_port
        exchange = connection.request(ask.path, ask.content)
        try:
            async with asyncio.timeout(PATIENCE):
                await connection.whole(exchange)
        except TimeoutError:
            self.saw(ask, began, Outcome.HANGS, _said(connection, exchange), port)
        except Broken as error:
            outcome = Outcome.FAILED
            if exchange.reset == REFUSED_STREAM or _is_above(connection, exchange):
                outcome = Outcome.REFUSED
            self.saw(ask, began, outcome, f"{error}; {_said(connection, exchange)}", port)
        else:
            why = ask.wrong(exchange.status, exchange.body)
            self.saw(ask, began, Outcome.WHOLE, why, port)
        connection.forget(exchange)


def _is_above(connection: LoadConnection, exchange: Exchange) -> bool:
    last = connection.last_stream_id
    return last is not None and exchange.stream_id > last


def _said(connection: LoadConnection, exchange: Exchange) -> str:
    return (
        f"stream {exchange.stream_id}, status {exchange.status}, {exchange.received} octets, "
        f"GOAWAY {connection.goaways}, lost {connection.lost.done()}"
    )


class HttpxClient(Client):
    """httpx, which gives up what is open when GOAWAY comes; then it is asked again."""

    kind = "httpx"

    def ask_on(self) -> None:
        # A client for each: threads that share one spoil its HPACK table (httpcore 1.0).
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._ask_again_and_again, range(AT_ONCE)))

    def _ask_again_and_again(self, _number: int) -> None:
        tls = ssl.create_default_context(cafile=self.ca)
        with httpx.Client(
            http2=True, http1=False, trust_env=False, verify=tls, timeout=PATIENCE
        ) as client:
            while not self.over.wait(self.random.expovariate(1 / PAUSE)):
                self._ask(client, next(self.asks))

    def _ask(self, client: httpx.Client, ask: Ask) -> None:
        for repeat in range(REPEATS + 1):
            asked = Ask(f"{ask.name}r{repeat}", ask.kind, ask.octets)
            if not self._is_given_up(client, asked, is_last=repeat == REPEATS):
                break

    def _is_given_up(self, client: httpx.Client, ask: Ask, *, is_last: bool) -> bool:
        began = time.time()
        method = "GET" if ask.content is None else "POST"
        try:
            answer = client.request(method, self.url + ask.path, content=ask.content)
        except httpx.TimeoutException as error:
            self.saw(ask, began, Outcome.HANGS, repr(error))
        except httpx.RemoteProtocolError as error:
            gave_up = "ConnectionTerminated error_code:0" in str(error) and not is_last
            outcome = Outcome.GIVEN_UP if gave_up else Outcome.FAILED
            self.saw(ask, began, outcome, repr(error))
            return gave_up
        except (httpx.HTTPError, OSError) as error:
            self.saw(ask, began, Outcome.FAILED, repr(error))
        else:
            self.saw(ask, began, Outcome.WHOLE, ask.wrong(answer.status_code, answer.content))
        return False


class CurlClient(Client):
    """curl, some requests on a connection, one after the other or at once."""

    kind = "curl"

    def ask_on(self) -> None:
        curl = find("curl")
        with tempfile.TemporaryDirectory() as name:
            while not self.over.is_set():
                self._ask_some(curl, Path(name))

    def _ask_some(self, curl: str, folder: Path) -> None:
        # The files of -T are for the first URLs, in their order.
        some = [next(self.asks) for _ in range(BATCH)]
        some.sort(key=lambda ask: ask.kind != "take")
        argv = [curl, "-sS", "--http2", "--cacert", self.ca, "--max-time", str(PATIENCE)]
        argv += ["-Z"] * self.random.choice((0, 1))
        argv += ["-w", "%{urlnum} %{http_code} %{exitcode} %{local_port} %{errormsg}\\n"]
        for number, ask in enumerate(some):
            argv += ["-o", str(folder / str(number)), self.url + ask.path]
            if ask.content is not None:
                (folder / f"{number}.up").write_bytes(ask.content)
                argv += ["-T", str(folder / f"{number}.up")]
        began = time.time()
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, env=environment(), timeout=2 * PATIENCE
            )
        except subprocess.TimeoutExpired:
            for ask in some:
                self.saw(ask, began, Outcome.HANGS, "curl did not end")
            return
        self._read(some, began, done.stdout, folder)

    def _read(self, some: list[Ask], began: float, said: str, folder: Path) -> None:
        told = {}
        for line in said.splitlines():
            number, status, code, port, why = line.split(" ", 4)
            told[int(number)] = (int(status), int(code), int(port), why)
        for number, ask in enumerate(some):
            status, code, port, why = told.get(number, (0, -1, 0, "curl did not say"))
            path = folder / str(number)
            body = path.read_bytes() if path.exists() else b""
            path.unlink(missing_ok=True)
            if code == 28:
                self.saw(ask, began, Outcome.HANGS, why, port)
            elif code:
                self.saw(ask, began, Outcome.FAILED, f"{code} {why}", port)
            else:
                self.saw(ask, began, Outcome.WHOLE, ask.wrong(status, body), port)


class NodeClient(Client):
    """Node.js, on one session as long as that is good."""

    kind = "node"

    def ask_on(self) -> None:
        node = find("node", package="nodejs")
        script = Path(__file__).with_name("node_client.mjs")
        process = subprocess.Popen(
            [node, str(script), self.url, str(PATIENCE * 1000)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment(NODE_EXTRA_CA_CERTS=self.ca),
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        self._asked: dict[str, Ask] = {}
        reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            while not self.over.wait(self.random.expovariate(1 / PAUSE)):
                ask = next(self.asks)
                self._asked[ask.name] = ask
                line = {"name": ask.name, "path": ask.path}
                if ask.content is not None:
                    line["content"] = ask.content.decode()
                process.stdin.write(json.dumps(line) + "\n")
                process.stdin.flush()
        finally:
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(2 * PATIENCE)
            finally:
                process.kill()
                process.wait()
                reader.join()
                process.stdout.close()
        if process.returncode:
            raise RuntimeError(f"node ended with {process.returncode}")
        for ask in list(self._asked.values()):
            self.saw(ask, time.time(), Outcome.HANGS, "node did not say")

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            seen = json.loads(line)
            ask, outcome, why = self._asked.pop(seen["name"]), Outcome[seen["outcome"]], seen["why"]
            if outcome is Outcome.WHOLE:
                why = ask.wrong(seen["status"], seen["body"].encode("latin-1"))
            self.saw(ask, seen["began"], outcome, why, seen["port"], seen["ended"])
