"""Which event loop a server runs on."""

from __future__ import annotations

import asyncio
import builtins

import pytest

import h2wsgi
from h2wsgi.server.running import loop_factory


def test_without_uvloop_auto_takes_asyncios_loop_and_uvloop_is_refused(monkeypatch):
    real_import = builtins.__import__

    def without_uvloop(name, *args, **kwargs):
        if name == "uvloop":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_uvloop)
    assert loop_factory("auto") is asyncio.SelectorEventLoop
    with pytest.raises(h2wsgi.ConfigurationError, match=r"uvloop .* not installed"):
        loop_factory("uvloop")
