"""Trailers both ways, and 1xx responses: what leaves when, what is refused, what reaches whom.

On both engines; curl and Node.js say what clients make of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi import ApplicationError, ClientDisconnected, ErrorCode
from support.peer import Peer, Type
from support.settled import PATIENCE, settle

Start = Callable[..., Any]
Fields = list[tuple[str, str]]
TRAILERS = [("x-checksum", "abc"), ("grpc-status", "0")]


@pytest.fixture(params=["fast", "h2"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def trailers_of(peer: Peer, stream_id: int) -> Fields:
    response = peer.response(stream_id)
    assert response.ended
    return response.trailers


def last_frame(peer: Peer, stream_id: int) -> int:
    return [f for f in peer.log if f.stream_id == stream_id][-1].type


# ---------------------------------------------------------------------- trailers of responses


def as_list(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("200 OK", [])
    environ["wsgi.ext.http.send_trailers"](TRAILERS)
    return [b"con", b"tent"]


def before_start_response(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    environ["wsgi.ext.http.send_trailers"](TRAILERS)
    start("200 OK", [])
    return [b"content"]


def as_generator(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("200 OK", [])
    yield b"con"
    yield b"tent"
    environ["wsgi.ext.http.send_trailers"](TRAILERS)


def then_more_content(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("200 OK", [])
    yield b"con"
    environ["wsgi.ext.http.send_trailers"](TRAILERS)
    yield b"tent"


def with_write(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    write = start("200 OK", [])
    write(b"content")
    environ["wsgi.ext.http.send_trailers"](TRAILERS)
    return []


def in_two_calls(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("200 OK", [])
    yield b"content"
    environ["wsgi.ext.http.send_trailers"](TRAILERS[:1])
    environ["wsgi.ext.http.send_trailers"](TRAILERS[1:])


def with_length(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("200 OK", [("Content-Length", "7")])
    yield b"con"
    environ["wsgi.ext.http.send_trailers"](TRAILERS)
    yield b"tent"


def announced(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("200 OK", [("Content-Length", "7"), ("Trailer", "x-checksum, grpc-status")])
    yield b"content"
    environ["wsgi.ext.http.send_trailers"](TRAILERS)


def announced_as_list(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    environ["wsgi.ext.http.send_trailers"](TRAILERS)
    start("200 OK", [("Content-Length", "7"), ("Trailer", "x-checksum")])
    return [b"content"]


def behind_a_refused_replacement(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("200 OK", [])
    environ["wsgi.ext.http.send_trailers"](TRAILERS)
    try:
        raise ValueError
    except ValueError:
        with pytest.raises(ApplicationError):
            start("500 Error", [("bad name", "x")], sys.exc_info())
    return [b"content"]


@pytest.mark.parametrize(
    "app",
    [
        behind_a_refused_replacement,
        as_list,
        before_start_response,
        as_generator,
        then_more_content,
        with_write,
        in_two_calls,
        with_length,
        announced,
        announced_as_list,
    ],
)
def test_trailers_leave_behind_the_content_with_end_stream(
    serve: Serve, connect: Connect, engine: str, app: Any
) -> None:
    server = serve(app, engine=engine)
    peer = connect(server)
    for _ in range(2):
        stream_id = peer.request()
        assert trailers_of(peer, stream_id) == TRAILERS
        assert peer.responses[stream_id].body == b"content"
        assert last_frame(peer, stream_id) == Type.HEADERS
    settle(server, connections=1)


def test_trailers_may_be_all_there_is(serve: Serve, connect: Connect, engine: str) -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", [])
        environ["wsgi.ext.http.send_trailers"](TRAILERS)
        return [b""]

    peer = connect(serve(app, engine=engine))
    stream_id = peer.request()
    assert trailers_of(peer, stream_id) == TRAILERS
    assert peer.responses[stream_id].body == b""


def test_announced_trailers_that_never_come_leave_a_plain_end(
    serve: Serve, connect: Connect, engine: str
) -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", [("Content-Length", "7"), ("Trailer", "x-checksum")])
        if environ["PATH_INFO"] == "/list":
            return [b"content"]
        return iter([b"content"])

    peer = connect(serve(app, engine=engine))
    for path in ("/list", "/iterator"):
        stream_id = peer.request(path=path)
        assert trailers_of(peer, stream_id) == []
        assert peer.responses[stream_id].body == b"content"


def test_trailers_wait_for_the_content_and_the_content_for_its_window(
    serve: Serve, connect: Connect, engine: str
) -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        environ["wsgi.ext.http.send_trailers"](TRAILERS)
        start("200 OK", [])
        return [bytes(100_000)]

    peer = connect(serve(app, engine=engine))
    peer.auto_window = False
    stream_id = peer.request()
    peer.wait_data(stream_id, 65_535)
    peer.roundtrip()
    assert not peer.responses[stream_id].ended
    peer.window_update(0, 100_000)
    peer.window_update(stream_id, 100_000)
    assert trailers_of(peer, stream_id) == TRAILERS
    assert peer.responses[stream_id].received == 100_000


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 205), ("GET", 304)]
)
def test_a_response_without_content_has_no_trailers(
    serve: Serve, connect: Connect, engine: str, method: str, status: int
) -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        environ["wsgi.ext.http.send_trailers"](TRAILERS)
        start(f"{status} So", [])
        return []

    peer = connect(serve(app, engine=engine))
    stream_id = peer.request(method)
    assert trailers_of(peer, stream_id) == []
    assert peer.responses[stream_id].status == status


def test_too_little_content_is_a_reset_and_no_trailers(
    serve: Serve, connect: Connect, engine: str
) -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", [("Content-Length", "8")])
        yield b"content"
        environ["wsgi.ext.http.send_trailers"](TRAILERS)

    peer = connect(serve(app, engine=engine))
    stream_id = peer.request()
    assert peer.wait_reset(stream_id) == ErrorCode.INTERNAL_ERROR
    assert peer.responses[stream_id].trailers == []


def test_trailers_of_a_response_that_failed_do_not_leave(
    serve: Serve, connect: Connect, engine: str
) -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", [])
        environ["wsgi.ext.http.send_trailers"](TRAILERS)
        raise RuntimeError("too bad")

    peer = connect(serve(app, engine=engine))
    stream_id = peer.request()
    assert trailers_of(peer, stream_id) == []
    assert peer.responses[stream_id].status == 500


def test_trailers_behind_the_end_are_refused(serve: Serve, connect: Connect, engine: str) -> None:
    raised: list[BaseException] = []
    over = threading.Event()

    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", [("Content-Length", "7")])
        yield b"content"
        try:
            environ["wsgi.ext.http.send_trailers"](TRAILERS)
        except ApplicationError as error:
            raised.append(error)
        over.set()

    peer = connect(serve(app, engine=engine))
    stream_id = peer.request()
    assert trailers_of(peer, stream_id) == []
    assert over.wait(PATIENCE)
    assert "announce them by a Trailer field" in str(raised[0])


REFUSED: list[tuple[Any, type[Exception]]] = [
    ([(":status", "200")], ApplicationError),
    ([("connection", "close")], ApplicationError),
    ([("Transfer-Encoding", "chunked")], ApplicationError),
    ([("Content-Length", "7")], ApplicationError),
    ([("Set-Cookie", "a=b")], ApplicationError),
    ([("x-a", "b\r\nx-c: d")], ApplicationError),
    ([("x-a", "b\0")], ApplicationError),
    ([("x a", "b")], ApplicationError),
    ([("x-a", "\u20ac")], ApplicationError),
    ([("x-a", b"b")], TypeError),
    ([("x-a",)], TypeError),
    ({"x-a": "b"}, TypeError),
    ("x-a: b", TypeError),
    (None, TypeError),
]


def test_what_has_no_place_in_trailers_is_refused(serve: Serve, connect: Connect) -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        for headers, kind in REFUSED:
            with pytest.raises(kind):
                environ["wsgi.ext.http.send_trailers"](headers)
        start("200 OK", [])
        return [b"content"]

    peer = connect(serve(app))
    stream_id = peer.request()
    assert trailers_of(peer, stream_id) == []
    assert peer.responses[stream_id].body == b"content"


# ----------------------------------------------------------------------- trailers of requests


def tells_trailers(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    before = environ["h2wsgi.trailers"]()
    content = environ["wsgi.input"].read()
    after = environ["h2wsgi.trailers"]()
    in_environ = [key for key in environ if "CHECKSUM" in key]
    start("200 OK", [])
    return [repr((before, content, after, in_environ)).encode()]


def test_trailers_of_a_request_are_there_once_it_was_read(
    serve: Serve, connect: Connect, engine: str
) -> None:
    peer = connect(serve(tells_trailers, engine=engine))
    stream_id = peer.request("POST", fields=[("expect", "100-continue")], end_stream=False)
    # 100 Continue: the application has come as far as to read.
    peer.wait_for(lambda frame: frame.type == Type.HEADERS)
    peer.data(stream_id, b"content")
    peer.headers(stream_id, [("x-checksum", "abc"), ("x-checksum", "d")], end_stream=True)
    expected = ([], b"content", [("x-checksum", "abc"), ("x-checksum", "d")], [])
    assert peer.response(stream_id).body == repr(expected).encode()


def test_a_request_without_trailers_has_none(serve: Serve, connect: Connect, engine: str) -> None:
    peer = connect(serve(tells_trailers, engine=engine))
    assert peer.get().body == repr(([], b"", [], [])).encode()
    assert peer.get(method="POST", body=b"content").body == repr(([], b"content", [], [])).encode()


def test_trailers_reach_their_own_request_alone(
    serve: Serve, connect: Connect, engine: str
) -> None:
    peer = connect(serve(tells_trailers, engine=engine))
    first = peer.request("POST", end_stream=False)
    second = peer.request("POST", end_stream=False)
    peer.rst_stream(first)
    peer.data(second, b"content", end_stream=True)
    peer.headers(first, [("x-checksum", "of a stream that was reset")], end_stream=True)
    assert peer.wait_goaway().error_code == ErrorCode.STREAM_CLOSED
    assert peer.response(second).body == repr(([], b"content", [], [])).encode()


# ------------------------------------------------------------------------------ 1xx responses


def test_early_hints_precede_the_response(serve: Serve, connect: Connect, engine: str) -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        hints = environ["wsgi.early_hints"]
        hints([("Link", "</a.css>; rel=preload"), ("Link", "</b.js>; rel=preload")])
        start("200 OK", [])
        return [b"content"]

    server = serve(app, engine=engine)
    peer = connect(server)
    for _ in range(2):
        stream_id = peer.request()
        response = peer.response(stream_id)
        links = [("link", "</a.css>; rel=preload"), ("link", "</b.js>; rel=preload")]
        assert response.informational == [(103, links)]
        assert (response.status, response.body) == (200, b"content")
    settle(server, connections=1)


def test_early_hints_leave_before_the_application_goes_on(
    serve: Serve, connect: Connect, engine: str
) -> None:
    gate = threading.Event()

    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        environ["wsgi.early_hints"]([("Link", "</a.css>")])
        assert gate.wait(PATIENCE)
        start("200 OK", [])
        return [b"content"]

    peer = connect(serve(app, engine=engine))
    stream_id = peer.request()
    peer.wait_until(
        lambda: bool(stream_id in peer.responses and peer.responses[stream_id].informational),
        "103",
    )
    assert peer.responses[stream_id].status == 0
    gate.set()
    assert peer.response(stream_id).body == b"content"


def test_any_number_of_informational_responses_leaves_in_order(
    serve: Serve, connect: Connect, engine: str
) -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        for number in range(100):
            environ["h2wsgi.stream"].send_informational(102 + number % 2, [("x-n", str(number))])
        start("200 OK", [])
        return [b"content"]

    peer = connect(serve(app, engine=engine))
    response = peer.get()
    assert [fields for _, fields in response.informational] == [
        [("x-n", str(n))] for n in range(100)
    ]
    assert {status for status, _ in response.informational} == {102, 103}
    assert response.body == b"content"


def test_behind_the_head_hints_are_dropped_and_others_refused(
    serve: Serve, connect: Connect, engine: str
) -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", [])
        yield b"con"
        environ["wsgi.early_hints"]([("Link", "</a.css>")])
        with pytest.raises(ApplicationError):
            environ["h2wsgi.stream"].send_informational(102)
        yield b"tent"

    peer = connect(serve(app, engine=engine))
    response = peer.get()
    assert response.informational == []
    assert response.body == b"content"


def test_hints_for_a_client_that_is_gone_raise(serve: Serve, connect: Connect) -> None:
    found: list[bool] = []
    started, over = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        started.set()
        found.append(environ["h2wsgi.stream"].disconnected.wait(PATIENCE))
        try:
            environ["wsgi.early_hints"]([("Link", "</a.css>")])
        except ClientDisconnected:
            over.set()
        start("200 OK", [])
        return []

    peer = connect(serve(app))
    stream_id = peer.request()
    assert started.wait(PATIENCE)
    peer.rst_stream(stream_id)
    assert over.wait(PATIENCE)
    assert found == [True]


# -------------------------------------------------------------------------- what clients see


NODE = """
import http2 from "node:http2";
import fs from "node:fs";
const [url, ca] = process.argv.slice(2);
const session = http2.connect(url, {ca: fs.readFileSync(ca)});
const request = session.request({":path": "/"});
const seen = {content: ""};
request.on("headers", (fields) => { seen.hints = [fields[":status"], fields.link]; });
request.on("response", (fields) => { seen.status = fields[":status"]; });
request.on("trailers", (fields) => { seen.trailers = {...fields}; });
request.setEncoding("utf8");
request.on("data", (text) => { seen.content += text; });
request.on("end", () => { console.log(JSON.stringify(seen)); session.close(); });
request.end();
"""


def hints_and_trailers(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    environ["wsgi.early_hints"]([("Link", "</a.css>")])
    start("200 OK", [])
    environ["wsgi.ext.http.send_trailers"](TRAILERS)
    return [b"content"]


def test_node_sees_hints_and_trailers(serve: Serve, engine: str, tmp_path: Path) -> None:
    server = serve(hints_and_trailers, engine=engine)
    script = tmp_path / "client.mjs"
    script.write_text(NODE)
    command = ["node", str(script), server.url, str(server.ca_file)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout) == {
        "content": "content",
        "status": 200,
        "hints": [103, "</a.css>"],
        "trailers": dict(TRAILERS),
    }


def test_curl_sees_hints_and_takes_trailers(serve: Serve, engine: str) -> None:
    server = serve(hints_and_trailers, engine=engine)
    command = ["curl", "--silent", "--http2", "--verbose", "--cacert", str(server.ca_file)]
    done = subprocess.run([*command, server.url], capture_output=True, timeout=60, check=True)
    lines = [line.strip() for line in done.stderr.decode().splitlines()]
    seen = [line for line in lines if line.startswith(("< HTTP/2", "< link"))]
    assert seen == ["< HTTP/2 103", "< link: </a.css>", "< HTTP/2 200"]
    assert done.stdout == b"content"
