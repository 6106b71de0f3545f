"""What a client of the load reads although the machine holds it up."""

from __future__ import annotations

import asyncio
import socket
import struct

from support.load_client import ANNOUNCED, GOAWAY, LoadConnection


def goaway(last_stream_id: int) -> bytes:
    return struct.pack("!HBBBLLL", 0, 8, GOAWAY, 0, 0, last_stream_id, 0)


def test_what_was_unread_when_the_server_closed_is_read_by_who_asks_on() -> None:
    async def ask_late(listening: socket.socket) -> LoadConnection:
        connection = await LoadConnection.connect(listening.getsockname()[1])
        accepted, _ = listening.accept()
        with accepted:
            accepted.sendall(goaway(ANNOUNCED) + goaway(0))
        # The loop has had no turn since: the end, and what is before it, are unread.
        exchange = connection.request("/late", bytes(100_000))
        await connection.wait_lost()
        assert exchange.done.is_set()
        return connection

    with socket.create_server(("127.0.0.1", 0)) as listening:
        connection = asyncio.run(ask_late(listening))
    assert [last for last, _ in connection.goaways] == [ANNOUNCED, 0]
