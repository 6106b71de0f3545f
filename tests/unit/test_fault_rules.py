"""The rules of --fault: how often they hit, and the sentence for each that is wrong."""

from __future__ import annotations

import pytest

from h2wsgi import Config, ConfigurationError
from h2wsgi.config.fault_rules import KINDS, FaultRules, parse_rules

# -------------------------------------------------------------------------------- how often


def test_seeds_and_rules_differ() -> None:
    def pattern(text: str, seed: int, number: int = 0) -> list[bool]:
        rule = parse_rules([text] * (number + 1), seed)[number]
        return [rule.strikes() for _ in range(200)]

    base = pattern("reset * 50%", 1)
    assert base == pattern("reset  *  50%", 1)  # the blanks do not count
    assert base != pattern("reset * 50%", 2)
    assert base != pattern("reset * 50%", 1, number=1)
    assert 60 < sum(base) < 140


@pytest.mark.parametrize(("percent", "share"), [("0%", 0.0), ("100%", 1.0), ("12.5%", 0.125)])
def test_a_probability_is_kept(percent: str, share: float) -> None:
    (rule,) = parse_rules([f"reset * {percent}"], 7)
    hits = sum(rule.strikes() for _ in range(8000))
    assert abs(hits / 8000 - share) < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_of_any_kind_hits_no_more_often_than_it_may(kind: str) -> None:
    value = "=1" if kind in ("stall", "delay-settings") else ""
    (rule,) = parse_rules([f"{kind}{value} 50% times=3"], 7)
    (unbounded,) = parse_rules([f"{kind}{value} 50% times=1000"], 7)
    hits = [rule.strikes() for _ in range(40)]
    assert sum(hits) == 3
    assert (rule.seen, rule.hits) == (40, 0)
    rule.struck()
    rule.missed()
    assert [rule.strikes() for _ in range(40)].count(True) == rule.hits == 1
    assert sum(unbounded.strikes() for _ in range(40)) > 10


def test_what_a_rule_hits_depends_on_the_seed_and_not_on_when_it_was_added() -> None:
    given = FaultRules(["refuse /a", "reset * 50%"], 5)
    added = FaultRules(["refuse /a"], 5)
    added.add("reset * 50%")
    draws = [[rule.strikes() for _ in range(50)] for _, rule in (tuple(given), tuple(added))]
    assert draws[0] == draws[1]


# ------------------------------------------------------------------------------- the words

WRONG = [
    ("", "it is empty"),
    ("rest /a", "'rest' is no kind of fault. Did you mean reset?"),
    ("reset=CANCLE", "'CANCLE' is no name of an error code. Did you mean CANCEL?"),
    ("reset /a 101%", "probability: 101 is not from 0 to 100"),
    ("reset /a x%", "probability: 'x' is not a number"),
    ("reset /a aftr=3", "reset does not know 'aftr', only after, times. Did you mean after?"),
    ("refuse tims=1", "refuse does not know 'tims', only times. Did you mean times?"),
    ("refuse times=1 times=2", "it says times twice"),
    ("refuse times=0", "times: 0 is not from 1 to 2147483647"),
    ("delay-settings=1 times=once", "times: 'once' is not a number"),
    ("reset /a after=many", "after: 'many' is not a number"),
    ("reset /a after=0", "after: 0 is not from 1 to 2147483647"),
    ("reset api", "'api' is neither a path"),
    ("refuse=1", "refuse takes no value"),
    ("stall /a", "stall needs a value, such as stall=2"),
    ("reset /a /b", "it has two paths, /a and /b; make it two rules"),
    ("reset * /b", "it has two paths, * and /b; make it two rules"),
    ("stall=-1", "stall: -1 is not from 0 to 3600"),
    ("stall=1 of=conection", "'conection' is not one of stream, connection. Did you mean"),
    ("drop=fine", "'fine' is not one of fin, rst. Did you mean fin?"),
    ("delay-settings=1 /a", "delay-settings is about connections, which have no path"),
    ("max-stream=1", "Did you mean max-streams?"),
]


@pytest.mark.parametrize(("rule", "words"), WRONG)
def test_a_mistake_is_named_with_what_was_meant(rule: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Config(fault=(rule,))
    assert words in str(caught.value)
    assert repr(rule) in str(caught.value)
    assert caught.value.hint
