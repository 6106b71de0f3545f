"""An application that goes on behind its request's end: it keeps no place of the pool."""

from __future__ import annotations

import contextlib
import threading

import h2wsgi
from h2wsgi.seam.budget import Budget
from h2wsgi.seam.handover import Handover, Limits
from h2wsgi.seam.request import ConnectionFacts, RequestFields
from h2wsgi.wsgi.stuck_threads import TimedStream
from support.settled import PATIENCE, eventually


def test_a_share_is_given_away_once_and_not_while_its_thread_waits_on_the_client() -> None:
    class Share:
        away = 0
        unwoken: Handover | None = None

        def wait_begins(self) -> None:
            self.away += 1

        def wait_ended(self) -> None:
            self.away -= 1

    running: dict[TimedStream, None] = {}
    nothing = Budget(1_000, lambda: None)
    handover = Handover(lambda _: None, 1_000, nothing)
    request = RequestFields("POST", b"https", b"localhost", b"/", (), None, False)
    facts = ConnectionFacts("https", "localhost", "8443", "127.0.0.1", "40000", {})
    stream = TimedStream(running, 1, request, facts, handover, Limits(1_000, 250, 0), 0.0)
    share = Share()
    told, go_on = threading.Event(), threading.Event()

    def application() -> None:
        stream.begin(share)
        with contextlib.suppress(h2wsgi.RequestTimeout):
            stream.take([], 1)
        told.set()
        assert go_on.wait(PATIENCE)
        stream.finished()

    thread = threading.Thread(target=application)
    stream.give_share_away()
    assert (share.away, list(running)) == (0, []), "it has not begun"
    thread.start()
    eventually(lambda: share.away == 1, "the application to wait")
    stream.give_share_away()
    assert (share.away, stream.is_stuck) == (1, False)
    with handover.lock:
        stream._failure = h2wsgi.RequestTimeout("late")
    stream.give_share_away()
    assert (share.away, stream.is_stuck) == (1, False), "it has not woken so far"
    with handover.lock:
        stream._fail_input_locked(stream._failure)
    assert told.wait(PATIENCE)
    assert share.away == 0
    for _ in range(2):
        stream.give_share_away()
        assert (share.away, stream.is_stuck) == (1, True)
    go_on.set()
    thread.join(PATIENCE)
    assert (share.away, stream.is_stuck, list(running)) == (0, False, [])
    stream.give_share_away()
    assert share.away == 0, "it has returned"
