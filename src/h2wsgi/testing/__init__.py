"""For tests of clients: the types of the pytest fixtures, for annotations and further fixtures.

``h2_server`` is a :class:`FixtureServers`; the servers that it starts, ``h2bin`` and the
``httpbin_...`` are each a :class:`FixtureServer`; :class:`Options` are the keywords of all.
``connections`` and ``requests`` are :class:`Records` of the other types. The test's own thread.
Each name is imported when first asked for, as pytest imports the plugin in every run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..config.fault_rules import FaultRule, FaultRules
    from ..config.keywords import Options
    from ..tools.recording.records import (
        ConnectionRecord,
        GoAway,
        Records,
        RequestRecord,
        Reset,
    )
    from ..tools.tap.field_blocks import Field
    from ..tools.tap.frames import Direction, Frame
    from .fixture_server import FixtureServer, FixtureServers

__all__ = [
    "ConnectionRecord",
    "Direction",
    "FaultRule",
    "FaultRules",
    "Field",
    "FixtureServer",
    "FixtureServers",
    "Frame",
    "GoAway",
    "Options",
    "Records",
    "RequestRecord",
    "Reset",
]

_HOMES = {
    "Direction": "..tools.tap.frames",
    "FaultRule": "..config.fault_rules",
    "FaultRules": "..config.fault_rules",
    "Field": "..tools.tap.field_blocks",
    "FixtureServer": ".fixture_server",
    "FixtureServers": ".fixture_server",
    "Frame": "..tools.tap.frames",
    "Options": "..config.keywords",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "..tools.recording.records")
    value = getattr(importlib.import_module(home, __name__), name)
    globals()[name] = value
    return value
