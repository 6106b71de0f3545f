"""The parts of bench/ that need no server: reading, judging, drawing, and /proc."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench import (
    apps,
    chart,
    connections,
    document,
    goals,
    h2load,
    instructions,
    loads,
    proc,
    servers,
    tables,
    workers,
)
from bench.results import Results, Sample, read, save

SUMMARY = """\
finished in 12.00ms, 166625.01 req/s, 6.55MB/s
requests: 2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 80.46KB (82388) total, 19.82KB (20292) headers (space savings 93.41%), 25.39KB (26000) data
                     min         max         mean         sd        +/- sd
time for request:      156us     48.70ms      1.03ms       650us    99.36%
"""


def sample(
    load: str, server: str, number: int = 1, *, cpu_us: float = 0, rate: float = 0, error: str = ""
) -> Sample:
    return Sample(load=load, server=server, round=number, cpu_us=cpu_us, rate=rate, error=error)


def canned(*samples: Sample) -> Results:
    names = [load.name for load in loads.LOADS if load.name in {s.load for s in samples}]
    known = [variant.name for variant in servers.VARIANTS]
    found = [name for name in known if name in {s.server for s in samples}]
    facts = {"cpu": "a CPU", "cores": "2", "kernel": "Linux 6", "python": "CPython 3"}
    return Results(machine=facts, servers=found, loads=names, samples=list(samples))


def cpu(load: str, ours: float, granian: float) -> Results:
    return canned(sample(load, goals.FAST, cpu_us=ours), sample(load, "granian", cpu_us=granian))


def test_a_summary_of_h2load_is_read() -> None:
    outcome = h2load.parse(SUMMARY)
    assert outcome.seconds == pytest.approx(0.012)
    assert outcome.rate == 166625.01
    assert (outcome.succeeded, outcome.statuses) == (2000, (2000, 0, 0, 0))
    assert outcome.octets == 26000
    assert (outcome.mean, outcome.worst) == pytest.approx((0.00103, 0.0487))


def test_a_run_without_a_summary_has_failed() -> None:
    with pytest.raises(h2load.Failed, match="could not connect"):
        h2load.parse("starting\ncould not connect to host")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (SUMMARY.replace("2000 2xx, 0 3xx", "1999 2xx, 0 3xx"), "1999 of 2000"),
        (SUMMARY.replace("2000 succeeded", "1500 succeeded"), "2xx"),
        (SUMMARY.replace("0 5xx", "1 5xx"), "2xx"),
        (SUMMARY.replace("(26000) data", "(25999) data"), "25999 octets"),
    ],
)
def test_a_short_or_failed_run_gives_no_figure(text: str, reason: str) -> None:
    with pytest.raises(h2load.Failed, match=reason):
        h2load.check(h2load.parse(text), 2000, 13)


def test_a_whole_run_passes() -> None:
    h2load.check(h2load.parse(SUMMARY), 2000, 13)


@pytest.mark.parametrize(
    ("load", "ours", "theirs", "word"),
    [
        ("hello", 4.0, 10.0, "PASS"),
        ("hello", 4.1, 10.0, "MISS"),
        ("latency", 10.0, 10.0, "PASS"),
        ("flask", 6.6, 10.0, "MISS"),
        ("flask", 6.5, 10.0, "PASS"),
    ],
)
def test_a_goal_compares_with_the_peer(load: str, ours: float, theirs: float, word: str) -> None:
    verdict = goals.verdicts(cpu(load, ours, theirs), load)[0]
    assert verdict.ratio == pytest.approx(ours / theirs)
    assert verdict.word == word


def test_a_goal_that_some_rounds_meet_and_some_miss_is_within_noise() -> None:
    rounds = [
        sample("hello", server, number, cpu_us=cpu_us)
        for number, pair in enumerate([(3.8, 10.0), (4.2, 10.0), (3.9, 10.0)])
        for server, cpu_us in zip((goals.FAST, "granian"), pair, strict=True)
    ]
    verdict = goals.verdicts(canned(*rounds), "hello")[0]
    assert verdict.word == "WITHIN NOISE"
    assert verdict.spread == pytest.approx((0.38, 0.42))
    assert tables.found(verdict) == "0.39x (0.38 to 0.42)"


def test_more_requests_a_second_are_better() -> None:
    both = [sample("sleep", goals.FAST, rate=1900.0), sample("sleep", "granian", rate=1880.0)]
    assert goals.verdicts(canned(*both), "sleep")[0].word == "PASS"


@pytest.mark.parametrize(("rate", "word"), [(970.0, "PASS"), (960.0, "MISS")])
def test_nearly_as_many_requests_a_second_are_enough(rate: float, word: str) -> None:
    both = [sample("sleep", goals.FAST, rate=rate), sample("sleep", "granian", rate=1000.0)]
    assert goals.verdicts(canned(*both), "sleep")[0].word == word


def test_our_failure_misses_the_goal_and_a_peers_says_nothing() -> None:
    failed = sample("latency", goals.FAST, error="did not start")
    peer = sample("latency", "granian", cpu_us=10.0)
    assert goals.verdicts(canned(failed, peer), "latency")[0].word == "MISS"
    ours = sample("latency", goals.FAST, cpu_us=10.0)
    silent = sample("latency", "granian", error="did not start")
    assert goals.verdicts(canned(ours, silent), "latency")[0].word == "-"
    assert goals.verdicts(canned(ours), "latency") == [], "nobody measured the peer"


def test_every_load_has_a_goal_for_h2wsgi() -> None:
    assert {goal.load for goal in goals.GOALS} == {load.name for load in loads.LOADS}


def test_a_median_needs_every_round() -> None:
    rounds = [sample("hello", "granian", number, cpu_us=number) for number in (1, 2, 9)]
    assert canned(*rounds).median("hello", "granian", "cpu_us") == 2
    broken = sample("hello", "granian", 4, error="not finished in 60 s")
    assert canned(*rounds, broken).median("hello", "granian", "cpu_us") is None


def everything() -> Results:
    found = [
        sample(load.name, variant.name, cpu_us=10.0 * (place + 1), rate=5.0)
        for load in loads.LOADS
        for place, variant in enumerate(servers.VARIANTS)
        if variant.can(load)
    ]
    found[3] = sample(found[3].load, found[3].server, error="<no & answer>")
    return canned(*found)


def test_tables_are_rectangular() -> None:
    results = everything()
    for text in (
        tables.figure_table(results, "cpu_us"),
        tables.latency_table(results),
        tables.memory_table(results, "hello"),
        document.goals(results),
    ):
        lines = text.splitlines()
        assert len({line.count("|") for line in lines}) == 1
        assert len(lines) > 5


def test_a_failed_run_is_told_and_is_no_number() -> None:
    text = document.comparison(everything())
    assert "failed" in text
    assert "<no & answer>" in text
    assert "hello on h2wsgi-h2-asyncio" in text


def test_the_chart_is_well_formed_with_a_bar_for_every_figure() -> None:
    results = everything()
    root = ElementTree.fromstring(chart.draw(results))
    bars = root.findall(".//{http://www.w3.org/2000/svg}rect")
    figures = [s for s in results.samples if not s.error]
    assert len(bars) == len(figures)
    assert "http://" not in chart.draw(results).replace("http://www.w3.org/2000/svg", "")


def test_results_survive_their_file(tmp_path: Path) -> None:
    results = everything()
    save(results, tmp_path / "results.json")
    assert read(tmp_path / "results.json") == results


def test_a_section_of_the_document_is_replaced() -> None:
    text = "before\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nafter\n"
    wanted = "before\n<!-- bench:x -->\nnew\n<!-- /bench:x -->\nafter\n"
    assert document.put(text, "bench:x", "new\n") == wanted
    with pytest.raises(document.NoPlace):
        document.put(text, "bench:y", "new")


def test_the_document_has_a_place_for_every_measurement() -> None:
    text = document.DOCUMENT.read_text(encoding="utf-8")
    sections = "results", "commands", "memory", "connections", "flat", "instructions", "workers"
    for section in sections:
        document.put(text, f"bench:{section}", "")


def test_the_workers_table_has_a_row_for_each_load_and_server() -> None:
    found = Results(
        samples=[
            Sample(load=load.name, server=f"{server}, {count}", round=1, rate=1000.0 * count)
            for load in workers.LOADS
            for server in workers.SERVERS
            for count in workers.COUNTS
            if server != "granian"
        ]
    )
    rows = list(workers.rows_of(found))
    assert len(rows) == len(workers.LOADS) * len(workers.SERVERS)
    assert {len(row) for row in rows} == {len(workers.head())}
    assert rows[0][:4] == ["compute", goals.FAST, "1,000 / 2,000", "2.00x"]
    assert rows[1][:4] == ["compute", "granian", "failed / failed", ""]


def test_each_server_is_told_how_many_workers_there_are() -> None:
    for server in workers.SERVERS:
        assert " --workers 2" in workers.variant_of(server, 2).options
        assert " --workers 2" not in workers.variant_of(server, 1).options
    assert "--workers" not in workers.variant_of(goals.FAST, 1).options


def test_cpu_time_of_a_session_includes_children_and_ended_threads() -> None:
    spin = "import time\nend = time.process_time() + 0.1\nwhile time.process_time() < end: pass\n"
    threaded = "import threading\ndef spin():\n    " + spin.replace("\n", "\n    ") + "\n"
    threaded += "t = threading.Thread(target=spin); t.start(); t.join()\n"
    child = f"import sys; exec({threaded!r}); print('x', flush=True); sys.stdin.read()"
    parent = (
        "import subprocess, sys\n"
        f"sys.exit(subprocess.run([sys.executable, '-c', {child!r}]).returncode)"
    )
    command = [sys.executable, "-c", parent]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        pids = proc.session(process.pid)
        spent = proc.cpu_seconds(pids)
        memory = proc.memory(pids)
        process.communicate()
    assert len(pids) == 2
    assert 0.1 < spent < 30
    assert memory.peak >= memory.rss >= memory.pss > 1 << 20


def test_processes_that_are_gone_count_nothing() -> None:
    assert proc.session(2**22 + 1) == []
    assert proc.cpu_seconds([2**22 + 1]) == 0
    assert proc.memory([2**22 + 1]) == proc.Memory(rss=0, pss=0, peak=0)


def test_an_answer_is_as_long_as_its_load_says() -> None:
    def start_response(status: str, fields: object) -> None:
        assert status == "200 OK"

    for name in ("hello", "compute", "stream", "download"):
        body = b"".join(getattr(apps, name)({}, start_response))
        load = workers.COMPUTE if name == "compute" else loads.by_name(name)
        assert len(body) == load.answer


def test_flask_answers_what_is_expected() -> None:
    pytest.importorskip("flask")
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/flask",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "443",
        "wsgi.url_scheme": "https",
    }
    statuses = []
    body = apps.flask(environ, lambda status, *rest: statuses.append(status))
    assert statuses == ["200 OK"]
    assert len(b"".join(body)) == loads.by_name("flask").answer


def test_paths_are_all_different() -> None:
    assert len(set(loads.paths())) == loads.PATHS


def test_every_command_line_can_be_filled_in(tmp_path: Path) -> None:
    place = servers.Place(Path("python"), tmp_path, (1,))
    for variant in servers.VARIANTS:
        for load in loads.LOADS:
            command = place.command(variant, load, 8443)
            assert not [word for word in command if "{" in word]
            assert any("8443" in word for word in command)


def test_some_way_of_counting_is_chosen_or_none() -> None:
    chosen = instructions.choose()
    assert chosen is None or chosen[0] in ("perf stat", "valgrind --tool=callgrind")


def test_servers_are_told_to_take_many_connections_where_they_have_a_limit() -> None:
    def options(name: str) -> str:
        return connections.ready_for(servers.by_name(name), 12_000).options

    assert options("h2wsgi-fast-uvloop").endswith(" --max-connections 12500 --idle-timeout 0")
    assert options("granian").endswith(" --backlog 12500 --backpressure 12500")
    assert options("nghttpd") == servers.by_name("nghttpd").options
