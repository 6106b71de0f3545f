"""A client that is as strict as RFC 9113 wants it, and, if told so, has a defect.

It is made for these tests alone. Every check has a name, and a defect of that name leaves the check
out; further defects are in what it does. Blocking, for one thread.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import struct
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from hpack import Encoder

from clientspec.strict_hpack import Broken, Decoder, TooLarge
from h2wsgi.clientspec.drivers import Order, Outcome
from h2wsgi.codes import ErrorCode as Code

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM, END_HEADERS, PADDED, PRIORITIZED = 0x1, 0x4, 0x8, 0x20
LARGEST_WINDOW = 2**31 - 1
LARGE_WINDOW = 2**21
LEAKING = {
    "leaks the credit of large windows": LARGE_WINDOW,
    "leaks what is discarded in a large window": 150_000,
}
"""The connection's window, of clients that have a larger one than they must."""
MAX_FRAME = 2**14
MAX_FIELDS = 2**16
MAX_BLOCK = 2**16
MAX_CONTENT = 2**27
MAX_IDLE_FRAMES = 10_000
"""Frames that bring nothing, of one connection."""
TRIES = 3
CONNECTION_FIELDS = {
    b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade",
}  # fmt: skip
NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
NO_CONTENT = (204, 304)


class ConnectionFailed(Exception):
    """The connection is over; every stream that is not done has failed."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class StreamFailed(Exception):
    """One stream is over."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Stream:
    """One request and what came of it."""

    id: int
    order: Order
    left: int
    """Octets of content still to be sent."""
    send_window: int
    receive_window: int
    sent_all: bool = False
    status: int = 0
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    content: bytearray = field(default_factory=bytearray)
    length: int | None = None
    ended: bool = False
    """The server has ended it."""
    reset: bool = False
    """One of us has reset it."""
    error: str = ""
    may_retry: bool = False
    has_content: bool = False

    @property
    def done(self) -> bool:
        return (self.ended and not self.left) or bool(self.error)


