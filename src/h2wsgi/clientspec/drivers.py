"""The client under test: a command, a driver that speaks JSON lines, or a function. Any thread.

One object is used by one thread at a time. The invariant: whatever the client does, an answer comes
in bounded time, and no process is left behind.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import resource
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Protocol

from ..errors import ConfigurationError
from ..process.clock import clock
from .case import Do

MAX_OUTPUT = 2**26
"""Octets that a command may print."""
MAX_LINE = 2**20
"""Octets of a driver's line."""
MAX_SAID = 200
"""Characters shown of what a client says."""
TURN = 0.05
"""Seconds between two looks at whether a driver is to end at once."""
START_PATIENCE = 30.0
"""Seconds that a driver gets to start, before it is told anything that counts."""
CLOSE_PATIENCE = 2.0
"""Seconds that a driver gets to close its connections."""

GetFunction = Callable[[str, str], bytes]


@dataclass(frozen=True, slots=True)
class Order:
    """A request to make."""

    do: Do
    url: str
    size: int = 0
    next: str = ""
    """URLs of the GETs that follow, one by one, separated by blanks; if nothing else follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the caller of the client learned of one request."""

    error: str = ""
    """What the client said of an error."""
    has_hung: bool = False
    cannot: str = ""
    """Why the client was not asked, or could not do it."""
    status: int | None = None
    content: bytes | None = None
    digest: str = ""
    """SHA-256 of the content, in hexadecimal, if the content is not known."""
    length: int | None = None
    fields: dict[str, str] | None = None
    """Further things that a driver told: ``check`` and ``trailer``."""
    peak: int | None = None
    """Octets of memory that the client's process had at most; of a process that serves for many
    cases, those beyond what it had before."""

    def is_whole(self, content: bytes) -> bool:
        """Return whether the client took this content, and said so."""
        if self.content is not None:
            return content in self.content
        return self.digest == hashlib.sha256(content).hexdigest()

    def is_empty(self, content: bytes) -> bool:
        """Return whether none of the content was taken."""
        if self.content is not None:
            return content.splitlines()[0] not in self.content
        return not self.length


class Caller(Protocol):
    """A client that is told to make requests."""

    keeps_connections: bool
    """Whether it makes any number of requests, of every kind, on connections that it keeps."""

    def ask(self, orders: Sequence[Order], seconds: float) -> list[Outcome]:
        """Have requests made at once; return what became of each, within ``seconds`` or so."""

    def rest(self) -> None:
        """Have the client's connections closed: the case is over."""

    def abort(self) -> None:
        """End the client at once: a thread that waits for it gets an answer. From any thread."""

    def close(self) -> None:
        """The client is not needed any more."""


def hung(seconds: float, peak: int | None = None) -> Outcome:
    """Return what became of a request that had no end."""
    return Outcome(error=f"no end within {seconds:g} s", has_hung=True, peak=peak)


def short(text: str) -> str:
    """Return beginning and end of what a client said, on one line."""
    line = " ".join(text.split())
    half = MAX_SAID // 2
    return line if len(line) <= MAX_SAID else f"{line[:half]} ... {line[-half:]}"


def _started(argv: Sequence[str], **pipes: Any) -> subprocess.Popen[bytes]:
    """Start a client in a session of its own, so that what it starts can be ended with it.

    Raises:
        ConfigurationError: the system does not run it.
    """
    try:
        return subprocess.Popen(argv, start_new_session=True, **pipes)
    except OSError as error:
        hint = "Fewer at once may do: see --jobs."
        if error.errno in (errno.ENOENT, errno.ENOEXEC):
            hint = "A script has to begin with #! and an interpreter that is there."
        raise ConfigurationError(
            f"The client {argv[0]} cannot be run: {error.strerror}.", hint
        ) from None


