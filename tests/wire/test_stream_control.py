"""environ["h2wsgi.stream"]: what an application may do to its stream and connection, on the wire.

Each is seen by a raw client; afterwards the server serves another connection, and holds nothing.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi import (
    ApplicationError,
    ClientDisconnected,
    ErrorCode,
    Setting,
    StreamControl,
    StreamGivenUp,
)
from support.peer import Frame, Peer, Type
from support.settled import PATIENCE, eventually, settle

ENGINES = ("fast", "h2")
Control = Callable[[StreamControl], object]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class App:
    """Does something to the stream of ``/act``; ``/`` is answered. Keeps what it raised."""

    def __init__(self, act: Control, *, before: bytes = b"", after: bytes = b"after") -> None:
        self.act = act
        self.before = before
        self.after = after
        self.error: BaseException | None = None
        self.result: object = None
        self.over = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/act":
            start_response("200 OK", [])
            return [b"well"]
        return self._content(environ, start_response)

    def _content(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        write = start_response("200 OK", [])
        try:
            if self.before:
                write(self.before)
            self.result = self.act(environ["h2wsgi.stream"])
            yield self.after
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.over.set()


def whole(server: Any, connect: Connect) -> None:
    """Another connection is answered, and nothing of the others is left."""
    with connect(server) as peer:
        assert peer.get("/").body == b"well"
    settle(server)


def begin(peer: Peer) -> int:
    """Ask for /act; return its stream once what comes before the act is there."""
    stream_id = peer.request(path="/act")
    peer.wait_data(stream_id, len(b"before"))
    return stream_id


def read_to_the_end(sock: socket.socket) -> None:
    while socket.socket.recv(sock, 65_536):
        continue


def kinds(peer: Peer, *types: Type) -> list[Frame]:
    return [frame for frame in peer.log if frame.type in types]


# ------------------------------------------------------------------------------- the stream


@pytest.mark.parametrize("code", [ErrorCode.REFUSED_STREAM, "refused_stream", "0x7", 7])
def test_reset_sends_its_code_behind_what_was_written(
    serve: Serve, connect: Connect, engine: str, code: int | str
) -> None:
    server = serve(App(lambda stream: stream.reset(code), before=b"before"), engine=engine)
    with connect(server) as peer:
        stream_id = peer.request(path="/act")
        assert peer.wait_reset(stream_id) == ErrorCode.REFUSED_STREAM
        assert peer.responses[stream_id].body == b"before"
        assert peer.get("/").body == b"well"
    whole(server, connect)


def test_reset_comes_behind_content_that_waits_for_the_transport(
    serve: Serve, connect: Connect, engine: str
) -> None:
    size = 1_000_000
    app = App(lambda stream: stream.reset(), before=bytes(size))
    server = serve(app, engine=engine, stream_buffer=2 * size)
    settings = {Setting.INITIAL_WINDOW_SIZE: 2 * size}
    with connect(server, settings=settings, window=2 * size, receive_buffer=4096) as peer:
        stream_id = peer.request(path="/act")
        assert app.over.wait(PATIENCE)  # the application is long done, nothing was read
        assert peer.wait_reset(stream_id) == ErrorCode.CANCEL
        assert peer.responses[stream_id].received == size
    whole(server, connect)


def test_reset_does_not_wait_for_a_window(serve: Serve, connect: Connect, engine: str) -> None:
    server = serve(App(lambda stream: stream.reset(), before=bytes(1000)), engine=engine)
    with connect(server, settings={Setting.INITIAL_WINDOW_SIZE: 300}) as peer:
        peer.auto_window = False
        stream_id = peer.request(path="/act")
        assert peer.wait_reset(stream_id) == ErrorCode.CANCEL
        assert peer.responses[stream_id].received == 300
    whole(server, connect)


def test_commands_run_in_the_order_they_were_given(
    serve: Serve, connect: Connect, engine: str
) -> None:
    def act(stream: StreamControl) -> None:
        for number in range(3):
            stream.send_raw_frame(0xFA, number, b"octets")
        stream.send_raw_frame(0xFA, 3, stream_id=0)

    server = serve(App(act, before=b"before"), engine=engine)
    with connect(server) as peer:
        stream_id = peer.request(path="/act")
        assert peer.response(stream_id).body == b"beforeafter"
        seen = [f for f in peer.log if f.type in (0xFA, Type.DATA)]
        assert [f.type for f in seen[:6]] == [Type.DATA, *[0xFA] * 4, Type.DATA]
        raw = [f for f in seen if f.type == 0xFA]
        assert [(f.flags, f.stream_id) for f in raw] == [
            (0, stream_id),
            (1, stream_id),
            (2, stream_id),
            (3, 0),
        ]
        assert raw[0].payload == b"octets"
    whole(server, connect)


def test_raw_frames_have_nothing_in_between_and_take_from_the_windows(
    serve: Serve, connect: Connect, engine: str
) -> None:
    def act(stream: StreamControl) -> None:
        stream.send_raw_frames([(Type.DATA, 0, b"raw", None)] * 3)

    server = serve(App(act, before=b"before"), engine=engine)
    with connect(server, settings={Setting.INITIAL_WINDOW_SIZE: 17}) as peer:
        peer.auto_window = False
        stream_id = peer.request(path="/act")
        # 6 octets, 9 raw ones, and as many of the last 5 as the window still has room for.
        assert peer.wait_data(stream_id, 17) == b"before" + b"raw" * 3 + b"af"
        peer.roundtrip()
        assert peer.responses[stream_id].received == 17
        peer.window_update(stream_id, 100)
        assert peer.response(stream_id).body == b"before" + b"raw" * 3 + b"after"
    whole(server, connect)


def test_an_abandoned_stream_is_what_raw_frames_made_of_it(
    serve: Serve, connect: Connect, engine: str
) -> None:
    def act(stream: StreamControl) -> None:
        stream.send_raw_frame(Type.DATA, 1, b"raw")  # END_STREAM
        stream.abandon()

    server = serve(App(act, before=b"before"), engine=engine)
    with connect(server) as peer:
        stream_id = peer.request("POST", "/act", end_stream=False)
        assert peer.response(stream_id).body == b"beforeraw"
        peer.data(stream_id, bytes(16_000), end_stream=True)  # credited, and otherwise ignored
        peer.roundtrip()
        assert not kinds(peer, Type.RST_STREAM, Type.GOAWAY)
        settle(server, connections=1)
        assert peer.get("/").body == b"well"
    whole(server, connect)


@pytest.mark.parametrize("content", [b"", b"little", bytes(1_000_000)], ids=len)
@pytest.mark.parametrize("trailers", [False, True])
def test_a_command_behind_the_end_of_a_response_comes_behind_it(
    serve: Serve, connect: Connect, engine: str, content: bytes, trailers: bool
) -> None:
    """However much of it still waits for the transport; for a window a command does not wait."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        if trailers:
            environ["wsgi.ext.http.send_trailers"]([("x-last", "1")])
        start_response("200 OK", [])
        yield content

    class Closing:
        def __init__(self, environ: dict[str, Any], start_response: Any) -> None:
            self.stream = environ["h2wsgi.stream"]
            self.content = answer(environ, start_response)

        def __iter__(self) -> Iterator[bytes]:
            return self.content

        def close(self) -> None:
            self.stream.send_raw_frame(0xFA)  # the end was handed over before
            closed.set()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/act":
            return Closing(environ, start_response)
        start_response("200 OK", [])
        return [b"well"]

    closed = threading.Event()
    server = serve(app, engine=engine, stream_buffer=2_000_000)
    large = {Setting.INITIAL_WINDOW_SIZE: 2_000_000}
    with connect(server, receive_buffer=4096, settings=large, window=2_000_000) as peer:
        stream_id = peer.request(path="/act")
        assert closed.wait(PATIENCE)
        assert peer.response(stream_id).received == len(content)
        assert peer.responses[stream_id].trailers == ([("x-last", "1")] if trailers else [])
        peer.wait_for(lambda frame: frame.type == 0xFA)
        of_stream = [f for f in peer.log if f.stream_id == stream_id]
        assert of_stream[-1].type == 0xFA
        assert of_stream[-2].end_stream
    whole(server, connect)


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "once it is done"])
def test_what_is_about_the_connection_is_done_behind_a_reset(
    serve: Serve, connect: Connect, engine: str, waits: bool
) -> None:
    def act(stream: StreamControl) -> None:
        pings.append(stream.ping())
        stream.reset("CANCEL")
        if waits:
            assert stream.disconnected.wait(PATIENCE)
        pings.append(stream.ping())
        stream.goaway("NO_ERROR")

    pings: list[Any] = []
    server = serve(App(act, before=b"before"), engine=engine)
    with connect(server) as peer:
        stream_id = peer.request(path="/act")
        assert peer.wait_reset(stream_id) == ErrorCode.CANCEL
        assert peer.wait_goaway().error_code == ErrorCode.NO_ERROR
        peer.wait_closed()
        assert len([f for f in kinds(peer, Type.PING) if not f.ack]) == 2
    whole(server, connect)


