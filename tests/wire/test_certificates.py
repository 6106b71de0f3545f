"""Several certificates on one port, new ones while connections are open, clients that are revoked,
and requests that came over the wrong connection."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import h2wsgi
from conftest import Connect, Serve
from support.certificates import Authority
from support.clients import environment, find
from support.process import ServerProcess
from support.settled import eventually

HELLO = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]
"""


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("content-type", "text/plain")])
    return [environ.get("SSL_CLIENT_S_DN_CN", "hello").encode()]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority = Authority()
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    return authority


def names_shown(port: int, ca: Path, name: str) -> list[str]:
    """Return the names of the certificate that a client gets who asks for ``name``."""
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), 10) as sock,
        context.wrap_socket(sock, server_hostname=name) as tls,
    ):
        return [value for _, value in tls.getpeercert()["subjectAltName"]]


def port_of(server: Any) -> int:
    return int(server.url.rstrip("/").rpartition(":")[2])


def test_a_client_is_shown_the_certificate_of_the_name_it_asks_for(
    serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    pairs = [
        authority.write(tmp_path / "first", "localhost"),
        authority.write(tmp_path / "shop", "*.shop.test"),
    ]
    certs, keys = zip(*pairs, strict=True)
    server = serve(hello, cert=certs, key=keys)
    ca = tmp_path / "ca.crt"
    assert server.ca_file == str(ca)
    assert names_shown(port_of(server), ca, "www.shop.test") == ["*.shop.test"]
    assert names_shown(port_of(server), ca, "localhost") == ["localhost"]
    assert names_shown(port_of(server), ca, "other.test") == ["localhost"]


def hello_for(name: bytes) -> bytes:
    """Return a ClientHello that asks for a name which no client's library would send."""
    placeholder = b"z" * len(name)
    out = ssl.MemoryBIO()
    context = ssl.create_default_context()
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=placeholder.decode())
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read().replace(placeholder, name)


def test_names_that_are_none_end_their_handshakes_in_one_line_each(
    authority: Authority, tmp_path: Path
) -> None:
    options = []
    for name in ("localhost", "shop.test"):
        cert, key = authority.write(tmp_path / name, name)
        options += [f"--cert={cert}", f"--key={key}"]
    names = [b"\xff\n{evil}", b"shop\0.test", b"\n{evil}", b"."]
    with ServerProcess(tmp_path, HELLO, *options) as running:
        port = running.port()
        for name in names:
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                sock.sendall(hello_for(name))
                sock.recv(10)
        assert names_shown(port, tmp_path / "ca.crt", "localhost") == ["localhost"]
        eventually(
            lambda: sum(line["event"] == "handshake_failed" for line in running.lines()) >= 2,
            "the lines",
        )  # each of which is JSON


@pytest.mark.client
def test_curl_accepts_each_certificate_for_its_name(
    serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    pairs = [
        authority.write(tmp_path / "first", "localhost"),
        authority.write(tmp_path / "shop", "*.shop.test"),
    ]
    certs, keys = zip(*pairs, strict=True)
    port = port_of(serve(hello, cert=certs, key=keys))
    for name in ("www.shop.test", "localhost"):
        done = subprocess.run(
            [find("curl"), "-sS", "--http2", "--cacert", str(tmp_path / "ca.crt")]
            + ["--resolve", f"{name}:{port}:127.0.0.1", f"https://{name}:{port}/"],
            capture_output=True,
            env=environment(),
            timeout=60,
        )
        assert done.stdout == b"hello", done.stderr


def test_new_files_are_shown_within_five_seconds_and_connections_stay(
    serve: Serve, connect: Connect, authority: Authority, tmp_path: Path
) -> None:
    cert, key = authority.write(tmp_path / "site", "localhost", "old.test")
    server = serve(hello, cert=cert, key=key)
    peer = connect(server)
    assert peer.get().body == b"hello"
    authority.write(tmp_path / "site", "localhost", "new.test")
    ca, port = tmp_path / "ca.crt", port_of(server)
    eventually(lambda: "new.test" in names_shown(port, ca, "localhost"), "the new certificate", 20)
    assert peer.get().body == b"hello"
    assert connect(server).get().body == b"hello"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="the system has none")
def test_sighup_has_the_certificates_read_anew(authority: Authority, tmp_path: Path) -> None:
    pair = authority.write(tmp_path / "site", "localhost", "old.test")
    loop = os.environ.get("TEST_LOOP", "auto")
    arguments = ["--cert", pair[0], "--key", pair[1], "--loop", loop]
    with ServerProcess(tmp_path, HELLO, *arguments) as server:
        port, ca = server.port(), tmp_path / "ca.crt"
        assert "old.test" in names_shown(port, ca, "localhost")
        server.signal(signal.SIGHUP)

        def said(text: str) -> bool:
            return any(text in str(line) for line in server.lines())

        eventually(lambda: said("certificates read anew: "), "the line")
        assert said("; reading the certificates anew")
        Path(pair[1]).write_text("broken")
        server.signal(signal.SIGHUP)
        eventually(lambda: said("THE NEW CERTIFICATES ARE NOT USED"), "the line")
        assert "old.test" in names_shown(port, ca, "localhost")
        server.signal(signal.SIGTERM)
        assert server.exit_code(10) == 0


# ------------------------------------------------------------------------ revoked clients


def get(server: Any, certificate: tuple[str, str], ca: Path) -> str:
    context = ssl.create_default_context(cafile=str(ca))
    context.load_cert_chain(*certificate)
    with httpx.Client(http2=True, http1=False, verify=context) as client:
        return client.get(server.url).text


