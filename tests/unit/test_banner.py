"""Endpoints: what people are shown of them, and the address that curl is sent to."""

from __future__ import annotations

import pytest

from h2wsgi.banner import Endpoint


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://localhost:1/", "127.0.0.1"),
        ("https://0.0.0.0:1/", "127.0.0.1"),
        ("https://[::]:1/", "::1"),
        ("https://127.0.0.9:1/", "127.0.0.9"),
        ("https://no-such-host.invalid:1/", ""),
        ("unix:/run/x", ""),
    ],
)
def test_an_endpoint_knows_an_ip_address_that_leads_to_it(url, address):
    assert Endpoint(url, True).reachable().address == address


@pytest.mark.parametrize(
    ("url", "shown", "protocol"),
    [
        ("https://0.0.0.0:1/", "https://127.0.0.1:1/", "HTTP/2 only (ALPN h2), all IPv4"),
        ("https://[::]:1/", "https://[::1]:1/", "HTTP/2 only (ALPN h2), all IPv6"),
        ("https://[::1]:1/", "https://[::1]:1/", "HTTP/2 only (ALPN h2)"),
        ("unix:/run/x", "unix:/run/x", "HTTP/2 only (ALPN h2)"),
    ],
)
def test_what_is_shown_of_an_endpoint_can_be_opened(url, shown, protocol):
    assert (Endpoint(url, True).shown, Endpoint(url, True).protocol) == (shown, protocol)
