"""What frames cost that bring nothing: buckets that empty, and fill up again with time."""

from __future__ import annotations

import pytest

from h2wsgi.config.config import Config
from h2wsgi.errors import ConnectionFailed
from h2wsgi.http2.frame_meter import SECONDS_TO_FILL, FrameMeter


class Meter(FrameMeter):
    """A meter whose time passes when it is told to."""

    def __init__(self, **options: int) -> None:
        super().__init__(Config.build(**options), lambda: self.time)
        self.time = 1_000.0

    def take(self, option: str = "max_resets") -> int:
        """Spend until the bucket is empty; return how often that went."""
        for number in range(1_000):
            try:
                self.spend(option)
            except ConnectionFailed:
                return number
        raise AssertionError("the bucket is never empty")


@pytest.mark.parametrize("size", [1, 3, 30])
def test_a_bucket_gives_as_many_as_its_option_says(size: int) -> None:
    assert Meter(max_resets=size).take() == size


def test_a_bucket_fills_up_with_time_and_no_time_counts_twice() -> None:
    meter = Meter(max_resets=4)
    for _ in range(4):
        meter.spend("max_resets")
    meter.time += SECONDS_TO_FILL / 2
    assert meter.take() == 2


def test_a_bucket_never_holds_more_than_its_size() -> None:
    meter = Meter(max_resets=4)
    meter.spend("max_resets")
    meter.time += 100 * SECONDS_TO_FILL
    assert meter.take() == 4


def test_what_is_spent_slowly_enough_never_ends() -> None:
    meter = Meter(max_resets=2)
    for _ in range(20):
        meter.spend("max_resets")
        meter.time += SECONDS_TO_FILL / 2


def test_without_a_limit_nothing_is_counted() -> None:
    meter = Meter(max_resets=0)
    for _ in range(1_000):
        meter.spend("max_resets")
