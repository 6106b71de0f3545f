"""Files of variables, the file with the process's number, users and groups."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from h2wsgi.config.config import Config
from h2wsgi.errors import ConfigurationError
from h2wsgi.server.surroundings import account_of, pid_file, variables_of


def variables(folder: Path, text: str) -> dict[str, str]:
    (folder / "app.env").write_text(text)
    return variables_of(Config.build(env_file=folder / "app.env"))


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NAME=value", "value"),
        ("  NAME = value  ", "value"),
        ("export NAME=value", "value"),
        ("NAME=", ""),
        ("NAME=a b # why", "a b"),
        ("NAME=a#b", "a#b"),
        ("NAME='a # $b \\n'  # why", "a # $b \\n"),
        ('NAME="a\\nb \\"c\\""', 'a\nb "c"'),
        ("NAME=a=b=c", "a=b=c"),
        ("NAME=a\u2028b\x0bc\x85d", "a\u2028b\x0bc\x85d"),
        ("NAME=a\r", "a"),
    ],
)
def test_a_line_is_a_variable(tmp_path: Path, line: str, value: str) -> None:
    assert variables(tmp_path, f"# first\n\n{line}\n") == {"NAME": value}


def test_the_mark_that_editors_put_before_a_file_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert variables(tmp_path, "\ufeffNAME=a\r\nOTHER=b\r\n") == {"NAME": "a", "OTHER": "b"}


@pytest.mark.parametrize("line", ["NAME", "1NAME=x", "NA ME=x", "=x", "NAME='x", 'NAME="x" y'])
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigurationError, match="line 2, is not NAME=VALUE"):
        variables(tmp_path, f"OTHER=1\n{line}\n")


def test_a_variable_that_is_set_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "set")
    assert variables(tmp_path, "NAME=file\nOTHER=file\n") == {"OTHER": "file"}


def test_a_file_of_variables_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing \(--env-file\) cannot be read: No such"):
        variables_of(Config.build(env_file=tmp_path / "missing"))


def test_the_number_of_the_process_is_in_its_file_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "h2.pid"
    path.write_text("999999999\n")  # of a process that is gone
    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
        assert os.listdir(tmp_path) == ["h2.pid"]
    assert not path.exists()


def test_the_file_of_a_process_that_runs_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "h2.pid"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        path.write_text(f"{other.pid}\n")
        with (
            pytest.raises(ConfigurationError, match=f"a process that runs, {other.pid}"),
            pid_file(str(path)),
        ):
            pass
        assert path.read_text() == f"{other.pid}\n"
        other.communicate(b"\n")


def test_a_file_that_another_process_has_taken_over_stays(tmp_path: Path) -> None:
    path = tmp_path / "h2.pid"
    with pid_file(str(path)):
        path.write_text("1\n")
    assert path.read_text() == "1\n"


def test_what_is_no_file_of_a_number_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "settings.py"
    path.write_text("DEBUG = False\n")
    with pytest.raises(ConfigurationError, match="something else"), pid_file(str(path)):
        pass
    assert path.read_text() == "DEBUG = False\n"
    os.mkfifo(tmp_path / "pipe")  # whose other end nobody has: reading would wait for ever
    with pytest.raises(ConfigurationError, match="something else"), pid_file(f"{tmp_path}/pipe"):
        pass


@pytest.mark.parametrize("left", [b"", b"\n", b"\0" * 8, b"9" * 30])
def test_a_file_that_has_lost_its_number_is_written(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "h2.pid"
    path.write_bytes(left)
    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_number_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    where = str(tmp_path / "none" / "h2.pid")
    with pytest.raises(ConfigurationError, match="cannot be written: No such"), pid_file(where):
        pass


def test_users_and_groups_that_are_not_there_are_named() -> None:
    with pytest.raises(ConfigurationError, match="no user nobody-like-this"):
        account_of(Config(user="nobody-like-this"))
    with pytest.raises(ConfigurationError, match="no group nobody-like-this"):
        account_of(Config(group="nobody-like-this"))


@pytest.mark.parametrize("number", [2**32 - 1, 2**32, 10**30, "0" * 5000 + "1"])
def test_a_number_that_no_user_has_is_refused(number: object) -> None:
    for kind in ("user", "group"):
        with pytest.raises(ConfigurationError, match=f"no {kind} "):
            account_of(Config(**{kind: str(number)}))


def test_a_user_has_its_groups_and_its_home() -> None:
    account = account_of(
        Config(user="root") if os.geteuid() == 0 else Config(user=str(os.geteuid()))
    )
    assert account is not None
    assert (account.uid, account.gid) == (os.geteuid(), os.getegid())
    assert account.variables["HOME"]
    assert os.getegid() in account.groups
    assert account_of(Config()) is None


@pytest.mark.parametrize("name", ["umask", "uds_permissions"])
def test_a_mode_that_is_none_is_refused(name: str) -> None:
    for wrong in ("8", "u+x", "7777", "0o", "-1"):
        with pytest.raises(ConfigurationError, match="no mode"):
            Config.build(**{name: wrong})
    assert Config.build(**{name: "0o27"})
