"""Options together: their groups and defaults, and those that contradict each other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from h2wsgi.command.sources import gather
from h2wsgi.config.config import GROUPS, Config, option_types
from h2wsgi.config.options import Source
from h2wsgi.errors import ConfigurationError


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


def test_a_config_made_by_hand_has_values_of_the_right_kind():
    assert str(error_of(Config, threads="x")) == "threads: 'x' is not a whole number."
    assert (Config(threads="8").threads, Config(cert=Path("/c")).cert) == (8, ("/c",))


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
