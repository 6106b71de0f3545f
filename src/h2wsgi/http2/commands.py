"""What applications may do to a connection, done: the loop's side of StreamControl.

Loop thread only. What the application had handed over before has been framed when a command is
run; here it is written first, where the command goes past the engine.
"""

from __future__ import annotations

from typing import Protocol

from ..codes import Setting, code_name
from ..errors import ClientDisconnected, StreamGivenUp
from ..seam.control import Commands, Ping
from ..seam.stream import Stream
from .client_log import ClientLog
from .engines.interface import Engine
from .interfaces import Wire
from .outflow import Outflow

ASKED = "the application asked for it"


class Target(Protocol):
    """What the commands need of their connection."""

    streams: dict[int, Stream]

    @property
    def client_log(self) -> ClientLog:
        """What the log is told by."""

    def reset(
        self, stream: Stream, code: int, outcome: str, kind: type[ClientDisconnected]
    ) -> None:
        """End a stream from our side; its application's reads and writes raise ``kind``."""

    def give_up(self, stream: Stream, outcome: str, kind: type[ClientDisconnected]) -> None:
        """Give up a stream that the engine does not know any more; ``kind`` as of reset."""

    def ignore_above(self, last_stream_id: int) -> None:
        """Give up the open streams above the last of a GOAWAY, without a frame about them."""

    def limit_credit_step(self, window: int) -> None:
        """Return credit in steps that fit a window of so many octets."""


class ConnectionCommands(Commands):
    """What the applications of one connection ask of it."""

    def __init__(self, target: Target, engine: Engine, outflow: Outflow, wire: Wire) -> None:
        self._target = target
        self._engine = engine
        self._outflow = outflow
        self._wire = wire
        self._pings: dict[bytes, list[Ping]] = {}
        self.closed = False
        """The connection has ended; what is still done to it reaches nobody."""

    def close(self) -> None:
        """The connection ends: so does every wait for a PING."""
        self.closed = True
        pings, self._pings = self._pings, {}
        for ping in (ping for same in pings.values() for ping in same):
            ping.lost()

    def _is_open(self, stream: Stream) -> bool:
        return self._target.streams.get(stream.stream_id) is stream

    def reset(self, stream: Stream, code: int) -> None:
        """A stream that has ended already cannot be reset any more."""
        if self._is_open(stream):
            self._target.reset(stream, code, ASKED, StreamGivenUp)

    def go_away(self, code: int, last_stream_id: int | None, debug: bytes) -> None:
        last = self._engine.last_stream_id if last_stream_id is None else last_stream_id
        said = f"GOAWAY({code_name(code)}) with last stream {last}: {ASKED}"
        self._target.client_log.say_once("goaway", said)
        self._engine.go_away(last, code, debug)
        self._target.ignore_above(last)
        self._wire.closing.goes_away()

    def send_raw_frames(self, frames: list[tuple[int, int, int, bytes]]) -> None:
        for frame in frames:
            self._engine.send_raw_frame(*frame)

    def abandon(self, stream: Stream) -> None:
        if self._is_open(stream):
            self._engine.abandon(stream.stream_id)
            self._target.give_up(stream, "left to raw frames", StreamGivenUp)

    def close_transport(self, abort: bool) -> None:
        how = "by a TCP reset" if abort else "without GOAWAY"
        self._target.client_log.say_once("hang_up", f"connection closed {how}: {ASKED}")
        self._outflow.write()
        self._wire.closing.hang_up(abort)

    def change_settings(self, entries: dict[int, int]) -> None:
        if (window := entries.get(Setting.INITIAL_WINDOW_SIZE)) is not None:
            self._target.limit_credit_step(window)
        self._engine.change_settings(entries)
        self._wire.settings_sent()

    def settings_acknowledged(self, entries: dict[int, int]) -> None:
        """The client keeps to these settings from here on."""
        if (size := entries.get(Setting.MAX_FRAME_SIZE)) is not None:
            self._wire.accept_frames(size)

    def stall(self, stream: Stream, seconds: float) -> None:
        if self._is_open(stream) and not stream.response_ended:
            self._outflow.stall(stream)
            self._wire.call_later(seconds, lambda: self._outflow.resume(stream))

    def stall_connection(self, seconds: float) -> None:
        self._outflow.write()
        self._wire.stall(seconds)

    def ping(self, ping: Ping) -> None:
        if self.closed:
            ping.lost()
            return
        self._pings.setdefault(ping.payload, []).append(ping)
        ping.sent()
        self._engine.ping(ping.payload)

    def ping_acknowledged(self, payload: bytes) -> bool:
        """The client answered a PING; False if no application had sent that one."""
        if (same := self._pings.get(payload)) is None:
            return False
        same.pop(0).answered()
        if not same:
            del self._pings[payload]
        return True
