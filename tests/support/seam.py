"""The seam without a connection: streams, their hand-over, and the loop's side of both."""

from __future__ import annotations

import threading
from unittest.mock import ANY

from h2wsgi.seam.budget import Budget
from h2wsgi.seam.handover import Handover, Limits
from h2wsgi.seam.request import ConnectionFacts, RequestFields
from h2wsgi.seam.stream import Stream

HEAD = [(b":status", b"200")]
REQUEST = RequestFields("POST", b"https", b"localhost", b"/", (), None, False)
FACTS = ConnectionFacts("https", "localhost", "8443", "127.0.0.1", "40000", {})


class Waits:
    """Counts a thread's waits on its client."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.begins = threading.Event()
        self.unwoken: Handover | None = None

    def wait_begins(self) -> None:
        self.begun += 1
        self.begins.set()

    def wait_ended(self) -> None:
        self.ended += 1


class Seam:
    """One connection's handover, its streams, and the loop's side of both."""

    def __init__(self, *, ceiling: int = 1_000_000, budget: int = 1_000_000) -> None:
        self.wakes = threading.Semaphore(0)
        self.budget = Budget(budget, self.relieved)
        self.handover = Handover(lambda _: self.wakes.release() and None, ceiling, self.budget)
        self.output: dict[int, bytearray] = {}
        self.marks: dict[int, list[int]] = {}
        self.credit: dict[int, int] = {}

    def relieved(self) -> None:
        with self.handover.lock:
            self.handover.notify_ceiling_waiters_locked()

    def stream(self, stream_id: int = 1, **options: int) -> Stream:
        options = {"write_limit": 100, "credit_step": 50, "max_body": 0} | options
        stream = Stream(stream_id, REQUEST, FACTS, self.handover, Limits(**options), 0.0)
        stream.begin(Waits())
        stream._thread = ANY  # every thread of a test counts as the application's own
        return stream

    def drain(self, *, take: bool = True) -> int:
        """Take what was handed over, as a loop whose windows are wide open; return its octets."""
        counts: dict[Stream, int] = {}
        for stream, mark, _, data, credit, _ in self.handover.drain():
            name = stream.stream_id
            self.output.setdefault(name, bytearray()).extend(data)
            self.marks.setdefault(name, []).append(mark)
            self.credit[name] = self.credit.get(name, 0) + credit
            if data:
                counts[stream] = counts.get(stream, 0) + len(data)
        if take:
            self.handover.taken(counts)
        return sum(counts.values())


def waits_of(stream: Stream) -> Waits:
    assert isinstance(stream._client_wait, Waits)
    return stream._client_wait


def take(stream: Stream, wanted: int, minimum: int = 1) -> bytes:
    """Return content as the application takes it."""
    parts: list[bytes] = []
    stream.take(parts, wanted, minimum)
    return b"".join(parts)
