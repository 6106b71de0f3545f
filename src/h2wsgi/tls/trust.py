"""Which commands have this machine's clients trust the development CA, or trust it no longer.

Main thread, of the command alone. Nothing is changed here: the caller shows the commands, asks, and
runs them. The invariants: only certificates that were made here are replaced or removed, and a
store that is as it should be gets no command, so an interrupted run can be repeated.

Linux has the system's store, a folder and a command that root runs, and the databases of NSS,
Mozilla's library, that browsers keep in the user's home and that ``certutil`` changes.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import CertificateError
from .development import need_cryptography

Command = tuple[str, ...]

LOOK_TIMEOUT = 20.0
"""Seconds that certutil may take to say what is in a database."""
PREFIX = "h2wsgi"
"""How the names of our certificates begin in stores."""
SERVER_TRUST = "C,,"
"""What certutil calls a CA that may vouch for servers, and for nothing else."""
CHROMIUMS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "brave-browser",
    "microsoft-edge", "vivaldi",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SystemStore:
    """Where an administrator puts CAs, and the command that has the system take notice of them.

    ``fresh`` are the arguments that the command needs after a CA was taken away.
    """

    folder: Path
    suffix: str
    update: Command
    fresh: Command = ()


SYSTEM_STORES = (
    SystemStore(  # Fedora, Red Hat
        Path("/etc/pki/ca-trust/source/anchors"), ".pem", ("update-ca-trust", "extract")
    ),
    SystemStore(  # Debian, Ubuntu, Alpine
        Path("/usr/local/share/ca-certificates"), ".crt", ("update-ca-certificates",), ("--fresh",)
    ),
    SystemStore(  # Arch
        Path("/etc/ca-certificates/trust-source/anchors"), ".crt", ("trust", "extract-compat")
    ),
    SystemStore(  # SUSE
        Path("/usr/share/pki/trust/anchors"), ".pem", ("update-ca-certificates",), ("--fresh",)
    ),
)


class Change(NamedTuple):
    """What is to be done with one store, as commands to be run one after the other.

    ``problem`` is a sentence on why they cannot be run from here; then somebody else has to.
    """

    store: str
    commands: tuple[Command, ...]
    problem: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores of one user, found by :func:`find_stores`."""

    user: str
    system: SystemStore | None
    databases: tuple[tuple[str, Path], ...]
    """The databases of NSS, each with the browsers that use it; one of them may not exist yet."""
    certutil: str
    """The path of NSS's certutil, or nothing."""
    sudo: Command
    """What a command for root begins with."""
    may_be_root: bool
    """Whether a command for root can be run at all."""


# ------------------------------------------------------------------------------- finding


def find_stores() -> Stores:
    """Return the stores of this machine and its user, on Linux.

    Raises:
        CertificateError: the user is not the one whose home folder this is; there are none.
    """
    home = _home()
    _refuse_another_user(home)
    is_root = os.geteuid() == 0
    sudo = () if is_root or shutil.which("sudo") is None else ("sudo",)
    stores = Stores(
        user=_user(),
        system=_find_system_store(),
        databases=() if home is None else tuple(_find_databases(home)),
        certutil=shutil.which("certutil") or "",
        sudo=sudo,
        may_be_root=is_root or bool(sudo),
    )
    if stores.system is None and not stores.databases:
        raise CertificateError(
            "No store of CAs was found here, neither the system's nor a browser's.",
            "Name the CA to each client: curl --cacert, SSL_CERT_FILE, NODE_EXTRA_CA_CERTS.",
        )
    return stores


def _home() -> Path | None:
    with suppress(RuntimeError):
        home = Path.home()
        if home.is_absolute():
            return home
    return None


def _refuse_another_user(home: Path | None) -> None:
    """Raise if root would change another user's stores, or its own in place of another user's."""
    if os.geteuid() != 0:
        return
    caller = os.environ.get("SUDO_USER", "")
    is_others = home is not None and home.exists() and home.stat().st_uid != 0
    if caller not in ("", "root") or is_others:
        raise CertificateError(
            f"You are root, by way of {caller or 'another user'}: root's browsers would trust "
            "root's own CA.",
            "Run it as yourself, without sudo: it asks for root's rights where it needs them. If "
            "you serve as root too, use a root shell without SUDO_USER, with root's HOME.",
        )


