"""Certificates for development: a server's default, and those made on request.

Runs on the thread that starts the server; needs ``cryptography``, which is imported only when it is
used. The invariants: the file of a private key has mode 0600 from its first moment; a file is seen
whole or not at all; a CA made here can vouch for no other host names than it was made for (RFC 5280
section 4.2.1.10), so to trust such a CA exposes no site that has a name. It can vouch for any IP
address: BoringSSL, in grpcio, curl_cffi and others, refuses all that a CA with constraints on them
signed.

A CA's key is kept, readable by its user alone, so that clients that trust the CA trust a renewed
leaf too. :func:`make_certificates` can be told not to keep it: then its CA signs once, and the key
is never written.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from ..errors import CertificateError
from ..process.clock import clock

if TYPE_CHECKING:
    from .issuing import Pair

Kind = Literal["valid", "expired", "wrong-host"]

NAMES = ("localhost", "127.0.0.1", "::1")
WRONG_HOST = "wrong-host.invalid"
LEAF_LIFE = timedelta(days=397)
"""Browsers accept at most 398 days; it is one day less, as clocks differ."""
CA_LIFE = timedelta(days=3650)
TRUSTED = "trusted.crt"
"""A copy of the CA that this machine's clients were made to trust; empty while that is halfway."""
RENEW_BEFORE = timedelta(days=60)
"""For how long, at least, a leaf is still good when a server starts with it."""


@dataclass(frozen=True, slots=True)
class DevCertificate:
    """Paths of a usable certificate. ``made`` says that the leaf or the CA is new.

    ``cert`` and ``key`` are one file, so that no reader ever sees halves of two pairs.
    ``replaced`` says why the CA is not the earlier one, which clients may trust; else it is empty.
    ``trusted`` says that ``h2wsgi --trust`` has had this machine's clients trust this very CA.
    """

    cert: str
    key: str
    ca: str
    made: bool
    replaced: str = ""
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class MadeCertificate:
    """The paths that :func:`make_certificates` wrote, and the leaf's names, end and kind.

    ``ca_key`` is empty if it was not kept. ``replaced`` says why the CA is not the one that was
    there; it is empty where there was none.
    """

    cert: str
    key: str
    ca: str
    names: tuple[str, ...]
    not_after: datetime
    kind: Kind = "valid"
    ca_key: str = ""
    replaced: str = ""


def cache_folder() -> Path:
    """Return the user's cache folder for h2wsgi, which may not exist yet.

    Raises:
        CertificateError: the user has no home folder.
    """
    named = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")
    if os.path.isabs(named):  # The XDG specification wants a relative path ignored.
        return Path(named) / "h2wsgi"
    try:
        home = Path.home()
    except RuntimeError:
        raise CertificateError(
            "There is no home folder to keep the development certificate in.",
            "Set XDG_CACHE_HOME, or give a certificate with --cert and --key.",
        ) from None
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "h2wsgi"
    return home / ".cache" / "h2wsgi"


