"""A server's counts and its present state -> samples of metrics. Loop thread only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from .._version import __version__
from ..codes import FrameType
from ..http2.counting import OTHER, Counts
from ..http2.protocol import H2Protocol
from ..process.clock import clock
from ..seam.budget import Budget
from ..seam.stream import Stream
from ..tls.context import TLSIdentity
from ..tools.metrics.families import POWERS
from ..tools.metrics.samples import Labels, Samples, Value
from ..wsgi.thread_pool import ThreadPool

DAY = 86_400.0
STATES = ("handshake", "open", "draining", "failed", "lingering", "closed")


@dataclass(frozen=True, slots=True)
class Measured:
    """What there is to be read of a server."""

    counts: Counts
    protocols: Collection[H2Protocol]
    handshakes: int
    pool: ThreadPool[Stream]
    stuck: int
    limits: dict[str, int]
    limits_hit: Counter[str]
    handshakes_failed: Counter[str]
    budgets: tuple[Budget, Budget]
    """Of what comes in, and of what goes out."""
    identity: TLSIdentity | None


def samples_of(measured: Measured) -> Samples:
    """Return the values of all FAMILIES now."""
    counts, pool = measured.counts, measured.pool
    content_in, content_out = measured.budgets
    streams = [s for p in measured.protocols for s in p.connection.streams.values()]
    states = Counter(protocol.state.name.lower() for protocol in measured.protocols)
    states["handshake"] = measured.handshakes
    running, waiting, idle = pool.by_state()
    requests: dict[Labels, Value] = {}
    complete = (
        (method, status, "complete", number)
        for method, numbers in counts.complete.items()
        for status, number in enumerate(numbers)
        if number
    )
    others = ((*kind, number) for kind, number in counts.others.items())
    for method, status, outcome, number in (*complete, *others):
        status_class = f"{status // 100}xx" if status else "none"
        _add(requests, (method, status_class, outcome), number)
    ended = sum(counts.seconds)
    seconds, octets_out, octets_in = counts.totals
    found: Samples = {
        "h2wsgi_info": {(__version__,): 1},
        "h2wsgi_requests_total": requests,
        "h2wsgi_request_duration_seconds": {(): [*counts.seconds, seconds]},
        "h2wsgi_request_size_bytes": {(): _sizes(counts.request_sizes, octets_in, ended)},
        "h2wsgi_response_size_bytes": {(): _sizes(counts.response_sizes, octets_out)},
        "h2wsgi_requests_in_flight": {(): sum(not s.response_ended for s in streams)},
        "h2wsgi_requests_queued": {(): pool.queued},
        "h2wsgi_threads": {
            ("running",): running,
            ("waiting",): max(0, waiting - measured.stuck),
            ("stuck",): measured.stuck,
            ("idle",): idle,
        },
        "h2wsgi_threads_limit": {(name,): limit for name, limit in measured.limits.items()},
        "h2wsgi_connections_opened_total": {(): counts.connections},
        "h2wsgi_connections": {(state,): states[state] for state in STATES},
        "h2wsgi_streams": {(): len(streams)},
        "h2wsgi_frames_total": _frames(counts.frames_in, "in") | _frames(counts.frames_out, "out"),
        "h2wsgi_rst_streams_total": _codes(counts.resets_in, counts.resets_out),
        "h2wsgi_goaways_total": _codes(counts.goaways_in, counts.goaways_out),
        "h2wsgi_limits_hit_total": {(name,): n for name, n in measured.limits_hit.items()},
        "h2wsgi_flow_control_waits_total": {(): counts.waits},
        "h2wsgi_flow_control_wait_seconds_total": {(): counts.waited},
        "h2wsgi_handshakes_failed_total": {
            (reason,): number for reason, number in measured.handshakes_failed.items()
        },
        "h2wsgi_buffered_bytes": {("in",): content_in.used, ("out",): content_out.used},
        "h2wsgi_buffered_limit_bytes": {(): content_in.limit},
    }
    return found | _certificates(measured.identity)


def _add(values: dict[Labels, Value], labels: Labels, number: int) -> None:
    before = values.get(labels, 0)
    assert not isinstance(before, list)
    values[labels] = before + number


def _sizes(numbers: list[int], total: float, requests: int = 0) -> list[float]:
    """Return a histogram of sizes; those of ``requests`` that are in no bucket were 0."""
    shown: list[float] = [max(0, requests - sum(numbers))]
    begin = 0
    for power in POWERS:
        shown[-1] += sum(numbers[begin : power + 1])
        shown.append(0)
        begin = power + 1
    shown[-1] += sum(numbers[begin:])
    return [*shown, total]


def _frames(numbers: list[int], direction: str) -> dict[Labels, Value]:
    known: dict[Labels, Value] = {(kind.name, direction): numbers[kind] for kind in FrameType}
    known[OTHER, direction] = sum(numbers) - sum(numbers[kind] for kind in FrameType)
    return known


def _codes(clients: Counter[str], servers: Counter[str]) -> dict[Labels, Value]:
    sent = (("client", clients), ("server", servers))
    return {(code, side): number for side, codes in sent for code, number in codes.items()}


def _certificates(identity: TLSIdentity | None) -> Samples:
    ends = {
        (certificate.path,): certificate.facts.not_after
        for certificate in (identity.certificates if identity is not None else ())
        if certificate.facts is not None
    }
    now = clock.now()
    return {
        "h2wsgi_certificate_expiry_timestamp_seconds": {
            labels: end.timestamp() for labels, end in ends.items()
        },
        "h2wsgi_certificate_days_left": {
            labels: (end - now).total_seconds() / DAY for labels, end in ends.items()
        },
    }
