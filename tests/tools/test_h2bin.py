"""h2bin: every endpoint on the wire, and what clients that share no code with us make of it.

The judges are h2's client side (of each illegal frame), curl, Node.js and nghttp. After each the
server answers another connection, and holds nothing.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest

from conftest import Connect, Serve
from h2wsgi import ErrorCode, Setting
from h2wsgi.h2bin import app
from h2wsgi.tools.h2bin.endpoints import ENDPOINTS
from h2wsgi.tools.h2bin.illegal import VIOLATIONS
from h2wsgi.tools.h2bin.index import page
from support.peer import Peer, Response, Type
from support.settled import settle

PATIENCE = 60


@pytest.fixture(params=["fast", "h2"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(serve: Serve, connect: Connect, engine: str) -> Iterator[Any]:
    """Serve h2bin; afterwards another connection is answered, and all is settled."""
    running = serve(app, engine=engine)
    yield running
    with connect(running) as peer:
        assert peer.get("/status/200").status == 200
    settle(running, connections=None)


@pytest.fixture
def peer(server: Any, connect: Connect) -> Peer:
    return connect(server)


def as_json(response: Response) -> Any:
    return json.loads(response.body)


def setting_of(peer: Peer, setting: Setting, value: int) -> None:
    peer.wait_until(lambda: peer.remote_settings.get(setting) == value, f"{setting.name} {value}")


# ------------------------------------------------------------------------------------ the page


def test_the_index_lists_every_endpoint_and_every_violation(peer: Peer) -> None:
    response = peer.get("/")
    text = response.body.decode()
    assert response.header("content-type") == "text/html; charset=utf-8"
    for item in ENDPOINTS:
        assert item.path.replace("<", "&lt;").replace(">", "&gt;") in text
    for name in VIOLATIONS:
        assert f'href="illegal/{name}"' in text


def test_the_page_loads_nothing_and_is_for_light_and_dark() -> None:
    text = page().decode()
    assert not re.search(r'(src|href)="(https?:)?//', text)
    assert "<script" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text


def test_every_example_of_the_page_is_an_endpoint(server: Any, connect: Connect) -> None:
    for item in ENDPOINTS:
        if item.example and item.group in (
            "Plain requests",
            "Trailers and informational responses",
        ):
            with connect(server) as peer:
                assert peer.get(item.example).status < 500, item.example


def test_an_unknown_path_points_to_the_index(peer: Peer) -> None:
    response = peer.get("/nothing/here")
    assert response.status == 404
    assert as_json(response) == {"error": "there is no /nothing/here here; / lists what there is"}


BAD = [
    ("/bytes/many", "n is 'many', which is not a whole number"),
    ("/bytes/-1", "n is -1, which is not from 0 to 104857600"),
    ("/delay/61", "seconds is 61, which is not from 0 to 60"),
    ("/delay/nan", "seconds is nan"),
    ("/status/99", "code is 99"),
    ("/status/101", "101 is no final status"),
    ("/reset/CANCLE", "Did you mean CANCEL?"),
    ("/reset-after/0/CANCEL", "n is 0"),
    ("/goaway/nothing", "no name of an error code"),
    ("/stall/1?of=all", "neither stream nor connection"),
    ("/settings", "say which setting"),
    ("/settings?MAX_FRAME_SIZE=1", "not from 16384"),
    ("/settings?MAX_FRAMES=1", "no name of a setting"),
    ("/settings?HEADER_TABLE_SIZE=0", "cannot be changed"),
    ("/trailers?content-length=3", "has no place in trailers"),
    ("/padding/256", "n is 256"),
    ("/content-length/odd", "neither short nor long"),
    ("/illegal/nothing", "/illegal lists them"),
]


@pytest.mark.parametrize(("path", "words"), BAD)
def test_what_makes_no_sense_is_a_400_in_words(peer: Peer, path: str, words: str) -> None:
    response = peer.get(path)
    assert response.status == 400
    assert words in as_json(response)["error"]


# --------------------------------------------------------------------------------------- plain


def test_get_echoes_the_request(peer: Peer) -> None:
    seen = as_json(peer.get("/get?a=1&b=", fields=[("x-own", "2"), ("x-own", "3")]))
    assert seen["method"] == "GET"
    assert seen["url"] == "https://localhost/get?a=1&b="
    assert seen["args"] == {"a": "1", "b": ""}
    assert seen["headers"]["x-own"] == "2,3"
    assert (seen["body_size"], seen["trailers"], seen["stream"]) == (0, [], 1)


def test_a_query_that_was_not_encoded_is_echoed_as_utf_8(peer: Peer) -> None:
    path: Any = "/get?q=\xe9".encode()
    seen = as_json(peer.get(path))
    assert (seen["args"], seen["url"]) == ({"q": "\xe9"}, "https://localhost/get?q=\xe9")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_content_and_trailers_are_echoed_by_size_and_name(peer: Peer, method: str) -> None:
    stream_id = peer.request(method, f"/{method.lower()}", end_stream=False)
    peer.data(stream_id, bytes(10_000))
    peer.headers(stream_id, [("x-sum", "1")], end_stream=True)
    seen = as_json(peer.response(stream_id))
    assert (seen["method"], seen["body_size"]) == (method, 10_000)
    assert seen["trailers"] == [["x-sum", "1"]]
    assert as_json(peer.get("/anything"))["method"] == "GET"


def test_the_wrong_method_is_a_405(peer: Peer) -> None:
    response = peer.get("/post")
    assert (response.status, response.header("allow")) == (405, "POST")


@pytest.mark.parametrize("code", [200, 204, 304, 418, 500, 599])
def test_status(peer: Peer, code: int) -> None:
    assert peer.get(f"/status/{code}").status == code


def test_bytes_stream_and_drip(peer: Peer) -> None:
    response = peer.get("/bytes/100000")
    assert (response.header("content-length"), response.received) == ("100000", 100_000)
    lines = peer.get("/stream/3").body.splitlines()
    assert [json.loads(line)["line"] for line in lines] == [0, 1, 2]
    began = time.monotonic()
    assert peer.get("/drip?duration=0.2&numbytes=4&delay=0").body == b"****"
    assert time.monotonic() - began > 0.14


def test_delay_answers_late_and_ends_with_its_client(peer: Peer, server: Any) -> None:
    assert as_json(peer.get("/delay/0.05")) == {"delay": 0.05}
    stream_id = peer.request(path="/delay/60")
    peer.roundtrip()
    peer.rst_stream(stream_id)
    peer.roundtrip()
    settle(server, connections=1)  # long before the 60 seconds are over


def test_large_headers(peer: Peer) -> None:
    response = peer.get("/large-headers/20000")
    assert sum(len(n) + len(v) for n, v in response.fields if n.startswith("x-large")) == 20_000
    assert [f for f in peer.log if f.type == Type.CONTINUATION]


# ------------------------------------------------------------------------------------- the wire


@pytest.fixture
def recorded(serve: Serve, engine: str) -> Any:
    return serve(app, engine=engine, record=True)


def test_frames_of_the_connection(recorded: Any, connect: Connect) -> None:
    other, peer = connect(recorded), connect(recorded)
    other.get("/get")
    peer.ping(b"12345678")
    peer.roundtrip()
    shown = as_json(peer.get("/frames"))
    assert shown["dropped"] == 0
    names = [(f["direction"], f["name"]) for f in shown["frames"] if f["name"] != "WINDOW_UPDATE"]
    assert ("received", "PING") in names
    assert names[-1] == ("received", "HEADERS")
    assert {f["connection"] for f in shown["frames"]} == {2}
    ping = next(f for f in shown["frames"] if f["name"] == "PING")
    assert ping["opaque"] == b"12345678".hex()


def test_the_connection_itself(recorded: Any, connect: Connect) -> None:
    peer = connect(recorded, settings={Setting.INITIAL_WINDOW_SIZE: 70_000})
    peer.wait_reset(peer.request(path="/reset/CANCEL"))
    shown = as_json(peer.get("/connection"))
    assert (shown["requests"], shown["reused"], shown["alpn"]) == (2, 1, "h2")
    assert shown["settings"] == {"INITIAL_WINDOW_SIZE": 70_000}
    assert shown["resets"] == [{"direction": "sent", "stream": 1, "code": "CANCEL"}]
    assert (shown["goaways"], shown["problems"]) == ([], [])


def test_header_fields_as_they_were_encoded(recorded: Any, connect: Connect) -> None:
    peer = connect(recorded)
    # :method and :scheme by their indexes, then literals: plain, for the table, with a new name.
    block = b"\x82\x87\x04\x08/headers\x41\x09localhost\x00\x03x-a\x011"
    peer.headers(1, block, end_stream=True)
    shown = as_json(peer.response(1))
    found = {f["name"]: f for f in shown["fields"]}
    assert (found[":method"]["representation"], found[":method"]["table"]) == ("indexed", "static")
    assert found[":authority"]["representation"] == "incremental indexing"
    assert found["x-a"]["representation"] == "without indexing"
    assert (found["x-a"]["name_huffman"], found["x-a"]["value_huffman"]) == (False, False)
    assert shown["table_entries"] == 1
    assert shown["octets"] == len(block)


@pytest.mark.parametrize("path", ["/frames", "/connection", "/headers"])
def test_a_server_that_does_not_record_says_so(peer: Peer, path: str) -> None:
    response = peer.get(path)
    assert response.status == 501
    assert "--record" in as_json(response)["error"]


# ------------------------------------------------------------------------------------- streams


@pytest.mark.parametrize("code", ["REFUSED_STREAM", "11", "0xdead"])
def test_reset(peer: Peer, code: str) -> None:
    stream_id = peer.request(path=f"/reset/{code}")
    expected = {"REFUSED_STREAM": 7, "11": 11, "0xdead": 0xDEAD}[code]
    assert peer.wait_reset(stream_id) == expected
    assert peer.responses[stream_id].status == 0


def test_reset_after(peer: Peer) -> None:
    stream_id = peer.request(path="/reset-after/20000/INTERNAL_ERROR")
    assert peer.wait_reset(stream_id) == ErrorCode.INTERNAL_ERROR
    assert peer.responses[stream_id].received == 20_000


def test_http_1_1_required(peer: Peer) -> None:
    assert peer.wait_reset(peer.request(path="/http-1-1-required")) == 0xD


@pytest.mark.parametrize("code", ["NO_ERROR", "ENHANCE_YOUR_CALM"])
def test_goaway(peer: Peer, code: str) -> None:
    stream_id = peer.request(path=f"/goaway/{code}")
    goaway = peer.wait_goaway()
    assert (goaway.error_code, goaway.last_stream_id) == (ErrorCode[code], stream_id)
    assert as_json(peer.response(stream_id)) == {"goaway": code, "answered_on": stream_id}
    peer.wait_closed()


def test_goaway_after_some_more_requests(peer: Peer) -> None:
    assert as_json(peer.get("/goaway-after/2")) == {"goaway_after": 2}
    assert peer.get("/get").status == 200
    assert not [f for f in peer.log if f.type == Type.GOAWAY]
    last = peer.request(path="/get")
    assert peer.response(last).status == 200
    assert peer.wait_goaway().last_stream_id == last
    peer.wait_closed()


def test_goaway_after_no_more_requests(peer: Peer) -> None:
    stream_id = peer.request(path="/goaway-after/0")
    assert peer.wait_goaway().last_stream_id == stream_id
    assert peer.response(stream_id).status == 200
    peer.wait_closed()


def test_early_response_is_whole_and_then_refuses_the_rest(peer: Peer) -> None:
    stream_id = peer.request("POST", "/early-response", end_stream=False)
    peer.data(stream_id, bytes(1000))
    response = peer.response(stream_id)
    assert as_json(response) == {"read": 0}
    assert peer.wait_reset(stream_id) == ErrorCode.NO_ERROR


def test_a_reset_without_error_follows_a_complete_answer(peer: Peer) -> None:
    stream_id = peer.request(path="/no-error-reset")
    assert peer.wait_reset(stream_id) == ErrorCode.NO_ERROR
    response = peer.responses[stream_id]
    assert response.ended
    assert as_json(response) == {"complete": True}


@pytest.mark.parametrize("of", ["stream", "connection"])
def test_stall(peer: Peer, of: str) -> None:
    began = time.monotonic()
    stream_id = peer.request(path=f"/stall/0.3?of={of}")
    peer.wait_data(stream_id, 7)
    assert peer.response(stream_id).body == b"before\nafter\n"
    assert time.monotonic() - began > 0.25
    if of == "stream":
        stream_id = peer.request(path="/stall/60?of=stream")
        peer.wait_data(stream_id, 7)
        assert peer.get("/get").status == 200
        assert not peer.responses[stream_id].ended
        peer.rst_stream(stream_id)


def test_window(peer: Peer) -> None:
    peer.wait_settings()
    stream_id = peer.request("POST", "/window/100", end_stream=False)
    setting_of(peer, Setting.INITIAL_WINDOW_SIZE, 100)
    peer.upload(stream_id, bytes(2000))
    seen = as_json(peer.response(stream_id))
    assert seen == {"settings": {"INITIAL_WINDOW_SIZE": 100}, "body_size": 2000}


def test_max_streams(peer: Peer) -> None:
    assert as_json(peer.get("/max-streams/0"))["settings"] == {"MAX_CONCURRENT_STREAMS": 0}
    setting_of(peer, Setting.MAX_CONCURRENT_STREAMS, 0)
    assert peer.wait_reset(peer.request(path="/get")) == ErrorCode.REFUSED_STREAM


def test_settings_by_name_and_number(peer: Peer) -> None:
    path = "/settings?MAX_HEADER_LIST_SIZE=9000&0xf0=5"
    seen = as_json(peer.get(path))
    assert seen["settings"] == {"MAX_HEADER_LIST_SIZE": 9000, "0xf0": 5}
    setting_of(peer, Setting.MAX_HEADER_LIST_SIZE, 9000)
    assert peer.remote_settings[0xF0] == 5


def test_ping(peer: Peer) -> None:
    assert 0 <= as_json(peer.get("/ping"))["milliseconds"] < 5000
    assert len([f for f in peer.log if f.type == Type.PING and not f.ack]) == 1


def test_trailers_both_ways(peer: Peer) -> None:
    response = peer.get("/trailers")
    assert response.trailers == [("x-h2bin-trailer", "behind the content")]
    stream_id = peer.request("POST", "/trailers?x-a=1&x-b=2", end_stream=False)
    peer.headers(stream_id, [("x-own", "3")], end_stream=True)
    response = peer.response(stream_id)
    assert response.trailers == [("x-a", "1"), ("x-b", "2")]
    assert response.header("trailer") == "x-a, x-b"
    assert as_json(response) == {"trailers_received": [["x-own", "3"]]}


def test_early_hints_and_informational(peer: Peer) -> None:
    response = peer.get("/early-hints")
    assert [status for status, _ in response.informational] == [103]
    assert len(response.headers("link")) == 2
    response = peer.get("/informational/5")
    assert [status for status, _ in response.informational] == [102, 103, 102, 103, 102]
    assert response.status == 200


# ---------------------------------------------------------------------------------- rare frames


@pytest.mark.parametrize("octets", [0, 1, 255])
def test_padding(peer: Peer, octets: int) -> None:
    stream_id = peer.request(path=f"/padding/{octets}")
    assert as_json(peer.response(stream_id)) == {"padding": octets}
    padded = [f for f in peer.log if f.stream_id == stream_id]
    assert [(f.type, bool(f.flags & 8), f.payload[0]) for f in padded] == [
        (Type.HEADERS, True, octets),
        (Type.DATA, True, octets),
    ]


@pytest.mark.parametrize("count", [0, 1, 50])
def test_continuation(peer: Peer, count: int) -> None:
    response = peer.get(f"/continuation/{count}")
    assert as_json(response) == {"continuation": count}
    assert len([f for f in peer.log if f.type == Type.CONTINUATION]) == count


def test_unknown_frames_are_ignored(peer: Peer) -> None:
    assert as_json(peer.get("/unknown-frame")) == {"unknown_frames": 2}
    assert [f.stream_id for f in peer.log if f.type == 0xFA] == [1, 0]


@pytest.mark.parametrize(("what", "octets"), [("short", 50), ("long", 150)])
def test_content_length_that_is_wrong(peer: Peer, what: str, octets: int) -> None:
    response = peer.get(f"/content-length/{what}")
    assert (response.header("content-length"), response.received) == ("100", octets)


def test_raw_data_counts_against_the_clients_windows(peer: Peer) -> None:
    """Many answers of raw frames: the windows are still kept, as the peer insists."""
    peer.auto_window = True
    for _ in range(1000):
        assert peer.get("/padding/255").ended
    assert peer.get("/bytes/200000").received == 200_000


# --------------------------------------------------------------------------------------- illegal

PROTOCOL = h2.exceptions.ProtocolError
JUDGED: dict[str, tuple[type[Exception], str] | str] = {
    # What h2's client makes of each: an exception with these words, or the event that ends it.
    "data-before-headers": (PROTOCOL, "data before headers"),
    "data-after-end": "StreamEnded",  # it says STREAM_CLOSED to the server, and nothing here
    "headers-after-end": (h2.exceptions.StreamClosedError, "1"),
    "data-on-idle-stream": (h2.exceptions.NoSuchStreamError, "1000001"),
    "headers-on-idle-stream": (PROTOCOL, "Invalid stream ID for peer"),
    "rst-on-idle": "StreamEnded",  # not noticed
    "window-update-on-idle": (h2.exceptions.NoSuchStreamError, "1000001"),
    "even-stream": (PROTOCOL, "missing mandatory"),
    "data-on-stream-0": (PROTOCOL, "must be non-zero"),
    "headers-on-stream-0": (PROTOCOL, "must be non-zero"),
    "push-promise": "StreamEnded",  # taken: this client did not disable it
    "push-promise-odd": (PROTOCOL, "non-compliant data"),
    "trailers-without-end": (PROTOCOL, "Trailers must have END_STREAM"),
    "trailers-with-status": (PROTOCOL, "pseudo-header in trailer"),
    "upper-case-name": (PROTOCOL, "uppercase header name"),
    "bad-name": (PROTOCOL, "in header name"),
    "bad-value": (PROTOCOL, "in header value"),
    "connection-field": (PROTOCOL, "Connection-specific"),
    "transfer-encoding": (PROTOCOL, "Connection-specific"),
    "missing-status": (PROTOCOL, "missing mandatory b':status'"),
    "bad-status": "StreamEnded",  # not noticed
    "two-statuses": (PROTOCOL, "duplicate pseudo-header"),
    "status-101": (PROTOCOL, "data before headers"),  # for it 101 is no final head
    "pseudo-after-regular": (PROTOCOL, "out of sequence"),
    "request-pseudo": (PROTOCOL, "request-only headers"),
    "unknown-pseudo": (PROTOCOL, "custom pseudo-header"),
    "bad-hpack": (PROTOCOL, "Invalid table index 0"),
    "hpack-index": (PROTOCOL, "Invalid table index 16510"),
    "hpack-table-size": (PROTOCOL, "exceeded max allowable table size"),
    "hpack-cut-short": (PROTOCOL, "Truncated header block"),
    "interleaved-continuation": (PROTOCOL, "Invalid frame during header block"),
    "continuation-alone": (PROTOCOL, "RECV_CONTINUATION"),
    "window-overflow": "StreamReset",
    "connection-window-overflow": (h2.exceptions.FlowControlError, "past 2147483647"),
    "zero-window-update": (PROTOCOL, "non-compliant data"),
    "zero-connection-window-update": (PROTOCOL, "non-compliant data"),
    "data-over-window": (h2.exceptions.FlowControlError, "shrunk below 0"),
    "frame-too-large": (h2.exceptions.FrameTooLargeError, "16385"),
    "padding-too-long": (PROTOCOL, "invalid padding"),
    "window-update-wrong-length": (h2.exceptions.FrameDataMissingError, "missing or invalid"),
    "ping-wrong-length": (h2.exceptions.FrameDataMissingError, "missing or invalid"),
    "ping-on-stream": (PROTOCOL, "Stream ID must be zero"),
    "rst-wrong-length": (h2.exceptions.FrameDataMissingError, "missing or invalid"),
    "rst-on-stream-0": (PROTOCOL, "must be non-zero"),
    "priority-on-stream-0": (PROTOCOL, "must be non-zero"),
    "goaway-on-stream": (PROTOCOL, "Stream ID must be zero"),
    "goaway-grows": (PROTOCOL, "RECV_HEADERS in state"),  # it takes no frame behind any GOAWAY
    "settings-ack-with-payload": (PROTOCOL, "non-compliant data"),
    "settings-wrong-length": (h2.exceptions.FrameDataMissingError, "missing or invalid"),
    "settings-on-stream": (PROTOCOL, "Stream ID must be zero"),
    "settings-bad-window": (h2.exceptions.InvalidSettingsValueError, "4"),
    "settings-bad-frame-size": (h2.exceptions.InvalidSettingsValueError, "5"),
    "settings-enable-push": (h2.exceptions.InvalidSettingsValueError, "2"),
    "unknown-settings": "StreamEnded",  # ignored, as it must be
}


def test_every_violation_is_judged() -> None:
    assert list(JUDGED) == list(VIOLATIONS)


class Judge:
    """h2's client side, and the octets it was given."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.settimeout(10)
        self.connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding=None)
        )
        self.connection.initiate_connection()
        self.seen = bytearray()

    def ask(self, path: str) -> str:
        """Return the event that ended the stream. Raises what h2 raises."""
        fields = {":method": "GET", ":scheme": "http", ":authority": "localhost", ":path": path}
        self.connection.send_headers(1, list(fields.items()), end_stream=True)
        ends = (h2.events.StreamEnded, h2.events.StreamReset)
        while True:
            self.sock.sendall(self.connection.data_to_send())
            data = self.sock.recv(65_536)
            assert data, "the server hung up first"
            self.seen += data
            for event in self.connection.receive_data(data):
                if isinstance(event, ends):
                    return type(event).__name__

    def read_on(self, wanted: bytes) -> None:
        """Read until the octets have come, whatever h2 thinks of them."""
        while wanted not in self.seen:
            data = self.sock.recv(65_536)
            assert data, "the server hung up first"
            self.seen += data


