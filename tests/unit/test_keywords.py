"""The keywords of serve and the fixtures: in step with Config, and seen by mypy."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any, Literal

import h2wsgi
from h2wsgi.config import keywords
from h2wsgi.config.config import option_types

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 200.0
"""Seconds that mypy may take on a busy machine, of which it needs ten."""


def annotation(field: dataclasses.Field[Any], kind: Any) -> str:
    """Return what a library call may give for an option, as ``config.options.convert`` takes it."""
    if typing.get_origin(kind) is Literal:
        return f"Literal[{', '.join(repr(value) for value in typing.get_args(kind))}]".replace(
            "'", '"'
        )
    if kind == tuple[str, ...]:
        path = "PathLike[str] | " if field.metadata["metavar"] == "FILE" else ""
        return f"str | {path}list[str] | tuple[str, ...]"
    if field.metadata["bare"]:
        return "bool | str"
    if words := field.metadata["words"]:
        return f"{kind.__name__} | Literal[{', '.join(map(repr, words))}]".replace("'", '"')
    if field.metadata["metavar"] in ("FILE", "DIR"):
        return "str | PathLike[str]"
    if field.metadata["unit"]:
        return "int | str" if kind is int else "float | str"
    return str(kind.__name__)


def test_there_is_a_keyword_for_each_option_with_what_it_takes() -> None:
    types = option_types()
    wanted = [
        f"    {field.name}: {annotation(field, types[field.name])}"
        for field in dataclasses.fields(h2wsgi.Config)
    ]
    source = inspect.getsource(keywords.Options)
    assert [line for line in source.splitlines() if ": " in line and '"""' not in line] == wanted


def test_what_a_keyword_takes_a_config_can_be_built_of() -> None:
    for field in dataclasses.fields(h2wsgi.Config):
        # One of them is refused alone.
        values: list[Any] = [] if field.name == "client_cert" else [field.default]
        kind = annotation(field, option_types()[field.name])
        if "str |" in kind and field.default and not isinstance(field.default, tuple | str):
            values.append(str(field.default))
        if kind.startswith("str | list"):
            values += ["", list(field.default)]
        if kind == "str | PathLike[str]":
            values.append(Path("somewhere") if field.name == "app_dir" else "")
        if kind == "bool | str":
            values += [False, ""]
        for value in values:
            h2wsgi.Config.build(**{field.name: value})


USES = """
from pathlib import Path

import h2wsgi
from h2wsgi.testing import FixtureServer, FixtureServers, Options, RequestRecord


def app(environ, start_response):  # type: ignore[no-untyped-def]
    start_response("200 OK", [])
    return [b""]


def good(h2_server: FixtureServers, h2bin: FixtureServer) -> list[RequestRecord]:
    options: Options = {"max_streams": 1, "engine": "h2"}
    server: FixtureServer = h2_server(app, raise_app_errors=False, **options)
    h2_server("module:app", max_body="64KiB", bind=["localhost:0"], idle_timeout="2m", trace=True)
    h2_server(app, cert=Path("cert"))
    server.faults.add("refuse times=1")
    server.clear()
    h2wsgi.serve(app, threads=4)
    with h2wsgi.serve_in_thread(app, bind="localhost:0", fault="refuse") as thread:
        thread.requests[0].path.upper()
    return h2bin.requests


def bad(h2_server: FixtureServers) -> None:
    h2wsgi.serve_in_thread(app, bnd=3)
    h2wsgi.serve_in_thread(app, engine="slow")
    h2wsgi.serve(app, threads="many")
    h2_server(app, max_steams=1)
    h2_server(app, bind=3)
"""


def test_mypy_finds_an_option_that_there_is_not(tmp_path: Path) -> None:
    (tmp_path / "uses.py").write_text(USES)
    # The settings of the project, whose cache may be there already.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", str(tmp_path / "uses.py")],
        cwd=ROOT,
        env={"MYPYPATH": "src", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    bad = USES[: USES.index("def bad")].count("\n") + 1
    found = [line.split(": ", 1) for line in done.stdout.splitlines() if ": error: " in line]
    lines = [int(where.rpartition(":")[2]) - bad for where, _ in found]
    assert sorted(set(lines)) == [1, 2, 3, 4, 5], done.stdout + done.stderr
    said = "\n".join(what for _, what in found)
    assert 'Unexpected keyword argument "bnd"' in said
    assert 'Unexpected keyword argument "max_steams"' in said