@pytest.mark.parametrize("give_up", [StreamControl.reset, StreamControl.abandon])
@pytest.mark.parametrize("waits", [False, True], ids=["at once", "once it is done"])
def test_no_command_is_refused_behind_the_end_that_the_application_made(
    serve: Serve, connect: Connect, engine: str, waits: bool, give_up: Control
) -> None:
    def act(stream: StreamControl) -> None:
        give_up(stream)
        if waits:
            assert stream.disconnected.wait(PATIENCE)
        stream.reset("REFUSED_STREAM")  # like the next two, nothing to a stream that has ended
        stream.abandon()
        stream.stall(60)
        stream.stall(0.01, connection=True)
        stream.change_settings({"MAX_CONCURRENT_STREAMS": 7})
        stream.send_raw_frame(0xFA)
        stream.ping(b"12345678")
        stream.goaway("NO_ERROR")

    app = App(act)
    server = serve(app, engine=engine)
    with connect(server) as peer:
        peer.request(path="/act")
        peer.wait_goaway()
        peer.wait_closed()
        assert app.over.wait(PATIENCE)
        # Closed where it yields at the latest, as nobody gets that.
        assert app.error is None or type(app.error) is GeneratorExit
        assert len(kinds(peer, Type.RST_STREAM)) == (give_up is StreamControl.reset)
        settings = b"\x00\x03\x00\x00\x00\x07"
        behind = [f for f in peer.log if f.type in (0xFA, Type.PING) or f.payload == settings]
        assert [f.type for f in behind] == [Type.SETTINGS, 0xFA, Type.PING]
    whole(server, connect)


