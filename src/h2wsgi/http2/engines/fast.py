"""The fast engine: RFC 9113's rules for a server, in plain Python, without an object per frame.

It does what the reference engine does, and is tested against it frame by frame; what makes it
quicker is what it leaves out. A frame goes straight to the method for its type, windows are
integers, a field block seen before is not decoded again, and output is a list of octets that is
joined once. Rare frames are left to hyperframe.

Where a window is kept: a stream's are counted from the initial size that SETTINGS give, so that a
change of it changes no stream (section 6.9.2).

Loop thread only.
"""

from __future__ import annotations

from struct import Struct

from hyperframe.frame import GoAwayFrame, PingFrame

from ...codes import (
    CONTINUATION,
    DATA,
    FLAG_ACK,
    FLAG_END_HEADERS,
    FLAG_END_STREAM,
    FRAME_LIMIT,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
    Setting,
)
from ...config.config import Config
from ...errors import ConnectionFailed, MalformedRequest, UnacceptableRequest
from ...seam.handover import Head
from ..fields import FieldList
from .control import FrameReceiver
from .hpack import encode, size_update
from .interface import EngineHandler
from .request_blocks import RequestBlocks
from .settings import (
    DEFAULT_WINDOW,
    MAX_WINDOW,
    known_entries,
    own_settings,
)
from .stream_table import OpenStream

# Length (24 bits, in two parts), type, flags, stream (section 4.1).
_frame_header = Struct("!HBBBL").pack
_frame_start = Struct("!HBBB").pack
_four_octets = Struct("!L").pack
_SETTINGS_ACK = _frame_header(0, 0, SETTINGS, FLAG_ACK, 0)
SMALL_SECTION = 8_192
"""Octets of a field section up to which its response may take the short way.

A client has to want less for its connection to look at each head, and few do.
"""
END_HEADERS_AND_STREAM = FLAG_END_HEADERS | FLAG_END_STREAM


class _Stream(OpenStream):
    """An open stream, and what was added to the initial size of its windows."""

    __slots__ = ("receive_credit", "send_credit")

    def __init__(self, content_length: int | None, request_ended: bool) -> None:
        # Not by super().__init__(), which would double what this costs each request.
        self.content_left = content_length
        self.request_ended = request_ended
        self.response_ended = False
        self.send_credit = 0
        self.receive_credit = 0


