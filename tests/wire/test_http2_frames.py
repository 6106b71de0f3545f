"""Frames, legal and not, sent raw over TLS (RFC 9113 sections 3.4 to 6.10).

What must be a connection error is one, with the right code and a true last-stream-id; what must
be a stream error leaves the connection and its other streams as they were (invariant 6).
"""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import Connect, Serve
from support.peer import (
    ACK,
    DEFAULT_MAX_FRAME_SIZE,
    END_HEADERS,
    END_STREAM,
    PADDED,
    PREFACE,
    PRIORITY,
    Code,
    Frame,
    Peer,
    Priority,
    Setting,
    Type,
    one_write,
)

REQUEST = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")]
POST = [(":method", "POST"), *REQUEST[1:]]
LARGEST_WINDOW = 2**31 - 1


class App:
    """Answers by path: ``/hold`` waits to be released, ``/echo`` returns what it was sent."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.entered = threading.Semaphore(0)
        self.read_failed = threading.Event()
        self.calls: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        self.calls.append(path)
        fields = [("content-type", "text/plain")]
        content = b"hello"
        if path == "/hold":
            self.entered.release()
            assert self.release.wait(20)
        elif path == "/echo":
            content = self.read(environ)
        elif path == "/big":
            content = bytes(int(environ["QUERY_STRING"]))
        elif path == "/field":
            fields.append(("x-echo", environ["HTTP_X_VARYING"]))
        elif path == "/fields":
            fields += [(f"x-{n}", "v" * 4_000) for n in range(12)]
        start_response("200 OK", fields)
        return [content]

    def read(self, environ: dict[str, Any]) -> bytes:
        self.entered.release()
        try:
            return environ["wsgi.input"].read()
        except OSError:
            self.read_failed.set()
            raise


@pytest.fixture
def app(serve: Serve) -> Iterator[App]:
    """An application whose held requests end with the test, before the server does."""
    app = App()
    yield app
    app.release.set()


@pytest.fixture
def peer(app: App, serve: Serve, connect: Connect) -> Peer:
    return connect(serve(app))


def frame_header(length: int, type: int, flags: int = 0, stream_id: int = 0) -> bytes:
    return struct.pack("!L", length)[1:] + struct.pack("!BBL", type, flags, stream_id)


def credits_of(peer: Peer, stream_id: int) -> int:
    return sum(
        frame.increment or 0
        for frame in peer.log
        if frame.type == Type.WINDOW_UPDATE and frame.stream_id == stream_id
    )


# --------------------------------------------------------------------------- connection errors

Attack = Callable[[Peer], None]


def raw(type: int, flags: int, stream_id: int, payload: bytes = b"") -> Attack:
    return lambda peer: peer.send_frame(type, flags, stream_id, payload)


def settings(**values: int) -> Attack:
    return lambda peer: peer.settings({Setting[name]: value for name, value in values.items()})


def block(octets: bytes, stream_id: int = 3) -> Attack:
    return lambda peer: peer.headers(stream_id, octets, end_stream=True)


def interrupted(type: int, flags: int, stream_id: int, payload: bytes) -> Attack:
    def attack(peer: Peer) -> None:
        peer.headers(3, REQUEST, end_stream=True, end_headers=False)
        peer.send_frame(type, flags, stream_id, payload)

    return attack


def overflow_by_settings(peer: Peer) -> None:
    peer.request(path="/hold")
    peer.window_update(3, LARGEST_WINDOW - 65_535)
    peer.settings({Setting.INITIAL_WINDOW_SIZE: 65_536})


def skip_then_go_back(peer: Peer) -> None:
    peer.request(stream_id=7)
    peer.request(stream_id=5)


PROTOCOL = Code.PROTOCOL_ERROR
SIZE = Code.FRAME_SIZE_ERROR
CONNECTION_ERRORS: dict[str, tuple[Attack, Code]] = {
    "DATA on stream 0": (raw(Type.DATA, 0, 0, b"x"), PROTOCOL),
    "DATA on an idle stream": (raw(Type.DATA, 0, 3, b"x"), PROTOCOL),
    "DATA on an even stream": (raw(Type.DATA, 0, 2, b"x"), PROTOCOL),
    "DATA padded by its own length": (raw(Type.DATA, PADDED, 1, b"\x06hello"), PROTOCOL),
    "DATA padded by more than its length": (raw(Type.DATA, PADDED, 1, b"\xffhello"), PROTOCOL),
    "DATA padded without a pad length": (raw(Type.DATA, PADDED, 1), SIZE),
    "HEADERS on stream 0": (block(b"\x82", 0), PROTOCOL),
    "HEADERS on an even stream": (block(b"\x82", 2), PROTOCOL),
    "HEADERS on a stream that was skipped": (skip_then_go_back, PROTOCOL),
    "HEADERS on a closed stream": (block(b"\x82\x86\x84\x41\x01a", 1), Code.STREAM_CLOSED),
    "HEADERS padded by its own length": (
        raw(Type.HEADERS, END_HEADERS | PADDED, 3, b"\x03\x82\x82"),
        PROTOCOL,
    ),
    "HEADERS too short for its priority": (
        raw(Type.HEADERS, END_HEADERS | PRIORITY, 3, b"\0\0\0\0"),
        SIZE,
    ),
    "HEADERS padded without a pad length": (raw(Type.HEADERS, END_HEADERS | PADDED, 3), SIZE),
    "PRIORITY of an idle stream that depends on itself": (
        lambda peer: peer.priority(3, depends_on=3),
        PROTOCOL,
    ),
    "PRIORITY of an even stream that depends on itself": (
        lambda peer: peer.priority(2, depends_on=2, exclusive=True),
        PROTOCOL,
    ),
    "PRIORITY on stream 0": (raw(Type.PRIORITY, 0, 0, bytes(5)), PROTOCOL),
    "RST_STREAM on stream 0": (raw(Type.RST_STREAM, 0, 0, bytes(4)), PROTOCOL),
    "RST_STREAM on an idle stream": (raw(Type.RST_STREAM, 0, 3, bytes(4)), PROTOCOL),
    "RST_STREAM of 3 octets": (raw(Type.RST_STREAM, 0, 1, bytes(3)), SIZE),
    "RST_STREAM of 5 octets": (raw(Type.RST_STREAM, 0, 1, bytes(5)), SIZE),
    "SETTINGS on a stream": (raw(Type.SETTINGS, 0, 1), PROTOCOL),
    "SETTINGS of 5 octets": (raw(Type.SETTINGS, 0, 0, bytes(5)), SIZE),
    "SETTINGS ACK with content": (raw(Type.SETTINGS, ACK, 0, bytes(6)), SIZE),
    "SETTINGS with 33 entries": (
        raw(Type.SETTINGS, 0, 0, struct.pack("!HL", 0xF000, 0) * 33),
        Code.ENHANCE_YOUR_CALM,
    ),
    "ENABLE_PUSH of 2": (settings(ENABLE_PUSH=2), PROTOCOL),
    "INITIAL_WINDOW_SIZE of 2^31": (
        settings(INITIAL_WINDOW_SIZE=2**31),
        Code.FLOW_CONTROL_ERROR,
    ),
    "MAX_FRAME_SIZE of 16,383": (settings(MAX_FRAME_SIZE=16_383), PROTOCOL),
    "MAX_FRAME_SIZE of 2^24": (settings(MAX_FRAME_SIZE=2**24), PROTOCOL),
    "MAX_FRAME_SIZE of 0 that another replaces": (
        raw(Type.SETTINGS, 0, 0, struct.pack("!HLHL", 5, 0, 5, 16_384)),
        PROTOCOL,
    ),
    "INITIAL_WINDOW_SIZE that overflows a window": (
        overflow_by_settings,
        Code.FLOW_CONTROL_ERROR,
    ),
    "PUSH_PROMISE": (raw(Type.PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2\x82"), PROTOCOL),
    "PING on a stream": (raw(Type.PING, 0, 1, bytes(8)), PROTOCOL),
    "PING of 7 octets": (raw(Type.PING, 0, 0, bytes(7)), SIZE),
    "PING of 9 octets": (raw(Type.PING, 0, 0, bytes(9)), SIZE),
    "GOAWAY on a stream": (raw(Type.GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    "GOAWAY of 7 octets": (raw(Type.GOAWAY, 0, 0, bytes(7)), SIZE),
    "WINDOW_UPDATE of 0 on the connection": (raw(Type.WINDOW_UPDATE, 0, 0, bytes(4)), PROTOCOL),
    "WINDOW_UPDATE on an idle stream": (
        raw(Type.WINDOW_UPDATE, 0, 3, b"\0\0\0\1"),
        PROTOCOL,
    ),
    "WINDOW_UPDATE of 3 octets": (raw(Type.WINDOW_UPDATE, 0, 0, bytes(3)), SIZE),
    "WINDOW_UPDATE that overflows the connection's window": (
        raw(Type.WINDOW_UPDATE, 0, 0, struct.pack("!L", LARGEST_WINDOW)),
        Code.FLOW_CONTROL_ERROR,
    ),
    "CONTINUATION without HEADERS": (raw(Type.CONTINUATION, END_HEADERS, 1, b"\x82"), PROTOCOL),
    "CONTINUATION on stream 0": (raw(Type.CONTINUATION, END_HEADERS, 0, b"\x82"), PROTOCOL),
    "CONTINUATION on another stream": (
        interrupted(Type.CONTINUATION, END_HEADERS, 5, b"\x82"),
        PROTOCOL,
    ),
    "DATA within a field block": (interrupted(Type.DATA, 0, 1, b"x"), PROTOCOL),
    "PING within a field block": (interrupted(Type.PING, 0, 0, bytes(8)), PROTOCOL),
    "HEADERS within a field block": (
        interrupted(Type.HEADERS, END_HEADERS, 3, b"\x82"),
        PROTOCOL,
    ),
    "an unknown frame within a field block": (interrupted(0xEE, 0, 0, b""), PROTOCOL),
    "an HPACK index beyond the tables": (block(b"\xff\x80\x7f"), Code.COMPRESSION_ERROR),
    "an HPACK index of 0": (block(b"\x80"), Code.COMPRESSION_ERROR),
    "a truncated HPACK integer": (block(b"\x82\xff"), Code.COMPRESSION_ERROR),
    "a truncated HPACK string": (block(b"\x82\x41\x7fshort"), Code.COMPRESSION_ERROR),
    "Huffman padding of a whole octet": (
        block(b"\x82\x86\x84\x41\x82\xff\xff"),
        Code.COMPRESSION_ERROR,
    ),
    "an HPACK table larger than allowed": (block(b"\x3f\xe2\x1f\x82"), Code.COMPRESSION_ERROR),
    "an HPACK table update behind a field": (block(b"\x82\x20"), Code.COMPRESSION_ERROR),
    "three HPACK table updates": (block(b"\x20\x20\x20\x82"), Code.COMPRESSION_ERROR),
    "an HPACK error in trailers of a closed stream": (block(b"\x80", 1), Code.COMPRESSION_ERROR),
}


@pytest.mark.parametrize(
    ("attack", "code"), CONNECTION_ERRORS.values(), ids=CONNECTION_ERRORS.keys()
)
def test_a_connection_error_is_answered_with_goaway_and_the_last_stream(
    peer: Peer, attack: Attack, code: Code
) -> None:
    assert peer.get("/").status == 200
    attack(peer)
    goaway = peer.wait_goaway()
    assert goaway.error_code == code
    opened = {stream_id for stream_id in (1, 3, 7) if stream_id < peer.next_stream_id}
    assert goaway.last_stream_id == max(opened)


def test_a_connection_error_ends_in_an_orderly_close(peer: Peer) -> None:
    peer.ping(b"short")
    assert peer.wait_goaway().error_code == Code.FRAME_SIZE_ERROR
    assert peer.wait_closed() == "end of file"


@pytest.mark.parametrize("length", [DEFAULT_MAX_FRAME_SIZE + 1, 2**24 - 1])
@pytest.mark.parametrize("type", [Type.DATA, Type.HEADERS, Type.SETTINGS, Type.CONTINUATION, 0xEE])
def test_a_frame_too_long_is_refused_on_its_header_alone(
    peer: Peer, type: int, length: int
) -> None:
    peer.send_raw(frame_header(length, type, 0, 1))
    goaway = peer.wait_goaway()
    assert (goaway.error_code, goaway.last_stream_id) == (Code.FRAME_SIZE_ERROR, 0)


@pytest.mark.parametrize(("type", "length"), [(Type.PING, 9), (Type.RST_STREAM, 16_384)])
def test_a_frame_of_a_wrong_size_is_refused_on_its_header_alone(
    peer: Peer, type: int, length: int
) -> None:
    peer.send_raw(frame_header(length, type))
    assert peer.wait_goaway().error_code == Code.FRAME_SIZE_ERROR


def test_data_of_the_largest_size_is_taken(peer: Peer) -> None:
    response = peer.get("/echo", method="POST", body=bytes(DEFAULT_MAX_FRAME_SIZE))
    assert response.received == DEFAULT_MAX_FRAME_SIZE


def test_requests_before_a_bad_frame_in_the_same_segment_are_answered(app: App, peer: Peer) -> None:
    with one_write(peer):
        streams = [peer.request(path="/hold") for _ in range(3)]
        peer.ping(b"short")
        peer.request(path="/never")
    goaway = peer.wait_goaway()
    assert (goaway.error_code, goaway.last_stream_id) == (Code.FRAME_SIZE_ERROR, streams[-1])
    app.release.set()
    for stream_id in streams:
        response = peer.response(stream_id)
        assert (response.status, response.body) == (200, b"hello")
    assert peer.wait_closed() == "end of file"
    assert "/never" not in app.calls


def test_an_unfinished_request_ends_with_a_failed_connection(app: App, peer: Peer) -> None:
    stream_id = peer.request("POST", "/echo", end_stream=False)
    assert app.entered.acquire(timeout=10)
    peer.send_frame(Type.PING, 0, 1, bytes(8))
    assert peer.wait_goaway().last_stream_id == stream_id
    assert app.read_failed.wait(10)


# ------------------------------------------------------------------------------ the preface


@pytest.mark.parametrize(
    "octets",
    [
        b"\0" * 24,
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        PREFACE[1:] + frame_header(0, Type.SETTINGS),
    ],
    ids=["nulls", "nearly", "http1", "shifted"],
)
def test_what_is_no_preface_ends_a_connection_in_frames_only(
    app: App, serve: Serve, connect: Connect, octets: bytes
) -> None:
    # TLS has agreed on h2 and our SETTINGS are out: whatever else we send must be frames too.
    peer = connect(serve(app), preface=False, settings=None)
    peer.auto_ack_settings = False
    peer.wait_settings()
    peer.send_raw(octets)
    assert peer.wait_closed() == "end of file"
    codes = [frame.error_code for frame in peer.log if frame.type == Type.GOAWAY]
    assert codes in ([], [Code.PROTOCOL_ERROR])
    assert sum(frame.type == Type.SETTINGS for frame in peer.log) == 1


def test_a_bad_preface_in_cleartext_ends_the_connection(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, h2c=True), preface=False, settings=None)
    peer.send_raw(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
    assert peer.wait_closed() == "end of file"
    assert [f.error_code for f in peer.log if f.type == Type.GOAWAY] in ([], [PROTOCOL])


@pytest.mark.parametrize("size", [1, 7])
def test_a_preface_in_small_pieces_is_taken(
    app: App, serve: Serve, connect: Connect, size: int
) -> None:
    peer = connect(serve(app), preface=False, settings=None)
    octets = PREFACE + frame_header(0, Type.SETTINGS)
    for start in range(0, len(octets), size):
        peer.send_raw(octets[start : start + size])
    assert peer.get("/").status == 200


def test_a_first_frame_that_is_not_settings_is_a_connection_error(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app), settings=None)
    peer.request()
    assert peer.wait_goaway().error_code == Code.PROTOCOL_ERROR


def test_the_server_begins_with_settings(peer: Peer) -> None:
    peer.wait_settings()
    assert peer.log[0].type == Type.SETTINGS
    assert not peer.log[0].ack
    assert peer.remote_settings[Setting.MAX_CONCURRENT_STREAMS] == 100
    assert peer.remote_settings[Setting.MAX_HEADER_LIST_SIZE] == 65_536


# --------------------------------------------------------------------------- stream errors


def open_upload(peer: Peer, *fields: tuple[str, str]) -> int:
    return peer.request("POST", "/echo", fields=fields, end_stream=False)


def half_closed(send: Callable[[Peer, int], None]) -> Callable[[Peer], int]:
    def attack(peer: Peer) -> int:
        stream_id = peer.request(path="/hold")
        send(peer, stream_id)
        return stream_id

    return attack


def on_upload(*fields: tuple[str, str], send: Callable[[Peer, int], None]) -> Callable[[Peer], int]:
    def attack(peer: Peer) -> int:
        stream_id = open_upload(peer, *fields)
        send(peer, stream_id)
        return stream_id

    return attack


def overlong_data(peer: Peer, stream_id: int) -> None:
    peer.data(stream_id, b"hel")
    peer.data(stream_id, b"lo!")


def short_data_in_two(peer: Peer, stream_id: int) -> None:
    peer.data(stream_id, b"hell")
    peer.data(stream_id, b"", end_stream=True)


def short_data_with_trailers(peer: Peer, stream_id: int) -> None:
    peer.data(stream_id, b"hell")
    peer.headers(stream_id, [("x-sum", "1")], end_stream=True)


def depends_on_itself(peer: Peer) -> int:
    stream_id = peer.next_stream_id
    peer.next_stream_id += 2
    peer.headers(stream_id, REQUEST, end_stream=True, priority=Priority(stream_id, exclusive=True))
    return stream_id


def content_length_without_content(peer: Peer) -> int:
    return peer.request("POST", "/echo", fields=[("content-length", "5")])


FIVE = ("content-length", "5")
STREAM_ERRORS: dict[str, tuple[Callable[[Peer], int], Code]] = {
    "DATA after END_STREAM": (half_closed(lambda p, s: p.data(s, b"x")), Code.STREAM_CLOSED),
    "empty DATA after END_STREAM": (
        half_closed(lambda p, s: p.data(s, b"", end_stream=True)),
        Code.STREAM_CLOSED,
    ),
    "HEADERS after END_STREAM": (
        half_closed(lambda p, s: p.headers(s, [("x-a", "b")], end_stream=True)),
        Code.STREAM_CLOSED,
    ),
    "WINDOW_UPDATE of 0": (half_closed(lambda p, s: p.window_update(s, 0)), PROTOCOL),
    "WINDOW_UPDATE that overflows": (
        half_closed(lambda p, s: p.window_update(s, LARGEST_WINDOW)),
        Code.FLOW_CONTROL_ERROR,
    ),
    "PRIORITY of 4 octets": (
        half_closed(lambda p, s: p.send_frame(Type.PRIORITY, 0, s, bytes(4))),
        SIZE,
    ),
    "PRIORITY of a stream that depends on itself": (
        half_closed(lambda p, s: p.priority(s, depends_on=s)),
        PROTOCOL,
    ),
    "HEADERS of a stream that depends on itself": (depends_on_itself, PROTOCOL),
    "trailers of a stream that depends on itself": (
        on_upload(send=lambda p, s: p.headers(s, [], end_stream=True, priority=Priority(s))),
        PROTOCOL,
    ),
    "trailers without END_STREAM": (
        on_upload(send=lambda p, s: p.headers(s, [("x-a", "b")])),
        PROTOCOL,
    ),
    "trailers with a pseudo-header field": (
        on_upload(send=lambda p, s: p.headers(s, [(":path", "/")], end_stream=True)),
        PROTOCOL,
    ),
    "trailers with an upper-case name": (
        on_upload(send=lambda p, s: p.headers(s, [("X-A", "b")], end_stream=True)),
        PROTOCOL,
    ),
    "content-length and END_STREAM on HEADERS": (content_length_without_content, PROTOCOL),
    "less than content-length": (
        on_upload(FIVE, send=lambda p, s: p.data(s, b"hell", end_stream=True)),
        PROTOCOL,
    ),
    "nothing for a content-length": (
        on_upload(FIVE, send=lambda p, s: p.data(s, b"", end_stream=True)),
        PROTOCOL,
    ),
    "less than content-length, then empty DATA": (
        on_upload(FIVE, send=short_data_in_two),
        PROTOCOL,
    ),
    "less than content-length, then trailers": (
        on_upload(FIVE, send=short_data_with_trailers),
        PROTOCOL,
    ),
    "more than content-length": (
        on_upload(FIVE, send=lambda p, s: p.data(s, b"hello!", end_stream=True)),
        PROTOCOL,
    ),
    "more than content-length in two": (on_upload(FIVE, send=overlong_data), PROTOCOL),
    "content for a content-length of 0": (
        on_upload(("content-length", "0"), send=lambda p, s: p.data(s, b"x")),
        PROTOCOL,
    ),
}


@pytest.mark.parametrize(("attack", "code"), STREAM_ERRORS.values(), ids=STREAM_ERRORS.keys())
def test_a_bad_stream_does_not_disturb_its_neighbours(
    app: App, peer: Peer, attack: Callable[[Peer], int], code: Code
) -> None:
    before = open_upload(peer)
    peer.data(before, b"first ")
    held = peer.request(path="/hold")
    stream_id = attack(peer)
    assert peer.wait_reset(stream_id) == code
    peer.data(before, b"second", end_stream=True)
    assert peer.response(before).body == b"first second"
    assert peer.get("/").status == 200
    app.release.set()
    assert peer.response(held).status == 200
    assert not any(frame.type == Type.GOAWAY for frame in peer.log)


def test_a_body_shorter_than_announced_is_no_end_of_file_to_the_application(
    app: App, peer: Peer
) -> None:
    stream_id = open_upload(peer, FIVE)
    assert app.entered.acquire(timeout=10)
    peer.data(stream_id, b"hell", end_stream=True)
    assert peer.wait_reset(stream_id) == Code.PROTOCOL_ERROR
    assert app.read_failed.wait(10)


def test_padding_does_not_count_as_content(peer: Peer) -> None:
    stream_id = open_upload(peer, FIVE)
    peer.data(stream_id, b"hel", padding=200)
    peer.data(stream_id, b"", padding=0)
    peer.data(stream_id, b"lo", padding=255, end_stream=True)
    assert peer.response(stream_id).body == b"hello"


def test_a_bad_request_leaves_the_dynamic_table_in_step(peer: Peer) -> None:
    # Its block put entries into the table: the next one refers to them.
    bad = peer.request(path="/field", fields=[("x-varying", "remembered"), ("Upper", "case")])
    assert peer.wait_reset(bad) == Code.PROTOCOL_ERROR
    assert peer.get("/field", fields=[("x-varying", "remembered")]).header("x-echo") == "remembered"


# ------------------------------------------------------------------------- closed streams


def test_a_closed_stream_may_depend_on_itself_as_long_as_it_likes(peer: Peer) -> None:
    assert peer.get("/", stream_id=5).status == 200
    peer.priority(5, depends_on=5)
    peer.priority(3, depends_on=3)  # skipped, and closed by that
    assert peer.get("/").status == 200
    assert not [f for f in peer.log if f.type in (Type.GOAWAY, Type.RST_STREAM)]


def test_a_request_whose_stream_depends_on_itself_never_starts(app: App, peer: Peer) -> None:
    assert peer.wait_reset(depends_on_itself(peer)) == Code.PROTOCOL_ERROR
    assert peer.get("/").status == 200
    assert app.calls == ["/"]


def test_data_on_a_finished_stream_is_a_stream_error_and_its_credit_returns(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, connection_window=65_535))
    assert peer.get("/").status == 200
    sent = 0
    while sent < 4 * 65_535:
        peer.wait_until(lambda: peer.send_window(0) >= 16_384, "connection credit")
        peer.data(1, bytes(16_384))
        sent += 16_384
    peer.roundtrip()
    assert peer.wait_reset(1) == Code.STREAM_CLOSED
    assert credits_of(peer, 0) >= sent - 65_535
    assert peer.get("/").status == 200


def test_data_on_a_stream_the_server_reset_is_ignored_and_its_credit_returns(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, connection_window=65_535))
    stream_id = peer.request(":", "/echo", end_stream=False)
    assert peer.wait_reset(stream_id) == Code.PROTOCOL_ERROR
    for _ in range(16):
        peer.wait_until(lambda: peer.send_window(0) >= 16_384, "connection credit")
        peer.data(stream_id, bytes(16_000), padding=200)
    peer.headers(stream_id, [("x-sum", "1")], end_stream=True)
    peer.roundtrip()
    resets = [f for f in peer.log if f.type == Type.RST_STREAM and f.stream_id == stream_id]
    assert len(resets) == 1
    assert peer.get("/echo", method="POST", body=b"still here").body == b"still here"


def test_data_that_does_not_fit_content_length_returns_its_connection_credit(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, connection_window=65_535))
    for _ in range(10):
        peer.wait_until(lambda: peer.send_window(0) >= 16_384, "connection credit")
        stream_id = open_upload(peer, FIVE)
        peer.data(stream_id, bytes(16_384))
        assert peer.wait_reset(stream_id) == Code.PROTOCOL_ERROR
    assert peer.get("/").status == 200


def test_an_upload_nobody_reads_is_refused_without_error_once_it_is_answered(
    app: App, peer: Peer
) -> None:
    stream_id = peer.request("POST", "/", end_stream=False)
    response = peer.response(stream_id)
    assert (response.status, response.body, response.ended) == (200, b"hello", True)
    assert peer.wait_reset(stream_id) == Code.NO_ERROR
    peer.data(stream_id, b"too late", end_stream=True)
    assert peer.get("/").status == 200


@pytest.mark.parametrize(
    "send",
    [
        lambda peer: peer.window_update(1, 1),
        lambda peer: peer.window_update(1, 0),
        lambda peer: peer.window_update(1, LARGEST_WINDOW),
        lambda peer: peer.rst_stream(1),
        lambda peer: peer.priority(1),
        lambda peer: peer.priority(99, depends_on=1),
    ],
    ids=["credit", "no credit", "too much credit", "reset", "priority", "idle priority"],
)
def test_frames_that_may_follow_a_stream_are_ignored(peer: Peer, send: Attack) -> None:
    assert peer.get("/").status == 200
    send(peer)
    assert peer.get("/").status == 200


def test_a_reset_by_the_client_ends_the_applications_read(app: App, peer: Peer) -> None:
    stream_id = open_upload(peer)
    assert app.entered.acquire(timeout=10)
    peer.rst_stream(stream_id, 0xBEEF)
    assert app.read_failed.wait(10)
    assert peer.get("/").status == 200


def test_trailers_end_a_request(peer: Peer) -> None:
    stream_id = open_upload(peer, FIVE)
    peer.data(stream_id, b"hello")
    peer.headers(stream_id, [("x-sum", "1")], end_stream=True, split=2)
    assert peer.response(stream_id).body == b"hello"


# ------------------------------------------------------------------------- field blocks


@pytest.mark.parametrize("split", [2, 7])
def test_a_field_block_in_continuation_frames_is_taken(peer: Peer, split: int) -> None:
    peer.headers(1, REQUEST, end_stream=True, split=split)
    assert peer.response(1).status == 200


def test_an_empty_first_fragment_and_empty_continuations_are_taken(peer: Peer) -> None:
    peer.headers(1, b"", end_stream=True, end_headers=False)
    peer.continuation(1, b"", end_headers=False)
    peer.continuation(1, peer.encode(REQUEST))
    assert peer.response(1).status == 200


def test_too_many_continuation_frames_are_a_connection_error(peer: Peer) -> None:
    peer.headers(1, REQUEST, end_stream=True, end_headers=False)
    for _ in range(9):
        peer.continuation(1, b"", end_headers=False)
    goaway = peer.wait_goaway()
    assert (goaway.error_code, goaway.last_stream_id) == (Code.ENHANCE_YOUR_CALM, 0)


def test_padding_and_priority_of_headers_are_stripped(peer: Peer) -> None:
    peer.headers(1, REQUEST, end_stream=True, padding=255, priority=Priority(0, 256, True), split=9)
    assert peer.response(1).status == 200


def test_the_dynamic_table_stays_in_step_over_many_requests(peer: Peer) -> None:
    # 4,096 octets hold some 80 of these: entries are evicted over and over, on both sides.
    for number in range(300):
        value = f"{number % 120:03d}" * 5
        response = peer.get("/field", fields=[("x-varying", value)])
        assert response.header("x-echo") == value


@pytest.mark.parametrize("size", [0, 100, 2**32 - 1])
def test_the_clients_table_size_is_kept_to(peer: Peer, size: int) -> None:
    assert peer.get("/field", fields=[("x-varying", "before")]).status == 200
    peer.settings({Setting.HEADER_TABLE_SIZE: size})
    peer.wait_settings_ack()
    peer.decoder.max_allowed_table_size = min(size, 4096)
    for number in range(20):
        value = f"{number % 3}"
        assert peer.get("/field", fields=[("x-varying", value)]).header("x-echo") == value


def test_two_table_updates_at_the_start_of_a_block_are_taken(peer: Peer) -> None:
    peer.headers(1, b"\x20\x3f\xe1\x1f" + b"\x82\x87\x84\x41\x01a", end_stream=True)
    assert peer.response(1).status == 200


# ------------------------------------------------------------------ settings and windows


def test_unknown_frames_settings_and_flags_are_ignored(peer: Peer) -> None:
    peer.send_frame(0xEE, 0xFF, 0, b"who knows")
    peer.send_frame(0xEE, 0xFF, 77, bytes(16_384))
    peer.send_frame(Type.SETTINGS, 0, 0, struct.pack("!HL", 0xF000, 7) * 32)
    peer.send_frame(Type.PING, 0xFE, 0, b"flagged!")
    peer.send_frame(Type.HEADERS, END_HEADERS | END_STREAM | 0xD2, 1, peer.encode(REQUEST))
    assert peer.response(1).status == 200
    assert peer.wait_ping_ack(b"flagged!").flags == ACK


def test_the_reserved_bit_of_a_stream_is_ignored(peer: Peer) -> None:
    peer.send_frame(Type.HEADERS, END_HEADERS | END_STREAM, 1 | 1 << 31, peer.encode(REQUEST))
    assert peer.response(1).status == 200


def test_every_settings_frame_is_acknowledged(peer: Peer) -> None:
    for size in (1, 2, 3):
        peer.settings({Setting.INITIAL_WINDOW_SIZE: size * 1000})
    peer.settings({})
    peer.wait_settings_ack()
    peer.roundtrip()
    assert sum(frame.type == Type.SETTINGS and frame.ack for frame in peer.log) == 5


def test_a_ping_is_returned_as_it_was(peer: Peer) -> None:
    peer.ping(b"abcdefgh")
    assert peer.wait_ping_ack(b"abcdefgh").stream_id == 0


def test_settings_that_shrink_a_window_below_zero_stop_a_stream_until_it_is_positive(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app), settings={Setting.INITIAL_WINDOW_SIZE: 1000})
    peer.auto_window = False
    stream_id = peer.request(path="/big?5000")
    peer.wait_data(stream_id, 1000)
    peer.settings({Setting.INITIAL_WINDOW_SIZE: 0})
    peer.wait_settings_ack()
    assert peer.receive_window(stream_id) == -1000
    peer.window_update(stream_id, 1000)
    peer.roundtrip()
    assert peer.responses[stream_id].received == 1000
    peer.window_update(stream_id, 1)
    peer.wait_data(stream_id, 1001)
    peer.roundtrip()
    assert peer.responses[stream_id].received == 1001


def test_settings_only_window_increase_resumes_sending(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app), settings={Setting.INITIAL_WINDOW_SIZE: 0})
    streams = [peer.request(path="/big?500") for _ in range(3)]
    for stream_id in streams:
        peer.wait_headers(stream_id)
    peer.roundtrip()
    assert all(peer.responses[stream_id].received == 0 for stream_id in streams)
    peer.settings({Setting.INITIAL_WINDOW_SIZE: 65_535})
    for stream_id in streams:
        assert peer.response(stream_id).received == 500


def test_a_closed_connection_window_holds_every_stream_and_lets_them_share_it(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app), settings={Setting.INITIAL_WINDOW_SIZE: 1_000_000})
    peer.auto_window = False
    streams = [peer.request(path="/big?200000") for _ in range(4)]
    peer.wait_until(lambda: peer.receive_window(0) == 0, "a full connection window")
    for stream_id in streams:
        peer.wait_headers(stream_id)
    peer.roundtrip()
    before = {stream_id: peer.responses[stream_id].received for stream_id in streams}
    # One frame's worth at a time: no stream may have all of it.
    for _ in range(8):
        peer.window_update(0, 16_384)
        peer.wait_until(lambda: peer.receive_window(0) == 0, "a full connection window")
    for stream_id in streams:
        assert peer.responses[stream_id].received - before[stream_id] == 2 * 16_384
    for stream_id in streams:
        peer.rst_stream(stream_id)


@pytest.mark.parametrize("size", [16_384, 2**24 - 1])
def test_no_frame_is_larger_than_the_client_allows(peer: Peer, size: int) -> None:
    peer.settings({Setting.MAX_FRAME_SIZE: size, Setting.INITIAL_WINDOW_SIZE: 1_000_000})
    peer.wait_settings_ack()
    peer.window_update(0, 1_000_000)
    assert peer.get("/big?200000").received == 200_000
    largest = max(len(frame.payload) for frame in peer.log if frame.type == Type.DATA)
    assert largest <= size


def test_a_large_response_head_is_split_over_continuation(peer: Peer) -> None:
    response = peer.get("/fields")
    assert [response.header(f"x-{n}") for n in range(12)] == ["v" * 4_000] * 12
    assert any(frame.type == Type.CONTINUATION for frame in peer.log)


def test_padding_returns_its_credit_to_both_windows(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, stream_window=16_384, connection_window=65_535))
    peer.wait_settings()
    stream_id = open_upload(peer)
    for _ in range(600):  # 153,600 octets of padding
        peer.wait_until(
            lambda: min(peer.send_window(stream_id), peer.send_window(0)) >= 257, "credit"
        )
        peer.data(stream_id, b"x", padding=255)
    peer.data(stream_id, b"", end_stream=True)
    assert peer.response(stream_id).received == 600


def test_data_sent_before_the_client_saw_a_smaller_window_is_taken(
    app: App, serve: Serve, connect: Connect
) -> None:
    # Section 6.9.3: until it acknowledges our SETTINGS, a client may use the default window.
    peer = connect(serve(app, stream_window=16_384))
    with one_write(peer):
        stream_id = peer.request("POST", "/echo", body=bytes(65_000))
    response = peer.response(stream_id)
    assert (response.status, response.received) == (200, 65_000)


def test_data_beyond_the_connection_window_is_a_flow_control_error(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, connection_window=65_535))
    peer.wait_settings()
    streams = [peer.request("POST", "/hold", end_stream=False) for _ in range(2)]
    for stream_id in streams:
        for _ in range(3):
            peer.data(stream_id, bytes(16_384))
    # Credit for the first half may be under way: far beyond it is beyond any.
    for _ in range(20):
        with contextlib.suppress(AssertionError):
            peer.data(streams[0], bytes(16_384))
    goaway = peer.wait_goaway()
    assert goaway.error_code == Code.FLOW_CONTROL_ERROR


def test_data_beyond_a_streams_window_is_a_flow_control_error(
    app: App, serve: Serve, connect: Connect
) -> None:
    peer = connect(serve(app, stream_window=65_535))
    peer.wait_settings()
    peer.roundtrip()
    stream_id = peer.request("POST", "/hold", end_stream=False)
    for _ in range(5):
        peer.data(stream_id, bytes(16_384))

    def refused(frame: Frame) -> bool:
        return frame.error_code == Code.FLOW_CONTROL_ERROR

    peer.wait_for(refused, what="FLOW_CONTROL_ERROR")


# ------------------------------------------------------------------------------ goaway


def test_streams_open_when_the_client_says_goaway_are_answered(app: App, peer: Peer) -> None:
    held = peer.request(path="/hold")
    upload = open_upload(peer)
    peer.goaway(code=Code.NO_ERROR, debug=b"bye")
    peer.data(upload, b"still sent", end_stream=True)
    assert peer.response(upload).body == b"still sent"
    app.release.set()
    assert peer.response(held).body == b"hello"


def test_the_client_may_say_goaway_twice_and_with_an_error(app: App, peer: Peer) -> None:
    held = peer.request(path="/hold")
    peer.goaway(LARGEST_WINDOW)
    peer.goaway(0, 0xBEEF, b"\0 and more")
    peer.roundtrip()
    app.release.set()
    assert peer.response(held).status == 200
