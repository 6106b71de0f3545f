"""Record what real clients send, for `recordings.py`: ``cd tests; python -m conversations.record``.

Each conversation is one connection of one client to a live server, as the protocol receives it:
after TLS. Content is kept small, so that all files together stay below 200 KB.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx

import h2wsgi
from clients.test_clients import PageApplication, chromium, curl, nghttp, node
from conversations.recordings import save
from h2wsgi.http2.protocol import H2Protocol
from h2wsgi.server.running import ServerThread
from support.clients import TIMEOUT, environment, find, run, trust_in_browser

CONTENT = b"content!" * 300
NODE = """
import http2 from "node:http2";
import { readFileSync } from "node:fs";
const [url, ca] = process.argv.slice(1);
const session = http2.connect(url, { ca: readFileSync(ca), settings: { headerTableSize: 0 } });
let left = 3;
for (const path of ["/digest", "/digest", "/refuse"]) {
  const stream = session.request({ ":method": "POST", ":path": path }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "x-checksum": "5" }));
  stream.on("close", () => { left -= 1; if (left === 0) session.close(); });
  stream.resume();
  stream.write(Buffer.alloc(700));
  stream.end(Buffer.alloc(800));
}
session.settings({ initialWindowSize: 1000, headerTableSize: 4096 });
session.ping(Buffer.from("12345678"), () => {});
"""

Talk = Callable[[ServerThread], object]


@contextmanager
def listening() -> Iterator[dict[H2Protocol, bytearray]]:
    """Write down what every connection receives."""
    heard: dict[H2Protocol, bytearray] = {}
    original = H2Protocol.receive

    def receive(self: H2Protocol, data: bytes) -> None:
        heard.setdefault(self, bytearray()).extend(data)
        original(self, data)

    with patch.object(H2Protocol, "receive", receive):
        yield heard


def record(talk: Talk) -> bytes:
    """Return what a client sends on its longest connection."""
    options: dict[str, Any] = {"access_log": False, "loop": "asyncio"}
    with listening() as heard:
        with h2wsgi.serve_in_thread(PageApplication(), **options) as server:
            talk(server)
        return bytes(max(heard.values(), key=len))


def record_all(client: str, **talks: Talk) -> None:
    """Record every conversation of one client."""
    conversations = {name.replace("_", " "): record(talk) for name, talk in talks.items()}
    save(client, conversations)
    for name, octets in conversations.items():
        print(f"{client}: {name}: {len(octets)} octets")


def record_curl(folder: Path) -> None:
    """GET, HEAD, uploads with and without a length, side by side, hanging up."""
    file = folder / "content"
    file.write_bytes(CONTENT)
    upload = ("-T", str(file))
    record_all(
        "curl",
        get=lambda server: curl(server, "/hi?query", "-b", "a=1; b=2"),
        head=lambda server: curl(server, "/hi", "-I"),
        form=lambda server: curl(server, "/digest", "-d", "a=1&b=2"),
        upload=lambda server: curl(server, "/digest", *upload),
        upload_without_length=lambda s: curl(s, "/digest", "-T", "-", content=CONTENT),
        upload_after_continue=lambda s: curl(s, "/digest", "-H", "Expect: 100-continue", *upload),
        side_by_side=lambda server: curl(server, "/together?20&[1-20]", "-Z", "-w", "\n"),
        download=lambda server: curl(server, "/zeros?3000000", "-o", str(folder / "zeros")),
        hanging_up=hang_up,
    )


def hang_up(server: ServerThread) -> None:
    """Let curl give up in the middle of a response."""
    argv = [find("curl"), "-q", "-sS", "--cacert", server.ca_file or "", "--max-time", "1"]
    argv += [server.join("/endless"), "-o", "/dev/null"]
    subprocess.run(argv, env=environment(), timeout=TIMEOUT, capture_output=True, check=False)


def record_nghttp(folder: Path) -> None:
    """Requests with priorities, content with padding, trailers, many at once."""
    file = folder / "content"
    file.write_bytes(CONTENT)
    record_all(
        "nghttp",
        get=lambda server: nghttp(server, "/hi", "-nv"),
        many=lambda server: nghttp(server, "/hi", "-nv", "-m", "40"),
        upload=lambda server: nghttp(server, "/digest", "-d", str(file)),
        padded=lambda s: nghttp(s, "/digest", "-d", str(file), "-b", "30", "--trailer", "x-sum: 5"),
        small_windows=lambda s: nghttp(s, "/zeros?40000", "-n", "-w", "10", "-W", "12", "-c", "0"),
        continuation=lambda s: nghttp(
            s, "/hi", "-n", "--continuation", "-H", "x-long: " + "y" * 50
        ),
    )


def record_h2load(folder: Path) -> None:
    """The same request again and again, and small uploads."""
    h2load, file = find("h2load", package="nghttp2-client"), folder / "content"
    file.write_bytes(CONTENT[:100])
    once = [h2load, "-c", "1", "-m", "10"]
    record_all(
        "h2load",
        gets=lambda server: run([*once, "-n", "200", server.join("/hi")]),
        uploads=lambda s: run([*once, "-n", "40", "-d", str(file), s.join("/digest")]),
    )


def record_node() -> None:
    """The scenarios of the tests, and uploads with trailers while settings change."""
    argv = [find("node", package="nodejs"), "--input-type=module", "-e", NODE]
    record_all(
        "node",
        get=lambda server: node(server, "verified"),
        side_by_side=lambda server: node(server, "concurrent"),
        download=lambda server: node(server, "download"),
        cancel=lambda server: node(server, "cancelled"),
        ping=lambda server: node(server, "pinged"),
        uploads_and_settings=lambda server: run([*argv, server.url, server.ca_file or ""]),
    )


def record_chromium(folder: Path) -> None:
    """A page with 50 images and scripts."""

    def visit(server: ServerThread) -> None:
        trust_in_browser(folder, server.ca_file or "")
        chromium(server, "/page", folder)

    record_all("chromium", page=visit)


def record_httpx() -> None:
    """Requests side by side, and an upload in pieces."""

    async def talk(server: ServerThread) -> None:
        tls = ssl.create_default_context(cafile=server.ca_file)
        options: dict[str, Any] = {"verify": tls, "trust_env": False, "timeout": TIMEOUT}
        async with httpx.AsyncClient(http1=False, http2=True, **options) as client:

            async def pieces() -> Any:
                for at in range(0, len(CONTENT), 500):
                    yield CONTENT[at : at + 500]

            await client.post(server.join("/digest"), content=pieces())
            urls = [server.join(f"/hi?{n}") for n in range(10)]
            await asyncio.gather(*(client.get(url) for url in urls))

    record_all("httpx", several=lambda server: asyncio.run(talk(server)))


def main() -> None:
    """Record everything that is installed here."""
    for recorder in (record_curl, record_nghttp, record_h2load, record_chromium):
        with tempfile.TemporaryDirectory() as folder:
            recorder(Path(folder))
    record_node()
    record_httpx()


if __name__ == "__main__":
    main()
