"""What clients say never makes a line of the log, and never a long one: the command, seen whole.

Text of clients gets there by exceptions, ``wsgi.errors``, paths, methods, fields that are malformed
and debug data. Some of it an application has decoded first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.peer import Code, Peer
from support.process import START_PATIENCE, ServerProcess
from support.settled import eventually

APP = """
import sys
import traceback
from urllib.parse import unquote

def app(environ, start_response):
    text = unquote(environ["QUERY_STRING"])
    if environ["PATH_INFO"] == "/raise":
        error = ValueError(text)
        error.add_note(text)
        raise error from KeyError(text)
    print("said", text, file=environ["wsgi.errors"])
    environ["wsgi.errors"].write(text)
    start_response("200 OK", [])
    return []
"""
FORGED = "12:00:00  info: forged"
ENDS = ("%0A", "%0D", "%0D%0A", "%C2%85", "%E2%80%A8", "%E2%80%A9", "%0B", "%0C", "%1C", "%1B[2K")
LONG = 50_000
OURS = re.compile(
    r"\d\d:\d\d:\d\d  \w+: |\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [\d.:]+  [A-Z]+\.* +/"
)
LONGEST = 4 * 2_048 + 200
"""Characters of a line: a path, each octet of which is escaped, and what is ours."""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ServerProcess]:
    where = ["--log-format", "text", "--bind-h2c", "127.0.0.1:0"]
    engine = ["--engine", os.environ.get("TEST_ENGINE", "auto")]
    loop = ["--loop", os.environ.get("TEST_LOOP", "auto")]
    with ServerProcess(tmp_path, APP, *where, *engine, *loop) as process:
        yield process


def connect(process: ServerProcess) -> Peer:
    url = re.compile(r"http://127\.0\.0\.1:(\d+)")
    eventually(lambda: url.search(process.log.read_text()), "an address", START_PATIENCE)
    found = url.search(process.log.read_text())
    assert found is not None
    peer = Peer.connect(("127.0.0.1", int(found[1])), tls=False)
    peer.huffman = False
    return peer


def lines_after_start(process: ServerProcess) -> list[str]:
    """Return the lines since the first request, as whoever reads a file line by line sees them."""
    lines = process.log.read_text().splitlines()
    begin = next(n for n, line in enumerate(lines) if OURS.match(line) and "/" in line)
    return lines[begin:]


def test_no_line_of_the_log_is_a_clients(process: ServerProcess) -> None:
    with connect(process) as peer:
        for end in ENDS:
            query = f"?text{end}{FORGED.replace(' ', '%20')}"
            assert peer.get(f"/raise{query}").status == 500
            assert peer.get(f"/{query}").status == 200
        peer.goaway(0, Code.PROTOCOL_ERROR, f"\n{FORGED}\n".encode())
        assert peer.get("/last").status == 200
        eventually(lambda: "/last" in process.log.read_text(), "the last request in the log")
    lines = lines_after_start(process)
    assert any(FORGED in line for line in lines)
    assert not [line for line in lines if line.startswith(FORGED)]
    assert not [x for x in lines if x and not OURS.match(x) and not x.startswith("    ")]
    assert "\x1b" not in "".join(lines)


MALFORMED: list[list[tuple[bytes, bytes]]] = [
    [(b"\x00" * LONG, b"")],
    [(b"X" * LONG, b"")],
    [(b"x", b"\x01" + b"v" * LONG)],
    [(b"y" * LONG, b" white")],
    [(b"content-length", b"z" * LONG)],
    [(b"host", b"h" * LONG)],
    [(b":" + b"p" * LONG, b"")],
]


def test_no_line_of_the_log_is_as_long_as_a_client_likes(process: ServerProcess) -> None:
    for number, fields in enumerate(MALFORMED, 1):
        with connect(process) as peer:
            peer.request(fields=fields)
            eventually(
                lambda number=number: process.log.read_text().count("answered 400 on") >= number,
                f"the log to tell of {number}",
            )
    with connect(process) as peer:
        assert peer.get("/" + "p" * LONG, method="M" * 5_000).status == 200
        peer.get("/raise?" + "e" * LONG)
        peer.get("/last")
        eventually(lambda: "/last" in process.log.read_text(), "the last request in the log")
    lines = lines_after_start(process)
    by_the_client = [line for line in lines if "e" * 1_000 not in line]
    assert max(map(len, by_the_client)) <= LONGEST
    assert "M" * 100 not in "".join(lines)
