"""What a service manager is told of this process, and the sockets that it has handed over.

The protocols of sd_notify(3) and sd_listen_fds(3), which systemd and others speak. Any thread. The
invariant: without a service manager nothing is done; no process that the application starts takes
for its own what the service manager gave to this one.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from .clock import clock

FIRST_DESCRIPTOR = 3
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


class ServiceManager:
    """The service manager that started this process, if there is one that wants to be told."""

    def __init__(self) -> None:
        self.variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        """What it has put into the environment, for the successor of this process."""
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # an abstract one
            self._address = "\0" + self._address[1:]
        meant_for = os.environ.pop("WATCHDOG_PID", str(os.getpid()))
        interval = os.environ.pop("WATCHDOG_USEC", "")
        self.watchdog = 0.0
        """Seconds between signs of life, 0 if none is wanted."""
        if self._address and interval.isdigit() and meant_for == str(os.getpid()):
            self.watchdog = int(interval) / 1_000_000 / 2

    def ready(self) -> None:
        """The start or the reload is done."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """A reload has begun."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={int(clock.monotonic() * 1_000_000)}")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """The process is not stuck."""
        self._tell("WATCHDOG=1")

    def _tell(self, text: str) -> None:
        if self._address:
            with (
                suppress(OSError),  # it is gone, or too busy to listen
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
            ):
                sock.setblocking(False)
                sock.sendto(text.encode(), self._address)


def handed_descriptors() -> list[int]:
    """Return the descriptors of the sockets that were handed over to this process."""
    count = os.environ.get("LISTEN_FDS", "")
    is_number = count.isascii() and count.isdigit() and len(count) < 6
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not is_number:
        return []
    return list(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count)))
