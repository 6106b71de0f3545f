"""Every clock of a connection, with a clock that goes when the test says so."""

from __future__ import annotations

import heapq
import logging
import types
from collections.abc import Callable
from typing import Any

import pytest

from h2wsgi.config.config import Config
from h2wsgi.http2.deadlines import Deadlines
from h2wsgi.log.logs import Log
from h2wsgi.wsgi.stuck_threads import Overtime


class Clock:
    """Time that passes when it is told to, and timers in it."""

    class Timer:
        def __init__(self, callback: Callable[[], None]) -> None:
            self.callback: Callable[[], None] | None = callback

        def cancel(self) -> None:
            self.callback = None

    def __init__(self) -> None:
        self.time = 1_000.0
        self.early = 0.0
        """Seconds before its time that a timer goes off, as a coarse loop's clock has it."""
        self._timers: list[tuple[float, int, Clock.Timer]] = []

    def now(self) -> float:
        return self.time

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = self.Timer(callback)
        heapq.heappush(self._timers, (self.time + delay, len(self._timers), timer))
        return timer

    @property
    def armed(self) -> int:
        return sum(timer.callback is not None for _, _, timer in self._timers)

    def advance(self, seconds: float) -> None:
        end = self.time + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self.time = max(self.time, due - self.early)
            self.early = 0.0
            if timer.callback is not None:
                timer.callback()
        self.time = end


class Clocked:
    """A connection as its deadlines see it, and what they told it."""

    def __init__(self, clock: Clock, **options: float) -> None:
        self.clock = clock
        self.told: list[str] = []
        self.streams: dict[int, Any] = {}
        self.queue: set[int] = set()
        self.outflow = self.inflow = self
        self.withholds_credit = False
        self.held_up = False
        self.taken = 0
        config = Config.build(**options)
        self.deadlines = Deadlines(self, config, clock.call_later, clock.now)
        self.deadlines.start(self)  # type: ignore[arg-type]

    def content_taken(self) -> int:
        return self.taken

    @property
    def is_in_use(self) -> bool:
        return bool(self.streams)

    def is_held_up(self, stream: Any) -> bool:
        return self.held_up

    def is_waiting(self, stream: Any) -> bool:
        return stream.stream_id in self.queue

    def open(self, stream_id: int = 1, content_length: int | None = None) -> Any:
        stream = types.SimpleNamespace(
            stream_id=stream_id,
            reading_since=None,
            has_waited=True,
            waited_for_content=0.0,
            received_at=0.0,
            progress_at=self.clock.time,
            started_at=self.clock.time,
            status=0,
            octets_received=0,
            octets_sent=0,
            request=types.SimpleNamespace(content_length=content_length),
        )
        self.streams[stream_id] = stream
        self.deadlines.streams_changed(len(self.streams))
        return stream

    def close(self, stream_id: int = 1) -> None:
        del self.streams[stream_id]
        if not self.streams:
            self.deadlines.streams_changed(0)

    def preface_timed_out(self) -> None:
        self.told.append("preface")
        self.deadlines.stop()

    def idle_timed_out(self) -> None:
        self.told.append("idle")

    def settings_timed_out(self) -> None:
        self.told.append("settings")
        self.deadlines.stop()

    def fields_timed_out(self) -> None:
        self.told.append("fields")
        self.deadlines.stop()

    def ping_due(self) -> None:
        self.told.append("ping")

    def ping_timed_out(self) -> None:
        self.told.append("no answer")
        self.deadlines.stop()

    def read_timed_out(self, stream: Any, option: str) -> None:
        self.told.append(f"read {stream.stream_id}" + (" rate" if option == "min_rate" else ""))
        stream.reading_since = None

    def request_timed_out(self, stream: Any) -> None:
        self.told.append(f"request {stream.stream_id}")
        self.close(stream.stream_id)

    def write_timed_out(self, stream: Any, option: str) -> None:
        self.told.append(f"write {stream.stream_id}" + (" rate" if option == "min_rate" else ""))
        self.queue.discard(stream.stream_id)
        self.close(stream.stream_id)


