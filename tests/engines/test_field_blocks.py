"""HPACK by itself: the reference's short cuts, and the fast engine's code against the library's."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import pytest
from hpack import Decoder, Encoder, HPACKError, OversizedHeaderListError
from hypothesis import given, settings
from hypothesis import strategies as st

from conversations.frames import BLOCKS, LEGAL
from conversations.recordings import load
from h2wsgi.codes import (
    HEADERS,
)
from h2wsgi.config.config import Config
from h2wsgi.errors import ConnectionFailed
from h2wsgi.http2.engines.field_blocks import KNOWN_BLOCKS, BlockDecoder
from h2wsgi.http2.engines.h2_connection import RememberingEncoder
from h2wsgi.http2.engines.hpack import Decoder as FastDecoder
from h2wsgi.http2.engines.hpack import encode
from h2wsgi.http2.fields import FieldList
from h2wsgi.http2.frame_gate import FrameGate
from h2wsgi.http2.frame_meter import FrameMeter
from support.engine_script import HEADS, INFORMATIONAL

MAX_OCTETS = 100_000
ENHANCE_YOUR_CALM, COMPRESSION_ERROR = 11, 9

HUNTING = "ENGINE_EXAMPLES" in os.environ
bounded = settings(
    max_examples=int(os.environ.get("ENGINE_EXAMPLES", "100")),
    derandomize=not HUNTING,
    deadline=None,
    database=None,
)

# With a dynamic table behind them, indexes mean something, and something else later.
indexes = st.lists(st.integers(0x81, 0xC2), min_size=1, max_size=4).map(bytes)
literals = st.integers(0, 99).map(lambda number: b"\x40\x01n\x02%02d" % number)
blocks = st.one_of(indexes, indexes, literals, st.sampled_from(BLOCKS))


def outcome(decode: object, block: bytes) -> object:
    """Return the fields of a block, or the code that it fails with."""
    assert callable(decode)
    try:
        return [(bytes(name), bytes(value)) for name, value in decode(block)]
    except ConnectionFailed as error:
        return int(error.code)
    except OversizedHeaderListError:
        return ENHANCE_YOUR_CALM
    except (HPACKError, IndexError, ValueError):
        return COMPRESSION_ERROR


@bounded
@given(st.lists(blocks, max_size=40))
def test_a_remembered_block_is_what_it_decodes_to(sent: list[bytes]) -> None:
    remembering, plain = BlockDecoder(MAX_OCTETS), Decoder(MAX_OCTETS)
    for block in (*sent, *sent):
        if block.startswith(b"\x20\x20\x20"):
            continue  # more table size updates than we take
        expected = outcome(lambda octets: plain.decode(octets, raw=True), block)
        assert outcome(remembering.decode, block) == expected
        if isinstance(expected, int):
            break


def test_more_blocks_than_are_remembered_stay_right() -> None:
    decoder = BlockDecoder(MAX_OCTETS)
    for _ in range(2):
        for index in range(1, 2 * KNOWN_BLOCKS):
            octet = bytes((0x80 | index,))
            assert decoder.decode(octet) == outcome(lambda b: Decoder().decode(b, raw=True), octet)


heads = st.sampled_from(
    [head.fields for head in (*HEADS[:7], *INFORMATIONAL)] + list(map(tuple, LEGAL))
)
table_sizes = st.sampled_from((None, None, None, 0, 64, 200, 4_096))


@bounded
@given(st.lists(st.tuples(table_sizes, heads), max_size=30))
def test_a_remembered_head_is_what_it_encodes_to(
    sent: list[tuple[int | None, tuple[tuple[bytes, bytes], ...]]],
) -> None:
    remembering, plain, client = RememberingEncoder(), Encoder(), Decoder(MAX_OCTETS)
    for size, head in (*sent, *sent):
        if size not in (None, plain.header_table_size):
            remembering.header_table_size = plain.header_table_size = size
        block = remembering.encode(head)
        assert block == plain.encode(head)
        assert [(bytes(n), bytes(v)) for n, v in client.decode(block, raw=True)] == list(head)


def test_a_table_that_becomes_small_twice_is_still_signalled() -> None:
    encoder = RememberingEncoder()
    encoder.encode(HEADS[2].fields)
    encoder.header_table_size = 0
    encoder.header_table_size = 0
    assert encoder.encode(HEADS[0].fields)[:1] == b"\x20"


def test_a_table_that_changes_often_is_signalled_twice_at_most() -> None:
    encoder = RememberingEncoder()
    for size in (31, 0, 64):
        encoder.header_table_size = size
    assert encoder.encode(HEADS[0].fields) == b"\x20\x3f\x21\x88"


# ------------------------------------------------------------------------ the fast engine's


def blocks_of(octets: bytes) -> list[bytes]:
    """Return the field blocks of a recording."""
    gate = FrameGate(1_000_000, 8, FrameMeter(Config()))
    gate.feed(octets)
    frames = iter(gate.next_frame, None)
    return [payload for type_, _, _, payload in frames if type_ == HEADERS]


RECORDED = tuple(blocks_of(octets)[:20] for octets in load().values())
strings = st.one_of(
    st.binary(max_size=12).map(lambda octets: bytes((len(octets),)) + octets),
    st.binary(max_size=12).map(lambda octets: bytes((0x80 | len(octets),)) + octets),
    st.sampled_from(
        (b"\x81\xff", b"\x81\x1f", b"\x82\x1f\xff", b"\x84\xff\xff\xff\xff", b"\x7f\x01")
    ),
)
integers = st.sampled_from(
    (b"\xff\x00", b"\xff\x80\x00", b"\x3f\xe1\x1f", b"\x3f\xe2\x1f", b"\x0f\x2f")
)
long_integers = st.builds(
    lambda zeros, last: b"\x40\x7f" + b"\x80" * zeros + last + b"n" * 127 + b"\x00",
    st.integers(0, 7),
    st.sampled_from((b"\x00", b"\x01", b"\x7f")),
)
representations = st.one_of(
    indexes,
    indexes.map(lambda octets: octets * 50),
    st.tuples(st.sampled_from((b"\x40", b"\x40", b"\x00", b"\x10")), strings, strings).map(
        b"".join
    ),
    st.tuples(st.sampled_from((b"\x41", b"\x7e", b"\x7f\x00", b"\x04", b"\x1f\x0f")), strings).map(
        b"".join
    ),
    # Entries of 64, 65 and 333 octets.
    st.sampled_from((31, 32)).map(lambda size: b"\x40\x01n" + bytes((size,)) + b"v" * size),
    st.just(b"\x40\x01n\x7f\xad\x01" + b"v" * 300),
    integers,
    long_integers,
    st.binary(max_size=3),
)
updates = st.sampled_from((b"", b"", b"", b"\x20", b"\x3f\x21", b"\x3f\x45", b"\x20\x3f\xe1\x1f"))
written = st.tuples(updates, st.lists(representations, max_size=6).map(b"".join)).map(b"".join)


def flipped(block: bytes, place: int) -> bytes:
    at = place // 8 % (len(block) or 1)
    return bytes(octet ^ (1 << place % 8 if n == at else 0) for n, octet in enumerate(block))


AT_THE_EDGE = {
    "a table size update behind a field": (b"\x82\x20",),
    "an entry as large as the table": (b"\x3f\x21\x40\x01n\x1f" + b"v" * 31, b"\xbe"),
    "an entry larger than the table": (b"\x3f\x21\x40\x01n\x20" + b"v" * 32, b"\xbe"),
    "two entries that fill the table": (
        b"\x3f\x61" + b"\x40\x01n\x1f" * 2 + b"v" * 31 + b"\x40\x01n\x1f" + b"w" * 31,
        b"\xbe\xbf",
    ),
    "an entry many times": (b"\x40\x01n\x7f\xad\x01" + b"v" * 300, b"\xbe" * 15),
    "an entry too many times": (b"\x40\x01n\x7f\xad\x01" + b"v" * 300, b"\xbe" * 16),
    "a number of as many octets as may be": (
        b"\x40\x7f\x80\x80\x80\x80\x00" + b"n" * 127 + b"\x00",
    ),
    "a number of more octets": (b"\x40\x7f\x80\x80\x80\x80\x80\x00" + b"n" * 127 + b"\x00",),
    "padding of seven bits": (b"\x00\x01n\x82\xff\xcf",),
    "padding of eight bits": (b"\x00\x01n\x81\xff",),
    "padding of eleven bits": (b"\x00\x01n\x82\x1f\xff",),
    "padding of zeros": (b"\x00\x01n\x81\x18",),
    "the end-of-string symbol": (b"\x00\x01n\x84\xff\xff\xff\xff",),
    **{f"block {number}": (b"\x40\x01n\x01v", block) for number, block in enumerate(BLOCKS)},
}
more = st.lists(written | st.sampled_from(BLOCKS) | literals, max_size=12)


@st.composite
def sequences(draw: st.DrawFn) -> list[bytes]:
    """Return blocks as one connection may bring them, the last perhaps damaged."""
    recorded: list[bytes] = draw(st.sampled_from(RECORDED))
    found = recorded[: draw(st.integers(0, 20))]
    made_up: list[bytes] = draw(more)
    found += made_up
    damaged: bool = draw(st.booleans())
    if found and damaged:
        at = draw(st.integers(0, len(found) - 1))
        found.insert(at, flipped(found[at], draw(st.integers(0, 2_000))))
    return found


@pytest.mark.parametrize("sent", AT_THE_EDGE.values(), ids=AT_THE_EDGE)
def test_both_decoders_make_the_same_of_a_block_at_the_edge(sent: tuple[bytes, ...]) -> None:
    fast, reference = FastDecoder(5_000), BlockDecoder(5_000)
    for block in sent:
        assert outcome(fast.decode, block) == outcome(reference.decode, block)


def told(decode: Callable[[bytes], FieldList], block: bytes) -> str:
    """Return what is wrong with a block, as its client is told."""
    try:
        decode(block)
    except ConnectionFailed as error:
        return str(error)
    return ""


SHOWN_OBJECT = re.compile(r"<|0x|object")


@bounded
@given(sequences(), st.sampled_from((100, 5_000)))
def test_what_a_client_is_told_of_a_broken_block_is_a_phrase_of_ours(
    sent: list[bytes], octets: int
) -> None:
    """The library's own show the memory a block lies in, with its address."""
    for decoder in (FastDecoder(octets), BlockDecoder(octets)):
        said = next(filter(None, (told(decoder.decode, block) for block in sent)), "")
        assert not SHOWN_OBJECT.search(said)


