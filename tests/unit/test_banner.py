"""What a start says: endpoints, certificates, and a line for curl that works."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from h2wsgi.config.config import Config
from h2wsgi.log.logs import Log, command_log
from h2wsgi.server.banner import Endpoint, curl_line, ready
from h2wsgi.tls.context import Certificate, TLSIdentity, resolve
from h2wsgi.tls.development import make_certificates


def lines_of(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


@pytest.fixture
def identity(tmp_path: Path) -> TLSIdentity:
    made = make_certificates(tmp_path / "certs", ("web.test", "*.shop.test"))
    return resolve(Config(cert=made.cert, key=made.key))


@pytest.fixture
def development(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TLSIdentity:
    monkeypatch.setenv(
        "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", str(tmp_path)
    )
    return resolve(Config())


def show(log: Log, identity: TLSIdentity | None, *endpoints: Endpoint, target: str = "a:b") -> None:
    ready(
        log,
        Config(),
        target=target,
        version="1.2",
        endpoints=list(endpoints),
        certificate=identity,
    )
    log.close()


def test_a_start_says_all_that_a_stranger_needs(stderr, development):
    endpoints = [
        Endpoint("https://localhost:8443/", True),
        Endpoint("http://127.0.0.1:80/", False),
        Endpoint("unix:/run/x", False),
    ]
    show(command_log(Config()), development, *endpoints, target="httpbin:app")
    text = stderr.read_text()
    assert "h2wsgi 1.2 serves httpbin:app with up to 128 threads" in text
    assert "https://localhost:8443/  HTTP/2 only (ALPN h2)" in text
    assert "unix:/run/x              HTTP/2 only (cleartext, prior knowledge)" in text
    assert "Certificate:  localhost, 127.0.0.1, ::1; until 20" in text
    assert "DEVELOPMENT CERTIFICATE, MADE JUST NOW: refused until clients trust its CA:\n" in text
    assert "\n  Have browsers and this machine trust it:  h2wsgi --trust\n" in text
    ca = development.ca_path
    assert f"curl --http2 --cacert {ca} https://localhost:8443/get\n" in text
    assert text.endswith("Ctrl-C to stop\n")


def test_a_start_in_json_is_one_line_with_the_real_addresses(stderr, identity):
    log = command_log(Config(log_format="json"))
    show(log, identity, Endpoint("https://localhost:40001/", True))
    (line,) = lines_of(stderr)
    shown = json.loads(line)
    assert shown["event"] == "ready"
    assert shown["endpoints"] == [{"url": "https://localhost:40001/", "protocol": "h2"}]
    assert shown["certificate"]["names"] == ["web.test", "*.shop.test"]
    assert shown["certificate"]["development"] is False
    assert shown["certificate"]["trusted"] is False


def test_a_start_without_tls_or_facts_says_what_there_is(stderr, identity):
    log = command_log(Config(log_format="json"))
    show(log, None, Endpoint("http://localhost:1/", False))
    (line,) = lines_of(stderr)
    assert json.loads(line)["certificate"] is None
    unread = TLSIdentity(identity.context, (Certificate("c.crt", None),), None)
    show(command_log(Config()), unread, Endpoint("https://localhost:1/", True))
    assert "curl --http2 https://localhost:1/\n" in stderr.read_text()
    assert "Certificate" not in stderr.read_text()
    show(command_log(Config()), None)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://web.test:1/", "https://web.test:1/"),
        ("https://0.0.0.0:1/", "--resolve web.test:1:127.0.0.1 https://web.test:1/"),
        ("https://[::]:1/", "--resolve 'web.test:1:[::1]' https://web.test:1/"),
        ("https://localhost:1/", "--resolve web.test:1:localhost https://web.test:1/"),
        ("unix:/run/a b", "--unix-socket '/run/a b' https://web.test/"),
    ],
)
def test_the_curl_line_asks_for_a_name_of_the_certificate(identity, url, expected):
    line = curl_line(Endpoint(url, True), identity, "/")
    assert line == f"curl --http2 --cacert {identity.ca_path} {expected}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://0.0.0.0:1/", "https://127.0.0.1:1/get"),
        ("https://[::1]:1/", "'https://[::1]:1/get'"),
        ("https://127.0.0.9:1/", "--resolve localhost:1:127.0.0.9 https://localhost:1/get"),
        ("unix:/run/x", "--unix-socket /run/x https://localhost/get"),
    ],
)
def test_the_curl_line_works_with_the_development_certificate(development, url, expected):
    line = curl_line(Endpoint(url, True), development, "/get")
    assert line == f"curl --http2 --cacert {development.ca_path} {expected}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://0.0.0.0:1/", "http://127.0.0.1:1/"),
        ("unix:/run/x", "--unix-socket /run/x http://localhost/"),
    ],
)
def test_the_curl_line_for_cleartext_has_prior_knowledge(url, expected):
    line = curl_line(Endpoint(url, False), None, "/")
    assert line == f"curl --http2-prior-knowledge {expected}"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://localhost:1/", "127.0.0.1"),
        ("https://0.0.0.0:1/", "127.0.0.1"),
        ("https://[::]:1/", "::1"),
        ("https://127.0.0.9:1/", "127.0.0.9"),
        ("https://no-such-host.invalid:1/", ""),
        ("unix:/run/x", ""),
    ],
)
def test_an_endpoint_knows_an_ip_address_that_leads_to_it(url, address):
    assert Endpoint(url, True).reachable().address == address


@pytest.mark.parametrize(
    ("url", "shown", "protocol"),
    [
        ("https://0.0.0.0:1/", "https://127.0.0.1:1/", "HTTP/2 only (ALPN h2), all IPv4"),
        ("https://[::]:1/", "https://[::1]:1/", "HTTP/2 only (ALPN h2), all IPv6"),
        ("https://[::1]:1/", "https://[::1]:1/", "HTTP/2 only (ALPN h2)"),
        ("unix:/run/x", "unix:/run/x", "HTTP/2 only (ALPN h2)"),
    ],
)
def test_what_is_shown_of_an_endpoint_can_be_opened(url, shown, protocol):
    assert (Endpoint(url, True).shown, Endpoint(url, True).protocol) == (shown, protocol)
