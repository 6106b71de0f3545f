"""Stopping under load loses no request that had been accepted: what support/load.py says.

By a signal to the command, and through the library, with clients that connect again.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

import h2wsgi
from conftest import Serve
from h2wsgi.server.running import loop_factory
from support.load import APPLICATION, CLIENTS, PATIENCE, Load, application, assert_nothing_lost
from support.process import ServerProcess
from support.settled import settle

ENOUGH = 1_200
"""Responses after which a server that is being asked is stopped."""
RESTARTS = 4
MOST = CLIENTS // 2
"""At each stop most of the clients are connected."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("options", [(), ("--h2c",)], ids=["tls", "cleartext"])
def test_a_signal_under_load_loses_no_request_that_was_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, options: tuple[str, ...]
) -> None:
    monkeypatch.setenv("RECORD", str(tmp_path / "record"))
    engine, loop = os.environ.get("TEST_ENGINE", "auto"), os.environ.get("TEST_LOOP", "auto")

    async def load_and_stop(server: ServerProcess) -> tuple[Load, int]:
        load = Load(await asyncio.to_thread(server.port), tls=not options)
        clients = asyncio.create_task(load.run())
        await load.until_answered(ENOUGH)
        server.signal(number)
        code = await asyncio.to_thread(server.exit_code, PATIENCE)
        load.over = True
        await clients
        return load, code

    with ServerProcess(
        tmp_path, APPLICATION, "--engine", engine, "--loop", loop, *options
    ) as server:
        load, code = asyncio.run(load_and_stop(server))
        assert code == 0
        assert_nothing_lost(load, (tmp_path / "record").read_text().split(), goaways=MOST)


def test_stopping_and_starting_again_under_load_loses_no_request_that_was_accepted(
    serve: Serve,
) -> None:
    async def load_and_restart(app: object) -> Load:
        server = await asyncio.to_thread(serve, app, bind="127.0.0.1:0", graceful_timeout=30)
        port = int(server.url.rstrip("/").rpartition(":")[2])
        load = Load(port)
        clients = asyncio.create_task(load.run())
        for restart in range(1, RESTARTS + 1):
            await load.until_answered(load.answered + ENOUGH // 2)
            if restart == RESTARTS:
                load.over = True
            await asyncio.to_thread(server.stop)
            settle(server)
            if restart < RESTARTS:
                again = f"127.0.0.1:{port}"
                server = await asyncio.to_thread(serve, app, bind=again, graceful_timeout=30)
        await clients
        return load

    with application() as (app, reached):
        load = asyncio.run(load_and_restart(app))
        assert_nothing_lost(load, reached, goaways=RESTARTS * MOST)


def test_a_server_in_the_clients_own_loop_stops_under_load_without_losing_a_request() -> None:
    async def load_and_restart(app: object) -> Load:
        address, load, clients = "127.0.0.1:0", None, None
        for restart in range(1, RESTARTS + 1):
            config = h2wsgi.Config(
                bind=(address,), engine=os.environ.get("TEST_ENGINE", "auto"), graceful_timeout=30
            )
            async with h2wsgi.Server(app, config) as server:
                if load is None:
                    address = f"127.0.0.1:{server.url.rstrip('/').rpartition(':')[2]}"
                    load = Load(int(address.rpartition(":")[2]))
                    clients = asyncio.create_task(load.run())
                await load.until_answered(load.answered + ENOUGH // 2)
                load.over = restart == RESTARTS
        await clients
        return load

    with (
        application() as (app, reached),
        asyncio.Runner(loop_factory=loop_factory(os.environ.get("TEST_LOOP", "auto"))) as runner,
    ):
        load = runner.run(load_and_restart(app))
        assert_nothing_lost(load, reached, goaways=RESTARTS * MOST)
