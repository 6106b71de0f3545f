"""What is played: an application, a client's script, and how the client may leave in between.

Each ``yield`` of a script is a point at which the client leaves in a variant of the scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from raising.notes import CONTENT, Notes
from raising.talk import Talk

App = Callable[[dict[str, Any], Callable[..., Any], Notes], Iterable[bytes]]
Script = Callable[[Talk], Iterator[None]]


@dataclass(frozen=True)
class Scenario:
    """An application and a client."""

    name: str
    app: App
    script: Script
    points: int = 1
    """Points of the script at which the client may leave."""
    settings: dict[int, int] = field(default_factory=dict)
    """The client's, acknowledged before the script begins."""
    options: dict[str, Any] = field(default_factory=dict)
    """The server's."""
    leave: str = ""
    """``"reset"`` or ``"gone"`` ..."""
    point: int = 0
    """... at this point of the script."""

    def variants(self) -> Iterator[Scenario]:
        """Yield the scenario and those in which the client leaves."""
        yield self
        for point in range(1, self.points + 1):
            for leave in ("reset", "gone"):
                name = f"{self.name}/{leave}-{point}"
                yield replace(self, name=name, leave=leave, point=point)


SCENARIOS: dict[str, Scenario] = {}
"""By name, without their variants."""


def scenario(script: Script, name: str = "", **more: Any) -> Callable[[App], App]:
    """Make a scenario of the application that is decorated."""

    def add(app: App) -> App:
        called = name or app.__name__.replace("_", "-")
        SCENARIOS[called] = Scenario(called, app, script, **more)
        return app

    return add


def find(name: str) -> Scenario:
    """Return a scenario or a variant of one by its name.

    Raises:
        KeyError: there is none of that name.
    """
    base = SCENARIOS[name.partition("/")[0]]
    return {variant.name: variant for variant in base.variants()}[name]


THIRDS = [CONTENT[:300], CONTENT[300:600], CONTENT[600:]]


def get(talk: Talk) -> Iterator[None]:
    """Ask, and be answered."""
    talk.open()
    yield
    talk.end_of(talk.stream)


def post_whole(talk: Talk) -> Iterator[None]:
    """Send the request in one go."""
    talk.open("POST", end=False)
    talk.data(CONTENT, end=True)
    yield
    talk.end_of(talk.stream)


def post_in_pieces(talk: Talk) -> Iterator[None]:
    """Send each piece of the content when the application waits for it."""
    talk.open("POST", end=False)
    for number, piece in enumerate(THIRDS):
        talk.until_it_waits()
        if number < 2:
            yield
        talk.data(piece, end=number == 2)
    talk.end_of(talk.stream)
