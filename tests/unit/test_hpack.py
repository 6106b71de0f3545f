"""HPACK as values: ours against the hpack library, which is the specification here (RFC 7541).

The reference is BlockDecoder, hpack with the limits that it leaves open. Both decode the same
blocks of a connection, one after the other, and must agree on every field list, or on the error
code, and on the dynamic table that is left. No difference is known; one that becomes necessary
belongs into a list here, with its section of the RFC and a test on both.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence

import hpack
import pytest
from h2.errors import ErrorCodes
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable
from hypothesis import given, settings
from hypothesis import strategies as st

from h2wsgi.errors import ConnectionFailed
from h2wsgi.http2.engines.field_blocks import BlockDecoder
from h2wsgi.http2.engines.hpack import (
    NEVER_INDEXED,
    Decoder,
    encode,
    huffman_encode,
    size_update,
)

patient = settings(deadline=None)
"""A busy machine may be slow with any one example."""

PLENTY = 1 << 20
"""Octets that no field list here reaches."""

COMPRESSION_ERROR = ErrorCodes.COMPRESSION_ERROR
ENHANCE_YOUR_CALM = ErrorCodes.ENHANCE_YOUR_CALM

Fields = list[tuple[bytes, bytes]]

# --------------------------------------------------------------------------- both decoders


def outcome(decoder: Decoder | BlockDecoder, block: bytes) -> object:
    try:
        return decoder.decode(block)
    except ConnectionFailed as error:
        return error.code


def dynamic_table(decoder: Decoder | BlockDecoder) -> Iterator[object]:
    """Yield the entries, newest first, by asking for one index after the other."""
    for index in itertools.count(62):
        block = encoded_integer(index, 7, 0x80)
        if (fields := outcome(decoder, block)) == COMPRESSION_ERROR:
            return
        yield fields


def both(blocks: Iterable[bytes], max_octets: int = PLENTY) -> object:
    """Return what becomes of the last of a connection's blocks, on which both decoders agree."""
    ours, reference = Decoder(max_octets), BlockDecoder(max_octets)
    last: object = None
    for block in blocks:
        last = outcome(ours, block)
        assert last == outcome(reference, block)
        if not isinstance(last, list):
            return last
        assert all(type(octets) is bytes for field in last for octets in field)
    assert list(dynamic_table(ours)) == list(dynamic_table(reference))
    return last


def encoded_integer(number: int, bits: int, flags: int = 0, padding: int = 0) -> bytes:
    """Return an integer (section 5.1), with ``padding`` octets more than it needs."""
    full = (1 << bits) - 1
    if number < full:
        return bytes([flags | number])
    number -= full
    octets = [flags | full]
    while number >= 0x80:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    if padding:
        octets += [number | 0x80, *[0x80] * (padding - 1), 0]
    else:
        octets.append(number)
    return bytes(octets)


def raw(string: bytes) -> bytes:
    return encoded_integer(len(string), 7) + string


def huffman(code: bytes) -> bytes:
    return encoded_integer(len(code), 7, 0x80) + code


reference_huffman_encode = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode

# ------------------------------------------------------------------- blocks that encoders make

BROWSER: Fields = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"www.example.org:8443"),
    (b":path", b"/"),
    (b"sec-ch-ua", b'"Chromium";v="124", "Not-A.Brand";v="99"'),
    (b"sec-ch-ua-mobile", b"?0"),
    (b"upgrade-insecure-requests", b"1"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/124.0.0.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"accept-language", b"en-GB,en;q=0.9,de;q=0.8"),
    (b"cookie", b"session=0123456789abcdef"),
    (b"cookie", b"theme=dark"),
]


def browsed(number: int, seed: int = 7) -> list[Fields]:
    """Return the requests of a browser: most fields the same, some new each time."""
    rng = random.Random(seed)
    requests = []
    for _ in range(number):
        changed = {
            b":path": b"/item/%d?page=%d" % (rng.randrange(99_999), rng.randrange(9)),
            b"accept": rng.choice([b"*/*", b"image/avif,image/webp", b"text/css,*/*;q=0.1"]),
        }
        fields = [(name, changed.get(name, value)) for name, value in BROWSER]
        if rng.random() < 0.3:
            fields.append((b"referer", b"https://www.example.org:8443" + changed[b":path"]))
        if rng.random() < 0.1:
            fields.append((b"x-trace-\xff%d" % rng.randrange(5), rng.randbytes(rng.randrange(900))))
        requests.append(fields)
    return requests


