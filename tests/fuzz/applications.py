"""Applications by a script, each on a thread of its own that runs only when it is told to.

A thread stops where the application waits on its client, and where its script says so. Which one
goes on is for the session to say, so that every order of events can be had again.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from conversations.frames import RST_STREAM
from h2wsgi.errors import ClientDisconnected
from h2wsgi.seam.guards import set_role
from h2wsgi.seam.handover import Handover
from h2wsgi.seam.stream import Stream
from h2wsgi.wsgi.runner import Runner

from .finding import Finding

PATIENCE = 20.0
"""Seconds after which a thread that does not stop is stuck."""
STALL = 1.5
"""Seconds for which an application holds its own output up."""
LEFT = 0xF0F0
"""The code of a reset that an application makes itself of a raw frame."""
UNKNOWN = 0xEE
"""The type of a frame that means nothing to anybody."""
HINT = [("link", "</style.css>")]
PATTERN = random.Random(7540).randbytes(1 << 18) * 2


@dataclass(frozen=True, slots=True)
class Script:
    """What an application does with its request."""

    form: str = "list"
    """How content leaves: list, tuple, generator, object (that can be closed), or write."""
    sizes: tuple[int, ...] = (5,)
    """Octets of content, in pieces."""
    declared: int | None = None
    """What Content-Length says beyond (or short of) the real length; None for no Content-Length."""
    status: str = "200 OK"
    reads: str = "all"
    """The request's content: all, none, some, lines, or late, behind the response's content."""
    fails: str = ""
    """Where it raises: early, middle, late (behind all content), or close."""
    halts: bool = True
    """Whether it stops between its pieces, so that others may go on."""
    races: bool = False
    """Whether it also stops wherever it is about to take the connection's lock."""
    commands: tuple[str, ...] = ()
    """Before each piece, one for one, what it asks for; see `Actor._command`. Empty for nothing."""
    trailers: bool = False
    """Whether fields follow the content."""


class ApplicationFailed(Exception):
    """What scripts raise."""


class Iteration:
    """An iterable that has to be closed once."""

    def __init__(self, actor: Actor, pieces: Iterator[bytes]) -> None:
        self._actor = actor
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        """See PEP 3333."""
        self._actor.closes += 1
        self._pieces.close()  # type: ignore[attr-defined]
        if self._actor.script.fails == "close":
            raise ApplicationFailed("in close()")


class Lock:
    """Stands in for a connection's lock; never held while a thread stops."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.release = self._lock.release

    def acquire(self) -> bool:
        """See threading.Lock."""
        actor = threading.current_thread()
        if isinstance(actor, Actor) and actor.script.races:
            actor.halt()
        return self._lock.acquire()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Halt:
    """Stands in for the lock that a thread waits for: held from the start, until it is released."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._is_mine = False
        self.notified = False

    def locked(self) -> bool:
        """See threading.Lock."""
        return not self.notified

    def release(self) -> None:
        """See threading.Lock."""
        self.notified = True

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """See threading.Lock."""
        if not self._is_mine:
            self._is_mine = True
            return True
        self._actor.waits = True
        while not self.notified:
            self._actor.halt()
        self._actor.waits = False
        return True


def new_wait() -> Any:
    """Return what a thread waits for, in place of `stream.allocate_lock`."""
    actor = threading.current_thread()
    if not isinstance(actor, Actor):
        return threading.Lock()
    actor.halts = Halt(actor)
    return actor.halts


