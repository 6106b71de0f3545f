"""The numbers of RFC 9113: error codes, settings, and types and flags of frames. Pure.

What an application, a rule or a URL writes, a name or a number, becomes the number here; what is
neither is refused with the nearest name.
"""

from __future__ import annotations

import difflib
from enum import IntEnum
from typing import TypeVar


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (RFC 9113 section 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Setting(IntEnum):
    """What an endpoint tells the other of itself (RFC 9113 section 6.5.2, RFC 8441, RFC 9218)."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6
    ENABLE_CONNECT_PROTOCOL = 0x8
    NO_RFC7540_PRIORITIES = 0x9


class FrameType(IntEnum):
    """What a frame is (RFC 9113 section 6, RFC 7838, RFC 8336, RFC 9218)."""

    DATA = 0x0
    HEADERS = 0x1
    PRIORITY = 0x2
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9
    ALTSVC = 0xA
    ORIGIN = 0xC
    PRIORITY_UPDATE = 0x10


# Plain numbers, for where each frame is looked at: by way of the class a look takes four times as
# long (CPython 3.11).
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = map(int, list(FrameType)[:5])
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = map(int, list(FrameType)[5:10])
PRIORITY_UPDATE = int(FrameType.PRIORITY_UPDATE)

FLAG_ACK = FLAG_END_STREAM = 0x1
FLAG_END_HEADERS = 0x4
FLAG_PADDED = 0x8
FLAG_PRIORITY = 0x20

FRAME_LIMIT = 16_384
"""Octets of a frame's payload that everybody has to take, and that this server takes (section 4.2).

Its SETTINGS_MAX_FRAME_SIZE, which it leaves at its default, and the least that there is.
"""
LARGEST_FRAME_LIMIT = 2**24 - 1
"""The most that SETTINGS_MAX_FRAME_SIZE may be, and that a frame's header can tell."""

C = TypeVar("C", bound=IntEnum)


def error_code(value: int | str) -> int:
    """Return the number of an error code: ``8``, ``"8"``, ``"0x8"``, ``"CANCEL"``, ``"cancel"``.

    Raises:
        TypeError: it is neither a number nor a text.
        ValueError: no name of a code, or no number of 32 bits.
    """
    return _number(value, ErrorCode, "an error code", 2**32 - 1)


def setting(value: int | str) -> int:
    """Return the number of a setting, as :func:`error_code` does."""
    return _number(value, Setting, "a setting", 2**16 - 1)


def code_name(code: int) -> str:
    """Return an error code's name, or its number in hexadecimal."""
    return ErrorCode(code).name if code in set(ErrorCode) else f"0x{code:x}"


def setting_name(code: int) -> str:
    """Return a setting's name, or its number in hexadecimal."""
    return Setting(code).name if code in set(Setting) else f"0x{code:02x}"


def near(word: str, words: list[str]) -> str:
    """Return a question for somebody who wrote ``word``, or nothing if no word is like it."""
    found = difflib.get_close_matches(word, words, n=1)
    return f" Did you mean {found[0]}?" if found else ""


def _number(value: int | str, names: type[C], what: str, largest: int) -> int:
    number: int | str = value
    if isinstance(value, str):
        name = value.strip().upper().replace("-", "_")
        number = names[name] if name in names.__members__ else _parsed(name)
    if isinstance(number, bool) or not isinstance(number, int | str):
        raise TypeError(f"{what} is a number or a name, not {type(value).__name__}")
    if isinstance(number, str):
        hint = near(number, list(names.__members__))
        raise ValueError(f"{value!r} is no name of {what}.{hint}")
    if not 0 <= number <= largest:
        raise ValueError(f"{what} is a number from 0 to {largest}, not {number}")
    return int(number)


def _parsed(text: str) -> int | str:
    """Return a decimal or hexadecimal number, or the text if it is none."""
    digits, base = (text[2:], 16) if text[:2] == "0X" else (text, 10)
    try:
        return int(digits, base) if digits.isalnum() else text
    except ValueError:
        return text
