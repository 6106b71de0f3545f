"""Which application somebody probably meant, from source files that are not run.

Runs in the thread that starts the server, after a target was refused. The invariant: nothing is
imported and nothing raises; what cannot be read holds no application.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

DEFAULT_ATTRIBUTES = ("app", "application")
FACTORIES = ("create_app", "make_app", "create_application", "make_application", "get_app")
MODULES = ("wsgi", "app", "application", "main", "server", "web", "__init__")
"""Names of modules that applications are usually in, the likeliest first."""
MAX_SOURCE = 1_000_000
"""Octets of a file that is looked into."""
MAX_FOLDERS = 50
"""Folders of one that are looked into."""


def target_in(file: Path) -> str:
    """Return what stands behind the colon for an application in a source file; empty if none."""
    try:
        if file.stat().st_size > MAX_SOURCE:
            return ""
        body = ast.parse(file.read_bytes()).body
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return ""
    names = {name for statement in body for name in _names_of(statement)}
    for name in DEFAULT_ATTRIBUTES:
        if name in names:
            return name
    for name in FACTORIES:
        if any(isinstance(s, ast.FunctionDef) and s.name == name for s in body):
            return f"{name}()"
    for statement in body:
        if isinstance(statement, ast.FunctionDef):
            arguments = [argument.arg for argument in statement.args.args]
            if arguments[1:2] == ["start_response"]:
                return statement.name
    return ""


def _names_of(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement of a module defines, those in its branches included."""
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
            yield name
        case ast.ImportFrom(names=names) | ast.Import(names=names):
            yield from (alias.asname or alias.name for alias in names)
        case ast.If(body=body, orelse=other) | ast.Try(body=body, orelse=other):
            for inner in (*body, *other):
                yield from _names_of(inner)
        case ast.With(body=body):
            for inner in body:
                yield from _names_of(inner)


def targets_below(folder: str | Path, package: str = "") -> list[str]:
    """Return the targets of applications in a folder's modules, and in those of its packages.

    ``package`` is what the folder itself is imported as, if it is a package.
    """
    found = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []
    for name in MODULES:
        module = package if name == "__init__" else f"{package}.{name}" if package else name
        if module and (attribute := target_in(Path(folder, f"{name}.py"))):
            found.append(f"{module}:{attribute}")
    if not package:
        inner = [entry.name for entry in entries if entry.name.isidentifier()]
        for name in inner[:MAX_FOLDERS]:
            if os.path.isdir(os.path.join(folder, name)):
                found += targets_below(Path(folder, name), name)
    return found


def home_of(file: Path) -> tuple[str, Path]:
    """Return how a source file, or a package's folder, is imported, and the folder to do so from.

    Folders with an ``__init__.py`` are packages.
    """
    file = file.absolute()
    names = [] if file.stem == "__init__" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        names.insert(0, folder.name)
        folder = folder.parent
    return ".".join(names), folder
