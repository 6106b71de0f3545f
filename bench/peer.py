"""An HTTP/2 client that opens things and leaves them open; just enough frames for that."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType

from bench.h2load import Failed
from bench.servers import client_context

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 1, 3, 4, 6, 7
ACK, END_STREAM, END_HEADERS = 1, 1, 4
PATIENCE = 30.0
"""Seconds to wait for a frame."""
CONTEXT = client_context()


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame (RFC 9113 section 4.1)."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def get_block(path: str) -> bytes:
    """Return the field block of a GET in HPACK: indices, and literals without indexing."""
    found = bytes([0x82, 0x87])  # :method: GET, :scheme: https (RFC 7541 appendix A).
    for index, value in ((4, path), (1, "localhost")):
        found += bytes([index, len(value)]) + value.encode("ascii")
    return found


@dataclass(slots=True)
class Peer:
    sock: ssl.SSLSocket
    buffer: bytearray = field(default_factory=bytearray)
    next_stream: int = 1

    @classmethod
    def connect(cls, port: int) -> Peer:
        """Connect, and return once SETTINGS are exchanged and acknowledged."""
        plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = cls(CONTEXT.wrap_socket(plain))
        except BaseException:
            plain.close()
            raise
        peer.sock.sendall(PREFACE + frame(SETTINGS, 0, 0))
        peer.wait(SETTINGS, 0)
        peer.sock.sendall(frame(SETTINGS, ACK, 0))
        peer.ping()
        return peer

    def open_request(self, path: str) -> None:
        """Send a GET and do not wait for its answer."""
        flags = END_HEADERS | END_STREAM
        self.sock.sendall(frame(HEADERS, flags, self.next_stream, get_block(path)))
        self.next_stream += 2

    def ping(self) -> None:
        """Return when the server has handled all that was sent."""
        self.sock.sendall(frame(PING, 0, 0, bytes(8)))
        self.wait(PING, ACK)

    def wait(self, kind: int, flags: int) -> None:
        for found, its_flags, payload in self.frames():
            if found in (RST_STREAM, GOAWAY):
                name = "RST_STREAM" if found == RST_STREAM else "GOAWAY"
                # The last field of the one, the second of the other.
                code = int.from_bytes(payload[-4:] if found == RST_STREAM else payload[4:8], "big")
                raise Failed(f"the server sent {name}, error code {code}")
            if found == kind and its_flags & ACK == flags:
                return

    def frames(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield type, flags and payload of the frames that come."""
        while True:
            while len(self.buffer) >= 9:
                length = 9 + int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) < length:
                    break
                kind, flags = self.buffer[3], self.buffer[4]
                payload = bytes(self.buffer[9:length])
                del self.buffer[:length]
                yield kind, flags, payload
            if not (data := self.sock.recv(65536)):
                raise Failed("the server closed the connection")
            self.buffer += data

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.sock.close()
