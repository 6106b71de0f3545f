"""What a client must survive: frames that break RFC 9113, one rule each.

A client that finds a violation ends the stream or the connection, as the RFC's section says. The
server is done with the stream, whatever the client does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import pack
from typing import NamedTuple

from ...codes import (
    CONTINUATION,
    DATA,
    FLAG_ACK,
    FLAG_END_HEADERS,
    FLAG_END_STREAM,
    FLAG_PADDED,
    FRAME_LIMIT,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from .endpoints import endpoint
from .raw import OK, Fields, Frame, answer_with, encode, headers
from .request import BadRequest, Request

GROUP = "Frames that are illegal"
IDLE = 1_000_001
"""A stream that no client has opened yet."""
LARGEST = 2**31 - 1
END = Frame(DATA, FLAG_END_STREAM, b"the end")
HEAD = headers(OK)


class Violation(NamedTuple):
    """``frames`` makes the frames for a stream's number: the answer, or what precedes it."""

    section: str
    words: str
    frames: Callable[[int], list[Frame]]
    is_answer: bool = True


def _answer(section: str, words: str, *frames: Frame) -> Violation:
    return Violation(section, words, lambda _: list(frames))


def _before(section: str, words: str, *frames: Frame) -> Violation:
    return Violation(section, words, lambda _: list(frames), is_answer=False)


def _head(section: str, words: str, fields: Fields) -> Violation:
    """A malformed head with a good answer behind it."""
    return _answer(section, words, headers(fields), END)


def _number(value: int, octets: int = 4) -> bytes:
    return value.to_bytes(octets, "big")


def _settings(code: int, value: int) -> Frame:
    return Frame(SETTINGS, 0, pack("!HL", code, value), 0)


def _goaway(last_stream_id: int, stream_id: int = 0) -> Frame:
    return Frame(GOAWAY, 0, pack("!LL", last_stream_id, 0), stream_id)


_PROMISED: Fields = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/get"),
]

