"""Which tests run a line, and how long each takes: collected once, kept until anything changes.

The cache folder ``.mutants`` beside ``src`` has coverage's data, with a context for each test, and
what noting.py notes. Tests marked ``client`` or ``heavy`` are left out, and so are those that fail
or are skipped without any mutant.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from coverage import CoverageData

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src"
CACHE = ROOT / ".mutants"
COVERAGE_OPTIONS = "[run]\nbranch = false\nparallel = true\n"


class CoverageMap:
    """The tests of each line of the sources."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {
            test: seconds
            for test, seconds in json.loads((CACHE / "seconds.json").read_text("utf-8")).items()
            if seconds is not None
        }
        self._data = CoverageData(str(CACHE / "coverage"))
        self._data.read()
        self._of_file: dict[Path, dict[int, set[str]]] = {}

    def __len__(self) -> int:
        """Return how many tests there are."""
        return len(self._seconds)

    def fastest(self, number: int) -> list[str]:
        """Return the tests that take the least time."""
        return sorted(self._seconds, key=self._order)[:number]

    def tests_of(self, file: Path, line: int, most: int) -> list[str]:
        """Return up to ``most`` tests that run a line of a file, the fastest first.

        Where there are more, each test function has its fastest case in before any has a second:
        the one that is about the line may be slower than hundreds of cases of others.

        What stands outside of functions runs when the module is imported: its tests are those that
        run a line with one of the names that it gives a value to.
        """
        tree = ast.parse(file.read_text("utf-8"))
        if (function := _function_around(tree, line)) is None:
            found = self._tests_of_names(_names_bound_at(tree, line))
        else:
            found = self._tests_of_lines(file, _lines_of_statement(function, line))
        fastest = sorted(found, key=self._order)
        cases: Counter[str] = Counter()
        ranks: dict[str, int] = {}
        for test in fastest:
            of_function = test.partition("[")[0]
            ranks[test] = cases[of_function]
            cases[of_function] += 1
        chosen = sorted(fastest, key=ranks.__getitem__)[:most]
        return sorted(chosen, key=self._order)

    def _order(self, test: str) -> tuple[float, str]:
        return self._seconds[test], test

    def _lines(self, file: Path) -> dict[int, set[str]]:
        if file not in self._of_file:
            contexts = self._data.contexts_by_lineno(str(file))
            tests = {
                line: {name.rpartition("|")[0] for name in names} & self._seconds.keys()
                for line, names in contexts.items()
            }
            self._of_file[file] = tests
        return self._of_file[file]

    def _tests_of_lines(self, file: Path, lines: Iterable[int]) -> set[str]:
        tests = self._lines(file)
        return next((found for line in lines if (found := tests.get(line))), set())

    def _tests_of_names(self, names: set[str]) -> set[str]:
        found: set[str] = set()
        for file in sorted(SOURCES.rglob("*.py")) if names else ():
            inside = _lines_in_functions(ast.parse(file.read_text("utf-8")))
            for number, text in enumerate(file.read_text("utf-8").splitlines(), 1):
                if number in inside and names & set(re.findall(r"\w+", text)):
                    found |= self._lines(file).get(number, set())
        return found


def coverage_map(*, anew: bool, keep: bool) -> CoverageMap:
    """Return the map, collected now if there is none of today's files, or ``anew``.

    With ``keep`` the one there is will do, whatever has changed.
    """
    stamp = CACHE / "stamp"
    today = _digest()
    if anew or not stamp.exists() or (not keep and stamp.read_text("ascii") != today):
        _collect()
        stamp.write_text(today, "ascii")
    return CoverageMap()


def _digest() -> str:
    """Return what changes with each change of the sources and the tests."""
    digest = hashlib.sha256()
    for folder in (SOURCES, ROOT / "tests"):
        for file in sorted(folder.rglob("*.py")):
            if file.parent != Path(__file__).parent:
                digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _collect() -> None:
    CACHE.mkdir(exist_ok=True)
    for old in CACHE.iterdir():
        old.unlink()
    (CACHE / "coveragerc").write_text(COVERAGE_OPTIONS, "ascii")
    print("looking which tests run which lines; this takes some minutes", flush=True)
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "mutants.noting"),
        *("--note-in", str(CACHE / "seconds.json"), "-m", "not client and not heavy"),
        *("--cov=h2wsgi", "--cov-context=test", "--cov-report="),
        *(f"--cov-config={CACHE / 'coveragerc'}", "-n", str(os.cpu_count() or 1)),
    ]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(SOURCES), str(ROOT / "tests"))),
        "COVERAGE_FILE": str(CACHE / "coverage"),
    }
    with open(CACHE / "pytest.log", "wb") as log:
        subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=log, check=False)
    if not (CACHE / "seconds.json").exists():
        raise SystemExit(f"the tests did not run: see {CACHE / 'pytest.log'}")


# ---------------------------------------------------------------------------------- sources


def _functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def _end(node: ast.stmt | ast.expr) -> int:
    return node.end_lineno or node.lineno


def _function_around(tree: ast.AST, line: int) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """Return the outermost function whose body, not its parameters, has the line."""
    for function in _functions(tree):
        if function.body[0].lineno <= line <= _end(function):
            return function
    return None


def _lines_in_functions(tree: ast.AST) -> set[int]:
    return {line for f in _functions(tree) for line in range(f.body[0].lineno, _end(f) + 1)}


def _lines_of_statement(function: ast.AST, line: int) -> list[int]:
    """Return a line, then those before it in its statement: not each has code of its own."""
    around = [
        node.lineno
        for node in ast.walk(function)
        if isinstance(node, ast.stmt) and node.lineno <= line <= _end(node)
    ]
    return list(range(line, max(around) - 1, -1))


def _names_bound_at(tree: ast.AST, line: int) -> set[str]:
    """Return what a statement outside of functions gives a value to, or the function it is of."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt) or not node.lineno <= line <= _end(node):
            continue
        if isinstance(node, ast.Assign | ast.AnnAssign):
            names = {
                n.id
                for n in ast.walk(node)
                if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
            }
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = {node.name}
    return names
