"""That the suite judges: a strict client passes all of it, a lazy one nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from clientspec.strict_client import StrictClient
from h2wsgi.clientspec.case import Script
from h2wsgi.clientspec.catalogue import CATALOGUE, chosen
from h2wsgi.clientspec.certificates import Identities
from h2wsgi.clientspec.conversation import Conversation
from h2wsgi.clientspec.drivers import Order, Outcome, hung
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

    def abort(self) -> None: ...

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


def test_what_a_client_has_sent_is_judged_however_late_it_is_read(identities: Identities) -> None:
    def play(c: Conversation) -> None:
        c.greet()
        c.reach()
        c.respond(c.request())
        time.sleep(0.5)

    (frames,) = chosen(CATALOGUE, ["9113/4/1"])
    case = replace(frames, script=Script("It is slow to read.", play))
    client = StrictClient(identities.ca, ["sends an increment of 0"])
    result = Runner(lambda: client, identities).one(case, client, Proof(frozenset({"get"})))
    client.close()
    assert result.verdict is Verdict.FAIL


def test_a_client_that_asks_for_something_else_has_not_reached_a_case(
    identities: Identities,
) -> None:
    (large,) = chosen(CATALOGUE, ["9113/5.2/1"])
    client = StrictClient(identities.ca, ["drops the query"])
    result = Runner(lambda: client, identities).one(large, client, Proof(frozenset({"get"})))
    client.close()
    assert result.verdict is Verdict.NOT_REACHED
    assert result.word.startswith("it asked for '/9113/5.2/1', not '/9113/5.2/1?1/")


@pytest.mark.parametrize("query", ["\u00b2/\u00b2", "\u0663/\u0663", "1/999999", "9" * 9999])
def test_no_path_makes_the_suite_itself_fail(query: str, identities: Identities) -> None:
    class Odd(StrictClient):
        def ask(self, orders: Sequence[Order], seconds: float) -> list[Outcome]:
            asked = [replace(order, url=f"{order.url}?{query}") for order in orders]
            return super().ask(asked, seconds)

    (one,) = chosen(CATALOGUE, ["9113/8.2.1/3"])
    client = Odd(identities.ca)
    result = Runner(lambda: client, identities).one(one, client, Proof(frozenset({"get"})))
    client.close()
    assert result.verdict is Verdict.NOT_REACHED
    assert result.word.startswith("it asked for '/9113/8.2.1/3?")


class Waiting:
    """The strict client, without a time limit: it has hung once it waits in a case ``reached``."""

    keeps_connections = True

    def __init__(self, ca: str, reached: threading.Event) -> None:
        self._client = StrictClient(ca)
        self._reached = reached
        self._thread = threading.Thread()

    def ask(self, orders: Sequence[Order], seconds: float) -> list[Outcome]:
        self._thread = threading.Thread(target=self._client.ask, args=(orders, 600))
        self._thread.start()
        assert self._reached.wait(seconds)
        self._thread.join(0.3)
        return [hung(seconds)] * len(orders)

    def rest(self) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None:
        self._thread.join(30)  # The server has gone.
        self._client.close()


@pytest.mark.parametrize("id_", ["9110/6.4/4", "9110/15/2", "9113/3.4/9", "9113/6.9/9"])
def test_to_wait_on_is_a_word_where_nothing_comes(
    id_: str, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = threading.Event()
    reach = Conversation.reach
    monkeypatch.setattr(Conversation, "reach", lambda c: (reach(c), reached.set()))
    (case,) = chosen(CATALOGUE, [id_])
    caller = Waiting(identities.ca, reached)
    runner = Runner(lambda: caller, identities)
    result = runner.one(case, caller, Proof(frozenset({"get", "post"})))
    caller.close()
    assert (result.verdict, result.word) == (Verdict.WORD, "waits on")


def test_the_identifiers_of_cases_are_unique() -> None:
    ids = [case.id for case in CATALOGUE]
    assert len(set(ids)) == len(ids)
    for case in CATALOGUE:
        assert case.id == f"{case.rfc}/{case.section}/{case.id.split('/')[2]}"
        assert case.advice.endswith(".")
        assert case.script.words.endswith(".")
