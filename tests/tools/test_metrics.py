"""--metrics: what Prometheus reads of a live server, and whether it is alive and ready."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from conftest import Connect, Serve
from h2wsgi.config.config import Config
from h2wsgi.errors import ConfigurationError
from h2wsgi.tools.metrics import service
from h2wsgi.tools.metrics.exposition import exposition
from h2wsgi.tools.metrics.families import FAMILIES
from h2wsgi.tools.metrics.samples import MOST, Family, from_json, lasting, merged, to_json
from support.metrics import get, values
from support.process import START_PATIENCE, ServerProcess
from support.settled import PATIENCE, eventually

DASHBOARD = Path(__file__).parents[2] / "examples" / "deploy" / "grafana.json"


class Site:
    """An application; ``/held`` waits until it is told to go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == "/held":
            assert self.go_on.wait(PATIENCE)
        if path == "/upload":
            environ["wsgi.input"].read()
        if path == "/big":
            start_response("200 OK", [])
            return (b"x" * 50_000 for _ in range(20))
        start_response("404 Not Found" if path == "/none" else "200 OK", [])
        return [b"hello"]


def url_of(server: Any) -> str:
    return str(server.server.metrics_url)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.go_on.set()


def test_what_a_server_did_is_what_prometheus_reads(
    serve: Serve, connect: Connect, site: Site
) -> None:
    server = serve(site, metrics="0", max_streams=2, threads=1, max_threads=1)
    url, peer = url_of(server), connect(server)
    assert peer.get("/").status == 200
    assert peer.get("/none").status == 404
    assert peer.get("/upload", method="POST", body=b"x" * 5_000).status == 200
    held = peer.request(path="/held")
    waiting = peer.request(path="/")
    peer.request("PUT", path="/refused")
    peer.roundtrip()
    eventually(lambda: values(url)["h2wsgi_threads"][("running",)] == 1, "the thread")
    during = values(url)
    assert during["h2wsgi_requests_in_flight"] == {(): 2}
    assert during["h2wsgi_requests_queued"] == {(): 1}
    assert during["h2wsgi_streams"] == {(): 2}
    assert during["h2wsgi_connections"][("open",)] == 1
    peer.rst_stream(waiting)
    site.go_on.set()
    peer.response(held)
    found = values(url)
    assert found["h2wsgi_requests_total"] == {
        ("GET", "complete", "2xx"): 2,
        ("GET", "complete", "4xx"): 1,
        ("POST", "complete", "2xx"): 1,
        ("PUT", "reset_by_server", "none"): 1,
        ("GET", "reset_by_client", "none"): 1,
    }
    assert found["h2wsgi_request_duration_seconds_count"] == {(): 5}
    assert found["h2wsgi_request_duration_seconds_bucket"][("+Inf",)] == 5
    assert found["h2wsgi_request_size_bytes_bucket"][("1024",)] == 4
    assert found["h2wsgi_request_size_bytes_count"] == {(): 5}
    assert found["h2wsgi_request_size_bytes_sum"] == {(): 5_000}
    assert found["h2wsgi_response_size_bytes_sum"] == {(): 20}
    frames = found["h2wsgi_frames_total"]
    assert frames["in", "HEADERS"] == 6
    assert frames["out", "HEADERS"] == 4
    assert frames["in", "RST_STREAM"] == frames["out", "RST_STREAM"] == 1
    assert found["h2wsgi_rst_streams_total"] == {
        ("CANCEL", "client"): 1,
        ("REFUSED_STREAM", "server"): 1,
    }
    assert found["h2wsgi_limits_hit_total"] == {("max_streams",): 1}
    assert found["h2wsgi_connections_opened_total"] == {(): 1}
    assert found["h2wsgi_certificate_days_left"].popitem()[1] > 300
    assert found["h2wsgi_threads_limit"] == {("max_threads",): 1, ("threads",): 1}
    peer.goaway(0, 11)
    peer.close()
    eventually(
        lambda: values(url)["h2wsgi_goaways_total"].get(("ENHANCE_YOUR_CALM", "client")) == 1,
        "the client's GOAWAY",
    )


