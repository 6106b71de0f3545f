"""Draw docs/page-load.svg: a page over a slow line, without and with priorities (RFC 9218).

    python docs/page_load.py

Needs Chromium, certutil and the development tools. "Without" is the same server, deaf to what
Chromium says of priorities.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import h2wsgi
from h2wsgi.http2 import outflow

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from support.browser import Browser  # noqa: E402
from support.clients import trust_in_browser  # noqa: E402
from support.page_load import application, load  # noqa: E402
from support.slow_line import SlowLine  # noqa: E402

RATE = 400_000.0
Times = dict[str, tuple[float, float, float]]
WIDTH, ROW, LEFT, TOP = 880, 5, 110, 44
COLOURS = {"/style.css": "#0550ae", "/app.js": "#953800", "/special.woff2": "#8250df"}
IMAGE_COLOUR = "#8c959f"
STYLE = "font: 13px system-ui, 'DejaVu Sans', sans-serif"


def measure() -> Times:
    """Return when each part of the page came."""
    with tempfile.TemporaryDirectory() as name, h2wsgi.serve_in_thread(application) as server:
        assert server.ca_file is not None
        trust_in_browser(Path(name), server.ca_file)
        port = int(server.url.rstrip("/").rpartition(":")[2])
        with SlowLine(port, RATE) as line, Browser(Path(name)) as browser:
            return load(browser, f"https://localhost:{line.port}/")


def panel(title: str, times: Times, top: int, scale: float) -> list[str]:
    """Return the rows of one load: pale while it waits, dark while it comes."""
    first = min(asked for asked, _, _ in times.values())
    parts = [f'<text x="0" y="{top - 10}" font-weight="600">{title}</text>']
    for row, (path, (asked, began, ended)) in enumerate(
        sorted(times.items(), key=lambda item: (item[0] not in COLOURS, item[1][0]))
    ):
        colour = COLOURS.get(path, IMAGE_COLOUR)
        y = top + row * 13 if path in COLOURS else top + len(COLOURS) * 13 + 6 + (row - 3) * ROW
        if path in COLOURS:
            parts.append(f'<text x="0" y="{y + 7}" fill="{colour}">{path[1:]}</text>')
        elif row == len(COLOURS):
            parts.append(f'<text x="0" y="{y + 12}" fill="#57606a">{len(times) - 3} images</text>')
        height = 8 if path in COLOURS else ROW - 1
        for since, until, opacity in ((asked, began, 0.25), (began, ended, 1.0)):
            x, width = LEFT + (since - first) * scale, max(1.0, (until - since) * scale)
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" '
                f'fill="{colour}" opacity="{opacity}"/>'
            )
    return parts


def draw(without: Times, with_them: Times) -> str:
    """Return the picture."""
    longest = max(
        max(e for _, _, e in t.values()) - min(a for a, _, _ in t.values())
        for t in (without, with_them)
    )
    scale = (WIDTH - LEFT - 10) / longest
    height = len(COLOURS) * 13 + len(without) * ROW + 50
    parts = panel("without priorities", without, TOP, scale)
    parts += panel("with priorities", with_them, TOP + height, scale)
    bottom = TOP + 2 * height
    for second in range(int(longest / 1000) + 1):
        x = LEFT + second * 1000 * scale
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{bottom}" stroke="#d0d7de"/>'
        )
        parts.append(f'<text x="{x + 3:.1f}" y="{bottom}" fill="#57606a">{second} s</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom + 10}" '
        f'viewBox="0 0 {WIDTH} {bottom + 10}"><rect width="100%" height="100%" fill="#fff"/>'
        f'<g style="{STYLE}">\n' + "\n".join(parts) + "\n</g>\n</svg>\n"
    )


def main() -> None:
    """Load the page twice, and draw both."""
    with_them = measure()
    heard = outflow.read_signal
    outflow.read_signal = lambda value: None
    try:
        without = measure()
    finally:
        outflow.read_signal = heard
    for title, times in (("without", without), ("with", with_them)):
        first = min(asked for asked, _, _ in times.values())
        ends = {path: round(times[path][2] - first) for path in COLOURS}
        last = round(max(ended for _, _, ended in times.values()) - first)
        sys.stdout.write(f"{title} priorities: {ends}, all {last} ms\n")
    DOCS.joinpath("page-load.svg").write_text(draw(without, with_them), "utf-8")


if __name__ == "__main__":
    main()
