"""Behind real proxies, as examples/deploy configures them: features, addresses, restarts."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.clients import TIMEOUT, digest_of, environment, find, run, running
from support.process import ServerProcess
from support.proxies import (
    CLIENT,
    DEPLOY,
    PATIENCE,
    PROXIES,
    Backends,
    Proxy,
    certify,
    haproxy_with_headers,
)
from support.settled import eventually

pytestmark = pytest.mark.client

APPLICATION = """
import hashlib
import json
import os
import time
from urllib.parse import unquote

TOLD = ("REMOTE_ADDR", "REMOTE_PORT", "wsgi.url_scheme", "HTTPS", "SERVER_NAME", "SERVER_PORT",
        "HTTP_HOST", "SCRIPT_NAME", "SSL_PROTOCOL", "h2wsgi.proxy")


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/digest":
        content = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [f"{len(content)} {hashlib.sha256(content).hexdigest()}".encode()]
    if path == "/refuse":
        start_response("403 Forbidden", [])
        return [b"not even read"]
    if path == "/zeros":
        start_response("200 OK", [])
        return (bytes(50_000) for _ in range(100))
    if path == "/trailers":
        start_response("200 OK", [("trailer", "x-sum")])
        return with_trailers(environ["wsgi.ext.http.send_trailers"])
    if path == "/hints":
        environ["wsgi.early_hints"]([("link", "</a.css>; rel=preload")])
    if path == "/events":
        start_response("200 OK", [("content-type", "text/event-stream")])
        return events(unquote(environ["QUERY_STRING"]))
    if path == "/broken":
        start_response("200 OK", [("content-length", "100000")])
        return broken()
    if path == "/nothing":
        start_response("204 No Content", [])
        return []
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps({name: environ[name] for name in TOLD if name in environ}).encode()]


def events(awaited):
    yield b"data: first\\n"
    while not os.path.exists(awaited):
        time.sleep(0.01)
    yield b"data: last\\n"


def with_trailers(send_trailers):
    yield b"content"
    send_trailers([("x-sum", "42")])


def broken():
    yield b"x" * 50_000
    raise RuntimeError("on purpose")
