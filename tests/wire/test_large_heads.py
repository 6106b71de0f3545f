"""Field sections above what the client announced in SETTINGS_MAX_HEADER_LIST_SIZE.

The setting is advice (RFC 9113 section 6.5.2): what the application answers is sent, and the log
says once for a connection why a client may not like it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import Connect, Serve
from support.peer import Peer, Setting

ENGINES = ("fast", "h2")
LIMIT = 65_536
SMALL = [("x-a", "b"), ("date", "now"), ("server", "s")]
SMALL_SIZE = (
    sum(len(name) + len(value) + 32 for name, value in SMALL)
    + len(":status200content-length4")
    + 2 * 32
)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def to(
    serve: Serve, connect: Connect, engine: str, caplog: pytest.LogCaptureFixture
) -> Callable[..., tuple[Peer, Callable[[], list[str]]]]:
    """Serve an application to a client with a limit; return that, and how to get the warnings."""

    def start(app: Any, limit: int | None) -> tuple[Peer, Callable[[], list[str]]]:
        server = serve(app, engine=engine)
        settings = {} if limit is None else {Setting.MAX_HEADER_LIST_SIZE: limit}
        peer = connect(server, settings=settings)
        peer.roundtrip()

        def warnings() -> list[str]:
            peer.close()
            server.stop()
            return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]

        return peer, warnings

    return start


def whole(headers: list[tuple[str, str]]) -> Callable[..., Any]:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", list(headers))
        return [b"some"]

    return app


def streamed(headers: list[tuple[str, str]]) -> Callable[..., Any]:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", list(headers))
        yield b"so"
        yield b"me"

    return app


def in_trailers(headers: list[tuple[str, str]]) -> Callable[..., Any]:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        environ["wsgi.ext.http.send_trailers"](headers)
        return [b"some"]

    return app


def early(headers: list[tuple[str, str]]) -> Callable[..., Any]:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.early_hints"](headers)
        start_response("200 OK", [])
        return [b"some"]

    return app


@pytest.mark.parametrize("make", [whole, streamed, in_trailers, early])
def test_a_section_above_the_clients_limit_is_sent_and_said_once(to, make):
    large = [(f"x-{number}", "v" * 7_000) for number in range(10)]
    peer, warnings = to(make(large), LIMIT)
    for _ in range(3):
        response = peer.get(path="/it?secret")
        assert (response.status, response.body, response.reset) == (200, b"some", None)
        hints = [field for _, fields in response.informational for field in fields]
        assert ("x-9", large[9][1]) in response.fields + response.trailers + hints
    (said,) = warnings()
    assert "65,536 (SETTINGS_MAX_HEADER_LIST_SIZE)" in said
    assert "GET /it (stream 1)" in said
    assert "secret" not in said


@pytest.mark.parametrize("make", [whole, streamed])
def test_small_sections_are_measured_too(to, make):
    peer, warnings = to(make(SMALL), 50)
    assert [peer.get().status for _ in range(3)] == [200] * 3
    assert len(warnings()) == 1


@pytest.mark.parametrize(("below", "said"), [(0, 0), (1, 1)])
def test_the_limit_itself_is_within_it(to, below, said):
    peer, warnings = to(whole(SMALL), SMALL_SIZE - below)
    assert peer.get().header("content-length") == "4"
    assert len(warnings()) == said


@pytest.mark.parametrize("limit", [None, LIMIT, 2**32 - 1])
def test_nothing_is_said_of_what_is_within_the_limit(to, limit):
    peer, warnings = to(whole([("x-a", "v" * 60_000)]), limit)
    assert peer.get().header("x-a") == "v" * 60_000
    assert warnings() == []


def test_a_limit_that_comes_later_counts_from_then_on(to, caplog):
    def warned() -> int:
        return sum(r.levelno >= logging.WARNING for r in caplog.records)

    peer, warnings = to(whole(SMALL), None)
    assert peer.get().status == 200
    peer.settings({Setting.MAX_HEADER_LIST_SIZE: 50, Setting.HEADER_TABLE_SIZE: 0})
    peer.roundtrip()
    assert warned() == 0
    assert [peer.get().status for _ in range(2)] == [200] * 2
    assert len(warnings()) == 1


def test_a_limit_that_is_lifted_again_counts_no_more(to):
    peer, warnings = to(whole(SMALL), 50)
    peer.settings({Setting.MAX_HEADER_LIST_SIZE: LIMIT})
    peer.roundtrip()
    assert [peer.get().status for _ in range(2)] == [200] * 2
    assert warnings() == []
