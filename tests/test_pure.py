"""The parts that need no socket: frame gate, send queue, windows, clocks, pool, seam, addresses."""

from __future__ import annotations

import contextlib
import errno
import gc
import heapq
import itertools
import logging
import os
import random
import socket
import stat
import struct
import threading
import time
import types
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import ANY

import pytest
from h2.errors import ErrorCodes
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from h2wsgi import addresses
from h2wsgi.addresses import open_listeners, parse_host_port
from h2wsgi.budget import Budget
from h2wsgi.config import Config
from h2wsgi.errors import ClientDisconnected, ConfigurationError, ConnectionFailed, ReadTimeout
from h2wsgi.handover import ABORT, CREDIT, END, FINISHED, MORE, Handover, Limits
from h2wsgi.http2 import frame_types
from h2wsgi.http2.deadlines import Deadlines
from h2wsgi.http2.frame_gate import PREFACE, FrameGate, NotHTTP2, ReceivedFrame
from h2wsgi.http2.frame_meter import FrameMeter
from h2wsgi.http2.inflow import Inflow
from h2wsgi.http2.readers import TURNS, Readers
from h2wsgi.http2.send_queue import Piece, SendQueue
from h2wsgi.logs import Log
from h2wsgi.overtime import Overtime
from h2wsgi.peers import connection_facts
from h2wsgi.request import ConnectionFacts, RequestFields
from h2wsgi.stream import Stream
from h2wsgi.wsgi import growth, thread_pool
from h2wsgi.wsgi.lanes import Lane, shared_threads
from h2wsgi.wsgi.thread_pool import ThreadPool, Worker
from support.settled import eventually

PATIENCE = 10.0
"""Seconds that anything in another thread may take."""

patient = settings(deadline=None)
"""A busy machine may be slow with any one example."""

# ---------------------------------------------------------------------------- frame gate


