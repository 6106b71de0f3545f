"""The engines against each other where mistakes are likely, or where one was found."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from conversations import frames
from conversations.frames import Client, Step
from h2wsgi.http2.engines.fast import FastEngine
from h2wsgi.http2.engines.reference import ReferenceEngine
from support.engine_script import Command, Conversation, Plan, Script, compare
from support.engines import CREDIT_BOTH, DIFFERENCES, KEEP, REFUSE, Differs

NO_CREDIT = Script(reactions=(KEEP,), commands=(("nothing", 0, 0),))
LARGEST = 2**31 - 1
DEFAULT = 65_535

# Sections and streams as `Client` counts them.
GET, POST, TEN_OCTETS, EXPECTING = 0, 1, 2, 4
UNACCEPTABLE = range(len(frames.LEGAL), len(frames.LEGAL + frames.UNACCEPTABLE))
MALFORMED = range(UNACCEPTABLE.stop, len(frames.SECTIONS))
TE = frames.SECTIONS.index([*frames.GET, (b"te", b"gzip")])
LITERAL = frames.BLOCKS.index(b"\x82\x87\x84\x40\x01a\x01b")
LITERAL_OPTIONS = frames.BLOCKS.index(b"\x42\x07OPTIONS\x87\x84")
EMPTYING = frames.BLOCKS.index(b"\x20\x82\x87\x84")
CONTENT_LENGTH = frames.TAILS.index(b"\x0f\x0d\x015")
EXPECT = frames.TAILS.index(frames.EXPECT)
LONG_LITERAL = LITERAL_OPTIONS + 1
INDEXED: Step = ("block", frames.BLOCKS.index(b"\x82\x87\x84\xbe"), True)
SELF_1, SELF_3 = b"\x00\x00\x00\x01\x0f", b"\x80\x00\x00\x03\x0f"
"""The priority of a stream that depends on itself."""
LAST, BEFORE_LAST, CONNECTION, EVEN, IDLE = 0, 1, 8, 9, 10

OPEN: Step = ("request", POST, False)
WHOLE: Step = ("request", GET, True)
TABLE_SIZE, PUSH, INITIAL_WINDOW, FRAME_SIZE = 1, 2, 4, 5


def after_each(*commands: Command, plan: Plan | None = None, react: int = CREDIT_BOTH) -> Script:
    """Return a script with a command after each frame of the client, SETTINGS first."""
    answer = Plan(sizes=(7,), at_once=True) if plan is None else plan
    return Script((react,), (answer,), (*commands, *(("nothing", 0, 0),) * 40))


NOTHING, ANSWER, TAKE = ("nothing", 0, 0), ("answer", 0, 3), ("take", 0, 0)
SMALL = {"stream_window": 16_384, "connection_window": DEFAULT}


@dataclass(frozen=True, slots=True)
class Edge:
    """What the client does, and the server."""

    steps: tuple[Step, ...]
    script: Script = NO_CREDIT
    limits: dict[str, int] = field(default_factory=dict)

    def conversation(self, *, in_frames: bool = False) -> Conversation:
        """Return the whole of it, the client's octets frame by frame or all at once."""
        written = tuple(Client().write(self.steps))
        chunks = written if in_frames else (b"".join(written),)
        return Conversation(chunks, self.script, self.limits)


