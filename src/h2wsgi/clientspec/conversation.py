"""One connection with a client, as the suite's own server speaks it: one thread, blocking.

A script sends what it likes. Reading goes on whenever it waits or writes: the tap sees every octet,
and what a good server answers at once (SETTINGS, PING, credit for content) is answered here, unless
a script turns it off. The invariant: every wait ends, and a client that is gone raises
:class:`ClientGone` in the script.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..codes import Setting
from ..config.config import Config
from ..log.logs import library_log
from ..process.clock import clock
from ..seam.request import ConnectionFacts
from ..tools.tap.frames import ConnectionInfo, Frame, Section
from ..tools.tap.tap import Taps
from . import octets
from .case import content_of
from .octets import ACK, PING, SETTINGS

if TYPE_CHECKING:
    from .server import Session

PATIENCE = 10.0
"""Seconds that a script waits for what the client is to send."""
REACTION = 0.25
"""Seconds that a client gets to react to one thing, before the next comes."""
TURN = 0.05
"""Seconds between two looks at whether the session is over."""
READ = 2**16
MAX_FRAMES = 20_000
"""Frames kept of a connection."""
CONFIG = Config(max_field_section=2**20)
OK: tuple[tuple[str, str], ...] = (
    (":status", "200"),
    ("content-type", "text/plain"),
    ("access-control-allow-origin", "*"),
)


class ClientGone(Exception):
    """The client has closed the connection."""


class Starved(Exception):
    """The client gives no credit for content that it has got."""


class HungUp(Exception):
    """The script has closed the connection."""


class NotReached(Exception):
    """What the case is about could not be done with this client; the text says why."""


class DoesNotApply(NotReached):
    """The case is about something that this client does not do."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request's field section as it came."""

    stream: int
    fields: tuple[tuple[str, str], ...]
    ended: bool
    """Whether no content follows."""

    def field(self, name: str) -> str:
        """Return a field's value, or nothing."""
        return next((value for key, value in self.fields if key == name), "")

    @property
    def path(self) -> str:
        """Its ``:path``."""
        return self.field(":path")

    @property
    def number(self) -> int:
        """Which of the requests of a case it is, from 1 on."""
        number = self.path.partition("?")[2].partition("/")[0]
        return int(number) if number.isdecimal() else 1

    @property
    def content(self) -> bytes:
        """The content of the good response to it."""
        return content_of(self.path)


