"""Mutants that live because they cannot matter, and why."""

from __future__ import annotations

from typing import NamedTuple


class Explained(NamedTuple):
    """A mutant that no test has to find."""

    module: str
    """Name of its file, without ``.py``."""
    line: str
    """The source line, stripped."""
    mutated: str
    """The line with the mistake."""
    why: str


EXPLAINED: tuple[Explained, ...] = (
    Explained(
        "protocol",
        "return self.write_paused and self.unsent > UNREAD_REPLIES",
        "return self.write_paused and self.unsent >= UNREAD_REPLIES",
        "One octet more or less of unread answers is nothing that anybody notices.",
    ),
    Explained(
        "connection",
        "self._arrives_from = stream_id",
        "pass",
        "It only says which content is taken without a lock; with one it is taken all the same.",
    ),
    Explained(
        "mailbox",
        "fd, self._fd = self._fd, -1",
        "fd, self._fd = self._fd, -2",
        "Any negative number says that there is no descriptor.",
    ),
    Explained(
        "thread_pool",
        "for _ in range(min(self._lanes.waiting(), room, max(1, threads))):",
        "for _ in range(min(self._lanes.waiting(), room, max(0, threads))):",
        "Threads below the eager ones count as at hand, so here there is one at least.",
    ),
    Explained(
        "thread_pool",
        "for _ in range(min(self._lanes.waiting(), room, max(1, threads))):",
        "for _ in range(min(self._lanes.waiting(), room, max(2, threads))):",
        "With a single thread the limit is one, and so there is room for one more at most.",
    ),
    Explained(
        "hpack",
        "len(fields) * self._longest + 2 * len(block) > self._max_octets",
        "len(fields) * self._longest + 3 * len(block) > self._max_octets",
        "A quick bound: a higher one only means that the exact sum is looked at more often.",
    ),
    Explained(
        "hpack",
        "len(fields) * self._longest + 2 * len(block) > self._max_octets",
        "len(fields) * self._longest + 2 * len(block) >= self._max_octets",
        "A quick bound: the exact sum, which is looked at then, decides.",
    ),
    Explained(
        "response",
        "self._length = -1",
        "self._length = -0",
        "start_response sets it, and before that nothing is sent by it.",
    ),
    Explained(
        "response",
        "self._length = -1",
        "self._length = -2",
        "start_response sets it, and before that nothing is sent by it.",
    ),
    Explained(
        "response",
        "self._without_content = False",
        "self._without_content = True",
        "start_response sets it, and before that nothing is sent by it.",
    ),
    Explained(
        "response",
        "self._without_content = False",
        "pass",
        "start_response sets it, and before that nothing looks at it.",
    ),
    Explained(
        "frame_gate",
        "self._missing = 0",
        "self._missing = (-1)",
        "No frame has fewer octets than none: what comes next is taken at once, with a copy more.",
    ),
    Explained(
        "input",
        "def read(self, size: int | None = -1, /) -> bytes:",
        "def read(self, size: int | None = -2, /) -> bytes:",
        "Any negative size asks for everything.",
    ),
    Explained(
        "thread_pool",
        "return Step.LEFT_ALONE",
        "return None",
        "Whoever asks does nothing about it, as for any other value that it does not know.",
    ),
    Explained(
        "environ",
        "environ_key = lru_cache(maxsize=1024)(_make_key)",
        "environ_key = lru_cache(maxsize=1023)(_make_key)",
        "How many names are remembered is a matter of speed alone.",
    ),
    Explained(
        "closing",
        "if clock.monotonic() < until:",
        "if clock.monotonic() <= until:",
        "No clock is looked at just then; and it would only look once more.",
    ),
    Explained(
        "h2_connection",
        'if indexes_only and len(block) <= KNOWN_BLOCK_SIZE and b"set-cookie" not in dict(key):',
        'if indexes_only and len(block) > KNOWN_BLOCK_SIZE and b"set-cookie" not in dict(key):',
        "Which heads the reference remembers is a matter of speed alone.",
    ),
)


def reason(module: str, line: str, mutated: str) -> str | None:
    """Return why a mutant cannot matter, or None."""
    for known in EXPLAINED:
        if known[:3] == (module, line, mutated):
            return known.why
    return None
