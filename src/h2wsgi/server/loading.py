"""From a target such as ``module:app`` to the WSGI callable it names.

Runs in the thread that starts the server, before anything is served. The invariant: a mistake of
the user's is a :class:`LoadError` of one sentence. A traceback is shown only for what the
application itself raised, and begins at the application's first frame.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from ..config.options import absolute
from ..errors import LoadError

DEFAULT_ATTRIBUTES = ("app", "application")
ASGI_PARAMETERS = ["scope", "receive", "send"]


class ApplicationLoadError(LoadError):
    """The application's own code raised while it was imported or made.

    ``traceback_text`` is the traceback without the frames of this package and of importlib.
    """

    def __init__(self, message: str, traceback_text: str) -> None:
        super().__init__(
            message, "The traceback shows where, from the application's first line on."
        )
        self.traceback_text = traceback_text


@dataclass(frozen=True, slots=True)
class Target:
    """A target taken apart. ``attributes`` is empty if the default names are meant."""

    text: str
    module: str
    attributes: tuple[str, ...]
    factory: bool


def load(target: str, *, app_dir: str = "", factory: bool = False) -> Callable[..., Any]:
    """Return the WSGI application that ``target`` names.

    ``target`` is ``module:attribute``, dotted on both sides, ``module:factory()``, or ``module``
    alone, which means its ``app`` or ``application``. ``app_dir`` (the current folder if empty)
    is put first on ``sys.path``. With ``factory`` the attribute is called for the application.

    Raises:
        LoadError: a sentence about what does not fit.
        ApplicationLoadError: the application's own import or its factory failed.
    """
    parsed = parse(target, factory=factory)
    folder = make_importable(app_dir)
    module = _import(parsed, folder)
    try:
        found = _find(parsed, module)
    except ApplicationLoadError:
        raise
    except LoadError as error:
        raise LoadError(str(error), _origin_hint(parsed, module, folder) or error.hint) from None
    if parsed.factory:
        found = _call_factory(parsed, found)
    return check_wsgi(parsed.text, found)


def parse(target: str, *, factory: bool = False) -> Target:
    """Take ``target`` apart.

    Raises:
        LoadError: it is not of the form ``module:attribute``.
    """
    text = target.strip()
    module, colon, attribute = text.partition(":")
    if attribute.endswith("()"):
        attribute, factory = attribute.removesuffix("()"), True
    if module.endswith(".py") or "/" in module or os.sep in module:
        raise LoadError(
            f"The target {text!r} is a file, but a module is needed.",
            _module_hint(Path(module), attribute or "app"),
        )
    attributes = tuple(attribute.split(".")) if colon else ()
    if not all(part.isidentifier() for part in (*module.split("."), *attributes)):
        raise LoadError(
            f"The target {text!r} is not of the form module:attribute.",
            "For example myproject.web:app, or myproject.web:make_app() for a factory.",
        )
    return Target(text, module, attributes, factory)


def _module_hint(path: Path, attribute: str) -> str:
    """Return how to write the target that is in the file ``path``."""
    packages = path.parts[:-1]
    if packages and packages[0] != "src" and all(part.isidentifier() for part in packages):
        dotted = ".".join((*packages, path.stem))
        return (
            f"Write {dotted}:{attribute}, "
            f"or {path.stem}:{attribute} with --app-dir {path.parent.as_posix()}."
        )
    return f"Write {path.stem}:{attribute}, with --app-dir for the folder it is in."


def make_importable(app_dir: str) -> str:
    """Put ``app_dir``, or the current folder, first on ``sys.path`` and return its full path."""
    folder = absolute(app_dir or ".", "--app-dir")
    if not os.path.isdir(folder):
        raise LoadError(
            f"The folder {app_dir!r} (--app-dir) does not exist.",
            "Name the folder that the application's module is in.",
        )
    if folder not in sys.path[:1]:
        sys.path.insert(0, folder)
    return folder


def check_wsgi(text: str, found: object) -> Callable[..., Any]:
    """Return ``found``, unless it cannot be a WSGI application.

    Raises:
        LoadError: ``found`` is not callable, is an ASGI application, or takes other arguments.
    """
    if not callable(found):
        kind = "module" if isinstance(found, ModuleType) else f"{type(found).__name__} object"
        article = "an" if kind[0].lower() in "aeiou" else "a"
        raise LoadError(
            f"{text!r} is {article} {kind}, which is not callable.",
            "A WSGI application is a function or object called with (environ, start_response).",
        )
    try:
        signature = inspect.signature(found)
    except (ValueError, TypeError):
        signature = None  # Functions written in C may have no signature.
    names = [] if signature is None else list(signature.parameters)
    if _is_asynchronous(found) or names[:3] == ASGI_PARAMETERS:
        raise LoadError(
            f"{text!r} is an ASGI application, and h2wsgi serves WSGI.",
            "Use an ASGI server, or turn it into WSGI with a2wsgi.ASGIMiddleware.",
        )
    if signature is not None:
        _check_signature(text, signature)
    return found


def _check_signature(text: str, signature: inspect.Signature) -> None:
    try:
        signature.bind(None, None)
    except TypeError:
        hint = "A WSGI application is called with (environ, start_response)."
        if _fits(signature):
            hint = "If it returns the application, add () to the target or give --factory."
        raise LoadError(
            f"{text!r} takes {signature}, not the two arguments of a WSGI application.", hint
        ) from None


def _fits(signature: inspect.Signature) -> bool:
    try:
        signature.bind()
    except TypeError:
        return False
    return True


def _is_asynchronous(found: object) -> bool:
    return inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(_call_method(found))


def _call_method(value: object) -> Any:
    # Only the type is asked: a proxy such as Flask's `request` raises when it is touched.
    return inspect.getattr_static(type(value), "__call__", None)


def _import(target: Target, folder: str) -> ModuleType:
    try:
        return importlib.import_module(target.module)
    except ModuleNotFoundError as error:
        if _user_frames(error):
            raise _raised(f"Importing {target.module!r}", error) from error
        raise _not_found(target, error, folder) from None
    except (Exception, SystemExit) as error:
        raise _raised(f"Importing {target.module!r}", error) from error


def _not_found(target: Target, error: ModuleNotFoundError, folder: str) -> LoadError:
    missing = error.name or target.module
    parent, _, last = missing.rpartition(".")
    if parent and not hasattr(sys.modules.get(parent), "__path__"):
        # `import a.b` where a is a plain module: the colon was probably meant.
        hint = f"{parent!r} is a module, not a package; did you mean {parent}:{last}?"
        return LoadError(f"There is no module {missing!r}.", hint)
    where = list(sys.modules[parent].__path__) if parent else [folder]
    names = [module.name for module in pkgutil.iter_modules(where)]
    hint = f"It was looked for in {folder} and among the installed packages; see --app-dir."
    if near := difflib.get_close_matches(last, names, n=1):
        hint = f"Did you mean {parent + '.' if parent else ''}{near[0]}?"
    elif missing == "httpbin":
        hint = 'Install it with: pip install "h2wsgi[httpbin]"'
    return LoadError(f"There is no module {missing!r}.", hint)


def _origin_hint(target: Target, module: ModuleType, folder: str) -> str:
    """Return a hint if another module than ``module`` was probably meant; empty otherwise."""
    name = target.module.rpartition(".")[2]
    file = getattr(module, "__file__", None)
    if file is None and hasattr(module, "__path__"):
        inner = [found.name for found in pkgutil.iter_modules(module.__path__)]
        example = f"{target.module}.{inner[0] if inner else 'module'}:app"
        return f"{name} is a folder without __init__.py; name a module in it, such as {example}."
    if target.module not in sys.stdlib_module_names:
        return ""
    place = file or "the interpreter itself"
    if Path(place).is_relative_to(folder):
        return ""
    return f"It is Python's own, imported from {place}; rename yours, if there is one."


def _find(target: Target, module: ModuleType) -> object:
    if not target.attributes:
        return _find_default(target, module)
    found: object = module
    owner = target.module
    for name in target.attributes:
        found = _attribute(owner, found, name)
        owner += ("." if ":" in owner else ":") + name
    return found


def _attribute(owner: str, found: object, name: str) -> object:
    try:
        return getattr(found, name)
    except AttributeError as error:
        if _user_frames(error):
            raise _raised(f"Looking up {name!r} in {owner!r}", error) from error
    except Exception as error:
        raise _raised(f"Looking up {name!r} in {owner!r}", error) from error
    public = [other for other in dir(found) if not other.startswith("_")]
    near = difflib.get_close_matches(name, public, n=3)
    raise LoadError(
        f"{owner!r} has no attribute {name!r}.", _suggest(owner, near or _applications(found))
    )


def _find_default(target: Target, module: ModuleType) -> object:
    for name in DEFAULT_ATTRIBUTES:
        if hasattr(module, name):
            return getattr(module, name)
    names = [other for other in dir(module) if not other.startswith("_")]
    near = [
        match for name in DEFAULT_ATTRIBUTES for match in difflib.get_close_matches(name, names)
    ]
    raise LoadError(
        f"{target.module!r} has neither 'app' nor 'application'.",
        _suggest(target.module, near or _applications(module)),
    )


def _applications(found: object) -> list[str]:
    """Return the names in ``found`` that look like WSGI applications by their parameters."""
    return [name for name, value in getattr(found, "__dict__", {}).items() if _looks_wsgi(value)]


def _looks_wsgi(value: object) -> bool:
    call = value if isinstance(value, FunctionType) else _call_method(value)
    try:
        return call is not None and "start_response" in inspect.signature(call).parameters
    except (ValueError, TypeError):
        return False


def _suggest(owner: str, names: Iterable[str]) -> str:
    joint = "." if ":" in owner else ":"
    unique = [owner + joint + name for name in dict.fromkeys(names)][:3]
    if not unique:
        return "Name the application after the colon: module:attribute."
    return f"Did you mean {' or '.join(unique)}?"


def _call_factory(target: Target, found: object) -> object:
    if not callable(found):
        raise LoadError(
            f"The factory {target.text!r} is not callable.",
            "Leave out --factory and the () if it is the application itself.",
        )
    try:
        return found()
    except TypeError as error:
        if _user_frames(error):
            raise _raised(f"The factory {target.text!r}", error) from error
        raise LoadError(
            f"The factory {target.text!r} cannot be called without arguments: {error}.",
            "Leave out --factory and the () if it is the application itself.",
        ) from None
    except (Exception, SystemExit) as error:
        raise _raised(f"The factory {target.text!r}", error) from error


def _raised(what: str, error: BaseException) -> ApplicationLoadError:
    shown = traceback.TracebackException.from_exception(error)
    shown.stack = traceback.StackSummary.from_list(_user_frames(error))
    return ApplicationLoadError(f"{what} raised {type(error).__name__}.", "".join(shown.format()))


def _user_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of ``error`` from the first that is neither ours nor importlib's."""
    frames = traceback.extract_tb(error.__traceback__)
    for index, frame in enumerate(frames):
        if not _is_machinery(frame.filename):
            return frames[index:]
    return []


def _is_machinery(filename: str) -> bool:
    return filename in (__file__, importlib.__file__) or filename.startswith("<frozen importlib")
