"""A blocking HTTP/2 client for tests, which sends any frame, legal or not (RFC 9113).

One thread, the test's, owns a `Peer`; frames are read only inside a receiving or waiting
method, never while sending, so a test decides when the server's output is taken. Everything
read is kept: each frame in `Peer.log`, each stream's part of it in a `Response`.

Every failure is an AssertionError which lists the last frames seen. The peer also fails a
server which breaks the protocol: DATA past a window, an interrupted field block, a frame too
large, bad HPACK. Times are seconds and sizes octets.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from hpack import Decoder, Encoder, HPACKError
from hyperframe import frame as wire
from hyperframe.exceptions import HyperframeError

TIMEOUT = 10.0
"""Seconds any wait may take, unless the caller says otherwise."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW = 65_535
DEFAULT_MAX_FRAME_SIZE = 16_384
NO_SETTINGS: Mapping[int, int] = MappingProxyType({})

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20

Fields = Iterable[tuple[str | bytes, str | bytes]]
Address = str | tuple[str, int]


class Type(IntEnum):
    """Frame types (section 6)."""

    DATA = 0x0
    HEADERS = 0x1
    PRIORITY = 0x2
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9


class Code(IntEnum):
    """Error codes (section 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Setting(IntEnum):
    """Identifiers of settings (section 6.5.2; RFC 8441; RFC 9218)."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6
    ENABLE_CONNECT_PROTOCOL = 0x8
    NO_RFC7540_PRIORITIES = 0x9


class PeerError(AssertionError):
    """What the test waited for did not come, or the server broke the protocol."""


class TimedOut(PeerError):
    """The deadline passed."""


class ConnectionEnded(PeerError):
    """The server closed or reset the connection."""


class StreamReset(PeerError):
    """The server reset the stream (or ended it) before what was waited for."""


class Priority(NamedTuple):
    """The deprecated priority signal (section 5.3.2); `weight` is 1 to 256."""

    depends_on: int = 0
    weight: int = 16
    exclusive: bool = False

    def encode(self) -> bytes:
        return struct.pack("!LB", self.depends_on | self.exclusive << 31, self.weight - 1)


def name_of(names: type[IntEnum], value: int) -> str:
    """Return the name of a frame type, error code or setting, or its number in hexadecimal."""
    return names(value).name if value in set(names) else f"{value:#x}"


@dataclass(slots=True)
class Frame:
    """One frame as received. What its type does not carry is None, or b""."""

    type: int
    flags: int
    stream_id: int
    payload: bytes

    fields: list[tuple[str, str]] | None = None
    """Of HEADERS: every decoded field, once the last CONTINUATION has come (Latin-1)."""
    data: bytes = b""
    """Of DATA: the content; of HEADERS and CONTINUATION: the fragment. Never padding."""
    debug: bytes = b""
    error_code: int | None = None
    increment: int | None = None
    last_stream_id: int | None = None
    settings: dict[int, int] | None = None

    @property
    def end_stream(self) -> bool:
        return self.type in (Type.DATA, Type.HEADERS) and bool(self.flags & END_STREAM)

    @property
    def ack(self) -> bool:
        return self.type in (Type.SETTINGS, Type.PING) and bool(self.flags & ACK)

    def __str__(self) -> str:
        words = [name_of(Type, self.type), f"stream={self.stream_id}"]
        if self.end_stream:
            words.append("END_STREAM")
        if self.ack:
            words.append("ACK")
        if self.type in (Type.HEADERS, Type.CONTINUATION) and self.flags & END_HEADERS:
            words.append("END_HEADERS")
        if self.fields is not None:
            words += [f"{name} {value}" for name, value in self.fields if name == ":status"]
        if self.error_code is not None:
            words.append(name_of(Code, self.error_code))
        if self.last_stream_id is not None:
            words.append(f"last={self.last_stream_id} debug={self.debug!r}")
        if self.increment is not None:
            words.append(f"+{self.increment}")
        if self.settings:
            words += [f"{name_of(Setting, key)}={n}" for key, n in self.settings.items()]
        return " ".join([*words, f"({len(self.payload)} octets)"])


