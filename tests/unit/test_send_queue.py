"""What leaves next: the order of each stream, turns between streams, windows never exceeded."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from h2wsgi.http2.priorities import PriorityTurns, Signal
from h2wsgi.http2.send_queue import Piece, SendQueue
from h2wsgi.seam.control import Command
from h2wsgi.seam.handover import ABORT, COMMAND, END, MORE, TRAILERS, Head

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


class PrioritizedMachine(SendQueueMachine):
    """The same where streams go by their priorities, which change."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = PriorityTurns(lambda stream_id: not self.streams[stream_id].over)
        self.queue.take_turns_by(self.turns)

    @rule(
        stream_id=st.sampled_from(STREAMS),
        urgency=st.none() | st.integers(0, 7),
        incremental=st.none() | st.booleans(),
        client=st.booleans(),
    )
    def say(
        self, stream_id: int, urgency: int | None, incremental: bool | None, client: bool
    ) -> None:
        signal = Signal(urgency, incremental)
        if client:
            self.turns.asked(stream_id, signal, first=False)
        else:
            self.turns.answered(stream_id, signal)


TestSendQueue = SendQueueMachine.TestCase
TestSendQueue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPrioritized = PrioritizedMachine.TestCase
TestPrioritized.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


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


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("data"), st.integers(1, 40)),
        st.tuples(st.just("take"), st.integers(1, 4)),
        st.tuples(st.sampled_from(["command", "stall", "resume"]), st.just(0)),
    ),
    max_size=40,
)
TRAILER_SECTION = Head(0)


class Taken:
    """What a queue gave out: octets, numbers of commands from 1,000 on, and the end by its name."""

    def __init__(self, queue: SendQueue) -> None:
        self.queue = queue
        self.items: list[object] = []

    def command(self, number: int) -> Command:
        return lambda _: self.items.append(number)

    def take(self, pieces: int) -> None:
        for _ in range(pieces):
            if (piece := self.queue.next()) is None:
                return
            if piece.command is not None:
                piece.command(None)  # type: ignore[arg-type]
                continue
            self.items += bytes(piece.data)
            if piece.kind != MORE:
                self.items.append("abort" if piece.kind == ABORT else "end")
            if piece.head is TRAILER_SECTION:
                self.items.append("with trailers")


@given(steps=STEPS, mark=st.sampled_from([END, TRAILERS, ABORT]), behind=st.integers(0, 3))
def test_output_and_commands_of_a_stream_keep_their_order(
    steps: list[tuple[str, int]], mark: int, behind: int
) -> None:
    """Through stalls, and with an open window; nothing is lost, doubled or left."""
    queue = SendQueue(lambda _: 1_000_000, max_frame_size=16)
    taken = Taken(queue)
    given_: list[object] = []
    for number, (what, count) in enumerate(steps):
        if what == "data":
            given_ += bytes([number]) * count
            queue.push(1, None, bytes([number]) * count, MORE)
        elif what == "command":
            given_.append(1000 + number)
            queue.push_command(1, taken.command(1000 + number))
        elif what == "take":
            taken.take(count)
        elif what == "stall":
            queue.stall(1)
        else:
            queue.resume(1)
    queue.push(1, TRAILER_SECTION if mark == TRAILERS else None, b"", mark)
    given_ += {END: ["end"], ABORT: ["abort"], TRAILERS: ["end", "with trailers"]}[mark]
    assert queue.ends(1)
    for number in range(behind):
        given_.append(2000 + number)
        queue.push_command(1, taken.command(2000 + number))
    queue.resume(1)
    taken.take(10_000)
    assert taken.items == given_
    assert queue.pending == {}
    assert not queue.has_ready
    assert not queue.stalled


# -------------------------------- streams that were held up have what they had, whatever that was


WHOLE_HEAD = Head(200)


def command(commands: object) -> None:
    """Stands for what an application asks for."""


WAITING: dict[str, tuple[Callable[[SendQueue], None], Piece]] = {
    "a head": (lambda queue: queue.push(1, WHOLE_HEAD, b"", MORE), Piece(1, WHOLE_HEAD, b"", MORE)),
    "content": (lambda queue: queue.push(1, None, b"x", MORE), Piece(1, None, b"x", MORE)),
    "an end": (lambda queue: queue.push(1, None, b"", END), Piece(1, None, b"", END)),
    "a command": (
        lambda queue: queue.push_command(1, command),
        Piece(1, None, b"", COMMAND, command),
    ),
}


@pytest.mark.parametrize("what", WAITING)
def test_what_comes_while_a_stream_is_held_up_is_sent_when_it_goes_on(what: str) -> None:
    push, piece = WAITING[what]
    queue = SendQueue(lambda _: 100)
    queue.stall(1)
    push(queue)
    assert queue.next() is None
    queue.resume(1)
    assert queue.next() == piece
    assert queue.next() is None
    assert not queue.pending


def test_a_stream_that_has_nothing_when_it_goes_on_is_forgotten() -> None:
    queue = SendQueue(lambda _: 100)
    queue.stall(1)
    assert queue.pending
    queue.resume(1)
    assert not queue.pending
    assert queue.next() is None
