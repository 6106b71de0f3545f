"""Certificates we make: strict clients accept them, and nothing else can be signed with them."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

import h2wsgi
from h2wsgi.errors import CertificateError
from h2wsgi.tls import development as devcert
from h2wsgi.tls import issuing
from h2wsgi.tls.development import (
    cache_folder,
    ensure_development_certificate,
    make_certificates,
    write_file,
)
from h2wsgi.tls.issuing import Pair, leaf

VARIABLE = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "h2wsgi"


def connect(cert: str, key: str, ca: str, name: str) -> None:
    """Shake hands over a socket with a client that is as strict as Python 3.13's."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    client = ssl.create_default_context(cafile=ca)
    client.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def serve() -> None:
            try:
                server.wrap_socket(ours, server_side=True).close()
            except OSError:
                ours.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            client.wrap_socket(theirs, server_hostname=name).close()
        finally:
            theirs.close()
            thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_a_strict_client_accepts_the_development_certificate(cache, name):
    dev = ensure_development_certificate()
    connect(dev.cert, dev.key, dev.ca, name)


def test_it_is_made_once_and_kept(cache):
    first = ensure_development_certificate()
    content = Path(first.cert).read_bytes()
    second = ensure_development_certificate()
    assert (first.made, second.made) == (True, False)
    assert Path(second.cert).read_bytes() == content


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX's")
def test_keys_are_created_for_their_user_alone(cache, monkeypatch):
    monkeypatch.setattr(os, "chmod", None)  # Not even for a moment with another mode.
    cache.mkdir(parents=True, mode=0o700)
    ensure_development_certificate()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in cache.iterdir()}
    assert modes["ca.key"] == modes["localhost.pem"] == 0o600
    assert all(mode == 0o644 for name, mode in modes.items() if name == "ca.crt")


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX's")
def test_the_folder_is_closed_to_others(cache):
    cache.mkdir(parents=True, mode=0o755)
    ensure_development_certificate()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_the_authority_cannot_vouch_for_other_host_names(cache):
    dev = ensure_development_certificate()
    ca = Pair.from_pem(Path(dev.ca).read_bytes(), (cache / "ca.key").read_bytes())
    now = datetime.now(UTC)
    for name in ("example.com", "www.example.com", "localhost.example.com"):
        forged = leaf(ca, (name,), now - timedelta(days=1), now + timedelta(days=1))
        path = cache / "forged.pem"
        path.write_bytes(forged.certificate_pem() + forged.key_pem())
        with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
            connect(str(path), str(path), dev.ca, name)