def _user() -> str:
    """Return the user's name, fit to be a part of a file's name."""
    import pwd

    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # as in a container
        name = str(os.geteuid())
    return "".join(c if (c.isalnum() and c.isascii()) or c in "._" else "_" for c in name)


def _find_system_store() -> SystemStore | None:
    # The PATH of a user who is not root may lack the folders of root's commands.
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    for store in SYSTEM_STORES:
        command = shutil.which(store.update[0], path=path)
        if command and store.folder.is_dir():
            update = (command, *store.update[1:])
            return SystemStore(store.folder, store.suffix, update, store.fresh)
    return None


def _find_databases(home: Path) -> Iterator[tuple[str, Path]]:
    """Yield the databases of browsers, including those in snaps and flatpaks."""
    own = (home / ".pki/nssdb", _folder("XDG_DATA_HOME", home / ".local/share") / "pki/nssdb")
    found = [path for path in own if _is_database(path)]
    if not found and any(map(shutil.which, CHROMIUMS)):
        found = [own[0]]  # Chromium takes this one, wherever it would make one itself
    patterns = ("snap/*/current/.pki/nssdb", ".var/app/*/.pki/nssdb", ".var/app/*/data/pki/nssdb")
    for pattern in patterns:
        found += [path for path in sorted(home.glob(pattern)) if _is_database(path)]
    yield from (("Chromium and Chrome", path) for path in found)
    for folder in (
        home / ".mozilla/firefox",
        _folder("XDG_CONFIG_HOME", home / ".config") / "mozilla/firefox",
        home / "snap/firefox/common/.mozilla/firefox",
        home / ".var/app/org.mozilla.firefox/.mozilla/firefox",
    ):
        yield from (("Firefox", path) for path in sorted(folder.glob("*")) if _is_database(path))


def _folder(variable: str, otherwise: Path) -> Path:
    named = os.environ.get(variable, "")
    return Path(named) if os.path.isabs(named) else otherwise


def _is_database(folder: Path) -> bool:
    with suppress(OSError):  # a folder that may not be read
        return (folder / "cert9.db").exists()
    return False


# ------------------------------------------------------------------------------ changing


def changes(stores: Stores, ca: Path | None, *, again: bool = False) -> list[Change]:
    """Return what has every store trust ``ca`` and no other development CA; None: none at all.

    ``again`` has the system take notice of its store even if the store is as it should be.

    Raises:
        CertificateError: ``ca`` is not a development CA, or ``cryptography`` is not installed.
    """
    need_cryptography("the trust in certificates")
    name = "" if ca is None else _name_of(ca)
    found = [_of_database(stores, whose, path, ca, name) for whose, path in stores.databases]
    if stores.system is not None:
        found.insert(0, _of_system(stores, stores.system, ca, name, again=again))
    return [change for change in found if change is not None]


def _name_of(ca: Path) -> str:
    from .issuing import development_ca_name

    if name := development_ca_name(ca.read_bytes()):
        return name
    raise CertificateError(
        f"{ca} is not a CA that h2wsgi made.", "Move it away; the next start makes a new one."
    )


def _of_system(
    stores: Stores, store: SystemStore, ca: Path | None, name: str, *, again: bool
) -> Change | None:
    """Return what is to be done with the system's store, where each user's CA has its own file.

    The file's name has the CA's number: Debian makes no new link by hash for a file that changes.
    """
    from .issuing import development_ca_name

    title = f"The system's store, for curl, git, Go and most others, {store.folder}"
    wanted = None
    if ca is not None:
        number = name.rpartition(" ")[2]
        wanted = store.folder / f"{PREFIX}-{stores.user}-{number}{store.suffix}"
    commands: list[Command] = []
    is_there = False
    for path in sorted(store.folder.glob(f"{PREFIX}-{stores.user}-??????{store.suffix}")):
        content = _content(path)
        if path == wanted and ca is not None:
            is_there = content == ca.read_bytes()
            if content != b"" and not is_there:  # Empty is what an interrupted run may have left.
                problem = f"{path} is there, and not what h2wsgi puts there."
                return Change(title, (), problem, "Look at it, and move it away.")
        elif content and development_ca_name(content):
            commands.append((*stores.sudo, "rm", "-f", str(path)))
    fresh = store.fresh if commands or again else ()
    if wanted is not None and not is_there:
        copy = ("install", "-m", "644", str(ca), str(wanted))
        commands.append((*stores.sudo, *copy))
    if not commands and not again:
        return None
    commands.append((*stores.sudo, *store.update, *fresh))
    problem = "" if stores.may_be_root else "Only root may change it, and there is no sudo."
    hint = "As root, run:" if problem else ""
    return Change(title, tuple(commands), problem, hint)