@dataclass(slots=True)
class Response:
    """What one stream has received; it goes on growing as its peer reads frames."""

    stream_id: int
    status: int = 0
    """The final status, or 0 before its HEADERS."""
    informational: list[tuple[int, list[tuple[str, str]]]] = field(default_factory=list)
    fields: list[tuple[str, str]] = field(default_factory=list)
    """The final fields, in order, without `:status`."""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    """The content of each DATA frame."""
    received: int = 0
    """Octets of the body so far."""
    reset: int | None = None
    """The error code of the server's RST_STREAM."""
    ended: bool = False
    """Whether END_STREAM came."""

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def header(self, name: str) -> str | None:
        """Return the first value of a field, or None."""
        return next(iter(self.headers(name)), None)

    def headers(self, name: str) -> list[str]:
        """Return every value of a field, in order."""
        return [value for key, value in self.fields if key == name.lower()]

    def add(self, frame: Frame) -> str | None:
        """Take a whole HEADERS or DATA frame; return what is wrong with it, or None."""
        if self.ended or self.reset is not None:
            return "a frame after the end of its stream"
        self.ended = frame.end_stream
        if frame.type == Type.DATA:
            self.chunks.append(frame.data)
            self.received += len(frame.data)
            return None if self.status else "DATA before a final HEADERS"
        return self._add_fields(frame.fields or [])

    def _add_fields(self, fields: list[tuple[str, str]]) -> str | None:
        if self.status:
            self.trailers += fields
            return None if self.ended else "trailers without END_STREAM"
        (name, value), rest = fields[0] if fields else ("", ""), fields[1:]
        if name != ":status" or not (len(value) == 3 and value.isdecimal()):
            return f"a response which does not begin with a valid :status: {fields!r}"
        if value.startswith("1"):
            self.informational.append((int(value), rest))
            return "END_STREAM with an informational status" if self.ended else None
        self.status, self.fields = int(value), rest
        return None