def test_waits_for_windows_and_what_is_buffered_show(
    serve: Serve, connect: Connect, site: Site
) -> None:
    server = serve(site, metrics="0", stream_buffer=65_536)
    peer = connect(server)
    stream = peer.request(path="/big")
    url = url_of(server)
    eventually(lambda: values(url)["h2wsgi_threads"][("waiting",)] == 1, "a thread that waits")
    assert values(url)["h2wsgi_buffered_bytes"][("out",)] > 10_000
    peer.rst_stream(stream)
    eventually(lambda: values(url)["h2wsgi_flow_control_waits_total"] == {(): 1}, "the wait")
    assert values(url)["h2wsgi_flow_control_wait_seconds_total"][()] > 0
    assert values(url)["h2wsgi_buffered_bytes"][("out",)] == 0


def test_handshakes_that_fail_are_counted_by_reason(serve: Serve, site: Site) -> None:
    def reason(server: Any) -> str:
        """Wait until a handshake has failed, and return why."""
        name, url = "h2wsgi_handshakes_failed_total", url_of(server)
        eventually(lambda: values(url)[name], "the handshake to be counted")
        ((reason,), count), *others = values(url)[name].items()
        assert (count, others) == (1, [])
        return reason

    server = serve(site, metrics="0")
    untrusting = ssl.create_default_context()
    with connected(server) as sock, pytest.raises(ssl.SSLError):
        untrusting.wrap_socket(sock, server_hostname="localhost")
    assert "unknown ca" in reason(server)
    server = serve(site, metrics="0", handshake_timeout=0.2)
    with connected(server) as sock:
        sock.sendall(b"\x16")
        assert sock.recv(1) == b""
    assert reason(server) == "timeout"


