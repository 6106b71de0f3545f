"""What an application's environ says: rules 12 to 16, on live connections over TLS and without."""

from __future__ import annotations

import logging
import queue
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from conftest import Connect, Serve
from h2wsgi.server.running import ServerThread
from h2wsgi.tls.development import make_certificates
from support.peer import TIMEOUT, Peer


class Recorder:
    """An application that keeps every environ it gets, as it was when it was called."""

    def __init__(self) -> None:
        self._environs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def __call__(self, environ, start_response):
        kept = environ
        if type(environ) is dict:
            kept = dict(environ)
        environ["wsgi.input"].read()
        self._environs.put(kept)
        start_response("200 OK", [("content-type", "text/plain")])
        return [b"noted"]

    def next(self) -> dict[str, Any]:
        return self._environs.get(timeout=TIMEOUT)


Environ = Callable[..., dict[str, Any]]


@pytest.fixture
def environ_of(serve: Serve, connect: Connect) -> Environ:
    """Send one request to a server with ``options`` and return its environ."""

    def send(options: dict[str, Any] | None = None, **request: Any) -> dict[str, Any]:
        recorder = Recorder()
        response = connect(serve(recorder, **options or {})).get(**request)
        assert response.body == b"noted", (response.status, response.reset)
        return recorder.next()

    return send


def port_of(server: ServerThread) -> int:
    return int(server.url.rstrip("/").rpartition(":")[2])


# ----------------------------------------------------------- Rule 12: both ends


def test_environ_is_a_plain_dict(serve: Serve, connect: Connect):
    """12: no subclass, as PEP 3333 demands."""
    kinds = []

    def app(environ, start_response):
        kinds.append(type(environ))
        start_response("200 OK", [])
        return []

    connect(serve(app)).get()
    assert kinds == [dict]


def test_environ_is_fresh_for_every_request(serve: Serve, connect: Connect):
    """12: what an application does to it is gone with the next request of the connection."""
    seen = []

    def app(environ, start_response):
        seen.append(dict(environ))
        environ["mine"] = "all mine"
        environ["SERVER_NAME"] = "changed"
        del environ["wsgi.url_scheme"]
        start_response("200 OK", [])
        return []

    peer = connect(serve(app))
    for _ in range(2):
        assert peer.get().status == 200
    first, second = seen
    # What has no content has no state either: one object may stand for all of it.
    assert first.pop("wsgi.input").read() == second.pop("wsgi.input").read() == b""
    for own in ("h2wsgi.stream", "wsgi.early_hints", "wsgi.ext.http.send_trailers"):
        assert first.pop(own) is not second.pop(own)
    assert first == second


def test_cgi_variables_are_of_type_str(environ_of: Environ):
    """12: every one, SERVER_PORT and REMOTE_PORT too."""
    environ = environ_of(method="POST", body=b"x", fields=[("content-length", "1"), ("a", "b")])
    assert {
        key: type(v) for key, v in environ.items() if "." not in key and type(v) is not str
    } == {}


def test_server_protocol_is_http_2(environ_of: Environ):
    """12: as RFC 3875 section 4.1.16 has it; CherryPy reads the sixth and the eighth character."""
    protocol = environ_of()["SERVER_PROTOCOL"]
    assert protocol == "HTTP/2.0"
    assert (int(protocol[5]), int(protocol[7])) == (2, 0)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_the_method_is_passed_on(environ_of: Environ, method):
    """12: any token."""
    assert environ_of(method=method)["REQUEST_METHOD"] == method


@pytest.mark.parametrize("options", [{}, {"h2c": True}], ids=["tls", "h2c"])
def test_both_ends_of_the_connection_are_named(serve: Serve, connect: Connect, options):
    """12: SERVER_NAME as configured, SERVER_PORT and REMOTE_* from the sockets."""
    recorder = Recorder()
    server = serve(recorder, **options)
    peer = connect(server)
    peer.get()
    environ = recorder.next()
    assert environ["SERVER_NAME"] == "localhost"
    assert environ["SERVER_PORT"] == str(port_of(server))
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["REMOTE_PORT"] == str(peer.sock.getsockname()[1])


