"""Messages between a supervisor and a worker: whole, in order, and nobody waits for the other."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from h2wsgi.process.channel import MOST, Channel


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    one, other = (Channel(sock) for sock in socket.socketpair())
    yield one, other
    one.close()
    other.close()


def test_messages_come_whole_and_in_order(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    one.send({"do": "first", "text": "a\nb"})
    one.send({"do": "second"})
    assert other.first(1) == {"do": "first", "text": "a\nb"}
    assert other.received() == [{"do": "second"}]
    assert other.received() == []
    one.sock.send(b'{"do": ')
    assert other.received() == []
    one.sock.send(b'"third"}\n')
    assert other.received() == [{"do": "third"}]
    assert not other.ended


def test_what_was_said_last_is_heard_behind_the_end(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    one.send({"say": "failed"})
    one.close()
    other.send({"do": "stop"})  # to nobody
    assert not other.ended
    assert other.received() == [{"say": "failed"}]
    assert other.ended
    assert other.received() == []


def test_the_first_message_is_not_waited_for_for_ever(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    with pytest.raises(TimeoutError):
        other.first(0.01)
    one.close()
    with pytest.raises(ConnectionResetError):
        other.first(10)


def test_who_does_not_listen_is_not_waited_for(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    for _ in range(100):
        one.send({"do": "x" * 65_536})
    found: list[object] = []
    while not other.ended:
        found += other.received()
    assert all(message == {"do": "x" * 65_536} for message in found)
    assert 0 < len(found) < 100


def test_a_message_that_does_not_end_ends_the_channel(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    for _ in range(MOST // 65_536 + 1):
        one.sock.send(b"x" * 65_536)
        assert other.received() == []
    assert other.ended
