"""What an application noted of its run: what it read, what it sent, what a finalizer may call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Interrupted(BaseException):
    """What a timeout decorator raises into an application's thread."""


def numbered(lines: int, width: int = 100) -> bytes:
    """Return lines of ``width`` octets with their numbers: a hole or a repetition shows."""
    return b"".join(b"%06d".ljust(width - 1, b".") % number + b"\n" for number in range(lines))


CONTENT = numbered(9)
"""Of requests: three DATA frames of three lines each."""
WHOLE = b"whole\n"


class Notes:
    """One run's, written by the application's thread and read by the harness behind it."""

    def __init__(self) -> None:
        self.sent = CONTENT
        """The content of the request, as far as the client gets to send it."""
        self.read: list[bytes] = []
        """What the application read, in order."""
        self.saw_end = False
        """The application was told that this was all."""
        self.trailers: list[tuple[str, str]] = []
        self.expected: bytes | None = None
        """The content of a response with status 200; None if anything goes."""
        self.pieces: list[tuple[bytes, bool]] = []
        """Of an application that goes on after a failure: what it wrote, and if that returned."""
        self.iterable_returned = False
        self.closed = 0
        """Calls of the iterable's ``close()``."""
        self.write: Callable[[bytes], object] | None = None
        self.stream: Any = None
        self.begun = threading.Event()
        """The application was called."""
        self.caught = threading.Event()
        """It has caught what was raised, or nothing was, and goes on."""

    def take(self, data: bytes) -> bytes:
        """Note what was read; an empty piece is the end."""
        if data:
            self.read.append(data)
        else:
            self.saw_end = True
        return data

    def wrong_content(self) -> str:
        """Return what is wrong with content that looks whole, or ""."""
        read = b"".join(self.read)
        if not self.saw_end:
            if not self.sent.startswith(read):
                return f"the content read is not how that sent begins: {_difference(read, self)}"
            return ""
        if read != self.sent:
            return f"content with a hole looks whole: {_difference(read, self)}"
        return ""


def _difference(read: bytes, notes: Notes) -> str:
    pairs = zip(read, notes.sent, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(read), len(notes.sent)))
    return f"{len(read)} of {len(notes.sent)} octets, the first difference at {at}"
