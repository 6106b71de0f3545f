"""Fixtures that the tests of several modules share."""

from __future__ import annotations

import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from h2wsgi.log.writer import LogWriter
from h2wsgi.tls.development import MadeCertificate, make_certificates
from support.certificates import pem_of, self_signed
from support.pool import Pool
from support.settled import PATIENCE


@pytest.fixture(autouse=True)
def patient_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that closes is whole then, however long a busy machine's disk takes."""
    monkeypatch.setattr(LogWriter.close, "__defaults__", (PATIENCE,))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as executor:
        yield executor


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    pools = Pool(monkeypatch)
    yield pools
    pools.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeCertificate:
    return make_certificates(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def rsa_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``self.crt`` by RSA with 2048 bits, ``weak.crt`` with 1024, each with its key."""
    folder = tmp_path_factory.mktemp("rsa")
    for stem, bits in (("self", 2048), ("weak", 1024)):
        key = rsa.generate_private_key(65537, bits)
        (folder / f"{stem}.key").write_bytes(pem_of(key))
        (folder / f"{stem}.crt").write_bytes(self_signed(key))
    return folder


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The file that standard error goes to; standard output has one beside it."""
    # Not sys.stderr itself: pytest puts its own there when the test begins.
    with open(tmp_path / "stderr", "w") as errors, open(tmp_path / "stdout", "w") as output:
        streams = types.SimpleNamespace(stderr=errors, stdout=output)
        monkeypatch.setattr("h2wsgi.log.logs.sys", streams)
        yield tmp_path / "stderr"
