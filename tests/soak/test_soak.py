"""The soak (tests/soak) for a few seconds: so that it keeps working, and finds what it is for."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from soak.__main__ import Outcome, Span, failures
from soak.tally import Latencies, Tally
from soak.watch import MIB, Look, average, look

HERE = Path(__file__).parent.parent
PATIENCE = 100.0
OPTIONS = Namespace(idle=40.0, growth=16.0)


@pytest.mark.heavy
def test_a_few_seconds_of_it_pass() -> None:
    """Threads are not looked at: the pool keeps them longer than this."""
    arguments = ["--minutes=0.1", "--warm-up=1", "--idle=4", "--growth=64"]
    arguments += [f"--engine={os.environ.get('TEST_ENGINE', 'auto')}"]
    arguments += [f"--loop={os.environ.get('TEST_LOOP', 'auto')}"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "soak", *arguments],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    assert done.stdout.count("0 errors so far") == 3
    for kind in ("resets", "slow readers", "slow posters", "hang-ups", "broken handshakes"):
        assert kind in done.stdout
    assert done.stdout.endswith("passed\n")


def outcome(**changes: object) -> Outcome:
    """Return what a good run comes to, with something changed."""
    idle = Look(rss=60 * MIB, pss=50 * MIB, threads=4, descriptors=16)
    busy = Look(rss=80 * MIB, pss=70 * MIB, threads=20, descriptors=60)
    span = Span(9_000, Latencies([0.002, 0.004]), Latencies([0.01]), busy)
    good = Outcome(idle, span, span, idle, Tally(), exit_code=0, complaints=[])
    return dataclasses.replace(good, **changes)


def test_a_server_that_is_as_it_was_passes() -> None:
    assert failures(outcome(), OPTIONS) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"idle": Look(60 * MIB, 0, 4, 17)}, "16 descriptors before, 17 after"),
        ({"idle": Look(60 * MIB, 0, 5, 16)}, "4 threads before, 5 after"),
        ({"idle": Look(97 * MIB, 0, 4, 16)}, "17.0 MiB more after it all"),
        ({"exit_code": 1}, "ended with 1"),
        ({"complaints": ["internal error"]}, "logged: internal error"),
        (
            {"last": Span(9_000, Latencies(), Latencies(), Look(100 * MIB, 0, 20, 60))},
            "20.0 MiB more in the last minute",
        ),
        ({"last": Span(0, Latencies(), Latencies(), Look(80 * MIB, 0, 20, 60))}, "not served"),
    ],
)
def test_what_a_server_must_not_keep_or_do_is_found(changes: dict[str, object], said: str) -> None:
    (found,) = failures(outcome(**changes), OPTIONS)
    assert said in found


def test_an_error_of_a_good_client_is_found() -> None:
    tally = Tally()
    tally.errors.append("/hello/1: other content")
    (found,) = failures(outcome(tally=tally), OPTIONS)
    assert "good clients saw 1 errors" in found


def test_percentiles_are_those_of_the_requests() -> None:
    latencies = Latencies([number / 1000 for number in range(100, 0, -1)])
    assert latencies.text() == "50.0 / 90.0 / 99.0 / 100.0"
    assert Latencies([0.007]).text() == "7.0 / 7.0 / 7.0 / 7.0"
    assert Latencies().text() == "0.0 / 0.0 / 0.0 / 0.0"


def test_a_process_is_looked_at_by_what_linux_says() -> None:
    before = look(os.getpid())
    reader, writer = os.pipe()
    try:
        after = look(os.getpid())
    finally:
        os.close(reader)
        os.close(writer)
    assert after.descriptors == before.descriptors + 2
    assert before.threads >= 1
    assert before.rss >= before.pss > MIB
    assert average([before, after]).descriptors == before.descriptors + 1
