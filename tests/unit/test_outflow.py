"""Small pieces of output, put together before they are queued."""

from __future__ import annotations

from typing import Any, cast

import pytest

from h2wsgi.http2.frame_types import MAX_FRAME_SIZE
from h2wsgi.http2.outflow import SMALL_PIECE, joined
from h2wsgi.seam.handover import ABORT, END, MORE, TRAILERS, Head, Kind, Output

HEAD = Head(200)
FIRST, SECOND = cast(Any, "the first stream"), cast(Any, "the second")


def piece(
    octets: int, kind: Kind = MORE, *, stream: Any = FIRST, head: Head | None = None
) -> Output:
    return (stream, kind, head, bytes(octets), 0, None)


def sizes(*batch: Output) -> list[int]:
    return [len(data) for _, _, _, data, _, _ in joined(list(batch))]


def test_small_pieces_of_a_stream_become_one() -> None:
    (whole,) = joined([piece(3, head=HEAD), piece(4), piece(5, END)])
    assert whole == (FIRST, END, HEAD, bytes(12), 0, None)


@pytest.mark.parametrize(("first", "found"), [(SMALL_PIECE - 1, 1), (SMALL_PIECE, 2)])
def test_a_piece_is_joined_to_the_next_if_it_is_small(first: int, found: int) -> None:
    assert len(sizes(piece(first), piece(3))) == found


def test_pieces_are_joined_up_to_a_frame() -> None:
    rest = MAX_FRAME_SIZE - 100
    assert sizes(piece(100), piece(rest)) == [MAX_FRAME_SIZE]
    assert sizes(piece(100), piece(rest + 1)) == [100, rest + 1]
    assert sizes(*[piece(4_000)] * 6) == [16_000, 8_000]


@pytest.mark.parametrize("kind", [END, ABORT, TRAILERS])
def test_nothing_is_joined_behind_an_end(kind: Kind) -> None:
    assert sizes(piece(1, kind), piece(2)) == [1, 2]


def test_streams_are_not_mixed_and_a_head_begins_anew() -> None:
    assert sizes(piece(1), piece(2, stream=SECOND), piece(3)) == [1, 2, 3]
    assert sizes(piece(1), piece(2, head=HEAD)) == [1, 2]
    assert sizes(piece(1), piece(2, TRAILERS)) == [1, 2]
