"""Listening sockets: opened from addresses, accepted from with a limit, peeked at before TLS.

Loop thread, but for :func:`open_listeners`. A connection counts against the limit from its accept
on, handshake included. At the limit the connection that has been idle longest has to leave for the
one that comes, but never one with a stream; if there is none, and when the system has no
descriptors left, accepting pauses and the kernel's backlog holds the rest.
At the end the backlog is accepted too, and handshakes may finish: their clients may have sent
requests, and are told what became of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import itertools
import select
import socket
import ssl
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config.config import Config
from ..config.trusted_peers import UNIX_PEER, TrustedPeers
from ..http2 import refusal
from ..http2.closing import State
from ..http2.interfaces import ServerContext
from ..http2.protocol import H2Protocol
from ..log.logs import Log, named
from ..process import forking
from ..process.clock import clock
from ..seam.guards import loop_thread
from ..seam.request import peer_name
from .listeners import Listener
from .peers import connection_facts
from .proxy_header import SHOWN, BadHeader, Came, HeaderReader, ProxyHeader, shown

if TYPE_CHECKING:
    from ..process.shares import Place

ACCEPTS_PER_TURN = 64
NO_DESCRIPTORS_WAIT = 0.5
"""Seconds to leave the backlog alone after EMFILE."""
FULL_LOG_INTERVAL = 60.0
IDLE_ENOUGH = 0.5
"""Seconds without a stream before a connection may have to leave for another."""
MOST_LEAVING = 32
"""Connections on their way out that do not count against the limit."""
FULL_LOOK = 0.1
"""Seconds between looks for one that may leave, while others wait to be let in."""
NEW_POLLER: Any = getattr(select, "poll", None)
"""As it is now: gevent replaces it, eventlet takes it away. Windows has none, and no workers."""
STEP_BACK = 0.005
"""Seconds between looks whether others have accepted what was left to them."""
LONGEST_STEP_BACK = 0.1
"""Seconds after which a connection is accepted by whoever sees it: who has fewer may be stuck."""
HANDSHAKE_GRACE = 1.0
"""Seconds that handshakes under way get once nothing more is accepted ..."""
HANDSHAKE_GRACE_AT_HAND = 0.02
"""... and where the clients are on this machine."""
TLS_SHUTDOWN_TIMEOUT = 1.0
NEVER = 10.0 * 365 * 86_400
"""Seconds; the loops have no word for it here."""
NOT_ALLOWED = (
    "closed, as a PROXY header is required (--proxy-protocol), and taken from peers of "
    "--forwarded-allow-ips alone"
)
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(slots=True)
class _Handshake:
    """A connection that is accepted and has no protocol yet."""

    sock: socket.socket
    peer: str
    timer: asyncio.TimerHandle
    since: float
    """When it was accepted, by the monotonic clock."""
    begins: str = "TLS handshake"
    """What is waited for."""
    header: ProxyHeader | None = None
    read: bytes = b""
    """What was taken off the socket to look for a PROXY header, and is the protocol's."""
    task: asyncio.Task[None] | None = None
    made: bool = False
    """True once a protocol has the connection and tells when it ends."""