def test_behind_a_wildcard_address_the_server_is_named_by_the_one_reached(
    serve: Serve, connect: Connect, tmp_path: Path
):
    """12: from the socket, where the configuration names no host."""
    made = make_certificates(tmp_path)
    recorder = Recorder()
    server = serve(recorder, bind="0.0.0.0:0", cert=made.cert, key=made.key)
    connect(server).get()
    environ = recorder.next()
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("127.0.0.1", str(port_of(server)))


def test_ipv6_literals_work(serve: Serve):
    """12: on both ends and in :authority."""
    recorder = Recorder()
    server = serve(recorder, bind="[::1]:0")
    with Peer.connect(("::1", port_of(server)), ca_file=server.ca_file) as peer:
        authority = f"[::1]:{port_of(server)}"
        peer.get(authority=authority)
        environ = recorder.next()
        assert environ["REMOTE_PORT"] == str(peer.sock.getsockname()[1])
    assert environ["SERVER_NAME"] == environ["REMOTE_ADDR"] == "::1"
    assert environ["SERVER_PORT"] == str(port_of(server))
    assert environ["HTTP_HOST"] == authority


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "h2c"])
def test_a_unix_socket_has_no_addresses_but_all_the_keys(serve: Serve, tmp_path: Path, tls):
    """12: SERVER_NAME and SERVER_PORT are never empty, REMOTE_* have nothing to say."""
    recorder = Recorder()
    path = str(tmp_path / "socket")
    server = serve(recorder, bind=f"unix:{path}", h2c=not tls)
    with Peer.connect(path, tls=tls, ca_file=server.ca_file) as peer:
        peer.get()
        environ = recorder.next()
    assert environ["SERVER_NAME"] == "localhost"
    assert environ["SERVER_PORT"] == ("443" if tls else "80")
    assert environ["REMOTE_ADDR"] == environ["REMOTE_PORT"] == ""
    assert environ["wsgi.url_scheme"] == ("https" if tls else "http")


@pytest.mark.parametrize("authority", ["example.org", "example.org:444", "EXAMPLE.org"])
def test_http_host_comes_from_authority(environ_of: Environ, authority):
    """12: HTTP_HOST from :authority, and SERVER_NAME does not."""
    environ = environ_of(authority=authority)
    assert environ["HTTP_HOST"] == authority
    assert environ["SERVER_NAME"] == "localhost"


def test_http_host_comes_from_host_where_there_is_no_authority(environ_of: Environ):
    """12: RFC 9113 section 8.3.1."""
    assert environ_of(authority=None, fields=[("host", "a.test")])["HTTP_HOST"] == "a.test"


def test_authority_and_host_give_one_http_host(environ_of: Environ):
    """12: they are the same; joining them would make a host of neither."""
    assert environ_of(authority="a.test", fields=[("host", "a.test")])["HTTP_HOST"] == "a.test"


def test_http_host_is_absent_where_the_client_names_none(environ_of: Environ):
    """12: nothing is invented."""
    assert "HTTP_HOST" not in environ_of(authority=None)


# ------------------------------------------------------- Rule 13: path and query


@pytest.mark.parametrize(
    ("path", "path_info"),
    [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a%20b", "/a b"),
        ("/a+b", "/a+b"),
        ("/a%2Fb%2fc", "/a/b/c"),
        ("/100%25", "/100%"),
        ("/%2541", "/%41"),
        ("/caf%C3%A9", "/caf\xc3\xa9"),
        ("/%ff%00", "/\xff\x00"),
        ("/%zz%4", "/%zz%4"),
        ("/a%3Fb", "/a?b"),
        ("/a;b=c", "/a;b=c"),
        ("//a//b", "//a//b"),
        ("/a/../b/./c", "/a/../b/./c"),
        ("/a?b%20c", "/a"),
        (b"/caf\xc3\xa9", "/caf\xc3\xa9"),
        (b"/\xc3\xa9%20\xc3%A9?\xc3\xa9", "/\xc3\xa9 \xc3\xa9"),
        (b"/\xff\x80", "/\xff\x80"),
    ],
)
def test_path_info_is_decoded_once_to_octets_and_then_as_latin_1(
    environ_of: Environ, path, path_info
):
    """13: PATH_INFO percent-decoded once to octets, then latin-1."""
    assert environ_of(path=path)["PATH_INFO"] == path_info


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/", ""),
        ("/?", ""),
        ("/?a=b&c", "a=b&c"),
        ("/?a=%20+%C3%A9", "a=%20+%C3%A9"),
        ("/?a?b?c", "a?b?c"),
        ("/%3Fa", ""),
        (b"/?q=\xc3\xa9%20", "q=\xc3\xa9%20"),
    ],
)
def test_query_string_is_raw_and_always_set(environ_of: Environ, path, query):
    """13: QUERY_STRING raw and always set."""
    assert environ_of(path=path)["QUERY_STRING"] == query


