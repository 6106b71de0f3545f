"""Clients that share no code with us, against a live server: what people really come with."""

from __future__ import annotations

import asyncio
import hashlib
import html
import json
import os
import random
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bottle
import flask
import httpx
import niquests
import pytest

from conftest import Serve
from h2wsgi.http2 import connection, leftovers
from h2wsgi.server.running import ServerThread
from support.clients import (
    TIMEOUT,
    Application,
    digest_of,
    environment,
    find,
    run,
    running,
    trust_in_browser,
)

CLIENTS = Path(__file__).parent
CONTENT = random.Random(2).randbytes(8 * 1024 * 1024)

pytestmark = pytest.mark.client


@pytest.fixture
def app() -> Application:
    return Application()


@pytest.fixture
def server(serve: Serve, app: Application) -> ServerThread:
    return serve(app)


@pytest.fixture
def cleartext(serve: Serve, app: Application) -> ServerThread:
    return serve(app, h2c=True)


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    """A file of 8 MiB."""
    path = tmp_path / "upload.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def _late_resets(monkeypatch: pytest.MonkeyPatch) -> None:
    """For curl 7.88, which loses a response that it reads together with the reset of its upload.

    A busy machine may keep it from reading for longer than the server waits for that.
    """
    for module in (connection, leftovers):
        monkeypatch.setattr(module, "RESET_DELAY", TIMEOUT)


# ---------------------------------------------------------------------------------- curl


def curl(server: ServerThread, path: str, *options: str, content: bytes = b"") -> str:
    """Return what curl prints for ``path``: the response, ``=``, HTTP version and status."""
    trust = ["--cacert", server.ca_file] if server.ca_file else []
    said = ["-sS", *trust, "-w", "=%{http_version} %{http_code}"]
    # -q: nobody's .curlrc may have a say.
    return run([find("curl"), "-q", *said, *options, server.join(path)], content=content)


def test_curl_gets_a_response_over_http2(server: ServerThread) -> None:
    assert curl(server, "/hi") == "GET /hi=2 200"


def test_curl_may_leave_a_path_and_a_query_as_they_were_typed(server: ServerThread) -> None:
    # As octets, which the application shows as the latin-1 that PEP 3333 has them in.
    options = ("--path-as-is", "-g")
    assert curl(server, "/caf\xe9%20\xe9?q=\xe9", *options) == "GET /caf\xc3\xa9 \xc3\xa9=2 200"


@pytest.mark.usefixtures("_late_resets")
@pytest.mark.parametrize("upload_", [False, True], ids=["", "upload"])
def test_curl_shows_what_is_wrong_with_a_malformed_request(
    server: ServerThread, upload: Path, upload_: bool
) -> None:
    options = ("-T", str(upload)) if upload_ else ()
    said = curl(server, "/", "--request-target", "no-slash", *options)
    assert said == "Bad Request: :path 'no-slash' is not a path\n=2 400"


def test_curl_posts_a_form(server: ServerThread) -> None:
    assert curl(server, "/digest", "-d", "a=1&b=2") == f"{digest_of(b'a=1&b=2')}=2 200"


def test_curl_uploads_a_file(server: ServerThread, upload: Path) -> None:
    assert curl(server, "/digest", "-T", str(upload)) == f"{digest_of(CONTENT)}=2 200"


def test_curl_uploads_what_has_no_length(server: ServerThread) -> None:
    assert curl(server, "/digest", "-T", "-", content=CONTENT) == f"{digest_of(CONTENT)}=2 200"


def test_curl_is_told_to_continue(server: ServerThread, upload: Path) -> None:
    expect = ("-H", "Expect: 100-continue", "-T", str(upload))
    said = curl(server, "/digest", "-D", "-", *expect)
    assert said.startswith("HTTP/2 100 \r\n\r\nHTTP/2 200 \r\n")
    assert said.endswith(f"{digest_of(CONTENT)}=2 200")


@pytest.mark.usefixtures("_late_resets")
def test_curl_gets_an_early_response_whole(server: ServerThread, upload: Path) -> None:
    # curl 7.88 drops a response whose stream is reset while it still uploads, even with
    # NO_ERROR; so the reset must leave it the moment it needs to see the response.
    assert curl(server, "/refuse", "-T", str(upload)) == "not even read\n=2 403"


def test_curl_downloads(server: ServerThread, tmp_path: Path) -> None:
    target = tmp_path / "download.bin"
    assert curl(server, "/zeros?5000000", "-o", str(target)) == "=2 200"
    assert target.read_bytes() == bytes(5_000_000)


def test_curl_asks_for_the_head_alone(server: ServerThread) -> None:
    head, _, rest = curl(server, "/hi", "-I").partition("\r\n\r\n")
    assert head.startswith("HTTP/2 200 \r\n")
    assert "content-length: 8" in head.split("\r\n")  # that of "HEAD /hi"
    assert rest == "=2 200"


