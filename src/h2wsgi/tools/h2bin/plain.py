"""Endpoints that answer as any server would, to compare the others with."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

from .endpoints import endpoint
from .request import BadRequest, Request, as_json, as_text

GROUP = "Plain requests"
MAX_BYTES = 100 * 2**20
PIECE = bytes(range(256)) * 256
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def echo(request: Request) -> dict[str, Any]:
    """Return what came, once the content was read."""
    environ = request.environ
    size = 0
    while piece := environ["wsgi.input"].read(65_536):
        size += len(piece)
    names = {
        key[5:].replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if key in environ:
            names[key.replace("_", "-").lower()] = environ[key]
    host = environ.get("HTTP_HOST", f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}")
    return {
        "method": environ["REQUEST_METHOD"],
        "url": f"{environ['wsgi.url_scheme']}://{host}{as_text(environ['RAW_URI'])}",
        "args": request.query,
        "headers": names,
        "body_size": size,
        "trailers": environ["h2wsgi.trailers"](),
        "stream": request.stream.id,
        "origin": environ["REMOTE_ADDR"],
    }


def _echo_of(method: str) -> None:
    def answer(request: Request) -> Iterable[bytes]:
        if request.environ["REQUEST_METHOD"] not in (method, "HEAD"):
            headers = [("Allow", method)]
            return request.json({"error": f"send {method} here"}, "405 Method Not Allowed", headers)
        return request.json(echo(request))

    words = f"The request as it came, sent by {method}."
    example = "/get" if method == "GET" else ""
    endpoint(GROUP, f"/{method.lower()}", words, example=example)(answer)


for _method in METHODS:
    _echo_of(_method)


@endpoint(
    GROUP, "/anything", "The request as it came: method, URL, fields, size of body, trailers."
)
def anything(request: Request) -> Iterable[bytes]:
    """Echo."""
    return request.json(echo(request))


@endpoint(GROUP, "/status/<code>", "An answer with this status, 200 to 599.", example="/status/418")
def status(request: Request) -> Iterable[bytes]:
    """Answer with a status."""
    code = request.number("code", 100, 599)
    if code < 200:
        raise BadRequest(f"{code} is no final status; /informational/1 sends others before one")
    known = {item.value: item.phrase for item in HTTPStatus}
    return request.json({"status": code}, f"{code} {known.get(code, 'Unknown')}")


@endpoint(GROUP, "/bytes/<n>", "n octets with a Content-Length.", example="/bytes/1000")
def octets(request: Request) -> Iterable[bytes]:
    """Send octets."""
    left = request.number("n", 0, MAX_BYTES)
    request.start(
        "200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(left))]
    )
    return _octets(left)


def _octets(left: int) -> Iterator[bytes]:
    while left:
        piece = PIECE[:left]
        left -= len(piece)
        yield piece


@endpoint(GROUP, "/stream/<n>", "n lines of JSON, each in a piece of its own.", example="/stream/3")
def stream(request: Request) -> Iterable[bytes]:
    """Send lines."""
    count = request.number("n", 0, 10_000)
    request.start("200 OK", [("Content-Type", "application/x-ndjson")])
    line = {"stream": request.stream.id}
    return (json.dumps({"line": n, **line}).encode() + b"\n" for n in range(count))


@endpoint(
    GROUP, "/delay/<seconds>", "An answer after so many seconds, 60 at most.", example="/delay/1"
)
def delay(request: Request) -> Iterable[bytes]:
    """Answer late; not at all if the client is gone by then."""
    seconds = request.seconds("seconds", 60)
    request.stream.disconnected.wait(seconds)
    return request.json({"delay": seconds})


@endpoint(
    GROUP,
    "/drip",
    "Octets that come one by one: numbytes over duration seconds, after delay seconds.",
    example="/drip?duration=2&numbytes=5&delay=0",
    query="duration=2 numbytes=10 delay=0",
)
def drip(request: Request) -> Iterable[bytes]:
    """Send octets slowly."""
    count = request.number("numbytes", 1, 10_000, 10)
    duration = request.seconds("duration", 60, 2)
    before = request.seconds("delay", 60, 0)
    request.start(
        "200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(count))]
    )
    return _drip(count, duration / count, before)


def _drip(count: int, pause: float, before: float) -> Iterator[bytes]:
    time.sleep(before)
    for number in range(count):
        if number:
            time.sleep(pause)
        yield b"*"


@endpoint(GROUP, "/large-headers/<n>", "n octets of header fields.", example="/large-headers/20000")
def large_headers(request: Request) -> Iterable[bytes]:
    """Answer with large fields, of 4,000 octets at most each."""
    left = request.number("n", 1, 2**20)
    headers: list[tuple[str, str]] = []
    while left > 0:
        name = f"x-large-{len(headers)}"
        value = "x" * max(0, min(left - len(name), 4_000))
        left -= len(name) + len(value)
        headers.append((name, value))
    request.start("200 OK", [("Content-Type", "application/json"), *headers])
    return [as_json({"fields": len(headers)})]