@pytest.mark.parametrize("give_up", [StreamControl.reset, StreamControl.abandon])
def test_the_application_hears_that_it_gave_up_its_stream_itself(
    serve: Serve, connect: Connect, engine: str, give_up: Control
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        if environ["PATH_INFO"] == "/act":
            stream = environ["h2wsgi.stream"]
            give_up(stream)
            assert stream.disconnected.wait(PATIENCE)
            for call in (
                lambda: write(b"more"),
                environ["wsgi.input"].read,
                lambda: stream.send_informational(103),
            ):
                with pytest.raises(StreamGivenUp, match=r"the application asked|raw frames"):
                    call()
            peers.get(timeout=PATIENCE).close()
            with pytest.raises(ClientDisconnected):
                stream.ping().wait(PATIENCE)
            over.set()
        return [b"well"]

    peers: queue.Queue[Peer] = queue.Queue()
    over = threading.Event()
    server = serve(app, engine=engine)
    peer = connect(server)
    peer.request("POST", "/act", end_stream=False)
    peer.roundtrip()
    peers.put(peer)
    assert over.wait(PATIENCE)
    whole(server, connect)


def test_a_ping_that_never_left_ends_its_wait(serve: Serve, connect: Connect, engine: str) -> None:
    def act(stream: StreamControl) -> None:
        stream.stall(3600)
        stream.ping().wait()

    app = App(act, before=b"before")
    server = serve(app, engine=engine)
    with connect(server) as peer:
        peer.wait_data(peer.request(path="/act"), 1)
    assert app.over.wait(PATIENCE)
    assert isinstance(app.error, ClientDisconnected)
    whole(server, connect)


def test_stall_holds_the_stream_up_and_no_other(
    serve: Serve, connect: Connect, engine: str
) -> None:
    seconds = [0.1, 3600.0]
    server = serve(App(lambda stream: stream.stall(seconds.pop()), before=b"before"), engine=engine)
    with connect(server) as peer:
        for_long = begin(peer)
        assert peer.get("/").body == b"well"
        assert peer.response(begin(peer)).body == b"beforeafter"
        assert peer.responses[for_long].body == b"before"
        assert not peer.responses[for_long].ended
    whole(server, connect)


def test_a_whole_response_does_not_pass_a_stall(
    serve: Serve, connect: Connect, engine: str
) -> None:
    seconds = [0.1, 3600.0]

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/act":
            environ["h2wsgi.stream"].stall(seconds.pop())
            stalled.release()
        start_response("200 OK", [])
        return [b"well"]

    stalled = threading.Semaphore(0)
    server = serve(app, engine=engine)
    with connect(server) as peer:
        for_long = peer.request(path="/act")
        assert stalled.acquire(timeout=PATIENCE)
        slow, quick = peer.request(path="/act"), peer.request(path="/")
        assert peer.response(quick).body == b"well"
        assert peer.response(slow).body == b"well"
        assert for_long not in peer.responses
    whole(server, connect)


def test_a_stalled_response_ends_after_an_error_of_the_connection(
    serve: Serve, connect: Connect, engine: str
) -> None:
    server = serve(App(lambda stream: stream.stall(0.3), before=b"before"), engine=engine)
    with connect(server) as peer:
        stream_id = begin(peer)
        peer.data(0, b"on no stream")
        assert peer.wait_goaway().error_code == ErrorCode.PROTOCOL_ERROR
        assert peer.response(stream_id).body == b"beforeafter"
        peer.wait_closed()
    whole(server, connect)


def test_a_stalled_stream_can_be_reset_by_its_client(
    serve: Serve, connect: Connect, engine: str
) -> None:
    app = App(lambda stream: stream.stall(1.0), before=b"before", after=bytes(100_000))
    server = serve(app, engine=engine)
    with connect(server) as peer:
        stream_id = begin(peer)
        peer.rst_stream(stream_id)
        peer.roundtrip()
        settle(server, connections=1)
        assert peer.get("/").body == b"well"
    whole(server, connect)


def test_a_stalled_connection_sends_nothing_and_reads_on(
    serve: Serve, connect: Connect, engine: str
) -> None:
    def act(stream: StreamControl) -> None:
        stream.stall(1.0, connection=True)

    server = serve(App(act, before=b"before"), engine=engine)
    with connect(server) as peer:
        stream_id = begin(peer)
        (protocol,) = server.server._protocols
        eventually(lambda: protocol._stall is not None, "the loop to have heard of the stall")
        peer.ping(b"12345678")
        other = peer.request(path="/")
        # Nothing at all comes in a part of the stall, and everything after it.
        assert peer.read_available(0.2) == []
        assert peer.response(other).body == b"well"
        assert peer.response(stream_id).body == b"beforeafter"
        peer.wait_ping_ack(b"12345678")
    whole(server, connect)


def test_no_clock_of_the_client_runs_while_the_connection_is_stalled(
    serve: Serve, connect: Connect
) -> None:
    app = App(lambda stream: stream.stall(1.0, connection=True), before=b"before")
    clocks = {"write_timeout": 0.3, "ping_interval": 0.2, "ping_timeout": 0.5}
    server = serve(app, **clocks)
    with connect(server) as peer:
        assert peer.response(peer.request(path="/act")).body == b"beforeafter"
        assert peer.get("/").body == b"well"
    whole(server, connect)


def test_what_comes_behind_a_command_has_the_whole_write_timeout(
    serve: Serve, connect: Connect
) -> None:
    def act(stream: StreamControl) -> None:
        time.sleep(3.2)  # more than the timeout, in which nothing waited for the client
        stream.ping()

    server = serve(App(act, after=bytes(1000)), write_timeout=3)
    with connect(server, settings={Setting.INITIAL_WINDOW_SIZE: 0}) as peer:
        peer.auto_window = False
        stream_id = peer.request(path="/act")
        peer.wait_for(lambda frame: frame.type == Type.HEADERS)
        time.sleep(1.2)  # the server looks every 0.75 s
        peer.window_update(stream_id, 1000)
        assert peer.response(stream_id).received == 1000
    whole(server, connect)


def test_a_server_stops_although_a_connection_is_stalled(serve: Serve, connect: Connect) -> None:
    app = App(lambda stream: stream.stall(3600, connection=True))
    server = serve(app)
    peer = connect(server)
    peer.request(path="/act")
    assert app.over.wait(PATIENCE)
    server.stop()
    peer.wait_closed()


# --------------------------------------------------------------------------- the connection


def test_goaway_names_the_last_stream_and_lets_open_ones_finish(
    serve: Serve, connect: Connect, engine: str
) -> None:
    server = serve(
        App(lambda stream: stream.goaway("ENHANCE_YOUR_CALM", debug=b"calm")), engine=engine
    )
    with connect(server) as peer:
        stream_id = peer.request(path="/act")
        goaway = peer.wait_goaway()
        assert goaway.last_stream_id == stream_id
        assert goaway.error_code == ErrorCode.ENHANCE_YOUR_CALM
        assert goaway.debug == b"calm"
        assert peer.response(stream_id).body == b"after"
        peer.wait_closed()
    whole(server, connect)


def test_streams_above_the_goaway_are_ignored(serve: Serve, connect: Connect, engine: str) -> None:
    gate = threading.Event()

    def act(stream: StreamControl) -> None:
        stream.goaway(last_stream_id=stream.id)
        assert gate.wait(PATIENCE)

    server = serve(App(act), engine=engine)
    with connect(server) as peer:
        stream_id = peer.request(path="/act")
        peer.wait_goaway()
        above = peer.request(path="/")
        peer.roundtrip()
        gate.set()
        assert peer.response(stream_id).body == b"after"
        peer.wait_closed()
        assert peer.responses.get(above) is None
    whole(server, connect)


def test_open_streams_above_the_goaway_are_given_up_and_the_others_finish(
    serve: Serve, connect: Connect, engine: str
) -> None:
    acting = threading.Barrier(2)
    given_up: list[bool] = []

    def act(stream: StreamControl) -> None:
        acting.wait(PATIENCE)  # both are open
        if stream.id == 3:
            stream.goaway(last_stream_id=1)
            given_up.append(stream.disconnected.wait(PATIENCE))
        acting.wait(PATIENCE)

    server = serve(App(act), engine=engine)
    with connect(server) as peer:
        first, second = peer.request(path="/act"), peer.request(path="/act")
        assert peer.wait_goaway().last_stream_id == first
        assert peer.response(first).body == b"after"
        peer.wait_closed()
        assert second not in peer.responses
        assert not kinds(peer, Type.RST_STREAM)
    assert given_up == [True]
    whole(server, connect)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_close_transport_hangs_up_behind_what_was_written_and_without_goaway(
    serve: Serve, connect: Connect, engine: str, loop: str
) -> None:
    app = App(lambda stream: stream.close_transport(), before=b"before")
    server = serve(app, engine=engine, loop=loop)
    with connect(server) as peer:
        stream_id = peer.request(path="/act")
        peer.wait_closed()
        assert peer.ended == "end of file"
        assert peer.responses[stream_id].body == b"before"
        assert not kinds(peer, Type.GOAWAY)
    assert app.over.wait(PATIENCE)
    whole(server, connect)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_close_transport_can_reset_the_tcp_connection(
    serve: Serve, connect: Connect, engine: str, loop: str
) -> None:
    server = serve(App(lambda stream: stream.close_transport(abort=True)), engine=engine, loop=loop)
    with connect(server) as peer:
        peer.request(path="/act")
        # Below TLS, whose library calls either end an end of file.
        with pytest.raises(ConnectionResetError):
            read_to_the_end(peer.sock)
    whole(server, connect)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda s: s.goaway("ENHANCE_YOUR_CALM"), "GOAWAY(ENHANCE_YOUR_CALM) with last stream 1"),
        (lambda s: s.goaway(last_stream_id=0), "GOAWAY(NO_ERROR) with last stream 0"),
        (lambda s: s.close_transport(), "connection closed without GOAWAY"),
        (lambda s: s.close_transport(abort=True), "connection closed by a TCP reset"),
    ],
)
def test_the_log_tells_of_an_end_that_the_application_asked_for(
    serve: Serve,
    connect: Connect,
    engine: str,
    caplog: pytest.LogCaptureFixture,
    act: Control,
    said: str,
) -> None:
    caplog.set_level("INFO", "h2wsgi")
    server = serve(App(act), engine=engine, record=True)
    with connect(server) as peer:
        peer.request(path="/act")
        peer.wait_closed()
    settle(server)
    assert f": {said}: the application asked for it" in caplog.text
    (request,) = server.requests
    # Whoever hung up has sent no response.
    assert (request.status is None) == ("closed" in said or "stream 0" in said)


