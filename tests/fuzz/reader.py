"""What the client reads, held against what it sent and what the applications made.

A strict client's view of the server's octets: whatever is not legal in RFC 9113, or not what the
application of the stream said, is a finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from conversations.frames import WINDOW_UPDATE
from support.engine_output import BrokenOutput, ClientView, settings_of

from .applications import HINT, LEFT, UNKNOWN, Actor
from .exchanges import Exchange
from .finding import require
from .ledger import DEFAULT_WINDOW, Ledger

NO_ERROR, INTERNAL_ERROR, SETTINGS_TIMEOUT, REFUSED_STREAM, CANCEL = 0, 2, 4, 7, 8
ENHANCE_YOUR_CALM = 11
OWN_ANSWERS = {
    400: b"Bad Request: ",
    408: b"Request Timeout",
    413: b"Content Too Large\n",
    431: b"Request Header Fields Too Large\n",
    500: b"Internal Server Error\n",
    501: b"Not Implemented\n",
    503: b"Service Unavailable\n",
}
"""Responses that the server gives in place of an application, by status; 400 and 408 begin so."""
_NAME = re.compile(rb":status|[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_VALUE = re.compile(rb"[\x20-\x7e\x80-\xff\t]*").fullmatch


class Excuses:
    """What else may make the server end streams: it was told to, or time went by."""

    def __init__(self) -> None:
        self.stopped = False
        self.waited = False
        self.may_be_late = False
        """Whether requests have a time limit."""
        self.was_full: Callable[[], bool] = lambda: False
        self.is_late: Callable[[Actor], bool] = lambda actor: False
        """Whether an application has taken longer than it may."""


class Reader:
    """Reads what arrives. ``actor_of`` finds the application call of a stream, or None."""

    def __init__(
        self, ledger: Ledger, actor_of: Callable[[int], Actor | None], excuses: Excuses
    ) -> None:
        self._ledger = ledger
        self._actor_of = actor_of
        self._excuses = excuses
        self._view = ClientView("the server")
        self._octets = bytearray()
        self._read = 0
        self._settings = False
        self.goaways: list[tuple[int, int]] = []
        self.pings: list[bytes] = []
        """Payloads of PING that want an answer."""
        self.settings_to_acknowledge = 0
        self.pings_answered = self.settings_acknowledged = 0
        ledger.on_settings = self._settings_sent

    def _settings_sent(self, payload: bytes) -> None:
        self._ledger.settings.append(payload)
        self._view.settings_sent(payload)

    def take(self, octets: bytearray) -> None:
        """Read what arrived, whole frames at least."""
        self._octets += octets
        octets.clear()
        while len(self._octets) >= 9:
            end = 9 + int.from_bytes(self._octets[:3], "big")
            if len(self._octets) < end:
                return
            frame = bytes(self._octets[:end])
            del self._octets[:end]
            self._take_frame(frame)
            self._read += end

    def _take_frame(self, frame: bytes) -> None:
        self._settings = self._settings or frame[3:5] == b"\x04\x00"
        require(self._settings, "SETTINGS are not first", frame[:9].hex())
        view = self._view
        credit = dict(view.credit)
        stream_id = int.from_bytes(frame[5:9], "big")
        if frame[3] == UNKNOWN:
            self._on_unknown(stream_id)
            return
        try:
            view.take(frame)
        except BrokenOutput as broken:
            require(False, "broken output", broken)
        if frame[3] == WINDOW_UPDATE:
            self._on_credit(stream_id, view.credit[stream_id] - credit.get(stream_id, 0))
        for name, *arguments in view.journal.get(stream_id, ()):
            getattr(self, "_on_" + name.lower().replace(" ", "_"))(stream_id, *arguments)
        view.clear()

    def _exchange(self, stream_id: int, what: str) -> Exchange:
        exchange = self._ledger.exchanges.get(stream_id)
        require(exchange is not None, "a frame on an idle stream", f"{what} on {stream_id}")
        assert exchange is not None
        require(exchange.response_reset is None, "a frame after RST_STREAM", f"{what} {stream_id}")
        # Its threads may be late between the raw frame and the end of the stream that it tells of.
        late = (actor := self._actor_of(stream_id)) is None or self._excuses.is_late(actor)
        left = exchange.abandoned and what in ("HEADERS", "DATA") and not late
        require(not left, "a frame behind a reset by raw frame", f"{what} {stream_id}")
        silent = exchange.silent_from
        require(
            silent is None or self._read < silent or self._ledger.foul or exchange.foul,
            "a frame on a stream that the client has reset",
            f"{what} on {stream_id}",
        )
        last = self.goaways[-1][0] if self.goaways else stream_id
        require(stream_id <= last, "a frame on a stream above GOAWAY's last", f"{what} {stream_id}")
        return exchange

    # --------------------------------------------------------------------------- streams

    def _on_headers(self, stream_id: int, fields: list[tuple[bytes, bytes]], ended: bool) -> None:
        exchange = self._exchange(stream_id, "HEADERS")
        if exchange.status:
            self._on_trailers(exchange, fields, ended)
            return
        require(fields and fields[0][0] == b":status", "a response without a status", fields)
        for name, value in fields:
            require(_NAME(name) and _VALUE(value), "an illegal response field", (name, value))
        status = int(fields[0][1])
        if status < 200:
            require(not ended, "END_STREAM on an informational response", stream_id)
            if status == 103:
                self._on_hint(stream_id, fields)
                return
            require(status == 100, "an informational response nobody made", status)
            expects = (b"expect", b"100-continue") in exchange.fields
            require(expects or self._ledger.foul, "100 without Expect", stream_id)
            return
        exchange.status = status
        known = dict(fields)
        if (length := known.get(b"content-length")) is not None:
            exchange.declared = int(length)
        self._check_head(exchange, known)
        if ended:
            self._ended(exchange)

    def _on_trailers(
        self, exchange: Exchange, fields: list[tuple[bytes, bytes]], ended: bool
    ) -> None:
        actor = self._actor_of(exchange.stream_id)
        wanted = actor is not None and actor.script.trailers and exchange.status not in OWN_ANSWERS
        require(wanted, "HEADERS behind the final response", exchange.stream_id)
        assert actor is not None
        require(ended, "trailers that do not end the response", exchange.stream_id)
        sent = _text(fields)
        require(sent == actor.trailers, "another stream's trailers", sent)
        exchange.trailers = True
        self._ended(exchange)

    def _on_hint(self, stream_id: int, fields: list[tuple[bytes, bytes]]) -> None:
        actor = self._actor_of(stream_id)
        require(actor is not None and actor.hints, "a 103 response that nobody made", stream_id)
        assert actor is not None
        actor.hints -= 1
        sent = _text(fields[1:])
        require(sent == HINT, "other hints", sent)

    def _on_unknown(self, stream_id: int) -> None:
        actor = self._actor_of(stream_id)
        wanted = actor is not None and "frame" in actor.script.commands
        require(wanted, "a frame of a type that nobody knows", stream_id)
        require(not self._view.in_a_block, "a raw frame interrupts a field block", stream_id)

    def _check_head(self, exchange: Exchange, known: dict[bytes, bytes]) -> None:
        actor, status = self._actor_of(exchange.stream_id), exchange.status
        if status in OWN_ANSWERS:
            own = {
                400: exchange.foul,
                408: self._excuses.waited,
                413: exchange.fields,
                431: exchange.foul,
                500: actor is not None and actor.failed,
                501: exchange.foul,
                503: (exchange.gathered and self._excuses.may_be_late)
                or (actor is not None and self._excuses.is_late(actor)),
            }[status]
            require(own or self._ledger.foul, "an answer without a reason", (exchange, status))
            return
        require(actor is not None and actor.begun, "a response that nobody made", exchange)
        assert actor is not None
        require(status == int(actor.script.status[:3]), "another status", (status, exchange))
        number = b"%d" % exchange.stream_id
        require(known.get(b"x-stream") == number, "another stream's head", (known, exchange))

    def _on_data(self, stream_id: int, data: bytes, ended: bool) -> None:
        exchange = self._exchange(stream_id, "DATA")
        require(exchange.status, "DATA before HEADERS", stream_id)
        require(not exchange.response_ended, "DATA behind END_STREAM", stream_id)
        self._ledger.received_flow += len(data)
        exchange.received_flow += len(data)
        window = self._ledger.send_window(exchange)
        require(not data or window >= 0, "DATA beyond a window", (stream_id, window))
        exchange.received += data
        expected = self._expected(exchange)[: len(exchange.received)]
        require(exchange.received == expected, "content that nobody made", stream_id)
        if ended:
            self._ended(exchange)

    def _expected(self, exchange: Exchange) -> bytes:
        if exchange.method == b"HEAD" or exchange.status in (204, 304):
            return b""
        if exchange.status in OWN_ANSWERS:
            said, received = OWN_ANSWERS[exchange.status], bytes(exchange.received)
            begins = exchange.status in (400, 408) and received.startswith(said)
            return received if begins else said
        actor = self._actor_of(exchange.stream_id)
        assert actor is not None
        return bytes(actor.produced if actor.declared is None else actor.produced[: actor.declared])

    def _ended(self, exchange: Exchange) -> None:
        require(not exchange.response_ended, "END_STREAM twice", exchange.stream_id)
        exchange.response_ended = True
        expected = self._expected(exchange)
        short = (len(exchange.received), len(expected), exchange.stream_id)
        require(exchange.received == expected, "END_STREAM before the end of the content", short)
        bodiless = exchange.method == b"HEAD" or exchange.status in (204, 304)
        if exchange.declared is not None and not bodiless:
            require(len(expected) == exchange.declared, "content-length does not fit", short)
        actor = self._actor_of(exchange.stream_id)
        if exchange.status not in OWN_ANSWERS and not bodiless and actor is not None:
            whole = actor.returned or len(actor.produced) >= (actor.declared or 1 << 60)
            whole = whole or actor.declared == 0
            require(whole, "END_STREAM although the application failed", short)
            lost = actor.script.trailers and not exchange.trailers
            require(not lost, "the trailers are lost", exchange.stream_id)

    def _on_rst_stream(self, stream_id: int, code: int) -> None:
        ledger = self._ledger
        if stream_id not in ledger.exchanges and stream_id in ledger.skipped:
            return  # closed, though it never was open
        actor = self._actor_of(stream_id)
        if code == LEFT:
            require(actor is not None and actor.has_reset, "a raw frame that nobody made", actor)
            ledger.exchanges[stream_id].abandoned = True
            return
        exchange = self._exchange(stream_id, "RST_STREAM")
        exchange.response_reset = code
        excuses = self._excuses
        reason = {
            NO_ERROR: exchange.response_ended,
            INTERNAL_ERROR: actor is not None and (_fell_short(actor) or excuses.is_late(actor)),
            REFUSED_STREAM: exchange.crowded or excuses.was_full(),
            CANCEL: excuses.stopped or excuses.waited or (actor is not None and actor.has_reset),
            ENHANCE_YOUR_CALM: True,
        }.get(code, False)
        require(
            reason or exchange.foul or ledger.foul,
            "RST_STREAM without a reason",
            (stream_id, code),
        )
        late = exchange.response_ended and code != NO_ERROR
        require(not late or exchange.foul or ledger.foul, "RST_STREAM behind END_STREAM", code)

    def _on_credit(self, stream_id: int, increment: int) -> None:
        require(increment > 0, "WINDOW_UPDATE of 0", stream_id)
        ledger = self._ledger
        if stream_id == 0:
            ledger.credit += increment
            return
        exchange = self._exchange(stream_id, "WINDOW_UPDATE")
        exchange.credit += increment
        require(exchange.credit <= exchange.flow, "credit that nobody used", exchange.stream_id)

    # ------------------------------------------------------------------------ connection

    def _on_settings(self, _stream_id: int, values: dict[int, int]) -> None:
        self._ledger.server_settings.append(values)
        self.settings_to_acknowledge += 1

    def _on_settings_ack(self, _stream_id: int) -> None:
        self.settings_acknowledged += 1
        for code, value in settings_of(self._ledger.settings.popleft()):
            if code == 4:
                self._ledger.initial_window = value

    def _on_ping(self, _stream_id: int, ack: bool, payload: bytes) -> None:
        if not ack:
            self.pings.append(payload)
            return
        self.pings_answered += 1
        sent = self._ledger.pings
        require(sent, "an answer to a PING that was not sent", payload)
        wanted = sent.popleft()
        require(wanted == payload, "the answer to another PING", (payload, wanted))

    def _on_goaway(self, _stream_id: int, last: int, code: int) -> None:
        ledger = self._ledger
        before = self.goaways[-1][0] if self.goaways else 2**31 - 1
        require(last <= before, "GOAWAY's last stream grew", (before, last))
        truth = last <= ledger.highest or (last == 2**31 - 1 and code == NO_ERROR)
        require(truth, "GOAWAY names a stream that never was", (last, ledger.highest))
        if code == SETTINGS_TIMEOUT and self.settings_to_acknowledge:
            self._excuses.waited = ledger.lenient = True
        excuse = ledger.foul or self._excuses.waited
        require(code in (NO_ERROR, ENHANCE_YOUR_CALM) or excuse, "GOAWAY without a reason", code)
        self.goaways.append((last, code))

    # ------------------------------------------------------------------------ questions

    @property
    def reads_half(self) -> bool:
        """Whether a frame has come in part."""
        return bool(self._octets)

    def over_credited(self, config_window: int) -> bool:
        """Whether the connection's credit is more than was used."""
        announced = max(0, config_window - DEFAULT_WINDOW)
        return self._ledger.credit - announced > self._ledger.flow


def _text(fields: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode(), value.decode()) for name, value in fields]


def _fell_short(actor: Actor) -> bool:
    declared = actor.declared
    return actor.failed or (declared is not None and len(actor.produced) < declared)