def test_curl_without_trust_refuses_the_certificate(server: ServerThread) -> None:
    argv = [find("curl"), "-q", "-sS", "-w", "%{exitcode}", server.url]
    with pytest.raises(AssertionError, match="exited with 60"):
        run(argv)


def test_curl_with_http1_over_tls_is_told_what_to_do(server: ServerThread) -> None:
    said = curl(server, "/hi", "--http1.1")
    assert said.endswith("=1.1 505")
    assert "--http2" in said


def test_curl_with_plain_http_on_the_tls_port_is_told_what_to_do(server: ServerThread) -> None:
    url = server.url.replace("https://", "http://")
    said = run([find("curl"), "-q", "-sS", "-w", "=%{http_version} %{http_code}", url])
    assert said.endswith("=1.1 505")
    assert "https://" in said


def test_curl_with_prior_knowledge_gets_a_cleartext_response(cleartext: ServerThread) -> None:
    assert curl(cleartext, "/hi", "--http2-prior-knowledge") == "GET /hi=2 200"


def test_curl_that_asks_for_an_upgrade_is_told_what_to_do(cleartext: ServerThread) -> None:
    said = curl(cleartext, "/hi", "--http2")
    assert said.endswith("=1.1 505")
    assert "--http2-prior-knowledge" in said


def test_curl_sends_requests_side_by_side(server: ServerThread, app: Application) -> None:
    # One URL with a range in it: twenty requests, answered once all of them are inside.
    said = curl(server, "/together?20&[1-20]", "-Z", "-w", "\n")
    assert said.count("GET /together") == 20
    assert len(app.ports) == 1


# -------------------------------------------------------------------------------- nghttp


def nghttp(server: ServerThread, path: str, *options: str) -> str:
    """Return what nghttp prints, having made sure that it trusts the certificate."""
    assert server.ca_file is not None
    argv = [find("nghttp", package="nghttp2-client"), *options, server.join(path)]
    said = run(argv, env=environment(SSL_CERT_FILE=server.ca_file))
    assert "WARNING" not in said
    return said


def test_nghttp_sees_a_clean_conversation(server: ServerThread) -> None:
    said = nghttp(server, "/hi", "-nv")
    assert "The negotiated protocol: h2" in said
    assert ":status: 200" in said
    assert re.search(r"recv DATA frame <length=7, flags=0x01, .*>\n\s*; END_STREAM", said)
    assert "recv RST_STREAM" not in said
    assert "recv GOAWAY" not in said


def test_nghttp_posts(server: ServerThread, upload: Path) -> None:
    assert nghttp(server, "/digest", "-d", str(upload)).strip() == digest_of(CONTENT)


def test_nghttp_opens_many_streams(server: ServerThread, app: Application) -> None:
    said = nghttp(server, "/hi", "-nv", "-m", "300")
    assert said.count(":status: 200") == 300
    assert "recv RST_STREAM" not in said
    assert (app.requests, len(app.ports)) == (300, 1)


def test_nghttp_gets_an_early_response_whole(server: ServerThread, upload: Path) -> None:
    said = nghttp(server, "/refuse", "-v", "-d", str(upload))
    assert ":status: 403" in said
    assert "not even read" in said
    assert re.search(r"recv RST_STREAM frame .*\n\s*\(error_code=NO_ERROR\(0x00\)\)", said)


# -------------------------------------------------------------------------------- h2load


def test_h2load_loses_none_of_10000_requests(server: ServerThread, app: Application) -> None:
    h2load = find("h2load", package="nghttp2-client")
    said = run([h2load, "-n", "10000", "-c", "10", "-m", "10", server.join("/hi")])
    assert "10000 done, 10000 succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert "status codes: 10000 2xx" in said
    assert (app.requests, len(app.ports)) == (10_000, 10)


def test_h2load_loses_none_of_1000_uploads(
    server: ServerThread, app: Application, tmp_path: Path
) -> None:
    content = tmp_path / "content.bin"
    content.write_bytes(CONTENT[:20_000])
    h2load = find("h2load", package="nghttp2-client")
    sizes = ["-n", "1000", "-c", "10", "-m", "10", "-d", str(content)]
    said = run([h2load, *sizes, server.join("/digest")])
    assert "1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert app.requests == 1000


# ---------------------------------------------------------------------------------- Node


def node(server: ServerThread, scenario: str) -> dict[str, Any]:
    """Return what a scenario of the Node client reports."""
    assert server.ca_file is not None
    script = str(CLIENTS / "node_client.mjs")
    said = run([find("node", package="nodejs"), script, scenario, server.url, server.ca_file])
    return json.loads(said)  # type: ignore[no-any-return]


