"""The names that RFC 9113 and its extensions give to numbers on the wire. Pure; any thread."""

from __future__ import annotations

from ...codes import FrameType, Setting, code_name, setting_name

__all__ = ["FRAMES", "SETTINGS_NAMES", "code_name", "flag_names", "frame_name", "setting_name"]

FRAMES = {int(type_): type_.name for type_ in FrameType}
SETTINGS_NAMES = {int(setting): setting.name for setting in Setting}
_END_STREAM, _END_HEADERS, _PADDED = (0x1, "END_STREAM"), (0x4, "END_HEADERS"), (0x8, "PADDED")
_FLAGS = {
    "DATA": (_END_STREAM, _PADDED),
    "HEADERS": (_END_STREAM, _END_HEADERS, _PADDED, (0x20, "PRIORITY")),
    "SETTINGS": ((0x1, "ACK"),),
    "PUSH_PROMISE": (_END_HEADERS, _PADDED),
    "PING": ((0x1, "ACK"),),
    "CONTINUATION": (_END_HEADERS,),
}


def frame_name(type_: int) -> str:
    """Return a frame type's name, or its number in hexadecimal."""
    return FRAMES.get(type_) or f"0x{type_:02x}"


def flag_names(type_: int, flags: int) -> tuple[str, ...]:
    """Return the names of the flags that are set; one that the type does not define is a number."""
    names = []
    for bit, name in _FLAGS.get(frame_name(type_), ()):
        if flags & bit:
            names.append(name)
            flags &= ~bit
    return (*names, f"0x{flags:02x}") if flags else tuple(names)
