"""pypiserver: uv publishes a package to it and installs it from there."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.clients import environment

BIG = "x" * 2_000_000


@pytest.fixture(scope="module")
def site(serve):
    return serve("package_index")


def wheel(folder: Path, version: str) -> Path:
    """Make a wheel of a package that there is nowhere else."""
    name = f"h2wsgi_shelf-{version}"
    info = f"{name}.dist-info"
    files = {
        "h2wsgi_shelf.py": f"version = {version!r}\n",
        "h2wsgi_shelf.txt": BIG,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: h2wsgi-shelf\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    path = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
    return path


def uv(site, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run uv, which trusts the server and knows no other index."""
    command = [str(Path(sys.executable).parent / "uv"), "--no-config", *arguments]
    own = environment(SSL_CERT_FILE=site.ca_file, UV_CACHE_DIR=str(folder / "cache"), NO_COLOR="1")
    return subprocess.run(command, env=own, capture_output=True, text=True, timeout=60)


def publish(site, folder: Path, path: Path, password: str = "secret"):
    return uv(
        site, folder, "publish", "--publish-url", f"{site.url}/", "--username", "eva",
        "--password", password, str(path),
    )  # fmt: skip


def test_a_package_is_published_and_installed(site, tmp_path):
    for version in ("1.0", "1.1"):
        path = wheel(tmp_path, version)
        done = publish(site, tmp_path, path)
        assert done.returncode == 0, done.stderr
        assert (site.folder / "packages" / path.name).read_bytes() == path.read_bytes()
    index = ("--default-index", f"{site.url}/simple/", "--target", str(tmp_path / "target"))
    done = uv(site, tmp_path, "pip", "install", *index, "h2wsgi-shelf<1.1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "target" / "h2wsgi_shelf.py").read_text() == "version = '1.0'\n"
    assert (tmp_path / "target" / "h2wsgi_shelf.txt").read_text() == BIG
    done = uv(site, tmp_path, "pip", "install", "--upgrade", *index, "h2wsgi-shelf")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "target" / "h2wsgi_shelf.py").read_text() == "version = '1.1'\n"
    assert {line["protocol"] for line in site.accesses()} == {"HTTP/2"}


def test_a_wrong_password_is_told(site, tmp_path):
    done = publish(site, tmp_path, wheel(tmp_path, "2.0"), "wrong")
    assert done.returncode != 0
    assert "403" in done.stderr
    assert not list((site.folder / "packages").glob("*2.0*"))


def test_the_index_names_files_with_their_hashes(site, tmp_path):
    path = wheel(tmp_path, "3.0")
    publish(site, tmp_path, path)
    with site.client() as client:
        page = client.get("/simple/h2wsgi-shelf/").text
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert f"{path.name}#sha256={digest}" in page
        assert client.get(f"/packages/{path.name}").content == path.read_bytes()
