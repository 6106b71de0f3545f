"""The test client itself, against scripted servers: raw frames on a socket pair, h2 over TCP."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hpack import Encoder
from hyperframe import frame as wire

from support.peer import (
    PREFACE,
    Code,
    ConnectionEnded,
    Peer,
    PeerError,
    Setting,
    StreamReset,
    TimedOut,
)

SHORT = 0.05
OK = [(":status", "200"), ("server", "script")]


class Script:
    """The server's end of a socket pair, written to by hand from the test's own thread."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.encoder = Encoder()
        self.received = bytearray()

    def send(self, *frames: wire.Frame) -> None:
        self.sock.sendall(b"".join(frame.serialize() for frame in frames))

    def headers(self, stream_id: int, fields: list[tuple[str, str]], *flags: str) -> None:
        block = self.encoder.encode(fields)
        self.send(wire.HeadersFrame(stream_id, block, flags=["END_HEADERS", *flags]))

    def frames(self) -> list[Any]:
        """Return the whole frames the peer has sent since the last call."""
        # One thread has both ends, so what was sent is already here.
        with contextlib.suppress(BlockingIOError):
            while chunk := self.sock.recv(65_536, socket.MSG_DONTWAIT):
                self.received += chunk
        if self.received.startswith(PREFACE):
            del self.received[: len(PREFACE)]
        found = []
        while len(self.received) >= 9:
            frame, length = wire.Frame.parse_frame_header(memoryview(bytes(self.received[:9])))
            frame.parse_body(memoryview(bytes(self.received[9 : 9 + length])))
            del self.received[: 9 + length]
            found.append(frame)
        return found

    def sent(self, kind: type[wire.Frame]) -> list[Any]:
        return [frame for frame in self.frames() if isinstance(frame, kind)]


@pytest.fixture
def pair() -> Iterator[tuple[Peer, Script]]:
    near, far = socket.socketpair()
    with far, Peer(near) as peer:
        script = Script(far)
        assert [type(frame) for frame in script.frames()] == [wire.SettingsFrame]
        yield peer, script


@pytest.fixture
def peer(pair: tuple[Peer, Script]) -> Peer:
    return pair[0]


@pytest.fixture
def script(pair: tuple[Peer, Script]) -> Script:
    return pair[1]


# --- Responses ---


def test_a_response_has_informational_fields_body_and_trailers(peer: Peer, script: Script) -> None:
    stream = peer.request()
    script.headers(stream, [(":status", "103"), ("link", "</a>")])
    script.headers(stream, [*OK, ("set-cookie", "a"), ("set-cookie", "b")])
    script.send(wire.DataFrame(stream, b"one "), wire.DataFrame(stream, b"two"))
    script.headers(stream, [("checksum", "7")], "END_STREAM")

    response = peer.response(stream)

    assert response.informational == [(103, [("link", "</a>")])]
    assert (response.status, response.body, response.ended) == (200, b"one two", True)
    assert response.header("Server") == "script"
    assert response.headers("set-cookie") == ["a", "b"]
    assert response.trailers == [("checksum", "7")]


def test_continuation_frames_make_one_field_block(peer: Peer, script: Script) -> None:
    stream = peer.request()
    block = script.encoder.encode([*OK, ("x-long", "v" * 500)])
    script.send(wire.HeadersFrame(stream, block[:7], flags=["END_STREAM"]))

    begun = peer.receive_frame()
    assert not begun.fields
    script.send(wire.ContinuationFrame(stream, block[7:9]))
    script.send(wire.ContinuationFrame(stream, block[9:], flags=["END_HEADERS"]))

    assert peer.response(stream).header("x-long") == "v" * 500
    assert begun.fields
    assert [frame.type for frame in peer.log] == [1, 9, 9]


def test_frames_are_assembled_from_single_octets(peer: Peer, script: Script) -> None:
    octets = wire.PingFrame(0, b"12345678", flags=["ACK"]).serialize()
    for octet in octets:
        with pytest.raises(TimedOut):
            peer.receive_frame(0)
        script.sock.sendall(bytes([octet]))
    assert peer.receive_frame().payload == b"12345678"


def test_padding_is_not_data_but_takes_window(peer: Peer, script: Script) -> None:
    stream = peer.request()
    script.headers(stream, OK)
    script.send(wire.DataFrame(stream, b"abc", pad_length=10, flags=["PADDED"]))
    assert peer.wait_data(stream, 3) == b"abc"
    assert peer.data_received[stream] == 14


