"""--reload: a changed file starts the application anew, and an error waits for the next change."""

from __future__ import annotations

import json
import logging
import signal
import time
from pathlib import Path

import pytest

from h2wsgi.config.config import Config
from h2wsgi.errors import ConfigurationError
from h2wsgi.supervisor import watching
from support.process import START_PATIENCE
from support.settled import eventually
from support.workers import TELLING, WorkersProcess

pytest.importorskip("watchfiles", reason="watchfiles is not installed (pip install watchfiles)")
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")


LOG = logging.getLogger("watching")


def telling(what: str) -> str:
    return TELLING.replace('{"pid"', f'{{"what": "{what}", "pid"')


def what_of(server: WorkersProcess) -> str:
    with server.connect(tls=False) as peer:
        return str(json.loads(peer.get(timeout=START_PATIENCE).body)["what"])


def test_a_change_starts_the_application_anew_and_an_error_waits_for_the_next(
    tmp_path: Path,
) -> None:
    web = tmp_path / "web.py"
    with WorkersProcess(tmp_path, telling("one"), "--reload", workers=0) as running:
        assert running.ready()["workers"] == 1
        with running.connect(tls=False) as browser:
            assert json.loads(browser.get().body)["what"] == "one"
            web.write_text(telling("two"))  # as long as before, and in the same second
            browser.wait_goaway(START_PATIENCE)
            assert browser.wait_closed(START_PATIENCE) != "reset"
        running.said(f"{web} changed: reloading")
        assert what_of(running) == "two"
        web.write_text("1 /\n")
        assert "SyntaxError" in running.said("the reload failed, so all stays as it was")
        assert what_of(running) == "two"
        web.write_text(telling("six"))
        eventually(lambda: what_of(running) == "six", "the new code", START_PATIENCE)


def test_an_error_at_the_start_waits_for_a_change_too(tmp_path: Path) -> None:
    with WorkersProcess(tmp_path, "1 / 0\n", "--reload", workers=0) as running:
        assert "ZeroDivisionError" in running.said("waiting for a file to change")
        running.signal(signal.SIGHUP)
        running.said("SIGHUP: starting")
        eventually(lambda: len(failures(running)) == 2, "the next failure", START_PATIENCE)
        (tmp_path / "web.py").write_text(telling("right"))
        assert running.ready()["workers"] == 1
        assert what_of(running) == "right"


def test_a_folder_that_is_gone_for_a_while_is_watched_again(tmp_path: Path) -> None:
    """As where another branch is checked out."""
    other = tmp_path / "other"
    other.mkdir()
    options = ("--reload", f"--reload-dir={other}")
    with WorkersProcess(tmp_path, telling("one"), *options, workers=0) as running:
        running.ready()
        other.rename(tmp_path / "aside")  # or the next could have its inode, and pass for it
        time.sleep(0.5)
        other.mkdir()
        running.said(f"{other} changed: reloading")
        running.said("reloaded: ")
        time.sleep(0.3)  # until it is watched
        (other / "new.py").write_text("")
        running.said(f"{other / 'new.py'} changed: reloading")


def test_what_keeps_files_from_being_watched_is_said_once(tmp_path: Path) -> None:
    program = """
import sys, watchfiles
from h2wsgi.command.cli import main

def watch(*_, **__):
    raise OSError(28, "OS file watch limit reached")

watchfiles.watch = watch
sys.exit(main())
"""
    with WorkersProcess(
        tmp_path, telling("one"), "--reload", workers=0, entry=("-c", program)
    ) as running:
        running.said("files cannot be watched, and it is tried again: [Errno 28] OS file watch")
        assert running.ready()["workers"] == 1
        time.sleep(1.2)
        assert [line["event"] for line in running.lines()].count("watch_failed") == 1


def failures(server: WorkersProcess) -> list[str]:
    return [event for event in server.events() if "waiting for a file to change" in event]


def test_files_that_were_asked_for_are_watched_and_no_others(tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "node_modules").mkdir(parents=True)
    options = (f"--reload-dir={other}", "--reload-include=*.html", "--reload-exclude=node_modules")
    with WorkersProcess(tmp_path, telling("one"), "--reload", *options, workers=0) as running:
        running.ready()
        before = running.workers()
        (tmp_path / "web.py").write_text(telling("two"))
        for name in ("page.txt", "node_modules/x.py", ".hidden.py"):
            (other / name).write_text("x")
        time.sleep(0.5)  # what must not happen leaves nothing to wait for
        assert running.workers() == before
        (other / "page.html").write_text("x")
        running.said("page.html changed: reloading")
        eventually(lambda: what_of(running) == "two", "the new code", START_PATIENCE)


def test_names_and_paths_are_patterns(tmp_path: Path) -> None:
    config = Config.build(
        reload=True,
        reload_dir=str(tmp_path),
        reload_include="*.html",
        reload_exclude="static/*,*_test.py",
    )
    watcher = watching.Watcher(config, lambda files: None, LOG)
    for name, counts in (
        ("web.py", True), ("deep/er/web.py", True), ("page.html", True), ("web.pyc", False),
        ("__pycache__/web.py", False), (".git/web.py", False), ("static/page.html", False),
        ("static/deep/page.html", False), ("web_test.py", False), ("notes.txt", False),
    ):  # fmt: skip
        assert watcher.is_watched(str(tmp_path / name)) is counts, name


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    config = Config.build(reload=True, reload_dir=str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match=r"none \(--reload-dir\) does not exist"):
        watching.Watcher(config, lambda files: None, LOG)


def test_without_watchfiles_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "watchfiles", None)
    with pytest.raises(ConfigurationError, match="not installed") as caught:
        watching.Watcher(Config.build(reload=True), lambda files: None, LOG)
    assert "h2wsgi[reload]" in caught.value.hint
