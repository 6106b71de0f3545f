"""One connection, played step by step: the client's octets, the transport, the applications, time.

A step is a name and arguments; the same steps always give the same run. After each one the rules
of `reader.py` and `checks.py` are held against what happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from conversations.frames import ACK, PING, SETTINGS, frame
from h2wsgi.config.config import Config
from h2wsgi.seam.guards import set_role
from h2wsgi.seam.stream import Stream

from . import checks
from .applications import Actor, Script
from .closing import close, complete, serve_another
from .finding import Finding, require, watched
from .host import Host
from .ledger import Ledger
from .loop import Loop
from .reader import Excuses, Reader

Step = tuple[Any, ...]
TURNS = 2_000
"""Turns after which what goes on is taken for endless."""
LENIENT = frozenset({"goaway", "close", "abort"})
"""Commands of an application behind which the server may be past caring."""
PATIENT = 4.0
"""Seconds of silence for which no deadline of the server has anything to say."""


class Setting:
    """What a session is played in: engine, options, TLS, the size of the budgets in octets."""

    def __init__(self, engine: str, tls: bool, buffered: int, **options: Any) -> None:
        self.engine = engine
        self.tls = tls
        self.buffered = buffered
        self.options = options

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"Setting({self.engine!r}, {self.tls}, {self.buffered}{options})"

    def config(self) -> Config:
        """Return the server's options."""
        return Config.build(engine=self.engine, **{"unsized_content": "stream"} | self.options)


