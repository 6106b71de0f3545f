"""Tables in Markdown: rows for the terminal as they fall, and whole tables for the document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench import goals
from bench.results import Figure, Results

MIB = 1 << 20


def row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; columns of figures, which are those between first and last, to the right."""
    rule = "|---|" + "---:|" * (len(head) - 2) + "---|"
    return "\n".join([row(head), rule, *(row(cells) for cells in rows)]) + "\n"


def number(value: float | None) -> str:
    """Return a value in three digits or more; nothing for None."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(results: Results, load: str, server: str, figure: Figure) -> str:
    if results.error(load, server):
        return "failed"
    return number(results.median(load, server, figure))


SHORT = {goals.FAST: "fast", goals.H2: "h2"}


def found(verdict: goals.Verdict) -> str:
    if verdict.ratio is None:
        return "no figure"
    least, most = verdict.spread
    return f"{verdict.ratio:.2f}x ({least:.2f} to {most:.2f})"


def goal_cell(results: Results, load: str) -> str:
    """Return the goals of a load with their verdicts, for a row in the terminal."""
    return "; ".join(
        f"{SHORT[each.goal.server]} {each.goal.text()}: {found(each)} {each.word}"
        for each in goals.verdicts(results, load)
    )


def goal_rows(results: Results, load: str) -> list[list[str]]:
    """Return load, goal, what was found and the verdict, for each goal of a load."""
    return [
        [load, f"{each.goal.server} {each.goal.text()}", found(each), each.word]
        for each in goals.verdicts(results, load)
    ]


def comparison_head(results: Results) -> list[str]:
    return ["load", *results.servers, "goals"]


def comparison_row(results: Results, load: str) -> list[str]:
    """Return CPU microseconds a request for every server, and the goals."""
    cells = [cell(results, load, server, "cpu_us") for server in results.servers]
    return [load, *cells, goal_cell(results, load)]


def figure_table(results: Results, figure: Figure) -> str:
    head = ["load", *results.servers]
    rows = [
        [load, *(cell(results, load, server, figure) for server in results.servers)]
        for load in results.loads
    ]
    return table(head, rows)


def latency_table(results: Results) -> str:
    rows = []
    for load in results.loads:
        cells = [load]
        for server in results.servers:
            mean = cell(results, load, server, "mean_ms")
            worst = cell(results, load, server, "worst_ms")
            cells.append(mean if mean in ("", "failed") else f"{mean} / {worst}")
        rows.append(cells)
    return table(["load", *results.servers], rows)


def memory_table(results: Results, load: str) -> str:
    rows = []
    for server in results.servers:
        found = [results.median(load, server, figure) for figure in ("pss", "rss", "peak")]
        cells = ["" if value is None else f"{value / MIB:.1f}" for value in found]
        rows.append([server, *cells])
    return table(["server", "shared pages once", "sum", "sum at the peak"], rows)


def errors(results: Results) -> list[str]:
    """Return a line for each run that failed."""
    return [
        f"{sample.load} on {sample.server}, round {sample.round}: {sample.error}"
        for sample in results.samples
        if sample.error
    ]
