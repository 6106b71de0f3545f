"""1 GiB each way through one stream: every octet arrives, and the server's memory stays flat."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.process import ServerProcess

pytestmark = pytest.mark.heavy

MEBIBYTE = 1 << 20
SIZE = 1 << 30
GROWTH = 20 * MEBIBYTE
"""What the server's peak memory may grow by after a warm-up."""
PATIENCE = 100.0

# The pattern is longer than any frame and no multiple of one, so that a lost, doubled or displaced
# frame changes the digest.
SOURCE = """
import hashlib

BLOCK = bytes(range(251)) * 401

def app(environ, start_response):
    if environ["REQUEST_METHOD"] == "GET":
        size = int(environ["QUERY_STRING"])
        start_response("200 OK", [("content-length", str(size))])
        return blocks(size)
    sha, size = hashlib.sha256(), 0
    while data := environ["wsgi.input"].read(65536):
        sha.update(data)
        size += len(data)
    start_response("200 OK", [])
    return [f"{size} {sha.hexdigest()}".encode()]

app.h2wsgi_unsized_content = "stream"

def blocks(size):
    while size > 0:
        yield BLOCK if size >= len(BLOCK) else BLOCK[:size]
        size -= len(BLOCK)
"""
BLOCK = bytes(range(251)) * 401


def blocks(size: int) -> Iterator[bytes]:
    """Yield the same octets as the application does."""
    while size > 0:
        yield BLOCK[:size]
        size -= len(BLOCK)


@pytest.fixture(scope="module")
def expected() -> str:
    sha = hashlib.sha256()
    for block in blocks(SIZE):
        sha.update(block)
    return sha.hexdigest()


def peak_memory(process_id: int) -> int:
    """Return the most memory a process has held so far, in octets."""
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the system does not tell VmHWM")


def curl(server: ServerProcess, *arguments: str) -> subprocess.Popen[bytes]:
    """Start curl on the server; over TLS with its development CA."""
    ready = server.ready()
    trust = ["--cacert", ready["certificate"]["ca"]]
    return subprocess.Popen(
        ["curl", "--http2", "--silent", "--show-error", "--fail", "--no-buffer", *trust]
        + ["--max-time", str(PATIENCE), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def download(server: ServerProcess, size: int) -> str:
    """Get so many octets; return their number and digest."""
    sha, received = hashlib.sha256(), 0
    with curl(server, f"https://localhost:{server.port()}/?{size}") as client:
        assert client.stdout is not None
        while data := client.stdout.read(MEBIBYTE):
            sha.update(data)
            received += len(data)
    assert client.returncode == 0
    return f"{received} {sha.hexdigest()}"


def upload(server: ServerProcess, size: int) -> str:
    """Send so many octets, of a length not told beforehand; return what the application got."""
    url = f"https://localhost:{server.port()}/"
    with curl(server, "--upload-file", "-", "-H", "Expect:", url) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        for block in blocks(size):
            client.stdin.write(block)
        client.stdin.close()
        answer = client.stdout.read()
    assert client.returncode == 0
    return answer.decode()


@pytest.mark.parametrize("transfer", [download, upload], ids=["down", "up"])
def test_a_gibibyte_through_one_stream_leaves_memory_flat(
    tmp_path: Path, transfer, expected: str
) -> None:
    with ServerProcess(tmp_path, SOURCE) as server:
        transfer(server, 32 * MEBIBYTE)
        before = peak_memory(server.process.pid)
        assert transfer(server, SIZE) == f"{SIZE} {expected}"
        assert peak_memory(server.process.pid) - before < GROWTH
