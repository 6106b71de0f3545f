"""What an endpoint is given: the request, its stream, and ways to answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl

from ...seam.control import StreamControl

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class BadRequest(Exception):
    """The request makes no sense; ``str()`` tells the client why."""


class Request:
    """One request. ``names`` are the parts of its path that the endpoint left open."""

    def __init__(
        self, environ: dict[str, Any], start_response: Callable[..., Any], names: dict[str, str]
    ) -> None:
        self.environ = environ
        self.start = start_response
        self.names = names
        self.stream: StreamControl = environ["h2wsgi.stream"]
        self.query = dict(parse_qsl(as_text(environ["QUERY_STRING"]), keep_blank_values=True))

    def number(self, name: str, least: int, most: int, default: int | None = None) -> int:
        """Return a whole number from the path or the query.

        Raises:
            BadRequest: it is none, or out of range.
        """
        return int(self._read(int, "a whole number", name, least, most, default))

    def seconds(self, name: str, most: float, default: float | None = None) -> float:
        """Return a number of seconds from the path or the query.

        Raises:
            BadRequest: it is none, or out of range.
        """
        return self._read(float, "a number of seconds", name, 0, most, default)

    def _read(
        self,
        kind: Callable[[str], float],
        what: str,
        name: str,
        least: float,
        most: float,
        default: float | None,
    ) -> float:
        text = self.names.get(name, self.query.get(name))
        if text is None:
            if default is None:
                raise BadRequest(f"{name} is missing")
            return default
        try:
            value = kind(text)
        except ValueError:
            raise BadRequest(f"{name} is {text!r}, which is not {what}") from None
        if not least <= value <= most:
            raise BadRequest(f"{name} is {text}, which is not from {least:.12g} to {most:.12g}")
        return value

    def json(
        self, data: Any, status: str = "200 OK", headers: Iterable[tuple[str, str]] = ()
    ) -> list[bytes]:
        """Answer with JSON."""
        self.start(status, [("Content-Type", JSON), *headers])
        return [as_json(data)]

    def text(self, headers: Iterable[tuple[str, str]] = ()) -> Callable[[bytes], None]:
        """Begin a plain text; return ``write``."""
        write: Callable[[bytes], None] = self.start("200 OK", [("Content-Type", TEXT), *headers])
        return write


def as_text(value: str) -> str:
    """Return the text of an entry of environ, whose characters are octets (PEP 3333)."""
    return value.encode("latin-1").decode("utf-8", "replace")


def as_json(data: Any) -> bytes:
    """Return ``data`` as JSON that people can read."""
    return json.dumps(data, indent=2, ensure_ascii=False).encode() + b"\n"
