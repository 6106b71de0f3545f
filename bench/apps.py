"""The applications that every server serves, one attribute each; the work is the server's.

Each is plain PEP 3333 and does as little as its load needs. Flask is imported by its first call
only, so that it does not count in the memory of the other loads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[..., object]

GREETING = b"hello, world\n"
CHUNK = b"ten octets"
CHUNKS = 1_000
ROUNDS = 10_000
"""Of a loop, which take about half a millisecond of an interpreter."""
BLOCK = bytes(64 * 1024)
BLOCKS = 160
SLEEP = 0.05
"""Seconds."""
WAIT = 20.0
"""Seconds: longer than it takes to look at the memory of a server full of open requests."""
VIEW = {"name": "h2wsgi", "numbers": [1, 2, 3, 4, 5], "nested": {"yes": True, "nothing": None}}
"""What the Flask view returns as JSON."""

LENGTH = str(len(GREETING))
TEXT = ("content-type", "text/plain")
BINARY = ("content-type", "application/octet-stream")


def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT, ("content-length", LENGTH)])
    return [GREETING]


def echo(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [BINARY, ("content-length", str(len(body)))])
    return [body]


def stream(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [TEXT])
    for _ in range(CHUNKS):
        yield CHUNK


def sleep(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    time.sleep(SLEEP)
    return hello(environ, start_response)


def compute(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    sum(number & 7 for number in range(ROUNDS))
    return hello(environ, start_response)


def wait(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    time.sleep(WAIT)
    return hello(environ, start_response)


def download(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [BINARY])
    for _ in range(BLOCKS):
        yield BLOCK


def upload(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    count = 0
    while block := environ["wsgi.input"].read(len(BLOCK)):
        count += len(block)
    answer = str(count).encode()
    start_response("200 OK", [TEXT, ("content-length", str(len(answer)))])
    return [answer]


_application: Any = None
_making = threading.Lock()


def flask(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    answer: Iterable[bytes] = (_application or _made())(environ, start_response)
    return answer


def _made() -> Any:
    """Make the Flask application, once.

    Two threads that make one at the same time now and then fail in CPython 3.11's compiler.
    """
    global _application
    with _making:
        if _application is None:
            from flask import Flask

            made = Flask("bench")

            @made.get("/flask")
            def view() -> dict[str, Any]:
                return VIEW

            _application = made
        return _application
