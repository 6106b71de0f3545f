"""A client's end of a connection, on asyncio, cheap enough for a thousand requests a second.

It shares no code with the server and checks what it is sent: frames in an order that RFC 9113 does
not allow become ``violations``. It keeps to the server's windows and opens its own as it reads, a
stream's only while ``reading``. It never decides when to stop: what GOAWAY said is there to see.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import struct
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Self, cast

from hpack import Decoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_STREAM, END_HEADERS = 0x1, 0x1, 0x4
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 16_384
ANNOUNCED = 2**31 - 1
"""The last-stream-id of a GOAWAY that only says that an end is near (section 6.8)."""
CANCEL = 0x8
ENDED = select.POLLRDHUP if hasattr(select, "POLLRDHUP") else select.POLLHUP
"""That the other end of a socket sends no more, whether or not all that it sent was read."""


class Broken(Exception):
    """The connection ended, or the server reset the stream, before the response was whole."""


@dataclass(slots=True, eq=False)
class Exchange:
    """One request and what has come back for it. Times are those of the monotonic clock."""

    stream_id: int
    path: str
    unsent: deque[bytes] = field(default_factory=deque)
    """Content that the windows have not let through yet, in parts of a frame at most."""
    window: int = 0
    """Octets the server lets us send."""
    status: int = 0
    parts: list[bytes] = field(default_factory=list)
    received: int = 0
    unacknowledged: int = 0
    """Octets received that no WINDOW_UPDATE has given back."""
    reading: bool = True
    ended: bool = False
    reset: int | None = None
    abandoned: bool = False
    """Reset by this client."""
    began: float = field(default_factory=time.monotonic)
    finished: float = 0.0
    done: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the end: END_STREAM, RST_STREAM either way, or the connection's."""

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)


