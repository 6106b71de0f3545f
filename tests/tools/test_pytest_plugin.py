"""The pytest plugin as its users have it: a test suite of theirs, run by pytest in a process."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from h2wsgi.testing import pytest_plugin

pytest_plugins = ["pytester"]

PATIENCE = 100.0
"""Seconds that such a run may take on a busy machine, far more than it needs."""
OTHER_PLUGINS = ("cacheprovider", "hypothesispytest", "anyio", "timeout", "pytest_cov")
"""What has no part in this, and takes a second to import."""

APPLICATION = """
def app(environ, start_response):
    if environ["PATH_INFO"] == "/fails":
        raise ValueError("no such page in the book")
    start_response("200 OK", [("content-type", "text/plain")])
    return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}".encode()]
"""
HEADER = """
import httpx
import pytest
from web import app

def client_of(server):
    return httpx.Client(http2=True, http1=False, verify=server.ssl_context())

def get(server, path):
    with client_of(server) as client:
        return client.get(server.join(path))
"""


@pytest.fixture
def suite(pytester: pytest.Pytester):
    """Run a test module of a user's, in which warnings are errors; return what pytest said."""
    (pytester.path / "web.py").write_text(APPLICATION)

    def run(source: str, *arguments: str) -> pytest.RunResult:
        (pytester.path / "test_client.py").write_text(HEADER + source)
        without = [f"-pno:{name}" for name in OTHER_PLUGINS]
        options = ("-W", "error", *without, *arguments)
        return pytester.runpytest_subprocess(*options, timeout=PATIENCE)

    return run


def test_a_server_is_there_without_an_import(suite):
    result = suite("""
def test_it(h2_server):
    server = h2_server(app)
    answer = get(server, "/hi")
    assert (answer.http_version, answer.text) == ("HTTP/2", "GET /hi")
""")
    result.assert_outcomes(passed=1)


def test_an_application_can_be_named_and_options_be_given(suite):
    result = suite("""
def test_it(h2_server):
    server = h2_server("web:app", max_streams=7, h2c=True)
    assert server.server.config.max_streams == 7
    assert server.url.startswith("http://localhost:")
    assert server.ca_file is None
    assert get(server, "/hi").text == "GET /hi"
""")
    result.assert_outcomes(passed=1)


def test_a_server_records_what_the_client_did(suite):
    result = suite("""
def test_it(h2_server):
    server = h2_server(app)
    with client_of(server) as client:
        for path in ("/one", "/two"):
            assert client.get(server + path).status_code == 200
    assert [request.path for request in server.requests] == ["/one", "/two"]
    assert len(server.connections) == 1
    assert server.wait_for(lambda: server.connections[0].closed)

def test_unless_told_otherwise(h2_server):
    with pytest.raises(Exception, match="the option record is off"):
        h2_server(app, record=False).requests
""")
    result.assert_outcomes(passed=2)


def test_a_server_has_the_names_that_users_of_pytest_httpbin_know(suite):
    result = suite("""
def test_it(h2_server):
    server = h2_server(app, bind="127.0.0.1:0", bind_h2c="127.0.0.1:0")
    assert server.url == f"https://{server.host}:{server.port}"
    assert server.host == "127.0.0.1"
    assert server.urls[0] == server.url
    assert not server.urls[1].endswith("/")
    assert server + "/get" == server.join("/get") == server.join("get") == server.url + "/get"
    assert httpx.get(server + "/get", verify=server.ssl_context()).status_code == 505

def test_a_unix_socket(h2_server):
    server = h2_server(app, h2c=True, bind="unix:sock")
    assert (server.host, server.port) == ("", 0)
""")
    result.assert_outcomes(passed=2)


def test_every_server_that_a_test_made_stops_when_it_ends(suite):
    result = suite("""
import socket
import threading
import time

made = []

def server_threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("h2wsgi-")]

def test_three_servers(h2_server):
    clients = []
    for _ in range(3):
        server = h2_server(app)
        clients.append(client_of(server))
        assert clients[-1].get(server.url).status_code == 200
        made.append(server)
    assert len({server.port for server in made}) == 3
    assert len(server_threads()) >= 3
    # Left open: a server must not wait for idle clients, nor for the collector to close them.
    made.append(clients)

def test_nothing_is_left():
    for server in made[:3]:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))
    deadline = time.monotonic() + 10
    while server_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server_threads() == []
    for client in made[3]:
        client.close()
""")
    result.assert_outcomes(passed=2)


