"""Who sends next: output of all streams of a connection, fair between them. Pure.

Each stream has its pieces in the order the application made them (invariant 2). Streams take
turns of one frame, or go by their priorities; one whose flow-control window is closed steps aside
until it opens. A command of the application has its place between the pieces, but does not wait for
a window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from ..codes import FRAME_LIMIT
from ..seam.control import Command
from ..seam.handover import ABORT, COMMAND, END, MORE, TRAILERS, Head, Kind
from .priorities import Turns


class Piece(NamedTuple):
    """What to send next for one stream: a head, or content and how it leaves the stream.

    Or, with the kind COMMAND, what to do next.
    """

    stream_id: int
    head: Head | None
    data: bytes | memoryview
    kind: Kind
    command: Command | None = None


class _Pending:
    """One stream's output that has not been sent."""

    __slots__ = ("behind", "data", "heads", "kind", "octets", "trailers")

    def __init__(self) -> None:
        self.heads: deque[Head] = deque()
        self.data: deque[bytes | memoryview] = deque()
        self.octets = 0
        self.kind: Kind = MORE
        self.trailers: Head | None = None
        self.behind: deque[Piece] | None = None
        """What came since the first command that has not had its turn; it is the first in here."""

    @property
    def empty(self) -> bool:
        """True if there is nothing to send or to do."""
        nothing = not (self.heads or self.octets or self.behind)
        return nothing and self.kind is MORE


