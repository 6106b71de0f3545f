"""Field lists at the limit of the decoder, by values that Huffman code makes short."""

from __future__ import annotations

import pytest
from h2.errors import ErrorCodes

from h2wsgi.errors import ConnectionFailed
from h2wsgi.http2.engines.hpack import Decoder, encode

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
