"""The shop with a counter and a histogram of prometheus_client, and its page of metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Response, request
from prometheus_client import Counter, Histogram, make_wsgi_app
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from ecosystem.applications.shop import make_app

requests = Counter("shop_requests", "requests answered", ["path", "status", "protocol"])
seconds = Histogram("shop_seconds", "how long they took")

shop = make_app()


@shop.after_request
def count(response: Response) -> Response:
    rule = str(request.url_rule)
    requests.labels(rule, response.status_code, request.environ["SERVER_PROTOCOL"]).inc()
    return response


answer = shop.wsgi_app


@seconds.time()
def timed(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    return answer(environ, start_response)


shop.wsgi_app = timed  # type: ignore[method-assign]
app = DispatcherMiddleware(shop, {"/metrics": make_wsgi_app()})
