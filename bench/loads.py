"""The loads: what h2load asks for, and how large a right answer is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import apps

MIB = 1 << 20
PATHS = 2_000
"""Different paths of the load "varied"."""

CIPHER = "TLS_AES_128_GCM_SHA256"
"""The only one that h2load offers: left to themselves, some servers take AES-256, some AES-128."""

BROWSER = (
    "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-language: en-GB,en;q=0.5",
    "accept-encoding: gzip, deflate, br, zstd",
    "referer: https://localhost/catalogue?page=3",
    "cookie: session=5f3a9c0d7be14e6d8a1b2c3d4e5f6071; theme=dark",
    "upgrade-insecure-requests: 1",
    "sec-fetch-dest: document",
    "sec-fetch-mode: navigate",
    "sec-fetch-site: same-origin",
    "sec-fetch-user: ?1",
    "priority: u=0, i",
)
"""Twelve fields of a browser's request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    name: str
    """Also the application's name and its path."""
    app: str
    about: str
    """What a request is, in a few words."""
    connections: int
    streams: int
    """Concurrent requests on each connection."""
    answer: int
    """Octets of content in a right answer."""
    body: int = 0
    """Octets of content in a request; POST if there are any."""
    fields: tuple[str, ...] = ()
    varied: bool = False
    """Whether the paths come from a file of ``PATHS`` different ones."""
    windows: int | None = None
    """Bits of the client's windows; h2load's default is 30 too, this only says it aloud."""
    static: bool = False
    """Whether a server of files can give the same answer."""

    @property
    def path(self) -> str:
        return f"/{self.app}"

    @property
    def least(self) -> int:
        """The fewest requests of a run: every stream of every connection twice."""
        return 2 * self.connections * self.streams

    def options(self, folder: Path) -> list[str]:
        """Return h2load's options for this load; ``folder`` holds what `write_files` wrote."""
        found = ["-c", str(self.connections), "-m", str(self.streams)]
        found.append(f"--tls13-ciphers={CIPHER}")
        if self.windows is not None:
            found += ["-w", str(self.windows), "-W", str(self.windows)]
        for field in self.fields:
            found += ["-H", field]
        if self.body:
            found += ["-d", str(folder / f"body-{self.body}")]
        return found


LOADS = (
    Load(
        name="hello",
        app="hello",
        about="13 octets with Content-Length",
        connections=1,
        streams=100,
        answer=len(apps.GREETING),
        static=True,
    ),
    Load(
        name="conns",
        app="hello",
        about="the same on many connections",
        connections=32,
        streams=10,
        answer=len(apps.GREETING),
        static=True,
    ),
    Load(
        name="many",
        app="hello",
        about="the same on very many connections",
        connections=256,
        streams=4,
        answer=len(apps.GREETING),
        static=True,
    ),
    Load(
        name="varied",
        app="hello",
        about="the same, 12 browser fields, 2,000 paths with queries",
        connections=4,
        streams=25,
        answer=len(apps.GREETING),
        fields=BROWSER,
        varied=True,
    ),
    Load(
        name="echo",
        app="echo",
        about="POST of 1 KiB, read and returned",
        connections=4,
        streams=25,
        answer=1024,
        body=1024,
    ),
    Load(
        name="latency",
        app="hello",
        about="hello, one request at a time",
        connections=1,
        streams=1,
        answer=len(apps.GREETING),
        static=True,
    ),
    Load(
        name="stream",
        app="stream",
        about="1,000 chunks of 10 octets from a generator, no length",
        connections=1,
        streams=8,
        answer=apps.CHUNKS * len(apps.CHUNK),
    ),
    Load(
        name="sleep",
        app="sleep",
        about="time.sleep(0.05), then hello",
        connections=1,
        streams=100,
        answer=len(apps.GREETING),
    ),
    Load(
        name="download",
        app="download",
        about="160 blocks of 64 KiB from a generator, windows of 1 GiB",
        connections=1,
        streams=4,
        answer=apps.BLOCKS * len(apps.BLOCK),
        windows=30,
        static=True,
    ),
    Load(
        name="upload",
        app="upload",
        about="POST of 10 MiB, read 64 KiB at a time",
        connections=1,
        streams=4,
        answer=len(str(10 * MIB)),
        body=10 * MIB,
    ),
    Load(
        name="flask",
        app="flask",
        about="a JSON view of Flask",
        connections=4,
        streams=25,
        answer=len(json.dumps(apps.VIEW, separators=(",", ":"))) + 1,
    ),
)


def by_name(name: str) -> Load:
    return next(load for load in LOADS if load.name == name)


def paths() -> Iterator[str]:
    """Yield the different paths of "varied", each with a query."""
    for number in range(PATHS):
        yield f"/shop/{number % 40}/item-{number * 7919 % 100_003}?page={number}&sort=price%20asc"


def write_files(folder: Path) -> None:
    """Write what h2load reads and what a server of files serves (``folder/www``)."""
    for size in {load.body for load in LOADS if load.body}:
        (folder / f"body-{size}").write_bytes(bytes(size))
    www = folder / "www"
    www.mkdir()
    (www / "hello").write_bytes(apps.GREETING)
    (www / "download").write_bytes(apps.BLOCK * apps.BLOCKS)


def write_paths(folder: Path, base: str) -> Path:
    """Write the file of URIs for ``h2load -i`` and return it."""
    file = folder / "paths"
    file.write_text("".join(f"{base}{path}\n" for path in paths()), encoding="ascii")
    return file