"""
FORGED = (
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-Proto", "gopher"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Port", "666"),
    ("X-Forwarded-Prefix", "/evil"),
    ("Forwarded", "for=6.6.6.6;host=evil.example;proto=http"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("proxies")
    certify(made)
    return made


@pytest.fixture(scope="module")
def backends(folder: Path) -> Iterator[Backends]:
    allowed = ("--forwarded-allow-ips", "127.0.0.1")
    with Backends(folder, APPLICATION, allowed) as servers:
        yield servers


@pytest.fixture(scope="module", params=list(PROXIES))
def proxy(request: pytest.FixtureRequest, folder: Path, backends: Backends) -> Iterator[Proxy]:
    with PROXIES[request.param](folder, backends.ports) as started:
        yield started


# ------------------------------------------------------------------------------- who it is


def test_the_application_sees_the_client_and_not_the_proxy(proxy: Proxy) -> None:
    seen = proxy.ask("/")
    port = proxy.url.rpartition(":")[2]
    assert seen["REMOTE_ADDR"] == CLIENT
    assert (seen["wsgi.url_scheme"], seen["HTTPS"]) == ("https", "on")
    assert (seen["HTTP_HOST"], seen["SERVER_PORT"]) == (f"localhost:{port}", port)


def test_nothing_that_a_client_says_of_itself_is_believed(proxy: Proxy) -> None:
    forged = [word for name, value in FORGED for word in ("-H", f"{name}: {value}")]
    assert proxy.ask("/", *forged) == proxy.ask("/")


def test_the_log_has_the_client_and_the_proxy(proxy: Proxy, backends: Backends) -> None:
    path = f"/logged-by-{proxy.name}"
    proxy.ask(path)
    found: list[dict[str, Any]] = []

    def is_logged() -> bool:
        lines = (line for server in backends.running for line in server.lines())
        found.extend(line for line in lines if line.get("path") == path)
        return bool(found)

    eventually(is_logged, "a line in the access log")
    (line,) = found
    assert line["remote"] == CLIENT
    assert line["proxy"].startswith("127.0.0.1:")


# -------------------------------------------------------------------------- what gets through


def test_content_goes_both_ways_whole(proxy: Proxy, tmp_path: Path) -> None:
    content = bytes(range(256)) * 6_000
    upload = tmp_path / "upload"
    upload.write_bytes(content)
    assert proxy.curl("/digest", "--data-binary", f"@{upload}") == digest_of(content)
    assert proxy.curl("/digest", "-T", "-", content=content) == digest_of(content)
    size = proxy.curl(
        "/zeros", "-o", str(tmp_path / "zeros"), "-w", "%{http_version} %{size_download}"
    )
    assert size == "2 5000000"


def test_what_is_no_plain_response_gets_through(proxy: Proxy) -> None:
    assert "HTTP/2 103" in proxy.curl("/hints", "-D", "-", "-o", "/dev/null")
    assert re.search("x-sum: 42", proxy.curl("/trailers", "-v", "-o", "/dev/null"), re.IGNORECASE)
    assert proxy.curl("/nothing", "-w", "%{http_code} %{size_download}") == "204 0"
    assert proxy.curl("/", "-I").startswith("HTTP/2 200")
    assert proxy.curl("/refuse", "-w", " %{http_code}") == "not even read 403"


def test_an_early_answer_gets_through(proxy: Proxy, tmp_path: Path) -> None:
    """To nghttp: RST_STREAM may follow it at once, and curl 7.88 may show none then."""
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(10_000))
    command = [find("nghttp", package="nghttp2-client"), "-v", "-d", str(upload)]
    env = environment(SSL_CERT_FILE=proxy.ca_file)
    refused = run([*command, f"{proxy.url}/refuse"], env=env)
    assert ":status: 403" in refused
    assert "not even read" in refused


def test_what_an_application_sends_arrives_at_once(proxy: Proxy, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    command = proxy.command(f"/events?{quote(str(go_on))}", "-N")
    with running(command, stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        assert curl.stdout.readline() == b"data: first\n"
        go_on.touch()
        assert curl.stdout.read() == b"data: last\n"
        assert curl.wait(TIMEOUT) == 0


def test_a_response_that_breaks_off_never_looks_whole_if_its_length_is_known(proxy: Proxy) -> None:
    shown = proxy.curl("/broken", "-o", "/dev/null", "-w", "%{exitcode} ", may_fail=True)
    assert int(shown.split()[0]) != 0


def test_many_at_once(proxy: Proxy) -> None:
    assert load(proxy, 300, "-c", "4", "-m", "50") == 300


def load(proxy: Proxy, number: int, *arguments: str) -> int:
    """Ask so often; return how many were answered with 200."""
    command = [find("h2load", package="nghttp2-client"), "-n", str(number), *arguments]
    shown = run([*command, proxy.url + "/digest"])
    found = re.search(r"status codes: (\d+) 2xx", shown)
    assert found, shown
    return int(found[1])


# --------------------------------------------------------------------------------- restarts


def test_a_rolling_restart_of_two_servers_loses_no_request_of_five_hundred(
    proxy: Proxy, backends: Backends, tmp_path: Path
) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(5_000))
    asked = answered = 0
    done = threading.Event()

    def restart() -> None:
        try:
            for number in range(2):
                backends.restart(number, lambda new: '"/digest"' in new.log.read_text())
        finally:
            done.set()

    restarting = threading.Thread(target=restart)
    before = list(backends.running)
    restarting.start()
    try:
        while asked < 500 or not done.is_set():
            content = ("-d", str(upload)) if asked // 50 % 2 else ()  # POST
            answered += load(proxy, 50, "-c", "5", "-m", "2", "--rps", "25", *content)
            asked += 50
    finally:
        restarting.join(2 * PATIENCE)
    assert answered == asked
    assert not {server.process.pid for server in before} & {
        server.process.pid for server in backends.running
    }
    assert all(server.process.poll() is None for server in backends.running)


# ------------------------------------------------------------------------ the PROXY protocol


@pytest.fixture(scope="module")
def headed(folder: Path) -> Iterator[Proxy]:
    """HAProxy with PROXY headers in front of a server that requires them, on two addresses."""
    options = "--forwarded-allow-ips 127.0.0.1 --proxy-protocol required --bind 127.0.0.1:0 "
    options += f"--bind-h2c 127.0.0.1:0 --cert {folder}/site.pem"
    home = folder / "headed"
    home.mkdir()
    with ServerProcess(home, APPLICATION, *shlex.split(options), measured=False) as server:
        tls, cleartext = (
            int(endpoint["url"].rstrip("/").rpartition(":")[2])
            for endpoint in server.ready()["endpoints"]
        )
        with haproxy_with_headers(folder, tls, cleartext) as proxy:
            yield proxy
        closed = [line for line in server.lines() if "closed, as" in line.get("message", "")]
        assert not closed  # a check of HAProxy's says nothing, or that it speaks for itself


def test_a_header_before_tls_that_is_passed_on(headed: Proxy) -> None:
    seen = headed.ask("/", url=headed.urls[0])
    port = headed.urls[0].rpartition(":")[2]
    assert (seen["REMOTE_ADDR"], seen["SERVER_PORT"]) == (CLIENT, port)
    assert seen["REMOTE_PORT"].isdigit()
    assert (seen["wsgi.url_scheme"], seen["SSL_PROTOCOL"]) == ("https", "TLSv1.3")
    assert seen["h2wsgi.proxy"] == {}


def test_a_header_that_tells_of_the_tls_that_the_proxy_ended(headed: Proxy) -> None:
    seen = headed.ask("/", url=headed.urls[1])
    assert seen["REMOTE_ADDR"] == CLIENT
    assert (seen["wsgi.url_scheme"], seen["SSL_PROTOCOL"]) == ("https", "TLSv1.3")
    assert (seen["SERVER_NAME"], seen["h2wsgi.proxy"]["authority"]) == ("localhost", "localhost")
    assert seen["h2wsgi.proxy"]["alpn"] == "h2"
    assert seen["h2wsgi.proxy"]["unique_id"].startswith("7F000007:")


# ------------------------------------------------------------- a container, and many of them


def health_check() -> list[str]:
    """Return the command of the Dockerfile."""
    text = (DEPLOY / "Dockerfile").read_text()
    found = re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", text, re.MULTILINE)
    assert found
    words = json.loads(found[1])
    assert isinstance(words, list)
    return words


def test_the_health_check_of_the_container_tells_a_server_from_none(backends: Backends) -> None:
    _, flag, source = health_check()
    port = str(backends.ports[0])

    for there, exit_code in ((port, 0), ("1", 1)):
        command = [sys.executable, flag, source.replace("8080", there)]
        done = subprocess.run(command, capture_output=True, env=environment(), timeout=TIMEOUT)
        assert done.returncode == exit_code


def test_the_container_and_the_manifest_say_the_same() -> None:
    docker = (DEPLOY / "Dockerfile").read_text()
    manifest = (DEPLOY / "kubernetes.yaml").read_text()
    assert json.dumps(health_check()) in manifest
    found = re.search(r"^CMD (\[.*\])$", docker, re.MULTILINE)
    assert found
    _, target, *options = json.loads(found[1])
    assert "0.0.0.0:8080" in options
    assert "containerPort: 8080" in manifest
    variables = dict(re.findall(r"\{name: (H2WSGI_\w+), value: ([^}]+)\}", manifest))
    shown = run(
        [sys.executable, "-m", "h2wsgi", target, *options, "--print-config"],
        env=environment(**variables),
    )
    assert "10.0.0.0/8" in shown