def test_a_reset_ends_a_response_and_interrupts_other_waits(peer: Peer, script: Script) -> None:
    stream = peer.request()
    script.send(wire.RstStreamFrame(stream, Code.REFUSED_STREAM))
    assert peer.response(stream).reset == Code.REFUSED_STREAM
    assert peer.wait_reset(stream) == Code.REFUSED_STREAM
    with pytest.raises(StreamReset, match="REFUSED_STREAM"):
        peer.wait_headers(stream)


# --- Automatic answers ---


def test_settings_and_pings_are_acknowledged_as_they_are_read(peer: Peer, script: Script) -> None:
    script.send(wire.SettingsFrame(0, {Setting.MAX_CONCURRENT_STREAMS: 7}))
    script.send(wire.PingFrame(0, b"abcdefgh"))
    assert script.frames() == []

    assert len(peer.read_available()) == 2

    settings, ping = script.frames()
    assert (type(settings), settings.flags) == (wire.SettingsFrame, {"ACK"})
    assert (type(ping), ping.flags) == (wire.PingFrame, {"ACK"})
    assert peer.remote_settings == {Setting.MAX_CONCURRENT_STREAMS: 7}


def test_automatic_answers_can_be_switched_off(peer: Peer, script: Script) -> None:
    peer.auto_ack_settings = peer.auto_ack_ping = peer.auto_window = False
    script.send(wire.SettingsFrame(0), wire.PingFrame(0, b"abcdefgh"))
    script.headers(1, OK)
    script.send(wire.DataFrame(1, b"x"))
    peer.wait_data(1, 1)
    assert script.frames() == []


def test_data_read_is_credited_to_stream_and_connection(peer: Peer, script: Script) -> None:
    script.headers(1, OK)
    script.send(wire.DataFrame(1, b"x" * 100))
    peer.wait_data(1, 100)
    updates = script.sent(wire.WindowUpdateFrame)
    assert [(frame.stream_id, frame.window_increment) for frame in updates] == [(0, 100), (1, 100)]
    assert peer.receive_window(1) == 65_535


# --- Windows ---


def test_send_windows_follow_data_credit_and_settings(peer: Peer, script: Script) -> None:
    stream = peer.request("POST", body=b"x" * 1000, end_stream=False)
    assert peer.send_window(stream) == peer.connection_send_window == 64_535

    script.send(wire.WindowUpdateFrame(stream, 400), wire.WindowUpdateFrame(0, 300))
    script.send(wire.SettingsFrame(0, {Setting.INITIAL_WINDOW_SIZE: 500}))
    peer.wait_settings()

    assert peer.send_window(stream) == 500 - 1000 + 400
    assert peer.connection_send_window == 64_835
    assert peer.credit_received == {stream: 400, 0: 300}


def test_a_request_body_which_does_not_fit_is_refused(peer: Peer, script: Script) -> None:
    with pytest.raises(PeerError, match="65536 octets do not fit windows of 65535"):
        peer.request("POST", body=b"x" * 65_536)
    assert script.frames() == []


def test_an_upload_waits_for_credit(peer: Peer, script: Script) -> None:
    script.send(wire.SettingsFrame(0, {Setting.INITIAL_WINDOW_SIZE: 10}))
    peer.wait_settings()
    stream = peer.request("POST", end_stream=False)
    with pytest.raises(TimedOut, match=f"a window on stream {stream}"):
        peer.upload(stream, b"x" * 15, timeout=SHORT)
    assert peer.send_window(stream) == 0

    script.send(wire.WindowUpdateFrame(stream, 10))
    peer.upload(stream, [b"y" * 3, b"z" * 2])

    data = script.sent(wire.DataFrame)
    assert [frame.data for frame in data] == [b"x" * 10, b"yyy", b"zz", b""]
    assert "END_STREAM" in data[-1].flags


def test_an_upload_stops_at_a_reset(peer: Peer, script: Script) -> None:
    stream = peer.request("POST", end_stream=False)
    script.send(wire.RstStreamFrame(stream, Code.CANCEL))
    with pytest.raises(StreamReset, match="RST_STREAM stream=1 CANCEL"):
        peer.upload(stream, b"x")


# --- Failures ---


def test_a_timeout_names_what_was_awaited_and_the_last_frames(peer: Peer, script: Script) -> None:
    script.headers(1, OK)
    script.send(*[wire.PingFrame(0, b"abcdefgh")] * 10)
    script.send(wire.RstStreamFrame(1, Code.CANCEL), wire.GoAwayFrame(0, 1, Code.INTERNAL_ERROR))
    peer.wait_goaway()  # the time is for what does not come
    began = time.monotonic()
    with pytest.raises(TimedOut) as caught:
        peer.wait_headers(3, SHORT)
    assert time.monotonic() - began < 5
    lines = str(caught.value).splitlines()
    assert lines[0] == "0.05 s passed waiting for HEADERS on stream 3"
    assert lines[-2] == "  RST_STREAM stream=1 CANCEL (4 octets)"
    assert lines[-1] == "  GOAWAY stream=0 INTERNAL_ERROR last=1 debug=b'' (8 octets)"
    assert len(lines) == 12


