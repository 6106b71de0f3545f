"""What a field section must be (RFC 9113 sections 8.1.1 to 8.3, 8.5), asked over TLS."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from conftest import Connect, Serve
from support.peer import Code, Peer, Setting, Type
from support.settled import eventually

CONNECTION_SPECIFIC = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
]


# --------------------------------------------------------------------------------- live


class App:
    """Returns the content it was sent, and counts its calls."""

    def __init__(self) -> None:
        self.environs: list[dict[str, Any]] = []
        self.failure: BaseException | None = None
        self.failed = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.environs.append(environ)
        try:
            content = environ["wsgi.input"].read()
        except OSError as error:
            self.failure = error
            self.failed.set()
            raise
        start_response("200 OK", [("content-type", "text/plain")])
        return [content]


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def peer(app: App, serve: Serve, connect: Connect) -> Peer:
    return connect(serve(app))


def assert_no_goaway(peer: Peer) -> None:
    assert not any(frame.type == Type.GOAWAY for frame in peer.log)


Pairs = list[tuple[str | bytes, str | bytes]]
REQUEST: Pairs = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/"),
]


def replaced(name: str, value: str | bytes | None) -> Pairs:
    return [(n, value if n == name else v) for n, v in REQUEST if n != name or value is not None]


HOST = ("host", "localhost")


def added(*fields: tuple[str | bytes, str | bytes]) -> Pairs:
    return [*REQUEST, *fields]


MALFORMED: dict[str, Pairs] = {
    "no fields": [],
    "no :method": replaced(":method", None),
    "no :scheme": replaced(":scheme", None),
    "no :path": replaced(":path", None),
    "an empty :path": replaced(":path", ""),
    "an empty :method": replaced(":method", ""),
    "an empty :scheme": replaced(":scheme", ""),
    "an empty :authority": replaced(":authority", ""),
    ":method with a space": replaced(":method", "GET /"),
    ":scheme with a space": replaced(":scheme", "ht tp"),
    ":path without a slash": replaced(":path", "index"),
    ":path * without OPTIONS": replaced(":path", "*"),
    ":path as a URL": replaced(":path", "https://localhost/"),
    ":path with a space": replaced(":path", "/a b"),
    ":path with a fragment": replaced(":path", "/a#b"),
    ":path with DEL": replaced(":path", "/\x7f"),
    ":path with a tab": replaced(":path", "/\t"),
    ":authority with userinfo": replaced(":authority", "me@localhost"),
    ":authority with a space": replaced(":authority", "local host"),
    ":authority with a slash": replaced(":authority", "localhost/a"),
    ":method twice": [(":method", "GET"), *REQUEST],
    ":path twice": [*REQUEST, (":path", "/")],
    "a pseudo-header field behind others": [("x-a", "b"), *REQUEST],
    "an unknown pseudo-header field": [*REQUEST, (":colour", "red")],
    "a response's pseudo-header field": [*REQUEST, (":status", "200")],
    ":protocol, which was not offered": [(":protocol", "websocket"), *REQUEST],
    "an upper-case name": added(("X-Upper", "a")),
    "an empty name": added(("", "a")),
    "a name with a space": added(("x a", "b")),
    "a name with a colon": added(("x:a", "b")),
    "a name with an octet above ASCII": added((b"x-\xe4", "b")),
    "a name with a control character": added(("x-\x01", "b")),
    "a value with NUL": added(("x-a", "b\0c")),
    "a value with CR": added(("x-a", "b\rc")),
    "a value with LF": added(("x-a", "b\nc: d")),
    "a value with DEL": added(("x-a", "b\x7fc")),
    "a value with a leading space": added(("x-a", " b")),
    "a value with a trailing tab": added(("x-a", "b\t")),
    "te other than trailers": added(("te", "gzip")),
    "host that is not :authority": added(("host", "elsewhere")),
    "host with another port": added(("host", "localhost:8443")),
    "host with the other scheme's port": added(("host", "localhost:80")),
    "host with two colons before the default port": added(("host", "localhost::443")),
    "host with two colons": added(("host", "localhost::")),
    "an empty host": added(("host", "")),
    "host twice": added(("host", "localhost"), ("host", "localhost")),
    "content-type twice": added(("content-type", "a/b"), ("content-type", "a/b")),
    "content-length that is no number": added(("content-length", "five")),
    "content-length with a sign": added(("content-length", "+0")),
    "two content-lengths": added(("content-length", "0"), ("content-length", "1")),
    "content-length without content": added(("content-length", "1")),
    "CONNECT with :path": replaced(":method", "CONNECT"),
    "CONNECT without :authority": [(":method", "CONNECT")],
    **{name: added((name, "a")) for name in CONNECTION_SPECIFIC},
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_request_is_answered_and_reset_and_never_starts(
    app: App, peer: Peer, fields: Pairs
) -> None:
    peer.headers(1, fields, end_stream=True)
    response = peer.response(1)
    assert (response.status, response.ended) == (400, True)
    if (":method", "HEAD") not in fields:
        assert response.body.startswith(b"Bad Request: ")
    assert peer.wait_reset(1) == Code.PROTOCOL_ERROR
    assert peer.get("/next", stream_id=3).status == 200
    assert [environ["PATH_INFO"] for environ in app.environs] == ["/next"]
    assert_no_goaway(peer)


REASONS: dict[str, tuple[Pairs, bytes]] = {
    "space around a value": (
        added(("x-a", "a ")),
        b"the value of 'x-a' begins or ends with white space",
    ),
    "te": (added(("te", "gzip")), b"'te' is not 'trailers' (section 8.2.2)"),
    "a path": (replaced(":path", 'a"b'), b":path 'a\"b' is not a path"),
    "a long name": (
        added(("X" * 9_000, "a")),
        b"'" + b"X" * 80 + b"'... is not a lower-case field name",
    ),
    "octets above ASCII": (
        added((b"x-\xe4", "b")),
        rb"'x-\xe4' is not a lower-case field name",
    ),
}


@pytest.mark.parametrize(("fields", "reason"), REASONS.values(), ids=REASONS.keys())
def test_the_client_of_a_malformed_request_is_told_why(
    peer: Peer, fields: Pairs, reason: bytes
) -> None:
    peer.headers(1, fields, end_stream=True)
    response = peer.response(1)
    assert response.header("content-type") == "text/plain; charset=utf-8"
    assert response.body == b"Bad Request: " + reason + b"\n"


def test_a_malformed_request_for_a_head_is_answered_without_content(peer: Peer) -> None:
    response = peer.get(method="HEAD", fields=[("x-a", "a ")])
    assert (response.status, response.body, response.ended) == (400, b"", True)
    assert peer.wait_reset(1) == Code.PROTOCOL_ERROR


@pytest.mark.parametrize(("methods", "content"), [("GET HEAD", 0), ("HEAD GET", 1)])
def test_of_two_methods_the_last_says_whether_the_answer_has_content(
    peer: Peer, methods: str, content: int
) -> None:
    peer.headers(1, [*((":method", m) for m in methods.split()), *REQUEST[1:]], end_stream=True)
    response = peer.response(1)
    assert (response.status, response.ended) == (400, True)
    assert min(response.received, 1) == content


def test_an_upload_that_is_malformed_is_answered_reset_and_ignored(app: App, peer: Peer) -> None:
    stream_id = peer.request("POST", fields=[("te", "gzip")], end_stream=False)
    peer.data(stream_id, bytes(10_000))
    assert peer.response(stream_id).status == 400
    peer.data(stream_id, bytes(10_000))
    assert peer.wait_reset(stream_id) == Code.PROTOCOL_ERROR
    peer.data(stream_id, bytes(10_000), end_stream=True)
    assert peer.get("/next").status == 200
    assert len(app.environs) == 1
    assert_no_goaway(peer)


def test_a_malformed_request_whose_answer_cannot_leave_is_reset_all_the_same(
    app: App, serve: Serve, connect: Connect
) -> None:
    server = serve(app)
    peer = connect(server, settings={Setting.INITIAL_WINDOW_SIZE: 0})
    peer.wait_settings_ack()
    stream_id = peer.request(fields=[("te", "gzip")])
    assert peer.wait_reset(stream_id) == Code.PROTOCOL_ERROR
    response = peer.responses[stream_id]
    assert (response.status, response.received, response.ended) == (400, 0, False)
    eventually(lambda: server.server.running_requests == 0, "the stream to be forgotten")


def test_a_path_that_is_malformed_behind_one_that_was_not(app: App, peer: Peer) -> None:
    """Whether or not the rest of its field block was seen before."""
    for path, status in [("/a", 200), ("/b", 200), ("c", 400), ("/d", 200), ("e f", 400)]:
        response = peer.get(path)
        assert response.status == status
        if status == 400:
            assert response.body == f"Bad Request: :path '{path}' is not a path\n".encode()
    assert [environ["PATH_INFO"] for environ in app.environs] == ["/a", "/b", "/d"]


def test_malformed_trailers_are_a_reset_and_no_answer(app: App, peer: Peer) -> None:
    stream_id = peer.request("POST", end_stream=False)
    peer.data(stream_id, b"content")
    peer.headers(stream_id, [("te", "gzip")], end_stream=True)
    assert peer.wait_reset(stream_id) == Code.PROTOCOL_ERROR
    assert peer.responses[stream_id].status == 0


ACCEPTED: dict[str, Pairs] = {
    "te: trailers": added(("te", "trailers")),
    "OPTIONS *": [(":method", "OPTIONS"), *replaced(":path", "*")[1:]],
    "no :authority": replaced(":authority", None),
    "host alone": [*replaced(":authority", None), ("host", "localhost")],
    "host as :authority in capitals": added(("host", "LOCALHOST")),
    "host with the default port": added(("host", "localhost:443")),
    "host with an empty port": added(("host", "localhost:")),
    "host without the default port": [*replaced(":authority", "localhost:443"), HOST],
    "host without the default port of http": [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "localhost:80"),
        (":path", "/"),
        HOST,
    ],
    "an empty value": added(("x-a", "")),
    "octets above ASCII": added(("x-a", b"\xff\x80")),
    "a tab within a value": added(("x-a", "b\tc")),
    "content-length of 0": added(("content-length", "0")),
    "the same content-length twice": added(("content-length", "0"), ("content-length", "0")),
    "pseudo-header fields in another order": [*REQUEST[::-1], ("x-a", "b")],
    "octets above ASCII in :path": replaced(":path", b"/\xc3\xa4?\xff\x80"),
    "a query of marks": replaced(":path", "/?a=%00&b=\"<>\\^`{|}~'"),
}


@pytest.mark.parametrize("fields", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_legal_request_is_answered(peer: Peer, fields: Pairs) -> None:
    peer.headers(1, fields, end_stream=True)
    assert peer.response(1).status == 200


def test_connect_is_not_implemented(app: App, peer: Peer) -> None:
    peer.headers(1, [(":method", "CONNECT"), (":authority", "example:443")])
    response = peer.response(1)
    assert (response.status, response.ended) == (501, True)
    assert peer.wait_reset(1) == Code.NO_ERROR
    assert not app.environs
    assert peer.get("/", stream_id=3).status == 200


def test_the_crumbs_of_a_cookie_are_joined_and_count_as_one_field(app: App, peer: Peer) -> None:
    crumbs = [("cookie", f"c{n}={n}") for n in range(1_000)]
    assert peer.get("/", fields=crumbs).status == 200
    assert app.environs[0]["HTTP_COOKIE"].split("; ") == [f"c{n}={n}" for n in range(1_000)]
    assert peer.get("/", fields=crumbs * 2).status == 431


def test_crumbs_leave_the_other_fields_their_limit(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, max_fields=10))
    crumbs = [("cookie", "a=b")] * 20
    assert peer.get("/", fields=[*crumbs, *[("x-a", "b")] * 5]).status == 200
    assert peer.get("/", fields=[*crumbs, *[("x-a", "b")] * 6]).status == 431


def test_the_crumbs_of_a_cookie_are_bounded_by_the_decoded_section(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, max_field_section=1024))
    assert peer.get("/", fields=[("cookie", "")] * 20).status == 200
    assert peer.get("/", fields=[("cookie", "")] * 27).status == 431


def test_too_many_fields_are_431(app: App, serve: Serve, connect: Connect) -> None:
    peer = connect(serve(app, max_fields=10))
    assert peer.get("/", fields=[("x-a", "b")] * 6).status == 200
    response = peer.get("/", fields=[("x-a", "b")] * 7)
    assert (response.status, response.body) == (431, b"Request Header Fields Too Large\n")
    assert len(app.environs) == 1
    assert peer.get("/").status == 200


def test_too_many_octets_of_fields_are_431(app: App, serve: Serve, connect: Connect) -> None:
    peer = connect(serve(app, max_field_section=1024))
    peer.wait_settings()
    assert peer.remote_settings[Setting.MAX_HEADER_LIST_SIZE] == 1024
    assert peer.get("/", fields=[("x-a", "b" * 700)]).status == 200
    assert peer.get("/", fields=[("x-a", "b" * 1000)]).status == 431
    assert peer.get("/").status == 200


def test_the_answer_to_a_head_that_is_too_large_has_no_content(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, max_field_section=1024))
    response = peer.get("/", method="HEAD", fields=[("x-a", "b" * 1000)])
    assert (response.status, response.body, response.ended) == (431, b"", True)
    assert response.header("content-length") == "32"


def test_an_upload_with_too_many_fields_is_answered_and_refused(peer: Peer) -> None:
    stream_id = peer.request("POST", "/", fields=[("x-a", "b")] * 200, end_stream=False)
    assert peer.response(stream_id).status == 431
    assert peer.wait_reset(stream_id) == Code.NO_ERROR
    peer.data(stream_id, b"late", end_stream=True)
    assert peer.get("/").status == 200


def test_small_blocks_that_decode_to_much_are_refused(
    app: App, serve: Serve, connect: Connect
) -> None:
    # One entry of 4,000 octets, referred to again and again by one octet each.
    peer = connect(serve(app))
    peer.headers(1, [*REQUEST, ("x-bomb", "b" * 3_900)], end_stream=True)
    assert peer.response(1).status == 200
    block = peer.encode(REQUEST) + peer.encode([("x-bomb", "b" * 3_900)]) * 60
    assert len(block) < 500
    peer.headers(3, block, end_stream=True)
    assert peer.response(3).status == 431
    more = peer.encode(REQUEST) + peer.encode([("x-bomb", "b" * 3_900)]) * 10_000
    peer.headers(5, more, end_stream=True)
    goaway = peer.wait_goaway()
    assert goaway.error_code == Code.ENHANCE_YOUR_CALM
    assert len(app.environs) == 1


def test_a_field_block_too_large_to_decode_is_a_connection_error(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, max_field_section=1024))
    peer.headers(1, b"\x82" * 2_049, end_stream=True)
    goaway = peer.wait_goaway()
    assert (goaway.error_code, goaway.last_stream_id) == (Code.ENHANCE_YOUR_CALM, 0)


def test_trailers_over_the_limits_end_their_stream_alone(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, max_fields=10))
    stream_id = peer.request("POST", "/", end_stream=False)
    peer.data(stream_id, b"content")
    eventually(lambda: app.environs, "the application to begin")
    peer.headers(stream_id, [("x-a", "b")] * 11, end_stream=True)
    assert peer.wait_reset(stream_id) == Code.ENHANCE_YOUR_CALM
    assert app.failed.wait(10)
    assert peer.get("/").status == 200


# ----------------------------------------------------------------------------- max_body


def test_a_content_length_over_max_body_is_413_before_anything_is_sent(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, max_body=100))
    stream_id = peer.request("POST", "/", fields=[("content-length", "101")], end_stream=False)
    response = peer.response(stream_id)
    assert (response.status, response.body) == (413, b"Content Too Large\n")
    assert peer.wait_reset(stream_id) == Code.NO_ERROR
    assert not app.environs


def test_content_over_max_body_is_413_when_it_comes(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, max_body=100))
    stream_id = peer.request("POST", "/", end_stream=False)
    peer.data(stream_id, bytes(100))
    peer.data(stream_id, b"x")
    assert peer.response(stream_id).status == 413
    assert peer.wait_reset(stream_id) == Code.NO_ERROR
    assert type(app.failure).__name__ == "BodyTooLarge"
    assert peer.get("/").status == 200


@pytest.mark.parametrize("fields", [[], [("content-length", "100")]], ids=["unsaid", "said"])
def test_content_of_exactly_max_body_is_taken(
    app: App, serve: Serve, connect: Connect, fields: Any
) -> None:
    peer = connect(serve(app, max_body=100))
    response = peer.get("/", method="POST", fields=fields, body=bytes(100))
    assert (response.status, response.received) == (200, 100)


def test_a_head_over_max_body_gets_no_content(app: App, serve: Serve, connect: Connect) -> None:
    peer = connect(serve(app, max_body=100))
    stream_id = peer.request("HEAD", "/", fields=[("content-length", "101")], end_stream=False)
    response = peer.response(stream_id)
    assert (response.status, response.body) == (413, b"")
