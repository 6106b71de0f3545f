"""The inspector's page in headless Chromium: alive, usable by keyboard, safe against clients."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conversations.frames import GOAWAY, frame
from h2wsgi.server.running import ServerThread
from support import clients
from support.browser import Browser

pytestmark = pytest.mark.client

HOSTILE = "/<img/src=x/onerror=hacked=1><script>hacked=1</script>"
HOSTILE_VALUE = "<svg onload=hacked=1>\"'&amp;"
ROWS = "[...document.querySelectorAll('.row')].filter((r) => !r.hidden)"
PATHS = f"{ROWS}.map((r) => r.querySelector('.path').textContent)"
FOCUSED = """(({activeElement: a, body}) =>
    a === body ? '' : a.id || a.textContent || a.tagName)(document)"""
REQUESTS = 4_000
"""Of the load: four seconds at a thousand a second."""


def app(environ: Any, start_response: Any) -> list[bytes]:
    environ["wsgi.input"].read()
    status = "404 Not Found" if environ["PATH_INFO"] == "/missing" else "200 OK"
    start_response(status, [("content-type", "text/plain"), ("x-answer", "yes")])
    return [b"hello"]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def server(serve: Any) -> ServerThread:
    started: ServerThread = serve(app, inspect="127.0.0.1:0")
    return started


@pytest.fixture
def page(chromium: Browser, server: ServerThread) -> Iterator[Browser]:
    """The page of ``server``; it asks for nothing from elsewhere and complains of nothing."""
    chromium.requested.clear()
    chromium.complaints.clear()
    chromium.prefer("light")
    chromium.open(server.inspect_url)
    chromium.wait("document.getElementById('state').dataset.state === 'live'")
    yield chromium
    elsewhere = [u for u in chromium.requested if not u.startswith(server.inspect_url)]
    complaints = list(chromium.complaints)
    chromium.open("about:blank")
    assert elsewhere == []
    assert complaints == []


def shows(page: Browser, *paths: str) -> None:
    """Wait until the list shows these paths and no others."""
    page.wait(f"JSON.stringify({PATHS}) === {_json(_json(list(paths)))}")


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def test_requests_appear_as_they_are_made(page: Browser, server: Any, connect: Any) -> None:
    assert "No request yet" in page.text("#empty")
    peer = connect(server)
    peer.get("/one")
    shows(page, "/one")
    peer.get("/missing", method="POST", body=b"abc")
    shows(page, "/one", "/missing")
    cells = page.run(f"{ROWS}[1].innerText.split('\\n')")
    assert cells[:4] == ["1:3", "POST", "/missing", "404"]
    page.wait("document.getElementById('connections').innerText.includes('of 2 streams')")
    assert "TLSv1.3, ALPN h2" in page.text("#connections")
    assert "1 open of 1" in page.text("#connection-count")


def test_a_request_that_runs_is_shown_before_it_has_ended(
    chromium: Browser, serve: Any, connect: Any
) -> None:
    leave = threading.Event()

    def waiting(environ: Any, start_response: Any) -> list[bytes]:
        assert leave.wait(clients.TIMEOUT)
        return app(environ, start_response)

    server = serve(waiting, inspect="127.0.0.1:0")
    chromium.open(server.inspect_url)
    peer = connect(server)
    stream_id = peer.request(path="/slow")
    shows(chromium, "/slow")
    assert chromium.run(f"{ROWS}[0].innerText.endsWith('…')")
    leave.set()
    assert peer.response(stream_id).status == 200
    chromium.wait(f"{ROWS}[0].innerText.includes('200')")
    chromium.open("about:blank")


def test_the_search_shows_what_fits_and_escape_shows_all(
    page: Browser, server: Any, connect: Any
) -> None:
    peer = connect(server)
    for path in ("/apple", "/pear", "/missing"):
        peer.get(path)
    peer.get("/apple/pie", method="POST", body=b"")
    shows(page, "/apple", "/pear", "/missing", "/apple/pie")
    page.press("/")
    assert page.run(FOCUSED) == "search"
    for text, found in {
        "apple": ["/apple", "/apple/pie"],
        "apple post": ["/apple/pie"],
        "404": ["/missing"],
        "status:2 method:get": ["/apple", "/pear"],
        "stream:3": ["/pear"],
        "conn:1 is:failed": [],
    }.items():
        page.run("document.getElementById('search').select()")
        page.type(text)
        shows(page, *found)
    page.wait("document.getElementById('matches').textContent === '0 of 4'")
    assert "Nothing fits" in page.text("#empty")
    page.press("Escape")
    shows(page, "/apple", "/pear", "/missing", "/apple/pie")
    assert page.run(FOCUSED) == "list"


def test_space_pauses_and_goes_on_with_what_came_meanwhile(
    page: Browser, server: Any, connect: Any
) -> None:
    peer = connect(server)
    peer.get("/before")
    shows(page, "/before")
    page.press(" ")
    assert page.run("document.getElementById('pause').ariaPressed") == "true"
    for number in range(3):
        peer.get(f"/{number}")
    page.wait("document.getElementById('state').textContent === 'paused, 3 new'")
    shows(page, "/before")
    page.press(" ")
    shows(page, "/before", "/0", "/1", "/2")
    assert page.text("#state") == "live"


def test_clear_empties_the_page_alone(page: Browser, server: Any, connect: Any) -> None:
    peer = connect(server)
    peer.get("/old")
    shows(page, "/old")
    page.run("document.getElementById('clear').click()")
    shows(page)
    peer.get("/new")
    shows(page, "/new")
    count = "(await (await fetch('export.json')).json()).streams.length"
    assert page.run(f"(async () => {count})()") == 2


def test_a_stream_is_found_and_opened_by_keyboard_alone(
    page: Browser, server: Any, connect: Any
) -> None:
    peer = connect(server)
    peer.get("/first")
    peer.get("/second", fields=[("x-token", "abc")])
    peer.get("/third")
    shows(page, "/first", "/second", "/third")
    assert page.run(FOCUSED) == "list"
    page.press("Home", "ArrowDown", "ArrowDown", "ArrowUp")
    active = "document.getElementById('list').getAttribute('aria-activedescendant')"
    page.wait(f"document.getElementById({active})?.innerText.includes('/second')")
    page.press("Enter")
    details = page.wait(
        "document.querySelectorAll('#details .frame').length === 3"
        " && document.getElementById('details').innerText"
    )
    assert page.text("#title") == "GET /second"
    assert page.run(FOCUSED) == "title"
    for said in ("← HEADERS", "x-token\tabc\tincremental indexing", "→ DATA", "x-answer\tyes"):
        assert said in details
    assert "Application called" in details
    assert "What the server may send" in details
    assert page.run("document.querySelector('#details canvas').ariaLabel").startswith("What the")
    page.press("Escape")
    assert page.run(FOCUSED) == "list"
    assert page.run("document.getElementById('drawer').hidden")


def test_the_end_of_the_list_follows_and_elsewhere_stays(
    page: Browser, server: Any, connect: Any
) -> None:
    peer = connect(server)
    for number in range(100):
        peer.get(f"/{number}")
    page.wait(f"{PATHS}.at(-1) === '/99'")
    page.press("Home")
    page.wait(f"{PATHS}[0] === '/0'")
    peer.get("/100")
    page.wait("document.getElementById('count').dataset.streams === '101'")
    assert page.run(f"{PATHS}[0]") == "/0"
    page.press("End")
    page.wait(f"{PATHS}.at(-1) === '/100'")
    assert page.run(f"{ROWS}.length") < 60


def test_every_control_is_reached_by_tab_and_shows_that_it_is(
    page: Browser, server: Any, connect: Any
) -> None:
    connect(server).get("/")
    page.wait("document.querySelector('#connections button') !== null")
    reached = []
    for _ in range(14):
        page.press("Tab")
        name = page.run(FOCUSED)
        reached.append(name)
        if name:
            assert page.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    for wanted in (
        "search",
        "pause",
        "clear",
        "Export JSON",
        "Export HAR",
        "help",
        "scale",
        "list",
    ):
        assert wanted in reached
    assert any(name.startswith("#1 127.0.0.1") for name in reached)


def test_help_is_a_dialog_that_escape_closes(page: Browser) -> None:
    page.press("?")
    assert page.run("document.getElementById('help-box').open")
    assert "pause, go on" in page.text("#help-box")
    page.press("Escape")
    page.wait("!document.getElementById('help-box').open")


def test_a_connection_shows_its_settings_windows_and_frames(
    page: Browser, server: Any, connect: Any
) -> None:
    connect(server, settings={4: 12_345}).get("/")
    page.wait("document.querySelector('#connections button') !== null")
    page.run("document.querySelector('#connections button').focus()")
    page.press("Enter")
    details = page.wait(
        "document.querySelectorAll('#details .frame').length > 1"
        " && document.getElementById('details').innerText"
    )
    for said in ("TLSv1.3", "INITIAL_WINDOW_SIZE\t12,345", "MAX_CONCURRENT_STREAMS\t100"):
        assert said in details
    assert page.text("#title").startswith("Connection #1 127.0.0.1:")


def test_what_clients_send_is_text_and_never_markup(
    page: Browser, server: Any, connect: Any
) -> None:
    peer = connect(server)
    hostile = [("x-hostile", HOSTILE_VALUE)]
    peer.get(HOSTILE, fields=hostile)
    shows(page, HOSTILE)
    page.press("Home", "Enter")
    details = page.wait(
        "document.querySelectorAll('#details .frame').length === 3"
        " && document.getElementById('details').innerText"
    )
    assert HOSTILE_VALUE in details
    assert page.text("#title") == f"GET {HOSTILE}"
    debug = f"{HOSTILE_VALUE}\u202e\n".encode()
    peer.send_raw(frame(GOAWAY, 0, 0, bytes(4) + (11).to_bytes(4, "big") + debug))
    page.wait("document.getElementById('trouble-list').innerText.includes('ENHANCE_YOUR_CALM')")
    assert HOSTILE_VALUE in page.text("#trouble-list")
    assert "\\u{a}" in page.text("#trouble-list")
    assert page.run("typeof hacked") == "undefined"
    assert page.run("document.querySelectorAll('img, svg, iframe').length") == 0
    assert page.run("document.scripts.length") == 1


def test_resets_are_errors_that_lead_to_their_stream(
    chromium: Browser, serve: Any, connect: Any
) -> None:
    def endless(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return iter(lambda: bytes(1000), b"")

    server = serve(endless, inspect="127.0.0.1:0")
    chromium.open(server.inspect_url)
    peer = connect(server)
    stream_id = peer.request(path="/endless")
    peer.wait_data(stream_id, 1000)
    peer.rst_stream(stream_id)
    chromium.wait("document.querySelector('#trouble-list button') !== null")
    assert "CANCEL, from the client" in chromium.text("#trouble-list")
    chromium.run("document.querySelector('#trouble-list button').focus()")
    chromium.press("Enter")
    chromium.wait("document.getElementById('title').textContent === 'GET /endless'")
    chromium.wait("document.getElementById('details').innerText.includes('by the client')")
    assert "CANCEL" in chromium.run(f"{ROWS}[0].innerText")
    chromium.open("about:blank")


def luminance(colour: str) -> float:
    """Return the relative luminance of ``#rrggbb`` (WCAG 2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize(("scheme", "background"), [("light", 255), ("dark", 20)])
