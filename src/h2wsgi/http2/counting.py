"""What is counted of connections for metrics: plain numbers, in one object for the whole server.

Loop thread only. Requests are counted where they leave their connection's table, in the place where
the access log hears of them; frames on the wire, as an observer sees them, whichever engine made
them. So a server without metrics pays for neither. Whoever reads the numbers makes metrics of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from struct import Struct

from ..codes import GOAWAY, RST_STREAM, ErrorCode
from ..process.clock import clock
from ..seam.request import ConnectionFacts
from ..seam.stream import NO_WAITS, Stream
from .fields import FieldList
from .frame_gate import HEADER_SIZE, PREFACE

METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE")
)
"""Methods that are told apart. A client may make up as many others as it likes."""
OTHER = "other"
MOST_REST = 17
"""Octets of a frame's beginning that are enough to count it: a header, and of GOAWAY the code."""


class Counts:
    """All that a server counts of its connections, since it began.

    ``bounds`` are the upper bounds of the buckets of durations, in seconds, inclusive.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.connections = 0
        self.complete = {method: [0] * 1000 for method in (*METHODS, OTHER)}
        """Requests whose response was complete, by method and status."""
        self.others: Counter[tuple[str, int, str]] = Counter()
        """The others, by method, status (0 for none) and outcome."""
        self.totals = [0.0, 0, 0]
        """Of all requests: seconds, octets of responses, octets of requests."""
        self.seconds = [0] * (len(bounds) + 1)
        """How many took no longer than each bound, and longer than the one before."""
        self.response_sizes = [0] * 66
        self.request_sizes = [0] * 66
        """How many had up to 2 ** n octets, and more than for n - 1. Requests without content are
        in none."""
        self.waits = 0
        """Requests whose application had to wait for its client."""
        self.waited = 0.0
        """Seconds of that."""
        self.frames_in = [0] * 256
        self.frames_out = [0] * 256
        """By type."""
        self.resets_in: Counter[str] = Counter()
        self.resets_out: Counter[str] = Counter()
        self.goaways_in: Counter[str] = Counter()
        self.goaways_out: Counter[str] = Counter()
        """By the name of the code."""
        self.request_ended = self._make_request_ended()

    def _make_request_ended(self) -> Callable[[Stream, str], None]:
        """Return what counts a request that has left its connection's table.

        It is called for each, so what it needs is at hand, and it calls nothing that it can do
        without. (Written as others are it took half as long again.)
        """
        complete, totals = self.complete, self.totals
        durations, sizes, bounds = self.seconds, self.response_sizes, self._bounds

        def request_ended(stream: Stream, outcome: str) -> None:
            head = stream.head
            try:
                if outcome:
                    self._count_broken(stream.request.method, stream.status, outcome)
                else:
                    complete[stream.request.method][0 if head is None else head.status] += 1
            except KeyError:
                complete[OTHER][stream.status] += 1
            took = clock.monotonic() - stream.started_at
            totals[0] += took
            durations[bisect_left(bounds, took)] += 1
            octets = stream.octets_sent
            totals[1] += octets
            sizes[(octets - 1).bit_length()] += 1
            if stream.has_content:
                octets = stream.octets_received
                totals[2] += octets
                self.request_sizes[(octets - 1).bit_length()] += 1
            if stream.waits is not NO_WAITS:
                self.waits += 1
                self.waited += stream.waited_until(clock.monotonic()).seconds

        return request_ended

    def told_with(
        self, log: Callable[[Stream, str], None], is_wanted: Callable[[], bool] | None
    ) -> Callable[[Stream, str], None]:
        """Return what counts a request that has ended, and tells ``log`` if that is wanted."""
        if is_wanted is None:
            return self.request_ended

        def tell(stream: Stream, outcome: str) -> None:
            self.request_ended(stream, outcome)
            if is_wanted():
                log(stream, outcome)

        return tell

    def _count_broken(self, method: str, status: int, outcome: str) -> None:
        """Count a request whose response was not complete."""
        method = method if method in METHODS else OTHER
        self.others[method, status, outcome_of(outcome)] += 1

    def request_refused(self, fields: FieldList) -> None:
        """Count a request that was over the limit of streams."""
        method = dict(fields).get(b":method", b"").decode("latin-1")
        self._count_broken(method, 0, "reset by server: REFUSED_STREAM")


def outcome_of(text: str) -> str:
    """Return which of a few outcomes it is that the access log says at length."""
    if text.startswith("reset by "):
        return "reset_by_client" if text.startswith("reset by client") else "reset_by_server"
    return "lost"


# Length and type of a frame as one number (RFC 9113 section 4.1).
_read_start = Struct(">L").unpack_from


class FrameCounts:
    """The frames of one connection: an observer that reads nothing of them but their headers."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        begin = len(PREFACE)
        self._received = _Way(counts.frames_in, counts.resets_in, counts.goaways_in, begin)
        self._sent = _Way(counts.frames_out, counts.resets_out, counts.goaways_out, 0)
        self.received: Callable[[bytes], None] = self._first
        """See ConnectionObserver. What counts it, once it is known to be HTTP/2."""
        self.sent = self._sent.walk
        """See ConnectionObserver."""

    def opened(self, facts: ConnectionFacts, alpn: str | None) -> None:
        """See ConnectionObserver."""
        self._counts.connections += 1

    def _first(self, octets: bytes) -> None:
        if octets.startswith(PREFACE[: len(octets)]):
            self.received = self._received.walk
        else:
            self.received = self.sent = _nothing
        self.received(octets)

    def closed(self, reason: str) -> None:
        """See ConnectionObserver."""


