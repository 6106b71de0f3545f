"""Protocol, send queue and a transport in memory as one state machine, for Hypothesis to drive.

The client is honest, so the strictest rules hold: every request is answered as its application
says, and no connection fails. What is checked after each rule, and at the end, is what the fuzzer
checks (`reader.py`, `checks.py`, `closing.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from conversations.frames import (
    DATA,
    END_STREAM,
    LEGAL,
    PADDED,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Client,
    frame,
    setting,
)

from .applications import Script
from .exchanges import Exchange
from .finding import require
from .generator import SIZES
from .session import Session, Setting, Step

WITH_CONTENT = 2
"""The request of LEGAL that declares ten octets of content."""

any_one = st.integers(0, 20)
increments = st.sampled_from((1, 5, 100, 16_384, 65_535, 1 << 20))
sizes = st.lists(st.sampled_from(SIZES), max_size=4).map(tuple)
scripts = st.builds(
    Script,
    form=st.sampled_from(("list", "tuple", "generator", "object", "write")),
    sizes=sizes,
    declared=st.sampled_from((None, None, 0, 1, -1)),
    reads=st.sampled_from(("all", "none", "some", "lines", "late")),
    fails=st.sampled_from(("", "", "", "", "early", "middle", "late", "close")),
    halts=st.booleans(),
    races=st.booleans(),
)


class ConnectionMachine(RuleBasedStateMachine):
    """Client, applications and transport take turns, in any order."""

    engine = "fast"

    def __init__(self) -> None:
        super().__init__()
        self._client = Client()
        self._sound = True

    def _do(self, *step: Any) -> None:
        self._sound = False
        self.session.do(step)
        self._sound = True

    def _send(self, octets: bytes) -> None:
        self._do("feed", octets)

    @initialize(
        stream_buffer=st.sampled_from((1_024, 20_000)),
        window=st.sampled_from((16_384, 65_535)),
        buffered=st.sampled_from((40_000, 1 << 28)),
        initial=st.sampled_from((0, 1, 100, 65_535)),
    )
    def connect(self, stream_buffer: int, window: int, buffered: int, initial: int) -> None:
        """Open the connection, with whatever initial window the client likes."""
        limits = {"stream_buffer": stream_buffer, "stream_window": window}
        limits |= {"connection_buffer": 65_536, "connection_window": 65_535}
        self.session = Session(Setting(self.engine, True, buffered, **limits))
        self._send(PREFACE + frame(SETTINGS, 0, 0, setting(4, initial)))

    # ------------------------------------------------------------------------- the client

    def _one_of(self, wanted: Callable[[Exchange], object], number: int) -> Exchange | None:
        found = [e for e in self.session.ledger.exchanges.values() if wanted(e)]
        return found[-1 - number % len(found)] if found else None

    @precondition(lambda self: len(self.session.ledger.exchanges) < 30)
    @rule(script=scripts, section=st.integers(0, len(LEGAL) - 1), whole=st.booleans())
    def request(self, script: Script, section: int, whole: bool) -> None:
        """Send a request."""
        self._do("script", script)
        self._client.frames.clear()
        self._client.on_request(section, whole and section != WITH_CONTENT)
        self._send(b"".join(self._client.frames))

    @rule(number=any_one, octets=st.sampled_from(SIZES), padding=st.sampled_from((None, 0, 200)))
    def upload(self, number: int, octets: int, padding: int | None) -> None:
        """Send content, within the windows."""
        exchange = self._one_of(lambda e: e.uploading, number)
        if exchange is None:
            return
        room = min(self.session.ledger.receive_window(exchange), 16_384)
        content, flags = b"c" * min(octets, room), 0
        if exchange.left is not None:
            content = content[: exchange.left]
            flags = END_STREAM if len(content) == exchange.left else 0
        if padding is not None and len(content) + padding < room:
            flags, content = flags | PADDED, bytes((padding,)) + content + bytes(padding)
        self._send(frame(DATA, flags, exchange.stream_id, content))

    @rule(number=any_one)
    def end(self, number: int) -> None:
        """End a request."""
        if exchange := self._one_of(lambda e: e.uploading and not e.left, number):
            self._send(frame(DATA, END_STREAM, exchange.stream_id))

    @rule(number=any_one)
    def reset(self, number: int) -> None:
        """Lose interest in a response."""
        if exchange := self._one_of(lambda e: not e.over, number):
            self._send(frame(RST_STREAM, 0, exchange.stream_id, b"\x00\x00\x00\x08"))

    @rule(number=any_one, octets=increments)
    def open_a_stream_window(self, number: int, octets: int) -> None:
        """Let a response go on."""
        if exchange := self._one_of(lambda e: not e.over, number):
            update = octets.to_bytes(4, "big")
            self._send(frame(WINDOW_UPDATE, 0, exchange.stream_id, update))

    @rule(octets=increments)
    def open_the_connection_window(self, octets: int) -> None:
        """Let all responses go on."""
        self._send(frame(WINDOW_UPDATE, 0, 0, octets.to_bytes(4, "big")))

    @rule(octets=st.sampled_from((0, 1, 100, 16_384, 65_535, 1 << 20)))
    def change_every_stream_window(self, octets: int) -> None:
        """Send a new initial size."""
        self._send(frame(SETTINGS, 0, 0, setting(4, octets)))

    @rule(number=st.integers(0, 2**64 - 1))
    def ping(self, number: int) -> None:
        """Ask for an answer."""
        self._send(frame(PING, 0, 0, number.to_bytes(8, "big")))

    # ------------------------------------------------------------ transport, loop and others

    @rule(number=any_one)
    def act(self, number: int) -> None:
        """Let an application go on."""
        self._do("act", number)

    @rule()
    def turn(self) -> None:
        """Let the loop turn."""
        self._do("turn")

    @rule()
    def stall(self) -> None:
        """Stop reading."""
        self._do("stall")

    @rule(octets=st.sampled_from((1, 100, 16_393, 60_000)))
    def take(self, octets: int) -> None:
        """Read some octets of a transport that is stalled."""
        self._do("take", octets)

    @rule()
    def flow(self) -> None:
        """Read on."""
        self._do("flow")

    @rule(step=st.sampled_from((("drain",), ("vanish",), ("advance", 0.3), ("answer",))))
    def end_or_wait(self, step: Step) -> None:
        """Something that happens once, or seldom."""
        self._do(*step)

    @invariant()
    def an_honest_client_is_not_blamed(self) -> None:
        """The machine's client is honest, and so the strictest rules are in force."""
        require(not self.session.ledger.foul, "the machine's client is not honest")

    def teardown(self) -> None:
        """Let everything come to its end."""
        if hasattr(self, "session"):
            try:
                if self._sound:
                    self.session.finish()
            finally:
                self.session.abandon()


class ReferenceMachine(ConnectionMachine):
    """The same on the reference engine."""

    engine = "h2"
