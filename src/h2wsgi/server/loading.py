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
from pathlib import Path
from types import ModuleType
from typing import Any

from ..config.options import absolute
from ..errors import LoadError
from .checking import applications_in, check_wsgi, looks_wsgi
from .finding import DEFAULT_ATTRIBUTES, FACTORIES, target_in, targets_below
from .targets import Target, parse


class ApplicationLoadError(LoadError):
    """The application's own code raised while it was imported or made.

    ``traceback_text`` is the traceback without the frames of this package and of importlib.
    """

    def __init__(self, message: str, traceback_text: str, hint: str = "") -> None:
        super().__init__(
            message, hint or "The traceback shows where, from the application's first line on."
        )
        self.traceback_text = traceback_text


def load(target: str, *, app_dir: str = "", factory: bool = False) -> Callable[..., Any]:
    """Return the WSGI application that ``target`` names.

    ``target`` is ``module:attribute``, dotted on both sides, ``module:factory()``, with literals
    as arguments if need be, or ``module`` alone, which means its ``app`` or ``application``.
    ``app_dir`` (the current folder if empty) is put first on ``sys.path``. With ``factory`` the
    attribute is called for the application.

    Raises:
        LoadError: a sentence about what does not fit.
        ApplicationLoadError: the application's own import or its factory failed.
    """
    folder = make_importable(app_dir)
    parsed = parse(target, factory=factory)
    module = _import(parsed, folder)
    try:
        found = _find(parsed, module, folder)
    except ApplicationLoadError:
        raise
    except LoadError as error:
        hint = _origin_hint(parsed, module, folder) or _module_hint(parsed, module) or error.hint
        raise LoadError(str(error), hint) from None
    if parsed.factory:
        found = _call_factory(parsed, found)
    return check_wsgi(parsed.text, found)


def make_importable(app_dir: str) -> str:
    """Put ``app_dir``, or the current folder, first on ``sys.path`` and return its full path."""
    folder = absolute(app_dir or ".", "--app-dir")
    if not os.path.isdir(folder):
        missing = "is not a folder" if os.path.exists(folder) else "does not exist"
        raise LoadError(
            f"The folder {app_dir!r} (--app-dir) {missing}.",
            "Name the folder that the application's module is in.",
        )
    if folder not in sys.path[:1]:
        sys.path.insert(0, folder)
    return folder


def _import(target: Target, folder: str) -> ModuleType:
    try:
        return importlib.import_module(target.module)
    except ModuleNotFoundError as error:
        if _user_frames(error):
            raise _raised(f"Importing {target.module!r}", error) from error
        raise _not_found(target, error, folder) from None
    except (Exception, SystemExit) as error:
        if isinstance(error, OSError) and not _user_frames(error):
            raise LoadError(
                f"The module {target.module!r} cannot be read from {error.filename}: "
                f"{error.strerror}.",
                "Check its owner and mode, and who runs h2wsgi.",
            ) from None
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
    if not parent and not os.access(folder, os.R_OK | os.X_OK):
        hint = (
            f"The folder {folder} may not be read: check its owner and mode, and who runs h2wsgi."
        )
    elif near := difflib.get_close_matches(last, names, n=1):
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
        attributes = {n: target_in(Path(p, f"{n}.py")) for p in module.__path__ for n in inner}
        likely = next((n for n, found in attributes.items() if found), inner[0] if inner else "")
        example = f"{target.module}.{likely or 'module'}:{attributes.get(likely) or 'app'}"
        return f"{name} is a folder without __init__.py; name a module in it, such as {example}."
    if target.module not in sys.stdlib_module_names:
        return ""
    place = file or "the interpreter itself"
    if Path(place).is_relative_to(folder):
        return ""
    return f"It is Python's own, imported from {place}; rename yours, if there is one."


def _module_hint(target: Target, module: ModuleType) -> str:
    """Return a hint if what stands behind the colon is a module of a package; empty otherwise."""
    name = target.attributes[0] if target.attributes else ""
    for path in getattr(module, "__path__", ()):
        if name and os.path.isfile(file := Path(path, f"{name}.py")):
            found = ".".join(target.attributes[1:]) or target_in(file) or "app"
            return f"{name} is a module of {target.module}: write {target.module}.{name}:{found}."
    return ""


def _nearby(module: ModuleType, folder: str) -> list[str]:
    """Return targets in a package, or beside a script such as Django's manage.py."""
    found = [
        target
        for path in getattr(module, "__path__", ())
        for target in targets_below(path, module.__name__)
    ]
    found = found or targets_below(folder)
    return [target for target in found if not target.startswith(f"{module.__name__}:")]


