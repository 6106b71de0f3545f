"""The connection preface, and SETTINGS (RFC 9113 sections 3.4 and 6.5)."""

from __future__ import annotations

import struct

from ...codes import ErrorCode, Setting
from .. import octets
from ..case import Case, Script
from ..conversation import REACTION, Conversation
from ..octets import ACK, PING, SETTINGS, frame, settings
from ..rules import Rule, that
from ..scripts import amid, before, greeting
from ..server import Session
from .build import ends_connection, fine

PROTOCOL, SIZE, FLOW = (
    ErrorCode.PROTOCOL_ERROR,
    ErrorCode.FRAME_SIZE_ERROR,
    ErrorCode.FLOW_CONTROL_ERROR,
)
FIRST = "The first frame of a server is SETTINGS: anything else is a connection error."
IGNORED = "Settings that are not known must be ignored."


def _late(c: Conversation) -> None:
    c.reach()
    c.sleep(2 * REACTION)
    c.greet()
    c.respond(c.request())


def _in_a_row(c: Conversation) -> None:
    c.greet()
    c.reach()
    c.send(settings((Setting.MAX_CONCURRENT_STREAMS, 100)) * 10)
    request = c.request()
    c.until(lambda: c.acknowledged() >= 11, 2)
    c.respond(request)


def _acknowledged(count: int) -> Rule:
    def check(session: Session) -> str:
        for conversation in session.conversations:
            if conversation.acknowledged() < count:
                return f"it acknowledged {conversation.acknowledged()} of {count} SETTINGS"
        return ""

    return that("every SETTINGS frame is acknowledged", check, waits=True)


