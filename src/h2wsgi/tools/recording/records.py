"""What a test reads of a recorded server: connections and requests as they were. Any thread.

Records are snapshots: a record never changes, and each look makes new ones. Times are seconds of
``time.monotonic()``, sizes are octets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from ..tap.field_blocks import Field
from ..tap.frames import ConnectionInfo, Direction, Frame
from ..tap.names import code_name, setting_name

T = TypeVar("T")


class Records(list[T]):
    """A list of the records that are still kept, oldest first."""

    dropped: int
    """How many older records the limit has dropped."""

    def __init__(self, kept: Iterable[T] = (), dropped: int = 0) -> None:
        super().__init__(kept)
        self.dropped = dropped


class Reset(NamedTuple):
    """An RST_STREAM."""

    stream_id: int
    direction: Direction
    """``received`` if the client sent it."""
    code: int
    time: float

    @property
    def name(self) -> str:
        """The name of the code, such as ``CANCEL``."""
        return code_name(self.code)


class GoAway(NamedTuple):
    """A GOAWAY."""

    direction: Direction
    """``received`` if the client sent it."""
    last_stream_id: int
    code: int
    debug: bytes
    time: float

    @property
    def name(self) -> str:
        """The name of the code, such as ``NO_ERROR``."""
        return code_name(self.code)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RequestRecord:
    """One request and its response, as far as they have come.

    Each field says how its sender encoded it. Pseudo-fields are among them.
    """

    connection: int
    """``ConnectionRecord.id`` of the connection it came on."""
    stream_id: int
    fields: tuple[Field, ...]
    """The request's field section, in order."""
    started: float
    """When its HEADERS were complete."""
    at: float
    """The same in seconds since the epoch."""

    body: bytes = b""
    """The content received, as much of it as is kept."""
    body_size: int = 0
    """How long the content received is, kept or not."""
    trailers: tuple[Field, ...] = ()
    request_ended: float | None = None
    """When the client's END_STREAM came; None if it has not."""

    informational: tuple[int, ...] = ()
    """The 1xx statuses sent before the final one."""
    status: int | None = None
    """The final status; None before it is sent."""
    response_fields: tuple[Field, ...] = ()
    response_size: int = 0
    """How long the content sent is."""
    response_trailers: tuple[Field, ...] = ()
    ended: float | None = None
    """When the response's END_STREAM was about to leave; None if it has not been."""

    reset: Reset | None = None
    """The first RST_STREAM of either side, if the stream ended with one."""

    def __repr__(self) -> str:
        became = "no answer" if self.status is None else str(self.status)
        if self.reset is not None:
            became += f", RST_STREAM({self.reset.name})"
        where = f"connection {self.connection}, stream {self.stream_id}"
        return f"<RequestRecord {self.method} {self.path} ({where}): {became}>"

    @property
    def method(self) -> str:
        """``:method``, or nothing if there is none."""
        return self.header(":method") or ""

    @property
    def path(self) -> str:
        """``:path`` as sent: path and query."""
        return self.header(":path") or ""

    @property
    def scheme(self) -> str:
        """``:scheme``."""
        return self.header(":scheme") or ""

    @property
    def authority(self) -> str:
        """``:authority``, or else the ``host`` field."""
        return self.header(":authority") or self.header("host") or ""

    @property
    def complete(self) -> bool:
        """Whether both the request and the response have ended with END_STREAM."""
        return self.request_ended is not None and self.ended is not None

    @property
    def seconds(self) -> float | None:
        """From the request's HEADERS to the end of the response; None before that."""
        return None if self.ended is None else self.ended - self.started

    def field(self, name: str) -> Field | None:
        """Return the request's first field of a name, with its encoding, or None."""
        return _first(self.fields, name)

    def header(self, name: str) -> str | None:
        """Return the value of the request's first field of a name, or None."""
        found = self.field(name)
        return None if found is None else found.value

    def headers(self, name: str) -> list[str]:
        """Return the values of all the request's fields of a name, in order."""
        return [field.value for field in self.fields if field.name == name.lower()]

    def response_header(self, name: str) -> str | None:
        """Return the value of the response's first field of a name, or None."""
        found = _first(self.response_fields, name)
        return None if found is None else found.value


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ConnectionRecord(ConnectionInfo):
    """One connection, as far as it has come."""

    closed_at: float | None
    """None while it is open."""
    close_reason: str
    """Such as ``the client hung up``; empty while it is open."""
    settings_by_id: dict[int, int]
    """The client's settings, the last value of each; those it did not send are not there."""
    frames: Records[Frame]
    """Every frame of both directions, in order."""
    requests: Records[RequestRecord]
    """Every request, in order."""
    requests_seen: int
    """How many requests came, kept or not, refused or not."""
    requests_served: int
    """How many responses were sent to their end."""
    highest_concurrency: int
    """The most streams that were open at once."""
    resets: Records[Reset]
    """Every RST_STREAM of either side, in order."""
    goaways: Records[GoAway]
    """Every GOAWAY of either side, in order."""

    def __repr__(self) -> str:
        end = self.close_reason if self.closed else "open"
        seen = f"{self.requests_seen} requests, {len(self.frames)} frames"
        return f"<ConnectionRecord {self.id} of {self.peer}: {seen}; {end}>"

    @property
    def closed(self) -> bool:
        """Whether the connection is no more."""
        return self.closed_at is not None

    @property
    def reused(self) -> int:
        """How often the connection was used again: requests after the first."""
        return max(self.requests_seen - 1, 0)

    @property
    def settings(self) -> dict[str, int]:
        """The client's settings by name, such as ``INITIAL_WINDOW_SIZE``."""
        return {setting_name(number): value for number, value in self.settings_by_id.items()}

    @property
    def problems(self) -> list[Frame]:
        """The frames that have something wrong with them."""
        return [frame for frame in self.frames if frame.problems]

    def received(self, name: str = "") -> list[Frame]:
        """Return the client's frames, of one type such as ``"HEADERS"`` or of all."""
        return self._of(Direction.RECEIVED, name)

    def sent(self, name: str = "") -> list[Frame]:
        """Return the server's frames, of one type such as ``"HEADERS"`` or of all."""
        return self._of(Direction.SENT, name)

    def _of(self, direction: Direction, name: str) -> list[Frame]:
        return [f for f in self.frames if f.direction is direction and name in ("", f.name)]


def _first(fields: tuple[Field, ...], name: str) -> Field | None:
    name = name.lower()
    return next((field for field in fields if field.name == name), None)