@pytest.mark.parametrize("abort", [False, True])
def test_close_transport_of_a_connection_that_has_just_closed_does_nothing(
    serve: Serve, connect: Connect, engine: str, abort: bool
) -> None:
    """As when the client left while the application's wish was on its way to the loop."""
    server = serve(App(lambda stream: None), engine=engine)
    with connect(server) as peer:
        assert peer.get().body == b"well"
        (connection,) = server.server._protocols
    settle(server)
    connection.closing.hang_up(abort)
    whole(server, connect)


def test_a_ping_tells_how_long_its_answer_took(serve: Serve, connect: Connect, engine: str) -> None:
    app = App(lambda stream: stream.ping(b"12345678").wait(PATIENCE))
    server = serve(app, engine=engine)
    with connect(server) as peer:
        stream_id = peer.request(path="/act")
        assert peer.response(stream_id).body == b"after"
        pings = [f for f in kinds(peer, Type.PING) if not f.ack]
        assert [f.payload for f in pings] == [b"12345678"]
        assert isinstance(app.result, float)
        assert 0 <= app.result < PATIENCE
    whole(server, connect)


def test_a_wait_for_a_ping_ends_with_the_connection(
    serve: Serve, connect: Connect, engine: str
) -> None:
    app = App(lambda stream: stream.ping().wait())
    server = serve(app, engine=engine)
    with connect(server) as peer:
        peer.auto_ack_ping = False
        peer.request(path="/act")
        peer.wait_for(lambda frame: frame.type == Type.PING)
    assert app.over.wait(PATIENCE)
    assert isinstance(app.error, ClientDisconnected)
    whole(server, connect)


