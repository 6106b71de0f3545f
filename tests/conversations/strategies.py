"""Hypothesis strategies for conversations. Mostly legal steps: a connection error ends it all."""

from __future__ import annotations

from hypothesis import strategies as st

from conversations.frames import (
    BLOCKS,
    LEGAL,
    MUTATIONS,
    PATHS,
    SECTIONS,
    TRAILERS,
    UNENDED,
    Client,
    Step,
    cut,
    mutated,
    split,
)
from support.engine_script import Command, Conversation, Plan, Script
from support.engines import CREDIT_BOTH, CREDIT_CONNECTION, CREDIT_SOME, KEEP, REFUSE

LIMITS: tuple[dict[str, int], ...] = (
    {},
    {"max_streams": 4, "max_field_section": 1_024, "max_fields": 8},
    {"max_streams": 2, "stream_window": 16_384, "connection_window": 65_535},
    {"stream_window": 2**31 - 1, "connection_window": 2**31 - 1},
    {"max_streams": 1, "stream_window": 65_535, "max_field_section": 2_048, "max_fields": 20},
)
limits = st.sampled_from((LIMITS[0], *LIMITS))
flags = st.booleans()
numbers = st.integers(0, 2**31 - 1)

# Streams as `Client` picks them: mostly the last ones that were opened.
recent = st.sampled_from((0, 0, 0, 1, 1, 2, 3, 4, 7))
unended = st.sampled_from([UNENDED + number for number in (0, 0, 0, 1, 1, 2, 3)])
odd_ones = st.sampled_from((8, 9, 10, 11))
forms = st.sampled_from((0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 48, 63))
legal = st.integers(0, len(LEGAL) - 1)
sizes = st.sampled_from((0, 1, 4, 5, 6, 10, 100, 9_000, 16_384))
totals = st.sampled_from((16_385, 40_000, 65_534, 65_535, 65_536, 262_144, 262_145))
codes = st.sampled_from((0, 1, 2, 3, 5, 7, 8, 13, 14, 0xFFFF_FFFF))
windows = st.sampled_from((0, 1, 2, 100, 16_384, 65_535, 65_536, 2**30, 2**31 - 1))
increments = st.sampled_from((1, 1, 100, 65_535, 2**30, 2**31 - 65_536, 2**31 - 65_535, 2**31 - 1))
table_sizes = st.sampled_from((0, 31, 64, 100, 4_095, 4_096, 4_097, 65_536))

entries = st.one_of(
    st.tuples(st.just(4), windows),
    st.tuples(st.just(4), windows),
    st.tuples(st.just(1), table_sizes),
    st.tuples(st.just(5), st.sampled_from((16_384, 16_385, 65_536, 2**24 - 1))),
    st.tuples(st.sampled_from((3, 6, 9, 0xABC, 0)), numbers),
    st.tuples(st.sampled_from((2, 8)), st.integers(0, 1)),
)
bad_entries = st.one_of(
    st.tuples(st.just(2), st.sampled_from((2, 2**32 - 1))),
    st.tuples(st.just(8), st.sampled_from((2, 2**32 - 1))),
    st.tuples(st.just(4), st.sampled_from((2**31, 2**32 - 1))),
    st.tuples(st.just(5), st.sampled_from((0, 16_383, 2**24))),
)

seldom = st.sampled_from((False, False, True))
requests = st.tuples(st.just("request"), legal, seldom, forms)
content = st.tuples(st.just("data"), unended, sizes, seldom)
paths = st.tuples(
    st.just("path"),
    st.sampled_from((0, 0, 0, 0, 1, 2, 3, 4)),
    st.sampled_from((0, 0, 0, 1, 2, 3, 4)),
    st.integers(0, len(PATHS) - 1),
    st.sampled_from((0, 0, 0, 0, 1, 2, 2, 3, 4, 5, 6, 7)),
    flags,
    flags,
)
window_updates = st.tuples(st.just("window"), recent | st.just(8), increments)
settings_frames = st.lists(entries, max_size=3).map(lambda found: ("settings", *found))

