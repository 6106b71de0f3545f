"""A transport in memory that stalls on command, after asyncio's selector transport."""

from __future__ import annotations

import socket
from typing import Any

from h2wsgi.http2.protocol import H2Protocol

from .loop import Loop


class NegotiatedTLS:
    """What the protocol asks of a TLS connection."""

    def selected_alpn_protocol(self) -> str:
        """Return what ALPN agreed on."""
        return "h2"


class Socket:
    """What the protocol asks of a socket."""

    family = socket.AF_UNIX  # no options of TCP

    def __init__(self, error: int) -> None:
        self._error = error

    def setsockopt(self, *_: object) -> None:
        """See socket."""

    def getsockopt(self, *_: object) -> int:
        """Return SO_ERROR."""
        return self._error


class Transport:
    """Between a protocol and a client that may not read, or vanish.

    What the client has read is in ``arrived``; ``written`` counts all that was ever written.
    """

    def __init__(self, loop: Loop, tls: bool) -> None:
        self._loop = loop
        self._tls = NegotiatedTLS() if tls else None
        self.arrived = bytearray()
        self.written = 0
        self.stalled = False
        self.lost = False
        """Whether connection_lost was called."""
        self.closing = False
        self.aborts = 0
        """Times the server threw away what the client had not read."""
        self._buffer = bytearray()
        self._input: list[bytes] = []
        self._reading = True
        self._eof = False
        self._losing = False
        self._paused = False
        self._high = 65_536

    def connect(self, protocol: H2Protocol) -> None:
        """Begin."""
        self.protocol = protocol
        protocol.connection_made(self)  # type: ignore[arg-type]

    # ------------------------------------------------------------- what the protocol calls

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See asyncio."""
        return {"ssl_object": self._tls, "socket": Socket(0)}.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See asyncio."""
        self._high = high or 65_536

    def get_write_buffer_size(self) -> int:
        """See asyncio."""
        return len(self._buffer)

    def is_closing(self) -> bool:
        """See asyncio."""
        return self.closing

    def pause_reading(self) -> None:
        """See asyncio."""
        self._reading = False

    def resume_reading(self) -> None:
        """See asyncio."""
        self._reading = True
        if self._input:
            self._loop.call_soon(self._deliver)

    def can_write_eof(self) -> bool:
        """See asyncio."""
        return self._tls is None

    def write_eof(self) -> None:
        """See asyncio."""
        self._eof = True

    def write(self, data: bytes) -> None:
        """See asyncio."""
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._losing:
            return
        self.written += len(data)
        if self.stalled or self._buffer:
            self._buffer += data
            if len(self._buffer) > self._high and not self._paused:
                self._paused = True
                self.protocol.pause_writing()
        else:
            self.arrived += data

    def close(self) -> None:
        """See asyncio."""
        if not self.closing:
            self.closing = True
            if not self._buffer:
                self._lose(None)

    def abort(self) -> None:
        """See asyncio."""
        self.aborts += 1
        self._buffer.clear()
        self._lose(None)

    # ----------------------------------------------------------------- what the client does

    @property
    def holds_input(self) -> bool:
        """Whether octets of the client wait for the server to read on."""
        return bool(self._input) and not self.closing

    @property
    def reads(self) -> bool:
        """Whether the server takes octets."""
        return self._reading and not self.closing

    def send(self, octets: bytes) -> None:
        """Let the server have octets as soon as it reads."""
        if octets and not self.closing:
            self._input.append(octets)
            self._deliver()

    def hang_up(self) -> None:
        """End the client's side, as FIN does."""
        if not self.closing and (not self.protocol.eof_received() or self._tls):
            self.close()

    def reset(self) -> None:
        """Vanish, as RST does."""
        if not self._losing:
            self._buffer.clear()
            self._lose(ConnectionResetError("reset by the fuzzer"))

    def take(self, octets: int) -> None:
        """Read, stalled or not."""
        self.arrived += self._buffer[:octets]
        del self._buffer[:octets]
        if self._paused and len(self._buffer) <= self._high // 4:
            self._paused = False
            self.protocol.resume_writing()
        if self.closing and not self._buffer:
            self._lose(None)

    def _deliver(self) -> None:
        while self._input and self._reading and not self.closing:
            self.protocol.receive(self._input.pop(0))

    def _lose(self, error: Exception | None) -> None:
        if not self._losing:
            self.closing = self._losing = True
            self._loop.call_soon(self._call_connection_lost, error)

    def _call_connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self.protocol.connection_lost(error)