def connected(server: Any) -> socket.socket:
    port = int(server.url.rstrip("/").rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def test_reasons_without_end_become_one(serve: Serve, site: Site) -> None:
    inner = serve(site, h2c=True, bind="127.0.0.1:0").server
    for number in range(500):
        inner.handshake_failed(f"reason {number}")
    assert len(inner._handshakes_failed) == 65
    assert inner._handshakes_failed["other"] == 500 - 64


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the metrics of a server are at its start."""
    import h2wsgi

    with h2wsgi.serve_in_thread(Site(), h2c=True, bind="127.0.0.1:0", metrics="0") as server:
        return get(url_of(server), "/metrics")[2]


def test_every_metric_is_there_and_named_as_prometheus_wants(page: str) -> None:
    families = {family.name: family for family in text_string_to_metric_families(page)}
    for name, family in FAMILIES.items():
        assert name.startswith("h2wsgi_")
        assert name.endswith("_total") == (family.kind == "counter")
        shown = families[name.removesuffix("_total")]
        assert shown.type == family.kind
        assert shown.documentation == family.help
    assert len(families) == len(FAMILIES)


def test_promtool_has_nothing_to_say(page: str) -> None:
    """Where there is none, the names are looked at by the test above."""
    if (promtool := shutil.which("promtool")) is not None:
        done = subprocess.run(
            [promtool, "check", "metrics"], input=page, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_open_metrics_is_spoken_to_who_asks_for_it(serve: Serve, site: Site) -> None:
    url = url_of(serve(site, metrics="0"))
    accept = "application/openmetrics-text; version=1.0.0"
    _, content_type, text = get(url, "/metrics", Accept=accept)
    assert content_type.startswith("application/openmetrics-text")
    assert "h2wsgi_requests" in {family.name for family in open_metrics(text)}
    assert get(url, "/metrics")[1].startswith("text/plain")


def test_other_pages_are_few(serve: Serve, site: Site) -> None:
    url = url_of(serve(site, metrics="0"))
    assert get(url, "/healthz")[0::2] == (200, "alive\n")
    assert get(url, "/readyz?a=1")[0::2] == (200, "ready\n")
    assert get(url, "/healthz", "HEAD")[0::2] == (200, "")
    assert get(url, "/")[0] == 404
    assert get(url, "/healthz", "POST")[0] == 501


def test_a_loop_that_hangs_is_not_alive(
    serve: Serve, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LOOP_TIMEOUT", 0.2)
    server = serve(site, metrics="0")
    url, go_on = url_of(server), threading.Event()
    server.server.mailbox.post_threadsafe(lambda: go_on.wait(PATIENCE))
    try:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert get(url, path)[0] == 503
    finally:
        go_on.set()
    eventually(lambda: get(url, "/healthz")[0] == 200, "the loop to go on")


def test_many_clients_that_say_nothing_do_not_stop_the_server(serve: Serve, site: Site) -> None:
    server = serve(site, metrics="0")
    where = urlsplit(url_of(server))
    quiet = [
        socket.create_connection((where.hostname, where.port)) for _ in range(service.MAX_CLIENTS)
    ]
    try:
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < service.TIMEOUT
    finally:
        for sock in quiet:
            sock.close()


def test_a_client_that_dawdles_is_ended(
    serve: Serve, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "WHOLE_TIMEOUT", 0.1)
    where = urlsplit(url_of(serve(site, metrics="0")))
    with socket.create_connection((where.hostname, where.port), PATIENCE) as sock:
        ended = threading.Event()

        def dawdle() -> None:
            while not ended.wait(0.02):
                try:
                    sock.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=dawdle)
        thread.start()
        try:
            assert _all_of(sock) == b""
        finally:
            ended.set()
            thread.join()


LONG = b"x" * 40_000
TOO_LONG = (
    b"GET /%b HTTP/1.1\r\n\r\n" % LONG,
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 90 + b"c: %b\r\n\r\n" % LONG,
)


@pytest.mark.parametrize("request_", TOO_LONG)
def test_a_request_that_is_too_long_is_not_answered(
    serve: Serve, site: Site, request_: bytes
) -> None:
    where = urlsplit(url_of(serve(site, metrics="0")))
    with socket.create_connection((where.hostname, where.port), PATIENCE) as sock:
        sock.sendall(request_)
        assert _all_of(sock) == b""


def _all_of(sock: socket.socket) -> bytes:
    """Return what comes until the end, however that comes."""
    found = b""
    try:
        while octets := sock.recv(65_536):
            found += octets
    except ConnectionError:
        pass
    return found


APP = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="for Unix")
def test_a_server_that_stops_is_not_ready_before_it_says_goaway(tmp_path: Path) -> None:
    with ServerProcess(
        tmp_path, APP, "--h2c", "--metrics", "127.0.0.1:0", "--drain-delay", "4"
    ) as server:
        url = server.ready()["metrics"]
        assert get(url, "/readyz")[0] == 200
        with server.connect(tls=False) as peer:
            assert peer.get(scheme="http").status == 200
            server.signal(signal.SIGTERM)
            eventually(lambda: get(url, "/readyz")[0] == 503, "the server not to be ready")
            assert get(url, "/healthz")[0] == 200
            assert peer.get(scheme="http").status == 200
            with server.connect(tls=False) as late:
                assert late.get(scheme="http").status == 200
            assert not [line for line in server.lines() if line["event"] == "stopped"]
            peer.wait_goaway()
        assert server.exit_code(START_PATIENCE) == 0
        events = [line["event"] for line in server.lines()]
        assert events.index("stopping") < events.index("drain_delayed") < events.index("stopped")


# ----------------------------------------------------------------------------- the rest of it


def test_a_server_without_metrics_does_not_even_import_them() -> None:
    script = """
import sys, h2wsgi
with h2wsgi.serve_in_thread(lambda e, s: [], h2c=True, bind="127.0.0.1:0"):
    print([m for m in sys.modules if "metrics" in m or "counting" in m or "prometheus" in m])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_the_applications_own_metrics_are_left_alone(
    serve: Serve, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    before = {metric.name for metric in REGISTRY.collect()}
    url = url_of(serve(site, metrics="0"))
    text = get(url, "/metrics")[2]
    assert {metric.name for metric in REGISTRY.collect()} == before
    assert "python_info" not in text
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_is_missing_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigurationError, match="need prometheus-client") as caught:
        service.require_client()
    assert 'pip install "h2wsgi[metrics]"' in caught.value.hint


@pytest.mark.parametrize("address", ["no:where:at:all", "x:1", "127.0.0.1:99999", "abc"])
def test_an_address_that_will_not_do_is_a_sentence(address: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"{address} (--metrics)")):
        service.open_socket(address)


