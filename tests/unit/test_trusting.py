"""``h2wsgi --trust`` and ``--untrust`` as people type them, on a machine that is a folder."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from h2wsgi.command import trusting
from h2wsgi.command.cli import main
from h2wsgi.config.config import Config
from h2wsgi.server.banner import certificate_lines
from h2wsgi.tls import trust
from h2wsgi.tls.context import resolve
from h2wsgi.tls.development import ensure_development_certificate, is_trust_halfway
from support.clients import find
from support.machine import Machine

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="stores are changed on Linux"),
    pytest.mark.client,
]
WAIT = 30.0
REFUSE = trust._refuse_another_user
"""As it is; on a machine that is a folder nobody is refused."""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    find("certutil", package="libnss3-tools")
    made = Machine(tmp_path)
    made.enter(monkeypatch)
    monkeypatch.setattr(trust, "CHROMIUMS", ())
    return made


def banner() -> str:
    return "\n".join(certificate_lines(resolve(Config())))


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    monkeypatch.setattr(sys, "stdin", os.fdopen(reading))


def test_all_stores_trust_the_ca_and_then_none_does(machine, capsys):
    database = machine.make_database()
    profile = machine.make_database(".mozilla/firefox/abc.default")
    assert "h2wsgi --trust" in banner()
    assert main(["--trust", "--yes"]) == 0
    said = capsys.readouterr().out
    assert "Done.\nRestart browsers" in said
    assert machine.bundle.read_bytes() == machine.ca
    for folder in (database, profile):
        (name,) = machine.trusted_by(folder)
        assert f"-n '{name}'" in said
    assert "--trust" not in banner()
    assert "trusted by this machine" in banner()
    assert main(["--trust", "--yes"]) == 0
    assert capsys.readouterr().out == "All stores trust it already.\n"
    assert main(["--untrust", "--yes"]) == 0
    assert machine.bundle.read_bytes() == b""
    assert [machine.trusted_by(folder) for folder in (database, profile)] == [[], []]
    assert list(machine.folder.iterdir()) == []
    assert "h2wsgi --trust" in banner()
    capsys.readouterr()
    assert main(["--untrust", "--yes"]) == 0
    assert capsys.readouterr().out == "No store trusts a CA of h2wsgi.\n"


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [("n\n", 1, "Nothing was changed."), ("", 2, "Nobody answered"), ("y\n", 0, "Done.")],
)
def test_nothing_is_done_without_being_agreed_to(machine, monkeypatch, capsys, typed, code, said):
    database = machine.make_database()
    answer(monkeypatch, typed)
    with sys.stdin:
        assert main(["--trust"]) == code
    captured = capsys.readouterr()
    assert said in captured.out + captured.err
    assert f"install -m 644 {machine.cache}/ca.crt" in captured.out
    changed = code == 0
    assert bool(list(machine.folder.iterdir())) is changed
    assert bool(machine.trusted_by(database)) is changed
    assert (machine.cache / "trusted.crt").exists() is changed


def test_a_ca_that_was_replaced_is_trusted_no_longer(machine, capsys):
    database = machine.make_database()
    assert main(["--trust", "--yes"]) == 0
    old, names = machine.ca, machine.trusted_by(database)
    (machine.cache / "ca.key").unlink()
    identity = resolve(Config())
    (warning,) = identity.warnings()
    assert "h2wsgi --trust does both" in warning
    assert not identity.trusted
    assert main(["--trust", "--yes"]) == 0
    assert machine.bundle.read_bytes() == machine.ca != old
    assert len(machine.trusted_by(database)) == 1
    assert machine.trusted_by(database) != names
    assert "trusted by this machine" in banner()


def test_what_fails_keeps_nothing_else_from_being_done_and_is_told(machine, capsys):
    profile = machine.make_database(".mozilla/firefox/abc.default", password="secret")
    broken = machine.home / ".mozilla/firefox/broken"
    broken.mkdir()
    (broken / "cert9.db").write_text("junk")
    assert main(["--trust", "--yes"]) == 2
    captured = capsys.readouterr()
    assert "Done, but for what follows." in captured.out
    assert machine.bundle.read_bytes() == machine.ca
    assert machine.trusted_by(profile) == []
    first, hint, command, second, *_ = captured.err.splitlines()
    assert re.search(r"error: Firefox, .*abc.default: .*SEC_ERROR_BAD_PASSWORD", first)
    assert hint == "hint: To try it yourself:"
    assert f"-d sql:{profile} -A" in command
    assert "SEC_ERROR_BAD_DATABASE" in second
    assert "h2wsgi --trust" in banner()


def test_a_system_that_takes_no_notice_is_told_again_next_time(machine, capsys):
    machine.write_update(before="echo 'no space left' >&2; exit 1")
    assert main(["--trust", "--yes"]) == 2
    captured = capsys.readouterr()
    assert "no space left" in captured.err
    assert captured.err.count(f"  {machine.update}") == 1
    assert "Done" not in captured.out
    machine.write_update()
    assert main(["--trust", "--yes"]) == 0
    assert machine.bundle.read_bytes() == machine.ca
    machine.write_update(before="exit 1")
    assert main(["--untrust", "--yes"]) == 2
    machine.write_update()
    assert main(["--untrust", "--yes"]) == 0
    assert machine.bundle.read_bytes() == b""


def test_a_folder_that_cannot_be_written_is_told_with_the_command(machine, monkeypatch, capsys):
    (machine.home / "refuse").mkdir()
    for tool in ("install", "certutil"):
        path = machine.home / "refuse" / tool
        path.write_text(f"#!/bin/sh\necho '{tool}: Permission denied' >&2\nexit 1\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{machine.home}/refuse:{os.environ['PATH']}")
    (machine.home / ".pki/nssdb").mkdir(parents=True)
    (machine.home / ".pki/nssdb/cert9.db").touch()
    assert main(["--trust", "--yes"]) == 2
    errors = capsys.readouterr().err
    assert "The system's store" in errors
    assert "install: Permission denied" in errors
    assert "certutil: Permission denied" in errors
    assert not machine.bundle.exists()


def test_root_by_way_of_somebody_else_changes_nothing(machine, monkeypatch, capsys):
    monkeypatch.setenv("SUDO_USER", "alice")
    monkeypatch.setattr(trust, "_refuse_another_user", REFUSE)
    for flag in ("--trust", "--untrust"):
        assert main([flag, "--yes"]) == 2
        assert "by way of alice" in capsys.readouterr().err
    assert not machine.cache.exists()


def test_without_standard_input_nobody_is_asked(machine, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["--trust"]) == 2
    assert "Nobody answered" in capsys.readouterr().err
    assert not list(machine.folder.iterdir())


def test_what_was_refused_at_once_leaves_nothing_to_be_finished(machine, monkeypatch):
    tools = machine.home / "tools"
    tools.mkdir()
    (tools / "install").write_text("#!/bin/sh\nexit 1\n")
    (tools / "install").chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        assert main(["--trust", "--yes"]) == 2
        assert not is_trust_halfway()
    machine.write_update(before="exit 1")
    assert main(["--trust", "--yes"]) == 2
    assert is_trust_halfway()
    with monkeypatch.context() as patch:  # somebody who cannot finish it does not forget it
        patch.setattr(os, "geteuid", lambda: 1234567)
        patch.setattr(trust.shutil, "which", _without_sudo(trust.shutil.which))
        assert main(["--trust", "--yes"]) == 2
        assert is_trust_halfway()


@pytest.mark.parametrize("sudo", ["exec", "refuse", "none"])
def test_who_is_not_root_goes_by_sudo(machine, monkeypatch, capsys, sudo):
    monkeypatch.setattr(os, "geteuid", lambda: 1234567)
    tools = machine.home / "tools"
    tools.mkdir()
    if sudo != "none":
        does = 'exec "$@"' if sudo == "exec" else "echo 'sudo: a password is required' >&2; exit 1"
        (tools / "sudo").write_text(f"#!/bin/sh\n{does}\n")
        (tools / "sudo").chmod(0o755)
    else:
        monkeypatch.setattr(trust.shutil, "which", _without_sudo(trust.shutil.which))
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    assert main(["--trust", "--yes"]) == (0 if sudo == "exec" else 2)
    captured = capsys.readouterr()
    assert machine.bundle.exists() is (sudo == "exec")
    expected = {
        "exec": f"\n  sudo install -m 644 {machine.cache}/ca.crt",
        "refuse": "sudo: a password is required",
        "none": f"hint: As root, run:\n  install -m 644 {machine.cache}/ca.crt",
    }
    assert expected[sudo] in captured.out + captured.err


def _without_sudo(which: Any) -> Any:
    return lambda name, **more: None if name == "sudo" else which(name, **more)


def test_commands_that_hang_or_are_missing_are_told(machine, monkeypatch, capsys):
    machine.write_update(before="sleep 60 > /dev/null 2>&1")
    monkeypatch.setattr(trusting, "PATIENCE", 0.2)
    assert main(["--trust", "--yes"]) == 2
    assert "did not end within 0.2 s" in capsys.readouterr().err
    assert trusting._run(("/no/such/command",)).startswith("/no/such/command cannot be run: No")
    assert trusting._run(("false",)) == "false ended with exit code 1."


def test_commands_that_nobody_was_shown_are_not_run(machine, monkeypatch, capsys):
    def agreed() -> bool:
        # While somebody thinks about it, the CA is replaced.
        (machine.cache / "ca.key").unlink()
        ensure_development_certificate()
        return True

    monkeypatch.setattr(trusting, "_agreed", agreed)
    assert main(["--trust"]) == 2
    assert "It has changed since you were asked." in capsys.readouterr().err
    assert not machine.bundle.exists()
    assert main(["--trust", "--yes"]) == 0


def test_two_runs_at_once_do_it_once(machine):
    database = machine.make_database()
    ensure_development_certificate()
    machine.write_update(before="sleep 0.3")
    runs = [machine.start("--trust", "--yes") for _ in range(3)]
    said = [run.communicate(timeout=WAIT) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], said
    assert len(machine.trusted_by(database)) == 1
    assert machine.bundle.read_bytes() == machine.ca
    assert (machine.cache / "trusted.crt").read_bytes() == machine.ca


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_is_finished_by_the_next(machine, name):
    database = machine.make_database()
    machine.write_update(before="sleep 60")
    run = machine.start("--trust", "--yes")
    deadline = time.monotonic() + WAIT
    while not machine.log.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(run.pid, name)
    out, errors = run.communicate(timeout=WAIT)
    if name is signal.SIGINT:
        assert (run.returncode, errors.strip()) == (130, "")
        assert "Interrupted. Run the same command again" in out
    assert "h2wsgi --trust" in banner()
    assert machine.trusted_by(database) == []
    machine.write_update()
    assert main(["--trust", "--yes"]) == 0
    assert machine.bundle.read_bytes() == machine.ca
    assert len(machine.trusted_by(database)) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["--trust", "--untrust"], "--trust and --untrust are two opposite", "Leave out one"),
        (["--yes"], "--yes is an answer to what --trust and --untrust ask", "Leave it out"),
        (["--trust", "a:b"], "--trust is done instead of serving", "First h2wsgi --trust, then"),
        (["--make-cert", "certs", "--trust"], "--trust and --untrust are about the dev", "Run one"),
        (["--make-cert", "certs", "--yes"], "--trust and --untrust are about the dev", "Run one"),
    ],
)
def test_what_makes_no_sense_is_refused(
    machine, capsys, monkeypatch, tmp_path, arguments, error, hint
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert error in first
    assert second.startswith(f"hint: {hint}")
    assert not machine.cache.exists()
    assert not (tmp_path / "certs").exists()


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_nothing_is_changed_and_the_commands_are_printed(
    machine, monkeypatch, capsys, platform
):
    made = ensure_development_certificate()
    ca = machine.cache / "ca.crt"
    monkeypatch.setattr(trusting, "cache_folder", lambda: machine.cache)
    monkeypatch.setattr(trusting, "ensure_development_certificate", lambda: made)
    monkeypatch.setattr(sys, "platform", platform)
    for flag in ("--trust", "--untrust"):
        assert main([flag]) == 0
        said = capsys.readouterr().out
        assert "Nothing is changed on this system from here." in said
        assert ("certutil -user" if platform == "win32" else "security ") in said
    ca.unlink()
    assert main(["--untrust"]) == 0
    assert capsys.readouterr().out == "There is no development CA.\n"
