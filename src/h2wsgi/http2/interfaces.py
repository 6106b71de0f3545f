"""What a connection needs around it, and who may watch it. Types alone.

The server runs applications, the wire takes octets. An observer sees every octet of HTTP/2 in both
directions, as it is on the wire and not what the engine made of it, so that its reports do not
depend on the engine. Octets received reach it before the engine acts on them, octets sent before
the transport has them, and nothing that it does or fails to do changes what the connection does.
Loop thread only, except where a name ends in _threadsafe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..config.config import Config
from ..log.logs import Log
from ..seam.budget import Budget
from ..seam.handover import Handover
from ..seam.mailbox import Mailbox
from ..seam.request import ConnectionFacts
from ..seam.spool import Spool
from ..seam.stream import Stream

if TYPE_CHECKING:
    from .counting import Counts


class ConnectionObserver(Protocol):
    """Watches one connection. Calls come in this order: opened, received and sent, closed."""

    def opened(self, facts: ConnectionFacts, alpn: str | None) -> None:
        """The connection is there, TLS included; its version and cipher are in ``facts.tls``.

        ``alpn`` is what TLS agreed on, None for nothing and on cleartext.
        """

    def received(self, octets: bytes) -> None:
        """The client sent ``octets``, frames or not."""

    def sent(self, octets: bytes) -> None:
        """``octets`` are about to go to the client."""

    def closed(self, reason: str) -> None:
        """The connection is no more."""


ObserverFactory = Callable[[], ConnectionObserver]
"""Makes the observer of a new connection."""


class ServerContext(Protocol):
    """What connections need of their server."""

    config: Config
    log: Log
    input_budget: Budget
    output_budget: Budget
    new_stream: Callable[..., Stream]
    """What makes a Stream."""
    spool: Spool
    unsized_content: str
    """What becomes of content without a length, ``"buffer"`` or ``"stream"``."""
    mailbox: Mailbox
    read_buffer: memoryview
    """What every transport reads into; it is copied before another one does."""
    observe: ObserverFactory | None
    """Who watches the connections, if anybody; the same for as long as the server runs."""
    counts: Counts | None
    """Where requests are counted for metrics; None: they are not."""

    def start_requests(self, handover: Handover, streams: list[Stream]) -> None:
        """Run the application for each of ``streams`` when its turn comes."""

    def cancel_request(self, handover: Handover, stream: Stream) -> bool:
        """Forget a request whose application has not started; False if it has."""

    def limit_hit(self, option: str) -> None:
        """A client went over the limit of an option: count it."""

    def handshake_failed(self, reason: str) -> None:
        """A connection ended before it had a protocol: count it."""

    def input_is_full(self) -> None:
        """Too much content waits in the process: make every connection refuse what it can."""

    def make_disk_room(self, asking: Stream) -> bool:
        """Give up one whose client is slow, for ``asking``; False if there is none."""

    def connection_closed(self, protocol: Any) -> None:
        """The transport is closed and every stream has ended."""

    def settings_delay(self, what: str, facts: ConnectionFacts) -> float:
        """Return the seconds by which ``"settings"``, or their ``"ack"``, are to be late."""

    def log_refusal(self, facts: ConnectionFacts, advice: str) -> None:
        """A client spoke something else than HTTP/2."""


class WireClosing(Protocol):
    """How a connection ends, as far as the connection itself brings it about."""

    def ping_acknowledged(self, payload: bytes) -> None:
        """The peer answered a PING."""

    def goes_away(self) -> None:
        """GOAWAY was sent for an application: close when the open streams are done."""

    def hang_up(self, abort: bool) -> None:
        """Close without a word more, with a TCP reset if ``abort``."""

    def retire(self) -> None:
        """The connection has had as many requests as it may: end it when that hurts least."""


class Wire(Protocol):
    """The transport's side of a connection."""

    write_paused: bool
    wake_threadsafe: Callable[..., None]
    """``wake_threadsafe(about_to_wait=False)`` has :meth:`Connection.flush` called soon on the
    loop's thread.

    ``about_to_wait`` is what the calling thread is: then the loop may as well go on at once.
    """
    streams_changed: Callable[[int], None]
    """Told how many streams are open when the first was opened, or the last one closed."""

    @property
    def closing(self) -> WireClosing:
        """What ends the connection."""

    def write(self, data: bytes) -> None:
        """Send octets."""

    def keep_unsent_low(self) -> None:
        """Have little lie below us that is not on its way: what comes later may be urgent."""

    @property
    def unsent(self) -> int:
        """Octets written that the transport could not send yet."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` in the loop's next turn."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call ``callback`` and send what it queued, if the connection is still open then."""

    def settings_received(self) -> None:
        """The peer's SETTINGS came."""

    def settings_sent(self) -> None:
        """The peer owes the acknowledgement of SETTINGS that an application sent."""

    def settings_acknowledged(self) -> None:
        """The peer acknowledged ours."""

    def stall(self, seconds: float) -> None:
        """Keep back whatever is to be sent from here on."""

    def accept_frames(self, max_frame_size: int) -> None:
        """Take frames of up to so many octets from here on."""
