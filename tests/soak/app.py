"""What is served during a soak. Every response can be foretold from its path and content."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterable, Iterator
from typing import Any

BLOCK = 8_192
WORK = 0.01
"""Seconds that ``/work`` waits, as for a database."""


def text(number: str, octets: int) -> bytes:
    """Return so many octets that belong to this number alone."""
    unit = f"{number} ".encode()
    return (unit * (octets // len(unit) + 1))[:octets]


def digest(content: bytes) -> bytes:
    """Return what ``/digest`` answers."""
    return digest_of(io.BytesIO(content))


def digest_of(source: Any) -> bytes:
    octets, hashed = 0, hashlib.sha256()
    while block := source.read(BLOCK):
        octets += len(block)
        hashed.update(block)
    return b"%d %s" % (octets, hashed.hexdigest().encode())


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer ``/hello/N``, ``/work/N``, ``/digest/N``, ``/echo/N`` and ``/stream/N/OCTETS``."""
    kind, number, *rest = environ["PATH_INFO"].strip("/").split("/")
    start_response("200 OK", [("content-type", "application/octet-stream")])
    if kind == "stream":
        return stream(number, int(rest[0]))
    if kind == "echo":
        return echo(environ["wsgi.input"])
    if kind == "digest":
        return [digest_of(environ["wsgi.input"])]
    if kind == "work":
        time.sleep(WORK)
    return [text(number, 100)]


def stream(number: str, octets: int) -> Iterator[bytes]:
    """Yield the same in blocks, without ever holding the whole: what is looked at is the server."""
    unit = len(number) + 1
    some = text(number, BLOCK + unit)
    for start in range(0, octets, BLOCK):
        yield some[start % unit :][: min(BLOCK, octets - start)]


def echo(source: Any) -> Iterator[bytes]:
    while block := source.read1(BLOCK):
        yield block