class Command:
    """A command that is started for each request, with ``{url}`` and ``{ca}`` put in."""

    keeps_connections = False

    def __init__(self, argv: Sequence[str], ca: str, error_text: str = "") -> None:
        self._argv = argv
        self._ca = ca
        self._error_text = re.compile(error_text) if error_text else None
        self._is_aborted = threading.Event()

    def ask(self, orders: Sequence[Order], seconds: float) -> list[Outcome]:
        """See Caller."""
        (order,) = orders
        return [self._get(order.url, seconds)]

    def rest(self) -> None:
        """See Caller: each process ends by itself."""

    def abort(self) -> None:
        """See Caller."""
        self._is_aborted.set()

    def close(self) -> None:
        """See Caller."""

    def _get(self, url: str, seconds: float) -> Outcome:
        argv = [word.replace("{url}", url).replace("{ca}", self._ca) for word in self._argv]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = _started(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

            def is_over() -> bool:
                return self._is_aborted.is_set() or _prints_too_much(out, err)

            code, peak = _wait(process, seconds, is_over)
            if _prints_too_much(out, err):
                words = f"it printed more than {MAX_OUTPUT // 2**20} MiB"
                return Outcome(error=words, has_hung=True, peak=peak)
            out.seek(0)
            err.seek(0)
            content, said = out.read(MAX_OUTPUT), err.read(MAX_OUTPUT).decode("utf-8", "replace")
        if code is None:
            return hung(seconds, peak)
        error = f"exit code {code}: {short(said)}" if code else ""
        if not error and self._error_text is not None:
            found = self._error_text.search(said) or self._error_text.search(
                content.decode("utf-8", "replace")
            )
            error = short(found[0]) if found else ""
        return Outcome(error=error, content=content, peak=peak)


def _prints_too_much(*files: IO[bytes]) -> bool:
    return any(os.fstat(file.fileno()).st_size > MAX_OUTPUT for file in files)


def _wait(
    process: subprocess.Popen[bytes], seconds: float, is_over: Callable[[], bool]
) -> tuple[int | None, int]:
    """Wait for a process; return its exit code, or None if it had to be killed, and its memory.

    The memory is what it was seen to have, or what the system tells of it and its children at its
    end. The latter is at least the memory of this process, which made it, and counts only if more.
    """
    deadline = clock.monotonic() + seconds
    inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = 0
    is_late = False
    try:
        while True:
            seen = _peak(process.pid) or seen
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                told = usage.ru_maxrss * 1024 if usage.ru_maxrss > inherited else 0
                return None if is_late else process.returncode, max(seen, told)
            if clock.monotonic() > deadline or is_over():
                is_late = True
                _kill(process.pid)
            time.sleep(0.01)
    finally:
        _kill(process.pid)  # What is left of what it has started; all of it on Ctrl-C.


def _kill(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


class Driver:
    """A process that takes orders as JSON, one a line, and answers each with a line.

    See docs/clientspec.md for the protocol. The process is started when it is needed, and anew
    after it did not answer; its first order is to close, so that its start delays no request.
    """

    keeps_connections = True

    def __init__(self, argv: Sequence[str], ca: str, patience: float = START_PATIENCE) -> None:
        self._argv = [word.replace("{ca}", ca) for word in argv]
        self._ca = ca
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._left = b""
        self._complaints: IO[bytes] | None = None
        """What the process has written to its standard error since it last closed."""
        self._number = 0
        self._is_aborted = threading.Event()

    def ask(self, orders: Sequence[Order], seconds: float) -> list[Outcome]:
        """See Caller."""
        process = self._running()
        had = _peak_from_now_on(process.pid)
        first = self._number + 1
        self._tell(*map(self._words, orders))
        answers: dict[int, dict[str, Any]] = {}
        deadline = clock.monotonic() + seconds
        wanted = range(first, first + len(orders))
        while not answers.keys() >= set(wanted) and (line := self._line(deadline)) is not None:
            number = line.get("id")
            if isinstance(number, int) and number in wanted:  # Lines may be anything.
                answers[number] = line
        peak = (_peak(process.pid) or had) - had
        if answers.keys() >= set(wanted):
            return [_outcome(answers[number], peak) for number in wanted]
        is_late = clock.monotonic() >= deadline or self._is_aborted.is_set()
        code, said = self._stop(patience=0 if is_late else CLOSE_PATIENCE)
        words = "the driver closed its output, or wrote a line without end"
        if code is not None:
            words = f"the driver ended with exit code {code}"
        gone = Outcome(error=f"{words}: {said}" if said else words, peak=peak)
        missing = hung(seconds, peak) if is_late else gone
        return [_outcome(answers[n], peak) if n in answers else missing for n in wanted]

    def rest(self) -> None:
        """See Caller."""
        if self._process is None:
            return
        if not self._has_closed(CLOSE_PATIENCE):
            self._stop()

    def _has_closed(self, seconds: float) -> bool:
        """Tell the driver to close all connections; return whether it says that it has."""
        self._tell({"do": "close"})
        deadline = clock.monotonic() + seconds
        while (line := self._line(deadline)) is not None:
            if line.get("id") == self._number:
                assert self._complaints is not None
                self._complaints.truncate(0)
                return True
        return False

    def abort(self) -> None:
        """See Caller."""
        self._is_aborted.set()

    def close(self) -> None:
        """See Caller."""
        self._stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            # Appended to, so that it can be emptied while the process writes.
            complaints = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - closed by _stop
            try:
                self._process = _started(
                    self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints
                )
            except BaseException:
                complaints.close()
                raise
            self._complaints = complaints
            self._has_closed(self._patience)
        return self._process

    def _words(self, order: Order) -> dict[str, Any]:
        more = {"next": order.next} if order.next else {}
        return {"do": order.do, "url": order.url, "ca": self._ca, "size": order.size, **more}

    def _tell(self, *orders: dict[str, Any]) -> None:
        """Give orders. Those that are to be carried out at once have to come at once as well."""
        assert self._process is not None
        assert self._process.stdin is not None
        lines = [json.dumps({"id": n, **o}) + "\n" for n, o in enumerate(orders, self._number + 1)]
        self._number += len(orders)
        with suppress(OSError):
            self._process.stdin.write("".join(lines).encode())
            self._process.stdin.flush()

    def _line(self, deadline: float) -> dict[str, Any] | None:
        """Return the next line that is JSON, or None if none comes in time."""
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._complaints is not None
        while True:
            text, found, rest = self._left.partition(b"\n")
            if found:
                self._left = rest
                with suppress(ValueError, RecursionError):
                    answer = json.loads(text)
                    if isinstance(answer, dict):
                        return answer
                continue
            readable: list[Any] = []
            while not readable and (left := deadline - clock.monotonic()) > 0:
                if self._is_aborted.is_set() or _prints_too_much(self._complaints):
                    return None
                readable, _, _ = select.select([self._process.stdout], [], [], min(left, TURN))
            came = os.read(self._process.stdout.fileno(), 2**16) if readable else b""
            if not came or len(self._left) > MAX_LINE:
                return None
            self._left += came

    def _stop(self, patience: float = 0) -> tuple[int | None, str]:
        """End the process; return its exit code, None if it was killed, and its complaints."""
        process, self._process, self._left = self._process, None, b""
        if process is None or self._complaints is None:
            return None, ""
        code = None
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(patience)
        _kill(process.pid)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        with self._complaints as complaints:
            complaints.seek(0)
            return code, short(complaints.read(MAX_LINE).decode("utf-8", "replace"))


def _outcome(answer: dict[str, Any], peak: int | None) -> Outcome:
    """Return what a driver's line says; what makes no sense in it is an error of the client's."""
    status, length = answer.get("status"), answer.get("length")
    return Outcome(
        error=short(str(answer.get("error") or "")),
        cannot=f"the driver says: {short(str(answer['cannot']))}" if answer.get("cannot") else "",
        status=status if isinstance(status, int) else None,
        digest=str(answer.get("digest") or ""),
        length=length if isinstance(length, int) else None,
        fields={name: str(answer[name]) for name in ("check", "trailer") if name in answer},
        peak=peak,
    )


def _peak_from_now_on(pid: int) -> int:
    """Have the system forget the most memory that a process had; return what it has now."""
    with suppress(OSError), open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")
    return _peak(pid) or 0


def _peak(pid: int) -> int | None:
    """Return the most memory that a process had, in octets, if the system tells."""
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


class Function:
    """A function of a client in this process: ``get(url, ca_file) -> bytes``."""

    keeps_connections = False

    def __init__(self, get: GetFunction, ca: str) -> None:
        self._get = get
        self._ca = ca

    def ask(self, orders: Sequence[Order], seconds: float) -> list[Outcome]:
        """See Caller."""
        (order,) = orders
        outcomes: list[Outcome] = []
        thread = threading.Thread(
            target=self._call, args=(order.url, outcomes), name="clientspec", daemon=True
        )
        thread.start()
        thread.join(seconds)
        return outcomes or [hung(seconds)]

    def _call(self, url: str, outcomes: list[Outcome]) -> None:
        try:
            content = self._get(url, self._ca)
            if not isinstance(content, (bytes, bytearray, memoryview)):
                raise TypeError(f"it returned {type(content).__name__}, not bytes")
            outcomes.append(Outcome(content=bytes(content)))
        except BaseException as error:  # pytest.fail() and asyncio.CancelledError are no Exception
            outcomes.append(Outcome(error=short(f"{type(error).__name__}: {error}"), content=b""))

    def rest(self) -> None:
        """See Caller."""

    def abort(self) -> None:
        """See Caller: nothing can be done with a function that does not return."""

    def close(self) -> None:
        """See Caller."""
