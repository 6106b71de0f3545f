"""One option: how its value is read, its range, and the sentence for what will not do."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from h2wsgi.config.config import Config
from h2wsgi.config.options import Source
from h2wsgi.config.other_servers import BY_NAME, HINTS
from h2wsgi.errors import ConfigurationError


def error_of(function: Any, *args: Any, **options: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        function(*args, **options)
    return caught.value


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
        ({"max_body": "10MB"}, "max_body", 10 * 1024**2),
        ({"max_body": "64 kib"}, "max_body", 65_536),
        ({"max_body": "1.5G"}, "max_body", 3 * 512 * 1024**2),
        ({"max_body": "512B"}, "max_body", 512),
        ({"max_body": "1_000"}, "max_body", 1000),
        ({"max_body": 7}, "max_body", 7),
        ({"threads": "8"}, "threads", 8),
        ({"idle_timeout": "2.5"}, "idle_timeout", 2.5),
        ({"idle_timeout": 3}, "idle_timeout", 3.0),
        ({"idle_timeout": "1e2"}, "idle_timeout", 100.0),
        ({"idle_timeout": "500ms"}, "idle_timeout", 0.5),
        ({"idle_timeout": "10s"}, "idle_timeout", 10.0),
        ({"idle_timeout": "2m"}, "idle_timeout", 120.0),
        ({"idle_timeout": "1h30m"}, "idle_timeout", 5400.0),
        ({"idle_timeout": " 1 Day 2 hours "}, "idle_timeout", 93_600.0),
        ({"log_level": "INFO"}, "log_level", "info"),
        ({"loop": " UVLoop"}, "loop", "uvloop"),
        ({"tls_min": "1.3"}, "tls_min", "1.3"),
        ({"tls_min": 1.3}, "tls_min", "1.3"),
        ({"cert": "/c.pem"}, "cert", ("/c.pem",)),
        ({"cert": "/c.pem, /d.pem"}, "cert", ("/c.pem", "/d.pem")),
        ({"cert": ["/c,d.pem"]}, "cert", ("/c,d.pem",)),
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
        ("max_body", "0.3K", "is not a number of octets, such as 65536 or 64KiB."),
        ("max_body", "5X", "is not a number of octets, such as 65536 or 64KiB."),
        ("max_body", "", "is not a number of octets, such as 65536 or 64KiB."),
        ("idle_timeout", "nan", "is not a number of seconds, such as 30, 500ms or 2m."),
        ("idle_timeout", "2months", "is not a number of seconds, such as 30, 500ms or 2m."),
        ("idle_timeout", "1m30", "is not a number of seconds, such as 30, 500ms or 2m."),
        ("idle_timeout", "m", "is not a number of seconds, such as 30, 500ms or 2m."),
        ("idle_timeout", "1:30 m", "is not a number of seconds, such as 30, 500ms or 2m."),
        ("idle_timeout", "-2m", "is not a number of seconds, such as 30, 500ms or 2m."),
        ("idle_timeout", "", "is not a number of seconds, such as 30, 500ms or 2m."),
        ("idle_timeout", True, "is not a number of seconds, such as 30, 500ms or 2m."),
        ("idle_timeout", 10**400, "is not a number of seconds, such as 30, 500ms or 2m."),
        ("idle_timeout", -1, "is -1.0, but at least 0 seconds is needed."),
        ("h2c", "maybe", "is not true or false."),
        ("h2c", 1, "is not true or false."),
        ("client_ca", 3, "is not text."),
        ("cert", 3, "is not the name of a file, or a list of them."),
        ("client_ca", "a\0b", "is not text."),
        ("cert", "a\0b", "is not the name of a file, or a list of them."),
        ("bind", 3, "is not an address, or a list of them."),
        ("bind", [3], "is not an address, or a list of them."),
        ("fault", [3], "is not a list of texts."),
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
    assert error_of(Config.build, log_level="WARN").hint == "Did you mean 'warning'?"
    assert error_of(Config.build, tls_min="TLSv1.3").hint == "Did you mean '1.3'?"
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
        ("idle_timeout", "never", "0 turns it off. The default is 120 seconds."),
        ("max_body", "unlimited", "0 turns it off. The default is 0 octets."),
        ("min_rate", "off", "0 turns it off. The default is 240."),
        ("threads", "off", "The default is 128."),
        ("graceful_timeout", "off", "The default is 30 seconds."),
        ("bind", 9310, 'Did you mean bind = "localhost:9310"?'),
        ("bind", ["[::1]:1", 9310], 'Did you mean bind = "localhost:9310"?'),
        ("bind_h2c", 9310, 'Did you mean bind_h2c = "localhost:9310"?'),
        (
            "bind",
            True,
            'For example bind = "localhost:8443", or several: ["localhost:8443", "[::1]:9443"].',
        ),
        ("tls_min", "1.1", "The default is 1.2."),
        ("cert", 3, 'Put it in quotes: "3".'),
        ("client_ca", ["a"], "The default is none."),
        ("h2c", 1, "Write true."),
        ("access_log", "requests.log", "access_log_file takes the name of a file."),
    ],
)
def test_a_hint_has_the_words_of_help(name, value, hint):
    assert error_of(Config.build, **{name: value}).hint == hint


def test_every_hint_for_a_name_of_another_server_names_options_that_exist():
    known = {field.name for field in dataclasses.fields(Config)}
    assert not known & set(BY_NAME)
    assert len(BY_NAME) == sum(len(names.split()) for names, _ in HINTS)
    for name, hint in BY_NAME.items():
        error = error_of(Config.merge, [Source("argument", {name: 1})])
        assert error.hint == hint.replace("{", "").replace("}", "")


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        (
            "server",
            {"threads": 3},
            "Options stand at the top of the file, or in [tool.h2wsgi], and",
        ),
        ("check", True, "It is for the command line alone: --check."),
        ("make-cert", "x", "It is for the command line alone: --make-cert."),
    ],
)
def test_what_a_file_cannot_have_is_refused_with_the_reason(name, value, hint):
    assert error_of(Config.merge, [Source("h2wsgi.toml", {name: value})]).hint.startswith(hint)


def test_what_other_servers_call_it_gets_a_true_hint():
    for name, hint in (
        ("port", "--bind takes both, as HOST:PORT."),
        ("worker-processes", "--workers says how many processes"),
        ("auto-reload", "--reload starts anew"),
        ("timeout", "--request-timeout bounds a request, --read-timeout and --write-timeout"),
        ("keep-alive", "--idle-timeout says how long"),
        ("working-directory", "--chdir takes the folder"),
        ("uid", "--user says whom"),
        ("pidfile", "--pid takes the file"),
        ("preload", "Each worker loads the application"),
        ("proxy-headers", "--forwarded-allow-ips names the proxies"),
        ("worker-class", "Each request has a thread; --threads"),
        ("certificate", "--cert takes"),
        ("ssl-keyfile", "--key takes"),
    ):
        error = error_of(Config.merge, [Source("command line", {name: "x"})])
        assert error.hint.startswith(hint)


def test_a_file_may_be_named_as_a_path(tmp_path):
    assert Config.build(cert=tmp_path / "cert.crt").cert == (str(tmp_path / "cert.crt"),)


def test_paths_are_kept_as_they_are_from_the_root(tmp_path, monkeypatch):
    lists = ("cert", "key")
    names = (
        *lists,
        "app_dir",
        "client_ca",
        "client_crl",
        "access_log_file",
        "trace_file",
        "log_config",
        "pid",
        "chdir",
        "env_file",
    )
    files = {field.name for field in dataclasses.fields(Config)
             if field.metadata["metavar"] in ("FILE", "DIR")} - {"reload_dir"}  # fmt: skip
    assert files == set(names)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for config in (
        Config(**dict.fromkeys(names, "a/../b") | {"access_log_file": ""}),
        Config.build(**dict.fromkeys(names, "b") | {"log_config": ""}),
    ):
        for name in names:
            if not getattr(config, name) and name in ("access_log_file", "log_config"):
                continue  # not both at once
            b = str(tmp_path / "b")
            assert getattr(config, name) == ((b,) if name in lists else b)
    config = Config(bind=("unix:x", "localhost:1", "unix:/y"), bind_h2c=("unix:~/z", "unix:"))
    assert config.bind == (f"unix:{tmp_path}/x", "localhost:1", "unix:/y")
    assert config.bind_h2c == (f"unix:{tmp_path}/home/z", "unix:")
    assert Config(access_log_file="-").access_log_file == "-"
    assert Config(reload_dir=("a", "~/b")).reload_dir == (f"{tmp_path}/a", f"{tmp_path}/home/b")
    assert Config(root_path="shop").root_path == "shop"


def test_a_sockets_path_stays_relative_where_only_that_is_short_enough(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.chdir(deep)
    assert Config(bind=("unix:run.sock",)).bind == ("unix:run.sock",)


def test_a_current_folder_that_is_gone_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for option, value, path in (("cert", "c.crt", "c.crt"), ("bind", "unix:x", "x")):
        error = error_of(Config.build, **{option: value})
        assert str(error).startswith(f"The path {path} (--{option}) starts at the current folder,")
        assert error.hint.startswith("Give the whole path")
