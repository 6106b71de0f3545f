"""The servers: their command lines, and how one is started and ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import proc
from bench.h2load import Failed
from bench.loads import Load

ROOT = Path(__file__).resolve().parents[1]
STARTING = 15.0
"""Seconds a server may take until it shakes hands."""
STOPPING = 5.0
"""Seconds it may take to end after SIGTERM, before it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A server and its options; `{port}`, `{cert}`, `{key}`, `{app}`, `{www}` are filled in."""

    name: str
    program: str
    """A module of bench/.venv to run with ``python -m``, or "nghttpd"."""
    options: str
    sleepers: str = ""
    """Options to add for the load "sleep", so that 100 applications may run at once."""
    static: bool = False
    """Whether it serves files only."""
    per_connection: int = 10**9
    """Requests on one connection, after which it closes it as shipped; h2load would fail."""

    def can(self, load: Load) -> bool:
        return load.static or not self.static

    def most(self, load: Load) -> int:
        """Return the most requests that one run of a load may have."""
        return load.connections * self.per_connection

    def words(self, load: Load) -> str:
        """Return the command line as documented, its variables unfilled."""
        start = self.program if self.static else f"python -m {self.program}"
        more = f" {self.sleepers}" if load.name == "sleep" and self.sleepers else ""
        return f"{start} {self.options}{more}"


def _h2wsgi(engine: str, loop: str) -> Variant:
    short = "uvloop" if loop == "uvloop" else "asyncio"
    return Variant(
        name=f"h2wsgi-{engine}-{short}",
        program="h2wsgi",
        options=f"{{app}} --bind 127.0.0.1:{{port}} --cert {{cert}} --key {{key}}"
        f" --engine {engine} --loop {loop} --no-access-log",
    )


VARIANTS = (
    _h2wsgi("fast", "uvloop"),
    _h2wsgi("fast", "asyncio"),
    _h2wsgi("h2", "uvloop"),
    _h2wsgi("h2", "asyncio"),
    Variant(
        name="granian",
        program="granian",
        options="--interface wsgi --http 2 --workers 1 --no-access-log --host 127.0.0.1"
        " --port {port} --ssl-certificate {cert} --ssl-keyfile {key} {app}",
    ),
    Variant(
        name="gunicorn",
        program="gunicorn",
        options="--http-protocols h2 --worker-class gthread --workers 1 --threads 16"
        " --no-control-socket --bind 127.0.0.1:{port} --certfile {cert} --keyfile {key} {app}",
        sleepers="--threads 100",
    ),
    Variant(
        name="hypercorn",
        program="hypercorn",
        options="--worker-class uvloop --workers 1 --bind 127.0.0.1:{port}"
        " --certfile {cert} --keyfile {key} {app}",
        per_connection=900,
    ),
    Variant(
        name="nghttpd",
        program="nghttpd",
        options="--workers=1 --address=127.0.0.1 --htdocs={www} {port} {key} {cert}",
        static=True,
    ),
)


def by_name(name: str) -> Variant:
    return next(variant for variant in VARIANTS if variant.name == name)


@dataclass(frozen=True, slots=True)
class Place:
    """Where servers run: the interpreter of bench/.venv, a folder with certificate, CPUs."""

    python: Path
    folder: Path
    cpus: tuple[int, ...]
    source: Path = ROOT / "src"
    """Where the package h2wsgi is imported from."""

    def command(self, variant: Variant, load: Load, port: int) -> list[str]:
        _, *words = variant.words(load).split()
        start = str(self.python)
        if variant.static:
            start = shutil.which(variant.program, path=search_path()) or variant.program
        values = {
            "port": str(port),
            "cert": str(self.folder / "cert.pem"),
            "key": str(self.folder / "key.pem"),
            "www": str(self.folder / "www"),
            "app": f"bench.apps:{load.app}",
        }
        return [
            "taskset",
            "-c",
            ",".join(map(str, self.cpus)),
            start,
            *(w.format(**values) for w in words),
        ]


def search_path() -> str:
    """Return PATH with the folders where Debian puts servers."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


@dataclass(frozen=True, slots=True)
class Running:
    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    def pids(self) -> list[int]:
        return proc.session(self.process.pid)

    def cpu(self) -> float:
        """Return the CPU seconds of its processes so far."""
        return proc.cpu_seconds(self.pids())

    def memory(self) -> proc.Memory:
        return proc.memory(self.pids())

    def last_words(self) -> str:
        """Return the last line of its log."""
        text = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
        lines = text.strip().splitlines()
        return lines[-1] if lines else "without a word"


@contextlib.contextmanager
def run(
    variant: Variant, load: Load, place: Place, prefix: tuple[str, ...] = ()
) -> Iterator[Running]:
    """Start a server, yield it once it shakes hands, and end it with all it started."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    command = [*prefix, *place.command(variant, load, port)]
    paths = os.pathsep.join([str(place.source), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths}
    with (place.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=place.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    running = Running(process, port, place.folder)
    try:
        await_handshake(running, STARTING * (10 if prefix else 1))
        yield running
    finally:
        end(process, STOPPING * (10 if prefix else 1))


def client_context() -> ssl.SSLContext:
    """Return a context that offers h2; the certificate is not what is measured."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def await_handshake(running: Running, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    context = client_context()
    while running.process.poll() is None and time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", running.port), seconds) as sock,
            context.wrap_socket(sock) as client,
        ):
            if client.selected_alpn_protocol() == "h2":
                return
        time.sleep(0.02)
    raise Failed(f"did not start: {running.last_words()}")


def end(process: subprocess.Popen[bytes], patience: float) -> None:
    """End a server and its workers: the session is its own, so the group holds nothing else."""
    if process.poll() is None:
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(5)


def make_certificate(folder: Path) -> None:
    """Make cert.pem and key.pem (PKCS#8, P-256) with openssl: one for every server."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        + ["-nodes", "-days", "7", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        + ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True,
        capture_output=True,
        timeout=30,
    )
