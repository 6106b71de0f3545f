"""What an application runs in: folder, variables, umask, user; a file with the process's number.

Main thread, before anything is served. The invariant: who starts a process without these options
gives it what it has itself.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..config.config import Config
from ..config.options import mode_of
from ..errors import ConfigurationError
from ..log.logs import Log, named
from .ending import LAST

VARIABLE = re.compile(
    r"(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*=\s*"
    r"(?:'(?P<raw>[^']*)'|\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<plain>[^'\"\s].*?|))\s*(?:\s#.*)?",
    re.ASCII,
)
MOST_OF_NUMBER = 100
"""Octets that are looked at in a file with the number of a process."""
LAST_ACCOUNT = 2**32 - 2
"""The highest number of a user or a group."""
OF_THE_PROCESS = ("chdir", "env_file", "umask", "pid")
"""Options of :func:`enter` and :func:`pid_file`."""
ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True, slots=True)
class Account:
    """Whom workers run as. ``variables`` are those that tell a process whose it is."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    variables: dict[str, str]


def account_of(config: Config) -> Account | None:
    """Return whom workers are to run as, or None for whoever starts them.

    Raises:
        ConfigurationError: there is no such user or group, or only root may become them.
    """
    if not (config.user or config.group):
        return None
    gid = _group(config.group) if config.group else None
    account = _user(config.user, gid) if config.user else _own(gid)
    if os.geteuid() and (account.uid, account.gid) != (os.geteuid(), os.getegid()):
        raise ConfigurationError(
            "Only root may have workers run as somebody else (--user, --group).",
            "Start h2wsgi as that user, or as root.",
        )
    return account


def _group(name: str) -> int:
    import grp

    if name.isascii() and name.isdigit():
        return _number(name, "group")
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigurationError(
            f"There is no group {name} (--group).", "See: getent group"
        ) from None


def _number(name: str, kind: str) -> int:
    """Return the number that somebody has; the last one there is stands for nobody in calls."""
    if len(name) <= 10 and (number := int(name)) <= LAST_ACCOUNT:
        return number
    raise ConfigurationError(
        f"There is no {kind} {name} (--{kind}).", f"Numbers go up to {LAST_ACCOUNT}."
    )


def _user(name: str, gid: int | None) -> Account:
    import pwd

    by_number = name.isascii() and name.isdigit()
    try:
        user = pwd.getpwuid(_number(name, "user")) if by_number else pwd.getpwnam(name)
    except KeyError:
        if by_number:  # as in containers
            gid = int(name) if gid is None else gid
            return Account(int(name), gid, (gid,), {})
        raise ConfigurationError(
            f"There is no user {name} (--user).", "See: getent passwd"
        ) from None
    gid = user.pw_gid if gid is None else gid
    variables = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
    return Account(user.pw_uid, gid, tuple(os.getgrouplist(user.pw_name, gid)), variables)


def _own(gid: int | None) -> Account:
    gid = os.getegid() if gid is None else gid
    return Account(os.geteuid(), gid, (gid,), {})


def variables_of(config: Config) -> dict[str, str]:
    """Return what the file of ``--env-file`` says of variables that are not set.

    Raises:
        ConfigurationError: it cannot be read, naming the line.
    """
    if not config.env_file:
        return {}
    try:
        # Editors of Windows begin a file with a mark. Other ends of lines may be in a value.
        lines = Path(config.env_file).read_text("utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigurationError(
            f"{config.env_file} (--env-file) cannot be read: {reason}.", "It is NAME=VALUE a line."
        ) from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not (line := line.strip()) or line.startswith("#"):
            continue
        if (match := VARIABLE.fullmatch(line)) is None or "\0" in line:
            raise ConfigurationError(
                f"{config.env_file} (--env-file), line {number}, is not NAME=VALUE.",
                "A value with spaces at its ends, or with a #, needs quotes.",
            )
        found[match["name"]] = _value(match)
    return {name: value for name, value in found.items() if name not in os.environ}


def _value(match: re.Match[str]) -> str:
    if match["quoted"] is not None:
        return re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[1]), match["quoted"])
    return match["raw"] if match["raw"] is not None else match["plain"] or ""


def name_ignored(log: Log, variables: Sequence[str]) -> None:
    """Say for debugging which variables look like options and are others'."""
    for name in variables:
        log.events.debug(
            "%s is ignored: it tells of a service of that name",
            name,
            extra=named("variable_ignored", variable=name),
        )


def check_folder(config: Config) -> None:
    """Look whether there is the folder of ``--chdir``.

    Raises:
        ConfigurationError: there is none.
    """
    if config.chdir and not os.path.isdir(config.chdir):
        what = "is no folder" if os.path.exists(config.chdir) else "does not exist"
        raise ConfigurationError(
            f"The folder {config.chdir} (--chdir) {what}.", "Make it first, or name another."
        )


def set_umask(config: Config) -> None:
    """Have new files get the mode that the options say."""
    if (mask := mode_of(config.umask, "umask")) is not None:
        os.umask(mask)


def enter(config: Config) -> None:
    """Make this process, which serves itself, what the options say.

    Raises:
        ConfigurationError: the folder or the file of variables cannot be used.
    """
    check_folder(config)
    os.environ.update(variables_of(config))
    set_umask(config)
    if config.chdir:
        os.chdir(config.chdir)


def refuse_in_program(config: Config) -> None:
    """Refuse what would change a process that is somebody else's.

    Raises:
        ConfigurationError: an option asks for it.
    """
    for name in OF_THE_PROCESS:
        if getattr(config, name):
            raise ConfigurationError(
                f"{name} is for a process of the server's own, and this one is the program's.",
                "Leave it out; the program can do the same. h2wsgi.serve(app, ...) takes it.",
            )


@contextmanager
def pid_file(path: str) -> Iterator[None]:
    """Have the number of this process in a file; nothing is done if the path is empty.

    Raises:
        ConfigurationError: a process that lives has its number there, there is something else, or
            it cannot be written.
    """
    if not path:
        yield
        return
    own = str(os.getpid())
    _check_pid_file(path)
    draft = f"{path}.{own}"
    try:
        with open(draft, "x", encoding="ascii") as file:
            file.write(own + "\n")
        os.replace(draft, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(draft)
        raise ConfigurationError(
            f"The file {path} (--pid) cannot be written: {error.strerror}.",
            "Name a file in a folder that exists and can be written.",
        ) from None

    def remove() -> None:
        with suppress(OSError, ValueError):
            if Path(path).read_text().strip() == own:
                os.unlink(path)

    LAST.append(remove)
    try:
        yield
    finally:
        LAST.remove(remove)
        remove()


def _check_pid_file(path: str) -> None:
    """Look whether a file may be written, which is removed later."""
    try:
        is_file = stat.S_ISREG(os.stat(path).st_mode)
        text = Path(path).read_bytes()[:MOST_OF_NUMBER].strip() if is_file else b"-"
    except OSError:  # there is none; or writing says what is wrong
        return
    if text.strip(b"\0") and not text.isdigit():  # empty, or zeros, where a machine has lost power
        raise ConfigurationError(
            f"The file {path} (--pid) has something else than the number of a process.",
            "Name another. It would be written over, and removed at the end.",
        )
    if text.isdigit() and (other := int(text)) != os.getpid() and _lives(other):
        raise ConfigurationError(
            f"The file {path} (--pid) has the number of a process that runs, {other}.",
            "Stop that one first; or remove the file, if it is another program's by now.",
        )


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return pid > 0
