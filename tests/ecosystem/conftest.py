"""Serves one of ``applications/`` by the command, as a user would, and looks at it afterwards."""

from __future__ import annotations

import json
import os
import signal
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from support.process import ServerProcess

# The packages that these need are in the environments of python -m ecosystem alone.
collect_ignore_glob = [] if os.environ.get("ECOSYSTEM") else ["test_*.py"]

pytest.register_assert_rewrite("ecosystem.green")

STOP_PATIENCE = 20.0
"""Seconds that a server gets to stop."""


class Site(ServerProcess):
    """An application that is served in a process of its own, which stops well or fails the test."""

    fails = False
    """Whether the application is meant to let an exception out."""

    def lines(self) -> list[dict[str, Any]]:
        """Return the server's log so far, without what others write to standard error."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines() if line.startswith('{"time": ')]

    def wait_ready(self) -> None:
        """Wait until it listens."""
        ready = self.ready()
        self.url = str(ready["endpoints"][0]["url"]).rstrip("/")
        """Where it listens, without a slash at the end."""
        self.ca_file = str(ready["certificate"]["ca"])
        """Whom its clients have to trust."""

    def client(self, **options: Any) -> httpx.Client:
        """Return an httpx.Client for HTTP/2 with this server's address as its base."""
        return httpx.Client(**self._of_clients(), **options)

    def async_client(self) -> httpx.AsyncClient:
        """Return the same for tasks, which may share it as threads may not."""
        return httpx.AsyncClient(**self._of_clients())

    def _of_clients(self) -> dict[str, Any]:
        context = ssl.create_default_context(cafile=self.ca_file)
        return {"http2": True, "verify": context, "base_url": self.url, "timeout": 30}

    def accesses(self) -> list[dict[str, Any]]:
        """Return the lines of the access log so far."""
        return [line for line in self.lines() if line["event"] == "request"]

    def stop(self) -> None:
        """Stop the server as a service manager would; it must have nothing to complain of."""
        self.signal(signal.SIGTERM)
        code = self.exit_code(STOP_PATIENCE)
        assert code == 0, self.log.read_text()
        if not self.fails:
            errors = [line for line in self.lines() if line["level"] in BAD]
            # What applications write to wsgi.errors is up to them.
            assert [line for line in errors if line["event"] != "wsgi_errors"] == []


BAD = ("warning", "error", "critical")


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Site]]:
    """Serve ``applications/NAME.py``; further arguments are the command's."""
    sites: list[Site] = []
    with ExitStack() as stack:

        def start(name: str, *arguments: str) -> Site:
            folder = tmp_path_factory.mktemp(name)
            source = f"from ecosystem.applications.{name} import app\n"
            given = ["--bind", "localhost:0", "--loop", os.environ.get("TEST_LOOP", "auto")]
            given += ["--engine", os.environ.get("TEST_ENGINE", "auto"), *arguments]
            site = stack.enter_context(Site(folder, source, *given))
            site.wait_ready()
            sites.append(site)
            return site

        yield start
        for site in sites:
            if site.process.poll() is None:
                site.stop()