@pytest.mark.parametrize("block", [b"\xff", b"\x7f" + b"\xff" * 9, b"\x3f\xff"], ids=bytes.hex)
def test_no_address_of_memory_is_told_to_a_client(block: bytes) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        BlockDecoder(5_000).decode(block)
    assert str(caught.value) == "a field block is broken"


@bounded
@given(sequences(), st.sampled_from((100, 200, 5_000)))
def test_both_decoders_make_the_same_of_any_blocks(sent: list[bytes], octets: int) -> None:
    fast, reference = FastDecoder(octets), BlockDecoder(octets)
    for block in sent:
        expected = outcome(reference.decode, block)
        assert outcome(fast.decode, block) == expected
        if isinstance(expected, int):
            break


fields = st.lists(
    st.tuples(
        st.sampled_from((b":status", b"content-type", b"set-cookie", b"x-own", b"vary", b"")),
        st.sampled_from((b"200", b"text/plain", b"")) | st.binary(max_size=200),
    ),
    max_size=12,
)


@bounded
@given(st.lists(fields, max_size=5))
def test_what_is_encoded_is_decoded_by_any_decoder_without_a_table(sent: list[FieldList]) -> None:
    client = Decoder(MAX_OCTETS)
    client.header_table_size = client.max_allowed_table_size = 0
    for section in sent:
        decoded = client.decode(encode(section), raw=True)
        assert [(bytes(name), bytes(value)) for name, value in decoded] == section
        assert not client.header_table.dynamic_entries
