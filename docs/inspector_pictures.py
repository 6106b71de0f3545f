"""Take the pictures of the inspector that docs/inspector.md shows.

    python docs/inspector_pictures.py

Needs Chromium and the test extra. What is in them is a load made for them: requests of a client
that waits for nobody, one whose window is small, one that cancels.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

import h2wsgi
from h2wsgi.server.running import ServerThread

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from support.browser import Browser  # noqa: E402
from support.peer import Peer  # noqa: E402

PATHS = [
    "/", "/static/app.css", "/static/app.js", "/api/session", "/api/orders?page=1",
    "/stream/events", "/api/orders/17", "/static/logo.svg", "/missing", "/api/report?year=2025",
    "/big/export.csv",
]  # fmt: skip


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Answer late, in pieces, with much, or not well, by the path."""
    path = environ["PATH_INFO"]
    time.sleep(0.04 if path.startswith("/api") else 0.004)
    if path == "/api/report":
        raise RuntimeError("the report fails")
    status = "404 Not Found" if path == "/missing" else "200 OK"
    start_response(status, [("content-type", "text/plain"), ("cache-control", "no-store")])
    if path.startswith("/stream"):
        return pieces()
    if path.startswith("/big"):
        return iter([bytes(50_000)] * 4)
    return [b"hello, world\n"]


def pieces() -> Iterator[bytes]:
    """Return content that comes slowly."""
    for _ in range(6):
        time.sleep(0.02)
        yield bytes(2_000)


async def browse(server: ServerThread) -> None:
    """Ask for everything at once, twice."""
    async with httpx.AsyncClient(http2=True, verify=server.ssl_context()) as client:
        for _ in range(2):
            await asyncio.gather(*(client.get(server.join(path)) for path in PATHS))


def cause_trouble(server: ServerThread) -> None:
    """Read slowly, and cancel."""
    address = ("127.0.0.1", int(server.url.rstrip("/").rpartition(":")[2]))
    with Peer.connect(address, ca_file=server.ca_file, settings={4: 30_000}) as peer:
        slow = peer.request(path="/big/slow-reader")
        cancelled = peer.request(path="/stream/cancelled")
        peer.wait_data(cancelled, 2_000)
        peer.rst_stream(cancelled)
        for octets in range(30_000, 200_001, 30_000):
            time.sleep(0.03)
            peer.wait_data(slow, octets)  # which opens the window by what has come
        peer.response(slow)


def picture(browser: Browser, name: str) -> None:
    """Write what is seen to a file."""
    time.sleep(1)  # charts and panels are drawn a little later
    (DOCS / name).write_bytes(browser.screenshot())


def main() -> None:
    """Take both pictures."""
    logging.getLogger("h2wsgi").setLevel(logging.CRITICAL)
    with (
        tempfile.TemporaryDirectory() as home,
        h2wsgi.serve_in_thread(application, inspect=True, threads=6) as server,
        Browser(Path(home)) as browser,
    ):
        browser.size(1280, 800)
        browser.prefer("light")
        browser.open(server.inspect_url)
        asyncio.run(browse(server))
        cause_trouble(server)
        picture(browser, "inspector.png")
        browser.prefer("dark")
        browser.press("End", "ArrowUp", "Enter")
        picture(browser, "inspector-dark.png")


if __name__ == "__main__":
    main()
