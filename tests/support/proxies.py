"""Real proxies in front of real servers, with the configurations of examples/deploy as they are.

Ports and paths are the test's; everything else is what a reader finds there.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from h2wsgi.tls.development import make_certificates
from support.clients import environment, find, run, running
from support.process import ServerProcess
from support.settled import eventually

DEPLOY = Path(__file__).parent.parent.parent / "examples" / "deploy"
CLIENT = "127.0.0.7"
"""Where the clients come from, the proxies being at 127.0.0.1."""
PATIENCE = 30.0
"""Seconds that a proxy or a server gets to start or to end."""


def free_port() -> int:
    """Return a port that nobody uses; below those that the system gives to clients."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


@dataclass
class Backends:
    """Servers of one application at ports that stay, each in a process of its own."""

    folder: Path
    source: str
    arguments: tuple[str, ...] = ()
    ports: list[int] = field(default_factory=lambda: [free_port(), free_port()])
    running: list[ServerProcess] = field(default_factory=list)

    def start(self, number: int) -> ServerProcess:
        """Start the server of a number."""
        folder = self.folder / f"{number}-{random.getrandbits(32):08x}"
        folder.mkdir()
        address = f"127.0.0.1:{self.ports[number]}"
        return ServerProcess(
            folder, self.source, "--bind-h2c", address, *self.arguments, measured=False
        )

    def __enter__(self) -> Backends:
        self.running = [self.start(number) for number in range(len(self.ports))]
        for server in self.running:
            server.ready()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.running:
            server.__exit__()

    def restart(self, number: int, serves_again: Callable[[ServerProcess], bool]) -> None:
        """End a server as a deployment does, start the next, and wait until it is in use."""
        old = self.running[number]
        old.signal(signal.SIGTERM)
        assert old.exit_code(PATIENCE) == 0
        self.running[number] = new = self.start(number)
        new.ready()
        eventually(lambda: serves_again(new), "the new server to be in use", PATIENCE)


@dataclass
class Proxy:
    """A proxy that runs."""

    name: str
    url: str
    ca_file: str
    log: Path
    urls: list[str] = field(default_factory=list)
    """Of all ports it listens on."""

    def command(self, path: str, *arguments: str, url: str = "") -> list[str]:
        """Return the command that asks as a client elsewhere does."""
        known = [find("curl"), "-sS", "--cacert", self.ca_file, "--interface", CLIENT, "-m", "30"]
        return [*known, *arguments, (url or self.url) + path]

    def curl(self, path: str, *arguments: str, url: str = "", **options: Any) -> str:
        """Return the content, and what ``arguments`` ask for."""
        return run(self.command(path, *arguments, url=url), **options)

    def ask(self, path: str, *arguments: str, url: str = "") -> dict[str, Any]:
        """Return what the application tells, as JSON."""
        found = json.loads(self.curl(path, *arguments, url=url))
        assert isinstance(found, dict)
        return found


def configured(name: str, folder: Path, **changes: str) -> Path:
    """Copy a configuration of examples/deploy with some of its words changed, each of them there.

    Words are ``NAME="old -> new"``.
    """
    text = (DEPLOY / name).read_text("utf-8")
    for change in changes.values():
        old, _, new = change.partition(" -> ")
        assert old in text, f"{name} has no {old!r}"
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def certify(folder: Path) -> None:
    """Make what the proxies have for a certificate."""
    make_certificates(folder)
    both = (folder / "cert.crt").read_bytes() + (folder / "cert.key").read_bytes()
    (folder / "site.pem").write_bytes(both)


@contextlib.contextmanager
def started(
    name: str, command: list[str], folder: Path, ports: list[int], **variables: str
) -> Iterator[Proxy]:
    log = folder / f"{name}.log"
    with (
        log.open("wb") as output,
        running(command, stdout=output, stderr=subprocess.STDOUT, env=environment(**variables)),
    ):
        for port in ports:
            eventually(lambda port=port: listens(port), f"{name} to listen", PATIENCE)
        urls = [f"https://localhost:{port}" for port in ports]
        yield Proxy(name, urls[0], str(folder / "ca.crt"), log, urls)


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def haproxy(folder: Path, backends: list[int]) -> Iterator[Proxy]:
    port = free_port()
    path = configured(
        "haproxy.cfg",
        folder,
        port=f"bind :443 -> bind 127.0.0.1:{port}",
        pem=f"/etc/haproxy/site.pem -> {folder}/site.pem",
        a=f"127.0.0.1:8001 proto -> 127.0.0.1:{backends[0]} proto",
        b=f"127.0.0.1:8002 proto -> 127.0.0.1:{backends[1]} proto",
        soon="inter 2s -> inter 200ms",
    )
    with started("haproxy", [find("haproxy"), "-f", str(path)], folder, [port]) as proxy:
        yield proxy


@contextlib.contextmanager
def haproxy_with_headers(folder: Path, tls: int, cleartext: int) -> Iterator[Proxy]:
    """One whose first port passes on TLS, and whose second ends it."""
    ports = [free_port(), free_port()]
    path = configured(
        "haproxy-proxy-protocol.cfg",
        folder,
        passed=f"bind :443 -> bind 127.0.0.1:{ports[0]}",
        ended=f"bind :444 -> bind 127.0.0.1:{ports[1]}",
        pem=f"/etc/haproxy/site.pem -> {folder}/site.pem",
        tls=f"a 127.0.0.1:8443 -> a 127.0.0.1:{tls}",
        cleartext=f"a 127.0.0.1:8001 -> a 127.0.0.1:{cleartext}",
    )
    with started("haproxy", [find("haproxy"), "-f", str(path)], folder, ports) as proxy:
        yield proxy


@contextlib.contextmanager
def nghttpx(folder: Path, backends: list[int]) -> Iterator[Proxy]:
    port = free_port()
    path = configured(
        "nghttpx.conf",
        folder,
        port=f"frontend=*,443 -> frontend=127.0.0.1,{port}",
        key=f"/etc/nghttpx/site.key -> {folder}/cert.key",
        cert=f"/etc/nghttpx/site.crt -> {folder}/cert.crt",
        a=f"127.0.0.1,8001; -> 127.0.0.1,{backends[0]};",
        b=f"127.0.0.1,8002; -> 127.0.0.1,{backends[1]};",
    )
    command = [find("nghttpx", package="nghttp2-proxy"), f"--conf={path}"]
    with started("nghttpx", command, folder, [port]) as proxy:
        yield proxy


@contextlib.contextmanager
def caddy(folder: Path, backends: list[int]) -> Iterator[Proxy]:
    port = free_port()
    path = configured(
        "Caddyfile",
        folder,
        # Nothing but the one port, on the loopback.
        here="admin off -> admin off\n\tdefault_bind 127.0.0.1\n\tauto_https disable_redirects",
        port=f"https://example.com -> https://localhost:{port}",
        key=f"/etc/caddy/site.key -> {folder}/cert.key",
        cert=f"/etc/caddy/site.crt -> {folder}/cert.crt",
        backends="h2c://127.0.0.1:8001 h2c://127.0.0.1:8002 -> "
        + " ".join(f"h2c://127.0.0.1:{backend}" for backend in backends),
        soon="health_interval 2s -> health_interval 200ms",
    )
    command = [find("caddy"), "run", "--config", str(path), "--adapter", "caddyfile"]
    home = {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with started("caddy", command, folder, [port], **home) as proxy:
        yield proxy


PROXIES = {"haproxy": haproxy, "nghttpx": nghttpx, "caddy": caddy}
