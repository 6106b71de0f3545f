"""The engines against each other: the same conversation must look the same on both.

``ENGINE_EXAMPLES=20000 pytest tests/engines/test_conversations.py`` hunts for longer, at random.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings

from conversations.frames import cut
from conversations.recordings import load
from conversations.strategies import damaged, damaged_recordings, made_up
from h2wsgi.http2.engines.fast import FastEngine
from h2wsgi.http2.engines.reference import ReferenceEngine
from support.engine_script import Conversation, Plan, Script, compare
from support.engines import CREDIT_BOTH, CREDIT_CONNECTION, CREDIT_SOME, KEEP

pytestmark = pytest.mark.timeout(600)
"""They compute for long, and a busy machine has little time for each."""

RECORDINGS = load()
HUNTING = "ENGINE_EXAMPLES" in os.environ
bounded = settings(
    max_examples=int(os.environ.get("ENGINE_EXAMPLES", "120")),
    derandomize=not HUNTING,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

AT_ONCE = Script(plans=(Plan(head=2, sizes=(7,), at_once=True),), commands=(("answer", 0, 3),))
LATE = Script(
    reactions=(KEEP, CREDIT_SOME, CREDIT_CONNECTION),
    plans=(Plan((0,), 3, (100, 20_000)), Plan(sizes=(0,)), Plan(abort=True), Plan(head=4)),
    commands=(
        *(("nothing", 0, 0),) * 10,
        *(("answer_all", 0, 0), ("credit", 0, 1), ("credit_connection", 0, 0), ("take", 0, 0)),
    ),
)
LEAVING = Script(
    reactions=(CREDIT_BOTH,),
    plans=(Plan(sizes=(1, 16_384)),),
    commands=(
        *(("nothing", 0, 0), ("answer", 0, 0), ("answer", 0, 0), ("drain", 0, 0), ("take", 0, 0)),
        *(
            ("answer_all", 0, 0),
            ("ping", 5, 0),
            ("reset", 0, 8),
            ("stray", 0, 0),
            ("go_away", 0, 0),
        ),
        *(("stray", 0, number) for number in range(6)),
    ),
)
SCRIPTS = {"at once": AT_ONCE, "late": LATE, "leaving": LEAVING}


def same(conversation: Conversation) -> None:
    compare(conversation, ReferenceEngine, FastEngine)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("octets", RECORDINGS.values(), ids=RECORDINGS)
def test_what_a_real_client_said_is_the_same_on_both(octets: bytes, script: Script) -> None:
    for places in ((), (*range(0, 300, 7), *range(300, len(octets), 1_000))):
        same(Conversation(cut(octets, places), script))


@bounded
@given(damaged_recordings(tuple(RECORDINGS.values())))
def test_what_a_real_client_said_is_the_same_on_both_when_damaged(said: Conversation) -> None:
    same(said)


@bounded
@given(made_up())
def test_what_a_client_may_think_of_is_the_same_on_both(said: Conversation) -> None:
    same(said)


@bounded
@given(damaged())
def test_what_a_client_may_think_of_is_the_same_on_both_when_damaged(said: Conversation) -> None:
    same(said)