@pytest.mark.parametrize("path", ["/", "/a%20b?c=%2F", "/%C3%A9?", "//x?y?z"])
def test_raw_uri_and_request_uri_are_as_sent(environ_of: Environ, path):
    """13: RAW_URI and REQUEST_URI raw."""
    environ = environ_of(path=path)
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == path


def test_a_path_of_octets_above_ascii_is_told_as_it_was_sent(environ_of: Environ):
    """13: RAW_URI and REQUEST_URI raw, each octet a latin-1 character."""
    environ = environ_of({"root_path": "/caf\xe9"}, path=b"/caf\xc3\xa9/\xff%20")
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == "/caf\xc3\xa9/\xff%20"
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/caf\xc3\xa9", "/\xff ")


def test_a_request_for_the_whole_server_has_no_path(environ_of: Environ):
    """13: OPTIONS * leaves PATH_INFO empty; REQUEST_URI tells."""
    environ = environ_of(method="OPTIONS", path="*")
    assert (environ["PATH_INFO"], environ["REQUEST_URI"]) == ("", "*")


def test_script_name_is_empty_unless_configured(environ_of: Environ):
    """13: SCRIPT_NAME empty."""
    assert environ_of(path="/a/b")["SCRIPT_NAME"] == ""


@pytest.mark.parametrize(
    ("path", "path_info"),
    [
        ("/api/users", "/users"),
        ("/api/", "/"),
        ("/api", ""),
        ("/%61pi/users", "/users"),
        ("/users", "/users"),
        ("/", "/"),
        ("/apiary", "/apiary"),
    ],
)
def test_script_name_is_a_prefix_that_path_info_lacks(environ_of: Environ, path, path_info):
    """13: or a prefix, whether the proxy strips it or not."""
    environ = environ_of({"root_path": "/api"}, path=path)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/api", path_info)
    assert environ["REQUEST_URI"] == path


@pytest.mark.parametrize(
    ("root_path", "script_name"),
    [("/", ""), ("/api/", "/api"), ("api", "/api"), ("/a/b", "/a/b"), ("/caf\xe9", "/caf\xc3\xa9")],
)
def test_script_name_has_the_form_that_cgi_demands(environ_of: Environ, root_path, script_name):
    """13: a slash first and none last, octets as latin-1, however it was configured."""
    environ = environ_of({"root_path": root_path}, path="/caf%C3%A9/x")
    assert environ["SCRIPT_NAME"] == script_name
    expected = "/x" if script_name == "/caf\xc3\xa9" else "/caf\xc3\xa9/x"
    assert environ["PATH_INFO"] == expected


# ------------------------------------------------------------- Rule 14: fields


def test_a_field_becomes_a_variable(environ_of: Environ):
    """14: in upper case, hyphens as underscores, the value as latin-1."""
    environ = environ_of(fields=[("x-some-name", "caf\xe9 \xff")])
    assert environ["HTTP_X_SOME_NAME"] == "caf\xe9 \xff"


def test_an_empty_field_is_kept(environ_of: Environ):
    """14: it was sent."""
    assert environ_of(fields=[("x-empty", "")])["HTTP_X_EMPTY"] == ""


def test_repeated_fields_join_with_a_comma(environ_of: Environ):
    """14: in the order sent."""
    fields = [("accept", "a"), ("x-other", "1"), ("accept", "b, c"), ("accept", "")]
    assert environ_of(fields=fields)["HTTP_ACCEPT"] == "a,b, c,"


def test_cookie_crumbs_join_with_a_semicolon(environ_of: Environ):
    """14: RFC 9113 section 8.2.3."""
    fields = [("cookie", "a=1"), ("cookie", "b=2; c=3"), ("cookie", "d=4")]
    assert environ_of(fields=fields)["HTTP_COOKIE"] == "a=1; b=2; c=3; d=4"


