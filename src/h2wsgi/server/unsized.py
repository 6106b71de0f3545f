"""What an application wants to become of request content without a length.

Runs in the thread that starts the server, before anything is served. The invariant: no attribute
that an application happens to have stops it from being served.
"""

from __future__ import annotations

import typing
from typing import Any

from ..config.config import option_types
from ..errors import ConfigurationError

ATTRIBUTE = "h2wsgi_unsized_content"
WRAPPED = ("__wrapped__", "app", "application", "wsgi_app", "wsgi", "func", "__self__")
"""Where middlewares keep the application that they are put around."""
MOST_LAYERS = 100
"""Objects to look at: some have an attribute of any name."""


def unsized_content_of(app: object) -> str:
    """Return what the attribute says, empty if there is none.

    It is looked for below middlewares that keep what they wrap where the common ones do.

    Raises:
        ConfigurationError: it says nothing that there is.
    """
    layers = {id(app): app}
    for _ in range(MOST_LAYERS):
        if not layers:
            break
        layer = layers.pop(next(iter(layers)))
        wanted = _look_up(layer, ATTRIBUTE)
        # Mocks and proxies have an attribute of any name, which says nothing.
        if isinstance(wanted, str | int) and wanted:
            choices = typing.get_args(option_types()["unsized_content"])
            if wanted not in choices:
                raise ConfigurationError(
                    f"{ATTRIBUTE} of the application is {wanted!r}.",
                    f"It may be {' or '.join(map(repr, choices))}.",
                )
            return str(wanted)
        for name in WRAPPED:
            if (inner := _look_up(layer, name)) is not None:
                layers[id(inner)] = inner
    return ""


def _look_up(found: object, name: str) -> Any:
    try:
        return getattr(found, name, None)
    except Exception:  # a proxy of something that is not there yet
        return None
