"""What an application may do to its own stream and connection: ``environ["h2wsgi.stream"]``.

Called on any thread of the application, done on the loop's thread, in the order of the calls and
behind what the application had handed over by then, as far as the windows let that leave. Nothing
here waits for the network, but for the two ``wait`` methods.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from ..codes import (
    FRAME_LIMIT,
    LARGEST_FRAME_LIMIT,
    ErrorCode,
    Setting,
    error_code,
    setting,
    setting_name,
)
from ..errors import ClientDisconnected
from ..process.clock import clock

MAX_STREAM_ID = 2**31 - 1
MAX_STALL = 3_600.0
"""Seconds."""

_RANGES: dict[int, tuple[int, int]] = {
    Setting.MAX_CONCURRENT_STREAMS: (0, 2**32 - 1),
    Setting.INITIAL_WINDOW_SIZE: (0, 2**31 - 1),
    Setting.MAX_FRAME_SIZE: (FRAME_LIMIT, LARGEST_FRAME_LIMIT),
    Setting.MAX_HEADER_LIST_SIZE: (0, 2**32 - 1),
}
_FIXED = frozenset(
    {Setting.HEADER_TABLE_SIZE, Setting.ENABLE_PUSH, Setting.ENABLE_CONNECT_PROTOCOL}
)


class Ping:
    """A PING that was sent. Any thread may wait for its answer."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self._sent_at = 0.0
        self._seconds: float | None = None
        self._over = threading.Event()

    def sent(self) -> None:
        """It is on its way (loop thread)."""
        self._sent_at = clock.monotonic()

    def answered(self) -> None:
        """The client answered (loop thread)."""
        self._seconds = clock.monotonic() - self._sent_at
        self._over.set()

    def lost(self) -> None:
        """No answer can come any more (loop thread)."""
        self._over.set()

    def wait(self, timeout: float | None = None) -> float | None:
        """Return the seconds until the answer came, or None if ``timeout`` seconds passed first.

        Raises:
            ClientDisconnected: the connection ended before.
        """
        if not self._over.wait(timeout):
            return None
        if self._seconds is None:
            raise ClientDisconnected("the connection ended before the PING was answered")
        return self._seconds


