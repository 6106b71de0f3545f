"""--metrics with several workers: one page of them all, which no end of a worker makes less."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from h2wsgi.config.config import Config
from h2wsgi.server.totals import REASONS
from h2wsgi.supervisor.supervisor import KILL_GRACE, Supervisor
from h2wsgi.supervisor.survey import PATIENCE as SURVEY
from h2wsgi.tls.development import make_certificates
from support.metrics import get, values
from support.process import START_PATIENCE
from support.settled import PATIENCE, eventually
from support.workers import TELLING, WorkersProcess

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")

OK = ("GET", "complete", "2xx")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkersProcess]:
    """Two workers with metrics, for tests that leave two behind."""
    folder = tmp_path_factory.mktemp("metrics")
    made = make_certificates(folder)
    options = (f"--cert={made.cert}", f"--key={made.key}", "--metrics=0", "--no-access-log")
    with WorkersProcess(folder, TELLING, *options) as running:
        running.ready()
        running.ca_file = made.ca  # type: ignore[attr-defined]
        yield running


def url_of(server: WorkersProcess) -> str:
    return str(server.ready()["metrics"])


def answers(server: WorkersProcess, count: int = 4, **options: Any) -> set[int]:
    """Ask once on each of several connections, open side by side; return who has answered."""
    if ca_file := getattr(server, "ca_file", None):
        options |= {"ca_file": ca_file}
    else:
        options |= {"tls": False}
    peers = [server.connect(**options) for _ in range(count)]
    try:
        return {json.loads(peer.get(timeout=START_PATIENCE).body)["pid"] for peer in peers}
    finally:
        for peer in peers:
            peer.close()


def requests_of(url: str) -> float:
    return values(url)["h2wsgi_requests_total"].get(OK, 0.0)


def reaches(url: str, requests: float) -> None:
    """Wait until so many are counted: a worker that had no CPU time for long is shown as it was."""
    eventually(
        lambda: requests_of(url) == requests, f"{requests} requests to be counted", START_PATIENCE
    )


def count_some(server: WorkersProcess, count: int = 4) -> float:
    """Have so many requests answered; return how many are counted then."""
    url = url_of(server)
    counted = requests_of(url) + count
    answers(server, count)
    reaches(url, counted)
    return counted


def restarts_of(url: str) -> dict[str, float]:
    """Return the restarts that there were, by reason."""
    found = values(url)["h2wsgi_worker_restarts_total"]
    return {reason: number for (reason,), number in found.items() if number}


class Watched:
    """Asks again and again, while its block runs: nothing is refused, nothing becomes less."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.seen: list[float] = []
        self.failures: list[BaseException] = []

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            try:
                self.seen.append(requests_of(self._url))
            except BaseException as error:
                self.failures.append(error)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(START_PATIENCE)
        assert self.failures == []
        assert self.seen == sorted(self.seen)
        assert self.seen


# ------------------------------------------------------------------------------ what they are


def test_all_workers_are_on_one_page(server: WorkersProcess) -> None:
    url = url_of(server)
    counted, workers = requests_of(url), set(server.workers())
    who: set[int] = set()

    def all_have_answered() -> bool:
        # One that had no CPU time for long leaves its share to the other.
        nonlocal counted
        who.update(answers(server, 6))
        counted += 6
        return who == workers

    eventually(all_have_answered, "an answer of each worker", START_PATIENCE)
    reaches(url, counted)
    eventually(
        lambda: values(url)["h2wsgi_workers"][("serving",)] == 2, "both to say so", START_PATIENCE
    )
    found = values(url)
    assert found["h2wsgi_requests_total"][OK] == counted
    assert found["h2wsgi_request_duration_seconds_count"][()] == counted
    assert found["h2wsgi_request_duration_seconds_bucket"][("+Inf",)] == counted
    assert found["h2wsgi_info"].popitem()[1] == 1
    assert len(found["h2wsgi_certificate_days_left"]) == 1
    assert 300 < found["h2wsgi_certificate_days_left"].popitem()[1] < 500
    assert found["h2wsgi_threads_limit"][("threads",)] == 2 * Config().threads
    assert found["h2wsgi_workers"] == {
        ("starting",): 0, ("serving",): 2, ("hanging",): 0, ("leaving",): 0
    }  # fmt: skip
    assert found["h2wsgi_workers_wanted"] == {(): 2}
    assert {reason for (reason,) in found["h2wsgi_worker_restarts_total"]} == set(REASONS)
    assert get(url, "/healthz")[0::2] == (200, "alive\n")
    assert get(url, "/readyz")[0::2] == (200, "ready\n")