class LoadConnection(asyncio.Protocol):
    """One connection and every exchange on it."""

    def __init__(self, window: int = 65_535) -> None:
        """``window`` is what each stream lets the server send, in octets."""
        self._own_window = window
        self.exchanges: dict[int, Exchange] = {}
        self.open: dict[int, Exchange] = {}
        self.goaways: list[tuple[int, int]] = []
        """Last-stream-id and error code of each GOAWAY."""
        self.violations: list[str] = []
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        """Done once the connection is closed, with what closed it if that was no end of file."""
        self.changed = asyncio.Event()
        """Set whenever an exchange ends, a GOAWAY comes or the connection ends."""
        self._next_stream = 1
        self._buffer = bytearray()
        self._decoder = Decoder()
        self._window = 65_535
        self._initial_window = 65_535
        self._unacknowledged = 0
        self._reading = True

    @classmethod
    async def connect(
        cls, port: int, tls: ssl.SSLContext | None = None, window: int = 65_535
    ) -> Self:
        """Connect to the loopback address and send the preface; raise OSError as asyncio does."""
        _, protocol = await asyncio.get_running_loop().create_connection(
            lambda: cls(window),
            "127.0.0.1",
            port,
            ssl=tls,
            server_hostname="localhost" if tls else None,
        )
        return protocol

    # ------------------------------------------------------------------------------ sending

    def request(
        self, path: str, content: bytes | None = None, *, content_ended: bool = True
    ) -> Exchange:
        """Send a GET, or with ``content`` a POST of which :meth:`send` may add more."""
        exchange = Exchange(self._next_stream, path, window=self._initial_window)
        self._next_stream += 2
        self.exchanges[exchange.stream_id] = self.open[exchange.stream_id] = exchange
        flags = END_HEADERS if content is not None else END_HEADERS | END_STREAM
        method = 0x82 if content is None else 0x83
        self._write(HEADERS, flags, exchange.stream_id, _field_block(method, path))
        if content is not None:
            self.send(exchange, content, content_ended=content_ended)
        if self.lost.done():
            self._finish(exchange)  # nothing else will
        return exchange

    def send(self, exchange: Exchange, content: bytes, *, content_ended: bool) -> None:
        """Send more content as the windows open."""
        for start in range(0, len(content), MAX_FRAME_SIZE):
            exchange.unsent.append(content[start : start + MAX_FRAME_SIZE])
        if content_ended:
            exchange.unsent.append(b"")
        self._send_content(exchange)

    def _send_content(self, exchange: Exchange) -> None:
        while exchange.unsent and not exchange.done.is_set():
            part = exchange.unsent[0]
            room = min(exchange.window, self._window)
            if part and room <= 0:
                return
            exchange.unsent.popleft()
            if len(part) > room:
                exchange.unsent.appendleft(part[room:])
                part = part[:room]
            exchange.window -= len(part)
            self._window -= len(part)
            self._write(DATA, 0 if part else END_STREAM, exchange.stream_id, part)

    def reset(self, exchange: Exchange) -> None:
        """Give an exchange up, if it has not ended."""
        if not exchange.done.is_set():
            exchange.abandoned = True
            self._write(RST_STREAM, 0, exchange.stream_id, CANCEL.to_bytes(4, "big"))
            self._finish(exchange)

    def read_on(self, exchange: Exchange, octets: int) -> None:
        """Open the window of an exchange that is not ``reading`` by itself."""
        if not exchange.done.is_set():
            self._open_window(exchange.stream_id, octets)

    def forget(self, exchange: Exchange) -> None:
        """Keep no longer what came for an exchange that has ended."""
        del self.exchanges[exchange.stream_id]

    def close(self) -> None:
        """Hang up in order."""
        self._transport.close()

    def abort(self) -> None:
        """Hang up at once, with whatever was not sent."""
        self._transport.abort()

    def break_off(self) -> None:
        """Hang up so that the server's end sees RST, not an end of file."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def pause_reading(self) -> None:
        """Leave what comes in the socket."""
        self._set_reading(False)

    def resume_reading(self) -> None:
        """Take what is in the socket."""
        self._set_reading(True)

    def _set_reading(self, reading: bool) -> None:
        if reading != self._reading and not self.is_closing:
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _open_window(self, stream_id: int, octets: int) -> None:
        self._write(WINDOW_UPDATE, 0, stream_id, octets.to_bytes(4, "big"))

    def _write(self, type_: int, flags: int, stream_id: int, payload: bytes = b"") -> None:
        """Send a frame, unless nobody reads it any more.

        Behind the server's end only what is unread counts. Where the server has closed meanwhile, a
        write would fail, and asyncio would read no more.
        """
        if not self._transport.is_closing() and not self._server_has_ended():
            head = len(payload).to_bytes(3, "big") + struct.pack("!BBL", type_, flags, stream_id)
            self._transport.write(head + payload)

    def _server_has_ended(self) -> bool:
        return bool(self._looking.poll(0))

    # ---------------------------------------------------------------------------- receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)
        self._port = int(transport.get_extra_info("sockname")[1])
        self._looking = select.poll()
        self._looking.register(transport.get_extra_info("socket").fileno(), ENDED)
        self._transport.write(PREFACE)
        setting = struct.pack("!HL", INITIAL_WINDOW_SIZE, self._own_window)
        self._write(SETTINGS, 0, 0, setting)
        self._open_window(0, 2**20)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        buffer = self._buffer
        buffer += data
        position = 0
        while len(buffer) >= position + 9:
            end = position + 9 + int.from_bytes(buffer[position : position + 3], "big")
            if len(buffer) < end:
                break
            type_, flags, stream_id = struct.unpack_from("!BBL", buffer, position + 3)
            self._receive(type_, flags, stream_id, bytes(buffer[position + 9 : end]))
            position = end
        del buffer[:position]

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if not self.lost.done():
            self.lost.set_result(exc)
        for exchange in list(self.open.values()):
            self._finish(exchange)
        self.changed.set()

    def _receive(self, type_: int, flags: int, stream_id: int, payload: bytes) -> None:
        if type_ in (DATA, HEADERS, RST_STREAM):
            self._receive_for_stream(type_, flags, stream_id, payload)
        elif type_ == SETTINGS and not flags & ACK:
            self._apply_settings(payload)
        elif type_ == PING and not flags & ACK:
            self._write(PING, ACK, 0, payload)
        elif type_ == GOAWAY:
            last, code = struct.unpack_from("!LL", payload)
            if self.goaways and last > self.goaways[-1][0]:
                self.violations.append("GOAWAY with a higher last-stream-id than before")
            self.goaways.append((last, code))
            self.changed.set()
        elif type_ == WINDOW_UPDATE:
            self._window_opened(stream_id, int.from_bytes(payload, "big"))

    def _receive_for_stream(self, type_: int, flags: int, stream_id: int, payload: bytes) -> None:
        fields = None
        if type_ == HEADERS:
            if not flags & END_HEADERS:
                self.violations.append("a response's head that needs CONTINUATION")
            fields = self._decoder.decode(payload, raw=True)  # also for the table it changes
        elif type_ == DATA:
            self._give_back(payload)
        exchange = self.exchanges.get(stream_id)
        if exchange is not None and exchange.abandoned:
            return  # on its way when we reset the stream
        if exchange is None or exchange.done.is_set():
            # Only the rest of a request that was answered early is refused behind END_STREAM.
            if (type_, payload) != (RST_STREAM, bytes(4)):
                self.violations.append(f"a frame of type {type_} on closed stream {stream_id}")
        elif type_ == RST_STREAM:
            exchange.reset = int.from_bytes(payload, "big")
            self._finish(exchange)
        else:
            if fields is not None:
                exchange.status = int(dict(fields).get(b":status", b"0"))
            else:
                self._take(exchange, payload)
            if flags & END_STREAM:
                exchange.ended = True
                self._finish(exchange)

    def _take(self, exchange: Exchange, data: bytes) -> None:
        if not exchange.status:
            self.violations.append(f"DATA before HEADERS on stream {exchange.stream_id}")
        exchange.parts.append(data)
        exchange.received += len(data)
        exchange.unacknowledged += len(data)
        if exchange.reading and exchange.unacknowledged >= self._own_window // 2:
            self._open_window(exchange.stream_id, exchange.unacknowledged)
            exchange.unacknowledged = 0

    def _give_back(self, data: bytes) -> None:
        self._unacknowledged += len(data)
        if self._unacknowledged >= 32_768:
            self._open_window(0, self._unacknowledged)
            self._unacknowledged = 0

    def _apply_settings(self, payload: bytes) -> None:
        settings = dict(struct.iter_unpack("!HL", payload))
        size = settings.get(INITIAL_WINDOW_SIZE, self._initial_window)
        change, self._initial_window = size - self._initial_window, size
        self._write(SETTINGS, ACK, 0)
        for exchange in list(self.open.values()):
            exchange.window += change
            self._send_content(exchange)

    def _window_opened(self, stream_id: int, octets: int) -> None:
        if stream_id == 0:
            self._window += octets
            for exchange in list(self.open.values()):
                self._send_content(exchange)
        elif (exchange := self.open.get(stream_id)) is not None:
            exchange.window += octets
            self._send_content(exchange)

    def _finish(self, exchange: Exchange) -> None:
        # A whole response does not end a stream whose content is still on its way (section 8.1),
        # but it ends what this client wants of it.
        exchange.finished = time.monotonic()
        exchange.done.set()
        self.open.pop(exchange.stream_id, None)
        self.changed.set()

    # ------------------------------------------------------------------------ what it showed

    @property
    def client_port(self) -> int:
        """The port of this end."""
        return self._port

    @property
    def is_closing(self) -> bool:
        return self.lost.done() or self._transport.is_closing()

    @property
    def last_stream_id(self) -> int | None:
        """What the last GOAWAY named; None without one."""
        return self.goaways[-1][0] if self.goaways else None

    @property
    def told_the_end(self) -> bool:
        """Whether the final GOAWAY has come, and not only the announcement."""
        return bool(self.goaways) and self.goaways[-1][0] != ANNOUNCED

    async def whole(self, exchange: Exchange) -> Exchange:
        """Wait for a whole response.

        Raises:
            Broken: it will not come.
        """
        await exchange.done.wait()
        if not exchange.ended:
            with_code = "" if exchange.reset is None else f" with code {exchange.reset}"
            raise Broken(f"{exchange.path}: ended{with_code} after {exchange.received} octets")
        return exchange

    async def wait_lost(self) -> None:
        """Return when the connection is closed."""
        await asyncio.shield(self.lost)  # whoever waits may be cancelled, and others wait too

    async def wait_changed(self, timeout: float) -> None:
        """Return when something has changed, or after ``timeout`` seconds."""
        self.changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.changed.wait()


def _field_block(method: int, path: str) -> bytes:
    """Return a request's fields in HPACK: indices, and literals that are not remembered."""
    block = bytearray((method, 0x87))  # :method, :scheme https (RFC 7541 appendix A)
    for index, value in ((0x04, path.encode()), (0x01, b"localhost")):
        if len(value) > 126:
            raise ValueError(f"longer than a prefix of 7 bits: {value!r}")
        block += bytes((index, len(value))) + value
    return bytes(block)


def client_context() -> ssl.SSLContext:
    """Return a context for h2 that trusts whoever listens: these clients go to loopback only."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context