def test_a_client_that_is_revoked_does_not_get_in(
    serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    pairs = [
        authority.write(tmp_path / "first", "localhost"),
        authority.write(tmp_path / "shop", "shop.test"),
    ]
    certs, keys = zip(*pairs, strict=True)
    ca, crl = tmp_path / "ca.crt", tmp_path / "crl.pem"
    alice = authority.write(tmp_path / "alice", "alice")
    bob = authority.write(tmp_path / "bob", "bob")
    crl.write_bytes(authority.revocations(alice[0]))
    server = serve(hello, cert=certs, key=keys, client_ca=str(ca), client_crl=str(crl))
    assert get(server, bob, ca) == "bob"
    with pytest.raises(httpx.TransportError):
        get(server, alice, ca)
    crl.write_bytes(authority.revocations(bob[0]))
    server.server.reload_certificates()
    eventually(lambda: opens(server, alice, ca), "the new list", 20)
    with pytest.raises(httpx.TransportError):
        get(server, bob, ca)


def opens(server: Any, certificate: tuple[str, str], ca: Path) -> bool:
    try:
        return bool(get(server, certificate, ca))
    except httpx.TransportError:
        return False


def test_a_revoked_client_does_not_come_in_by_another_name_or_an_old_ticket(
    serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    pairs = [
        authority.write(tmp_path / "first", "localhost"),
        authority.write(tmp_path / "shop", "shop.test"),
    ]
    certs, keys = zip(*pairs, strict=True)
    ca, crl = tmp_path / "ca.crt", tmp_path / "crl.pem"
    bob = authority.write(tmp_path / "bob", "bob")
    crl.write_bytes(authority.revocations())
    server = serve(hello, cert=certs, key=keys, client_ca=str(ca), client_crl=str(crl))
    context = ssl.create_default_context(cafile=str(ca))
    context.load_cert_chain(*bob)
    context.set_alpn_protocols(["h2"])
    for name in ("localhost", "shop.test"):
        octets, ticket, _ = greet(server, context, name)
        assert octets
    assert greet(server, context, "shop.test", ticket)[2]
    before = server.server._certificates.identity
    crl.write_bytes(authority.revocations(bob[0]))
    server.server.reload_certificates()
    eventually(lambda: server.server._certificates.identity is not before, "the new list")
    for name, old in (("localhost", None), ("shop.test", None), ("shop.test", ticket)):
        assert greet(server, context, name, old)[0] == b""


def greet(
    server: Any, context: ssl.SSLContext, name: str, ticket: Any = None
) -> tuple[bytes, Any, bool]:
    """Send the preface; return what comes, the session's ticket, and whether it was resumed."""
    with socket.create_connection(("127.0.0.1", port_of(server)), 10) as sock:
        try:
            with context.wrap_socket(sock, server_hostname=name, session=ticket) as tls:
                tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
                return tls.recv(9), tls.session, bool(tls.session_reused)
        except OSError:  # an alert
            return b"", None, False


# --------------------------------------------------------------------------- misdirected


@pytest.fixture(scope="module")
def misdirected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("misdirected")
    authority = Authority()
    (folder / "ca.crt").write_bytes(authority.pem)
    cert, key = authority.write(folder / "site", "localhost", "*.shop.test", "127.0.0.1", "::1")
    options = {"engine": os.environ.get("TEST_ENGINE", "auto"), "misdirected": True}
    with h2wsgi.serve_in_thread(hello, cert=cert, key=key, **options) as server:
        with httpx.Client(http2=True, verify=server.ssl_context()) as client:
            client.get(server.url)  # so that its thread is none of a test's
        yield server


@pytest.mark.parametrize(
    ("authority_", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8443", 200),
        ("www.shop.test", 200),
        ("127.0.0.1", 200),
        ("[::1]:8443", 200),
        ("shop.test", 421),
        ("a.b.shop.test", 421),
        ("127.0.0.2", 421),
        ("xn--bcher-kva.test", 421),
    ],
)
def test_a_host_that_the_certificate_does_not_cover_is_misdirected(
    misdirected: Any, connect: Connect, authority_: str, status: int
) -> None:
    peer = connect(misdirected)
    for method in ("GET", "HEAD"):
        response = peer.get("/", method=method, authority=authority_)
        assert response.status == status
    assert peer.get("/", authority="localhost").status == 200


def test_a_host_field_counts_where_there_is_no_authority(misdirected: Any, connect: Connect):
    peer = connect(misdirected)
    assert peer.get(authority=None, fields=[("host", "localhost:1")]).status == 200
    assert peer.get(authority=None, fields=[("host", "other.test")]).status == 421
    assert peer.get(authority=None).status == 200


def test_the_rest_of_a_misdirected_upload_is_dropped_and_the_log_says_it_once(
    misdirected: Any, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    peer = connect(misdirected)
    with caplog.at_level("INFO", "h2wsgi"):
        for _ in range(3):
            stream = peer.request("POST", authority="other\x9b.test", end_stream=False)
            assert peer.response(stream).status in (400, 421)
            stream = peer.request("POST", authority="other.test", body=b"x" * 1000)
            assert peer.response(stream).body == b"Misdirected Request\n"
    said = [r.getMessage() for r in caplog.records if "is not a host of" in r.getMessage()]
    assert len(said) == 1
    assert "answered 421 on stream 3: other.test is not a host" in said[0]


def test_off_by_default_and_never_in_cleartext(serve: Serve, connect: Connect) -> None:
    assert connect(serve(hello)).get(authority="other.test").status == 200
    cleartext = serve(hello, h2c=True, bind="127.0.0.1:0", misdirected=True)
    assert connect(cleartext).get(authority="other.test", scheme="http").status == 200