def test_a_server_does_not_wait_long_for_an_application_that_waits_for_its_client(suite):
    result = suite("""
import threading
import time
inside = threading.Event()
ended = []

@pytest.fixture(autouse=True)
def timed():
    yield  # until the servers have stopped
    assert time.monotonic() - ended[0] < 15  # h2wsgi.serve_in_thread would wait twice as long

def reads(environ, start_response):
    inside.set()
    environ["wsgi.input"].read()
    raise RuntimeError("the rest came")

def test_it(h2_server):
    server = h2_server(reads, read_timeout=0, write_timeout=0)

    def half():
        yield b"half"
        assert inside.wait(20)
        raise KeyError("the client gave up")

    with client_of(server) as client, pytest.raises(KeyError):
        client.post(server.url, content=half(), headers={"content-length": "100"})
    ended.append(time.monotonic())
""")
    result.assert_outcomes(passed=1)


# ------------------------------------------------------------------- errors of the application


def test_an_error_of_the_application_fails_the_test_that_caused_it(suite):
    result = suite("""
def test_before(h2_server):
    assert get(h2_server(app), "/hi").status_code == 200

def test_caused(h2_server):
    assert get(h2_server(app), "/fails").status_code == 500

def test_after(h2_server):
    assert get(h2_server(app), "/hi").status_code == 200
""")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_caused*",
            '>*raise ValueError("no such page in the book")',
            "E*ValueError: no such page in the book",
            "E*h2wsgi: GET /fails (stream 1): the application failed: ValueError",
        ]
    )
    # The application's code is shown, the plugin's is not.
    result.stdout.fnmatch_lines(["web.py:4: ValueError"])
    result.stdout.no_fnmatch_line("*raise errors[[]0]*")


def test_errors_after_the_head_and_in_close_count_as_well(suite):
    result = suite("""
class Half:
    def __iter__(self):
        yield b"half"
        raise LookupError("the other half")

    def close(self):
        raise OSError("cannot be closed")

def breaks_off(environ, start_response):
    start_response("200 OK", [])
    return Half()

def test_it(h2_server):
    with pytest.raises(httpx.RemoteProtocolError):
        get(h2_server(breaks_off), "/")
""")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines_random(
        ["*LookupError: the other half", "*OSError: cannot be closed"]
    )


def test_a_test_may_say_that_errors_are_no_failure(suite):
    result = suite("""
def test_it(h2_server):
    server = h2_server(app, raise_app_errors=False)
    assert get(server, "/fails").status_code == 500
    server.stop()
    assert [str(error) for error in server.errors] == ["no such page in the book"]
""")
    result.assert_outcomes(passed=1)


def test_a_test_may_take_out_the_error_that_it_expects(suite):
    result = suite("""
def test_taken(h2_server):
    server = h2_server(app)
    assert get(server, "/fails").status_code == 500
    error = server.wait_for_error()
    assert isinstance(error, ValueError)
    assert error.__traceback__.tb_frame.f_code.co_name == "app"
    assert server.errors == []

def test_none_comes(h2_server):
    with pytest.raises(TimeoutError, match="raised nothing within 0.01 seconds"):
        h2_server(app).wait_for_error(timeout=0.01)
""")
    result.assert_outcomes(passed=2)


def test_errors_of_several_servers_come_together_and_are_told_apart(suite):
    result = suite("""
def one(environ, start_response):
    raise ValueError("of the first")

def two(environ, start_response):
    raise ValueError("of the second")

def test_it(h2_server):
    first, second = h2_server(one), h2_server(two)
    for server in (first, second):
        get(server, "/")
        server.stop()
    assert ([str(e) for e in first.errors], [str(e) for e in second.errors]) == (
        ["of the first"], ["of the second"])
""")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines_random(
        ["*ValueError: of the first", "*ValueError: of the second", "*under h2_server raised*"]
    )


