"""The tap's idea of the largest frame: what SETTINGS_MAX_FRAME_SIZE says, and nothing else."""

from __future__ import annotations

import pytest

from conversations.frames import ACK, DATA, END_HEADERS, HEADERS, SETTINGS, frame, setting
from support.tap import Wire

MAX_FRAME_SIZE = 5
REQUEST = b"\x82\x87\x84\x41\x01a"
TOO_LONG = ("20000 octets, over the largest frame size of 16384",)


def problems(*settings: tuple[int, int]) -> tuple[str, ...]:
    """Return what is wrong with a frame of 20,000 octets once settings were acknowledged."""
    wire = Wire()
    wire.received(frame(HEADERS, END_HEADERS, 1, REQUEST))
    wire.sent(frame(SETTINGS, 0, 0, b"".join(setting(*entry) for entry in settings)))
    wire.received(frame(SETTINGS, ACK, 0))
    (found,) = wire.received(frame(DATA, 0, 1, bytes(20_000)))
    return found.problems


@pytest.mark.parametrize("code", [1, 2, 3, 4, 6, 8, 0xF0])
def test_no_other_setting_makes_frames_larger(code: int) -> None:
    assert problems((code, 100_000)) == TOO_LONG


def test_the_largest_frame_may_have_any_legal_size() -> None:
    assert problems((MAX_FRAME_SIZE, 20_000)) == ()
    assert problems((MAX_FRAME_SIZE, 2**24 - 1)) == ()


@pytest.mark.parametrize("illegal", [0, 100, 2**14 - 1, 2**24, 2**32 - 1])
def test_a_size_that_is_not_legal_makes_frames_no_larger(illegal: int) -> None:
    assert problems((MAX_FRAME_SIZE, illegal)) == TOO_LONG