def encoded(type: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return (
        struct.pack("!L", len(payload))[1:] + struct.pack("!BBL", type, flags, stream_id) + payload
    )


OPENING = PREFACE + encoded(frame_types.SETTINGS, 0, 0)
stream_ids = st.integers(0, 2**31 - 1)
payloads = st.binary(max_size=60)
plain_types = st.sampled_from([0, 0, 2, 5, 10, 0xEE])


@st.composite
def field_blocks(draw: st.DrawFn) -> tuple[bytes, ReceivedFrame]:
    """Return HEADERS with CONTINUATION frames, and the frame they make."""
    stream_id, parts = draw(stream_ids), draw(st.lists(payloads, min_size=1, max_size=9))
    ended, padding = draw(st.booleans()), draw(st.none() | st.integers(0, 255))
    flags, first = int(ended), parts[0]
    if draw(st.booleans()):
        flags, first = flags | frame_types.FLAG_PRIORITY, bytes(5) + first
    if padding is not None:
        flags |= frame_types.FLAG_PADDED
        first = bytes([padding]) + first + bytes(padding)
    last = frame_types.FLAG_END_HEADERS
    octets = encoded(1, flags | (last if len(parts) == 1 else 0), stream_id, first)
    for number, part in enumerate(parts[1:], 2):
        octets += encoded(9, last if number == len(parts) else 0, stream_id, part)
    return octets, (1, int(ended) | last, stream_id, b"".join(parts))


@st.composite
def plain_frames(draw: st.DrawFn) -> tuple[bytes, ReceivedFrame]:
    frame = (draw(plain_types), draw(st.integers(0, 255)), draw(stream_ids), draw(payloads))
    return encoded(*frame), frame


frames_and_octets = st.lists(field_blocks() | plain_frames(), max_size=6)


class FrameList:
    """An engine that only notes the frames it is given."""

    def __init__(self, frames: list[ReceivedFrame]) -> None:
        self._frames = frames

    def receive_frame(self, *frame: Any) -> None:
        self._frames.append(frame)

    def receive_headers(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        flags = frame_types.FLAG_END_HEADERS | (end_stream and frame_types.FLAG_END_STREAM)
        self._frames.append((frame_types.HEADERS, flags, stream_id, block))

    def receive_data(self, stream_id: int, data: bytes, flow_octets: int, end_stream: bool) -> None:
        assert flow_octets == len(data), "padding was stripped by the gate"
        flags = end_stream and frame_types.FLAG_END_STREAM
        self._frames.append((frame_types.DATA, flags, stream_id, data))


def received(
    chunks: list[bytes], *, one_by_one: bool = False
) -> tuple[list[ReceivedFrame], object]:
    """Return the frames a fresh gate makes of chunks, and the error it ends with."""
    gate, frames = FrameGate(100_000, 8, FrameMeter(Config())), []
    try:
        for chunk in chunks:
            gate.feed(chunk)
            if one_by_one:
                while (frame := gate.next_frame()) is not None:
                    frames.append(frame)
            else:
                while gate.deliver(FrameList(frames)):
                    pass
    except ConnectionFailed as error:
        return frames, (int(error.code), str(error))
    except NotHTTP2:
        return frames, NotHTTP2
    return frames, gate.buffered


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
    return [octets[start:end] for start, end in itertools.pairwise(edges)]


cuts = st.lists(st.integers(0, 10_000), max_size=20)


@patient
@given(frames_and_octets, cuts)
def test_any_cutting_of_the_octets_gives_the_frames_that_were_sent(
    sent: list[tuple[bytes, ReceivedFrame]], places: list[int]
) -> None:
    octets = OPENING + b"".join(octets for octets, _ in sent)
    for one_by_one in (False, True):
        frames, left = received(cut(octets, places), one_by_one=one_by_one)
        assert frames[1:] == [frame for _, frame in sent]
        assert left == 0


@patient
@given(frames_and_octets, st.binary(max_size=40), cuts, st.integers(0, 500), st.integers(1, 255))
def test_any_cutting_of_damaged_octets_ends_the_same_way(
    sent: list[tuple[bytes, ReceivedFrame]], junk: bytes, places: list[int], at: int, flip: int
) -> None:
    octets = bytearray(OPENING + b"".join(octets for octets, _ in sent) + junk)
    octets[at % len(octets)] ^= flip
    expected = received([bytes(octets)], one_by_one=True)
    assert received([bytes(octets)]) == expected
    assert received(cut(bytes(octets), places)) == expected
    assert received([bytes([octet]) for octet in octets]) == expected


def test_a_frame_too_long_is_refused_before_its_payload() -> None:
    gate = FrameGate(100_000, 8, FrameMeter(Config()))
    gate.feed(OPENING + encoded(0, 0, 1, bytes(16_384)))
    assert [gate.next_frame() is not None for _ in range(3)] == [True, True, False]
    gate.feed(b"\x00\x40\x01\x00\x00\x00\x00\x00\x01")
    with pytest.raises(ConnectionFailed, match="16385"):
        gate.next_frame()


@pytest.mark.parametrize(
    "first",
    [encoded(4, 1, 0), encoded(6, 0, 0, bytes(8)), encoded(1, 5, 1, b"\x82"), encoded(0xEE, 0, 0)],
    ids=["ack", "ping", "headers", "unknown"],
)
def test_settings_come_first(first: bytes) -> None:
    assert received([PREFACE + first])[1][0] == 1  # type: ignore[index]


@pytest.mark.parametrize("sizes", [[101], [60, 41], [0, 0, 101]])
def test_a_field_block_is_refused_once_it_is_too_large(sizes: list[int]) -> None:
    gate = FrameGate(100, 8, FrameMeter(Config()))
    gate.feed(OPENING + encoded(1, 0, 1, bytes(sizes[0])))
    for size in sizes[1:]:
        gate.feed(encoded(9, 0, 1, bytes(size)))
    with pytest.raises(ConnectionFailed):
        [gate.next_frame() for _ in range(2)]


@given(st.lists(st.integers(1, 40_000), max_size=20))
def test_large_frames_come_whole_in_whatever_pieces(cuts: list[int]) -> None:
    gate = FrameGate(100_000, 8, FrameMeter(Config()))
    gate.max_frame_size = 2**24 - 1
    payloads = [bytes([n]) * size for n, size in enumerate((70_000, 10, 16_384, 100_000, 33_000))]
    header = struct.Struct("!HBBBL").pack
    octets = PREFACE + header(0, 0, 4, 0, 0)
    for payload in payloads:
        octets += header(len(payload) >> 8, len(payload) & 0xFF, 0, 0, 1) + payload
    frames, sent = [], 0
    for size in [*cuts, len(octets)]:
        gate.feed(octets[sent : sent + size])
        sent += size
        while (frame := gate.next_frame()) is not None:
            frames.append(frame)
    assert [frame[3] for frame in frames] == [b"", *payloads]
    assert gate.buffered == 0


def test_the_end_of_a_large_frame_may_come_octet_by_octet() -> None:
    gate = FrameGate(100_000, 8, FrameMeter(Config()))
    gate.max_frame_size = 2**24 - 1
    gate.feed(PREFACE + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    assert gate.next_frame() == (4, 0, 0, b"")
    gate.feed(bytes([0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 1]) + bytes(2**23))
    assert gate.next_frame() is None
    kept = gate._data
    for _ in range(1_000):
        gate.feed(b"x")
        assert gate.next_frame() is None
        assert gate._data is kept  # to copy 8 MiB each time would take seconds
    assert gate.buffered == 9 + 2**23 + 1_000


def test_a_field_block_over_the_limit_is_refused_before_it_has_come() -> None:
    gate = FrameGate(100_000, 8, FrameMeter(Config()))
    gate.max_frame_size = 2**24 - 1
    gate.feed(PREFACE + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]) + bytes([2, 0, 0, 1, 4, 0, 0, 0, 1]))
    assert gate.next_frame() == (4, 0, 0, b"")
    with pytest.raises(ConnectionFailed) as failed:
        gate.next_frame()
    assert failed.value.code == ErrorCodes.ENHANCE_YOUR_CALM


def test_what_was_peeked_stays() -> None:
    gate = FrameGate(100, 8, FrameMeter(Config()))
    gate.feed(b"PRI")
    assert gate.peek() == b"PRI"
    assert gate.next_frame() is None
    assert (gate.peek(), gate.buffered, gate.preface_received) == (b"PRI", 3, False)


# ---------------------------------------------------------------------------- send queue

FRAME = 100
STREAMS = (1, 3, 5, 7)
HEAD = [(b":status", b"200")]


class Sending:
    """What a model knows of one stream."""

    def __init__(self) -> None:
        self.pushed = bytearray()
        self.sent = 0
        self.head = "none"
        self.mark = MORE
        self.over = False

    @property
    def owes(self) -> bool:
        unsent = self.head == "pushed" or self.sent < len(self.pushed)
        return not self.over and (unsent or self.mark != MORE)


class SendQueueMachine(RuleBasedStateMachine):
    """Whatever the order of events: order kept, windows kept, nothing lost, nothing kept back."""

    def __init__(self) -> None:
        super().__init__()
        self.streams = {stream_id: Sending() for stream_id in STREAMS}
        self.windows = dict.fromkeys(STREAMS, 0)
        self.connection = 0
        self.queue = SendQueue(self.window, FRAME)

    def window(self, stream_id: int) -> int:
        return min(self.windows[stream_id], self.connection)

    @rule(
        stream_id=st.sampled_from(STREAMS),
        size=st.integers(0, 350),
        mark=st.sampled_from([MORE, MORE, MORE, END, ABORT]),
    )
    def push(self, stream_id: int, size: int, mark: int) -> None:
        stream = self.streams[stream_id]
        if (
            stream.over
            or stream.mark != MORE
            or (stream.head != "none" and mark == MORE and not size)
        ):
            return
        head = HEAD if stream.head == "none" else None
        stream.head = "pushed" if head else stream.head
        data = random.randbytes(size)
        stream.pushed += data
        stream.mark = mark
        self.queue.push(stream_id, head, data, mark)

    @rule(stream_id=st.sampled_from(STREAMS), octets=st.integers(1, 300))
    def open_stream_window(self, stream_id: int, octets: int) -> None:
        self.windows[stream_id] += octets
        self.queue.window_opened(stream_id)

    @rule(octets=st.integers(1, 600))
    def open_connection_window(self, octets: int) -> None:
        self.connection += octets
        self.queue.window_opened(0)

    @rule(octets=st.integers(1, 300))
    def shrink_every_stream_window(self, octets: int) -> None:
        for stream_id in STREAMS:
            self.windows[stream_id] -= octets

    @rule(stream_id=st.sampled_from(STREAMS))
    def discard(self, stream_id: int) -> None:
        self.queue.discard(stream_id)
        self.streams[stream_id].over = True

    @precondition(lambda self: len(self.queue.pending) > 0)
    @rule(pieces=st.integers(1, 6))
    def send(self, pieces: int) -> None:
        for _ in range(pieces):
            if (piece := self.queue.next()) is not None:
                self.check(piece)

    def check(self, piece: Piece) -> None:
        stream = self.streams[piece.stream_id]
        assert not stream.over
        if piece.head is not None:
            assert (stream.head, stream.sent, piece.data) == ("pushed", 0, b"")
            stream.head = "sent"
        data = bytes(piece.data)
        assert not data or stream.head == "sent"
        assert len(data) <= min(max(self.window(piece.stream_id), 0), FRAME)
        assert data == stream.pushed[stream.sent : stream.sent + len(data)]
        stream.sent += len(data)
        self.windows[piece.stream_id] -= len(data)
        self.connection -= len(data)
        if piece.kind == END:
            assert (stream.mark, stream.sent) == (END, len(stream.pushed))
        if piece.kind == ABORT:
            assert stream.mark == ABORT
        stream.over = piece.kind != MORE

    @invariant()
    def the_queue_knows_who_has_something_to_send(self) -> None:
        for stream_id, stream in self.streams.items():
            assert (stream_id in self.queue.pending) == stream.owes
        assert len(self.queue.pending) == sum(stream.owes for stream in self.streams.values())

    @invariant()
    def nobody_with_a_window_is_kept_waiting(self) -> None:
        ready = [
            stream_id
            for stream_id, stream in self.streams.items()
            if stream.owes and (stream.head == "pushed" or stream.sent == len(stream.pushed))
        ]
        if ready:
            piece = self.queue.next()
            assert piece is not None
            self.check(piece)

    def teardown(self) -> None:
        self.connection = 1_000_000
        self.windows = dict.fromkeys(STREAMS, 1_000_000)
        self.queue.window_opened(0)
        while (piece := self.queue.next()) is not None:
            self.check(piece)
        assert len(self.queue.pending) == 0
        for stream in self.streams.values():
            assert stream.over or (stream.sent == len(stream.pushed) and stream.mark == MORE)


TestSendQueue = SendQueueMachine.TestCase
TestSendQueue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def queue_with(windows: Callable[[int], int]) -> SendQueue:
    return SendQueue(windows, FRAME)


def test_streams_take_turns_of_one_frame() -> None:
    queue = queue_with(lambda _: 10_000)
    for stream_id in STREAMS:
        queue.push(stream_id, None, bytes(1_000), END)
    order = [piece.stream_id for _ in range(12) if (piece := queue.next())]
    assert order == [*STREAMS] * 3


def test_a_connection_window_that_opens_a_frame_at_a_time_serves_every_stream() -> None:
    window = [0]
    queue = queue_with(lambda _: window[0])
    for stream_id in STREAMS:
        queue.push(stream_id, None, bytes(1_000), END)
    order = []
    for _ in range(12):
        window[0] = FRAME
        queue.window_opened(0)
        while (piece := queue.next()) is not None:
            order.append(piece.stream_id)
            window[0] -= len(piece.data)
    assert order == [*STREAMS] * 3


def test_a_stream_that_failed_does_not_wait_for_its_window() -> None:
    queue = queue_with(lambda _: 0)
    queue.push(1, HEAD, b"content", MORE)
    assert queue.next() == Piece(1, HEAD, b"", MORE)
    assert queue.next() is None
    queue.push(1, None, b"", ABORT)
    assert queue.next() == Piece(1, None, b"", ABORT)
    assert not queue.pending


def test_small_chunks_share_a_frame_and_large_ones_are_cut() -> None:
    queue = queue_with(lambda _: 10_000)
    for data in (b"a" * 30, b"b" * 30, b"c" * 250):
        queue.push(1, None, data, MORE)
    queue.push(1, None, b"", END)
    sizes = []
    while (piece := queue.next()) is not None:
        sizes.append(len(piece.data))
    assert sizes == [60, 100, 100, 50]


# ------------------------------------------------------------- receive credit and budget


@patient
@given(st.integers(1, 2_000), st.lists(st.integers(0, 1_500), max_size=50))
def test_credit_is_returned_in_steps_and_never_lost(window: int, taken: list[int]) -> None:
    announced: list[int] = []
    engine = SimpleNamespace(credit=lambda stream_id, octets: announced.append(octets))
    host = SimpleNamespace(
        config=SimpleNamespace(connection_window=window), input_budget=Budget(1, lambda: None)
    )
    inflow = Inflow(ANY, engine, host, ANY, {})  # type: ignore[arg-type]
    step = max(1, window // 2)
    for octets in taken:
        inflow.taken(octets)
        assert 0 <= inflow.owed < step
    assert all(due >= step for due in announced)
    assert sum(announced) + inflow.owed == sum(taken)


@patient
@given(st.integers(4, 1_000), st.lists(st.tuples(st.booleans(), st.integers(0, 400)), max_size=60))
def test_a_budget_is_full_from_its_limit_until_three_quarters(
    limit: int, changes: list[tuple[bool, int]]
) -> None:
    reliefs = []
    budget = Budget(limit, lambda: reliefs.append(budget.used))
    used, full, expected = 0, False, []
    for adds, octets in changes:
        if adds:
            budget.add(octets)
            used += octets
            full = full or used >= limit
        else:
            octets = min(octets, used)
            budget.release(octets)
            used -= octets
            if full and used < limit * 3 // 4:
                full = False
                expected.append(used)
        assert (budget.used, budget.full) == (used, full)
    assert reliefs == expected


# ------------------------------------------------------------------------------- deadlines


class Clock:
    """Time that passes when it is told to, and timers in it."""

    class Timer:
        def __init__(self, callback: Callable[[], None]) -> None:
            self.callback: Callable[[], None] | None = callback

        def cancel(self) -> None:
            self.callback = None

    def __init__(self) -> None:
        self.time = 1_000.0
        self.early = 0.0
        """Seconds before its time that a timer goes off, as a coarse loop's clock has it."""
        self._timers: list[tuple[float, int, Clock.Timer]] = []

    def now(self) -> float:
        return self.time

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = self.Timer(callback)
        heapq.heappush(self._timers, (self.time + delay, len(self._timers), timer))
        return timer

    @property
    def armed(self) -> int:
        return sum(timer.callback is not None for _, _, timer in self._timers)

    def advance(self, seconds: float) -> None:
        end = self.time + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self.time = max(self.time, due - self.early)
            self.early = 0.0
            if timer.callback is not None:
                timer.callback()
        self.time = end


class Clocked:
    """A connection as its deadlines see it, and what they told it."""

    def __init__(self, clock: Clock, **options: float) -> None:
        self.clock = clock
        self.told: list[str] = []
        self.streams: dict[int, Any] = {}
        self.queue: set[int] = set()
        self.outflow = self.inflow = self
        self.withholds_credit = False
        self.is_held_up = False
        self.octets_taken = 0
        config = Config.build(**options)
        self.deadlines = Deadlines(self, config, clock.call_later, clock.now)
        self.deadlines.start(self)  # type: ignore[arg-type]

    def is_waiting(self, stream: Any) -> bool:
        return stream.stream_id in self.queue

    def open(self, stream_id: int = 1, content_length: int | None = None) -> Any:
        stream = types.SimpleNamespace(
            stream_id=stream_id,
            reading_since=None,
            received_at=0.0,
            progress_at=self.clock.time,
            started_at=self.clock.time,
            status=0,
            octets_received=0,
            octets_sent=0,
            request=types.SimpleNamespace(content_length=content_length),
        )
        self.streams[stream_id] = stream
        self.deadlines.streams_changed(len(self.streams))
        return stream

    def close(self, stream_id: int = 1) -> None:
        del self.streams[stream_id]
        if not self.streams:
            self.deadlines.streams_changed(0)

    def preface_timed_out(self) -> None:
        self.told.append("preface")
        self.deadlines.stop()

    def idle_timed_out(self) -> None:
        self.told.append("idle")

    def settings_timed_out(self) -> None:
        self.told.append("settings")
        self.deadlines.stop()

    def fields_timed_out(self) -> None:
        self.told.append("fields")
        self.deadlines.stop()

    def ping_due(self) -> None:
        self.told.append("ping")

    def ping_timed_out(self) -> None:
        self.told.append("no answer")
        self.deadlines.stop()

    def read_timed_out(self, stream: Any, option: str) -> None:
        self.told.append(f"read {stream.stream_id}" + (" rate" if option == "min_rate" else ""))
        stream.reading_since = None

    def request_timed_out(self, stream: Any) -> None:
        self.told.append(f"request {stream.stream_id}")
        self.close(stream.stream_id)

    def write_timed_out(self, stream: Any, option: str) -> None:
        self.told.append(f"write {stream.stream_id}" + (" rate" if option == "min_rate" else ""))
        self.queue.discard(stream.stream_id)
        self.close(stream.stream_id)


TIMES = {
    "preface_timeout": 10,
    "settings_timeout": 10,
    "fields_timeout": 10,
    "idle_timeout": 120,
    "read_timeout": 30,
    "write_timeout": 60,
}


@pytest.fixture
def clocked() -> Clocked:
    return Clocked(Clock(), **TIMES)


class CountingClock(Clock):
    """Fails where the loop would be kept busy."""

    looks = 0

    def call_later(self, delay: float, callback: Callable[[], None]) -> Clock.Timer:
        self.looks += 1
        assert self.looks < 1_000
        return super().call_later(delay, callback)


def test_a_timeout_of_next_to_nothing_does_not_keep_the_loop_busy() -> None:
    clock = CountingClock()
    Clocked(clock, read_timeout=1e-9).open()
    clock.advance(1.0)
    assert clock.looks > 10
    clock = CountingClock()
    overtime = Overtime(Config.build(request_timeout=1e-9), Log(logging.getLogger(), None))
    overtime.start(clock.call_later)
    clock.advance(1.0)
    assert clock.looks > 10


def test_the_preface_times_out(clocked: Clocked) -> None:
    clocked.clock.advance(9.9)
    assert clocked.told == []
    clocked.clock.advance(0.2)
    assert clocked.told == ["preface"]


def test_the_preface_times_out_though_its_timer_went_off_a_moment_early(clocked: Clocked) -> None:
    clocked.clock.early = 0.0005
    clocked.clock.advance(10.1)
    assert clocked.told == ["preface"]


def test_the_preface_times_out_though_streams_came_and_went(clocked: Clocked) -> None:
    clocked.open()
    clocked.clock.advance(3)
    clocked.close()
    clocked.clock.advance(8)
    assert clocked.told == ["preface"]


def test_the_preface_times_out_beside_open_streams(clocked: Clocked) -> None:
    clocked.open()
    clocked.clock.advance(12)
    assert clocked.told[:1] == ["preface"]


def test_a_connection_that_never_has_a_stream_is_idle_from_its_start(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    clocked.clock.advance(119)
    assert clocked.told == []
    clocked.clock.advance(1.1)
    assert clocked.told == ["idle"]


def test_a_connection_is_idle_from_its_last_stream_on(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    clocked.clock.advance(100)
    clocked.open()
    clocked.clock.advance(500)
    clocked.close()
    clocked.clock.advance(118)
    assert clocked.told == []
    clocked.clock.advance(3)
    assert clocked.told == ["idle"]


def test_an_idle_time_shorter_than_the_prefaces_is_kept() -> None:
    clocked = Clocked(Clock(), **TIMES | {"idle_timeout": 3})
    clocked.deadlines.settings_received()
    clocked.clock.advance(3.1)
    assert clocked.told == ["idle"]


def test_times_of_zero_are_off() -> None:
    clocked = Clocked(Clock(), **dict.fromkeys(TIMES, 0))
    assert clocked.clock.armed == 0
    stream = clocked.open()
    stream.reading_since = clocked.clock.time
    clocked.queue.add(1)
    clocked.clock.advance(10_000)
    clocked.close()
    clocked.clock.advance(10_000)
    assert clocked.told == []


def test_one_timer_is_enough_whatever_happens(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    for stream_id in range(1, 40, 2):
        clocked.open(stream_id)
        clocked.clock.advance(0.3)
        assert clocked.clock.armed == 1
    for stream_id in range(1, 40, 2):
        clocked.close(stream_id)
        assert clocked.clock.armed == 1
    clocked.deadlines.stop()
    assert clocked.clock.armed == 0
    clocked.clock.advance(1_000)
    assert clocked.told == []


def test_a_read_times_out_where_it_waits(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    clocked.open(1)
    clocked.open(3).reading_since = clocked.clock.time
    clocked.clock.advance(29)
    assert clocked.told == []
    clocked.clock.advance(2.1)
    assert clocked.told == ["read 3"]


def test_a_read_that_begins_anew_has_its_whole_time(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    stream = clocked.open()
    for _ in range(5):
        stream.reading_since = clocked.clock.time
        stream.octets_received += 10_000
        clocked.clock.advance(28)
    assert clocked.told == []


def test_a_reads_time_does_not_run_while_we_withhold_credit(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    clocked.open().reading_since = clocked.clock.time
    clocked.withholds_credit = True
    clocked.clock.advance(100)
    clocked.withholds_credit = False
    clocked.clock.advance(20)
    assert clocked.told == []
    clocked.clock.advance(12)
    assert clocked.told == ["read 1"]


def test_a_response_that_makes_no_progress_times_out_alone(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    stuck, moving, done = clocked.open(1), clocked.open(3), clocked.open(5)
    clocked.queue |= {1, 3}
    for _ in range(3):
        clocked.clock.advance(20.5)
        moving.progress_at = clocked.clock.time
        moving.octets_sent += 10_000
    clocked.clock.advance(1)
    assert clocked.told == [f"write {stuck.stream_id}"]
    assert done.stream_id in clocked.streams


def test_a_request_times_out_whoever_it_waits_for() -> None:
    clocked = Clocked(Clock(), **TIMES | {"request_timeout": 50})
    clocked.deadlines.settings_received()
    clocked.open(1)
    clocked.clock.advance(30)
    clocked.open(3)
    clocked.withholds_credit = True
    clocked.clock.advance(19)
    assert clocked.told == []
    clocked.clock.advance(2)
    assert clocked.told == ["request 1"]
    clocked.clock.advance(30)
    assert clocked.told == ["request 1", "request 3"]


@pytest.mark.parametrize("kind", ["read", "request"])
def test_short_times_are_looked_at_more_often(kind: str) -> None:
    clocked = Clocked(Clock(), **TIMES | {f"{kind}_timeout": 0.2})
    clocked.deadlines.settings_received()
    clocked.open().reading_since = clocked.clock.time
    clocked.clock.advance(0.26)
    assert clocked.told == [f"{kind} 1"]


def test_settings_that_are_not_acknowledged_time_out(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    clocked.clock.advance(5)
    clocked.deadlines.settings_sent()
    clocked.clock.advance(9.9)
    assert clocked.told == []
    clocked.clock.advance(0.2)
    assert clocked.told == ["settings"]


def test_settings_that_are_acknowledged_time_out_no_more(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    clocked.deadlines.settings_sent()
    clocked.deadlines.settings_acknowledged()
    clocked.clock.advance(100)
    assert clocked.told == []


def test_later_settings_have_to_be_acknowledged_as_well(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    for _ in range(3):
        clocked.deadlines.settings_sent()
        clocked.clock.advance(4)
        clocked.deadlines.settings_acknowledged()
    clocked.deadlines.settings_sent()
    clocked.clock.advance(6)
    clocked.deadlines.settings_sent()
    clocked.clock.advance(3.9)
    assert clocked.told == []
    clocked.clock.advance(0.2)
    assert clocked.told == ["settings"]


def test_a_field_section_that_does_not_go_on_times_out_without_a_stream(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    clocked.deadlines.fields_begun(clocked.clock.time)
    clocked.clock.advance(9.9)
    assert clocked.told == []
    clocked.clock.advance(1.1)
    assert clocked.told == ["fields"]


def test_a_field_section_that_came_whole_times_out_no_more(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    for _ in range(30):
        clocked.deadlines.fields_begun(clocked.clock.time)
        clocked.clock.advance(1)
    clocked.deadlines.fields_begun(None)
    clocked.clock.advance(60)
    assert clocked.told == []


def test_a_silent_client_is_asked_and_then_given_up() -> None:
    clocked = Clocked(Clock(), **TIMES | {"idle_timeout": 0, "ping_interval": 60})
    clocked.deadlines.settings_received()
    clocked.clock.advance(59)
    assert clocked.told == []
    clocked.clock.advance(2)
    assert clocked.told == ["ping"]
    clocked.clock.advance(20)
    assert clocked.told == ["ping", "no answer"]


def test_whatever_a_client_says_answers_a_ping() -> None:
    clocked = Clocked(Clock(), **TIMES | {"idle_timeout": 0, "ping_interval": 60})
    clocked.deadlines.settings_received()
    for _ in range(5):
        clocked.clock.advance(61)
        clocked.deadlines.heard = True
    assert set(clocked.told) == {"ping"}


def test_a_client_that_sends_a_little_now_and_then_is_too_slow(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    slow, honest = clocked.open(1), clocked.open(3)
    for _ in range(34):
        for stream, octets in ((slow, 100), (honest, 300)):
            stream.reading_since = clocked.clock.time
            stream.octets_received += octets
        clocked.clock.advance(1)
    assert clocked.told == ["read 1 rate"]


def test_a_conversation_may_be_slow(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    talk, upload = clocked.open(1), clocked.open(3, content_length=1_000_000)
    talk.status = upload.status = 200
    for _ in range(20):
        for stream in (talk, upload):
            stream.reading_since = clocked.clock.time
            stream.octets_received += 10
        clocked.clock.advance(2)
    assert clocked.told == ["read 3 rate"]


def test_time_that_the_application_spends_otherwise_makes_no_client_slow(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    stream = clocked.open()
    for _ in range(60):
        stream.reading_since = clocked.clock.time
        clocked.clock.advance(20)
        stream.reading_since = None
        clocked.clock.advance(2)
    assert clocked.told == []


def drip(clocked: Clocked, octets: int, times: int) -> None:
    """Let stream 1 take so many octets, 5 seconds apart."""
    clocked.deadlines.settings_received()
    stream = clocked.open()
    clocked.queue.add(1)
    for _ in range(times):
        clocked.clock.advance(5)
        if 1 in clocked.streams:
            stream.octets_sent += octets
            stream.progress_at = clocked.clock.time


def test_a_client_that_takes_an_octet_now_and_then_is_too_slow(clocked: Clocked) -> None:
    drip(clocked, 1, 14)
    assert clocked.told == ["write 1 rate"]


def test_a_client_that_takes_enough_on_the_whole_is_not_too_slow(clocked: Clocked) -> None:
    drip(clocked, 1_300, 60)
    assert clocked.told == []


def test_streams_that_wait_for_the_connection_share_what_it_takes(clocked: Clocked) -> None:
    clocked.is_held_up = True
    clocked.octets_taken = 0
    clocked.deadlines.settings_received()
    stream = clocked.open()
    clocked.queue.add(1)
    for taken in (100_000, 1_000):
        assert clocked.told == []
        for _ in range(13):
            clocked.octets_taken += taken // 12
            stream.progress_at = clocked.clock.time
            clocked.clock.advance(5)
    clocked.clock.advance(1)
    assert clocked.told == ["write 1 rate"]


def test_without_a_least_rate_a_drip_is_no_offence() -> None:
    clocked = Clocked(Clock(), **TIMES | {"min_rate": 0})
    drip(clocked, 1, 100)
    assert clocked.told == []


# ------------------------------------------------------------------- handover and stream

REQUEST = RequestFields("POST", b"https", b"localhost", b"/", (), None, False)
FACTS = ConnectionFacts("https", "localhost", "8443", "127.0.0.1", "40000", {})


class Waits:
    """Counts a thread's waits on its client."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.begins = threading.Event()

    def wait_begins(self) -> None:
        self.begun += 1
        self.begins.set()

    def wait_ended(self) -> None:
        self.ended += 1


class Seam:
    """One connection's handover, its streams, and the loop's side of both."""

    def __init__(self, *, ceiling: int = 1_000_000, budget: int = 1_000_000) -> None:
        self.wakes = threading.Semaphore(0)
        self.budget = Budget(budget, self.relieved)
        self.handover = Handover(lambda _: self.wakes.release() and None, ceiling, self.budget)
        self.output: dict[int, bytearray] = {}
        self.marks: dict[int, list[int]] = {}
        self.credit: dict[int, int] = {}

    def relieved(self) -> None:
        with self.handover.lock:
            self.handover.notify_ceiling_waiters_locked()

    def stream(self, stream_id: int = 1, **options: int) -> Stream:
        options = {"write_limit": 100, "credit_step": 50, "max_body": 0} | options
        stream = Stream(stream_id, REQUEST, FACTS, self.handover, Limits(**options), 0.0)
        stream.begin(Waits())
        stream._thread = ANY  # every thread of a test counts as the application's own
        return stream

    def drain(self, *, take: bool = True) -> int:
        """Take what was handed over, as a loop whose windows are wide open; return its octets."""
        counts: dict[Stream, int] = {}
        for output in self.handover.drain():
            stream, data, mark, credit = output.stream, output.data, output.kind, output.credit
            name = stream.stream_id
            self.output.setdefault(name, bytearray()).extend(data)
            self.marks.setdefault(name, []).append(mark)
            self.credit[name] = self.credit.get(name, 0) + credit
            if data:
                counts[stream] = counts.get(stream, 0) + len(data)
        if take:
            self.handover.taken(counts)
        return sum(counts.values())


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as executor:
        yield executor


def waits_of(stream: Stream) -> Waits:
    assert isinstance(stream._client_wait, Waits)
    return stream._client_wait


def take(stream: Stream, wanted: int, minimum: int = 1) -> bytes:
    """Return content as the application takes it."""
    parts: list[bytes] = []
    stream.take(parts, wanted, minimum)
    return b"".join(parts)


def feed(stream: Stream, data: bytes) -> None:
    """Have content come, and nothing behind it."""
    stream.receive(data)
    stream.wake_reader()


READ_ENDS: dict[str, tuple[Callable[[Stream], None], object]] = {
    "data": (lambda stream: feed(stream, b"data"), b"data"),
    "the end": (lambda stream: stream.end_input(), b""),
    "a reset": (lambda stream: stream.fail("reset"), ClientDisconnected),
    "a timeout": (lambda stream: stream.fail_input(ReadTimeout("slow")), ReadTimeout),
}


@pytest.mark.parametrize(("wake", "outcome"), READ_ENDS.values(), ids=READ_ENDS.keys())
def test_a_waiting_read_is_released_once(
    threads: ThreadPoolExecutor, wake: Callable[[Stream], None], outcome: object
) -> None:
    stream = Seam().stream()
    reading = threads.submit(take, stream, 100)
    assert waits_of(stream).begins.wait(PATIENCE)
    assert stream.reading_since is not None
    wake(stream)
    if isinstance(outcome, bytes):
        assert reading.result(PATIENCE) == outcome
    else:
        assert type(reading.exception(PATIENCE)) is outcome
    assert (waits_of(stream).begun, waits_of(stream).ended) == (1, 1)
    assert stream.reading_since is None


WRITE_ENDS: dict[str, tuple[Callable[[Seam, Stream], object], object]] = {
    "room": (lambda seam, _: seam.drain(), None),
    "a reset": (lambda _, stream: stream.fail("reset"), ClientDisconnected),
}


@pytest.mark.parametrize(("wake", "outcome"), WRITE_ENDS.values(), ids=WRITE_ENDS.keys())
@pytest.mark.parametrize("at_ceiling", [False, True], ids=["stream", "connection"])
def test_a_waiting_write_is_released_once(
    threads: ThreadPoolExecutor,
    wake: Callable[[Seam, Stream], object],
    outcome: object,
    at_ceiling: bool,
) -> None:
    seam = Seam(ceiling=50 if at_ceiling else 1_000_000)
    stream = seam.stream(write_limit=1_000 if at_ceiling else 50)
    if at_ceiling:
        stream.send(None, bytes(50))
    writing = threads.submit(stream.send, None, bytes(50))
    assert waits_of(stream).begins.wait(PATIENCE)
    wake(seam, stream)
    error = writing.exception(PATIENCE)
    assert error is None if outcome is None else type(error) is outcome
    assert (waits_of(stream).begun, waits_of(stream).ended) == (1, 1)


def test_the_processs_budget_stops_writers_and_lets_them_go_on(
    threads: ThreadPoolExecutor,
) -> None:
    seam = Seam(budget=100)
    stream = seam.stream()
    seam.budget.add(100)
    writing = threads.submit(stream.send, HEAD, b"content", END)
    assert waits_of(stream).begins.wait(PATIENCE)
    assert seam.drain() == 0
    seam.budget.release(100)
    assert writing.exception(PATIENCE) is None
    assert seam.drain() == 7


def test_what_a_failed_stream_held_is_given_back() -> None:
    seam = Seam()
    stream, other = seam.stream(1, write_limit=1_000), seam.stream(3)
    stream.send(HEAD, bytes(200))
    other.send(HEAD, bytes(30))
    stream.fail("gone")
    stream.fail("gone again")
    assert (seam.handover.unsent, stream.unsent, other.unsent) == (30, 0, 30)
    for write in (b"", b"more"):
        with pytest.raises(ClientDisconnected):
            stream.send(None, write)
    with pytest.raises(ClientDisconnected):
        take(stream, 10)


def test_one_batch_wakes_the_loop_once() -> None:
    seam = Seam()
    streams = [seam.stream(stream_id, write_limit=1_000) for stream_id in (1, 3)]
    for _ in range(2):
        for stream in streams:
            stream.send(HEAD, b"content")
        assert seam.wakes.acquire(blocking=False)
        assert not seam.wakes.acquire(blocking=False)
        seam.drain()


def test_content_nobody_will_read_is_not_kept() -> None:
    seam = Seam()
    stream = seam.stream()
    assert stream.receive(b"content")
    assert stream.buffered == 7
    stream.finished()
    assert stream.buffered == 0
    assert not stream.receive(b"more")
    seam.drain()
    assert seam.marks[1] == [FINISHED]


def test_content_over_max_body_ends_the_reads_but_not_the_writes() -> None:
    seam = Seam()
    stream = seam.stream(max_body=10)
    assert stream.receive(bytes(10))
    assert not stream.receive(b"x")
    with pytest.raises(ClientDisconnected, match="10"):
        take(stream, 1)
    stream.send(HEAD, b"too large", END)
    assert seam.drain() == 9


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.binary(min_size=1, max_size=60), max_size=20),
    st.lists(st.integers(1, 100), min_size=1, max_size=5),
)
def test_a_reader_gets_the_octets_in_order_and_their_credit_returns(
    chunks: list[bytes], sizes: list[int]
) -> None:
    seam = Seam()
    stream = seam.stream()
    got = bytearray()

    def read() -> None:
        turn = 0
        while data := take(stream, sizes[turn % len(sizes)]):
            got.extend(data)
            turn += 1

    reader = threading.Thread(target=read)
    reader.start()
    for chunk in chunks:
        assert stream.receive(chunk)
    stream.end_input()
    reader.join(PATIENCE)
    assert got == b"".join(chunks)
    seam.drain()
    total = len(got)
    assert total - stream.limits.credit_step < seam.credit.get(1, 0) <= total
    assert waits_of(stream).begun == waits_of(stream).ended


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.lists(st.integers(0, 250), min_size=1, max_size=12), min_size=1, max_size=5),
    st.integers(50, 400),
    st.integers(1, 300),
)
def test_writers_keep_their_order_their_limits_and_are_all_released(
    plans: list[list[int]], ceiling: int, write_limit: int
) -> None:
    seam = Seam(ceiling=ceiling)
    streams = [seam.stream(2 * n + 1, write_limit=write_limit) for n in range(len(plans))]
    contents = [[random.randbytes(size) for size in plan] for plan in plans]

    def write(stream: Stream, parts: list[bytes]) -> None:
        for part in parts:
            stream.send(None, part)
        stream.send(None, b"", END)

    with ThreadPoolExecutor(len(plans)) as executor:
        writing = [
            executor.submit(write, stream, parts)
            for stream, parts in zip(streams, contents, strict=True)
        ]
        while not all(future.done() for future in writing):
            if seam.wakes.acquire(timeout=0.01):
                seam.drain()
            # One hand-over may overshoot, of each stream: the ceiling is looked at before it.
            assert seam.handover.unsent <= ceiling + 250 * len(streams)
    seam.drain()
    assert [future.exception() for future in writing] == [None] * len(writing)
    for stream, parts in zip(streams, contents, strict=True):
        assert seam.output.get(stream.stream_id, b"") == b"".join(parts)
        assert seam.marks[stream.stream_id][-1] == END
        assert seam.marks[stream.stream_id].count(END) == 1
        assert waits_of(stream).begun == waits_of(stream).ended
        assert stream.unsent == 0
    assert seam.handover.unsent == 0
    assert not seam.handover.ceiling_waiters


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from(["read", "write", "ceiling"]), min_size=1, max_size=8))
def test_the_end_of_a_connection_releases_every_waiter_once(kinds: list[str]) -> None:
    seam = Seam(ceiling=100)
    waiting: list[tuple[Stream, threading.Thread]] = []
    errors: deque[str] = deque()

    def run(call: Callable[..., object], *args: object) -> None:
        try:
            call(*args)
        except ClientDisconnected as error:
            errors.append(str(error))

    filler = seam.stream(99, write_limit=1_000)
    for number, kind in enumerate(kinds):
        stream = seam.stream(2 * number + 1, write_limit=1)
        if kind == "ceiling":
            # With octets of its own unsent a stream waits at the connection's ceiling.
            stream.limits = stream.limits._replace(write_limit=1_000)
            filler.send(None, bytes(100)) if not seam.handover.full else None
            stream.unsent += 1
            seam.handover.unsent += 1
        call = (take, stream, 1) if kind == "read" else (stream.send, None, b"x")
        thread = threading.Thread(target=run, args=call)
        thread.start()
        assert waits_of(stream).begins.wait(PATIENCE)
        waiting.append((stream, thread))
    for stream, _ in waiting:
        stream.fail("connection lost")
    for stream, thread in waiting:
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert (waits_of(stream).begun, waits_of(stream).ended) == (1, 1)
    assert list(errors) == ["connection lost"] * len(kinds)
    assert not seam.handover.ceiling_waiters


class Turns:
    """A loop that makes one turn when it is told to."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self._calls.append(call)

    def turn(self) -> int:
        """Make the calls that are due; return how many there were."""
        calls, self._calls = self._calls, []
        for call in calls:
            call()
        return len(calls)


class FedStream:
    """What Readers sees of a stream."""

    def __init__(self) -> None:
        self.buffered = 0
        self.woken = 0

    def wake_reader(self) -> None:
        self.woken += 1


class Feeding:
    """Two streams of a connection, whose readers are worth waking for 100 octets."""

    def __init__(self) -> None:
        self.loop = Turns()
        self.readers = Readers(self.loop.call_soon, enough=100)
        self.first, self.second = FedStream(), FedStream()

    def receive(self, stream: FedStream, octets: int) -> None:
        stream.buffered += octets
        self.readers.received(cast(Stream, stream))
        self.readers.slice_ended()

    @property
    def woken(self) -> tuple[int, int]:
        return self.first.woken, self.second.woken


def test_a_reader_is_woken_when_the_input_is_dry_for_a_turn() -> None:
    feeding = Feeding()
    feeding.receive(feeding.first, 10)
    feeding.loop.turn()  # before the loop has looked at its sockets again
    assert feeding.woken == (0, 0)
    feeding.loop.turn()
    assert feeding.woken == (1, 0)
    assert feeding.loop.turn() == 0


def test_a_reader_waits_while_more_comes_but_not_for_long() -> None:
    feeding = Feeding()
    feeding.receive(feeding.first, 10)
    for _ in range(TURNS):
        assert feeding.woken == (0, 0)
        feeding.receive(feeding.second, 1)
        feeding.loop.turn()
    assert feeding.woken == (1, 1)


def test_a_reader_with_a_good_part_of_its_window_is_woken_at_the_end_of_the_slice() -> None:
    feeding = Feeding()
    feeding.receive(feeding.first, 10)
    feeding.receive(feeding.second, 100)
    assert feeding.woken == (0, 1)
    while feeding.loop.turn():
        pass
    assert feeding.woken == (1, 1)


def test_content_that_comes_after_a_reader_was_woken_wakes_it_again() -> None:
    feeding = Feeding()
    for count in (1, 2, 3):
        feeding.receive(feeding.first, 10)
        while feeding.loop.turn():
            pass
        assert feeding.woken == (count, 0)


def test_credit_is_handed_back_in_steps() -> None:
    seam = Seam()
    stream = seam.stream(credit_step=50)
    for _ in range(7):
        stream.receive(bytes(20))
        take(stream, 20)
    seam.drain()
    assert seam.marks[1] == [CREDIT, CREDIT]
    assert seam.credit[1] == 120


# ------------------------------------------------------------------------------ the pool


class Job:
    """Work that says when it has begun and ends when it is told."""

    def __init__(self, name: str = "", *, free: bool = False) -> None:
        self.name = name
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.waits = threading.Event()
        self.waiting = threading.Event()
        self.resume = threading.Event()
        self.over = threading.Event()
        if free:
            self.go_on.set()


class Pool:
    """A pool whose clock and whose loop are the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.cpu = 100.0
        clock = types.SimpleNamespace(monotonic=lambda: self.now, process_time=lambda: self.cpu)
        for module in (thread_pool, growth):
            monkeypatch.setattr(module, "time", clock)
        self.scheduled: deque[tuple[float, Callable[[], None]]] = deque()
        self.idle_looks: deque[tuple[float, Callable[[], None]]] = deque()
        self.order: list[str] = []
        self.exhausted = 0
        self.failed: list[Job] = []
        self.jobs: list[Job] = []
        self.pools: list[ThreadPool[Job]] = []
        self.before = set(threading.enumerate())
        self._lanes: dict[object, Lane[Job]] = {}

    def lane(self, pool: ThreadPool[Job], connection: object) -> Lane[Job]:
        """Return the lane of a connection by whatever stands for it."""
        if connection not in self._lanes:
            self._lanes[connection] = pool.lane()
        return self._lanes[connection]

    def make(
        self, limit: int, max_threads: int | None = None, lane_limit: int = 1_000
    ) -> ThreadPool[Job]:
        pool = ThreadPool(
            self.run,
            limit=limit,
            max_threads=max_threads or limit,
            lane_limit=lane_limit,
            schedule_threadsafe=self.schedule,
            exhausted=self.count_exhausted,
            failed=self.failed.append,
        )
        self.pools.append(pool)
        return pool

    def schedule(self, delay: float, callback: Callable[[], None]) -> None:
        """Keep the looks at idle threads, which are rare, apart from those at waiting jobs."""
        looks = self.idle_looks if delay > 0.5 else self.scheduled
        looks.append((delay, callback))

    def count_exhausted(self) -> None:
        self.exhausted += 1

    def job(self, name: str = "", *, free: bool = False) -> Job:
        job = Job(name, free=free)
        self.jobs.append(job)
        return job

    def run(self, job: Job, worker: Worker[Job]) -> None:
        self.order.append(job.name)
        job.begun.set()
        if job.waits.is_set():
            worker.wait_begins()
            job.waiting.set()
            assert job.resume.wait(PATIENCE)
            worker.wait_ended()
        assert job.go_on.wait(PATIENCE)
        job.over.set()

    def pass_time(self, steps: int = 1, *, busy: bool = False) -> None:
        """Let the loop run what it was asked to, each after its delay."""
        for _ in range(steps):
            self.let_begin()
            for _ in range(len(self.scheduled)):
                delay, callback = self.scheduled.popleft()
                self.now += delay
                self.cpu += delay if busy else 0
                callback()
        self.let_begin()

    def let_begin(self) -> None:
        """Wait until each job that was given to a thread has begun.

        Before it, its thread has given the next job to another, if there was one for it.
        """
        eventually(
            lambda: (
                sum(job.begun.is_set() for job in self.jobs)
                == sum(pool.started for pool in self.pools)
            ),
            "the jobs to begin",
        )

    def new_threads(self) -> list[threading.Thread]:
        return [
            t for t in set(threading.enumerate()) - self.before if t.name.startswith("h2wsgi-app")
        ]

    def close(self) -> None:
        for job in self.jobs:
            job.resume.set()
            job.go_on.set()
        for pool in self.pools:
            pool.close()
        for thread in self.new_threads():
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    pools = Pool(monkeypatch)
    yield pools
    pools.close()


def begun(*jobs: Job) -> bool:
    return all(job.begun.wait(PATIENCE) for job in jobs)


def test_the_first_jobs_start_without_delay(pools: Pool) -> None:
    pool = pools.make(8)
    jobs = [pools.job() for _ in range(4)]
    for number, job in enumerate(jobs):
        pool.submit(pools.lane(pool, number), [job])
    assert begun(*jobs)
    assert (pool.threads, pool.busy, len(pools.scheduled)) == (4, 4, 0)


def test_a_thread_that_is_idle_is_used_again(pools: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pools.make(8)
    done, idle = pool._done, threading.Event()

    def done_and_said(*args: Any) -> Any:
        following = done(*args)
        idle.set()
        return following

    monkeypatch.setattr(pool, "_done", done_and_said)
    first, second = pools.job(free=True), pools.job()
    pool.submit(pools.lane(pool, "a"), [first])
    assert idle.wait(PATIENCE)
    assert (pool.threads, pool.busy) == (1, 0)
    pool.submit(pools.lane(pool, "a"), [second])
    assert begun(second)
    assert (pool.threads, pool.busy) == (1, 1)


def test_threads_are_added_while_jobs_wait_and_the_processor_does_not(pools: Pool) -> None:
    pool = pools.make(64)
    jobs = [pools.job() for _ in range(40)]
    for number, job in enumerate(jobs):
        pool.submit(pools.lane(pool, number), [job])
    assert pool.threads == 4
    pools.pass_time(2)
    assert pool.threads == 8  # doubled
    pools.pass_time(6)
    assert begun(*jobs)
    assert pool.threads == 40


def test_no_threads_are_added_while_the_process_computes_unless_nothing_moves(
    pools: Pool,
) -> None:
    pool = pools.make(64)
    jobs = [pools.job() for _ in range(10)]
    for number, job in enumerate(jobs):
        pool.submit(pools.lane(pool, number), [job])
    pools.pass_time(1 + 9, busy=True)
    assert pool.threads == 4
    pools.pass_time(2, busy=True)
    assert pool.threads > 4


@pytest.mark.parametrize(("limit", "max_threads"), [(5, 100), (50, 50)])
def test_growth_ends_at_the_limit(pools: Pool, limit: int, max_threads: int) -> None:
    pool = pools.make(limit, max_threads)
    jobs = [pools.job() for _ in range(limit + 20)]
    for number, job in enumerate(jobs):
        pool.submit(pools.lane(pool, number), [job])
    pools.pass_time(40)
    assert begun(*jobs[:limit])
    assert pool.threads == limit
    assert not any(job.begun.is_set() for job in jobs[limit:])
    assert not pools.scheduled
    for job in jobs:
        job.go_on.set()
    assert begun(*jobs)


def test_connections_take_turns(pools: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_pool, "TURN", 0.0)
    pool = pools.make(1)
    first = pools.job("first")
    pool.submit(pools.lane(pool, "z"), [first])
    assert begun(first)
    jobs = []
    for key, count in (("a", 3), ("b", 1), ("c", 2)):
        for number in range(count):
            jobs.append(pools.job(f"{key}{number}", free=True))
            pool.submit(pools.lane(pool, key), [jobs[-1]])
    first.go_on.set()
    assert all(job.over.wait(PATIENCE) for job in jobs)
    assert pools.order == ["first", "a0", "b0", "c0", "a1", "c1", "a2"]


def test_one_connection_leaves_threads_to_the_others(pools: Pool) -> None:
    pool = pools.make(12)
    share = shared_threads(12)
    assert share == 9
    greedy = [pools.job() for _ in range(20)]
    for job in greedy:
        pool.submit(pools.lane(pool, "greedy"), [job])
    pools.pass_time(20)
    assert begun(*greedy[:share])
    other = pools.job(free=True)
    pool.submit(pools.lane(pool, "other"), [other])
    pools.pass_time(20)
    assert other.over.wait(PATIENCE)
    assert sum(job.begun.is_set() for job in greedy) == share
    greedy[0].go_on.set()
    assert begun(greedy[share])


def test_the_last_threads_are_for_connections_that_run_nothing(
    pools: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine of twelve are for all; each connection that runs nothing gets one of the last three."""
    monkeypatch.setattr(thread_pool, "TURN", 0.0)
    pool = pools.make(12)
    greedy = [[pools.job() for _ in range(10)] for _ in range(3)]

    def running() -> list[int]:
        return [sum(j.begun.is_set() and not j.over.is_set() for j in jobs) for jobs in greedy]

    for number, jobs in enumerate(greedy):
        pool.submit(pools.lane(pool, number), jobs)
        pools.pass_time(20)
    eventually(lambda: running() == [9, 1, 1], "all that may run to run")
    late = [pools.job(), pools.job()]
    pool.submit(pools.lane(pool, "late"), late)
    pools.pass_time(20)
    assert begun(late[0])
    # Twelve run: a place that becomes free is for a connection that runs nothing.
    greedy[0][0].go_on.set()
    assert greedy[0][0].over.wait(PATIENCE)
    fresh = pools.job()
    pool.submit(pools.lane(pool, "fresh"), [fresh])
    pools.pass_time(20)
    assert begun(fresh)
    assert running() == [8, 1, 1]
    assert not late[1].begun.is_set()
    # Only with fewer than nine running do the others get on, and in turn.
    for job in greedy[0][1:8]:
        job.go_on.set()
    pools.pass_time(20)
    assert begun(late[1])


def test_a_connection_has_no_more_applications_than_it_may_have_streams(pools: Pool) -> None:
    """Whether they run or wait on the client: their streams may have been reset long ago."""
    pool = pools.make(64, lane_limit=5)
    waiting = [pools.job() for _ in range(3)]
    for job in waiting:
        job.waits.set()
    jobs = [pools.job() for _ in range(6)]
    pool.submit(pools.lane(pool, "a"), [*waiting, *jobs])
    pools.pass_time(20)
    assert begun(*waiting, *jobs[:2])
    assert not any(job.begun.is_set() for job in jobs[2:])
    other = pools.job(free=True)
    pool.submit(pools.lane(pool, "b"), [other])
    assert other.over.wait(PATIENCE)
    waiting[0].resume.set()
    waiting[0].go_on.set()
    assert begun(jobs[2])
    assert not any(job.begun.is_set() for job in jobs[3:])


@patient
@given(st.integers(1, 1_000))
def test_a_share_is_at_least_one_and_leaves_some(limit: int) -> None:
    share = shared_threads(limit)
    assert 1 <= share <= limit
    assert limit < 4 or share < limit
    assert limit < 32 or share == limit - 8


def test_a_job_that_waits_on_its_client_gives_its_place_to_another(pools: Pool) -> None:
    pool = pools.make(1, 8)
    waiting, second, third = pools.job("waiting"), pools.job("second"), pools.job("third")
    waiting.waits.set()
    pool.submit(pools.lane(pool, "a"), [waiting])
    assert waiting.waiting.wait(PATIENCE)
    pool.submit(pools.lane(pool, "b"), [second])
    pool.submit(pools.lane(pool, "b"), [third])
    pools.pass_time(5)
    assert begun(second)
    # It comes back without waiting for a place, and new starts wait for two ends.
    waiting.resume.set()
    waiting.go_on.set()
    assert waiting.over.wait(PATIENCE)
    assert not third.begun.is_set()
    second.go_on.set()
    assert begun(third)


def test_at_the_ceiling_of_threads_the_server_is_asked_for_one_again_and_again(
    pools: Pool,
) -> None:
    pool = pools.make(2, 2)
    waiting = [pools.job(), pools.job()]
    for job in waiting:
        job.waits.set()
        pool.submit(pools.lane(pool, job), [job])
        assert job.waiting.wait(PATIENCE)
    late = pools.job(free=True)
    pool.submit(pools.lane(pool, "late"), [late])
    pools.pass_time(10)
    assert pool.threads == 2
    assert pools.exhausted > 1
    waiting[0].resume.set()
    waiting[0].go_on.set()
    assert late.over.wait(PATIENCE)


def test_a_job_that_waits_can_be_cancelled_and_leaves_nothing(pools: Pool) -> None:
    pool = pools.make(1)
    running, waiting = pools.job(), pools.job()
    lane, other = pool.lane(), pool.lane()
    pool.submit(lane, [running])
    assert begun(running)
    pool.submit(other, [waiting])
    assert pool.cancel(other, waiting)
    assert not pool.cancel(other, waiting)
    assert not pool.cancel(lane, running)
    assert not pool.cancel(pool.lane(), waiting)
    gc.collect()
    # A lane that the pool went on holding would keep its connection alive.
    assert gc.get_referrers(other) == []
    running.go_on.set()
    assert running.over.wait(PATIENCE)
    assert not waiting.begun.is_set()


def test_close_ends_idle_threads_at_once_and_the_others_with_their_job(pools: Pool) -> None:
    pool = pools.make(2)
    running, idle = pools.job(), pools.job(free=True)
    pool.submit(pools.lane(pool, "a"), [running])
    pool.submit(pools.lane(pool, "b"), [idle])
    assert begun(running, idle)
    assert idle.over.wait(PATIENCE)
    pool.close()
    (ended,) = (thread for thread in pools.new_threads() if thread.name.endswith("-2"))
    ended.join(PATIENCE)
    assert not ended.is_alive()
    assert pool.threads == 1
    running.go_on.set()
    for thread in pools.new_threads():
        thread.join(PATIENCE)
    assert pool.threads == 0


def test_a_closed_pool_starts_nothing_more(pools: Pool) -> None:
    pool = pools.make(1)
    running, waiting, late = pools.job("running"), pools.job(free=True), pools.job(free=True)
    pool.submit(pools.lane(pool, "a"), [running])
    assert begun(running)
    pool.submit(pools.lane(pool, "b"), [waiting])
    pool.close()
    pool.submit(pools.lane(pool, "c"), [late])
    pools.pass_time(5)
    running.go_on.set()
    for thread in pools.new_threads():
        thread.join(PATIENCE)
    assert pools.order == ["running"]
    assert pool.threads == 0


def test_idle_threads_end(pools: Pool) -> None:
    pool = pools.make(4)
    jobs = [pools.job() for _ in range(4)]
    for job in jobs:
        pool.submit(pools.lane(pool, job), [job])
    assert begun(*jobs)
    for job in jobs[:3]:
        job.go_on.set()
    eventually(lambda: pool.busy == 1, "three threads to be idle")
    threads = pools.new_threads()
    ((delay, look),) = pools.idle_looks
    pools.idle_looks.clear()
    pools.now += delay - 1
    look()
    assert pool.threads == 4
    assert pools.idle_looks[0][0] == pytest.approx(1)
    pools.now += 1
    pools.idle_looks.popleft()[1]()
    assert pool.threads == 1
    eventually(lambda: sum(t.is_alive() for t in threads) == 1, "three threads to end")
    jobs[3].go_on.set()
    eventually(lambda: pool.busy == 0, "the last thread to be idle")
    pools.now += pools.idle_looks[0][0]
    pools.idle_looks.popleft()[1]()
    assert pool.threads == 0
    assert not pools.idle_looks
    late = pools.job(free=True)
    pool.submit(pools.lane(pool, "late"), [late])
    assert begun(late)
    assert len(pools.idle_looks) == 1


# ----------------------------------------------------------------------------- addresses


@patient
@given(st.from_regex(r"[a-z0-9.-]{0,20}", fullmatch=True), st.integers(0, 65_535))
def test_a_host_and_port_are_split(host: str, port: int) -> None:
    assert parse_host_port(f"{host}:{port}") == (host, port)


@patient
@given(st.ip_addresses(v=6), st.integers(0, 65_535))
def test_brackets_come_off_an_ipv6_address(host: object, port: int) -> None:
    assert parse_host_port(f"[{host}]:{port}") == (str(host), port)


@pytest.mark.parametrize(
    "address",
    ["", "localhost", "8443", "localhost:", "localhost:http", "localhost:-1", "localhost:65536",
     "::1:8443", "[::1]", "[::1:8443", "localhost:\uff18\uff14", "localhost:+1", "localhost: 1"],
)  # fmt: skip
def test_what_is_no_address_is_named(address: str) -> None:
    with pytest.raises(ConfigurationError, match="--bind") as raised:
        open_listeners((address,), tls=True)
    assert raised.value.hint


def test_a_port_alone_gets_a_better_suggestion() -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_host_port("8443")
    assert raised.value.hint == "Did you mean localhost:8443?"


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("localhost", "Did you mean localhost:8443?"),
        ("127.0.0.1", "Did you mean 127.0.0.1:8443?"),
        ("::1", "Did you mean [::1]:8443?"),
        ("[::1", "Did you mean [::1]:8443?"),
        ("http://localhost:80", "Leave out the scheme: localhost:80."),
        ("https://localhost/x", "Leave out the scheme: localhost:8443."),
        ("8443x", "For example localhost:8443"),
        ("", "For example localhost:8443"),
        ("[::g]:80", "For example localhost:8443"),
        ("fd://x", "fd:// takes the number of a listening socket"),
        ("localhost:70000", "For example localhost:8443"),
    ],
)
def test_what_was_meant_by_no_address_is_guessed(address: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        addresses.check_addresses(("localhost:1", address))
    assert raised.value.hint.startswith(hint)


def test_an_address_given_twice_is_refused_unless_its_port_is_free() -> None:
    for address in ("localhost:8443", "unix:/run/x", "fd://3"):
        with pytest.raises(ConfigurationError, match="is given twice"):
            addresses.check_addresses((address, "[::1]:1", address))
    with pytest.raises(ConfigurationError, match="is given twice"):
        addresses.check_addresses(("localhost:1", "LOCALHOST:1"))
    addresses.check_addresses(("localhost:0", "localhost:0", "localhost:1", "unix:a", "fd://3"))


def test_hosts_are_resolved_where_there_are_some() -> None:
    for address in ("unix:/run/x", "fd://3", "127.0.0.1:1", "*:1", ":1"):
        addresses.check_host(address)
    with pytest.raises(ConfigurationError, match="cannot be resolved"):
        addresses.check_host("x" * 70 + ".invalid:1")


def test_a_star_is_every_address() -> None:
    assert parse_host_port("*:8447") == ("", 8447)


def test_a_path_that_is_too_long_for_a_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="path too long") as raised:
        open_listeners((f"unix:{tmp_path}/{'x' * 120}",), tls=True)
    assert "107 octets" in raised.value.hint


@pytest.fixture
def opened() -> Iterator[Callable[..., list[addresses.Listener]]]:
    listeners: list[addresses.Listener] = []

    def open_(*names: str, tls: bool = True) -> list[addresses.Listener]:
        found = open_listeners(names, tls=tls)
        listeners.extend(found)
        return found

    yield open_
    for listener in listeners:
        listener.close()


Opened = Callable[..., list[addresses.Listener]]


def test_localhost_is_both_families_on_one_port(opened: Opened) -> None:
    listeners = opened("localhost:0")
    assert [listener.sock.family for listener in listeners] == [socket.AF_INET, socket.AF_INET6]
    ports = {listener.port for listener in listeners}
    assert len(ports) == 1
    assert {listener.url for listener in listeners} == {f"https://localhost:{ports.pop()}/"}


def test_localhost_finds_a_port_that_both_families_have(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound, refused = addresses._bound, []

    def bind(family: int, address: Any) -> socket.socket:
        if family == socket.AF_INET6 and len(refused) < 3:
            refused.append(address)
            raise OSError(errno.EADDRINUSE, "in use")
        return bound(family, address)

    monkeypatch.setattr(addresses, "_bound", bind)
    assert len(opened("localhost:0")) == 2
    assert len(refused) == 3


@pytest.mark.parametrize("missing", [socket.AF_INET, socket.AF_INET6])
def test_localhost_is_one_family_where_there_is_no_other(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    bound = addresses._bound

    def bind(family: int, address: Any) -> socket.socket:
        if family == missing:
            raise OSError(errno.EADDRNOTAVAIL, "no such family")
        return bound(family, address)

    monkeypatch.setattr(addresses, "_bound", bind)
    (listener,) = opened("localhost:0")
    assert listener.sock.family != missing


def test_an_address_in_use_is_named_and_nothing_stays_open(opened: Opened) -> None:
    (taken,) = opened("127.0.0.1:0")
    with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{taken.port} .*is in use"):
        open_listeners(("127.0.0.1:0", f"127.0.0.1:{taken.port}"), tls=True)


@pytest.mark.parametrize(("port", "hint"), [(80, "privileges"), (8443, "")])
def test_an_address_that_may_not_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, port: int, hint: str
) -> None:
    def refuse(*_: object) -> socket.socket:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(addresses, "_bound", refuse)
    with pytest.raises(ConfigurationError, match="may not be used") as raised:
        open_listeners((f"127.0.0.1:{port}",), tls=True)
    assert hint in raised.value.hint
    assert bool(hint) == bool(raised.value.hint)


def test_a_host_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigurationError, match="cannot be resolved"):
        open_listeners(("host.invalid:8443",), tls=True)


def test_an_address_of_another_machine_cannot_be_used() -> None:
    with pytest.raises(ConfigurationError, match="cannot be used"):
        open_listeners(("192.0.2.1:0",), tls=True)


def test_a_cleartext_address_says_http(opened: Opened) -> None:
    (listener,) = opened("127.0.0.1:0", tls=False)
    assert listener.url == f"http://127.0.0.1:{listener.port}/"


def test_an_ipv6_address_is_in_brackets(opened: Opened) -> None:
    (listener,) = opened("[::1]:0")
    assert listener.url == f"https://[::1]:{listener.port}/"


def connect_once(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_unix_socket_comes_and_goes(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    (listener,) = opened(f"unix:{path}")
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert (listener.url, listener.port) == (f"unix:{path}", 0)
    listener.close()
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    (listener,) = opened(f"unix:{path}")
    connect_once(path)
    assert listener.unix_path == str(path)


def test_a_unix_socket_that_is_served_is_left_alone(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    opened(f"unix:{path}")
    with pytest.raises(ConfigurationError, match="in use"):
        open_listeners((f"unix:{path}",), tls=True)
    connect_once(path)


def test_a_unix_socket_whose_server_accepts_nothing_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(path))
        busy.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:  # until its backlog is full
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
        with pytest.raises(ConfigurationError, match="in use"):
            open_listeners((f"unix:{path}",), tls=True)


def test_the_unix_socket_of_another_server_is_not_removed(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    (before,) = opened(f"unix:{path}")
    path.unlink()
    opened(f"unix:{path}")
    before.close()
    connect_once(path)


def test_of_servers_that_start_on_one_unix_socket_at_once_one_does(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "server.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    bound = addresses._bound

    def slowly(*address: Any) -> socket.socket:
        time.sleep(0.05)  # in which the others would look
        return bound(*address)

    monkeypatch.setattr(addresses, "_bound", slowly)

    def start(_: int) -> str:
        try:
            (listener,) = opened(f"unix:{path}")
        except ConfigurationError as error:
            return str(error)
        return listener.unix_path

    with ThreadPoolExecutor(4) as threads:
        said = list(threads.map(start, range(4)))
    assert said.count(str(path)) == 1
    assert sum("in use" in words for words in said) == 3
    connect_once(path)


def test_a_folder_that_another_process_has_locked_is_no_obstacle(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl  # which Windows has not

    monkeypatch.setattr(addresses, "LOCK_TRIES", 3)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        (listener,) = opened(f"unix:{tmp_path}/server.sock")
        assert Path(listener.unix_path).exists()
    finally:
        os.close(descriptor)


def test_a_file_in_the_way_of_a_unix_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("content")
    with pytest.raises(ConfigurationError, match="is a file, not a socket") as raised:
        open_listeners((f"unix:{path}",), tls=True)
    assert "port 0" not in raised.value.hint
    assert path.read_text() == "content"


@pytest.mark.parametrize("path", ["", "/nowhere/at/all/server.sock"])
def test_a_unix_socket_without_a_place_is_named(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"unix:.*--bind"):
        open_listeners((f"unix:{path}",), tls=True)


def test_a_listening_socket_can_be_handed_over(opened: Opened) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        (listener,) = opened(f"fd://{os.dup(sock.fileno())}")
        assert listener.port == sock.getsockname()[1]
        assert not listener.sock.getblocking()
        with socket.create_connection(("127.0.0.1", listener.port)):
            pass


def test_a_listening_unix_socket_can_be_handed_over(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "handed.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        (listener,) = opened(f"fd://{os.dup(sock.fileno())}")
        assert listener.url == f"unix:{path}"
        listener.close()
        assert path.exists()  # its maker's to remove


@pytest.mark.parametrize("number", ["", "x", "-1", "99999"])
def test_what_is_no_descriptor_is_named(number: str) -> None:
    with pytest.raises(ConfigurationError, match="fd://"):
        open_listeners((f"fd://{number}",), tls=True)


def test_a_descriptor_that_does_not_listen_is_named_and_stays_open(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, socket.socket() as idle:
        for handed in (file, idle):
            with pytest.raises(ConfigurationError, match="fd://"):
                open_listeners((f"fd://{handed.fileno()}",), tls=True)
            os.fstat(handed.fileno())


# --------------------------------------------------------------------------------- peers


class Ends:
    """A transport that knows its two ends."""

    def __init__(self, **info: object) -> None:
        self.info = info

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.info.get(name, default)


@pytest.mark.parametrize(
    ("name", "local", "remote", "expected"),
    [
        ("localhost", ("127.0.0.1", 8443), ("127.0.0.1", 5), ("localhost", "8443", "127.0.0.1:5")),
        ("0.0.0.0", ("10.0.0.7", 80), ("10.0.0.9", 5), ("10.0.0.7", "80", "10.0.0.9:5")),
        ("::", ("fe80::1", 80, 0, 0), ("fe80::2", 5, 0, 0), ("fe80::1", "80", "[fe80::2]:5")),
        ("localhost", "/run/a.sock", "", ("localhost", "80", "unix socket")),
        ("localhost", "/run/a.sock", None, ("localhost", "80", "unix socket")),
    ],
)
def test_the_facts_of_a_connection(
    name: str, local: object, remote: object, expected: tuple[str, str, str]
) -> None:
    with socket.socket() as sock:
        listener = addresses.Listener(sock, False, name)
        facts = connection_facts(Ends(sockname=local, peername=remote), listener)
    assert (facts.server_name, facts.server_port, facts.peer) == expected
    assert (facts.scheme, facts.tls) == ("http", {})
