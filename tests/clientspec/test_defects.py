"""Defects planted in the strict client: each fails the cases that are meant for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from clientspec.defects import DEFECTS, REMARKED
from clientspec.strict_client import StrictClient
from h2wsgi.clientspec.case import Case
from h2wsgi.clientspec.catalogue import CATALOGUE
from h2wsgi.clientspec.certificates import Identities
from h2wsgi.clientspec.judge import Proof, Result, Verdict
from h2wsgi.clientspec.run import Runner

BY_ID = {case.id: case for case in CATALOGUE}
WORKING = Proof(frozenset({"get", "head", "post"}))
TIMEOUT = 10.0
"""Seconds for a client that hangs, as some are meant to. The others may need some on a busy
machine, so many as there are side by side."""
SIDE_BY_SIDE = 24

Results = dict[tuple[str, str], Result]


@pytest.fixture(scope="module")
def results() -> Results:
    """Put each defective client through its cases, side by side."""
    identities = Identities()

    def run(defect: str, case: Case) -> Result:
        client = StrictClient(identities.ca, [defect])
        runner = Runner(lambda: client, identities, timeout=TIMEOUT)
        try:
            return runner.one(case, client, WORKING)
        finally:
            client.close()

    pairs = [(d, id_) for d, ids in (DEFECTS | REMARKED).items() for id_ in ids]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        found = pool.map(lambda pair: run(pair[0], BY_ID[pair[1]]), pairs)
        return dict(zip(pairs, found, strict=True))


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_fails_the_cases_that_are_meant_for_it(defect: str, results: Results) -> None:
    for id_ in DEFECTS[defect]:
        result = results[defect, id_]
        assert result.verdict is Verdict.FAIL, f"{result}\n{result.came}\n{result.frames}"


@pytest.mark.parametrize("defect", REMARKED)
def test_what_is_only_a_should_is_remarked(defect: str, results: Results) -> None:
    for id_ in REMARKED[defect]:
        result = results[defect, id_]
        assert result.verdict is Verdict.PASS
        assert result.remarks


def test_enough_defects_are_planted() -> None:
    assert len(DEFECTS) >= 60
