"""Applications that go on with a response which has ended."""

from __future__ import annotations

from typing import Any

from conftest import Connect, Serve
from h2wsgi import ApplicationError


def test_trailers_of_a_response_that_was_sent_whole_are_refused_afterwards(
    serve: Serve, connect: Connect
) -> None:
    kept: list[Any] = []
    raised: list[BaseException] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if kept:
            try:
                kept[0]([("x-late", "1")])
            except ApplicationError as error:
                raised.append(error)
        kept.append(environ["wsgi.ext.http.send_trailers"])
        start_response("200 OK", [])
        return [b"well"]

    peer = connect(serve(app))
    assert [peer.get().body for _ in "12"] == [b"well", b"well"]
    assert "behind the end" in str(raised[0])
    assert not peer.responses[1].trailers


def test_a_response_that_was_sent_whole_cannot_be_replaced_afterwards(
    serve: Serve, connect: Connect
) -> None:
    kept: list[Any] = []
    raised: list[BaseException] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if kept:
            error = ValueError("too late")
            try:
                kept[0]("500 Late", [], (ValueError, error, None))
            except ValueError as found:
                raised.append(found)
        kept.append(start_response)
        start_response("200 OK", [])
        return [b"well"]

    peer = connect(serve(app))
    assert [peer.get().body for _ in "12"] == [b"well", b"well"]
    assert str(raised[0]) == "too late"
