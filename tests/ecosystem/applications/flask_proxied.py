"""The shop behind a proxy that says for whom it asks."""

from __future__ import annotations

from flask import request, url_for
from werkzeug.middleware.proxy_fix import ProxyFix

from ecosystem.applications.shop import make_app

shop = make_app()


@shop.get("/where")
def where() -> dict[str, str | None]:
    return {"url": url_for("item", number=7, _external=True), "client": request.remote_addr}


app = ProxyFix(shop.wsgi_app, x_for=1, x_proto=1, x_host=1, x_prefix=1)
