"""The applications that probe.py asks every server for: one behaviour a path.

What a client cannot see (was `close()` called?) goes, a line at a time, to the file named by
COMPARISON_EVENTS, so that it can be read whatever state the server is in.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

TEXT = [("content-type", "text/plain")]


def record(event: str) -> None:
    with open(os.environ["COMPARISON_EVENTS"], "a", encoding="utf-8") as events:
        events.write(event + "\n")


def ok(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    return [b"ok"]


def pid(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    time.sleep(0.05)
    start_response("200 OK", TEXT)
    return [str(os.getpid()).encode()]


def write(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    send = start_response("200 OK", TEXT)
    send(b"one ")
    send(b"two ")
    return [b"three"]


class RecordedFile(io.BytesIO):
    def close(self) -> None:
        if not self.closed:
            record("file closed")
        super().close()


def file_wrapper(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    if (wrapper := environ.get("wsgi.file_wrapper")) is None:
        return [b"absent"]
    return wrapper(RecordedFile(b"x" * 100_000), 8192)


def error_midway(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"the first half"
    time.sleep(0.2)
    raise RuntimeError("raised midway")


def error_before(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    raise RuntimeError("password=hunter2")


def system_exit(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    sys.exit(1)


def exc_info(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("x-first", "1")])
    try:
        raise ValueError
    except ValueError:
        start_response("503 Service Unavailable", [*TEXT, ("x-second", "2")], sys.exc_info())
    return [b"sorry"]


def late_start(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    # A generator: its body, this call included, runs when the server asks for the first chunk.
    start_response("201 Created", TEXT)
    yield b"late"


def empty(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    return []


def no_content(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []


def page(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    # The same answer to GET and HEAD, as PEP 3333 lets an application give.
    start_response("200 OK", [*TEXT, ("content-length", "4")])
    return [b"page"]


def short(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("content-length", "10")])
    return [b"four"]


class Ticks:
    """A body of about 8 s, which tells how it ended."""

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(160):
            time.sleep(0.05)
            yield b"tick"
        record("ran to its end")

    def close(self) -> None:
        record("body closed")


def ticks(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    return Ticks()


def two_way(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    first = environ["wsgi.input"].read(3)
    start_response("200 OK", TEXT)
    yield b"first=" + first
    yield b" rest=" + environ["wsgi.input"].read()


def digest(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    sha256 = hashlib.sha256()
    while chunk := environ["wsgi.input"].read(65_536):
        sha256.update(chunk)
    start_response("200 OK", TEXT)
    return [sha256.hexdigest().encode()]


def lost_upload(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    record("began")
    try:
        record(f"read {len(environ['wsgi.input'].read())}")
    except Exception as error:
        record(f"raised {type(error).__name__}")
        raise
    start_response("200 OK", TEXT)
    return [b"ok"]


def sleep(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    record("began")
    time.sleep(float(environ["QUERY_STRING"]))
    start_response("200 OK", TEXT)
    return [b"slept"]


def cookies(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    return [b"ok"]


def show(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Say the repr of the environ key in the query string."""
    start_response("200 OK", TEXT)
    return [ascii(environ.get(environ["QUERY_STRING"])).encode()]


def big(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    for _ in range(16):
        yield b"x" * 65_536


@validator
def valid(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    # wsgiref.validate wants a str query string, exact types, and every rule of PEP 3333 kept.
    body = environ["wsgi.input"].read(4)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]


PATHS = {
    "/" + each.__name__: each
    for each in (
        ok, pid, write, file_wrapper, error_midway, error_before, system_exit, exc_info,
        late_start, empty, no_content, page, short, ticks, two_way, digest, lost_upload, sleep,
        cookies, show, big,
    )
}  # fmt: skip
PATHS["/valid"] = valid


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    return PATHS[environ["PATH_INFO"]](environ, start_response)


async def asgi(
    scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
) -> None:
    """Answer as an ASGI 3 application, to HTTP and to a WebSocket."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"asgi"})
