"""What a server does with a pair of engines: answers, credit, resets, PING, GOAWAY, by a script.

Only what `Connection` and `Outflow` may do: a head before content, content within the windows,
nothing after END_STREAM. Commands for streams that are closed or were never open are among it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from h2wsgi.config.config import Config
from h2wsgi.http2.engines.hpack import encode
from h2wsgi.http2.frame_gate import PREFACE
from h2wsgi.seam.handover import Head
from support.engines import CREDIT_BOTH, DIFFERENCES, Difference, Differs, Event, MakeEngine, Pair

NAMES = (
    *("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY"),
    *("WINDOW_UPDATE", "CONTINUATION"),
)
NO_ERROR, INTERNAL_ERROR, CANCEL = 0, 2, 8
LAST_STREAM_ID = 2**31 - 1
REMEMBERED = 8
"""Closed streams that commands may still name."""


def filling(octets: int) -> Head:
    """Return a head whose block has just as many octets, if it uses the static table alone."""
    value = b"\xff" * (octets - 100)
    short = octets - len(encode(Head(999, [(b"x-long", value)]).fields))
    return Head(999, [(b"x-long", value + b"\xff" * short)])


INFORMATIONAL = (Head(100), Head(103, [(b"link", b"</style.css>; rel=preload")]))
PLAIN = (b"content-type", b"text/plain")
HEADS = (
    Head(200),
    Head(204, [(b"x-empty", b"")]),
    Head(200, [PLAIN, (b"content-length", b"7")]),
    Head(404, [(b"content-type", b"text/plain; charset=utf-8")]),
    Head(200, [(b"set-cookie", b"a=1"), (b"set-cookie", b"a=2"), (b"vary", b"*")]),
    Head(302, [(b"location", b"/else?where"), (b"authorization", b"secret")]),
    Head(500, [(b"x-octets", bytes(range(0x80, 0x100))), (b"cookie", b"short")]),
    Head(200, [(b"x-%d" % n, b"value %d" % n) for n in range(150)]),
    Head(200, [(b"x-long", b"\xfe<" * 10_000)]),
    filling(16_384),
    filling(32_768),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """One response. Indexes are taken modulo, so that any number will do."""

    informational: tuple[int, ...] = ()
    head: int = 0
    sizes: tuple[int, ...] = ()
    """Octets of content, in turns."""
    abort: bool = False
    at_once: bool = False
    """Whether to try to send it with one command."""

    def pieces(self) -> list[tuple[Head | None, int]]:
        """Return heads and sizes in the order to send them."""
        pieces: list[tuple[Head | None, int]] = [
            (INFORMATIONAL[n % len(INFORMATIONAL)], 0) for n in self.informational
        ]
        pieces.append((HEADS[self.head % len(HEADS)], 0))
        pieces += [(None, size) for size in self.sizes]
        return pieces


Command = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Script:
    """What the server does; each tuple is gone through again and again."""

    reactions: tuple[int, ...] = (CREDIT_BOTH,)
    """To one DATA event each."""
    plans: tuple[Plan, ...] = (Plan(sizes=(7,)),)
    """For one request each."""
    commands: tuple[Command, ...] = (("answer", 0, 0), ("take", 0, 0))
    """After one frame each: a method of `Server`, without its ``do_``, and what it is given."""


@dataclass(slots=True)
class Exchange:
    """A stream that the handler knows of and that is not closed."""

    pieces: list[tuple[Head | None, int]]
    plan: Plan
    request_ended: bool
    response_ended: bool = False


class Conversation:
    """Everything that one comparison needs: the client's octets as they arrive, and the rest.

    ``limits`` is what Config is given.
    """

    def __init__(
        self, chunks: tuple[bytes, ...], script: Script, limits: dict[str, int] | None = None
    ) -> None:
        self.chunks = chunks
        self.script = script
        self.limits = limits or {}

    def __repr__(self) -> str:
        frames = "\n".join(f"    {words}" for words in described(b"".join(self.chunks)))
        sizes = [len(chunk) for chunk in self.chunks]
        return f"in pieces of {sizes}:\n{frames}\n  {self.script}\n  {self.limits}"


def described(octets: bytes) -> Iterator[str]:
    """Yield each frame in words. Made to read, not to parse: damaged octets will do."""
    octets = octets.removeprefix(PREFACE)
    while octets:
        length, type_ = int.from_bytes(octets[:3], "big"), octets[3] if len(octets) > 3 else -1
        payload, flags = octets[9 : 9 + length], octets[4:5].hex()
        name = NAMES[type_] if 0 <= type_ < len(NAMES) else f"type {type_}"
        stream_id = int.from_bytes(octets[5:9], "big")
        short = payload[:60].hex() + ("..." if len(payload) > 60 else "")
        yield f"{name} flags={flags} stream={stream_id} {length} octets: {short}"
        octets = octets[9 + length :]


class Server:
    """Runs a script against a pair, as the pair's handlers report requests."""

    def __init__(self, pair: Pair, script: Script) -> None:
        self._pair = pair
        self._script = script
        self._exchanges: dict[int, Exchange] = {}
        self._closed: list[int] = []
        self._requests = self._frames = 0
        self._drained = False

    def run(self, chunks: Iterable[bytes]) -> None:
        """Take the client's octets, and do by the script what comes between."""
        for chunk in chunks:
            for _ in self._pair.feed(chunk):
                self._note_events()
                self._command()
            if self._pair.failed is not None:
                self._fail(self._pair.failed)
                break
        self._finish()

    def _command(self) -> None:
        name, a, b = self._script.commands[self._frames % len(self._script.commands)]
        self._frames += 1
        getattr(self, f"do_{name}")(a, b)

    def _fail(self, code: int) -> None:
        """See H2Protocol.fail: whole requests are still answered."""
        self._note_events()
        self._pair.do("go_away", self._pair.left.engine.last_stream_id, code, b"reason")
        for stream_id, exchange in list(self._exchanges.items()):
            if not exchange.request_ended:
                self._reset(stream_id, CANCEL)

    def _finish(self) -> None:
        self._pair.take()
        for _ in range(30):
            sent = [self._step(stream_id) for stream_id in list(self._exchanges)]
            if not any(sent):
                break
        self._pair.take()

    # --------------------------------------------------------------------------- events

    def _note_events(self) -> None:
        for event in self._pair.events():
            self._note(event)

    def _note(self, event: Event) -> None:
        name, stream_id = event[0], event[1] if len(event) > 1 else 0
        if name in ("request", "unacceptable"):
            plan = self._script.plans[self._requests % len(self._script.plans)]
            self._requests += 1
            # An unacceptable request that is whole is told to have ended too.
            ended = name == "request" and event[3]
            self._exchanges[stream_id] = Exchange(plan.pieces(), plan, ended)
        elif name == "reset":
            self._close(stream_id)
        elif name == "ended" and (exchange := self._exchanges.get(stream_id)) is not None:
            exchange.request_ended = True
            if exchange.response_ended:
                self._close(stream_id)

    def _close(self, stream_id: int) -> None:
        if self._exchanges.pop(stream_id, None) is not None:
            self._closed = [*self._closed, stream_id][-REMEMBERED:]

    def _pick(self, number: int) -> int | None:
        known = list(self._exchanges)
        return known[-1 - number % len(known)] if known else None

    # ------------------------------------------------------------------------- commands

    def do_nothing(self, _a: int, _b: int) -> None:
        """Let the client go on."""

    def do_take(self, _a: int, _b: int) -> None:
        """Let the client read."""
        self._pair.take()

    def do_answer(self, a: int, b: int) -> None:
        """Take some steps of one response."""
        if (stream_id := self._pick(a)) is not None:
            for _ in range(1 + b % 4):
                self._step(stream_id)

    def do_answer_all(self, _a: int, _b: int) -> None:
        """Take a step of every response."""
        for stream_id in list(self._exchanges):
            self._step(stream_id)

    def do_reset(self, a: int, b: int) -> None:
        """Reset a stream."""
        if (stream_id := self._pick(a)) is not None:
            self._reset(stream_id, b % 14)

    def do_reset_ended(self, a: int, b: int) -> None:
        """Reset a stream that may have ended, as that of a malformed request."""
        known = [*self._closed, *self._exchanges]
        if known:
            stream_id = known[-1 - a % len(known)]
            self._pair.do("reset_ended", stream_id, b % 14)
            self._close(stream_id)

    def do_credit(self, a: int, b: int) -> None:
        """Return some of a stream's credit."""
        if (stream_id := self._pick(a)) is not None:
            owed = self._pair.owed(stream_id)
            self._pair.credit(stream_id, owed - b % max(owed, 1))

    def do_credit_connection(self, _a: int, b: int) -> None:
        """Return some of the connection's credit."""
        owed = self._pair.owed(0)
        self._pair.credit(0, owed - b % max(owed, 1))

    def do_ping(self, a: int, _b: int) -> None:
        """Send PING."""
        self._pair.do("ping", a.to_bytes(8, "big"))

    def do_drain(self, _a: int, _b: int) -> None:
        """See H2Protocol.drain: the first GOAWAY names no stream yet."""
        if not self._drained:
            self._drained = True
            self._pair.do("go_away", LAST_STREAM_ID, NO_ERROR)
            self._pair.do("ping", b"draining")

    def do_go_away(self, _a: int, _b: int) -> None:
        """The last GOAWAY."""
        self._drained = True
        self._pair.do("go_away", self._pair.left.engine.last_stream_id, NO_ERROR)

    def do_stray(self, a: int, b: int) -> None:
        """Name a stream that is closed, or that never was open."""
        idle = self._pair.left.engine.last_stream_id + 2
        strays = [*self._closed, 2, idle, idle + 2 * (b % 5)]
        stream_id = strays[a % len(strays)]
        calls: list[tuple[Any, ...]] = [
            ("reset_stream", stream_id, CANCEL),
            ("credit", stream_id, 1 + b),
            ("send_headers", stream_id, HEADS[0], bool(b % 2)),
            ("send_data", stream_id, b"", True),
            ("send_data", stream_id, b"too late", False),
            ("send_response", stream_id, HEADS[0], b"too late"),
        ]
        if stream_id not in self._exchanges:
            self._pair.do(*calls[b % len(calls)])

    # ------------------------------------------------------------------------ responses

    def _reset(self, stream_id: int, code: int) -> None:
        self._pair.do("reset_stream", stream_id, code)
        self._close(stream_id)

    def _step(self, stream_id: int) -> bool:
        """Send the next piece of a response, as far as windows let it; True if any was sent."""
        exchange = self._exchanges.get(stream_id)
        if exchange is None or exchange.response_ended:
            return False
        if not exchange.pieces:
            self._reset(stream_id, INTERNAL_ERROR)
            return True
        if exchange.plan.at_once and self._send_at_once(stream_id, exchange):
            return True
        head, octets = exchange.pieces[0]
        last = len(exchange.pieces) == 1 and not exchange.plan.abort
        if head is not None:
            self._pair.do("send_headers", stream_id, head, last)
        elif octets or last:
            sent = min(octets, self._pair.room(stream_id))
            if octets and sent <= 0:
                return False
            exchange.pieces[0] = (None, octets - sent)
            last = last and sent == octets
            self._pair.do("send_data", stream_id, b"d" * sent, last)
            if sent < octets:
                return True
        exchange.pieces.pop(0)
        if last:
            self._response_ended(stream_id, exchange)
        return True

    def _send_at_once(self, stream_id: int, exchange: Exchange) -> bool:
        """See Outflow.send_whole: a head and content, if the engine finds that they fit."""
        head = exchange.pieces[0][0]
        octets = sum(octets for _, octets in exchange.pieces)
        others = any(head is not None for head, _ in exchange.pieces[1:])
        void = octets and not self._pair.room(stream_id)
        if head is None or others or exchange.plan.abort or void:
            return False
        if not self._pair.do("send_response", stream_id, head, b"w" * octets):
            return False
        exchange.pieces.clear()
        self._response_ended(stream_id, exchange)
        return True

    def _response_ended(self, stream_id: int, exchange: Exchange) -> None:
        exchange.response_ended = True
        if exchange.request_ended:
            self._close(stream_id)


def compare(
    conversation: Conversation,
    left: MakeEngine,
    right: MakeEngine,
    differences: tuple[Difference, ...] = DIFFERENCES,
) -> None:
    """Run a conversation on both engines.

    Raises:
        Differs: they differ, and none of ``differences`` explains it.
        BrokenOutput: one of them sent what no client need accept.
    """
    try:
        config = Config.build(**conversation.limits)
        pair = Pair((left, right), config, conversation.script.reactions)
        Server(pair, conversation.script).run(conversation.chunks)
    except Differs as differs:
        # From here on the two are in different states: there is nothing more to compare.
        if not any(difference.explains(differs) for difference in differences):
            differs.add_note(repr(conversation))
            raise
    except Exception as error:
        error.add_note(repr(conversation))
        raise
