"""What a transport tells of its two ends."""

from __future__ import annotations

import socket

import pytest

from h2wsgi.server import listeners as sockets
from h2wsgi.server.peers import connection_facts


class Ends:
    """A transport that knows its two ends."""

    def __init__(self, **info: object) -> None:
        self.info = info

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.info.get(name, default)


@pytest.mark.parametrize(
    ("name", "local", "remote", "expected"),
    [
        ("localhost", ("127.0.0.1", 8443), ("127.0.0.1", 5), ("localhost", "8443", "127.0.0.1:5")),
        ("0.0.0.0", ("10.0.0.7", 80), ("10.0.0.9", 5), ("10.0.0.7", "80", "10.0.0.9:5")),
        ("::", ("fe80::1", 80, 0, 0), ("fe80::2", 5, 0, 0), ("fe80::1", "80", "[fe80::2]:5")),
        ("localhost", "/run/a.sock", "", ("localhost", "80", "unix socket")),
        ("localhost", "/run/a.sock", None, ("localhost", "80", "unix socket")),
    ],
)
def test_the_facts_of_a_connection(
    name: str, local: object, remote: object, expected: tuple[str, str, str]
) -> None:
    with socket.socket() as sock:
        listener = sockets.Listener(sock, False, name)
        facts = connection_facts(Ends(sockname=local, peername=remote), listener)
    assert (facts.server_name, facts.server_port, facts.peer) == expected
    assert (facts.scheme, facts.tls) == ("http", {})
