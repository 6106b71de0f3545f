"""What clients do when a server misbehaves, against what docs/testing-clients.md says of them.

The table there is made from clients/behaviour.json, which these clients were recorded in. If a test
fails, its last lines tell whose doing it is: the server's frames are compared before the client is,
and a client of another version than the recorded one may behave better, or otherwise.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clients.record_behaviour import CLIENTS, DOCUMENT, MARKS, REMARKS, load, replaced, tables
from conftest import Serve
from support.behaviour import LEFT, Behaviour, observe
from support.clients import find, run
from support.misbehaving import SCENARIOS, Misbehaving, Scenario

RECORDED = load()
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.fixture(scope="module", params=list(CLIENTS))
def client(request: pytest.FixtureRequest) -> tuple[str, Behaviour]:
    """Put one client through all scenarios, once."""
    name = request.param
    folder = request.getfixturevalue("urllib3_folder") if name == "urllib3" else Path()
    return name, observe(CLIENTS[name](folder))


@pytest.mark.client
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_client_does_what_the_document_says(
    client: tuple[str, Behaviour], scenario: Scenario
) -> None:
    name, behaviour = client
    recorded, observed = RECORDED[name], behaviour.observed[scenario.name]
    assert observed.wire in (scenario.wire, LEFT), "the server did not do what the scenario says"
    if behaviour.versions == recorded.versions:
        wanted = recorded.observed[scenario.name]
        assert (observed.text, observed.right) == (wanted.text, wanted.right), (
            f"{name} is of the recorded version and the server's frames are right"
        )
    else:
        # Another version may do something else; what it must not do is worse than it did.
        assert observed.right >= recorded.observed[scenario.name].right, (
            f"{name} was {recorded.versions} when recorded and is {behaviour.versions} now: "
            f"{observed.text}. Look at it, then record it: python -m clients.record_behaviour"
        )


def test_every_scenario_has_been_recorded_for_every_client() -> None:
    assert list(RECORDED) == list(CLIENTS)
    for behaviour in RECORDED.values():
        assert list(behaviour.observed) == list(BY_NAME)


def test_the_tables_in_the_document_are_made_from_what_was_recorded() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert replaced(text, tables(RECORDED)) == text
    for mark in MARKS:
        assert text.count(f"<!-- {mark} -->") == 1


def test_whatever_is_recorded_as_wrong_is_explained() -> None:
    wrong = {
        (client, name)
        for client, behaviour in RECORDED.items()
        for name, observed in behaviour.observed.items()
        if not observed.right
    }
    assert set(REMARKS) == wrong


@pytest.mark.client
def test_the_fetch_of_node_speaks_no_http2(serve: Serve, tmp_path: Path) -> None:
    server = serve(Misbehaving())
    program = tmp_path / "fetch.mjs"
    program.write_text("const r = await fetch(process.argv[2]); console.log(r.status);")
    assert server.ca_file is not None
    env = os.environ | {"NODE_EXTRA_CA_CERTS": server.ca_file}
    node = find("node", package="nodejs")
    assert run([node, str(program), server.url], env=env).strip() == "505"
