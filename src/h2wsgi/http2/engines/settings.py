"""SETTINGS, ours and the peer's (RFC 9113 section 6.5). Pure."""

from __future__ import annotations

from struct import iter_unpack

from hyperframe.frame import SettingsFrame

from ...codes import FRAME_LIMIT, LARGEST_FRAME_LIMIT, ErrorCode, Setting
from ...config.config import Config
from ...errors import ConnectionFailed

DEFAULT_WINDOW = 65_535
MAX_WINDOW = 2**31 - 1
MAX_ENTRIES = 32
MAX_ENCODER_TABLE = 4_096
"""Octets of the peer's HPACK table that an encoder of ours uses at most."""

_KNOWN = frozenset(Setting) - {Setting.NO_RFC7540_PRIORITIES}


def own_settings(config: Config) -> SettingsFrame:
    """Return the server's first SETTINGS."""
    frame = SettingsFrame(0)
    frame.settings = {
        Setting.MAX_CONCURRENT_STREAMS: config.max_streams,
        Setting.INITIAL_WINDOW_SIZE: config.stream_window,
        Setting.MAX_HEADER_LIST_SIZE: config.max_field_section,
        Setting.NO_RFC7540_PRIORITIES: 1,
    }
    return frame


def known_entries(payload: bytes) -> list[tuple[int, int]]:
    """Return the entries of a SETTINGS payload that mean something, in the order sent.

    Each is checked, one that a later entry replaces as well (section 6.5.3).

    Raises:
        ConnectionFailed: a value is illegal (FLOW_CONTROL_ERROR or PROTOCOL_ERROR), or there are
            more than any client needs (section 10.5).
    """
    if len(payload) > 6 * MAX_ENTRIES:
        raise ConnectionFailed(
            ErrorCode.ENHANCE_YOUR_CALM, f"over {MAX_ENTRIES} settings in a frame"
        )
    entries = [(code, value) for code, value in iter_unpack("!HL", payload) if code in _KNOWN]
    for code, value in entries:
        _check_entry(code, value)
    return entries


def _check_entry(code: int, value: int) -> None:
    """Check one known setting of a client (section 6.5.2).

    Raises:
        ConnectionFailed: FLOW_CONTROL_ERROR or PROTOCOL_ERROR.
    """
    error = ErrorCode.PROTOCOL_ERROR
    if code in (Setting.ENABLE_PUSH, Setting.ENABLE_CONNECT_PROTOCOL):
        legal = value in (0, 1)
    elif code == Setting.INITIAL_WINDOW_SIZE:
        legal = value <= MAX_WINDOW
        error = ErrorCode.FLOW_CONTROL_ERROR
    elif code == Setting.MAX_FRAME_SIZE:
        legal = FRAME_LIMIT <= value <= LARGEST_FRAME_LIMIT
    else:
        legal = True
    if not legal:
        raise ConnectionFailed(error, f"{value} is no value for setting {code:#x}")
