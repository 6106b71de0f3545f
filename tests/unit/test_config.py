"""Options: their types and ranges, and where the command finds their values."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from h2wsgi.config import GROUPS, Config, option_types
from h2wsgi.errors import ConfigurationError
from h2wsgi.options import Source
from h2wsgi.settings import as_toml, gather


def error_of(function: Any, *args: Any, **options: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        function(*args, **options)
    return caught.value


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_option_has_a_group_a_help_and_a_default_of_its_type():
    types = option_types()
    for field in dataclasses.fields(Config):
        assert field.metadata["group"] in GROUPS
        assert field.metadata["help"]
        if field.default:
            besides = {"client_ca": ""} if field.name == "client_cert" else {}
            assert Config.build(**{field.name: field.default}, **besides) == Config()
        if types[field.name] is float:
            assert isinstance(field.default, float)


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ({"bind": "localhost:0"}, "bind", ("localhost:0",)),
        ({"bind": "a:1, b:2"}, "bind", ("a:1", "b:2")),
        ({"bind": ["a:1", "b:2"]}, "bind", ("a:1", "b:2")),
        ({"h2c": "on"}, "h2c", True),
        ({"access-log": "No"}, "access_log", False),
        ({"access_log": False}, "access_log", False),
        ({"max_body": "10 MiB"}, "max_body", 10 * 1024**2),
        ({"max_body": "4k"}, "max_body", 4096),
        ({"max_body": 7}, "max_body", 7),
        ({"threads": "8"}, "threads", 8),
        ({"idle_timeout": "2.5"}, "idle_timeout", 2.5),
        ({"idle_timeout": 3}, "idle_timeout", 3.0),
        ({"tls_min": "1.3"}, "tls_min", "1.3"),
        ({"tls_min": 1.3}, "tls_min", "1.3"),
        ({"cert": "c.pem"}, "cert", "c.pem"),
    ],
)
def test_values_are_read_as_people_write_them(values, name, expected):
    assert getattr(Config.build(**values), name) == expected


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("threads", "many", "is not a whole number."),
        ("threads", True, "is not a whole number."),
        ("threads", "8KiB", "is not a whole number."),
        ("threads", 0, "is 0, but at least 1 is needed."),
        ("max_body", "lots", "is not a number of octets, such as 65536 or 64KiB."),
        ("idle_timeout", "nan", "is not a number of seconds."),
        ("idle_timeout", "10s", "is not a number of seconds."),
        ("idle_timeout", True, "is not a number of seconds."),
        ("idle_timeout", 10**400, "is not a number of seconds."),
        ("idle_timeout", -1, "is -1.0, but at least 0 seconds is needed."),
        ("h2c", "maybe", "is not true or false."),
        ("h2c", 1, "is not true or false."),
        ("cert", 3, "is not text."),
        ("cert", "a\0b", "is not text."),
        ("bind", 3, "is not a list of texts."),
        ("bind", [3], "is not a list of texts."),
        ("tls_min", "1.1", "is not one of 1.2, 1.3."),
        ("tls_min", True, "is not one of 1.2, 1.3."),
    ],
)
def test_a_bad_value_is_refused_with_the_place_and_what_would_do(name, value, sentence):
    error = error_of(Config.merge, [Source("web.toml", {name: value})])
    assert str(error).startswith(f"web.toml: key {name!r}")
    assert str(error).endswith(sentence)
    assert error.hint


def test_a_bad_choice_is_refused_with_the_nearest():
    assert error_of(Config.build, log_level="Warnings").hint == "Did you mean 'warning'?"
    assert error_of(Config.build, log_level="x").hint == "The default is info."


@pytest.mark.parametrize(
    ("label", "sentence", "hint"),
    [
        ("argument", "argument 'thraeds'", "threads"),
        ("command line", "--thraeds", "--threads"),
        ("environment", "H2WSGI_THRAEDS", "H2WSGI_THREADS"),
        ("h2wsgi.toml", "h2wsgi.toml: key 'thraeds'", "threads"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(label, sentence, hint):
    error = error_of(Config.merge, [Source(label, {"thraeds": 3})])
    assert str(error) == f"{sentence} is not an option of h2wsgi."
    assert error.hint == f"Did you mean {hint}?"
    assert "--help" in error_of(Config.merge, [Source(label, {"zzz": 3})]).hint


@pytest.mark.parametrize(
    ("name", "maximum"),
    [
        ("stream_window", 2**31 - 1),
        ("connection_window", 2**31 - 1),
        ("max_streams", 2**31 - 1),
        ("max_field_section", 2**24),
        ("threads", 10_000),
        ("max_threads", 10_000),
    ],
)
def test_what_is_too_large_is_refused_with_the_maximum(name, maximum):
    besides = {"max_threads": maximum} if name == "threads" else {}
    assert getattr(Config.build(**{name: maximum}, **besides), name) == maximum
    error = error_of(Config.merge, [Source("command line", {name: maximum + 1})])
    assert f"--{name.replace('_', '-')} is {maximum + 1}, but at most {maximum}" in str(error)
    assert str(error).endswith("is possible.")


def test_a_window_that_is_too_large_is_a_sentence_with_its_unit():
    error = error_of(Config.merge, [Source("command line", {"stream_window": "8GiB"})])
    assert str(error) == (
        "--stream-window is 8589934592, but at most 2147483647 octets is possible."
    )
    assert error.hint == "The default is 256KiB."


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("idle_timeout", "x", "The default is 120 seconds."),
        ("bind", 3, "See h2wsgi --help."),
        ("tls_min", "1.1", "The default is 1.2."),
        ("cert", 3, "The default is none."),
    ],
)
def test_a_hint_has_the_words_of_help(name, value, hint):
    assert error_of(Config.build, **{name: value}).hint == hint


def test_threads_alone_raise_the_maximum_with_them(folder):
    assert Config.build(threads=300).max_threads == 300
    assert Config.build(threads=3).max_threads == 256
    assert gather({"threads": "300"}, {}).origins["max_threads"] == "as many as threads"


@pytest.mark.parametrize(
    ("label", "values", "sentence"),
    [
        (
            "command line",
            {"threads": 300, "max_threads": 256},
            "--threads is 300, more than --max-threads (256).",
        ),
        (
            "environment",
            {"threads": 300, "max_threads": 256},
            "H2WSGI_THREADS is 300, more than H2WSGI_MAX_THREADS (256).",
        ),
        (
            "command line",
            {"max_threads": 8},
            "--threads is 128 unless given, more than --max-threads (8).",
        ),
    ],
)
def test_too_few_threads_in_all_are_named_as_they_were_written(label, values, sentence):
    error = error_of(Config.merge, [Source(label, values)])
    assert str(error) == sentence
    assert error.hint


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"h2c": True, "cert": "c"}, "of no use with --h2c"),
        ({"client_cert": "required"}, "says nothing without a client CA"),
        ({"client_cert": "optional", "client_ca": ""}, "says nothing without a client CA"),
        ({"access_log": False, "access_log_file": "x.log"}, "The access log is off"),
    ],
)
def test_options_that_contradict_each_other_are_refused(values, sentence):
    error = error_of(Config.build, **values)
    assert sentence in str(error)
    assert error.hint


def test_a_file_holds_options_in_one_place(folder):
    (folder / "h2wsgi.toml").write_text("threads = 5\n[tool.h2wsgi]\nmax_streams = 5\n")
    assert "both at its top (threads) and in" in str(error_of(gather, {}, {}))
    (folder / "h2wsgi.toml").write_text("[project]\nname = 'x'\n[tool.h2wsgi]\nthreads = 5\n")
    assert gather({}, {}).config.threads == 5


def test_a_config_made_by_hand_has_values_of_the_right_kind():
    assert str(error_of(Config, threads="x")) == "threads: 'x' is not a whole number."
    assert (Config(threads="8").threads, Config(cert=Path("c")).cert) == (8, "c")


def test_what_other_servers_call_it_gets_a_true_hint():
    for name, hint in (
        ("port", "--bind takes both, as HOST:PORT."),
        ("workers", "There is one process; --threads"),
        ("reload", "There is no such thing"),
        ("certificate", "--cert takes"),
        ("ssl-keyfile", "--key takes"),
    ):
        error = error_of(Config.merge, [Source("command line", {name: "x"})])
        assert error.hint.startswith(hint)


def test_a_password_is_in_no_message_and_no_repr():
    assert "12345" not in str(error_of(Config.build, key_password=12345))
    assert "secret" not in repr(Config(key_password="secret"))


def test_a_config_made_by_hand_is_checked_too():
    assert str(error_of(Config, threads=0)) == "threads is 0, but at least 1 is needed."
    assert "below threads" in str(error_of(Config, threads=300))
    assert "a tuple of strings is needed" in str(error_of(Config, bind="localhost:1"))


@pytest.mark.parametrize(
    ("options", "tls", "h2c"),
    [
        ({}, ("localhost:8443",), ()),
        ({"bind": "a:1"}, ("a:1",), ()),
        ({"bind": "a:1", "bind_h2c": "b:2"}, ("a:1",), ("b:2",)),
        ({"bind_h2c": "b:2"}, (), ("b:2",)),
        ({"h2c": True}, (), ("localhost:8443",)),
        ({"h2c": True, "bind": "a:1", "bind_h2c": "b:2"}, (), ("a:1", "b:2")),
    ],
)
def test_the_addresses_are_known_by_what_is_spoken_there(options, tls, h2c):
    config = Config.build(**options)
    assert (config.tls_binds, config.h2c_binds) == (tls, h2c)


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


def test_a_file_may_be_named_as_a_path(tmp_path):
    assert Config.build(cert=tmp_path / "cert.crt").cert == str(tmp_path / "cert.crt")