def test_node_verifies_the_certificate(server: ServerThread) -> None:
    said = node(server, "verified")
    assert said == {"authorized": True, "alpnProtocol": "h2", "status": 200, "body": "GET /hi"}


def test_node_without_trust_refuses_the_certificate(server: ServerThread) -> None:
    assert node(server, "untrusted") == {"code": "UNABLE_TO_VERIFY_LEAF_SIGNATURE"}


def test_node_runs_streams_side_by_side(server: ServerThread, app: Application) -> None:
    assert node(server, "concurrent") == {"statuses": [200] * 50}
    assert len(app.ports) == 1


def test_node_uploads(server: ServerThread) -> None:
    said = node(server, "upload")
    assert said["status"] == 200
    assert said["body"] == said["expected"]


def test_node_downloads(server: ServerThread) -> None:
    assert node(server, "download") == {"status": 200, "length": 5_000_000, "code": 0}


def test_node_gets_an_early_response_whole(server: ServerThread) -> None:
    said = node(server, "refused")
    assert (said["status"], said["body"]) == (403, "not even read\n")
    assert (said["aborted"], said["code"]) == (False, 0)
    assert said["after"] == 200


def test_node_cancels_a_stream_and_goes_on(server: ServerThread, app: Application) -> None:
    assert node(server, "cancelled") == {"code": 8, "after": 200}
    assert app.closed.wait(TIMEOUT)


def test_node_gets_its_ping_back(server: ServerThread) -> None:
    assert node(server, "pinged") == {"answer": "12345678"}


# ------------------------------------------------------------------------------ Chromium


class PageApplication(Application):
    """Serves the page with its 25 images and 25 scripts."""

    def on_page(self, environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("content-type", "text/html; charset=utf-8")])
        return [(CLIENTS / "page.html").read_bytes()]

    def on_image(self, environ: Any, start_response: Any) -> list[bytes]:
        width = environ["QUERY_STRING"]
        start_response("200 OK", [("content-type", "image/svg+xml")])
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="1"/>'
        return [svg.encode()]

    def on_script(self, environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("content-type", "text/javascript")])
        return [f"scripts.push({environ['QUERY_STRING']});".encode()]


def chromium(server: ServerThread, path: str, home: Path) -> tuple[str, str]:
    """Return the document that headless Chromium made of ``path``, and what it logged."""
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--disable-extensions", "--no-proxy-server",
        f"--user-data-dir={home / 'profile'}", "--dump-dom",
    ]  # fmt: skip
    log, page = home / "chromium.log", home / "page.html"
    argv = [find("chromium"), *options, server.join(path)]
    with (
        log.open("wb") as errors,
        page.open("wb") as output,
        running(argv, stdout=output, stderr=errors, env=environment(HOME=str(home))) as process,
    ):
        code = process.wait(TIMEOUT)
    assert code == 0, log.read_text(errors="replace")
    return page.read_text(), log.read_text(errors="replace")


def test_chromium_loads_a_page_with_50_subresources(serve: Serve, tmp_path: Path) -> None:
    app = PageApplication()
    server = serve(app)
    assert server.ca_file is not None
    trust_in_browser(tmp_path, server.ca_file)
    document, _ = chromium(server, "/page", tmp_path)
    found = re.search(r'<pre id="result">(.*?)</pre>', document)
    assert found is not None, document
    said = json.loads(html.unescape(found[1]))
    assert said["failed"] == []
    assert sorted(said["images"]) == [[i, i] for i in range(1, 26)]
    assert sorted(said["scripts"]) == list(range(1, 26))
    assert said["page"] == ["h2"]
    assert said["resources"] == ["h2"] * 50
    assert (app.requests, len(app.ports)) == (51, 1)


