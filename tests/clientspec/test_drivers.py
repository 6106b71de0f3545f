"""Drivers: those of the examples work, and whatever one does ends in bounded time."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from h2wsgi.clientspec import drivers
from h2wsgi.clientspec.catalogue import CATALOGUE
from h2wsgi.clientspec.certificates import Identities
from h2wsgi.clientspec.drivers import Command, Driver, Order
from h2wsgi.clientspec.judge import Verdict
from h2wsgi.clientspec.run import Runner
from support.clients import TIMEOUT, find, run
from support.process import coverages_variables

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "clientspec"
# At once, HEAD, an upload, an error, two requests on one connection.
MADE = ("9113/5.1.2/1", "9110/9.3.2/1", "9113/6.9/6", "9113/6.4/12", "9113/5.1.1/6")
AGAIN = "9113/9.1/1"
DRIVERS = {
    "httpx": (sys.executable, "{examples}/httpx_driver.py"),
    "niquests": (sys.executable, "{examples}/niquests_driver.py"),
    "curl": (sys.executable, "{examples}/curl_driver.py"),
    "node": ("node", "{examples}/node_driver.mjs"),
    "go": ("{folder}/driver",),
    "java": ("java", "-cp", "{folder}", "JavaDriver"),
}
BUILDS = {
    "go": ("go", "build", "-o", "{folder}/driver", "{examples}/go_driver.go"),
    "java": ("javac", "-d", "{folder}", "{examples}/JavaDriver.java"),
}
"""Where these compilers are missing, their drivers are not tested."""


@pytest.fixture(scope="module")
def identities() -> Identities:
    return Identities()


@pytest.mark.client
@pytest.mark.parametrize("name", DRIVERS)
def test_the_drivers_of_the_examples_make_every_kind_of_request(
    name: str, identities: Identities, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if name in ("curl", "node"):
        find(name, package="nodejs" if name == "node" else "curl")
    for variable in [v for v in os.environ if v.lower().endswith("_proxy")]:
        monkeypatch.delenv(variable)
    # Debian's packages of one version of Go put nothing on PATH.
    folders = [os.environ["PATH"], *map(str, Path("/usr/lib").glob("go-*/bin"))]
    monkeypatch.setenv("PATH", os.pathsep.join(folders))
    monkeypatch.setenv("GOCACHE", str(tmp_path / "cache"))
    places = {"examples": EXAMPLES, "folder": tmp_path}
    if name in BUILDS:
        if shutil.which(BUILDS[name][0]) is None:
            pytest.skip(f"there is no {BUILDS[name][0]}")
        run([word.format(**places) for word in BUILDS[name]])
    argv = [word.format(**places) for word in DRIVERS[name]]
    runner = Runner(lambda: Driver(argv, identities.ca), identities, jobs=2, timeout=TIMEOUT)
    cases = [case for case in CATALOGUE if case.id in (*MADE, AGAIN)]
    results = list(runner.run(cases, runner.prove(cases)))
    assert len(results) == len(cases)
    made = [result for result in results if result.case.id != AGAIN]
    assert not [f"{r}\n{r.came}" for r in made if r.verdict is not Verdict.PASS]
    assert [r.word for r in results if r.case.id == AGAIN] == ["uses the connection again"]


def test_no_driver_of_the_examples_is_long() -> None:
    for file in EXAMPLES.iterdir():
        if file.is_file():
            assert len(file.read_text("utf-8").splitlines()) <= 80, file


KNOWS_CLOSE = """
import json, sys
print(json.dumps({"id": json.loads(sys.stdin.readline())["id"]}), flush=True)
"""


def driver(source: str, identities: Identities) -> Driver:
    """Return a driver that knows "close", and ``source`` for the orders."""
    return Driver([sys.executable, "-c", f"{KNOWS_CLOSE}{source}"], identities.ca)


ORDERS = [Order("get", "https://localhost:1/a"), Order("get", "https://localhost:1/b")]


def test_a_driver_that_says_nothing_is_ended_and_started_anew(identities: Identities) -> None:
    silent = driver("for line in sys.stdin: pass", identities)
    for _ in range(2):
        outcomes = silent.ask(ORDERS, 0.3)
        assert [outcome.has_hung for outcome in outcomes] == [True, True]
    silent.close()


def test_orders_that_are_to_be_carried_out_at_once_come_at_once(
    identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the suite is as slow to make them as a busy machine has it be."""

    def dumps(value: object) -> str:
        time.sleep(0.2)
        return json.dumps(value)

    monkeypatch.setattr(drivers, "json", SimpleNamespace(dumps=dumps, loads=json.loads))
    source = (
        "import os\n"
        "came = os.read(0, 65536).splitlines()\n"
        "for line in came:\n"
        "    print(json.dumps({'id': json.loads(line)['id'], 'status': len(came)}), flush=True)\n"
        "sys.stdin.read()"
    )
    reads = driver(source, identities)
    outcomes = reads.ask(ORDERS, 10)
    reads.close()
    assert [outcome.status for outcome in outcomes] == [2, 2]


