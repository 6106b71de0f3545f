"""The format of the access log, taken apart, and the sentence for each that is none."""

from __future__ import annotations

import pytest

from h2wsgi.config.access_format import ATOMS, COMMON, Atom, parse_format
from h2wsgi.config.config import Config
from h2wsgi.errors import ConfigurationError


def test_a_format_is_texts_and_values():
    assert parse_format('%(h)s "%({x-Id}i)s" 100%%%(D)d') == [
        Atom("h"), ' "', Atom("i", "x-Id"), '" 100', "%", Atom("D"),
    ]  # fmt: skip
    assert parse_format("") == []


def test_every_atom_and_every_format_with_a_name_is_one():
    for atom in ATOMS:
        assert parse_format(f"%({atom})s") == [Atom(atom)]
    assert parse_format("common") == parse_format(COMMON)
    assert parse_format("combined")[-2:] == [Atom("a"), chr(34)]
    assert Atom("f") in parse_format("combined")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("%(x)s", r"has %\(x\)s, which"),
        ("%({}i)s", r"has %\(\{\}i\)s, which"),
        ("%({a}x)s", r"has %\(\{a\}x\)s, which"),
        ("a % b", "has '% b', which"),
        ("%", "has '%', which"),
        ("%(h", r"has '%\(h', which"),
        ("%(h)q", r"has '%\(h\)q', which"),
        ("Combined", "has 'Combined' alone, which"),
        ("100 %%", "has '100 %%' alone, which"),
        ("%(h)s\n", "has a control character, which"),
    ],
)
def test_what_is_no_format_is_a_sentence(text, what):
    with pytest.raises(ConfigurationError, match=what) as caught:
        Config(access_log_format=text)
    assert caught.value.hint


def test_what_no_path_begins_with_is_refused():
    with pytest.raises(ConfigurationError, match="No request has the path 'healthz'") as caught:
        Config.build(access_log_skip="healthz")
    assert caught.value.hint == "Did you mean /healthz?"
    assert Config.build(access_log_skip=["/a", "/b/*", "*"]).access_log_skip == ("/a", "/b/*", "*")
