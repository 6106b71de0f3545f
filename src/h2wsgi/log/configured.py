"""Logging's own handlers, set up as a file says: ``--log-config``. Main thread, at the start.

The file is what ``logging.config.dictConfig`` takes, in TOML or JSON. Events go to the logger
``h2wsgi``, requests to ``h2wsgi.access``, and what applications write on ``wsgi.errors`` to
``h2wsgi.errors``. While a handler waits for a disk or a network, the server waits too.
"""

from __future__ import annotations

import functools
import json
import logging
import logging.config
import tomllib
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError

HINT = "It is what logging.config.dictConfig takes, in TOML or JSON; see docs/logs.md."


def read(path: str) -> dict[str, Any]:
    """Return what a file says.

    Raises:
        ConfigurationError: it cannot be read, or is neither TOML nor JSON.
    """
    what = f"The logging configuration {path} (--log-config)"
    try:
        text = Path(path).read_text("utf-8")
        document = json.loads(text) if path.endswith(".json") else tomllib.loads(text)
    except OSError as error:
        raise ConfigurationError(f"{what} cannot be read: {error.strerror}.", HINT) from None
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.endswith(".json") else "TOML"
        raise ConfigurationError(f"{what} is not {kind}: {error}.", HINT) from None
    if not isinstance(document, dict) or document.get("version") != 1:
        raise ConfigurationError(f"{what} has no version = 1.", HINT)
    return document


@functools.cache
def apply(path: str, level: int) -> None:
    """Set logging up, once for each file; ``level`` is for ``h2wsgi`` if the file sets none.

    Raises:
        ConfigurationError: the file cannot be read, or logging refuses it.
    """
    document = {"disable_existing_loggers": False} | read(path)
    try:
        logging.config.dictConfig(document)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        reason = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        raise ConfigurationError(
            f"The logging configuration {path} (--log-config) is refused by logging: {reason}.",
            HINT,
        ) from None
    logger = logging.getLogger("h2wsgi")
    if logger.level == logging.NOTSET:
        logger.setLevel(level)
