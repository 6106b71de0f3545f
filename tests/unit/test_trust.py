"""Which commands change what trusts the development CA, in stores that are folders."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from h2wsgi.errors import CertificateError
from h2wsgi.tls import trust
from h2wsgi.tls.development import ensure_development_certificate, make_certificates
from h2wsgi.tls.issuing import development_ca_name
from h2wsgi.tls.trust import Stores, changes, commands_elsewhere, find_stores, written
from support.clients import find
from support.machine import Machine

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="stores are found on Linux"),
    pytest.mark.client,
]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    find("certutil", package="libnss3-tools")
    made = Machine(tmp_path)
    made.enter(monkeypatch)
    monkeypatch.setattr(trust, "CHROMIUMS", ())
    return made


@pytest.fixture
def ca(machine: Machine) -> Path:
    return Path(ensure_development_certificate().ca)


def commands(stores: Stores, ca: Path | None) -> list[str]:
    return [written(command) for change in changes(stores, ca) for command in change.commands]


def test_a_name_is_only_that_of_a_development_ca(machine, ca, tmp_path):
    assert development_ca_name(ca.read_bytes()).startswith("h2wsgi development CA ")
    other = Path(make_certificates(tmp_path / "other").ca).read_bytes()
    assert [development_ca_name(x) for x in (b"", b"junk", b"\xff", other)] == [""] * 4


def test_the_systems_store_gets_a_file_for_each_user_and_ca(machine, ca):
    number = development_ca_name(ca.read_bytes())[-6:]
    stores = find_stores()
    file = f"{machine.folder}/h2wsgi-{stores.user}-{number}.crt"
    assert commands(stores, ca) == [f"install -m 644 {ca} {file}", str(machine.update)]
    shutil.copy(ca, file)
    assert commands(stores, ca) == []
    assert commands(stores, None) == [f"rm -f {file}", f"{machine.update} --fresh"]


def test_what_was_halfway_has_the_system_take_notice_once_more(machine, ca):
    stores = find_stores()
    (change,) = changes(stores, None, again=True)
    assert change.commands == ((str(machine.update), "--fresh"),)


def test_a_ca_that_was_replaced_is_taken_out_and_those_of_other_users_stay(machine, ca):
    stores = find_stores()
    old, others = (machine.folder / f"h2wsgi-{u}-123abc.crt" for u in (stores.user, "somebody"))
    for path in (old, others):
        shutil.copy(ca, path)
    ca.unlink()
    new = Path(ensure_development_certificate().ca)
    found = commands(stores, new)
    assert found[0] == f"rm -f {old}"
    assert found[-1].endswith(" --fresh")
    assert not any(str(others) in command for command in found)


@pytest.mark.parametrize("content", [b"precious", None])
def test_a_file_of_somebody_else_in_the_systems_store_is_left_alone(machine, ca, content):
    stores = find_stores()
    number = development_ca_name(ca.read_bytes())[-6:]
    own = machine.folder / f"h2wsgi-{stores.user}-{number}.crt"
    other = machine.folder / f"h2wsgi-{stores.user}-abcdef.crt"
    other.write_bytes(b"precious")
    if content is None:  # what cannot be read
        own.mkdir()
    else:
        own.write_bytes(content)
    (change,) = changes(stores, ca)
    assert change.commands == ()
    assert "not what h2wsgi puts there" in change.problem
    assert commands(stores, None) == []


def test_an_empty_file_is_what_an_interrupted_run_has_left(machine, ca):
    stores = find_stores()
    number = development_ca_name(ca.read_bytes())[-6:]
    (machine.folder / f"h2wsgi-{stores.user}-{number}.crt").touch()
    assert commands(stores, ca)[0].startswith("install ")


@pytest.mark.parametrize("sudo", [True, False])
def test_who_is_not_root_needs_sudo(machine, ca, monkeypatch, sudo):
    monkeypatch.setattr(os, "geteuid", lambda: 1234567)
    which = shutil.which
    path = "/usr/bin/sudo" if sudo else None
    monkeypatch.setattr(
        shutil, "which", lambda name, **more: path if name == "sudo" else which(name, **more)
    )
    (change,) = changes(find_stores(), ca)
    assert [command[0] == "sudo" for command in change.commands] == [sudo, sudo]
    assert change.problem == ("" if sudo else "Only root may change it, and there is no sudo.")
    assert f"h2wsgi-{1234567}-" in change.commands[0][-1]


@pytest.mark.parametrize(
    ("user", "caller", "owner", "said"),
    [
        (0, "", 0, ""),
        (0, "root", 0, ""),
        (0, "", None, ""),
        (0, "alice", 0, "You are root, by way of alice"),
        (0, "alice", 1000, "You are root, by way of alice"),
        (0, "", 1000, "You are root, by way of another user"),
        (1000, "alice", 1000, ""),
    ],
)
def test_root_by_way_of_somebody_else_is_told_so(monkeypatch, tmp_path, user, caller, owner, said):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setenv("SUDO_USER", caller)
    home = tmp_path / "home"
    if owner is not None:
        home.mkdir()
    real = Path.stat

    def owned(path: Path, **options: bool) -> os.stat_result:
        found = real(path, **options)
        return os.stat_result((*found[:4], owner, *found[5:10])) if path == home else found

    monkeypatch.setattr(Path, "stat", owned)
    if not said:
        trust._refuse_another_user(home)
        return
    with pytest.raises(CertificateError, match=said) as caught:
        trust._refuse_another_user(home)
    assert "without sudo" in caught.value.hint


def test_without_a_home_there_are_no_databases(machine, monkeypatch):
    machine.make_database()
    assert len(find_stores().databases) == 1
    monkeypatch.setenv("HOME", "relative")
    assert find_stores().databases == ()

    def nowhere() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", nowhere)
    assert find_stores().databases == ()


def test_where_there_is_no_store_at_all_that_is_an_error(machine, monkeypatch):
    monkeypatch.setattr(trust, "SYSTEM_STORES", ())
    with pytest.raises(CertificateError, match="No store of CAs was found") as caught:
        find_stores()
    assert "curl --cacert" in caught.value.hint


def test_databases_of_browsers_are_found_wherever_they_keep_them(machine, monkeypatch):
    names = [
        ".pki/nssdb",
        ".local/share/pki/nssdb",
        "snap/chromium/current/.pki/nssdb",
        ".var/app/org.chromium.Chromium/.pki/nssdb",
        ".mozilla/firefox/abc.default",
        ".config/mozilla/firefox/def.default",
        "snap/firefox/common/.mozilla/firefox/ghi.default",
        ".var/app/org.mozilla.firefox/.mozilla/firefox/jkl.default",
    ]
    for name in names:
        (machine.home / name).mkdir(parents=True)
    (machine.home / ".mozilla/firefox/profiles.ini").touch()
    assert find_stores().databases == ()
    for name in names:
        (machine.home / name / "cert9.db").touch()
    found = find_stores().databases
    assert [str(path.relative_to(machine.home)) for _, path in found] == names
    assert [whose for whose, _ in found] == ["Chromium and Chrome"] * 4 + ["Firefox"] * 4
    monkeypatch.setenv("XDG_DATA_HOME", str(machine.home / "elsewhere"))
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative, so ignored")
    assert len(find_stores().databases) == 7


def test_where_chromium_has_no_database_yet_one_is_made(machine, ca, monkeypatch):
    monkeypatch.setattr(trust, "CHROMIUMS", (sys.executable,))
    stores = find_stores()
    assert stores.databases == (("Chromium and Chrome", machine.home / ".pki/nssdb"),)
    _, change = changes(stores, ca)
    assert [command[0] for command in change.commands][:1] == ["mkdir"]
    assert "-N" in change.commands[1]
    assert "-A" in change.commands[2]
    assert not any("nssdb" in command for command in commands(stores, None))


def test_only_what_is_ours_leaves_a_database_and_what_is_there_is_not_added(machine, ca, tmp_path):
    database = machine.make_database()
    stores = find_stores()
    name = development_ca_name(ca.read_bytes())
    foreign = make_certificates(tmp_path / "foreign").ca
    add = ("-A", "-t", "C,,", "-i")
    machine.certutil(database, *add, foreign, "-n", "h2wsgi development CA 123456")
    assert commands(stores, None) == []
    *_, change = changes(stores, ca)
    assert [command[3:] for command in change.commands] == [
        ("-A", "-t", "C,,", "-n", name, "-i", str(ca))
    ]
    machine.certutil(database, "-A", "-t", ",,", "-n", name, "-i", str(ca))
    *_, change = changes(stores, ca)  # it is there, and not trusted
    assert len(change.commands) == 1
    machine.certutil(database, "-M", "-t", "C,,", "-n", name)
    assert len(changes(stores, ca)) == 1
    *_, change = changes(stores, None)
    assert [command[3:] for command in change.commands] == [("-D", "-n", name)]


def test_a_database_that_cannot_be_read_is_a_problem_with_the_command(machine, ca):
    database = machine.home / ".mozilla/firefox/abc"
    database.mkdir(parents=True)
    (database / "cert9.db").write_text("junk")
    for wanted, last in ((ca, str(ca)), (None, "-L")):
        *_, change = changes(find_stores(), wanted)
        assert "SEC_ERROR_BAD_DATABASE" in change.problem
        assert change.commands[0][-1] == last


def test_certutil_that_does_not_end_is_a_problem(machine, ca, monkeypatch, tmp_path):
    machine.make_database()
    slow = tmp_path / "certutil"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(trust, "LOOK_TIMEOUT", 0.1)
    *_, change = changes(find_stores(), ca)
    assert "timed out" in change.problem


def test_without_certutil_its_packages_and_the_commands_are_named(machine, ca, monkeypatch):
    database = machine.make_database()
    which = shutil.which
    with monkeypatch.context() as patch:
        patch.setattr(
            shutil, "which", lambda n, **more: None if n == "certutil" else which(n, **more)
        )
        stores = find_stores()
    *_, change = changes(stores, ca)
    assert change.problem == "NSS's certutil is not installed."
    assert "libnss3-tools" in change.hint
    name = development_ca_name(ca.read_bytes())
    expected = ("certutil", "-d", f"sql:{database}", "-A", "-t", "C,,", "-n", name, "-i", str(ca))
    assert change.commands == (expected,)
    assert changes(stores, None) == []
    machine.certutil(database, *expected[3:])
    (change,) = changes(stores, None)
    assert "not installed" in change.problem


def test_a_ca_of_somebody_else_is_not_trusted(machine, ca):
    ca.write_bytes(b"somebody's")
    with pytest.raises(CertificateError, match="is not a CA that h2wsgi made"):
        changes(find_stores(), ca)


def test_elsewhere_there_are_commands_to_run(machine, ca, monkeypatch):
    name = development_ca_name(ca.read_bytes())
    monkeypatch.setattr(sys, "platform", "darwin")
    (add,) = commands_elsewhere(ca, trusted=True)
    assert add[:2] == ("security", "add-trusted-cert")
    assert add[-1] == str(ca)
    (remove,) = commands_elsewhere(ca, trusted=False)
    assert remove[:2] == ("security", "delete-certificate")
    assert f"'{name}'" in written(remove)
    monkeypatch.setattr(sys, "platform", "win32")
    (add,) = commands_elsewhere(ca, trusted=True)
    assert written(add) == f"certutil -user -addstore Root {ca}"
    (remove,) = commands_elsewhere(ca, trusted=False)
    assert written(remove) == f'certutil -user -delstore Root "{name}"'