# ------------------------------------------------------------------------------- settings


def test_a_smaller_window_counts_from_its_acknowledgement_on(
    serve: Serve, connect: Connect, engine: str
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/act":
            environ["h2wsgi.stream"].change_settings({"INITIAL_WINDOW_SIZE": 100})
        content = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [b"well" if not content else b"%d" % len(content)]

    server = serve(app, engine=engine)
    with connect(server) as peer:
        peer.wait_settings()
        large = peer.request("POST", "/act", end_stream=False)
        peer.wait_until(
            lambda: peer.remote_settings.get(Setting.INITIAL_WINDOW_SIZE) == 100, "the new window"
        )
        assert peer.send_window(large) == 100
        peer.upload(large, bytes(1000))  # in steps of what the server gives back
        assert peer.response(large).body == b"1000"
        # Beyond the small window: a connection error, as it was acknowledged.
        stream_id = peer.request("POST", "/", end_stream=False)
        peer.data(stream_id, bytes(101))
        assert peer.wait_goaway().error_code == ErrorCode.FLOW_CONTROL_ERROR
    whole(server, connect)


def test_content_beyond_a_new_window_is_legal_until_it_is_acknowledged(
    serve: Serve, connect: Connect, engine: str
) -> None:
    gate = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["h2wsgi.stream"].change_settings({Setting.INITIAL_WINDOW_SIZE: 10})
        assert gate.wait(PATIENCE)
        content = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [b"%d" % len(content)]

    server = serve(app, engine=engine)
    with connect(server) as peer:
        peer.auto_ack_settings = False
        peer.wait_settings()
        peer.settings(ack=True)
        stream_id = peer.request("POST", "/", end_stream=False)
        peer.wait_until(
            lambda: peer.remote_settings.get(Setting.INITIAL_WINDOW_SIZE) == 10, "the new window"
        )
        peer.data(stream_id, bytes(5000))
        peer.settings(ack=True)  # the window is 4,990 octets below zero now
        peer.data(stream_id, b"", end_stream=True)
        gate.set()
        assert peer.response(stream_id).body == b"5000"
    settle(server)


@pytest.mark.parametrize("configured", [16_384, 65_535, 262_144])
def test_a_larger_window_can_be_used_at_once(
    serve: Serve, connect: Connect, engine: str, configured: int
) -> None:
    window = 1_000_000

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["h2wsgi.stream"].change_settings({"INITIAL_WINDOW_SIZE": window})
        eventually(lambda: received["octets"] == window, "the upload to be sent")
        content = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [b"%d" % len(content)]

    received = {"octets": 0}
    server = serve(app, engine=engine, stream_window=configured)
    with connect(server) as peer:
        stream_id = peer.request("POST", "/", end_stream=False)
        peer.wait_until(lambda: peer.send_window(stream_id) == window, "the new window")
        peer.upload(stream_id, bytes(window))  # nothing was read: the window alone lets it go
        received["octets"] = window
        assert peer.response(stream_id).body == b"%d" % window
    settle(server)


def test_fewer_streams_are_refused_once_acknowledged(
    serve: Serve, connect: Connect, engine: str
) -> None:
    gate = threading.Event()

    def act(stream: StreamControl) -> None:
        stream.change_settings({"MAX_CONCURRENT_STREAMS": 1})
        assert gate.wait(PATIENCE)

    server = serve(App(act), engine=engine)
    with connect(server) as peer:
        stream_id = peer.request(path="/act")
        peer.wait_until(
            lambda: peer.remote_settings.get(Setting.MAX_CONCURRENT_STREAMS) == 1, "the new limit"
        )
        second = peer.request(path="/")
        assert peer.wait_reset(second) == ErrorCode.REFUSED_STREAM
        gate.set()
        assert peer.response(stream_id).body == b"after"
        assert peer.get("/").body == b"well"
    whole(server, connect)


def test_a_smaller_field_section_is_a_431_once_acknowledged(
    serve: Serve, connect: Connect, engine: str
) -> None:
    server = serve(
        App(lambda stream: stream.change_settings({"MAX_HEADER_LIST_SIZE": 300})), engine=engine
    )
    with connect(server) as peer:
        fields = [("x-large", "x" * 400)]
        assert peer.get("/", fields=fields).status == 200
        peer.get("/act")
        peer.wait_until(
            lambda: peer.remote_settings.get(Setting.MAX_HEADER_LIST_SIZE) == 300, "the new limit"
        )
        assert peer.get("/", fields=fields).status == 431
        assert peer.get("/").status == 200
    whole(server, connect)


def test_larger_frames_are_taken_once_acknowledged(
    serve: Serve, connect: Connect, engine: str
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/act":
            environ["h2wsgi.stream"].change_settings({"MAX_FRAME_SIZE": 100_000})
        start_response("200 OK", [])
        return [b"%d" % len(environ["wsgi.input"].read())]

    server = serve(app, engine=engine)
    with connect(server) as peer:
        peer.get("/act")
        peer.wait_until(
            lambda: peer.remote_settings.get(Setting.MAX_FRAME_SIZE) == 100_000, "the new size"
        )
        stream_id = peer.request("POST", "/", end_stream=False)
        peer.data(stream_id, bytes(60_000), end_stream=True)
        assert peer.response(stream_id).body == b"60000"
        again = peer.request("POST", "/", end_stream=False)
        peer.send_raw(struct.pack("!L", 100_001)[1:] + struct.pack("!BBL", 0, 0, again))
        assert peer.wait_goaway().error_code == ErrorCode.FRAME_SIZE_ERROR
    settle(server)


def test_a_setting_nobody_knows_is_sent(serve: Serve, connect: Connect, engine: str) -> None:
    server = serve(App(lambda stream: stream.change_settings({0xF0: 7})), engine=engine)
    with connect(server) as peer:
        assert peer.get("/act").body == b"after"
        peer.wait_until(lambda: peer.remote_settings.get(0xF0) == 7, "the setting")
    whole(server, connect)


def test_settings_of_an_application_have_to_be_acknowledged_in_time(
    serve: Serve, connect: Connect, engine: str
) -> None:
    """A client that asks for more and more of them would have them remembered otherwise."""

    def app(environ, start):
        environ["h2wsgi.stream"].change_settings({"MAX_CONCURRENT_STREAMS": 50})
        start("200 OK", [])
        return [b"changed"]

    peer = connect(serve(app, engine=engine, settings_timeout=0.3))
    peer.wait_settings()
    peer.auto_ack_settings = False
    assert peer.get().body == b"changed"
    assert peer.wait_goaway().error_code == ErrorCode.SETTINGS_TIMEOUT


# ------------------------------------------------------------------- clients that went away


def test_a_long_job_sees_that_its_client_is_gone(
    serve: Serve, connect: Connect, engine: str
) -> None:
    before = []

    def act(stream: StreamControl) -> bool:
        before.append(stream.disconnected.is_set())
        assert not stream.disconnected.wait(0)
        started.set()
        return stream.disconnected.wait(PATIENCE)

    started = threading.Event()
    app = App(act)
    server = serve(app, engine=engine)
    with connect(server) as peer:
        stream_id = peer.request(path="/act")
        assert started.wait(PATIENCE)
        peer.rst_stream(stream_id)
        assert app.over.wait(PATIENCE)
    assert before == [False]
    assert app.result is True
    whole(server, connect)


def test_a_wait_for_the_clients_end_ends_with_the_application(
    serve: Serve, connect: Connect
) -> None:
    found: list[bool] = []
    waiting = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        def wait() -> None:
            waiting.set()
            found.append(environ["h2wsgi.stream"].disconnected.wait())

        threads.append(threading.Thread(target=wait))
        threads[-1].start()
        assert waiting.wait(PATIENCE)
        start_response("200 OK", [])
        return [b"well"]

    threads: list[threading.Thread] = []
    server = serve(app)
    with connect(server) as peer:
        assert peer.get("/").body == b"well"
        threads[0].join(PATIENCE)
        assert found == [False]
    settle(server)


def test_every_member_raises_once_the_client_is_gone(serve: Serve, connect: Connect) -> None:
    calls: list[Control] = [
        lambda s: s.reset(),
        lambda s: s.goaway(),
        lambda s: s.send_raw_frame(0),
        lambda s: s.close_transport(),
        lambda s: s.change_settings({}),
        lambda s: s.stall(1),
        lambda s: s.stall(1, connection=True),
        lambda s: s.ping(),
        lambda s: s.send_informational(103),
    ]

    def act(stream: StreamControl) -> None:
        started.set()
        assert stream.disconnected.wait(PATIENCE)
        for call in calls:
            with pytest.raises(ClientDisconnected):
                call(stream)
        raised.set()

    started, raised = threading.Event(), threading.Event()
    server = serve(App(act))
    with connect(server) as peer:
        stream_id = peer.request(path="/act")
        assert started.wait(PATIENCE)
        peer.rst_stream(stream_id)
        assert raised.wait(PATIENCE)
    whole(server, connect)


NONSENSE: list[tuple[Control, type[Exception], str]] = [
    (lambda s: s.reset("REFUSE_STREAM"), ValueError, "Did you mean REFUSED_STREAM"),
    (lambda s: s.reset(-1), ValueError, "0 to 4294967295"),
    (lambda s: s.reset(1.5), TypeError, "a number or a name"),  # type: ignore[arg-type]
    (lambda s: s.goaway(0, -1), ValueError, "last_stream_id is -1"),
    (lambda s: s.goaway(debug="text"), TypeError, "octets"),  # type: ignore[arg-type]
    (lambda s: s.send_raw_frame(256), ValueError, "type is 256"),
    (lambda s: s.send_raw_frame(0, 256), ValueError, "flags is 256"),
    (lambda s: s.send_raw_frame(0, stream_id=2**31), ValueError, "stream_id"),
    (lambda s: s.send_raw_frame(0, 0, bytes(2**24)), ValueError, "16777216 octets"),
    (lambda s: s.stall(-1), ValueError, "seconds is -1"),
    (lambda s: s.stall(float("nan")), ValueError, "seconds is nan"),
    (lambda s: s.stall("1"), TypeError, "seconds is a number"),  # type: ignore[arg-type]
    (lambda s: s.ping(b"short"), ValueError, "8 octets"),
    (lambda s: s.change_settings({"MAX_FRAME_SIZE": 100}), ValueError, "not from 16384"),
    (lambda s: s.change_settings({"INITIAL_WINDOW_SIZE": 2**31}), ValueError, "2147483647"),
    (lambda s: s.change_settings({"INITIAL_WINDOW": 1}), ValueError, "INITIAL_WINDOW_SIZE?"),
    (lambda s: s.change_settings({"HEADER_TABLE_SIZE": 0}), ValueError, "cannot be changed"),
    (lambda s: s.change_settings([]), TypeError, "a dict"),  # type: ignore[arg-type]
    (lambda s: s.send_informational(101), ValueError, "101"),
    (lambda s: s.send_informational(200), ValueError, "200"),
    (lambda s: s.send_informational(103, [("a b", "")]), ApplicationError, "a field name"),
    (lambda s: s.send_informational(103, [("a", "b\r\n")]), ApplicationError, "control"),
    (lambda s: s.send_informational(103, [(":path", "/")]), ApplicationError, "a field name"),
    (lambda s: s.send_informational(103, [("upgrade", "x")]), ApplicationError, "no place"),
]


def test_nonsense_is_refused_in_words(serve: Serve, connect: Connect) -> None:
    def act(stream: StreamControl) -> None:
        for call, kind, words in NONSENSE:
            with pytest.raises(kind, match=words.replace("?", r"\?")):
                call(stream)

    app = App(act)
    server = serve(app)
    with connect(server) as peer:
        assert peer.get("/act").body == b"after"
    assert app.error is None
    whole(server, connect)


def test_another_thread_of_the_application_may_call(
    serve: Serve, connect: Connect, engine: str
) -> None:
    def act(stream: StreamControl) -> None:
        thread = threading.Thread(target=stream.reset, args=("CANCEL",))
        thread.start()
        thread.join(PATIENCE)

    server = serve(App(act, before=b"before"), engine=engine)
    with connect(server) as peer:
        stream_id = peer.request(path="/act")
        assert peer.wait_reset(stream_id) == ErrorCode.CANCEL
    whole(server, connect)


def test_requests_of_a_connection_share_a_dict_and_others_have_their_own(
    serve: Serve, connect: Connect
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        stream = environ["h2wsgi.stream"]
        stream.shared["requests"] = stream.shared.get("requests", 0) + 1
        start_response("200 OK", [])
        return [b"%d of %d" % (stream.shared["requests"], stream.id)]

    server = serve(app)
    with connect(server) as peer, connect(server) as other:
        assert [peer.get("/").body for _ in range(2)] == [b"1 of 1", b"2 of 3"]
        assert other.get("/").body == b"1 of 1"
    settle(server)