class FastEngine(FrameReceiver[_Stream]):
    """An :class:`~h2wsgi.http2.engines.interface.Engine` of our own."""

    def __init__(self, handler: EngineHandler, config: Config) -> None:
        super().__init__(handler, config)
        self._requests = RequestBlocks(config)
        self.output: list[bytes | memoryview] = []
        # What the peer may still be sent, and may still send.
        self._send_window = DEFAULT_WINDOW
        self._send_initial = DEFAULT_WINDOW
        self._receive_window = max(config.connection_window, DEFAULT_WINDOW)
        # Until it has acknowledged a smaller one, the peer may use the default (section 6.9.3).
        self._receive_initial = max(config.stream_window, DEFAULT_WINDOW)
        self._table_update = b""
        """What the next field block has to begin with, after the peer changed its table's size."""
        self._looks_at_heads = False
        """Whether no head may take the short way: see _make_whole."""

    # ------------------------------------------------------------------------ commands

    def start(self) -> None:
        settings = own_settings(self._config)
        self._unacknowledged.append(settings.settings)
        self.output.append(settings.serialize())
        if self._config.connection_window > DEFAULT_WINDOW:
            self._update_window(0, self._config.connection_window - DEFAULT_WINDOW)

    def send_window(self, stream_id: int) -> int:
        if (stream := self._streams.open.get(stream_id)) is None:
            return 0 if stream_id else self._send_window
        window = self._send_initial + stream.send_credit
        return window if window < self._send_window else self._send_window

    def own_window(self, stream_id: int) -> int:
        stream = self._streams.open.get(stream_id)
        return 0 if stream is None else self._send_initial + stream.send_credit

    def send_response(self, stream_id: int, head: Head, data: bytes) -> bool:
        """The octets around the stream's number are the same for each such response."""
        size = len(data)
        stream = self._streams.open.get(stream_id)
        if (
            stream is None
            or size > FRAME_LIMIT
            or (size > self._send_window and size)
            or (size > self._send_initial + stream.send_credit and size)
        ):
            return False
        whole = head.whole
        if whole is None or whole[0] != size:
            whole = self._make_whole(head, size)
        if self._looks_at_heads or whole is None:
            self.send_headers(stream_id, head, not size)
            if size:
                self.send_data(stream_id, data, True)
            return True
        self._send_window -= size
        number = _four_octets(stream_id)
        if size:
            self.output += (whole[1], number, whole[2], number, data)
        else:
            self.output += (whole[1], number, whole[2])
        if stream.request_ended:
            del self._streams.open[stream_id]
        else:
            stream.send_credit -= size
            stream.response_ended = True
        return True

    def _make_whole(self, head: Head, size: int) -> tuple[int, bytes, bytes] | None:
        """Return what send_response needs of a head, or None if it is a large one.

        That may not fit a frame, or the peer may not want it.
        """
        block = head.block = head.block or encode(head.fields)
        if _most_octets(head, block) > SMALL_SECTION:
            return None
        flags = FLAG_END_HEADERS if size else END_HEADERS_AND_STREAM
        middle = block
        if size:
            middle += _frame_start(size >> 8, size & 0xFF, DATA, FLAG_END_STREAM)
        start = _frame_start(len(block) >> 8, len(block) & 0xFF, HEADERS, flags)
        whole = head.whole = (size, start, middle)
        return whole

    def send_headers(self, stream_id: int, head: Head, end_stream: bool) -> None:
        if stream_id not in self._streams.open:
            return
        if (block := head.block) is None:
            block = head.block = encode(head.fields)
        if _most_octets(head, block) > self._peer_section:
            self._check_section(stream_id, head)
        if self._table_update:
            block, self._table_update = self._table_update + block, b""
            self._looks_at_heads = self._peer_section < SMALL_SECTION
        size = len(block)
        if size > FRAME_LIMIT:
            self._send_long_block(stream_id, block, end_stream)
        else:
            flags = END_HEADERS_AND_STREAM if end_stream else FLAG_END_HEADERS
            self.output += (_frame_header(size >> 8, size & 0xFF, HEADERS, flags, stream_id), block)
        if end_stream:
            self._streams.response_ended(stream_id)

    def _send_long_block(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        """Split a block over HEADERS and CONTINUATION, which nothing may come between."""
        type_, flags = HEADERS, FLAG_END_STREAM if end_stream else 0
        for start in range(0, len(block), FRAME_LIMIT):
            part = block[start : start + FRAME_LIMIT]
            if start + FRAME_LIMIT >= len(block):
                flags |= FLAG_END_HEADERS
            self.send_raw_frame(type_, flags, stream_id, part)
            type_, flags = CONTINUATION, 0

    def send_data(self, stream_id: int, data: bytes | memoryview, end_stream: bool) -> None:
        if (stream := self._streams.open.get(stream_id)) is None:
            return
        size = len(data)
        self._send_window -= size
        stream.send_credit -= size
        flags = FLAG_END_STREAM if end_stream else 0
        self.output += (_frame_header(size >> 8, size & 0xFF, DATA, flags, stream_id), data)
        if end_stream:
            self._streams.response_ended(stream_id)

    def reset_stream(self, stream_id: int, code: int) -> None:
        if stream_id in self._streams.open:
            self._reset(stream_id, code)

    def abandon(self, stream_id: int) -> None:
        self._streams.reset_by_us(stream_id)

    def _reset(self, stream_id: int, code: int) -> None:
        self._streams.reset_by_us(stream_id)
        self.send_raw_frame(RST_STREAM, 0, stream_id, _four_octets(code))

    def credit(self, stream_id: int, octets: int) -> None:
        if stream_id == 0:
            self._receive_window += octets
            self._update_window(0, octets)
        elif (stream := self._streams.open.get(stream_id)) is not None and not stream.request_ended:
            stream.receive_credit += octets
            self._update_window(stream_id, octets)

    def _update_window(self, stream_id: int, octets: int) -> None:
        self.send_raw_frame(WINDOW_UPDATE, 0, stream_id, _four_octets(octets))

    def ping(self, payload: bytes) -> None:
        self.output.append(PingFrame(0, payload).serialize())

    def go_away(self, last_stream_id: int, code: int, debug: bytes = b"") -> None:
        frame = GoAwayFrame(0, last_stream_id, code, debug)
        self.output.append(frame.serialize())
        self._streams.ignore_above = last_stream_id

    def data_to_send(self) -> bytes:
        if not self.output:
            return b""
        data = b"".join(self.output)
        self.output.clear()
        return data

    def send_raw_frame(self, type_: int, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        if type_ == DATA:
            self._send_window -= size
            if (stream := self._streams.open.get(stream_id)) is not None:
                stream.send_credit -= size
        self.output += (_frame_header(size >> 8, size & 0xFF, type_, flags, stream_id), payload)

    # -------------------------------------------------------------------------- frames

    def receive_headers(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        streams = self._streams
        if not stream_id & 1:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, f"HEADERS on stream {stream_id}")
        if stream_id <= streams.highest or len(streams.open) >= self._max_streams:
            self._receive_other_headers(stream_id, block, end_stream)
            return
        fields: FieldList = []
        try:
            request = self._requests.recall(block, end_stream)
            if request is None:
                fields = self._requests.decode(block)
                request = self._requests.read(fields, block, end_stream)
        except (MalformedRequest, UnacceptableRequest) as error:
            if streams.is_ignored(stream_id):
                self._handler.fields_discarded()
            else:
                self._refuse_request(stream_id, fields, end_stream, error)
            return
        if streams.ignore_above is None or not streams.is_ignored(stream_id):
            if stream_id == streams.highest + 2:
                streams.highest = stream_id  # as advance does, whose call would cost as much again
            else:
                streams.advance(stream_id)
            streams.open[stream_id] = _Stream(request.content_length, end_stream)
            self._handler.request_received(stream_id, request, end_stream)
        else:
            self._handler.fields_discarded()

    def _refuse_request(
        self,
        stream_id: int,
        fields: FieldList,
        ended: bool,
        error: MalformedRequest | UnacceptableRequest,
    ) -> None:
        self._streams.advance(stream_id)
        self._streams.open[stream_id] = _Stream(None, ended)
        self._handler.request_unacceptable(stream_id, error, fields)
        if ended:
            self._handler.request_ended(stream_id)

    def _receive_other_headers(self, stream_id: int, block: bytes, ended: bool) -> None:
        """Trailers, or a stream that cannot be opened."""
        # Decoded whatever becomes of it: the dynamic table is the connection's.
        fields = self._requests.decode(block)
        if stream_id <= self._streams.highest:
            self._receive_trailers(stream_id, fields, ended)
        elif self._streams.is_ignored(stream_id):
            self._handler.fields_discarded()
        else:
            self._streams.advance(stream_id)
            self._handler.request_refused(stream_id, fields)
            self._stream_error(stream_id, ErrorCode.REFUSED_STREAM, "too many streams")

    def _trailers_accepted(self, stream_id: int) -> None:
        self._streams.request_ended(stream_id)

    def receive_data(self, stream_id: int, data: bytes, flow_octets: int, end_stream: bool) -> None:
        streams = self._streams
        stream = streams.open.get(stream_id)
        if stream is None:
            streams.require_known(stream_id, "DATA")
        if flow_octets > self._receive_window:
            raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond our window")
        self._receive_window -= flow_octets
        if stream is None or stream.request_ended:
            self._discard_data(stream_id, flow_octets)
            return
        if (left := stream.content_left) is not None:
            stream.content_left = left = left - len(data)
            if left < 0 or (end_stream and left and not self._handler.content_is_short(stream_id)):
                self._discard_data(stream_id, flow_octets, "content-length does not fit")
                return
        # A smaller initial window makes it negative, and what has no content needs none.
        if flow_octets > self._receive_initial + stream.receive_credit and flow_octets:
            raise ConnectionFailed(
                ErrorCode.FLOW_CONTROL_ERROR, f"DATA beyond the window of stream {stream_id}"
            )
        if not end_stream:
            stream.receive_credit -= flow_octets
        else:
            # Before the handler, which may want to credit what no longer has a window.
            stream.request_ended = True
            if stream.response_ended:
                del streams.open[stream_id]
        self._handler.data_received(stream_id, data, flow_octets, end_stream)

    def _stream_error(self, stream_id: int, code: int, reason: str) -> None:
        """End one stream (section 5.4.2), open or not."""
        self._reset(stream_id, code)
        self._handler.stream_reset(stream_id, code, False, reason)

    def _closed_by_peer(self, stream_id: int, payload: bytes) -> None:
        """Nothing is kept of a closed stream."""

    def _settings_acknowledged(self, entries: dict[int, int]) -> None:
        self._receive_initial = entries.get(Setting.INITIAL_WINDOW_SIZE, self._receive_initial)
        self._requests.limit(self._max_field_section)

    def _apply_settings(self, payload: bytes) -> None:
        # Of a setting that comes twice only the last is seen by anybody (section 6.5.3).
        entries = dict(known_entries(payload))
        if (initial := entries.get(Setting.INITIAL_WINDOW_SIZE)) is not None:
            if any(initial + s.send_credit > MAX_WINDOW for s in self._streams.open.values()):
                raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, _TOO_LARGE)
            self._send_initial = initial
        if Setting.HEADER_TABLE_SIZE in entries:
            # What we encode never enters the peer's table. It still wants its new size
            # acknowledged by the next field block (section 4.3.1), and zero fits any.
            self._table_update = size_update(0)
        self._peer_section = entries.get(Setting.MAX_HEADER_LIST_SIZE, self._peer_section)
        self._looks_at_heads = bool(self._table_update) or self._peer_section < SMALL_SECTION
        self.output.append(_SETTINGS_ACK)
        self._handler.settings_received()

    def _answer_ping(self, payload: bytes) -> None:
        self.send_raw_frame(PING, FLAG_ACK, 0, payload)

    def _open_window(self, stream_id: int, increment: int) -> None:
        if stream_id == 0:
            if self._send_window + increment > MAX_WINDOW:
                raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, _TOO_LARGE)
            self._send_window += increment
        else:
            stream = self._streams.open[stream_id]
            stream.send_credit += increment
            if self._send_initial + stream.send_credit > MAX_WINDOW:
                self._stream_error(stream_id, ErrorCode.FLOW_CONTROL_ERROR, _TOO_LARGE)
                return
        self._handler.window_opened(stream_id)


def _most_octets(head: Head, block: bytes) -> int:
    """Return an upper bound of the size of a head's field section, which is quicker than the size.

    Huffman's shortest code is of 5 bits. A field costs 32 octets more than it has (section 6.5.2),
    and no name or pair in the static table has more than 32.
    """
    return 2 * len(block) + 64 * len(head.fields)


_TOO_LARGE = "the window grew over 2^31-1"
