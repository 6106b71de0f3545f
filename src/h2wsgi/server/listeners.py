"""Addresses -> listening sockets.

Called by the thread that starts the server. Blocks in name resolution, and for at most a second if
another server starts on a Unix socket in the same folder.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config.addresses import ALL_HANDED, SOCKET_PATH, descriptor_of, parse_host_port, unresolved
from ..config.config import Config
from ..config.options import mode_of
from ..errors import ConfigurationError
from ..process.forking import close_in_child
from ..process.systemd import handed_descriptors

if TYPE_CHECKING:
    from ..process.shares import Place

BACKLOG = 1024
"""Connections that may wait to be accepted, unless options say another number."""
PORT_TRIES = 20
"""Attempts to find a port that is free in both address families of localhost."""
LOCK_TRIES = 100
"""Attempts, a hundredth of a second apart, to get a lock that somebody else holds."""


@dataclass(slots=True)
class Listener:
    """A listening socket: ``name`` is the host as the user wrote it, ``url`` what to connect to."""

    sock: socket.socket
    tls: bool
    name: str
    unix_path: str = ""
    unix_file: tuple[int, int] | None = None
    """Device and inode of the socket file at ``unix_path``; None if it is not ours to remove."""

    def __post_init__(self) -> None:
        close_in_child(self.sock)

    @property
    def port(self) -> int:
        """The real port; 0 for a Unix socket."""
        if self.unix_path or self.sock.family not in (socket.AF_INET, socket.AF_INET6):
            return 0
        return int(self.sock.getsockname()[1])

    @property
    def url(self) -> str:
        """What to connect to: ``https://localhost:8443/``, or ``unix:`` and a path."""
        if not self.port:
            return f"unix:{self.unix_path or self.sock.getsockname()}"
        host = f"[{self.name}]" if ":" in self.name else self.name
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/"

    def description(self) -> dict[str, Any]:
        """Return what another process has to know that inherits the socket: see :func:`inherited`.

        The file of a Unix socket stays this one's to remove.
        """
        return {
            "descriptor": self.sock.fileno(),
            "tls": self.tls,
            "name": self.name,
            "unix_path": self.unix_path,
        }

    def handed_over(self) -> dict[str, Any]:
        """Return the same for who takes this one's place, to whom the file belongs too."""
        return self.description() | {"unix_file": self.unix_file}

    def close(self) -> None:
        """Close the socket and remove its file, if it has one of ours.

        The file goes first: once the socket is closed, another server may have its file there.
        """
        if self.unix_file is not None and _file_at(self.unix_path) == self.unix_file:
            with suppress(OSError):
                os.unlink(self.unix_path)
        self.unix_file = None
        self.sock.close()


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several workers has of a server: sockets to accept from, a place among them."""

    listeners: list[Listener]
    place: Place


def inherited(description: dict[str, Any]) -> Listener:
    """Return the listener that another process has described, whose socket this one inherited."""
    values = dict(description)
    descriptor = values.pop("descriptor")
    if (file := values.pop("unix_file", None)) is not None:
        values["unix_file"] = tuple(file)
    os.set_inheritable(descriptor, False)  # what the application starts gets none of it
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    return Listener(sock, **values)


class SocketFiles(NamedTuple):
    """What files of Unix sockets are to be like; -1 and None leave it to the system."""

    mode: int | None = None
    uid: int = -1
    gid: int = -1

    def apply_to(self, path: str) -> None:
        """Make a file so. Nobody can connect yet.

        Raises:
            OSError: it may not be done.
        """
        if self.mode is not None:
            os.chmod(path, self.mode)
        if (self.uid, self.gid) != (-1, -1):
            os.chown(path, self.uid, self.gid)


AS_IT_COMES = SocketFiles()


def open_all(config: Config, owner: tuple[int, int] = (-1, -1)) -> list[Listener]:
    """Open every address of ``config``; ``owner`` is who is to have the files of Unix sockets.

    Raises:
        ConfigurationError: an address is malformed, is in use or may not be used.
    """
    files = SocketFiles(mode_of(config.uds_permissions, "uds_permissions"), *owner)
    options: dict[str, Any] = {"backlog": config.backlog, "files": files}
    listeners = open_listeners(config.tls_binds, tls=True, **options)
    try:
        return listeners + open_listeners(config.h2c_binds, tls=False, **options)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise


def open_listeners(
    addresses: tuple[str, ...],
    *,
    tls: bool,
    backlog: int = BACKLOG,
    files: SocketFiles = AS_IT_COMES,
) -> list[Listener]:
    """Open a socket, or two for localhost, for every address.

    Raises:
        ConfigurationError: an address is malformed, is in use or may not be used.
    """
    listeners: list[Listener] = []
    try:
        for address in addresses:
            listeners.extend(_open(address, tls, backlog, files))
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _open(address: str, tls: bool, backlog: int, files: SocketFiles) -> list[Listener]:
    if address.startswith("unix:"):
        return [_open_unix(address.removeprefix("unix:"), tls, backlog, files)]
    if address == ALL_HANDED:
        return _open_all_handed(tls)
    if address.startswith("fd://"):
        return [_open_descriptor(address, descriptor_of(address), tls)]
    host, port = parse_host_port(address)
    try:
        if host == "localhost":
            return _open_localhost(port, tls, backlog)
        families = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return _open_all([(info[0], info[4]) for info in families], host, tls, backlog)
    except (socket.gaierror, UnicodeError) as error:
        raise unresolved(address, error) from None
    except OSError as error:
        raise _bind_error(address, port, error) from None


def _open_localhost(port: int, tls: bool, backlog: int) -> list[Listener]:
    """Listen on 127.0.0.1 and ::1: some clients try only one of them."""
    targets: list[tuple[int, tuple[object, ...]]] = [(socket.AF_INET, ("127.0.0.1", port))]
    if socket.has_ipv6:
        targets.append((socket.AF_INET6, ("::1", port)))
    for attempt in range(PORT_TRIES):
        try:
            return _open_all(targets, "localhost", tls, backlog)
        except OSError as error:
            # With port 0 the free port of one family may be taken in the other.
            if port or error.errno != errno.EADDRINUSE or attempt == PORT_TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _open_all(
    targets: list[tuple[int, tuple[object, ...]]], name: str, tls: bool, backlog: int
) -> list[Listener]:
    listeners: list[Listener] = []
    port = 0
    missing: OSError | None = None
    try:
        for family, address in dict.fromkeys(targets):
            host, wanted, *rest = address
            try:
                sock = _bound(family, (host, wanted or port, *rest), backlog)
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = error  # a machine without IPv6, or without IPv4
                continue
            port = sock.getsockname()[1]
            listeners.append(Listener(sock, tls, name or str(host)))
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    if not listeners and missing is not None:
        raise missing
    return listeners


def _bound(
    family: int,
    address: tuple[object, ...] | str,
    backlog: int,
    before_it_listens: Callable[[], None] = lambda: None,
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        before_it_listens()
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_unix(path: str, tls: bool, backlog: int, files: SocketFiles) -> Listener:
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigurationError("Unix sockets (--bind unix:PATH) do not exist on this system.")
    if not path:
        raise ConfigurationError(
            "The address unix: (--bind) names no path.", "For example unix:/run/h2wsgi.sock."
        )
    try:
        with _one_at_a_time(os.path.dirname(path) or "."):
            _remove_stale(path)
            sock = _bound(socket.AF_UNIX, path, backlog, lambda: files.apply_to(path))
    except OSError as error:
        raise _bind_error(f"unix:{path}", 0, error) from None
    return Listener(sock, tls, "localhost", unix_path=path, unix_file=_file_at(path))


def _file_at(path: str) -> tuple[int, int] | None:
    """Return device and inode of the file at a path, or None."""
    with suppress(OSError):
        status = os.stat(path)
        return status.st_dev, status.st_ino
    return None


@contextmanager
def _one_at_a_time(folder: str) -> Iterator[None]:
    """Have servers that start at once look at a path, and bind to it, one after the other.

    Otherwise a server may find the socket of another that does not listen yet, and take that socket
    for stale. The lock is the folder's. A start does not wait long for it, as anybody may hold it,
    and goes on without it, as some file systems have no locks.
    """
    with ExitStack() as stack:
        with suppress(OSError):  # there is no such folder: bind will say so
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            _lock(descriptor)
        yield


def _lock(descriptor: int) -> None:
    import fcntl  # Windows has no fcntl

    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        else:
            return


def _remove_stale(path: str) -> None:
    """Remove the socket file that a server left behind, but never one that is still served."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            kind = "a folder" if os.path.isdir(path) else "a file"
            raise ConfigurationError(  # not ours to remove
                f"The path {path} (--bind unix:) is {kind}, not a socket.",
                "Name a path that does not exist yet, or remove what is there.",
            )
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except BlockingIOError:
            return  # the server of that file is too busy to be connected to


