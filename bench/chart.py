"""The chart: CPU time a request, a panel for each load and a bar for each server, as SVG.

Colours hold on white and on black; text follows the viewer's colour scheme where that is known.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from xml.sax.saxutils import escape

from bench import loads
from bench.results import Results

COLOURS = {
    "h2wsgi-fast-uvloop": "#1f6feb",
    "h2wsgi-fast-asyncio": "#4f8ff0",
    "h2wsgi-h2-uvloop": "#7aa9ee",
    "h2wsgi-h2-asyncio": "#9dbfee",
    "granian": "#d9822b",
    "gunicorn": "#3b9a58",
    "hypercorn": "#9a6dd7",
    "nghttpd": "#868e96",
}
COLUMNS = 2
PANEL = 470
"""Width of a panel."""
NAMES = 156
"""Where the bars begin: the names end before it."""
BARS = 230
"""The length of the longest bar."""
LINE = 19
HEAD = 46
TOP = 66
CUT = 2.5
"""A bar longer than this many medians is cut, and marked so; else it would dwarf the others."""

STYLE = """
text{font:12px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#57606a}
.t{font-size:17px;font-weight:600}.h{font-size:13px;font-weight:600}.t,.h,.b{fill:#24292f}
.b{font-weight:600}.e{text-anchor:end}.cut{fill:none;stroke:#fff;stroke-width:2}
.axis{stroke:#8b949e;stroke-width:1}
@media(prefers-color-scheme:dark){text{fill:#9aa4af}.t,.h,.b{fill:#e6edf3}.cut{stroke:#0d1117}}
"""


def scale_of(values: list[float]) -> float:
    """Return the value that the longest bar stands for."""
    return min(max(values), CUT * statistics.median(values))


def micro(value: float) -> str:
    """Return microseconds in the unit that reads best."""
    if value >= 1000:
        return f"{value / 1000:.3g} ms" if value < 1e6 else f"{value / 1e6:.3g} s"
    return f"{value:.3g} µs"


def draw(results: Results) -> str:
    names = [name for name in results.loads if shown(results, name)]
    height = HEAD + LINE * len(results.servers) + 14
    rows = -(-len(names) // COLUMNS)
    width, total = COLUMNS * PANEL, TOP + rows * height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total}" width="{width}"'
        f' height="{total}" role="img" aria-label="CPU time of the server for one request">',
        f"<style>{STYLE}</style>",
        '<text class="t" x="14" y="26">CPU time of the server for one request</text>',
        '<text x="14" y="46">User and system, all its processes; TLS, one worker; shorter is'
        " better. Each panel has its own scale; a bar with a gap is cut.</text>",
    ]
    for number, name in enumerate(names):
        x, y = number % COLUMNS * PANEL, TOP + number // COLUMNS * height
        parts.append(f'<g transform="translate({x} {y})">')
        parts += panel(results, name)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def shown(results: Results, load: str) -> list[float]:
    medians = (results.median(load, server, "cpu_us") for server in results.servers)
    return [value for value in medians if value is not None]


def panel(results: Results, load: str) -> Iterator[str]:
    scale = scale_of(shown(results, load))
    about = escape(loads.by_name(load).about)
    yield f'<text class="h" x="14" y="18">{escape(load)}</text>'
    yield f'<text x="14" y="35">{about}</text>'
    bottom = HEAD + LINE * len(results.servers)
    yield f'<path class="axis" d="M{NAMES} {HEAD - 2}V{bottom}"/>'
    for number, server in enumerate(results.servers):
        y = HEAD + LINE * number
        bold = "b e" if server == "h2wsgi-fast-uvloop" else "e"
        yield f'<text class="{bold}" x="{NAMES - 8}" y="{y + 12}">{escape(server)}</text>'
        value = results.median(load, server, "cpu_us")
        if value is None:
            word = "failed" if results.error(load, server) else "files only"
            yield f'<text x="{NAMES + 6}" y="{y + 12}">{word}</text>'
            continue
        yield from bar(server, y, value, scale)


def bar(server: str, y: int, value: float, scale: float) -> Iterator[str]:
    length = max(1.0, BARS * min(value, scale) / scale)
    colour = COLOURS.get(server, "#868e96")
    yield f'<rect x="{NAMES}" y="{y + 1}" width="{length:.1f}" height="14" fill="{colour}"/>'
    if value > scale:
        yield f'<path class="cut" d="M{NAMES + length - 20:.1f} {y + 18}l6 -20m4 0l-6 20"/>'
    yield f'<text class="b" x="{NAMES + length + 6:.1f}" y="{y + 12}">{micro(value)}</text>'
