"""A machine for ``h2wsgi --trust`` that is a folder: a home, and a store of the system's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from h2wsgi.tls import trust
from h2wsgi.tls.trust import SystemStore
from support.clients import find

UPDATE = """#!/bin/sh
# What update-ca-certificates does: one file of all.
echo "$@" >> {log}
{before}
cat {folder}/*.crt > {bundle} 2>/dev/null || : > {bundle}
"""
COMMAND = """
import sys
from pathlib import Path
from h2wsgi.command.cli import main
from h2wsgi.tls import trust
trust.SYSTEM_STORES = (trust.SystemStore(Path(sys.argv[1]), ".crt", (sys.argv[2],), ("--fresh",)),)
trust.os.geteuid = lambda: 0
trust._refuse_another_user = lambda home: None
sys.exit(main(sys.argv[3:]))
"""
"""The command, as root, with a system store that is a folder."""


class Machine:
    """``home`` and the folder of the system's store; ``bundle`` is what the system trusts."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.folder = folder / "system"
        self.bundle = folder / "bundle.crt"
        self.log = folder / "update.log"
        self.update = folder / "update-cas"
        for path in (self.home, self.folder):
            path.mkdir(parents=True)
        self.write_update()

    def write_update(self, before: str = "") -> None:
        """Make the command that has the system take notice, with something done before it does."""
        text = UPDATE.format(log=self.log, before=before, folder=self.folder, bundle=self.bundle)
        self.update.write_text(text)
        self.update.chmod(0o755)

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have this process be root's on this machine, whoever runs the tests."""
        for name in ("SUDO_USER", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(self.home))
        store = SystemStore(self.folder, ".crt", (str(self.update),), ("--fresh",))
        monkeypatch.setattr(trust, "SYSTEM_STORES", (store,))
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(trust, "_refuse_another_user", lambda home: None)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(self.folder), str(self.update), *arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def cache(self) -> Path:
        """The folder of the development CA."""
        return self.home / ".cache/h2wsgi"

    @property
    def ca(self) -> bytes:
        """The development CA."""
        return (self.cache / "ca.crt").read_bytes()

    def make_database(self, name: str = ".pki/nssdb", password: str = "") -> Path:
        """Make a database of NSS."""
        folder = self.home / name
        folder.mkdir(parents=True)
        how = ["--empty-password"]
        if password:
            (folder / "password").write_text(password)
            how = ["-f", str(folder / "password")]
        self.certutil(folder, "-N", *how)
        return folder

    def certutil(self, folder: Path, *arguments: str) -> str:
        """Return what certutil says."""
        command = [find("certutil", package="libnss3-tools"), "-d", f"sql:{folder}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def trusted_by(self, folder: Path) -> list[str]:
        """Return the nicknames of the CAs that a database trusts for servers."""
        lines = self.certutil(folder, "-L").splitlines()
        return [line[:-6].strip() for line in lines if line.rstrip().endswith("C,,")]
