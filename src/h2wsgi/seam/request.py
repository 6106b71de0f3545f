"""What is known of a request, and of its connection, before any application sees it.

Made on the loop's thread, read on any; what the application side keeps here, it alone reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..config.addresses import joined
from .forwarded import ForwardedReader


@dataclass(slots=True)
class RequestFields:
    """A request's field section after every rule was checked (RFC 9113 section 8.3).

    Never changed once made: the same one may stand for many requests of a connection. (Frozen, it
    would take four times as long to make, for each request.)
    """

    method: str
    scheme: bytes
    authority: bytes | None
    path: bytes
    """``:path`` as sent: path and query, without controls, spaces and fragment."""
    fields: tuple[tuple[bytes, bytes], ...]
    """Names in lower case, values as sent, in the order sent, pseudo-fields left out."""
    content_length: int | None
    expects_continue: bool
    priority: bytes | None = None
    """The value of the ``priority`` field (RFC 9218), if there is one."""
    like: RequestFields | None = field(default=None, repr=False, compare=False)
    """An earlier request that differs in its path alone."""
    environ: dict[str, Any] | None = field(default=None, repr=False, compare=False)
    """Where the application side keeps what it makes of this, for the next request like it."""
    repeated: bool = field(default=False, repr=False, compare=False)
    """Whether this stands for more than one request."""
    large: int = field(default=0, repr=False, compare=False)
    """Octets of the field section if they are many (``LARGE_SECTION``), else 0."""

    def with_path(self, path: bytes) -> RequestFields:
        """Return the same request for another path."""
        return RequestFields(
            self.method,
            self.scheme,
            self.authority,
            path,
            self.fields,
            self.content_length,
            self.expects_continue,
            self.priority,
            self,
        )

    @property
    def shown_path(self) -> str:
        """``path`` for people to read: UTF-8 mostly, what is not as ``\\xNN``."""
        return self.path.decode("utf-8", "backslashreplace")


@dataclass(slots=True)
class ConnectionFacts:
    """What every request of a connection has in common."""

    scheme: str
    server_name: str
    server_port: str
    remote_address: str
    remote_port: str
    tls: dict[str, str]
    """mod_ssl's names to values (``SSL_PROTOCOL``, ...); empty on cleartext."""
    environ_template: dict[str, Any] | None = field(default=None, repr=False)
    """Where the application side keeps the part of environ that is the same for all requests."""
    number: int = 0
    """1 for a server's first connection; ``ConnectionRecord.id`` for those who observe it."""
    covers: Callable[[str], bool] | None = field(default=None, repr=False)
    """Whether the connection's certificate is for a host, where others' requests are refused."""
    shared: dict[Any, Any] = field(default_factory=dict, repr=False)
    """The application's own; see StreamControl."""
    forwarded: ForwardedReader | None = field(default=None, repr=False)
    """What the peer says of its clients, if it is one that is believed."""
    proxy: str = ""
    """Who sent the PROXY header that told the remote address, as ``peer``; empty without one."""
    proxied: dict[str, str] = field(default_factory=dict)
    """What that header told besides, as environ's ``h2wsgi.proxy`` has it."""

    @property
    def peer(self) -> str:
        """The peer as a log line names it."""
        return peer_name(self.remote_address, self.remote_port)


def peer_name(address: str, port: str) -> str:
    """Return a peer as a log line names it; ``address`` is empty on a Unix socket."""
    return joined(address, port) if address else "unix socket"
