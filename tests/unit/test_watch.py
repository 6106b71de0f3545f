"""Certificates that change: what is taken, what is refused, and how often that is said."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from h2wsgi.config.config import Config
from h2wsgi.errors import CertificateError
from h2wsgi.tls import watch as watch_module
from h2wsgi.tls.context import resolve
from h2wsgi.tls.watch import CertificateWatch
from support.certificates import Authority
from support.settled import eventually


class Watched:
    """A pair of files, and who watches them."""

    def __init__(self, folder: Path, log: logging.Logger) -> None:
        self.authority = Authority()
        self.stem = folder / "site"
        self.cert, self.key = self.authority.write(self.stem, "old.test", days=100)
        config = Config(cert=self.cert, key=self.key)
        identity = resolve(config)
        assert identity is not None
        self.watch = CertificateWatch(config, identity, log)
        self._turn, self._changing = self.watch._turn, threading.Lock()
        self.watch._turn = self._whole_turn

    def _whole_turn(self) -> None:
        with self._changing:
            self._turn()

    def write(self, name: str, days: float = 100) -> None:
        """Write a new pair, which the watch sees whole or not at all.

        A busy machine may hold up whoever writes for longer than the files have to settle.
        """
        with self._changing:
            self.authority.write(self.stem, name, days=days)

    def spoil_key(self) -> None:
        with self._changing:
            Path(self.key).write_text("nothing")

    def names(self) -> tuple[str, ...]:
        facts = self.watch.identity.facts
        assert facts is not None
        return facts.names


@pytest.fixture
def watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Watched]:
    monkeypatch.setattr(watch_module, "INTERVAL", 0.01)
    monkeypatch.setattr(watch_module, "SETTLED", 0.02)
    caplog.set_level(logging.DEBUG, "certificates")
    watched = Watched(tmp_path, logging.getLogger("certificates"))
    watched.watch.start()
    yield watched
    watched.watch.stop()


def test_looks_and_settling_together_take_less_than_five_seconds() -> None:
    most = watch_module.INTERVAL + watch_module.PATIENCE + watch_module.SETTLED
    assert most < 5


def test_a_changed_pair_takes_the_place_of_the_old(watched, caplog):
    before = watched.watch.identity
    watched.write("new.test")
    eventually(lambda: watched.names() == ("new.test",), "the new certificate")
    assert watched.watch.identity.context is not before.context
    said = f"certificates read anew: {watched.cert}, good until 20"
    eventually(lambda: said in caplog.text, "the line about it")


def test_a_broken_pair_is_told_of_once_and_the_old_goes_on(watched, caplog):
    before = watched.watch.identity
    watched.spoil_key()
    eventually(lambda: "ARE NOT USED" in caplog.text, "the line")
    rounds = threading.Event()
    rounds.wait(0.2)  # some turns, in which it could be said again
    assert watched.watch.identity is before
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert f"{watched.key} (--key) holds no PEM private key" in record.getMessage()
    watched.write("mended.test")
    eventually(lambda: watched.names() == ("mended.test",), "the pair that is whole again")


def test_a_file_that_is_gone_for_a_while_changes_nothing(watched, caplog):
    before = watched.watch.identity
    shutil.move(watched.cert, f"{watched.cert}.old")
    eventually(lambda: "does not exist" in caplog.text, "the line")
    assert watched.watch.identity is before
    shutil.move(f"{watched.cert}.old", watched.cert)
    eventually(lambda: watched.watch.identity is not before, "the file again")


def test_a_link_that_leads_elsewhere_is_a_change(watched, tmp_path):
    """As Kubernetes renews a mounted secret."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        watched.authority.write(tmp_path / name / "site", f"{name}.test", days=100)
    for suffix in (".crt", ".key"):
        path = watched.stem.with_suffix(suffix)
        path.unlink()
        path.symlink_to(tmp_path / "now" / path.name)
    (tmp_path / "now").symlink_to(tmp_path / "1")
    eventually(lambda: watched.names() == ("1.test",), "the first folder")
    (tmp_path / "next").symlink_to(tmp_path / "2")
    (tmp_path / "next").rename(tmp_path / "now")
    eventually(lambda: watched.names() == ("2.test",), "the second folder")


def test_files_are_read_on_demand_though_nothing_changed(watched, caplog):
    before = watched.watch.identity
    seen = []
    watched.watch.read(lambda: seen.append(watched.watch.identity))
    eventually(lambda: bool(seen), "that it is done")
    assert seen == [watched.watch.identity] != [before]


def test_an_end_that_comes_near_is_warned_of_while_the_server_runs(watched, caplog):
    watched.write("soon.test", days=9)
    eventually(lambda: "expires on 20" in caplog.text, "the warning")
    caplog.clear()
    watched.watch._warn_at = 0.0  # a day has passed
    eventually(lambda: "expires on 20" in caplog.text, "the warning of the next day")
    assert len(caplog.records) == 1


def test_what_could_not_be_read_is_tried_again_though_no_file_has_changed(
    watched, caplog, monkeypatch
):
    """As when the mode of a key is mended, or descriptors had run out for a moment."""
    before = watched.watch.identity
    with monkeypatch.context() as patched:

        def refuse(*_: object) -> None:
            raise CertificateError("site.key cannot be read: Permission denied.")

        patched.setattr(watch_module, "read_again", refuse)
        watched.write("new.test")
        eventually(lambda: "Permission denied" in caplog.text, "the line")
        threading.Event().wait(0.1)  # some turns, in which it could be said again
        assert watched.watch.identity is before
        assert caplog.text.count("Permission denied") == 1
    eventually(lambda: watched.names() == ("new.test",), "the new certificate")


def test_a_look_that_fails_is_not_the_last(watched, caplog, monkeypatch):
    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(watch_module, "read_again", fail)
        watched.watch.read(lambda: None)
        eventually(lambda: "looking for new certificates failed" in caplog.text, "the line")
        threading.Event().wait(0.1)
        assert caplog.text.count("looking for new certificates failed") == 1
    watched.write("new.test")
    eventually(lambda: watched.names() == ("new.test",), "the new certificate")