def test_promtool_has_nothing_to_say_of_workers(server: WorkersProcess) -> None:
    """Where there is none, the page is parsed by the tests beside this."""
    if (promtool := shutil.which("promtool")) is not None:
        page = get(url_of(server), "/metrics")[2]
        done = subprocess.run(
            [promtool, "check", "metrics"], input=page, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_many_who_ask_at_once_get_the_same(server: WorkersProcess) -> None:
    url = url_of(server)
    count_some(server)
    found: list[float] = []
    threads = [threading.Thread(target=lambda: found.append(requests_of(url))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(found) == 10
    assert len(set(found)) == 1


# --------------------------------------------------------------------------- those that end


def test_what_ended_workers_have_counted_stays(server: WorkersProcess) -> None:
    url = url_of(server)
    with Watched(url):
        before = count_some(server)
        workers = server.workers()
        server.signal(signal.SIGHUP)
        server.wait_for_workers(2, without=tuple(workers))
        reaches(url, before)
        answers(server)
        reaches(url, before + 4)
        # What was said before a worker is killed is not lost either.
        killed, asked = server.workers()[0], restarts_of(url)
        os.kill(killed, signal.SIGTERM)  # the worker alone: it asks for another in its place
        server.wait_for_workers(2, without=(killed,))
        reaches(url, before + 4)
        killed = server.workers()[0]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: restarts_of(url).get("died"), "the death to be counted")
        server.wait_for_workers(2, without=(killed,))
        reaches(url, before + 4)
    assert asked == {"reload": 2}
    assert restarts_of(url) == {"reload": 2, "signal": 1, "died": 1}


def test_one_more_and_one_less(server: WorkersProcess) -> None:
    url = url_of(server)
    before = restarts_of(url)
    server.signal(signal.SIGTTIN)
    eventually(
        lambda: values(url)["h2wsgi_workers"][("serving",)] == 3, "the third", START_PATIENCE
    )
    assert values(url)["h2wsgi_workers_wanted"] == {(): 3}
    counted = count_some(server, 6)
    server.signal(signal.SIGTTOU)
    server.wait_for_workers(2)
    reaches(url, counted)
    assert restarts_of(url) == before


def test_a_worker_that_hangs_holds_up_nobody_for_long(server: WorkersProcess) -> None:
    url = url_of(server)
    counted = count_some(server)
    first, second = server.wait_for_workers(2)
    os.kill(first, signal.SIGSTOP)

    def is_not_waited_for() -> bool:
        began = time.monotonic()
        states = values(url)["h2wsgi_workers"]
        return time.monotonic() - began < SURVEY and states[("hanging",)] == 1

    try:
        reaches(url, counted)
        eventually(is_not_waited_for, "the one that hangs to be known to", START_PATIENCE)
        assert requests_of(url) == counted
        assert get(url, "/readyz")[0] == 200
        os.kill(second, signal.SIGSTOP)
        assert get(url, "/healthz")[0::2] == (503, "the event loop of no worker answers\n")
        assert get(url, "/readyz")[0::2] == (503, "no worker is ready\n")
        reaches(url, counted)
    finally:
        os.kill(first, signal.SIGCONT)
        os.kill(second, signal.SIGCONT)
    eventually(lambda: values(url)["h2wsgi_workers"][("serving",)] == 2, "them to go on")
    assert get(url, "/readyz")[0] == 200


def test_an_upgrade_refuses_nobody_and_forgets_nothing(server: WorkersProcess) -> None:
    url = url_of(server)
    restarts = restarts_of(url)
    workers = server.workers()
    counted = count_some(server)
    with Watched(url):
        server.signal(signal.SIGUSR2)
        server.said("executed anew")
        server.wait_for_workers(2, without=tuple(workers))
        answers(server)
        reaches(url, counted + 4)
    assert restarts_of(url) == restarts | {"upgrade": 2}
    assert get(url, "/readyz")[0] == 200


def test_a_worker_that_has_had_its_time_is_named_by_the_option(tmp_path: Path) -> None:
    with WorkersProcess(tmp_path, TELLING, "--metrics=0", "--max-requests=4", workers=1) as running:
        url = url_of(running)
        workers = running.workers()
        for _ in range(4):
            answers(running, 1)
        running.wait_for_workers(1, without=tuple(workers))
        assert restarts_of(url) == {"max_requests": 1}
        reaches(url, 4)


# ------------------------------------------------------------------------------- alive, ready

SLOW_TO_START = f"""
import pathlib, time
folder = pathlib.Path(__file__).parent
while not (folder / "start").exists():
    time.sleep(0.01)
{TELLING}
"""


def test_a_server_is_ready_from_the_first_worker_until_it_is_told_to_stop(tmp_path: Path) -> None:
    port = 10_000 + os.getpid() % 10_000  # none that the system gives to somebody meanwhile
    url = f"http://127.0.0.1:{port}/metrics"
    options = (f"--metrics={port}", "--drain-delay=4")
    with WorkersProcess(tmp_path, SLOW_TO_START, *options) as running:

        def is_alive() -> bool:
            try:
                return get(url, "/healthz")[0] == 200
            except ConnectionRefusedError:
                return False

        eventually(is_alive, "the supervisor", START_PATIENCE)
        assert get(url, "/readyz")[0::2] == (503, "no worker is ready\n")
        assert values(url)["h2wsgi_workers"][("starting",)] == 2
        (tmp_path / "start").touch()
        running.ready()
        assert get(url, "/readyz")[0] == 200
        workers = running.workers()
        running.signal(signal.SIGTERM)
        eventually(lambda: get(url, "/readyz")[0::2] == (503, "stopping\n"), "it not to be ready")
        assert get(url, "/healthz")[0] == 200
        assert answers(running) <= set(workers)
        reaches(url, 4)
        assert running.exit_code(START_PATIENCE) == 0
        assert [line["event"] for line in running.lines()].count("drain_delayed") == 2


def test_a_reload_does_not_wait_for_balancers(tmp_path: Path) -> None:
    with WorkersProcess(tmp_path, TELLING, "--metrics=0", "--drain-delay=300") as running:
        running.ready()
        before = running.workers()
        running.signal(signal.SIGHUP)
        running.wait_for_workers(2, without=tuple(before))
        assert get(url_of(running), "/readyz")[0] == 200


def test_workers_get_the_time_that_balancers_have(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    child: Any = SimpleNamespace(
        state=None, end_by=lambda moment, what: told.append((moment, what))
    )
    supervisor: Any = SimpleNamespace(
        _stopped_by=None,
        _plan=SimpleNamespace(config=Config(workers=2, drain_delay=100.0, graceful_timeout=10.0)),
        _log=SimpleNamespace(info=lambda *a, **b: None),
        _manager=SimpleNamespace(stopping=lambda: None),
        _site=SimpleNamespace(close=lambda: None),
        _children=[child],
    )
    Supervisor._stop(supervisor, signal.SIGTERM)
    ((moment, what),) = told
    assert what == "stop"
    assert moment - time.monotonic() == pytest.approx(110.0 + KILL_GRACE, abs=5.0)


# --------------------------------------------------------------------------- the rest of it


def test_an_address_in_use_is_a_sentence_and_no_worker_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        option = f"--metrics={taken.getsockname()[1]}"
        with WorkersProcess(tmp_path, TELLING, option) as running:
            assert running.exit_code(START_PATIENCE) == 2
            assert "(--metrics) cannot be used" in running.log.read_text()


def test_a_server_of_workers_without_metrics_does_not_import_them(tmp_path: Path) -> None:
    source = f"""
{TELLING}
def app(environ, start_response):
    import sys
    start_response("200 OK", [])
    known = ("metrics", "counting", "prometheus", "survey")
    return [json.dumps([m for m in sys.modules if any(k in m for k in known)]).encode()]
"""
    with WorkersProcess(tmp_path, source) as running, running.connect(tls=False) as peer:
        assert json.loads(peer.get().body) == []