def test_an_address_in_use_stops_the_start_and_leaves_nothing(serve: Serve, site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(ConfigurationError, match="cannot be used: Address already in use"):
            serve(site, metrics=port)


def test_metrics_and_a_record_are_both_kept(serve: Serve, connect: Connect, site: Site) -> None:
    server = serve(site, metrics="0", record=True)
    assert connect(server).get("/").status == 200
    assert values(url_of(server))["h2wsgi_requests_total"] == {("GET", "complete", "2xx"): 1}
    assert len(server.requests) == 1


ADDED = {
    "a_total": Family("counter", "A.", ("x",)),
    "b": Family("gauge", "B.", (), least=True),
    "c": Family("histogram", "C.", (), (1.0,)),
}


def test_processes_are_added_up() -> None:
    one = {"a_total": {("p",): 1.0}, "b": {(): 5.0}, "c": {(): [1, 2, 3.5]}}
    two = {"a_total": {("p",): 2.0, ("q",): 1.0}, "b": {(): 4.0}, "c": {(): [0, 1, 1.0]}}
    assert from_json(json.loads(json.dumps(to_json(two))), ADDED) == two
    whole = merged([one, two], ADDED)
    assert whole == {
        "a_total": {("p",): 3.0, ("q",): 1.0},
        "b": {(): 4.0},
        "c": {(): [1, 3, 4.5]},
    }
    text, _ = exposition(whole, ADDED)
    shown = {f.name: f for f in text_string_to_metric_families(text.decode())}
    assert [s.value for s in shown["c"].samples] == [1, 4, 4, 4.5]
    with pytest.raises(ValueError, match="is a histogram here"):
        merged([one, {"c": {(): 1.0}}], ADDED)


def test_of_a_process_that_ended_remains_what_only_grows() -> None:
    said = {"a_total": {("p",): 1.0}, "b": {(): 5.0}, "c": {(): [1, 2, 3.5]}}
    assert lasting(said, ADDED) == {"a_total": {("p",): 1.0}, "c": {(): [1, 2, 3.5]}}


def test_what_another_version_counts_otherwise_is_left_out() -> None:
    other = {
        "a_total": {("p",): 1.0, ("p", "q"): 2.0, ("h",): [1, 2, 3.0]},
        "b": {(): 5.0},
        "c": {(): [1, 2, 3, 4.5], ("q",): 2.0},
        "d": {(): 1.0},
    }
    assert from_json(to_json(other), ADDED) == {"a_total": {("p",): 1.0}, "b": {(): 5.0}, "c": {}}


def test_labels_without_end_become_one() -> None:
    parts = [{"a_total": {(f"{n} {m}",): 1.0 for m in range(64)}} for n in range(50)]
    whole = merged(parts, ADDED)["a_total"]
    assert len(whole) == MOST + 1
    assert whole["other",] == 50 * 64 - MOST


def test_the_dashboard_asks_for_what_there_is() -> None:
    document = json.loads(DASHBOARD.read_text("utf-8"))
    names = set(FAMILIES)
    for name, family in FAMILIES.items():
        if family.kind == "histogram":
            names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")}
    asked = set(re.findall(r"h2wsgi_\w+", json.dumps(document)))
    assert asked <= names | {"h2wsgi_overview"}
    assert len(asked) > 12
    assert document["title"]
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])


def test_the_options_are_off_by_default() -> None:
    assert (Config().metrics, Config().drain_delay) == ("", 0.0)
