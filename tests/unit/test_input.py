"""wsgi.input by itself, rule 17: whatever the chunks and the calls, it reads as io.BytesIO does."""

from __future__ import annotations

import io
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2wsgi.seam.budget import Budget
from h2wsgi.seam.handover import Handover, Limits
from h2wsgi.seam.request import ConnectionFacts, RequestFields
from h2wsgi.seam.stream import Stream
from h2wsgi.wsgi.input import Input


class Trickle:
    """A stream that hands out its chunks one at a time, as if each had just come."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = deque(chunk for chunk in chunks if chunk)

    @property
    def input_exhausted(self) -> bool:
        return not self._chunks

    def take(self, parts: list[bytes], wanted: int, minimum: int = 1) -> int:
        assert wanted >= minimum > 0
        if not self._chunks:
            return 0
        parts.append(self._chunks.popleft())
        return len(parts[-1])


def filled_stream(chunks: list[bytes]) -> Stream:
    """Return a stream to which everything has already come."""
    request = RequestFields("POST", b"https", b"localhost", b"/", (), None, False)
    facts = ConnectionFacts("https", "localhost", "443", "", "", {})
    handover = Handover(lambda _: None, 1_000_000, Budget(1_000_000, lambda: None))
    limits = Limits(write_limit=1, credit_step=7, max_body=0)
    stream = Stream(1, request, facts, handover, limits, 0.0)
    for chunk in chunks:
        stream.receive(chunk)
    stream.end_input()
    return stream


sizes = st.one_of(st.none(), st.integers(-2, 12), st.integers(0, 200_000))
calls = st.one_of(
    st.tuples(st.sampled_from(["read", "read1", "readline", "readlines"]), sizes),
    st.tuples(st.just("readinto"), st.integers(0, 12)),
    st.tuples(st.just("next"), st.none()),
)
chunk = st.one_of(
    st.lists(st.sampled_from([b"\n", b"a", b"bc", b"\r"]), max_size=8).map(b"".join),
    st.integers(60_000, 70_000).map(lambda size: b"x" * size),
)


def apply(source: Any, method: str, argument: Any) -> Any:
    if method == "next":
        return next(iter(source), b"")
    if method == "readinto":
        target = bytearray(argument)
        return source.readinto(target), bytes(target)
    return getattr(source, method)(argument)


@pytest.mark.parametrize("make_stream", [Trickle, filled_stream])
@given(chunks=st.lists(chunk, max_size=6), sequence=st.lists(calls, max_size=12))
def test_input_reads_as_bytes_io_does(make_stream, chunks, sequence):
    """17: over any chunks and any sequence of calls; only read1 may return less."""
    source = Input(make_stream(chunks))
    model = io.BytesIO(b"".join(chunks))
    for method, argument in sequence:
        if method == "read1":
            position = model.tell()
            most = model.read(argument)
            got = source.read1(argument)
            assert most.startswith(got)
            assert bool(got) == bool(most)
            model.seek(position + len(got))
        else:
            assert apply(source, method, argument) == apply(model, method, argument)
    assert source.read() == model.read()


@given(chunks=st.lists(chunk, max_size=6), sequence=st.lists(calls, max_size=6))
def test_input_asks_for_nothing_that_it_does_not_need(chunks, sequence):
    """17: reads no further than it must: once it has what satisfies a call, it takes no more."""

    class Counting(Trickle):
        taken = 0

        def take(self, parts: list[bytes], wanted: int, minimum: int = 1) -> int:
            octets = super().take(parts, wanted, minimum)
            self.taken += octets
            self.last = octets
            return octets

    stream = Counting(chunks)
    source = Input(stream)
    returned = 0
    for method, argument in sequence:
        before = stream.taken
        result = apply(source, method, argument)
        returned += size_of(result)
        if stream.taken > before:
            # Without the last chunk taken, the call could not have returned what it did.
            assert stream.taken - stream.last < returned or stream.last == 0


def size_of(result: Any) -> int:
    """Return how many octets a call took."""
    if isinstance(result, tuple):
        return result[0]
    return sum(map(len, result)) if isinstance(result, list) else len(result)
