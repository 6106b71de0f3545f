"""What the client has sent, understood without any code of the server.

Says which requests there are, what the server owes, and whether the client broke a rule: ``foul``
if the server may fail the connection for it, ``fatal`` if it must (RFC 9113 sections 4 to 6).
"""

from __future__ import annotations

from collections import deque

from hpack import Decoder

from conversations.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from h2wsgi.config.config import Config
from support.engine_output import settings_of, table_updates

from .exchanges import Exchange, foul_in, foul_in_fields, is_gathered

GOAWAY, PRIORITY, PRIORITY_UPDATE = 7, 2, 16
MAX_FRAME_SIZE = 16_384
DEFAULT_WINDOW = 65_535
MAX_WINDOW = 2**31 - 1
SIZES = {RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
Block = tuple[int, bool, bytearray, int]
"""A field block that is not whole: stream, END_STREAM, octets, CONTINUATION frames."""


class Ledger:
    """Everything that one client has sent."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._octets = bytearray()
        self._decoder = Decoder(max_header_list_size=1 << 24)
        self._foul_as = self.fatal = ""
        self.whole_before: set[int] = set()
        """Requests that were whole, and sound, before the client broke a rule."""
        self.windows_are_known = True
        """Whether nothing that changes a window came behind the broken rule."""
        self.exchanges: dict[int, Exchange] = {}
        self.highest = 0
        self.skipped: set[int] = set()
        """Streams that frames came for and that were never opened, and never can be."""
        self.settings: deque[bytes] = deque()
        """Payloads of SETTINGS that nobody has acknowledged."""
        self.on_settings = self.settings.append
        self.settings_sent = self.pings_sent = 0
        self.pings: deque[bytes] = deque()
        """Payloads of PING that nobody has answered."""
        self.updates = 0
        """Octets of WINDOW_UPDATE for the connection."""
        self.flow = 0
        """Octets of DATA, padding included."""
        self.credit = 0
        """Octets of WINDOW_UPDATE that came for the connection."""
        self.initial_window = DEFAULT_WINDOW
        """For what the server sends, as far as it has acknowledged it."""
        self.stream_window = config.stream_window
        """For what the client sends, as far as it has acknowledged it."""
        self.server_settings: deque[dict[int, int]] = deque()
        """Those that came, and that the client has not acknowledged."""
        self.received_flow = 0
        self.lenient = False
        """Whether the server may be past caring: it goes away, and ignores newer streams."""
        self._preface = False
        self._block: Block | None = None
        self._on_itself = False
        """Whether the block makes its stream depend on itself."""
        self._acks = 0

    # -------------------------------------------------------------------------- questions

    @property
    def foul(self) -> str:
        """Return the first rule that the client broke, so that the connection may fail."""
        return self._foul_as

    @foul.setter
    def foul(self, why: str) -> None:
        if why and not self._foul_as:
            self._foul_as = why
            exchanges = self.exchanges.values()
            sound = [e for e in exchanges if e.ended and not (e.foul or e.reset or e.crowded)]
            self.whole_before = {exchange.stream_id for exchange in sound}

    @property
    def cut_short(self) -> bool:
        """Whether the last frame, or field block, is not whole."""
        return bool(self._octets) or self._block is not None or not self._preface

    def send_window(self, exchange: Exchange) -> int:
        """Return how much content the server may still send."""
        stream = self.initial_window + exchange.updates - exchange.received_flow
        return min(stream, DEFAULT_WINDOW + self.updates - self.received_flow)

    def receive_window(self, exchange: Exchange) -> int:
        """Return how much content the client may send, by what it was told."""
        stream = min(self.stream_window + exchange.credit - exchange.flow, 1 << 30)
        return min(stream, DEFAULT_WINDOW + self.credit - self.flow)

    # ---------------------------------------------------------------------------- octets

    def sent(self, octets: bytes) -> None:
        """The client has sent ``octets``."""
        self._octets += octets
        if not self._preface and not self._take_preface():
            return
        while len(self._octets) >= 9 and not self.fatal:
            length, type_, flags = int.from_bytes(self._octets[:3], "big"), *self._octets[3:5]
            if _is_wrong(type_, length):
                self._fail(f"a frame of type {type_} with {length} octets")
                return
            if len(self._octets) < 9 + length:
                if type_ in (HEADERS, CONTINUATION):
                    self._count_block(length)  # the server may count what is only announced
                return
            stream_id = int.from_bytes(self._octets[5:9], "big") & MAX_WINDOW
            payload = bytes(self._octets[9 : 9 + length])
            del self._octets[: 9 + length]
            self._frame(type_, flags, stream_id, payload)

    def _take_preface(self) -> bool:
        if not PREFACE.startswith(bytes(self._octets[: len(PREFACE)])):
            self._fail("the preface is wrong")
        elif len(self._octets) >= len(PREFACE):
            del self._octets[: len(PREFACE)]
            self._preface = True
        return self._preface

    def _fail(self, why: str) -> None:
        """The server must fail the connection, unless it goes away already."""
        self.foul = self.foul or why
        if not self.lenient:
            self.fatal = self.fatal or why

    def _frame(self, type_: int, flags: int, stream_id: int, payload: bytes) -> None:
        if not self.settings_sent and not self._acks and (type_ != SETTINGS or flags & ACK):
            self._fail("SETTINGS are not first")
        elif self._block is not None and type_ != CONTINUATION:
            self._fail("a frame interrupts a field block")
        elif type_ == DATA:
            self._data(flags, stream_id, payload)
        elif type_ in (HEADERS, CONTINUATION):
            self._fragment(type_, flags, stream_id, payload)
        elif type_ == RST_STREAM:
            self._reset(stream_id)
        elif type_ == WINDOW_UPDATE:
            self._window_update(stream_id, int.from_bytes(payload, "big") & MAX_WINDOW)
        elif type_ in (SETTINGS, PING, PUSH_PROMISE, GOAWAY):
            self._control(type_, flags, stream_id, payload)
        elif type_ == PRIORITY and (len(payload) != 5 or _dependency(payload) == stream_id):
            self._foul(stream_id, "PRIORITY")
        elif type_ == PRIORITY and not stream_id:
            self._foul(stream_id, "PRIORITY on stream 0")
        elif type_ == PRIORITY_UPDATE and (
            stream_id or len(payload) < 4 or _dependency(payload) % 2 == 0
        ):
            self._fail("PRIORITY_UPDATE")

    def _foul(self, stream_id: int, why: str) -> None:
        """The server may end the stream for it, if it knows it, or the connection."""
        if (exchange := self.exchanges.get(stream_id)) is not None:
            exchange.foul = exchange.foul or why
        else:
            self.foul = self.foul or why

    # ----------------------------------------------------------------------------- frames

    def _unpadded(self, flags: int, payload: bytes) -> bytes | None:
        if not flags & PADDED:
            return payload
        if not payload or payload[0] >= len(payload):
            self._fail("padding as long as the frame")
            return None
        return payload[1 : len(payload) - payload[0]]

    def _known(self, stream_id: int, what: str) -> Exchange | None:
        """Return the stream; a frame of one that never was is a connection error."""
        exchange = self.exchanges.get(stream_id)
        if exchange is None:
            if stream_id % 2 == 0 or stream_id > self.highest:
                self._fail(f"{what} on idle stream {stream_id}")
            else:
                self.skipped.add(stream_id)
            self.foul = self.foul or f"{what} on stream {stream_id}, which was skipped"
        return exchange

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        exchange = self._known(stream_id, "DATA")
        data = self._unpadded(flags, payload)
        if data is None:
            return
        self.flow += len(payload)
        if self.flow > DEFAULT_WINDOW + self.credit:
            self.foul = self.foul or "DATA beyond the connection's window"
        if exchange is None:
            return
        if exchange.reset or exchange.ended:
            exchange.foul = exchange.foul or "DATA behind the end"
            return
        exchange.flow += len(payload)
        if payload and exchange.flow > self.stream_window + exchange.credit:
            self.foul = self.foul or "DATA beyond the stream's window"
        exchange.content += data
        exchange.ended = bool(flags & END_STREAM)
        if exchange.left is not None:
            exchange.left -= len(data)
            if exchange.left < 0 or (exchange.ended and exchange.left):
                exchange.foul = exchange.foul or "content-length does not fit"

    def _fragment(self, type_: int, flags: int, stream_id: int, payload: bytes) -> None:
        if type_ == HEADERS:
            part = self._unpadded(flags, payload)
            if part is None:
                return
            if flags & PRIORITIZED:
                if len(part) < 5:
                    self._fail("HEADERS too short for a priority")
                    return
                self._on_itself = _dependency(part) == stream_id
                part = part[5:]
            self._block = (stream_id, bool(flags & END_STREAM), bytearray(part), 0)
        elif self._block is None or self._block[0] != stream_id:
            self._fail("CONTINUATION without HEADERS, or of another stream")
            return
        else:
            block_of, ended, octets, count = self._block
            self._block = (block_of, ended, octets + payload, count + 1)
        _, ended, octets, _ = self._block
        self._count_block(0)
        if flags & END_HEADERS:
            self._block = None
            self._section(stream_id, ended, bytes(octets))
            if self._on_itself:
                self._foul(stream_id, "a stream that depends on itself")
            self._on_itself = False

    def _count_block(self, more: int) -> None:
        _, _, octets, count = self._block or (0, False, b"", 0)
        if count > 8 or len(octets) + more > 2 * self._config.max_field_section:
            self.foul = self.foul or "a field block is too long"

    def _section(self, stream_id: int, ended: bool, block: bytes) -> None:
        if stream_id % 2 == 0:
            self._fail(f"HEADERS on stream {stream_id}")
            return
        try:
            if len(table_updates(block)) > 2:
                self.foul = self.foul or "many table size updates"
            fields = [(bytes(n), bytes(v)) for n, v in self._decoder.decode(block, raw=True)]
        except Exception:
            self._fail("HPACK")
            return
        if sum(len(n) + len(v) + 32 for n, v in fields) > 4 * self._config.max_field_section:
            self.foul = self.foul or "a field section is far too large"
        if stream_id > self.highest:
            self._request(stream_id, ended, fields)
        else:
            self._trailers(stream_id, ended, fields)

    def _request(self, stream_id: int, ended: bool, fields: list[tuple[bytes, bytes]]) -> None:
        limits = self._config.max_field_section, self._config.max_fields
        foul = foul_in(fields, ended, *limits)
        length = dict(fields).get(b"content-length", b"")
        self.highest = stream_id
        # One that is abandoned may count until the server has done it.
        unfinished = sum(
            not (e.over and (e.ended or e.reset)) or e.abandoned for e in self.exchanges.values()
        )
        self.exchanges[stream_id] = Exchange(
            stream_id,
            fields,
            foul,
            self._config.unsized_content == "buffer" and is_gathered(fields, ended),
            crowded=unfinished >= self._config.max_streams,
            ended=ended,
            left=int(length) if length.isdigit() and len(length) < 20 and not foul else None,
        )

    def _trailers(self, stream_id: int, ended: bool, fields: list[tuple[bytes, bytes]]) -> None:
        exchange = self.exchanges.get(stream_id)
        if exchange is None or exchange.ended or exchange.reset:
            self.foul = self.foul or f"HEADERS on closed stream {stream_id}"
            return
        if not ended or exchange.left or any(name.startswith(b":") for name, _ in fields):
            exchange.foul = exchange.foul or "trailers"
        size = sum(len(n) + len(v) + 32 for n, v in fields)
        if size > self._config.max_field_section or len(fields) > self._config.max_fields:
            exchange.foul = exchange.foul or "trailers too large"
        exchange.foul = exchange.foul or foul_in_fields(fields)
        if exchange.response_reset is not None or exchange.response_ended:
            self.foul = self.foul or "trailers of a stream that may be closed"
        exchange.ended = exchange.ended or ended

    def _reset(self, stream_id: int) -> None:
        exchange = self._known(stream_id, "RST_STREAM")
        if exchange is not None:
            exchange.reset = True

    def _window_update(self, stream_id: int, increment: int) -> None:
        self.windows_are_known = self.windows_are_known and not self.foul
        if stream_id:
            exchange = self._known(stream_id, "WINDOW_UPDATE")
            if exchange is None:
                return
            exchange.updates += increment
            # The initial size may change at any moment: be sure of what is within the limit.
            if not increment or exchange.updates > MAX_WINDOW // 2:
                exchange.foul = exchange.foul or "WINDOW_UPDATE"
            return
        self.updates += increment
        if not increment:
            self._fail("WINDOW_UPDATE of 0")
        elif DEFAULT_WINDOW + self.updates - self.received_flow > MAX_WINDOW:
            self.foul = self.foul or "WINDOW_UPDATE beyond the limit"

    def _control(self, type_: int, flags: int, stream_id: int, payload: bytes) -> None:
        if type_ == PUSH_PROMISE or stream_id:
            self._fail(f"type {type_} on stream {stream_id}")
        elif type_ == PING and not flags & ACK:
            self.pings_sent += 1
            self.pings.append(payload)
        elif type_ == SETTINGS and flags & ACK:
            self._acks += 1
            if self.server_settings:
                self.stream_window = self.server_settings.popleft().get(4, self.stream_window)
            if payload:
                self._fail("SETTINGS ACK with content")
        elif type_ == SETTINGS:
            self._take_settings(payload)

    def _take_settings(self, payload: bytes) -> None:
        self.windows_are_known = self.windows_are_known and not self.foul
        self.settings_sent += 1
        self.on_settings(payload)
        if len(payload) > 6 * 32:
            self.foul = self.foul or "many settings"
        for code, value in settings_of(payload):
            if code in (2, 8) and value > 1:
                self._fail("a flag that is neither 0 nor 1")
            elif code == 5 and not 2**14 <= value < 2**24:
                self._fail("MAX_FRAME_SIZE")
            elif code == 4 and value > MAX_WINDOW:
                self._fail("INITIAL_WINDOW_SIZE")
            elif code == 4:
                updates = max((e.updates for e in self.exchanges.values()), default=0)
                if value > MAX_WINDOW // 2 or value + updates > MAX_WINDOW:
                    self.foul = self.foul or "a large INITIAL_WINDOW_SIZE may overflow windows"


def _dependency(priority: bytes) -> int:
    """Return the stream that PRIORITY depends on, or that PRIORITY_UPDATE is about."""
    return int.from_bytes(priority[:4], "big") & MAX_WINDOW


def _is_wrong(type_: int, length: int) -> bool:
    """Whether a frame of this length is a connection error (section 4.2)."""
    if (type_ == SETTINGS and length % 6) or (type_ == GOAWAY and length < 8):
        return True
    return length > MAX_FRAME_SIZE or length != SIZES.get(type_, length)