class Peer:
    """One connection to a server, and everything it said."""

    # What a peer does by itself as it reads; a test may switch each off.
    auto_ack_settings = True
    auto_ack_ping = True
    auto_window = True
    check_windows = True
    """Off for a test whose SETTINGS or WINDOW_UPDATE go through `send_raw`, which counts none."""
    huffman = True
    """Off for fields of many thousand octets, with whose code hpack is busy for seconds."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        settings: Mapping[int, int] | None = NO_SETTINGS,
        preface: bool = True,
        window: int | None = None,
    ) -> None:
        """Own a connected socket and send the preface, SETTINGS and a WINDOW_UPDATE, if any."""
        self.sock = sock
        self.encoder = Encoder()
        self.decoder = Decoder(max_header_list_size=1 << 24)

        self.log: list[Frame] = []
        self.responses: dict[int, Response] = {}
        self.ended: str | None = None
        self.remote_settings: dict[int, int] = {}
        self.local_settings: dict[int, int] = {}
        """Ours which the server has acknowledged: what it must keep to."""
        self.next_stream_id = 1

        # Octets by stream, the connection's under 0. Windows follow from these (section 6.9).
        self.credit_received: Counter[int] = Counter()
        self.credit_sent: Counter[int] = Counter()
        self.data_received: Counter[int] = Counter()
        self.data_sent: Counter[int] = Counter()

        self._buffer = bytearray()
        self._unacknowledged: deque[dict[int, int]] = deque()
        self._open_block: Frame | None = None
        self._block = bytearray()
        self._goaways_returned = 0
        self._pings = 0
        if preface:
            self.send_raw(PREFACE)
        if settings is not None:
            self.settings(settings)
        if window is not None:
            self.window_update(0, window)

    @classmethod
    def connect(
        cls,
        address: Address,
        *,
        ca_file: str | None = None,
        tls: bool = True,
        server_hostname: str = "localhost",
        alpn: tuple[str, ...] = ("h2",),
        settings: Mapping[int, int] | None = NO_SETTINGS,
        preface: bool = True,
        window: int | None = None,
        receive_buffer: int | None = None,
    ) -> Self:
        """Connect to (host, port) or a Unix socket's path; raise what socket and ssl raise.

        The certificate is verified if there is a `ca_file`. `settings=None` sends no SETTINGS,
        `window` adds to the connection's window, `receive_buffer` is SO_RCVBUF.
        """
        family, where = _resolve(address)
        sock = _make_socket(family, receive_buffer)
        try:
            if tls:
                # Before it connects: wrapping one whose peer has just reset it leaks the
                # descriptor (CPython 3.11: recv() fails in SSLSocket._create, and nothing closes).
                sock = _client_context(ca_file, alpn).wrap_socket(
                    sock, server_hostname=server_hostname, suppress_ragged_eofs=False
                )
            sock.connect(where)
            return cls(sock, settings=settings, preface=preface, window=window)
        except BaseException:
            sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def abort(self) -> None:
        """Close so that a TCP server sees a reset, not an end of file."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    @property
    def alpn(self) -> str | None:
        """The protocol the TLS handshake chose."""
        sock = self.sock
        return sock.selected_alpn_protocol() if isinstance(sock, ssl.SSLSocket) else None

    # --- Windows ---

    def send_window(self, stream_id: int) -> int:
        """Return how much the server lets us send on a stream (0: the connection)."""
        return _window(stream_id, self.remote_settings, self.credit_received, self.data_sent)

    @property
    def connection_send_window(self) -> int:
        return self.send_window(0)

    def receive_window(self, stream_id: int) -> int:
        """Return how much we let the server send on a stream (0: the connection)."""
        return _window(stream_id, self.local_settings, self.credit_sent, self.data_received)

    def _sendable(self, stream_id: int) -> int:
        return min(self.send_window(stream_id), self.connection_send_window)

    @property
    def _max_frame_size(self) -> int:
        return self.remote_settings.get(Setting.MAX_FRAME_SIZE, DEFAULT_MAX_FRAME_SIZE)

    # --- Sending: no rule is enforced ---

    def send_raw(self, data: bytes, timeout: float = TIMEOUT) -> None:
        """Send octets, without any accounting; raise TimedOut if the server reads too little."""
        deadline = time.monotonic() + timeout
        rest = memoryview(data)
        while rest:
            self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                rest = rest[self.sock.send(rest) :]
            except TimeoutError:
                what = f"the server to read {len(rest)} of {len(data)} octets"
                raise TimedOut(self._explain(f"no room in {timeout} s for", what)) from None
            except OSError as error:
                raise ConnectionEnded(self._explain(f"{error!r} while", "sending")) from error

    def send_frame(self, type: int, flags: int, stream_id: int, payload: bytes = b"") -> None:
        """Send one frame, and count it if it moves a window."""
        self._count_sent(type, flags, stream_id, payload)
        length = struct.pack("!L", len(payload))[1:]
        self.send_raw(length + struct.pack("!BBL", type, flags, stream_id) + payload)

    def _count_sent(self, type: int, flags: int, stream_id: int, payload: bytes) -> None:
        if type == Type.DATA:
            self.data_sent.update({stream_id: len(payload), 0: len(payload)})
        elif type == Type.WINDOW_UPDATE and len(payload) == 4:
            self.credit_sent[stream_id] += int.from_bytes(payload, "big") & 0x7FFFFFFF
        elif type == Type.SETTINGS and not flags & ACK and len(payload) % 6 == 0:
            self._unacknowledged.append(dict(struct.iter_unpack("!HL", payload)))

    def headers(
        self,
        stream_id: int,
        fields: Fields | bytes,
        end_stream: bool = False,
        end_headers: bool = True,
        padding: int | None = None,
        priority: Priority | None = None,
        split: int | None = None,
    ) -> None:
        """Send HEADERS; `fields` as bytes is a field block already encoded.

        With `split`, no fragment is larger than that and CONTINUATION carries the rest.
        """
        block = fields if isinstance(fields, bytes) else self.encode(fields)
        size = split or max(len(block), 1)
        first, *rest = [block[i : i + size] for i in range(0, len(block), size)] or [b""]
        flags = END_STREAM * end_stream | END_HEADERS * (end_headers and not rest)
        if priority is not None:
            flags |= PRIORITY
            first = priority.encode() + first
        self.send_frame(Type.HEADERS, *_pad(flags, stream_id, first, padding))
        for i, fragment in enumerate(rest, 1):
            self.continuation(stream_id, fragment, end_headers and i == len(rest))

    def encode(self, fields: Fields) -> bytes:
        """Return the field block of (name, value) pairs; text is sent as Latin-1."""
        pairs = [(_octets(name), _octets(value)) for name, value in fields]
        return self.encoder.encode(pairs, huffman=self.huffman)

    def continuation(self, stream_id: int, block: bytes, end_headers: bool = True) -> None:
        self.send_frame(Type.CONTINUATION, END_HEADERS * end_headers, stream_id, block)

    def data(
        self, stream_id: int, data: bytes, end_stream: bool = False, padding: int | None = None
    ) -> None:
        """Send one DATA frame, whatever the windows and the frame size allow."""
        self.send_frame(Type.DATA, *_pad(END_STREAM * end_stream, stream_id, data, padding))

    def rst_stream(self, stream_id: int, code: int = Code.CANCEL) -> None:
        self.send_frame(Type.RST_STREAM, 0, stream_id, struct.pack("!L", code))

    def window_update(self, stream_id: int, increment: int) -> None:
        self.send_frame(Type.WINDOW_UPDATE, 0, stream_id, struct.pack("!L", increment))

    def settings(self, settings: Mapping[int, int] = NO_SETTINGS, ack: bool = False) -> None:
        payload = b"".join(struct.pack("!HL", key, value) for key, value in settings.items())
        self.send_frame(Type.SETTINGS, ACK * ack, 0, payload)

    def ping(self, payload: bytes = b"\0" * 8, ack: bool = False) -> None:
        self.send_frame(Type.PING, ACK * ack, 0, payload)

    def goaway(
        self, last_stream_id: int = 0, code: int = Code.NO_ERROR, debug: bytes = b""
    ) -> None:
        self.send_frame(Type.GOAWAY, 0, 0, struct.pack("!LL", last_stream_id, code) + debug)

    def priority(
        self, stream_id: int, depends_on: int = 0, weight: int = 16, exclusive: bool = False
    ) -> None:
        payload = Priority(depends_on, weight, exclusive).encode()
        self.send_frame(Type.PRIORITY, 0, stream_id, payload)

    # --- Requests ---

    def request(
        self,
        method: str | None = "GET",
        path: str | None = "/",
        *,
        authority: str | None = "localhost",
        scheme: str | None = "https",
        fields: Fields = (),
        body: bytes | None = None,
        end_stream: bool | None = None,
        stream_id: int | None = None,
    ) -> int:
        """Send a request and return its stream; a pseudo-header field which is None is left out.

        `end_stream=False` leaves the stream open. Raise PeerError, before anything is sent, for
        a body which does not fit the windows known now: `upload` waits for them to open.
        """
        stream = self.next_stream_id if stream_id is None else stream_id
        if body is not None and len(body) > self._sendable(stream):
            raise PeerError(f"{len(body)} octets do not fit windows of {self._sendable(stream)}")
        self.next_stream_id = max(self.next_stream_id, stream + 2)
        pseudo = {":method": method, ":scheme": scheme, ":authority": authority, ":path": path}
        block = self.encode(
            [*((name, value) for name, value in pseudo.items() if value is not None), *fields]
        )
        end = end_stream is not False
        self.headers(stream, block, end_stream=end and body is None, split=self._max_frame_size)
        if body is not None:
            size = self._max_frame_size
            for start in range(0, max(len(body), 1), size):
                part = body[start : start + size]
                self.data(stream, part, end and start + size >= len(body))
        return stream

    def get(self, path: str = "/", *, timeout: float = TIMEOUT, **request: Any) -> Response:
        """Send a request (`request` says what it takes) and wait for its response."""
        return self.response(self.request(path=path, **request), timeout)

    def upload(
        self,
        stream_id: int,
        data: bytes | Iterable[bytes],
        end_stream: bool = True,
        timeout: float = TIMEOUT,
    ) -> None:
        """Send a body as the windows open, reading frames meanwhile.

        `timeout` is for each wait. Raise StreamReset if the server resets the stream first.
        """
        stream = self._stream(stream_id)
        for chunk in [data] if isinstance(data, bytes) else data:
            rest = chunk
            while rest:
                self.read_available()
                self._until(
                    lambda: self._sendable(stream_id) > 0 and stream.reset is None,
                    f"a window on stream {stream_id}",
                    timeout,
                    given_up=lambda: stream.reset is not None,
                )
                size = min(self._sendable(stream_id), self._max_frame_size)
                part, rest = rest[:size], rest[size:]
                self.data(stream_id, part)
        if end_stream:
            self.data(stream_id, b"", end_stream=True)

    # --- Receiving ---

    def receive_frame(self, timeout: float = TIMEOUT) -> Frame:
        """Return the next frame, processed; raise TimedOut or ConnectionEnded."""
        if (frame := self._next(time.monotonic() + timeout)) is None:
            raise TimedOut(self._explain(f"nothing in {timeout} s, waiting for", "any frame"))
        return frame

    def read_available(self, seconds: float = 0.0) -> list[Frame]:
        """Return the frames which come within a time, or until the connection ends."""
        deadline = time.monotonic() + seconds
        start = len(self.log)
        try:
            # A server which never pauses is left after TIMEOUT more.
            while self._next(deadline) is not None and time.monotonic() < deadline + TIMEOUT:
                pass
        except ConnectionEnded:
            pass
        return self.log[start:]

    def _next(self, deadline: float) -> Frame | None:
        """Return the next frame, or None at the deadline; what has already come counts."""
        while (frame := self._take()) is None:
            if self.ended is not None:
                raise ConnectionEnded(self._explain(self.ended, "before a frame"))
            if not self._fill(deadline):
                return None
        self._process(frame)
        return frame

    def _fill(self, deadline: float) -> bool:
        """Read some octets, or note the end; return False at the deadline."""
        self.sock.settimeout(max(deadline - time.monotonic(), 0))
        try:
            chunk = self.sock.recv(65_536)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            return False
        except ssl.SSLEOFError:
            self.ended = "end of file without a TLS close_notify"
        except OSError as error:
            self.ended = repr(error)
        else:
            self._buffer += chunk
            if not chunk:
                self.ended = "end of file"
        return True

    def _take(self) -> Frame | None:
        """Cut one whole frame off the buffer and log it, or return None."""
        if len(self._buffer) < 9:
            return None
        head = bytes(self._buffer[:9])
        end = 9 + int.from_bytes(head[:3], "big")
        limit = self.local_settings.get(Setting.MAX_FRAME_SIZE, DEFAULT_MAX_FRAME_SIZE)
        if end - 9 > limit:
            raise self._violation(f"a frame of {end - 9} octets, when at most {limit} are allowed")
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[9:end])
        del self._buffer[:end]
        stream_id = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
        frame = Frame(head[3], head[4], stream_id, payload)
        self.log.append(frame)
        try:
            parsed, _ = wire.Frame.parse_frame_header(memoryview(head))
            parsed.parse_body(memoryview(payload))
        except HyperframeError as error:
            raise self._violation(f"a malformed frame: {error!r}") from error
        _copy_parsed(parsed, frame)
        return frame

    def _process(self, frame: Frame) -> None:
        if (head := self._open_block) is not None and (
            frame.type != Type.CONTINUATION or frame.stream_id != head.stream_id
        ):
            raise self._violation(f"a field block on stream {head.stream_id} interrupted")
        match frame.type:
            case Type.DATA:
                self._on_data(frame)
            case Type.HEADERS | Type.CONTINUATION:
                self._on_fragment(frame)
            case Type.RST_STREAM:
                self._stream(frame.stream_id).reset = frame.error_code
            case Type.SETTINGS:
                self._on_settings(frame)
            case Type.PING if self.auto_ack_ping and not frame.ack:
                self._answer(self.ping, frame.payload, True)
            case Type.WINDOW_UPDATE:
                self.credit_received[frame.stream_id] += frame.increment or 0
            case Type.PUSH_PROMISE:
                raise self._violation("a push, which this client does not take")

    def _on_data(self, frame: Frame) -> None:
        length, stream_id = len(frame.payload), frame.stream_id
        allowed = min(self.receive_window(stream_id), self.receive_window(0))
        if self.check_windows and length > max(allowed, 0):
            raise self._violation(f"{length} octets of DATA in a window of {allowed}")
        self.data_received.update({stream_id: length, 0: length})
        self._add_to_stream(frame)
        if self.auto_window and length:
            self._answer(self.window_update, 0, length)
            if not frame.end_stream:
                self._answer(self.window_update, stream_id, length)

    def _on_fragment(self, frame: Frame) -> None:
        if frame.type == Type.HEADERS:
            self._open_block, self._block = frame, bytearray()
        if (head := self._open_block) is None:
            raise self._violation("a CONTINUATION which continues nothing")
        self._block += frame.data
        if not frame.flags & END_HEADERS:
            return
        self._open_block = None
        try:
            decoded = list(self.decoder.decode(bytes(self._block), raw=True))
        except HPACKError as error:
            raise self._violation(f"a field block which HPACK cannot decode: {error!r}") from error
        head.fields = [(str(name, "latin-1"), str(value, "latin-1")) for name, value in decoded]
        self._add_to_stream(head)

    def _on_settings(self, frame: Frame) -> None:
        if frame.ack:
            # The server keeps to our settings only from here on (section 6.5.3).
            if self._unacknowledged:
                self.local_settings |= self._unacknowledged.popleft()
            size = self.local_settings.get(Setting.HEADER_TABLE_SIZE)
            if size is not None:
                self.decoder.max_allowed_table_size = size
            return
        self.remote_settings |= frame.settings or {}
        size = self.remote_settings.get(Setting.HEADER_TABLE_SIZE)
        if size is not None:
            self.encoder.header_table_size = min(size, 4096)
        if self.auto_ack_settings:
            self._answer(self.settings, NO_SETTINGS, True)

    def _answer(self, send: Callable[..., None], *args: object) -> None:
        """Send what the peer sends by itself; a server which has gone may still have said more."""
        with contextlib.suppress(ConnectionEnded):
            send(*args)

    def _add_to_stream(self, frame: Frame) -> None:
        if (wrong := self._stream(frame.stream_id).add(frame)) is not None:
            raise self._violation(wrong)

    def _stream(self, stream_id: int) -> Response:
        return self.responses.setdefault(stream_id, Response(stream_id))

    # --- Waiting: what has already come counts ---

    def wait_until(
        self, condition: Callable[[], bool], what: str, timeout: float = TIMEOUT
    ) -> None:
        """Read frames until a condition on this peer's state holds; `what` names it."""
        self._until(condition, what, timeout)

    def wait_for(
        self,
        predicate: Callable[[Frame], bool],
        timeout: float = TIMEOUT,
        *,
        since: int = 0,
        what: str = "a matching frame",
    ) -> Frame:
        """Return the first frame of `log[since:]` which matches, reading until there is one."""
        found: list[Frame] = []
        position = since

        def matched() -> bool:
            nonlocal position
            while position < len(self.log) and not found:
                if predicate(self.log[position]):
                    found.append(self.log[position])
                position += 1
            return bool(found)

        self._until(matched, what, timeout)
        return found[0]

    def response(self, stream_id: int, timeout: float = TIMEOUT) -> Response:
        """Wait for END_STREAM or RST_STREAM."""
        stream = self._stream(stream_id)
        self._until(
            lambda: stream.ended or stream.reset is not None,
            f"the end of stream {stream_id}",
            timeout,
        )
        return stream

    def wait_headers(self, stream_id: int, timeout: float = TIMEOUT) -> Response:
        """Wait for the final (not informational) HEADERS."""
        stream = self._stream(stream_id)
        self._until(
            lambda: stream.status != 0,
            f"HEADERS on stream {stream_id}",
            timeout,
            given_up=lambda: stream.reset is not None,
        )
        return stream

    def wait_data(self, stream_id: int, at_least: int, timeout: float = TIMEOUT) -> bytes:
        """Wait for so many octets of the body; return what there is of it."""
        stream = self._stream(stream_id)
        self._until(
            lambda: stream.received >= at_least,
            f"{at_least} octets of DATA on stream {stream_id}",
            timeout,
            given_up=lambda: stream.ended or stream.reset is not None,
        )
        return stream.body

    def wait_reset(self, stream_id: int, timeout: float = TIMEOUT) -> int:
        """Wait for RST_STREAM and return its error code."""
        stream = self._stream(stream_id)
        what = f"RST_STREAM on stream {stream_id}"
        self._until(lambda: stream.reset is not None, what, timeout)
        return -1 if stream.reset is None else stream.reset

    def wait_goaway(self, timeout: float = TIMEOUT) -> Frame:
        """Return the next GOAWAY, one that an earlier call has not returned."""
        since = self._goaways_returned
        goaway = self.wait_for(
            lambda frame: frame.type == Type.GOAWAY, timeout, since=since, what="GOAWAY"
        )
        self._goaways_returned = self._position(goaway) + 1
        return goaway

    def wait_settings(self, timeout: float = TIMEOUT) -> Frame:
        """Return the server's first SETTINGS."""
        return self.wait_for(
            lambda frame: frame.type == Type.SETTINGS and not frame.ack, timeout, what="SETTINGS"
        )

    def wait_settings_ack(self, timeout: float = TIMEOUT) -> None:
        """Wait until the server has acknowledged every SETTINGS sent."""
        self._until(lambda: not self._unacknowledged, "SETTINGS ACK", timeout)

    def wait_ping_ack(self, payload: bytes | None = None, timeout: float = TIMEOUT) -> Frame:
        """Return the first PING ACK, with that payload if one is given."""
        return self.wait_for(
            lambda frame: (
                frame.type == Type.PING and frame.ack and payload in (None, frame.payload)
            ),
            timeout,
            what="PING ACK",
        )

    def roundtrip(self, timeout: float = TIMEOUT) -> None:
        """Wait until the server has read all that was sent before (a PING of our own)."""
        self._pings += 1
        payload = struct.pack("!4sL", b"trip", self._pings)
        self.ping(payload)
        self.wait_ping_ack(payload, timeout)

    def wait_closed(self, timeout: float = TIMEOUT) -> str:
        """Read to the end of the connection; return how it ended."""
        with contextlib.suppress(ConnectionEnded):
            self._until(lambda: False, "the end of the connection", timeout)
        return self.ended or ""

    def _until(
        self,
        condition: Callable[[], bool],
        what: str,
        timeout: float,
        given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if given_up():
                raise StreamReset(self._explain("the stream ended before", what))
            try:
                frame = self._next(deadline)
            except ConnectionEnded:
                raise ConnectionEnded(self._explain(f"{self.ended} before", what)) from None
            if frame is None or (time.monotonic() > deadline and not condition()):
                raise TimedOut(self._explain(f"{timeout} s passed waiting for", what))

    def _position(self, frame: Frame) -> int:
        return next(i for i, logged in enumerate(self.log) if logged is frame)

    # --- Failing ---

    def _violation(self, what: str) -> PeerError:
        return PeerError(self._explain("the server sent", what))

    def _explain(self, problem: str, what: str) -> str:
        frames = [f"  {frame}" for frame in self.log[-10:]] or ["  none"]
        lines = [f"{problem} {what}", "last frames received:", *frames]
        if self._buffer:
            lines.append(f"  and {len(self._buffer)} octets more")
        if self.ended is not None:
            lines.append(f"  then {self.ended}")
        return "\n".join(lines)


@contextlib.contextmanager
def one_write(peer: Peer) -> Iterator[None]:
    """Send what the block sends all at once, so that the server reads it all at once."""
    parts: list[bytes] = []
    send_raw = peer.send_raw
    peer.send_raw = parts.append  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        peer.send_raw = send_raw  # type: ignore[method-assign]
    peer.send_raw(b"".join(parts))


def _make_socket(family: int, receive_buffer: int | None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if receive_buffer is not None:
            # Before connecting, or TCP has already offered a larger window.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(TIMEOUT)
    except BaseException:
        sock.close()
        raise
    return sock


def _resolve(address: Address) -> tuple[int, Any]:
    if isinstance(address, str):
        return socket.AF_UNIX, address
    host, port = address
    # A test server on "localhost" is most often on IPv4 alone.
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, *_, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, where


def _client_context(ca_file: str | None, alpn: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(ca_file)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def _window(
    stream_id: int, settings: Mapping[int, int], credit: Counter[int], used: Counter[int]
) -> int:
    """Return a window, which SETTINGS may have made negative (section 6.9.2)."""
    initial = settings.get(Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
    return (initial if stream_id else DEFAULT_WINDOW) + credit[stream_id] - used[stream_id]


def _pad(flags: int, stream_id: int, payload: bytes, padding: int | None) -> tuple[int, int, bytes]:
    if padding is None:
        return flags, stream_id, payload
    return flags | PADDED, stream_id, bytes([padding]) + payload + bytes(padding)


def _octets(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def _copy_parsed(parsed: wire.Frame, frame: Frame) -> None:
    match parsed:
        case wire.DataFrame() | wire.HeadersFrame() | wire.ContinuationFrame():
            # The log and the bodies share one object when there is no padding.
            frame.data = frame.payload if parsed.data == frame.payload else parsed.data
        case wire.RstStreamFrame():
            frame.error_code = parsed.error_code
        case wire.SettingsFrame():
            frame.settings = dict(parsed.settings)
        case wire.WindowUpdateFrame():
            frame.increment = parsed.window_increment
        case wire.GoAwayFrame():
            frame.last_stream_id = parsed.last_stream_id
            frame.error_code = parsed.error_code
            frame.debug = parsed.additional_data
