"""A target such as ``module:app`` taken apart, and what was meant by one that names a file.

Runs in the thread that starts the server. Nothing is imported; files are looked at only if the
target names one.
"""

from __future__ import annotations

import ast
import difflib
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import LoadError
from .finding import home_of, target_in, targets_below


@dataclass(frozen=True, slots=True)
class Target:
    """A target taken apart. ``attributes`` is empty if the default names are meant.

    ``arguments`` and ``keywords`` are what a factory is called with.
    """

    text: str
    module: str
    attributes: tuple[str, ...]
    factory: bool
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)


def parse(target: str, *, factory: bool = False) -> Target:
    """Take ``target`` apart.

    Raises:
        LoadError: it is not of the form ``module:attribute``.
    """
    text = target.strip()
    module, colon, attribute = text.partition(":")
    if module.endswith(".py") or "/" in module or os.sep in module or module in (".", ".."):
        raise _file_for_a_module(text, Path(module), attribute)
    names = attribute
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    if attribute.endswith(")"):
        names, arguments, keywords = _parse_call(text, attribute)
        factory = True
    attributes = tuple(names.split(".")) if colon else ()
    if not all(part.isidentifier() for part in (*module.split("."), *attributes)):
        hint = "For example myproject.web:app, or myproject.web:make_app() for a factory."
        if "-" in module:
            hint = f"A module's name has no '-': name the file {module.replace('-', '_')}.py."
        raise LoadError(f"The target {text!r} is not of the form module:attribute.", hint)
    return Target(text, module, attributes, factory, arguments, keywords)


def _parse_call(text: str, attribute: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Return what is called in ``make_app('prod', debug=True)``, and with which literals."""
    names = attribute.partition("(")[0]
    try:
        call = ast.parse(attribute, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    if not isinstance(call, ast.Call) or ast.unparse(call.func) != names:
        raise LoadError(
            f"The target {text!r} is not of the form module:factory(arguments).",
            "For example \"myproject.web:make_app('production', debug=False)\".",
        )
    arguments = tuple(_literal(text, value) for value in call.args)
    keywords = {keyword.arg or "": _literal(text, keyword) for keyword in call.keywords}
    return names, arguments, keywords


def _literal(text: str, written: ast.expr | ast.keyword) -> Any:
    value = written.value if isinstance(written, ast.keyword) else written
    with suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        if not (isinstance(written, ast.keyword) and written.arg is None):  # **them
            return ast.literal_eval(value)
    hint = "Write a text, a number, True, False, None, or a list, tuple or dict of these."
    if isinstance(value, ast.Name):
        hint = f"If it is a text, it needs quotes: '{value.id}'."
    raise LoadError(f"The argument {ast.unparse(value)} in {text!r} is no literal.", hint)


def _file_for_a_module(text: str, path: Path, attribute: str) -> LoadError:
    """Return the error for a target that names a file or a folder, with the way to write it."""
    file = path if path.suffix == ".py" or path.is_dir() else path.with_suffix(".py")
    if path.is_dir():
        name, folder = home_of(path / "__init__.py")
        found = targets_below(path, name if folder != path.absolute() else "")
        hint = _with_folder(found[0], folder) if found else "Name a module in it: module:attribute."
        return LoadError(f"The target {text!r} is a folder, but a module is needed.", hint)
    if not file.exists():
        if meant := _file_elsewhere(file):
            return LoadError(
                f"There is no file {file}, which the target {text!r} names.",
                f"If {meant} is meant: {_way_to_write(meant, attribute)}",
            )
        near = difflib.get_close_matches(file.name, _sources_in(file.parent), n=1)
        hint = "Name a module, as Python imports it: myproject.web:app."
        if near:
            hint = f"If {near[0]} is meant: {_way_to_write(file.with_name(near[0]), attribute)}"
        return LoadError(f"There is no file {file}, which the target {text!r} names.", hint)
    return LoadError(
        f"The target {text!r} is a file, but a module is needed.", _way_to_write(file, attribute)
    )


def _file_elsewhere(file: Path) -> Path | None:
    """Return the file that was meant by ``mysite.wsgi.py``, or by ``wsgi.py`` of a package."""
    dotted = file.parent.joinpath(*file.stem.split("."))
    if (dotted := dotted.parent / f"{dotted.name}.py").is_file():
        return dotted
    for target in targets_below(file.parent):
        *packages, module = target.partition(":")[0].split(".")
        if packages and module == file.stem:
            return file.parent.joinpath(*packages, file.name)
    return None


def _sources_in(folder: Path) -> list[str]:
    with suppress(OSError):
        return [name for name in os.listdir(folder) if name.endswith(".py")]
    return []


def _way_to_write(file: Path, attribute: str) -> str:
    """Return how to write the target that is in a source file."""
    name, folder = home_of(file)
    attribute = attribute or target_in(file)
    is_script = not attribute and "." not in name
    if is_script and (nearby := targets_below(folder)):  # such as Django's manage.py
        return _with_folder(nearby[0], folder)
    attribute = attribute or "app"
    here = Path.cwd()
    hint = _with_folder(f"{name}:{attribute}", folder)
    below = folder.relative_to(here).parts if folder.is_relative_to(here) else ()
    if below and below[0] != "src" and all(part.isidentifier() for part in below):
        # Without __init__.py it may be a package all the same.
        return f"{hint.removesuffix('.')}, or {'.'.join((*below, name))}:{attribute}."
    return hint


def _with_folder(target: str, folder: Path) -> str:
    if folder == Path.cwd():
        return f"Write {target}."
    with suppress(ValueError):  # another drive of Windows
        folder = Path(os.path.relpath(folder))
    return f"Write {target} with --app-dir {folder.as_posix()}."
