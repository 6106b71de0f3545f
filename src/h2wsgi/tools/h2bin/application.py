"""The application: finds the endpoint of a request, or answers that there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from . import illegal, plain, raw, streams, wire
from .endpoints import find
from .index import page
from .request import BadRequest, Request

MODULES = (plain, wire, streams, raw, illegal)
"""Importing these modules fills the list of endpoints."""


class H2Bin:
    """The WSGI application."""

    h2wsgi_unsized_content = "stream"
    """So that clients see what happens while they send."""

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer one request."""
        path = environ["PATH_INFO"]
        found = None if path in ("", "/") else find(path)
        request = Request(environ, start_response, {} if found is None else found[1])
        streams.count_down(request)
        if path in ("", "/"):
            start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
            return [page()]
        if found is None:
            text = f"there is no {path} here; {environ['SCRIPT_NAME']}/ lists what there is"
            return request.json({"error": text}, "404 Not Found")
        try:
            return found[0].handler(request)
        except BadRequest as error:
            return request.json({"error": str(error)}, "400 Bad Request")
        except wire.NotRecorded:
            text = "nothing is recorded of this connection; start the server with --record"
            return request.json({"error": text}, "501 Not Implemented")
