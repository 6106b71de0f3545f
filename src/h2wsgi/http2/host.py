"""What a connection needs around it: the server that runs applications, the wire that takes octets.

Loop thread only, except where a name ends in _threadsafe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..budget import Budget
from ..config import Config
from ..handover import Handover
from ..logs import Log
from ..stream import Stream


class Host(Protocol):
    """What a connection needs of the server."""

    config: Config
    log: Log
    input_budget: Budget
    output_budget: Budget

    def start_requests(self, handover: Handover, streams: list[Stream]) -> None:
        """Run the application for each of ``streams`` when its turn comes."""

    def cancel_request(self, handover: Handover, stream: Stream) -> bool:
        """Forget a request whose application has not started; False if it has."""

    def input_is_full(self) -> None:
        """Too much content waits in the process: make every connection refuse what it can."""


class Wire(Protocol):
    """The transport's side of a connection."""

    write_paused: bool

    def write(self, data: bytes) -> None:
        """Send octets."""

    def flush_threadsafe(self, about_to_wait: bool = False) -> None:
        """Have :meth:`Connection.flush` called soon on the loop's thread.

        ``about_to_wait`` is what the calling thread is: then the loop may as well go on at once.
        """

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` in the loop's next turn."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call ``callback`` and send what it queued, if the connection is still open then."""

    def ping_acknowledged(self) -> None:
        """The peer answered a PING."""

    def settings_received(self) -> None:
        """The peer's SETTINGS came."""

    def streams_changed(self, open_streams: int) -> None:
        """The first stream opened, or the last one closed."""
