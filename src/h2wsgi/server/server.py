"""The composition root: one event loop, one thread pool, the connections of one application.

Everything here runs on the loop's thread except what ends in _threadsafe. A Server is started
once and stopped once.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Self
from urllib.parse import urljoin

from ..config.config import Config
from ..config.fault_rules import FaultRules
from ..errors import ConfigurationError, H2WSGIError
from ..http2.closing import ABORT_AFTER
from ..http2.engines import engine_of
from ..http2.hoards import Hoards, output_budget
from ..http2.interfaces import ObserverFactory, ServerContext
from ..http2.protocol import H2Protocol
from ..log.logs import Log, library_log, named
from ..process.clock import clock
from ..process.forking import tell_in_child
from ..seam.budget import Budget
from ..seam.guards import loop_thread, set_role
from ..seam.handover import Handover
from ..seam.mailbox import Mailbox
from ..seam.request import ConnectionFacts
from ..seam.spool import Spool
from ..seam.stream import Stream, Waited
from ..tls.context import TLSIdentity, resolve
from ..tls.watch import CertificateWatch, warn
from ..wsgi.runner import Runner, WSGIApplication
from ..wsgi.stuck_threads import Overtime
from ..wsgi.thread_pool import ThreadPool
from .accept import Acceptor
from .banner import Endpoint
from .listeners import Listener, Share, open_all
from .surroundings import refuse_in_program
from .toolbox import Toolbox
from .unsized import unsized_content_of

if TYPE_CHECKING:
    from ..http2.counting import Counts
    from ..tools.metrics.samples import Samples
    from ..tools.recording.recorder import Recorder
    from ..tools.recording.records import ConnectionRecord, Records, RequestRecord
    from .metering import MetricsPort

SLOW_CLIENT = 1.0
"""Seconds that a client must have kept its application waiting, all in all, beyond those that its
content takes at a low pace, to be given up for another ..."""
GREEDY_CLIENT = 0.5
"""... seconds at whatever pace, of a connection that keeps several threads waiting, to be given up
for one that has none, where no other is slower ..."""
BUSY_CLIENT = 10.0
"""... and seconds at whatever pace, whoever it is given up for."""
SLOW_CONTENT = 10.0
"""Seconds for the next 64 KiB of content without a length, whose request may have to go then for
others, while the disk for all of them is full."""
DISK_LOOK = 0.25
"""Seconds between looks for one of these while there is none."""
CLOSE_GRACE = 1.0
"""Seconds that applications get to clean up once their last streams were reset."""
ABORT_AT_HAND = 0.1
"""Seconds that a closing transport gets, once time is up, to send what it holds to a client on this
machine: one that reads has it by then."""
READ_BUFFER = 262_144
"""Octets to read at once: as much as the loops' own TLS buffers hold."""
MOST_REASONS = 64
"""Reasons of handshakes that failed that are told apart."""
POLL = 0.01
"""Seconds between looks at the pool while a stopping server waits for applications."""


Wait = tuple[H2Protocol, Stream, Waited]
"""A thread that waits on its client, and how long that client has been waited for."""


def _greedy(waits: list[Wait], held: Counter[H2Protocol], count: int) -> list[Wait]:
    """Return who may go for so many connections without a thread: of those who keep most waiting.

    Each connection keeps one of those that wait.
    """
    left = Counter(held)
    found = []
    for wait in sorted(waits, key=lambda wait: wait[2].seconds, reverse=True):
        found.append((left[wait[0]], wait))
        left[wait[0]] -= 1
    found.sort(key=lambda each: each[0], reverse=True)
    return [wait for n, wait in found[:count] if n > 1 and wait[2].seconds >= GREEDY_CLIENT]


def _busy(waits: list[Wait], held: Counter[H2Protocol]) -> list[Wait]:
    """Return the one who has been waited for longest, if it is long enough."""
    longest = max(waits, key=lambda wait: wait[2].seconds * held[wait[0]])
    return [longest] if longest[2].seconds >= BUSY_CLIENT else []


