"""A page of many images with a style sheet, a script and a font, loaded by Chromium."""

from __future__ import annotations

import functools
import random
import struct
import time
import zlib
from typing import Any

from support.browser import Browser

IMAGES = 60
SIDE = 64
"""Pixels; an image has three octets of noise for each, which no one compresses."""
FONT_TAKES = 0.3
"""Seconds: by then all images wait for their turn."""
PAGE = """<!doctype html><html><head><title>many images</title>
<link rel="stylesheet" href="/style.css"><script src="/app.js"></script></head>
<body><p class="special">text in a font of its own</p>{images}</body></html>"""
STYLE = b"""@font-face { font-family: Special; src: url(/special.woff2); }
.special { font-family: Special; } img { width: 32px; }
"""
TIMES = """JSON.parse(JSON.stringify(performance.getEntriesByType('resource').map(
    one => [new URL(one.name).pathname, one.requestStart, one.responseStart, one.responseEnd])))"""


@functools.cache
def image(number: int) -> bytes:
    """Return a PNG of noise."""
    noise = random.Random(number)
    rows = b"".join(b"\0" + noise.randbytes(3 * SIDE) for _ in range(SIDE))
    header = struct.pack("!LLBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack("!L", len(data)) + kind + data + struct.pack("!L", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Serve the page and all that is in it."""
    path = environ["PATH_INFO"]
    if path == "/":
        images = "".join(f'<img src="/image/{number}.png">' for number in range(IMAGES))
        kind, content = "text/html", PAGE.format(images=images).encode()
    elif path == "/style.css":
        kind, content = "text/css", STYLE + b"/*" + b"x" * 30_000 + b"*/"
    elif path == "/app.js":
        kind, content = "text/javascript", b"//" + b"x" * 30_000
    elif path == "/special.woff2":
        time.sleep(FONT_TAKES)
        kind, content = "font/woff2", random.Random(0).randbytes(30_000)
    elif path.startswith("/image/"):
        kind, content = "image/png", image(int(path[7:-4]))
    else:
        start_response("404 Not Found", [("Content-Length", "0")])
        return []
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(content)))])
    return [content]


def load(browser: Browser, url: str) -> dict[str, tuple[float, float, float]]:
    """Load the page; return when each part was asked for, began and ended, in milliseconds."""
    browser.open(url)
    browser.wait(f"performance.getEntriesByType('resource').length >= {IMAGES + 3}")
    browser.wait("document.fonts.status === 'loaded'")
    times = {path: (asked, began, ended) for path, asked, began, ended in browser.run(TIMES)}
    times.pop("/favicon.ico", None)
    return times
