"""Accounts that have to balance whenever nothing is under way.

These look into the server: a count that is off shows nowhere else until a process has run long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from h2wsgi.http2.closing import State
from h2wsgi.seam.handover import ABORT, COMMAND
from h2wsgi.seam.stream import Stream
from support.settled import handover_remains

from .applications import Actor
from .exchanges import Exchange, expected_environ
from .finding import require
from .ledger import DEFAULT_WINDOW

if TYPE_CHECKING:
    from .session import Session


GRACE = 5.0
"""Seconds that a timeout may be late."""


def request_seen(actor: Actor, exchange: Exchange) -> None:
    """What an application was told is what its client sent; the end is only ever the real end."""
    if actor.environ and not actor.checked and not exchange.foul:
        actor.checked = True
        for name, value in expected_environ(exchange.fields).items():
            seen = actor.environ.get(name)
            require(seen == value, "environ is wrong", (exchange.stream_id, name, seen, value))
        _length_seen(actor, exchange)
    content = exchange.content
    require(content[: len(actor.read)] == actor.read, "content nobody sent", exchange.stream_id)
    if actor.saw_end and not exchange.foul:
        whole = exchange.ended and len(content) == len(actor.read)
        require(whole, "an upload that is cut off looks whole", exchange.stream_id)


def _length_seen(actor: Actor, exchange: Exchange) -> None:
    """CONTENT_LENGTH is there if the client has said it, or if the content was gathered."""
    length = actor.environ.get("CONTENT_LENGTH")
    if exchange.gathered:
        require(exchange.ended, "an application began before its content was whole", exchange)
        whole = str(len(exchange.content))
        require(length == whole, "another CONTENT_LENGTH", (exchange.stream_id, length, whole))
    elif b"content-length" not in dict(exchange.fields):
        require(length is None, "a CONTENT_LENGTH that nobody sent", (exchange.stream_id, length))


def balances(session: Session) -> None:
    """Hold every account of the connection against the others."""
    protocol = session.protocol
    connection = protocol.connection
    streams = connection.streams
    handover = connection._handover
    pending = connection.outflow._queue.pending
    unsent = {stream_id: stream.unsent for stream_id, stream in streams.items()}
    queued = {
        stream_id: entry.octets + sum(len(piece.data) for piece in entry.behind or ())
        for stream_id, entry in pending.items()
        # Commands of a stream that has ended may be about the connection.
        if entry.octets or {piece.kind for piece in entry.behind or ()} != {COMMAND}
    }
    for stream_id, octets in unsent.items():
        counted = queued.get(stream_id, 0)
        require(octets == counted, "unsent octets do not add up", (stream_id, octets, counted))
    require(not queued.keys() - streams.keys(), "a dead stream is in the send queue", queued)
    require(
        handover.unsent == sum(unsent.values()),
        "the connection's unsent octets do not add up",
        (handover.unsent, unsent),
    )
    host = session.host
    used = host.output_budget.used
    require(used == sum(queued.values()), "the output budget is wrong", (used, queued))
    counted = {stream_id: stream.budgeted for stream_id, stream in streams.items()}
    used = host.input_budget.used - sum(connection._sections.values())
    require(used == sum(counted.values()), "the input budget is wrong", (used, counted))
    for budget in (host.input_budget, host.output_budget):
        require(budget.full or budget.used < budget.limit, "a budget overflows", budget.used)
    for actor in host.actors:
        waits = actor.waits_begun - actor.waits_ended
        away = actor.waits or getattr(actor.stream, "is_stuck", False)
        require(waits == away, "waits on the client are miscounted", (actor.name, waits))
    if protocol.state in (State.OPEN, State.DRAINING):
        _live(session)


def _live(session: Session) -> None:
    """What holds as long as the connection does."""
    protocol, ledger = session.protocol, session.ledger
    connection = protocol.connection
    if not protocol.write_paused:
        queue = connection.outflow._queue
        for stream_id, entry in queue.pending.items():
            window = connection.engine.send_window(stream_id)
            may_leave = entry.heads or not entry.octets or window > 0 or entry.kind == ABORT
            idle = may_leave and stream_id not in queue.stalled
            require(not idle, "output waits although its window is open", (stream_id, window))
    for stream_id, stream in connection.streams.items():
        over = stream.application_done and stream.response_ended
        require(not over, "a stream stays open although both sides are done", stream_id)
        _nobody_waits_too_long(session, stream)
    reads = session.transport.reads or protocol._clogged or session.transport.closing
    require(reads, "the connection stopped reading for good", protocol.state)
    require(not ledger.fatal, "a connection error went unnoticed", ledger.fatal)
    for stream_id, exchange in ledger.exchanges.items():
        if exchange.reset and exchange.silent_from is None:
            exchange.silent_from = session.transport.written + len(protocol._stalled)
            require(stream_id not in connection.streams, "a reset stream lives on", stream_id)
    if not ledger.foul and not session.transport.closing and protocol.started:
        _credit(session)


def _nobody_waits_too_long(session: Session, stream: Stream) -> None:
    """A client that holds an application up has a limited time."""
    connection, config, now = session.protocol.connection, session.config, session.loop.now
    since = stream.reading_since
    told = stream._input_failure is not None or session.host.was_full
    if since is not None and not told and not connection.inflow.withholds_credit:
        waited = now - since
        require(waited < config.read_timeout + GRACE, "a read waits for ever", stream.stream_id)
    if connection.outflow.is_waiting(stream):
        waited = now - stream.progress_at
        require(waited < config.write_timeout + GRACE, "output waits for ever", stream.stream_id)


def _credit(session: Session) -> None:
    """What was received is in a buffer, held back for the next step, or was credited."""
    connection, ledger = session.protocol.connection, session.ledger
    unread = session.transport.get_write_buffer_size()
    if unread or session.protocol._stalled or session.reader.reads_half:
        return  # some of the credit is still on its way
    owed = connection.inflow.owed + connection.inflow.withheld
    announced = max(0, session.config.connection_window - DEFAULT_WINDOW)
    outstanding = ledger.flow - (ledger.credit - announced)
    require(outstanding == owed, "the connection's credit is lost", (outstanding, owed))
    for stream_id, stream in connection.streams.items():
        exchange = ledger.exchanges[stream_id]
        if exchange.foul or not exchange.uploading or stream.application_done:
            continue
        outstanding = exchange.flow - exchange.credit
        if (gathered := stream.gathered) is not None:
            lost = (stream_id, outstanding, gathered.uncredited)
            require(outstanding == gathered.uncredited, "a stream's credit is lost", lost)
            held = gathered.waiting + gathered.writing
            require(stream.budgeted == held, "a stream's budget is wrong", (stream.budgeted, held))
            require(exchange.gathered, "content is gathered that need not be", stream_id)
            continue
        actor = session.actor_of(stream_id)
        # Whoever has nothing more to do but to return reads no more: the rest will be refused.
        done = actor is not None and (actor.returned or actor.failed)
        if done or stream._input_failure is not None:
            continue
        held: Any = stream._buffered + stream._credit_due
        lost = (stream_id, outstanding, held)
        require(outstanding == held, "a stream's credit is lost", lost)
        require(stream.budgeted == held, "a stream's budget is wrong", (stream.budgeted, held))


def nothing_remains(session: Session) -> None:
    """After the end of a connection nothing of it is left."""
    host, protocol = session.host, session.protocol
    connection = protocol.connection
    left: dict[str, object] = {
        "input budget": host.input_budget.used,
        "input budget full": host.input_budget.full,
        "output budget": host.output_budget.used,
        "output budget full": host.output_budget.full,
        "undelivered": len(host.mailbox.calls),
        "contents in files": host.spool.contents,
        "octets in files": host.spool.used,
        "blocks": 0 if host.spool._blocks is None else host.spool._blocks.any_taken,
        "protocols": len(host.protocols),
        "streams": len(connection.streams),
        "queue": len(connection.outflow._queue.pending),
        "unaccounted": len(connection.outflow._written),
        "arrived": len(connection._arrived),
        "sections": len(connection._sections),
    }
    left |= handover_remains(connection._handover, "connection")
    left = {name: value for name, value in left.items() if value}
    require(not left, "something is left behind", left)


def applications_ended(session: Session) -> None:
    """Every application has returned, and what it returned is closed."""
    for actor in session.host.actors:
        require(actor.ended or not actor.begun, "an application never ends", actor.name)
        require(actor.begun, "a request was neither started nor cancelled", actor.name)
        require(actor.closes == actor.opens, "close() was not called once", actor.name)
        require(actor.waits_begun == actor.waits_ended, "a wait never ended", actor.name)


def accesses_reported(session: Session) -> None:
    """One line for each request that was told of, no more."""
    peer = session.protocol.facts.peer
    told = [record.stream_id for record in session.host.accesses if record.remote == peer]
    require(len(told) == len(set(told)), "a request was logged twice", told)
    missing = session.started.keys() - set(told)
    require(not missing, "a request was not logged", missing)