EDGES = {
    # What differed once.
    "the connection's window overflows": Edge(
        (OPEN, ("window", LAST, 100), ("window", CONNECTION, LARGEST - DEFAULT + 1), WHOLE)
    ),
    "SETTINGS make a stream's window overflow": Edge(
        (OPEN, ("window", LAST, 100), ("settings", (INITIAL_WINDOW, LARGEST)), WHOLE)
    ),
    "a whole response shrinks the stream's window": Edge(
        (OPEN, ("window", LAST, LARGEST - DEFAULT + 7), ("window", LAST, 1)),
        after_each(NOTHING, ANSWER),
    ),
    "a whole response for a stream that is closed": Edge(
        (OPEN, ("reset", LAST, 8), WHOLE), after_each(NOTHING, NOTHING, ("stray", 0, 5))
    ),
    "discarded DATA fills the connection's window": Edge(
        (OPEN, ("flood", LAST, DEFAULT - 1, True), OPEN, ("data", LAST, 1, False))
        + (("data", LAST, 1, False),),
        NO_CREDIT,
        {"stream_window": DEFAULT, "connection_window": DEFAULT},
    ),
    "a table that is made smaller twice": Edge(
        (("settings", (TABLE_SIZE, 0)), ("settings", (TABLE_SIZE, 0)), WHOLE)
    ),
    "a table that is made smaller and larger at once": Edge(
        (WHOLE, ("settings", (TABLE_SIZE, 0), (TABLE_SIZE, 64)), WHOLE),
        after_each(NOTHING, ANSWER),
    ),
    "a table that is changed three times": Edge(
        tuple(("settings", (TABLE_SIZE, octets)) for octets in (31, 0, 64)) + (WHOLE,)
    ),
    "the reserved bit of WINDOW_UPDATE": Edge(
        (OPEN, ("window", LAST, 2**31 + 100), ("window", CONNECTION, 2**31 + 100), WHOLE)
    ),
    # Windows.
    "a stream's window to its last octet": Edge(
        (OPEN, ("flood", LAST, DEFAULT, False), ("data", LAST, 1, False)), NO_CREDIT, SMALL
    ),
    "a window made smaller by our SETTINGS": Edge(
        (("settings_ack",), OPEN, ("data", LAST, 16_384, False), ("data", LAST, 1, False)),
        NO_CREDIT,
        SMALL,
    ),
    "a window made smaller behind open streams": Edge(
        (OPEN, ("data", LAST, 16_384, False), ("settings_ack",), ("data", LAST, 0, False))
        + (("data", LAST, 1, False),),
        NO_CREDIT,
        SMALL,
    ),
    "padding fills a window": Edge(
        (OPEN, *[("data", LAST, 16_128, False, 255)] * 4, ("data", LAST, 1, False)),
        NO_CREDIT,
        SMALL,
    ),
    "a negative window that opens again": Edge(
        (OPEN, ("settings", (INITIAL_WINDOW, 0)), ("window", LAST, 99), ("window", LAST, 2))
        + (("settings", (INITIAL_WINDOW, DEFAULT)),),
        Script(plans=(Plan(sizes=(100, 0, 3)),), commands=(("answer_all", 0, 0), TAKE)),
    ),
    "a stream's window overflows": Edge(
        (OPEN, WHOLE, ("window", BEFORE_LAST, LARGEST), ("data", BEFORE_LAST, 1, False))
    ),
    "credit for what has ended": Edge(
        (OPEN, ("data", LAST, 100, False), ("data", LAST, 0, True), WHOLE),
        after_each(NOTHING, NOTHING, NOTHING, ("credit", 0, 0), ("credit", 1, 0), react=KEEP),
    ),
    "SETTINGS make a window as large as may be": Edge(
        (OPEN, ("window", LAST, 100), ("settings", (INITIAL_WINDOW, LARGEST - 100)), WHOLE)
    ),
    "credit that is used again": Edge(
        (OPEN, *[("flood", LAST, DEFAULT, False)] * 3),
        Script(),
        {"stream_window": DEFAULT, "connection_window": DEFAULT},
    ),
    # Streams.
    "too many streams": Edge(
        (OPEN, OPEN, OPEN, ("reset", 2, 8), WHOLE, ("data", 1, 5, False)), NO_CREDIT,
        {"max_streams": 2},
    ),
    "content that is too long": Edge(
        (("request", TEN_OCTETS, False), ("data", LAST, 11, False), ("data", LAST, 1, True))
    ),
    "content that is too short": Edge(
        (("request", TEN_OCTETS, False), ("data", LAST, 9, True), WHOLE)
    ),
    "content that may be too short": Edge(
        (WHOLE, ("request", TEN_OCTETS, False), ("data", LAST, 9, True), WHOLE)
    ),
    "trailers after content that may be too short": Edge(
        (WHOLE, ("request", TEN_OCTETS, False), ("trailers", LAST, 0, True), WHOLE)
    ),
    "trailers after content that is too short": Edge(
        (("request", TEN_OCTETS, False), ("data", LAST, 9, False), ("trailers", LAST, 0, True))
    ),
    "trailers that do not end the stream": Edge((OPEN, ("trailers", LAST, 0, False), WHOLE)),
    "HEADERS after END_STREAM": Edge((WHOLE, ("trailers", LAST, 0, True), WHOLE)),
    "HEADERS after RST_STREAM": Edge((OPEN, ("reset", LAST, 8), ("trailers", LAST, 0, True))),
    "HEADERS that cross our RST_STREAM": Edge(
        (OPEN, ("trailers", LAST, 0, True), ("data", LAST, 5, True), WHOLE),
        after_each(NOTHING, ("reset", 0, 8)),
    ),
    "a stream that was skipped": Edge(
        (("request", GET, True, 0, 2), ("raw", 1, 5, IDLE, b"\x82\x87\x84"), WHOLE)
    ),
    "DATA after END_STREAM": Edge((WHOLE, ("data", LAST, 5, False), ("data", LAST, 5, True))),
    "a reset while DATA is received": Edge(
        (OPEN, ("data", LAST, 5, True), OPEN, ("data", LAST, 5, False), ("data", LAST, 5, True)),
        Script(reactions=(REFUSE,), commands=(ANSWER,)),
    ),
    "streams after GOAWAY": Edge(
        (OPEN, WHOLE, ("data", LAST, 5, False), ("reset", LAST, 8), ("window", LAST, 5))
        + (("trailers", LAST, 0, True), ("data", BEFORE_LAST, 5, True)),
        after_each(NOTHING, ("go_away", 0, 0)),
    ),
    "a drain": Edge(
        (OPEN, WHOLE, ("ping", True, 5), WHOLE, ("data", 2, 5, True)),
        after_each(("drain", 0, 0), NOTHING, ANSWER, ("go_away", 0, 0)),
    ),
    "answers after a connection error": Edge(
        (WHOLE, OPEN, WHOLE, ("data", IDLE, 5, False), WHOLE),
        Script(plans=(Plan((0,), 3, (20_000, 5)), Plan(at_once=True)), commands=(NOTHING,)),
    ),
    # Field blocks.
    "a remembered block after the table changed": Edge(
        (("block", LITERAL, True), INDEXED, INDEXED, ("block", LITERAL_OPTIONS, True), INDEXED),
        Script(),
    ),
    "a remembered block after the table was emptied": Edge(
        (("block", LITERAL, True), INDEXED, INDEXED, ("block", EMPTYING, True), INDEXED)
    ),
    "a remembered block without END_STREAM": Edge(
        (("block", 0, True), ("block", 0, False), ("block", 1, True), ("block", 1, False))
    ),
    "a remembered block with another path": Edge(
        tuple(("path", head, name, path, 2, coded) for head in (0, 1, 4) for name in range(5)
              for path in range(9) for coded in (False, True))
    ),
    "a remembered block with another path that is too long": Edge(
        (("block", LONG_LITERAL, True),)
        + tuple(("path", 0, 0, path, 1, True) for path in (0, 9, 10, 1, 9)),
        NO_CREDIT,
        {"max_field_section": 1_024},
    ),
    "a remembered block that expects to be told to continue": Edge(
        tuple(("path", 1, 0, 1, EXPECT, False, ended) for ended in (True, False, True, False))
    ),
    "a remembered block with another path and content": Edge(
        tuple(("path", 1, 0, 1, CONTENT_LENGTH, False, ended) for ended in (False, True, False))
        + (("data", LAST, 5, True),)
    ),
    "OPTIONS of a remembered block": Edge(
        (("block", LITERAL_OPTIONS, True),)
        + tuple(("path", 2, 0, path, 0, False) for path in (3, 0, 3, 4, 3))
    ),
    "a field block that fills its frames": Edge(
        (WHOLE, WHOLE, WHOLE), Script(plans=(Plan(head=9), Plan(head=10), Plan(head=9, sizes=(1,))))
    ),
    "a request that expects to be told to continue": Edge(
        (("request", EXPECTING, True), ("request", EXPECTING, False), ("data", LAST, 5, True))
    ),
    "requests that are answered for the application": Edge(
        tuple(("request", number, ended) for number in UNACCEPTABLE for ended in (True, False))
    ),
    "malformed requests": Edge(
        tuple(("request", number, ended) for number in MALFORMED for ended in (True, False))
    ),
    "malformed requests that are answered, then reset": Edge(
        tuple(("request", number, True) for number in MALFORMED),
        after_each(NOTHING, *[ANSWER, ("reset_ended", 0, 1), ("reset_ended", 0, 1)] * 9),
    ),
    "what comes behind a malformed request": Edge(
        (("request", TE, False), ("data", LAST, 5, False), ("data", LAST, 5, True), WHOLE)
        + (("request", TE, False), ("reset", LAST, 8), ("request", TE, True))
        + (("data", LAST, 5, True), ("request", TE, False), ("trailers", LAST, 0, True)),
        after_each(NOTHING, ANSWER, ("reset_ended", 0, 1), NOTHING, ANSWER),
    ),
    # SETTINGS.
    "as many settings as may be": Edge((("raw", 4, 0, CONNECTION, bytes(6 * 32)), WHOLE)),
    "more settings than may be": Edge((("raw", 4, 0, CONNECTION, bytes(6 * 33)), WHOLE)),
    "the largest window": Edge((WHOLE, ("settings", (INITIAL_WINDOW, LARGEST)), WHOLE)),
    "a window beyond the largest": Edge((WHOLE, ("settings", (INITIAL_WINDOW, 2**31)), WHOLE)),
    "settings that come twice": Edge(
        (OPEN, ("settings", (INITIAL_WINDOW, 5), (INITIAL_WINDOW, 9), (PUSH, 2), (PUSH, 0)))
    ),
    "a setting with a bad value": Edge((WHOLE, ("settings", (FRAME_SIZE, 16_383)), WHOLE)),
    "a setting of ours that a client may not make": Edge((WHOLE, ("settings", (PUSH, 1)), WHOLE)),
    "WINDOW_UPDATE of nothing": Edge((OPEN, ("window", LAST, 0), ("window", LAST, 5), WHOLE)),
    "PING on a stream": Edge((OPEN, ("raw", 6, 0, LAST, bytes(8)), WHOLE)),
    "PRIORITY of a stream on itself": Edge(
        (OPEN, WHOLE, ("raw", 2, 0, LAST, SELF_3), ("raw", 2, 0, BEFORE_LAST, SELF_1))
        + (WHOLE, ("raw", 2, 0, IDLE, SELF_3), ("raw", 2, 0, BEFORE_LAST, SELF_3))
        + (("raw", 2, 0, IDLE, (7).to_bytes(4, "big") + b"\x0f"), WHOLE)
    ),
    "PRIORITY of an even stream on itself": Edge(
        (OPEN, ("raw", 2, 0, EVEN, (2).to_bytes(4, "big") + b"\x0f"), WHOLE)
    ),
    "HEADERS of a stream on itself": Edge(
        (OPEN, ("raw", 1, 0x25, IDLE, SELF_3 + b"\x82\x87\x84"), OPEN, WHOLE),
        after_each(NOTHING, ANSWER),
    ),
    "malformed HEADERS of a stream on itself": Edge(
        (OPEN, ("raw", 1, 0x25, IDLE, SELF_3 + b"\x82"), OPEN, WHOLE),
        after_each(NOTHING, ANSWER),
    ),
    "HEADERS of a stream on itself, one too many": Edge(
        (OPEN, ("raw", 1, 0x25, IDLE, SELF_3 + b"\x82\x87\x84"), WHOLE),
        NO_CREDIT,
        {"max_streams": 1},
    ),
    "PRIORITY of a stream on itself after GOAWAY": Edge(
        (OPEN, ("raw", 2, 0, IDLE, SELF_3), WHOLE), after_each(NOTHING, ("go_away", 0, 0))
    ),
    "PRIORITY cut short": Edge((OPEN, ("priority", LAST, 4), ("priority", IDLE, 4), WHOLE)),
    "PRIORITY too long": Edge((OPEN, ("priority", IDLE, 6), ("priority", LAST, 6), WHOLE)),
}  # fmt: skip


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
def test_an_edge_is_the_same_on_both(edge: Edge) -> None:
    for in_frames in (True, False):
        compare(edge.conversation(in_frames=in_frames), ReferenceEngine, FastEngine)


EXAMPLES: dict[str, Edge] = {}
"""Of each listed difference, by its key."""


def test_every_listed_difference_is_one() -> None:
    assert EXAMPLES.keys() == {difference.key for difference in DIFFERENCES}
    for difference in DIFFERENCES:
        said = EXAMPLES[difference.key].conversation()
        with pytest.raises(Differs) as raised:
            compare(said, ReferenceEngine, FastEngine, differences=())
        assert difference.explains(raised.value)
