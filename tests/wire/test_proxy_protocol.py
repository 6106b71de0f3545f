"""The PROXY protocol on live connections: before TLS, before the preface, and from whom."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import h2wsgi
from conftest import Serve
from h2wsgi.log.logs import Log
from h2wsgi.log.text import AccessRecord
from h2wsgi.server.proxy_header import HeaderReader
from h2wsgi.server.running import ServerThread
from support import proxying
from support.peer import PREFACE, Peer
from support.proxying import LOCAL, extension, tls, version_2
from support.settled import eventually, settle

V1 = b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n"
CLIENT = "203.0.113.9"
TOLD = ("REMOTE_ADDR", "REMOTE_PORT", "wsgi.url_scheme", "HTTPS", "SERVER_NAME", "SERVER_PORT",
        "SSL_PROTOCOL", "SSL_CIPHER", "SSL_CLIENT_VERIFY", "h2wsgi.proxy")  # fmt: skip
FULL = version_2(
    proxying.addresses()
    + extension(0x01, b"h2")
    + extension(0x02, b"www.example.com")
    + extension(0x05, b"4711-1")
    + tls((0x21, b"TLSv1.3"), (0x23, b"TLS_AES_256_GCM_SHA384"))
)


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps({name: environ[name] for name in TOLD if name in environ}).encode()]


def start(serve: Serve, mode: str = "required", **options: Any) -> ServerThread:
    """Serve over TLS, and in cleartext on a second address."""
    options = {"forwarded_allow_ips": "127.0.0.1", "handshake_timeout": 5} | options
    addresses = {"bind": "127.0.0.1:0", "bind_h2c": "127.0.0.1:0"}
    return serve(app, proxy_protocol=mode, **addresses, **options)


@contextlib.contextmanager
def connected(server: ServerThread, *, secure: bool) -> Iterator[socket.socket]:
    url = server.urls[0 if secure else 1]
    with socket.create_connection(("127.0.0.1", int(url.rstrip("/").rpartition(":")[2]))) as sock:
        sock.settimeout(10)
        yield sock


@contextlib.contextmanager
def peer_behind(server: ServerThread, header: bytes, *, secure: bool) -> Iterator[Peer]:
    """Connect as a proxy does that passes on what its client speaks."""
    with connected(server, secure=secure) as sock:
        sock.sendall(header)
        with over_tls(server, sock) if secure else contextlib.nullcontext(sock) as spoken:
            yield Peer(spoken)


def over_tls(server: ServerThread, sock: socket.socket) -> ssl.SSLSocket:
    context = server.ssl_context()
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(sock, server_hostname="localhost")


def seen_behind(server: ServerThread, header: bytes, *, secure: bool) -> dict[str, Any]:
    with peer_behind(server, header, secure=secure) as peer:
        return json.loads(peer.get().body)


def is_over(sock: socket.socket) -> bool:
    """Return whether nothing but the end comes."""
    try:
        return sock.recv(1000) == b""
    except ConnectionResetError:
        return True


both = pytest.mark.parametrize("secure", [True, False], ids=["tls", "cleartext"])


# ------------------------------------------------------------------------- what is seen


@both
@pytest.mark.parametrize("header", [V1, version_2()], ids=["v1", "v2"])
def test_the_client_is_whom_the_header_names(serve: Serve, header: bytes, secure: bool) -> None:
    seen = seen_behind(start(serve), header, secure=secure)
    assert (seen["REMOTE_ADDR"], seen["REMOTE_PORT"]) == (CLIENT, "4711")
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("198.51.100.1", "443")
    assert seen["wsgi.url_scheme"] == ("https" if secure else "http")
    assert seen["h2wsgi.proxy"] == {}


def test_what_the_extensions_tell_is_in_environ(serve: Serve) -> None:
    seen = seen_behind(start(serve), FULL, secure=False)
    assert seen == {
        "REMOTE_ADDR": CLIENT,
        "REMOTE_PORT": "4711",
        "wsgi.url_scheme": "https",
        "HTTPS": "on",
        "SERVER_NAME": "www.example.com",
        "SERVER_PORT": "443",
        "SSL_PROTOCOL": "TLSv1.3",
        "SSL_CIPHER": "TLS_AES_256_GCM_SHA384",
        "SSL_CLIENT_VERIFY": "NONE",
        "h2wsgi.proxy": {"alpn": "h2", "authority": "www.example.com", "unique_id": "4711-1"},
    }


@both
@pytest.mark.parametrize(
    "header",
    [b"PROXY UNKNOWN\r\n", version_2(b"", command=LOCAL, family=0), version_2(b"", family=0)],
    ids=["v1 unknown", "v2 local", "v2 unspecified"],
)
def test_local_and_unknown_keep_the_sockets_address(
    serve: Serve, header: bytes, secure: bool
) -> None:
    seen = seen_behind(start(serve), header, secure=secure)
    assert seen["REMOTE_ADDR"] == seen["SERVER_NAME"] == "127.0.0.1"


@both
def test_optional_is_optional(serve: Serve, secure: bool) -> None:
    server = start(serve, "optional")
    assert seen_behind(server, V1, secure=secure)["REMOTE_ADDR"] == CLIENT
    assert seen_behind(server, b"", secure=secure)["REMOTE_ADDR"] == "127.0.0.1"


def test_a_client_behind_a_proxy_is_believed_itself_only_if_it_is_named(serve: Serve) -> None:
    """A balancer in front of a proxy: who speaks HTTP is the one that the header names."""
    forwarded = [("x-forwarded-for", "2001:db8::1")]
    for names, address in ((["127.0.0.1"], CLIENT), (["127.0.0.1", CLIENT], "2001:db8::1")):
        server = start(serve, forwarded_allow_ips=names)
        with peer_behind(server, V1, secure=False) as peer:
            assert json.loads(peer.get(fields=forwarded).body)["REMOTE_ADDR"] == address


def test_of_a_client_that_the_proxy_does_not_know_nothing_is_believed(serve: Serve) -> None:
    """The socket's address is the proxy's, which is believed; the requests are not."""
    server = start(serve)
    forged = [("x-forwarded-for", "6.6.6.6")]
    for header, address in (
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (version_2(b"", family=0), "127.0.0.1"),
        (version_2(b"", command=LOCAL, family=0), "6.6.6.6"),
    ):
        with peer_behind(server, header, secure=False) as peer:
            assert json.loads(peer.get(fields=forged).body)["REMOTE_ADDR"] == address


def test_a_proxy_on_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    path = str(tmp_path / "h2wsgi.sock")
    options = {"forwarded_allow_ips": "unix:", "proxy_protocol": "required"}
    serve(app, h2c=True, bind=f"unix:{path}", **options)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(V1)
        seen = json.loads(Peer(sock).get().body)
    assert (seen["REMOTE_ADDR"], seen["SERVER_PORT"]) == (CLIENT, "443")


def test_the_access_log_names_client_and_proxy(serve: Serve) -> None:
    records: list[AccessRecord] = []
    server = start(serve)
    server.server.log = Log(server.server.log.events, records.append)
    with peer_behind(server, V1, secure=False) as peer:
        ours = peer.sock.getsockname()
        assert peer.get().status == 200
        eventually(lambda: records, "a record")
    assert records[0].remote == f"{CLIENT}:4711"
    assert records[0].proxy == f"127.0.0.1:{ours[1]}"


# ------------------------------------------------------------------------- however it comes


@pytest.mark.parametrize("mode", ["required", "optional"])
@pytest.mark.parametrize("header", [V1, FULL], ids=["v1", "v2"])
def test_a_header_by_single_octets_and_the_preface_right_behind(
    serve: Serve, header: bytes, mode: str
) -> None:
    server = start(serve, mode)
    with connected(server, secure=False) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in (header + PREFACE)[:-1]:
            sock.sendall(bytes((octet,)))
        sock.sendall(PREFACE[-1:])
        assert json.loads(Peer(sock, preface=False).get().body)["REMOTE_ADDR"] == CLIENT


def test_a_preface_by_single_octets_where_a_header_may_come(serve: Serve) -> None:
    """What was taken off the socket to look for one is the connection's."""
    server = start(serve, "optional")
    for octets in (PREFACE[:1], PREFACE[:2], PREFACE[:3]):
        with connected(server, secure=False) as sock:
            for octet in octets:
                sock.sendall(bytes((octet,)))
                time.sleep(0.02)  # for the server to have read it alone
            sock.sendall(PREFACE[len(octets) :])
            assert Peer(sock, preface=False).get().status == 200