def _open_all_handed(tls: bool) -> list[Listener]:
    descriptors = handed_descriptors()
    if not descriptors:
        raise ConfigurationError(
            f"The address {ALL_HANDED} (--bind) is for sockets that were handed over, and there "
            "are none (LISTEN_FDS).",
            "Start h2wsgi by a socket unit of systemd, or name a descriptor, such as fd://3.",
        )
    return [_open_descriptor(f"fd://{each}", each, tls) for each in descriptors]


def _open_descriptor(address: str, descriptor: int, tls: bool) -> Listener:
    try:
        sock = _listening_socket(descriptor)
    except OSError:
        raise ConfigurationError(
            f"The address {address} (--bind) is not a listening socket.",
            "It takes a socket that listens and was handed to this process, as systemd does.",
        ) from None
    sock.setblocking(False)
    os.set_inheritable(descriptor, False)  # as all others; systemd hands them over inheritable
    name = sock.getsockname()
    if isinstance(name, tuple):
        return Listener(sock, tls, str(name[0]))
    return Listener(sock, tls, "localhost")


def _listening_socket(descriptor: int) -> socket.socket:
    sock = socket.socket(fileno=descriptor)
    try:
        if not _listens(sock):
            # accept() would fail, and the loop would try again for ever.
            raise OSError(errno.EINVAL, "not listening")
    except BaseException:
        sock.detach()  # whoever opened the descriptor closes it
        raise
    return sock


