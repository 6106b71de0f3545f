"""Whether an object can be a WSGI application, and what it is instead.

Runs in the thread that starts the server. The invariant: nothing is called, and nothing is touched
but types, signatures and what a namespace holds: proxies such as Flask's ``request`` raise.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any

from ..errors import LoadError

ASGI_PARAMETERS = ["scope", "receive", "send"]
INNER = ("app", "application", "server", "wsgi_app", "wsgi")
"""Attributes in which objects that are not called themselves keep their application."""


def check_wsgi(text: str, found: object) -> Callable[..., Any]:
    """Return ``found``, unless it cannot be a WSGI application.

    Raises:
        LoadError: ``found`` is not callable, is an ASGI application, or takes other arguments.
    """
    if not callable(found):
        kind = "module" if isinstance(found, ModuleType) else f"{type(found).__name__} object"
        article = "an" if kind[0].lower() in "aeiou" else "a"
        hint = "A WSGI application is a function or object called with (environ, start_response)."
        if inner := applications_in(found, () if isinstance(found, ModuleType) else INNER):
            hint = f"Did you mean {_inside(text, found, inner[0])}?"
        raise LoadError(f"{text!r} is {article} {kind}, which is not callable.", hint)
    try:
        signature = inspect.signature(found)
    except (ValueError, TypeError):
        signature = None  # Functions written in C may have no signature.
    names = [] if signature is None else list(signature.parameters)
    if _is_asynchronous(found) and "start_response" in names:
        raise LoadError(
            f"{text!r} is asynchronous (async def), and a WSGI application is not.",
            "Make it a function (def); each request has a thread.",
        )
    if _is_asynchronous(found) or names[:3] == ASGI_PARAMETERS or names == ASGI_PARAMETERS[:1]:
        hint = "Use an ASGI server, or turn it into WSGI with a2wsgi.ASGIMiddleware."
        module, colon, attribute = text.partition(":")
        if module.endswith("asgi") and colon:  # Django makes both modules.
            hint = f"Did you mean {module.removesuffix('asgi')}wsgi:{attribute}? Or use a2wsgi."
        raise LoadError(f"{text!r} is an ASGI application, and h2wsgi serves WSGI.", hint)
    if isinstance(found, type):
        _check_class(text, found)
    if signature is not None:
        _check_signature(text, signature)
    return found


def _inside(text: str, found: object, name: str) -> str:
    if isinstance(found, ModuleType):
        return f"{found.__name__}:{name}"
    return text + ("." if ":" in text else ":") + name


def _check_class(text: str, found: type) -> None:
    """Refuse a class whose instances are applications, instead of what one answers.

    An instance that is made for each request has to be iterable: it is the content.
    """
    own_new = any("__new__" in vars(base) for base in found.__mro__[:-1])
    makes_itself = not own_new and type(found) is type
    iterable = hasattr(found, "__iter__") or hasattr(found, "__getitem__")
    if makes_itself and not iterable and callable(_call_method_of(found)):
        raise LoadError(
            f"{text!r} is a class, and its instances are applications.",
            "Name an instance, or add () to have one made.",
        )


def _call_method_of(kind: type) -> Any:
    return inspect.getattr_static(kind, "__call__", None)


def _check_signature(text: str, signature: inspect.Signature) -> None:
    try:
        signature.bind(None, None)
        if _is_factory(signature):
            raise TypeError
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


def _is_factory(signature: inspect.Signature) -> bool:
    """Return whether it looks like ``create_app(config=None, testing=False)``."""
    parameters = signature.parameters.values()
    optional = all(p.default is not p.empty and p.kind is not p.VAR_POSITIONAL for p in parameters)
    return optional and not {"environ", "env", "start_response"} & {p.name for p in parameters}


def _is_asynchronous(found: object) -> bool:
    return any(
        inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        for function in (found, _call_method(found))
    )


def _call_method(value: object) -> Any:
    # Only the type is asked: a proxy such as Flask's `request` raises when it is touched.
    return _call_method_of(type(value))


def applications_in(found: object, among: Iterable[str] = ()) -> list[str]:
    """Return the names in ``found`` that look like WSGI applications by their parameters.

    Only those of ``among``, if it is given.
    """
    values = getattr(found, "__dict__", {})
    return [name for name in (among or values) if looks_wsgi(values.get(name))]


def looks_wsgi(value: object) -> bool:
    """Return whether a function, or an object that can be called, has a ``start_response``."""
    if _is_asynchronous(value):
        return False
    call = value if isinstance(value, FunctionType) else _call_method(value)
    try:
        return call is not None and "start_response" in inspect.signature(call).parameters
    except (ValueError, TypeError):
        return False
