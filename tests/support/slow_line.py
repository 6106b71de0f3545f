"""A line with little room between a client and a server: so many octets a second, then a wait.

It reads no faster than it sends on, and its sockets have small buffers, so what a server has
written and the client has not got lies with the server.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

PIECE = 2_048
BUFFER = 4_096
"""Octets that its sockets are told to hold; Linux doubles it."""


class SlowLine:
    """Relays connections to a port of this machine, ``rate`` octets a second towards clients."""

    def __init__(self, port: int, rate: float) -> None:
        self._target = ("127.0.0.1", port)
        self._rate = rate
        self._ended = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        for sock in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):  # it is closed, or never was connected
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = socket.socket()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            server.connect(self._target)
            self._sockets += [client, server]
            for source, to, rate in ((client, server, 0.0), (server, client, self._rate)):
                threading.Thread(target=self._relay, args=(source, to, rate), daemon=True).start()

    def _relay(self, source: socket.socket, to: socket.socket, rate: float) -> None:
        free_at = time.monotonic()
        try:
            while octets := source.recv(PIECE):
                if rate:
                    free_at = max(free_at, time.monotonic()) + len(octets) / rate
                    if self._ended.wait(max(0.0, free_at - time.monotonic())):
                        return
                to.sendall(octets)
            to.shutdown(socket.SHUT_WR)
        except OSError:
            return  # one of them has gone