def _listens(sock: socket.socket) -> bool:
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        # macOS has the option but no answer. Listening twice does no harm.
        sock.listen(BACKLOG)
        return True


def _bind_error(address: str, port: int, error: OSError) -> ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        hint = "Stop what listens there, or choose another"
        hint += "." if address.startswith("unix:") else "; port 0 takes a free one."
        return ConfigurationError(f"The address {address} (--bind) is in use.", hint)
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = ""
        if 0 < port < 1024:
            hint = "Ports below 1024 need privileges, as systemd gives by AmbientCapabilities="
            hint += "CAP_NET_BIND_SERVICE; 8443 needs none."
        elif address.startswith("unix:"):
            hint = "Check the folder's owner and mode, and who runs h2wsgi."
        return ConfigurationError(f"The address {address} (--bind) may not be used.", hint)
    if address.startswith("unix:") and error.errno in (errno.ENOENT, errno.ENOTDIR):
        folder = os.path.dirname(address.removeprefix("unix:")) or "."
        if not os.path.isdir(folder):
            missing = "is not a folder" if os.path.exists(folder) else "does not exist"
            return ConfigurationError(
                f"The folder {folder} of the address {address} (--bind) {missing}.",
                "Make the folder first, or name a path in one that exists.",
            )
    hint = ""
    if error.errno == errno.EADDRNOTAVAIL:
        hint = "Name an address of this machine; 0.0.0.0 is all of its IPv4 addresses, [::] IPv6."
    if address.startswith("unix:") and len(os.fsencode(address)) > len("unix:") + SOCKET_PATH:
        hint = f"A socket's path has {SOCKET_PATH} octets at most; choose a shorter one."
    return ConfigurationError(
        f"The address {address} (--bind) cannot be used: {error.strerror or error}.", hint
    )