class Actor(threading.Thread):
    """One application call, and what came of it."""

    def __init__(self, runner: Runner, stream: Stream, script: Script):
        super().__init__(daemon=True, name=f"fuzz-{stream.stream_id}")
        self.stream = stream
        self.script = script
        self.begun = self.ended = self.waits = False
        self.error: BaseException | None = None
        self.environ: dict[str, Any] = {}
        self.checked = False
        """Whether it was looked at."""
        self.read = bytearray()
        self.saw_end = False
        self.produced = bytearray()
        """Content, whether it left or not."""
        self.declared: int | None = None
        self.returned = False
        """Whether all content was produced."""
        self.failed = False
        """Whether it raised, or lost its client."""
        self.has_reset = False
        """Whether it asked for the reset of its stream, or told of one in a raw frame."""
        self.hints = 0
        """How many 103 responses it asked for."""
        self.opens = self.closes = 0
        self.waits_begun = self.waits_ended = 0
        self.unwoken: Handover | None = None
        self._runner = runner
        self._go_on = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self.halts: Halt | None = None
        """What it waits for, or has waited for last."""

    # ------------------------------------------------------------------ the session's thread

    @property
    def may_run(self) -> bool:
        """Whether there is something for it to do."""
        return not self.ended and (not self.waits or self._is_notified)

    @property
    def _is_notified(self) -> bool:
        return self.halts is not None and self.halts.notified

    def step(self) -> None:
        """Let it run until it stops."""
        if not self.begun:
            if self.stream._failure is not None:
                raise Finding("a request is started although its stream has ended", self.name)
            self.begun = True
            self.start()
        self._go_on.release()
        if not self._stopped.acquire(timeout=PATIENCE):
            raise Finding("an application thread is stuck", self.name)
        if self.ended:
            self.join()
            if self.error is not None:
                raise Finding("an exception left the runner", repr(self.error)) from self.error

    def poke(self) -> bool:
        """Wake it without a reason; True if it had one to go on that nobody told it of."""
        if not self.waits or self._is_notified or self.halts is None:
            return False
        before = self.halts
        before.release()
        self.step()
        return not self.waits

    # -------------------------------------------------------------------------- its own thread

    def run(self) -> None:
        """See threading.Thread."""
        self._go_on.acquire()
        set_role("application")
        try:
            self._runner.run(self.stream, self)
            if self.unwoken is not None:
                self.halt()
                self.unwoken.wake(True)
        except BaseException as error:
            self.error = error
        self.ended = True
        self._stopped.release()

    def halt(self) -> None:
        """Stop until the session lets it go on."""
        self._stopped.release()
        self._go_on.acquire()

    def wait_begins(self) -> None:
        """See ClientWait."""
        self.waits_begun += 1

    def wait_ended(self) -> None:
        """See ClientWait."""
        self.waits_ended += 1

    def call(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Be the application."""
        self.environ = environ
        try:
            return self._respond(start_response)
        except (ApplicationFailed, ClientDisconnected):
            self.failed = True
            raise

    def _respond(self, start_response: Callable[..., Any]) -> Any:
        script = self.script
        self._fail_if("early")
        if script.reads != "late":
            self._read()
        headers = [("x-stream", str(self.stream.stream_id))]
        if script.declared is not None:
            self.declared = max(0, sum(script.sizes) + script.declared)
            headers.append(("content-length", str(self.declared)))
        write = start_response(script.status, headers)
        if script.trailers:
            self.environ["wsgi.ext.http.send_trailers"](self.trailers)
        if script.form == "write":
            for piece in self._pieces():
                write(piece)
            return []
        if script.form in ("list", "tuple"):
            pieces = list(self._pieces())
            return pieces if script.form == "list" else tuple(pieces)
        if script.form == "generator":
            return self._pieces()
        self.opens += 1
        return Iteration(self, self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        try:
            for number, size in enumerate(self.script.sizes):
                if number:
                    self._fail_if("middle")
                self._command(*self.script.commands[number : number + 1])
                if self.script.halts:
                    self.halt()
                yield self._piece(size)
            self._fail_if("late")
            if self.script.reads == "late":
                self._read()
            self.returned = True
        except (ApplicationFailed, ClientDisconnected):
            self.failed = True
            raise

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The fields of its trailer section."""
        return [("x-trailer", str(self.stream.stream_id))]

    def _command(self, command: str = "") -> None:
        stream = self.stream
        match command.split():
            case ["ping"]:
                stream.ping()
            case ["stall"]:
                stream.stall(STALL)
            case ["stall", "all"]:
                stream.stall(STALL, connection=True)
            case ["goaway"]:
                stream.goaway()
            case ["reset"]:
                self.has_reset = True
                stream.reset()
            case ["leave"]:
                self.has_reset = True
                stream.send_raw_frame(RST_STREAM, 0, LEFT.to_bytes(4, "big"))
                stream.abandon()
            case ["hint"]:
                self.hints += 1
                stream(HINT)
            case ["frame"]:
                stream.send_raw_frame(UNKNOWN, 0xFF, b"to be ignored")
            case ["window", octets]:
                stream.change_settings({"INITIAL_WINDOW_SIZE": int(octets)})
            case ["close"]:
                stream.close_transport()
            case ["abort"]:
                stream.close_transport(abort=True)

    def _piece(self, size: int) -> bytes:
        start = (self.stream.stream_id * 7_919 + len(self.produced)) % (1 << 18)
        piece = PATTERN[start : start + size]
        self.produced += piece
        return piece

    def _fail_if(self, where: str) -> None:
        if self.script.fails == where:
            raise ApplicationFailed(where)

    def _read(self) -> None:
        input_ = self.environ["wsgi.input"]
        match self.script.reads:
            case "all" | "late":
                self._note_read(input_.read(), True)
            case "some":
                for size in (1, 100, 20_000):
                    data = input_.read(size)
                    self._note_read(data, len(data) < size)
            case "lines":
                while line := input_.readline(9_000):
                    self._note_read(line, False)
                self.saw_end = True

    def _note_read(self, data: bytes, ended: bool) -> None:
        self.read += data
        self.saw_end |= ended
