"""Logging set up by a file: what goes where, and the sentence for a file that will not do."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from h2wsgi.config.config import Config
from h2wsgi.errors import ConfigurationError
from h2wsgi.log.configured import read
from h2wsgi.log.logs import ErrorStream, command_log, named
from h2wsgi.log.text import AccessRecord

RECORD = AccessRecord("GET", "/get", 200, "HTTP/2", 5, 0.01234, 12345, "127.0.0.1:5")
LOGGERS = ("h2wsgi", "h2wsgi.access", "h2wsgi.errors")


@pytest.fixture(autouse=True)
def usual_loggers() -> Iterator[None]:
    yield
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.NOTSET)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.propagate = True


def document(folder: Path) -> dict[str, object]:
    return {
        "version": 1,
        "formatters": {"plain": {"format": "%(name)s %(levelname)s %(message)s"}},
        "handlers": {
            "file": {
                "class": "logging.FileHandler",
                "filename": str(folder / "all.log"),
                "formatter": "plain",
            }
        },
        "loggers": {"h2wsgi": {"handlers": ["file"], "propagate": False}},
    }


TOML = """
version = 1
[formatters.plain]
format = "%(name)s %(levelname)s %(message)s"
[handlers.file]
class = "logging.FileHandler"
filename = "{path}"
formatter = "plain"
[loggers.h2wsgi]
handlers = ["file"]
propagate = false
"""


@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_all_lines_go_where_the_file_says(tmp_path, suffix):
    path = tmp_path / f"logging{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps(document(tmp_path)))
    else:
        path.write_text(TOML.format(path=tmp_path / "all.log"))
    other = logging.getLogger("somebody.else")
    log = command_log(Config(log_config=str(path)))
    assert log.access_wanted is not None
    assert log.access_wanted()
    log.events.info("an event", extra=named("kind"))
    log.events.debug("too little")
    log.access(RECORD)
    ErrorStream(log).write("a \x1b line\n")
    log.close()
    assert not other.disabled
    event, request, line = (tmp_path / "all.log").read_text().splitlines()
    assert event == "h2wsgi INFO an event"
    assert request.startswith("h2wsgi.access INFO 127.0.0.1:5  GET  /get")
    assert line == "h2wsgi.errors ERROR a \\x1b line"
    again = command_log(Config(log_config=str(path), access_log=False))
    assert again.access_wanted is None
    again.events.info("once more")
    assert (tmp_path / "all.log").read_text().count("once more") == 1


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.toml", "version = ", "is not TOML"),
        ("a.json", "{", "is not JSON"),
        ("a.json", "[]", "has no version = 1"),
        ("a.toml", "", "has no version = 1"),
        ("a.toml", "version = 1\n[handlers.a]\nclass = 'no.Such'", "is refused by logging: Unable"),
        ("a.toml", "version = 1\n[loggers.a]\nlevel = 'LOUD'", "is refused by logging"),
        ("a.toml", "version = 1\nhandlers = 3", "is refused by logging"),
    ],
)
def test_a_file_that_will_not_do_is_a_sentence(tmp_path, name, text, reason):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=reason) as caught:
        command_log(Config(log_config=str(path)))
    assert f"{path} (--log-config)" in str(caught.value)
    assert "docs/logs.md" in caught.value.hint


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("other", [{"access_log_file": "x"}, {"log_format": "json"}])
def test_what_its_handlers_say_is_not_said_twice(other):
    with pytest.raises(ConfigurationError, match="is of no use with --log-config"):
        Config(log_config="x", **other)
