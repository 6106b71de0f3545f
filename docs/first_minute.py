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
from pathlib import Path

REQUESTS = ("get", "status/418", "bytes/100000", "drip?duration=1&numbytes=5")
LINE_HEIGHT, CHARACTER = 19, 8.1
STYLE = "font: 13.5px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"


def record() -> list[str]:
    """Return the lines that the server printed while curl asked for REQUESTS."""
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryFile("w+") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "h2wsgi", "httpbin:app"],
            stderr=output,
            env={**os.environ, "XDG_CACHE_HOME": cache, "PYTHONUNBUFFERED": "1"},
        )
        ca = Path(cache, "h2wsgi", "ca.crt")
        curl = ["curl", "--silent", "--output", os.devnull, "--http2", "--cacert", str(ca)]
        curl += ["--retry", "20", "--retry-connrefused", "--retry-delay", "1"]
        for path in REQUESTS:
            subprocess.run([*curl, f"https://localhost:8443/{path}"], check=False)
        server.send_signal(signal.SIGINT)
        server.wait(timeout=20)
        output.seek(0)
        text = output.read().replace(cache, "/home/you/.cache")
    return ["$ h2wsgi httpbin:app", *text.splitlines()]


def draw(lines: list[str]) -> str:
    """Return an SVG of a terminal that shows ``lines``."""
    width = int(max(map(len, lines)) * CHARACTER) + 40
    height = len(lines) * LINE_HEIGHT + 60
    rows = []
    for number, line in enumerate(lines):
        colour = "#7ee787" if line.startswith("$") else "#e6edf3"
        if re.search(r"DEVELOPMENT|for localhost and", line):
            colour = "#e3b341"
        y = 50 + number * LINE_HEIGHT
        shown = html.escape(line, quote=False)
        rows.append(f'<text x="20" y="{y}" fill="{colour}" xml:space="preserve">{shown}</text>')
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