def test_a_server_that_does_not_stop_is_an_error_and_the_others_stop(suite):
    result = suite("""
import threading

def test_it(h2_server):
    first, second = h2_server(app), h2_server(app)
    stop = second.stop

    def broken():
        stop()
        raise RuntimeError("it did not stop")

    second.stop = broken  # the first one to be stopped

def test_next():
    assert not [t for t in threading.enumerate() if t.name == "h2wsgi-loop"]
""")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["E*RuntimeError: it did not stop"])


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "SystemExit"])
def test_an_application_cannot_end_the_test_run(suite, name):
    result = suite(f"""
def leaves(environ, start_response):
    raise {name}("enough")

def test_it(h2_server):
    get(h2_server(leaves), "/")

def test_next():
    pass
""")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines([f"*{name}: enough"])


def test_errors_are_seen_whatever_the_application_does_to_logging(suite):
    result = suite("""
import logging
import logging.config

def silent(environ, start_response):
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": True})
    logging.disable(logging.CRITICAL)
    raise ValueError("quietly")

def test_it(h2_server):
    get(h2_server(silent), "/")
""")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E*ValueError: quietly"])


def test_what_a_server_logs_is_captured_as_before(suite):
    result = suite("""
def test_it(h2_server, caplog):
    caplog.set_level("INFO", "h2wsgi")
    server = h2_server(app)
    get(server, "/fails")
    server.wait_for_error()
    server.stop()
    names = [(r.name, r.levelname) for r in caplog.records if r.name.startswith("h2wsgi")]
    assert names == [("h2wsgi.access", "INFO"), ("h2wsgi", "ERROR")] or names == [
        ("h2wsgi", "ERROR"), ("h2wsgi.access", "INFO")]

def test_without_an_access_log(h2_server, caplog):
    caplog.set_level("INFO", "h2wsgi")
    server = h2_server(app, access_log=False)
    get(server, "/hi")
    server.stop()
    assert not [r for r in caplog.records if r.name == "h2wsgi.access"]
""")
    result.assert_outcomes(passed=2)


def test_an_option_that_is_wrong_says_what_to_do(suite):
    result = suite("""
def test_it(h2_server):
    h2_server(app, client_cert="optional")
""")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*ConfigurationError: client_cert*", "E*--client-ca*"])
    result.stdout.no_fnmatch_line("*fixture_server.py*")  # the test's line is what counts


# ------------------------------------------------------------- what a failed test shows


def sections(result: pytest.RunResult) -> dict[str, list[str]]:
    """Return what failures show of servers: lines by test, without times."""
    found: dict[str, list[str]] = {}
    test, inside = "", False
    for line in result.outlines:
        if title := re.fullmatch(r"_+ (?:ERROR at \w+ of )?(\w+) _+", line):
            test, inside = title[1], False
        elif re.fullmatch(r"[-=]+ .* [-=]+", line):
            inside = " h2wsgi" in line
        elif inside:
            found.setdefault(test, []).append(re.sub(r"\[ *\d+\.\d+\] ", "", line.strip()))
    return found


FAILING = """
from h2wsgi.testing import FixtureServers

@pytest.fixture(scope="module")
def shared():
    with FixtureServers() as h2_server:
        yield h2_server(app, raise_app_errors=False)

def test_application(h2_server):
    assert get(h2_server(app), "/fails").status_code == 200

def test_client(h2_server):
    server = h2_server(app, fault="refuse /x times=1")
    with client_of(server) as client:
        client.get(server + "/hi")
        client.get(server + "/x")

def test_passes(shared, h2bin):
    assert get(shared, "/fails").status_code == 500
    assert get(h2bin, "/reset/CANCEL").status_code == 200

def test_shared(shared):
    assert get(shared, "/mine").status_code == 404

def test_late(request):
    get(request.getfixturevalue("h2bin"), "/status/201")
    assert False

def test_unused(h2bin):
    assert False

def test_setup_fails(shared, failing_fixture):
    pass

@pytest.fixture
def failing_fixture(shared):
    get(shared, "/setup")
    raise RuntimeError("in the fixture")

def test_teardown_fails(h2_server):
    get(h2_server(app), "/fails")

def test_not_recorded(h2_server):
    get(h2_server(app, record=False), "/")
    assert False

def test_not_trusted(h2_server):
    httpx.Client(http2=True).get(h2_server(app).url)

def test_has_none():
    assert False
"""


