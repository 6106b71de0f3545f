"""What the command gives an application to run in, as one process and as several."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from h2wsgi.tls.development import make_certificates
from support.metrics import values
from support.peer import Peer
from support.process import START_PATIENCE, packages
from support.settled import PATIENCE
from support.workers import WorkersProcess

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")

APP = """
import json, os

def app(environ, start_response):
    start_response("200 OK", [])
    mask = os.umask(0)
    os.umask(mask)
    return [json.dumps({
        "pid": os.getpid(), "folder": os.getcwd(), "variable": os.environ.get("OF_THE_FILE"),
        "home": os.environ.get("HOME"), "mask": mask,
        "ids": [os.getresuid(), os.getresgid(), sorted(os.getgroups())],
    }).encode()]
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_an_application_runs_in_what_the_options_say(tmp_path: Path, workers: int) -> None:
    inside, path = tmp_path / "inside", tmp_path / "h2.sock"
    inside.mkdir()
    (tmp_path / "app.env").write_text("OF_THE_FILE='yes # it is'\n")
    options = ("--chdir=inside", "--env-file=app.env", "--umask=027", "--pid=h2.pid")
    sockets = ("--bind=127.0.0.1:0", f"--bind=unix:{path}", "--uds-permissions=606")
    options += ("--backlog=7", *sockets)
    with WorkersProcess(tmp_path, APP, *options, workers=workers) as running:
        with running.connect(tls=False) as peer:
            told = json.loads(peer.get().body)
        assert told["folder"] == str(inside)
        assert told["variable"] == "yes # it is"
        assert told["mask"] == 0o027
        assert (tmp_path / "h2.pid").read_text() == f"{running.process.pid}\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o606
        assert backlog_at(running.port()) == 7
        with Peer.connect(str(path), tls=False) as peer:
            assert json.loads(peer.get().body)["folder"] == str(inside)
        running.signal(signal.SIGTERM)
        assert running.exit_code(PATIENCE) == 0
    assert not (tmp_path / "h2.pid").exists()


def backlog_at(port: int) -> int:
    """Return the backlog of a listening socket, as the kernel tells it."""
    command = ["ss", "-H", "-l", "-t", "-n", f"sport = :{port}"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    return int(told.stdout.split()[2])


# ------------------------------------------------------------------------------ another user's


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that everybody may read, which pytest's are not."""
    folder = Path(tempfile.mkdtemp(prefix="h2wsgi-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def interpreter_of(user: str) -> str | None:
    """Return an interpreter that a user may run, with what h2wsgi needs, if there is one."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(packages())}
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run(
                [python, "-c", "import click, h2, h2wsgi.server.running"],
                user=user, group=pwd.getpwnam(user).pw_gid, extra_groups=(), env=environment,
                capture_output=True, check=True, timeout=START_PATIENCE, cwd="/",
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None


def test_workers_run_as_another_user_with_keys_that_it_may_not_read(open_folder: Path) -> None:
    """As somebody who is not root the test can only ask for whom it is."""
    user, python = pwd.getpwuid(os.getuid()).pw_name, sys.executable
    if os.getuid() == 0 and (found := interpreter_of("nobody")):
        user, python = "nobody", found
    wanted = pwd.getpwnam(user)
    made = make_certificates(open_folder / "certs")
    (open_folder / "certs").chmod(0o700)
    path = open_folder / "h2.sock"
    options = (f"--cert={made.cert}", f"--key={made.key}", f"--user={user}", "--loop=asyncio")
    options += ("--bind=127.0.0.1:0", f"--bind=unix:{path}", "--uds-permissions=660", "--metrics=0")
    with WorkersProcess(open_folder, APP, *options, executable=python, measured=False) as running:
        for is_first in (True, False):
            with running.connect(ca_file=made.ca) as peer:
                told = json.loads(peer.get().body)
            uid, gid = wanted.pw_uid, wanted.pw_gid
            groups = (
                sorted(os.getgrouplist(user, gid)) if os.getuid() == 0 else sorted(os.getgroups())
            )
            assert told["ids"] == [[uid] * 3, [gid] * 3, groups]
            assert told["home"] == wanted.pw_dir
            assert told["pid"] in running.workers()
            before = running.workers()
            if is_first:
                running.signal(signal.SIGHUP)  # which reads the key anew
                running.said("reloaded: ")
                running.wait_for_workers(2, without=tuple(before))
        assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (wanted.pw_uid, 0o660)
        counted = values(running.ready()["metrics"])["h2wsgi_requests_total"]
        assert counted == {("GET", "complete", "2xx"): 2}
        running.signal(signal.SIGTERM)
        assert running.exit_code(PATIENCE) == 0
    assert not path.exists()
