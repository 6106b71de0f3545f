"""Engines: RFC 9113's state, windows and HPACK behind one interface. Loop thread only."""

from __future__ import annotations

from ...config.config import Config
from .interface import Engine, EngineHandler


def make_engine(handler: EngineHandler, config: Config) -> Engine:
    """Return a new connection's engine, as ``config.engine`` says."""
    # Imported here: the h2 library takes long to load, and most servers never need it.
    if config.engine == "h2":
        from .reference import ReferenceEngine

        return ReferenceEngine(handler, config)
    from .fast import FastEngine

    return FastEngine(handler, config)
