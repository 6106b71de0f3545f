"""What a case is: data, and a short function that plays the server's part. Pure; any thread.

A case never judges. It says what is right on the wire and for the caller, and judge.py compares
that with what was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .conversation import Conversation
    from .rules import Rule

LINES = 20
"""Lines of the content that every good response has."""
LONG = 100_000
"""Lines of content beyond which a client gets more time."""


class Level(StrEnum):
    """How much a case weighs, in the words of RFC 2119."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"
    ROBUST = "robust"
    """No RFC demands it, and no user can do without it."""


class Want(StrEnum):
    """What is right for the caller of a client, in bounded time."""

    WHOLE = "gets the whole response"
    EMPTY = "gets a response without content"
    ERROR = "gets an error"
    EITHER = "gets the whole response or an error"
    EMPTY_OR_ERROR = "gets a response without content or an error"


Do = Literal["get", "head", "post"]
TLS = Literal[
    "good", "expired", "wrong-host", "unknown-ca", "no-alpn", "http/1.1", "prohibited", "none"
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """Requests that a client is told to make at once; all have an answer before the next step."""

    want: Want
    do: Do = "get"
    times: int = 1
    size: int = 0
    """Octets of content, of a POST."""


@dataclass(frozen=True, slots=True)
class Script:
    """The server's part: in words, and as a function for each connection that a client makes."""

    words: str
    play: Callable[[Conversation], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing that a server does, and what is right then."""

    id: str
    """Such as ``9113/6.8/3``: the RFC, its section, a number within the section."""
    title: str
    level: Level
    script: Script
    steps: tuple[Step, ...]
    wire: tuple[Rule, ...]
    """What is right on the wire."""
    advice: str
    """A sentence for the authors of a client that fails the case."""
    words: tuple[str, str] = ("", "")
    """If the case is optional: a word for an error, and one for a response."""
    hangs: str = ""
    """If the case may take for ever: a word for a client that waits on."""
    fields: dict[str, str] = field(default_factory=dict, compare=False)
    """What a driver that reports fields must report: ``check`` is the response's x-check.

    Octets above 0x7f may be reported as Latin-1 or as UTF-8.
    """
    lines: int = LINES
    """Lines of content of a good response."""
    tls: TLS = "good"
    is_costly: bool = False
    """Whether the client's memory is looked at, and the client gets more time."""
    group: str = field(default="", compare=False)
    """The heading it is listed under."""

    @property
    def rfc(self) -> str:
        """The number of the RFC."""
        return self.id.split("/")[0]

    @property
    def section(self) -> str:
        """The section of the RFC."""
        return self.id.split("/")[1]

    @property
    def path(self) -> str:
        """The path of the case's URL."""
        return f"/{self.id}"

    @property
    def patience(self) -> int:
        """How many times the usual time a client gets: more if a great deal comes."""
        return 3 if self.is_costly or self.lines > LONG else 1

    @property
    def is_optional(self) -> bool:
        """Whether a word tells what a client did, in place of a verdict."""
        return self.words != ("", "")

    @property
    def needs_driver(self) -> bool:
        """Whether a command that takes one URL is not enough."""
        return self.steps[1:] != () or any(s.do != "get" or s.times > 1 for s in self.steps)

    def paths(self) -> list[tuple[Step, str]]:
        """Return the path of each request, in order, with its step."""
        numbered = [step for step in self.steps for _ in range(step.times)]
        if len(numbered) == 1 and self.lines == LINES:
            return [(numbered[0], self.path)]
        return [(step, f"{self.path}?{n}/{self.lines}") for n, step in enumerate(numbered, 1)]


def content_of(path: str) -> bytes:
    """Return the content of a good response to a request for ``path``: different for each.

    The path may say, after a slash in its query, how many lines the content has.
    """
    count = path.partition("?")[2].partition("/")[2]
    lines = int(count) if count.isdecimal() and len(count) <= 6 else LINES
    said = [f"{path} line {number:05} which no other has" for number in range(lines)]
    return "\n".join([f"begin {path}", *said, f"end {path}\n"]).encode()
