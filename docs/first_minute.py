"""Draw docs/first-minute.svg: what a terminal shows when httpbin is served and asked a few things.

    python docs/first_minute.py

Runs the command and curl for real; only the user's cache folder is given another name.
"""

from __future__ import annotations

import html
import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

REQUESTS = ("get", "status/418", "bytes/100000", "status/500", "drip?duration=1&numbytes=5")
LINE_HEIGHT, CHARACTER = 19, 8.1
COMMAND = "\x1b[32m"
STYLES = {
    "\x1b[1m": 'font-weight="bold"',
    "\x1b[2m": 'fill="#8b949e"',
    "\x1b[32m": 'fill="#7ee787"',
    "\x1b[33m": 'fill="#e3b341"',
    "\x1b[36m": 'fill="#76e3ea"',
    "\x1b[1;31m": 'fill="#ff7b72" font-weight="bold"',
    "\x1b[1;33m": 'fill="#e3b341" font-weight="bold"',
}
"""What the terminal's colours are in the picture."""
STYLE = "font: 13.5px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"


def record() -> list[str]:
    """Return the lines that the server showed on a terminal while curl asked for REQUESTS."""
    with tempfile.TemporaryDirectory() as cache:
        terminal, servers = os.openpty()
        server = subprocess.Popen(
            [sys.executable, "-m", "h2wsgi", "httpbin:app"],
            stdin=servers,
            stdout=servers,
            stderr=servers,
            env={**os.environ, "XDG_CACHE_HOME": cache, "TERM": "xterm", "FORCE_COLOR": "1"},
        )
        os.close(servers)
        ca = Path(cache, "h2wsgi", "ca.crt")
        curl = ["curl", "--silent", "--output", os.devnull, "--http2", "--cacert", str(ca)]
        until_it_serves = ["--retry", "20", "--retry-connrefused", "--retry-delay", "1"]
        for number, path in enumerate(REQUESTS):
            more = [] if number else until_it_serves  # it would retry a 500 too
            subprocess.run([*curl, *more, f"https://localhost:8443/{path}"], check=False)
        server.send_signal(signal.SIGINT)
        server.wait(timeout=20)
        text = b""
        with suppress(OSError):  # which is how a terminal ends that nobody has
            while octets := os.read(terminal, 65_536):
                text += octets
        os.close(terminal)
    shown = text.decode().replace(cache, "/home/you/.cache")
    return [f"{COMMAND}$ h2wsgi httpbin:app", *shown.splitlines()]


def spans(line: str) -> str:
    """Return a line with its colours as SVG."""
    style, parts = "", []
    for piece in re.split(r"(\x1b\[[\d;]*m)", line):
        if piece.startswith("\x1b"):
            style = STYLES.get(piece, "")
        elif piece:
            text = html.escape(piece, quote=False)
            parts.append(f"<tspan {style}>{text}</tspan>" if style else text)
    return "".join(parts)


def draw(lines: list[str]) -> str:
    """Return an SVG of a terminal that shows ``lines``."""
    plain = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines]
    width = int(max(map(len, plain)) * CHARACTER) + 40
    height = len(lines) * LINE_HEIGHT + 60
    rows = [
        f'<text x="20" y="{50 + number * LINE_HEIGHT}" fill="#e6edf3" xml:space="preserve">'
        f"{spans(line)}</text>"
        for number, line in enumerate(lines)
    ]
    dots = "".join(
        f'<circle cx="{22 + 18 * i}" cy="18" r="5.5" fill="{colour}"/>'
        for i, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="A terminal serving httpbin">\n'
        f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>{dots}\n'
        f'<g style="{STYLE}">\n' + "\n".join(rows) + "\n</g>\n</svg>\n"
    )


if __name__ == "__main__":
    Path(__file__).with_name("first-minute.svg").write_text(draw(record()), "utf-8")