ordinary: st.SearchStrategy[Step] = st.one_of(
    requests,
    requests,
    content,
    content,
    st.tuples(st.just("data"), unended, sizes, seldom, st.sampled_from((0, 1, 200))),
    st.tuples(st.just("request"), legal, seldom, forms, st.integers(0, 2)),
    st.tuples(st.just("block"), st.sampled_from((0, 0, 1, 2, 3, 4, 6, 7, 8)), flags, forms),
    st.tuples(st.just("trailers"), unended, st.integers(0, 1), st.just(True), forms),
    paths,
    st.tuples(st.just("reset"), recent, codes),
    settings_frames,
    st.just(("settings_ack",)),
    st.tuples(st.just("ping"), flags, numbers),
    window_updates,
    window_updates,
    st.tuples(st.just("priority"), recent | st.just(10), st.just(5)),
    st.tuples(st.just("table"), st.sampled_from((0, 40, 200, 4_096))),
)
# What ends a stream, or is to be ignored.
unusual: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("request"), st.integers(0, len(SECTIONS) - 1), flags, forms),
    st.tuples(st.just("request"), st.integers(0, len(SECTIONS) - 1), flags, forms),
    st.tuples(st.just("data"), recent, sizes, flags),
    st.tuples(st.just("flood"), unended | recent, totals, flags),
    st.tuples(st.just("trailers"), unended, st.integers(0, len(TRAILERS) - 1), flags, forms),
    st.tuples(st.just("window"), recent, increments | st.just(0)),
    st.tuples(st.just("goaway"), st.sampled_from((0, 2**31 - 1)), codes),
    st.tuples(st.just("priority"), recent, st.sampled_from((0, 4, 5, 6))),
    st.tuples(st.just("raw"), st.integers(10, 12), st.integers(0, 255), recent, st.binary()),
)
# What may well end the connection.
fatal: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("block"), st.integers(0, len(BLOCKS) - 1), flags, forms),
    st.tuples(st.just("trailers"), recent | odd_ones, st.integers(0, 1), flags, forms),
    st.tuples(st.just("flood"), unended | recent, totals, flags),
    st.tuples(st.just("data"), recent | odd_ones, sizes, flags, st.none() | st.just(255)),
    st.tuples(
        st.just("window"), recent | odd_ones, increments | st.sampled_from((0, 2**31, 2**31 + 100))
    ),
    st.tuples(st.just("reset"), recent | odd_ones, codes),
    st.tuples(st.just("priority"), recent | odd_ones, st.sampled_from((0, 4, 5, 6))),
    st.lists(entries | bad_entries, max_size=3).map(lambda found: ("settings", *found)),
    st.tuples(
        st.just("raw"),
        st.integers(0, 11),
        st.sampled_from((0, 1, 4, 5, 8, 9, 0x20, 0x2D, 0xFF)),
        recent | odd_ones,
        st.binary(max_size=12) | st.sampled_from((bytes(6 * 32), bytes(6 * 33), b"\x00\x04" * 3)),
    ),
)
skip = st.just(("skip",))
"""What a step shrinks to, so that a long list can become a short conversation."""


@st.composite
def steps(draw: st.DrawFn) -> list[Step]:
    """Return a long conversation, and perhaps an end of it."""
    usual = draw(st.lists(st.one_of(skip, *[ordinary] * 4, unusual), min_size=8, max_size=40))
    last = draw(st.lists(st.one_of(skip, fatal, fatal, unusual), max_size=3))
    after = draw(st.lists(ordinary, max_size=3))
    return [*usual, *last, *after]


mutations = st.lists(
    st.tuples(st.sampled_from(MUTATIONS), st.integers(0, 10_000), st.integers(0, 100_000)),
    max_size=4,
)
cuts = st.lists(st.integers(0, 20_000), max_size=6)

plans = st.builds(
    Plan,
    informational=st.sampled_from(((), (), (0,), (1, 0))),
    head=st.sampled_from((*range(7), *range(11))),
    sizes=st.lists(st.sampled_from((0, 1, 7, 100, 16_384, 16_385, 70_000)), max_size=3).map(tuple),
    abort=st.sampled_from((False, False, False, True)),
    at_once=flags,
)
COMMANDS = (
    *("answer", "answer", "answer", "answer_all", "answer_all", "nothing", "nothing", "take"),
    *("take", "credit", "credit_connection", "reset", "ping", "stray", "drain", "go_away"),
    "reset_ended",
)
small = st.integers(0, 20)
commands: st.SearchStrategy[Command] = st.tuples(
    st.sampled_from(COMMANDS),
    small,
    small,
)
scripts = st.builds(
    Script,
    reactions=st.lists(
        st.sampled_from((KEEP, CREDIT_BOTH, CREDIT_BOTH, CREDIT_CONNECTION, CREDIT_SOME, REFUSE)),
        min_size=1,
        max_size=4,
    ).map(tuple),
    plans=st.lists(plans, min_size=1, max_size=3).map(tuple),
    commands=st.lists(commands, min_size=1, max_size=8).map(tuple),
)


@st.composite
def made_up(draw: st.DrawFn) -> Conversation:
    """Frames by steps."""
    frames = Client().write(draw(steps()))
    return Conversation(cut(b"".join(frames), draw(cuts)), draw(scripts), draw(limits))


@st.composite
def damaged(draw: st.DrawFn) -> Conversation:
    """Frames by steps, then damaged."""
    frames = mutated(Client().write(draw(steps())), draw(mutations))
    return Conversation(cut(b"".join(frames), draw(cuts)), draw(scripts), draw(limits))


@st.composite
def damaged_recordings(draw: st.DrawFn, recordings: tuple[bytes, ...]) -> Conversation:
    """Part of a recording, damaged."""
    frames = split(draw(st.sampled_from(recordings)))
    start = 1 + draw(st.integers(0, 300)) % len(frames)
    kept = [frames[0], *frames[1:6], *frames[max(6, start) : max(6, start) + 40]]
    frames = mutated(kept, draw(mutations))
    return Conversation(cut(b"".join(frames), draw(cuts)), draw(scripts), draw(limits))