def test_a_driver_that_starts_slowly_has_all_of_its_time_afterwards(
    identities: Identities,
) -> None:
    source = "for line in sys.stdin: print(json.dumps({'id': json.loads(line)['id']}), flush=True)"
    slow = Driver(
        [sys.executable, "-c", f"import json, sys, time\ntime.sleep(2.5)\n{source}"], identities.ca
    )
    assert [outcome.has_hung for outcome in slow.ask(ORDERS, 2)] == [False, False]
    slow.close()


def test_the_memory_of_a_driver_is_told_of_each_case_by_itself(identities: Identities) -> None:
    source = """
for line in sys.stdin:
    order = json.loads(line)
    kept = bytearray(order["size"])
    kept[::4096] = b"x" * len(kept[::4096])
    del kept
    print(json.dumps({"id": order["id"]}), flush=True)
"""
    greedy = driver(source, identities)
    peaks = [
        greedy.ask([Order("post", "https://localhost:1/", size)], 60)[0].peak
        for size in (200_000_000, 1000, 200_000_000)
    ]
    greedy.close()
    assert [peak is not None and peak > 190_000_000 for peak in peaks] == [True, False, True]


def test_a_driver_that_is_aborted_answers_at_once(identities: Identities) -> None:
    silent = driver("for line in sys.stdin: pass", identities)
    timer = threading.Timer(0.3, silent.abort)
    timer.start()
    began = time.monotonic()
    assert [outcome.has_hung for outcome in silent.ask(ORDERS, 600)] == [True, True]
    assert time.monotonic() - began < 60
    timer.join()
    silent.close()


def test_a_driver_that_ends_is_an_error_of_the_client(identities: Identities) -> None:
    ending = driver("sys.stdin.readline(); raise SystemExit('no module')", identities)
    outcomes = ending.ask(ORDERS, 10)
    ending.close()
    assert not any(outcome.has_hung for outcome in outcomes)
    assert {o.error for o in outcomes} == {"the driver ended with exit code 1: no module"}


def test_what_a_driver_cannot_start_for_is_told(identities: Identities) -> None:
    broken = Driver([sys.executable, "-c", "import no_such_module"], identities.ca)
    outcomes = broken.ask(ORDERS, 10)
    broken.close()
    assert all("No module named 'no_such_module'" in outcome.error for outcome in outcomes)


def test_answers_come_in_any_order_and_with_lines_that_are_none(identities: Identities) -> None:
    source = (
        "ids = [json.loads(sys.stdin.readline())['id'] for _ in range(2)]\n"
        "print('starting up')\n"
        "for id in reversed(ids): print(json.dumps({'id': id, 'status': id, 'length': 3}))\n"
        "print('[1]', flush=True)\n"
        "sys.stdin.read()"
    )
    odd = driver(source, identities)
    outcomes = odd.ask(ORDERS, 10)
    odd.close()
    assert [outcome.status for outcome in outcomes] == [2, 3]
    assert outcomes[0].length == 3


@pytest.mark.parametrize(
    "line",
    ["{'id': [1]}", "{'id': {}}", "{'id': 1e999, 'x': float('nan')}", "{}", "[[]]", "None"],
)
def test_lines_that_are_no_answers_are_passed_over(line: str, identities: Identities) -> None:
    source = (
        "for order in sys.stdin:\n"
        f"    print(json.dumps({line}), '[' * 100000, sep='\\n')\n"
        "    print(json.dumps({'id': json.loads(order)['id'], 'status': 200}), flush=True)"
    )
    odd = driver(source, identities)
    outcomes = odd.ask(ORDERS, 10)
    odd.close()
    assert [outcome.status for outcome in outcomes] == [200, 200]


