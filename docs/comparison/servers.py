"""How probe.py starts and ends each server, and talks to it.

Each runs from the same interpreter, on a free port of 127.0.0.1, with TLS, one worker process,
and, where it has the options, 16 threads and a graceful timeout of 10 s; all else is its default.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "support"))

from peer import Code, Peer, Setting, Type, name_of  # noqa: E402

STARTING = 15.0
"""Seconds a server may take until it answers."""
STOPPING = 15.0
"""Seconds it may take to end after SIGTERM, before it is killed."""


@dataclass(frozen=True)
class Server:
    """A server's name on PyPI and its command line; `{port}`, `{certs}`, `{app}` are filled in."""

    name: str
    options: str
    http1: str | None = None
    """Options instead of those, with which it speaks HTTP/1.1 too; None: it never does."""
    asgi: str | None = None
    """Options with which it runs an ASGI application; None: it never does."""
    workers: str | None = None
    """Options to add for two worker processes; None: it has one, always."""
    forwarded: str | None = None
    """Options to add for it to believe a proxy on this machine; None: there are none."""
    proxy_protocol: str | None = None
    """Options to add for connections that may begin with a PROXY header; None: there are none."""


GUNICORN = (
    "--bind 127.0.0.1:{port} --certfile {certs}/cert.crt --keyfile {certs}/cert.key"
    " --threads 16 --graceful-timeout 10 --no-control-socket"
)
GRANIAN = (
    "--host 127.0.0.1 --port {port} --ssl-certificate {certs}/cert.crt"
    " --ssl-keyfile {certs}/cert.key"
)
HYPERCORN = (
    "--bind 127.0.0.1:{port} --certfile {certs}/cert.crt --keyfile {certs}/cert.key"
    " --graceful-timeout 10"
)
SERVERS = (
    Server(
        "h2wsgi",
        "--bind 127.0.0.1:{port} --cert {certs}/cert.crt --key {certs}/cert.key --threads 16"
        " --graceful-timeout 10 {app}",
        workers="--workers 2",
        forwarded="--forwarded-allow-ips 127.0.0.1",
        proxy_protocol="--proxy-protocol optional --forwarded-allow-ips 127.0.0.1",
    ),
    Server(
        "hypercorn",
        HYPERCORN + " {app}",
        http1=HYPERCORN + " {app}",
        asgi=HYPERCORN + " {app}",
        workers="--workers 2",
    ),
    Server(
        "granian",
        GRANIAN + " --interface wsgi --blocking-threads 16 --http 2 {app}",
        http1=GRANIAN + " --interface wsgi --blocking-threads 16 --http auto {app}",
        asgi=GRANIAN + " --interface asgi --http auto {app}",
        workers="--workers 2",
    ),
    Server(
        "gunicorn",
        GUNICORN + " --worker-class gthread --http-protocols h2 {app}",
        http1=GUNICORN + " --worker-class gthread --http-protocols h2,h1 {app}",
        asgi=GUNICORN + " --worker-class asgi --http-protocols h2,h1 {app}",
        workers="--workers 2",
        forwarded="--forwarded-allow-ips 127.0.0.1",
        proxy_protocol="--proxy-protocol auto --proxy-allow-from 127.0.0.1",
    ),
)


class DidNotStart(Exception):
    """The server ended, or answered no client in time."""


@dataclass
class Running:
    """A server that answers, for as long as `run` keeps it."""

    server: Server
    process: subprocess.Popen[bytes]
    port: int
    certs: Path
    folder: Path
    peers: list[Peer] = field(default_factory=list)

    def connect(self, **options: Any) -> Peer:
        """Return an HTTP/2 client that verifies the certificate; it is closed at the end."""
        options.setdefault("ca_file", str(self.certs / "ca.crt"))
        peer = Peer.connect(("127.0.0.1", self.port), **options)
        self.peers.append(peer)
        return peer

    def events(self) -> list[str]:
        return (self.folder / "events").read_text(encoding="utf-8").splitlines()

    def await_event(self, wanted: Callable[[list[str]], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not wanted(self.events()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def resident_memory(self) -> int:
        """Return the octets that the largest of the server's processes holds (Linux only)."""
        sizes = []
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                if os.getsid(int(status.parent.name)) == self.process.pid:
                    found = re.search(r"VmRSS:\s*(\d+) kB", status.read_text())
                    sizes.append(int(found[1]) * 1024 if found else 0)
        if not sizes:
            raise OSError("needs Linux's /proc")
        return max(sizes)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)


@contextlib.contextmanager
def run(
    server: Server, certs: Path, *, options: str | None = None, app: str = "apps:app"
) -> Iterator[Running]:
    """Start a server, yield it once it answers, and end it, killing only what it started."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "events").touch()
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
        words = (options or server.options).split()
        command = [word.format(port=port, certs=certs, app=app) for word in words]
        environment = {
            **os.environ,
            "PYTHONPATH": str(HERE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COMPARISON_EVENTS": str(folder / "events"),
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", server.name, *command],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        running = Running(server, process, port, certs, folder)
        try:
            _await_answer(running)
            yield running
        finally:
            for peer in running.peers:
                peer.close()
            _end(process)
            if os.environ.get("COMPARISON_LOGS"):
                sys.stderr.write((folder / "log").read_text(encoding="utf-8", errors="replace"))


def _await_answer(running: Running) -> None:
    deadline = time.monotonic() + STARTING
    while running.process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, AssertionError):
            peer = Peer.connect(("127.0.0.1", running.port), ca_file=str(running.certs / "ca.crt"))
            with peer:
                peer.wait_settings(timeout=2)
                return
        time.sleep(0.05)
    log = (running.folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
    raise DidNotStart(log[-1] if log else "without a word")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and its workers: the session is its own, so the group holds nothing else."""
    if process.poll() is None:
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOPPING)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(5)


__all__ = [
    "HERE",
    "SERVERS",
    "Code",
    "DidNotStart",
    "Peer",
    "Running",
    "Server",
    "Setting",
    "Type",
    "name_of",
    "run",
]
