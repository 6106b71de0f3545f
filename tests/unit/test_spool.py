"""Content in a temporary file, by itself: written on one thread, read on another, released once."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator

import pytest

from h2wsgi.errors import ClientDisconnected, StreamBroken
from h2wsgi.seam import spool
from h2wsgi.seam.spool import BLOCK, Spool, Spooled, SpoolFull
from h2wsgi.wsgi.input import Input
from support.settled import eventually

TIMEOUT = 10.0


LIMIT = 10 * BLOCK


class Files:
    """A spool of ten blocks and what its thread has told."""

    def __init__(self) -> None:
        self.spool = Spool(LIMIT)
        self.told = threading.Semaphore(0)
        self.contents: list[Spooled] = []

    def begin(self) -> Spooled:
        content = self.spool.keep(self.told.release)
        self.contents.append(content)
        return content

    def written(self, *batches: bytes) -> Spooled:
        content = self.begin()
        for batch in batches:
            self.write(content, batch)
        return content

    def write(self, content: Spooled, batch: bytes) -> None:
        content.write([batch], len(batch))
        assert self.told.acquire(timeout=TIMEOUT)
        assert content.error is None

    def release(self, content: Spooled) -> None:
        content.release()
        eventually(lambda: not content.reserved, "the content to be gone")

    @property
    def size(self) -> int:
        """Octets of the file; 0 if there is none."""
        blocks = self.spool._blocks
        return 0 if blocks is None else os.fstat(blocks._file.fileno()).st_size


@pytest.fixture
def files() -> Iterator[Files]:
    files = Files()
    yield files
    for content in files.contents:
        content.release()
    eventually(lambda: (files.spool.contents, files.spool.used) == (0, 0), "all to be gone")
    assert files.spool._blocks is None, "the file is closed"


def test_what_was_written_is_read_in_its_order(files):
    source = Input(b"", files.written(b"one\ntwo", b"\nthree"))
    assert source.readline() == b"one\n"
    assert source.peek(1)[:1] == b"t"
    assert source.read() == b"two\nthree"
    assert source.read() == b""


def test_a_content_that_is_given_back_twice_counts_once(files):
    content = files.written(b"x" * 6 * BLOCK)
    other = files.written(b"y" * (3 * BLOCK + 1))
    assert files.spool.used == LIMIT, "whole blocks count"
    content.release()
    content.release()
    eventually(lambda: files.spool.used == 4 * BLOCK, "the first to be gone")
    assert Input(b"", other).read() == b"y" * (3 * BLOCK + 1)


def test_more_than_there_is_room_for_is_refused_and_not_counted(files):
    files.written(b"x" * 9 * BLOCK)
    content = files.begin()
    with pytest.raises(SpoolFull):
        content.write([b"y" * (BLOCK + 1)], BLOCK + 1)
    assert files.spool.used == 9 * BLOCK
    files.write(content, b"y" * 100)
    files.write(content, b"y" * (BLOCK - 100))


def test_contents_share_a_file_and_what_is_free_of_it_is_taken_again(files):
    first = files.written(b"a" * 3 * BLOCK)
    second = files.written(b"b" * BLOCK)
    files.release(first)
    third = files.written(b"c" * (BLOCK - 1), b"d", b"e" * 2 * BLOCK, b"f")
    assert files.size == 4 * BLOCK + 1
    assert Input(b"", second).read() == b"b" * BLOCK
    assert Input(b"", third).read() == b"c" * (BLOCK - 1) + b"d" + b"e" * 2 * BLOCK + b"f"


def test_the_file_gets_shorter_as_its_end_is_free_and_is_closed_when_all_is(files):
    first, second, third = (files.written(letter * 2 * BLOCK) for letter in (b"a", b"b", b"c"))
    files.release(second)
    assert files.size == 6 * BLOCK
    files.release(third)
    assert files.size == 2 * BLOCK
    files.release(first)
    assert files.spool._blocks is None


def test_contents_written_in_turns_are_kept_apart(files):
    files.spool = Spool(0)
    chance = random.Random(1)
    expected: dict[Spooled, bytes] = {}
    for turn in range(400):
        if len(expected) < 5:
            expected[files.written(b"begun")] = b"begun"
        content = chance.choice(list(expected))
        batch = bytes([turn % 256]) * chance.choice([1, 100, BLOCK, 3 * BLOCK, 20_000])
        files.write(content, batch)
        expected[content] += batch
        if chance.random() < 0.2:
            assert Input(b"", content).read() == expected.pop(content)
            files.release(content)
    for content, octets in expected.items():
        assert Input(b"", content).read() == octets


def test_a_disk_that_takes_parts_is_given_the_rest(files, monkeypatch):
    """As it may; and it may give parts."""
    write, read = os.pwrite, os.pread
    monkeypatch.setattr(spool.os, "pwrite", lambda fd, data, at: write(fd, data[:1_000], at))
    monkeypatch.setattr(spool.os, "pread", lambda fd, octets, at: read(fd, min(octets, 700), at))
    octets = random.Random(1).randbytes(3 * BLOCK)
    assert Input(b"", files.written(octets[:5_000], octets[5_000:])).read() == octets


def test_a_system_without_reads_at_a_place_has_them_in_turn(files, monkeypatch):
    """Windows."""
    monkeypatch.delattr(spool.os, "pwrite")
    monkeypatch.delattr(spool.os, "pread")
    first, second = files.written(b"a" * 2 * BLOCK), files.written(b"b" * 2 * BLOCK)
    one, other = Input(b"", first), Input(b"", second)
    assert one.read(10) + other.read(10) == b"a" * 10 + b"b" * 10
    assert one.read() + other.read() == b"a" * (2 * BLOCK - 10) + b"b" * (2 * BLOCK - 10)


def test_without_a_thread_to_write_it_nothing_stays_counted(files, monkeypatch):
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError):
        files.begin()
    assert files.spool.contents == 0


def test_a_content_that_was_given_back_cannot_be_read(files):
    """Its request is over: what is left of it must not look like the end."""
    content = files.written(b"content")
    source = Input(b"", content)
    assert source.read(3) == b"con"
    content.release()
    with pytest.raises(ClientDisconnected):
        Input(b"", content).read()


def test_a_content_is_given_back_once_all_of_it_was_read(files):
    """Its response may be long, and its client slow."""
    content = files.written(b"x" * 3 * BLOCK)
    source = Input(b"", content)
    assert len(source.read(3 * BLOCK - 1)) == 3 * BLOCK - 1
    assert files.spool.used == 3 * BLOCK
    assert source.read(1) == b"x"
    eventually(lambda: files.spool.used == 0, "its blocks to be free")
    assert (source.read(1), source.read(), content.take([], 1)) == (b"", b"", 0)


def test_a_read_that_was_struck_is_not_guessed(files):
    """Whether its octets were taken, nobody knows."""

    class Struck(list[bytes]):
        def append(self, data: bytes) -> None:
            raise MemoryError

    content = files.written(b"content")
    with pytest.raises(MemoryError):
        content.take(Struck(), 3)
    with pytest.raises(StreamBroken):
        content.take([], 3)


def test_the_thread_is_there_as_long_as_contents_are(files):
    def alive() -> bool:
        return any(thread.name == "h2wsgi-files" for thread in threading.enumerate())

    for _ in range(3):
        content = files.written(b"x")
        assert alive()
        content.release()
        eventually(lambda: not alive(), "the thread to end")