@pytest.mark.parametrize("name", ["x_real_ip", "x-real_ip", "_x", "x_"])
def test_a_field_with_an_underscore_is_dropped(environ_of: Environ, name):
    """14: it could pass for one with a hyphen."""
    environ = environ_of(fields=[(name, "forged"), ("x-real-ip", "real")])
    assert "forged" not in environ.values()
    assert environ["HTTP_X_REAL_IP"] == "real"


@pytest.mark.parametrize("name", ["content_length", "content_type", "proxy_", "transfer_encoding"])
def test_an_underscore_reaches_no_other_variable_either(environ_of: Environ, name):
    """14: nor those without HTTP_."""
    environ = environ_of(fields=[(name, "forged")])
    assert not any("forged" in str(value) for value in environ.values())


def test_proxy_never_becomes_http_proxy(environ_of: Environ):
    """14: httpoxy; other names that begin so are kept."""
    environ = environ_of(fields=[("proxy", "evil:80"), ("proxy-authorization", "x")])
    assert "HTTP_PROXY" not in environ
    assert "evil:80" not in environ.values()
    assert environ["HTTP_PROXY_AUTHORIZATION"] == "x"


def test_content_type_and_content_length_have_no_http_variables(environ_of: Environ):
    """14: no HTTP_CONTENT_TYPE, no HTTP_CONTENT_LENGTH."""
    fields = [("content-type", "text/plain"), ("content-length", "3")]
    environ = environ_of(method="POST", body=b"abc", fields=fields)
    assert "HTTP_CONTENT_TYPE" not in environ
    assert "HTTP_CONTENT_LENGTH" not in environ
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/plain", "3")


def test_pseudo_header_fields_become_no_variables(environ_of: Environ):
    """14: they are not fields."""
    environ = environ_of()
    assert [key for key in environ if key.startswith("HTTP_")] == ["HTTP_HOST"]


def test_trailers_never_reach_environ(serve: Serve, connect: Connect):
    """14: not when the request starts, nor once they have come."""
    environs = []

    def app(environ, start_response):
        environs.append(set(environ))
        content = environ["wsgi.input"].read()
        environs.append(set(environ))
        start_response("200 OK", [("content-type", "text/plain")])
        return [content]

    peer = connect(serve(app))
    stream_id = peer.request("POST", end_stream=False, fields=[("trailer", "x-late")])
    peer.data(stream_id, b"content")
    peer.headers(stream_id, [("x-late", "value"), ("x-admin", "yes")], end_stream=True)
    assert peer.response(stream_id).body == b"content"
    # The next request of the connection does not see them either.
    assert peer.get().status == 200
    assert len(environs) == 4
    assert not any({"HTTP_X_LATE", "HTTP_X_ADMIN"} & keys for keys in environs)


# --------------------------------------------- Rule 15: length and the facts of TLS


def test_content_length_is_absent_when_not_sent(environ_of: Environ):
    """15: absent, not empty; CONTENT_TYPE likewise."""
    environ = environ_of(method="POST", body=b"abc")
    assert "CONTENT_LENGTH" not in environ
    assert "CONTENT_TYPE" not in environ


@pytest.mark.parametrize(("sent", "body"), [("0", None), ("0", b""), ("5", b"12345")])
def test_content_length_is_what_was_sent(environ_of: Environ, sent, body):
    """15: 0 too."""
    environ = environ_of(method="POST", body=body, fields=[("content-length", sent)])
    assert environ["CONTENT_LENGTH"] == sent


@pytest.mark.parametrize("request_", [{}, {"method": "POST", "body": b"x"}])
def test_input_terminated_is_true(environ_of: Environ, request_):
    """15: reading to the end is safe without a length."""
    assert environ_of(**request_)["wsgi.input_terminated"] is True


def test_the_facts_of_tls_are_real(serve: Serve, connect: Connect):
    """15: HTTPS, SSL_PROTOCOL and SSL_CIPHER as the client's end has them."""
    recorder = Recorder()
    peer = connect(serve(recorder))
    peer.get()
    environ = recorder.next()
    name, _, bits = peer.sock.cipher()
    assert environ["HTTPS"] == "on"
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["SSL_PROTOCOL"] == peer.sock.version() == "TLSv1.3"
    assert environ["SSL_CIPHER"] == name
    assert environ["SSL_CIPHER_USEKEYSIZE"] == str(bits)
    assert environ["SSL_CLIENT_VERIFY"] == "NONE"


