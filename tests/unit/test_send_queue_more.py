"""Streams that were held up have what they had, whatever that was."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from h2wsgi.http2.send_queue import Piece, SendQueue
from h2wsgi.seam.handover import COMMAND, END, MORE, Head

HEAD = Head(200)


def command(commands: object) -> None:
    """Stands for what an application asks for."""


WAITING: dict[str, tuple[Callable[[SendQueue], None], Piece]] = {
    "a head": (lambda queue: queue.push(1, HEAD, b"", MORE), Piece(1, HEAD, b"", MORE)),
    "content": (lambda queue: queue.push(1, None, b"x", MORE), Piece(1, None, b"x", MORE)),
    "an end": (lambda queue: queue.push(1, None, b"", END), Piece(1, None, b"", END)),
    "a command": (
        lambda queue: queue.push_command(1, command),
        Piece(1, None, b"", COMMAND, command),
    ),
}


@pytest.mark.parametrize("what", WAITING)
def test_what_comes_while_a_stream_is_held_up_is_sent_when_it_goes_on(what: str) -> None:
    push, piece = WAITING[what]
    queue = SendQueue(lambda _: 100)
    queue.stall(1)
    push(queue)
    assert queue.next() is None
    queue.resume(1)
    assert queue.next() == piece
    assert queue.next() is None
    assert not queue.pending


def test_a_stream_that_has_nothing_when_it_goes_on_is_forgotten() -> None:
    queue = SendQueue(lambda _: 100)
    queue.stall(1)
    assert queue.pending
    queue.resume(1)
    assert not queue.pending
    assert queue.next() is None
