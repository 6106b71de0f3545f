"""A page over a slow line in Chromium: what holds up its rendering arrives before its images."""

from __future__ import annotations

from pathlib import Path

import pytest

import h2wsgi
from support.browser import Browser
from support.clients import trust_in_browser
from support.page_load import IMAGES, application, load
from support.slow_line import SlowLine

pytestmark = [pytest.mark.client, pytest.mark.heavy]

RATE = 400_000.0


def test_what_holds_up_rendering_arrives_before_the_images(tmp_path: Path) -> None:
    with h2wsgi.serve_in_thread(application) as server:
        assert server.ca_file is not None
        trust_in_browser(tmp_path, server.ca_file)
        port = int(server.url.rstrip("/").rpartition(":")[2])
        with SlowLine(port, RATE) as line, Browser(tmp_path) as browser:
            times = load(browser, f"https://localhost:{line.port}/")
    images = sorted(times[f"/image/{number}.png"][2] for number in range(IMAGES))
    for path in ("/style.css", "/app.js", "/special.woff2"):
        before = sum(ended < times[path][2] for ended in images)
        # Without priorities the font comes behind all of them.
        assert before <= IMAGES * 2 // 3, f"{before} images came before {path}"
