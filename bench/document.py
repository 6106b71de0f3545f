"""docs/performance.md and docs/performance.svg, as far as they are generated."""

from __future__ import annotations

from pathlib import Path

from bench import chart, loads, servers, tables
from bench.results import Results
from bench.servers import ROOT

DOCUMENT = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "performance.svg"


class NoPlace(Exception):
    """The document lacks the markers of a section."""


def put(text: str, section: str, content: str) -> str:
    """Return a document with the lines between the markers of a section replaced."""
    begin, end = f"<!-- {section} -->\n", f"<!-- /{section} -->"
    before, found, rest = text.partition(begin)
    _, also, after = rest.partition(end)
    if not found or not also:
        raise NoPlace(f"no section {section!r}")
    return f"{before}{begin}{content.rstrip()}\n{end}{after}"


def write(section: str, content: str, document: Path = DOCUMENT) -> None:
    text = document.read_text(encoding="utf-8")
    document.write_text(put(text, section, content), encoding="utf-8")


def write_comparison(results: Results) -> None:
    CHART.write_text(chart.draw(results), encoding="utf-8")
    write("bench:results", comparison(results))
    write("bench:commands", commands())


def write_second(results: Results) -> None:
    """Write what a second build of CPython makes of the goals."""
    parts = [conditions(results), figures(results), "Goals:\n", goals(results)]
    parts += ["Requests a second:\n", tables.figure_table(results, "rate")]
    write("bench:second", "\n".join(parts))


def comparison(results: Results) -> str:
    """Return the tables of a comparison in Markdown."""
    parts = [
        conditions(results),
        "CPU microseconds of the server a request:\n",
        figures(results),
        "Goals, in the same run:\n",
        goals(results),
        "Requests a second (h2load on the other CPU):\n",
        tables.figure_table(results, "rate"),
        "Milliseconds from a request to the end of its answer, mean / longest:\n",
        tables.latency_table(results),
    ]
    if "hello" in results.loads:
        parts.append("MiB resident in the server's processes after the load hello:\n")
        parts.append(tables.memory_table(results, "hello"))
    failures = tables.errors(results)
    if failures:
        parts.append("Failed:\n\n" + "".join(f"* {line}\n" for line in failures))
    return "\n".join(parts)


def figures(results: Results) -> str:
    return tables.figure_table(results, "cpu_us")


def goals(results: Results) -> str:
    rows = [cells for load in results.loads for cells in tables.goal_rows(results, load)]
    return tables.table(["load", "goal", "found", "verdict"], rows)


def conditions(results: Results) -> str:
    facts, found = results.machine, results.versions
    named = ", ".join(f"{name} {version}" for name, version in found.items())
    return (
        f"{results.date}, {results.rounds} rounds of {results.seconds:g} s; {facts['cpu']},"
        f" {facts['cores']} cores, {facts['kernel']}, {facts['python']}; {named}"
        f" ({results.commit}).\n"
    )


def command_lines() -> dict[str, str]:
    """Return the command line of every server and, by load, of h2load."""
    found = {}
    for variant in servers.VARIANTS:
        found[variant.name] = variant.words(loads.by_name("hello"))
        if variant.sleepers:
            found[f"{variant.name}, sleep"] = variant.words(loads.by_name("sleep"))
    return found | {f"h2load, {load.name}": client_words(load) for load in loads.LOADS}


def commands() -> str:
    """Return the command lines in a block of Markdown."""
    lines = [f"# {name}\n{line}" for name, line in command_lines().items()]
    return "\n".join(["```sh", *lines, "```"])


def client_words(load: loads.Load) -> str:
    """Return h2load's command line for a load as it is documented."""
    words = ["h2load", "-n N", f"-c {load.connections}", f"-m {load.streams}"]
    words.append(f"--tls13-ciphers={loads.CIPHER}")
    if load.windows is not None:
        words.append(f"-w {load.windows} -W {load.windows}")
    if load.fields:
        words.append(f"-H ... ({len(load.fields)} fields)")
    if load.body:
        words.append(f"-d FILE-OF-{load.body}-OCTETS")
    target = "--base-uri=URL -i PATHS" if load.varied else f"URL{load.path}"
    return " ".join([*words, target])
