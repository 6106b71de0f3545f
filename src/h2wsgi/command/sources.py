"""Where the command's options come from, and which source won.

The sources are the defaults, a TOML file, ``H2WSGI_...`` variables and the command line, each
stronger than the one before. Runs in the main thread, at the start. The invariant: a file, a key or
a variable that is not understood is named in an error, never passed over, unless it is known to be
somebody else's.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.config import GROUPS, Config
from ..config.options import Source, option_name
from ..errors import ConfigurationError

PREFIX = "H2WSGI_"
NO_OPTIONS = frozenset({"H2WSGI_THREAD_GUARD", "H2WSGI_TAKEN_OVER"})
"""Variables of ours that are not options: see guards.py and supervisor/succession.py."""
SERVICE_LINK = re.compile(
    r"H2WSGI_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|ENV_\w+"
    r"|PORT_\d+_(?:TCP|UDP|SCTP)(?:_PROTO|_PORT|_ADDR|_START|_END)?)",
    re.ASCII,
)
"""Set by Kubernetes for a service named h2wsgi, or h2wsgi-web; by Docker for a linked container."""
CONTAINER_NAME = re.compile(r"/[\w.-]+/[\w.-]+", re.ASCII)
"""The value of Docker's ``..._NAME``: the container that links another, and its name for that."""
SERVICE_URL = re.compile(r"(?:tcp|udp|sctp)://", re.ASCII)
"""How the value of their ``..._PORT`` begins; a user would give a number."""
OWN_FILE = "h2wsgi.toml"
PROJECT_FILE = "pyproject.toml"
HIDDEN = "********"


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a start needs to know; ``origins`` has the source of each value that was set.

    ``ignored`` are the variables that others have set: see SERVICE_LINK.
    """

    config: Config
    target: str
    origins: Mapping[str, str]
    ignored: tuple[str, ...] = ()


def gather(arguments: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """Add up what the user wrote. ``arguments`` are those given on the command line.

    Raises:
        ConfigurationError: naming the file, variable or flag.
    """
    variables, ignored = environment_values(environment)
    named = arguments.get("config") or variables.get("config") or ""
    given = {key: value for key, value in arguments.items() if key != "config"}
    variables.pop("config", None)
    sources = [*file_sources(named), Source("environment", variables)]
    sources.append(Source("command line", given))
    config = Config.merge(sources, besides=("target",))
    origins: dict[str, str] = {}
    target = ""
    for source in sources:
        for key, value in source.values.items():
            origins[option_name(key)] = _origin(source, key)
            if key == "target":
                target = _checked_target(source, value)
    if config.max_threads == config.threads and "threads" in origins:
        origins.setdefault("max_threads", "as many as threads")
    return Settings(config, target, origins, ignored)


def environment_values(
    environment: Mapping[str, str],
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what ``H2WSGI_...`` variables say, by option name, and those that are not ours.

    An empty variable counts as not set.
    """
    values, ignored = {}, []
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name in NO_OPTIONS or not value:
            continue
        if _is_service_link(name, value):
            ignored.append(name)
        else:
            values[name.removeprefix(PREFIX).lower()] = value
    return values, tuple(sorted(ignored))


def _is_service_link(name: str, value: str) -> bool:
    if SERVICE_LINK.fullmatch(name):
        return True
    if name.endswith("_NAME"):
        return CONTAINER_NAME.fullmatch(value) is not None
    return name.endswith("_PORT") and SERVICE_URL.match(value) is not None


def file_sources(named: str) -> list[Source]:
    """Return what the one file that counts holds: ``named``, or the current folder's."""
    if named:
        return [Source(named, _options_in(named, _read_toml(named)))]
    for candidate in (OWN_FILE, PROJECT_FILE):
        if _is_here(candidate):
            options = _options_in(candidate, _read_toml(candidate))
            return [Source(candidate, options)]
    return []


def _is_here(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError as error:  # as for another user in somebody's home folder
        raise ConfigurationError(
            f"The current folder cannot be searched for {name}: {error.strerror}.",
            "Start in a folder that may be read, or name a file with --config.",
        ) from None


def _read_toml(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"{path} is not valid TOML: {error}.", 'Texts need quotes: bind = "localhost:8443"'
        ) from None
    except RecursionError:
        raise ConfigurationError(f"{path} is nested too deep.", "No option is.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text.", "TOML files are UTF-8.") from None
    except OSError as error:
        raise ConfigurationError(
            f"{path} (--config) cannot be read: {error.strerror}.",
            f"Without --config, {OWN_FILE} or {PROJECT_FILE} in the current folder is read.",
        ) from None


def _options_in(path: str, document: dict[str, Any]) -> dict[str, Any]:
    tool = document.get("tool")
    if isinstance(tool, dict) and "h2wsgi" in tool:
        options = tool["h2wsgi"]
        if not isinstance(options, dict):
            raise ConfigurationError(
                f"{path}: 'tool.h2wsgi' is not a table.", "Write [tool.h2wsgi] and options below."
            )
        beside = [key for key, value in document.items() if not isinstance(value, dict)]
        if beside and Path(path).name != PROJECT_FILE:
            raise ConfigurationError(
                f"{path} has options both at its top ({beside[0]}) and in [tool.h2wsgi].",
                "Keep all of them in one of the two places.",
            )
        return options
    if isinstance(document.get("h2wsgi"), dict):
        raise ConfigurationError(
            f"{path} has a table [h2wsgi], which nobody reads.", "Write [tool.h2wsgi]."
        )
    return {} if Path(path).name == PROJECT_FILE else document


def _checked_target(source: Source, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(
            f"{source.describe('target')}: {value!r} is not text.",
            'For example target = "httpbin:app".',
        )
    return value


def _origin(source: Source, key: str) -> str:
    if source.label == "command line":
        return "command line"
    return source.describe(key) if source.label == "environment" else source.label


def as_toml(settings: Settings, version: str) -> str:
    """Return the whole configuration as TOML, with where each value came from as a comment."""
    rows = [f"# The configuration of h2wsgi {version} as it would run now."]
    rows += [f"# {name}: ignored, as it tells of a service" for name in settings.ignored]
    rows.append("")
    if settings.target:
        rows += [_row("target", settings.target, settings.origins["target"]), ""]
    for group in GROUPS:
        rows.append(f"# {group}")
        for field in dataclasses.fields(Config):
            if field.metadata["group"] != group:
                continue
            value = getattr(settings.config, field.name)
            if field.metadata["secret"] and value:
                value = HIDDEN
            rows.append(_row(field.name, value, settings.origins.get(field.name, "default")))
        rows.append("")
    return "\n".join(rows)


def _row(name: str, value: object, origin: str) -> str:
    text = f"{name} = {_toml_value(value)}"
    return f"{text:<40}  # {origin}"


def _toml_value(value: object) -> str:
    # A JSON value is a TOML value too, but for the character DEL in a text.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