class Disconnection:
    """Whether the client can no longer be reached on a stream; looks like a threading.Event."""

    __slots__ = ("_stream",)

    def __init__(self, stream: StreamControl) -> None:
        self._stream = stream

    def is_set(self) -> bool:
        """Return True once the stream was reset or lost, or the server stops."""
        return self._stream._disconnected()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for it, at most ``timeout`` seconds; return whether it has come.

        Returns False too when the application call is over before.
        """
        return self._stream._wait_disconnected(timeout)


class Commands(Protocol):
    """What the loop's side does for an application. ``stream`` is the caller's."""

    def reset(self, stream: Any, code: int) -> None: ...
    def go_away(self, code: int, last_stream_id: int | None, debug: bytes) -> None: ...
    def send_raw_frames(self, frames: list[tuple[int, int, int, bytes]]) -> None: ...
    def abandon(self, stream: Any) -> None: ...
    def close_transport(self, abort: bool) -> None: ...
    def change_settings(self, entries: dict[int, int]) -> None: ...
    def stall(self, stream: Any, seconds: float) -> None: ...
    def stall_connection(self, seconds: float) -> None: ...
    def ping(self, ping: Ping) -> None: ...


Command = Callable[[Commands], None]


class StreamControl(abc.ABC):
    """``environ["h2wsgi.stream"]``: one request's stream, and its connection.

    Every method but the properties raises ClientDisconnected if the client is gone from the
    stream, and TypeError or ValueError for what makes no sense. Behind the application's own
    ``reset`` or ``abandon`` what is about the connection still works, and what is about the stream
    does nothing; ``send_informational`` raises StreamGivenUp, a ClientDisconnected, as ``write``
    does.
    """

    __slots__ = ()

    @property
    @abc.abstractmethod
    def id(self) -> int:
        """The stream's identifier."""

    @property
    @abc.abstractmethod
    def shared(self) -> dict[Any, Any]:
        """A dict of the application's own that all requests of the connection have in common."""

    @abc.abstractmethod
    def _command(self, command: Command) -> None:
        """Have ``command`` called on the loop's thread, in its turn."""

    @abc.abstractmethod
    def _disconnected(self) -> bool: ...

    @abc.abstractmethod
    def _wait_disconnected(self, timeout: float | None) -> bool: ...

    @abc.abstractmethod
    def send_informational(self, status: int, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Send a 1xx head, such as 102 or 103 (RFC 9110 section 15.2). Not 101.

        Raises:
            ApplicationError: the final head has left, or a field is illegal.
            ValueError: no such status.
        """

    @property
    def disconnected(self) -> Disconnection:
        """Whether the client is gone: what a long job should look at between its steps."""
        return Disconnection(self)

    def reset(self, code: int | str = ErrorCode.CANCEL) -> None:
        """End the stream with RST_STREAM (RFC 9113 section 6.4)."""
        number = error_code(code)
        self._command(lambda commands: commands.reset(self, number))

    def goaway(
        self,
        code: int | str = ErrorCode.NO_ERROR,
        last_stream_id: int | None = None,
        debug: bytes = b"",
    ) -> None:
        """Send GOAWAY (section 6.8); the connection closes when its open streams are done.

        Streams above ``last_stream_id``, by default the last that was opened, are ignored from
        then on: those that are open, your own too, are given up as by :meth:`abandon`.
        """
        number = error_code(code)
        if last_stream_id is not None:
            _check_number("last_stream_id", last_stream_id, 0, MAX_STREAM_ID)
        _check_octets("debug", debug)
        self._command(lambda commands: commands.go_away(number, last_stream_id, debug))

    def send_raw_frame(
        self, type: int, flags: int = 0, payload: bytes = b"", stream_id: int | None = None
    ) -> None:
        """Send any frame, on this stream unless ``stream_id`` says another; 0 is the connection.

        It goes past all rules. DATA makes the client's windows smaller, below zero if need be;
        nothing else changes here, and no stream ends by it: see :meth:`abandon`.
        """
        self.send_raw_frames([(type, flags, payload, stream_id)])

    def send_raw_frames(self, frames: Iterable[tuple[int, int, bytes, int | None]]) -> None:
        """Send frames of type, flags, payload and stream with nothing of others in between."""
        checked = []
        for type_, flags, payload, stream_id in frames:
            _check_number("type", type_, 0, 255)
            _check_number("flags", flags, 0, 255)
            _check_octets("payload", payload)
            if len(payload) > LARGEST_FRAME_LIMIT:
                raise ValueError(f"payload has {len(payload)} octets, over {LARGEST_FRAME_LIMIT}")
            where = self.id if stream_id is None else stream_id
            _check_number("stream_id", where, 0, MAX_STREAM_ID)
            checked.append((type_, flags, where, bytes(payload)))
        self._command(lambda commands: commands.send_raw_frames(checked))

    def abandon(self) -> None:
        """Count the stream as closed, without a frame that says so.

        What raw frames told the client is all it gets: whatever the application still sends is
        dropped, and so is what still comes of the request.
        """
        self._command(lambda commands: commands.abandon(self))

    def close_transport(self, abort: bool = False) -> None:
        """Hang up without GOAWAY: with FIN, or with ``abort`` by a TCP reset."""
        self._command(lambda commands: commands.close_transport(bool(abort)))

    def change_settings(self, settings: Mapping[int | str, int]) -> None:
        """Send SETTINGS of ours (section 6.5), which count once the client acknowledged them.

        Names or numbers, such as ``{"INITIAL_WINDOW_SIZE": 1000}``. A MAX_HEADER_LIST_SIZE above
        the server's ``max_field_section`` is sent, but not kept.

        Raises:
            ValueError: a value out of range, or one of HEADER_TABLE_SIZE, ENABLE_PUSH and
                ENABLE_CONNECT_PROTOCOL, which would promise what the server does not do.
        """
        if not isinstance(settings, Mapping):
            raise TypeError(f"settings are a dict, not {type(settings).__name__}")
        entries = {}
        for key, value in settings.items():
            code = setting(key)
            if code in _FIXED:
                raise ValueError(
                    f"{setting_name(code)} cannot be changed; send_raw_frame sends anything"
                )
            _check_number(setting_name(code), value, *_RANGES.get(code, (0, 2**32 - 1)))
            entries[code] = value
        self._command(lambda commands: commands.change_settings(entries))

    def stall(self, seconds: float, connection: bool = False) -> None:
        """Send nothing of this stream, or with ``connection`` nothing at all, for so long.

        Reading goes on. What is written meanwhile waits, and ``write`` with it in the end.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise TypeError(f"seconds is a number, not {type(seconds).__name__}")
        if not 0 <= seconds <= MAX_STALL:
            raise ValueError(f"seconds is {seconds}, not from 0 to {MAX_STALL:g}")
        if connection:
            self._command(lambda commands: commands.stall_connection(seconds))
        else:
            self._command(lambda commands: commands.stall(self, seconds))

    def ping(self, payload: bytes | None = None) -> Ping:
        """Send PING (section 6.7) with 8 octets, and return what to wait on for the answer."""
        if payload is None:
            payload = int(clock.monotonic() * 1e9).to_bytes(8, "big")
        _check_octets("payload", payload)
        if len(payload) != 8:
            raise ValueError(f"PING takes 8 octets, not {len(payload)}")
        ping = Ping(bytes(payload))
        self._command(lambda commands: commands.ping(ping))
        return ping


def _check_number(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a whole number, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}, not from {least} to {most}")


def _check_octets(name: str, value: bytes) -> None:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"{name} is octets, not {type(value).__name__}")
