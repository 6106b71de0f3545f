"""wsgi.input by itself, rule 17: whatever the chunks and the calls, it reads as io.BytesIO does."""

from __future__ import annotations

import gc
import io
import weakref
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2wsgi.seam.budget import Budget
from h2wsgi.seam.handover import Handover, Limits
from h2wsgi.seam.request import ConnectionFacts, RequestFields
from h2wsgi.seam.stream import Stream
from h2wsgi.wsgi.input import EmptyInput, Input


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
    st.tuples(st.sampled_from(["readinto", "readinto1", "peek"]), st.integers(0, 12)),
    st.tuples(st.just("next"), st.none()),
)
chunk = st.one_of(
    st.lists(st.sampled_from([b"\n", b"a", b"bc", b"\r"]), max_size=8).map(b"".join),
    st.integers(60_000, 70_000).map(lambda size: b"x" * size),
)


def apply(source: Any, method: str, argument: Any) -> Any:
    if method == "next":
        return next(iter(source), b"")
    if method in ("readinto", "readinto1"):
        target = bytearray(argument)
        return getattr(source, method)(target), bytes(target)
    return getattr(source, method)(argument)


def trickling(chunks: list[bytes]) -> Input:
    return Input(b"", Trickle(chunks))


def come(chunks: list[bytes]) -> Input:
    return Input(b"", filled_stream(chunks))


def whole(chunks: list[bytes]) -> Input:
    return Input(b"".join(chunks))


KINDS = [trickling, come, whole]


@pytest.mark.parametrize("make", KINDS)
@given(chunks=st.lists(chunk, max_size=6), sequence=st.lists(calls, max_size=12))
def test_input_reads_as_bytes_io_does(make, chunks, sequence):
    """17: over any chunks and any calls; only read1, readinto1 and peek may return less."""
    source = make(chunks)
    model = io.BytesIO(b"".join(chunks))
    for method, argument in sequence:
        if method in ("read1", "readinto1", "peek"):
            position = model.tell()
            most = model.read(None if method == "peek" else argument)
            got = apply(source, method, argument)
            got = got[1][: got[0]] if method == "readinto1" else got
            assert most.startswith(got)
            assert bool(got) == bool(most)
            model.seek(position if method == "peek" else position + len(got))
        else:
            assert apply(source, method, argument) == apply(model, method, argument)
    assert source.read() == model.read()


LINES = [b"one\r\ntw", b"o\nthree"]
FILES = [
    *(pytest.param(lambda make=make: make(LINES), id=make.__name__) for make in KINDS),
    pytest.param(EmptyInput, id="empty"),
]
"""Each kind of content, and none."""


@pytest.fixture(params=FILES)
def source(request: pytest.FixtureRequest) -> Input:
    return request.param()


def content(source: Input) -> bytes:
    return b"" if type(source) is EmptyInput else b"".join(LINES)


def test_input_is_a_buffered_file_that_cannot_be_sought_or_written(source):
    """17: what io.BufferedIOBase promises, whatever the content."""
    assert isinstance(source, io.BufferedIOBase)
    assert isinstance(source, Input)
    assert (source.readable(), source.writable(), source.seekable()) == (True, False, False)
    assert not source.isatty()
    assert not source.closed
    source.flush()
    weakref.ref(source)
    for call in (
        source.fileno, source.detach, source.tell, source.truncate,
        lambda: source.seek(0), lambda: source.write(b"x"), lambda: source.writelines([b"x"]),
    ):  # fmt: skip
        with pytest.raises(io.UnsupportedOperation):
            call()
    assert source.read() == content(source)


CALLS = {
    "read": lambda source: source.read(),
    "read of nothing": lambda source: source.read(0),
    "read1": lambda source: source.read1(1),
    "peek": lambda source: source.peek(),
    "readinto": lambda source: source.readinto(bytearray(3)),
    "readinto1": lambda source: source.readinto1(bytearray(3)),
    "readline": lambda source: source.readline(),
    "readline of nothing": lambda source: source.readline(0),
    "readlines": lambda source: source.readlines(),
    "next": next,
    "iter": iter,
    "with": lambda source: source.__enter__(),
    "flush": lambda source: source.flush(),
    "readable": lambda source: source.readable(),
    "isatty": lambda source: source.isatty(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_closed_input_says_so(source, call):
    """17: with closes, close() may be called again, and whatever is read then is a ValueError."""
    with source as entered:
        assert entered is source
    assert source.closed
    source.close()
    with pytest.raises(ValueError, match="closed file"):
        call(source)


def test_closing_one_input_closes_no_other():
    """17: also where there is no content, which is alike for all requests."""
    EmptyInput().close()
    assert EmptyInput().read() == b""
    Input(b"content").close()
    assert Input(b"content").read() == b"content"


def test_the_files_of_the_library_read_an_input(source):
    """17: as text, through another buffer, as a raw file."""
    text = io.TextIOWrapper(source, encoding="ascii", newline="")
    assert list(text) == [line.decode() for line in io.BytesIO(content(source))]
    text.close()
    assert source.closed


def test_a_buffer_over_an_input_reads_it(source):
    """17: readinto, as io.BufferedReader calls it."""
    buffered = io.BufferedReader(source, 5)
    assert buffered.readline() + buffered.peek(1)[:0] + buffered.read() == content(source)


def test_an_input_that_a_dropped_wrapper_closed_is_closed():
    """17: a TextIOWrapper closes what it wraps when it goes, as it does for any file."""
    source = Input(b"content")
    io.TextIOWrapper(source)
    gc.collect()
    assert source.closed


def test_a_buffer_that_cannot_be_written_loses_nothing(source):
    """17: the octets stay where they were."""
    for read in (source.readinto, source.readinto1):
        with pytest.raises(TypeError):
            read(bytes(3))
        with pytest.raises(TypeError):
            read("abc")
    for read in (source.read, source.read1, source.readline):
        with pytest.raises(TypeError):
            read("1")
    assert source.read() == content(source)


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
    source = Input(b"", stream)
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


def test_a_size_that_is_no_integer_is_refused_however_the_content_came() -> None:
    """As BytesIO does: whether all of it was there must not show."""
    with pytest.raises(TypeError):
        Input(b"content").read(7.0)  # type: ignore[arg-type]
    assert Input(b"content").read(True) == b"c"