class Session:
    """Plays steps; `do` raises Finding."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.loop = Loop()
        self.config = setting.config()
        self.host = Host(self.loop, self.config, setting.buffered)
        self.host.on_start = self._request_started
        self.excuses = Excuses()
        self.excuses.was_full = lambda: self.host.was_full
        self.excuses.is_late = self._is_late
        self.excuses.may_be_late = bool(self.config.request_timeout)
        self.ledger = Ledger(self.config)
        self.reader = Reader(self.ledger, self.actor_of, self.excuses)
        self.started: dict[int, Actor] = {}
        self.gone = False
        """Whether the client sends nothing any more."""
        self.vanished = False
        """Whether it reads nothing any more either."""
        self.answered = False
        """Whether the client has nothing more to wait for."""
        self._silent_for = 0.0
        set_role("loop")
        with self.loop.installed():
            if self.config.request_timeout:
                self.host.overtime.start(self.loop.call_later)
            self.transport = self.host.connect(setting.tls)
        self.protocol = self.transport.protocol

    # ------------------------------------------------------------------------------ steps

    def do(self, step: Step) -> None:
        """Play one step and look at what it did.

        Raises:
            Finding: a rule was broken.
        """
        name, *arguments = step
        self._guarded(getattr(self, f"do_{name}"), *arguments)

    def finish(self) -> None:
        """Let everything come to its end, which it has to."""
        self._guarded(complete, self)
        self._guarded(close, self)

    def abandon(self) -> None:
        """End the threads of a session that is of no more use."""
        try:
            with self.loop.installed():
                self.transport.reset()
                self.settle()
                for actor in self.host.actors:
                    while not actor.ended and actor.begun:
                        actor.stream.fail("the session is over")
                        actor.step()
        except Exception:
            return  # it had a finding, and these are its consequences
        finally:
            set_role("")

    def _guarded(self, call: Callable[..., None], *arguments: Any) -> None:
        try:
            with self.loop.installed():
                call(*arguments)
                self.look()
        except (Finding, asyncio.CancelledError):
            raise
        except Exception as error:
            where = error.__traceback__
            while where is not None and where.tb_next is not None:
                where = where.tb_next
            place = where.tb_frame.f_code.co_name if where is not None else "?"
            finding = Finding("an exception escaped", f"{type(error).__name__} in {place}: {error}")
            raise finding from error

    def do_script(self, script: Script) -> None:
        """Say what the application does with the next request that has no script."""
        self.host.scripts.append(script)

    def do_feed(self, octets: bytes) -> None:
        """The client sends octets."""
        if not self.transport.closing and not self.gone:
            self._silent_for = 0.0
            self.ledger.sent(octets)
            self.transport.send(octets)

    def do_turn(self) -> None:
        """The loop turns once."""
        self.loop.turn()
        self.host.spool.work()
        self.host.mailbox.deliver()

    def do_act(self, number: int) -> None:
        """Let an application go on."""
        if runnable := [actor for actor in self.host.actors if actor.may_run]:
            runnable[number % len(runnable)].step()

    def do_stall(self) -> None:
        """The client stops reading."""
        self.transport.stalled = True

    def do_take(self, octets: int) -> None:
        """The client reads a little."""
        self.transport.take(octets)

    def do_flow(self) -> None:
        """The client reads whatever comes."""
        self.transport.stalled = False
        self.transport.take(1 << 40)

    def do_advance(self, seconds: float) -> None:
        """Time passes."""
        self._silent_for += seconds
        if self._silent_for > PATIENT:
            self.excuses.waited = self.ledger.lenient = True
        self.loop.advance(seconds)

    def do_answer(self) -> None:
        """The client answers PING and acknowledges SETTINGS, if there are any."""
        while self.reader.settings_to_acknowledge:
            self.reader.settings_to_acknowledge -= 1
            self.do_feed(frame(SETTINGS, ACK, 0))
        while self.reader.pings:
            self.do_feed(frame(PING, ACK, 0, self.reader.pings.pop(0)))

    def do_drain(self) -> None:
        """The server is to finish what it has."""
        self.ledger.lenient = True
        self.protocol.closing.drain()

    def do_stop(self) -> None:
        """The server's patience is over."""
        self.ledger.lenient = self.excuses.stopped = True
        self.protocol.closing.stop()

    def do_neighbour(self) -> None:
        """Another client comes, asks and goes."""
        serve_another(self)

    def do_give_up(self, number: int) -> None:
        """The server wants a thread back from a client that is slow."""
        streams = self.protocol.connection.streams.values()
        slow = [stream for stream in streams if stream.waiting_since is not None]
        if slow:
            self.protocol.give_up_slow(slow[number % len(slow)], "max_threads", "others need it")

    def do_hang_up(self) -> None:
        """The client sends FIN."""
        self.gone = True
        # What was whole is answered, but over TLS; the rest may end.
        self.ledger.foul = "the client hung up"
        self.transport.hang_up()

    def do_vanish(self) -> None:
        """The client's RST comes."""
        self.gone = self.vanished = True
        self.transport.reset()

    # ---------------------------------------------------------------------------- looking

    def look(self) -> None:
        """Read what arrived; if nothing is under way, every account has to balance."""
        self.reader.take(self.transport.arrived)
        require(
            not self.reader.over_credited(self.config.connection_window),
            "the connection's credit is more than was used",
        )
        for stream_id, actor in self.started.items():
            if actor.begun:
                checks.request_seen(actor, self.ledger.exchanges[stream_id])
        if self.quiet:
            checks.balances(self)

    @property
    def quiet(self) -> bool:
        """Whether nothing is left to do for the loop."""
        return not (
            self.loop.ready
            or self.host.mailbox.calls
            or self.host.spool.jobs
            or self.transport.holds_input
            or self.protocol.connection._handover.outbox
        )

    def settle(self) -> None:
        """Go on until nobody has anything to do."""
        for _ in range(TURNS):
            self.do_turn()
            runnable = [actor for actor in self.host.actors if actor.may_run]
            for actor in runnable:
                actor.step()
            if not runnable and self.quiet:
                return
            self.reader.take(self.transport.arrived)
        raise Finding("it goes on for ever", f"{TURNS} turns")

    # ------------------------------------------------------------------------ applications

    def actor_of(self, stream_id: int) -> Actor | None:
        """Return the application call of a stream."""
        return self.started.get(stream_id)

    @property
    def commands(self) -> list[str]:
        """What the applications of this connection ask for."""
        return [command for actor in self.started.values() for command in actor.script.commands]

    def _is_late(self, actor: Actor) -> bool:
        limit = self.config.request_timeout
        return bool(limit) and self.loop.now - actor.stream.started_at >= limit

    def _request_started(self, stream: Stream) -> None:
        if self.transport.protocol.connection is not self._connection_of(stream):
            return
        stream_id = stream.stream_id
        before = self.started.get(stream_id)
        # One that was gathered may be called back to be written to the file.
        called_back = before is not None and not before.begun and before not in self.host.actors
        require(before is None or called_back, "an application was called twice", stream_id)
        actor = self.started[stream_id] = self.host.actors[-1]
        if LENIENT.intersection(actor.script.commands):
            self.ledger.lenient = True
        exchange = self.ledger.exchanges.get(stream_id)
        require(exchange is not None, "a request that was never sent", stream_id)
        assert exchange is not None
        last = min((last for last, _ in self.reader.goaways), default=stream_id)
        require(stream_id <= last, "a request above GOAWAY's last was started", (stream_id, last))

    def _connection_of(self, stream: Stream) -> Any:
        for protocol in self.host.protocols:
            if protocol.connection._handover is stream._handover:
                return protocol.connection
        return None


def play(setting: Setting, steps: Iterable[Step]) -> None:
    """Play steps from the beginning to the end.

    Raises:
        Finding: a rule was broken.
    """
    session = Session(setting)
    try:
        with watched():
            for step in steps:
                session.do(step)
            session.finish()
    finally:
        session.abandon()
