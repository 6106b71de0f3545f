"""The list of endpoints: a decorator that fills it, and the match of a path against it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .request import Request

Handler = Callable[[Request], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint. ``example`` is a path to click on; empty if GET shows nothing."""

    group: str
    path: str
    words: str
    handler: Handler
    example: str
    query: str

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """Return what fills the open places of the path, or None if the path does not match."""
        own = self.path.strip("/").split("/")
        if len(own) != len(segments):
            return None
        names = {}
        for part, segment in zip(own, segments, strict=True):
            if part[:1] == "<":
                names[part.strip("<>")] = segment
            elif part != segment:
                return None
        return names


ENDPOINTS: list[Endpoint] = []


def endpoint(
    group: str, path: str, words: str, *, example: str | None = None, query: str = ""
) -> Callable[[Handler], Handler]:
    """Add the decorated function to the list. ``words`` describe it on the index page."""

    def add(handler: Handler) -> Handler:
        link = path if example is None and "<" not in path else example or ""
        ENDPOINTS.append(Endpoint(group, path, words, handler, link, query))
        return handler

    return add


def find(path: str) -> tuple[Endpoint, dict[str, str]] | None:
    """Return the endpoint of a path and what fills its open places, or None."""
    segments = path.strip("/").split("/")
    for candidate in ENDPOINTS:
        if (names := candidate.match(segments)) is not None:
            return candidate, names
    return None
