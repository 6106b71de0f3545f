"""A frame as it was on the wire, with all that is known of it: what sinks get. Any thread.

Frames never change once made. Numbers are as sent; names are RFC 9113's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from .field_blocks import Field, FieldBlock
from .names import code_name, flag_names, frame_name, setting_name

NOT_HTTP2 = -1
"""The ``type`` of octets that are not HTTP/2, which are no frame."""


class Direction(StrEnum):
    """The direction of a frame, as the server sees it."""

    RECEIVED = "received"
    SENT = "sent"


class Section(StrEnum):
    """What a field section was for (RFC 9113 section 8.1)."""

    REQUEST = "request"
    RESPONSE = "response"
    INFORMATIONAL = "informational"
    """A response whose status is 1xx; the final one follows."""
    TRAILERS = "trailers"


class SettingsEntry(NamedTuple):
    """One entry of SETTINGS."""

    id: int
    value: int

    @property
    def name(self) -> str:
        """Such as ``INITIAL_WINDOW_SIZE``, or the number in hexadecimal."""
        return setting_name(self.id)


class Priority(NamedTuple):
    """The deprecated priority signal (RFC 9113 section 5.3.2); ``weight`` is 1 to 256."""

    depends_on: int
    weight: int
    exclusive: bool


class Windows(NamedTuple):
    """How many octets of DATA either side may still send, after a frame (section 6.9).

    The stream's windows are None on stream 0 and after the frame that closed the stream. A change
    of SETTINGS counts from its acknowledgement on, and may make a window negative.
    """

    client_connection: int
    """What the client may send on the connection."""
    client_stream: int | None
    """What the client may send on the frame's stream."""
    server_connection: int
    """What the server may send on the connection."""
    server_stream: int | None
    """What the server may send on the frame's stream."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Frame:
    """One frame. What its type does not carry is None, or empty."""

    connection: int
    """The connection's number, as in ``ConnectionRecord.id``."""
    number: int
    """The frame's place in the connection, both directions together, from 1."""
    time: float
    """When it was seen, in seconds of ``time.monotonic()``."""
    at: float
    """The same in seconds since the epoch; the wall clock is read once for each connection."""
    direction: Direction
    type: int
    """The frame type, or ``NOT_HTTP2``."""
    flags: int
    stream_id: int
    length: int
    """Octets of the payload, padding included."""
    windows: Windows
    """After the frame."""
    open_streams: int
    """Streams that had begun and were not closed, the frame's own included if it closes it."""

    data_length: int | None = None
    """Of DATA: octets of content, without padding."""
    padding: int | None = None
    """Octets of padding, without the octet that tells their number; None if not padded."""
    priority: Priority | None = None
    section: Section | None = None
    """What the fields are for, on the frame that completes them."""
    block: FieldBlock | None = None
    """The field block, on the frame that completes it: HEADERS, or the last CONTINUATION."""
    ends_stream: bool = False
    """Whether the sender is done with the stream after this frame.

    If HEADERS with END_STREAM go on in CONTINUATION frames, it is true for the last of those.
    """
    settings: tuple[SettingsEntry, ...] | None = None
    error_code: int | None = None
    """Of RST_STREAM and GOAWAY."""
    increment: int | None = None
    """Of WINDOW_UPDATE."""
    last_stream_id: int | None = None
    """Of GOAWAY."""
    debug: bytes = b""
    """Of GOAWAY: its additional data."""
    opaque: bytes = b""
    """Of PING."""
    promised_stream_id: int | None = None
    """Of PUSH_PROMISE."""
    problems: tuple[str, ...] = ()
    """What is wrong with the frame, as phrases."""

    def __repr__(self) -> str:
        flags = "".join(f" {name}" for name in self.flag_names)
        problems = f" ! {'; '.join(self.problems)}" if self.problems else ""
        what = f"{self.direction} {self.name} on {self.stream_id}{flags}{problems}"
        return f"<Frame {self.number}: {what}>"

    @property
    def name(self) -> str:
        """Such as ``HEADERS``, or the type's number in hexadecimal."""
        return "NOT HTTP/2" if self.type == NOT_HTTP2 else frame_name(self.type)

    @property
    def flag_names(self) -> tuple[str, ...]:
        """Such as ``("END_STREAM", "END_HEADERS")``."""
        return flag_names(self.type, self.flags)

    @property
    def fields(self) -> tuple[Field, ...] | None:
        """The decoded fields, on the frame that completes them."""
        return None if self.block is None else self.block.fields

    @property
    def error_name(self) -> str:
        """The name of the error code, such as ``CANCEL``, or nothing."""
        return "" if self.error_code is None else code_name(self.error_code)

    @property
    def received(self) -> bool:
        """Whether the client sent it."""
        return self.direction is Direction.RECEIVED


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionInfo:
    """A connection as it began."""

    id: int
    """1 for a server's first connection that was seen."""
    peer: str
    """The client's address, such as ``127.0.0.1:50000``."""
    scheme: str
    """``https``, or ``http`` on cleartext."""
    alpn: str | None
    """What TLS agreed on: ``h2``, or None for nothing and on cleartext."""
    tls_version: str | None
    """Such as ``TLSv1.3``; None on cleartext."""
    cipher: str | None
    """OpenSSL's name of the cipher suite; None on cleartext."""
    opened_at: float
    """When it was open, with TLS set up, in seconds of ``time.monotonic()``."""
    at: float
    """The same in seconds since the epoch."""