def test_header_and_handshake_in_one_segment(serve: Serve) -> None:
    """What the client's TLS says first must be there for whoever reads next, octet for octet."""
    server = start(serve)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = server.ssl_context()
    context.set_alpn_protocols(["h2"])
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()
    for cut in (0, 1, len(V1) - 1, len(V1), len(V1) + 1, len(V1) + 5):
        with connected(server, secure=True) as sock:
            both = V1 + hello
            sock.sendall(both[:cut])
            time.sleep(0.02 if cut else 0)
            sock.sendall(both[cut:])
            answer = sock.recv(5)
            assert answer[:1] == b"\x16", answer  # ServerHello, no alert


@both
def test_an_incomplete_header_costs_no_time_and_ends_with_the_handshakes(
    serve: Serve,
    secure: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads: list[object] = []
    read = HeaderReader.read
    monkeypatch.setattr(
        HeaderReader, "read", lambda self, sock: (reads.append(self), read(self, sock))[1]
    )
    server = start(serve, handshake_timeout=0.6)
    with connected(server, secure=secure) as sock:
        sock.sendall(FULL[:20])
        with caplog.at_level(logging.INFO, "h2wsgi"):
            assert is_over(sock)
    assert len(reads) == 1  # and not one for each turn that the loop can make
    assert "the PROXY header took too long" in caplog.text
    settle(server)


@both
def test_a_connection_that_waits_for_its_header_ends_with_the_server(
    serve: Serve, secure: bool
) -> None:
    server = start(serve)
    with connected(server, secure=secure) as sock:
        sock.sendall(V1[:10])
        eventually(lambda: server.server.open_connections == 1, "the connection")
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 4
        assert is_over(sock)


def test_connections_that_wait_for_a_header_count_and_leave_for_others(serve: Serve) -> None:
    server = start(serve, max_connections=2)
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(connected(server, secure=False)) for _ in range(2)]
        for sock in waiting:
            sock.sendall(V1[:10])
        eventually(lambda: server.server.open_connections == 2, "both connections")
        assert seen_behind(server, V1, secure=False)["REMOTE_ADDR"] == CLIENT
        assert is_over(waiting[0])


