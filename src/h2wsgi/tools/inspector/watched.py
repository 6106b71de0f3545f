"""The application, watched: when it was called for a stream, and when it was done.

A middleware on application threads. It is the outermost one, so faults count as the application's.
It passes everything through unchanged, so the server treats lists, files and generators as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...seam.stream import Stream
from ...wsgi.response import FileWrapper
from ...wsgi.runner import WSGIApplication
from .ledger import Ledger


class Watched:
    """An application in front of another one."""

    def __init__(self, app: WSGIApplication, ledger: Ledger) -> None:
        self._app = app
        self._ledger = ledger

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Call the application."""
        stream: Stream = environ["h2wsgi.stream"]
        seen = self._ledger.began(stream.connection.number, stream.stream_id)
        if seen is None:  # the ledger does not keep this stream
            return self._app(environ, start_response)
        later = False
        try:
            content = self._app(environ, start_response)
            # Lists are whole, the server reads files, and it refuses what is no iterable.
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
    """What the application returned. Its end is noted."""

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
    """For an iterable with a length, which tells the server of a single chunk."""

    def __len__(self) -> int:
        return len(self._content)  # type: ignore[arg-type]
