"""A page of Dash in Chromium: its scripts load, and its callbacks answer what is typed."""

from __future__ import annotations

import pytest

from support.browser import Browser
from support.clients import trust_in_browser

pytestmark = pytest.mark.client


def test_the_page_answers_what_is_typed_and_clicked(serve, tmp_path):
    site = serve("dash_page")
    trust_in_browser(tmp_path, site.ca_file)
    with Browser(tmp_path) as page:
        page.open(f"{site.url}/")
        page.wait("document.querySelector('#greeting')?.innerText === 'hello nobody'")
        page.run("document.querySelector('#name').focus()")
        page.type("Zoë")
        page.wait("document.querySelector('#greeting').innerText === 'hello Zoë'")
        for _ in range(3):
            page.run("document.querySelector('#count').click()")
        page.wait("document.querySelector('#counted').innerText === '3 by Zoë'")
        page.wait("document.querySelectorAll('#table td').length >= 10")
        page.wait("document.querySelector('#graph svg .scatterlayer') !== null")
        assert page.run("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
        assert page.complaints == []
    assert {line["status"] for line in site.accesses()} == {200}
