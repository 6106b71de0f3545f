"""Clients from outside Python: finding them, running them, and an application to run them on."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import glob
from pathlib import Path
from typing import Any

import pytest

TIMEOUT = 60.0
"""Seconds a client may take, far more than it needs."""
INSTALL_TIMEOUT = 100.0
"""Seconds that pip may take, or a run of pytest."""


def find(name: str, *, package: str = "") -> str:
    """Return the path of a client; without it skip the test, or fail in CI.

    ``package`` is what Debian calls the package with it, if not ``name``.
    """
    if path := shutil.which(name):
        return path
    if found := glob(f"/usr/lib/{name}-*/bin/{name}"):  # where Debian has its versions of Go
        return found[-1]
    reason = f"{name} is not installed (Debian: apt-get install {package or name})"
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def environment(**extra: str) -> dict[str, str]:
    """Return this process's environment without its proxies, which no client here may use."""
    return {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")} | extra


def install(requirement: str, folder: Path) -> None:
    """Install a package to a folder for PYTHONPATH; if that fails skip the test, or fail in CI."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
    done = subprocess.run(
        [*command, requirement], capture_output=True, text=True, timeout=INSTALL_TIMEOUT
    )
    if done.returncode == 0:
        return
    reason = f"{requirement} cannot be installed: {done.stderr.strip()[-300:]}"
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextmanager
def running(argv: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a client in a process group of its own, all of which has ended afterwards."""
    options.setdefault("env", environment())
    process = subprocess.Popen(argv, start_new_session=True, **options)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def run(
    argv: list[str],
    *,
    content: bytes = b"",
    may_fail: bool = False,
    timeout: float = TIMEOUT,
    **options: Any,
) -> str:
    """Run a client to its end and return what it prints; it must succeed, or ``may_fail``.

    ``content`` is its standard input, ``timeout`` the seconds it may take.
    """
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with running(argv, **pipes, **options) as process:
        output, errors = process.communicate(content, timeout=timeout)
    said = errors.decode(errors="replace")
    assert may_fail or process.returncode == 0, (
        f"{argv[0]} exited with {process.returncode}: {said}"
    )
    return output.decode() + said


class Application:
    """What the clients talk to; remembers who came.

    ``/digest`` answers with the size and SHA-256 of the content, ``/zeros?N`` streams N octets,
    ``/refuse`` answers 403 without reading, ``/together?N`` answers once N requests are inside,
    ``/endless`` never ends by itself; anything else says hello.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.requests = 0
        self.ports: set[str] = set()
        """Remote ports: one for each connection."""
        self.barriers: dict[int, threading.Barrier] = {}
        self.closed = threading.Event()
        """Set when ``close()`` of an ``/endless`` response has run."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        assert environ["SERVER_PROTOCOL"] == "HTTP/2.0"
        with self.lock:
            self.requests += 1
            self.ports.add(environ["REMOTE_PORT"])
        name = environ["PATH_INFO"].strip("/")
        handler = getattr(self, f"on_{name}", self.hello)
        return handler(environ, start_response)

    def hello(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("content-type", "text/plain")])
        return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}".encode()]

    def on_digest(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        source, digest, octets = environ["wsgi.input"], hashlib.sha256(), 0
        while block := source.read(65_536):
            digest.update(block)
            octets += len(block)
        assert environ["CONTENT_LENGTH"] == str(octets)  # whether the client has told it or not
        start_response("200 OK", [("content-type", "text/plain")])
        return [f"{octets} {digest.hexdigest()}".encode()]

    def on_zeros(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        octets = int(environ["QUERY_STRING"])
        start_response("200 OK", [("content-type", "application/octet-stream")])
        return (bytes(min(50_000, octets - sent)) for sent in range(0, octets, 50_000))

    def on_refuse(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("403 Forbidden", [("content-type", "text/plain")])
        return [b"not even read\n"]

    def on_together(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> list[bytes]:
        number = int(environ["QUERY_STRING"].partition("&")[0])
        with self.lock:
            barrier = self.barriers.setdefault(number, threading.Barrier(number))
        barrier.wait(TIMEOUT)
        return self.hello(environ, start_response)

    def on_endless(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [("content-type", "application/octet-stream")])
        try:
            while True:
                yield bytes(1000)
        finally:
            self.closed.set()


def digest_of(content: bytes) -> str:
    """Return what ``/digest`` answers to ``content``."""
    return f"{len(content)} {hashlib.sha256(content).hexdigest()}"


def trust_in_browser(home: Path, ca_file: str) -> None:
    """Make a browser whose home folder is ``home`` trust a CA, as certutil does it for a user."""
    certutil = find("certutil", package="libnss3-tools")
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    run([certutil, "-d", f"sql:{store}", "-N", "--empty-password"])
    run([certutil, "-d", f"sql:{store}", "-A", "-n", "test CA", "-t", "C,,", "-i", ca_file])
