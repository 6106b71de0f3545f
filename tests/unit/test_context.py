"""The TLS context that clients meet, and the sentence for every certificate that will not do."""

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from h2wsgi.config.config import Config
from h2wsgi.errors import CertificateError, ConfigurationError
from h2wsgi.tls.context import TLSIdentity, describe, is_local, resolve, server_context
from h2wsgi.tls.development import MadeCertificate, make_certificates
from support.certificates import Authority, pem_of, self_signed


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> MadeCertificate:
    return make_certificates(tmp_path_factory.mktemp("other"))


def client_context(ca: str, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(list(protocols))
    return context


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = "localhost"
) -> ssl.SSLObject:
    """Shake hands in memory; return the client's side. Either side's failure is raised."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = client.wrap_bio(to_client, to_server, server_hostname=name)
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client_side, server_side]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
    return client_side


def error_of(cert: Any, key: Any = None, password: str | None = None, **options: Any) -> str:
    with pytest.raises(CertificateError) as caught:
        server_context(str(cert), key and str(key), password, **options)
    assert caught.value.hint
    return str(caught.value) + " " + caught.value.hint


def test_a_client_gets_tls_1_3_and_h2(made):
    server = server_context(made.cert, made.key, None)
    side = handshake(server, client_context(made.ca, "http/1.1", "h2"))
    assert (side.version(), side.selected_alpn_protocol(), side.compression()) == (
        "TLSv1.3",
        "h2",
        None,
    )


def test_a_client_without_h2_is_given_no_protocol(made):
    server = server_context(made.cert, made.key, None)
    assert handshake(server, client_context(made.ca, "http/1.1")).selected_alpn_protocol() is None


@pytest.mark.parametrize("cipher", ["ECDHE+AESGCM", "ECDHE+CHACHA20"])
def test_tls_1_2_is_spoken_with_ephemeral_keys_and_authenticated_encryption(made, cipher):
    client = client_context(made.ca, "h2")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(cipher)
    side = handshake(server_context(made.cert, made.key, None), client)
    assert side.version() == "TLSv1.2"
    assert side.cipher()[0].startswith("ECDHE-ECDSA-")


def test_a_cipher_that_http2_forbids_is_not_spoken(made):
    client = client_context(made.ca, "h2")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    with pytest.raises(ssl.SSLError):
        handshake(server_context(made.cert, made.key, None), client)


def test_tls_min_1_3_refuses_tls_1_2(made):
    client = client_context(made.ca, "h2")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(server_context(made.cert, made.key, None, tls_min="1.3"), client)


def test_a_list_of_ciphers_is_cut_down_to_what_http2_allows(made):
    context = server_context(made.cert, made.key, None, ciphers="HIGH")
    names = [c["name"] for c in context.get_ciphers() if c["protocol"] == "TLSv1.2"]
    assert names
    assert all(c.startswith("ECDHE-") and ("GCM" in c or "CHACHA" in c) for c in names)


def test_ciphers_that_leave_nothing_are_refused(made):
    assert "nothing that OpenSSL knows" in error_of(made.cert, made.key, ciphers="NO-SUCH")
    assert "nothing that HTTP/2 allows" in error_of(made.cert, made.key, ciphers="AES128-SHA")
    # TLS 1.3 has its own.
    server_context(made.cert, made.key, None, ciphers="AES128-SHA", tls_min="1.3")


def test_a_combined_file_works_alone(made, tmp_path):
    combined = tmp_path / "both.pem"
    combined.write_text(Path(made.cert).read_text() + Path(made.key).read_text())
    handshake(server_context(str(combined), None, None), client_context(made.ca, "h2"))


@pytest.mark.parametrize("password", ["secret", "pässword"])
def test_an_encrypted_key_needs_its_password_and_never_asks(tmp_path, password):
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "c.crt").write_bytes(self_signed(key))
    (tmp_path / "c.key").write_bytes(pem_of(key, password.encode()))
    cert, keyfile = tmp_path / "c.crt", tmp_path / "c.key"
    server_context(str(cert), str(keyfile), password)
    assert "is encrypted. Give its password as H2WSGI_KEY_PASSWORD" in error_of(cert, keyfile)
    assert "password of the private key" in error_of(cert, keyfile, "wrong")
    assert "password of the private key" in error_of(cert, keyfile, "long" * 1000)


def test_a_file_that_is_not_there_is_named(made, tmp_path):
    missing = tmp_path / "none.crt"
    assert f"The certificate {missing} (--cert) does not exist." in error_of(missing)
    assert f"The private key {missing} (--key) does not exist." in error_of(made.cert, missing)
    assert "is a folder" in error_of(tmp_path)
    assert "cannot be read" in error_of("a\0b")


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_file_that_may_not_be_read_is_named(made, monkeypatch, is_folder):
    def refuse(*_args: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)  # root may read everything.
    path = os.path.dirname(made.cert) if is_folder else made.cert
    assert ("is a folder" if is_folder else "may not be read") in error_of(path)


def test_files_without_the_right_pem_block_are_refused(made, rsa_files, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("hello")
    der = tmp_path / "cert.der"
    der.write_bytes(ssl.PEM_cert_to_DER_cert(Path(made.cert).read_text()))
    assert "holds no PEM certificate. It must hold a block" in error_of(text)
    assert "holds no PEM private key. It must hold a block" in error_of(made.cert, text)
    assert "openssl x509 -inform der" in error_of(der)
    assert "swapped?" in error_of(made.key, made.cert)
    assert "swapped?" in error_of(made.cert, made.ca)
    assert "has no private key. Give the key with --key" in error_of(made.cert)


def test_a_key_of_another_certificate_is_refused(made, other, rsa_files):
    assert "does not belong to the certificate" in error_of(made.cert, other.key)
    assert "does not belong to the certificate" in error_of(made.cert, rsa_files / "self.key")


def test_a_key_too_short_for_openssl_is_refused_in_words(rsa_files):
    assert "its key is too short" in error_of(rsa_files / "weak.crt", rsa_files / "weak.key")


def test_a_damaged_file_is_refused(made, tmp_path):
    broken = tmp_path / "broken.crt"
    lines = Path(made.cert).read_text().splitlines()
    broken.write_text("\n".join([lines[0], lines[1][::-1], *lines[2:]]))
    assert "Check that both files are whole PEM files." in error_of(broken, made.key)
    assert describe(str(broken)) is None


@pytest.mark.parametrize(
    "address",
    ["localhost:1", "app.localhost:1", "127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "unix:/run/x"],
)
def test_addresses_of_this_machine_are_known(address):
    assert is_local(address)


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "example.com:1", "fd://3", ":1", "x"])
def test_other_addresses_are_not_taken_for_local(address):
    assert not is_local(address)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    name = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    monkeypatch.setenv(name, str(tmp_path))
    return tmp_path / "h2wsgi"


def test_without_a_certificate_this_machine_gets_one_for_development(cache):
    identity = resolve(Config())
    assert (identity.development, identity.made, identity.warnings()) == (True, True, [])
    assert identity.ca_path == str(cache / "ca.crt")
    assert resolve(Config()).made is False
    handshake(identity.context, client_context(identity.ca_path, "h2"))


def test_without_a_certificate_no_other_address_is_served(cache):
    with pytest.raises(CertificateError, match=r"0\.0\.0\.0:1 \(--bind\)") as caught:
        resolve(Config(bind=("localhost:1", "0.0.0.0:1")))
    assert "--cert and --key" in caught.value.hint
    assert "--h2c" in caught.value.hint
    assert not cache.exists()


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("8443x", "is not HOST:PORT"),
        ("", "is not HOST:PORT"),
        ("http://localhost:80", "is not HOST:PORT"),
        ("fd://x", "names no file descriptor"),
        ("nohost.invalid:8443", "cannot be resolved"),
    ],
)
def test_what_is_no_address_is_not_said_to_be_reachable(cache, address, sentence):
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        resolve(Config(bind=("localhost:1", address)))
    assert caught.value.hint


def test_an_address_cannot_speak_both_tls_and_cleartext(cache):
    with pytest.raises(ConfigurationError, match="is given twice"):
        resolve(Config(bind=("localhost:1",), bind_h2c=("localhost:1",)))


def test_a_key_without_a_certificate_is_refused(made):
    with pytest.raises(CertificateError, match="has no certificate"):
        resolve(Config(key=made.key))


def test_cleartext_alone_needs_no_certificate(cache):
    assert resolve(Config(h2c=True, bind=("0.0.0.0:1",))) is None
    assert resolve(Config(bind_h2c=("0.0.0.0:1",))) is None


def test_a_certificate_knows_which_file_makes_clients_trust_it(made, rsa_files, tmp_path):
    def ca_of(cert: Path | str, key: Path | str) -> str | None:
        return resolve(Config(cert=str(cert), key=str(key))).ca_path

    assert ca_of(made.cert, made.key) == made.ca
    assert ca_of(rsa_files / "self.crt", rsa_files / "self.key") == str(rsa_files / "self.crt")
    (tmp_path / "alone.crt").write_bytes(Path(made.cert).read_bytes())
    assert ca_of(tmp_path / "alone.crt", made.key) is None
    (tmp_path / "ca.crt").write_text("something else")
    assert ca_of(tmp_path / "alone.crt", made.key) is None


def test_a_certificate_of_a_shape_we_cannot_read_is_served_all_the_same(made, monkeypatch):
    monkeypatch.setattr("h2wsgi.tls.context.describe", lambda path: None)
    identity = resolve(Config(cert=made.cert, key=made.key))
    assert (identity.facts, identity.ca_path, identity.warnings()) == (None, None, [])


def test_an_expired_certificate_is_a_warning(tmp_path):
    expired = make_certificates(tmp_path, kind="expired")
    identity = resolve(Config(cert=expired.cert, key=expired.key))
    (warning,) = identity.warnings()
    assert warning.startswith(f"The certificate {expired.cert} expired on 20")


def shown(identity: TLSIdentity, ca: str, name: str | None) -> str:
    """Return the first name of the certificate that a client is shown who asks for ``name``."""
    client = ssl.create_default_context(cafile=ca)
    client.check_hostname = False
    side = handshake(identity.context, client, name)
    return side.getpeercert()["subjectAltName"][0][1]


def test_the_certificate_is_chosen_by_the_name_that_the_client_asks_for(tmp_path):
    authority = Authority()
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    names = [["first.test"], ["*.shop.test", "shop.test"], ["Pay.shop.test"], ["first.test", "x"]]
    pairs = [authority.write(tmp_path / str(n), *some) for n, some in enumerate(names)]
    certs, keys = zip(*pairs, strict=True)
    identity = resolve(Config(cert=certs, key=keys))
    ca = str(tmp_path / "ca.crt")
    assert identity.ca_path == ca
    for asked, expected in (
        ("first.test", "first.test"),
        ("www.shop.test", "*.shop.test"),
        ("SHOP.test", "*.shop.test"),
        ("pay.shop.test", "Pay.shop.test"),
        ("pay.shop.test.", "Pay.shop.test"),
        ("a.b.shop.test", "first.test"),
        ("elsewhere.test", "first.test"),
        ("x", "first.test"),
        (None, "first.test"),
    ):
        assert shown(identity, ca, asked) == expected, asked


def test_certificates_and_keys_come_in_pairs(made, tmp_path):
    for certs, keys in ((2, 1), (1, 2)):
        with pytest.raises(CertificateError, match=r"There (is|are) .* \(--cert\), but .* \(--key"):
            resolve(Config(cert=(made.cert,) * certs, key=(made.key,) * keys))
    combined = tmp_path / "both.pem"
    combined.write_text(Path(made.cert).read_text() + Path(made.key).read_text())
    assert len(resolve(Config(cert=(str(combined),) * 2)).certificates) == 2


@pytest.mark.parametrize(
    ("days", "when"), [(9.5, "in 9 days"), (1.5, "in 1 day"), (0.5, "today or tomorrow")]
)
def test_a_certificate_that_ends_soon_is_a_warning(tmp_path, days, when):
    cert, key = Authority().write(tmp_path / "soon", "localhost", days=days)
    (warning,) = resolve(Config(cert=cert, key=key)).warnings()
    assert warning.startswith(f"The certificate {cert} expires on 20")
    assert warning.endswith(f", {when}: renew it.")


def test_a_revocation_list_that_is_over_is_a_warning(made, tmp_path):
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    lists = tmp_path / "crl.pem"
    given = {"client_ca": str(tmp_path / "ca.pem"), "client_crl": str(lists)}
    config = Config(cert=made.cert, key=made.key, **given)
    lists.write_bytes(authority.revocations())
    assert resolve(config).warnings() == []
    lists.write_bytes(authority.revocations() + Authority("other").revocations(days=-1))
    (warning,) = resolve(config).warnings()
    assert f"{lists} (--client-crl) ended on 20" in warning
    for text in ("nothing", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"):
        lists.write_text(text)
        with pytest.raises(CertificateError, match=r"crl\.pem \(--client-crl\) holds no PEM revo"):
            resolve(config)


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


def test_secrets_are_written_where_the_variable_says_and_that_is_said(
    serve: Any,
    connect: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))
    server = serve(hello)
    monkeypatch.delenv("SSLKEYLOGFILE")  # before a client of Python writes there too
    assert connect(server).get("/").status == 200
    labels = {line.split()[0] for line in path.read_text("ascii").splitlines() if line[:1] != "#"}
    assert "CLIENT_TRAFFIC_SECRET_0" in labels
    assert path.stat().st_mode & 0o077 == 0
    assert f"TLS secrets are written to {path} (SSLKEYLOGFILE)" in caplog.text


def test_without_the_variable_no_secret_is_written(
    made: MadeCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("SSLKEYLOGFILE", raising=False)
        else:
            monkeypatch.setenv("SSLKEYLOGFILE", value)
        identity = resolve(Config(cert=str(made.cert), key=str(made.key)))
        assert identity is not None
        assert identity.context.keylog_filename is None


def test_a_file_for_secrets_that_cannot_be_written_is_an_error(
    made: MadeCertificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "no" / "where"))
    with pytest.raises(ConfigurationError, match=r"SSLKEYLOGFILE, .* cannot be written: No such"):
        resolve(Config(cert=str(made.cert), key=str(made.key)))
