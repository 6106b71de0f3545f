"""The page for browsers: Chromium plays cases with fetch, and its verdicts are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from clientspec.strict_client import StrictClient
from h2wsgi.clientspec.case import Case
from h2wsgi.clientspec.catalogue import CATALOGUE
from h2wsgi.clientspec.certificates import Identities
from h2wsgi.clientspec.drivers import Order
from h2wsgi.clientspec.judge import Result, Verdict
from h2wsgi.clientspec.serving import MAX_OPEN, PageServer, plays_in_a_browser
from support.browser import Browser
from support.clients import trust_in_browser

GOOD = ("9113/6.1/4", "9113/8.1/12", "7541/6.1/1", "9110/15.3.5/1", "9113/8.1/3", "9113/6.7/2")


@pytest.fixture(scope="module")
def identities() -> Identities:
    return Identities()


@pytest.mark.client
def test_chromium_plays_cases_on_the_page(identities: Identities, tmp_path: Path) -> None:
    told: list[Result] = []
    cases = [case for case in CATALOGUE if case.id in GOOD]
    trust_in_browser(tmp_path, identities.ca)
    with PageServer(cases, identities, told.append) as server, Browser(tmp_path) as browser:
        browser.open(server.url)
        browser.wait("document.body.dataset.done === 'yes'")
        assert browser.text("#state") == "Done: 6 cases, 0 failed."
        assert "✔ 9113/6.1/4" in browser.text("#results")
    assert {result.case.id for result in told} == set(GOOD)
    assert {result.verdict for result in told} == {Verdict.PASS}


def ask(client: StrictClient, url: str) -> str:
    (outcome,) = client.ask([Order("get", url)], 5)
    return (outcome.content or b"").decode() or str(outcome.status)


def test_without_the_good_response_nothing_is_judged(identities: Identities) -> None:
    told: list[Result] = []
    client = StrictClient(identities.ca)
    with PageServer(CATALOGUE, identities, told.append) as server:
        ask(client, f"{server.url}open?id=9113/8.1/3")
        answer = ask(client, f"{server.url}judge?id=9113/8.1/3&error=no")
        assert '"not reached"' in answer
        client.close()
    assert told[0].verdict is Verdict.NOT_REACHED


def test_what_makes_no_sense_is_answered(identities: Identities) -> None:
    client = StrictClient(identities.ca)
    with PageServer(CATALOGUE, identities, lambda result: None) as server:
        assert "was not opened" in ask(client, f"{server.url}judge?id=x&status=x&length=-1")
        assert ask(client, f"{server.url}nothing") == "404"
        for number in range(MAX_OPEN + 3):
            assert ".case.localhost" in ask(client, f"{server.url}open?id=x{number}")
        client.close()


def test_a_client_that_is_driven_by_hand_is_told_about(identities: Identities) -> None:
    told: list[tuple[Case, list[str], str]] = []
    careful = StrictClient(identities.ca)
    with PageServer(CATALOGUE, identities, lambda _: None, lambda *w: told.append(w)) as server:
        assert ask(careful, f"{server.url}by-hand/9113/99/1") == "404"
        url = ask(careful, f"{server.url}by-hand/9113/5.4.2/1").strip()
        assert url.endswith("/9113/5.4.2/1")
        assert "takes upper case" in careful.ask([Order("get", url)], 5)[0].error
        careful.close()
    assert [case.id for case, _, _ in told] == ["9113/5.4.2/1"]
    assert "recv RST_STREAM frame" in told[0][2]
    assert told[0][1] == []


def test_a_browser_plays_what_is_one_get() -> None:
    played = [case for case in CATALOGUE if plays_in_a_browser(case)]
    assert len(played) > 200
    assert not [case.id for case in played if case.needs_driver or case.tls != "good"]