def _pinged(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.reach()
    c.send(frame(PING, 0, b"12345678"))
    c.until(lambda: any(f.type == PING for f in c.frames), 2)
    c.respond(request)


def _answered(session: Session) -> str:
    for conversation in session.conversations:
        answers = [f for f in conversation.frames if f.type == PING and f.flags & ACK]
        if not answers:
            return "it did not answer"
        if answers[0].opaque != b"12345678":
            return "it answered with other octets"
    return ""


def _setting(number: int, title: str, advice: str, code: ErrorCode, *entry: int) -> Case:
    payload = struct.pack("!HL", *entry)
    script = before(f"SETTINGS with {title}", frame(SETTINGS, 0, payload))
    return ends_connection(f"9113/6.5.2/{number}", title, script, advice, code)


CASES = [
    fine(
        "9113/3.4/1",
        "an empty SETTINGS frame",
        greeting("an empty SETTINGS frame", settings()),
        "A server's preface may be an empty SETTINGS frame.",
    ),
    fine(
        "9113/3.4/2",
        "a preface that comes late",
        Script("Its preface comes half a second late.", _late),
        "A client need not wait for the server's preface, but must not give up on it either.",
    ),
    ends_connection(
        "9113/3.4/3",
        "PING before SETTINGS",
        greeting("PING, and SETTINGS behind it", frame(PING, 0, bytes(8)) + settings()),
        FIRST,
        PROTOCOL,
    ),
    ends_connection(
        "9113/3.4/4",
        "an acknowledgement before SETTINGS",
        greeting(
            "an acknowledgement, and SETTINGS behind it", frame(SETTINGS, 0, b"", ACK) + settings()
        ),
        FIRST,
        PROTOCOL,
    ),
    ends_connection(
        "9113/3.4/5",
        "HTTP/1.1 where HTTP/2 was agreed on",
        greeting("HTTP/1.1", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" + bytes(64)),
        "Where TLS agreed on h2, octets that are not HTTP/2 are a connection error.",
        PROTOCOL,
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    ends_connection(
        "9113/6.5/1",
        "an acknowledgement with a payload",
        before("an acknowledgement with a payload", frame(SETTINGS, 0, bytes(6), ACK)),
        "An acknowledgement of SETTINGS has no payload.",
        SIZE,
    ),
    ends_connection(
        "9113/6.5/2",
        "SETTINGS on a stream",
        amid("SETTINGS on the stream", lambda r: frame(SETTINGS, r.stream)),
        "SETTINGS belong to the connection, never to a stream.",
        PROTOCOL,
    ),
    ends_connection(
        "9113/6.5/3",
        "SETTINGS of 5 octets",
        before("SETTINGS of 5 octets", frame(SETTINGS, 0, bytes(5))),
        "The length of SETTINGS is a multiple of 6.",
        SIZE,
    ),
    fine(
        "9113/6.5/4",
        "SETTINGS with unknown flags",
        amid("SETTINGS with all flags but ACK", frame(SETTINGS, 0, b"", 0xFE)),
        "Flags that are not known must be ignored.",
        _acknowledged(2),
    ),
    _setting(
        1,
        "ENABLE_PUSH of 1",
        "A server must not set ENABLE_PUSH to 1.",
        PROTOCOL,
        Setting.ENABLE_PUSH,
        1,
    ),
    _setting(
        2,
        "ENABLE_PUSH of 2",
        "ENABLE_PUSH is 0 or 1.",
        PROTOCOL,
        Setting.ENABLE_PUSH,
        2,
    ),
    _setting(
        3,
        "INITIAL_WINDOW_SIZE of 2^31",
        "INITIAL_WINDOW_SIZE is at most 2^31-1.",
        FLOW,
        Setting.INITIAL_WINDOW_SIZE,
        2**31,
    ),
    _setting(
        4,
        "MAX_FRAME_SIZE of 16,383",
        "MAX_FRAME_SIZE is at least 2^14.",
        PROTOCOL,
        Setting.MAX_FRAME_SIZE,
        2**14 - 1,
    ),
    _setting(
        5,
        "MAX_FRAME_SIZE of 2^24",
        "MAX_FRAME_SIZE is at most 2^24-1.",
        PROTOCOL,
        Setting.MAX_FRAME_SIZE,
        2**24,
    ),
    fine(
        "9113/6.5.2/6",
        "a setting that nobody knows",
        greeting("SETTINGS that nobody knows", settings((0xFAFA, 7), (0x0, 1))),
        IGNORED,
        _acknowledged(1),
    ),
    fine(
        "9113/6.5.2/7",
        "ENABLE_PUSH of 0",
        greeting("ENABLE_PUSH of 0", settings((Setting.ENABLE_PUSH, 0))),
        "A server may say ENABLE_PUSH=0.",
    ),
    fine(
        "9113/6.5.2/8",
        "the largest values",
        greeting(
            "the largest MAX_FRAME_SIZE, INITIAL_WINDOW_SIZE and HEADER_TABLE_SIZE",
            settings(
                (Setting.MAX_FRAME_SIZE, octets.LARGEST_FRAME),
                (Setting.INITIAL_WINDOW_SIZE, octets.LARGEST_WINDOW),
                (Setting.HEADER_TABLE_SIZE, 2**32 - 1),
                (Setting.MAX_CONCURRENT_STREAMS, 2**32 - 1),
            ),
        ),
        "Values up to the largest are allowed.",
    ),
    fine(
        "9113/6.5.3/1",
        "SETTINGS in the middle of a response",
        amid(
            "SETTINGS",
            settings((Setting.INITIAL_WINDOW_SIZE, 1000), (Setting.HEADER_TABLE_SIZE, 0)),
        ),
        "SETTINGS may come at any time, and each is acknowledged.",
        _acknowledged(2),
    ),
    fine(
        "9113/6.5.3/2",
        "ten SETTINGS frames in a row",
        Script("It sends ten SETTINGS frames behind its preface.", _in_a_row),
        "Each SETTINGS frame is acknowledged by a frame of its own.",
        _acknowledged(11),
    ),
    fine(
        "8441/3/1",
        "ENABLE_CONNECT_PROTOCOL",
        greeting("ENABLE_CONNECT_PROTOCOL", settings((Setting.ENABLE_CONNECT_PROTOCOL, 1))),
        "A client that makes no extended CONNECT ignores this setting.",
    ),
    fine(
        "9218/2.1/1",
        "NO_RFC7540_PRIORITIES",
        greeting("NO_RFC7540_PRIORITIES", settings((Setting.NO_RFC7540_PRIORITIES, 1))),
        "A client that sends no priorities ignores this setting.",
    ),
    fine(
        "8701/3/1",
        "settings and frames of GREASE",
        greeting(
            "SETTINGS of GREASE and a frame of GREASE",
            settings((0x0A0A, 1), (0xFAFA, 2**32 - 1)) + frame(0x0B, 0, b"grease"),
        ),
        IGNORED,
    ),
    fine(
        "9113/6.7/1",
        "PING",
        Script("It sends PING before a good response.", _pinged),
        "PING is answered at once, with ACK and the same octets.",
        that("PING is answered with the same octets", _answered),
    ),
]
