"""h2bin: what httpbin is for HTTP, for HTTP/2 itself: ``h2wsgi h2wsgi.h2bin:app``.

Application threads. See h2wsgi.tools.h2bin.
"""

from __future__ import annotations

from .tools.h2bin.application import H2Bin

app = H2Bin()
