"""What is served: content that tells whether it is whole, and a ledger of what was accepted.

The ledger is a pipe: a line is there once it was written, whatever becomes of the process, and no
disk that is full keeps it out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from chaos import bodies

PIECE = 4_096
SLOWLY = 0.02
"""Seconds between pieces of what is slow."""

LEDGER = os.open(os.environ["CHAOS_LEDGER"], os.O_WRONLY)


def note(what: str, name: str) -> None:
    """Write a line of the ledger, short enough to be written at once."""
    os.write(LEDGER, f"{what} {name} {os.getpid()}\n".encode())


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer ``/whole/NAME/OCTETS``, ``/pieces/…``, ``/slow/…`` and ``/take/…``."""
    _, kind, name, octets = environ["PATH_INFO"].split("/")
    note("began", name)
    received = "-"
    if kind == "take":
        try:
            received = bodies.note_of(environ["wsgi.input"].read())
        except BaseException:  # the client has left: there will be nothing to close
            note("closed", name)
            raise
    body = bodies.make(name, os.getpid(), int(octets), received)
    fields = [("content-type", "application/octet-stream")]
    if kind == "whole":
        fields.append(("content-length", str(len(body))))
    start_response("200 OK", fields)
    pause = SLOWLY if kind == "slow" else 0.0
    return Pieces(name, pieces(body, pause) if kind != "whole" else iter([body]))


def pieces(body: bytes, pause: float) -> Iterator[bytes]:
    for start in range(0, len(body), PIECE):
        if start and pause:
            time.sleep(pause)
        yield body[start : start + PIECE]


class Pieces:
    """An iterable whose end is in the ledger."""

    def __init__(self, name: str, source: Iterator[bytes]) -> None:
        self._name = name
        self._source = source

    def __iter__(self) -> Iterator[bytes]:
        return self._source

    def close(self) -> None:
        note("closed", self._name)
