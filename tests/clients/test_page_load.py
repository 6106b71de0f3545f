"""A page over a slow line in Chromium: what holds up its rendering arrives before its images."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import h2wsgi
from support import page_load
from support.browser import Browser
from support.clients import TIMEOUT, trust_in_browser
from support.page_load import IMAGES, load
from support.slow_line import SlowLine

pytestmark = [pytest.mark.client, pytest.mark.heavy]

RATE = 400_000.0
FREE = IMAGES // 3
"""Images that are there from the start."""


class Site:
    """The page, most of whose images are there once its font is asked for, and that behind them.

    However late a busy machine lets Chromium ask, there is something that the font can overtake.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.given = threading.Semaphore(0)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        waits = path.startswith("/image/") and int(path[7:-4]) >= FREE
        if waits:
            assert self.asked.wait(TIMEOUT)
        elif path == "/special.woff2":
            self.asked.set()
            for _ in range(IMAGES - FREE):
                assert self.given.acquire(timeout=TIMEOUT)
        content = page_load.application(environ, start_response)
        if waits:
            self.given.release()
        return content


def test_what_holds_up_rendering_arrives_before_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_load, "FONT_TAKES", 0.05)
    with h2wsgi.serve_in_thread(Site()) as server:
        assert server.ca_file is not None
        trust_in_browser(tmp_path, server.ca_file)
        port = int(server.url.rstrip("/").rpartition(":")[2])
        with SlowLine(port, RATE) as line, Browser(tmp_path) as browser:
            times = load(browser, f"https://localhost:{line.port}/")
    images = sorted(times[f"/image/{number}.png"][2] for number in range(IMAGES))
    # Without priorities the font comes behind all of them.
    for path, most in (("/style.css", FREE), ("/app.js", FREE), ("/special.woff2", IMAGES)):
        before = sum(ended < times[path][2] for ended in images)
        assert before <= most * 2 // 3, f"{before} images came before {path}"