TIMES = {
    "preface_timeout": 10,
    "settings_timeout": 10,
    "fields_timeout": 10,
    "idle_timeout": 120,
    "read_timeout": 30,
    "write_timeout": 60,
}


@pytest.fixture
def clocked() -> Clocked:
    return Clocked(Clock(), **TIMES)


class CountingClock(Clock):
    """Fails where the loop would be kept busy."""

    looks = 0

    def call_later(self, delay: float, callback: Callable[[], None]) -> Clock.Timer:
        self.looks += 1
        assert self.looks < 1_000
        return super().call_later(delay, callback)


def test_a_timeout_of_next_to_nothing_does_not_keep_the_loop_busy() -> None:
    clock = CountingClock()
    Clocked(clock, read_timeout=1e-9).open()
    clock.advance(1.0)
    assert clock.looks > 10
    clock = CountingClock()
    overtime = Overtime(Config.build(request_timeout=1e-9), Log(logging.getLogger(), None))
    overtime.start(clock.call_later)
    clock.advance(1.0)
    assert clock.looks > 10


def test_the_preface_times_out(clocked: Clocked) -> None:
    clocked.clock.advance(9.9)
    assert clocked.told == []
    clocked.clock.advance(0.2)
    assert clocked.told == ["preface"]


def test_the_preface_times_out_though_its_timer_went_off_a_moment_early(clocked: Clocked) -> None:
    clocked.clock.early = 0.0005
    clocked.clock.advance(10.1)
    assert clocked.told == ["preface"]


def test_the_preface_times_out_though_streams_came_and_went(clocked: Clocked) -> None:
    clocked.open()
    clocked.clock.advance(3)
    clocked.close()
    clocked.clock.advance(8)
    assert clocked.told == ["preface"]


def test_the_preface_times_out_beside_open_streams(clocked: Clocked) -> None:
    clocked.open()
    clocked.clock.advance(12)
    assert clocked.told[:1] == ["preface"]


