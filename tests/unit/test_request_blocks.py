"""Requests that are known by their field block: right, and bounded in octets."""

from __future__ import annotations

import pytest

from h2wsgi.config.config import Config
from h2wsgi.errors import MalformedRequest
from h2wsgi.http2.engines import request_blocks
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
