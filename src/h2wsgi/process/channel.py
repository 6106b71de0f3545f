"""What a supervisor and one of its workers say to each other: JSON objects, a line each.

A pair of sockets, of which each side has one. The channel ends when the other process does, however
that ends. Any thread of either, one at a time. The invariant: nobody waits for the other side,
except in :meth:`Channel.first`.
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import Any

from .forking import close_in_child

Message = dict[str, Any]

MOST = 1_048_576
"""Octets of a message at most. The longest is the traceback of an application that cannot be
loaded, what a worker has counted, or the options of a server."""
READ = 65_536


class Channel:
    """One end of the channel."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        close_in_child(sock)
        self.sock = sock
        self._unread = b""
        self.ended = False
        """Whether the other process was found to be gone."""

    def first(self, timeout: float) -> Message:
        """Wait for a message.

        Raises:
            OSError: none came: the other process is gone, or takes too long.
        """
        self.sock.settimeout(timeout)
        try:
            while b"\n" not in self._unread:
                octets = self.sock.recv(READ)
                if not octets:
                    raise ConnectionResetError("the other process is gone")
                self._unread += octets
        finally:
            self.sock.setblocking(False)
        return self._lines(1)[0]

    def send(self, message: Message) -> bool:
        """Send a message; return whether it was sent.

        It is lost if the other side can take no more, as that does not read, or is gone.
        """
        octets = json.dumps(message).encode() + b"\n"
        with suppress(OSError):  # that the other side is gone is noticed in received()
            # There is room for it: a process is told few things, and reads them.
            if self.sock.send(octets) == len(octets):
                return True
            self.sock.shutdown(socket.SHUT_WR)  # the rest would be taken for another message
        return False

    def received(self) -> list[Message]:
        """Return the messages that have come."""
        while not self.ended:
            try:
                octets = self.sock.recv(READ)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                octets = b""
            self._unread += octets
            if not octets or len(self._unread) > MOST:
                self.ended = True
        return self._lines(-1)

    @property
    def is_in_a_message(self) -> bool:
        """Whether a part of a message has come."""
        return bool(self._unread)

    def close(self) -> None:
        """Say and hear nothing more."""
        self.ended = True
        self.sock.close()

    def _lines(self, most: int) -> list[Message]:
        *lines, self._unread = self._unread.split(b"\n", most)
        return [json.loads(line) for line in lines]