def encoded(requests: list[Fields], sizes: Sequence[int] = (), huffman: bool = True) -> list[bytes]:
    """Encode as hpack does; before each request the table takes the next of ``sizes``."""
    encoder = hpack.Encoder()
    blocks = []
    for fields, size in zip(requests, itertools.chain(sizes, itertools.repeat(4096)), strict=False):
        encoder.header_table_size = size
        blocks.append(encoder.encode(fields, huffman=huffman))
    return blocks


@pytest.mark.parametrize("huffman", [True, False])
@pytest.mark.parametrize("sizes", [[], [0, 4096], [100, 0, 300, 4096] * 10, [1000] * 60])
def test_the_requests_of_a_connection_are_decoded(sizes: list[int], huffman: bool) -> None:
    requests = browsed(60)
    blocks = encoded(requests, sizes, huffman)
    decoder = Decoder(PLENTY)
    assert [decoder.decode(block) for block in blocks] == requests
    assert both(blocks) == requests[-1]


# RFC 7541 appendices C.3, C.4 and C.6, the last in a table of 256 octets.
APPENDIX_C = {
    "C.3": [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ],
    "C.4": [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ],
    "C.6": [
        "3fe101"
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff"
        "6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab"
        "77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f"
        "9587316065c003ed4ee5b1063d5007",
    ],
}
LAST: dict[str, Fields] = {
    "C.3": [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/index.html"),
        (b":authority", b"www.example.com"),
        (b"custom-key", b"custom-value"),
    ],
    "C.6": [
        (b":status", b"200"),
        (b"cache-control", b"private"),
        (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT"),
        (b"location", b"https://www.example.com"),
        (b"content-encoding", b"gzip"),
        (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ],
}
LAST["C.4"] = LAST["C.3"]


@pytest.mark.parametrize("appendix", APPENDIX_C)
def test_the_examples_of_the_rfc_are_decoded(appendix: str) -> None:
    assert both(bytes.fromhex(block) for block in APPENDIX_C[appendix]) == LAST[appendix]


# ------------------------------------------------------------------ blocks that no encoder makes

GET = (b":method", b"GET")
A = raw(b"a")
NEW = b"\x40" + A + raw(b"new")
"""An insertion of 36 octets."""

LARGE = b"\x40" + A + raw(bytes(4064))
"""An insertion of an entry that is larger than the table."""

ODD: dict[str, tuple[list[bytes], object]] = {
    "no field": ([b""], []),
    "the static table's first": ([b"\x81"], [(b":authority", b"")]),
    "the static table's last": ([b"\xbd"], [(b"www-authenticate", b"")]),
    "the dynamic table's first": ([NEW, b"\xbe"], [(b"a", b"new")]),
    "the dynamic table's second": ([NEW + NEW, b"\xbf"], [(b"a", b"new")]),
    "an index of two octets": ([NEW * 66, b"\xff\x00"], [(b"a", b"new")]),
    "an index with a zero octet": ([NEW * 66, b"\xff\x80\x00"], [(b"a", b"new")]),
    "an index of six octets": ([NEW * 66, b"\xff\x80\x80\x80\x80\x00"], [(b"a", b"new")]),
    "an index of seven octets": ([NEW * 66, b"\xff\x80\x80\x80\x80\x80\x00"], COMPRESSION_ERROR),
    "index 0": ([b"\x80"], COMPRESSION_ERROR),
    "index 0 before strings": ([b"\x80" + A + A], COMPRESSION_ERROR),
    "index 62 of an empty table": ([b"\xbe"], COMPRESSION_ERROR),
    "an index beyond the table": ([NEW + b"\xbf"], COMPRESSION_ERROR),
    "an index beyond 32 bits": ([b"\xff\xff\xff\xff\xff\x7f"], COMPRESSION_ERROR),
    "an index of an evicted entry": ([NEW * 200, b"\xff\x30"], COMPRESSION_ERROR),
    "an index cut short": ([b"\xff"], COMPRESSION_ERROR),
    "an index cut short later": ([b"\xff\x80"], COMPRESSION_ERROR),
    "a name index of two octets": ([b"\x0f\x0a" + A], [(b"content-disposition", b"a")]),
    "never indexed": ([b"\x10" + A + A], [(b"a", b"a")]),
    "never indexed, by a name's index": ([b"\x17" + A], [(b":scheme", b"a")]),
    "never indexed is not inserted": ([b"\x10" + A + A, b"\xbe"], COMPRESSION_ERROR),
    "without indexing": ([b"\x00" + A + A], [(b"a", b"a")]),
    "without indexing is not inserted": ([b"\x00" + A + A, b"\xbe"], COMPRESSION_ERROR),
    "a name where an index exists": ([b"\x40" + raw(b":method") + raw(b"GET")], [GET]),
    "a name's index beyond the table": ([b"\x7e" + A], COMPRESSION_ERROR),
    "a name's index beyond 32 bits": ([b"\x7f\xff\xff\xff\xff\x7f" + A], COMPRESSION_ERROR),
    "a name's index padded": ([b"\x7f\x80\x80\x00" + A], COMPRESSION_ERROR),
    "a name's index padded, known": ([NEW * 9, b"\x7f\x81\x80\x00" + A], [(b"a", b"a")]),
    "a name from the entry it evicts": (
        [b"\x40" + A + raw(bytes(4000)), b"\x7e" + raw(bytes(4001))],
        [(b"a", bytes(4001))],
    ),
    "an entry of the table's size": ([NEW, b"\x40" + A + raw(bytes(4063)), b"\xbe"], None),
    "an entry larger than the table": ([NEW + LARGE], [(b"a", b"new"), (b"a", bytes(4064))]),
    "an entry larger than the table empties it": ([NEW + LARGE, b"\xbe"], COMPRESSION_ERROR),
    "an entry that evicts in mid-block": (
        [NEW * 3 + b"\x40" + A + raw(bytes(3900)) + b"\xc1"],
        None,
    ),
    "no name": ([b"\x00\x00" + A], [(b"", b"a")]),
    "no value": ([b"\x00" + A + b"\x00"], [(b"a", b"")]),
    "an empty Huffman string": ([b"\x00\x80\x80"], [(b"", b"")]),
    "a name alone": ([b"\x00" + A], COMPRESSION_ERROR),
    "a literal alone": ([b"\x00"], COMPRESSION_ERROR),
    "a name cut short": ([b"\x00\x05name"], COMPRESSION_ERROR),
    "a value cut short": ([b"\x04\x02a"], COMPRESSION_ERROR),
    "a value's length cut short": ([b"\x04\x7f"], COMPRESSION_ERROR),
    "a length with zero octets": ([b"\x04\x7f\x80\x80\x00" + bytes(127)], [(b":path", bytes(127))]),
    "a length beyond 32 bits": ([b"\x04\x7f\xff\xff\xff\xff\x7f"], COMPRESSION_ERROR),
    "a length of seven octets": ([b"\x04\x7f\x80\x80\x80\x80\x80\x00"], COMPRESSION_ERROR),
    "a Huffman string cut short": ([b"\x04\x83\xff"], COMPRESSION_ERROR),
    "a size update alone": ([size_update(0)], []),
    "a size update to 0 empties the table": ([NEW, size_update(0), b"\xbe"], COMPRESSION_ERROR),
    "a size update to 0 and back": ([NEW, b"\x20" + size_update(4096), NEW, b"\xbe"], None),
    "nothing fits into a table of 0": ([b"\x20" + NEW, b"\xbe"], COMPRESSION_ERROR),
    "a size update keeps what fits": ([NEW * 2, size_update(72), b"\xbf"], [(b"a", b"new")]),
    "a size update drops what does not": ([NEW * 2, size_update(71), b"\xbf"], COMPRESSION_ERROR),
    "a size update to less than an entry": ([NEW, size_update(35), b"\xbe"], COMPRESSION_ERROR),
    "a small table stays small": ([size_update(40), NEW, NEW, b"\xbf"], COMPRESSION_ERROR),
    "a size update to 4096": ([size_update(4096) + b"\x82"], [GET]),
    "a size update above 4096": ([size_update(4097)], COMPRESSION_ERROR),
    "a size update beyond 32 bits": ([b"\x3f\xff\xff\xff\xff\x7f"], COMPRESSION_ERROR),
    "a size update of six octets": ([b"\x3f\x80\x80\x80\x80\x00\x82"], [GET]),
    "a size update of seven octets": ([b"\x3f\x80\x80\x80\x80\x80\x00"], COMPRESSION_ERROR),
    "a size update cut short": ([b"\x3f"], COMPRESSION_ERROR),
    "a size update after a field": ([b"\x82\x20"], COMPRESSION_ERROR),
    "a size update between fields": ([b"\x82\x20\x82"], COMPRESSION_ERROR),
    "two size updates": ([b"\x20" + size_update(100) + b"\x82"], [GET]),
    "three size updates": ([b"\x20\x20\x20"], COMPRESSION_ERROR),
    "two size updates in each block": ([b"\x20\x20", b"\x20\x20\x82"], [GET]),
}


@pytest.mark.parametrize("case", ODD)
def test_what_encoders_do_not_do_is_decoded_or_refused(case: str) -> None:
    blocks, expected = ODD[case]
    found = both(blocks)
    assert expected is None or found == expected


def test_a_field_counts_its_name_and_value_and_32_octets() -> None:
    assert both([b"\x82" * 3], 3 * 42) == [GET] * 3
    assert both([b"\x82" * 3], 3 * 42 - 1) == ENHANCE_YOUR_CALM


@pytest.mark.parametrize("length", [0, 100, 4063])
def test_a_long_entry_counts_each_time_it_is_referred_to(length: int) -> None:
    insertion, size = b"\x40" + A + raw(bytes(length)), 33 + length
    indexes, names = b"\xbe" * 5, b"\x0f\x2f\x00" * 5
    for max_octets in (5 * size - 1, 5 * size, 6 * size):
        both([insertion, indexes], max_octets)
        both([insertion, names], max_octets)
        both([insertion, NEW, b"\xbf" * 5], max_octets)
    assert both([insertion, indexes], 5 * size - 1) == ENHANCE_YOUR_CALM


@pytest.mark.parametrize("mistake", ["", "80", "bf", "20", "040361", "0481fe", "ffffffffffff"])
def test_a_list_is_too_long_or_malformed_by_what_comes_first(mistake: str) -> None:
    blocks = [b"\x82\x84", b"\x82\x04" + A, b"\x00" + A + A, NEW + b"\xbe", b"\x20\x82\x82"]
    for max_octets in range(30, 120, 3):
        for block in blocks:
            both([block + bytes.fromhex(mistake)], max_octets)
            both([NEW, block + bytes.fromhex(mistake)], max_octets)


# ------------------------------------------------------------------------ blocks of any kind

few_octets = st.binary(max_size=8)
names = st.sampled_from([b"a", b":path", b"cookie", b"x-y"]) | few_octets
values = (
    st.sampled_from([b"", b"GET", b"/index.html", b"session=0123456789abcdef"])
    | few_octets
    | st.builds(
        lambda octet, times: octet * times, st.binary(min_size=1, max_size=1), st.integers(0, 4200)
    )
)
field_lists = st.lists(st.tuples(names, values), max_size=8)
padded = st.sampled_from([0, 0, 0, 0, 1, 2, 3])

Representation = tuple[bytes, bool]
"""The octets, and whether they change the dynamic table."""


@st.composite
def strings(draw: st.DrawFn, of: st.SearchStrategy[bytes], kinds: str) -> bytes:
    """Return a string literal: raw, Huffman-encoded, or broken (what it claims is Huffman)."""
    string, kind = draw(of), draw(st.sampled_from(kinds))
    code = reference_huffman_encode(string) if kind == "h" else string
    return encoded_integer(len(code), 7, 0 if kind == "r" else 0x80, draw(padded)) + code


@st.composite
def representations(draw: st.DrawFn, last_index: int, kinds: str) -> Representation:
    indexes = st.integers(max(1, last_index - 9), last_index) | st.integers(1, last_index)
    kind = draw(st.sampled_from([0x80, 0x80, 0x40, 0x40, 0x40, 0x10, 0x00]))
    if kind == 0x80:
        return encoded_integer(draw(indexes), 7, kind, draw(padded)), False
    index = draw(st.just(0) | indexes)
    octets = encoded_integer(index, 6 if kind == 0x40 else 4, kind, draw(padded))
    if not index:
        octets += draw(strings(names, kinds))
    return octets + draw(strings(values, kinds)), kind == 0x40


@st.composite
def size_updates(draw: st.DrawFn, largest: int) -> Representation:
    size = draw(st.sampled_from([0, 31, 64, 100, 300, 4096]) | st.integers(0, largest))
    return encoded_integer(size, 5, 0x20, draw(padded)), True


@st.composite
def connections(draw: st.DrawFn) -> list[list[Representation]]:
    """Return the blocks of a connection, all of them right: hpack says how long the table is."""
    decoder = hpack.Decoder(PLENTY)
    blocks = []
    for _ in range(draw(st.integers(1, 6))):
        block = draw(st.just([]) | st.lists(size_updates(4096), max_size=2))
        decoder.decode(b"".join(octets for octets, _ in block))
        for _ in range(draw(st.integers(0, 8))):
            last_index = 61 + len(decoder.header_table.dynamic_entries)
            block.append(draw(representations(last_index, "rh")))
            decoder.decode(block[-1][0], raw=True)
        blocks.append(block)
    return blocks


@patient
@given(connections(), st.sampled_from([500, 5000, PLENTY, PLENTY]))
def test_both_agree_on_any_blocks(blocks: list[list[Representation]], max_octets: int) -> None:
    both([b"".join(octets for octets, _ in block) for block in blocks], max_octets)


@patient
@given(connections())
def test_the_generation_changes_just_when_the_table_may(
    blocks: list[list[Representation]],
) -> None:
    decoder = Decoder(PLENTY)
    for block in blocks:
        before = decoder.generation
        decoder.decode(b"".join(octets for octets, _ in block))
        changed = decoder.generation != before
        assert changed == any(changes for _, changes in block)


@patient
@given(
    connections(),
    st.lists(size_updates(4200) | representations(80, "rhhb"), min_size=1, max_size=3),
    st.sampled_from([500, 5000, PLENTY, PLENTY]),
)
def test_both_agree_on_blocks_with_mistakes(
    blocks: list[list[Representation]], mistakes: list[Representation], max_octets: int
) -> None:
    blocks[-1] += mistakes
    both([b"".join(octets for octets, _ in block) for block in blocks], max_octets)


@patient
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_both_agree_on_any_octets(blocks: list[bytes]) -> None:
    both(blocks)


@patient
@given(
    st.lists(field_lists, max_size=6),
    st.lists(st.sampled_from([0, 40, 100, 1000, 4096]), max_size=6),
    st.booleans(),
)
def test_what_hpack_encodes_is_decoded(
    requests: list[Fields], sizes: list[int], huffman: bool
) -> None:
    blocks = encoded(requests, sizes, huffman)
    decoder = Decoder(PLENTY)
    assert [decoder.decode(block) for block in blocks] == requests
    both(blocks)


BROWSED = encoded(browsed(12)) + encoded(browsed(3, seed=8), huffman=False)


@patient
@given(
    st.integers(0, len(BROWSED) - 1),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_both_agree_on_blocks_with_flipped_bits(which: int, flips: list[tuple[int, int]]) -> None:
    block = bytearray(BROWSED[which])
    for place, flip in flips:
        block[place % len(block)] ^= flip
    both([*BROWSED[:which], bytes(block), *BROWSED[which + 1 :]])


@patient
@given(st.integers(0, len(BROWSED) - 1), st.integers(0, 5000))
def test_both_agree_on_blocks_cut_short(which: int, place: int) -> None:
    block = BROWSED[which]
    both([*BROWSED[:which], block[: place % len(block)], *BROWSED[which + 1 :]])


@patient
@given(st.tuples(*[st.tuples(st.sampled_from(BROWSED), *[st.integers(0, 500)] * 2)] * 3))
def test_both_agree_on_blocks_spliced(parts: tuple[tuple[bytes, int, int], ...]) -> None:
    spliced = b"".join(block[min(a, b) : max(a, b)] for block, a, b in parts)
    both([BROWSED[0], spliced, *BROWSED[1:3]])


# ------------------------------------------------------------------------------- encoding


@patient
@given(field_lists)
def test_what_is_encoded_decodes_to_the_same_without_the_dynamic_table(fields: Fields) -> None:
    block = encode(fields)
    ours, reference = Decoder(PLENTY), hpack.Decoder(PLENTY)
    assert ours.decode(block) == fields
    assert [tuple(field) for field in reference.decode(block, raw=True)] == fields
    assert ours.generation == 0
    assert not reference.header_table.dynamic_entries


def test_fields_of_the_static_table_are_encoded_as_their_indexes() -> None:
    fields = list(HeaderTable.STATIC_TABLE)
    assert encode(fields) == bytes(range(0x81, 0xBE))


def test_names_of_the_static_table_are_encoded_as_their_first_index() -> None:
    for name in {name for name, _ in HeaderTable.STATIC_TABLE}:
        first = [name for name, _ in HeaderTable.STATIC_TABLE].index(name) + 1
        flags = 0x10 if name in NEVER_INDEXED else 0
        assert encode([(name, b"~")]) == encoded_integer(first, 4, flags) + raw(b"~")


def test_secrets_are_never_indexed() -> None:
    for name in (b"set-cookie", b"cookie", b"authorization", b"proxy-authorization"):
        (field,) = hpack.Decoder().decode(encode([(name, b"secret")]), raw=True)
        assert not field.indexable
    (field,) = hpack.Decoder().decode(encode([(b"etag", b"public")]), raw=True)
    assert field.indexable


def test_strings_are_huffman_encoded_where_that_is_shorter() -> None:
    assert encode([(b"x", b"aaaa")]) == b"\x00" + raw(b"x") + huffman(huffman_encode(b"aaaa"))
    assert encode([(b"x", b"\x00\xff")]) == b"\x00" + raw(b"x") + raw(b"\x00\xff")
    assert encode([(b"x", b"")]) == b"\x00" + raw(b"x") + b"\x00"


@pytest.mark.parametrize("size", [0, 30, 31, 32, 158, 159, 1337, 4096])
def test_a_size_update_is_what_hpack_understands(size: int) -> None:
    decoder = hpack.Decoder()
    assert decoder.decode(size_update(size)) == []
    assert decoder.header_table_size == size
    assert size_update(1337) == b"\x3f\x9a\x0a"  # as section C.1.2 has it


# --------------------------------------------------------------------------- hostile blocks

LARGEST = 1 << 17
"""Octets of the largest block that the frame gate lets through."""

HOSTILE = {
    "size updates": b"\x20" * LARGEST,
    "long size updates": b"\x3f\x80\x80\x80\x80\x00" * (LARGEST // 6),
    "insertions of nothing": b"\x40\x00\x00" * (LARGEST // 3),
    "insertions by index": b"\x41\x00" * (LARGEST // 2),
    "literals by index": b"\x01\x00" * (LARGEST // 2),
    "long indexes": b"\x7f\x80\x80\x80\x80\x00\x00" * (LARGEST // 7),
    "one long integer": b"\x7f" + b"\x80" * LARGEST,
    "index 0": b"\x80" * LARGEST,
    "indexes": b"\x82" * LARGEST,
    "indexes of a large entry": b"\x41\x7f\xc1\x1e" + bytes(4000) + b"\xbe" * (LARGEST - 4004),
    "large indexes": b"\xff" * LARGEST,
    "Huffman strings of an octet": b"\x40\x81\x1f\x81\x1f" * (LARGEST // 5),
    "a large Huffman string": b"\x01" + huffman(b"\x00" * (LARGEST - 5)),
    "a large Huffman string, broken": b"\x01" + huffman(b"\xfe" * (LARGEST - 5)),
    "a large string": b"\x41" + raw(bytes(LARGEST - 5)),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_block_takes_no_more_than_its_length_in_work(case: str) -> None:
    """Decoded ten times: what takes the square of the length does not end in time."""
    for max_octets in (65_536, 1 << 26):
        for _ in range(5):
            outcome(Decoder(max_octets), HOSTILE[case])


def test_a_large_string_is_encoded_in_proportion_to_its_length() -> None:
    assert len(encode([(b"x", b"a" * (1 << 22))])) < 1 << 22


# --------------- field lists at the limit of the decoder, by values that Huffman code makes short


OVERHEAD = 32


@pytest.mark.parametrize("fields", [1, 2, 10])
def test_a_list_is_measured_by_what_it_decodes_to_and_not_by_its_block(fields: int) -> None:
    limit = 10_000
    size = limit // fields - OVERHEAD - 1
    listed = [(b"n", b"a" * size)] * fields
    assert len(encode(listed)) < 0.7 * limit
    assert Decoder(limit).decode(encode(listed)) == listed
    with pytest.raises(ConnectionFailed) as failed:
        Decoder(limit - 1).decode(encode(listed))
    assert failed.value.code == ErrorCodes.ENHANCE_YOUR_CALM
