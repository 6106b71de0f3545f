"""Where the command finds options: its line, the environment, a file; and which of them wins."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from h2wsgi.command.sources import as_toml, gather
from h2wsgi.config.config import Config
from h2wsgi.errors import ConfigurationError


def error_of(function: Any, *args: Any, **options: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        function(*args, **options)
    return caught.value


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_holds_options_in_one_place(folder):
    (folder / "h2wsgi.toml").write_text("threads = 5\n[tool.h2wsgi]\nmax_streams = 5\n")
    assert "both at its top (threads) and in" in str(error_of(gather, {}, {}))
    (folder / "h2wsgi.toml").write_text("[project]\nname = 'x'\n[tool.h2wsgi]\nthreads = 5\n")
    assert gather({}, {}).config.threads == 5


def test_the_command_line_beats_the_environment_which_beats_the_file(folder):
    (folder / "h2wsgi.toml").write_text(
        "threads = 1\nmax-threads = 100\nmax_streams = 3\ntarget = 'file:app'"
    )
    environment = {"H2WSGI_THREADS": "2", "H2WSGI_MAX_THREADS": "50", "HOME": "x", "H2WSGI_KEY": ""}
    settings = gather({"threads": "4"}, environment)
    config = settings.config
    assert (config.threads, config.max_threads, config.max_streams) == (4, 50, 3)
    assert settings.target == "file:app"
    assert settings.origins == {
        "threads": "command line",
        "max_threads": "H2WSGI_MAX_THREADS",
        "max_streams": "h2wsgi.toml",
        "target": "h2wsgi.toml",
    }
    assert gather({"target": "typed"}, {"H2WSGI_TARGET": "variable"}).target == "typed"


def test_the_switch_of_the_thread_guard_is_not_an_option(folder):
    assert gather({}, {"H2WSGI_THREAD_GUARD": "1"}).config == Config()


def test_the_project_file_counts_where_there_is_no_own_one(folder):
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.h2wsgi]\nthreads = 5\n")
    assert gather({}, {}).config.threads == 5
    (folder / "h2wsgi.toml").write_text("threads = 6")
    assert gather({}, {}).config.threads == 6


def test_a_project_file_without_a_table_of_ours_says_nothing(folder):
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool]\nother = 1\n")
    assert gather({}, {}).config == Config()


@pytest.mark.parametrize("where", ["arguments", "environment"])
def test_a_named_file_is_the_only_one_read(folder, where):
    (folder / "h2wsgi.toml").write_text("threads = 6")
    (folder / "other.toml").write_text("max_streams = 7")
    named = (
        ({"config": "other.toml"}, {})
        if where == "arguments"
        else ({}, {"H2WSGI_CONFIG": "other.toml"})
    )
    config = gather(*named).config
    assert (config.threads, config.max_streams) == (128, 7)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"threads = 3\nbind = localhost", "web.toml is not valid TOML: .*line 2"),
        (b"threads = " + b"[" * 100_000, "web.toml is nested too deep"),
        (b"cert = '\xff'", "web.toml is not UTF-8"),
        (b"tool.h2wsgi = 3", "web.toml: 'tool.h2wsgi' is not a table"),
        (b"target = 3", "web.toml: key 'target': 3 is not text"),
        (b"threads = 0", "web.toml: key 'threads' is 0"),
        (b"[tls]\ncert = 'x'", "web.toml: key 'tls' is not an option"),
        (None, r"web.toml \(--config\) cannot be read: No such file"),
    ],
)
def test_a_bad_file_is_named(folder, content, sentence):
    if content is not None:
        (folder / "web.toml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        gather({"config": "web.toml"}, {})
    assert caught.value.hint


def test_a_mistyped_variable_is_refused_with_the_nearest(folder):
    error = error_of(gather, {}, {"H2WSGI_TARGTE": "x"})
    assert str(error) == "H2WSGI_TARGTE is not an option of h2wsgi."
    assert error.hint == "Did you mean H2WSGI_TARGET?"


SERVICE_LINKS = {
    "H2WSGI_PORT": "tcp://10.96.0.1:8443",
    "H2WSGI_SERVICE_HOST": "10.96.0.1",
    "H2WSGI_SERVICE_PORT": "8443",
    "H2WSGI_SERVICE_PORT_HTTPS": "8443",
    "H2WSGI_PORT_8443_TCP": "tcp://10.96.0.1:8443",
    "H2WSGI_PORT_8443_TCP_PROTO": "tcp",
    "H2WSGI_PORT_8443_TCP_START": "tcp://172.17.0.2:8443",
    "H2WSGI_PORT_8443_TCP_PORT": "8443",
    "H2WSGI_PORT_8443_TCP_ADDR": "10.96.0.1",
    "H2WSGI_PORT_53_UDP": "udp://10.96.0.1:53",
    "H2WSGI_WEB_2_SERVICE_HOST": "10.96.0.2",
    "H2WSGI_WEB_2_PORT": "tcp://10.96.0.2:80",
    "H2WSGI_WEB_2_PORT_80_TCP_ADDR": "10.96.0.2",
    "H2WSGI_NAME": "/clever_payne/h2wsgi",
    "H2WSGI_WEB_2_NAME": "/shop.web-1/h2wsgi-web-2",
    "H2WSGI_ENV_PYTHON_VERSION": "3.12.1",
    "H2WSGI_ENV_x": "y",
    "H2WSGI_WEB_2_ENV_PATH": "/usr/bin",
}


def test_what_kubernetes_or_docker_tells_of_a_service_of_that_name_is_ignored(folder):
    settings = gather({}, SERVICE_LINKS | {"H2WSGI_THREADS": "3"})
    assert settings.config == Config(threads=3)
    assert settings.ignored == tuple(sorted(SERVICE_LINKS))
    assert "# H2WSGI_PORT: ignored" in as_toml(settings, "1.0")


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("H2WSGI_PORT", "8443", "H2WSGI_BIND takes both"),
        ("H2WSGI_HOST", "tcp://10.96.0.1", "H2WSGI_BIND takes both"),
        ("H2WSGI_SERVICE", "x", "See h2wsgi --help"),
        ("H2WSGI_NAME", "localhost", "See h2wsgi --help"),
        ("H2WSGI_ENV", "x", "H2WSGI_ENV_FILE takes a file of variables"),
        ("H2WSGI_CHECK", "1", "It is for the command line alone: --check."),
    ],
)
def test_a_variable_of_the_users_own_is_still_refused(folder, name, value, hint):
    assert error_of(gather, {}, {name: value}).hint.startswith(hint)


def test_a_current_folder_that_may_not_be_searched_is_named(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    error = error_of(gather, {}, {})
    assert str(error) == "The current folder cannot be searched for h2wsgi.toml: Permission denied."
    assert "--config" in error.hint


def test_a_table_of_ours_in_the_wrong_place_is_refused(folder):
    for name in ("pyproject.toml", "h2wsgi.toml"):
        (folder / name).write_text("[h2wsgi]\nthreads = 5\n")
        error = error_of(gather, {}, {})
        assert str(error) == f"{name} has a table [h2wsgi], which nobody reads."
        assert error.hint == "Write [tool.h2wsgi]."


def test_what_is_printed_can_be_read_back(folder):
    arguments = {"bind": ("localhost:1", "[::1]:2"), "cert": 'a"\x7f\\ü', "target": "x:app"}
    settings = gather(arguments, {"H2WSGI_MAX_BODY": "1MiB", "H2WSGI_KEY_PASSWORD": "secret"})
    text = as_toml(settings, "1.0")
    assert "secret" not in text
    assert "# command line" in text
    assert "# H2WSGI_MAX_BODY" in text
    assert tomllib.loads(text)["key_password"] == "********"
    (folder / "printed.toml").write_text(text, "utf-8")
    again = gather({"config": "printed.toml"}, {})
    assert again.target == "x:app"
    assert dataclasses.replace(again.config, key_password="secret") == settings.config


def test_what_is_printed_without_a_target_has_none(folder):
    assert "target" not in tomllib.loads(as_toml(gather({}, {}), "1.0"))