class Connection:
    """One connection to a server."""

    def __init__(self, host: str, port: int, ca: str, defects: Collection[str]) -> None:
        self.defects = defects
        self.sock = self._connect(host, port, ca)
        self.received = b""
        self.unsent = PREFACE
        self.streams: dict[int, Stream] = {}
        self.next_id = 1
        self.greeted = False
        self.closed = False
        self.goaway_last: int | None = None
        self.decoder = Decoder(self.has, MAX_FIELDS)
        self.encoder = Encoder()
        self.block: tuple[int, int, bytearray] | None = None
        """Of an open field block: the stream, the flags of HEADERS, the octets so far."""
        self.send_window = 65_535
        self.receive_window = 65_535
        self.own_initial = 65_535
        self.initial = 65_535
        self.max_frame = MAX_FRAME
        self.max_streams = 100
        self.own_unacknowledged = 1
        self.idle_frames = 0
        self._send(SETTINGS, 0, struct.pack("!HLHL", 2, 0, 6, MAX_FIELDS))
        if self.has("leaks the credit of large windows"):
            self.own_initial = LARGE_WINDOW
            self._send(SETTINGS, 0, struct.pack("!HL", 4, LARGE_WINDOW))
            self.own_unacknowledged += 1
        for defect, size in LEAKING.items():
            if self.has(defect):
                self.receive_window = size
                self._send(WINDOW_UPDATE, 0, struct.pack("!L", size - 65_535))

    def has(self, defect: str) -> bool:
        return defect in self.defects

    def require(self, good: object, defect: str, code: int = Code.PROTOCOL_ERROR) -> None:
        """A connection error unless ``good``, or the check is left out."""
        if not good and not self.has(defect):
            raise ConnectionFailed(defect, code)

    def require_stream(self, good: object, defect: str, code: int = Code.PROTOCOL_ERROR) -> None:
        """The same for a stream error."""
        if not good and not self.has(defect):
            raise StreamFailed(defect, code)

    # ------------------------------------------------------------------------------ octets

    def _connect(self, host: str, port: int, ca: str) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=ca)
        context.set_alpn_protocols(["h2"])
        if self.has("trusts every certificate"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.has("takes any host"):
            context.check_hostname = False
        raw = socket.create_connection((host, port), 5)
        try:
            sock = context.wrap_socket(raw, server_hostname=host)
        except BaseException:
            raw.close()
            raise
        if sock.selected_alpn_protocol() != "h2" and not self.has("goes on without ALPN"):
            sock.close()
            raise ConnectionFailed("the server does not speak h2")
        cipher = sock.cipher()
        if cipher is not None and cipher[1] == "TLSv1.2" and "GCM" not in cipher[0]:
            sock.close()
            raise ConnectionFailed("a cipher suite that HTTP/2 prohibits")
        sock.setblocking(False)
        return sock

    def _send(self, kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> None:
        self.unsent += struct.pack("!LBL", len(payload) << 8 | kind, flags, stream) + payload

    def pump(self, deadline: float) -> None:
        """Send what is to be sent, and take what comes."""
        self._flush()
        left = deadline - time.monotonic()
        if left <= 0:
            raise ConnectionFailed("timed out", Code.CANCEL)
        if not self.sock.pending():
            writers = [self.sock] if self.unsent else []
            if not select.select([self.sock], writers, [], left)[0]:
                return
        try:
            came = self.sock.recv(2**16)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            raise ConnectionFailed(f"lost: {error}") from None
        if not came:
            raise ConnectionFailed("closed by the server")
        self.received += came
        self._take()
        self._flush()

    def _flush(self) -> None:
        try:
            while self.unsent:
                self.unsent = self.unsent[self.sock.send(self.unsent) :]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self.unsent = b""  # What the server said before it closed is read nevertheless.

    def fail(self, error: ConnectionFailed) -> None:
        """End the connection and all that runs on it."""
        if error.code is not None and not self.has("closes without GOAWAY"):
            self._send(GOAWAY, 0, struct.pack("!LL", 0, error.code))
            self._flush()
            self._linger()
        self.close()
        for stream in self.streams.values():
            if stream.done:
                continue
            hiding = "takes the end of the connection for the end"
            if self.has(hiding if error.code is None else "hides connection errors"):
                stream.ended = True
            else:
                stream.error = f"connection: {error}"
                if self.goaway_last is not None and stream.id > self.goaway_last:
                    stream.may_retry = True
                if self.has("retries a processed POST"):
                    stream.may_retry = True

    def _linger(self) -> None:
        """Read on for a moment: to close with octets unread would reset the connection."""
        with suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_WR)
            deadline = time.monotonic() + 1
            while select.select([self.sock], [], [], deadline - time.monotonic())[0]:
                if not socket.socket.recv(self.sock, 2**16) or time.monotonic() > deadline - 0.1:
                    return

    def close(self) -> None:
        self.closed = True
        with suppress(OSError):
            self.sock.close()

    # ------------------------------------------------------------------------------ frames

    def _take(self) -> None:
        at = 0
        while len(self.received) - at >= 9:
            word, flags, stream = struct.unpack_from("!LBL", self.received, at)
            length, kind = word >> 8, word & 0xFF
            if self.has("minds the reserved bit"):
                self.require(stream < 2**31, "")
            stream &= 2**31 - 1
            self.require(length <= MAX_FRAME, "takes frames of any size", Code.FRAME_SIZE_ERROR)
            if len(self.received) - at - 9 < length:
                break
            payload = self.received[at + 9 : at + 9 + length]
            at += 9 + length
            try:
                self._frame(kind, flags, stream, payload)
            except StreamFailed as error:
                self._fail_stream(stream, error)
        self.received = self.received[at:]

    def _fail_stream(self, stream_id: int, error: StreamFailed) -> None:
        stream = self.streams.get(stream_id)
        if stream is None:
            raise ConnectionFailed(str(error), error.code)
        if not self.has("sends no RST_STREAM") and (stream.left or not stream.ended):
            self._send(RST_STREAM, stream_id, struct.pack("!L", error.code))
        stream.reset = True
        stream.left = 0
        if not stream.ended or not stream.error:
            stream.error = str(error)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if not self.greeted:
            good = kind == SETTINGS and not flags & 1
            self.require(good, "takes any first frame")
            self.greeted = True
        if self.block is not None:
            good = kind == CONTINUATION and stream == self.block[0]
            self.require(good, "takes frames inside a field block")
        handler = {
            DATA: self._data,
            HEADERS: self._headers,
            PRIORITY: self._priority,
            RST_STREAM: self._reset,
            SETTINGS: self._settings,
            PUSH_PROMISE: self._push,
            PING: self._ping,
            GOAWAY: self._goaway,
            WINDOW_UPDATE: self._window_update,
            CONTINUATION: self._continuation,
        }.get(kind)
        if kind not in (DATA, HEADERS, CONTINUATION) or not payload:
            self.idle_frames += 1
            if self.idle_frames > MAX_IDLE_FRAMES and not self.has("takes any number of frames"):
                raise ConnectionFailed("too many frames", Code.ENHANCE_YOUR_CALM)
        if handler is None:
            if self.has("ends on unknown frames"):
                raise ConnectionFailed("an unknown frame", Code.PROTOCOL_ERROR)
            return
        known = {DATA: 0x9, HEADERS: 0x2D, SETTINGS: 1, PING: 1, CONTINUATION: 4}.get(kind, 0)
        if self.has("ends on unknown flags") and flags & ~known:
            raise ConnectionFailed("unknown flags", Code.PROTOCOL_ERROR)
        handler(flags, stream, payload)

    def _stream_of(self, stream_id: int, name: str) -> Stream | None:
        """Return an open or ended stream; None for one that we reset. Idle ones are an error."""
        self.require(stream_id, f"takes {name} on stream 0")
        if stream_id % 2 == 0 and stream_id:
            self.require(False, f"takes {name} on an even stream")
        if stream_id >= self.next_id:
            self.require(False, f"takes {name} on an idle stream")
        return self.streams.get(stream_id)

    def _unpad(self, flags: int, payload: bytes, name: str) -> bytes:
        if not flags & PADDED:
            return payload
        self.require(payload, f"takes {name} without its pad length", Code.FRAME_SIZE_ERROR)
        padding = payload[0] if payload else 0
        self.require(padding < max(len(payload), 1), f"takes too long padding of {name}")
        if self.has("takes padding for content"):
            return payload[1:]
        return payload[1 : max(len(payload) - padding, 1)]

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        content = self._unpad(flags, payload, "DATA")
        self.receive_window -= len(payload)
        good = self.receive_window >= 0
        self.require(good, "does not hold its windows", Code.FLOW_CONTROL_ERROR)
        stream = self._stream_of(stream_id, "DATA")
        if stream is None or stream.reset:
            leaks = (
                "leaks the credit of discarded content",
                "leaks what is discarded in a large window",
            )
            if not any(map(self.has, leaks)):
                self._credit_connection(len(payload))
            return
        credited = len(content) if self.has("leaks the credit of padding") else len(payload)
        self._credit_connection(credited)
        self.require_stream(not stream.ended, "takes DATA behind the end", Code.STREAM_CLOSED)
        if stream.ended:
            return
        stream.receive_window -= len(payload)
        good = stream.receive_window >= 0
        self.require_stream(good, "does not hold its windows", Code.FLOW_CONTROL_ERROR)
        self.require_stream(stream.status >= 200, "takes DATA before the head")
        is_empty = self._forbids_content(stream)
        self.require_stream(not (is_empty and content), "takes content where none may be")
        if stream.length is not None and self.has("cuts content at its length"):
            content = content[: stream.length - len(stream.content)]
        stream.content += content
        stream.has_content = True
        if len(stream.content) > MAX_CONTENT:
            raise StreamFailed("too much content", Code.CANCEL)
        if flags & END_STREAM:
            self._end(stream)
        elif not (self.has("leaks the credit of streams") or self._leaks_large()):
            stream.receive_window += credited
            if credited:
                self._send(WINDOW_UPDATE, stream_id, struct.pack("!L", credited))

    def _credit_connection(self, octets: int) -> None:
        if octets and not (self.has("leaks the credit of the connection") or self._leaks_large()):
            self.receive_window += octets
            self._send(WINDOW_UPDATE, 0, struct.pack("!L", octets))
        if self.has("sends an increment of 0"):
            self._send(WINDOW_UPDATE, 0, bytes(4))

    def _leaks_large(self) -> bool:
        return self.has("leaks the credit of large windows")

    def _forbids_content(self, stream: Stream) -> bool:
        return stream.order.do == "head" or stream.status in NO_CONTENT

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._stream_of(stream_id, "HEADERS")
        block = self._unpad(flags, payload, "HEADERS")
        if flags & PRIORITIZED and not self.has("takes a priority for fields"):
            self.require(len(block) >= 5, "takes HEADERS without its priority", 6)
            block = block[5:]
        if flags & END_STREAM and not flags & END_HEADERS and self.has("ends before END_HEADERS"):
            self.streams[stream_id].ended = True
            return
        self.block = (stream_id, flags, bytearray(block))
        if flags & END_HEADERS:
            self._section()

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self.block is None:
            self.require(False, "takes CONTINUATION of nothing")
            return
        self.require(len(self.block[2]) <= MAX_BLOCK, "takes CONTINUATION without end", 0xB)
        self.idle_frames += 10
        self.block[2].extend(payload)
        if flags & END_HEADERS:
            self._section()

    def _section(self) -> None:
        assert self.block is not None
        stream_id, flags, block = self.block
        self.block = None
        stream = self.streams.get(stream_id)
        try:
            fields = self.decoder.decode(bytes(block))
        except Broken as error:
            if self.has("makes compression errors stream errors") and stream is not None:
                raise StreamFailed(str(error), Code.COMPRESSION_ERROR) from None
            raise ConnectionFailed(str(error), Code.COMPRESSION_ERROR) from None
        except TooLarge:
            raise ConnectionFailed("too many fields", Code.ENHANCE_YOUR_CALM) from None
        if stream is None or stream.reset:
            return
        self.require_stream(not stream.ended, "takes HEADERS behind the end", Code.STREAM_CLOSED)
        if stream.ended:
            return
        ends = bool(flags & END_STREAM)
        if stream.status >= 200:
            self._trailers(stream, fields, ends=ends)
        else:
            self._head(stream, fields, ends=ends)

    def _head(self, stream: Stream, fields: list[tuple[bytes, bytes]], *, ends: bool) -> None:
        require = self.require_stream
        pseudo = [(n, v) for n, v in fields if n.startswith(b":")]
        names = [name for name, _ in pseudo]
        require(b":status" in names, "takes no :status")
        require(names.count(b":status") <= 1, "takes two :status")
        require(set(names) <= {b":status"}, "takes other pseudo-fields")
        regular = [n.startswith(b":") for n, _ in fields]
        require(regular == sorted(regular, reverse=True), "takes :status behind fields")
        self._check_fields(fields)
        status = dict(pseudo).get(b":status", b"200")
        require(re.fullmatch(rb"[1-9][0-9][0-9]", status), "takes any :status")
        number = int(status) if status.isdigit() else 200
        require(number != 101, "takes 101")
        if 100 <= number < 200:
            require(not ends, "takes 1xx with END_STREAM")
            if self.has("takes fields of 1xx for the response's"):
                stream.fields += fields
            if self.has("takes 1xx for the response"):
                stream.status = number
                stream.ended = True
            elif ends:
                stream.status = 200
                stream.ended = True
            return
        stream.status = number
        stream.fields = fields + stream.fields
        lengths = [v for n, v in fields if n == b"content-length"]
        require(len(set(lengths)) <= 1, "takes two lengths")
        for length in lengths[:1]:
            require(re.fullmatch(rb"[0-9]+", length), "takes any length")
            stream.length = int(length) if length.isdigit() else None
        if ends:
            self._end(stream)

    def _trailers(self, stream: Stream, fields: list[tuple[bytes, bytes]], *, ends: bool) -> None:
        self.require_stream(ends, "takes trailers that do not end the stream")
        good = not any(name.startswith(b":") for name, _ in fields)
        self.require_stream(good, "takes pseudo-fields in trailers")
        self._check_fields(fields)
        stream.trailers = fields
        if self.has("takes trailers for fields"):
            stream.fields = stream.fields + fields
        if ends:
            self._end(stream)

    def _check_fields(self, fields: list[tuple[bytes, bytes]]) -> None:
        require = self.require_stream
        for name, value in fields:
            if name.startswith(b":"):
                continue
            upper = name.lower() != name
            require(not upper, "takes upper case")
            require(upper or NAME.fullmatch(name), "takes any name")
            require(name not in CONNECTION_FIELDS, "takes connection fields")
            require(not re.search(rb"[\r\n]", value), "takes line ends in values")
            require(b"\0" not in value, "takes NUL in values")
            require(value.strip(b" \t") == value, "takes blanks around values")

    def _end(self, stream: Stream) -> None:
        count = len(stream.content)
        is_empty = self._forbids_content(stream) and not self.has("wants content where none may be")
        if stream.length is not None and not is_empty:
            self.require_stream(count >= stream.length, "takes short content")
            self.require_stream(count <= stream.length, "takes long content")
        stream.ended = True

    def _priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.require(stream_id, "takes PRIORITY on stream 0")
        if len(payload) != 5 and not self.has("takes PRIORITY of any size"):
            if stream_id in self.streams:
                raise StreamFailed("PRIORITY of another size", Code.FRAME_SIZE_ERROR)
            raise ConnectionFailed("PRIORITY of another size", Code.FRAME_SIZE_ERROR)
        if self.has("ends on PRIORITY"):
            raise ConnectionFailed("PRIORITY", Code.PROTOCOL_ERROR)

    def _reset(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.require(len(payload) == 4, "takes RST_STREAM of any size", Code.FRAME_SIZE_ERROR)
        stream = self._stream_of(stream_id, "RST_STREAM")
        if stream is not None and stream.ended:
            stream.left = 0
        if stream is None or stream.ended or stream.reset or len(payload) != 4:
            return
        code = int.from_bytes(payload)
        if self.has("ignores RST_STREAM"):
            return
        if self.has("takes RST_STREAM for the end") or (
            code == 0 and self.has("takes RST_STREAM(NO_ERROR) for the end")
        ):
            stream.ended = True
            return
        if code == Code.CANCEL and self.has("takes RST_STREAM(CANCEL) for the end"):
            stream.ended = True
            return
        stream.reset = True
        stream.error = f"RST_STREAM({code})"
        stream.may_retry = code == Code.REFUSED_STREAM or self.has("retries a processed POST")
        if code == Code.CANCEL and self.has("retries what was cancelled"):
            stream.may_retry = True
        if code > 0xD and self.has("ends the connection on unknown codes"):
            raise ConnectionFailed("a code that it does not know", Code.PROTOCOL_ERROR)

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.require(not stream_id, "takes SETTINGS on a stream")
        if flags & 1:
            self.require(not payload, "takes an acknowledgement with payload", 6)
            self.own_unacknowledged -= 1
            return
        self.require(len(payload) % 6 == 0, "takes SETTINGS of any size", Code.FRAME_SIZE_ERROR)
        entries = list(struct.iter_unpack("!HL", payload[: len(payload) // 6 * 6]))
        if self.has("takes the first of two settings"):
            entries.reverse()
        for name, value in entries:
            self._setting(name, value)
        if not self.has("does not acknowledge SETTINGS"):
            self._send(SETTINGS, 0, b"", 1)

    def _setting(self, name: int, value: int) -> None:
        if name == 1:
            if not self.has("ignores HEADER_TABLE_SIZE"):
                self.encoder.header_table_size = min(value, 4096)
            if self.has("takes HEADER_TABLE_SIZE for its own"):
                self.decoder.limit = value
        elif name == 2:
            self.require(value < 2, "takes any ENABLE_PUSH")
            self.require(value != 1, "takes ENABLE_PUSH of 1")
        elif name == 3:
            if not self.has("ignores MAX_CONCURRENT_STREAMS"):
                self.max_streams = value
        elif name == 4:
            self.require(value <= LARGEST_WINDOW, "takes any INITIAL_WINDOW_SIZE", 3)
            change = value - self.initial
            if self.has("changes no open windows"):
                change = 0
            if change < 0 and self.has("never lowers a window"):
                change = 0
            if self.has("takes INITIAL_WINDOW_SIZE for the connection"):
                self.send_window += value - self.initial
            self.initial = value
            for stream in self.streams.values():
                stream.send_window += change
                good = stream.send_window <= LARGEST_WINDOW or stream.done
                good = good or self.has("takes any INITIAL_WINDOW_SIZE")
                self.require(good, "takes windows of any size", 3)
        elif name == 5:
            self.require(value >= MAX_FRAME, "takes a small MAX_FRAME_SIZE")
            self.require(value < 2**24, "takes a large MAX_FRAME_SIZE")
            self.max_frame = value
        elif name > 9 and self.has("ends on unknown settings"):
            raise ConnectionFailed("an unknown setting", Code.PROTOCOL_ERROR)

    def _push(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.require(False, "takes PUSH_PROMISE")
        if flags & END_HEADERS and len(payload) > 4:
            self.decoder.decode(self._unpad(flags, payload, "PUSH_PROMISE")[4:])

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.require(not stream_id, "takes PING on a stream")
        self.require(len(payload) == 8, "takes PING of any size", Code.FRAME_SIZE_ERROR)
        if flags & 1 and not self.has("answers answers to PING"):
            return
        if self.has("does not answer PING"):
            return
        answer = bytes(8) if self.has("answers PING with other octets") else payload
        self._send(PING, 0, answer, 0 if self.has("answers PING without ACK") else 1)

    def _goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.require(not stream_id, "takes GOAWAY on a stream")
        self.require(len(payload) >= 8, "takes GOAWAY of any size", Code.FRAME_SIZE_ERROR)
        if len(payload) < 8 or stream_id:
            return
        last, _code = struct.unpack_from("!LL", payload)
        if self.has("takes GOAWAY for the end"):
            raise ConnectionFailed("GOAWAY")
        if not self.has("ignores GOAWAY"):
            self.goaway_last = last & (2**31 - 1)
        for stream in self.streams.values():
            if self.goaway_last is not None and stream.id > self.goaway_last and not stream.done:
                stream.error = "not processed: GOAWAY"
                stream.may_retry = not self.has("does not retry")

    def _window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.require(len(payload) == 4, "takes WINDOW_UPDATE of any size", Code.FRAME_SIZE_ERROR)
        if len(payload) != 4:
            return
        increment = int.from_bytes(payload) & LARGEST_WINDOW
        if not stream_id:
            self.require(increment, "takes an increment of 0")
            self.send_window += increment
            good = self.send_window <= LARGEST_WINDOW
            self.require(good, "takes windows of any size", Code.FLOW_CONTROL_ERROR)
            return
        stream = self._stream_of(stream_id, "WINDOW_UPDATE")
        if stream is None or stream.reset:
            return
        self.require_stream(increment, "takes an increment of 0")
        if not self.has("ignores the credit of streams"):
            stream.send_window += increment
        good = stream.send_window <= LARGEST_WINDOW or stream.ended
        self.require_stream(good, "takes windows of any size", Code.FLOW_CONTROL_ERROR)

    # ------------------------------------------------------------------------------ requests

    def can_open(self) -> bool:
        running = sum(not s.done for s in self.streams.values())
        return self.goaway_last is None and not self.closed and running < self.max_streams

    def open(self, order: Order) -> Stream:
        """Send a request's head."""
        stream = Stream(self.next_id, order, order.size, self.initial, self.own_initial)
        if order.do != "post":
            stream.left = 0
        self.streams[stream.id] = stream
        self.next_id += 1 if self.has("opens even streams") else 2
        if self.has("uses streams again"):
            self.next_id = stream.id
        url = urlsplit(order.url)
        path = url.path + (f"?{url.query}" if url.query else "")
        if self.has("drops the query"):
            path = url.path
        method = "GET" if order.do == "get" else order.do.upper()
        fields = [(":method", method), (":scheme", url.scheme)]
        fields += [(":authority", url.netloc), (":path", path), ("user-agent", "strict")]
        if self.has("sends Host in place of :authority"):
            fields[2] = ("host", url.netloc)
            fields.insert(2, fields.pop(3))
        if self.has("sends no :scheme"):
            fields.pop(1)
        if self.has("sends connection fields"):
            fields.append(("connection", "keep-alive"))
        if self.has("sends upper case"):
            fields.append(("X-Upper", "case"))
        if self.has("sends TE other than trailers"):
            fields.append(("te", "gzip"))
        if self.has("sends a Host of its own"):
            fields.append(("host", "other.test"))
        if self.has("sends pseudo-fields behind others"):
            fields.append(fields.pop(0))
        if order.do == "post":
            length = order.size + 1 if self.has("sends a wrong length") else order.size
            fields.append(("content-length", str(length)))
        stream.sent_all = not stream.left
        flags = END_HEADERS | (END_STREAM if stream.sent_all else 0)
        if self.has("does not end its requests"):
            flags = END_HEADERS
        self._send(HEADERS, stream.id, self.encoder.encode(fields), flags)
        return stream

    def upload(self) -> None:
        """Send what content the windows allow."""
        for stream in self.streams.values():
            while stream.left and not stream.error and not (stream.ended and stream.reset):
                room = min(self.send_window, stream.send_window, self.max_frame, stream.left)
                if self.has("ignores windows"):
                    room = min(MAX_FRAME, stream.left)
                elif self.has("ignores the connection's window"):
                    room = min(stream.send_window, MAX_FRAME, stream.left)
                if self.has("ignores MAX_FRAME_SIZE") and room == MAX_FRAME:
                    room = min(self.send_window, stream.send_window, 2 * MAX_FRAME, stream.left)
                if room <= 0:
                    break
                self.send_window -= room
                stream.send_window -= room
                stream.left -= room
                self._send(DATA, stream.id, b"x" * room, 0 if stream.left else END_STREAM)
                if not stream.left and self.has("sends DATA behind END_STREAM"):
                    self._send(DATA, stream.id, b"more")
                stream.sent_all = not stream.left


class StrictClient:
    """A caller, as the suite wants one; with defects if any are named."""

    keeps_connections = True

    def __init__(self, ca: str, defects: Collection[str] = ()) -> None:
        self._ca = ca
        self._defects = frozenset(defects)
        self._connections: dict[tuple[str, int], Connection] = {}

    def ask(self, orders: Sequence[Order], seconds: float) -> list[Outcome]:
        deadline = time.monotonic() + seconds
        waiting = list(enumerate(orders))
        tries = dict.fromkeys(range(len(orders)), 0)
        outcomes: dict[int, Outcome] = {}
        while waiting:
            try:
                connection = self._connection(orders[0].url)
            except (OSError, ConnectionFailed) as error:
                outcomes |= {n: Outcome(error=str(error), content=b"") for n, _ in waiting}
                break
            running: dict[int, Stream] = {}
            try:
                self._run(connection, waiting, running, deadline)
            except ConnectionFailed as error:
                connection.fail(error)
            again = []
            for number, order in waiting:
                stream = running.get(number)
                tries[number] += 1
                if (stream is None or stream.may_retry) and tries[number] < TRIES:
                    again.append((number, order))
                else:
                    cuts = "cuts values at octets above 0x7f" in self._defects
                    outcomes[number] = _outcome(stream, cuts_values=cuts)
            waiting = again
        return [outcomes[number] for number in range(len(orders))]

    def _run(
        self,
        connection: Connection,
        waiting: list[tuple[int, Order]],
        running: dict[int, Stream],
        deadline: float,
    ) -> None:
        left = list(waiting)
        while left or not all(s.done for s in running.values()):
            if connection.goaway_last is not None and all(s.done for s in running.values()):
                break
            # A new connection waits for the server's limits before it opens more than one stream.
            while left and connection.can_open() and (connection.greeted or not running):
                number, order = left.pop(0)
                running[number] = connection.open(order)
            if connection.greeted or connection.has("ignores windows"):
                connection.upload()
            connection.pump(deadline)
        connection._flush()
        if connection.goaway_last is not None:
            self.rest()

    def _connection(self, url: str) -> Connection:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        where = (parts.hostname, parts.port)
        known = self._connections.get(where)
        if known is None or known.closed or known.goaway_last is not None:
            known = Connection(*where, self._ca, self._defects)
            self._connections[where] = known
        return known

    def rest(self) -> None:
        for connection in self._connections.values():
            if not connection.closed:
                connection.close()
        self._connections.clear()

    def abort(self) -> None: ...

    def close(self) -> None:
        self.rest()


def _outcome(stream: Stream | None, *, cuts_values: bool = False) -> Outcome:
    if stream is None:
        return Outcome(error="the connection ended", content=b"")
    if stream.error:
        return Outcome(error=stream.error, content=bytes(stream.content))
    check = dict(stream.fields).get(b"x-check", b"").decode("latin-1")
    if cuts_values:
        check = re.split("[\x80-\xff]", check)[0]
    trailer = dict(stream.trailers).get(b"x-trailer", b"").decode("latin-1")
    fields = {"check": check, "trailer": trailer}
    return Outcome(content=bytes(stream.content), status=stream.status, fields=fields)
