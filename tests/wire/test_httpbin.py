"""Every endpoint of httpbin over HTTP/2, compared octet by octet with werkzeug's own server.

Each request goes to two servers in this process, both with the same httpbin: h2wsgi, asked over
HTTP/2, and werkzeug's threaded HTTP/1.1 server. Both speak TLS with the same certificate, and both
are asked with the same Host, so that httpbin has the same to say: URLs, lengths and compressed
content need no normalising.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import random
import re
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

import httpx
import pytest
from httpbin import app
from werkzeug.exceptions import NotFound
from werkzeug.routing import RequestRedirect
from werkzeug.serving import WSGIRequestHandler, make_server

import h2wsgi
from h2wsgi.tls.development import ensure_development_certificate

AUTHORITY = "httpbin.test"
ORIGIN = f"https://{AUTHORITY}"
BASIC = ("user", "passwd")
FORM = {"content-type": "application/x-www-form-urlencoded"}
BINARY = bytes(range(256)) * 4
MULTIPART = (
    b'--frontier\r\ncontent-disposition: form-data; name="note"\r\n\r\nhello\r\n'
    b'--frontier\r\ncontent-disposition: form-data; name="file"; filename="a.bin"\r\n'
    b"content-type: application/x-binary\r\n\r\n" + BINARY + b"\r\n--frontier--\r\n"
)

UNCOMPARED_FIELDS = {
    "date",  # the two answers may fall into different seconds
    "server",  # each server names itself
    "connection",  # HTTP/2 has no connection fields (RFC 9113 section 8.2.2) ...
    "transfer-encoding",  # ... and no chunked coding: frames mark the end of content
}


@dataclass(frozen=True, slots=True)
class Case:
    """A target to ask for with every method of its rule, and what to send along."""

    target: str
    fields: dict[str, str] = field(default_factory=dict)
    content: bytes = b""
    """Sent with the methods that have content."""
    methods: frozenset[str] = frozenset()
    """Instead of all methods of the rule."""
    note: str = ""
    """What sets it apart from others with the same target."""


GET = frozenset({"GET", "HEAD"})
POST = frozenset({"POST"})

CASES = [
    # landing page, static files
    Case("/"),
    Case("/static/favicon.ico"),
    Case("/static/favicon.ico", {"range": "bytes=10-19"}, methods=GET, note="range"),
    Case("/static/missing"),
    Case("/no/such/page", methods=GET),
    Case("/redirect/0", methods=GET, note="application error"),
    # methods
    Case("/get"),
    Case("/get?a=1&a=2&b=%20+%26%3D&c=&%E2%82%AC=%ff"),
    Case("/get", methods=POST, note="405"),
    Case("/post", FORM, b"a=1&a=2&b=%E2%82%AC+"),
    Case("/post", {"content-type": "application/json"}, b'{"a": [1, 2, null]}', note="json"),
    Case("/post", {"content-type": "text/plain"}, "€ and more".encode(), note="text"),
    Case("/post", {"content-type": "multipart/form-data; boundary=frontier"}, MULTIPART),
    Case("/post", {}, BINARY, note="binary"),
    Case("/put", {}, b"put"),
    Case("/patch", {}, b"patch"),
    Case("/delete"),
    Case("/delete", FORM, b"a=1", note="content"),
    # anything
    Case("/anything", {"content-type": "application/json"}, b'{"a": "\xe2\x82\xac"}'),
    Case("/anything/a/b%2Fc/%E2%82%AC%20;v=1?q=%2F", {}, BINARY),
    Case("/anything//a", methods=GET, note="slashes to merge"),
    Case("/anything", {"origin": "https://other.test", "x-forwarded-proto": "http"}, note="cors"),
    Case(
        "/anything",
        {"origin": "https://other.test", "access-control-request-headers": "x-a"},
        methods=frozenset({"OPTIONS"}),
        note="preflight",
    ),
    # authentication
    Case("/basic-auth/user/passwd"),
    Case("/basic-auth/user/passwd", {"authorization": "Basic dXNlcjpwYXNzd2Q="}, note="right"),
    Case("/basic-auth/user/passwd", {"authorization": "Basic dXNlcjp3cm9uZw=="}, note="wrong"),
    Case("/hidden-basic-auth/user/passwd"),
    Case("/hidden-basic-auth/user/passwd", {"authorization": "Basic dXNlcjpwYXNzd2Q="}),
    Case("/bearer"),
    Case("/bearer", {"authorization": "Bearer some.token"}, note="right"),
    Case("/digest-auth/auth/user/passwd"),
    Case("/digest-auth/auth-int/user/passwd/SHA-256"),
    Case("/digest-auth/any/user/passwd/SHA-512/2"),
    # status codes, all that mean something and some that do not; 1xx are not an application's
    *(
        Case(f"/status/{code}", methods=frozenset({"GET"}))
        for code in (*httpx.codes, 299, 599)
        if code >= 200
    ),
    Case("/status/418"),
    Case("/status/204", {}, b"content"),
    Case("/status/418:1,200:0", note="weighted"),
    Case("/status/nonsense"),
    # what the request looked like
    Case("/ip"),
    Case("/headers", {"x-value": "a, b;  c", "x-forwarded-for": "192.0.2.1", "x-empty": ""}),
    Case("/headers?show_env", {"x-forwarded-for": "192.0.2.1"}),
    Case("/user-agent", {"user-agent": "some/1.0"}),
    # what the response looks like
    Case("/cache/60"),
    Case("/cache"),
    Case("/cache", {"if-none-match": "x"}, note="not modified"),
    Case("/etag/abc"),
    Case("/etag/abc", {"if-none-match": '"abc", "def"'}, note="not modified"),
    Case("/etag/abc", {"if-match": '"def"'}, note="precondition failed"),
    Case("/response-headers?x-a=1&x-a=2&Set-Cookie=a%3D1&Set-Cookie=b%3D2&X-B=%20b%20"),
    Case("/response-headers?x-a=%C3%A9", note="latin-1"),
    # formats
    Case("/html"),
    Case("/xml"),
    Case("/json"),
    Case("/robots.txt"),
    Case("/deny"),
    Case("/encoding/utf8"),
    Case("/forms/post"),
    Case("/gzip"),
    Case("/deflate"),
    Case("/brotli"),
    # made up on the spot
    Case("/base64/SFRUUEJJTiBpcyBhd2Vzb21l"),
    Case("/base64/nonsense"),
    Case("/bytes/0?seed=1"),
    Case("/bytes/100000?seed=1"),
    Case("/stream-bytes/0?seed=1"),
    Case("/stream-bytes/100000?seed=1"),
    Case("/stream-bytes/1000?seed=1&chunk_size=7", note="small chunks"),
    Case("/stream/0"),
    Case("/stream/100"),
    Case("/range/100000"),
    Case("/range/1000?chunk_size=7&duration=0.01", {"range": "bytes=100-199"}, note="middle"),
    Case("/range/1000", {"range": "bytes=-10"}, note="suffix"),
    Case("/range/1000", {"range": "bytes=990-2000"}, note="not satisfiable"),
    Case("/range/0", note="not found"),
    Case("/drip?duration=0.1&numbytes=5"),
    Case("/drip?duration=0&numbytes=2000&code=201"),
    Case("/drip?numbytes=0", note="none"),
    Case("/delay/0.01", FORM, b"a=1"),
    Case("/links/5"),
    Case("/links/5/2"),
    Case("/uuid"),
    # images
    Case("/image", {"accept": "image/webp"}),
    Case("/image", {"accept": "image/svg+xml"}, note="svg"),
    Case("/image", {"accept": "image/jpeg"}, note="jpeg"),
    Case("/image", {"accept": "image/*"}, note="any"),
    Case("/image", {"accept": "text/plain"}, note="not acceptable"),
    Case("/image/png"),
    Case("/image/jpeg"),
    Case("/image/webp"),
    Case("/image/svg"),
    # cookies
    Case("/cookies"),
    Case("/cookies", {"cookie": "a=1; b=two; __utmz=hidden"}, note="sent"),
    Case("/cookies/set?a=1&b=%E2%82%AC"),
    Case("/cookies/set/a/1"),
    Case("/cookies/delete?a=&b="),
    # redirects
    Case("/redirect/1"),
    Case("/redirect/3"),
    Case("/redirect/3?absolute=true"),
    Case("/relative-redirect/1"),
    Case("/relative-redirect/3"),
    Case("/absolute-redirect/1"),
    Case("/absolute-redirect/3"),
    Case("/redirect-to?url=https%3A%2F%2Fother.test%2F%3Fa%3D1"),
    Case("/redirect-to?url=/get&status_code=307"),
]
if importlib.util.find_spec("flasgger"):  # a part of the extra; httpbin does without it too
    CASES += [
        Case("/spec.json"),
        Case("/legacy"),
        Case("/oauth2-redirect.html"),
        Case("/apidocs/index.html"),
        Case("/flasgger_static/swagger-ui.css"),
    ]

METHODS_WITH_CONTENT = {"POST", "PUT", "PATCH", "DELETE"}


def endpoint(target: str) -> tuple[str, set[str]]:
    """Return the rule that answers ``target`` and its methods, or nothing if none does."""
    path = httpx.URL(ORIGIN + target).path
    adapter = app.url_map.bind(AUTHORITY)
    methods = set(adapter.allowed_methods(path))
    try:
        rule, _ = adapter.match(path, method=min(methods, default="GET"), return_rule=True)
    except (NotFound, RequestRedirect):
        return "", set()
    return rule.rule, methods


def requests_of(cases: list[Case]) -> Iterator[Any]:
    for case in cases:
        for method in sorted(case.methods or endpoint(case.target)[1]):
            name = f"{method} {case.target}" + (f" ({case.note})" if case.note else "")
            yield pytest.param(method, case, id=name)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it came: fields in order, names in lower case, content as it was coded."""

    status: int
    fields: list[tuple[str, str]]
    content: bytes
    version: str

    @property
    def comparable(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """What must be equal between the servers."""
        fields = [pair for pair in self.fields if pair[0] not in UNCOMPARED_FIELDS]
        # Order has a meaning among fields of one name only (RFC 9110 section 5.3).
        fields.sort(key=itemgetter(0))
        return self.status, fields, self.content


class Quiet(WSGIRequestHandler):
    """werkzeug's handler without its line per request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None: ...


@dataclass(frozen=True, slots=True)
class Pair:
    """Both servers' clients, each with its server's URL."""

    http2: httpx.Client
    http1: httpx.Client
    url: str

    def send(self, client: httpx.Client, method: str, target: str, **options: Any) -> Answer:
        """Send one request and take the response as it comes, coded as it is."""
        client.cookies.clear()
        with client.stream(method, target, **options) as response:
            content = b"".join(response.iter_raw())
        fields = [(name.lower(), value) for name, value in response.headers.multi_items()]
        return Answer(response.status_code, fields, content, response.http_version)

    def both(self, method: str, target: str, **options: Any) -> tuple[Answer, Answer]:
        """Return what h2wsgi and what werkzeug answers."""
        ours = self.send(self.http2, method, target, **options)
        theirs = self.send(self.http1, method, target, **options)
        assert (ours.version, theirs.version) == ("HTTP/2", "HTTP/1.1")
        return ours, theirs


def client(port: int, tls: ssl.SSLContext, *, http2: bool) -> httpx.Client:
    opened = httpx.Client(
        base_url=f"https://127.0.0.1:{port}",
        http1=not http2,
        http2=http2,
        verify=tls,
        trust_env=False,
        timeout=30,
        headers={"host": AUTHORITY},
    )
    # It would be among the fields that httpbin shows, in HTTP/1.1 only.
    del opened.headers["connection"]
    return opened


@pytest.fixture(scope="module")
def pair(cache_folder: object) -> Iterator[Pair]:
    """Both servers, running for the whole module, and connected to where that lasts."""
    certificate = ensure_development_certificate()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert)
    werkzeug = make_server("127.0.0.1", 0, app, True, request_handler=Quiet, ssl_context=context)
    thread = threading.Thread(target=werkzeug.serve_forever, args=(0.01,))
    thread.start()
    loop = os.environ.get("H2WSGI_TEST_LOOP", "auto")
    try:
        # One thread, so that no test is the one that starts another: requests come one by one.
        with h2wsgi.serve_in_thread(app, bind="127.0.0.1:0", threads=1, loop=loop) as server:
            port = int(server.url.rstrip("/").rpartition(":")[2])
            tls = ssl.create_default_context(cafile=server.ca_file)
            with (
                client(port, tls, http2=True) as http2,
                client(werkzeug.port, tls, http2=False) as http1,
            ):
                http2.get("/get")
                yield Pair(http2, http1, server.url)
    finally:
        werkzeug.shutdown()
        thread.join()


def covered(wanted: str) -> set[str]:
    """Return the methods that CASES use on a rule."""
    found: set[str] = set()
    for case in CASES:
        rule, methods = endpoint(case.target)
        if rule == wanted:
            found |= case.methods or methods
    return found


NONCES = re.compile(r'(?<=nonce=")[0-9a-f]+|(?<=opaque=")[0-9a-f]+|(?<=last_nonce=)[0-9a-f]+')
UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def without_chance(answer: Answer, target: str) -> Answer:
    """Return ``answer`` without what httpbin draws or reads off the clock for each request."""
    fields = [(name, NONCES.sub("drawn", value)) for name, value in answer.fields]
    content = answer.content
    if target == "/uuid":
        content = UUID.sub(b"drawn", content)
    elif target == "/gzip":
        content = content[:4] + content[8:]  # the time of compression (RFC 1952 section 2.3)
    elif target == "/cache":  # a random ETag, and modified just now
        drawn = ("etag", "last-modified")
        fields = [(name, "drawn" if name in drawn else value) for name, value in fields]
    return replace(answer, fields=fields, content=content)


@pytest.mark.parametrize("rule", list(app.url_map.iter_rules()), ids=str)
def test_every_method_of_every_rule_is_asked_for(rule: Any) -> None:
    assert rule.methods <= covered(rule.rule)


@pytest.mark.parametrize(("method", "case"), list(requests_of(CASES)))
def test_response_is_the_same_as_from_werkzeug(pair: Pair, method: str, case: Case) -> None:
    content = case.content if method in METHODS_WITH_CONTENT else b""
    ours, theirs = pair.both(method, case.target, headers=case.fields, content=content)
    ours, theirs = without_chance(ours, case.target), without_chance(theirs, case.target)
    status, fields, octets = theirs.comparable
    if status == 205:  # which has no content, and so no length (RFC 9110 section 15.3.6)
        fields.remove(("content-length", "0"))
    assert ours.comparable == (status, fields, octets)


@pytest.mark.parametrize("code", range(200, 600, 7))
def test_status_codes_without_a_meaning_arrive(pair: Pair, code: int) -> None:
    ours, theirs = pair.both("GET", f"/status/{code}")
    assert ours.status == code
    assert ours.comparable == theirs.comparable


def test_a_random_status_is_one_of_those_asked_for(pair: Pair) -> None:
    drawn = {pair.send(pair.http2, "GET", "/status/201,500").status for _ in range(40)}
    assert drawn == {201, 500}


@pytest.mark.parametrize(
    ("path", "flag"), [("/gzip", "gzipped"), ("/deflate", "deflated"), ("/brotli", "brotli")]
)
def test_compressed_content_can_be_decoded(pair: Pair, path: str, flag: str) -> None:
    response = pair.http2.get(path)
    assert response.json()[flag] is True


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512"])
@pytest.mark.parametrize("server", ["http2", "http1"])
def test_digest_authentication_succeeds(pair: Pair, algorithm: str, server: str) -> None:
    client = getattr(pair, server)
    client.cookies.clear()
    auth = httpx.DigestAuth(*BASIC)
    response = client.get(f"/digest-auth/auth/user/passwd/{algorithm}", auth=auth)
    assert [past.status_code for past in response.history] == [401]
    assert response.json() == {"authenticated": True, "user": "user"}


def test_a_digest_nonce_goes_stale(pair: Pair) -> None:
    pair.http2.cookies.clear()
    auth = httpx.DigestAuth(*BASIC)
    first = pair.http2.get("/digest-auth/auth/user/passwd/MD5/1", auth=auth)
    second = pair.http2.get("/digest-auth/auth/user/passwd/MD5/1", auth=auth)
    assert first.status_code == 200
    # httpx answers this challenge with the cookies it had before, so what follows is its affair.
    assert "stale=True" in second.history[0].headers["www-authenticate"]


def test_wrong_digest_credentials_are_refused(pair: Pair) -> None:
    pair.http2.cookies.clear()
    auth = httpx.DigestAuth("user", "wrong")
    assert pair.http2.get("/digest-auth/auth/user/passwd", auth=auth).status_code == 401


def test_cookies_are_kept_and_deleted(pair: Pair) -> None:
    pair.http2.cookies.clear()
    shown = pair.http2.get("/cookies/set?a=1&b=2", follow_redirects=True)
    assert shown.json() == {"cookies": {"a": "1", "b": "2"}}
    shown = pair.http2.get("/cookies/delete?a=", follow_redirects=True)
    assert shown.json() == {"cookies": {"b": "2"}}


@pytest.mark.parametrize("kind", ["redirect", "relative-redirect", "absolute-redirect"])
def test_redirects_lead_back_to_this_server(pair: Pair, kind: str) -> None:
    host = {"host": httpx.URL(pair.url).netloc.decode()}
    response = pair.http2.get(f"/{kind}/4", headers=host, follow_redirects=True)
    assert len(response.history) == 4
    assert response.json()["url"] == pair.url + "get"


def test_a_request_shows_this_servers_own_address(pair: Pair) -> None:
    host = httpx.URL(pair.url).netloc.decode()
    shown = pair.http2.get("/get", headers={"host": host}).json()
    assert shown["url"] == pair.url + "get"
    assert shown["headers"]["Host"] == host
    assert shown["origin"] == "127.0.0.1"


def test_ten_mebibytes_are_echoed(pair: Pair) -> None:
    content = random.Random(1).randbytes(10 * 1024 * 1024)
    ours, theirs = pair.both("POST", "/anything", content=content)
    assert ours.comparable == theirs.comparable
    scheme, _, coded = json.loads(ours.content)["data"].partition(",")
    assert scheme == "data:application/octet-stream;base64"
    assert base64.b64decode(coded) == content


def test_an_upload_needs_no_length(pair: Pair) -> None:
    # Compared with one that has a length: httpbin refuses chunked coding, its like in HTTP/1.1.
    parts = [b"one ", b"two ", b"three"]
    ours = pair.send(pair.http2, "POST", "/post", content=iter(parts))
    theirs = pair.send(pair.http1, "POST", "/post", content=b"".join(parts))
    expected = json.loads(theirs.content)
    assert expected["headers"]["Content-Length"] == "13"
    assert json.loads(ours.content) == expected


def test_a_drip_arrives_drop_by_drop(pair: Pair) -> None:
    with pair.http2.stream("GET", "/drip?duration=0.5&numbytes=5") as response:
        first, *rest = response.iter_raw()
    assert first == b"*"
    assert b"".join(rest) == b"****"
