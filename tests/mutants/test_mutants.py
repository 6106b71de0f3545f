"""The mutants: what is made of a line, which tests a line has, and explanations that still hold."""

from __future__ import annotations

import ast
import functools

import pytest

from mutants.__main__ import main
from mutants.coverage_map import SOURCES
from mutants.explained import EXPLAINED, Explained, reason
from mutants.operators import mutants_of

MADE = {
    "if a < b: f()": {"if a <= b: f()", "if a >= b: f()", "if a < b: pass"},
    "x = a + 1": {"x = a - 1", "x = a + 2", "x = a + 0"},
    "x = min(a, b)": {"x = max(a, b)"},
    "x = not a and b is not c": {
        "x = (a) and b is not c",
        "x = not a or b is not c",
        "x = not a and b is c",
    },
    "while a: break": {"while not (a): break", "while a: continue"},
    "self.a = True": {"self.a = False", "pass"},
    "x: int = 0": {"x: int = 1", "x: int = (-1)"},
    "a += 1": {"a += 2", "a += 0", "pass"},
    "raise a": {"pass"},
}
made_of = functools.cache(mutants_of)
LEFT_ALONE = (
    '"""A docstring."""',
    "import a",
    '__slots__ = ("a",)',
    "if TYPE_CHECKING: f()",
    "def f(a: Literal[1]) -> Literal[2]: ...",
    'x = f"{a + 1}"',
)


@pytest.mark.parametrize("line", MADE)
def test_a_line_has_its_mutants(line: str) -> None:
    assert {mutant.apply(line) for mutant in mutants_of(line)} == MADE[line]


@pytest.mark.parametrize("line", LEFT_ALONE)
def test_what_is_no_behaviour_has_none(line: str) -> None:
    assert not mutants_of(line)


def test_what_a_function_returns_is_another_thing() -> None:
    one = "def f() -> bool:\n    return a(b)\n"
    assert {m.lines(one)[1] for m in mutants_of(one)} == {"return True", "return False"}
    other = "def f() -> int:\n    return a(b)\n"
    assert {m.lines(other)[1] for m in mutants_of(other)} == {"return None"}
    none = "def f() -> None:\n    if a is b:\n        return\n"
    assert {m.lines(none)[1] for m in mutants_of(none)} == {"if a is not b:", "pass"}


def test_every_mutant_of_the_sources_is_legal_python_and_differs() -> None:
    for file in sorted((SOURCES / "h2wsgi" / "wsgi").glob("*.py")):
        source = file.read_text("utf-8")
        for mutant in made_of(source)[::10]:
            assert ast.dump(ast.parse(mutant.apply(source))) != ast.dump(ast.parse(source))


@pytest.mark.parametrize("known", EXPLAINED, ids=lambda known: known.line[:40])
def test_what_is_explained_is_a_mutant_of_today(known: Explained) -> None:
    assert reason(*known[:3]) == known.why
    sources = [file.read_text("utf-8") for file in SOURCES.rglob(f"{known.module}.py")]
    found = {mutant.lines(source) for source in sources for mutant in made_of(source)}
    assert (known.line, known.mutated) in found, "gone: take it out, or say where it is now"


def test_a_name_that_is_no_source_is_refused() -> None:
    with pytest.raises(SystemExit, match="no_such_thing"):
        main(["--packages", "no_such_thing"])