def on_the_wire(name: str) -> bytes:
    """Return a violation's frames as octets, the first 100,000 of them."""
    octets = b""
    for frame in VIOLATIONS[name].frames(1):
        stream_id = 1 if frame.stream_id is None else frame.stream_id
        octets += len(frame.payload).to_bytes(3, "big") + bytes((frame.type, frame.flags))
        octets += stream_id.to_bytes(4, "big") + frame.payload
        if len(octets) > 100_000:
            break
    return octets[:100_000]


@pytest.mark.parametrize("name", JUDGED)
def test_illegal_frames_are_on_the_wire_and_found_by_another_client(
    serve: Serve, engine: str, name: str
) -> None:
    server = serve(app, engine=engine, h2c=True)
    port = int(server.url.rstrip("/").rpartition(":")[2])
    judge = Judge(port)
    verdict = JUDGED[name]
    try:
        if isinstance(verdict, str):
            assert judge.ask(f"/illegal/{name}") == verdict
        else:
            with pytest.raises(verdict[0], match=re.escape(verdict[1])) as caught:
                judge.ask(f"/illegal/{name}")
            assert caught.type is verdict[0]
        judge.read_on(on_the_wire(name))
    finally:
        judge.sock.close()
    with Peer.connect(
        ("127.0.0.1", int(server.url.rstrip("/").rpartition(":")[2])), tls=False
    ) as p:
        assert p.get("/get").status == 200
    settle(server)


