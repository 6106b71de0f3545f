"""What one option is, and how text from outside becomes its value.

Fields of :class:`~h2wsgi.Config` are declared with :func:`option`; :func:`convert` reads the
values that a command line, the environment, a TOML file or a library call give for them. Pure; any
thread. The invariant: an error names the place where the refused value was written.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Literal

from ..errors import ConfigurationError
from .other_servers import BY_NAME

SIZES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
SIZE = re.compile(r"([\d_]+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", re.ASCII)
"""A size, in capitals: 65536, 64K, 64KB and 64KiB are the same."""
DURATIONS: dict[str, float] = {
    unit: seconds
    for units, seconds in (
        ("ms msec millisecond milliseconds", 0.001),
        ("s sec secs second seconds", 1),
        ("m min mins minute minutes", 60),
        ("h hr hrs hour hours", 3600),
        ("d day days", 86_400),
    )
    for unit in units.split()
}
DURATION_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*([a-z]+)\s*", re.ASCII)
"""A part of a time with its unit: 500ms, 2m, 1h 30m, 10 seconds."""
OFF = ("off", "none", "never", "no", "false", "inf", "infinite", "unlimited", "disabled", "-1")
"""What people write for a limit or a timeout that they do not want."""
WORDS = {"1": True, "true": True, "yes": True, "on": True}
WORDS |= {"0": False, "false": False, "no": False, "off": False}
COMMAND_ONLY = (
    "check", "config", "expired", "help", "make_cert", "print_config", "version", "wrong_host"
)  # fmt: skip
"""Options that no file may have, and no variable except ``config``."""
NEAR = 0.75
NO_WORDS: Mapping[str, Callable[[], Any]] = MappingProxyType({})


def usable_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def option(
    default: Any,
    help: str,
    *,
    group: str,
    unit: str = "",
    flags: tuple[str, ...] = (),
    metavar: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    secret: bool = False,
    bare: str = "",
    words: Mapping[str, Callable[[], Any]] = NO_WORDS,
) -> Any:
    """Declare one option: a dataclass field that carries what users are told about it.

    ``unit`` is ``"seconds"``, ``"octets"`` or empty; ``flags`` are further command-line names;
    ``metavar`` stands for the value in ``--help``; a ``secret`` is never shown; ``bare`` is the
    value of a text option that is given without one, or is switched on like a flag; ``words`` are
    accepted in place of a value, which their functions return.
    """
    metadata = {
        "help": help,
        "group": group,
        "unit": unit,
        "flags": flags,
        "metavar": metavar,
        "minimum": minimum,
        "maximum": maximum,
        "secret": secret,
        "bare": bare,
        "words": words,
    }
    return dataclasses.field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Source:
    """Where values come from: untyped ``values`` by option name, and how to name one to the user.

    ``label`` is ``"command line"``, ``"environment"``, ``"argument"`` or the path of a file.
    """

    label: str
    values: Mapping[str, Any]

    def describe(self, key: str) -> str:
        """Return how the user wrote ``key``: a flag, a variable, or a file and its key."""
        if self.label == "command line":
            return "--" + key.replace("_", "-")
        if self.label == "environment":
            return "H2WSGI_" + key.upper()
        if self.label == "argument":
            return f"argument {key!r}"
        return f"{self.label}: key {key!r}"

    def name(self, name: str) -> str:
        """Return the option ``name`` as it is spelled in this kind of source."""
        return self.describe(name) if self.label in ("command line", "environment") else name


def absolute(path: str, where: str) -> str:
    """Return a path made absolute; ``~`` is the user's home. Empty stays empty.

    A relative path would not do: an application may change folders while it is loaded.

    Raises:
        ConfigurationError: naming ``where``, if there is no current folder.
    """
    try:
        return os.path.abspath(os.path.expanduser(path)) if path else path
    except OSError:
        raise ConfigurationError(
            f"The path {path} ({where}) starts at the current folder, which does not exist.",
            "Give the whole path, or start in a folder that exists.",
        ) from None


def mode_of(text: str, name: str) -> int | None:
    """Return the bits of an octal mode; None if it is empty.

    Raises:
        ConfigurationError: naming the option, if ``text`` is no mode.
    """
    if not text:
        return None
    digits = text.removeprefix("0o")
    if (
        digits
        and len(digits) <= 4
        and not set(digits) - set("01234567")
        and int(digits, 8) < 0o1000
    ):
        return int(digits, 8)
    raise ConfigurationError(
        f"{name} is {text!r}, which is no mode (--{name.replace('_', '-')}).",
        "Three octal digits, such as 660 or 027.",
    )


def unknown_name(
    source: Source, key: str, known: Iterable[str], raw: Any = None
) -> ConfigurationError:
    """Return the error for an option nobody knows, with the nearest name as a hint."""
    hint = meant(key, known, source.name) or "See h2wsgi --help for every option."
    if isinstance(raw, Mapping):
        hint = "Options stand at the top of the file, or in [tool.h2wsgi], and in no other table."
    elif option_name(key) in COMMAND_ONLY:
        hint = f"It is for the command line alone: --{key.replace('_', '-')}."
    return ConfigurationError(f"{source.describe(key)} is not an option of h2wsgi.", hint)


def meant(key: str, known: Iterable[str], spelled: Callable[[str], str]) -> str:
    """Return a hint for ``key``, which is no option; empty if no option is like it."""
    name = option_name(key.lstrip("-")).lower()
    names = {option_name(other.lstrip("-")) for other in known}
    if (hint := BY_NAME.get(name)) is not None:
        return hint.format_map({name: spelled(name) for name in names})
    near = difflib.get_close_matches(name, sorted(names), n=1, cutoff=NEAR)
    return f"Did you mean {spelled(near[0])}?" if near else ""


def option_name(key: str) -> str:
    """Return the field that ``key`` names: ``log-level`` and ``log_level`` are one option."""
    return key.replace("-", "_")


def convert(field: dataclasses.Field[Any], kind: Any, raw: Any, where: str) -> Any:
    """Return ``raw`` as ``kind``, the resolved type of ``field``.

    Strings are read as the command line and the environment give them: ``on``/``off`` for flags,
    ``64KiB`` for sizes, commas between list items.

    Raises:
        ConfigurationError: naming ``where`` and what would be accepted.
    """
    try:
        if field.metadata["bare"]:
            raw = _text_of_flag(raw, field.metadata["bare"])
        word = raw.strip().lower() if isinstance(raw, str) else ""
        if (meaning := field.metadata["words"].get(word)) is not None:
            value = meaning()
        else:
            value = _convert(kind, field.metadata["unit"], raw)
    except (ValueError, TypeError, OverflowError):
        shown = "the value" if field.metadata["secret"] else repr(raw)
        raise ConfigurationError(
            f"{where}: {shown} is not {accepted(kind, field)}.", _hint(kind, field, raw)
        ) from None
    check_range(field, value, where)
    return value


def check_range(field: dataclasses.Field[Any], value: Any, where: str) -> None:
    """Hold ``value`` to the minimum and the maximum that ``field`` declares.

    Raises:
        ConfigurationError: naming ``where`` and the bound.
    """
    minimum, maximum = field.metadata["minimum"], field.metadata["maximum"]
    unit = f" {field.metadata['unit']}" if field.metadata["unit"] else ""
    if minimum is not None and value < minimum:
        problem = f"at least {minimum}{unit} is needed"
    elif maximum is not None and value > maximum:
        problem = f"at most {maximum}{unit} is possible"
    else:
        return
    raise ConfigurationError(f"{where} is {value}, but {problem}.", default_hint(field))


def default_hint(field: dataclasses.Field[Any]) -> str:
    """Return a sentence that tells the default of ``field``, or where it is documented."""
    shown = default_text(field)
    return f"The default is {shown}." if shown else "See h2wsgi --help."


def default_text(field: dataclasses.Field[Any]) -> str:
    """Return the default of ``field`` as ``--help`` shows it; empty if the help text has it."""
    if "default:" in field.metadata["help"]:
        return ""
    default: Any = field.default
    unit = field.metadata["unit"]
    if isinstance(default, bool):
        return "on" if default else "off"
    if unit == "octets" and default and default % 1024 == 0:
        return f"{default // 1024}KiB" if default % 1024**2 else f"{default // 1024**2}MiB"
    if unit:
        return f"{default:g} {unit}"
    return str(default or "none")


def accepted(kind: Any, field: dataclasses.Field[Any]) -> str:
    """Return what ``field`` takes, for a sentence: ``a number of seconds``."""
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(typing.get_args(kind))
    if field.metadata["unit"] == "octets":
        return "a number of octets, such as 65536 or 64KiB"
    if field.metadata["unit"]:
        return f"a number of {field.metadata['unit']}, such as 30, 500ms or 2m"
    if field.metadata["metavar"] == "ADDRESS":
        return "an address, or a list of them"
    if field.metadata["metavar"] == "FILE" and kind is not str:
        return "the name of a file, or a list of them"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return " or ".join([names.get(kind, "a list of texts"), *field.metadata["words"]])


def _convert(kind: Any, unit: str, raw: Any) -> Any:
    if kind is bool:
        return _to_bool(raw)
    if kind is int:
        return _to_int(raw, sizes=unit == "octets")
    if kind is float:
        return _to_seconds(raw)
    if kind is str:
        return _to_str(_as_path(raw))
    if typing.get_origin(kind) is Literal:
        # In TOML people write `tls_min = 1.2`, which is a number.
        text = str(raw) if isinstance(raw, float) else _to_str(raw).strip().lower()
        if text not in typing.get_args(kind):
            raise ValueError
        return text
    return _to_strings(raw)


def _text_of_flag(raw: Any, bare: str) -> Any:
    """Return ``raw``, or the text that a flag's value such as ``on`` stands for."""
    flag = WORDS.get(raw.strip().lower()) if isinstance(raw, str) else raw
    return (bare if flag else "") if isinstance(flag, bool) else raw


