"""One connection and one stream as the inspector has seen them. Under the ledger's lock.

Times are seconds of ``time.monotonic()``, sizes are octets. All lists are bounded: entries beyond a
limit are only counted. Each object says about how much memory it takes with all that it keeps.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ..tap.frames import ConnectionInfo, Direction, Frame, Section, SettingsEntry
from ..tap.names import code_name

MAX_FRAMES = 200
"""Frames kept of a stream: the first half of them, and the last."""
MAX_BLOCKS = 50
"""Waits for a window kept of a stream; the last one then covers all that follow."""
MAX_TEXT = 2_000
"""Characters kept of a path; its frames have it whole."""
MAX_SETTINGS = 100
"""Settings kept of one side."""
MAX_SAMPLES = 500
"""Samples kept of a connection's windows."""
SAMPLE_EVERY = 0.025
"""Seconds between two samples; a window that is used up is sampled at once."""
MAX_CONNECTION_FRAMES = 100
"""Frames kept of a connection that belong to no open stream."""
MAX_CONNECTION_WEIGHT = 4_096
"""Octets of such a frame; a larger one is only counted."""
MAX_CONNECTION_FRAMES_WEIGHT = 81_920
"""Octets of all such frames of a connection."""
FRAME_WEIGHT, FIELD_WEIGHT, SETTING_WEIGHT = 700, 250, 120
"""Octets that a frame, a field and a setting take beside their text, about."""
STREAM_WEIGHT, BLOCK_WEIGHT = 1_200, 130
"""Octets that a stream and each of its waits take, about."""
CONNECTION_WEIGHT, SAMPLE_WEIGHT = 4_000, 170
"""Octets that a connection and each of its samples take, about."""


def weight_of(frame: Frame) -> int:
    """Return about how many octets of memory a frame takes."""
    fields, settings = frame.fields or (), frame.settings or ()
    text = sum(len(field.name) + len(field.value) + len(field.encoded) for field in fields)
    text += sum(map(len, frame.problems))
    many = FIELD_WEIGHT * len(fields) + SETTING_WEIGHT * (len(settings) + len(frame.problems))
    return FRAME_WEIGHT + text + many + len(frame.debug)


class Trouble(NamedTuple):
    """What somebody should look at."""

    cursor: int
    """The ledger's cursor when the trouble was noted."""
    time: float
    connection: int
    stream_id: int
    kind: str
    """``reset``, ``goaway``, ``problem``, ``not HTTP/2``, ``response`` (5xx) or ``lost``."""
    text: str


class Sample(NamedTuple):
    """A connection's windows at a time."""

    time: float
    client: int
    """What the client may send."""
    server: int
    """What the server may send."""


