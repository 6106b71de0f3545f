"""Frames that are malformed, one type after the other, and odd ones that are right (RFC 9113
sections 4 and 6).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from ...codes import ErrorCode, Setting
from .. import octets
from ..case import Case, Level, Script
from ..conversation import OK, Conversation, DoesNotApply, Request
from ..octets import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    block,
    frame,
    padded,
)
from ..rules import that
from ..scripts import amid, before, response
from ..server import Session
from .build import GET_EITHER, ends_connection, ends_stream, error, fine, optional

PROTOCOL, SIZE, FLOW = (
    ErrorCode.PROTOCOL_ERROR,
    ErrorCode.FRAME_SIZE_ERROR,
    ErrorCode.FLOW_CONTROL_ERROR,
)
COMPRESSION = ErrorCode.COMPRESSION_ERROR
OF_A_STREAM = "This frame belongs to a stream: on stream 0 it is a connection error."
OF_THE_CONNECTION = "This frame is about the connection: on a stream it is a connection error."
FIXED = "The length of this frame is fixed: another one is a FRAME_SIZE_ERROR."
PADDING = "Padding as long as the payload, or longer, is a connection error."
UNBROKEN = "Nothing may come between HEADERS and the CONTINUATION frames that complete them."
FITS = "A frame over SETTINGS_MAX_FRAME_SIZE is a FRAME_SIZE_ERROR."
GOOD_PADDING = "Padding is taken off, whatever its length, and is no content."
REQUEST = (
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/pushed"),
)
PUSH = struct.pack("!L", 2) + block(REQUEST)


def _closes(
    id: str, title: str, make: Callable[[Request], bytes], advice: str, *codes: ErrorCode
) -> Case:
    return ends_connection(id, title, amid(title, make), advice, *codes)


def _over(c: Conversation, kind: int) -> None:
    """Send a frame that is one octet larger than the client takes."""
    c.greet()
    request = c.request()
    size = c.max_frame_size + 1
    if size > min(octets.LARGEST_FRAME, c.window(request.stream)):
        raise DoesNotApply("it takes frames of every size that its windows allow")
    c.reach()
    if kind == HEADERS:
        more = len(block((*OK, ("x-long", "x" * size)))) - size
        encoded = block((*OK, ("x-long", "x" * (size - more))))
        c.send(frame(HEADERS, request.stream, encoded, END_HEADERS))
    else:
        c.head(request)
        c.send(frame(DATA, request.stream, bytes(size)))
    c.sleep(0.2)
    c.send(octets.data(request.stream, request.content, end=True))


def _push_off(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.until(lambda: c.acknowledged(), 1)
    if c.settings.get(Setting.ENABLE_PUSH, 1):
        raise DoesNotApply("it has not turned push off")
    c.head(request)
    c.reach()
    c.send(frame(PUSH_PROMISE, request.stream, PUSH, END_HEADERS))
    c.sleep(0.2)
    c.content(request, request.content)


def _answers_ping(session: Session) -> str:
    frames = [f for c in session.conversations for f in c.frames]
    answered = any(f.type == PING and f.flags & ACK for f in frames)
    return "it answered an answer" if answered else ""


def _split_trailers(thing: str, ending: bytes) -> Script:
    """Send trailers whose HEADERS frame ends the stream, and whose CONTINUATION ends the block."""

    def make(r: Request) -> bytes:
        begun = octets.headers(r.stream, OK) + octets.data(r.stream, r.content)
        return (
            begun
            + frame(HEADERS, r.stream, octets.literal("x-first", "1"), END_STREAM)
            + frame(CONTINUATION, r.stream, ending, END_HEADERS)
        )

    return response(f"a response with {thing}", make)


def _split(sizes: list[int], thing: str) -> Script:
    """Send a good head whose block is cut into pieces of these sizes; the rest is the last."""

    def make(request: Request) -> bytes:
        encoded = block((*OK, ("x-filler", "f" * 40)))
        frames, kind, at = [], HEADERS, 0
        for size in sizes:
            frames.append(frame(kind, request.stream, encoded[at : at + size]))
            kind, at = CONTINUATION, at + size
        frames.append(frame(CONTINUATION, request.stream, encoded[at:], END_HEADERS))
        return b"".join(frames) + octets.data(request.stream, request.content, end=True)

    return response(f"a response whose field block comes in {thing}", make)


def _broken_by(thing: str, what: Callable[[Request], bytes]) -> Script:
    """Send a head with something else in the middle of its field block."""

    def make(request: Request) -> bytes:
        encoded = block(OK)
        return (
            frame(HEADERS, request.stream, encoded[:20])
            + what(request)
            + frame(CONTINUATION, request.stream, encoded[20:], END_HEADERS)
            + octets.data(request.stream, request.content, end=True)
        )

    return response(f"a response whose field block {thing} comes in the middle of", make)


def _padded_data(request: Request) -> bytes:
    pieces = octets.pieces(request.content, 100)
    frames = [frame(DATA, request.stream, padded(p, n % 256), PADDED) for n, p in enumerate(pieces)]
    frames.append(frame(DATA, request.stream, padded(b"", 255), PADDED | END_STREAM))
    return octets.headers(request.stream, OK) + b"".join(frames)


def _padded_head(request: Request) -> bytes:
    payload = bytes([7]) + struct.pack("!LB", 0, 15) + block(OK) + bytes(7)
    flags = PADDED | WITH_PRIORITY | END_HEADERS
    data = octets.data(request.stream, request.content, end=True)
    return frame(HEADERS, request.stream, payload, flags) + data


def _with_end(request: Request, end: bytes) -> bytes:
    return octets.headers(request.stream, OK) + octets.data(request.stream, request.content) + end


def _full_frame(request: Request) -> bytes:
    filler = octets.frame(0xFA, request.stream, bytes(2**14))
    return (
        octets.headers(request.stream, OK)
        + filler
        + octets.data(request.stream, request.content, end=True)
    )


def _reserved(request: Request) -> bytes:
    stream = request.stream
    return frame(HEADERS, stream, block(OK), END_HEADERS, reserved=True) + frame(
        DATA, stream, request.content, END_STREAM, reserved=True
    )


def _flagged(request: Request) -> bytes:
    stream = request.stream
    return frame(HEADERS, stream, block(OK), END_HEADERS | 0xD2) + frame(
        DATA, stream, request.content, END_STREAM | 0xF6
    )


def _no_pad_length(request: Request) -> bytes:
    return frame(DATA, request.stream, b"", PADDED)


def _late_headers(request: Request) -> bytes:
    return (
        frame(HEADERS, 0, block(OK), END_HEADERS)
        + octets.headers(request.stream, OK)
        + octets.data(request.stream, request.content, end=True)
    )


def _bad_head(payload: bytes, flags: int) -> Callable[[Request], bytes]:
    def make(request: Request) -> bytes:
        return frame(HEADERS, request.stream, payload, flags) + octets.data(
            request.stream, request.content, end=True
        )

    return make


def _continued(flags: int) -> Callable[[Request], bytes]:
    return lambda r: frame(CONTINUATION, r.stream, block([("x-more", "1")]), flags)


CASES: list[Case] = [
    # ---------------------------------------------------------------- format, size (section 4)
    fine(
        "9113/4.1/1",
        "the reserved bit",
        response("a response whose frames have the reserved bit set", _reserved),
        "The reserved bit must be ignored.",
    ),
    fine(
        "9113/4.1/2",
        "undefined flags",
        response("a response whose frames have undefined flags set", _flagged),
        "Flags that a type does not define must be ignored.",
    ),
    fine(
        "9113/4.2/1",
        "a frame of 16,384 octets",
        response("a frame of an unknown type of 16,384 octets in a response", _full_frame),
        "Frames of up to 2^14 octets must be taken.",
    ),
    ends_connection(
        "9113/4.2/2",
        "DATA over MAX_FRAME_SIZE",
        Script("It sends DATA one octet over MAX_FRAME_SIZE.", lambda c: _over(c, DATA)),
        FITS,
        SIZE,
    ),
    ends_connection(
        "9113/4.2/3",
        "HEADERS over MAX_FRAME_SIZE",
        Script("It sends HEADERS one octet over MAX_FRAME_SIZE.", lambda c: _over(c, HEADERS)),
        FITS,
        SIZE,
    ),
    # ------------------------------------------------------------------------------ DATA (6.1)
    _closes(
        "9113/6.1/1", "DATA on stream 0", lambda r: frame(DATA, 0, b"x"), OF_A_STREAM, PROTOCOL
    ),
    _closes(
        "9113/6.1/2",
        "DATA that is all padding, and more",
        lambda r: frame(DATA, r.stream, b"\x05abcd", PADDED),
        PADDING,
        PROTOCOL,
    ),
    _closes(
        "9113/6.1/3",
        "padded DATA without the octet that says by how much",
        _no_pad_length,
        "A padded frame has at least the octet that says by how much.",
        SIZE,
        PROTOCOL,
    ),
    fine(
        "9113/6.1/4",
        "padded DATA",
        response("a response whose DATA frames are padded by 0 to 255 octets", _padded_data),
        GOOD_PADDING,
    ),
    fine(
        "9113/6.1/5",
        "an empty DATA frame with END_STREAM",
        response(
            "a response that an empty DATA frame ends",
            lambda r: _with_end(r, octets.data(r.stream, b"", end=True)),
        ),
        "An empty DATA frame may end a response.",
    ),
    fine(
        "9113/6.1/6",
        "empty DATA frames in between",
        amid("ten empty DATA frames", lambda r: octets.data(r.stream, b"") * 10),
        "Empty DATA frames are no content, and no end.",
    ),
    # --------------------------------------------------------------------------- HEADERS (6.2)
    ends_connection(
        "9113/6.2/1",
        "HEADERS on stream 0",
        response("HEADERS on stream 0 and a good response", _late_headers),
        OF_A_STREAM,
        PROTOCOL,
    ),
    ends_connection(
        "9113/6.2/2",
        "HEADERS that are all padding, and more",
        response(
            "HEADERS whose padding is longer than the frame",
            _bad_head(b"\xff" + block(OK), PADDED | END_HEADERS),
        ),
        PADDING,
        PROTOCOL,
    ),
    fine(
        "9113/6.2/3",
        "HEADERS with padding and priority",
        response("HEADERS with padding and a priority", _padded_head),
        "Padding and priority are no part of the field block.",
    ),
    ends_connection(
        "9113/6.2/4",
        "HEADERS too short for their priority",
        response(
            "HEADERS that are too short for their priority",
            _bad_head(b"\x88", WITH_PRIORITY | END_HEADERS),
        ),
        "HEADERS with a priority have at least 5 octets.",
        SIZE,
        PROTOCOL,
        COMPRESSION,
    ),
    # -------------------------------------------------------------------------- PRIORITY (6.3)
    fine(
        "9113/6.3/1",
        "PRIORITY",
        amid(
            "PRIORITY on the stream, on an idle and on an even one",
            lambda r: b"".join(frame(PRIORITY, s, bytes(5)) for s in (r.stream, 1001, 1002)),
        ),
        "PRIORITY may come on any stream, and is ignored.",
    ),
    _closes(
        "9113/6.3/2",
        "PRIORITY on stream 0",
        lambda r: frame(PRIORITY, 0, bytes(5)),
        OF_A_STREAM,
        PROTOCOL,
    ),
    ends_stream(
        "9113/6.3/3",
        "PRIORITY of 4 octets",
        amid("PRIORITY of 4 octets", lambda r: frame(PRIORITY, r.stream, bytes(4))),
        "The length of PRIORITY is 5: another one is a stream error.",
        SIZE,
    ),
    # ------------------------------------------------------------------------ RST_STREAM (6.4)
    _closes(
        "9113/6.4/1",
        "RST_STREAM on stream 0",
        lambda r: octets.reset(0, 8),
        OF_A_STREAM,
        PROTOCOL,
    ),
    _closes(
        "9113/6.4/2",
        "RST_STREAM of 3 octets",
        lambda r: frame(RST_STREAM, r.stream, bytes(3)),
        FIXED,
        SIZE,
    ),
    _closes(
        "9113/6.4/3",
        "RST_STREAM of 5 octets",
        lambda r: frame(RST_STREAM, r.stream, bytes(5)),
        FIXED,
        SIZE,
    ),
    # ---------------------------------------------------------------------- PUSH_PROMISE (6.6)
    ends_connection(
        "9113/6.6/1",
        "PUSH_PROMISE where push is off",
        Script("It promises a push although the client has turned that off.", _push_off),
        "A client that has set ENABLE_PUSH to 0 takes PUSH_PROMISE for a connection error.",
        PROTOCOL,
    ),
    _closes(
        "9113/6.6/2",
        "PUSH_PROMISE on stream 0",
        lambda r: frame(PUSH_PROMISE, 0, PUSH, END_HEADERS),
        OF_A_STREAM,
        PROTOCOL,
    ),
    _closes(
        "9113/6.6/3",
        "PUSH_PROMISE of an odd stream",
        lambda r: frame(
            PUSH_PROMISE, r.stream, struct.pack("!L", 1001) + block(REQUEST), END_HEADERS
        ),
        "A server promises even streams alone.",
        PROTOCOL,
    ),
    _closes(
        "9113/6.6/4",
        "PUSH_PROMISE of 3 octets",
        lambda r: frame(PUSH_PROMISE, r.stream, bytes(3), END_HEADERS),
        "PUSH_PROMISE has at least the 4 octets of a stream.",
        SIZE,
        PROTOCOL,
    ),
    # ------------------------------------------------------------------------------ PING (6.7)
    _closes(
        "9113/6.7/2",
        "PING on a stream",
        lambda r: frame(PING, r.stream, bytes(8)),
        OF_THE_CONNECTION,
        PROTOCOL,
    ),
    _closes("9113/6.7/3", "PING of 7 octets", lambda r: frame(PING, 0, bytes(7)), FIXED, SIZE),
    _closes("9113/6.7/4", "PING of 9 octets", lambda r: frame(PING, 0, bytes(9)), FIXED, SIZE),
    fine(
        "9113/6.7/5",
        "an answer to no PING",
        amid("PING with ACK that nobody waits for", frame(PING, 0, bytes(8), ACK)),
        "An answer to a PING that was not sent does no harm.",
        level=Level.ROBUST,
    ),
    error(
        "9113/6.7/7",
        "PING with ACK is not answered",
        amid("PING with ACK", frame(PING, 0, bytes(8), ACK)),
        "PING with ACK is an answer, and must not be answered.",
        that("no PING with ACK comes back", _answers_ping),
        steps=GET_EITHER,
    ),
    fine(
        "9113/6.7/6",
        "PING with undefined flags",
        amid("PING with all flags but ACK", frame(PING, 0, bytes(8), 0xFE)),
        "Flags that a type does not define must be ignored.",
    ),
    # ---------------------------------------------------------------------------- GOAWAY (6.8)
    _closes(
        "9113/6.8/5",
        "GOAWAY of 7 octets",
        lambda r: frame(GOAWAY, 0, bytes(7)),
        "GOAWAY has at least 8 octets.",
        SIZE,
    ),
    # --------------------------------------------------------------------- WINDOW_UPDATE (6.9)
    _closes(
        "9113/6.9/1",
        "WINDOW_UPDATE of 3 octets",
        lambda r: frame(WINDOW_UPDATE, 0, bytes(3)),
        FIXED,
        SIZE,
    ),
    _closes(
        "9113/6.9/2",
        "WINDOW_UPDATE of 5 octets",
        lambda r: frame(WINDOW_UPDATE, r.stream, bytes(5)),
        FIXED,
        SIZE,
    ),
    _closes(
        "9113/6.9/3",
        "an increment of 0 on the connection",
        lambda r: octets.window_update(0, 0),
        "An increment is at least 1.",
        PROTOCOL,
        FLOW,
    ),
    ends_stream(
        "9113/6.9/4",
        "an increment of 0 on the stream",
        amid("WINDOW_UPDATE of 0 on the stream", lambda r: octets.window_update(r.stream, 0)),
        "An increment is at least 1.",
        PROTOCOL,
    ),
    fine(
        "9113/6.9/5",
        "WINDOW_UPDATE with the reserved bit",
        amid(
            "WINDOW_UPDATE with the reserved bit set",
            frame(WINDOW_UPDATE, 0, struct.pack("!L", 2**31 | 100)),
        ),
        "A bit that is reserved has no meaning.",
        level=Level.ROBUST,
    ),
    # --------------------------------------------------------------------- CONTINUATION (6.10)
    fine(
        "9113/6.10/15",
        "trailers in two frames",
        _split_trailers("trailers in two frames", octets.literal("x-trailer", "right")),
        "END_STREAM on HEADERS ends the stream behind its field block, not before.",
        fields={"trailer": "right"},
    ),
    ends_connection(
        "9113/6.10/16",
        "trailers whose second frame is broken",
        _split_trailers("trailers whose second frame cannot be decoded", octets.indexed(0)),
        "END_STREAM on HEADERS ends the stream behind its field block, not before.",
        COMPRESSION,
    ),
    fine(
        "9113/6.10/1",
        "a field block in two frames",
        _split([10], "two frames"),
        "A field block may go on in CONTINUATION.",
    ),
    fine(
        "9113/6.10/2",
        "a field block cut between all octets of a field",
        _split([1] * 5, "seven frames, five of them of one octet"),
        "A field block may be cut anywhere, between the octets of a field too.",
    ),
    fine(
        "9113/6.10/3",
        "an empty CONTINUATION frame",
        _split([10, 0, 0], "four frames, two of them empty"),
        "CONTINUATION may be empty.",
    ),
    fine(
        "9113/6.10/4",
        "empty HEADERS, and all in CONTINUATION",
        _split([0], "empty HEADERS and one CONTINUATION"),
        "HEADERS may be empty if CONTINUATION follows.",
    ),
    _closes(
        "9113/6.10/5",
        "CONTINUATION behind DATA",
        _continued(END_HEADERS),
        "CONTINUATION follows HEADERS without END_HEADERS, and nothing else.",
        PROTOCOL,
    ),
    ends_connection(
        "9113/6.10/6",
        "CONTINUATION behind END_HEADERS",
        response(
            "a response with CONTINUATION behind END_HEADERS",
            lambda r: (
                octets.headers(r.stream, OK)
                + _continued(END_HEADERS)(r)
                + octets.data(r.stream, r.content, end=True)
            ),
        ),
        "CONTINUATION follows HEADERS without END_HEADERS, and nothing else.",
        PROTOCOL,
    ),
    ends_connection(
        "9113/6.10/7",
        "DATA in the middle of a field block",
        _broken_by("DATA", lambda r: octets.data(r.stream, b"x")),
        UNBROKEN,
        PROTOCOL,
    ),
    ends_connection(
        "9113/6.10/8",
        "PING in the middle of a field block",
        _broken_by("PING", lambda r: frame(PING, 0, bytes(8))),
        UNBROKEN,
        PROTOCOL,
    ),
    ends_connection(
        "9113/6.10/9",
        "SETTINGS in the middle of a field block",
        _broken_by("SETTINGS", lambda r: frame(SETTINGS, 0)),
        UNBROKEN,
        PROTOCOL,
    ),
    ends_connection(
        "9113/6.10/10",
        "an unknown frame in the middle of a field block",
        _broken_by("a frame of an unknown type", lambda r: frame(0xFA, r.stream, b"x")),
        "Even a frame of an unknown type may not come in the middle of a field block.",
        PROTOCOL,
    ),
    ends_connection(
        "9113/6.10/11",
        "CONTINUATION of another stream",
        _broken_by("CONTINUATION of another stream", lambda r: frame(CONTINUATION, r.stream + 2)),
        UNBROKEN,
        PROTOCOL,
    ),
    ends_connection(
        "9113/6.10/12",
        "CONTINUATION on stream 0",
        _broken_by("CONTINUATION on stream 0", lambda r: frame(CONTINUATION, 0, b"")),
        OF_A_STREAM,
        PROTOCOL,
    ),
    ends_connection(
        "9113/6.10/13",
        "PRIORITY in the middle of a field block",
        _broken_by("PRIORITY", lambda r: frame(PRIORITY, r.stream, bytes(5))),
        UNBROKEN,
        PROTOCOL,
    ),
    ends_connection(
        "9113/6.10/14",
        "CONTINUATION behind CONTINUATION with END_HEADERS",
        response(
            "a response with CONTINUATION behind CONTINUATION with END_HEADERS",
            lambda r: (
                frame(HEADERS, r.stream, block(OK)[:20])
                + frame(CONTINUATION, r.stream, block(OK)[20:], END_HEADERS)
                + _continued(END_HEADERS)(r)
                + octets.data(r.stream, r.content, end=True)
            ),
        ),
        "CONTINUATION follows HEADERS without END_HEADERS, and nothing else.",
        PROTOCOL,
    ),
    # ------------------------------------------------------------------- what is ignored (5.5)
    fine(
        "9113/5.5/1",
        "a frame of an unknown type",
        before("a frame of type 0xfa", frame(0xFA, 0, b"unknown")),
        "Frames of unknown types must be ignored.",
    ),
    fine(
        "9113/5.5/2",
        "a frame of an unknown type on the stream",
        amid("a frame of type 0xfa on the stream", lambda r: frame(0xFA, r.stream, b"x", 0xFF)),
        "Frames of unknown types must be ignored.",
    ),
    fine(
        "9113/5.5/3",
        "a frame of an unknown type on an idle stream",
        amid("a frame of type 0xfa on an idle stream", lambda r: frame(0xFA, 1001, b"x")),
        "Frames of unknown types must be ignored.",
    ),
    fine(
        "7838/4/1",
        "ALTSVC",
        amid("ALTSVC on the stream", lambda r: frame(octets.ALTSVC, r.stream, b'\0\0h2=":1"')),
        "A client that does not know ALTSVC ignores it, and one that does goes on here.",
    ),
    fine(
        "7838/4/2",
        "ALTSVC without an origin on stream 0",
        amid("ALTSVC without an origin on stream 0", frame(octets.ALTSVC, 0, b'\0\0h2=":1"')),
        "ALTSVC on stream 0 that names no origin must be ignored.",
    ),
    fine(
        "8336/2.1/1",
        "ORIGIN",
        amid("ORIGIN", frame(octets.ORIGIN, 0, b"\0\x13https://other.test/")),
        "A client that does not know ORIGIN ignores it.",
    ),
    optional(
        "9218/7.1/1",
        "PRIORITY_UPDATE",
        amid("PRIORITY_UPDATE", frame(octets.PRIORITY_UPDATE, 0, b"\0\0\0\1u=1")),
        "A client that knows PRIORITY_UPDATE ends the connection; one that does not ignores it.",
        ("ends the connection", "ignores it"),
    ),
]