def test_a_leaf_is_renewed_before_it_expires_by_the_same_authority(cache, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(devcert, "LEAF_LIFE", devcert.RENEW_BEFORE - timedelta(days=1))
        old = ensure_development_certificate()
        ca, content = Path(old.ca).read_bytes(), Path(old.cert).read_bytes()
    new = ensure_development_certificate()
    assert new.made
    assert Path(new.cert).read_bytes() != content
    assert Path(new.ca).read_bytes() == ca
    connect(new.cert, new.key, new.ca, "localhost")


def test_an_authority_with_constraints_on_addresses_is_replaced_and_that_is_said(
    cache, monkeypatch, caplog
):
    networks = [x509.IPAddress(ipaddress.ip_network(n)) for n in ("127.0.0.0/8", "::1/128")]
    with monkeypatch.context() as patch:
        patch.setattr(issuing, "_permitted", lambda names: [x509.DNSName("localhost"), *networks])
        patch.setattr(Pair, "constrains_addresses", lambda pair: False)
        old = ensure_development_certificate()
        assert (old.made, old.replaced) == (True, "")
        ca = Path(old.ca).read_bytes()
    with h2wsgi.serve_in_thread(lambda environ, start_response: []) as server:
        connect(str(cache / "localhost.pem"), str(cache / "localhost.pem"), server.ca_file, "::1")
    assert Path(old.ca).read_bytes() != ca
    (said,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert said.startswith(f"The development CA {old.ca} is new, as clients with BoringSSL")
    assert ensure_development_certificate().replaced == ""


def test_an_authority_that_cannot_be_used_is_replaced_and_that_is_said(cache):
    first = ensure_development_certificate()
    assert first.replaced == ""
    (cache / "ca.key").unlink()
    again = ensure_development_certificate()
    assert (again.made, again.replaced) == (True, "the one before could not be used any more")


def test_a_leaf_for_other_names_is_replaced(cache, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(devcert, "NAMES", ("localhost",))
        ensure_development_certificate()
    new = ensure_development_certificate()
    assert new.made
    connect(new.cert, new.key, new.ca, "127.0.0.1")


def test_an_authority_that_would_end_too_soon_is_replaced(cache, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(devcert, "CA_LIFE", devcert.LEAF_LIFE - timedelta(days=1))
        old = Path(ensure_development_certificate().ca).read_bytes()
    new = ensure_development_certificate()
    assert Path(new.ca).read_bytes() != old
    connect(new.cert, new.key, new.ca, "localhost")


@pytest.mark.parametrize("name", ["ca.crt", "ca.key", "localhost.pem"])
@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n", b"\xff", None])
def test_a_damaged_or_missing_file_is_replaced(cache, name, content):
    ensure_development_certificate()
    if content is None:
        (cache / name).unlink()
    else:
        (cache / name).write_bytes(content)
    again = ensure_development_certificate()
    assert again.made
    connect(again.cert, again.key, again.ca, "localhost")


def test_a_key_of_another_kind_or_pair_is_replaced(cache, tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    ensure_development_certificate()
    other = make_certificates(tmp_path / "other")
    strange = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for key in (Path(other.key).read_bytes(), strange):
        (cache / "ca.key").write_bytes(key)
        assert ensure_development_certificate().made
    (cache / "localhost.pem").write_bytes(
        Path(other.cert).read_bytes() + Path(other.key).read_bytes()
    )
    assert ensure_development_certificate().made


def test_processes_that_start_at_once_agree(cache):
    code = (
        "from h2wsgi.tls.development import *; import sys; sys.stdin.read(); "
        "d = ensure_development_certificate(); print(d.made, hash(open(d.cert).read()))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        process.stdin.close()
    answers = []
    for process in processes:
        with process.stdout:
            answers.append(process.stdout.read().split())
        assert process.wait() == 0
    assert sorted(made for made, _ in answers) == ["False", "False", "False", "True"]
    assert len({content for _, content in answers}) == 1
    assert sorted(path.name for path in cache.iterdir()) == [
        "ca.crt",
        "ca.key",
        "localhost.pem",
        "lock",
    ]


def test_a_folder_that_cannot_be_written_is_an_error_with_two_ways_on(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    with pytest.raises(CertificateError, match="cannot be kept in") as caught:
        ensure_development_certificate()
    assert "--cert and --key" in caught.value.hint


def test_the_cache_folder_is_the_platforms(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    for platform, expected in (
        ("linux", "/home/me/.cache/h2wsgi"),
        ("darwin", "/home/me/Library/Caches/h2wsgi"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setenv("XDG_CACHE_HOME", "relative, so ignored")
        assert cache_folder() == Path(expected)
        monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
        assert cache_folder() == Path("/cache/h2wsgi")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert cache_folder() == Path("/local/h2wsgi")


def test_a_user_without_a_home_is_told(monkeypatch):
    def nowhere() -> Path:
        raise RuntimeError

    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(CertificateError, match="no home folder"):
        cache_folder()


def test_a_file_system_without_locks_is_good_enough(cache, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_args: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert ensure_development_certificate().made


def test_without_cryptography_the_extra_to_install_is_named(cache, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.x509", None)
    for make in (ensure_development_certificate, lambda: make_certificates(tmp_path / "made")):
        with pytest.raises(CertificateError, match="cryptography is not installed") as caught:
            make()
        assert 'pip install "h2wsgi[standard]"' in caught.value.hint


def test_made_files_serve_the_names_asked_for(tmp_path):
    made = make_certificates(
        tmp_path / "new", ("web.test", "*.shop.test", "192.0.2.7", "münchen.test")
    )
    assert made.names == ("web.test", "*.shop.test", "192.0.2.7", "xn--mnchen-3ya.test")
    for name in ("web.test", "eu.shop.test", "192.0.2.7", "xn--mnchen-3ya.test"):
        connect(made.cert, made.key, made.ca, name)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        connect(made.cert, made.key, made.ca, "localhost")


def test_without_names_a_made_certificate_is_for_localhost(tmp_path):
    made = make_certificates(tmp_path)
    for name in ("localhost", "127.0.0.1", "::1"):
        connect(made.cert, made.key, made.ca, name)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"cert.crt", "cert.key", "ca.crt", "ca.key"}
    if sys.platform != "win32":
        for key in (made.key, made.ca_key):
            assert stat.S_IMODE(Path(key).stat().st_mode) == 0o600


def test_the_next_certificate_is_trusted_by_who_trusts_the_ca(tmp_path):
    first = make_certificates(tmp_path, ("web.test", "192.0.2.1"))
    ca = Path(first.ca).read_bytes()
    for names in (("web.test",), ("*.web.test", "web.test"), ("192.0.2.7",)):
        made = make_certificates(tmp_path, names)
        assert (Path(made.ca).read_bytes(), made.replaced) == (ca, "")
        connect(made.cert, made.key, made.ca, names[-1])
    expired = make_certificates(tmp_path, ("web.test",), kind="expired")
    assert Path(expired.ca).read_bytes() == ca
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        connect(expired.cert, expired.key, expired.ca, "web.test")
    made = make_certificates(tmp_path, ("web.test",))  # what was interrupted: no more than a CA
    for name in ("cert.crt", "cert.key", "ca.crt"):
        (tmp_path / name).unlink()
    assert Path(make_certificates(tmp_path, ("web.test",)).ca).read_bytes() == ca


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: None, "the one before may not sign for these names"),
        (lambda folder: (folder / "ca.key").unlink(), "the key of the one before was not kept"),
    ],
)
def test_a_made_ca_that_cannot_go_on_is_replaced_and_that_is_said(tmp_path, change, reason):
    first = make_certificates(tmp_path, ("web.test",))
    ca = Path(first.ca).read_bytes()
    change(tmp_path)
    made = make_certificates(tmp_path, ("notweb.test",))
    assert made.replaced == reason
    assert Path(made.ca).read_bytes() != ca
    connect(made.cert, made.key, made.ca, "notweb.test")


def test_a_made_ca_that_would_end_too_soon_is_replaced(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(devcert, "CA_LIFE", devcert.LEAF_LIFE - timedelta(days=1))
        make_certificates(tmp_path)
    assert make_certificates(tmp_path).replaced == "the one before could not be used any more"


def test_a_made_ca_that_is_not_to_be_kept_signs_once(tmp_path):
    kept = make_certificates(tmp_path)
    once = make_certificates(tmp_path, keep_ca=False)
    assert (once.ca_key, once.replaced) == ("", "no CA was to be kept")
    assert not Path(kept.ca_key).exists()
    assert make_certificates(tmp_path / "new", keep_ca=False).replaced == ""


def test_an_expired_certificate_fails_for_that_reason(tmp_path):
    made = make_certificates(tmp_path, kind="expired")
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        connect(made.cert, made.key, made.ca, "localhost")


def test_a_certificate_of_another_host_fails_for_that_reason(tmp_path):
    made = make_certificates(tmp_path, kind="wrong-host")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        connect(made.cert, made.key, made.ca, "localhost")


def test_files_of_an_earlier_call_are_replaced(tmp_path):
    first = Path(make_certificates(tmp_path).cert).read_bytes()
    second = make_certificates(tmp_path, ("other.test",))
    assert Path(second.cert).read_bytes() != first
    connect(second.cert, second.key, second.ca, "other.test")


@pytest.mark.parametrize("name", ["cert.crt", "cert.key", "ca.crt", "ca.key"])
@pytest.mark.parametrize("over", [False, True])
def test_files_of_somebody_else_are_left_alone(tmp_path, name, over):
    if over:
        make_certificates(tmp_path)
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(CertificateError, match="h2wsgi did not make"):
        make_certificates(tmp_path)
    assert (tmp_path / name).read_bytes() == b"precious"


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateError, match=r"\(--make-cert\)"):
        make_certificates(tmp_path / "file" / "folder")


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_file(path, b"old", mode=0o600)
    (tmp_path / f".a.{os.getpid()}").write_text("left over by a crash")

    def fail(*_args: object) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError):
            write_file(path, b"new", mode=0o600)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]