def cookies(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Sets as many cookies as Chromium keeps for a site, and then counts those that come back."""
    fields = [("content-type", "text/html")]
    if environ["PATH_INFO"] == "/count":
        start_response("200 OK", fields)
        return [b"%d cookies" % len(environ["HTTP_COOKIE"].split("; "))]
    start_response("200 OK", fields + [("set-cookie", f"name{n}={n}") for n in range(180)])
    return [
        b"<!doctype html><body><script>const request = new XMLHttpRequest();"
        b"request.open('GET', '/count', false); request.send();"
        b"document.body.textContent = request.status + ' ' + request.responseText;</script>"
    ]


def test_chromium_sends_as_many_cookies_as_it_keeps(serve: Serve, tmp_path: Path) -> None:
    server = serve(cookies)
    assert server.ca_file is not None
    trust_in_browser(tmp_path, server.ca_file)
    document, _ = chromium(server, "/", tmp_path)
    assert "200 180 cookies" in document


def test_chromium_without_trust_refuses_the_certificate(
    server: ServerThread, app: Application, tmp_path: Path
) -> None:
    _, log = chromium(server, "/hi", tmp_path)
    assert "ERR_CERT_AUTHORITY_INVALID" in log
    assert app.requests == 0


# --------------------------------------------------------------------------------- httpx


@pytest.fixture
def httpx_client(server: ServerThread) -> Iterator[httpx.Client]:
    tls = ssl.create_default_context(cafile=server.ca_file)
    with httpx.Client(
        http1=False, http2=True, verify=tls, trust_env=False, timeout=TIMEOUT, base_url=server.url
    ) as client:
        yield client


def test_httpx_uploads_in_pieces(httpx_client: httpx.Client) -> None:
    pieces = (CONTENT[at : at + 100_000] for at in range(0, len(CONTENT), 100_000))
    response = httpx_client.post("/digest", content=pieces)
    assert response.http_version == "HTTP/2"
    assert response.text == digest_of(CONTENT)


def bottle_application() -> Any:
    app = bottle.Bottle()
    app.route("/", "POST", lambda: digest_of(bottle.request.body.read()))
    return app


def flask_application() -> Any:
    app = flask.Flask(__name__)
    app.add_url_rule("/", view_func=lambda: digest_of(flask.request.get_data()), methods=["POST"])
    return app


@pytest.mark.parametrize("make", [bottle_application, flask_application])
@pytest.mark.parametrize("octets", [0, 11, 3_000_000])
def test_httpx_uploads_in_pieces_to_frameworks(serve: Serve, make: Any, octets: int) -> None:
    """Without a length, which Bottle reads nothing without."""
    server = serve(make())
    pieces = (CONTENT[at : min(at + 100_000, octets)] for at in range(0, octets, 100_000))
    with httpx.Client(http2=True, verify=server.ssl_context(), trust_env=False) as client:
        assert client.post(server.url, content=pieces).text == digest_of(CONTENT[:octets])


def test_httpx_gets_an_early_response_whole(httpx_client: httpx.Client) -> None:
    """It looks at no answer before it has sent all."""
    response = httpx_client.post("/refuse", content=CONTENT[:4_000_000])
    assert (response.status_code, response.text) == (403, "not even read\n")


def test_httpx_downloads_in_pieces(httpx_client: httpx.Client) -> None:
    digest = hashlib.sha256()
    with httpx_client.stream("GET", "/zeros?20000000") as response:
        for piece in response.iter_bytes():
            digest.update(piece)
    assert digest.digest() == hashlib.sha256(bytes(20_000_000)).digest()


def test_httpx_that_hangs_up_ends_the_application(
    httpx_client: httpx.Client, app: Application
) -> None:
    with httpx_client.stream("GET", "/endless") as response:
        assert next(response.iter_raw())
    httpx_client.close()
    assert app.closed.wait(TIMEOUT)


def test_httpx_runs_requests_side_by_side(server: ServerThread, app: Application) -> None:
    async def fetch_all() -> list[httpx.Response]:
        tls = ssl.create_default_context(cafile=server.ca_file)
        async with httpx.AsyncClient(
            http1=False, http2=True, verify=tls, trust_env=False, timeout=TIMEOUT
        ) as client:
            requests = (client.get(server.join("/together?50")) for _ in range(50))
            return await asyncio.gather(*requests)

    responses = asyncio.run(fetch_all())
    assert {(r.status_code, r.http_version) for r in responses} == {(200, "HTTP/2")}
    assert len(app.ports) == 1


# ------------------------------------------------------------------------------ niquests


@pytest.fixture
def niquests_session(server: ServerThread) -> Iterator[niquests.Session]:
    with niquests.Session(multiplexed=True, disable_http3=True) as session:
        session.trust_env = False
        session.verify = server.ca_file
        yield session


def test_niquests_multiplexes_requests(
    niquests_session: niquests.Session, server: ServerThread, app: Application
) -> None:
    responses = [niquests_session.get(server.join("/together?30")) for _ in range(30)]
    niquests_session.gather()
    assert {(r.status_code, r.http_version) for r in responses} == {(200, 20)}
    assert len(app.ports) == 1


def test_niquests_uploads_and_downloads(
    niquests_session: niquests.Session, server: ServerThread
) -> None:
    response = niquests_session.post(server.join("/digest"), data=CONTENT)
    assert response.text == digest_of(CONTENT)
    response = niquests_session.get(server.join("/zeros?5000000"))
    assert response.content == bytes(5_000_000)


# ------------------------------------------------------------------------ the helper itself


@pytest.mark.parametrize(("ci", "outcome"), [("", "Skipped"), ("true", "Failed")])
def test_a_missing_client_is_a_failure_in_ci_only(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: str
) -> None:
    monkeypatch.setitem(os.environ, "CI", ci)
    with pytest.raises(BaseException, match="no-such-client is not installed") as raised:
        find("no-such-client")
    assert type(raised.value).__name__ == outcome
