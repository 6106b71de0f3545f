"""Two engines side by side: the same frames and commands into both, and what differs.

What the handler is told, the windows, how they fail, and what a client makes of the octets that
leave must be equal. The octets themselves, the number of WINDOW_UPDATE frames and the words of a
reason need not be.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from h2wsgi.codes import (
    FLAG_ACK,
    FRAME_LIMIT,
    SETTINGS,
)
from h2wsgi.config.config import Config
from h2wsgi.errors import ConnectionFailed, MalformedRequest, UnacceptableRequest
from h2wsgi.http2.engines.interface import Engine, EngineHandler
from h2wsgi.http2.frame_gate import FrameGate, NotHTTP2, ReceivedFrame
from h2wsgi.http2.frame_meter import FrameMeter
from h2wsgi.seam.request import RequestFields
from support.engine_output import ClientView

MakeEngine = Callable[[EngineHandler, Config], Engine]
Event = tuple[Any, ...]


class Differs(AssertionError):
    """The engines are not the same; ``what`` differs: ``left`` and ``right``, after ``after``."""

    def __init__(self, what: str, left: object, right: object, after: object) -> None:
        super().__init__(f"{what} after {after!r}:\n  left:  {left!r}\n  right: {right!r}")
        self.what = what
        self.left = left
        self.right = right
        self.after = after


@dataclass(frozen=True, slots=True)
class Difference:
    """A place where the engines differ on purpose."""

    key: str
    section: str
    """Of RFC 9113 or 7541: what makes the right one right."""
    reason: str
    explains: Callable[[Differs], bool]


DIFFERENCES: tuple[Difference, ...] = ()
"""All of them. Whatever is not listed here is a bug of one engine, and fails a test."""


# Reactions of a handler to DATA, while the engine is still inside receive_frame.
KEEP, CREDIT_BOTH, CREDIT_CONNECTION, CREDIT_SOME, REFUSE = range(5)
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, REFUSED_STREAM = 1, 3, 7
FAILED = "connection failed"
WINDOW_TOO_LARGE = (FAILED, FLOW_CONTROL_ERROR)

WATCHED = 12


class Recorder:
    """An EngineHandler that writes down what it is told, and reacts to DATA by a script."""

    engine: Engine

    def __init__(self, reactions: tuple[int, ...]) -> None:
        self.events: list[Event] = []
        self.owed: Counter[int] = Counter()
        """Octets received and not credited, by stream; the connection's under 0."""
        self._reactions = reactions
        self._data_events = 0

    def request_received(self, stream_id: int, request: RequestFields, end_stream: bool) -> None:
        """See EngineHandler."""
        self.events.append(("request", stream_id, by_value(request), end_stream))

    def request_unacceptable(
        self,
        stream_id: int,
        error: MalformedRequest | UnacceptableRequest,
        fields: list[tuple[bytes, bytes]],
    ) -> None:
        """See EngineHandler."""
        self.events.append(("unacceptable", stream_id, error.status, error.limit, list(fields)))

    def request_refused(self, stream_id: int, fields: list[tuple[bytes, bytes]]) -> None:
        """See EngineHandler."""
        self.events.append(("refused", stream_id, list(fields)))

    def data_received(
        self, stream_id: int, data: bytes, flow_octets: int, end_stream: bool
    ) -> None:
        """See EngineHandler."""
        self.events.append(("data", stream_id, type(data), data, flow_octets, end_stream))
        self.owed[0] += flow_octets
        self.owed[stream_id] += flow_octets
        reaction = self._next_reaction()
        if reaction == REFUSE:
            self.engine.reset_stream(stream_id, REFUSED_STREAM)
        elif reaction == CREDIT_SOME:
            self.credit(stream_id, (self.owed[stream_id] + 1) // 2)
        elif reaction in (CREDIT_BOTH, CREDIT_CONNECTION):
            if reaction == CREDIT_BOTH:
                self.credit(stream_id, self.owed[stream_id])
            self.credit(0, self.owed[0])

    def _next_reaction(self) -> int:
        self._data_events += 1
        return self._reactions[self._data_events % len(self._reactions)]

    def content_is_short(self, stream_id: int) -> bool:
        """See EngineHandler. Every second request may be."""
        self.events.append(("short", stream_id))
        return stream_id % 4 == 3

    def data_discarded(self, flow_octets: int) -> None:
        """See EngineHandler."""
        self.events.append(("discarded", flow_octets))
        self.owed[0] += flow_octets
        if self._next_reaction() != KEEP:
            self.credit(0, self.owed[0])

    def fields_discarded(self) -> None:
        """See EngineHandler."""
        self.events.append(("fields discarded",))

    def trailers_received(self, stream_id: int, fields: list[tuple[bytes, bytes]]) -> None:
        """See EngineHandler."""
        self.events.append(("trailers", stream_id, list(fields)))

    def settings_acknowledged(self, entries: dict[int, int]) -> None:
        """See EngineHandler."""
        self.events.append(("settings acknowledged", dict(entries)))

    def section_too_large(self, stream_id: int, octets: int, limit: int) -> None:
        """See EngineHandler."""
        self.events.append(("section too large", stream_id, octets, limit))

    def request_ended(self, stream_id: int) -> None:
        """See EngineHandler."""
        self.events.append(("ended", stream_id))

    def stream_reset(self, stream_id: int, code: int, by_peer: bool, reason: str) -> None:
        """See EngineHandler."""
        self.events.append(("reset", stream_id, int(code), by_peer))

    def window_opened(self, stream_id: int) -> None:
        """See EngineHandler."""
        self.events.append(("window", stream_id))

    def settings_received(self) -> None:
        """See EngineHandler."""
        self.events.append(("settings",))

    def ping_acknowledged(self, payload: bytes) -> None:
        """See EngineHandler."""
        self.events.append(("ping", payload))

    def peer_going_away(self, last_stream_id: int, code: int, debug: bytes) -> None:
        """See EngineHandler."""
        self.events.append(("goaway", last_stream_id, code, debug))

    def credit(self, stream_id: int, octets: int) -> None:
        """Return credit, never more than came."""
        if 0 < octets <= self.owed[stream_id]:
            self.owed[stream_id] -= octets
            self.engine.credit(stream_id, octets)


def by_value(request: RequestFields) -> Event:
    """Return what a request says; an engine may keep more in it."""
    return (
        request.method,
        request.scheme,
        request.authority,
        request.path,
        request.fields,
        request.content_length,
        request.expects_continue,
    )


class Side:
    """One engine, its handler and its client."""

    def __init__(
        self, name: str, make: MakeEngine, config: Config, reactions: tuple[int, ...]
    ) -> None:
        self.name = name
        self.handler = Recorder(reactions)
        self.engine = make(self.handler, config)
        self.handler.engine = self.engine
        self.view = ClientView(name)

    def call(self, name: str, *args: Any) -> Any:
        """Call the engine; return the code if the connection fails, or what it returns."""
        try:
            return getattr(self.engine, name)(*args)
        except ConnectionFailed as error:
            return (FAILED, int(error.code))
        except Exception as error:
            error.add_note(f"{self.name}: {name}{args!r}")
            raise


class Pair:
    """Two sides in step, compared after whatever they do."""

    def __init__(
        self, makes: tuple[MakeEngine, MakeEngine], config: Config, reactions: tuple[int, ...]
    ) -> None:
        self.left = Side("left", makes[0], config, reactions)
        self.right = Side("right", makes[1], config, reactions)
        self._sides = (self.left, self.right)
        self._gate = FrameGate(2 * config.max_field_section, 8, FrameMeter(config))
        self._last: object = "the beginning"
        self._watched: deque[int] = deque((0, 1, 2), maxlen=WATCHED)
        """Streams whose windows are compared: those that frames came for last."""
        self.failed: int | None = None
        """The code of the connection error that ended the input."""
        self._windows_count = True
        """False once SETTINGS made a window too large: h2 changes some of the streams before."""
        self.do("start")
        self.take()

    # ---------------------------------------------------------------------------- input

    def feed(self, octets: bytes) -> Iterable[ReceivedFrame]:
        """Give both sides each frame that is whole now, and yield it after."""
        self._gate.feed(octets)
        while self.failed is None and (frame := self._next_frame()) is not None:
            self._receive(frame)
            yield frame

    def _next_frame(self) -> ReceivedFrame | None:
        try:
            return self._gate.next_frame()
        except ConnectionFailed as error:
            self.failed = int(error.code)
        except NotHTTP2:
            self.failed = PROTOCOL_ERROR
        return None

    def _receive(self, frame: ReceivedFrame) -> None:
        type_, flags, stream_id, payload = frame
        if type_ == SETTINGS and not flags & FLAG_ACK:
            for side in self._sides:
                side.view.settings_sent(payload)
        if stream_id not in self._watched:
            self._watched.append(stream_id)
        outcome = self.do("receive_frame", *frame)
        if outcome is not None:
            self.failed = outcome[1]

    # ------------------------------------------------------------------------- commands

    def do(self, name: str, *args: Any) -> Any:
        """Call both engines, compare everything and return what they return."""
        self._last = (name, *args)
        outcomes = [side.call(name, *args) for side in self._sides]
        self._same(name, *outcomes)
        if outcomes[0] == WINDOW_TOO_LARGE and args[0] == SETTINGS:
            self._windows_count = False
        self._compare()
        return outcomes[0]

    def credit(self, stream_id: int, octets: int) -> None:
        """Let both handlers return credit, if they owe it."""
        self._last = ("credit", stream_id, octets)
        for side in self._sides:
            side.handler.credit(stream_id, octets)
        self._compare()

    def owed(self, stream_id: int) -> int:
        """Return the credit that a handler has not returned."""
        return self.left.handler.owed[stream_id]

    def room(self, stream_id: int) -> int:
        """Return how much DATA the next frame of a stream may hold."""
        if not self._windows_count:
            return 0
        windows = [side.engine.send_window(stream_id) for side in self._sides]
        self._same(f"the window of stream {stream_id}", *windows)
        return min(windows[0], FRAME_LIMIT)

    def events(self) -> list[Event]:
        """Take what the handlers were told."""
        events, self.left.handler.events = self.left.handler.events, []
        self.right.handler.events = []
        return events

    def take(self) -> None:
        """Let both clients read what left so far, and compare what they make of it."""
        for side in self._sides:
            side.view.take(side.engine.data_to_send())
        left, right = self.left.view, self.right.view
        for stream_id in sorted(left.journal.keys() | right.journal.keys()):
            what = f"what stream {stream_id} sent"
            self._same(what, left.journal.get(stream_id), right.journal.get(stream_id))
        self._same("the credit that was sent", +left.credit, +right.credit)
        left.clear()
        right.clear()

    # ----------------------------------------------------------------------- comparison

    def _compare(self) -> None:
        left, right = self.left, self.right
        self._same("what the handler was told", left.handler.events, right.handler.events)
        self._same("last_stream_id", left.engine.last_stream_id, right.engine.last_stream_id)
        for stream_id in self._watched if self._windows_count else ():
            windows = [side.engine.send_window(stream_id) for side in self._sides]
            self._same(f"the window of stream {stream_id}", *windows)

    def _same(self, what: str, left: object, right: object) -> None:
        if left != right:
            raise Differs(what, left, right, self._last)
