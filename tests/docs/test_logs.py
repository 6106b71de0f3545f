"""docs/logs.md has the name of every event, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import h2wsgi
from h2wsgi.config.access_format import ATOMS
from h2wsgi.log.logs import access_json
from h2wsgi.log.text import AccessRecord

DOCS = Path(__file__).parents[2] / "docs" / "logs.md"
SOURCE = Path(h2wsgi.__file__).parent


def names_in_the_source() -> set[str]:
    found = {"lines_dropped", "wsgi_errors", "log"}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "named"
            ):
                first = node.args[0]
                assert isinstance(first, ast.Constant), path
                found.add(first.value)
    return found


def test_every_event_has_a_row_and_every_row_an_event() -> None:
    table = DOCS.read_text("utf-8").split("<!-- events -->")[1].split("<!-- /events -->")[0]
    rows = [row.split("|")[1] for row in table.strip().splitlines()[2:]]
    assert {name for cell in rows for name in re.findall(r"`(\w+)`", cell)} == names_in_the_source()


def test_every_event_that_is_logged_has_a_name() -> None:
    """But those of a name-less logger, which are a program's."""
    calls = ("debug", "info", "warning", "error", "exception", "log")
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in calls
                and isinstance(node.func.value, ast.Attribute)
                and node.func.value.attr == "events"
            ):
                assert any(k.arg == "extra" for k in node.keywords), f"{path}:{node.lineno}"


def test_every_key_of_a_request_and_every_atom_is_named() -> None:
    text = DOCS.read_text("utf-8")
    fields = ((b"x-request-id", b"a"), (b"traceparent", b"b"))
    record = AccessRecord("GET", "/", 200, "HTTP/2", 1, 0.0, 0, "a:1", fields=fields)
    keys = re.findall(r'"(\w+)":', access_json(record))
    assert "request_id" in keys
    for name in (*keys, *ATOMS):
        assert f"`{name}`" in text, name