def test_a_failed_test_shows_what_its_servers_have_seen(suite):
    result = suite(
        FAILING.replace("def test_passes(shared, h2bin)", "def test_passes(shared)").replace(
            '    assert get(h2bin, "/reset/CANCEL").status_code == 200\n', ""
        )
    )
    result.assert_outcomes(passed=2, failed=8, errors=3)
    shown = sections(result)
    names = ["application", "client", "shared", "late", "unused", "setup_fails", "teardown_fails"]
    names += ["not_recorded", "not_trusted"]
    assert set(shown) == {f"test_{name}" for name in names}

    said = shown["test_application"]
    assert said[0].startswith("#1 from 127.0.0.1:")
    assert said[1].startswith("stream 1: GET /fails -> 500, 22 octets in ")
    assert "recv HEADERS       stream 1   GET /fails, END_STREAM" in said
    assert "send HEADERS       stream 1   500" in said
    # Nobody has to wait for the end of the test for this, though the client is told before.
    assert said[-1].startswith("error: GET /fails (stream 1): the application failed: ValueError")
    assert said[-1].endswith("(no such page in the book, at web.py:4 in app)")

    said = shown["test_client"]
    assert "send RST_STREAM    stream 3   REFUSED_STREAM" in said
    assert said[-3:] == [
        "fault 'refuse /x times=1': hit 1 of 1",
        "log:",
        "info: fault 'refuse /x times=1': GET /x (stream 3)",
    ]

    requests = [line for line in shown["test_shared"] if line.startswith("stream ")]
    assert len(requests) == 1
    assert requests[0].startswith("stream 1: GET /mine -> 200")
    assert "GET /status/201 -> 201" in "\n".join(shown["test_late"])
    assert shown["test_unused"] == ["no connection was made"]
    assert "GET /setup -> 200" in "\n".join(shown["test_setup_fails"])
    assert "GET /fails -> 500" in "\n".join(shown["test_teardown_fails"])
    assert shown["test_not_recorded"] == ["nothing was recorded, as the option record is off"]
    assert shown["test_not_trusted"][:2] == ["no connection was made", "log:"]
    assert "(the client does not trust the server's certificate)" in shown["test_not_trusted"][2]


def test_what_servers_have_seen_reaches_the_controller_of_xdist(suite):
    result = suite(FAILING, "-n", "2")
    result.assert_outcomes(passed=1, failed=9, errors=3)
    shown = sections(result)
    assert len(shown) == 10
    assert "send HEADERS       stream 1   500" in shown["test_application"]
    assert "send RST_STREAM    stream 1   CANCEL" in shown["test_passes"]


def test_an_error_that_comes_after_its_test_says_so(suite):
    result = suite("""
import threading
import time
from h2wsgi.testing import FixtureServers

inside = threading.Barrier(2)
go = threading.Event()

def slow(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        inside.wait(30)
        go.wait(30)
    raise ValueError("at last")

@pytest.fixture(scope="module")
def shared():
    with FixtureServers() as h2_server:
        yield h2_server(slow)

def test_does_not_wait(shared):
    threading.Thread(target=get, args=(shared, "/slow")).start()
    inside.wait(30)

def test_innocent(shared):
    go.set()
    while not shared.errors:
        time.sleep(0.01)

def test_guilty(shared):
    get(shared, "/fails")

def test_last(shared):
    get(shared, "/")
    shared.wait_for_error()
""")
    result.assert_outcomes(passed=4, errors=2)
    note = "h2wsgi: its request is of an earlier test"
    reports, _, _ = result.stdout.str().partition("short test summary")
    innocent, _, guilty = reports.partition("teardown of test_guilty")
    assert note in innocent
    assert "ValueError" in guilty
    assert note not in guilty