class SendQueue:
    """The pieces of many streams.

    ``window(stream_id)`` says how many octets of content may be sent on a stream now: the smaller
    of its window and the connection's, negative where SETTINGS shrank it. ``max_frame_size``: peers
    may allow more, but larger frames would only let one stream hold up the others.
    """

    def __init__(self, window: Callable[[int], int], max_frame_size: int = FRAME_LIMIT) -> None:
        self._window = window
        self._max_frame_size = max_frame_size
        self.pending: dict[int, _Pending] = {}
        """What is queued, by stream: looked at for each response, so no method stands before it."""
        self._ready: Turns = deque()
        # In the order they stepped aside: a window that opens a little must not serve the same
        # stream each time.
        self._blocked: dict[int, None] = {}
        self.stalled: set[int] = set()
        """Streams that an application holds up. They are pending, even with nothing to send."""

    def take_turns_by(self, turns: Turns) -> None:
        """Let ``turns`` say from here on whose turn it is."""
        while self._ready:
            turns.append(self._ready.popleft())
        self._ready = turns

    @property
    def has_ready(self) -> bool:
        """True if some stream may have its turn: what comes now has to wait behind it."""
        return len(self._ready) > 0

    def ends(self, stream_id: int) -> bool:
        """Return True if the end of the stream is queued: nothing can follow it."""
        if (pending := self.pending.get(stream_id)) is None:
            return False
        behind = pending.behind or ()
        return pending.kind is not MORE or any(p.kind not in (MORE, COMMAND) for p in behind)

    def push(self, stream_id: int, head: Head | None, data: bytes, kind: Kind) -> None:
        """Append output of one stream. A head always precedes the content pushed after it."""
        pending = self.pending.get(stream_id)
        if pending is None:
            pending = self.pending[stream_id] = _Pending()
            self._ready.append(stream_id)
        if pending.behind is not None:
            pending.behind.append(Piece(stream_id, head, data, kind))
            return
        _add(pending, head, data, kind)
        if kind is ABORT:
            self._unblock(stream_id)

    def push_command(self, stream_id: int, command: Command) -> None:
        """Give a command its place behind the output of a stream, which may be closed already."""
        pending = self.pending.get(stream_id)
        if pending is None:
            pending = self.pending[stream_id] = _Pending()
            self._ready.append(stream_id)
        if pending.behind is None:
            pending.behind = deque()
        pending.behind.append(Piece(stream_id, None, b"", COMMAND, command))
        self._unblock(stream_id)

    def take_commands(self) -> list[Command]:
        """Take all commands, and drop everything else: nothing is sent any more."""
        behind = [piece for pending in self.pending.values() for piece in pending.behind or ()]
        self.pending.clear()
        self._ready.clear()
        self._blocked.clear()
        self.stalled.clear()
        return [piece.command for piece in behind if piece.command is not None]

    def next(self) -> Piece | None:
        """Take the next piece, at most one frame; None if all streams are blocked or done."""
        for _ in range(len(self._ready)):
            stream_id = self._ready.popleft()
            pending = self.pending[stream_id]
            if pending.heads:
                return self._take_head(stream_id, pending)
            if not pending.octets and pending.kind is MORE and pending.behind is not None:
                return self._take_command(stream_id, pending, pending.behind)
            if not pending.octets:
                return self._take_end(stream_id, pending)
            room = min(self._window(stream_id), self._max_frame_size)
            if room <= 0 and pending.kind is ABORT:
                # The rest would only delay the news that the response failed.
                pending.data.clear()
                pending.octets = 0
                return self._take_end(stream_id, pending)
            if room <= 0 and pending.behind is not None:
                return self._take_command(stream_id, pending, pending.behind)
            if room <= 0:
                self._blocked[stream_id] = None
                continue
            return self._take_data(stream_id, pending, room)
        return None

    def window_opened(self, stream_id: int) -> None:
        """A window grew: the stream's, or with 0 the connection's; let who waited try again."""
        if stream_id:
            self._unblock(stream_id)
        else:
            self._ready.extend(self._blocked)
            self._blocked.clear()

    def discard(self, stream_id: int) -> None:
        """Drop a stream's output. Its commands are kept, as they may be about the connection."""
        pending = self.pending.pop(stream_id, None)
        if pending is None:
            return
        self._leave(stream_id)
        commands = [piece for piece in pending.behind or () if piece.kind is COMMAND]
        if commands:
            self.pending[stream_id] = kept = _Pending()
            kept.behind = deque(commands)
            self._ready.append(stream_id)

    def _leave(self, stream_id: int) -> None:
        """Take a stream out of where it waits."""
        if stream_id in self.stalled:
            self.stalled.remove(stream_id)
        elif stream_id in self._blocked:
            del self._blocked[stream_id]
        else:
            self._ready.remove(stream_id)

    def stall(self, stream_id: int) -> None:
        """Hold a stream up until :meth:`resume`, whatever it has to send."""
        if stream_id in self.stalled:
            return
        # Kept as pending, so that a whole response does not go past it.
        if self.pending.setdefault(stream_id, stalled := _Pending()) is not stalled:
            self._leave(stream_id)
        self.stalled.add(stream_id)

    def resume(self, stream_id: int) -> None:
        """Let a stream go on that was held up."""
        if stream_id not in self.stalled:
            return
        self.stalled.remove(stream_id)
        if self.pending[stream_id].empty:
            del self.pending[stream_id]
        else:
            self._ready.append(stream_id)

    def _take_command(self, stream_id: int, pending: _Pending, behind: deque[Piece]) -> Piece:
        """Take the command that is next, and what follows it into the queue, up to another."""
        piece = behind.popleft()
        while behind and behind[0].kind is not COMMAND:
            _, head, data, kind, _ = behind.popleft()
            _add(pending, head, data, kind)
        if not behind:
            pending.behind = None
        if pending.empty:
            del self.pending[stream_id]
        else:
            self._ready.appendleft(stream_id)
        return piece

    def _unblock(self, stream_id: int) -> None:
        if stream_id in self._blocked:
            del self._blocked[stream_id]
            self._ready.append(stream_id)

    def _take_head(self, stream_id: int, pending: _Pending) -> Piece:
        head = pending.heads.popleft()
        only = not pending.heads and not pending.octets
        if only and pending.kind is END:
            self._finish(stream_id, pending)
            return Piece(stream_id, head, b"", END)
        if only and pending.empty:
            del self.pending[stream_id]
        else:
            # The stream keeps its turn: content usually fits behind the head in one record.
            self._ready.appendleft(stream_id)
        return Piece(stream_id, head, b"", MORE)

    def _take_data(self, stream_id: int, pending: _Pending, room: int) -> Piece:
        chunks = pending.data
        first = chunks[0]
        if len(first) > room:
            # A view: cutting a large chunk into frames must not copy its rest each time.
            view = first if type(first) is memoryview else memoryview(first)
            data: bytes | memoryview = view[:room]
            chunks[0] = view[room:]
        else:
            data = _take_small(chunks, room)
        pending.octets -= len(data)
        if pending.octets or pending.kind in (ABORT, TRAILERS):
            self._ready.append(stream_id)
            return Piece(stream_id, None, data, MORE)
        kind = pending.kind
        self._finish(stream_id, pending)
        return Piece(stream_id, None, data, kind)

    def _take_end(self, stream_id: int, pending: _Pending) -> Piece:
        """Take how a stream ends whose content was taken before."""
        kind, trailers = pending.kind, pending.trailers
        self._finish(stream_id, pending)
        if kind is TRAILERS:
            return Piece(stream_id, trailers, b"", END)
        return Piece(stream_id, None, b"", kind)

    def _finish(self, stream_id: int, pending: _Pending) -> None:
        """What came before the first command was taken, and perhaps there is none."""
        if pending.behind is None:
            del self.pending[stream_id]
        else:
            pending.kind = MORE
            self._ready.appendleft(stream_id)


def _add(pending: _Pending, head: Head | None, data: bytes | memoryview, kind: Kind) -> None:
    if kind is TRAILERS:
        pending.trailers = head
    elif head is not None:
        pending.heads.append(head)
    if data:
        pending.data.append(data)
        pending.octets += len(data)
    pending.kind = kind


def _take_small(chunks: deque[bytes | memoryview], room: int) -> bytes | memoryview:
    """Take chunks off the front, up to ``room`` octets, joined into one; the first of them fits."""
    first = chunks.popleft()
    if not chunks or len(first) + len(chunks[0]) > room:
        return first
    parts = [first]
    room -= len(first)
    while chunks and len(chunks[0]) <= room:
        room -= len(chunks[0])
        parts.append(chunks.popleft())
    return b"".join(parts)
