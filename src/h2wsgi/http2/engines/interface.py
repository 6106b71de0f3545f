"""The engine seam: frames in, events out; commands in, octets out.

The frame gate gives it one checked frame at a time, field blocks whole: most HEADERS and DATA by
their own methods, all others by ``receive_frame``. The engine calls its handler back before it
returns. It owns flow-control windows and HPACK state; whoever wants to send asks it how much.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Protocol

from ...errors import MalformedRequest, UnacceptableRequest
from ...seam.handover import Head
from ...seam.request import RequestFields
from ..fields import FieldList


class EngineHandler(Protocol):
    """What an engine tells. Streams are known by their id."""

    def request_received(self, stream_id: int, request: RequestFields, end_stream: bool) -> None:
        """A request that broke no rule; whole already if ``end_stream``."""

    def request_unacceptable(
        self, stream_id: int, error: MalformedRequest | UnacceptableRequest, fields: FieldList
    ) -> None:
        """A request of ``fields`` to answer in place of the application.

        If it was whole, its end is the next event.

        Raises:
            ConnectionFailed: that happens too often.
        """

    def request_refused(self, stream_id: int, fields: FieldList) -> None:
        """A request of ``fields``, unchecked, over the limit of streams.

        Its reset is the next event.
        """

    def data_received(
        self, stream_id: int, data: bytes, flow_octets: int, end_stream: bool
    ) -> None:
        """Content, the last of the request if ``end_stream``.

        ``flow_octets`` counts padding too: what both windows shrank by.
        """

    def content_is_short(self, stream_id: int) -> bool:
        """END_STREAM comes before all the content that was announced: False if that is an error.

        Else the end follows, as of content that is whole.
        """

    def data_discarded(self, flow_octets: int) -> None:
        """DATA that belongs to no open stream: only the connection's window shrank.

        Raises:
            ConnectionFailed: that happens too often.
        """

    def fields_discarded(self) -> None:
        """A field section of a stream that we have reset, or that our GOAWAY has ruled out.

        Raises:
            ConnectionFailed: that happens too often.
        """

    def trailers_received(self, stream_id: int, fields: FieldList) -> None:
        """The trailers of the request, which ends with the next event."""

    def request_ended(self, stream_id: int) -> None:
        """END_STREAM came with trailers, or with a request that is unacceptable."""

    def stream_reset(self, stream_id: int, code: int, by_peer: bool, reason: str) -> None:
        """A stream ended early: the peer reset it, or made the engine do so.

        Raises:
            ConnectionFailed: that happens too often.
        """

    def window_opened(self, stream_id: int) -> None:
        """The peer's window grew: this stream's, or the connection's with 0."""

    def settings_received(self) -> None:
        """The peer's SETTINGS took effect; any stream's window may have changed."""

    def section_too_large(self, stream_id: int, octets: int, limit: int) -> None:
        """A field section is being sent that is over the peer's MAX_HEADER_LIST_SIZE."""

    def settings_acknowledged(self, entries: dict[int, int]) -> None:
        """The peer keeps to a SETTINGS frame of ours from here on; so does the engine."""

    def ping_acknowledged(self, payload: bytes) -> None:
        """The answer to a PING of ours."""

    def priority_updated(self, stream_id: int, value: bytes) -> None:
        """PRIORITY_UPDATE came for a stream that is open, or may be opened yet (RFC 9218)."""

    def peer_going_away(self, last_stream_id: int, code: int, debug: bytes) -> None:
        """GOAWAY: the peer opens no more streams; those open go on."""


class Engine(Protocol):
    """One connection's HTTP/2 state."""

    output: Sized
    """What data_to_send would join; empty if there is nothing."""

    @property
    def last_stream_id(self) -> int:
        """The highest stream the handler was told of, for GOAWAY."""

    def start(self) -> None:
        """Queue the server's preface: SETTINGS, and WINDOW_UPDATE for the connection."""

    def receive_frame(self, type_: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Process one frame.

        Raises:
            ConnectionFailed: a connection error; the caller sends GOAWAY.
        """

    def receive_headers(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        """Process HEADERS: what receive_frame does with them, for who knows what they are."""

    def receive_data(self, stream_id: int, data: bytes, flow_octets: int, end_stream: bool) -> None:
        """Process DATA: the same. ``flow_octets`` counts the padding too."""

    def send_window(self, stream_id: int) -> int:
        """Return the octets that may be sent now on a stream, or with 0 on all of them together.

        May be negative (RFC 9113 section 6.9.2).
        """

    def own_window(self, stream_id: int) -> int:
        """Return what an open stream's own window has, whatever the connection's has."""

    def send_headers(self, stream_id: int, head: Head, end_stream: bool) -> None:
        """Queue a field section: informational, final or trailing."""

    def send_response(self, stream_id: int, head: Head, data: bytes) -> bool:
        """Queue a whole response; False, and nothing, if it does not fit the window or a frame, or
        the stream is closed."""

    def send_data(self, stream_id: int, data: bytes | memoryview, end_stream: bool) -> None:
        """Queue one DATA frame within the window and FRAME_LIMIT."""

    def reset_stream(self, stream_id: int, code: int) -> None:
        """Queue RST_STREAM for an open stream; nothing if it is closed."""

    def reset_ended(self, stream_id: int, code: int) -> None:
        """Queue RST_STREAM for a stream that may have ended, unless it was reset by us before."""

    def credit(self, stream_id: int, octets: int) -> None:
        """Queue WINDOW_UPDATE for an open stream, or for the connection with 0."""

    def ping(self, payload: bytes) -> None:
        """Queue PING with 8 octets."""

    def go_away(self, last_stream_id: int, code: int, debug: bytes = b"") -> None:
        """Queue GOAWAY. Streams above ``last_stream_id`` that come later are ignored."""

    def change_settings(self, entries: dict[int, int]) -> None:
        """Queue SETTINGS of ours; they count when the peer has acknowledged them."""

    def send_raw_frame(self, type_: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Queue any frame, legal or not. Only windows change by it, and only those of DATA."""

    def abandon(self, stream_id: int) -> None:
        """Close an open stream without a frame; what comes of it is treated as after a reset."""

    def data_to_send(self) -> bytes:
        """Take the octets queued so far."""
