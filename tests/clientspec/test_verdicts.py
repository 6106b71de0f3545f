"""That the suite judges: a strict client passes all of it, a lazy one nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from clientspec.strict_client import StrictClient
from h2wsgi.clientspec.catalogue import CATALOGUE
from h2wsgi.clientspec.certificates import Identities
from h2wsgi.clientspec.drivers import Order, Outcome
from h2wsgi.clientspec.judge import Proof, Verdict
from h2wsgi.clientspec.run import Runner


@pytest.fixture(scope="module")
def identities() -> Identities:
    return Identities()


def test_a_strict_client_passes_every_case(identities: Identities) -> None:
    runner = Runner(lambda: StrictClient(identities.ca), identities, jobs=16)
    results = list(runner.run(CATALOGUE, runner.prove(CATALOGUE)))
    assert not [f"{r}\n{r.frames}" for r in results if r.verdict is Verdict.FAIL]
    assert not [str(r) for r in results if r.verdict is Verdict.NOT_REACHED]
    assert not [(r.case.id, r.remarks) for r in results if r.remarks]


class Lazy:
    """A client that does nothing, and says so or not."""

    keeps_connections = True

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def ask(self, orders: Sequence[Order], seconds: float) -> list[Outcome]:
        return [self._outcome] * len(orders)

    def rest(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize(
    "outcome", [Outcome(content=b""), Outcome(error="no"), Outcome(has_hung=True, error="no end")]
)
def test_a_client_that_does_nothing_passes_nothing(
    identities: Identities, outcome: Outcome
) -> None:
    runner = Runner(lambda: Lazy(outcome), identities)
    proof = runner.prove(CATALOGUE)
    results = list(runner.run(CATALOGUE, proof))
    assert {result.verdict for result in results} == {Verdict.NOT_REACHED}


def test_a_client_that_stops_working_behind_the_proof_passes_nothing(
    identities: Identities,
) -> None:
    runner = Runner(lambda: Lazy(Outcome(error="no")), identities, jobs=40)
    proof = Proof(frozenset({"get", "head", "post"}))
    verdicts = {result.verdict for result in runner.run(CATALOGUE, proof)}
    assert verdicts == {Verdict.NOT_REACHED}


def test_the_identifiers_of_cases_are_unique() -> None:
    ids = [case.id for case in CATALOGUE]
    assert len(set(ids)) == len(ids)
    for case in CATALOGUE:
        assert case.id == f"{case.rfc}/{case.section}/{case.id.split('/')[2]}"
        assert case.advice.endswith(".")
        assert case.script.words.endswith(".")
