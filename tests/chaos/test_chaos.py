"""The chaos run (tests/chaos) for some seconds, and that it judges as it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import SystemRandom

import pytest

from chaos import bodies, planting
from chaos.judge import Attempt, Kill, Ledger, Outcome, judge
from support.process import coverages_variables

HERE = Path(__file__).parent.parent
PATIENCE = 240.0
THEIRS = Kill(pid=7, moment=100.0, ports=frozenset({5000}))

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")


@pytest.mark.client
@pytest.mark.heavy
@pytest.mark.timeout(PATIENCE + 10)
def test_some_seconds_of_it_lose_no_request() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chaos", "--seconds=12"],
        cwd=HERE,
        env={k: v for k, v in os.environ.items() if k not in coverages_variables()},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 findings, --seed " in done.stdout
    for kind in ("raw", "httpx", "curl", "node"):
        assert f"| {kind} | " in done.stdout


@pytest.mark.client
@pytest.mark.heavy
@pytest.mark.timeout(planting.PATIENCE + 10)
def test_a_planted_defect_is_found() -> None:
    assert not planting.missed(SystemRandom().choice(planting.DEFECTS))


def ledger(*lines: str) -> Ledger:
    found = Ledger()
    for line in lines:
        found.take(line)
    return found


def attempt(
    outcome: Outcome, *, port: int = 0, began: float = 99.0, ended: float = 101.0
) -> Attempt:
    return Attempt("raw", "raw-1", began, ended, outcome, "why", port)


BEGUN = ("began raw-1 7", "closed raw-1 7")
BY_ANOTHER = ("began raw-1 8", "closed raw-1 8")


@pytest.mark.parametrize(
    ("seen", "lines", "kills", "what"),
    [
        (attempt(Outcome.WHOLE), BEGUN, [], "answered"),
        (attempt(Outcome.REFUSED), (), [], "refused, to be asked anew"),
        (attempt(Outcome.GIVEN_UP), BEGUN, [], "given up by the client at GOAWAY"),
        (attempt(Outcome.FAILED), BEGUN[:1], [THEIRS], "failed, its worker was killed"),
        (attempt(Outcome.FAILED, port=5000), BEGUN, [THEIRS], "failed, its worker was killed"),
        (attempt(Outcome.FAILED), (), [THEIRS], "failed, its worker was killed"),
        (
            attempt(Outcome.FAILED, began=103.0, ended=104.0),
            (),
            [Kill(7, 100.0, frozenset(), 103.0)],
            "failed, its worker was killed",
        ),
    ],
)
def test_what_may_become_of_a_request(
    seen: Attempt, lines: tuple[str, ...], kills: list[Kill], what: str
) -> None:
    found = judge([seen], ledger(*lines), kills)
    assert found.findings == []
    assert found.counts["raw"] == {what: 1}


@pytest.mark.parametrize(
    ("seen", "lines", "kills"),
    [
        (attempt(Outcome.WHOLE), (), []),
        (attempt(Outcome.REFUSED), BEGUN, []),
        (attempt(Outcome.LOOKS_WHOLE), BEGUN, [THEIRS]),
        (attempt(Outcome.HANGS), BEGUN, [THEIRS]),
        (attempt(Outcome.FAILED), BEGUN, []),
        (attempt(Outcome.FAILED), BY_ANOTHER, [THEIRS]),
        (attempt(Outcome.FAILED, port=5001), (), [THEIRS]),
        (attempt(Outcome.FAILED, began=50.0, ended=90.0), (), [THEIRS]),
        (attempt(Outcome.FAILED, began=102.0, ended=103.0), (), [THEIRS]),
    ],
)
def test_what_must_not_become_of_a_request(
    seen: Attempt, lines: tuple[str, ...], kills: list[Kill]
) -> None:
    (found,) = judge([seen], ledger(*lines), kills).findings
    assert "raw-1" in found


def test_a_server_that_was_told_to_end_accepts_nothing_and_finishes_what_it_has() -> None:
    seen = attempt(Outcome.FAILED)
    assert judge([seen], ledger(), [], stopped=100.0).findings == []
    assert judge([seen], ledger(*BEGUN), [], stopped=100.0).findings != []
    assert judge([seen], ledger(), [], stopped=102.0).findings != []


def test_a_response_that_is_not_closed_is_found_but_for_those_of_killed_workers() -> None:
    seen = attempt(Outcome.WHOLE)
    assert judge([seen], ledger(BEGUN[0]), [THEIRS]).findings == []
    (found,) = judge([seen], ledger(BY_ANOTHER[0]), [THEIRS]).findings
    assert "worker 8 did not call close()" in found


def test_content_tells_whether_it_is_whole_and_whose_it_is() -> None:
    body = bodies.make("raw-1", 7, 9_000, "noted")
    assert len(body) == 9_000
    assert bodies.wrong("raw-1", 9_000, body, "noted") == ""
    for cut in (0, 1, 100, 8_999):
        assert bodies.wrong("raw-1", 9_000, body[:cut], "noted")
    assert bodies.wrong("raw-2", 9_000, body, "noted")
    assert bodies.wrong("raw-1", 9_000, body, "another")
    assert bodies.wrong("raw-1", 8_000, body, "noted")