class Server(ServerContext):
    """Serves ``app`` in the running event loop::

        async with Server(app, Config(bind=("localhost:0",))) as server:
            print(server.url)

    ``tls`` replaces the context that the options would give; ``log`` the standard loggers.
    ``identity`` is what the options have given, where somebody has looked already. A worker of
    several has a ``share`` of the listeners.
    """

    def __init__(
        self,
        app: WSGIApplication,
        config: Config | None = None,
        *,
        log: Log | None = None,
        tls: ssl.SSLContext | None = None,
        share: Share | None = None,
        identity: TLSIdentity | None = None,
    ) -> None:
        if not callable(app):
            raise ConfigurationError(f"The application is not callable: {app!r}.")
        self.config = config or Config()
        if self.config.is_supervised and share is None:
            raise ConfigurationError(
                f"A server inside a program is one process, and {self.config.supervised_by} asks "
                "for others, which would need an application that they can import.",
                'Use the command, or h2wsgi.serve("module:app", ...); or leave the option out.',
            )
        self.log = log or library_log(self.config)
        self.ca_file: str | None = None
        """What a client must trust to accept the certificate, if that is known."""
        self._tls = tls
        self._share = share
        self._identity = identity
        self._certificates: CertificateWatch | None = None
        self.unsized_content = unsized_content_of(app) or self.config.unsized_content
        self.spool = Spool(self.config.max_unsized_total)
        self._toolbox = Toolbox(self.config, self.log)
        self._runner = Runner(
            self._toolbox.in_front_of(app),
            self.log,
            root_path=self.config.root_path,
            multithread=self.config.max_threads > 1,
            multiprocess=share is not None,
            record=self._toolbox.record_of,
        )

        def change_faults() -> None:
            self._runner.app = self._toolbox.in_front_of(app)

        self.faults.changed = change_faults
        # One for all connections of the loop. The loops would allocate as much for each read and
        # give most of it back: the holes that left in glibc's heap made a busy server grow by
        # 14 MiB where it now grows by 8 (two minutes of the soak at three times its pace).
        self.read_buffer = memoryview(bytearray(READ_BUFFER))
        self.input_budget = Budget(self.config.max_buffered, self._input_relieved)
        self.output_budget = output_budget(
            self.config, self._output_relieved, on_full=lambda: self._hoards.watch()
        )
        self._pool: ThreadPool[Stream] = ThreadPool(
            self._runner.run,
            limit=self.config.threads,
            max_threads=self.config.max_threads,
            lane_limit=self.config.max_streams,
            schedule_threadsafe=lambda delay, call: self.mailbox.call_later_threadsafe(delay, call),
            exhausted=self._threads_exhausted,
            full=self._threads_taken,
            failed=self._runner.failed,
        )
        self._overtime = Overtime(self.config, self.log)
        self.new_stream: Callable[..., Stream] = (
            self._overtime.new_stream if self.config.request_timeout else Stream
        )
        self.observe: ObserverFactory | None = None
        self._listeners: list[Listener] = []
        self._endpoints: list[Endpoint] = []
        self._protocols: set[H2Protocol] = set()
        self._refusals_logged: set[str] = set()
        self._look_for_disk_at = 0.0
        """When it is worth looking again who holds disk and brings little."""
        self.limits_hit: Counter[str] = Counter()
        """How often a client went over the limit of an option, by the option's name."""
        self._handshakes_failed: Counter[str] = Counter()
        self._ready = False
        """Whether new requests are welcome."""
        self._metrics_port: MetricsPort | None = None
        self.counts: Counts | None = None
        if self.config.metrics:
            from .metering import MetricsPort, new_counts

            self.counts = new_counts()
            if share is None:  # or it is the supervisor's
                self._metrics_port = MetricsPort(
                    self.config.metrics, self.measure, lambda: self._ready, self.log
                )

    # --------------------------------------------------------------------------- lifecycle

    async def start(self) -> None:
        """Open the sockets and begin to accept.

        Raises:
            ConfigurationError: an address or a certificate cannot be used.
        """
        engine_of(self.config)
        if self._tls is None:
            self._take_identity(self._identity or resolve(self.config))
        if (tls := self._tls_context()) is not None and tls.keylog_filename:
            self.log.events.warning(
                "TLS secrets are written to %s (SSLKEYLOGFILE): who reads it can decrypt every "
                "connection",
                tls.keylog_filename,
                extra=named("tls_secrets_written"),
            )
        if self._share is not None:
            self._listeners = self._share.listeners
        else:
            self._listeners = open_all(self.config)
        try:
            if observe := self._toolbox.open():
                self.observe = observe
            if self.counts is not None:
                from .metering import counting

                self.observe = counting(self.counts, self.observe)
            if self._metrics_port is not None:
                self._metrics_port.open()
            self.mailbox = Mailbox(asyncio.get_running_loop())
        except BaseException:
            for listener in self._listeners:
                listener.close()
            self._close_tools()
            raise
        tell_in_child(self)
        self._hoards = Hoards(
            self.output_budget,
            lambda: list(self._protocols),
            asyncio.get_running_loop().call_later,
        )
        set_role("loop")  # only now: if the start fails, the thread is the caller's
        urls = dict.fromkeys((listener.url, listener.tls) for listener in self._listeners)
        self._endpoints = [Endpoint(url, tls) for url, tls in urls]
        self._acceptor = Acceptor(
            self,
            self._listeners,
            self._tls_context,
            self._connection_opened,
            self._protocols,
            None if self._share is None else self._share.place,
        )
        try:
            self._acceptor.start()
        except BaseException:  # a socket that the loop cannot watch, as of fd://
            self._acceptor.close(0, clients_at_hand=False)
            self.mailbox.close()
            self._close_tools()
            set_role("")
            raise
        if self.config.request_timeout:
            self._overtime.start(asyncio.get_running_loop().call_later)
        if self._certificates is not None:
            self._certificates.start()
        self._ready = True
        if self._metrics_port is not None:
            self._metrics_port.start(lambda call: self.mailbox.post_threadsafe(call, True))

    def _close_tools(self) -> None:
        self._toolbox.close()
        if self._metrics_port is not None:
            self._metrics_port.close()

    def _take_identity(self, identity: TLSIdentity | None) -> None:
        if identity is not None:
            self.ca_file = identity.ca_path
            warn(identity, self.log.events)
            self._certificates = CertificateWatch(self.config, identity, self.log.events)

    def _tls_context(self) -> ssl.SSLContext | None:
        """Return what a connection over TLS that comes now begins with."""
        return self._tls if self._certificates is None else self._certificates.identity.context

    def reload_certificates(self, done: Callable[[], None] = lambda: None) -> bool:
        """Have the certificates read anew soon; False if there are none of files.

        ``done`` is called on any thread, once they have been read or refused.
        """
        if self._certificates is None:
            done()
            return False
        self._certificates.read(done)
        return True

    async def stop(
        self,
        graceful_timeout: float | None = None,
        *,
        clients_at_hand: bool = False,
        others_go_on: bool = False,
    ) -> bool:
        """Stop: no new connections, GOAWAY, running requests finish within the timeout.

        ``clients_at_hand`` says that the clients are on this machine, so that idle ones need not be
        waited for: not for what they may have under way, nor for them to close.

        If other workers go on, what waits to be accepted is theirs, and connections end as gently
        as those that have had their time: their clients connect to the others in no hurry.

        Else all of that comes after ``drain_delay``, in which the server says that it is not ready.
        Returns True if every application has returned, False if some are stuck in theirs.
        """
        if graceful_timeout is None:
            graceful_timeout = self.config.graceful_timeout
        self._ready = False
        if (delay := self.config.drain_delay) and not others_go_on:
            said = "for %g s everything goes on, but /readyz (--drain-delay)"
            self.log.events.info(said, delay, extra=named("drain_delayed"))
            await asyncio.sleep(delay)
        deadline = clock.monotonic() + graceful_timeout
        self._acceptor.close(
            graceful_timeout, clients_at_hand=clients_at_hand, leave_backlog=others_go_on
        )
        for protocol in list(self._protocols):
            if clients_at_hand:
                protocol.closing.hurry()
            if others_go_on:
                protocol.closing.retire()
            else:
                protocol.closing.drain()
        await self._wait_all_closed(graceful_timeout)
        # First, or a thread whose stream is reset would take the next request, to be reset as well.
        self._pool.close()
        for protocol in list(self._protocols):
            protocol.closing.stop()
            # Whoever waited on its client is told only now, and has a close() to run.
            deadline = max(deadline, clock.monotonic() + CLOSE_GRACE)
        await self._wait_all_closed(ABORT_AT_HAND if clients_at_hand else ABORT_AFTER)
        for protocol in list(self._protocols):
            protocol.abort()
        await self._wait_all_closed(ABORT_AFTER)
        while self._pool.busy and clock.monotonic() < deadline:
            await asyncio.sleep(POLL)
        deadline = clock.monotonic() + CLOSE_GRACE
        while self.spool.contents and not self._pool.busy and clock.monotonic() < deadline:
            await asyncio.sleep(POLL)
        self._overtime.stop()
        if self._certificates is not None:
            self._certificates.stop()
        self._close_tools()
        self.mailbox.close()
        set_role("")  # the thread is the caller's again
        if stuck := self._pool.busy:
            self.log.events.warning(
                "%s did not return within the graceful timeout; going on without",
                "1 application" if stuck == 1 else f"{stuck} applications",
                extra=named("applications_left", applications=stuck),
            )
        return not stuck

    def forked(self) -> None:
        """See Forkable. No request is this child's to answer, and no wait of one would end."""
        open_streams = (s for p in list(self._protocols) for s in p.connection.streams.values())
        for stream in (*open_streams, *self._pool.forked()):
            stream.forked()
        self._runner.forked()

    async def _wait_all_closed(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._acceptor.all_closed.wait()
        except TimeoutError:
            return

    async def __aenter__(self) -> Self:
        refuse_in_program(self.config)
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    @property
    def endpoints(self) -> list[Endpoint]:
        """Where the server listens, real ports included; once it has started."""
        return self._endpoints

    @property
    def url(self) -> str:
        """The first endpoint's URL, such as ``https://localhost:8443/``.

        Raises:
            H2WSGIError: the server has not started.
        """
        if not self._endpoints:
            raise H2WSGIError("The server has no URL before it starts: enter its with block.")
        return self._endpoints[0].url

    @property
    def urls(self) -> list[str]:
        """The URLs of all endpoints."""
        return [endpoint.url for endpoint in self._endpoints]

    @property
    def inspect_url(self) -> str:
        """The URL of the inspector's page, which nobody can guess; once the server has started.

        Raises:
            ConfigurationError: the option ``inspect`` is off.
        """
        return self._toolbox.inspect_url

    @property
    def metrics_url(self) -> str:
        """Where the metrics are, once the server has started; empty without the option."""
        return "" if self._metrics_port is None else self._metrics_port.url

    def join(self, path: str) -> str:
        """Return the URL of ``path`` on the first endpoint."""
        return urljoin(self.url, path)

    def ssl_context(self) -> ssl.SSLContext:
        """Return a client's context that trusts this server's certificate."""
        return ssl.create_default_context(cafile=self.ca_file)

    @property
    def running_requests(self) -> int:
        """Requests that are not answered yet, all connections together."""
        return sum(len(protocol.connection.streams) for protocol in self._protocols)

    @property
    def open_connections(self) -> int:
        """Connections open now, handshakes included."""
        return self._acceptor.open_connections

    @property
    def connections(self) -> Records[ConnectionRecord]:
        """What every connection so far was, in the order they came. Any thread.

        Raises:
            ConfigurationError: the option ``record`` is off.
        """
        return self.recorder.connections

    @property
    def requests(self) -> Records[RequestRecord]:
        """What every request so far was, in the order they came. Any thread.

        A request is complete here before its client can see the end of the response.

        Raises:
            ConfigurationError: the option ``record`` is off.
        """
        return self.recorder.requests

    def clear(self) -> None:
        """Forget the connections and requests so far. Any thread.

        A connection that is open now is in ``connections`` again from its next request on.

        Raises:
            ConfigurationError: the option ``record`` is off.
        """
        self.recorder.clear()

    @property
    def faults(self) -> FaultRules:
        """The rules by which requests go wrong, to be changed while the server runs. Any thread."""
        return self._toolbox.faults

    @property
    def recorder(self) -> Recorder:
        """Where connections and requests are recorded.

        Raises:
            ConfigurationError: the option ``record`` is off.
        """
        return self._toolbox.recorder

    @property
    def threads(self) -> int:
        """Application threads alive now."""
        return self._pool.threads

    @property
    def busy_threads(self) -> int:
        """Application threads that are inside the application."""
        return self._pool.busy

    @property
    def stuck_threads(self) -> int:
        """Application threads that have not come back from requests that timed out."""
        return len(self._overtime.stuck)

    # ------------------------------------------------------------- what connections ask for

    def start_requests(self, handover: Handover, streams: list[Stream]) -> None:
        if handover.lane is None:
            handover.lane = self._pool.lane()
        self._pool.submit(handover.lane, streams)

    def cancel_request(self, handover: Handover, stream: Stream) -> bool:
        return handover.lane is not None and self._pool.cancel(handover.lane, stream)

    @loop_thread
    def _threads_exhausted(self) -> None:
        """Give up the slowest clients: requests wait, and every thread they may have does."""
        now = clock.monotonic()
        waits = [
            (protocol, stream, stream.waited_until(now))
            for protocol in self._protocols
            for stream in protocol.connection.streams.values()
            if stream.waiting_since is not None
        ]
        held = Counter(protocol for protocol, _, _ in waits)
        # Nobody loses a thread to a connection that has more of them.
        waits = [wait for wait in waits if held[wait[0]] >= self._pool.fewest_threads]
        if not waits:
            return
        # Who holds most threads for longest goes, one for each connection that waits for its first.
        waits.sort(key=lambda wait: wait[2].idle * held[wait[0]], reverse=True)
        fresh = self._pool.fresh_waiting
        slow = [wait for wait in waits[: max(1, fresh)] if wait[2].idle >= SLOW_CLIENT]
        # Or nobody sends or takes too little.
        for protocol, stream, waited in slow or _greedy(waits, held, fresh) or _busy(waits, held):
            all_ = f"and all {self.config.max_threads} are taken"
            why = f"its client kept a thread waiting for {waited.seconds:.0f} s, {all_}"
            protocol.give_up_slow(
                protocol.connection.holds_up(stream) or stream, "max_threads", why
            )

    @loop_thread
    def _threads_taken(self) -> None:
        threads, queued = self.config.threads, self._pool.queued
        self.log.events.warning(
            "all %d threads (--threads) are inside applications, and %s. Where applications wait "
            "for a database or another server, raise --threads; where they compute, more threads "
            "are no help. Said once a minute",
            threads,
            "1 request waits for one" if queued == 1 else f"{queued} requests wait for one",
            extra=named("threads_taken", threads=threads, queued=queued),
        )

    def limit_hit(self, option: str) -> None:
        self.limits_hit[option] += 1

    def handshake_failed(self, reason: str) -> None:
        if reason not in self._handshakes_failed and len(self._handshakes_failed) >= MOST_REASONS:
            reason = "other"
        self._handshakes_failed[reason] += 1

    @loop_thread
    def measure(self) -> Samples:
        """Return what is counted and what there is now; nothing without ``Config.metrics``."""
        from .measuring import Measured, samples_of

        if self.counts is None:
            return {}
        return samples_of(
            Measured(
                counts=self.counts,
                protocols=self._protocols,
                handshakes=self._acceptor.handshakes,
                pool=self._pool,
                stuck=self.stuck_threads,
                limits={"threads": self.config.threads, "max_threads": self.config.max_threads},
                limits_hit=self.limits_hit,
                handshakes_failed=self._handshakes_failed,
                budgets=(self.input_budget, self.output_budget),
                identity=None if self._certificates is None else self._certificates.identity,
            )
        )

    def input_is_full(self) -> None:
        """What was read already goes first: it is counted, but not in memory."""
        for protocol in list(self._protocols):
            protocol.connection.inflow.return_credit()
        for protocol in list(self._protocols):
            protocol.connection.inflow.refuse_unstarted()

    @loop_thread
    def make_disk_room(self, asking: Stream) -> bool:
        """Give up one whose client is slow, for the content of ``asking``; False if there is none.

        That is one that brings its content slowly; or, where there is none, one that takes its
        response slowly, before its content was read.
        """
        now = clock.monotonic()
        if now < self._look_for_disk_at:
            return False
        if self._refuse_slow_content(asking, now) or self._give_up_unread_content(now):
            return True
        self._look_for_disk_at = now + DISK_LOOK
        return False

    def _refuse_slow_content(self, asking: Stream, now: float) -> bool:
        found = [
            (gathered.spooled.reserved * (now - gathered.written_at), protocol, stream)
            for protocol in self._protocols
            if not protocol.connection.inflow.withholds_credit
            for stream in protocol.connection.streams.values()
            if (gathered := stream.gathered) is not None
            and gathered.spooled is not None
            and now - gathered.written_at >= SLOW_CONTENT
            and not (stream.request_ended or gathered.writing or stream is asking)
        ]
        if not found:
            return False
        _, protocol, stream = max(found, key=lambda each: each[0])
        if (gathered := stream.gathered) is not None and gathered.spooled is not None:
            protocol.connection.gathering.make_room(stream, gathered, gathered.spooled)
        protocol.call_soon(protocol.transmit)  # not here, which may be another connection's turn
        return True

    def _give_up_unread_content(self, now: float) -> bool:
        found = [
            (spooled.reserved * waited.idle, protocol, stream, spooled, waited)
            for protocol in self._protocols
            for stream in protocol.connection.streams.values()
            if stream.waiting_since is not None
            and (gathered := stream.gathered) is not None
            and (spooled := gathered.spooled) is not None
            and spooled.reserved
            and (waited := stream.waited_until(now)).idle >= SLOW_CLIENT
        ]
        if not found:
            return False
        _, protocol, stream, spooled, waited = max(found, key=lambda each: each[0])
        why = (
            f"its client kept its response waiting for {waited.seconds:.0f} s, and others need the "
            "room of its content"
        )
        spooled.release()
        self.spool.uncount(spooled)
        protocol.call_soon(lambda: protocol.give_up_slow(stream, "max_unsized_total", why))
        return True

    def _input_relieved(self) -> None:
        for protocol in list(self._protocols):
            protocol.connection.inflow.relieved()

    def _output_relieved(self) -> None:
        for protocol in list(self._protocols):
            protocol.connection.outflow.relieved()

    def settings_delay(self, what: str, facts: ConnectionFacts) -> float:
        return self._toolbox.settings_delay(what, facts.peer)

    def log_refusal(self, facts: ConnectionFacts, advice: str) -> None:
        """Said once for each kind: such clients come again and again."""
        level = logging.DEBUG if advice in self._refusals_logged else logging.WARNING
        self._refusals_logged.add(advice)
        self.log.events.log(
            level,
            "%s: refused a client that does not speak our HTTP/2. %s",
            facts.peer,
            advice,
            extra=named("client_refused", peer=facts.peer),
        )

    def _connection_opened(self, protocol: H2Protocol) -> None:
        self._protocols.add(protocol)

    def connection_closed(self, protocol: H2Protocol) -> None:
        if protocol in self._protocols:
            self._protocols.discard(protocol)
            self._acceptor.released(protocol)
