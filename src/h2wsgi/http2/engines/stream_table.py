"""Which streams of a connection are open, were reset by us, were skipped or are ignored.

RFC 9113 section 5.1 as far as it is about identifiers. Bounded: of the closed streams only the
last are remembered. Loop thread only; knows neither frames nor h2.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from ...codes import ErrorCode
from ...errors import ConnectionFailed

REMEMBERED_GAPS = 100
"""Runs of stream identifiers that the client skipped last, and may not use any more."""
REMEMBERED_RESETS = 1_000
"""Streams we reset last: what the peer sent before it knew is ignored, not an error."""


class OpenStream:
    """A stream's content that is still owed, and which side has ended."""

    __slots__ = ("content_left", "request_ended", "response_ended")

    def __init__(self, content_length: int | None, request_ended: bool) -> None:
        self.content_left = content_length
        self.request_ended = request_ended
        self.response_ended = False


S = TypeVar("S", bound=OpenStream)


class StreamTable(Generic[S]):
    """The streams of one connection by identifier."""

    def __init__(self) -> None:
        self.open: dict[int, S] = {}
        self.highest = 0
        """The highest stream that the client opened, refused ones included."""
        self.ignore_above: int | None = None
        """The last-stream-id of our GOAWAY: streams above it never happened."""
        self._skipped: list[range] = []
        self._reset_by_us: dict[int, None] = {}

    def is_ignored(self, stream_id: int) -> bool:
        """Return True for a stream that the client opened after our GOAWAY."""
        return self.ignore_above is not None and stream_id > self.ignore_above

    def is_idle(self, stream_id: int) -> bool:
        """Return True for a stream that nobody opened yet; of ours, which are even, none is."""
        never = stream_id % 2 == 0 or stream_id > self.highest
        return never and not self.is_ignored(stream_id)

    def advance(self, stream_id: int) -> None:
        """The client opens ``stream_id``; those it skipped are closed thereby (section 5.1.1)."""
        if stream_id > self.highest + 2:
            self._skipped.append(range(self.highest + 1, stream_id))
            if len(self._skipped) > REMEMBERED_GAPS:
                del self._skipped[0]
        self.highest = stream_id

    def require_known(self, stream_id: int, what: str) -> None:
        """Refuse a frame of stream 0 or of one that nobody opened.

        Raises:
            ConnectionFailed: PROTOCOL_ERROR.
        """
        if self.is_idle(stream_id):
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, f"{what} on stream {stream_id}")

    def require_reset_by_us(self, stream_id: int) -> None:
        """Refuse HEADERS of a closed stream, unless they may have crossed our RST_STREAM.

        Raises:
            ConnectionFailed: PROTOCOL_ERROR if it was skipped, STREAM_CLOSED if it was open once.
        """
        if any(stream_id in gap for gap in self._skipped):
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} is too low")
        if stream_id not in self._reset_by_us:
            raise ConnectionFailed(ErrorCode.STREAM_CLOSED, f"HEADERS on closed stream {stream_id}")

    def was_reset_by_us(self, stream_id: int) -> bool:
        """Return True if we reset the stream lately."""
        return stream_id in self._reset_by_us

    def reset_by_us(self, stream_id: int) -> bool:
        """Close a stream that we reset; True if it was open."""
        self._reset_by_us[stream_id] = None
        if len(self._reset_by_us) > REMEMBERED_RESETS:
            del self._reset_by_us[next(iter(self._reset_by_us))]
        return self.open.pop(stream_id, None) is not None

    def request_ended(self, stream_id: int) -> bool:
        """END_STREAM came; True if that closes the stream."""
        if (stream := self.open.get(stream_id)) is None:
            return False
        stream.request_ended = True
        return self._close_if_both_ended(stream_id, stream)

    def response_ended(self, stream_id: int) -> bool:
        """END_STREAM was sent; True if that closes the stream."""
        if (stream := self.open.get(stream_id)) is None:
            return False
        stream.response_ended = True
        return self._close_if_both_ended(stream_id, stream)

    def _close_if_both_ended(self, stream_id: int, stream: S) -> bool:
        closed = stream.request_ended and stream.response_ended
        if closed:
            del self.open[stream_id]
        return closed
