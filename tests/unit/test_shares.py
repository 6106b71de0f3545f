"""What workers know of each other, across processes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from h2wsgi.process.shares import AWAY, Shares


@pytest.fixture
def shares() -> Iterator[Shares]:
    made = Shares.make()
    yield made
    made.close()


def test_who_has_more_than_another_knows_it(shares: Shares) -> None:
    places = []
    for row in range(3):
        shares.reserve(row)
        places.append(shares.place(row))
    places[0].count(5)
    assert not places[0].has_more_than_another  # the others accept nothing yet
    places[1].count(5)
    assert not places[0].has_more_than_another
    places[1].count(4)
    assert places[0].has_more_than_another
    assert not places[1].has_more_than_another
    places[1].leave()
    assert not places[0].has_more_than_another
    places[2].count(0)
    assert places[0].has_more_than_another
    shares.free(2)
    assert not places[0].has_more_than_another
    assert [shares.connections(row) for row in range(3)] == [5, AWAY, AWAY]


def test_another_process_sees_what_is_written(shares: Shares) -> None:
    shares.reserve(7)
    pid = os.fork()
    if pid == 0:
        place = Shares(shares.descriptor).place(7)
        place.count(3)
        place.beat()
        place.beat()
        os._exit(0)
    os.waitpid(pid, 0)
    assert (shares.connections(7), shares.beats(7)) == (3, 2)


def test_a_row_that_nobody_uses_is_away(shares: Shares) -> None:
    assert shares.connections(1000) == AWAY
