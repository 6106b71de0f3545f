"""h2wsgi: an HTTP/2 server for WSGI applications, and nothing else.

Public names: :func:`serve`, :func:`serve_in_thread`, :class:`Server`, :class:`Config` and its
keywords, :class:`Options`; :class:`StreamControl` with :class:`ErrorCode` and :class:`Setting`; and
the errors; the modules :mod:`h2wsgi.clientspec` and :mod:`h2wsgi.testing`. They are imported when
first asked for, so that ``h2wsgi --help`` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from . import clientspec, testing  # noqa: F401 - not in __all__, as a star imports all of that
    from .codes import ErrorCode, Setting
    from .config.config import Config
    from .config.keywords import Options
    from .errors import (
        ApplicationError,
        BodyTooLarge,
        CertificateError,
        ClientDisconnected,
        ConfigurationError,
        H2WSGIError,
        LoadError,
        ReadTimeout,
        RequestTimeout,
        StreamBroken,
        StreamGivenUp,
        WouldBlock,
    )
    from .seam.control import StreamControl
    from .server.running import ServerThread, serve, serve_in_thread
    from .server.server import Server

__all__ = [
    "ApplicationError",
    "BodyTooLarge",
    "CertificateError",
    "ClientDisconnected",
    "Config",
    "ConfigurationError",
    "ErrorCode",
    "H2WSGIError",
    "LoadError",
    "Options",
    "ReadTimeout",
    "RequestTimeout",
    "Server",
    "ServerThread",
    "Setting",
    "StreamBroken",
    "StreamControl",
    "StreamGivenUp",
    "WouldBlock",
    "__version__",
    "serve",
    "serve_in_thread",
]

_PACKAGES = ("clientspec", "testing")
_HOMES = {
    "Config": "config.config",
    "ErrorCode": "codes",
    "Options": "config.keywords",
    "Server": "server.server",
    "ServerThread": "server.running",
    "Setting": "codes",
    "StreamControl": "seam.control",
    "serve": "server.running",
    "serve_in_thread": "server.running",
}


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f".{name}", __name__)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES.get(name, 'errors')}", __name__), name)
    globals()[name] = value
    return value
