"""Clients with certificates of their own: who may come, and what environ says of them (rule 15)."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from conftest import Serve
from h2wsgi import CertificateError
from unit.test_context import pem_of, self_signed


def show_tls(environ, start_response):
    start_response("200 OK", [("content-type", "application/json")])
    shown = {k: v for k, v in environ.items() if k.startswith(("SSL_", "HTTPS"))}
    return [json.dumps(shown).encode()]


@pytest.fixture
def client_files(tmp_path: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "client.crt").write_bytes(self_signed(key))
    (tmp_path / "client.key").write_bytes(pem_of(key))
    return tmp_path / "client.crt", tmp_path / "client.key"


def get(server, certificate: tuple[Path, Path] | None = None) -> dict[str, str]:
    context = ssl.create_default_context(cafile=server.ca_file)
    if certificate is not None:
        context.load_cert_chain(*certificate)
    with httpx.Client(http2=True, http1=False, verify=context) as client:
        return client.get(server.url).json()


def test_a_client_with_a_certificate_is_described_as_mod_ssl_does(serve: Serve, client_files):
    shown = get(serve(show_tls, client_ca=str(client_files[0])), client_files)
    assert shown["HTTPS"] == "on"
    assert shown["SSL_PROTOCOL"] == "TLSv1.3"
    assert shown["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert shown["SSL_CLIENT_S_DN"] == "CN=old"
    assert shown["SSL_CLIENT_S_DN_CN"] == "old"
    assert shown["SSL_CLIENT_CERT"].strip() == client_files[0].read_text().strip()


def test_a_client_without_the_required_certificate_gets_no_answer(serve: Serve, client_files):
    server = serve(show_tls, client_ca=str(client_files[0]))
    with pytest.raises(httpx.TransportError):
        get(server)


def test_a_client_may_come_without_a_certificate_where_it_is_optional(serve: Serve, client_files):
    server = serve(show_tls, client_ca=str(client_files[0]), client_cert="optional")
    assert get(server)["SSL_CLIENT_VERIFY"] == "NONE"


def test_a_client_ca_that_holds_no_certificate_is_named(serve: Serve, tmp_path: Path):
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(CertificateError, match=r"empty\.pem \(--client-ca\)"):
        serve(show_tls, client_ca=str(tmp_path / "empty.pem"))