def _nothing(octets: bytes) -> None:
    """Count nothing of a client that does not speak HTTP/2, nor of what it is told."""


class _Way:
    """One direction of a connection."""

    __slots__ = ("_frames", "_goaways", "_next", "_resets", "_rest")

    def __init__(
        self, frames: list[int], resets: Counter[str], goaways: Counter[str], begin: int
    ) -> None:
        self._frames = frames
        self._resets = resets
        self._goaways = goaways
        self._next = begin
        """Where in the octets to come the next frame begins."""
        self._rest = b""
        """The beginning of a frame that has to be read with the octets to come."""

    def walk(self, octets: bytes) -> None:
        """Count the frames that begin in ``octets``, which follow those of the call before."""
        if self._rest:
            octets, self._rest = self._rest + octets, b""
        frames = self._frames
        at = begin = self._next
        last = len(octets) - HEADER_SIZE
        with_code = frames[RST_STREAM] + frames[GOAWAY]
        while at <= last:
            (start,) = _read_start(octets, at)
            frames[start & 0xFF] += 1
            at += HEADER_SIZE + (start >> 8)
        if frames[RST_STREAM] + frames[GOAWAY] != with_code:
            at = self._read_codes(octets, begin)
        if at < len(octets):
            self._rest = octets[at:]
            at = len(octets)
            self._next = 0
        else:
            self._next = at - len(octets)

    def _read_codes(self, octets: bytes, at: int) -> int:
        """Count error codes too; return where to go on, with a frame whose code is not there."""
        while at <= len(octets) - HEADER_SIZE:
            (start,) = _read_start(octets, at)
            kind = start & 0xFF
            if kind in (RST_STREAM, GOAWAY):
                begin = 4 if kind == GOAWAY else 0
                end = at + HEADER_SIZE + begin + 4
                is_whole = start >> 8 >= begin + 4
                if is_whole and end > len(octets):
                    self._frames[kind] -= 1
                    return at
                code = int.from_bytes(octets[end - 4 : end], "big") if is_whole else -1
                name = ErrorCode(code).name if code in _CODES else OTHER
                (self._resets if kind == RST_STREAM else self._goaways)[name] += 1
            at += HEADER_SIZE + (start >> 8)
        return at


_CODES = frozenset(map(int, ErrorCode))