def test_the_index_of_violations_names_their_sections(peer: Peer) -> None:
    seen = as_json(peer.get("/illegal/"))
    assert set(seen) == {f"/illegal/{name}" for name in VIOLATIONS}
    assert all(re.fullmatch(r"\d\.\d+(\.\d)?|\d", item["section"]) for item in seen.values())


# ------------------------------------------------------------------------------ real clients

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def curl(server: Any, path: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = ["curl", "--silent", "--show-error", "--http2", "--max-time", "50", *more]
    command += ["--cacert", str(server.ca_file), server.join(path)]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE, text=True, check=False)


def test_curl_survives_every_violation(server: Any) -> None:
    """It ends with an answer or an error, and by itself but for one, which curl 7.88 waits on."""
    others = [name for name in VIOLATIONS if name != "padding-too-long"]
    codes = {name: curl(server, f"illegal/{name}").returncode for name in others}
    waits = curl(server, "illegal/padding-too-long", "--max-time", "10")
    assert waits.returncode in (28, 52, 56, 92)
    assert set(codes.values()) <= {0, 16, 18, 52, 55, 56, 92}, codes
    for name in ("bad-hpack", "even-stream", "goaway-on-stream", "ping-wrong-length"):
        assert codes[name] in (16, 52, 56), name
    for name in ("upper-case-name", "bad-status", "window-overflow", "trailers-with-status"):
        assert codes[name] == 92, name
    assert codes["unknown-settings"] == 0


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("reset/ENHANCE_YOUR_CALM", "ENHANCE_YOUR_CALM"),
        ("reset-after/100/INTERNAL_ERROR", "INTERNAL_ERROR"),
    ],
)
def test_curl_names_the_code_of_a_reset(server: Any, path: str, words: str) -> None:
    done = curl(server, path)
    assert done.returncode == 92
    assert words in done.stderr


