"""After ``h2wsgi --trust`` Chromium and curl take the development certificate without a word."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import h2wsgi
from h2wsgi.command.cli import main
from h2wsgi.server.running import ServerThread
from h2wsgi.tls import trust
from h2wsgi.tls.development import make_certificates
from h2wsgi.tls.trust import SystemStore
from support.browser import Browser
from support.clients import environment, find
from support.machine import Machine

pytestmark = pytest.mark.client


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"taken over " + environ["SERVER_PROTOCOL"].encode()]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    made.enter(monkeypatch)
    return made


@pytest.fixture
def server(machine: Machine) -> Iterator[ServerThread]:
    with h2wsgi.serve_in_thread(app) as server:
        yield server


def seen_by_chromium(machine: Machine, url: str) -> str:
    """Return what a Chromium that is started anew shows: the page, or why it refuses to."""
    with Browser(machine.home) as browser:
        browser.open(url)
        return str(browser.run("location.href + ' ' + document.body.innerText"))


@pytest.mark.parametrize("database", ["", ".pki/nssdb"])
def test_chromium_shows_the_page_while_the_ca_is_trusted(machine, server, database):
    """Without a database, and with the one that is there."""
    find("certutil", package="libnss3-tools")
    if database:
        machine.make_database(database)
    assert "not private" in seen_by_chromium(machine, server.url)
    if not database:  # Chromium has made its own, which somebody new to it has not.
        for path in (machine.home / ".local/share/pki/nssdb").glob("*"):
            path.unlink()
    assert main(["--trust", "--yes"]) == 0
    assert seen_by_chromium(machine, server.url) == f"{server.url} taken over HTTP/2.0"
    assert main(["--untrust", "--yes"]) == 0
    assert "not private" in seen_by_chromium(machine, server.url)


def test_curl_takes_what_the_system_trusts(machine, server, monkeypatch, tmp_path):
    """By the real update-ca-certificates, told to work elsewhere."""
    update = find("update-ca-certificates", package="ca-certificates")
    monkeypatch.setattr(trust, "CHROMIUMS", ())
    etc, hooks, config = (tmp_path / name for name in ("etc", "hooks", "config"))
    etc.mkdir()
    hooks.mkdir()
    config.write_text("# nothing\n")
    command = (update, "--localcertsdir", str(machine.folder), "--etccertsdir", str(etc))
    command += ("--hooksdir", str(hooks), "--certsconf", str(config))
    store = SystemStore(machine.folder, ".crt", command, ("--fresh",))
    monkeypatch.setattr(trust, "SYSTEM_STORES", (store,))
    other = make_certificates(tmp_path / "other").ca
    shutil.copy(other, machine.folder / "somebody.crt")

    def curl(url: str) -> tuple[int, str]:
        argv = [find("curl"), "-q", "-sS", "--http2", "--cacert", other, "--capath", str(etc), url]
        done = subprocess.run(argv, capture_output=True, text=True, env=environment())
        return done.returncode, done.stdout

    assert curl(server.url)[0] == 60
    assert main(["--trust", "--yes"]) == 0
    assert curl(server.url) == (0, "taken over HTTP/2.0")
    (machine.cache / "ca.key").unlink()
    with h2wsgi.serve_in_thread(app) as later:
        assert curl(later.url)[0] == 60
        assert main(["--trust", "--yes"]) == 0
        assert curl(later.url) == (0, "taken over HTTP/2.0")
        assert curl(server.url)[0] == 60
        assert main(["--untrust", "--yes"]) == 0
        assert curl(later.url)[0] == 60
    assert (etc / "ca-certificates.crt").read_bytes() == Path(other).read_bytes()
