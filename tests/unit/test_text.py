"""Text of others as a line of the log may hold it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2wsgi.log.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/plain ~", "/plain ~"),
        ("/wörld/€/日本", "/wörld/€/日本"),
        ("\x1b[31m\r\n\t\0", "\\x1b[31m\\x0d\\x0a\\x09\\x00"),
        ("\x7f\x80\x9b\x9f", "\\x7f\\x80\\x9b\\x9f"),
        ("\u2028\u2029\u202e\u2066\ufeff\udc80", "\\u2028\\u2029\\u202e\\u2066\\ufeff\\udc80"),
        ("\U000e0041\ufff9", "\\U000e0041\\ufff9"),
    ],
)
def test_what_steers_a_terminal_is_escaped(text, shown):
    assert printable(text) == shown


@given(st.text(st.characters(codec=None)))
def test_no_text_keeps_a_control_octet(text):
    shown = printable(text)
    assert shown.encode("utf-8").decode("latin-1") is not None
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", shown)
