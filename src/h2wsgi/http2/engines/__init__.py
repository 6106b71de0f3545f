"""Engines: RFC 9113's state, windows and HPACK behind one interface. Loop thread only."""

from __future__ import annotations

from collections.abc import Callable

from ...config.config import Config
from .interface import Engine, EngineHandler


def engine_of(config: Config) -> Callable[[EngineHandler, Config], Engine]:
    """Return the engine that ``config.engine`` names, which may have to be loaded.

    A server asks before it serves: by the first connection there may be no descriptor left to load
    it with, or another version in its place.
    """
    # Imported here: the h2 library takes long to load, and most servers never need it.
    if config.engine == "h2":
        from .reference import ReferenceEngine

        return ReferenceEngine
    from .fast import FastEngine

    return FastEngine


def make_engine(handler: EngineHandler, config: Config) -> Engine:
    """Return a new connection's engine."""
    return engine_of(config)(handler, config)
