"""One connection's output on its way to the loop: its order, its ceilings, who is released."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st

from h2wsgi.errors import ClientDisconnected
from h2wsgi.seam.handover import END
from h2wsgi.seam.stream import Stream
from support.seam import HEAD, Seam, take, waits_of
from support.settled import PATIENCE


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


def test_one_batch_wakes_the_loop_once() -> None:
    seam = Seam()
    streams = [seam.stream(stream_id, write_limit=1_000) for stream_id in (1, 3)]
    for _ in range(2):
        for stream in streams:
            stream.send(HEAD, b"content")
        assert seam.wakes.acquire(blocking=False)
        assert not seam.wakes.acquire(blocking=False)
        seam.drain()


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
