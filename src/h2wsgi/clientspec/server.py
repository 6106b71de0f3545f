"""The suite's own server: a port for each case, a thread for each connection.

A session plays one case for one client. It listens on loopback alone, takes a bounded number of
connections, and ends when it is told to, with all its threads. Nothing of h2wsgi's server is used,
which refuses to send most of this; what the client sends is decoded by the tap.
"""

from __future__ import annotations

import math
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from ..process.clock import clock
from .case import TLS, Script, content_of
from .certificates import Identities
from .conversation import ClientGone, Conversation, DoesNotApply, HungUp, NotReached, Starved

MAX_CONNECTIONS = 40
"""Connections of a session; a client that goes on connecting gets no more."""
HANDSHAKE = 5.0
"""Seconds for TLS."""
END_PATIENCE = 15.0
"""Seconds for threads to end, which look every twentieth of a second."""


class Session:
    """Plays a script on a port of its own."""

    def __init__(
        self,
        script: Script,
        identities: Identities,
        *,
        tls: TLS = "good",
        host: str = "localhost",
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._script = script
        self._ended = ended
        """Called when a connection has ended, on its thread."""
        self._context = identities.context(tls)
        self.tls = tls
        self.host = host
        self.is_over = False
        self.conversations: list[Conversation] = []
        self.handshakes: list[str] = []
        """What became of TLS on each connection that was made: a version, or an error."""
        self.greetings: list[bytes] = []
        """The first octets on connections that did not agree on HTTP/2."""
        self._listeners = _listen()
        self.port: int = self._listeners[0].getsockname()[1]
        self._threads: list[threading.Thread] = []
        self.failures: list[BaseException] = []
        """Errors of the suite itself."""

    @property
    def url(self) -> str:
        """The origin of the session."""
        return f"https://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        for listener in self._listeners:
            self._start(self._accept, listener)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End all of it, and wait for the threads."""
        self.is_over = True
        deadline = clock.monotonic() + END_PATIENCE
        for thread in self._threads:
            thread.join(max(deadline - clock.monotonic(), 0))
        for listener in self._listeners:
            listener.close()

    def _start(self, function: object, *arguments: object) -> None:
        assert callable(function)
        thread = threading.Thread(
            target=self._guarded, args=(function, *arguments), name="clientspec", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _guarded(self, function: object, *arguments: object) -> None:
        assert callable(function)
        try:
            function(*arguments)
        except Exception as error:
            self.failures.append(error)

    def _accept(self, listener: socket.socket) -> None:
        listener.settimeout(0.05)
        while not self.is_over and len(self.handshakes) < MAX_CONNECTIONS:
            try:
                sock, peer = listener.accept()
            except TimeoutError:
                continue
            self.handshakes.append("")
            self._start(self._converse, sock, peer[:2], len(self.handshakes))

    def _converse(self, sock: socket.socket, peer: tuple[str, int], number: int) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(HANDSHAKE)
        try:
            self._serve(sock, peer, number)
        finally:
            self._ended()

    def _serve(self, sock: socket.socket, peer: tuple[str, int], number: int) -> None:
        with sock:
            if self.tls == "none":
                self.handshakes[number - 1] = "closed"
                return
            try:
                wrapped = self._context.wrap_socket(sock, server_side=True)
            except (OSError, ssl.SSLError) as error:
                self.handshakes[number - 1] = f"failed: {getattr(error, 'reason', None) or error}"
                return
            with wrapped:
                self.handshakes[number - 1] = wrapped.version() or ""
                if self.tls in ("no-alpn", "http/1.1"):
                    self._without_http2(wrapped)
                else:
                    self._play(wrapped, peer, number)

    def _without_http2(self, sock: ssl.SSLSocket) -> None:
        """Answer HTTP/1.1 in one go, and nothing else, where HTTP/2 was not agreed on."""
        with suppress(OSError, ssl.SSLError):
            sock.settimeout(HANDSHAKE)
            self.greetings.append(sock.recv(2**14))
            words = self.greetings[-1].split()
            if len(words) > 1 and words[0] == b"GET":
                content = content_of(words[1].decode("latin-1"))
                head = f"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {len(content)}"
                sock.sendall(f"{head}\r\n\r\n".encode() + content)
            sock.unwrap()

    def _play(self, sock: ssl.SSLSocket, peer: tuple[str, int], number: int) -> None:
        sock.setblocking(False)
        conversation = Conversation(self, number, sock, peer)
        self.conversations.append(conversation)
        try:
            self._script.play(conversation)
            conversation.linger()
        except ClientGone:
            pass
        except HungUp:
            self._drain(sock)
        except NotReached as reason:
            conversation.reason = str(reason)
            conversation.applies = not isinstance(reason, DoesNotApply)
        except Starved:
            conversation.is_starved = True
        finally:
            conversation.idle_since = math.inf  # Nobody reads any more.

    def _drain(self, sock: ssl.SSLSocket) -> None:
        """Take what still comes, or the client would get a TCP reset in place of FIN."""
        with suppress(OSError, ssl.SSLError):
            sock.settimeout(0.05)
            while not self.is_over:
                try:
                    if not socket.socket.recv(sock, 2**16):
                        return
                except TimeoutError:
                    continue


def _listen() -> list[socket.socket]:
    """Return sockets on a free port of loopback, for IPv6 too where there is IPv6."""
    first = socket.create_server(("127.0.0.1", 0), backlog=MAX_CONNECTIONS)
    port = first.getsockname()[1]
    with suppress(OSError):
        second = socket.create_server(("::1", port), family=socket.AF_INET6, backlog=16)
        return [first, second]
    return [first]
