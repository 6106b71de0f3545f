"""The index page: every endpoint with its words. One file, nothing from elsewhere."""

from __future__ import annotations

import functools
from html import escape

from . import illegal, plain, raw, streams, wire
from .endpoints import ENDPOINTS, Endpoint
from .illegal import VIOLATIONS

GROUPS = (
    plain.GROUP,
    wire.GROUP,
    streams.ENDS,
    streams.FLOW,
    streams.FIELDS,
    raw.GROUP,
    illegal.GROUP,
)
"""In the order of the page."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>h2bin</title>
<style>
:root {{ color-scheme: light dark; --ink: #1c2024; --soft: #5b6570; --line: #d9dee3;
  --paper: #fff; --code: #f2f4f6; --link: #0b5cad; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e4e7ea; --soft: #9aa5b0; --line: #343b42;
  --paper: #15181b; --code: #22272c; --link: #78b4f0; }} }}
body {{ margin: 0 auto; max-width: 60rem; padding: 2rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }}
h1 {{ margin: 0; font-size: 2rem; }}
h2 {{ margin: 2.25rem 0 .5rem; font-size: 1.15rem; }}
p {{ margin: .5rem 0; color: var(--soft); max-width: 46rem; }}
dl {{ display: grid; grid-template-columns: minmax(12rem, 17rem) 1fr; margin: 0;
  border-bottom: 1px solid var(--line); }}
dt, dd {{ margin: 0; padding: .45rem 0; border-top: 1px solid var(--line); }}
dt {{ padding-right: 1rem; overflow-wrap: anywhere; }}
code {{ font: .9em/1.4 ui-monospace, monospace; }}
p code, dd code {{ background: var(--code); padding: .05rem .3rem; border-radius: .25rem; }}
a {{ color: var(--link); text-decoration: none; }}
a:hover {{ text-decoration: underline; }}
.note {{ color: var(--soft); font-size: .9em; }}
@media (max-width: 40rem) {{ dl {{ display: block; }} dd {{ border: 0; padding-top: 0; }} }}
</style>
</head>
<body>
<h1>h2bin</h1>
<p>Endpoints that show a client HTTP/2, well-behaved and not. They answer in JSON where they can
answer at all. A link opens an example; with curl:</p>
<p><code>curl --http2 -v https://localhost:8443/trailers</code></p>
{groups}
<h2>What /illegal/&hellip; breaks</h2>
<p>By section of RFC 9113. A browser shows most of them as a failed page, and some close the
connection.</p>
<dl>
{violations}
</dl>
</body>
</html>
"""


@functools.cache
def page() -> bytes:
    """Return the page."""
    groups = "\n".join(f"<h2>{escape(name)}</h2>\n<dl>\n{_rows(name)}\n</dl>" for name in GROUPS)
    violations = "\n".join(
        f'<dt><a href="illegal/{name}"><code>{name}</code></a></dt>'
        f'<dd>{escape(violation.words)} <span class="note">section {violation.section}</span></dd>'
        for name, violation in VIOLATIONS.items()
    )
    return _PAGE.format(groups=groups, violations=violations).encode()


def _rows(group: str) -> str:
    items = [item for item in ENDPOINTS if item.group == group]
    return "\n".join(f"<dt>{_name(item)}</dt><dd>{_words(item)}</dd>" for item in items)


def _name(item: Endpoint) -> str:
    name = f"<code>{escape(item.path)}</code>"
    # Without the first slash, so that links work below a prefix too.
    return f'<a href="{escape(item.example[1:])}">{name}</a>' if item.example else name


def _words(item: Endpoint) -> str:
    words = escape(item.words)
    if item.query:
        query = " ".join(f"<code>{escape(part)}</code>" for part in item.query.split(" "))
        words += f' <span class="note">Query: {query}</span>'
    return words