def test_frames_which_never_stop_do_not_put_off_a_timeout(peer: Peer, script: Script) -> None:
    peer.auto_ack_ping = False
    done = threading.Event()

    def flood() -> None:
        script.sock.settimeout(5)
        while not done.is_set():
            script.send(wire.PingFrame(0, b"abcdefgh"))

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        with pytest.raises(TimedOut):
            peer.response(1, 0.2)
    finally:
        done.set()
        peer.read_available(SHORT)
        thread.join()


def test_a_server_which_does_not_read_times_a_send_out(peer: Peer) -> None:
    with pytest.raises(TimedOut, match="the server to read"):
        peer.send_raw(bytes(10_000_000), SHORT)


def test_the_end_of_the_connection_fails_a_wait(peer: Peer, script: Script) -> None:
    script.send(wire.GoAwayFrame(0, 0, Code.PROTOCOL_ERROR, b"why"))
    script.sock.sendall(b"\0\0")
    script.sock.close()
    with pytest.raises(ConnectionEnded, match="end of file before the end of stream 1"):
        peer.response(1)
    assert peer.wait_goaway().debug == b"why"
    with pytest.raises(ConnectionEnded, match="2 octets more"):
        peer.receive_frame()
    assert peer.wait_closed() == "end of file"


def test_each_goaway_is_returned_once(peer: Peer, script: Script) -> None:
    script.send(wire.GoAwayFrame(0, 2**31 - 1), wire.GoAwayFrame(0, 5))
    assert peer.wait_goaway().last_stream_id == 2**31 - 1
    assert peer.wait_goaway().last_stream_id == 5
    with pytest.raises(TimedOut, match="GOAWAY"):
        peer.wait_goaway(SHORT)


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        ([wire.HeadersFrame(1, b"\xff" * 9, flags=["END_HEADERS"])], "HPACK cannot decode"),
        ([wire.HeadersFrame(1, b"\x88"), wire.PingFrame(0, b"x" * 8)], "stream 1 interrupted"),
        ([wire.ContinuationFrame(1, b"")], "continues nothing"),
        ([wire.HeadersFrame(1, b"", flags=["END_HEADERS"])], "valid :status"),
        ([wire.DataFrame(1, b"x")], "DATA before a final HEADERS"),
        ([wire.DataFrame(1, b"x" * 16_385)], "a frame of 16385 octets"),
        ([wire.RstStreamFrame(1, 0), wire.DataFrame(1, b"x")], "after the end of its stream"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_server_which_breaks_the_protocol_fails(
    peer: Peer, script: Script, frames: list[wire.Frame], problem: str
) -> None:
    script.send(*frames)
    with pytest.raises(PeerError, match=problem):
        peer.wait_ping_ack()


def test_a_server_which_overruns_a_window_fails(peer: Peer, script: Script) -> None:
    peer.settings({Setting.INITIAL_WINDOW_SIZE: 5})
    script.send(*[wire.SettingsFrame(0, flags=["ACK"])] * 2)
    peer.wait_settings_ack()
    script.headers(1, OK)
    script.send(wire.DataFrame(1, b"sixsix"))
    with pytest.raises(PeerError, match="6 octets of DATA in a window of 5"):
        peer.response(1)


def test_a_malformed_frame_is_shown_as_octets(peer: Peer, script: Script) -> None:
    script.sock.sendall(b"\0\0\1\x08\0\0\0\0\0\0")
    with pytest.raises(PeerError, match=r"malformed(.|\n)*WINDOW_UPDATE stream=0 \(1 octets\)"):
        peer.receive_frame()


# --- What is sent ---


def test_any_frame_may_be_sent(peer: Peer, script: Script) -> None:
    peer.headers(1, [("A", b"\xff")], padding=3, priority=None, end_stream=True)
    peer.continuation(1, b"", end_headers=False)
    peer.send_frame(0xFA, 0xFF, 2**31 + 1, b"?")
    peer.data(3, b"abc", padding=0)
    peer.priority(3, depends_on=1, weight=256, exclusive=True)
    peer.goaway(1, Code.CANCEL, b"bye")

    headers, continuation, unknown, data, priority, goaway = script.frames()
    assert (headers.flags, headers.pad_length) == ({"END_HEADERS", "END_STREAM", "PADDED"}, 3)
    assert (continuation.flags, unknown.type, unknown.stream_id) == (set(), 0xFA, 1)
    assert (data.data, data.flags) == (b"abc", {"PADDED"})
    assert (priority.depends_on, priority.stream_weight, priority.exclusive) == (1, 255, True)
    assert (goaway.error_code, goaway.additional_data) == (Code.CANCEL, b"bye")


def test_large_request_fields_are_split_over_continuation(peer: Peer, script: Script) -> None:
    peer.request(fields=[("x", "\0" * 20_000)])
    headers, *rest = script.frames()
    assert (len(headers.data), headers.flags) == (16_384, {"END_STREAM"})
    assert [frame.flags for frame in rest] == [set()] * (len(rest) - 1) + [{"END_HEADERS"}]


# --- A legal server, over TCP and TLS ---


def converse(sock: socket.socket) -> None:
    """Serve one connection with h2: answer each finished request with its path and its size."""
    conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    conn.initiate_connection()
    sock.sendall(conn.data_to_send())
    paths: dict[int, bytes] = {}
    sizes: dict[int, int] = {}
    while chunk := sock.recv(65_536):
        for event in conn.receive_data(chunk):
            match event:
                case h2.events.RequestReceived():
                    paths[event.stream_id] = dict(event.headers)[b":path"]
                    sizes[event.stream_id] = 0
                case h2.events.DataReceived():
                    sizes[event.stream_id] += len(event.data)
                    size = event.flow_controlled_length
                    conn.acknowledge_received_data(size, event.stream_id)
                case h2.events.StreamEnded():
                    body = b"%s %d" % (paths[event.stream_id], sizes[event.stream_id])
                    conn.send_headers(event.stream_id, [(":status", "200")])
                    conn.send_data(event.stream_id, body, end_stream=True)
        sock.sendall(conn.data_to_send())


@pytest.fixture
def listen() -> Iterator[Callable[..., tuple[str, int]]]:
    """Start `converse` in a thread for one TCP connection, over TLS with a certificate."""
    threads: list[threading.Thread] = []

    def start(certificate: Path | None = None) -> tuple[str, int]:
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=accept_one, args=(listener, certificate))
        threads.append(thread)
        thread.start()
        host, port = listener.getsockname()
        return host, port

    yield start
    for thread in threads:
        thread.join()


