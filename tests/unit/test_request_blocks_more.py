"""What a connection remembers of its requests is bounded, however many different ones come."""

from __future__ import annotations

from h2wsgi.config.config import Config
from h2wsgi.http2.engines.request_blocks import REMEMBERED_OCTETS, RequestBlocks


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
