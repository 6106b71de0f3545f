"""The examples, each started as examples/README.md says and used by a client."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import shlex
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from support.peer import Peer

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
DEADLINE = 60.0
"""Seconds that any one thing may take."""
CONTENT = bytes(range(256)) * 4_000
"""An upload of a megabyte, larger than what the server or a framework keeps in memory."""


class Row(NamedTuple):
    """One line of the table in examples/README.md."""

    run: str
    tries: list[str]


def table() -> dict[str, Row]:
    """Return the rows of the README by the name of the example."""
    rows = {}
    for line in (EXAMPLES / "README.md").read_text().splitlines():
        if match := re.match(r"\| \[(\S+?)/?\]\(\S+\).* \| `(.*?)` \| (.*)\|$", line):
            name, run, tries = match.groups()
            rows[name] = Row(run, re.findall("`(.*?)`", tries))
    return rows


TABLE = table()
SERVERS = [name for name, row in TABLE.items() if row.run.startswith("h2wsgi ")]


class Running:
    """An example in a process of its own. What it says is read by a thread, so it never waits."""

    url = ""
    ca_file = ""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.log: list[str] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._process = process
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_ready(self) -> None:
        """Wait until the example says where it listens."""
        ready = self.wait_for("ready")
        self.url = ready["endpoints"][0]["url"]
        self.ca_file = ready["certificate"]["ca"]

    def _read(self) -> None:
        for line in self._process.stderr:
            self.log.append(line)
            self._lines.put(line)
        self._lines.put("")

    def wait_for(self, event: str, saying: str = "", **fields: Any) -> dict[str, Any]:
        """Return the next JSON line of an event that says so and has those fields."""
        deadline = time.monotonic() + DEADLINE
        with suppress(queue.Empty):
            while line := self._lines.get(timeout=max(0, deadline - time.monotonic())):
                shown = json.loads(line) if line.startswith("{") else {"event": ""}
                says_so = shown.get("message", "").startswith(saying)
                if shown["event"] == event and says_so and fields.items() <= shown.items():
                    return shown
        raise AssertionError(f"It never said {event!r}, but:\n{''.join(self.log)}")

    def stop(self) -> None:
        """Press Ctrl-C: it must end with exit code 0 and without a traceback."""
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(DEADLINE) == 0
        self._reader.join(DEADLINE)
        assert "Traceback" not in "".join(self.log)

    def kill(self) -> None:
        """End it if it runs still."""
        self._process.kill()
        self._reader.join(DEADLINE)


def environment() -> dict[str, str]:
    """Return this process's environment as the examples shall have it."""
    ours = ("H2WSGI_", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    kept["PYTHONPATH"] = os.pathsep.join(sys.path)
    kept["H2WSGI_THREAD_GUARD"] = "1"
    kept["H2WSGI_LOOP"] = os.environ.get("TEST_LOOP", "auto")
    return kept


@contextmanager
def running(name: str) -> Iterator[Running]:
    """Run an example with the README's command, on a free port; stop it afterwards."""
    program, *arguments = shlex.split(TABLE[name].run)
    assert program == "h2wsgi"
    arguments += ["--bind", "localhost:0", "--log-format", "json"]
    with subprocess.Popen(
        [sys.executable, "-m", "h2wsgi", *arguments],
        cwd=ROOT,
        env=environment(),
        text=True,
        stderr=subprocess.PIPE,
    ) as process:
        server = Running(process)
        try:
            server.wait_ready()
            yield server
            server.stop()
        finally:
            server.kill()


@contextmanager
def connected(server: Running) -> Iterator[httpx.Client]:
    """Give a client of the server; every answer must come over HTTP/2."""

    def check(response: httpx.Response) -> None:
        assert response.http_version == "HTTP/2"

    context = ssl.create_default_context(cafile=server.ca_file)
    with httpx.Client(
        http2=True,
        verify=context,
        base_url=server.url,
        timeout=DEADLINE,
        trust_env=False,
        event_hooks={"response": [check]},
    ) as client:
        yield client


@contextmanager
def client_of(name: str) -> Iterator[httpx.Client]:
    """Run an example and give a client of it."""
    with running(name) as server, connected(server) as client:
        yield client


def assert_digests(client: httpx.Client) -> dict[str, Any]:
    """Upload a file with a form; return what the example says of it."""
    answer = client.post("/upload", data={"note": "hello"}, files={"file": ("name.bin", CONTENT)})
    said = answer.raise_for_status().json()
    assert said["name"] == "name.bin"
    assert said["size"] == len(CONTENT)
    assert said["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    return said


def assert_streams_rows(name: str) -> None:
    """Take the start of a table that would take minutes; then go, which ends it at the server."""
    with running(name) as server:
        with connected(server) as client, client.stream("GET", "/rows.csv?rows=999999999") as table:
            assert table.headers["content-type"].startswith("text/csv")
            assert "content-length" not in table.headers
            lines = table.iter_lines()
            assert [next(lines) for _ in range(4)] == ["number,square", "0,0", "1,1", "2,4"]
        shown = server.wait_for("request", path="/rows.csv?rows=999999999")
        assert shown["outcome"] != "complete"
        with connected(server) as client:
            assert client.get("/rows.csv?rows=3").text.split() == [
                "number,square",
                "0,0",
                "1,1",
                "2,4",
            ]


# The documentation


def test_every_example_is_in_the_table():
    named = {path.name for path in EXAMPLES.iterdir()} - {"README.md", "__pycache__"}
    named -= {"clientspec"}  # Drivers, which tests/clientspec runs.
    named -= {"deploy"}  # What stands around a server; tests/clients runs the proxies.
    assert set(TABLE) == named
    assert {*SERVERS, "in_a_test.py"} == named


@pytest.mark.parametrize("name", TABLE)
def test_an_example_says_how_it_is_run(name):
    path = EXAMPLES / name
    source = (path / "__init__.py" if path.is_dir() else path).read_text()
    assert f"Run it from the repository root:\n\n    {TABLE[name].run}\n" in source


@pytest.mark.client
@pytest.mark.parametrize("name", SERVERS)
def test_what_the_table_says_to_try_works(name, tmp_path):
    (tmp_path / ".curlrc").write_text('silent\nshow-error\nwrite-out = "\\nHTTP/%{http_version}"\n')
    with running(name) as server:
        variables = {"CURL_HOME": str(tmp_path), "CA": server.ca_file, "NO_PROXY": "*"}
        variables["URL"] = server.url.rstrip("/")
        assert TABLE[name].tries
        for line in TABLE[name].tries:
            done = subprocess.run(
                ["sh", "-c", line],
                cwd=ROOT,
                env=environment() | variables,
                capture_output=True,
                text=True,
                timeout=DEADLINE,
            )
            assert (done.returncode, done.stderr) == (0, ""), line
            content, _, version = done.stdout.rpartition("\n")
            assert version == "HTTP/2"
            assert content


@pytest.mark.parametrize("module", ["pytest", "unittest"])
def test_the_test_suite_passes(module):
    command = f"python -m {module} examples/in_a_test.py"
    assert f"    {command}\n" in (EXAMPLES / "in_a_test.py").read_text()
    done = subprocess.run(
        [sys.executable, *shlex.split(command)[1:]],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b[1-9]\d* passed|^Ran [1-9]", done.stdout + done.stderr, re.MULTILINE)


# bare.py


def test_bare_shows_the_environ():
    with client_of("bare.py") as client:
        shown = client.get("/?a=b", headers={"x-field": "value"}).text.splitlines()
        assert "SERVER_PROTOCOL = 'HTTP/2.0'" in shown
        assert "QUERY_STRING = 'a=b'" in shown
        assert "HTTP_X_FIELD = 'value'" in shown
        assert client.get("/none").status_code == 404


def test_bare_digests_an_upload_of_unknown_length():
    with client_of("bare.py") as client:
        pieces = (CONTENT[start : start + 50_000] for start in range(0, len(CONTENT), 50_000))
        said = client.post("/digest", content=pieces).json()
        assert said == {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}


def test_bare_echoes_each_piece_before_the_next_is_sent():
    # httpx reads no answer before it has sent everything, so this takes a client that does.
    with running("bare.py") as server:
        address = ("127.0.0.1", httpx.URL(server.url).port)
        with Peer.connect(address, tls=True, ca_file=server.ca_file) as peer:
            stream_id = peer.request("POST", "/echo", end_stream=False)
            for said in (b"one", b"two", b"three"):
                have = len(peer.responses[stream_id].body) if stream_id in peer.responses else 0
                peer.data(stream_id, said)
                assert peer.wait_data(stream_id, have + len(said)).endswith(said)
            assert not peer.responses[stream_id].ended
            peer.upload(stream_id, CONTENT)
            assert peer.response(stream_id).body == b"onetwothree" + CONTENT


def test_bare_counts_until_the_client_leaves():
    with running("bare.py") as server:
        with connected(server) as client, client.stream("GET", "/count") as answer:
            lines = answer.iter_lines()
            assert [next(lines) for _ in range(3)] == ["1", "2", "3"]
        server.wait_for("wsgi_errors", saying="The client left, the count was")


# flask_app.py


def test_flask_answers_with_json_and_a_form():
    with client_of("flask_app.py") as client:
        said = client.get("/").json()
        assert said == {"framework": "Flask", "protocol": "HTTP/2.0", "url": str(client.base_url)}
        form = client.get("/upload")
        assert form.headers["content-type"] == "text/html; charset=utf-8"
        assert '<form method="post" enctype="multipart/form-data">' in form.text


def test_flask_digests_an_upload():
    with client_of("flask_app.py") as client:
        assert assert_digests(client)["note"] == "hello"
        assert client.post("/upload", data={"note": "no file"}).status_code == 400


def test_flask_streams_a_table():
    assert_streams_rows("flask_app.py")


def test_flask_sends_events_while_they_happen_and_ends_after_n():
    with client_of("flask_app.py") as client:
        with client.stream("GET", "/events?n=2") as events:
            assert events.headers["content-type"].startswith("text/event-stream")
            lines = events.iter_lines()
            assert [next(lines), next(lines)] == [": listening", ""]
            for number, text in enumerate(("first", "second"), 1):
                posted = client.post("/events", data={"text": text})
                assert posted.json() == {"listeners": 1}
                shown = [next(lines) for _ in range(3)]
                assert shown == [f"id: {number}", f'data: {{"text": "{text}"}}', ""]
            assert list(lines) == []
        assert client.post("/events", data={"text": "late"}).json() == {"listeners": 0}


# django_site


def test_django_answers_and_digests_an_upload():
    with client_of("django_site") as client:
        said = client.get("/").json()
        assert said["framework"] == "Django"
        assert said["protocol"] == "HTTP/2.0"
        assert said["host"] == client.base_url.netloc.decode()
        assert said["secure"] is True
        assert_digests(client)
        assert client.get("/upload").status_code == 405
        assert client.post("/upload", data={"note": "no file"}).status_code == 400


def test_django_streams_a_table():
    assert_streams_rows("django_site")


def test_django_refuses_a_host_that_is_not_its_own():
    with client_of("django_site") as client:
        for host, status in (
            ("localhost", 200),
            ("127.0.0.1:8443", 200),
            ("[::1]", 200),
            ("another.test", 400),
            ("localhost.another.test", 400),
        ):
            assert client.get("/", headers={"host": host}).status_code == status, host


# bottle_app.py


def test_bottle_answers_and_digests_an_upload():
    with client_of("bottle_app.py") as client:
        assert client.get("/").json() == {"framework": "Bottle", "protocol": "HTTP/2.0"}
        assert_digests(client)


def test_bottle_sends_a_file_and_parts_of_it():
    source = (EXAMPLES / "bottle_app.py").read_bytes()
    with client_of("bottle_app.py") as client:
        whole = client.get("/source")
        assert whole.content == source
        assert whole.headers["content-length"] == str(len(source))
        part = client.get("/source", headers={"range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, source[10:20])
        modified = {"if-modified-since": whole.headers["last-modified"]}
        assert client.get("/source", headers=modified).status_code == 304


def test_bottle_answers_in_part_before_the_bell_rings():
    with client_of("bottle_app.py") as client, client.stream("GET", "/bell") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "listening"
        assert client.post("/bell").json() == {"rings": 1}
        assert list(lines) == ["ding dong"]
