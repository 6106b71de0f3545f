"""What is counted: frames wherever the octets are cut, and requests by how they ended."""

from __future__ import annotations

import time
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2wsgi.codes import DATA, GOAWAY, HEADERS, RST_STREAM, ErrorCode
from h2wsgi.http2.counting import MOST_REST, Counts, FrameCounts, outcome_of
from h2wsgi.http2.frame_gate import PREFACE
from h2wsgi.seam.stream import NO_WAITS
from h2wsgi.tools.metrics.families import SECONDS


def frame(kind: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, 0)) + bytes(4) + payload


def reset(code: int) -> bytes:
    return frame(RST_STREAM, code.to_bytes(4, "big"))


def goaway(code: int, debug: bytes = b"") -> bytes:
    return frame(GOAWAY, bytes(4) + code.to_bytes(4, "big") + debug)


FRAMES = st.lists(
    st.one_of(
        st.builds(frame, st.sampled_from([0, 1, 2, 4, 6, 8, 9, 16, 255]), st.binary(max_size=40)),
        st.builds(reset, st.sampled_from([0, 7, 8, 13, 14, 2**32 - 1])),
        st.builds(goaway, st.sampled_from([0, 1, 11, 99]), st.binary(max_size=40)),
        st.builds(frame, st.sampled_from([RST_STREAM, GOAWAY]), st.binary(max_size=7)),
    ),
    max_size=12,
)


def numbers(counts: Counts) -> tuple[Any, ...]:
    return counts.frames_in, counts.frames_out, counts.resets_in, counts.goaways_out


@given(FRAMES, st.lists(st.integers(0, 700), max_size=20))
def test_frames_are_counted_wherever_their_octets_are_cut(frames, cuts):
    octets = b"".join(frames)
    whole, parts = Counts(SECONDS), Counts(SECONDS)
    for counts, ends in ((whole, []), (parts, cuts)):
        observer = FrameCounts(counts)
        observer.opened(None, None)  # type: ignore[arg-type]
        observer.received(PREFACE)
        ends = sorted({0, *(min(end, len(octets)) for end in ends), len(octets)})
        for begin, end in pairwise(ends):
            observer.received(octets[begin:end])
            observer.sent(octets[begin:end])
            for way in (observer._received, observer._sent):
                assert len(way._rest) < MOST_REST
    assert numbers(whole) == numbers(parts)
    assert sum(whole.frames_in) == sum(whole.frames_out) == len(frames)
    for kind in (DATA, HEADERS, RST_STREAM, GOAWAY, 255):
        assert whole.frames_in[kind] == sum(each[3] == kind for each in frames)
    assert whole.connections == 1


def test_codes_have_names_and_those_that_nobody_knows_share_one():
    counts = Counts(SECONDS)
    observer = FrameCounts(counts)
    observer.received(PREFACE + reset(ErrorCode.CANCEL) + reset(8) + reset(77) + reset(2**32 - 1))
    observer.sent(goaway(ErrorCode.ENHANCE_YOUR_CALM) + reset(0) + goaway(0))
    assert counts.resets_in == {"CANCEL": 2, "other": 2}
    assert counts.resets_out == {"NO_ERROR": 1}
    assert counts.goaways_out == {"ENHANCE_YOUR_CALM": 1, "NO_ERROR": 1}
    assert not counts.goaways_in


def test_nothing_is_counted_of_who_speaks_something_else():
    counts = Counts(SECONDS)
    observer = FrameCounts(counts)
    observer.received(b"GET / HTTP/1.1\r\n")
    observer.sent(b"HTTP/1.1 505 HTTP Version Not Supported\r\n\r\n")
    observer.received(b"host: x\r\n\r\n")
    observer.closed("")
    assert not any(counts.frames_in + counts.frames_out)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("reset by client: CANCEL", "reset_by_client"),
        ("reset by server: INTERNAL_ERROR, the application failed", "reset_by_server"),
        ("the client closed the connection", "lost"),
    ],
)
def test_what_the_log_says_at_length_is_one_of_few(text, outcome):
    assert outcome_of(text) == outcome


def ended(method: str = "GET", status: int = 200, sent: int = 13, **more: Any) -> Any:
    head = SimpleNamespace(status=status) if status else None
    seen = {"octets_received": 0, "has_content": False, "waits": NO_WAITS} | more
    return SimpleNamespace(
        request=SimpleNamespace(method=method),
        head=head,
        status=status,
        started_at=time.monotonic() - 0.02,
        octets_sent=sent,
        **seen,
    )


def shown(counts: Counts) -> dict[tuple[str, int], int]:
    return {
        (method, status): number
        for method, numbers in counts.complete.items()
        for status, number in enumerate(numbers)
        if number
    }


def test_requests_are_counted_by_method_status_and_outcome():
    counts = Counts(SECONDS)
    for stream in (ended(), ended(), ended("POST", 201), ended("BREW", 418), ended("X" * 999)):
        counts.request_ended(stream, "")
    counts.request_ended(ended(status=0), "reset by client: CANCEL")
    counts.request_refused([(b":method", b"PUT"), (b"x", b"y")])
    counts.request_refused([])
    assert shown(counts) == {
        ("GET", 200): 2,
        ("POST", 201): 1,
        ("other", 418): 1,
        ("other", 200): 1,
    }
    assert counts.others == {
        ("GET", 0, "reset_by_client"): 1,
        ("PUT", 0, "reset_by_server"): 1,
        ("other", 0, "reset_by_server"): 1,
    }
    assert sum(counts.seconds) == 6
    assert 0.12 <= counts.totals[0] < 100


def test_a_client_cannot_make_numbers_without_end():
    counts = Counts(SECONDS)
    for number in range(500):
        counts.request_ended(ended(f"M{number}"), "")
        counts.request_ended(ended(f"M{number}", 0), f"reset by server: {number}")
    assert len(shown(counts)) + len(counts.others) == 2


def test_sizes_and_waits_are_counted():
    counts = Counts(SECONDS)
    for octets in (0, 1, 2, 256, 257):
        counts.request_ended(ended(sent=octets), "")
    counts.request_ended(ended(sent=2**40, has_content=True, octets_received=5_000), "")
    waited = SimpleNamespace(seconds=1.5)
    counts.request_ended(ended(waits=[], waited_until=lambda now: waited), "")
    below = [sum(counts.response_sizes[: power + 1]) for power in (0, 1, 4, 7, 8, 9, 40)]
    assert below == [1, 3, 4, 4, 5, 6, 7]
    assert sum(counts.request_sizes[:13]) == 0
    assert counts.request_sizes[13] == 1
    assert counts.totals[1:] == [2**40 + 256 + 257 + 3 + 13, 5_000]
    assert (counts.waits, counts.waited) == (1, 1.5)
