"""What is served during a soak. Every response can be foretold from its path and content."""

from __future__ import annotations

import hashlib
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
    return b"%d %s" % (len(content), hashlib.sha256(content).hexdigest().encode())


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer ``/hello/N``, ``/work/N``, ``/digest/N``, ``/echo/N`` and ``/stream/N/OCTETS``."""
    kind, number, *rest = environ["PATH_INFO"].strip("/").split("/")
    start_response("200 OK", [("content-type", "application/octet-stream")])
    if kind == "stream":
        return stream(number, int(rest[0]))
    if kind == "echo":
        return echo(environ["wsgi.input"])
    if kind == "digest":
        return [digest(environ["wsgi.input"].read())]
    if kind == "work":
        time.sleep(WORK)
    return [text(number, 100)]


def stream(number: str, octets: int) -> Iterator[bytes]:
    whole = text(number, octets)
    for start in range(0, octets, BLOCK):
        yield whole[start : start + BLOCK]


def echo(source: Any) -> Iterator[bytes]:
    while block := source.read1(BLOCK):
        yield block
