"""--fault: what goes wrong by rules, on the wire; and how rules are read, and how often they hit.

After each fault the server answers on another connection, and nothing is left.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi import ConfigurationError, ErrorCode, Setting
from support.peer import Peer, StreamReset, Type
from support.settled import eventually, settle

CONTENT = bytes(range(256)) * 40
LONG = 60
"""Seconds that a stall lasts which no test waits for."""
EARLY = 0.05
"""Seconds by which a loop's timer may be early, and more: late it may be by any time."""


@pytest.fixture(params=["fast", "h2"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class App:
    """Echoes uploads and answers others with CONTENT: a list, or written and generated."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.closed = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.calls.append(environ["PATH_INFO"])
        write = start_response("200 OK", [])
        if environ["REQUEST_METHOD"] == "POST":
            return [b"%d" % len(environ["wsgi.input"].read())]
        if environ["PATH_INFO"].endswith("write"):
            write(CONTENT[:5000])
            return _Rest(self)
        return [CONTENT]


class _Rest:
    def __init__(self, app: App) -> None:
        self.app = app

    def __iter__(self) -> Any:
        yield CONTENT[5000:]

    def close(self) -> None:
        self.app.closed += 1


@pytest.fixture
def faulty(serve: Serve, connect: Connect, engine: str) -> Any:
    """Serve an App with rules; afterwards another connection is answered and all is settled."""
    servers: list[Any] = []

    def start(*rules: str, **options: Any) -> tuple[App, Any]:
        app = App()
        server = serve(app, engine=engine, fault=rules, **options)
        servers.append(server)
        return app, server

    yield start
    for server in servers:
        with connect(server) as peer:
            assert peer.get("/well").body == CONTENT
        settle(server, connections=None)


Faulty = Callable[..., tuple[App, Any]]


def partial(peer: Peer, path: str) -> tuple[int, bytes]:
    """Return the code of the reset, and what came before it."""
    stream_id = peer.request(path=path)
    code = peer.wait_reset(stream_id)
    return code, peer.responses[stream_id].body


# ---------------------------------------------------------------------------- on the wire


@pytest.mark.parametrize("path", ["/bad/list", "/bad/write"])
def test_reset_in_place_of_the_response(faulty: Faulty, connect: Connect, path: str) -> None:
    app, server = faulty("reset=REFUSED_STREAM /bad/*")
    peer = connect(server)
    assert partial(peer, path) == (ErrorCode.REFUSED_STREAM, b"")
    assert app.calls == []
    assert peer.get("/good").body == CONTENT


@pytest.mark.parametrize("path", ["/bad/list", "/bad/write"])
@pytest.mark.parametrize("octets", [1, 4999, 5000, 5001, 7000])
def test_reset_behind_so_many_octets(
    faulty: Faulty, connect: Connect, path: str, octets: int
) -> None:
    app, server = faulty(f"reset=0x8 /bad/* after={octets}")
    assert partial(connect(server), path) == (ErrorCode.CANCEL, CONTENT[:octets])
    assert app.calls == [path]
    settle(server, connections=1)
    assert app.closed == (1 if path == "/bad/write" and octets > 5000 else app.closed)


def test_a_response_shorter_than_the_fault_is_whole(faulty: Faulty, connect: Connect) -> None:
    _, server = faulty("reset /bad* after=1000000")
    assert connect(server).get("/bad").body == CONTENT


def test_refuse_before_the_application_runs(faulty: Faulty, connect: Connect) -> None:
    app, server = faulty("refuse /bad")
    assert partial(connect(server), "/bad") == (ErrorCode.REFUSED_STREAM, b"")
    assert app.calls == []


def test_goaway_lets_open_streams_finish(faulty: Faulty, connect: Connect) -> None:
    _, server = faulty("goaway=ENHANCE_YOUR_CALM /bad")
    peer = connect(server)
    stream_id = peer.request(path="/bad")
    goaway = peer.wait_goaway()
    assert (goaway.error_code, goaway.last_stream_id) == (ErrorCode.ENHANCE_YOUR_CALM, stream_id)
    assert peer.response(stream_id).body == CONTENT
    peer.wait_closed()


@pytest.mark.parametrize("path", ["/bad/list", "/bad/write"])
def test_a_stream_that_goaway_refuses_gets_no_answer(
    faulty: Faulty, connect: Connect, path: str
) -> None:
    app, server = faulty("goaway=ENHANCE_YOUR_CALM /bad/* last=0")
    peer = connect(server)
    stream_id = peer.request(path=path)
    goaway = peer.wait_goaway()
    assert (goaway.error_code, goaway.last_stream_id) == (ErrorCode.ENHANCE_YOUR_CALM, 0)
    peer.wait_closed()
    assert stream_id not in peer.responses
    assert app.calls == []  # so that it is safe to try again


@pytest.mark.parametrize("path", ["/bad/list", "/bad/write"])
def test_a_stream_that_goaway_refuses_in_its_middle_gets_no_more(
    faulty: Faulty, connect: Connect, path: str
) -> None:
    app, server = faulty("goaway /bad/* last=0 after=5001")
    with connect(server) as peer:
        stream_id = peer.request(path=path)
        assert peer.wait_goaway().last_stream_id == 0
        peer.wait_closed()
        assert peer.responses[stream_id].body == CONTENT[:5001]
        assert not peer.responses[stream_id].ended
    settle(server, connections=0)
    assert app.closed == (path == "/bad/write")


def test_stall_of_a_stream(faulty: Faulty, connect: Connect) -> None:
    _, server = faulty("stall=0.3 /bad after=100", f"stall={LONG} /long after=100")
    with connect(server) as peer:
        began = time.monotonic()
        slow, long = peer.request(path="/bad"), peer.request(path="/long")
        assert peer.wait_data(long, 100) == CONTENT[:100]
        assert peer.get("/good").body == CONTENT
        assert peer.responses[long].body == CONTENT[:100]
        assert peer.response(slow).body == CONTENT
        assert time.monotonic() - began > 0.3 - EARLY


def test_stall_of_the_connection(faulty: Faulty, connect: Connect) -> None:
    app, server = faulty("stall=0.4 /bad of=connection")
    peer = connect(server)
    peer.wait_settings_ack()
    began = time.monotonic()
    slow = peer.request(path="/bad")
    eventually(lambda: app.calls == ["/bad"], "the fault and the application behind it")
    other = peer.request(path="/good")
    peer.receive_frame()
    assert time.monotonic() - began > 0.4 - EARLY
    assert peer.response(slow).body == peer.response(other).body == CONTENT


def test_drip_sends_small_pieces(faulty: Faulty, connect: Connect) -> None:
    _, server = faulty("drip=2000 /bad/* delay=0.02")
    peer = connect(server)
    for path in ("/bad/list", "/bad/write"):
        response = peer.get(path)
        assert response.body == CONTENT
        assert len(response.chunks) >= 6
        assert max(map(len, response.chunks)) <= 2000


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_drop_hangs_up(faulty: Faulty, connect: Connect, how: str) -> None:
    _, server = faulty(f"drop={how} /bad after=3000")
    peer = connect(server)
    stream_id = peer.request(path="/bad")
    peer.wait_closed()
    assert not peer.responses.get(stream_id) or not peer.responses[stream_id].ended
    assert not [frame for frame in peer.log if frame.type in (Type.GOAWAY, Type.RST_STREAM)]
    if how == "fin":
        assert peer.responses[stream_id].body == CONTENT[:3000]


def test_tiny_windows_let_uploads_crawl(faulty: Faulty, connect: Connect) -> None:
    _, server = faulty("tiny-windows=7 /bad", unsized_content="stream")
    peer = connect(server)
    peer.wait_settings()
    stream_id = peer.request("POST", "/bad", end_stream=False)
    peer.wait_until(
        lambda: peer.remote_settings.get(Setting.INITIAL_WINDOW_SIZE) == 7, "the window"
    )
    peer.upload(stream_id, bytes(100))
    assert peer.response(stream_id).body == b"100"
    assert peer.credit_received[stream_id] > 80


def test_max_streams_is_lowered_in_mid_flight(faulty: Faulty, connect: Connect) -> None:
    _, server = faulty("max-streams=0 /bad")
    peer = connect(server)
    assert peer.get("/bad").body == CONTENT
    peer.wait_until(
        lambda: peer.remote_settings.get(Setting.MAX_CONCURRENT_STREAMS) == 0, "the limit"
    )
    assert peer.wait_reset(peer.request(path="/good")) == ErrorCode.REFUSED_STREAM


def test_the_servers_settings_come_late(faulty: Faulty, connect: Connect) -> None:
    _, server = faulty("delay-settings=0.4")
    began = time.monotonic()
    peer = connect(server)
    stream_id = peer.request(path="/good")
    assert peer.receive_frame().type == Type.SETTINGS
    assert time.monotonic() - began > 0.4 - EARLY
    assert peer.response(stream_id).body == CONTENT


def test_late_settings_may_be_acknowledged_late(
    serve: Serve, connect: Connect, engine: str
) -> None:
    server = serve(App(), engine=engine, fault="delay-settings=0.4", settings_timeout=0.2)
    began = time.monotonic()
    peer = connect(server)
    peer.auto_ack_settings = False
    peer.wait_settings()
    assert peer.wait_goaway().error_code == ErrorCode.SETTINGS_TIMEOUT
    assert time.monotonic() - began > 0.6 - EARLY


def test_the_acknowledgement_of_settings_comes_late(faulty: Faulty, connect: Connect) -> None:
    _, server = faulty("delay-settings=0.4 what=ack")
    began = time.monotonic()
    peer = connect(server)
    peer.wait_settings()
    peer.wait_settings_ack()
    assert time.monotonic() - began > 0.4 - EARLY


def test_each_fault_is_in_the_log(
    faulty: Faulty, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "h2wsgi"):
        _, server = faulty("refuse /bad", "stall=0 /good")
        peer = connect(server)
        partial(peer, "/bad")
        peer.get("/good")
        lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("fault")]
    assert lines == [
        "fault 'refuse /bad': GET /bad (stream 1)",
        "fault 'stall=0 /good': GET /good (stream 3)",
    ]


def test_a_traceback_begins_at_the_application_whatever_stands_before_it(
    serve: Serve, connect: Connect, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise KeyError("no such thing")

    options = {"fault": ["stall=0", "drip=9 /later"], "inspect": "127.0.0.1:0"}
    server = serve(app, engine=engine, **options)
    with connect(server) as peer:
        for path in ("/now", "/later"):
            assert peer.get(path).status == 500

    def places() -> list[str]:
        tracebacks = [r.exc_info[2] for r in list(caplog.records) if r.exc_info]
        return [t.tb_frame.f_code.co_name for t in tracebacks if t is not None]

    eventually(lambda: len(places()) == 2, "both to be in the log")
    assert places() == ["app", "app"]


def test_curl_says_what_a_reset_is_to_it(faulty: Faulty) -> None:
    _, server = faulty("reset=ENHANCE_YOUR_CALM /bad after=100")
    command = ["curl", "--silent", "--show-error", "--http2", "--cacert", str(server.ca_file)]
    done = subprocess.run(
        [*command, server.join("bad")], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 92  # HTTP/2 stream error
    assert b"ENHANCE_YOUR_CALM" in done.stderr


def test_curl_tries_a_refused_stream_again(faulty: Faulty) -> None:
    app, server = faulty("refuse /bad times=1")
    command = ["curl", "--silent", "--http2", "--cacert", str(server.ca_file)]
    done = subprocess.run(
        [*command, server.join("bad")], capture_output=True, timeout=60, check=True
    )
    assert done.stdout == CONTENT
    assert app.calls == ["/bad"]


# -------------------------------------------------------------------------------- how often

KINDS = {
    "reset": ErrorCode.INTERNAL_ERROR,
    "reset=CANCEL after=3": ErrorCode.CANCEL,
    "refuse": ErrorCode.REFUSED_STREAM,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_may_strike_a_number_of_times(faulty: Faulty, connect: Connect, kind: str) -> None:
    _, server = faulty(f"{kind} /bad times=2")
    peer = connect(server)
    assert peer.get("/good").body == CONTENT
    for _ in range(2):
        assert partial(peer, "/bad")[0] == KINDS[kind]
    for _ in range(2):
        assert peer.get("/bad").body == CONTENT
    (rule,) = server.faults
    assert (rule.seen, rule.hits) == (4, 2)


@pytest.mark.parametrize("other", ["reset=CANCEL", "reset=CANCEL after=3"])
def test_a_fault_that_ends_the_stream_leaves_the_others_for_the_next(
    faulty: Faulty, connect: Connect, other: str
) -> None:
    _, server = faulty(f"{other} /bad times=1", "refuse /bad times=1")
    peer = connect(server)
    codes = {partial(peer, "/bad")[0] for _ in range(2)}
    assert codes == {ErrorCode.CANCEL, ErrorCode.REFUSED_STREAM}
    assert peer.get("/bad").body == CONTENT
    assert [rule.hits for rule in server.faults] == [1, 1]


@pytest.mark.parametrize("path", ["/bad/list", "/bad/write"])
def test_a_fault_that_a_response_is_too_short_for_is_left_for_another(
    faulty: Faulty, connect: Connect, path: str
) -> None:
    _, server = faulty(f"reset=CANCEL after={len(CONTENT)} /bad/* times=1")
    peer = connect(server)
    (rule,) = server.faults
    assert peer.get("/bad/upload", method="POST", body=b"abc").body == b"3"
    eventually(lambda: (rule.seen, rule.hits) == (1, 0), "the rule to be free again")
    assert partial(peer, path)[0] == ErrorCode.CANCEL
    assert (rule.seen, rule.hits) == (2, 1)


@pytest.mark.parametrize("kind", ["reset=CANCEL after=3", "drip=2"])
def test_a_hit_is_counted_when_it_comes(kind: str, serve: Serve, connect: Connect) -> None:
    goes_on = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/empty":
            return []
        goes_on.wait(20)
        return [b"abcd"]

    server = serve(app, fault=[f"{kind} times=1"])
    peer = connect(server)
    (rule,) = server.faults
    assert peer.get("/empty").body == b""
    eventually(lambda: not server.server.busy_threads, "the application to be back")
    stream_id = peer.request(path="/bad")
    eventually(lambda: rule.seen == 2, "the request to begin")
    assert rule.hits == 0
    goes_on.set()
    if kind.startswith("reset"):
        assert peer.wait_reset(stream_id) == ErrorCode.CANCEL
    else:
        assert peer.response(stream_id).body == b"abcd"
    assert rule.hits == 1
    assert peer.get("/bad").body == b"abcd"
    assert rule.hits == 1


def test_a_goaway_may_strike_once(faulty: Faulty, connect: Connect) -> None:
    app, server = faulty("goaway /bad last=0 times=1")
    with connect(server) as peer:
        peer.request(path="/bad")
        assert peer.wait_goaway().last_stream_id == 0
        peer.wait_closed()
    assert connect(server).get("/bad").body == CONTENT
    assert app.calls == ["/bad"]


def test_settings_may_come_late_once(faulty: Faulty, connect: Connect) -> None:
    _, server = faulty("delay-settings=0.4 times=1")
    began = time.monotonic()
    connect(server).wait_settings()
    assert time.monotonic() - began > 0.4 - EARLY
    (rule,) = server.faults
    connect(server).wait_settings()
    assert (rule.seen, rule.hits) == (2, 1)


# -------------------------------------------------------------------- changed while it runs


def test_rules_come_and_go_while_the_server_runs(faulty: Faulty, connect: Connect) -> None:
    app, server = faulty()
    peer = connect(server)
    assert peer.get("/bad").body == CONTENT
    fault = server.faults.add("refuse /bad times=1")
    assert partial(peer, "/bad")[0] == ErrorCode.REFUSED_STREAM
    assert peer.get("/bad").body == CONTENT
    assert fault.hits == 1
    server.faults.add("reset=CANCEL /bad")
    assert [rule.text for rule in server.faults] == ["refuse /bad times=1", "reset=CANCEL /bad"]
    assert partial(peer, "/bad")[0] == ErrorCode.CANCEL
    server.faults.clear()
    assert len(server.faults) == 0
    assert peer.get("/bad").body == CONTENT
    assert app.calls == ["/bad"] * 3


def test_the_rules_of_the_option_go_as_well(faulty: Faulty, connect: Connect) -> None:
    _, server = faulty("refuse /bad", "delay-settings=5")
    server.faults.clear()
    assert connect(server).get("/bad").body == CONTENT


def test_rules_for_connections_may_come_later(faulty: Faulty, connect: Connect) -> None:
    _, server = faulty()
    server.faults.add("delay-settings=0.4")
    began = time.monotonic()
    connect(server).wait_settings()
    assert time.monotonic() - began > 0.4 - EARLY


def test_rules_may_be_changed_by_the_application_they_hit(serve: Serve, connect: Connect) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        server.faults.clear()
        server.faults.add("refuse /next")
        start_response("200 OK", [])
        return [CONTENT]

    server = serve(app, fault="reset=CANCEL after=4")
    peer = connect(server)
    assert partial(peer, "/first") == (ErrorCode.CANCEL, CONTENT[:4])  # it had begun
    assert partial(peer, "/next")[0] == ErrorCode.REFUSED_STREAM


def test_threads_may_change_the_rules_of_one_server(faulty: Faulty, connect: Connect) -> None:
    _, server = faulty()
    with ThreadPoolExecutor(4) as threads:
        for future in [
            threads.submit(lambda: [server.faults.add("refuse /bad") for _ in range(50)])
            for _ in range(4)
        ]:
            assert len(future.result()) == 50
    assert len(server.faults) == 200
    assert len({rule.key for rule in server.faults}) == 200  # each has chances of its own
    server.faults.clear()


def test_a_rule_that_is_none_changes_nothing(serve: Serve, connect: Connect) -> None:
    server = serve(App(), fault="refuse /bad")
    with pytest.raises(ConfigurationError, match="Did you mean refuse"):
        server.faults.add("refus /good")
    assert connect(server).get("/good").body == CONTENT
    assert partial(connect(server), "/bad")[0] == ErrorCode.REFUSED_STREAM


def test_a_seed_hits_the_same_requests_again(faulty: Faulty, connect: Connect) -> None:
    hits = []
    for _ in range(2):
        _, server = faulty("reset=CANCEL /bad 30%", fault_seed=42)
        peer = connect(server)
        found = []
        for _ in range(40):
            try:
                peer.wait_headers(peer.request(path="/bad"))
                found.append(False)
            except StreamReset:
                found.append(True)
        hits.append(found)
    assert hits[0] == hits[1]
    assert 2 < sum(hits[0]) < 30


# ------------------------------------------------------------------------------- the words


def test_a_rule_may_be_given_alone(serve: Serve, connect: Connect) -> None:
    peer = connect(serve(App(), fault="refuse /bad"))
    assert partial(peer, "/bad")[0] == ErrorCode.REFUSED_STREAM