def _find(target: Target, module: ModuleType, folder: str) -> object:
    if not target.attributes:
        return _find_default(target, module, folder)
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
    factories = _factories_in(found)
    near = [
        f"{match}()" if f"{match}()" in factories else match
        for match in difflib.get_close_matches(name, public, n=3)
    ]
    if name in DEFAULT_ATTRIBUTES:
        # A factory's name looks like theirs, as do others.
        near = [*(other for other in DEFAULT_ATTRIBUTES if other in public), *factories, *near]
    near = near or applications_in(found)
    raise LoadError(f"{owner!r} has no attribute {name!r}.", _suggest(owner, near))


def _factories_in(found: object) -> list[str]:
    """Return how those are called that make applications, by their names, the likeliest first."""
    return [f"{name}()" for name in FACTORIES if callable(getattr(found, name, None))]


def _find_default(target: Target, module: ModuleType, folder: str) -> object:
    for name in DEFAULT_ATTRIBUTES:
        if hasattr(module, name):
            return getattr(module, name)
    factories = _factories_in(module)
    names = [other for other in dir(module) if not other.startswith("_")]
    near = [
        match
        for name in DEFAULT_ATTRIBUTES
        for match in difflib.get_close_matches(name, names)
        if f"{match}()" not in factories
    ]
    hint = _suggest(target.module, [*factories, *applications_in(module), *near])
    if not hint.startswith("Did") and (nearby := _nearby(module, folder)):
        hint = f"Did you mean {' or '.join(nearby[:3])}?"
    raise LoadError(f"{target.module!r} has neither 'app' nor 'application'.", hint)


def _suggest(owner: str, names: Iterable[str]) -> str:
    joint = "." if ":" in owner else ":"
    unique = [owner + joint + name for name in dict.fromkeys(names)][:3]
    if not unique:
        return "Name the application after the colon: module:attribute."
    return f"Did you mean {' or '.join(unique)}?"


def _call_factory(target: Target, found: Any) -> object:
    if not callable(found):
        raise LoadError(
            f"The factory {target.text!r} is not callable.",
            "Leave out --factory and the () if it is the application itself.",
        )
    if looks_wsgi(found) and not isinstance(found, type):
        raise LoadError(
            f"{target.text.partition('(')[0]!r} is the application itself, and no factory of it.",
            "Leave out --factory and the ().",
        )
    if inspect.iscoroutinefunction(found):
        raise LoadError(
            f"The factory {target.text!r} is a coroutine function, which nobody awaits here.",
            "Make it a function (def), or call it with asyncio.run() in one.",
        )
    try:
        return found(*target.arguments, **target.keywords)
    except TypeError as error:
        if _user_frames(error):
            raise _raised(f"The factory {target.text!r}", error) from error
        given = target.arguments or target.keywords
        hint = "Leave out --factory and the () if it is the application itself."
        if inspect.isfunction(found):
            name = target.text.partition("(")[0]
            hint = f'Give it its arguments: "{name}(...)"; it takes {inspect.signature(found)}.'
        raise LoadError(
            f"The factory {target.text!r} cannot be called "
            f"{'with these' if given else 'without'} arguments: {error}.",
            hint,
        ) from None
    except (Exception, SystemExit) as error:
        raise _raised(f"The factory {target.text!r}", error) from error


def _raised(what: str, error: BaseException) -> ApplicationLoadError:
    shown = traceback.TracebackException.from_exception(error)
    shown.stack = traceback.StackSummary.from_list(_user_frames(error))
    hint = ""
    if isinstance(error, ModuleNotFoundError) and error.name:
        hint = f"h2wsgi runs in {sys.prefix}: is what brings {error.name!r} installed there?"
    elif isinstance(error, ImportError) and "no known parent package" in str(error):
        hint = "Name the module with its package, package.module, from the folder above."
    said = f"{what} raised {type(error).__name__}."
    return ApplicationLoadError(said, "".join(shown.format()), hint)


def _user_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of ``error`` from the first that is neither ours nor importlib's."""
    frames = traceback.extract_tb(error.__traceback__)
    for index, frame in enumerate(frames):
        if not _is_machinery(frame.filename):
            return frames[index:]
    return []


def _is_machinery(filename: str) -> bool:
    return filename in (__file__, importlib.__file__) or filename.startswith("<frozen importlib")