@pytest.mark.parametrize(
    "path",
    [
        "goaway/NO_ERROR",
        "no-error-reset",
        "padding/100",
        "continuation/5",
        "unknown-frame",
        "informational/5",
        "trailers",
        "window/100",
        "ping",
    ],
)
def test_curl_takes_what_is_legal(server: Any, path: str) -> None:
    done = curl(server, path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)


def test_curl_uploads_through_a_small_window(server: Any, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(bytes(30_000))
    done = curl(server, "window/1000", "--data-binary", f"@{content}")
    assert json.loads(done.stdout)["body_size"] == 30_000


def test_nghttp_shows_the_padding(server: Any) -> None:
    command = ["nghttp", "--verbose", "--no-verify-peer", server.join("padding/9")]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, text=True, check=True)
    assert "END_HEADERS | PADDED" in done.stdout
    assert done.stdout.count("(padlen=10)") == 2  # nghttp counts the octet that tells it


NODE = """
import http2 from "node:http2";
import fs from "node:fs";
const [url, ca, ...paths] = process.argv.slice(2);
const seen = {};
for (const path of paths) {
  seen[path] = await new Promise((done) => {
    const session = http2.connect(url, {ca: fs.readFileSync(ca)});
    const request = session.request({":path": path});
    let failed = null;
    let status = 0;
    session.on("error", (error) => { failed ??= error.code; });
    request.on("error", (error) => { failed ??= error.code; });
    request.on("response", (fields) => { status = fields[":status"]; });
    const end = () => {
      clearTimeout(timer);
      session.destroy();
      done([failed, status, request.rstCode]);
    };
    const timer = setTimeout(() => { failed = "WAITING"; end(); }, 30000);
    request.on("close", end);
    session.on("close", end);
    request.resume();
    request.end();
  });
}
console.log(JSON.stringify(seen));
"""


