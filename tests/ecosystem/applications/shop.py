"""A shop in Flask, which is watched by ddtrace, Sentry, OpenTelemetry and Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Flask, Response, request


def make_app() -> Flask:
    """Return the application, before anybody watches it."""
    app = Flask("shop")

    @app.get("/items/<int:number>")
    def item(number: int) -> dict[str, object]:
        app.logger.warning("item %d was asked for", number)
        return {"item": number, "protocol": request.environ["SERVER_PROTOCOL"]}

    @app.get("/rows")
    def rows() -> Response:
        def lines(number: int) -> Iterator[str]:
            for line in range(number):
                yield f"{line}\n"

        return Response(lines(int(request.args["n"])), mimetype="text/csv")

    @app.post("/orders")
    def order() -> tuple[str, int]:
        return f"{request.form['what']} {len(request.files['letter'].read())}", 201

    @app.get("/fail")
    def fail() -> str:
        raise ArithmeticError("no such sum")

    return app