class SeenStream:
    """One request and its response."""

    __slots__ = (
        "began_at", "blocks", "changed", "closed_at", "connection", "counted", "ended_at", "frames",
        "frames_dropped", "frames_seen", "head_at", "method", "number", "path", "problems",
        "received", "request_ended_at", "reset", "reset_by_client", "returned_at", "sent",
        "server_window", "started", "status", "stream_id", "weight",
    )  # fmt: skip

    def __init__(self, number: int, head: Frame) -> None:
        self.number = number
        """The stream's place among all streams of the server, from 1."""
        self.connection = head.connection
        self.stream_id = head.stream_id
        self.started = head.time
        fields = {field.name: field.value for field in head.fields or ()}
        self.method = fields.get(":method", "")[:MAX_TEXT]
        self.path = fields.get(":path", "")[:MAX_TEXT]
        self.status = 0
        self.began_at: float | None = None
        """When the application was called."""
        self.returned_at: float | None = None
        """When the application was done and its iterable closed."""
        self.request_ended_at: float | None = None
        self.head_at: float | None = None
        """When the final response's head left."""
        self.ended_at: float | None = None
        """When the response's END_STREAM left."""
        self.closed_at: float | None = None
        self.reset: int | None = None
        """The error code of the first RST_STREAM."""
        self.reset_by_client = False
        self.blocks: list[tuple[float, float | None]] = []
        """When the response waited for a window: begin and end; None for a wait that goes on."""
        self.server_window = 1
        """What the server may still send on the stream."""
        self.sent = self.received = 0
        """Octets of content."""
        self.frames: list[Frame] = []
        self.frames_seen = self.frames_dropped = self.problems = 0
        self.weight = STREAM_WEIGHT + len(self.method) + len(self.path)
        """About how many octets of memory it takes."""
        self.counted = 0
        """The weight that the ledger has counted for it."""
        self.changed = 0
        """The ledger's cursor at the last change."""

    def take(self, frame: Frame, connection: SeenConnection) -> None:
        """Take a frame of this stream."""
        self.frames_seen += 1
        self.problems += bool(frame.problems)
        if frame.windows.server_stream is not None:
            self.server_window = frame.windows.server_stream
        if frame.received:
            self._take_received(frame, connection)
        else:
            self._take_sent(frame, connection)
        if frame.error_code is not None and self.reset is None:
            self.reset, self.reset_by_client = frame.error_code, frame.received
            self.lost(frame.time)
        elif self.ended_at is not None and self.request_ended_at is not None:
            self.closed_at = frame.time
        self._keep(frame)

    def _take_received(self, frame: Frame, connection: SeenConnection) -> None:
        if frame.data_length is not None:
            self.received += frame.data_length
        elif frame.increment is not None:
            self.unblock(frame.time, connection)
        if frame.ends_stream:
            self.request_ended_at = frame.time

    def _take_sent(self, frame: Frame, connection: SeenConnection) -> None:
        if frame.section is Section.RESPONSE:
            self.head_at = frame.time
            status = next((f.value for f in frame.fields or () if f.name == ":status"), "")
            self.status = int(status) if len(status) == 3 and status.isdecimal() else 0
        elif frame.data_length is not None:
            self.sent += frame.data_length
            # DATA was sent, so the wait is over, perhaps by SETTINGS.
            self._end_block(frame.time, connection)
        if frame.ends_stream:
            self.ended_at = frame.time
            self._end_block(frame.time, connection)
        elif frame.data_length is not None or frame.section is Section.RESPONSE:
            self.block(frame.time, connection)

    def block(self, time: float, connection: SeenConnection) -> bool:
        """Begin to wait if the response is not whole and a window is used up."""
        if self.head_at is None or self.ended_at is not None or self in connection.blocked:
            return False
        if self.server_window > 0 and connection.server_window > 0:
            return False
        connection.blocked[self] = None
        if len(self.blocks) == MAX_BLOCKS:
            self.blocks[-1] = (self.blocks[-1][0], None)
        else:
            self.blocks.append((time, None))
            self.weight += BLOCK_WEIGHT
        return True

    def unblock(self, time: float, connection: SeenConnection) -> bool:
        """End the wait if both windows are open."""
        if self.server_window <= 0 or connection.server_window <= 0:
            return False
        return self._end_block(time, connection)

    def _end_block(self, time: float, connection: SeenConnection) -> bool:
        if self not in connection.blocked:
            return False
        del connection.blocked[self]
        self.blocks[-1] = (self.blocks[-1][0], time)
        return True

    def lost(self, time: float) -> None:
        """The stream is no more, whole or not."""
        self.closed_at = time
        if self.blocks and self.blocks[-1][1] is None:
            self.blocks[-1] = (self.blocks[-1][0], time)

    def _keep(self, frame: Frame) -> None:
        if self.frames_dropped and not self.frames:
            self.frames_dropped += 1
            return
        self.weight += weight_of(frame)
        self.frames.append(frame)
        if len(self.frames) > MAX_FRAMES:
            # Drop one in the middle: the beginning and the end matter most.
            self.weight -= weight_of(self.frames.pop(MAX_FRAMES // 2))
            self.frames_dropped += 1

    def forget_frames(self) -> None:
        """Drop the frames."""
        self.frames_dropped += len(self.frames)
        self.weight -= sum(map(weight_of, self.frames))
        self.frames = []

    @property
    def reset_name(self) -> str:
        """The name of the reset's code, or nothing."""
        return "" if self.reset is None else code_name(self.reset)


class SeenConnection:
    """One connection."""

    def __init__(self, info: ConnectionInfo) -> None:
        self.info = info
        self.open: dict[int, SeenStream] = {}
        """Streams that are not closed, by identifier."""
        self.blocked: dict[SeenStream, None] = {}
        """Streams that wait for a window."""
        self.streams = self.frames_seen = self.resets = self.goaways = self.problems = 0
        self.settings: dict[Direction, dict[int, int]] = {way: {} for way in Direction}
        """What each side has announced; ``received`` are the client's."""
        self.client_window = self.server_window = 0
        """What each side may send."""
        self.last_at = info.opened_at
        """When the last frame was seen."""
        self.samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self.frames: deque[Frame] = deque()
        """The last frames of stream 0, and of streams that are closed or never were."""
        self._frames_weight = 0
        self.counted = 0
        """The weight that the ledger has counted for it."""
        self.other_frames = 0
        """How many frames of no open stream there were, kept or not."""
        self.closed_at: float | None = None
        self.reason = ""
        self.changed = 0
        """The ledger's cursor at the last change."""

    @property
    def weight(self) -> int:
        """About how many octets of memory it takes, its streams aside."""
        kept = SAMPLE_WEIGHT * len(self.samples) + self._frames_weight
        return CONNECTION_WEIGHT + kept + SETTING_WEIGHT * sum(map(len, self.settings.values()))

    def take(self, frame: Frame, *, of_stream: bool) -> None:
        """Take any frame of the connection; the stream keeps those that are ``of_stream``."""
        self.frames_seen += 1
        self.problems += bool(frame.problems)
        if frame.last_stream_id is not None:
            self.goaways += 1
        elif frame.error_code is not None:
            self.resets += 1
        self.last_at = frame.time
        windows = frame.windows
        self.client_window = windows.client_connection
        self.server_window = windows.server_connection
        used_up = min(self.client_window, self.server_window) <= 0
        if not self.samples or used_up or frame.time - self.samples[-1].time >= SAMPLE_EVERY:
            self.samples.append(Sample(frame.time, self.client_window, self.server_window))
        if not of_stream:
            self.other_frames += 1
            self._keep(frame)
        if frame.settings:
            self._take_settings(self.settings[frame.direction], frame.settings)

    def _keep(self, frame: Frame) -> None:
        if (weight := weight_of(frame)) > MAX_CONNECTION_WEIGHT:
            return
        self.frames.append(frame)
        self._frames_weight += weight
        while (
            len(self.frames) > MAX_CONNECTION_FRAMES
            or self._frames_weight > MAX_CONNECTION_FRAMES_WEIGHT
        ):
            self._frames_weight -= weight_of(self.frames.popleft())

    @staticmethod
    def _take_settings(known: dict[int, int], settings: tuple[SettingsEntry, ...]) -> None:
        for setting in settings:
            if setting.id in known or len(known) < MAX_SETTINGS:
                known[setting.id] = setting.value