# ------------------------------------------------------------------------------ what is wrong


@both
@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"PROXY TCP4 " + b"1" * 10_000, "without an end in 107 octets"),
        (version_2(b"", length=65_535), "a PROXY header of 65,551 octets"),
        (b"PROXY TCP4 nobody nowhere 1 2\r\n", r"a PROXY line that is none: b'PROXY TCP4 nobody"),
        (version_2(family=0x12), "address family 0x12"),
        (b"GET / HTTP/1.1\r\n\r\n", r"b'GET / HTTP/1.1\r\n\r\n' without a PROXY header"),
        (PREFACE, "HTTP/2's preface without a PROXY header"),
        (b"\x16\x03\x01\x02\0", "a TLS handshake without a PROXY header"),
    ],
)
def test_what_is_no_header_ends_the_connection_with_a_line_that_says_what_came(
    serve: Serve, octets: bytes, said: str, secure: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(serve)
    with caplog.at_level(logging.INFO, "h2wsgi"), connected(server, secure=secure) as sock:
        sock.sendall(octets)
        assert is_over(sock)
        eventually(lambda: caplog.messages, "a line")
    (line,) = caplog.messages
    assert line.startswith("127.0.0.1: closed, as what came is ")
    assert said in line
    settle(server)


@both
def test_a_reset_in_the_header_is_no_news(
    serve: Serve, secure: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(serve)
    with caplog.at_level(logging.INFO, "h2wsgi"):
        for octets in (b"", V1[:10], V1):
            with connected(server, secure=secure) as sock:
                sock.sendall(octets)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with connected(server, secure=secure):
            pass  # as who looks whether somebody listens
        settle(server)
        assert seen_behind(server, V1, secure=secure)["REMOTE_ADDR"] == CLIENT
    assert not [r for r in caplog.records if r.name == "h2wsgi"]


@both
def test_from_others_no_header_is_taken(
    serve: Serve, secure: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it is optional they are served without; where it is required they are not."""
    server = start(serve, "optional", forwarded_allow_ips="192.0.2.1")
    assert seen_behind(server, b"", secure=secure)["REMOTE_ADDR"] == "127.0.0.1"
    with caplog.at_level(logging.INFO, "h2wsgi"):
        with connected(server, secure=secure) as sock:
            sock.sendall(V1 + PREFACE)
            assert is_over(sock)
        server = start(serve, forwarded_allow_ips="192.0.2.1")
        with connected(server, secure=secure) as sock:
            assert is_over(sock)
        eventually(lambda: len(caplog.messages) == 2, "both lines")
    taken, required = caplog.messages
    assert "What came is a PROXY header, which is taken with --proxy-protocol alone" in taken
    assert "a PROXY header is required (--proxy-protocol)" in required


@both
@pytest.mark.parametrize("header", [V1, version_2()], ids=["v1", "v2"])
def test_a_header_that_nobody_expects_is_called_by_its_name(
    serve: Serve, secure: bool, header: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(serve, "off")
    with caplog.at_level(logging.INFO, "h2wsgi"), connected(server, secure=secure) as sock:
        sock.sendall(header + PREFACE)
        assert is_over(sock)
        eventually(lambda: caplog.messages, "a line")
    (line,) = caplog.messages
    assert "What came is a PROXY header" in line


def test_in_optional_mode_plain_http_on_the_port_of_tls_is_told_what_to_do(serve: Serve) -> None:
    server = start(serve, "optional")
    for octets in (b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n"):
        with connected(server, secure=True) as sock:
            sock.sendall(octets[:1])
            time.sleep(0.02)
            sock.sendall(octets[1:])
            assert sock.recv(100).startswith(b"HTTP/1.1 505 ")


def test_a_header_from_nobody_is_refused_at_the_start() -> None:
    with pytest.raises(h2wsgi.ConfigurationError, match="none is named"):
        h2wsgi.serve_in_thread(app, proxy_protocol="required")
