"""docs/one-request.md, checked against the source and against a request that is followed."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from docs.walk import SOURCE, Step, counts, walk

PAGE = Path(__file__).parents[2] / "docs" / "one-request.md"
MOST_FILES = 16
MOST_LINES = 1_050

ASIDE = re.compile(r"`([^`\s]+)`\s(?:in\s|\()`([a-z_0-9/]+\.py)`")
"""Something whose file stands behind it: what is told of, and not entered just then."""

Named = tuple[str, str]
"""A file and a function in it."""


def sections() -> dict[str, str]:
    """Return the page's sections by their headings."""
    parts = re.split(r"^## (.+)$", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def named(text: str) -> list[Named]:
    """Return the functions that a text names behind a file, in order."""
    found: list[Named] = []
    file = ""
    for word in re.findall(r"`([^`\s]+)`", ASIDE.sub("", text)):
        if word.endswith(".py"):
            file = word
        elif _is_in(file, word):
            found.append((file, word))
    return found


def _is_in(file: str, word: str) -> bool:
    return bool(file) and (SOURCE / file).exists() and word in _defined(file)


@functools.cache
def _defined(file: str) -> set[str]:
    """Return the qualified names of the functions of a file."""
    names: set[str] = set()
    for node in ast.parse((SOURCE / file).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{f.name}" for f in node.body if isinstance(f, ast.FunctionDef)}
    return names


@functools.cache
def _everywhere() -> tuple[set[str], set[str]]:
    """Return all functions of the source by their qualified names, and all its classes."""
    functions: set[str] = set()
    classes: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        functions |= _defined(path.relative_to(SOURCE).as_posix())
        tree = ast.parse(path.read_text("utf-8"))
        classes |= {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    return functions, classes


def test_each_file_that_is_named_is_there() -> None:
    words = re.findall(r"`([a-z_0-9/]+\.py)`", PAGE.read_text("utf-8"))
    sources = [word for word in words if not word.startswith("tests/")]
    assert len(sources) > 50
    assert [word for word in sources if not (SOURCE / word).is_file()] == []


def test_each_function_is_defined_in_the_file_that_is_named() -> None:
    functions, classes = _everywhere()
    wrong = []
    known: set[str] = set()
    for step in re.split(r"^ *\d+\. |^#+ ", PAGE.read_text("utf-8"), flags=re.MULTILINE):
        for word, file in ASIDE.findall(step):
            if word in functions and word not in _defined(file):
                wrong.append(f"{word} is not in {file}")
            known.add(word)
        file = ""
        for word in re.findall(r"`([^`\s]+)`", ASIDE.sub("", step)):
            if word.endswith(".py"):
                file = word
            elif _is_in(file, word):
                known.add(word)
            elif word in functions and "." in word and word not in known:
                wrong.append(f"{word} is not in {file or 'a file that was named'}")
            elif re.match(r"_?[A-Z]\w*\.", word) and word not in functions:
                is_class = word.partition(".")[0] in classes
                wrong += _unless_a_field(word) if is_class else [f"{word}: no such class"]
    assert wrong == []
    assert len(known) > 90


def _unless_a_field(word: str) -> list[str]:
    """Return a complaint if no class has the attribute that ``Class.attribute`` names."""
    attribute = word.partition(".")[2]
    for path in SOURCE.rglob("*.py"):
        if re.search(rf"\bself\.{attribute}\b", path.read_text("utf-8")):
            return []
    return [f"{word} is nowhere"]


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    return walk()


@pytest.mark.parametrize("thread", ["loop", "application"])
def test_a_warm_get_goes_the_way_that_is_told(steps: list[Step], thread: str) -> None:
    told = [
        function
        for heading, text in _parts(sections()["A small GET"])
        if heading.startswith(f"The {thread}'s thread")
        for function in named(text)
    ]
    taken = iter([(step.file, step.function) for step in steps if step.thread == thread])
    missing = [function for function in told if function not in taken]
    assert missing == [], "named too early, too late, or not entered at all"
    assert len(told) > 10


def test_every_function_of_a_warm_get_is_told(steps: list[Step]) -> None:
    told = set(named(sections()["A small GET"]))
    assert {(step.file, step.function) for step in steps} - told == set()


def test_a_warm_get_passes_few_files_and_few_lines(steps: list[Step]) -> None:
    found = counts(steps)
    assert found.files <= MOST_FILES
    assert found.lines <= MOST_LINES


def _parts(text: str) -> list[tuple[str, str]]:
    """Return heading and text of each part of a section."""
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))
