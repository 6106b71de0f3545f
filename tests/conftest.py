"""Fixtures for every test: servers in threads, raw peers, and a look for leaks after each test."""

from __future__ import annotations

import gc
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before h2wsgi is imported anywhere: methods check which thread they are called on.
os.environ["H2WSGI_THREAD_GUARD"] = "1"

import pytest

import h2wsgi
from h2wsgi.server.running import ServerThread, loop_factory
from support.clients import install
from support.peer import Peer

LEAK_PATIENCE = 20.0
"""Seconds that threads and descriptors get to go away after a test: hundreds on a busy machine."""

Serve = Callable[..., ServerThread]
Connect = Callable[..., Peer]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, or one worker is left with them in the end."""
    first = {
        i.path for i in items if i.get_closest_marker("heavy") or i.get_closest_marker("client")
    }
    items.sort(key=lambda item: item.path not in first)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep the development certificate of the tests out of the user's cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    # libuv opens a pipe for signals with its first loop and keeps it for good.
    loop_factory("auto")().close()
    return folder


@pytest.fixture(scope="session")
def urllib3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for PYTHONPATH with urllib3, whose place niquests' fork takes otherwise."""
    recorded = Path(__file__).parent / "clients" / "behaviour.json"
    versions = json.loads(recorded.read_text("utf-8"))["clients"]["urllib3"]["versions"]
    folder = tmp_path_factory.mktemp("urllib3")
    install(f"urllib3[h2]=={versions['urllib3']}", folder)
    return folder


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve an application over TLS on a free port; TEST_LOOP and TEST_ENGINE say on what."""
    servers: list[ServerThread] = []

    def start(app: Any, **options: Any) -> ServerThread:
        options.setdefault("loop", os.environ.get("TEST_LOOP", "auto"))
        options.setdefault("engine", os.environ.get("TEST_ENGINE", "auto"))
        options.setdefault("graceful_timeout", 5)
        server = h2wsgi.serve_in_thread(app, **options)
        server.__enter__()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def connect(serve: Serve) -> Iterator[Connect]:
    """Connect a raw peer to a server; closed before the server stops."""
    peers: list[Peer] = []

    def open_peer(server: ServerThread, **options: Any) -> Peer:
        tls = server.url.startswith("https")
        port = int(server.url.rstrip("/").rpartition(":")[2])
        if tls:
            options.setdefault("ca_file", server.ca_file)
        peer = Peer.connect(("127.0.0.1", port), tls=tls, **options)
        peers.append(peer)
        return peer

    yield open_peer
    for peer in peers:
        peer.close()


def server_threads() -> set[str]:
    """Return the names of threads that belong to a server."""
    return {t.name for t in threading.enumerate() if t.name.startswith("h2wsgi-")}


def descriptors() -> dict[str, str]:
    """Return the open descriptors of this process and what each refers to."""
    found = {}
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    return {n: t for n, t in found.items() if t.startswith(("socket:", "pipe:", "anon_inode:"))}


@pytest.fixture(autouse=True)
def no_leaks(cache_folder: Path) -> Iterator[None]:
    """After each test: no thread of a server and no socket, pipe or poller is left behind."""
    before_threads, before = server_threads(), descriptors()
    yield
    deadline = time.monotonic() + LEAK_PATIENCE
    while True:
        threads = server_threads() - before_threads
        left = {n: t for n, t in descriptors().items() if before.get(n) != t}
        if not threads and not left:
            return
        if time.monotonic() > deadline:
            break
        gc.collect()
        time.sleep(0.01)
    pytest.fail(f"left behind: threads {sorted(threads)}, descriptors {left}")


@pytest.fixture(autouse=True)
def no_error_in_the_loop(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """An exception that reaches the event loop is a bug of the server."""
    yield
    records = [r for when in ("setup", "call") for r in caplog.get_records(when)]
    warnings = [r for r in records if r.name == "asyncio" and r.levelno >= logging.WARNING]
    assert not [r.getMessage() for r in warnings]