class Acceptor:
    """Accepts connections of all listeners and gives each an :class:`H2Protocol`."""

    def __init__(
        self,
        server: ServerContext,
        listeners: list[Listener],
        tls: Callable[[], ssl.SSLContext | None],
        opened: Callable[[H2Protocol], None],
        protocols: Set[H2Protocol],
        place: Place | None = None,
    ) -> None:
        self._server = server
        self._config: Config = server.config
        self._log: Log = server.log
        self._listeners = listeners
        self._tls = tls
        self._opened = opened
        self._protocols = protocols
        """Those of the connections that are open."""
        self._place = place
        """Where this worker is among those that accept from the same sockets, if there are any."""
        self._loop = asyncio.get_running_loop()
        self._trusted = TrustedPeers.of(self._config.forwarded_allow_ips)
        self._handshake_timeout = self._config.handshake_timeout or NEVER
        self._pending: dict[int, _Handshake] = {}
        self._connections = 0
        self._numbers = itertools.count(1)
        """What connections are called in the log and by those who observe them."""
        self._stepped_back = 0.0
        """Since when, by the monotonic clock, others have been left the first go at what waits."""
        self._leaving: set[H2Protocol] = set()
        """Those that were to make room for others, and are not closed yet."""
        self._next_look: asyncio.TimerHandle | None = None
        self._accepting = False
        self._closed = False
        self._clients_at_hand = False
        self._silent_until = 0.0
        self.all_closed = asyncio.Event()
        """Set while no connection is open, handshakes included."""
        self.all_closed.set()
        self._protocol = _protocol_of(server)

    @property
    def handshakes(self) -> int:
        """Connections that have no protocol yet."""
        return len(self._pending)

    @property
    def open_connections(self) -> int:
        """Connections open, handshakes included."""
        return self._connections

    def start(self) -> None:
        """Begin to accept, or go on after a pause."""
        self._tell()
        if not self._accepting and not self._closed and not self._stepped_back:
            self._accepting = True
            for listener in self._listeners:
                self._loop.add_reader(listener.sock, self._accept, listener)

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            for listener in self._listeners:
                self._loop.remove_reader(listener.sock)

    def close(self, patience: float, *, clients_at_hand: bool, leave_backlog: bool = False) -> None:
        """Accept nothing more but the backlog; end handshakes that take ``patience`` seconds yet.

        What connects between the last accept and the close of its socket is reset by the kernel.
        ``clients_at_hand`` is that of :meth:`Server.stop`. With ``leave_backlog`` other workers
        accept it.
        """
        self._closed = True
        self._clients_at_hand = clients_at_hand
        place, self._place = self._place, None
        if place is not None:
            place.leave()
        for listener in self._listeners:
            if not leave_backlog and (self._accepting or self._stepped_back):
                self._accept(listener)
        self._pause()
        for listener in self._listeners:
            listener.close()
        grace = HANDSHAKE_GRACE_AT_HAND if clients_at_hand else HANDSHAKE_GRACE
        self._loop.call_later(min(patience, grace), self._give_up_all)

    def _give_up_all(self) -> None:
        for handshake in list(self._pending.values()):
            self._give_up(handshake)

    def released(self, protocol: H2Protocol | None = None) -> None:
        """A connection has ended, ``protocol`` if it had one."""
        self._connections -= 1
        self._tell()
        if protocol is not None:
            self._leaving.discard(protocol)
        if not self._connections:
            self.all_closed.set()
        if not self._is_full:
            self.start()

    @property
    def _is_full(self) -> bool:
        leaving = min(len(self._leaving), MOST_LEAVING)
        return self._connections >= self._config.max_connections + leaving

    def _tell(self) -> None:
        if self._place is not None:
            self._place.count(self._connections)

    # Connections of HTTP/2 live long, so who gets one has its requests for hours. Whichever worker
    # looks first would have most of them.

    def _step_back(self) -> None:
        """Leave what waits to the workers that have fewer connections, for a while at least."""
        if not self._stepped_back:
            self._stepped_back = clock.monotonic()
            self._pause()
        self._loop.call_later(STEP_BACK, self._look_whether_it_is_left)

    def _look_whether_it_is_left(self) -> None:
        """Accept again once nobody has fewer connections, or nobody comes for those that wait."""
        if self._closed or self._place is None:
            return
        waiting = [each for each in self._listeners if _is_waited_at(each)]
        if waiting and self._place.has_more_than_another:
            if clock.monotonic() - self._stepped_back < LONGEST_STEP_BACK:
                self._step_back()
                return
            place, self._place = self._place, None  # nobody steps back for long
            try:
                self._accept(waiting[0], most=1)
            finally:
                self._place = place
        self._stepped_back = 0.0
        self.start()

    @loop_thread
    def _accept(self, listener: Listener, most: int = ACCEPTS_PER_TURN) -> None:
        for _ in range(most):
            if self._place is not None and self._place.has_more_than_another:
                self._step_back()
                return
            idle = None
            if self._is_full:
                self._say_full()
                idle = self._idle_longest()
                if idle is None or len(self._leaving) >= MOST_LEAVING:
                    if idle is not None:
                        self._have_leave(idle)  # or those that leave and do not go keep all out
                    self._pause()
                    self._look_later()
                    return
            try:
                sock, address = forking.accept(listener.sock)
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._accept_failed(error)
                return
            sock.setblocking(False)
            _set_nodelay(sock)
            if idle is not None:
                self._have_leave(idle)
            self._connections += 1
            self._tell()
            self.all_closed.clear()
            self._begin(listener, sock, address)
            if idle is not None:
                return  # to look for one takes long, so the next comes in another turn

    def _idle_longest(self) -> H2Protocol | _Handshake | None:
        """Return who has had no stream for longest, one in its handshake included.

        Those that are about to close come first, those that have not taken their last response
        behind the others, and at the very end those that failed and answer something yet.
        """
        idle: list[tuple[int, float, H2Protocol | _Handshake]] = []
        for protocol in self._protocols - self._leaving:
            if protocol.state is State.OPEN:
                if (since := protocol.deadlines.idle_since) is not None:
                    idle.append((int(protocol.unsent > 0), since, protocol))
            elif protocol.state in (State.FAILED, State.LINGERING):
                idle.append((2 if protocol.state is State.FAILED else 0, 0.0, protocol))
        # In the order in which they were accepted.
        handshakes = itertools.islice(self._pending.values(), 1)
        idle += [(0, first.since, first) for first in handshakes]
        before = clock.monotonic() - IDLE_ENOUGH
        idle = [each for each in idle if each[1] <= before]
        return min(idle, key=lambda each: each[:2], default=(0, 0.0, None))[2]

    def _have_leave(self, idle: H2Protocol | _Handshake) -> None:
        if isinstance(idle, _Handshake):
            del self._pending[id(idle.sock)]  # now: it may take a turn of the loop to end
            self._give_up(idle)
        else:
            self._leaving.add(idle)
            idle.closing.make_room()

    def _look_later(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        self._next_look = self._loop.call_later(FULL_LOOK, self.start)

    def _say_full(self) -> None:
        # At the limit every connection that ends lets one in, and would be a line each.
        self._server.limit_hit("max_connections")
        if self._loop.time() >= self._silent_until:
            self._silent_until = self._loop.time() + FULL_LOG_INTERVAL
            self._log.events.warning(
                "the limit of %d connections is reached",
                self._config.max_connections,
                extra=named("limit_hit", limit="max_connections"),
            )

    def _accept_failed(self, error: OSError) -> None:
        self._log.events.error("accept failed: %s", error.strerror, extra=named("accept_failed"))
        self._pause()
        if error.errno in _OUT_OF_RESOURCES:
            # The listening socket stays readable: without a pause this would spin.
            self._loop.call_later(NO_DESCRIPTORS_WAIT, self.start)
        else:
            self._loop.call_soon(self.start)

    def _begin(self, listener: Listener, sock: socket.socket, address: object) -> None:
        peer = str(address[0]) if isinstance(address, tuple) else "unix socket"
        timer = self._loop.call_later(self._handshake_timeout, self._time_out, sock)
        handshake = _Handshake(sock, peer, timer, clock.monotonic())
        self._pending[id(sock)] = handshake
        if self._config.proxy_protocol == "off":
            self._greet(listener, handshake)
        elif self._trusted.include(str(address[0]) if isinstance(address, tuple) else UNIX_PEER):
            handshake.begins = "PROXY header"
            self._loop.add_reader(sock, self._read_header, listener, handshake, HeaderReader())
        elif self._config.proxy_protocol == "optional":
            self._greet(listener, handshake)
        else:
            extra = named("proxy_header_refused", peer=handshake.peer)
            self._log.events.info("%s: %s", handshake.peer, NOT_ALLOWED, extra=extra)
            self._give_up(handshake)

    def _read_header(self, listener: Listener, handshake: _Handshake, reader: HeaderReader) -> None:
        """Take a PROXY header off the socket, before anybody else reads from it."""
        try:
            found = reader.read(handshake.sock)
            if found is Came.OTHER and self._config.proxy_protocol == "required":
                octets = reader.taken + handshake.sock.recv(SHOWN + 1)
                raise BadHeader(f"{shown(octets)} without a PROXY header")
        except BadHeader as error:
            self._log.events.warning(
                "%s: closed, as what came is %s (--proxy-protocol)",
                handshake.peer,
                error,
                extra=named("proxy_header_refused", peer=handshake.peer),
            )
            self._give_up(handshake)
            return
        except OSError as error:  # as of who looks whether somebody listens
            self._log.events.debug(
                "%s: no PROXY header: %s",
                handshake.peer,
                error,
                extra=named("proxy_header_refused", peer=handshake.peer),
            )
            self._give_up(handshake)
            return
        if found is Came.PART:
            return
        self._loop.remove_reader(handshake.sock)
        if isinstance(found, ProxyHeader):
            handshake.header = found
            handshake.peer = peer_name(*found.source) if found.source else handshake.peer
        else:
            handshake.read = bytes(reader.taken)
        handshake.begins = "TLS handshake"
        self._greet(listener, handshake)

    def _greet(self, listener: Listener, handshake: _Handshake) -> None:
        if not listener.tls:
            self._connect(listener, handshake, tls=None, advice="")
        elif handshake.read:
            self._connect(listener, handshake, tls=None, advice=refusal.NEEDS_TLS)
        else:
            self._loop.add_reader(handshake.sock, self._first_octet, listener, handshake)

    def _first_octet(self, listener: Listener, handshake: _Handshake) -> None:
        """Look whether TLS begins, so that plain HTTP on the TLS port gets an answer."""
        try:
            first = handshake.sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            first = b""
        self._loop.remove_reader(handshake.sock)
        if not first:
            self._give_up(handshake)
        elif first[0] == refusal.TLS_HANDSHAKE:
            self._connect(listener, handshake, tls=self._tls(), advice="")
        else:
            self._connect(listener, handshake, tls=None, advice=refusal.NEEDS_TLS)

    def _connect(
        self, listener: Listener, handshake: _Handshake, *, tls: ssl.SSLContext | None, advice: str
    ) -> None:
        task = self._loop.create_task(self._make_protocol(listener, handshake, tls, advice))
        handshake.task = task
        # Not in the task itself, which may be cancelled before it has begun.
        task.add_done_callback(lambda _: self._connected(handshake))

    async def _make_protocol(
        self,
        listener: Listener,
        handshake: _Handshake,
        tls: ssl.SSLContext | None,
        advice: str,
    ) -> None:
        def make() -> H2Protocol:
            return self._protocol(
                self._server,
                lambda transport: connection_facts(
                    transport,
                    listener,
                    self._trusted,
                    handshake.header,
                    number=next(self._numbers),
                    misdirected=self._config.misdirected,
                ),
                advice=advice,
                made=lambda protocol: self._made(handshake, protocol),
            )

        timeouts = {}
        if tls is not None:
            timeouts["ssl_handshake_timeout"] = self._handshake_timeout
            timeouts["ssl_shutdown_timeout"] = TLS_SHUTDOWN_TIMEOUT
        try:
            await self._loop.connect_accepted_socket(make, handshake.sock, ssl=tls, **timeouts)
        except (OSError, asyncio.CancelledError) as error:
            self._log_failure(handshake, error)

    def _made(self, handshake: _Handshake, protocol: H2Protocol) -> None:
        handshake.made = True
        handshake.timer.cancel()
        self._pending.pop(id(handshake.sock), None)
        self._opened(protocol)
        if handshake.read:
            protocol.receive(handshake.read)  # before what the transport reads
        if self._closed:
            if self._clients_at_hand:
                protocol.closing.hurry()
            protocol.closing.drain()

    def _connected(self, handshake: _Handshake) -> None:
        """asyncio is done with the socket: a protocol has it, or nobody."""
        if not handshake.made:
            self._drop(handshake)

    def _log_failure(self, handshake: _Handshake, error: BaseException) -> None:
        if isinstance(error, ssl.SSLError):
            reason = (error.reason or str(error)).lower().replace("_", " ")
            if "unknown ca" in reason or "certificate unknown" in reason:
                reason += " (the client does not trust the server's certificate)"
            self._server.handshake_failed(reason.partition(" (")[0])
            said = named("handshake_failed", peer=handshake.peer, reason=reason)
            self._log.events.info(
                "%s: the TLS handshake failed: %s", handshake.peer, reason, extra=said
            )
        else:
            if not isinstance(error, asyncio.CancelledError):  # one that we gave up, and counted
                self._server.handshake_failed("ended")
            said = named("handshake_failed", peer=handshake.peer, reason="ended")
            self._log.events.debug("%s: no TLS handshake: %r", handshake.peer, error, extra=said)

    def _time_out(self, sock: socket.socket) -> None:
        handshake = self._pending.get(id(sock))
        if handshake is not None:
            self._server.limit_hit("handshake_timeout")
            self._server.handshake_failed("timeout")
            said = named("handshake_failed", peer=handshake.peer, reason="timeout")
            self._log.events.info(
                "%s: the %s took too long", handshake.peer, handshake.begins, extra=said
            )
            self._give_up(handshake)

    def _give_up(self, handshake: _Handshake) -> None:
        """End a handshake from our side."""
        if handshake.task is not None:
            # The transport has the socket: closing it here would let the kernel reuse the
            # descriptor while the loop still watches it.
            handshake.task.cancel()
        else:
            self._loop.remove_reader(handshake.sock)
            self._drop(handshake)

    def _drop(self, handshake: _Handshake) -> None:
        """Close a connection that never got its protocol."""
        handshake.timer.cancel()
        self._pending.pop(id(handshake.sock), None)
        handshake.sock.close()
        self.released()


def _is_waited_at(listener: Listener) -> bool:
    """Return whether a connection waits to be accepted."""
    poller = NEW_POLLER()
    poller.register(listener.sock, select.POLLIN)
    return bool(poller.poll(0))


def _protocol_of(server: ServerContext) -> Callable[..., H2Protocol]:
    """Return what makes a protocol: decided once, so that it costs connections nothing."""
    if server.observe is None:
        return H2Protocol
    from ..http2.observed import ObservedProtocol

    return functools.partial(ObservedProtocol, observe=server.observe)


def _set_nodelay(sock: socket.socket) -> None:
    """Have small frames leave at once.

    asyncio does so only for sockets that name their protocol, which accepted ones do not. Without
    it a second WINDOW_UPDATE waits for the peer to acknowledge the first, 40 ms at a time.
    """
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):  # the peer may be gone by now
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
