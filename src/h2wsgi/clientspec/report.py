"""Results for people and for programs: a terminal, JUnit, JSON, Markdown, a table of clients. Pure.

Nothing that a client says reaches a terminal unescaped.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from ..log.text import printable
from .case import Case, Level
from .judge import Result, Verdict

MARKS = {
    Verdict.PASS: "✔",
    Verdict.FAIL: "✘",
    Verdict.NOT_REACHED: "-",
    Verdict.WORD: "·",
}
ASCII_MARKS = {
    Verdict.PASS: "+",
    Verdict.FAIL: "x",
    Verdict.NOT_REACHED: "-",
    Verdict.WORD: ".",
}
"""For an output whose encoding does not have all of MARKS."""
_COLOURS = {
    Verdict.PASS: "\x1b[32m",
    Verdict.FAIL: "\x1b[31m",
    Verdict.NOT_REACHED: "\x1b[33m",
    Verdict.WORD: "\x1b[36m",
}
_RESET, _BOLD, _DIM, _YELLOW = "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[33m"
FORMAT = 1
"""The version of the JSON."""
NOT_IN_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Terminal:
    """Makes the lines of a report as its results come."""

    def __init__(
        self, *, colour: bool, verbose: bool, width: int = 0, encoding: str = "utf-8"
    ) -> None:
        self._colour = colour
        self._verbose = verbose
        self._width = width
        """Columns that sentences are wrapped to; 0 for as many as they take."""
        self._group = ""
        self._marks = MARKS
        try:
            "".join(MARKS.values()).encode(encoding)
        except UnicodeError:
            self._marks = ASCII_MARKS

    def result(self, result: Result) -> str:
        """Return the lines of a result, after the heading of its group if that is new."""
        case = result.case
        lines = []
        if case.group != self._group:
            self._group = case.group
            lines += ["", f"  {self._in(_BOLD, case.group)}"]
        mark = self._in(_COLOURS[result.verdict], self._marks[result.verdict])
        word = f": {printable(result.word)}" if result.word else ""
        level = "" if case.level is Level.MUST else f" ({case.level})"
        lines.append(f"    {mark} {self._in(_DIM, case.id)} {case.title}{level}{word}")
        if result.problems:
            lines += self._problems(result)
        for remark in result.remarks:
            lines += self._wrapped("SHOULD", printable(remark), _YELLOW)
        if self._verbose and result.frames:
            shown = result.frames.splitlines()
            lines += [f"        {self._in(_DIM, line)}" for line in shown]
        return "\n".join(lines) + "\n"

    def _problems(self, result: Result) -> Iterator[str]:
        case = result.case
        yield from self._wrapped("", case.script.words)
        yield from self._wrapped("wanted:", "; ".join(wanted(case)))
        for problem in result.problems:
            yield from self._wrapped("came:  ", printable(problem), _COLOURS[Verdict.FAIL])
        yield from self._wrapped("", f"{case.advice} RFC {case.rfc}, section {case.section}.")

    def _wrapped(self, word: str, text: str, colour: str = "") -> list[str]:
        """Return the lines of a sentence behind a word."""
        first = " " * 8 + (f"{word} " if word else "")
        shown = wrapped(text, first, self._width)
        return [line[: len(first)] + self._in(colour, line[len(first) :]) for line in shown]

    def by_hand(self, case: Case, findings: Sequence[str], frames: str) -> str:
        """Return the lines about a connection of a client that somebody drives by hand."""
        lines = ["", f"  {self._in(_DIM, case.id)} {case.title}"]
        lines += self._wrapped("", case.script.words)
        lines += self._wrapped("wanted:", "; ".join(wanted(case)))
        for finding in findings or ["as wanted, as far as the wire tells"]:
            colour = _COLOURS[Verdict.FAIL if findings else Verdict.PASS]
            lines += self._wrapped("came:  ", printable(finding), colour)
        lines += [f"        {self._in(_DIM, line)}" for line in frames.splitlines()]
        return "\n".join(lines) + "\n"

    def summary(self, results: Sequence[Result], seconds: float, planned: int) -> str:
        """Return the lines at the end, about the cases that were played out of ``planned``."""
        count = Counter(result.verdict for result in results)
        musts = [result for result in results if result.fails_must]
        shoulds = sum(result.fails_should for result in results)
        lines = [""]
        if len(results) < planned:
            lines.append(f"Stopped with {planned - len(results)} of {planned} cases not played.")
        lines += [
            f"{counted(len(results))} in {seconds:.1f} s: {count[Verdict.PASS]} passed, "
            f"{count[Verdict.FAIL]} failed, {count[Verdict.WORD]} with a word, "
            f"{count[Verdict.NOT_REACHED]} not reached.",
        ]
        if musts:
            lines.append(self._in(_COLOURS[Verdict.FAIL], f"{len(musts)} failed a MUST:"))
            lines += [f"  {result.case.id} {result.case.title}" for result in musts]
        if shoulds:
            lines.append(f"It did less than it SHOULD in {counted(shoulds)}.")
        return "\n".join(lines) + "\n"

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colour and colour else text


def counted(cases: int) -> str:
    """Return a number of cases, in words."""
    return "1 case" if cases == 1 else f"{cases} cases"


def wrapped(text: str, first: str, width: int) -> list[str]:
    """Return text in lines of at most ``width`` columns (0: one line), ``first`` before it."""
    later = " " * len(first)
    width = max(width, len(first) + 20) if width else len(first) + len(text) + 1
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False
    )


def wanted(case: Case) -> list[str]:
    """Return what is right in a case, for the caller and on the wire."""
    said = [f"the caller {step.want}" for step in case.steps]
    return [*dict.fromkeys(said), *(rule.words for rule in case.wire)]


def as_json(client: str, results: Iterable[Result]) -> str:
    """Return results as JSON, which ``--compare`` reads."""
    shown = [
        {
            "id": result.case.id,
            "title": result.case.title,
            "level": str(result.case.level),
            "verdict": str(result.verdict),
            "word": result.word,
            "problems": result.problems,
            "remarks": result.remarks,
            "came": result.came,
            "seconds": round(result.seconds, 3),
        }
        for result in results
    ]
    return json.dumps({"format": FORMAT, "client": client, "cases": shown}, indent=1) + "\n"


def as_junit(client: str, results: Sequence[Result]) -> str:
    """Return results as JUnit's XML."""
    count = Counter(result.verdict for result in results)
    seconds = sum(result.seconds for result in results)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuite name={quoteattr(_xml(client))} tests="{len(results)}" '
        f'failures="{count[Verdict.FAIL]}" skipped="{count[Verdict.NOT_REACHED]}" errors="0" '
        f'time="{seconds:.3f}">',
    ]
    for result in results:
        case = result.case
        name = quoteattr(f"{case.id} {case.title}")
        lines.append(
            f'  <testcase classname="RFC {case.rfc} section {case.section}" name={name} '
            f'time="{result.seconds:.3f}">'
        )
        if result.verdict is Verdict.FAIL:
            said = "\n".join([*result.problems, case.advice, result.frames])
            message = quoteattr(_xml(result.problems[0]))
            lines.append(f"    <failure message={message}>{escape(_xml(said))}</failure>")
        elif result.verdict is Verdict.NOT_REACHED:
            lines.append(f"    <skipped message={quoteattr(_xml(result.word))}/>")
        lines.append("  </testcase>")
    return "\n".join([*lines, "</testsuite>"]) + "\n"


