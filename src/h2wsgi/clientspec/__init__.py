"""A conformance suite for HTTP/2 clients. Threads of its own; no event loop, nothing of the server.

For a suite in pytest::

    @pytest.mark.parametrize("case", h2wsgi.clientspec.cases("6.8"))
    def test_conformance(case):
        case.run(lambda url, ca_file: my_client.get(url, verify=ca_file).content)
"""

from __future__ import annotations

from .trial import Trial, cases

__all__ = ["Trial", "cases"]
