"""Small pieces of output, put together before they are queued; what a client has taken."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from h2wsgi.codes import FRAME_LIMIT
from h2wsgi.http2.outflow import SMALL_PIECE, Outflow, joined
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
    rest = FRAME_LIMIT - 100
    assert sizes(piece(100), piece(rest)) == [FRAME_LIMIT]
    assert sizes(piece(100), piece(rest + 1)) == [100, rest + 1]
    assert sizes(*[piece(4_000)] * 6) == [16_000, 8_000]


@pytest.mark.parametrize("kind", [END, ABORT, TRAILERS])
def test_nothing_is_joined_behind_an_end(kind: Kind) -> None:
    assert sizes(piece(1, kind), piece(2)) == [1, 2]


def test_streams_are_not_mixed_and_a_head_begins_anew() -> None:
    assert sizes(piece(1), piece(2, stream=SECOND), piece(3)) == [1, 2, 3]
    assert sizes(piece(1), piece(2, head=HEAD)) == [1, 2]
    assert sizes(piece(1), piece(2, TRAILERS)) == [1, 2]


class Wired:
    """An outflow whose transport keeps what it is given until the client takes it."""

    def __init__(self) -> None:
        self.unsent = 0
        self.write_paused = False
        self.windows = {0: 0}
        self.framed = b""
        handover = SimpleNamespace(released=lambda octets: None)
        anything = cast(Any, self)
        self.outflow = Outflow(
            anything, anything, anything, cast(Any, handover), anything, anything, {}
        )

    def send_window(self, stream_id: int) -> int:
        return min(self.windows[0], self.windows[stream_id])

    def own_window(self, stream_id: int) -> int:
        return self.windows[stream_id]

    def data_to_send(self) -> bytes:
        return self.framed

    def write(self, data: bytes) -> None:
        self.unsent += len(data)

    def send(self, *, content: int = 0, other: int = 0) -> None:
        """Write frames: content and other octets, in any order."""
        self.framed = bytes(content + other)
        self.outflow.whole_unwritten += content
        self.outflow.write()

    def takes(self, octets: int) -> int:
        """Have the client take so many octets; return how much content it has taken in all."""
        self.unsent -= octets
        return self.outflow.content_taken()


def test_what_answers_frames_is_no_content_that_was_taken() -> None:
    wired = Wired()
    wired.send(other=100)
    assert wired.takes(100) == 0
    wired.send(content=50, other=9)
    assert wired.takes(59) == 50
    wired.send(other=1_000)
    assert wired.takes(1_000) == 50


def test_content_that_lies_in_the_transport_is_not_taken_yet() -> None:
    wired = Wired()
    wired.send(content=1_000, other=9)
    assert wired.takes(0) == 0
    assert wired.takes(400) == 400
    wired.send(other=500)
    assert wired.takes(609 + 500) == 1_000


def test_content_behind_other_frames_counts_once() -> None:
    wired = Wired()
    wired.send(other=500)
    wired.send(content=100)
    assert [wired.takes(100) for _ in range(6)] == [100] * 6


@pytest.mark.parametrize(
    ("connection", "own", "paused", "shares"),
    [
        (0, 1, False, True),
        (0, 0, False, False),  # its own window holds it up, whatever others take
        (1, 1, False, False),
        (1, 0, True, True),
    ],
)
def test_a_stream_shares_what_is_taken_if_it_waits_for_what_all_wait_for(
    connection: int, own: int, paused: bool, shares: bool
) -> None:
    wired = Wired()
    wired.windows = {0: connection, 1: own}
    wired.write_paused = paused
    stream = cast(Any, SimpleNamespace(stream_id=1))
    assert wired.outflow.is_held_up(stream) is shares