def accept_one(listener: socket.socket, certificate: Path | None) -> None:
    with listener:
        listener.settimeout(10)
        sock, _ = listener.accept()
    with sock:
        sock.settimeout(10)
        if certificate is None:
            converse(sock)
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.set_alpn_protocols(["h2"])
        try:
            with context.wrap_socket(sock, server_side=True) as tls:
                converse(tls)
        except ssl.SSLError:
            return  # The client would not trust the certificate.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its self-signed certificate for localhost, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_legal_conversation_in_cleartext(listen: Callable[..., tuple[str, int]]) -> None:
    with Peer.connect(listen(), tls=False, window=1000, receive_buffer=4096) as peer:
        assert peer.get("/one").body == b"/one 0"
        posted = peer.request("POST", "/two", body=b"x" * 20_000)
        assert peer.response(posted).body == b"/two 20000"
        peer.roundtrip()
        assert peer.local_settings == {}
        assert peer.receive_window(0) == 66_535


def test_an_upload_larger_than_the_windows_over_tls(
    listen: Callable[..., tuple[str, int]], certificate: Path
) -> None:
    with Peer.connect(listen(certificate), ca_file=str(certificate)) as peer:
        assert peer.alpn == "h2"
        stream = peer.request("POST", "/big", end_stream=False)
        peer.upload(stream, (bytes(50_000) for _ in range(10)))
        assert peer.response(stream).body == b"/big 500000"
        assert peer.credit_received[stream] > 0


def test_a_certificate_for_another_name_is_refused(
    listen: Callable[..., tuple[str, int]], certificate: Path
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        Peer.connect(listen(certificate), ca_file=str(certificate), server_hostname="other")


def test_a_unix_socket_and_nothing_sent(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.create_server(path, family=socket.AF_UNIX) as listener:
        peer = Peer.connect(path, tls=False, settings=None, preface=False)
        with peer, listener.accept()[0] as far:
            peer.send_raw(b"GET")
            assert far.recv(100) == b"GET"


def test_an_abort_is_a_reset_to_the_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = Peer.connect(listener.getsockname(), tls=False, settings=None, preface=False)
        with listener.accept()[0] as far:
            peer.abort()
            far.settimeout(5)
            with pytest.raises(ConnectionResetError):
                far.recv(1)