def _xml(text: str) -> str:
    """Return text without the characters that XML cannot hold."""
    return NOT_IN_XML.sub("\ufffd", text)


def as_markdown(client: str, results: Iterable[Result]) -> str:
    """Return results as a table of Markdown."""
    lines = [f"# {_cell(client)}", "", "| case | level | verdict | |", "|---|---|---|---|"]
    for result in results:
        case = result.case
        said = "; ".join([result.word] * bool(result.word) + [*result.problems, *result.remarks])
        lines.append(
            f"| {case.id} {_cell(case.title)} | {case.level} | {result.verdict} | {_cell(said)} |"
        )
    return "\n".join(lines) + "\n"


def compare(reports: Sequence[dict[str, Any]]) -> str:
    """Return a table of Markdown with a column for each report that ``as_json`` made.

    Cases that every client passes are counted, and have no row.
    """
    names = [_cell(str(report["client"])) for report in reports]
    by_id = [{case["id"]: case for case in report["cases"]} for report in reports]
    ids = list(dict.fromkeys(id_ for cases in by_id for id_ in cases))
    lines = [f"| case | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for verdict in Verdict:
        counts = [
            str(sum(case["verdict"] == verdict for case in cases.values())) for cases in by_id
        ]
        lines.append(f"| {verdict} | {' | '.join(counts)} |")
    passed_by_all = 0
    for id_ in ids:
        found = [cases.get(id_) for cases in by_id]
        if all(case is not None and case["verdict"] == Verdict.PASS for case in found):
            passed_by_all += 1
            continue
        title = next(case["title"] for case in found if case)
        cells = [_verdict(case) for case in found]
        lines.append(f"| {id_} {_cell(title)} | {' | '.join(cells)} |")
    lines += ["", f"{passed_by_all} of {len(ids)} cases are passed by all."]
    return "\n".join(lines) + "\n"


def _verdict(case: dict[str, Any] | None) -> str:
    if case is None:
        return ""
    if case["verdict"] == Verdict.WORD:
        return _cell(str(case["word"]))
    if case["verdict"] == Verdict.FAIL:
        return f"✘ {case['level']}"
    return "✔" if case["verdict"] == Verdict.PASS else "-"


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|").replace("\n", " ")