class Conversation:
    """See the top of the module. ``number`` is 1 for a session's first connection."""

    def __init__(
        self, session: Session, number: int, sock: ssl.SSLSocket, peer: tuple[str, int]
    ) -> None:
        self.session = session
        self.number = number
        self._sock = sock
        self.exchanged: list[Frame] = []
        """All frames that were seen, of both sides."""
        self.frames: list[Frame] = []
        """The frames of the client."""
        self.info: ConnectionInfo | None = None
        self._tap = Taps([self], library_log(CONFIG), CONFIG).observe()
        self._requests: list[Request] = []
        self._new: list[Frame] = []
        """Frames that were not answered yet."""
        self.settings: dict[int, int] = {}
        """The client's, as of now."""
        self._window = octets.FIRST_WINDOW
        self._windows: dict[int, int] = {}
        self.is_greeted = False
        self._owed = b""
        """Answers that wait for the server's preface."""
        self.acknowledges = True
        self.answers_pings = True
        self.credits = True
        """Whether content of the client is credited as it comes."""
        self.is_reached = False
        self.reason = ""
        """Why the case was not reached, if that is known."""
        self.applies = True
        """Whether the case is about something that the client does."""
        self.ended = ""
        """How the client ended the connection; empty while it is open."""
        self.ended_at = 0.0
        self.idle_since = 0.0
        """The last moment at which all that had come until then was read."""
        self.is_starved = False
        """Whether the client gave no credit for content that it had got."""
        self._tap.opened(_facts(sock, peer, session.port, number), sock.selected_alpn_protocol())

    # ------------------------------------------------------------------------------- waiting

    def pump(self, seconds: float) -> None:
        """Read what comes within ``seconds``, once."""
        if not self._sock.pending():
            began = clock.monotonic()
            readable, _, _ = select.select([self._sock], [], [], max(seconds, 0))
            if not readable:
                self.idle_since = began
                return
        try:
            came = self._sock.recv(READ)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except (OSError, ssl.SSLError) as error:
            self._lost(getattr(error, "strerror", None) or type(error).__name__)
        if not came:
            self._lost("closed")
        self._tap.received(came)
        self._take_new()

    def _lost(self, how: str) -> None:
        self.ended, self.ended_at = how, clock.monotonic()
        raise ClientGone

    def until(self, condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
        """Read until a condition holds; return whether it does."""
        deadline = clock.monotonic() + seconds
        while not condition():
            left = deadline - clock.monotonic()
            if left <= 0 or self.session.is_over:
                return False
            self.pump(min(left, TURN))
        return True

    def sleep(self, seconds: float) -> None:
        """Let time pass, reading on."""
        self.until(lambda: False, seconds)

    def linger(self) -> None:
        """Read on until the client is gone or the session over."""
        with suppress(ClientGone):
            while not self.session.is_over:
                self.pump(TURN)

    # ------------------------------------------------------------------------- what has come

    def opened(self, connection: ConnectionInfo) -> None:
        """See Sink."""
        self.info = connection

    def closed(self, connection: ConnectionInfo, reason: str, at: float) -> None:
        """See Sink."""

    def close(self) -> None:
        """See Sink."""

    def frame(self, frame: Frame, content: bytes) -> None:
        """See Sink."""
        if len(self.exchanged) < MAX_FRAMES:
            self.exchanged.append(frame)
        if frame.received:
            self._heard(frame)

    def _heard(self, one: Frame) -> None:
        if len(self.frames) < MAX_FRAMES:
            self.frames.append(one)
            self._new.append(one)
        if one.block is not None and one.section is Section.REQUEST:
            fields = tuple((field.name, field.value) for field in one.block.fields)
            self._requests.append(Request(one.stream_id, fields, one.ends_stream))
            self._windows[one.stream_id] = self.initial_window

    def _take_new(self) -> None:
        """Answer what came, as every server would."""
        new, self._new = self._new, []
        answer = b""
        for one in new:
            if one.type == SETTINGS and not one.flags & ACK:
                for entry in one.settings or ():
                    self._set(entry.id, entry.value)
                answer += octets.frame(SETTINGS, 0, b"", ACK) if self.acknowledges else b""
            elif one.type == PING and not one.flags & ACK and self.answers_pings:
                answer += octets.frame(PING, 0, one.opaque, ACK)
            elif one.type == octets.WINDOW_UPDATE:
                self._credit(one.stream_id, one.increment or 0)
            elif one.type == octets.DATA and one.length and self.credits:
                answer += octets.window_update(0, one.length)
                if not one.ends_stream:
                    answer += octets.window_update(one.stream_id, one.length)
        if answer and self.is_greeted:
            self.send(answer)
        elif answer:
            self._owed += answer

    def _set(self, setting: int, value: int) -> None:
        if setting == Setting.INITIAL_WINDOW_SIZE:
            change = value - self.initial_window
            self._windows = {stream: size + change for stream, size in self._windows.items()}
        self.settings[setting] = value

    def _credit(self, stream: int, increment: int) -> None:
        if not stream:
            self._window += increment
        elif stream in self._windows:
            self._windows[stream] += increment

    @property
    def initial_window(self) -> int:
        """Octets that the client lets be sent on a new stream."""
        return self.settings.get(Setting.INITIAL_WINDOW_SIZE, octets.FIRST_WINDOW)

    @property
    def max_frame_size(self) -> int:
        """Octets of the largest payload that the client takes."""
        return self.settings.get(Setting.MAX_FRAME_SIZE, octets.SMALLEST_FRAME)

    @property
    def connection_window(self) -> int:
        """Octets of DATA that may be sent on the connection now."""
        return self._window

    def window(self, stream: int) -> int:
        """Return how many octets of DATA may be sent on a stream now."""
        return min(self._window, self._windows.get(stream, 0))

    def request(self, seconds: float = PATIENCE) -> Request:
        """Wait for the next request."""
        if not self.until(lambda: self._requests, seconds):
            raise NotReached("no request came")
        return self._requests.pop(0)

    def requests(self) -> Iterator[Request]:
        """Yield requests as they come, until the session is over."""
        while not self.session.is_over:
            if self.until(lambda: self._requests, TURN):
                yield self._requests.pop(0)

    def acknowledged(self) -> int:
        """Return how many SETTINGS the client has acknowledged."""
        return sum(f.type == SETTINGS and bool(f.flags & ACK) for f in self.frames)

    def received(self, stream: int) -> int:
        """Return how many octets of content came on a stream."""
        return sum(f.data_length or 0 for f in self.frames if f.stream_id == stream)

    def has_ended(self, stream: int) -> bool:
        """Return whether the client has ended its request."""
        return any(f.ends_stream for f in self.frames if f.stream_id == stream)

    # ------------------------------------------------------------------------------- sending

    def send(self, *parts: bytes, seen: bool = True) -> None:
        """Send octets; a flood is not shown to the tap (``seen=False``)."""
        left = memoryview(b"".join(parts))
        if seen:
            self._tap.sent(bytes(left))
        deadline = clock.monotonic() + PATIENCE
        while left:
            try:
                left = left[self._sock.send(left) :]
                deadline = clock.monotonic() + PATIENCE
            except ssl.SSLWantReadError:
                self._wait(deadline, writing=False)
            except ssl.SSLWantWriteError:
                self._wait(deadline, writing=True)
            except (OSError, ssl.SSLError) as error:
                self._drain()
                self._lost(getattr(error, "strerror", None) or type(error).__name__)

    def _wait(self, deadline: float, *, writing: bool) -> None:
        """Wait until sending can go on; the client's own octets must not hold it up."""
        if self.session.is_over or clock.monotonic() > deadline:
            raise NotReached("the client reads nothing any more")
        writers = [self._sock] if writing else []
        readable, _, _ = select.select([self._sock], writers, [], TURN)
        if readable:
            self.pump(0)

    def _drain(self) -> None:
        """Read what the client said before it closed."""
        with suppress(ClientGone, OSError, ssl.SSLError):
            for _ in range(100):
                self.pump(0)

    def reach(self) -> None:
        """What the case is about comes now."""
        self.is_reached = True

    def greet(self, *settings: tuple[int, int]) -> None:
        """Send the server's preface."""
        self.is_greeted = True
        self.send(octets.settings(*settings), self._owed)

    def head(self, request: Request, *more: tuple[str, str], end: bool = False) -> None:
        """Send the head of a good response."""
        self.send(octets.headers(request.stream, (*OK, *more), end=end))

    def content(
        self, request: Request, content: bytes, *, end: bool = True, size: int = 2**14
    ) -> None:
        """Send content as the client's windows allow, in frames of at most ``size`` octets."""
        stream, at = request.stream, 0
        while at < len(content):
            if not self.until(lambda: self.window(stream) > 0):
                raise Starved
            step = min(size, len(content) - at, self.window(stream))
            at += step
            self.spend(stream, step)
            piece = content[at - step : at]
            self.send(octets.data(stream, piece, end=end and at == len(content)))
        if end and not content:
            self.send(octets.data(stream, b"", end=True))

    def spend(self, stream: int, count: int) -> None:
        """Take octets of DATA off the client's windows."""
        self._window -= count
        if stream in self._windows:
            self._windows[stream] -= count

    def respond(self, request: Request) -> None:
        """Send a good response."""
        is_head = request.field(":method") == "HEAD"
        self.head(request, end=is_head)
        if not is_head:
            self.content(request, request.content)

    def serve(self) -> None:
        """Answer every request well, until the client is gone."""
        for request in self.requests():
            stream = request.stream
            if request.field(":method") == "POST":
                self.until(lambda: self.has_ended(stream))  # noqa: B023
            self.respond(request)

    def hang_up(self, *, abort: bool = False, notify: bool = True) -> None:
        """Close the connection and end the script: with FIN, or with a TCP reset.

        Without ``notify`` TLS is not told (no close_notify), as when a machine fails.
        """
        self.ended = "closed by the server"
        if abort:
            linger = struct.pack("ii", 1, 0)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif notify:
            with suppress(OSError, ValueError):
                self._sock.unwrap()
        if abort:
            self._sock.close()
        else:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
        raise HungUp


def _facts(sock: ssl.SSLSocket, peer: tuple[str, int], port: int, number: int) -> ConnectionFacts:
    host, peer_port = peer
    cipher = sock.cipher()
    tls = {"SSL_PROTOCOL": sock.version() or "", "SSL_CIPHER": cipher[0] if cipher else ""}
    return ConnectionFacts(
        "https", "localhost", str(port), host, str(peer_port), tls, number=number
    )