def test_a_connection_that_never_has_a_stream_is_idle_from_its_start(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    clocked.clock.advance(119)
    assert clocked.told == []
    clocked.clock.advance(1.1)
    assert clocked.told == ["idle"]


def test_a_connection_is_idle_from_its_last_stream_on(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    clocked.clock.advance(100)
    clocked.open()
    clocked.clock.advance(500)
    clocked.close()
    clocked.clock.advance(118)
    assert clocked.told == []
    clocked.clock.advance(3)
    assert clocked.told == ["idle"]


def test_an_idle_time_shorter_than_the_prefaces_is_kept() -> None:
    clocked = Clocked(Clock(), **TIMES | {"idle_timeout": 3})
    clocked.deadlines.settings_received()
    clocked.clock.advance(3.1)
    assert clocked.told == ["idle"]


def test_times_of_zero_are_off() -> None:
    clocked = Clocked(Clock(), **dict.fromkeys(TIMES, 0))
    assert clocked.clock.armed == 0
    stream = clocked.open()
    stream.reading_since = clocked.clock.time
    clocked.queue.add(1)
    clocked.clock.advance(10_000)
    clocked.close()
    clocked.clock.advance(10_000)
    assert clocked.told == []


def test_one_timer_is_enough_whatever_happens(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    for stream_id in range(1, 40, 2):
        clocked.open(stream_id)
        clocked.clock.advance(0.3)
        assert clocked.clock.armed == 1
    for stream_id in range(1, 40, 2):
        clocked.close(stream_id)
        assert clocked.clock.armed == 1
    clocked.deadlines.stop()
    assert clocked.clock.armed == 0
    clocked.clock.advance(1_000)
    assert clocked.told == []


def test_a_read_times_out_where_it_waits(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    clocked.open(1)
    clocked.open(3).reading_since = clocked.clock.time
    clocked.clock.advance(29)
    assert clocked.told == []
    clocked.clock.advance(2.1)
    assert clocked.told == ["read 3"]


def test_a_read_that_begins_anew_has_its_whole_time(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    stream = clocked.open()
    for _ in range(5):
        stream.reading_since = clocked.clock.time
        stream.octets_received += 10_000
        clocked.clock.advance(28)
    assert clocked.told == []


def test_a_reads_time_does_not_run_while_we_withhold_credit(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    clocked.open().reading_since = clocked.clock.time
    clocked.withholds_credit = True
    clocked.clock.advance(100)
    clocked.withholds_credit = False
    clocked.clock.advance(20)
    assert clocked.told == []
    clocked.clock.advance(12)
    assert clocked.told == ["read 1"]


def test_a_response_that_makes_no_progress_times_out_alone(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    stuck, moving, done = clocked.open(1), clocked.open(3), clocked.open(5)
    clocked.queue |= {1, 3}
    for _ in range(3):
        clocked.clock.advance(20.5)
        moving.progress_at = clocked.clock.time
        moving.octets_sent += 10_000
    clocked.clock.advance(1)
    assert clocked.told == [f"write {stuck.stream_id}"]
    assert done.stream_id in clocked.streams


def test_a_request_times_out_whoever_it_waits_for() -> None:
    clocked = Clocked(Clock(), **TIMES | {"request_timeout": 50})
    clocked.deadlines.settings_received()
    clocked.open(1)
    clocked.clock.advance(30)
    clocked.open(3)
    clocked.withholds_credit = True
    clocked.clock.advance(19)
    assert clocked.told == []
    clocked.clock.advance(2)
    assert clocked.told == ["request 1"]
    clocked.clock.advance(30)
    assert clocked.told == ["request 1", "request 3"]


@pytest.mark.parametrize("kind", ["read", "request"])
def test_short_times_are_looked_at_more_often(kind: str) -> None:
    clocked = Clocked(Clock(), **TIMES | {f"{kind}_timeout": 0.2})
    clocked.deadlines.settings_received()
    clocked.open().reading_since = clocked.clock.time
    clocked.clock.advance(0.26)
    assert clocked.told == [f"{kind} 1"]


def test_settings_that_are_not_acknowledged_time_out(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    clocked.clock.advance(5)
    clocked.deadlines.settings_sent()
    clocked.clock.advance(9.9)
    assert clocked.told == []
    clocked.clock.advance(0.2)
    assert clocked.told == ["settings"]


def test_settings_that_are_acknowledged_time_out_no_more(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    clocked.deadlines.settings_sent()
    clocked.deadlines.settings_acknowledged()
    clocked.clock.advance(100)
    assert clocked.told == []


def test_later_settings_have_to_be_acknowledged_as_well(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    for _ in range(3):
        clocked.deadlines.settings_sent()
        clocked.clock.advance(4)
        clocked.deadlines.settings_acknowledged()
    clocked.deadlines.settings_sent()
    clocked.clock.advance(6)
    clocked.deadlines.settings_sent()
    clocked.clock.advance(3.9)
    assert clocked.told == []
    clocked.clock.advance(0.2)
    assert clocked.told == ["settings"]


def test_a_field_section_that_does_not_go_on_times_out_without_a_stream(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    clocked.deadlines.fields_begun(clocked.clock.time)
    clocked.clock.advance(9.9)
    assert clocked.told == []
    clocked.clock.advance(1.1)
    assert clocked.told == ["fields"]


def test_a_field_section_that_came_whole_times_out_no_more(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    for _ in range(30):
        clocked.deadlines.fields_begun(clocked.clock.time)
        clocked.clock.advance(1)
    clocked.deadlines.fields_begun(None)
    clocked.clock.advance(60)
    assert clocked.told == []


def test_a_silent_client_is_asked_and_then_given_up() -> None:
    clocked = Clocked(Clock(), **TIMES | {"idle_timeout": 0, "ping_interval": 60})
    clocked.deadlines.settings_received()
    clocked.clock.advance(59)
    assert clocked.told == []
    clocked.clock.advance(2)
    assert clocked.told == ["ping"]
    clocked.clock.advance(20)
    assert clocked.told == ["ping", "no answer"]


def test_whatever_a_client_says_answers_a_ping() -> None:
    clocked = Clocked(Clock(), **TIMES | {"idle_timeout": 0, "ping_interval": 60})
    clocked.deadlines.settings_received()
    for _ in range(5):
        clocked.clock.advance(61)
        clocked.deadlines.heard = True
    assert set(clocked.told) == {"ping"}


def test_a_client_that_sends_a_little_now_and_then_is_too_slow(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    slow, honest = clocked.open(1), clocked.open(3)
    for _ in range(34):
        for stream, octets in ((slow, 100), (honest, 300)):
            stream.reading_since = clocked.clock.time
            stream.octets_received += octets
        clocked.clock.advance(1)
        slow.waited_for_content += 1
        honest.waited_for_content += 1
    assert clocked.told == ["read 1 rate"]


def test_a_conversation_may_be_slow(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    talk, upload = clocked.open(1), clocked.open(3, content_length=1_000_000)
    talk.status = upload.status = 200
    for _ in range(20):
        for stream in (talk, upload):
            stream.reading_since = clocked.clock.time
            stream.octets_received += 10
        clocked.clock.advance(2)
        talk.waited_for_content += 2
        upload.waited_for_content += 2
    assert clocked.told == ["read 3 rate"]


def read(clocked: Clocked, stream: Any, seconds: float, octets: int) -> None:
    """Have the application wait for so many octets, which then come."""
    stream.reading_since = clocked.clock.time
    clocked.clock.advance(seconds)
    stream.octets_received += octets
    stream.received_at = clocked.clock.time
    stream.waited_for_content += clocked.clock.time - stream.reading_since
    stream.reading_since = None


def test_time_that_the_application_spends_otherwise_makes_no_client_slow(clocked: Clocked) -> None:
    clocked.deadlines.settings_received()
    stream = clocked.open()
    for _ in range(60):
        read(clocked, stream, 2, 1_000)
        clocked.clock.advance(20)
    assert clocked.told == []


def test_a_drip_is_found_whatever_the_application_does_at_the_looks(clocked: Clocked) -> None:
    """Each second it waits but for the moment when its connection is looked at."""
    clocked.deadlines.settings_received()
    stream = clocked.open()
    stream.reading_since = clocked.clock.time
    clocked.clock.advance(1)
    for _ in range(36):
        read(clocked, stream, 0.9, 1)
        clocked.clock.advance(0.1)
    assert clocked.told == ["read 1 rate"]


def test_waiting_counts_over_many_short_waits(clocked: Clocked) -> None:
    """30 seconds of it, however long they take; what came meanwhile counts as well."""
    clocked.deadlines.settings_received()
    slow, honest = clocked.open(1), clocked.open(3)
    for number in range(320):
        read(clocked, slow, 0.2, 1 if number else 10_000)
        read(clocked, honest, 0.2, 60)
        clocked.clock.advance(0.6)
    assert clocked.told == ["read 1 rate"]


def drip(clocked: Clocked, octets: int, times: int) -> None:
    """Let stream 1 take so many octets, 5 seconds apart."""
    clocked.deadlines.settings_received()
    stream = clocked.open()
    clocked.queue.add(1)
    for _ in range(times):
        clocked.clock.advance(5)
        if 1 in clocked.streams:
            stream.octets_sent += octets
            stream.progress_at = clocked.clock.time


def test_a_client_that_takes_an_octet_now_and_then_is_too_slow(clocked: Clocked) -> None:
    drip(clocked, 1, 14)
    assert clocked.told == ["write 1 rate"]


def test_a_client_that_takes_enough_on_the_whole_is_not_too_slow(clocked: Clocked) -> None:
    drip(clocked, 1_300, 60)
    assert clocked.told == []


def test_streams_that_wait_for_the_connection_share_what_it_takes(clocked: Clocked) -> None:
    clocked.held_up = True
    clocked.taken = 0
    clocked.deadlines.settings_received()
    stream = clocked.open()
    clocked.queue.add(1)
    for taken in (100_000, 1_000):
        assert clocked.told == []
        for _ in range(13):
            clocked.taken += taken // 12
            stream.progress_at = clocked.clock.time
            clocked.clock.advance(5)
    clocked.clock.advance(1)
    assert clocked.told == ["write 1 rate"]


def test_without_a_least_rate_a_drip_is_no_offence() -> None:
    clocked = Clocked(Clock(), **TIMES | {"min_rate": 0})
    drip(clocked, 1, 100)
    assert clocked.told == []
