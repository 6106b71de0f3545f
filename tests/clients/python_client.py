"""A Python client library does what it is told: python python_client.py LIBRARY < orders.json

The orders are ``{"url", "ca_file", "scenarios": {name: [step, ...]}}`` with the steps of
support.misbehaving. Each scenario has a client of its own. All are played side by side, but those
with little patience, which begin when the others are done: so many may use up a few seconds before
anything has come. Prints ``{"versions", "results"}``: for each scenario and step a list of what
became of its requests.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import multiprocessing
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

PATIENT = 10.0
"""Seconds that a step may take at least, to be played beside others."""
PATIENCE = 10.0
"""Seconds beyond its own timeout after which a client is said to hang."""
START_PATIENCE = 30.0
"""Seconds that a process may take to begin."""


class Httpx:
    packages = ("httpx", "httpcore", "h2")

    def __init__(self, ca_file: str) -> None:
        import anyio.from_thread
        import httpx

        context = ssl.create_default_context(cafile=ca_file)
        # Threads that share a connection of httpx.Client spoil it now and then; tasks do not.
        self._stack = contextlib.ExitStack()
        self._portal = self._stack.enter_context(anyio.from_thread.start_blocking_portal())
        self._client = httpx.AsyncClient(http2=True, verify=context, trust_env=False)
        self._stack.callback(lambda: self._portal.call(self._client.aclose))
        self.close = self._stack.close

    def request(self, method: str, url: str, content: bytes, timeout: float) -> dict[str, Any]:
        options = {"content": content or None, "timeout": timeout}
        said = self._portal.call(lambda: self._client.request(method, url, **options))
        return {"status": said.status_code, "octets": len(said.content)}


class Urllib3:
    packages = ("urllib3", "h2")

    def __init__(self, ca_file: str) -> None:
        import urllib3
        import urllib3.http2

        urllib3.http2.inject_into_urllib3()
        self.client = urllib3.PoolManager(ca_certs=ca_file)
        self.close = self.client.clear

    def request(self, method: str, url: str, content: bytes, timeout: float) -> dict[str, Any]:
        said = self.client.request(method, url, body=content or None, timeout=timeout)
        return {"status": said.status, "octets": len(said.data)}


class Niquests:
    packages = ("niquests", "urllib3-future", "jh2")

    def __init__(self, ca_file: str) -> None:
        import niquests

        self.client = niquests.Session(disable_http3=True)
        self.client.trust_env = False
        self.client.verify = ca_file
        self.close = self.client.close

    def request(self, method: str, url: str, content: bytes, timeout: float) -> dict[str, Any]:
        said = self.client.request(method, url, data=content or None, timeout=timeout)
        return {"status": said.status_code, "octets": len(said.content or b"")}


CLIENTS = {"httpx": Httpx, "urllib3": Urllib3, "niquests": Niquests}


def name_of(error: BaseException) -> str:
    """Return an exception's class, with that of its reason if it has one."""
    reason = getattr(error, "reason", None)
    inner = f"({name_of(reason)})" if isinstance(reason, BaseException) else ""
    return type(error).__name__ + inner


def run_step(client: Any, url: str, step: dict[str, Any]) -> list[dict[str, Any]]:
    """Make the requests of a step at once; return what became of each."""

    def one(_: int) -> dict[str, Any]:
        content = bytes(step["size"])
        started = time.monotonic()
        try:
            return client.request(step["method"], url + step["path"], content, step["timeout"])
        except Exception as error:  # whatever the library raises is what is asked for
            waited = time.monotonic() - started >= step["timeout"]
            return {"error": name_of(error)} | ({"note": "its time-out"} if waited else {})

    with ThreadPoolExecutor(step["times"]) as threads:
        return list(threads.map(one, range(step["times"])))


def play(library: Any, orders: dict[str, Any], steps: list[dict[str, Any]], pipe: Any) -> None:
    """Play one scenario in a process of its own, which can be killed.

    Sends for each step when it begins, by the monotonic clock, and what came of it.
    """
    client = library(orders["ca_file"])
    for step in steps:
        pipe.send(time.monotonic())
        pipe.send(run_step(client, orders["url"], step))
    with contextlib.suppress(Exception):
        client.close()


def gather(process: Any, pipe: Any, steps: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return what a scenario came to, no further than to where the library hangs."""
    results: list[list[dict[str, Any]]] = []
    for step in steps:
        if not pipe.poll(START_PATIENCE):
            raise TimeoutError("a process did not begin")
        ends = pipe.recv() + step["timeout"] + PATIENCE
        if not pipe.poll(max(0.0, ends - time.monotonic())):
            results.append([{"error": "hangs"}])
            break
        results.append(pipe.recv())
    process.kill()
    process.join()
    return results


def play_all(library: Any, orders: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Play scenarios side by side; return what each came to."""
    fork = multiprocessing.get_context("fork")
    running = []
    for name in names:
        steps = orders["scenarios"][name]
        ours, theirs = fork.Pipe()
        process = fork.Process(target=play, args=(library, orders, steps, theirs))
        process.start()
        theirs.close()
        running.append((name, process, ours, steps))
    return {name: gather(*scenario) for name, *scenario in running}


def main() -> None:
    library = CLIENTS[sys.argv[1]]
    orders = json.load(sys.stdin)
    library(orders["ca_file"]).close()  # which imports all there is, before the processes part
    names: dict[bool, list[str]] = {True: [], False: []}
    for name, steps in orders["scenarios"].items():
        names[all(step["timeout"] >= PATIENT for step in steps)].append(name)
    results = play_all(library, orders, names[True]) | play_all(library, orders, names[False])
    versions = {package: importlib.metadata.version(package) for package in library.packages}
    json.dump({"versions": versions, "results": results}, sys.stdout)


if __name__ == "__main__":
    main()