def ensure_development_certificate() -> DevCertificate:
    """Return a certificate for localhost that is good for weeks, making what is missing.

    Raises:
        CertificateError: ``cryptography`` is not installed or the folder cannot be written.
    """
    need_cryptography("the development certificate")
    folder = cache_folder()
    with _kept_in(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sys.platform != "win32" and folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
        with _locked(folder / "lock"):
            return _ensure(folder)


def _ensure(folder: Path) -> DevCertificate:
    from .issuing import DEVELOPMENT_CA, authority, leaf

    ca_path, ca_key_path = folder / "ca.crt", folder / "ca.key"
    leaf_path = folder / "localhost.pem"
    now = clock.now()
    # A CA is good as long as a leaf made today would end before the CA does.
    ca = _load(ca_path, ca_key_path, lambda pair: pair.is_authority_until(now + LEAF_LIFE))
    made = ca is None
    replaced = ""
    if ca is None:
        replaced = _why_replaced(ca_path, ca_key_path)
        ca = authority(DEVELOPMENT_CA, NAMES, _begin(now), now + CA_LIFE)
        write_file(ca_key_path, ca.key_pem(), mode=0o600)
        write_file(ca_path, ca.certificate_pem(), mode=0o644)
    signer = ca
    wanted = now + RENEW_BEFORE
    known = _load(leaf_path, leaf_path, lambda pair: pair.fits(signer, NAMES, wanted))
    if known is None:
        known = leaf(ca, NAMES, _begin(now), now + LEAF_LIFE)
        write_file(leaf_path, known.certificate_pem() + known.key_pem(), mode=0o600)
        made = True
    trusted = _is_same(folder / TRUSTED, ca_path)
    return DevCertificate(str(leaf_path), str(leaf_path), str(ca_path), made, replaced, trusted)


def _is_same(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.read_bytes() == other.read_bytes()
    return False


def note_trust(*, trusted: bool | None) -> None:
    """Record whether this machine's clients trust the development CA; None while it is halfway.

    Raises:
        CertificateError: the folder cannot be written.
    """
    folder = cache_folder()
    with _kept_in(folder):
        if trusted is False:
            (folder / TRUSTED).unlink(missing_ok=True)
        else:
            ca = (folder / "ca.crt").read_bytes() if trusted else b""
            write_file(folder / TRUSTED, ca, mode=0o644)


def is_trust_halfway() -> bool:
    """Return whether a change of the trust in the development CA was begun and not finished."""
    with suppress(OSError):
        return not (cache_folder() / TRUSTED).read_bytes()
    return False


@contextmanager
def while_trust_changes() -> Iterator[None]:
    """Hold back other processes that would change the trust in the development CA.

    Raises:
        CertificateError: the folder cannot be written.
    """
    folder = cache_folder()
    with ExitStack() as stack:
        with _kept_in(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(_locked(folder / "trust.lock"))
        yield


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CertificateError(
            f"The development certificate cannot be kept in {folder}: {error.strerror or error}.",
            "Set XDG_CACHE_HOME to a folder that can be written, or give --cert and --key.",
        ) from error


def _why_replaced(ca: Path, key: Path) -> str:
    """Return what is wrong with a CA that cannot be used; nothing if there is none."""
    if not ca.exists():
        return ""
    if _load(ca, key, lambda pair: pair.constrains_addresses()) is not None:
        return "clients with BoringSSL, such as grpcio and curl_cffi, refused the one before"
    return "the one before could not be used any more"


def _begin(now: datetime) -> datetime:
    """Return a time before ``now``, as clocks of containers and their hosts differ."""
    return now - timedelta(days=1)


def _load(cert: Path, key: Path, is_good: Callable[[Pair], bool]) -> Pair | None:
    """Return the pair in two files, or None if it cannot be used, whatever the reason."""
    from .issuing import UNREADABLE, Pair

    with suppress(OSError, *UNREADABLE):
        pair = Pair.from_pem(cert.read_bytes(), key.read_bytes())
        if is_good(pair):
            return pair
    return None


def make_certificates(
    directory: str | Path,
    names: tuple[str, ...] = (),
    *,
    kind: Kind = "valid",
    keep_ca: bool = True,
) -> MadeCertificate:
    """Write ``cert.crt``, ``cert.key`` and ``ca.crt`` to ``directory``, made for ``names``.

    ``names`` are host names and IP addresses, localhost's if empty. An ``"expired"`` leaf ended
    yesterday; a ``"wrong-host"`` one is for another host. Files of an earlier call are replaced,
    any others are left alone. The CA is that of the earlier call, if it may sign for ``names``;
    ``ca.key`` holds its key and a copy of the CA itself, so that the file is a pair at any time.
    Without ``keep_ca`` there is no such file, and each call makes a new CA.

    Raises:
        CertificateError: a name is malformed, files of another kind are there, or writing fails.
    """
    need_cryptography("--make-cert")
    from .issuing import authority, checked_name, leaf

    folder = Path(directory)
    if kind == "wrong-host":
        names = (WRONG_HOST,)
    names = tuple(checked_name(name) for name in names) or NAMES
    now = clock.now()
    ends = now - timedelta(days=1) if kind == "expired" else now + LEAF_LIFE
    begins = now - timedelta(days=60) if kind == "expired" else _begin(now)
    cert, key, ca_path, ca_key = (
        folder / name for name in ("cert.crt", "cert.key", "ca.crt", "ca.key")
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(cert, key, ca_path, ca_key)
        replaced = ""
        ca = _kept_authority(ca_key, names, now + LEAF_LIFE) if keep_ca else None
        if ca is None:
            replaced = _why_made_anew(ca_path, ca_key, keep_ca)
            life = CA_LIFE if keep_ca else LEAF_LIFE
            ca = authority("h2wsgi made CA", names, begins, now + life)
            if keep_ca:
                write_file(ca_key, ca.certificate_pem() + ca.key_pem(), mode=0o600)
            else:
                ca_key.unlink(missing_ok=True)
        made = leaf(ca, names, begins, ends)
        write_file(key, made.key_pem(), mode=0o600)
        write_file(cert, made.certificate_pem(), mode=0o644)
        write_file(ca_path, ca.certificate_pem(), mode=0o644)
    except OSError as error:
        raise CertificateError(
            f"The certificate cannot be written to {folder} (--make-cert): "
            f"{error.strerror or error}.",
            "Name a folder that can be written.",
        ) from error
    kept = str(ca_key) if keep_ca else ""
    return MadeCertificate(str(cert), str(key), str(ca_path), names, ends, kind, kept, replaced)


def _kept_authority(path: Path, names: tuple[str, ...], end: datetime) -> Pair | None:
    """Return the CA that an earlier call kept, if it is good for ``names`` and until ``end``."""
    return _load(path, path, lambda pair: pair.is_authority_until(end) and pair.permits(names))


def _why_made_anew(ca: Path, kept: Path, keep_ca: bool) -> str:
    if not ca.exists():
        return ""
    if not keep_ca:
        return "no CA was to be kept"
    if not kept.exists():
        return "the key of the one before was not kept"
    if _load(kept, kept, lambda pair: pair.is_authority_until(clock.now() + LEAF_LIFE)):
        return "the one before may not sign for these names"
    return "the one before could not be used any more"


def _refuse_foreign(cert: Path, key: Path, ca: Path, ca_key: Path) -> None:
    """Raise if a file would be overwritten that no earlier call wrote."""
    if not any(path.exists() for path in (cert, key, ca, ca_key)):
        return
    ours = _load(cert, key, lambda pair: pair.is_ours())
    signed = ours is not None and (not ca.exists() or ours.is_issued_by_pem(ca.read_bytes()))
    # A kept CA is written first, so after an interrupted call it may be all that there is.
    kept = _load(ca_key, ca_key, lambda pair: pair.is_ours())
    is_alone = kept is not None and not any(path.exists() for path in (cert, key, ca))
    if (signed and (kept is not None or not ca_key.exists())) or is_alone:
        return
    raise CertificateError(
        f"The folder {cert.parent} (--make-cert) holds a certificate that h2wsgi did not make.",
        "Name another folder, or move cert.crt, cert.key, ca.crt and ca.key away.",
    )


def write_file(path: Path, content: bytes, *, mode: int) -> None:
    """Put ``content`` at ``path`` in one step, in a file that never has a wider mode."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        draft.unlink()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock on ``path`` against other processes that start at the same time."""
    with open(path, "ab") as file:
        _lock(file)
        yield  # Closing the file releases the lock.


def _lock(file: IO[bytes]) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
    else:
        import fcntl

        # Some network file systems have no locks; two starts at once are rare there.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)


def need_cryptography(what: str) -> None:
    """Refuse ``what`` where ``cryptography`` is not installed.

    Raises:
        CertificateError: it is not.
    """
    try:
        importlib.import_module("cryptography.x509")
    except ImportError:
        raise CertificateError(
            f"The package cryptography is not installed, which {what} needs.",
            'Install it with: pip install "h2wsgi[standard]"',
        ) from None
