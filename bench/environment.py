"""The bench's own virtual environment, certificate and files."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from bench.servers import ROOT, search_path

INTERPRETER = hashlib.sha256(f"{sys.version} {sys.base_prefix}".encode()).hexdigest()[:8]
FOLDER = ROOT / "bench" / ".venv" / INTERPRETER
"""One for each interpreter that runs the bench."""
REQUIREMENTS = ROOT / "bench" / "requirements.txt"
PACKAGES = ("h2wsgi", "granian", "gunicorn", "hypercorn", "flask", "h2", "hpack", "uvloop")
TOOLS = ("h2load", "nghttpd", "openssl", "taskset")


class Missing(Exception):
    """The machine lacks a program."""


def prepare() -> Path:
    """Return the interpreter of FOLDER, which is made first if it is not there or is old.

    It is the same as the one that runs the bench, which decides a good part of the figures.
    h2wsgi is installed from this checkout in editable form: what is measured is what is here.
    """
    check_tools()
    python = FOLDER / "bin" / "python"
    parts = REQUIREMENTS.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), sys.version.encode()
    wanted = hashlib.sha256(b"".join(parts)).hexdigest()
    stamp = FOLDER / "made-of"
    if stamp.is_file() and stamp.read_text(encoding="ascii") == wanted:
        return python
    sys.stderr.write(f"making {FOLDER.relative_to(ROOT)} (once)\n")
    run([sys.executable, "-m", "venv", "--clear", str(FOLDER)])
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    run([*pip, "-r", str(REQUIREMENTS), "--editable", f"{ROOT}[standard]"])
    stamp.write_text(wanted, encoding="ascii")
    return python


def run(command: list[str]) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=600, check=True)
    return done.stdout


def check_tools() -> None:
    lacking = [tool for tool in TOOLS if not shutil.which(tool, path=search_path())]
    if lacking:
        raise Missing(
            f"needs {', '.join(lacking)}: apt-get install nghttp2-client nghttp2-server"
            " openssl util-linux"
        )


def versions(python: Path) -> dict[str, str]:
    """Return the versions of what is measured and of what measures."""
    code = f"from importlib.metadata import version\nfor p in {PACKAGES}: print(p, version(p))"
    found = dict(line.split() for line in run([str(python), "-c", code]).splitlines())
    for tool in ("h2load", "nghttpd"):
        path = shutil.which(tool, path=search_path()) or tool
        found[tool] = run([path, "--version"]).strip().rpartition("/")[2]
    return found


def commit() -> str:
    """Return what ``git describe`` calls this checkout, or "" outside of git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        return run(command).strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def machine() -> dict[str, str]:
    """Return the facts about this machine that matter for figures."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    meminfo = Path("/proc/meminfo").read_text(encoding="utf-8")
    total = re.search(r"^MemTotal:\s*(\d+) kB", meminfo)
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(total[1]) / 2**20:.0f} GiB" if total else "",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": interpreter(),
    }


def interpreter() -> str:
    """Return which Python this is, and of which distribution, as builds differ a lot in speed."""
    name = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.base_prefix != "/usr":
        return name
    try:
        return f"{name} of {platform.freedesktop_os_release()['PRETTY_NAME']}"
    except (OSError, KeyError):
        return name


def cpus() -> tuple[int, int]:
    """Return the CPUs for the server and for the client: two if this process may use two."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[-1], allowed[0]
