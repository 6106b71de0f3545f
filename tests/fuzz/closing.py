"""How a session ends: an honest client does what is left for it to do, and then hangs up.

Whatever happened before, every request on a connection that still lives has to be answered then,
and nothing may be left of it afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conversations.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)
from h2wsgi.http2.closing import State

from . import checks
from .applications import STALL, Script
from .exchanges import Exchange
from .finding import Finding, require
from .ledger import DEFAULT_WINDOW, MAX_WINDOW

if TYPE_CHECKING:
    from .session import Session

ROUNDS = 60
"""Times the client goes on before it gives a response up for lost."""
MOST_STALLS = 3
"""Of a connection that has failed: what applications hold up for longer is lost."""
AMPLE = 1 << 20
"""Octets of window that no response of a script needs."""
ANSWER = b"\x00\x00\x05\x00\x01\x00\x00\x00\x01"
"""The frame header of the content that an application without a script gives."""
GET = b"\x82\x87\x84\x41\x09localhost"


def complete(session: Session) -> None:
    """Be an honest client until every request is answered.

    Raises:
        Finding: one is not.
    """
    session.do_flow()
    for _ in range(ROUNDS):
        session.settle()
        session.look()
        if not _lives(session):
            for _ in range(MOST_STALLS):
                session.do_advance(STALL)
                session.settle()
                session.look()
            _check_answered_before_failing(session)
            return
        session.do_answer()
        exchanges = session.ledger.exchanges.values()
        # An application may read on behind its response: the rest of the request is owed to it.
        waiting = [e for e in exchanges if not e.over or e.uploading]
        if not waiting and not session.protocol._stalled:
            session.settle()
            session.look()
            session.answered = True
            break
        _go_on(session, waiting)
        session.do_advance(0.3)
    if _lives(session):
        _check_all_answered(session)


def _lives(session: Session) -> bool:
    """Whether the connection can still answer, and the client knows what to say."""
    lives = session.protocol.state in (State.OPEN, State.DRAINING)
    known = not (session.ledger.cut_short or session.gone or session.transport.closing)
    return lives and known and session.protocol.started


def _go_on(session: Session, waiting: list[Exchange]) -> None:
    """Open windows, and end requests that are not whole."""
    ledger = session.ledger
    lacking = AMPLE - (DEFAULT_WINDOW + ledger.updates - ledger.received_flow)
    if lacking > 0:
        session.do_feed(_update(0, lacking))
    for exchange in waiting:
        if _ignored(session, exchange):
            continue
        window = ledger.initial_window + exchange.updates - exchange.received_flow
        if window < AMPLE and exchange.updates + AMPLE - window < MAX_WINDOW // 2:
            session.do_feed(_update(exchange.stream_id, AMPLE - window))
        if exchange.uploading:
            _end_request(session, exchange)


def _update(stream_id: int, octets: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, octets.to_bytes(4, "big"))


def _end_request(session: Session, exchange: Exchange) -> None:
    left = exchange.left or 0
    room = min(session.ledger.receive_window(exchange), 16_384)
    if left < 0 or left > AMPLE:
        session.do_feed(frame(RST_STREAM, 0, exchange.stream_id, bytes(3) + b"\x08"))
    elif left <= room or not left:
        session.do_feed(frame(DATA, END_STREAM, exchange.stream_id, b"e" * left))
    elif room > 0:
        session.do_feed(frame(DATA, 0, exchange.stream_id, b"e" * room))


def _ignored(session: Session, exchange: Exchange) -> bool:
    """Whether the server said that it does not know the stream."""
    return any(exchange.stream_id > last for last, _ in session.reader.goaways)


def _check_all_answered(session: Session) -> None:
    ledger = session.ledger
    for exchange in ledger.exchanges.values():
        if not exchange.over and not _ignored(session, exchange):
            actor = session.actor_of(exchange.stream_id)
            raise Finding("a request is never answered", (exchange.stream_id, actor))
    if ledger.foul:
        return
    require(not ledger.pings, "a PING was not answered", list(ledger.pings))
    require(not ledger.settings, "SETTINGS were not acknowledged", len(ledger.settings))


def _check_answered_before_failing(session: Session) -> None:
    """A connection error does not lose the requests that came before it, nor does FIN."""
    ledger = session.ledger
    full = session.host.was_full or session.host.output_budget.full
    held_up = sum(command.startswith("stall") for command in session.commands) > MOST_STALLS
    excused = session.excuses.stopped or full or held_up or not ledger.windows_are_known
    if session.protocol.state is not State.FAILED or session.vanished or excused:
        return
    for stream_id in ledger.whole_before:
        exchange = ledger.exchanges[stream_id]
        blocked = ledger.send_window(exchange) <= 0
        sound = not (exchange.over or exchange.foul or _ignored(session, exchange))
        require(not sound or blocked, "a connection error lost a request", stream_id)


def close(session: Session) -> None:
    """Hang up, let every clock run out, and look at what is left.

    Raises:
        Finding: something is, or the server is of no use to others.
    """
    closing, aborts = session.transport.closing, session.transport.aborts
    if session.answered and session.protocol.state in (State.OPEN, State.DRAINING):
        _see_it_end_by_itself(session)
    elif not session.gone and not session.transport.closing:
        session.do_hang_up()
    for _ in range(12):
        session.settle()
        session.do_flow()
        if session.transport.lost:
            break
        session.do_advance(1.0)
    require(session.transport.lost, "the connection never ends", session.protocol.state)
    kind = closing or session.transport.aborts == aborts or "abort" in session.commands
    require(kind, "a connection is cut off although its client reads", session.protocol.state)
    session.settle()
    session.do_advance(200.0)
    session.settle()
    for actor in session.host.actors:
        require(not actor.poke(), "a wake-up was lost", actor.name)
    checks.applications_ended(session)
    checks.nothing_remains(session)
    checks.accesses_reported(session)
    serve_another(session)


def _see_it_end_by_itself(session: Session) -> None:
    """Wait: a connection without a stream ends, at once if it is draining, or when it was idle."""
    if session.protocol.state is State.OPEN:
        if session.ledger.highest % 4 == 1:
            session.do_hang_up()
            return
        session.do_advance(session.config.idle_timeout)
        session.settle()
    session.do_answer()
    session.do_advance(0.3)
    session.settle()
    while session.protocol._stall is not None:
        session.do_advance(STALL)
        session.settle()
    ends = session.protocol.state in (State.LINGERING, State.CLOSED)
    require(ends, "an idle or drained connection does not end", session.protocol.state)


def serve_another(session: Session) -> None:
    """A new client of the same server is answered at once.

    Raises:
        Finding: it is not.
    """
    host = session.host
    known = set(host.actors)
    host.scripts.appendleft(Script())
    transport = host.connect(session.setting.tls)
    block = frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)
    transport.send(PREFACE + frame(SETTINGS, 0, 0) + block)
    for _ in range(6):
        for actor in list(host.actors):
            if actor not in known and actor.may_run:
                actor.step()
        session.do_turn()
    # Also if all the output that there may be is held.
    require(
        ANSWER in transport.arrived,
        "another client is not answered",
        bytes(transport.arrived[-80:]),
    )
    transport.reset()
    session.do_turn()