def test_node_ends_the_stream_or_the_connection(server: Any, tmp_path: Path) -> None:
    """Of what Node.js 18 notices; for some of the others it waits for ever, as curl does."""
    whole = ["/no-error-reset", "/goaway/NO_ERROR", "/padding/3", "/illegal/unknown-settings"]
    of_stream = ["upper-case-name", "connection-field", "missing-status", "two-statuses"]
    of_connection = ["even-stream", "goaway-on-stream", "settings-on-stream", "ping-on-stream"]
    paths = ["/reset/CANCEL", *whole]
    paths += [f"/illegal/{name}" for name in (*of_stream, *of_connection)]
    script = tmp_path / "client.mjs"
    script.write_text(NODE)
    command = ["node", str(script), server.url, str(server.ca_file), *paths]
    done = subprocess.run(command, capture_output=True, timeout=120, text=True, check=True)
    seen = json.loads(done.stdout)
    assert seen["/reset/CANCEL"] == [None, 0, ErrorCode.CANCEL]
    assert [seen[path] for path in whole] == [[None, 200, 0]] * 4
    for name in of_stream:
        assert seen[f"/illegal/{name}"] == ["ERR_HTTP2_STREAM_ERROR", 0, ErrorCode.PROTOCOL_ERROR]
    for name in of_connection:
        assert seen[f"/illegal/{name}"][:2] == ["ERR_HTTP2_ERROR", 0]
