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
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ConfigurationError

UNITS = {"KIB": 1024, "MIB": 1024**2, "GIB": 1024**3, "K": 1024, "M": 1024**2, "G": 1024**3}
WORDS = {"1": True, "true": True, "yes": True, "on": True}
MEANT = (
    (("port", "host", "p", "listen", "address"), "{bind} takes both, as HOST:PORT."),
    (
        ("workers", "w", "worker", "processes", "process"),
        "There is one process; {threads} says how many requests it works on at once.",
    ),
    (("reload", "debug"), "There is no such thing; start h2wsgi again after a change."),
    (
        ("certificate", "ssl_certfile", "ssl_cert", "tls_cert", "cert_file"),
        "{cert} takes the certificate.",
    ),
    (
        ("private_key", "ssl_keyfile", "ssl_key", "tls_key", "key_file"),
        "{key} takes the private key.",
    ),
    (("app", "application", "module"), "The application is named alone: h2wsgi module:app."),
)
"""Option names of other servers, and the option that does the same here."""
NEAR = 0.75
WORDS |= {"0": False, "false": False, "no": False, "off": False}


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
) -> Any:
    """Declare one option: a dataclass field that carries what users are told about it.

    ``unit`` is ``"seconds"``, ``"octets"`` or empty; ``flags`` are further command-line names;
    ``metavar`` stands for the value in ``--help``; a ``secret`` is never shown; ``bare`` is the
    value of a text whose option is named without one, or is switched on like a flag.
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
    """Return a path as it is from the root; ``~`` is the user's home. Empty stays empty.

    An application may change the current folder while it is loaded.

    Raises:
        ConfigurationError: naming ``where``; there is no current folder.
    """
    try:
        return os.path.abspath(os.path.expanduser(path)) if path else path
    except OSError:
        raise ConfigurationError(
            f"The path {path} ({where}) starts at the current folder, which does not exist.",
            "Give the whole path, or start in a folder that exists.",
        ) from None


def unknown_name(source: Source, key: str, known: Iterable[str]) -> ConfigurationError:
    """Return the error for an option nobody knows, with the nearest name as a hint."""
    hint = meant(key, known, source.name) or "See h2wsgi --help for every option."
    return ConfigurationError(f"{source.describe(key)} is not an option of h2wsgi.", hint)


def meant(key: str, known: Iterable[str], spelled: Callable[[str], str]) -> str:
    """Return a hint for ``key``, which is no option; empty if no option is like it."""
    name = option_name(key.lstrip("-")).lower()
    for others, hint in MEANT:
        if name in others:
            return hint.format_map(
                {key: spelled(key) for key in ("bind", "threads", "cert", "key")}
            )
    names = {option_name(other.lstrip("-")) for other in known}
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
        return f"a number of {field.metadata['unit']}"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return names.get(kind, "a list of texts")


def _convert(kind: Any, unit: str, raw: Any) -> Any:
    if kind is bool:
        return _to_bool(raw)
    if kind is int:
        return _to_int(raw, sizes=unit == "octets")
    if kind is float:
        return _to_float(raw)
    if kind is str:
        # A library call may name a file as a Path.
        return _to_str(os.fspath(raw) if isinstance(raw, os.PathLike) else raw)
    if typing.get_origin(kind) is Literal:
        # In TOML people write `tls_min = 1.2`, which is a number.
        text = str(raw) if isinstance(raw, float) else _to_str(raw)
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


def _to_float(raw: Any) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise TypeError
    value = float(raw)
    if not math.isfinite(value):
        raise ValueError
    return value


def _to_int(raw: Any, *, sizes: bool) -> int:
    if isinstance(raw, str):
        text = raw.strip().upper()
        factor = 1
        if sizes:
            for suffix, factor_of in UNITS.items():
                if text.endswith(suffix):
                    text, factor = text.removesuffix(suffix).strip(), factor_of
                    break
        return int(text) * factor
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise TypeError
    return raw


def _to_strings(raw: Any) -> tuple[str, ...]:
    if isinstance(raw, str):
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    if not isinstance(raw, list | tuple):
        raise TypeError
    return tuple(_to_str(item) for item in raw)


def _hint(kind: Any, field: dataclasses.Field[Any], raw: Any) -> str:
    if typing.get_origin(kind) is Literal and isinstance(raw, str) and raw.isalpha():
        near = difflib.get_close_matches(raw.lower(), typing.get_args(kind), n=1)
        if near:
            return f"Did you mean {near[0]!r}?"
    if field.metadata["secret"]:
        return "Put it in quotes."
    return default_hint(field)
