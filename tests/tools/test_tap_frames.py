"""The tap: octets in, frames told in full, on its own and whatever the octets are.

The oracles are hyperframe and hpack, which the tap does not use to read frames and fields.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import pytest
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from hyperframe.frame import Frame as LibraryFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from conversations.frames import (
    ACK,
    BLOCKS,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    cut,
    frame,
    setting,
)
from conversations.recordings import load
from conversations.strategies import damaged, damaged_recordings
from h2wsgi.errors import ConnectionFailed
from h2wsgi.http2.engines.hpack import Decoder as EngineDecoder
from h2wsgi.tools.tap.field_blocks import LOST, FieldBlockReader, Representation
from h2wsgi.tools.tap.frames import NOT_HTTP2, Direction, Frame, Priority, Section, Windows
from h2wsgi.tools.tap.windows import MAX_STREAMS
from support.tap import Wire

RECORDINGS = load()
WHOLE = END_HEADERS | END_STREAM
REQUEST = b"\x82\x87\x84\x41\x01a"
"""GET https /, authority "a", which enters the dynamic table."""
bounded = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def pairs(found: Frame) -> list[tuple[str, str]]:
    assert found.fields is not None
    return [(field.name, field.value) for field in found.fields]


def library_frames(octets: bytes) -> list[LibraryFrame]:
    """Return the frames of a recording as hyperframe reads them."""
    found, position = [], len(PREFACE)
    while position < len(octets):
        header, length = LibraryFrame.parse_frame_header(memoryview(octets[position:][:9]))
        header.parse_body(memoryview(octets[position + 9 : position + 9 + length]))
        found.append(header)
        position += 9 + length
    return found


# ------------------------------------------------------------------- against the libraries


@pytest.mark.parametrize("name", RECORDINGS)
def test_what_real_clients_sent_reads_as_hyperframe_and_hpack_read_it(name: str) -> None:
    wire, decoder, block = Wire(preface=b""), Decoder(), b""
    frames = wire.received(RECORDINGS[name])
    expected = library_frames(RECORDINGS[name])
    assert len(frames) == len(expected)
    for ours, theirs in zip(frames, expected, strict=True):
        assert (ours.type, ours.stream_id) == (theirs.type, theirs.stream_id)
        assert {n for n in ours.flag_names if not n.startswith("0x")} == set(theirs.flags)
        for attribute, theirs_too in (
            ("error_code", "error_code"),
            ("increment", "window_increment"),
            ("last_stream_id", "last_stream_id"),
            ("opaque", "opaque_data"),
        ):
            if hasattr(theirs, theirs_too):
                assert getattr(ours, attribute) == getattr(theirs, theirs_too)
        if ours.name == "SETTINGS":
            assert dict(ours.settings or ()) == dict(theirs.settings)
        if ours.name in ("HEADERS", "CONTINUATION"):
            block += theirs.data
            if "END_HEADERS" in theirs.flags:
                fields = decoder.decode(block, raw=True)
                assert [(n.encode(), v.encode()) for n, v in pairs(ours)] == fields
                assert ours.block is not None
                assert ours.block.table_size == decoder.header_table._current_size
                block = b""
    contents = [f.data for f in expected if f.type == DATA]
    assert [c for f, c in zip(frames, wire.heard.contents, strict=True) if f.type == DATA] == (
        contents
    )


@pytest.mark.parametrize("name", RECORDINGS)
def test_nothing_is_found_wrong_with_what_real_clients_sent(name: str) -> None:
    wire = Wire(preface=b"")
    wire.sent(frame(SETTINGS, 0, 0, setting(4, 262_144)))
    wire.sent(frame(WINDOW_UPDATE, 0, 0, struct.pack("!L", 2**30)))
    # A recording has no answers in it: what came after credit or PING is over the window.
    problems = {p for f in wire.received(RECORDINGS[name]) for p in f.problems}
    assert {p for p in problems if "window" not in p and "acknowledges" not in p} == set()


@bounded
@given(
    st.sampled_from(sorted(RECORDINGS)),
    st.lists(st.integers(0, 2**31), max_size=8),
)
def test_it_does_not_matter_how_the_octets_arrive(name: str, places: list[int]) -> None:
    octets = RECORDINGS[name][:20_000]
    whole, pieces = Wire(preface=b""), Wire(preface=b"")

    def timeless(frames: list[Frame]) -> list[Frame]:
        return [dataclasses.replace(frame, time=0.0, at=0.0) for frame in frames]

    assert timeless(whole.received(octets)) == timeless(pieces.received(*cut(octets, places)))
    assert whole.heard.contents == pieces.heard.contents


names = st.text("abc-x", min_size=1, max_size=4).map(str.encode)
values = st.binary(max_size=12) | st.just(b"v" * 1_500)
literals = st.tuples(names, values)
field_lists = st.lists(
    st.one_of(literals, literals.map(lambda f: NeverIndexedHeaderTuple(*f)), st.sampled_from(GET)),
    max_size=8,
)


@bounded
@given(st.lists(st.tuples(field_lists, st.booleans(), st.sampled_from((None, 0, 100, 4_096)))))
def test_a_field_block_says_what_was_encoded_and_every_octet_of_it(sections: Any) -> None:
    encoder, reader = Encoder(), FieldBlockReader(1 << 20)
    for fields, huffman, size in sections:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode(fields, huffman=huffman)
        read = reader.read(block)
        assert not read.problem
        assert [(f.name, f.value) for f in read.fields] == [
            (n.decode("latin-1"), v.decode("latin-1")) for n, v in fields
        ]
        assert block.endswith(b"".join(f.encoded for f in read.fields))
        assert read.octets == len(block)
        table = encoder.header_table
        assert (read.table_size, read.table_entries) == (
            table._current_size,
            len(table.dynamic_entries),
        )
        assert read.table_limit == table.maxsize
        literal = [f for f in read.fields if not f.indexed]
        assert all(f.value_huffman is huffman for f in literal)
        assert all((f.name_huffman is None) == bool(f.index) for f in literal)
        for f, given_ in zip(read.fields, fields, strict=True):
            # The library takes a field from the table that is there, whatever it was told.
            never = isinstance(given_, NeverIndexedHeaderTuple)
            assert f.indexed or never is (f.representation is Representation.NEVER)


@bounded
@given(st.lists(st.sampled_from(BLOCKS) | st.binary(max_size=20), max_size=12))
def test_any_octets_as_field_blocks_read_as_the_engine_reads_them(blocks: list[bytes]) -> None:
    engine, reader = EngineDecoder(1 << 20), FieldBlockReader(1 << 20)
    for block in blocks:
        read = reader.read(block)
        try:
            fields = engine.decode(block)
        except ConnectionFailed:
            assert read.problem
            return
        assert not read.problem
        assert [(f.name.encode("latin-1"), f.value.encode("latin-1")) for f in read.fields] == (
            fields
        )
        assert read.table_size == engine._size


# --------------------------------------------------------------------- how fields were encoded

ENCODINGS = [
    # RFC 7541, C.2.1 to C.2.4 and C.4.1
    (
        "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
        ("custom-key", "custom-header", Representation.INCREMENTAL, 0, "", False, False),
    ),
    (
        "040c2f73616d706c652f70617468",
        (":path", "/sample/path", Representation.WITHOUT, 4, "static", None, False),
    ),
    (
        "100870617373776f726406736563726574",
        ("password", "secret", Representation.NEVER, 0, "", False, False),
    ),
    ("82", (":method", "GET", Representation.INDEXED, 2, "static", None, None)),
    (
        "418cf1e3c2e5f23a6ba0ab90f4ff",
        (":authority", "www.example.com", Representation.INCREMENTAL, 1, "static", None, True),
    ),
    (
        "408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ("custom-key", "custom-value", Representation.INCREMENTAL, 0, "", True, True),
    ),
]


@pytest.mark.parametrize(("block", "expected"), ENCODINGS, ids=[block for block, _ in ENCODINGS])
def test_each_field_tells_how_it_was_encoded(block: str, expected: tuple[Any, ...]) -> None:
    read = FieldBlockReader(1 << 20).read(bytes.fromhex(block))
    (field,) = read.fields
    assert expected == (
        field.name,
        field.value,
        field.representation,
        field.index,
        field.table,
        field.name_huffman,
        field.value_huffman,
    )
    assert field.encoded == bytes.fromhex(block)


def test_an_index_above_61_is_in_the_dynamic_table() -> None:
    reader = FieldBlockReader(1 << 20)
    reader.read(REQUEST)
    (field,) = reader.read(b"\xbe").fields
    assert (field.name, field.value, field.table, field.index) == (
        ":authority",
        "a",
        "dynamic",
        62,
    )


def test_updates_of_the_tables_size_are_told() -> None:
    reader = FieldBlockReader(1 << 20)
    assert reader.read(REQUEST).table_size == 32 + len(":authority") + 1
    read = reader.read(b"\x20\x3f\xe1\x1f\x82")
    assert (read.table_updates, read.table_size, read.table_limit) == ((0, 4096), 0, 4096)


def test_an_update_beyond_what_settings_allow_is_wrong() -> None:
    reader = FieldBlockReader(1 << 20)
    assert "over 4096" in reader.read(b"\x3f\xe2\x1f").problem
    reader = FieldBlockReader(1 << 20)
    reader.max_table_size = 8_192
    assert reader.read(b"\x3f\xe2\x1f").table_limit == 4_097


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        (b"\x80", "a field has index 0"),
        (b"\xff\x80\x80\x80\x80\x80\x01", "an integer is too long"),
        (b"\x04\x81\xfe", "a Huffman string ends in mid-code"),
        (b"\x04\x84\xff\xff\xff\xff", "EOS in a Huffman string"),
        (b"\x04\x05/a", "a string is longer than its field block"),
        (b"\x82\x41", "the field block is cut short"),
        (b"\x82\x20", "a table size update after a field"),
        (b"\x20\x20\x20", "too many table size updates"),
    ],
)
def test_what_is_wrong_with_a_block_is_said(block: bytes, problem: str) -> None:
    assert FieldBlockReader(1 << 20).read(block).problem == problem


def test_after_a_broken_block_fields_are_unknown_and_frames_go_on() -> None:
    wire = Wire()
    broken, after, ping = wire.received(
        frame(HEADERS, WHOLE, 1, b"\x82\xff\xff\x00"),
        frame(HEADERS, WHOLE, 3, b"\x82\x87\x84"),
        frame(PING, 0, 0, b"12345678"),
    )
    assert pairs(broken) == [(":method", "GET")]
    assert broken.problems == ("index 254 is beyond the table",)
    assert pairs(after) == []
    assert after.problems == (LOST,)
    assert ping.opaque == b"12345678"


def test_a_block_that_decodes_to_too_much_is_read_no_further() -> None:
    wire = Wire(max_field_section=1_024)
    (found,) = wire.received(
        frame(HEADERS, WHOLE, 1, b"\x40\x01a\x7f\xa1\x05" + b"v" * 800 + b"\xbe" * 10)
    )
    assert found.problems == ("the fields are over 4096 octets",)
    assert len(found.fields or ()) < 5


# ------------------------------------------------------------------------ frames by their type


def test_priority_padding_and_fields_of_headers() -> None:
    wire = Wire()
    payload = b"\x02" + struct.pack("!LB", 1 << 31 | 3, 219) + b"\x82\x87\x84" + bytes(2)
    (found,) = wire.received(frame(HEADERS, WHOLE | PADDED | PRIORITIZED, 1, payload))
    assert found.priority == Priority(3, 220, True)
    assert found.padding == 2
    assert pairs(found) == [(":method", "GET"), (":scheme", "https"), (":path", "/")]
    assert found.flag_names == ("END_STREAM", "END_HEADERS", "PADDED", "PRIORITY")
    assert found.ends_stream
    assert found.section is Section.REQUEST


def test_a_block_in_pieces_is_told_with_its_last_frame() -> None:
    wire = Wire()
    head, middle, last = wire.received(
        frame(HEADERS, END_STREAM, 1, b"\x82"),
        frame(CONTINUATION, 0, 1, b"\x87"),
        frame(CONTINUATION, END_HEADERS, 1, b"\x84"),
    )
    assert (head.fields, middle.fields) == (None, None)
    assert (head.ends_stream, last.ends_stream) == (False, True)
    assert len(pairs(last)) == 3
    assert last.problems == ()


def test_sections_are_told_apart() -> None:
    wire = Wire()
    fields = {
        "request": frame(HEADERS, END_HEADERS, 1, b"\x83\x87\x84"),
        "trailers": frame(HEADERS, WHOLE, 1, b"\x00\x01a\x01b"),
    }
    assert [f.section for f in wire.received(*fields.values())] == [*fields]
    answer = wire.sent(
        frame(HEADERS, END_HEADERS, 1, b"\x08\x03103"),
        frame(HEADERS, END_HEADERS, 1, b"\x88"),
        frame(HEADERS, WHOLE, 1, b"\x00\x01a\x01b"),
    )
    assert [f.section for f in answer] == ["informational", "response", "trailers"]


def test_the_other_frames_carry_what_they_should() -> None:
    wire = Wire()
    wire.received(frame(HEADERS, END_HEADERS, 1, REQUEST))
    settings_, reset, ping, goaway, window, priority, unknown, update = wire.received(
        frame(SETTINGS, 0, 0, setting(4, 70_000) + setting(0xABC, 1)),
        frame(RST_STREAM, 0, 1, struct.pack("!L", 8)),
        frame(PING, ACK, 0, b"pingpong"),
        frame(GOAWAY, 0, 0, struct.pack("!LL", 7, 0xABCD) + b"bye"),
        frame(WINDOW_UPDATE, 0, 0, struct.pack("!L", 5)),
        frame(PRIORITY, 0, 3, struct.pack("!LB", 1, 15)),
        frame(0x42, 0x81, 0, b"?"),
        frame(0x10, 0, 0, b"\0\0\0\1u=1"),
    )
    assert settings_.settings is not None
    assert [(s.name, s.value) for s in settings_.settings] == [
        ("INITIAL_WINDOW_SIZE", 70_000),
        ("0xabc", 1),
    ]
    assert (reset.error_code, reset.error_name) == (8, "CANCEL")
    assert (ping.opaque, ping.flag_names) == (b"pingpong", ("ACK",))
    assert (goaway.last_stream_id, goaway.error_name, goaway.debug) == (7, "0xabcd", b"bye")
    assert window.increment == 5
    assert priority.priority == Priority(1, 16, False)
    assert (unknown.name, unknown.flag_names, unknown.length) == ("0x42", ("0x81",), 1)
    assert update.name == "PRIORITY_UPDATE"
    assert not any(f.problems for f in wire.heard.frames)


def test_frames_are_numbered_and_timed_in_order() -> None:
    wire = Wire()
    wire.received(frame(SETTINGS, 0, 0))
    wire.sent(frame(SETTINGS, 0, 0), frame(SETTINGS, ACK, 0))
    (info,) = wire.heard.connections
    frames = wire.heard.frames
    assert [f.number for f in frames] == [1, 2, 3]
    assert [f.direction for f in frames] == [Direction.RECEIVED, Direction.SENT, Direction.SENT]
    times = [info.opened_at, *(f.time for f in frames)]
    assert times == sorted(times)
    assert all(abs((f.at - info.at) - (f.time - info.opened_at)) < 0.001 for f in frames)


WRONG = [
    (frame(DATA, 0, 0, b"x"), "belongs on a stream, not on stream 0"),
    (frame(SETTINGS, 0, 1), "belongs on stream 0"),
    (frame(SETTINGS, 0, 0, b"12345"), "the payload is not a multiple of 6 octets"),
    (frame(SETTINGS, ACK, 0, setting(1, 1)), "an acknowledgement with a payload"),
    (frame(SETTINGS, ACK, 0), "acknowledges no SETTINGS"),
    (frame(PING, 0, 0, b"1234567"), "7 octets of payload, not 8"),
    (frame(RST_STREAM, 0, 1, b"123"), "3 octets of payload, not 4"),
    (frame(WINDOW_UPDATE, 0, 0, bytes(4)), "an increment of 0"),
    (frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), "the window is over 2147483647 octets"),
    (frame(GOAWAY, 0, 0, b"1234567"), "shorter than 8 octets"),
    (frame(PRIORITY, 0, 1, b"1234"), "4 octets of payload, not 5"),
    (frame(HEADERS, WHOLE, 2, b"\x82"), "a client's streams have odd numbers"),
    (frame(HEADERS, WHOLE | PRIORITIZED, 1, b"1234"), "too short for its priority"),
    (frame(HEADERS, WHOLE | PADDED, 1, b""), "padded, without the octet that says by how much"),
    (frame(DATA, PADDED, 1, b"\x03ab"), "the padding is as long as the frame, or longer"),
    (frame(DATA, 0, 7, b"ab"), "the stream is not open"),
    (frame(CONTINUATION, END_HEADERS, 1, b"\x82"), "continues no field block"),
    (frame(PUSH_PROMISE, END_HEADERS, 1, b"1"), "too short for its promised stream"),
    (
        frame(HEADERS, 0, 1, b"\x82") + frame(PING, 0, 0, bytes(8)),
        "interrupts a field block",
    ),
    (
        frame(HEADERS, END_HEADERS, 1, b"\x82") + frame(DATA, 0, 1, bytes(16_384)) * 4,
        "1 octets over the connection's window",
    ),
    (
        struct.pack("!L", 16_385)[1:] + struct.pack("!BBL", DATA, 0, 1) + bytes(16_385),
        "16385 octets, over the largest frame size of 16384",
    ),
]


@pytest.mark.parametrize(("octets", "problem"), WRONG, ids=[problem for _, problem in WRONG])
def test_what_is_wrong_with_a_frame_is_said_and_the_next_one_read(
    octets: bytes, problem: str
) -> None:
    *_, found, ping = Wire().received(octets, frame(PING, 0, 0, b"thenext!"))
    assert problem in found.problems
    assert ping.opaque == b"thenext!"


def test_trailers_on_a_closed_stream_are_read_for_the_table_they_change() -> None:
    wire = Wire()
    wire.received(frame(HEADERS, END_HEADERS, 1, b"\x82\x87\x84"))
    wire.sent(frame(RST_STREAM, 0, 1, bytes(4)))
    late, request = wire.received(
        frame(HEADERS, WHOLE, 1, b"\x40\x01a\x01b"), frame(HEADERS, WHOLE, 3, b"\xbe")
    )
    assert late.problems == ("the stream is closed",)
    assert pairs(request) == [("a", "b")]


# ------------------------------------------------------------------------------- the windows


def test_windows_follow_data_padding_and_credit() -> None:
    wire = Wire()
    wire.received(frame(HEADERS, END_HEADERS, 1, REQUEST))
    padded, plain = wire.received(
        frame(DATA, PADDED, 1, b"\x04" + b"12345" + bytes(4)), frame(DATA, 0, 1, b"1234567890")
    )
    assert (padded.data_length, padded.padding, padded.length) == (5, 4, 10)
    assert padded.windows == Windows(65_525, 65_525, 65_535, 65_535)
    assert plain.windows == Windows(65_515, 65_515, 65_535, 65_535)
    credit, stream_credit = wire.sent(
        frame(WINDOW_UPDATE, 0, 0, struct.pack("!L", 1_000)),
        frame(WINDOW_UPDATE, 0, 1, struct.pack("!L", 20)),
    )
    assert credit.windows == Windows(66_515, None, 65_535, None)
    assert stream_credit.windows == Windows(66_515, 65_535, 65_535, 65_535)
    (answer,) = wire.sent(frame(DATA, 0, 1, b"12345"))
    assert answer.windows[2:] == (65_530, 65_530)


def test_settings_change_windows_once_they_are_acknowledged() -> None:
    wire = Wire()
    wire.received(frame(SETTINGS, 0, 0, setting(4, 10)))
    (request,) = wire.received(frame(HEADERS, END_HEADERS, 1, REQUEST))
    wire.sent(frame(DATA, 0, 1, bytes(15)))
    (acknowledgement,) = wire.sent(frame(SETTINGS, ACK, 0))
    (window,) = wire.received(frame(WINDOW_UPDATE, 0, 1, struct.pack("!L", 7)))
    assert request.windows.server_stream == 65_535
    assert acknowledgement.problems == ()
    assert window.windows == Windows(65_535, 65_535, 65_520, 2)


def test_settings_of_the_table_count_once_they_are_acknowledged() -> None:
    wire = Wire()
    wire.sent(frame(SETTINGS, 0, 0, setting(1, 8_192)))
    wire.received(frame(SETTINGS, ACK, 0))
    (found,) = wire.received(frame(HEADERS, WHOLE, 1, b"\x3f\xe1\x3f\x82"))
    assert found.problems == ()
    assert found.block is not None
    assert found.block.table_updates == (8_192,)


def test_frames_may_be_larger_once_settings_that_say_so_are_acknowledged() -> None:
    wire = Wire()
    wire.received(frame(HEADERS, END_HEADERS, 1, REQUEST))
    wire.sent(frame(SETTINGS, 0, 0, setting(5, 20_000)))
    early = wire.received(frame(DATA, 0, 1, bytes(20_000)))
    wire.received(frame(SETTINGS, ACK, 0))
    allowed = wire.received(frame(DATA, 0, 1, bytes(20_000)))
    larger = wire.received(frame(DATA, 0, 1, bytes(20_001)))
    assert [f.problems for f in early + allowed + larger] == [
        ("20000 octets, over the largest frame size of 16384",),
        (),
        ("20001 octets, over the largest frame size of 20000",),
    ]
    assert [f.data_length for f in early + allowed + larger] == [None, 20_000, None]


def test_streams_open_and_close_with_both_sides_or_a_reset() -> None:
    wire = Wire()
    first, second = wire.received(
        frame(HEADERS, WHOLE, 1, b"\x82"), frame(HEADERS, WHOLE, 3, b"\x82")
    )
    assert (first.open_streams, second.open_streams) == (1, 2)
    last, reset = wire.sent(
        frame(HEADERS, WHOLE, 1, b"\x88"), frame(RST_STREAM, 0, 3, struct.pack("!L", 7))
    )
    assert (last.windows.server_stream, reset.windows.server_stream) == (65_535, 65_535)
    (after,) = wire.received(frame(WINDOW_UPDATE, 0, 3, struct.pack("!L", 7)))
    assert (after.open_streams, after.windows.client_stream, after.problems) == (0, None, ())


# ------------------------------------------------------------------- whatever the octets are


@bounded
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=200)), max_size=10))
def test_random_octets_never_raise(pieces: list[tuple[bool, bytes]]) -> None:
    for preface in (PREFACE, b""):
        wire = Wire(preface=preface)
        for is_sent, octets in pieces:
            (wire.sent if is_sent else wire.received)(octets)
        wire.tap.closed("")
        assert wire.heard.reasons == [""]


@bounded
@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.integers(0, 12),
            st.integers(0, 255),
            st.integers(0, 5),
            st.binary(max_size=20),
        ),
        max_size=40,
    )
)
def test_random_frames_never_raise_and_each_is_told(frames: list[Any]) -> None:
    wire = Wire()
    for is_sent, *parts in frames:
        (found,) = (wire.sent if is_sent else wire.received)(frame(*parts))
        assert (found.type, found.flags, found.stream_id) == tuple(parts[:3])
        assert repr(found.name)


@bounded
@given(st.one_of(damaged(), damaged_recordings(tuple(RECORDINGS.values()))))
def test_damaged_conversations_never_raise(conversation: Any) -> None:
    wire = Wire(preface=b"")
    wire.received(*conversation.chunks)


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/1.1", b"\x16\x03\x01"])
def test_what_is_not_http2_is_said_once_and_left_alone(first: bytes) -> None:
    wire = Wire(preface=b"")
    found = wire.received(first, b"and so on")
    assert [(f.type, f.name, f.length) for f in found] == [(NOT_HTTP2, "NOT HTTP/2", len(first))]
    assert found[0].problems == (f"begins with {first!r}",)
    (answer,) = wire.sent(b"HTTP/1.1 505 HTTP Version Not Supported\r\n\r\n", b"text")
    assert answer.type == NOT_HTTP2


def test_a_preface_in_pieces_is_a_preface() -> None:
    wire = Wire(preface=b"")
    assert wire.received(*[bytes((octet,)) for octet in PREFACE]) == []
    assert [f.name for f in wire.received(frame(SETTINGS, 0, 0))] == ["SETTINGS"]


def test_a_frame_too_long_is_told_at_once_and_its_payload_not_kept() -> None:
    wire = Wire()
    header = b"\xff\xff\xff" + struct.pack("!BBL", DATA, 0, 1)
    (found,) = wire.received(header)
    assert found.length == 2**24 - 1
    for _ in range(16):
        assert wire.received(bytes(2**20 - 1)) == []
        assert len(wire.tap._received.cutter._data) == 0
    last = wire.received(bytes(15), frame(PING, 0, 0, bytes(8)))
    assert [f.name for f in last] == ["PING"]


def test_a_field_block_without_end_is_not_kept() -> None:
    wire = Wire(max_field_section=1_024)
    wire.received(frame(HEADERS, 0, 1, b"\x82"))
    for _ in range(100):
        wire.received(frame(CONTINUATION, 0, 1, b"\x82" * 1_000))
    assert wire.tap._received.open_block is not None
    assert len(wire.tap._received.open_block.octets) <= 4_096


# ------------------------------------------------------------------------------------ sinks


def test_a_sink_that_raises_is_dismissed_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def frame(self, found: Frame, content: bytes) -> None:
            raise ValueError("broken")

    wire = Wire()
    wire.taps._sinks.insert(0, Broken())  # type: ignore[arg-type]
    assert len(wire.received(frame(SETTINGS, 0, 0), frame(SETTINGS, ACK, 0))) == 2
    assert [r.getMessage() for r in caplog.records] == ["broken failed; going on without it"]


def test_a_sink_that_comes_later_hears_what_comes_then() -> None:
    wire, late = Wire(), Wire().heard
    wire.received(frame(SETTINGS, 0, 0))
    wire.taps.add(late)
    wire.received(frame(PING, 0, 0, bytes(8)))
    assert [f.name for f in late.frames] == ["PING"]
    assert len(wire.heard.frames) == 2


def test_a_client_that_opens_streams_without_end_is_not_kept() -> None:
    wire = Wire()
    for stream_id in range(1, 2 * MAX_STREAMS + 21, 2):
        wire.received(frame(HEADERS, END_HEADERS, stream_id, b"\x82"))
    assert wire.heard.frames[-1].open_streams == MAX_STREAMS
    late, new = wire.received(
        frame(0, 0, 1, b"of a stream that was forgotten"),
        frame(0, 0, 2 * MAX_STREAMS + 19, b"of the last one"),
    )
    assert late.problems == ("the stream is not open",)
    assert new.problems == ()
