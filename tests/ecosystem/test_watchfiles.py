"""A developer's way: watchfiles starts the server again whenever a source changes."""

from __future__ import annotations

import os
import re
import ssl
import sys
from pathlib import Path

import httpx
import pytest

from support.clients import environment, running
from support.settled import eventually

SOURCE = """
def app(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"%s"]
"""
PATIENCE = 30


@pytest.mark.timeout(90)
def test_a_change_of_the_source_shows(tmp_path, cache_folder):
    module, log = tmp_path / "web.py", tmp_path / "log"
    module.write_text(SOURCE % "one")
    serve = f"{sys.executable} -m h2wsgi web:app --bind localhost:0"
    watch = [str(Path(sys.executable).parent / "watchfiles"), "--filter", "python", serve, "."]
    path = os.pathsep.join(sys.path)
    own = environment(PYTHONPATH=path, XDG_CACHE_HOME=str(cache_folder))
    with (
        log.open("wb") as file,
        running(watch, cwd=tmp_path, env=own, stdout=file, stderr=file),
    ):
        assert answer(log, 1, cache_folder) == "one"
        module.write_text(SOURCE % "two")
        assert answer(log, 2, cache_folder) == "two"
        assert "stopped" in log.read_text()


def answer(log: Path, start: int, cache: Path) -> str:
    """Return what the server answers that was started as the ``start``-th."""

    def addresses() -> list[str]:
        return re.findall(r"(https://localhost:\d+)/  HTTP/2 only", log.read_text())

    eventually(lambda: len(addresses()) >= start, "the server to be ready", PATIENCE)
    context = ssl.create_default_context(cafile=str(cache / "h2wsgi" / "ca.crt"))
    with httpx.Client(http2=True, verify=context) as client:
        return client.get(addresses()[start - 1]).text
