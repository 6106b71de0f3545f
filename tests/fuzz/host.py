"""What a connection needs of a server, in memory: budgets, a mailbox, and applications by script.

Does what `h2wsgi.server.server.Server` does, without sockets and without a pool of threads.
"""

from __future__ import annotations

import io
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from h2wsgi.config.config import Config
from h2wsgi.http2.protocol import H2Protocol
from h2wsgi.log.logs import Log
from h2wsgi.log.text import AccessRecord
from h2wsgi.seam.budget import Budget
from h2wsgi.seam.handover import Handover
from h2wsgi.seam.request import ConnectionFacts
from h2wsgi.seam.spool import Blocks, Spool, Spooled
from h2wsgi.seam.stream import Stream
from h2wsgi.wsgi.runner import Runner
from h2wsgi.wsgi.stuck_threads import Overtime

from .applications import Actor, Lock, Script
from .loop import Loop
from .transport import Transport

FIRST_PORT = 40_000
"""Of the first connection's client; the next one's is one higher."""
KEPT = 1_000
"""Octets of output that each connection may hold, however many the others do."""
events = logging.Logger("fuzz")
events.addHandler(logging.NullHandler())


class Mailbox:
    """Calls for the loop's thread; any thread may post."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.calls: deque[Callable[[], None]] = deque()

    def post_threadsafe(self, call: Callable[[], None], about_to_wait: bool = False) -> None:
        """See h2wsgi.seam.mailbox."""
        self.calls.append(call)

    def deliver(self) -> None:
        """Make the calls posted so far."""
        for _ in range(len(self.calls)):
            self.calls.popleft()()


class Memory(Blocks):
    """Blocks of memory."""

    def __init__(self) -> None:
        self._file: Any = io.BytesIO()
        self._taken = bytearray()
        self._none_free_below = 0

    def write(self, data: memoryview, place: int) -> int:
        """See Blocks. A part, as a disk may take."""
        self._file.seek(place)
        return self._file.write(data[: max(1, len(data) // 2)])

    def read(self, octets: int, place: int) -> bytes:
        """See Blocks."""
        self._file.seek(place)
        return self._file.read(octets)


class Files(Spool):
    """Content is written when the session's loop turns, without a thread and in memory."""

    def __init__(self) -> None:
        super().__init__(0)
        self.jobs: deque[Spooled] = deque()

    def keep(self, written: Callable[[], None]) -> Spooled:
        """See Spool."""
        content = Spooled(self, written)
        self._open.add(content)
        return content

    def look_at(self, content: Spooled) -> None:
        """See Spool."""
        self.jobs.append(content)

    def blocks(self) -> Blocks:
        """See Spool."""
        if self._blocks is None:
            self._blocks = Memory()
        return self._blocks

    def work(self) -> None:
        """Do what there is to do by now."""
        for _ in range(len(self.jobs)):
            self.jobs.popleft().work()


class Host:
    """A ServerContext. ``buffered`` is the size of both budgets, in octets."""

    def __init__(self, loop: Loop, config: Config, buffered: int) -> None:
        self.loop = loop
        self.config = config
        self.accesses: list[AccessRecord] = []
        self.log = Log(events, self.accesses.append)
        self.input_budget = Budget(buffered, self._input_relieved)
        self.output_budget = Budget(buffered, self._output_relieved, kept=KEPT)
        self.spool = Files()
        self.unsized_content = config.unsized_content
        self.mailbox = cast(Any, Mailbox(loop))
        self.overtime = Overtime(config, self.log, now=lambda: loop.now)
        self.new_stream = self.overtime.new_stream if config.request_timeout else Stream
        self.observe = None
        self.counts = None
        self.protocols: list[H2Protocol] = []
        self.actors: list[Actor] = []
        self._connections = 0
        self.cancelled = 0
        self.was_full = False
        self.scripts: deque[Script] = deque()
        """For the next requests; after the last one, the default."""
        self.on_start: Callable[[Stream], None] = lambda stream: None
        self._runner = Runner(_application, self.log, root_path="", multithread=True)

    def connect(self, tls: bool) -> Transport:
        """Open a connection."""
        transport = Transport(self.loop, tls)
        port = f"{FIRST_PORT + self._connections}"
        self._connections += 1
        facts = ConnectionFacts("https", "localhost", "8443", "127.0.0.1", port, {})
        transport.connect(H2Protocol(self, lambda _: facts, made=self._connection_made))
        return transport

    def _connection_made(self, protocol: H2Protocol) -> None:
        self.protocols.append(protocol)
        handover: Any = protocol.connection._handover
        handover.lock = Lock()

    def start_requests(self, handover: Handover, streams: list[Stream]) -> None:
        """See Host."""
        for stream in streams:
            script = self.scripts.popleft() if self.scripts else Script()
            self.actors.append(Actor(self._runner, stream, script))
            self.on_start(stream)

    def cancel_request(self, handover: Handover, stream: Stream) -> bool:
        """See Host."""
        for actor in self.actors:
            if actor.stream is stream and not actor.begun:
                self.actors.remove(actor)
                self.cancelled += 1
                return True
        return False

    def input_is_full(self) -> None:
        """See Host."""
        self.was_full = True
        for protocol in list(self.protocols):
            protocol.connection.inflow.return_credit()
        for protocol in list(self.protocols):
            protocol.connection.inflow.refuse_unstarted()

    def _input_relieved(self) -> None:
        for protocol in list(self.protocols):
            protocol.connection.inflow.relieved()

    def _output_relieved(self) -> None:
        for protocol in list(self.protocols):
            protocol.connection.outflow.relieved()

    def make_disk_room(self, asking: Stream) -> bool:
        """See ServerContext."""
        return False

    def connection_closed(self, protocol: H2Protocol) -> None:
        """See ServerContext."""
        self.protocols.remove(protocol)

    def limit_hit(self, option: str) -> None:
        """See Host."""

    def handshake_failed(self, reason: str) -> None:
        """See ServerContext."""

    def settings_delay(self, what: str, facts: ConnectionFacts) -> float:
        """See ServerContext."""
        return 0.0

    def log_refusal(self, facts: ConnectionFacts, advice: str) -> None:
        """See ServerContext."""


def _application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    actor = threading.current_thread()
    assert isinstance(actor, Actor)
    return actor.call(environ, start_response)