def _to_str(raw: Any) -> str:
    if not isinstance(raw, str):
        raise TypeError
    if "\0" in raw:
        raise ValueError
    return raw


def _to_bool(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    return WORDS[_known_word(_to_str(raw).strip().lower())]


def _known_word(word: str) -> str:
    if word not in WORDS:
        raise ValueError
    return word


def _to_seconds(raw: Any) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise TypeError
    value = _duration(raw) if isinstance(raw, str) and raw.strip()[-1:].isalpha() else float(raw)
    if not math.isfinite(value):
        raise ValueError
    return value


def _duration(text: str) -> float:
    parts = DURATION_PART.findall(text.strip().lower())
    if DURATION_PART.sub("", text.strip().lower()):
        raise ValueError
    if not all(unit in DURATIONS for _, unit in parts):
        raise ValueError
    return math.fsum(float(number) * DURATIONS[unit] for number, unit in parts)


def _to_int(raw: Any, *, sizes: bool) -> int:
    if isinstance(raw, str) and sizes and (found := SIZE.fullmatch(raw.strip().upper())):
        number, unit = found.groups()
        octets = Fraction(number) * SIZES[unit]
        if octets.denominator != 1:
            raise ValueError
        return int(octets)
    if isinstance(raw, str):
        return int(raw.strip())
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise TypeError
    return raw


def _to_strings(raw: Any) -> tuple[str, ...]:
    if isinstance(raw, str):
        return tuple(part.strip() for part in _to_str(raw).split(",") if part.strip())
    if isinstance(raw, os.PathLike):
        raw = (raw,)
    if not isinstance(raw, list | tuple):
        raise TypeError
    return tuple(_to_str(_as_path(item)) for item in raw)


def _as_path(raw: Any) -> Any:
    """Return the text of a path: a library call may name a file as a Path."""
    return os.fspath(raw) if isinstance(raw, os.PathLike) else raw


def _hint(kind: Any, field: dataclasses.Field[Any], raw: Any) -> str:
    word = raw.strip().lower() if isinstance(raw, str) else ""
    if typing.get_origin(kind) is Literal and not word.replace(".", "").isdigit():
        near = difflib.get_close_matches(word, typing.get_args(kind), n=1)
        if near:
            return f"Did you mean {near[0]!r}?"
    if field.metadata["secret"]:
        return "Put it in quotes."
    if kind == tuple[str, ...] and field.metadata["metavar"] == "ADDRESS":
        return _address_hint(field.name, raw)
    if word in OFF and re.search("0 = off|0 for no limit", field.metadata["help"]):
        return f"0 turns it off. {default_hint(field)}"
    if field.name == "access_log" and isinstance(raw, str):
        return "access_log_file takes the name of a file."
    if kind is bool and isinstance(raw, int):
        return f"Write {'true' if raw else 'false'}."
    if kind in (str, tuple[str, ...]) and isinstance(raw, int | float):
        return f'Put it in quotes: "{raw}".'
    return default_hint(field)


def _address_hint(name: str, raw: Any) -> str:
    """Return what was probably meant by an address that is no text, as in TOML."""
    items = raw if isinstance(raw, list | tuple) else [raw]
    for item in items:
        if isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= 65535:
            return f'Did you mean {name} = "localhost:{item}"?'
    return f'For example {name} = "localhost:8443", or several: ["localhost:8443", "[::1]:9443"].'


def from_json(value: Any) -> Any:
    """Return the value of an option that came in JSON, which has no tuples."""
    return tuple(value) if isinstance(value, list) else value
