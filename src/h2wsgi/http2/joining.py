"""Small pieces of output put together, before each of them costs its way through the send queue.

Pure. Keeps what streams handed over in its order, for each of them (invariant 2).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..handover import ABORT, MORE, Kind, Output
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
        first = output
        output = next(pending, None)
        if first.kind is MORE and len(first.data) < SMALL_PIECE:
            kind: Kind = MORE
            pieces = [first.data]
            octets = len(first.data)
            while (
                output is not None
                and output.stream is first.stream
                and output.head is None
                and output.kind <= ABORT
                and kind is MORE
                and octets + len(output.data) <= MAX_FRAME_SIZE
            ):
                pieces.append(output.data)
                octets += len(output.data)
                kind = output.kind
                output = next(pending, None)
            if len(pieces) > 1:
                first = Output(first.stream, kind, first.head, b"".join(pieces))
        yield first
