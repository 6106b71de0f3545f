"""A Flask application for green threads, behind a ``monkey_patch`` of gevent's or eventlet's."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from urllib.request import urlopen

from flask import Flask, Response, request


def make_app() -> Flask:
    """Return the application; what it waits with is patched by then."""
    app = Flask("green")
    meeting = threading.Barrier(10)

    @app.get("/")
    def hello() -> str:
        return f"hello over {request.environ['SERVER_PROTOCOL']}"

    @app.get("/together")
    def together() -> str:
        meeting.wait(20)
        return "all ten are here"

    @app.get("/slowly")
    def slowly() -> Response:
        def lines() -> Iterator[str]:
            for number in range(5):
                time.sleep(0.05)
                yield f"{number}\n"

        return Response(lines())

    @app.get("/fetch")
    def fetch() -> bytes:
        with urlopen(request.args["url"], timeout=20) as answer:
            content: bytes = answer.read()
        return content

    @app.get("/fork")
    def fork() -> str:
        child = os.fork()
        if not child:
            time.sleep(0.1)
            raise SystemExit(3)
        return f"it ended with {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"

    @app.post("/upload")
    def upload() -> str:
        return str(len(request.get_data()))

    return app
