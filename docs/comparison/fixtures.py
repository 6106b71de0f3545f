"""Run a server as a test suite would: inside the test's process, in a thread, then stop it.

`python fixtures.py SERVER CERTIFICATE_DIR` uses each server's public interface, with as little
glue as it allows; probe.py runs it in a process of its own and reads the last line it prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx


def make_app(answer: list[str]) -> Callable[..., Iterable[bytes]]:
    """Return an application that shares an object with the test: the point of one process."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer.append(threading.current_thread().name)
        start_response("200 OK", [("content-type", "text/plain")])
        return [b"ok"]

    return app


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def h2wsgi(app: Any, certs: Path) -> Iterator[str]:
    import h2wsgi

    options = {"cert": str(certs / "cert.crt"), "key": str(certs / "cert.key")}
    with h2wsgi.serve_in_thread(app, bind="127.0.0.1:0", **options) as server:
        yield server.url


@contextlib.contextmanager
def hypercorn(app: Any, certs: Path) -> Iterator[str]:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    port = free_port()
    config = Config.from_mapping(
        bind=[f"127.0.0.1:{port}"],
        certfile=str(certs / "cert.crt"),
        keyfile=str(certs / "cert.key"),
    )
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def run() -> None:
        loop.run_until_complete(serve(app, config, shutdown_trigger=stop.wait, mode="wsgi"))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_until_open(port)
        yield f"https://127.0.0.1:{port}/"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


@contextlib.contextmanager
def granian(app: Any, certs: Path) -> Iterator[str]:
    from granian.constants import HTTPModes, Interfaces
    from granian.server.embed import Server

    port = free_port()
    loop = asyncio.new_event_loop()
    # Its embedded server knows ASGI and RSGI; this asks for WSGI nevertheless.
    server = Server(
        app,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http2,
        ssl_cert=certs / "cert.crt",
        ssl_key=certs / "cert.key",
    )
    failure: list[BaseException] = []

    def run() -> None:
        try:
            loop.run_until_complete(server.serve())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        wait_until_open(port, failure)
        yield f"https://127.0.0.1:{port}/"
    finally:
        if not failure:
            loop.call_soon_threadsafe(server.stop)
        thread.join(5)


@contextlib.contextmanager
def gunicorn(app: Any, certs: Path) -> Iterator[str]:
    from gunicorn.app.base import BaseApplication

    port = free_port()
    options = {
        "bind": f"127.0.0.1:{port}",
        "certfile": str(certs / "cert.crt"),
        "keyfile": str(certs / "cert.key"),
        "worker_class": "gthread",
        "http_protocols": "h2",
        "control_socket_disable": True,
    }

    class Application(BaseApplication):  # the custom application of its documentation
        def load_config(self) -> None:
            for key, value in options.items():
                self.cfg.set(key, value)

        def load(self) -> Any:
            return app

    failure: list[BaseException] = []

    def run() -> None:
        try:
            Application().run()
        except BaseException as error:
            failure.append(error)

    threading.Thread(target=run, daemon=True).start()
    wait_until_open(port, failure)
    yield f"https://127.0.0.1:{port}/"


def wait_until_open(port: int, failure: list[BaseException] | None = None) -> None:
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        if failure:
            raise failure[0]
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise TimeoutError("it never listened")


def main() -> None:
    name, certs = sys.argv[1], Path(sys.argv[2])
    seen: list[str] = []
    context = ssl.create_default_context(cafile=str(certs / "ca.crt"))
    try:
        with globals()[name](make_app(seen), certs) as url:
            with httpx.Client(http1=False, http2=True, verify=context, timeout=5) as client:
                response = client.get(url)
            stopping = time.monotonic()
        seconds = time.monotonic() - stopping
        good = response.status_code == 200 and len(seen) == 1
        word = "yes" if good else f"no: {response.status_code}, {len(seen)} calls in this process"
        line = f"{word}|stopped in {seconds:.1f} s"
    except BaseException as error:
        line = f"no: {type(error).__name__}: {error}".splitlines()[0]
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    os._exit(0)  # whatever threads are left


if __name__ == "__main__":
    main()
