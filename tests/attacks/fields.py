"""Field sections that are long, never whole, or decode to far more than was sent."""

from __future__ import annotations

from collections.abc import Iterator

from attacks.wire import block, frame, headers
from support.attack import Attack, Field, Run, Sees, goaway, status
from support.peer import END_HEADERS, END_STREAM, Code, Peer, Setting, Type

CALM = goaway(Code.ENHANCE_YOUR_CALM)
CRUMB = b"\xa0"
"""cookie, empty: one octet, one field (RFC 7541 appendix A)."""
ENTRY = 3_900
"""Octets of a value that just fits the dynamic table."""
LARGEST_SECTION = 2**24
STALL: dict[str, object] = {"fields_timeout": 0.3, "read_timeout": 0.5, "write_timeout": 0.5}
WATCH = 1.0


def answered(peer: Peer) -> None:
    assert peer.response(1).status == 200


def finished_and_answered(peer: Peer) -> None:
    """The field section that never ended does so after all."""
    peer.continuation(1, CRUMB)
    answered(peer)


def continuations(part: bytes, count: int) -> Run:
    """CVE-2024-27316: HEADERS and more CONTINUATION frames than anybody needs."""

    def run(field: Field) -> Iterator[None]:
        peer = field.connect()
        frames = [headers(1, block(more=part), END_STREAM)]
        frames += [frame(Type.CONTINUATION, 0, 1, part)] * (count - 1)
        frames.append(frame(Type.CONTINUATION, END_HEADERS, 1, part))
        yield from field.flood(peer, frames)

    return run


def stalled_section(field: Field) -> Iterator[None]:
    field.send(field.connect(), headers(1, block(), END_STREAM))
    yield


def stalled_frame(field: Field) -> Iterator[None]:
    field.send(field.connect(), headers(1, block())[:-3])
    yield


def frame_finished_and_answered(peer: Peer) -> None:
    peer.send_raw(headers(1, block())[-3:])
    answered(peer)


def dripped_section(field: Field) -> Iterator[None]:
    peer = field.connect()
    field.send(peer, headers(1, block(), END_STREAM))
    for _ in field.lasts(peer):
        field.send(peer, frame(Type.CONTINUATION, 0, 1, CRUMB))
        yield


def of_octets(count: int) -> bytes:
    """Return a literal field of so many octets, with incremental indexing: the newest entry."""
    length = bytes((0x7F, (count - 127) & 0x7F | 0x80, (count - 127) >> 7))
    return b"\x40\x01x" + length + bytes([ord("v")]) * count


def one_block(more: bytes) -> Run:
    def run(field: Field) -> Iterator[None]:
        peer = field.connect()
        field.send(peer, headers(1, block(more=more)))
        yield

    return run


def table_updates(field: Field) -> Iterator[None]:
    peer = field.connect()
    field.send(peer, headers(1, b"\x20" * 16_000 + block()))
    yield


def endless_integer(field: Field) -> Iterator[None]:
    """A length of 127 in as many octets as fit a frame; each costs more than the one before."""
    peer = field.connect()
    length = b"\x7f" + b"\x80" * 16_000 + b"\x00"
    field.send(peer, headers(1, block(more=b"\x00\x01x" + length + bytes([ord("v")]) * 127)))
    yield


def large_table(field: Field) -> Iterator[None]:
    """Would have the server keep whatever it encodes for this client."""
    peer = field.connect(settings={Setting.HEADER_TABLE_SIZE: 2**20})
    peer.wait_settings_ack()
    yield
    peer.get("/")


ATTACKS = [
    Attack(
        name="CONTINUATION flood of small frames",
        run=continuations(CRUMB, 60),
        sees=CALM,
        limit="max_continuations",
        value=8,
        lives=answered,
    ),
    Attack(
        name="CONTINUATION flood of octets",
        run=continuations(of_octets(16_000), 8),
        sees=CALM,
        limit="max_field_section",
        value=65_536,
        off=LARGEST_SECTION,
        lives=answered,
    ),
    Attack(
        name="CONTINUATION that does not come",
        run=stalled_section,
        sees=CALM,
        limit="fields_timeout",
        value=0.3,
        options=STALL,
        watch=WATCH,
        lives=finished_and_answered,
    ),
    Attack(
        name="half a HEADERS frame",
        run=stalled_frame,
        sees=CALM,
        limit="fields_timeout",
        value=0.3,
        options=STALL,
        watch=WATCH,
        lives=frame_finished_and_answered,
    ),
    Attack(
        name="CONTINUATION drip",
        run=dripped_section,
        sees=CALM,
        limit="fields_timeout",
        value=0.3,
        options={**STALL, "max_continuations": 0},
        watch=WATCH,
        lives=finished_and_answered,
    ),
    Attack(
        name="HPACK bomb",
        run=one_block(of_octets(ENTRY) + b"\xbe" * 100),
        sees=CALM,
        limit="max_field_section",
        value=65_536,
        off=LARGEST_SECTION,
        lives=answered,
    ),
    Attack(
        name="HPACK bomb below four times the limit",
        run=one_block(of_octets(ENTRY) + b"\xbe" * 40),
        sees=status(431),
        limit="max_field_section",
        value=65_536,
        off=LARGEST_SECTION,
        lives=answered,
    ),
    Attack(
        name="too many fields",
        run=one_block(b"\x90" * 200),
        sees=status(431),
        limit="max_fields",
        value=128,
        off=10_000,
        lives=answered,
    ),
    Attack(
        name="too many cookie crumbs",
        run=one_block(CRUMB * 2_000),
        sees=status(431),
        limit="max_field_section",
        value=65_536,
        off=LARGEST_SECTION,
        lives=answered,
    ),
    Attack(
        name="HPACK table size updates",
        run=table_updates,
        sees=goaway(Code.COMPRESSION_ERROR),
        limit="engines.hpack:MAX_TABLE_UPDATES engines.field_blocks:MAX_TABLE_UPDATES",
        value=None,
        off=10**9,
        lives=answered,
    ),
    Attack(
        name="an integer of HPACK that does not end",
        run=endless_integer,
        sees=goaway(Code.COMPRESSION_ERROR),
        limit="engines.hpack:MAX_INTEGER_OCTETS hpack.hpack:VARINT_MAX_LENGTH",
        value=None,
        off=10**9,
        lives=answered,
    ),
    Attack(
        name="HPACK table of 1 MiB for our responses",
        run=large_table,
        sees=Sees(
            "a table of at most 4,096 octets", lambda p: p.decoder.header_table_size <= 4_096
        ),
        limit="engines.reference:MAX_ENCODER_TABLE",
        value=None,
        off=2**24,
        engines=("h2",),
    ),
]
