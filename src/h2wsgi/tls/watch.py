"""Certificates whose files change while a server runs.

One daemon thread, ``h2wsgi-certificates``, looks at the files and reads them, as a folder may be
far away, and slow. All others take :attr:`CertificateWatch.identity`, which is replaced whole: a
connection keeps the one it began with. The invariant: certificates that cannot be used never
replace those that can, and are reported once.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from ..config.config import Config
from ..errors import ConfigurationError
from ..log.logs import named
from ..process.clock import clock
from . import handed
from .context import TLSIdentity, read_again

INTERVAL = 2.0
"""Seconds between looks at the files."""
SETTLED = 0.5
"""Seconds that a file has to stay as it is: certificate and key are written one after the other."""
PATIENCE = 2.0
"""Seconds after which files that change all the time are read."""
DAY = 86_400.0

FileState = tuple[int, int, int, int] | None
"""Differs if the file, or the link to it, is another; None while there is none."""


def warn(identity: TLSIdentity, log: logging.Logger) -> None:
    """Log which certificates clients will refuse, now or soon."""
    for warning in identity.warnings():
        log.warning("%s", warning, extra=named("certificate_warning"))


class CertificateWatch:
    """Keeps the identity of a server up to date with its files. Any thread, unless marked."""

    def __init__(self, config: Config, identity: TLSIdentity, log: logging.Logger) -> None:
        # immutable
        self._config = config
        self._log = log
        # any thread; the watch's thread replaces it
        self.identity = identity
        # any thread, each a single step
        self._stopping = False
        self._asked: deque[Callable[[], None]] = deque()
        """What to call once the files were read, whether they have changed or not."""
        self._wake = threading.Event()
        # the watch's thread
        self._seen = self._look()
        self._is_behind = False
        """Whether what was read last could not be used. The next try may succeed though no file has
        changed: permissions, or free memory and descriptors, may have."""
        self._said = ""
        """The failure that was logged last."""
        self._warn_at = clock.time() + DAY
        """When to warn again of certificates that end soon; the start has warned."""
        self._thread = threading.Thread(target=self._run, name="h2wsgi-certificates", daemon=True)

    def start(self) -> None:
        """Begin to look, unless the files were handed over open: those stay as they are."""
        if not handed.are_some():
            self._thread.start()

    def read(self, done: Callable[[], None]) -> None:
        """Have the files read now, whether they have changed or not.

        ``done`` is called on the watch's thread.
        """
        self._asked.append(done)
        self._wake.set()

    def stop(self) -> None:
        """Look no more. Does not wait: the thread may be reading a disk that does not answer."""
        self._stopping = True
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait(INTERVAL)
            self._wake.clear()
            if self._stopping:
                return
            try:
                self._turn()
            except Exception as error:  # such as a MemoryError: the next turn may go better
                if self._is_news(repr(error)):
                    self._log.exception(
                        "looking for new certificates failed", extra=named("certificates_failed")
                    )

    def _turn(self) -> None:
        asked = len(self._asked)
        if asked or self._look() != self._seen:
            try:
                self._seen, self._said = self._settled(), ""
                self._read()
            finally:
                for _ in range(asked):
                    self._asked.popleft()()
        elif self._is_behind:
            self._read()
        elif clock.time() >= self._warn_at:
            self._warn()

    def _settled(self) -> list[FileState]:
        """Return the state of the files once nobody writes them any more."""
        state, until = self._look(), clock.monotonic() + PATIENCE
        while clock.monotonic() < until and not self._stopping:
            time.sleep(SETTLED)
            before, state = state, self._look()
            if state == before:
                break
        return state

    def _is_news(self, what: str) -> bool:
        """Return whether this failure is another than the one logged last."""
        before, self._said = self._said, what
        return what != before

    def _read(self) -> None:
        self._is_behind = True
        try:
            identity = read_again(self._config, self.identity)
        except ConfigurationError as error:
            if self._is_news(str(error)):
                self._log.error(
                    "THE NEW CERTIFICATES ARE NOT USED, those from before are: %s %s",
                    error,
                    error.hint,
                    extra=named("certificates_refused"),
                )
            return
        self._is_behind, self._said = False, ""
        self.identity = identity
        ends = [c.facts.not_after for c in identity.certificates if c.facts is not None]
        until = f", good until {min(ends):%Y-%m-%d}" if ends else ""
        paths = ", ".join(certificate.path for certificate in identity.certificates)
        self._log.info(
            "certificates read anew: %s%s", paths, until, extra=named("certificates_read")
        )
        self._warn()

    def _warn(self) -> None:
        self._warn_at = clock.time() + DAY
        warn(self.identity, self._log)

    def _look(self) -> list[FileState]:
        return [_state_of(path) for path in self.identity.files]


def _state_of(path: str) -> FileState:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev
