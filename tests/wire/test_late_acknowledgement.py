"""--fault delay-settings: which SETTINGS of a client are acknowledged late."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from conftest import Connect, Serve


def test_only_the_first_settings_of_a_client_are_acknowledged_late(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"well"]

    with caplog.at_level(logging.INFO, "h2wsgi"):
        peer = connect(serve(app, fault=("delay-settings=0.1 what=ack",)))
        peer.wait_settings_ack()
        for _ in range(3):
            peer.settings()
        peer.wait_settings_ack()
        assert peer.get().body == b"well"
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("fault")]
    assert len(said) == 1