def tls_peer(server: ServerThread, context: ssl.SSLContext) -> Peer:
    """Connect with a context of the test's own."""
    context.load_verify_locations(server.ca_file)
    context.set_alpn_protocols(["h2"])
    sock = socket.create_connection(("127.0.0.1", port_of(server)), TIMEOUT)
    try:
        return Peer(context.wrap_socket(sock, server_hostname="localhost"))
    except BaseException:
        sock.close()
        raise


def test_tls_1_2_is_told_from_1_3(serve: Serve):
    """15: the version of this connection."""
    recorder = Recorder()
    context = ssl.create_default_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with tls_peer(serve(recorder), context) as peer:
        peer.get()
        environ = recorder.next()
        assert environ["SSL_PROTOCOL"] == "TLSv1.2"
        assert environ["SSL_CIPHER"] == peer.sock.cipher()[0]


def test_cleartext_has_no_facts_of_tls(environ_of: Environ):
    """15: absent, and the scheme is http whatever the client says."""
    environ = environ_of({"h2c": True}, scheme="https")
    assert not [key for key in environ if key.startswith(("SSL_", "HTTPS"))]
    assert environ["wsgi.url_scheme"] == "http"


def test_the_scheme_is_the_connections_not_the_clients_word(environ_of: Environ):
    """15: real facts."""
    environ = environ_of(scheme="http")
    assert (environ["wsgi.url_scheme"], environ["HTTPS"]) == ("https", "on")


@pytest.mark.parametrize("name", ["https", "ssl-client-verify", "ssl-client-s-dn"])
def test_a_client_cannot_forge_a_fact(environ_of: Environ, name):
    """15: a field of the same name stays under HTTP_."""
    environ = environ_of({"h2c": True}, fields=[(name, "forged")])
    assert [key for key, v in environ.items() if v == "forged"] == [
        "HTTP_" + name.upper().replace("-", "_")
    ]


class ClientCertificate:
    """A certificate for clients, with the CA that signed it, as PEM files in a folder."""

    def __init__(self, folder: Path, subject: list[tuple[x509.ObjectIdentifier, str]]) -> None:
        self.ca, self.cert, self.key = (folder / n for n in ("ca.pem", "cert.pem", "key.pem"))
        ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        issuer = [(NameOID.COUNTRY_NAME, "DE"), (NameOID.COMMON_NAME, "Test CA")]
        ca = _certificate(issuer, issuer, ca_key, ca_key, 1, authority=True)
        self.certificate = _certificate(subject, issuer, key, ca_key, 0xABCDEF)
        self.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        self.cert.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )


def _certificate(
    subject: Any, issuer: Any, key: Any, ca_key: Any, serial: int, *, authority: bool = False
) -> x509.Certificate:
    begins = datetime.now(UTC) - timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(*pair) for pair in subject]))
        .issuer_name(x509.Name([x509.NameAttribute(*pair) for pair in issuer]))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )


PERSON = [
    (NameOID.COUNTRY_NAME, "DE"),
    (NameOID.STATE_OR_PROVINCE_NAME, "Berlin"),
    (NameOID.LOCALITY_NAME, "Mitte"),
    (NameOID.ORGANIZATION_NAME, "Acme"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "One"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "Two"),
    (NameOID.COMMON_NAME, "Ann"),
    (NameOID.EMAIL_ADDRESS, "ann@example.org"),
]


@pytest.fixture
def described(serve: Serve, tmp_path: Path) -> Callable[..., tuple[dict[str, Any], Any]]:
    """Come with a certificate for ``subject``; return environ and the certificate."""

    def come(subject: list[tuple[x509.ObjectIdentifier, str]]) -> tuple[dict[str, Any], Any]:
        files = ClientCertificate(tmp_path, subject)
        recorder = Recorder()
        context = ssl.create_default_context()
        context.load_cert_chain(files.cert, files.key)
        with tls_peer(serve(recorder, client_ca=str(files.ca)), context) as peer:
            peer.get()
            return recorder.next(), files

    return come


