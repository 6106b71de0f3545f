"""Values of a client's SETTINGS at the edge of what is legal (RFC 9113 section 6.5.2)."""

from __future__ import annotations

from struct import pack

import pytest
from h2.errors import ErrorCodes

from h2wsgi.codes import Setting
from h2wsgi.errors import ConnectionFailed
from h2wsgi.http2.engines.settings import (
    MAX_ENTRIES,
    known_entries,
)

PROTOCOL_ERROR, FLOW_CONTROL_ERROR = ErrorCodes.PROTOCOL_ERROR, ErrorCodes.FLOW_CONTROL_ERROR


@pytest.mark.parametrize(
    ("code", "value"),
    [
        (Setting.INITIAL_WINDOW_SIZE, 0),
        (Setting.INITIAL_WINDOW_SIZE, 2**31 - 1),
        (Setting.MAX_FRAME_SIZE, 2**14),
        (Setting.MAX_FRAME_SIZE, 2**24 - 1),
        (Setting.ENABLE_PUSH, 0),
        (Setting.ENABLE_PUSH, 1),
        (Setting.ENABLE_CONNECT_PROTOCOL, 1),
    ],
)
def test_a_value_at_the_edge_is_taken(code: int, value: int) -> None:
    assert known_entries(pack("!HL", code, value)) == [(code, value)]


@pytest.mark.parametrize(
    ("code", "value", "error"),
    [
        (Setting.INITIAL_WINDOW_SIZE, 2**31, FLOW_CONTROL_ERROR),
        (Setting.MAX_FRAME_SIZE, 2**14 - 1, PROTOCOL_ERROR),
        (Setting.MAX_FRAME_SIZE, 2**24, PROTOCOL_ERROR),
        (Setting.ENABLE_PUSH, 2, PROTOCOL_ERROR),
        (Setting.ENABLE_CONNECT_PROTOCOL, 2, PROTOCOL_ERROR),
    ],
)
def test_a_value_beyond_the_edge_is_refused(code: int, value: int, error: int) -> None:
    with pytest.raises(ConnectionFailed) as failed:
        known_entries(pack("!HL", code, value))
    assert failed.value.code == error


def test_a_frame_has_as_many_settings_as_it_may_and_no_more() -> None:
    entry = pack("!HL", Setting.INITIAL_WINDOW_SIZE, 1)
    assert len(known_entries(entry * MAX_ENTRIES)) == MAX_ENTRIES
    with pytest.raises(ConnectionFailed) as failed:
        known_entries(entry * (MAX_ENTRIES + 1))
    assert failed.value.code == ErrorCodes.ENHANCE_YOUR_CALM
