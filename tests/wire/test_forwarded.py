"""Requests through a proxy that says who its client is: what the application and the log see."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi.log.logs import Log, access_file_text, access_json
from h2wsgi.log.text import AccessRecord
from h2wsgi.server.running import ServerThread
from support.peer import Peer
from support.settled import eventually

CLIENT = "203.0.113.9"
TOLD = ("REMOTE_ADDR", "REMOTE_PORT", "wsgi.url_scheme", "HTTPS", "SERVER_NAME", "SERVER_PORT",
        "HTTP_HOST", "SCRIPT_NAME", "PATH_INFO", "HTTP_X_FORWARDED_FOR")  # fmt: skip
SAID = [
    ("x-forwarded-for", f"6.6.6.6, {CLIENT}"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "www.example.com:8443"),
    ("x-forwarded-port", "8443"),
    ("x-forwarded-prefix", "/mounted"),
]

Environ = dict[str, Any]
Ask = Callable[..., Environ]


def app(environ: Environ, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps({name: environ[name] for name in TOLD if name in environ}).encode()]


@pytest.fixture
def ask(serve: Serve, connect: Connect) -> Ask:
    """Send a request to a cleartext server that believes some peers; return what it told."""
    servers: dict[str, ServerThread] = {}

    def send(*fields: tuple[str, str], by: str = "127.0.0.1", path: str = "/a") -> Environ:
        if by not in servers:
            servers[by] = serve(app, h2c=True, forwarded_allow_ips=by)
        response = connect(servers[by]).get(path, fields=fields)
        assert response.status == 200
        return json.loads(response.body)

    return send


def test_what_a_believed_proxy_says_of_its_client_is_what_the_application_sees(ask: Ask) -> None:
    assert ask(*SAID) == {
        "REMOTE_ADDR": CLIENT,
        "REMOTE_PORT": "",
        "wsgi.url_scheme": "https",
        "HTTPS": "on",
        "SERVER_NAME": "www.example.com",
        "SERVER_PORT": "8443",
        "HTTP_HOST": "www.example.com:8443",
        "SCRIPT_NAME": "/mounted",
        "PATH_INFO": "/a",
        "HTTP_X_FORWARDED_FOR": f"6.6.6.6, {CLIENT}",
    }


def test_rfc_7239_says_the_same(ask: Ask) -> None:
    seen = ask(("forwarded", f'for="{CLIENT}:4711";proto=https;host=www.example.com'))
    assert (seen["REMOTE_ADDR"], seen["REMOTE_PORT"]) == (CLIENT, "4711")
    assert (seen["wsgi.url_scheme"], seen["HTTPS"], seen["SERVER_PORT"]) == ("https", "on", "443")
    assert seen["SERVER_NAME"] == seen["HTTP_HOST"] == "www.example.com"


@pytest.mark.parametrize("by", ["", "127.0.0.2", "unix:", "::1"])
def test_from_anybody_else_it_is_a_field_like_others(ask: Ask, by: str) -> None:
    seen = ask(*SAID, by=by)
    assert seen.pop("HTTP_X_FORWARDED_FOR") == f"6.6.6.6, {CLIENT}"
    assert seen.pop("REMOTE_PORT") != ""
    plain = ask(by=by)
    del plain["REMOTE_PORT"]
    assert seen == plain
    assert (seen["REMOTE_ADDR"], seen["wsgi.url_scheme"]) == ("127.0.0.1", "http")


def test_a_port_alone_is_the_hosts(ask: Ask) -> None:
    seen = ask(("x-forwarded-port", "8080"))
    assert (seen["HTTP_HOST"], seen["SERVER_PORT"]) == ("localhost:8080", "8080")
    seen = ask(("x-forwarded-port", "443"), ("x-forwarded-proto", "https"))
    assert (seen["HTTP_HOST"], seen["SERVER_PORT"]) == ("localhost", "443")


def test_a_prefix_is_taken_off_where_the_proxy_left_it(ask: Ask) -> None:
    prefix = ("x-forwarded-prefix", "/mounted")
    for path in ("/a", "/mounted/a"):
        seen = ask(prefix, path=path)
        assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/mounted", "/a")


def test_requests_of_many_clients_on_one_connection_are_not_mixed_up(
    serve: Serve, connect: Connect
) -> None:
    """Field blocks are remembered, and with them what environ is made of."""
    peer = connect(serve(app, h2c=True, forwarded_allow_ips="*"))
    for _ in range(3):
        for number in range(4):
            for path in ("/a", "/b"):
                fields = [("x-forwarded-for", f"203.0.113.{number}")]
                seen = json.loads(peer.get(path, fields=fields).body)
                assert (seen["REMOTE_ADDR"], seen["PATH_INFO"]) == (f"203.0.113.{number}", path)
    assert json.loads(peer.get("/a").body)["REMOTE_ADDR"] == "127.0.0.1"


def test_a_proxy_over_tls_says_that_its_client_has_none(serve: Serve, connect: Connect) -> None:
    peer = connect(serve(app, forwarded_allow_ips=("127.0.0.1", "::1")))
    seen = json.loads(peer.get(fields=[("x-forwarded-proto", "http")]).body)
    assert seen["wsgi.url_scheme"] == "http"
    assert "HTTPS" not in seen


def test_a_proxy_on_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    path = str(tmp_path / "h2wsgi.sock")
    serve(app, h2c=True, bind=f"unix:{path}", forwarded_allow_ips="unix:")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        with Peer(sock) as peer:
            seen = json.loads(peer.get(fields=SAID).body)
    assert seen["REMOTE_ADDR"] == CLIENT


@pytest.fixture
def record_of(serve: Serve, connect: Connect) -> Callable[..., AccessRecord]:
    """Send a request to a server with ``options``; return what the access log is given."""
    kept: list[AccessRecord] = []

    def send(*fields: tuple[str, str], status: int = 200, **options: Any) -> AccessRecord:
        server = serve(app, h2c=True, **options)
        server.server.log = Log(server.server.log.events, kept.append)
        assert connect(server).get(fields=fields).status == status
        eventually(lambda: kept, "a record")
        return kept.pop()

    return send


def test_the_access_log_names_the_client_and_in_json_its_proxy(
    record_of: Callable[..., AccessRecord],
) -> None:
    record = record_of(*SAID, forwarded_allow_ips="127.0.0.1")
    assert record.remote == CLIENT
    line = json.loads(access_json(record))
    assert line["remote"] == CLIENT
    assert line["proxy"].startswith("127.0.0.1:")
    assert "127.0.0.1" not in access_file_text(record)


def test_without_a_word_of_a_client_the_log_names_the_peer(
    record_of: Callable[..., AccessRecord],
) -> None:
    record = record_of(*SAID)
    assert record.remote.startswith("127.0.0.1:")
    assert "proxy" not in json.loads(access_json(record))


def test_the_client_of_a_request_that_is_refused_is_logged_too(
    record_of: Callable[..., AccessRecord],
) -> None:
    fields = [*SAID, ("connection", "close")]
    assert record_of(*fields, status=400, forwarded_allow_ips="127.0.0.1").remote == CLIENT
