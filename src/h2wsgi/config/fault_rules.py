"""``--fault`` rules: what is to go wrong, for which requests and how often. Pure.

A rule is words with blanks between them::

    KIND[=VALUE] [PATH-GLOB] [PROBABILITY%] [NAME=VALUE ...]

    reset=REFUSED_STREAM /api/* 10%
    stall=2 /slow after=1000

The same seed and the same order of requests give the same faults: whether a request is hit depends
on the seed, the rule and how many requests the rule has seen.
"""

from __future__ import annotations

import fnmatch
import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..codes import ErrorCode, error_code, near
from ..errors import ConfigurationError

ALL_PATHS = "*"
RESOLUTION = 2**64


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: how its value is read, or None if it has none, and what it may be told."""

    value: Callable[[str], Any] | None
    default: Any = None
    names: dict[str, Callable[[str], Any]] = field(default_factory=dict)
    has_path: bool = True


def _seconds(text: str) -> float:
    return _within(float(text), 0, 3_600)


def _octets(text: str) -> int:
    return int(_within(int(text), 1, 2**31 - 1))


def _count(text: str) -> int:
    return int(_within(int(text), 0, 2**31 - 1))


def _within(number: float, least: float, most: float) -> float:
    if not least <= number <= most:
        raise ValueError(f"{number:.12g} is not from {least:.12g} to {most:.12g}")
    return number


def _word(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is not one of {', '.join(words)}.{near(text, list(words))}")
        return text

    return read


KINDS = {
    "reset": Kind(error_code, ErrorCode.INTERNAL_ERROR, {"after": _octets}),
    "refuse": Kind(None),
    "goaway": Kind(error_code, ErrorCode.NO_ERROR, {"last": _count, "after": _octets}),
    "stall": Kind(_seconds, None, {"after": _octets, "of": _word("stream", "connection")}),
    "drip": Kind(_octets, 1, {"delay": _seconds}),
    "drop": Kind(_word("fin", "rst"), "fin", {"after": _octets}),
    "tiny-windows": Kind(_count, 1),
    "max-streams": Kind(_count, 1),
    "delay-settings": Kind(_seconds, None, {"what": _word("settings", "ack")}, has_path=False),
}


@dataclass(slots=True)
class FaultRule:
    """One rule, and how many requests (or connections) it has looked at."""

    text: str
    kind: str
    value: Any
    path: str
    probability: float
    """From 0 to 1."""
    named: dict[str, Any]
    key: bytes
    """What makes its numbers differ from those of other rules and seeds."""
    seen: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def matches(self, path: str) -> bool:
        """Return whether the rule is for ``path`` at all."""
        return fnmatch.fnmatchcase(path, self.path)

    def strikes(self) -> bool:
        """Look at one more request, and return whether it is hit."""
        with self._lock:
            number = self.seen
            self.seen += 1
        digest = hashlib.blake2b(number.to_bytes(8, "big"), key=self.key, digest_size=8).digest()
        return int.from_bytes(digest, "big") < self.probability * RESOLUTION

    @property
    def after(self) -> int:
        """Octets of the response's content before it; 0 if it comes before the application."""
        return int(self.named.get("after", 0))


def parse_rules(texts: Sequence[str], seed: int) -> list[FaultRule]:
    """Return the rules that ``texts`` say.

    Raises:
        ConfigurationError: which names the rule, the word and the nearest one that is known.
    """
    return [_parse(text, number, seed) for number, text in enumerate(texts)]


def _parse(text: str, number: int, seed: int) -> FaultRule:
    words = text.split()
    if not words:
        raise _wrong(text, "it is empty")
    name, _, value_text = words[0].partition("=")
    if (kind := KINDS.get(name)) is None:
        known = ", ".join(KINDS)
        raise _wrong(text, f"{name!r} is no kind of fault.{near(name, list(KINDS))}", known)
    rule = FaultRule(
        text,
        name,
        _value(text, name, kind, value_text),
        ALL_PATHS,
        1.0,
        {},
        _key(text, number, seed),
    )
    path = ""
    for word in words[1:]:
        if word.startswith(("/", "*")):
            if not kind.has_path:
                raise _wrong(text, f"{name} is about connections, which have no path")
            if path:
                raise _wrong(text, f"it has two paths, {path} and {word}; make it two rules")
            path = rule.path = word
        elif word.endswith("%"):
            rule.probability = _percent(text, word)
        else:
            _read_named(rule, kind, word)
    return rule


def _value(text: str, name: str, kind: Kind, value: str) -> Any:
    if kind.value is None:
        if value:
            raise _wrong(text, f"{name} takes no value")
        return None
    if not value:
        if kind.default is None:
            raise _wrong(text, f"{name} needs a value, such as {name}=2")
        return kind.default
    return _converted(text, name, kind.value, value)


def _read_named(rule: FaultRule, kind: Kind, word: str) -> None:
    name, equals, value = word.partition("=")
    if not equals:
        raise _wrong(
            rule.text,
            f"{word!r} is neither a path, which begins with / or *, nor a probability, which ends "
            "with %, nor NAME=VALUE",
        )
    if name not in kind.names:
        known = ", ".join(kind.names) or "nothing"
        what = f"{rule.kind} does not know {name!r}, only {known}.{near(name, list(kind.names))}"
        raise _wrong(rule.text, what)
    rule.named[name] = _converted(rule.text, name, kind.names[name], value)


def _converted(text: str, name: str, read: Callable[[str], Any], value: str) -> Any:
    try:
        return read(value)
    except ValueError as error:
        said = str(error)
        if said.startswith(("invalid literal", "could not convert")):
            said = f"{value!r} is not a number"
        raise _wrong(text, f"{name}: {said}") from None


def _percent(text: str, word: str) -> float:
    return (
        float(_converted(text, "probability", lambda t: _within(float(t), 0, 100), word[:-1])) / 100
    )


def _key(text: str, number: int, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {number} {' '.join(text.split())}".encode()).digest()


def _wrong(text: str, what: str, known: str = "") -> ConfigurationError:
    sentence = what if what.endswith(("?", ".")) else f"{what}."
    form = "A rule is KIND[=VALUE] PATH PROBABILITY% NAME=VALUE, such as: reset=CANCEL /api/* 10%"
    hint = f"The kinds are {known}." if known else form
    return ConfigurationError(f"The fault {text!r} (--fault): {sentence}", hint)
