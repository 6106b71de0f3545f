"""Other people's applications with their real clients: ``python -m ecosystem``, from ``tests``.

Each application has a virtual environment of its own, as packages that watch, patch or replace
others do so with whatever is installed beside them. What is in it is pinned in requirements.txt.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PINS = HERE / "requirements.txt"
HOME = ROOT / ".ecosystem"
"""Where the virtual environments are kept."""
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
STAMP = "made-from"
NO_TESTS = 5
"""What pytest exits with if it has run no test."""

FOR_TESTS = ("httpx[http2]", "pytest", "pytest-timeout", "pytest-xdist")
APPLICATIONS = {
    "flask": (
        "ddtrace", "flask", "opentelemetry-instrumentation-flask", "opentelemetry-sdk",
        "prometheus-client", "sentry-sdk[flask]",
    ),
    "cherrypy": ("cherrypy",),
    "connectrpc": ("connectrpc", "grpcio", "protobuf"),
    "dash": ("dash",),
    "django": ("django", "whitenoise"),
    "dulwich": ("dulwich",),
    "eventlet": ("eventlet", "flask"),
    "gevent": ("flask", "gevent"),
    "moto": ("boto3", "moto[s3,server]"),
    "pypiserver": ("pypiserver", "uv"),
    "radicale": ("caldav", "radicale"),
    "watchfiles": ("watchfiles",),
    "wsgidav": ("webdav4", "wsgidav"),
}  # fmt: skip
"""What the tests of each need: those of ``flask`` are in test_flask.py."""
SAMPLE = ("cherrypy", "connectrpc", "dulwich", "eventlet", "flask", "gevent", "wsgidav")
"""Those that ask most of a server, and take a minute together."""


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if all tests have passed."""
    options = _parser().parse_args(arguments)
    if options.update:
        update()
        return 0
    if unknown := set(options.applications) - set(APPLICATIONS):
        raise SystemExit(f"not here: {', '.join(unknown)}; there are {', '.join(APPLICATIONS)}")
    begun = time.monotonic()
    _make_uv()
    wanted = options.applications or (SAMPLE if options.sample else APPLICATIONS)
    chosen = [name for name in APPLICATIONS if name in wanted]
    with ThreadPoolExecutor(options.jobs) as pool:
        failed = [name for name in pool.map(lambda name: test(name, options), chosen) if name]
    print(f"\n{len(chosen)} applications in {time.monotonic() - begun:.0f} s", flush=True)
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ecosystem")
    parser.add_argument("applications", nargs="*", help="which ones; all without a name")
    parser.add_argument("-k", dest="words", default="", help="only tests with such names (pytest)")
    parser.add_argument("--sample", action="store_true", help="a minute's worth of them")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (default: 2)")
    parser.add_argument("--update", action="store_true", help="pin the newest versions instead")
    return parser


def test(name: str, options: argparse.Namespace) -> str:
    """Run an application's tests and print what they say; return its name if one failed."""
    command = [str(made(name)), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0"]
    # A warning of somebody else's package is none of ours.
    command += ["-W", "default", "--disable-warnings", "-k", options.words]
    command.append(str(HERE / f"test_{name}.py"))
    sources = os.pathsep.join([str(ROOT / "src"), str(HERE.parent)])
    own = {"ECOSYSTEM": name, "PYTHONPATH": sources}
    done = subprocess.run(
        command, cwd=HERE.parent, env=os.environ | own, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    passed = done.returncode in (0, NO_TESTS if options.words else 0)
    print(f"\n== {name}\n{done.stdout}", end="", flush=True)
    return "" if passed else name


# ------------------------------------------------------------------------------ environments


def made(name: str) -> Path:
    """Return the Python of an application's environment, made anew if it is not as pinned."""
    folder = HOME / f"{name}-{VERSION}"
    python = folder / "bin" / "python"
    requires = [*APPLICATIONS[name], *FOR_TESTS]
    sources = (PINS.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), repr(requires).encode())
    wanted = hashlib.sha256(b"\0".join(sources)).hexdigest()
    stamp = folder / STAMP
    if not stamp.exists() or stamp.read_text("utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _uv("venv", "--quiet", "--python", sys.executable, str(folder))
        _uv("pip", "install", "--quiet", "--python", str(python), "--constraint", str(PINS),
            "--requirement", str(ROOT / "pyproject.toml"), "--extra", "standard", *requires,
            )  # fmt: skip
        stamp.write_text(wanted, "utf-8")
    return python


def update() -> None:
    """Pin the newest versions that fit together, of everything and what it brings."""
    _make_uv()
    names = {name for requires in APPLICATIONS.values() for name in requires}
    compiled = _uv("pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python",
                   sys.executable, "--extra", "standard", str(ROOT / "pyproject.toml"), "-",
                   input="\n".join(sorted({*names, *FOR_TESTS})), stdout=subprocess.PIPE,
                   )  # fmt: skip
    head = "# What python -m ecosystem installs, written by python -m ecosystem --update.\n"
    PINS.write_text(head + compiled.stdout, "utf-8")


UV = HOME / f"uv-{VERSION}" / "bin" / "uv"
"""What makes an environment in seconds where pip takes minutes."""


def _make_uv() -> None:
    folder = UV.parent.parent
    if not UV.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--constraint", str(PINS), "uv"], check=True)


def _uv(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([UV, *arguments], check=True, text=True, **options)


if __name__ == "__main__":
    sys.exit(main())