def test_servers_of_the_session_show_a_test_only_its_own(suite):
    result = suite("""
from h2wsgi.testing import FixtureServer, FixtureServers

@pytest.fixture(scope="module")
def shared():
    with FixtureServers() as h2_server:
        yield h2_server(app, raise_app_errors=False)

@pytest.fixture(scope="session")
def client(h2bin):
    with client_of(h2bin) as client:
        yield client

left_open = []

@pytest.mark.parametrize("number", range(3))
def test_own(shared: FixtureServer, h2bin: FixtureServer, client, number):
    assert h2bin.connections == h2bin.requests == shared.requests == shared.errors == []
    left_open.append(client_of(shared))
    assert left_open[-1].get(shared + "/fails").status_code == 500
    assert isinstance(shared.wait_for_error(), ValueError)
    assert left_open[-1].get(shared + "/fails").status_code == 500  # its error is left there
    for request in range(2):
        assert client.get(h2bin + f"/anything?{number}").status_code == 200
    assert [request.path for request in h2bin.requests] == [f"/anything?{number}"] * 2
    (connection,) = h2bin.connections  # one for all tests, but each sees its own part
    assert (connection.requests_seen, connection.reused) == (2, 1)
    assert len(shared.connections) == 1
    h2bin.faults.add("refuse /anything")  # as good as gone when the test ends
    shared.faults.add(f"reset /{number}")

def test_the_rules_of_a_server_of_ones_own_stay(shared):
    assert len(shared.faults) == 3
    for client in left_open:
        client.close()

@pytest.fixture(scope="module")
def strict():
    with FixtureServers() as h2_server:
        yield h2_server(app)

def test_fails_strictly(strict):
    get(strict, "/fails")

def test_passes_strictly(strict):
    assert strict.errors == []
    get(strict, "/fails")
    strict.wait_for_error()

def test_clear(h2_server):
    server = h2_server(app)
    get(server, "/arrange")
    server.clear()
    get(server, "/act")
    assert [request.path for request in server.requests] == ["/act"]

def test_clear_hides_no_error(h2_server):
    server = h2_server(app)
    get(server, "/fails")
    server.stop()
    server.clear()
""")
    result.assert_outcomes(passed=8, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_fails_strictly*",
            "E*ValueError: no such page in the book",
            "*ERROR at teardown of test_clear_hides_no_error*",
        ]
    )


# ------------------------------------------------------------------------- httpbin and h2bin


def test_httpbin_is_served_over_tls_and_in_cleartext(suite):
    result = suite("""
import niquests

ports = set()

def test_tls(httpbin_h2):
    answer = get(httpbin_h2, "/get")
    assert answer.http_version == "HTTP/2"
    assert answer.json()["url"] == httpbin_h2.url + "/get"
    ports.add(httpbin_h2.port)

def test_niquests(httpbin_h2):
    with niquests.Session() as session:
        answer = session.get(httpbin_h2.join("/uuid"), verify=httpbin_h2.ca_file)
    assert (answer.http_version, answer.status_code) == (20, 200)
    ports.add(httpbin_h2.port)

def test_cleartext(httpbin_h2c):
    assert httpbin_h2c.url.startswith("http://")
    assert httpbin_h2c.ca_file is None
    with httpx.Client(http2=True, http1=False) as client:
        assert client.get(httpbin_h2c + "/status/418").status_code == 418

def test_one_server_serves_the_session():
    assert len(ports) == 1
""")
    result.assert_outcomes(passed=4)


def test_h2bin_shows_what_a_client_makes_of_a_reset(suite):
    result = suite("""
def test_it(h2bin):
    with client_of(h2bin) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(h2bin + "/reset/REFUSED_STREAM")
        assert client.get(h2bin + "/get").status_code == 200
    refused, answered = h2bin.requests
    assert (refused.reset.name, answered.status) == ("REFUSED_STREAM", 200)
    assert refused.connection == answered.connection
""")
    result.assert_outcomes(passed=1)


def test_the_bundle_makes_clients_trust_the_servers(suite):
    result = suite("""
import os
import niquests

before = os.environ.get("REQUESTS_CA_BUNDLE")

def test_it(httpbin_h2, httpbin_h2_ca_bundle):
    assert httpbin_h2_ca_bundle == httpbin_h2.ca_file
    with httpx.Client(http2=True) as client:
        assert client.get(httpbin_h2 + "/get").status_code == 200
    assert niquests.get(httpbin_h2 + "/get").status_code == 200

def test_no_longer():
    assert os.environ.get("REQUESTS_CA_BUNDLE") == before
""")
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("fixture", ["httpbin_h2", "httpbin_h2c"])
def test_without_httpbin_the_fixtures_say_what_to_install(suite, pytester, fixture):
    (pytester.path / "conftest.py").write_text("import sys\nsys.modules['httpbin'] = None\n")
    result = suite(f"""
def test_it({fixture}):
    pass

def test_another(h2_server):
    assert get(h2_server(app), "/hi").status_code == 200
""")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            f"*The fixture {fixture} needs httpbin, which is not installed.",
            '*pip install "h2wsgi[[]httpbin[]]"',
        ]
    )


