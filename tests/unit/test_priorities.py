"""What RFC 9218 says of the order of responses: values read, turns given, nobody starved."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2wsgi.http2 import priorities
from h2wsgi.http2.priorities import (
    DEFAULT_URGENCY,
    LONGEST_VALUE,
    REMEMBERED,
    SHARE,
    PriorityTurns,
    Signal,
    read_signal,
)


@pytest.mark.parametrize(
    ("value", "signal"),
    [
        (b"", Signal()),
        (b"u=0", Signal(0)),
        (b"u=7, i", Signal(7, True)),
        (b" i ,\tu=5 ", Signal(5, True)),
        (b"i=?0", Signal(None, False)),
        (b"u=1;note=x, i;y", Signal(1, True)),
        (b"u=1, u=2", Signal(2)),
        (b'a="x, u=9", b=:AAA=:, c=tok/en, d=1.5, e=(1 "2";q), u=4', Signal(4)),
    ],
)
def test_what_a_value_says_is_read(value: bytes, signal: Signal) -> None:
    assert read_signal(value) == signal


@pytest.mark.parametrize("value", [b"u=8", b"u=-1", b"u=1.0", b"u", b'u="1"', b"u=(1)", b"i=1"])
def test_what_is_no_value_of_a_parameter_is_as_if_it_was_not_there(value: bytes) -> None:
    assert read_signal(value) == Signal()


@pytest.mark.parametrize("value", [b"u=1,", b",", b"U=1", b"u=1 i", b"u==1", b"\xff", b"u=\xe9"])
def test_what_is_no_dictionary_says_nothing(value: bytes) -> None:
    assert read_signal(value) is None


def test_what_is_too_long_is_not_read() -> None:
    long = b"u=1" + b", x" * 100
    assert len(long) > LONGEST_VALUE
    assert read_signal(long) is None


@given(st.binary(max_size=40) | st.text('ui=?01, ;()"x:*.-9\t', max_size=40).map(str.encode))
def test_any_octets_are_a_signal_or_none(value: bytes) -> None:
    signal = read_signal(value)
    if signal is not None:
        assert signal.urgency in (None, *range(8))
        assert signal.incremental in (None, True, False)


def turns_of(**signals: tuple[int | None, bool | None]) -> PriorityTurns:
    """Return turns with ``s1=(urgency, incremental)`` for stream 1, and so on, all waiting."""
    turns = PriorityTurns(lambda stream_id: True)
    for name, signal in signals.items():
        stream_id = int(name[1:])
        turns.append(stream_id)
        turns.asked(stream_id, Signal(*signal), first=True)
    return turns


def order(turns: PriorityTurns, count: int) -> list[int]:
    """Return whose turns the next ``count`` are, all of which have more to send."""
    taken = []
    for _ in range(count):
        stream_id = turns.popleft()
        taken.append(stream_id)
        turns.append(stream_id)
    return taken


def test_the_most_urgent_goes_first_and_those_that_are_not_incremental_one_after_the_other() -> (
    None
):
    turns = turns_of(s1=(5, None), s3=(1, None), s5=(1, None), s7=(0, None))
    assert [turns.popleft() for _ in range(4)] == [7, 3, 5, 1]
    assert len(turns) == 0


def test_one_that_is_not_incremental_goes_on_until_it_is_done() -> None:
    turns = turns_of(s1=(3, False), s3=(3, False))
    assert order(turns, 5) == [1, 1, 1, 1, 1]
    turns.remove(1)
    assert order(turns, 2) == [3, 3]


def test_those_that_are_incremental_take_turns() -> None:
    assert order(turns_of(s1=(3, True), s3=(3, True)), 4) == [1, 3, 1, 3]


def test_both_kinds_of_one_urgency_share() -> None:
    turns = turns_of(s1=(3, False), s3=(3, False), s5=(3, True), s7=(3, True))
    assert order(turns, 8) == [1, 5, 1, 7, 1, 5, 1, 7]


def test_streams_of_which_nothing_is_said_take_turns_at_the_default_urgency() -> None:
    turns = turns_of(s1=(DEFAULT_URGENCY - 1, None), s3=(DEFAULT_URGENCY + 1, None))
    turns.extend([5, 7])
    assert order(turns, 3) == [1, 1, 1]
    turns.remove(1)
    assert order(turns, 4) == [5, 7, 5, 7]


def test_a_client_that_says_something_says_all_of_it() -> None:
    turns = turns_of(s1=(None, None), s3=(None, None))
    assert order(turns, 3) == [1, 1, 1]


def test_one_turn_of_so_many_is_for_the_less_urgent_each_level_in_its_turn() -> None:
    turns = turns_of(s1=(0, True), s3=(4, True), s5=(7, True))
    taken = order(turns, 4 * SHARE)
    lower = [(place + 1, stream_id) for place, stream_id in enumerate(taken) if stream_id != 1]
    assert [place for place, _ in lower] == [SHARE, 2 * SHARE, 3 * SHARE, 4 * SHARE]
    assert sorted({stream_id for _, stream_id in lower}) == [3, 5]
    assert all(one != other for (_, one), (_, other) in pairwise(lower))


def test_a_later_word_moves_a_stream_that_waits() -> None:
    turns = turns_of(s1=(3, False), s3=(3, False))
    turns.asked(3, Signal(1), first=False)
    assert order(turns, 2) == [3, 3]


def test_an_update_before_the_request_overtakes_its_field() -> None:
    turns = PriorityTurns(lambda stream_id: True)
    turns.asked(1, Signal(6), first=False)
    turns.asked(1, Signal(0), first=True)
    assert turns.priority(1).urgency == 6


def test_the_applications_word_counts_by_the_parameter() -> None:
    turns = turns_of(s1=(5, True))
    turns.answered(1, Signal(urgency=0))
    assert turns.priority(1) == (0, True)
    turns.asked(1, Signal(6, False), first=False)
    assert turns.priority(1) == (0, False)
    turns.answered(3, Signal(urgency=7))
    assert turns.priority(3) == (7, True), "the client may not know of priorities at all"


def test_a_turn_goes_on_whatever_else_is_more_urgent() -> None:
    turns = turns_of(s1=(0, None), s3=(7, None))
    turns.remove(3)
    turns.appendleft(3)
    turns.asked(3, Signal(6), first=False)
    assert turns.popleft() == 3


def test_what_is_kept_is_bounded_and_open_streams_push_out_closed_ones() -> None:
    live = {1}
    turns = PriorityTurns(live.__contains__)
    for stream_id in range(1, 2 * REMEMBERED, 2):
        turns.asked(stream_id, Signal(1), first=False)
    live.add(10_001)
    turns.asked(10_001, Signal(0), first=False)
    assert turns.priority(1).urgency == 1
    assert turns.priority(10_001).urgency == 0
    assert turns.priority(3) == priorities.Priority()
    full = PriorityTurns(lambda stream_id: True)
    for stream_id in range(1, 2 * REMEMBERED + 11, 2):
        full.asked(stream_id, Signal(1), first=False)
    assert len(full._priorities) == REMEMBERED


@given(st.lists(st.tuples(st.sampled_from("awfr"), st.integers(0, 5), st.integers(0, 9))))
def test_everybody_who_waits_has_one_turn(steps: list[tuple[str, int, int]]) -> None:
    turns = PriorityTurns(lambda stream_id: True)
    waiting: set[int] = set()
    for step, number, urgency in steps:
        stream_id = 2 * number + 1
        if step == "a":
            turns.asked(stream_id, Signal(urgency % 8, urgency > 5), first=False)
        elif step == "r" and stream_id in waiting:
            turns.remove(stream_id)
            waiting.remove(stream_id)
        elif step in "wf" and stream_id not in waiting:
            (turns.append if step == "w" else turns.appendleft)(stream_id)
            waiting.add(stream_id)
        assert len(turns) == len(waiting)
    assert sorted(turns.popleft() for _ in range(len(turns))) == sorted(waiting)
    with pytest.raises(ValueError, match="no turn"):
        turns.remove(1)
