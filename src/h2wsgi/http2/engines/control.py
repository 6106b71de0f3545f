"""What both engines do alike: frames to methods, and the rules that need no engine's own state.

Loop thread only. RFC 9113 section 6; windows, field blocks and output are the engines'.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from struct import pack
from typing import Any, ClassVar, Generic

from ...codes import (
    DATA,
    FLAG_ACK,
    FLAG_END_STREAM,
    FLAG_PRIORITY,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    PRIORITY_UPDATE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
    Setting,
)
from ...config.config import Config
from ...errors import ConnectionFailed
from ...seam.handover import Head
from ..fields import FieldList, section_size
from ..frame_gate import dependency_of, strip_padding
from .interface import Engine, EngineHandler
from .stream_table import S, StreamTable
from .trailers import trailers_error


class FrameReceiver(Engine, Generic[S]):
    """The receiving half of an engine."""

    def __init__(self, handler: EngineHandler, config: Config) -> None:
        self._handler = handler
        self._config = config
        self._max_streams = config.max_streams
        self._max_field_section = config.max_field_section
        self._peer_section: float = math.inf
        """Octets of a field section above which the peer would rather not have it."""
        self._unacknowledged: list[dict[int, int]] = []
        """Our SETTINGS frames that the peer has not confirmed yet."""
        self._streams: StreamTable[S] = StreamTable()

    @property
    def last_stream_id(self) -> int:
        return self._streams.highest

    def receive_frame(self, type_: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Frames of unknown type are ignored (section 5.5)."""
        if type_ == HEADERS:
            self.receive_headers(stream_id, payload, flags & FLAG_END_STREAM != 0)
            if flags & FLAG_PRIORITY:
                self._depends_on_itself(stream_id)
        elif type_ == DATA:
            data = strip_padding(flags, payload)
            self.receive_data(stream_id, data, len(payload), flags & FLAG_END_STREAM != 0)
        elif (receiver := self._RECEIVERS.get(type_)) is not None:
            receiver(self, flags, stream_id, payload)

    # ------------------------------------------------------------------ the engine's own

    @abc.abstractmethod
    def _trailers_accepted(self, stream_id: int) -> None:
        """Trailers without a mistake end the request."""

    @abc.abstractmethod
    def _closed_by_peer(self, stream_id: int, payload: bytes) -> None:
        """RST_STREAM came for a stream that was open until now."""

    @abc.abstractmethod
    def _apply_settings(self, payload: bytes) -> None:
        """Apply and acknowledge the peer's settings, and tell the handler."""

    @abc.abstractmethod
    def _settings_acknowledged(self, entries: dict[int, int]) -> None:
        """The peer has our settings, ``entries`` of them."""

    @abc.abstractmethod
    def _answer_ping(self, payload: bytes) -> None:
        """Queue the answer to a PING."""

    @abc.abstractmethod
    def _open_window(self, stream_id: int, increment: int) -> None:
        """Enlarge the window of an open stream, or with 0 the connection's."""

    @abc.abstractmethod
    def _stream_error(self, stream_id: int, code: int, reason: str) -> None:
        """End one stream (section 5.4.2), open or not, and tell the handler."""

    # -------------------------------------------------------------------- common to both

    def _receive_trailers(self, stream_id: int, fields: FieldList, ended: bool) -> None:
        stream = self._streams.open.get(stream_id)
        if (
            stream is not None
            and stream.content_left
            and ended
            and self._handler.content_is_short(stream_id)
        ):
            stream.content_left = 0
        if stream is None:
            self._streams.require_reset_by_us(stream_id)
            self._handler.fields_discarded()
        elif (
            error := trailers_error(
                stream,
                fields,
                ended,
                max_octets=self._max_field_section,
                max_fields=self._config.max_fields,
            )
        ) is not None:
            self._stream_error(stream_id, *error)
        else:
            self._trailers_accepted(stream_id)
            self._handler.trailers_received(stream_id, fields)
            self._handler.request_ended(stream_id)

    def _check_section(self, stream_id: int, head: Head) -> None:
        """Tell the handler if the peer wants no section of this size: advice (section 6.5.2)."""
        size = section_size(head.fields)
        if size > self._peer_section:
            self._handler.section_too_large(stream_id, size, int(self._peer_section))

    def _discard_data(self, stream_id: int, octets: int, reason: str = "") -> None:
        self._handler.data_discarded(octets)
        if reason:
            self._stream_error(stream_id, ErrorCode.PROTOCOL_ERROR, reason)
        elif not (self._streams.was_reset_by_us(stream_id) or self._streams.is_ignored(stream_id)):
            self._stream_error(stream_id, ErrorCode.STREAM_CLOSED, "DATA after END_STREAM")

    def _receive_priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        # Deprecated (RFC 9113 section 5.3.2): checked and forgotten.
        if stream_id == 0:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) == 5:
            if dependency_of(payload) == stream_id:
                self._depends_on_itself(stream_id)
        elif stream_id in self._streams.open:
            self._stream_error(stream_id, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY is not 5 octets")

    def _receive_priority_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """RFC 9218 section 7.1. Of a stream that is closed, or that we ignore, it means nothing."""
        if stream_id:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "PRIORITY_UPDATE on a stream")
        if len(payload) < 4:
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY_UPDATE names no stream")
        prioritized = int.from_bytes(payload[:4], "big") & 0x7FFF_FFFF
        if prioritized % 2 == 0:
            reason = f"PRIORITY_UPDATE of stream {prioritized}, which no client can open"
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, reason)
        if prioritized in self._streams.open or self._streams.is_idle(prioritized):
            self._handler.priority_updated(prioritized, payload[4:])

    def _depends_on_itself(self, stream_id: int) -> None:
        """An error of the stream (RFC 7540 section 5.3.1), which h2spec wants to see to this day.

        Of an idle one it cannot be: RST_STREAM must not be sent for it (RFC 9113 section 6.4).
        """
        reason = f"stream {stream_id} depends on itself"
        if stream_id in self._streams.open:
            self._stream_error(stream_id, ErrorCode.PROTOCOL_ERROR, reason)
        elif self._streams.is_idle(stream_id):
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, reason)

    def _receive_rst_stream(self, _flags: int, stream_id: int, payload: bytes) -> None:
        self._streams.require_known(stream_id, "RST_STREAM")
        if self._streams.open.pop(stream_id, None) is not None:
            self._closed_by_peer(stream_id, payload)
            code = int.from_bytes(payload, "big")
            self._handler.stream_reset(stream_id, code, True, "")

    def _receive_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if not flags & FLAG_ACK:
            self._apply_settings(payload)
        elif payload:
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS ACK with content")
        else:
            self._acknowledged(self._unacknowledged.pop(0) if self._unacknowledged else {})

    def change_settings(self, entries: dict[int, int]) -> None:
        self._unacknowledged.append(entries)
        payload = b"".join(pack("!HL", code, value) for code, value in entries.items())
        self.send_raw_frame(SETTINGS, 0, 0, payload)

    def _acknowledged(self, entries: dict[int, int]) -> None:
        """The peer's settings of us change now (section 6.5.3)."""
        self._max_streams = entries.get(Setting.MAX_CONCURRENT_STREAMS, self._max_streams)
        if (section := entries.get(Setting.MAX_HEADER_LIST_SIZE)) is not None:
            self._max_field_section = min(section, self._config.max_field_section)
        self._settings_acknowledged(entries)
        self._handler.settings_acknowledged(entries)

    def reset_ended(self, stream_id: int, code: int) -> None:
        if not self._streams.was_reset_by_us(stream_id):
            self.abandon(stream_id)
            self.send_raw_frame(RST_STREAM, 0, stream_id, pack("!L", code))

    def _receive_push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a client cannot push")

    def _receive_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if flags & FLAG_ACK:
            self._handler.ping_acknowledged(payload)
        else:
            self._answer_ping(payload)

    def _receive_goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        last_stream_id = int.from_bytes(payload[:4], "big") & 0x7FFF_FFFF
        code = int.from_bytes(payload[4:8], "big")
        self._handler.peer_going_away(last_stream_id, code, payload[8:])

    def _receive_window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        increment = int.from_bytes(payload, "big") & 0x7FFF_FFFF
        if stream_id and stream_id not in self._streams.open:
            self._streams.require_known(stream_id, "WINDOW_UPDATE")
        elif increment:
            self._open_window(stream_id, increment)
        elif stream_id:
            self._stream_error(stream_id, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        else:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")

    _RECEIVERS: ClassVar[dict[int, Callable[[Any, int, int, bytes], None]]] = {
        PRIORITY: _receive_priority,
        RST_STREAM: _receive_rst_stream,
        SETTINGS: _receive_settings,
        PUSH_PROMISE: _receive_push_promise,
        PING: _receive_ping,
        GOAWAY: _receive_goaway,
        PRIORITY_UPDATE: _receive_priority_update,
        WINDOW_UPDATE: _receive_window_update,
    }
    """Of the class: a table for each connection would be a kilobyte of methods."""