def test_light_and_dark_are_readable(page: Browser, scheme: str, background: int) -> None:
    page.prefer(scheme)
    shown = page.run("getComputedStyle(document.body).backgroundColor")
    assert int(re.findall(r"\d+", shown)[0]) == background
    names = [
        "bg",
        "panel",
        "chosen",
        "text",
        "muted",
        "accent",
        "bad",
        "good",
        "queued",
        "running",
        "blocked",
        "sending",
    ]
    colours = {
        name: page.run(
            f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()"
        )
        for name in names
    }
    for text in ("text", "muted", "accent", "bad", "good"):
        assert contrast(colours[text], colours["bg"]) >= 4.5, text
        assert contrast(colours[text], colours["panel"]) >= 4.5, text
    for text in ("text", "muted", "bad"):
        assert contrast(colours[text], colours["chosen"]) >= 4.5, text
    for phase in ("queued", "running", "blocked", "sending"):
        assert contrast(colours[phase], colours["bg"]) >= 3, phase


def test_the_legend_tells_phases_apart_without_colour(page: Browser) -> None:
    drawn = page.run(
        """[...document.querySelectorAll('canvas[data-phase]')].map((canvas) => {
             const octets = canvas.getContext('2d').getImageData(6, 3, 6, 6).data;
             const pixels = new Uint32Array(octets.buffer);
             return [...pixels].map((pixel) => Number(pixel === pixels[0])).join('');
           })"""
    )
    assert len(set(drawn)) == len(drawn) == 5


def test_the_end_of_the_server_is_said(page: Browser, server: Any) -> None:
    server.stop()
    page.wait("document.getElementById('state').dataset.state === 'stopped'")
    assert "stopped" in page.text("#state")


def test_a_thousand_requests_a_second_are_all_shown_in_time(
    page: Browser, server: Any, tmp_path: Path
) -> None:
    argv = [clients.find("h2load", package="nghttp2-client"), "-n", str(REQUESTS), "-c", "5"]
    output = clients.run([*argv, "-m", "20", "--rps", "200", server.join("/load")])
    assert f"{REQUESTS} succeeded" in output
    page.wait(f"document.getElementById('count').dataset.streams === '{REQUESTS}'", 20)
    assert page.run("document.getElementById('missed').dataset.missed") == "0"
    assert "the last 2,000 streams are kept" in page.text("#kept")
    page.press("End")
    page.wait(f"{PATHS}.at(-1) === '/load'")
    assert page.run("document.getElementById('sizer').clientHeight") == 2_000 * 22
