"""``--fault`` rules: what is to go wrong, for which requests and how often. Pure.

A rule is words with blanks between them::

    KIND[=VALUE] [PATH-GLOB] [PROBABILITY%] [NAME=VALUE ...]

    reset=REFUSED_STREAM /api/* 10%
    stall=2 /slow after=1000
    goaway last=0 times=1

The same seed and the same order of requests give the same faults: whether a request is hit depends
on the seed, the rule and how many requests the rule has seen. Any thread.
"""

from __future__ import annotations

import fnmatch
import hashlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..codes import ErrorCode, error_code, near
from ..errors import ConfigurationError
from ..process.forking import tell_in_child

ALL_PATHS = "*"
RESOLUTION = 2**64


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: how its value is read, or None if it has none, and the names it knows."""

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


def _times(text: str) -> int:
    return int(_within(int(text), 1, 2**31 - 1))


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


FOR_ALL: dict[str, Callable[[str], Any]] = {"times": _times}
"""The names that a rule of every kind knows."""
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
    key: bytes = field(repr=False)
    """Makes its chances differ from those of other rules and seeds."""
    seen: int = 0
    hits: int = 0
    """How many requests it has hit; never more than ``times``."""
    _claims: int = field(default=0, repr=False)
    """How many requests it has hit, or is about to hit."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def matches(self, path: str) -> bool:
        """Return whether the rule is for ``path`` at all."""
        return fnmatch.fnmatchcase(path, self.path)

    def strikes(self) -> bool:
        """Look at one more request; True if it is to be hit: then struck or missed is called."""
        with self._lock:
            hit = self._draws(self.seen) and self._claims < self.named.get("times", math.inf)
            self.seen += 1
            self._claims += hit
        return hit

    def struck(self) -> None:
        """A request that was to be hit is hit now."""
        with self._lock:
            self.hits += 1

    def missed(self) -> None:
        """The request that was to be hit ended before: it only counts as seen."""
        with self._lock:
            self._claims -= 1

    def _draws(self, number: int) -> bool:
        """Return whether chance has the request with this number hit."""
        digest = hashlib.blake2b(number.to_bytes(8, "big"), key=self.key, digest_size=8).digest()
        return int.from_bytes(digest, "big") < self.probability * RESOLUTION

    @property
    def after(self) -> int:
        """Octets of response content before the fault; 0 if it comes before the application."""
        return int(self.named.get("after", 0))


class FaultRules:
    """``server.faults``: the rules of one server, which any thread may change while it runs.

    Iterating gives the :class:`FaultRule` objects of the moment, in order.
    """

    def __init__(self, texts: Sequence[str], seed: int) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._parsed = len(texts)
        """How many rules there were so far: each has its own number, and so its own chances."""
        self._rules = tuple(parse_rules(texts, seed))
        self.changed: Callable[[], None] = lambda: None
        """Called after each change, on the thread that made it, for one change after the other."""
        tell_in_child(self)

    def forked(self) -> None:
        """See Forkable. The lock may be held by a thread that the child does not have."""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<FaultRules {[rule.text for rule in self]}>"

    def __iter__(self) -> Iterator[FaultRule]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def add(self, rule: str) -> FaultRule:
        """Add a rule, such as ``"goaway last=0 times=1"``, for requests that begin from here on.

        The returned rule counts its ``hits``.

        Raises:
            ConfigurationError: it is no rule.
        """
        with self._lock:
            added = _parse(rule, self._parsed, self._seed)
            self._parsed += 1
            self._rules += (added,)
            self.changed()
        return added

    def clear(self) -> None:
        """Remove all rules, those of the option ``fault`` too.

        A response that has begun goes on as the rules said.
        """
        with self._lock:
            self._rules = ()
            self.changed()


def parse_rules(texts: Sequence[str], seed: int) -> list[FaultRule]:
    """Return the rules in ``texts``.

    Raises:
        ConfigurationError: naming the rule, the word and the nearest one that is known.
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
    names = kind.names | FOR_ALL
    if name not in names:
        what = f"{rule.kind} does not know {name!r}, only {', '.join(names)}."
        raise _wrong(rule.text, what + near(name, list(names)))
    if name in rule.named:
        raise _wrong(rule.text, f"it says {name} twice")
    rule.named[name] = _converted(rule.text, name, names[name], value)


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
    form = "KIND[=VALUE] PATH PROBABILITY% NAME=VALUE, such as: reset=CANCEL /api/* 10% times=1"
    hint = f"The kinds are {known}." if known else f"A rule is {form}"
    return ConfigurationError(f"The fault {text!r} (--fault): {sentence}", hint)
