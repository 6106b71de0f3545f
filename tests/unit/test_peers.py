"""What a transport tells of its two ends."""

from __future__ import annotations

import socket

import pytest

from h2wsgi.server import listeners as sockets
from h2wsgi.server.peers import connection_facts, tls_variables


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
        facts = connection_facts(Ends(sockname=local, peername=remote), listener, number=7)
    assert (facts.server_name, facts.server_port, facts.peer) == expected
    assert (facts.scheme, facts.tls, facts.number) == ("http", {}, 7)


class Certified:
    """A TLS connection whose client has a certificate."""

    def __init__(self, *names: tuple[str, str]) -> None:
        self.subject = tuple((name,) for name in names)

    def version(self) -> str:
        return "TLSv1.3"

    def cipher(self) -> None:
        return None

    def getpeercert(self, binary_form: bool = False) -> object:
        return b"der" if binary_form else {"subject": self.subject}


def test_a_name_in_a_certificate_makes_no_line_of_its_own() -> None:
    tls = Certified(("commonName", "one\n12:00 forged,\x7f"), ("organizationName", "#two"))
    variables = tls_variables(tls)  # type: ignore[arg-type]
    assert variables["SSL_CLIENT_S_DN"] == "O=\\#two,CN=one\\0A12:00 forged\\,\\7F"
