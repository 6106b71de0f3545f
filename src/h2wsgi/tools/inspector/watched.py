"""The application, watched: when it was called for a stream, and when it was done.

A middleware on application threads, outermost, so that faults count as the application's. It passes
everything through as it is: what the server does with a list, a file or a generator stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...stream import Stream
from ...wsgi.response import FileWrapper
from ...wsgi.runner import WSGIApplication
from .ledger import Ledger


class Watched:
    """The application that stands before another one."""

    def __init__(self, app: WSGIApplication, ledger: Ledger) -> None:
        self._app = app
        self._ledger = ledger

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Call the application."""
        stream: Stream = environ["h2wsgi.stream"]
        seen = self._ledger.began(stream.connection.number, stream.stream_id)
        if seen is None:  # one of too many
            return self._app(environ, start_response)
        later = False
        try:
            content = self._app(environ, start_response)
            # These are whole, or the server's to read. What is no iterable is its to complain of.
            whole = isinstance(content, list | tuple | str | bytes | FileWrapper)
            if whole or not hasattr(type(content), "__iter__"):
                return content
            later = True
            kind = _SizedContent if hasattr(type(content), "__len__") else _Content
            return kind(content, lambda: self._ledger.returned(seen))
        finally:
            if not later:
                self._ledger.returned(seen)


class _Content:
    """What the application returned; its end is told."""

    def __init__(self, content: Iterable[bytes], ended: Callable[[], None]) -> None:
        self._content = content
        self._ended = ended

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._content)

    def close(self) -> None:
        """Close what was wrapped."""
        try:
            close = getattr(self._content, "close", None)
            if close is not None:
                close()
        finally:
            self._ended()


class _SizedContent(_Content):
    """Of one that has a length: the server declares that of a single chunk."""

    def __len__(self) -> int:
        return len(self._content)  # type: ignore[arg-type]
