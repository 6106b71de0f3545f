"""The reference engine: RFC 9113's state machines as the ``h2`` library has them.

h2 sees only what it handles well. Rules that it makes connection errors although the RFC says
stream error, and frames of streams it would remember for ever, are dealt with here before it:

* one frame per ``receive_data`` call, as h2 drops the events of earlier frames when a later one
  fails;
* field blocks are decoded and checked first; h2 learns only that a message began or ended;
* frames of streams that are not open never reach it;
* GOAWAY, either way, is ours: h2 closes its whole state machine on one;
* unknown settings are dropped, HEADER_TABLE_SIZE is clamped to 4,096;
* a field block may change the decoder's table size twice, no more.
"""

from __future__ import annotations

from typing import Any

from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from hpack import HeaderTuple
from hyperframe.frame import GoAwayFrame, RstStreamFrame

from ...codes import (
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
from ...seam.request import RequestFields
from .. import fields as field_rules
from ..frame_gate import PREFACE
from .control import FrameReceiver
from .field_blocks import BlockDecoder
from .h2_connection import (
    A_REQUEST,
    CleanDecoder,
    make_connection,
    window_update,
)
from .interface import EngineHandler
from .settings import (
    DEFAULT_WINDOW,
    MAX_ENCODER_TABLE,
    known_entries,
    own_settings,
)
from .stream_table import OpenStream


class ReferenceEngine(FrameReceiver[OpenStream]):
    """An :class:`~h2wsgi.http2.engines.interface.Engine` on h2."""

    def __init__(self, handler: EngineHandler, config: Config) -> None:
        super().__init__(handler, config)
        self._h2 = make_connection(config)
        self._clean = CleanDecoder()
        self._h2.decoder = self._clean
        self._decoder = BlockDecoder(4 * config.max_field_section)
        self._last: tuple[field_rules.FieldList, RequestFields] | None = None
        """The last request without content: the same remembered field list is the same request."""
        self._out = bytearray()
        self._unseen_by_h2 = 0

    # ------------------------------------------------------------------------ commands

    def start(self) -> None:
        """SETTINGS is ours, because h2's own stream limit is set out of the way."""
        self._h2.initiate_connection()
        self._h2.clear_outbound_data_buffer()
        self._h2.receive_data(PREFACE)  # the gate takes the client's preface
        settings = own_settings(self._config)
        self._unacknowledged.append(settings.settings)
        self._out += settings.serialize()
        if self._config.connection_window > DEFAULT_WINDOW:
            self._h2.increment_flow_control_window(self._config.connection_window - DEFAULT_WINDOW)

    def send_window(self, stream_id: int) -> int:
        if stream_id == 0:
            return int(self._h2.outbound_flow_control_window)
        return (
            self._h2.local_flow_control_window(stream_id) if stream_id in self._streams.open else 0
        )

    def own_window(self, stream_id: int) -> int:
        stream = self._h2.streams.get(stream_id)
        return 0 if stream is None else int(stream.outbound_flow_control_window)

    def send_headers(self, stream_id: int, head: Head, end_stream: bool) -> None:
        if stream_id in self._streams.open:
            self._check_section(stream_id, head)
            self._h2.send_headers(stream_id, head.fields, end_stream=end_stream)
            if end_stream:
                self._response_ended(stream_id)

    def send_response(self, stream_id: int, head: Head, data: bytes) -> bool:
        if stream_id not in self._streams.open:
            return False
        if data and len(data) > min(FRAME_LIMIT, self.send_window(stream_id)):
            return False
        self.send_headers(stream_id, head, not data)
        if data:
            self.send_data(stream_id, data, True)
        return True

    def send_data(self, stream_id: int, data: bytes | memoryview, end_stream: bool) -> None:
        if stream_id in self._streams.open:
            self._h2.send_data(stream_id, data, end_stream=end_stream)
            if end_stream:
                self._response_ended(stream_id)

    def _response_ended(self, stream_id: int) -> None:
        if self._streams.response_ended(stream_id):
            self._h2.forget(stream_id)

    def reset_stream(self, stream_id: int, code: int) -> None:
        if stream_id in self._streams.open:
            self._streams.reset_by_us(stream_id)
            self._h2.reset_stream(stream_id, code)
            self._h2.forget(stream_id)

    def credit(self, stream_id: int, octets: int) -> None:
        if stream_id == 0:
            # h2 never counted DATA of closed streams: crediting it there would make its idea
            # of the window grow without end.
            unseen = min(octets, self._unseen_by_h2)
            if unseen:
                self._unseen_by_h2 -= unseen
                self._send_frame(window_update(unseen))
            if octets > unseen:
                self._h2.increment_flow_control_window(octets - unseen)
        elif (stream := self._streams.open.get(stream_id)) is not None and not stream.request_ended:
            self._h2.increment_flow_control_window(octets, stream_id)

    def ping(self, payload: bytes) -> None:
        self._h2.ping(payload)

    def go_away(self, last_stream_id: int, code: int, debug: bytes = b"") -> None:
        frame = GoAwayFrame(0)
        frame.last_stream_id = last_stream_id
        frame.error_code = code
        frame.additional_data = debug
        self._send_frame(frame)
        self._streams.ignore_above = last_stream_id

    def send_raw_frame(self, type_: int, flags: int, stream_id: int, payload: bytes) -> None:
        if type_ == DATA:
            self._h2.take_outbound_window(stream_id, len(payload))
        self._collect()
        header = len(payload).to_bytes(3, "big") + bytes((type_, flags))
        self._out += header + stream_id.to_bytes(4, "big") + payload

    def abandon(self, stream_id: int) -> None:
        self._streams.reset_by_us(stream_id)
        self._h2.forget(stream_id)

    @property
    def output(self) -> bytearray:  # type: ignore[override]  # collected anew at each look
        self._collect()
        return self._out

    def data_to_send(self) -> bytes:
        self._collect()
        data = bytes(self._out)
        self._out.clear()
        return data

    def _send_frame(self, frame: Any) -> None:
        """Queue a frame that h2 is not to know of, after what it has queued itself."""
        self._collect()
        self._out += frame.serialize()

    def _collect(self) -> None:
        self._out += self._h2.data_to_send()

    # -------------------------------------------------------------------------- frames

    def _feed(self, type_: int, flags: int, stream_id: int, payload: bytes) -> list[Event]:
        """Give h2 one frame."""
        header = len(payload).to_bytes(3, "big") + bytes((type_, flags))
        try:
            return self._h2.receive_data(header + stream_id.to_bytes(4, "big") + payload)
        except ProtocolError as error:
            raise ConnectionFailed(error.error_code, str(error)) from error

    def _stream_error(self, stream_id: int, code: int, reason: str) -> None:
        """End one stream (section 5.4.2), whether h2 knows it or not."""
        if stream_id in self._streams.open:
            self.reset_stream(stream_id, code)
            self._handler.stream_reset(stream_id, code, False, reason)
        else:
            self._reset_unopened(stream_id, code, reason)

    def _reset_unopened(self, stream_id: int, code: int, reason: str) -> None:
        frame = RstStreamFrame(stream_id)
        frame.error_code = code
        self._send_frame(frame)
        self._streams.reset_by_us(stream_id)
        self._handler.stream_reset(stream_id, code, False, reason)

    def receive_data(self, stream_id: int, data: bytes, flow_octets: int, end_stream: bool) -> None:
        self._streams.require_known(stream_id, "DATA")
        if flow_octets > self._h2.inbound_flow_control_window - self._unseen_by_h2:
            raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond our window")
        stream = self._streams.open.get(stream_id)
        if stream is None or stream.request_ended:
            self._discard_data(stream_id, flow_octets)
            return
        if stream.content_left is not None:
            stream.content_left -= len(data)
            left = stream.content_left
            if left < 0 or (end_stream and left and not self._handler.content_is_short(stream_id)):
                self._discard_data(stream_id, flow_octets, "content-length does not fit")
                return
        events = self._receive_content(stream_id, data, flow_octets, end_stream)
        if end_stream:
            # Before the handler, which may want to credit what no longer has a window.
            self._request_ended(stream_id)
        for event in events:
            if isinstance(event, DataReceived):
                octets = event.flow_controlled_length
                self._handler.data_received(stream_id, event.data, octets, end_stream)

    def _receive_content(
        self, stream_id: int, data: bytes, flow_octets: int, end_stream: bool
    ) -> list[Event]:
        """Give h2 a DATA frame; to one without octets it would apply a window below zero."""
        if flow_octets or self._h2.remote_flow_control_window(stream_id) >= 0:
            try:
                return self._h2.receive_content(stream_id, data, flow_octets, end_stream)
            except ProtocolError as error:
                raise ConnectionFailed(error.error_code, str(error)) from error
        if end_stream:
            self._tell_h2(stream_id, [], True)
        return [DataReceived(stream_id=stream_id, data=b"", flow_controlled_length=0)]

    def _request_ended(self, stream_id: int) -> None:
        if self._streams.request_ended(stream_id):
            self._h2.forget(stream_id)

    def _discard_data(self, stream_id: int, octets: int, reason: str = "") -> None:
        self._unseen_by_h2 += octets
        super()._discard_data(stream_id, octets, reason)

    def receive_headers(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        if stream_id % 2 == 0:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, f"HEADERS on stream {stream_id}")
        # Decoded whatever becomes of it: the dynamic table is the connection's.
        fields = self._decoder.decode(block)
        if stream_id <= self._streams.highest:
            self._receive_trailers(stream_id, fields, end_stream)
            return
        if self._streams.is_ignored(stream_id):
            self._handler.fields_discarded()
            return
        self._streams.advance(stream_id)
        if len(self._streams.open) >= self._max_streams:
            self._handler.request_refused(stream_id, fields)
            self._reset_unopened(stream_id, ErrorCode.REFUSED_STREAM, "too many streams")
            return
        self._open_stream(stream_id, fields, end_stream)

    def _open_stream(self, stream_id: int, fields: field_rules.FieldList, ended: bool) -> None:
        try:
            request = self._checked(fields, ended)
        except (MalformedRequest, UnacceptableRequest) as error:
            self._tell_h2(stream_id, A_REQUEST, ended)
            self._streams.open[stream_id] = OpenStream(None, ended)
            self._handler.request_unacceptable(stream_id, error, fields)
            if ended:
                self._handler.request_ended(stream_id)
        else:
            self._tell_h2(stream_id, A_REQUEST, ended)
            self._streams.open[stream_id] = OpenStream(request.content_length, ended)
            self._handler.request_received(stream_id, request, ended)

    def _checked(self, fields: field_rules.FieldList, ended: bool) -> RequestFields:
        if self._last is not None and self._last[0] is fields and ended:
            return self._last[1]
        config = self._config
        request = field_rules.check_request(fields, end_stream=ended)
        size = field_rules.check_size(
            fields, max_octets=self._max_field_section, max_fields=config.max_fields
        )
        if size > field_rules.LARGE_SECTION:
            request.large = size
        self._last = (fields, request) if ended else None
        return request

    def _trailers_accepted(self, stream_id: int) -> None:
        self._tell_h2(stream_id, [], True)
        self._request_ended(stream_id)

    def _tell_h2(self, stream_id: int, fields: list[HeaderTuple], ended: bool) -> None:
        self._clean.fields = fields
        flags = FLAG_END_HEADERS | (FLAG_END_STREAM if ended else 0)
        self._feed(HEADERS, flags, stream_id, b"")

    def _closed_by_peer(self, stream_id: int, payload: bytes) -> None:
        self._feed(RST_STREAM, 0, stream_id, payload)
        self._h2.forget(stream_id)

    def _settings_acknowledged(self, entries: dict[int, int]) -> None:
        if (initial := entries.get(Setting.INITIAL_WINDOW_SIZE)) is not None:
            # Only now, or h2 would have it acknowledged by whatever ACK comes next.
            self._h2.local_settings[Setting.INITIAL_WINDOW_SIZE] = initial
        self._last = None
        self._feed(SETTINGS, FLAG_ACK, 0, b"")

    def _apply_settings(self, payload: bytes) -> None:
        settings = known_entries(payload)
        for size in (value for code, value in settings if code == Setting.HEADER_TABLE_SIZE):
            # h2 hears of the last alone, but the smallest has to be signalled as well.
            self._h2.encoder.header_table_size = min(size, MAX_ENCODER_TABLE)
        self._peer_section = dict(settings).get(Setting.MAX_HEADER_LIST_SIZE, self._peer_section)
        entries = b"".join(_entry(code, value) for code, value in settings)
        for event in self._feed(SETTINGS, 0, 0, entries):
            if isinstance(event, RemoteSettingsChanged):
                self._handler.settings_received()

    def _answer_ping(self, payload: bytes) -> None:
        self._feed(PING, 0, 0, payload)

    def _open_window(self, stream_id: int, increment: int) -> None:
        # Without the reserved bit, which is to be ignored (section 6.9) and h2 takes for a number.
        for event in self._feed(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big")):
            if isinstance(event, WindowUpdated):
                self._handler.window_opened(stream_id)
            elif isinstance(event, StreamReset):
                self._window_overflowed(stream_id, event)

    def _window_overflowed(self, stream_id: int, event: StreamReset) -> None:
        # h2 has sent the RST_STREAM (section 6.9.1).
        self._streams.reset_by_us(stream_id)
        self._h2.forget(stream_id)
        code = int(event.error_code or 0)
        self._handler.stream_reset(stream_id, code, False, "the window grew over 2^31-1")


def _entry(code: int, value: int) -> bytes:
    """Return a setting as h2 may hear of it: it would let the peer make our HPACK table large."""
    if code == Setting.HEADER_TABLE_SIZE:
        value = min(value, MAX_ENCODER_TABLE)
    return code.to_bytes(2, "big") + value.to_bytes(4, "big")