VIOLATIONS: dict[str, Violation] = {
    # ------------------------------------------------------------------ streams and their states
    "data-before-headers": _answer("8.1", "DATA before any HEADERS.", END),
    "data-after-end": _answer("5.1", "DATA behind END_STREAM.", HEAD, END, END),
    "headers-after-end": _answer("5.1", "HEADERS behind END_STREAM.", HEAD, END, HEAD),
    "data-on-idle-stream": _before(
        "5.1", "DATA on a stream that the client has not opened.", END._replace(stream_id=IDLE)
    ),
    "headers-on-idle-stream": _before(
        "5.1", "HEADERS on a stream that the client has not opened.", headers(OK, stream_id=IDLE)
    ),
    "rst-on-idle": _before(
        "6.4", "RST_STREAM on an idle stream.", Frame(RST_STREAM, 0, _number(8), IDLE)
    ),
    "window-update-on-idle": _before(
        "5.1", "WINDOW_UPDATE on an idle stream.", Frame(WINDOW_UPDATE, 0, _number(1), IDLE)
    ),
    "even-stream": _before(
        "5.1.1", "HEADERS on stream 2, which no PUSH_PROMISE has opened.", headers(OK, stream_id=2)
    ),
    "data-on-stream-0": _before("6.1", "DATA on the connection.", Frame(DATA, 0, b"octets", 0)),
    "headers-on-stream-0": _before("6.2", "HEADERS on the connection.", headers(OK, stream_id=0)),
    "push-promise": Violation(
        "8.4",
        "PUSH_PROMISE, which a client may have disabled.",
        lambda _: [Frame(PUSH_PROMISE, FLAG_END_HEADERS, _number(2) + encode(_PROMISED))],
        is_answer=False,
    ),
    "push-promise-odd": Violation(
        "5.1.1",
        "PUSH_PROMISE of a stream that only a client may open.",
        lambda _: [Frame(PUSH_PROMISE, FLAG_END_HEADERS, _number(IDLE) + encode(_PROMISED))],
        is_answer=False,
    ),
    "trailers-without-end": _answer(
        "8.1", "Trailers without END_STREAM.", HEAD, headers([("x-trailer", "1")]), END
    ),
    "trailers-with-status": _answer(
        "8.1", "A pseudo-field in trailers.", HEAD, headers(OK, FLAG_END_HEADERS | FLAG_END_STREAM)
    ),
    # ------------------------------------------------------------------------------------ fields
    "upper-case-name": _head("8.2.1", "A field name in upper case.", [*OK, ("X-Upper", "1")]),
    "bad-name": _head("8.2.1", "A blank in a field name.", [*OK, ("x bad", "1")]),
    "bad-value": _head("8.2.1", "CR and LF in a value.", [*OK, ("x-bad", "1\r\nx-more: 2")]),
    "connection-field": _head("8.2.2", "A Connection field.", [*OK, ("connection", "close")]),
    "transfer-encoding": _head(
        "8.2.2", "A Transfer-Encoding field.", [*OK, ("transfer-encoding", "chunked")]
    ),
    "missing-status": _head("8.3.2", "A head without :status.", OK[1:]),
    "bad-status": _head("8.3.2", ":status is no number.", [(":status", "2xx"), *OK[1:]]),
    "two-statuses": _head("8.3", ":status twice.", [OK[0], *OK]),
    "status-101": _head("8.6", "101, which HTTP/2 has not.", [(":status", "101"), *OK[1:]]),
    "pseudo-after-regular": _head("8.3", ":status behind another field.", [*OK[1:], OK[0]]),
    "request-pseudo": _head("8.3", ":path in a response.", [OK[0], (":path", "/"), *OK[1:]]),
    "unknown-pseudo": _head("8.3", "An unknown pseudo-field.", [OK[0], (":x", "1"), *OK[1:]]),
    # ------------------------------------------------------------------------------------- HPACK
    "bad-hpack": _answer(
        "4.3", "A field with index 0.", Frame(HEADERS, FLAG_END_HEADERS, b"\x80"), END
    ),
    "hpack-index": _answer(
        "4.3", "An index beyond the table.", Frame(HEADERS, FLAG_END_HEADERS, b"\xff\xff\x7f"), END
    ),
    "hpack-table-size": _answer(
        "4.3",
        "A table larger than allowed.",
        Frame(HEADERS, FLAG_END_HEADERS, b"\x3f\xff\xff\x7f"),
        END,
    ),
    "hpack-cut-short": _answer(
        "4.3", "A field block that is cut short.", HEAD._replace(payload=HEAD.payload[:-3]), END
    ),
    # ------------------------------------------------------------------------------ CONTINUATION
    "interleaved-continuation": _answer(
        "6.10",
        "A PING in the middle of a field block.",
        HEAD._replace(flags=0, payload=HEAD.payload[:5]),
        Frame(PING, 0, bytes(8), 0),
        Frame(CONTINUATION, FLAG_END_HEADERS, HEAD.payload[5:]),
        END,
    ),
    "continuation-alone": _before(
        "6.10", "CONTINUATION without HEADERS.", Frame(CONTINUATION, FLAG_END_HEADERS, HEAD.payload)
    ),
    # ----------------------------------------------------------------------------------- windows
    "window-overflow": _before(
        "6.9.1",
        "WINDOW_UPDATE that makes the stream's window too large.",
        *[Frame(WINDOW_UPDATE, 0, _number(LARGEST))] * 2,
    ),
    "connection-window-overflow": _before(
        "6.9.1",
        "WINDOW_UPDATE that makes the connection's window too large.",
        *[Frame(WINDOW_UPDATE, 0, _number(LARGEST), 0)] * 2,
    ),
    "zero-window-update": _before(
        "6.9", "WINDOW_UPDATE of 0 on the stream.", Frame(WINDOW_UPDATE, 0, bytes(4))
    ),
    "zero-connection-window-update": _before(
        "6.9", "WINDOW_UPDATE of 0 on the connection.", Frame(WINDOW_UPDATE, 0, bytes(4), 0)
    ),
    "data-over-window": _answer(
        "6.9.1",
        "40 MiB of DATA, whatever the windows say.",
        HEAD,
        *[Frame(DATA, 0, bytes(FRAME_LIMIT))] * 2_560,
        END,
    ),
    # ------------------------------------------------------------------- sizes and other payloads
    "frame-too-large": _answer(
        "4.2", "DATA of 16,385 octets.", HEAD, Frame(DATA, FLAG_END_STREAM, bytes(FRAME_LIMIT + 1))
    ),
    "padding-too-long": _answer(
        "6.1", "Padding as long as its frame.", HEAD, Frame(DATA, FLAG_PADDED, b"\x04abc"), END
    ),
    "window-update-wrong-length": _before(
        "6.9", "WINDOW_UPDATE of 3 octets.", Frame(WINDOW_UPDATE, 0, bytes(3))
    ),
    "ping-wrong-length": _before("6.7", "PING of 7 octets.", Frame(PING, 0, bytes(7), 0)),
    "ping-on-stream": _before("6.7", "PING on a stream.", Frame(PING, 0, bytes(8))),
    "rst-wrong-length": _before("6.4", "RST_STREAM of 3 octets.", Frame(RST_STREAM, 0, bytes(3))),
    "rst-on-stream-0": _before(
        "6.4", "RST_STREAM on the connection.", Frame(RST_STREAM, 0, _number(8), 0)
    ),
    "priority-on-stream-0": _before(
        "6.3", "PRIORITY on the connection.", Frame(PRIORITY, 0, bytes(5), 0)
    ),
    "goaway-on-stream": Violation(
        "6.8", "GOAWAY on a stream.", lambda own: [_goaway(own, own)], is_answer=False
    ),
    "goaway-grows": Violation(
        "6.8",
        "Two GOAWAY frames, the second with a higher last-stream-id.",
        lambda own: [_goaway(own), _goaway(own + 100)],
        is_answer=False,
    ),
    # ---------------------------------------------------------------------------------- SETTINGS
    "settings-ack-with-payload": _before(
        "6.5",
        "SETTINGS ACK with content.",
        Frame(SETTINGS, FLAG_ACK, pack("!HL", 4, 65_535), 0),
    ),
    "settings-wrong-length": _before(
        "6.5", "SETTINGS of 5 octets.", Frame(SETTINGS, 0, bytes(5), 0)
    ),
    "settings-on-stream": _before("6.5", "SETTINGS on a stream.", Frame(SETTINGS)),
    "settings-bad-window": _before(
        "6.5.2", "INITIAL_WINDOW_SIZE over 2^31-1.", _settings(4, 2**31)
    ),
    "settings-bad-frame-size": _before("6.5.2", "MAX_FRAME_SIZE of 100.", _settings(5, 100)),
    "settings-enable-push": _before("6.5.2", "ENABLE_PUSH of 1, from a server.", _settings(2, 1)),
    "unknown-settings": _before(
        "6.5.2", "An unknown setting. It is legal, and to be ignored.", _settings(0xFAFA, 1)
    ),
}


@endpoint(
    GROUP,
    "/illegal",
    "The list of violations, each with the section of RFC 9113 that it breaks.",
)
def index(request: Request) -> Iterable[bytes]:
    """List the violations."""
    return request.json(
        {
            f"/illegal/{name}": {"section": violation.section, "what": violation.words}
            for name, violation in VIOLATIONS.items()
        }
    )


@endpoint(
    GROUP,
    "/illegal/<what>",
    "One of them. A client must end the stream, or the connection, and no more.",
    example="/illegal/upper-case-name",
)
def illegal(request: Request) -> Iterable[bytes]:
    """Break one rule."""
    name = request.names["what"]
    if (violation := VIOLATIONS.get(name)) is None:
        raise BadRequest(f"{name!r} is no violation; /illegal lists them")
    frames = violation.frames(request.stream.id)
    if violation.is_answer:
        return answer_with(request, frames)
    request.stream.send_raw_frames(frames)
    return request.json({"illegal": name, "section": violation.section})