def test_an_httpbin_that_is_broken_is_not_called_missing(suite, pytester):
    (pytester.path / "httpbin.py").write_text("import a_module_that_it_needs\n")
    result = suite("""
def test_it(httpbin_h2c):
    pass
""")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E*No module named 'a_module_that_it_needs'"])


# -------------------------------------------------------------------------------------- xdist


def test_each_worker_has_servers_of_its_own_and_all_have_one_ca(
    suite, pytester, monkeypatch, tmp_path
):
    # An empty cache folder: the workers make the development CA at the same time.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = suite(
        """
import json
import os
from pathlib import Path

@pytest.mark.parametrize("number", range(8))
def test_it(number, httpbin_h2, h2_server):
    server = h2_server(app)
    assert get(server, "/hi").text == "GET /hi"
    assert get(httpbin_h2, "/get").status_code == 200
    ca = Path(httpbin_h2.ca_file).read_text()
    seen = [os.environ["PYTEST_XDIST_WORKER"], httpbin_h2.port, ca]
    Path(f"seen-{number}.json").write_text(json.dumps(seen))
""",
        "-n",
        "2",
        "--dist=load",
    )
    result.assert_outcomes(passed=8)
    seen = [json.loads(path.read_text()) for path in pytester.path.glob("seen-*.json")]
    workers = {worker for worker, _, _ in seen}
    assert len(workers) == 2
    assert len({(worker, port) for worker, port, _ in seen}) == 2
    assert len({port for _, port, _ in seen}) == 2
    assert len({ca for _, _, ca in seen}) == 1


def test_an_error_of_the_application_reaches_the_controller(suite):
    result = suite(
        """
def test_it(h2_server):
    get(h2_server(app), "/fails")
""",
        "-n",
        "2",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E*ValueError: no such page in the book"])


# ------------------------------------------------------------------- what it costs the others


def test_a_run_without_the_fixtures_imports_nothing_of_the_server(suite):
    result = suite("""
import sys

def test_it():
    ours = sorted(name for name in sys.modules if name.startswith("h2wsgi"))
    assert ours == ["h2wsgi", "h2wsgi._version", "h2wsgi.testing", "h2wsgi.testing.pytest_plugin"]
""")
    result.assert_outcomes(passed=1)


def test_importing_the_plugin_imports_nothing_but_pytest():
    code = (
        "import sys, pytest; before = set(sys.modules); import h2wsgi.testing.pytest_plugin;"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ast.literal_eval(done.stdout) == [
        "h2wsgi",
        "h2wsgi._version",
        "h2wsgi.testing",
        "h2wsgi.testing.pytest_plugin",
    ]


def test_the_fixtures_are_listed_with_what_they_do(suite):
    result = suite("", "--fixtures")
    result.stdout.fnmatch_lines(["h2_server -- *pytest_plugin.py:*"])
    said = result.stdout.str()
    tree = ast.parse(Path(pytest_plugin.__file__).read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith(("_", "pytest_")):
            assert (ast.get_docstring(node) or "").splitlines()[0] in said


# ----------------------------------------------------------------------------------- unittest


def test_the_context_manager_serves_a_unittest_class(tmp_path):
    (tmp_path / "web.py").write_text(APPLICATION)
    (tmp_path / "test_client.py").write_text("""
import threading
import unittest

import h2wsgi
import httpx
from web import app


class OfAClass(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(h2wsgi.serve_in_thread(app))
        context = cls.server.ssl_context()
        cls.client = cls.enterClassContext(httpx.Client(http2=True, verify=context))

    def test_it(self):
        self.assertEqual(self.client.get(self.server.join("/hi")).text, "GET /hi")


class OfATest(unittest.TestCase):
    def test_it(self):
        server = self.enterContext(h2wsgi.serve_in_thread(app, h2c=True))
        with httpx.Client(http2=True, http1=False) as client:
            self.assertEqual(client.get(server.join("/hi")).http_version, "HTTP/2")


def tearDownModule():
    assert not [t for t in threading.enumerate() if t.name == "h2wsgi-loop"]
""")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "unittest", "-v", "test_client"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr
