"""The inspector's page in headless Chromium: alive, usable by keyboard, safe against clients."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conversations.frames import GOAWAY, WINDOW_UPDATE, frame
from h2wsgi.server.running import ServerThread
from h2wsgi.tools.inspector import ledger
from h2wsgi.tools.inspector.handler import Handler
from h2wsgi.tools.tap import tap
from support import clients, contrast
from support.browser import Browser
from support.settled import PATIENCE

pytestmark = pytest.mark.client

HOSTILE = "/<img/src=x/onerror=hacked=1><script>hacked=1</script>"
HOSTILE_VALUE = "<svg onload=hacked=1>\"'&amp;"
ROWS = "[...document.querySelectorAll('.row')].filter((r) => !r.hidden)"
PATHS = f"{ROWS}.map((r) => r.querySelector('.path').textContent)"
FOCUSED = """(({activeElement: a, body}) =>
    a === body ? '' : a.id || a.textContent || a.tagName)(document)"""
REQUESTS = 4_000
"""Of the load: four seconds at a thousand a second."""


STATUSES = {"/missing": "404 Not Found", "/broken": "500 Internal Server Error"}


def app(environ: Any, start_response: Any) -> Any:
    environ["wsgi.input"].read()
    path = environ["PATH_INFO"]
    status = STATUSES.get(path, "200 OK")
    start_response(status, [("content-type", "text/plain"), ("x-answer", "yes")])
    return iter(lambda: bytes(1000), b"") if path == "/endless" else [b"hello"]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def server(serve: Any, monkeypatch: pytest.MonkeyPatch) -> ServerThread:
    # A busy machine may not let the page hear of the end in time.
    monkeypatch.setattr(Handler, "LAST_WORDS", PATIENCE)
    started: ServerThread = serve(app, inspect="127.0.0.1:0")
    return started


@pytest.fixture
def page(chromium: Browser, server: ServerThread) -> Iterator[Browser]:
    """The page of ``server``; it asks for nothing from elsewhere and complains of nothing."""
    chromium.requested.clear()
    chromium.complaints.clear()
    chromium.prefer("light")
    chromium.size(1280, 800)
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


def details(page: Browser, title: str) -> str:
    """Wait until the details of a stream or connection are shown, and return their text."""
    page.wait(f"document.getElementById('title').textContent.startsWith({_json(title)})")
    return str(page.wait("document.querySelector('#details .frame') && details.innerText"))


def cause_trouble(server: Any, connect: Any) -> None:
    """Have the inspector show everything that it shows in red: six errors of all kinds."""
    with connect(server) as peer:
        peer.get("/missing")
        peer.get("/broken")
        for reset in (True, False):
            stream_id = peer.request(path="/endless")
            peer.wait_data(stream_id, 1000)
            if reset:
                peer.rst_stream(stream_id)
        peer.goaway(code=11, debug=b"no more")
        peer.send_raw(frame(WINDOW_UPDATE, 0, 0, bytes(4)))
        peer.wait_goaway()


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def test_requests_appear_as_they_are_made(page: Browser, server: Any, connect: Any) -> None:
    assert "No request yet" in page.text("#empty")
    peer = connect(server)
    peer.get("/one")
    shows(page, "/one")
    peer.get("/missing", method="POST", body=b"abc")
    shows(page, "/one", "/missing")
    page.wait(f"{ROWS}[1].innerText.startsWith('1:3\\nPOST\\n/missing\\n404\\n')")
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
    assert page.text("#pause") == "Resume"
    for number in range(3):
        peer.get(f"/{number}")
    page.wait("document.getElementById('new').textContent === '3 new'")
    assert page.text("#state") == "paused"
    shows(page, "/before")
    page.press(" ")
    shows(page, "/before", "/0", "/1", "/2")
    assert (page.text("#state"), page.text("#pause")) == ("live", "Pause")


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
    text = details(page, "GET /second")
    for said in ("← HEADERS", "x-token\tabc\tincremental indexing", "→ DATA", "x-answer\tyes"):
        assert said in text
    for said in ("Request complete", "Application called", "Response complete"):
        assert said in text
    assert text.index("Frames") < text.index("What the server may send")
    assert page.run("document.querySelector('#details canvas').ariaLabel").startswith("What the")
    assert page.run(FOCUSED) == "list"
    page.press("ArrowDown")
    assert "x-token" not in details(page, "GET /third")
    page.press("ArrowUp", "ArrowUp")
    details(page, "GET /first")
    assert page.run(FOCUSED) == "list"
    page.press("Tab")
    assert page.run(FOCUSED) == "to-windows"
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


OUTLINE = """(({activeElement: a}) => {
    const style = getComputedStyle(a), box = a.getBoundingClientRect();
    const seen = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    const {outlineStyle, outlineWidth, outlineColor} = style;
    return [outlineStyle, parseFloat(outlineWidth), outlineColor, a.contains(seen)];
  })(document)"""
PLACE = "(({activeElement: a}) => a.closest('[id]')?.id ?? a.textContent)(document)"
IN_ORDER = [
    "search", "pause", "clear", "Export JSON", "Export HAR", "help", "scale", "connections",
    "connections", "closed-count", "list", "to-windows", "close", "trouble-list",
]  # fmt: skip
"""Where Tab goes: the identifiers of what it reaches, or of what that is in."""


@pytest.mark.parametrize("width", [600, 1600])
def test_tab_reaches_every_control_in_order_and_shows_where_it_is(
    page: Browser, server: Any, connect: Any, width: int
) -> None:
    with connect(server) as other:
        other.get("/")
    peer = connect(server)
    peer.get("/broken")
    page.size(width, 800)
    page.wait("document.querySelector('#trouble-list button') && !fold.hidden")
    page.press("End")
    if width == 600:  # connections and errors make room for the details there
        order = [name for name in IN_ORDER if name not in ("to-windows", "close")]
    else:
        page.press("Enter")
        details(page, "GET /broken")
        order = IN_ORDER
    reached: list[str] = []
    page.run("document.body.tabIndex = -1, document.body.focus()")  # to the start of the page
    while page.press("Tab") or page.run(FOCUSED):
        name = page.run(PLACE)
        if name == order[0] and reached:
            break  # behind the last one Chromium leaves the page, or begins again
        style, wide, colour, seen = page.run(OUTLINE)
        assert (style, wide, seen) == ("solid", 2, True), name
        for behind in ("--bg", "--panel"):
            assert contrast.contrast(colour, colour_of(page, behind)) >= contrast.PART, name
        reached.append(name)
    assert reached == order


def test_help_is_a_dialog_that_escape_closes(page: Browser) -> None:
    page.press("?")
    assert page.run("document.getElementById('help-box').open")
    assert "pause, resume" in page.text("#help-box")
    assert page.run(FOCUSED) == "keys"
    page.press(" ", "Escape")  # no single key does anything now (WCAG 2.1.4)
    page.wait("!document.getElementById('help-box').open")
    page.press("/", " ", "?")
    assert page.run(FOCUSED) == "list"
    assert page.text("#state") == "live"
    assert not page.run("document.getElementById('help-box').open")


def test_a_connection_shows_its_settings_windows_and_frames(
    page: Browser, server: Any, connect: Any
) -> None:
    connect(server, settings={4: 12_345}).get("/")
    page.wait("document.querySelector('#connections button') !== null")
    page.run("document.querySelector('#connections li').lastChild.focus()")
    page.press("Enter")
    text = details(page, "Connection #1 127.0.0.1:")
    for said in ("TLSv1.3", "INITIAL_WINDOW_SIZE\t12,345", "MAX_CONCURRENT_STREAMS\t100"):
        assert said in text
    assert text.index("Frames") < text.index("What the server may send")
    assert page.run(FOCUSED) == "title"
    page.press("Escape")
    assert page.run(FOCUSED) == "Details"


def test_a_click_on_a_connection_shows_its_streams_and_closed_ones_fold_away(
    page: Browser, server: Any, connect: Any
) -> None:
    with connect(server) as other:
        other.get("/closed")
    connect(server).get("/open")
    page.wait("connections.children.length === 1 && !fold.hidden")
    assert page.text("#closed-count") == "1 closed"
    assert page.run("document.querySelectorAll('#closed li').length") == 0
    page.run("document.getElementById('closed-count').click()")
    page.wait("document.querySelectorAll('#closed li').length === 1")
    page.run("document.querySelector('#closed button').click()")
    shows(page, "/closed")
    assert page.run("document.getElementById('search').value") == "conn:1"
    # It stays in sight, with what undoes it, when the others are folded away again.
    page.run("document.getElementById('closed-count').click()")
    pressed = "[...connections.querySelectorAll('[aria-pressed=true]')].map((b) => b.innerText)"
    page.wait(f"{pressed}[0]?.startsWith('#1 ')")
    page.run("connections.querySelector('[aria-pressed=false]').click()")
    shows(page, "/open")
    page.run("connections.querySelector('[aria-pressed=true]').click()")
    shows(page, "/closed", "/open")


def test_what_clients_send_is_text_and_never_markup(
    page: Browser, server: Any, connect: Any
) -> None:
    peer = connect(server)
    hostile = [("x-hostile", HOSTILE_VALUE)]
    peer.get(HOSTILE, fields=hostile)
    shows(page, HOSTILE)
    page.press("Home", "Enter")
    assert HOSTILE_VALUE in details(page, "GET ")
    assert page.text("#title") == f"GET {HOSTILE}"
    debug = f"{HOSTILE_VALUE}\u202e\n".encode()
    peer.send_raw(frame(GOAWAY, 0, 0, bytes(4) + (11).to_bytes(4, "big") + debug))
    page.wait("document.getElementById('trouble-list').innerText.includes('ENHANCE_YOUR_CALM')")
    assert HOSTILE_VALUE in page.text("#trouble-list")
    assert "\\u{a}" in page.text("#trouble-list")
    assert page.run("typeof hacked") == "undefined"
    assert page.run("document.querySelectorAll('img, svg, iframe').length") == 0
    assert page.run("document.scripts.length") == 1


def test_errors_are_of_every_kind_and_lead_to_their_stream(
    page: Browser, server: Any, connect: Any
) -> None:
    cause_trouble(server, connect)
    page.wait("document.getElementById('trouble-count').textContent === '6'")
    errors = page.text("#trouble-list")
    for said in (
        "500 to GET /broken", "CANCEL, from the client", "1 response cut off", "no more",
        "an increment of 0", "GOAWAY from the server: PROTOCOL_ERROR",
    ):  # fmt: skip
        assert said in errors
    page.run("document.querySelector('#trouble-list li:last-child button').focus()")
    connect(server).get("/broken")
    page.wait("document.getElementById('trouble-count').textContent === '7'")
    assert "500 to GET /broken" in page.run(FOCUSED)
    page.press("/")
    page.type("nothing like it")
    shows(page)
    page.run("document.querySelector('#trouble-list li:nth-last-child(2) button').focus()")
    page.press("Enter")
    assert "by the client" in details(page, "GET /endless")
    page.wait("document.querySelector('[aria-selected=true]')?.innerText.includes('CANCEL')")
    assert page.run(FOCUSED) == "list"


def colour_of(page: Browser, name: str) -> str:
    style = "getComputedStyle(document.documentElement)"
    return str(page.run(f"{style}.getPropertyValue('{name}').trim()"))


def pairs_of_the_palette(page: Browser) -> list[contrast.Pair]:
    """Return what is not seen as text: what is drawn, marks, and texts below the pointer."""
    parts = ("queued", "running", "blocked", "sending", "bad", "accent", "muted")
    wanted = [(contrast.PART, part, back) for part in parts for back in ("bg", "chosen")]
    wanted += [(contrast.TEXT, text, "chosen") for text in ("text", "muted", "bad")]
    wanted += [(contrast.TEXT, "muted", "bg")]  # on the axis and the charts
    return [
        contrast.Pair(least, colour_of(page, f"--{front}"), colour_of(page, f"--{back}"), front)
        for least, front, back in wanted
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_shown_has_the_contrast_of_level_aa(
    page: Browser, server: Any, connect: Any, scheme: str
) -> None:
    page.prefer(scheme)
    page.size(1600, 800)
    assert contrast.too_little(pairs_of_the_palette(page)) == []
    cause_trouble(server, connect)
    page.wait("document.getElementById('trouble-count').textContent === '6'")
    seen = set(contrast.shown(page))
    page.run("document.getElementById('closed-count').click()")
    page.wait("document.querySelector('#closed button') !== null")
    page.press("Home", "Enter", " ")
    details(page, "GET /missing")
    seen.update(contrast.shown(page))
    page.run("document.querySelector('#closed li').lastChild.click()")
    assert "an increment of 0" in details(page, "Connection #1")
    page.wait("connections.children.length === 1")
    page.run("connections.querySelector('button').click()")
    seen.update(contrast.shown(page))
    page.press("?")
    seen.update(contrast.shown(page))
    server.stop()
    page.wait("document.getElementById('state').dataset.state === 'stopped'")
    seen.update(contrast.shown(page))
    assert len({(pair.front, pair.back) for pair in seen}) >= 10
    assert contrast.too_little(list(seen)) == []


LAYOUT = """(() => {
  const row = document.querySelector('.row');
  const columns = [...row.children, bars].filter((column) => column.checkVisibility());
  const boxes = columns.map((column) => column.getBoundingClientRect());
  return {
    path: row.querySelector('.path').clientWidth,
    overlaps: boxes.some((box, i) => i > 0 && box.left < boxes[i - 1].right - 1),
    beyond: boxes.at(-1).right > innerWidth || document.documentElement.scrollWidth > innerWidth,
  };
})()"""


def test_the_path_is_there_at_every_width(page: Browser, server: Any, connect: Any) -> None:
    connect(server).get("/a/path/of/some/length")
    shows(page, "/a/path/of/some/length")
    for width in (320, 600, 840, 1024, 1280, 1600):
        page.size(width, 800)
        for opened in (False, True):
            if opened:
                page.press("Home", "Enter")
                details(page, "GET /a/path")
            layout = page.run(LAYOUT)
            assert layout.pop("path") >= (100 if width < 600 else 150), (width, opened)
            assert layout == {"overlaps": False, "beyond": False}, (width, opened)
        page.press("Escape")


# Of each row, how many pixels of its bar are drawn.
BARS = f"""(() => {ROWS}.map((row, i) => {{
  const octets = bars.getContext('2d').getImageData(0, i * 24 + 12, bars.width, 1).data;
  return octets.filter((octet, at) => at % 4 === 3 && octet === 255).length;
}}))()"""


def test_bars_can_be_read_after_a_pause(
    chromium: Browser, serve: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock of the test's, as a busy machine would make some bars as long as it likes."""
    clock = SimpleNamespace(now=time.monotonic(), time=time.time)
    clock.monotonic = lambda: clock.now
    for module in (tap, ledger):
        monkeypatch.setattr(module, "clock", clock)

    def takes_a_while(environ: Any, start_response: Any) -> Any:
        clock.now += 0.03 if environ["PATH_INFO"] == "/late" else 0.001
        return app(environ, start_response)

    page, server = chromium, serve(takes_a_while, inspect="127.0.0.1:0")
    peer = connect(server)
    peer.get("/late")
    clock.now += 0.7
    peer.get("/late")
    peer.get("/quick")
    page.size(1280, 800)
    page.open(server.inspect_url)
    shows(page, "/late", "/late", "/quick")
    wide = page.run("document.getElementById('bars').clientWidth")
    page.wait(f"{BARS}[0] > {wide} / 6 && {BARS}[1] > {wide} / 6")

    def choose(axis: str) -> None:
        page.run(f"scale.value = '{axis}'; scale.dispatchEvent(new Event('change'))")

    choose("start")
    page.wait(f"{BARS}[0] > {wide} / 2 && {BARS}[1] > {wide} / 2 && {BARS}[2] < {wide} / 2")
    choose("own")
    page.wait(f"{BARS}.every((bar) => bar > {wide} * 0.9)")
    choose("chosen")
    page.press("End", "ArrowUp")
    page.wait(f"{BARS}[0] < {wide} / 10 && {BARS}[1] > {wide} * 0.9")
    page.open("about:blank")


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
    page.wait(f"document.getElementById('count').dataset.streams === '{REQUESTS}'")
    assert page.run("document.getElementById('missed').dataset.missed") == "0"
    assert "the last 2,000 streams are kept" in page.text("#kept")
    page.press("End")
    page.wait(f"{PATHS}.at(-1) === '/load'")
    assert page.run("document.getElementById('sizer').clientHeight") == 2_000 * 24
