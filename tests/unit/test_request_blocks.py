"""Requests that are known by their field block: right, and bounded in octets."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from functools import lru_cache

import pytest

from h2wsgi.config.config import Config
from h2wsgi.errors import MalformedRequest
from h2wsgi.http2.engines import request_blocks
from h2wsgi.http2.engines.huffman import huffman_encode
from h2wsgi.http2.engines.request_blocks import REMEMBERED_OCTETS, RequestBlocks


def never_indexed(name: bytes, value: bytes) -> bytes:
    """Return a literal field that enters no table, of up to 16,509 octets."""
    length = len(value) - 127
    return (
        bytes((0x10, len(name))) + name + bytes((0x7F, length & 0x7F | 0x80, length >> 7)) + value
    )


def test_a_path_is_remembered_as_it_reads_and_with_what_asks_for_it():
    """Of all connections together: one that may stand in a request may not in another."""
    # GET is in the static table, OPTIONS has to be entered in the dynamic one.
    for entered, indexed, star_is_a_path in (
        (b"", b"\x82", False),
        (b"\x42\x07OPTIONS", b"\xbe", True),
        (b"", b"\x82", False),
    ):
        blocks = RequestBlocks(Config())
        blocks.decode(entered)
        before = indexed + b"\x87\x04"
        blocks.read(blocks.decode(before + b"\x02/a"), before + b"\x02/a", True)
        for _ in range(2):
            assert path_of(blocks, before + b"\x03/bc") == b"/bc"
            assert path_of(blocks, before + b"\x02/\x00") is None
            assert path_of(blocks, before + b"\x01*") == (b"*" if star_is_a_path else None)


def path_of(blocks: RequestBlocks, block: bytes) -> bytes | None:
    """Return the path of a block that is like one before; None if it is not one."""
    request = blocks.recall(block, True)
    if request is not None:
        return request.path
    with pytest.raises(MalformedRequest):
        blocks.read(blocks.decode(block), block, True)
    return None


def test_what_a_connection_remembers_of_long_requests_is_bounded_in_octets():
    blocks = RequestBlocks(Config())
    fields = never_indexed(b"a", b"x" * 3_900)
    for ended in (False, True):
        for number in range(1 + request_blocks.RECENT_PATHS):
            block = b"\x82\x87\x04\x04/%03d" % number + fields
            if blocks.recall(block, ended) is None:
                blocks.read(blocks.decode(block), block, ended)
    kept = [known for pair in vars(blocks).values() if isinstance(pair, tuple) for known in pair]
    octets = sum(len(block) for known in kept for block in known)
    assert octets <= 4 * request_blocks.REMEMBERED_OCTETS


# ------- what a connection remembers of its requests is bounded, however many different ones come


def block_of(number: int, length: int) -> bytes:
    """Return a request of its own, none of whose fields enters the table."""
    value = b"%06d" % number + bytes((ord("x"),)) * (length - 6)
    return b"\x82\x87\x84" + b"\x10\x01a" + bytes((length,)) + value


def remembered(blocks: RequestBlocks, sent: list[bytes]) -> int:
    return sum(blocks.recall(block, True) is not None for block in sent)


def test_a_connection_remembers_its_requests_up_to_a_number_of_octets() -> None:
    blocks, length = RequestBlocks(Config()), 100
    sent = [block_of(number, length) for number in range(500)]
    most = 0
    for number, block in enumerate(sent, 1):
        blocks.read(blocks.decode(block), block, True)
        assert remembered(blocks, [block]) == 1
        most = max(most, remembered(blocks, sent[:number]))
    # A section is larger than the one field that differs.
    assert 10 < most <= REMEMBERED_OCTETS // length


# ----------------------------------------------------------- what clients have remembered

PATHS_BOUND = 2_500_000
"""Octets of 4,096 paths: 2 MB, as the docs say, and what a table of so many entries takes."""
METHOD = 3_900
"""Octets of a method that just fits the dynamic table."""
LONGEST_CODED = b"/" + b"a" * 199
"""200 octets that are 126 in Huffman code, with the last five of them digits."""


def paths_with_methods_of_their_own(count: int) -> Iterator[tuple[bytes, str]]:
    """Have one connection after the other read a path, each with a method nobody else has."""
    config = Config()
    for number in range(count):
        blocks = RequestBlocks(config)
        method = b"%0*d" % (METHOD, number)
        size = len(method) - 127
        blocks.decode(b"\x42\x7f" + bytes((size & 0x7F | 0x80, size >> 7)) + method)
        before = b"\xbe\x87\x04"
        path = huffman_encode(LONGEST_CODED[:-5] + b"%05d" % number)
        assert len(path) <= 126
        blocks.read(blocks.decode(before + b"\x01/"), before + b"\x01/", True)
        request = blocks.recall(before + bytes((0x80 | len(path),)) + path, True)
        assert request is not None
        yield path, request.method


def octets_kept_by(fill: Callable[[], None]) -> int:
    """Return the octets of memory that are kept after ``fill``."""
    gc.collect()
    tracemalloc.start()
    try:
        fill()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.fixture
def _no_paths() -> Iterator[None]:
    request_blocks._read_path.cache_clear()
    yield
    request_blocks._read_path.cache_clear()


@pytest.mark.usefixtures("_no_paths")
def test_paths_that_are_remembered_hold_no_method_and_are_bounded_as_documented() -> None:
    def fill() -> None:
        for _ in paths_with_methods_of_their_own(request_blocks.REMEMBERED_PATHS):
            pass

    kept = octets_kept_by(fill)
    assert request_blocks._read_path.cache_info().currsize == request_blocks.REMEMBERED_PATHS
    assert kept <= PATHS_BOUND


@pytest.mark.usefixtures("_no_paths")
def test_paths_remembered_with_their_methods_would_go_beyond_the_bound() -> None:
    read_path = lru_cache(request_blocks.REMEMBERED_PATHS)(lambda path, method: path)

    def fill() -> None:
        for path, method in paths_with_methods_of_their_own(request_blocks.REMEMBERED_PATHS):
            read_path(path, method)

    assert octets_kept_by(fill) > 4 * PATHS_BOUND