def test_a_client_certificate_is_described_as_mod_ssl_names_it(described):
    """15: with client certificates, SSL_CLIENT_*."""
    environ, files = described(PERSON)
    assert environ["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert environ["SSL_CLIENT_M_VERSION"] == "3"
    assert environ["SSL_CLIENT_M_SERIAL"] == "ABCDEF"
    names = ("C", "ST", "L", "O", "OU", "CN", "Email")
    values = ["DE", "Berlin", "Mitte", "Acme", "One", "Ann", "ann@example.org"]
    assert [environ[f"SSL_CLIENT_S_DN_{name}"] for name in names] == values
    assert environ["SSL_CLIENT_I_DN_CN"] == "Test CA"
    assert environ["SSL_CLIENT_I_DN_C"] == "DE"
    assert environ["SSL_CLIENT_CERT"] == files.cert.read_text()


def test_the_life_of_a_client_certificate_is_told(described):
    """15: SSL_CLIENT_V_START and _END, in OpenSSL's form."""
    environ, files = described(PERSON)
    for key, when in (
        ("SSL_CLIENT_V_START", files.certificate.not_valid_before_utc),
        ("SSL_CLIENT_V_END", files.certificate.not_valid_after_utc),
    ):
        told = datetime.fromtimestamp(ssl.cert_time_to_seconds(environ[key]), UTC)
        assert told == when.replace(microsecond=0)


def test_the_name_of_a_client_is_written_as_rfc_2253_says(described):
    """15: SSL_CLIENT_S_DN and _I_DN, the most specific attribute first."""
    environ, _ = described(PERSON)
    assert environ["SSL_CLIENT_I_DN"] == "CN=Test CA,C=DE"
    assert environ["SSL_CLIENT_S_DN"] == (
        "emailAddress=ann@example.org,CN=Ann,OU=Two,OU=One,O=Acme,L=Mitte,ST=Berlin,C=DE"
    )


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Ann,O=Admins", r"CN=Ann\,O=Admins"),
        ("a+b", r"CN=a\+b"),
        ('"q"', r"CN=\"q\""),
        ("a\\b", r"CN=a\\b"),
        ("<a;b>", r"CN=\<a\;b\>"),
        ("#1", r"CN=\#1"),
        (" a ", r"CN=\ a\ "),
    ],
)
def test_a_client_cannot_forge_parts_of_its_name(described, name, written):
    """15: what would divide a name is escaped in SSL_CLIENT_S_DN, and kept in _CN."""
    environ, _ = described([(NameOID.COMMON_NAME, name)])
    assert environ["SSL_CLIENT_S_DN"] == written
    assert environ["SSL_CLIENT_S_DN_CN"] == name


def test_a_clients_name_is_octets_as_latin_1(described):
    """15: UTF-8 as mod_ssl has it, in strings as PEP 3333 wants them."""
    environ, _ = described([(NameOID.COMMON_NAME, "Zo\xeb \u2603")])
    octets = "Zo\xeb \u2603".encode().decode("latin-1")
    assert environ["SSL_CLIENT_S_DN_CN"] == octets
    assert environ["SSL_CLIENT_S_DN"] == f"CN={octets}"


def test_the_second_attribute_of_a_kind_is_numbered(described):
    """15: as mod_ssl does: the first without a number, the second with _1."""
    environ, _ = described(PERSON)
    assert environ["SSL_CLIENT_S_DN_OU"] == "One"
    assert environ["SSL_CLIENT_S_DN_OU_1"] == "Two"


@pytest.mark.parametrize(
    ("oid", "suffix"),
    [
        (NameOID.TITLE, "T"),
        (NameOID.GIVEN_NAME, "G"),
        (NameOID.SURNAME, "S"),
        (NameOID.USER_ID, "UID"),
    ],
)
def test_further_attributes_have_the_names_of_mod_ssl(described, oid, suffix):
    """15: SSL_CLIENT_S_DN_T, _G, _S, _UID."""
    environ, _ = described([(oid, "value"), (NameOID.COMMON_NAME, "Ann")])
    assert environ[f"SSL_CLIENT_S_DN_{suffix}"] == "value"


# ------------------------------------------------- Rule 16: processes and wsgi.errors


def test_the_variables_of_wsgi_are_there(environ_of: Environ):
    """16: and of the types that PEP 3333 gives them."""
    environ = environ_of()
    assert environ["wsgi.version"] == (1, 0)
    assert environ["wsgi.run_once"] is False


