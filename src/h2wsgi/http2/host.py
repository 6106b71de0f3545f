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
    new_stream: Callable[..., Stream]
    """What makes a Stream."""

    def start_requests(self, handover: Handover, streams: list[Stream]) -> None:
        """Run the application for each of ``streams`` when its turn comes."""

    def cancel_request(self, handover: Handover, stream: Stream) -> bool:
        """Forget a request whose application has not started; False if it has."""

    def limit_hit(self, option: str) -> None:
        """A client went over the limit of an option: count it."""

    def input_is_full(self) -> None:
        """Too much content waits in the process: make every connection refuse what it can."""


class Wire(Protocol):
    """The transport's side of a connection."""

    write_paused: bool
    flush_threadsafe: Callable[..., None]
    """``flush_threadsafe(about_to_wait=False)`` has :meth:`Connection.flush` called soon on the
    loop's thread.

    ``about_to_wait`` is what the calling thread is: then the loop may as well go on at once.
    """
    streams_changed: Callable[[int], None]
    """Told how many streams are open when the first was opened, or the last one closed."""

    def write(self, data: bytes) -> None:
        """Send octets."""

    @property
    def unsent(self) -> int:
        """Octets written that the transport could not send yet."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` in the loop's next turn."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call ``callback`` and send what it queued, if the connection is still open then."""

    def ping_acknowledged(self, payload: bytes) -> None:
        """The peer answered a PING."""

    def settings_received(self) -> None:
        """The peer's SETTINGS came."""

    def settings_sent(self) -> None:
        """The peer owes the acknowledgement of SETTINGS that an application sent."""

    def settings_acknowledged(self) -> None:
        """The peer acknowledged ours."""

    def goes_away(self) -> None:
        """GOAWAY was sent for an application: close when the open streams are done."""

    def hang_up(self, abort: bool) -> None:
        """Close without a word more, with a TCP reset if ``abort``."""

    def stall(self, seconds: float) -> None:
        """Keep back whatever is to be sent from here on."""

    def accept_frames(self, max_frame_size: int) -> None:
        """Take frames of up to so many octets from here on."""

    def retire(self) -> None:
        """The connection has had as many requests as it may: end it when that hurts least."""