def _content(path: Path) -> bytes | None:
    """Return what is in a file; None if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _of_database(
    stores: Stores, whose: str, folder: Path, ca: Path | None, name: str
) -> Change | None:
    """Return what is to be done with a database of NSS."""
    store = f"{whose}, {folder}"
    tool = (stores.certutil or "certutil", "-d", f"sql:{folder}")
    is_new = not _is_database(folder)
    if ca is None and is_new:
        return None
    commands: list[Command] = []
    if is_new:
        commands += [("mkdir", "-p", "-m", "700", str(folder)), (*tool, "-N", "--empty-password")]
    add = () if ca is None else (*tool, "-A", "-t", SERVER_TRUST, "-n", name, "-i", str(ca))
    if not stores.certutil:
        commands += [add] if add else []
        return _without_certutil(store, folder, tuple(commands))
    is_trusted = False
    try:
        for nickname, trust, content in () if is_new else _ours(tool):
            if ca is not None and content.split() == ca.read_bytes().split():
                is_trusted = "C" in trust.partition(",")[0]
            else:
                commands.append((*tool, "-D", "-n", nickname))
    except CertificateError as error:
        return Change(store, (add,) if add else ((*tool, "-L"),), str(error), error.hint)
    if add and not is_trusted:
        commands.append(add)
    return Change(store, tuple(commands)) if commands else None


def _without_certutil(store: str, folder: Path, commands: tuple[Command, ...]) -> Change | None:
    if not commands:
        # What the database trusts cannot be read, but the name of a CA of ours would be in it.
        content = _content(folder / "cert9.db") or b""
        if b"h2wsgi development CA" not in content:
            return None
        commands = (("certutil", "-d", f"sql:{folder}", "-L"),)
    return Change(
        store,
        commands,
        "NSS's certutil is not installed.",
        "Install it (Debian, Ubuntu: apt install libnss3-tools; Fedora: nss-tools; Arch: nss; "
        "SUSE: mozilla-nss-tools) and run this again. It would run:",
    )


def _ours(tool: Command) -> Iterator[tuple[str, str, bytes]]:
    """Yield nickname, trust and certificate of each development CA in a database.

    Raises:
        CertificateError: it cannot be read.
    """
    from .issuing import development_ca_name

    for line in _look((*tool, "-L")).decode(errors="replace").splitlines():
        nickname, _, trust = line.rstrip().rpartition(" ")
        nickname = nickname.rstrip()
        if nickname.startswith(PREFIX) and trust.count(",") == 2:
            content = _look((*tool, "-L", "-n", nickname, "-a"))
            if development_ca_name(content):
                yield nickname, trust, content


def _look(command: Command) -> bytes:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LOOK_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CertificateError(f"certutil failed: {error}.", "To try it yourself:") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise CertificateError(said or "certutil failed.", "To try it yourself:")
    return done.stdout


# --------------------------------------------------------------------- other systems


def commands_elsewhere(ca: Path, *, trusted: bool) -> list[Command]:
    """Return the commands that change the trust of macOS or Windows, where none is run from here.

    Raises:
        CertificateError: ``ca`` is not a development CA.
    """
    name = _name_of(ca)
    if sys.platform == "win32":
        tool = ("certutil", "-user")
        what = ("-addstore", "Root", str(ca)) if trusted else ("-delstore", "Root", name)
        return [(*tool, *what)]
    keychain = str(Path.home() / "Library/Keychains/login.keychain-db")
    if trusted:
        options = ("-r", "trustRoot", "-p", "ssl", "-k", keychain)
        return [("security", "add-trusted-cert", *options, str(ca))]
    return [("security", "delete-certificate", "-t", "-c", name, keychain)]


def written(command: Command) -> str:
    """Return a command as it is typed into a shell."""
    return subprocess.list2cmdline(command) if sys.platform == "win32" else shlex.join(command)