def test_multithread_is_true_where_requests_run_side_by_side(environ_of: Environ):
    """16: truthful."""
    assert environ_of()["wsgi.multithread"] is True


def test_multithread_is_true_if_a_thread_that_waits_lets_another_run(environ_of: Environ):
    """16: with one thread to compute and more to wait, the application runs twice at once."""
    assert environ_of({"threads": 1, "max_threads": 2})["wsgi.multithread"] is True


def test_multithread_is_false_if_there_is_one_thread(environ_of: Environ):
    """16: truthful: the application never runs twice at once."""
    assert environ_of({"threads": 1, "max_threads": 1})["wsgi.multithread"] is False


def test_multiprocess_is_false(environ_of: Environ):
    """16: truthful: there is one process."""
    assert environ_of()["wsgi.multiprocess"] is False


class Complaints:
    """An application that does something with wsgi.errors; what came of it."""

    def __init__(
        self,
        serve: Serve,
        connect: Connect,
        caplog: pytest.LogCaptureFixture,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self._serve, self._connect, self._caplog, self._capsys = serve, connect, caplog, capsys

    def of(self, *actions: Callable[[Any], object], **options: Any) -> list[str]:
        """Run each action in a request, one after the other; return the lines shown."""
        rest = list(actions)

        def app(environ, start_response):
            rest.pop(0)(environ["wsgi.errors"])
            start_response("200 OK", [])
            return []

        server = self._serve(app, **options)
        peer = self._connect(server)
        for _ in actions:
            assert peer.get().status == 200
        peer.close()
        server.stop()
        return self.lines()

    def lines(self) -> list[str]:
        """Return the lines of standard error; none of them may be a logging record."""
        assert [r for r in self._caplog.records if r.levelno > logging.INFO] == []
        return self._capsys.readouterr().err.splitlines()


@pytest.fixture
def complaints(
    serve: Serve,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> Complaints:
    return Complaints(serve, connect, caplog, capsys)


def test_lines_written_to_errors_are_shown(complaints: Complaints):
    """16: wsgi.errors is text, and no logging record is made of it."""
    assert complaints.of(lambda errors: errors.write("one\ntwo \u2603\n")) == ["one", "two \u2603"]


def test_errors_takes_text_and_nothing_else(complaints: Complaints):
    """16: text."""

    def write_bytes(errors: Any) -> None:
        with pytest.raises(TypeError):
            errors.write(b"octets\n")

    assert complaints.of(write_bytes) == []


def test_errors_has_the_methods_of_a_text_file(complaints: Complaints):
    """16: write, writelines and flush; print works."""

    def use(errors: Any) -> None:
        print("printed", 1, file=errors)
        errors.writelines(["two", " parts\n", "third\n"])

    assert complaints.of(use) == ["printed 1", "two parts", "third"]


def test_flush_logs_a_line_that_has_not_ended(complaints: Complaints):
    """16: flushable."""

    def use(errors: Any) -> None:
        errors.write("half")
        errors.flush()
        errors.flush()
        errors.write("other half\n")

    assert complaints.of(use) == ["half", "other half"]


def test_a_line_without_an_end_is_not_mixed_into_the_next_request(complaints: Complaints):
    """16: a request's unfinished line is logged when the request is over."""
    lines = complaints.of(
        lambda errors: errors.write("forgot the newline"),
        lambda errors: errors.write("next request\n"),
        threads=1,
        max_threads=1,
    )
    assert lines == ["forgot the newline", "next request"]


def test_threads_do_not_cut_each_others_lines(
    serve: Serve, connect: Connect, complaints: Complaints
):
    """16: thread-safe."""
    together = threading.Barrier(4)

    def app(environ, start_response):
        name = environ["QUERY_STRING"]
        together.wait(TIMEOUT)
        for number in range(200):
            for part in (name, " writes ", str(number), "\n"):
                environ["wsgi.errors"].write(part)
        start_response("200 OK", [])
        return []

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        peer = connect(serve(app))
        for stream_id in [peer.request(path=f"/?{name}") for name in "abcd"]:
            assert peer.response(stream_id).status == 200
    finally:
        sys.setswitchinterval(interval)
    expected = [f"{name} writes {number}" for name in "abcd" for number in range(200)]
    assert sorted(complaints.lines()) == sorted(expected)
