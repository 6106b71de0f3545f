"""Small pieces of output put together, before each of them costs its way through the send queue.

Pure. Keeps what streams handed over in its order, for each of them (invariant 2).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..handover import ABORT, OPEN, Output
from .frame_types import MAX_FRAME_SIZE

SMALL_PIECE = 4_096
"""Octets below which a piece of content is worth being joined to the next."""


def joined(batch: list[Output]) -> Iterator[Output]:
    """Return a batch with the small pieces of one stream, as generators make them, put together.

    Up to a frame at a time: each piece costs as much on its way through the queue.
    """
    pending = iter(batch)
    output = next(pending, None)
    while output is not None:
        stream, head, data, mark, credit = output
        output = next(pending, None)
        if mark == OPEN and len(data) < SMALL_PIECE:
            pieces = [data]
            octets = len(data)
            while (
                output is not None
                and output[0] is stream
                and output[1] is None
                and output[3] <= ABORT
                and mark == OPEN
                and octets + len(output[2]) <= MAX_FRAME_SIZE
            ):
                pieces.append(output[2])
                octets += len(output[2])
                mark = output[3]
                output = next(pending, None)
            if len(pieces) > 1:
                data = b"".join(pieces)
        yield stream, head, data, mark, credit
