"""A stream's two sides: reads and writes that wait, and what each of them ends with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2wsgi.errors import ClientDisconnected, ReadTimeout
from h2wsgi.seam.handover import CREDIT, END, FINISHED
from h2wsgi.seam.stream import NEVER_WAITED, PACE, Stream
from support.seam import HEAD, Seam, take, waits_of
from support.settled import PATIENCE


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


def test_credit_is_handed_back_in_steps() -> None:
    seam = Seam()
    stream = seam.stream(credit_step=50)
    for _ in range(7):
        stream.receive(bytes(20))
        take(stream, 20)
    seam.drain()
    assert seam.marks[1] == [CREDIT, CREDIT]
    assert seam.credit[1] == 120


def test_all_waits_on_a_client_count_but_for_what_its_content_takes() -> None:
    seam = Seam()
    stream = seam.stream()
    assert stream.waited_until(50.0).seconds == 0
    stream.waits = []  # a thread has registered
    stream.waiting_since, stream.waited = 10.0, NEVER_WAITED
    assert stream.waited_until(13.0)[:2] == (3.0, 3.0)
    stream.octets_received = PACE
    assert stream.waited_until(13.0) == (2.0, 3.0, PACE)
    stream.octets_sent = 100 * PACE
    assert stream.waited_until(13.0)[:2] == (0.0, 3.0)
    # What moved in one wait is no excuse for another.
    waited = NEVER_WAITED.and_one_of(1.0, 100 * PACE)
    assert waited == (0.0, 1.0, 100 * PACE)
    assert waited.and_one_of(2.0, 101 * PACE) == (1.0, 3.0, 101 * PACE)


def test_each_wait_of_an_application_is_added_to_those_before(threads: ThreadPoolExecutor) -> None:
    seam = Seam()
    stream = seam.stream()
    before = 0.0
    for turn in range(3):
        reading = threads.submit(take, stream, 1)
        assert waits_of(stream).begins.wait(PATIENCE)
        waits_of(stream).begins.clear()
        stream.receive(b"x")
        stream.wake_reader()
        assert reading.result(PATIENCE) == b"x"
        assert stream.waiting_since is None
        assert stream.waited.seconds > before
        assert stream.waited.octets == turn + 1
        before = stream.waited.seconds