@pytest.mark.parametrize("end", ["os.close(1)", "print('x' * 2**21, end='', flush=True)"])
def test_a_driver_that_can_answer_no_more_is_told_from_one_that_has_ended(
    end: str, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "CLOSE_PATIENCE", 0.1)
    mute = driver(f"import os, time; sys.stdin.readline(); {end}; time.sleep(600)", identities)
    outcomes = mute.ask(ORDERS, 10)
    mute.close()
    assert {outcome.error for outcome in outcomes} == {
        "the driver closed its output, or wrote a line without end"
    }


def test_a_driver_may_say_that_it_cannot(identities: Identities) -> None:
    source = (
        "for line in sys.stdin:\n"
        "    print(json.dumps({'id': json.loads(line)['id'], 'cannot': 'no GET'}), flush=True)"
    )
    unable = driver(source, identities)
    assert unable.ask(ORDERS, 10)[0].cannot == "the driver says: no GET"
    unable.close()
    wordy = driver(source.replace("no GET", "no\\n" * 200), identities)
    assert len(wordy.ask(ORDERS, 10)[0].cannot) < 300
    wordy.close()


def test_a_command_that_hangs_is_killed_with_what_it_started(identities: Identities) -> None:
    source = "import subprocess; subprocess.run(['sleep', '600'])"
    command = Command([sys.executable, "-c", source, "{url}"], identities.ca)
    (outcome,) = command.ask(ORDERS[:1], 0.5)
    assert outcome.has_hung
    assert outcome.error == "no end within 0.5 s"


def test_a_command_that_prints_without_end_is_killed(identities: Identities) -> None:
    source = "import sys\nwhile True: sys.stdout.write('x' * 2**20)"
    began = time.monotonic()
    (outcome,) = Command([sys.executable, "-c", source, "{url}"], identities.ca).ask(
        ORDERS[:1], 600
    )
    assert time.monotonic() - began < 300
    assert outcome.has_hung
    assert outcome.error == "it printed more than 64 MiB"


def test_what_a_command_prints_of_an_error_counts_as_one(identities: Identities) -> None:
    argv = [sys.executable, "-c", "print('not processed: 1')", "{url}"]
    (outcome,) = Command(argv, identities.ca, "not processed").ask(ORDERS[:1], 10)
    assert outcome.error == "not processed"


def test_the_memory_of_a_command_is_told(identities: Identities) -> None:
    argv = [sys.executable, "-c", "bytearray(200_000_000)", "{url}"]
    (outcome,) = Command(argv, identities.ca).ask(ORDERS[:1], 10)
    assert outcome.peak is not None
    assert outcome.peak > 200_000_000


def test_the_memory_of_this_process_is_not_a_commands(identities: Identities) -> None:
    kept = bytearray(b"x") * 200_000_000
    (outcome,) = Command([sys.executable, "-c", "", "{url}"], identities.ca).ask(ORDERS[:1], 10)
    assert len(kept) == 200_000_000
    assert outcome.peak is not None
    assert 0 < outcome.peak < 100_000_000


HOARDER = """
import struct, sys
sys.path.insert(0, {tests!r})
from clientspec.strict_client import StrictClient
from h2wsgi.clientspec.drivers import Order
defects = ["takes CONTINUATION without end"] if "defect" in sys.argv else []
client = StrictClient(sys.argv[2], defects)
outcome = client.ask([Order("get", sys.argv[1])], 30)[0]
client.close()
sys.stdout.buffer.write(outcome.content or b"")
sys.exit(outcome.error or 0)
"""


@pytest.mark.parametrize(("word", "verdict"), [("none", "word"), ("defect", "fail")])
def test_a_client_that_hoards_a_head_without_end_fails(
    word: str, verdict: str, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in coverages_variables():
        monkeypatch.delenv(name)  # it would be too slow to take as much in its time
    source = HOARDER.format(tests=str(Path(__file__).parent.parent))
    argv = [sys.executable, "-c", source, "{url}", "{ca}", word]
    # Time for it to take more than it may, however busy the machine is.
    runner = Runner(lambda: Command(argv, identities.ca), identities, timeout=60)
    cases = [case for case in CATALOGUE if case.id == "9113/10.5/9"]
    (result,) = runner.run(cases, runner.prove(cases))
    assert result.verdict == verdict
    if verdict == "fail":
        assert "MiB of memory" in result.problems[0]
