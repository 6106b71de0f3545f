"""Content in temporary files, by itself: written on one thread, read on another, released once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from h2wsgi.errors import ClientDisconnected, StreamBroken
from h2wsgi.seam.spool import Spool, SpoolFile, SpoolFull
from h2wsgi.wsgi.input import Input
from support.settled import eventually

TIMEOUT = 10.0


class Files:
    """A spool of 1,000 octets and what its thread has told."""

    def __init__(self) -> None:
        self.spool = Spool(1_000)
        self.told = threading.Semaphore(0)
        self.files: list[SpoolFile] = []

    def file(self) -> SpoolFile:
        file = self.spool.file(self.told.release)
        self.files.append(file)
        return file

    def written(self, *batches: bytes) -> SpoolFile:
        file = self.file()
        for batch in batches:
            file.write([batch], len(batch))
            assert self.told.acquire(timeout=TIMEOUT)
        return file


@pytest.fixture
def files() -> Iterator[Files]:
    files = Files()
    yield files
    for file in files.files:
        file.release()
    eventually(lambda: files.spool.files == 0, "the files to be closed")
    assert files.spool.used == 0


def test_what_was_written_is_read_in_its_order(files):
    source = Input(b"", files.written(b"one\ntwo", b"\nthree"))
    assert source.readline() == b"one\n"
    assert source.peek(1)[:1] == b"t"
    assert source.read() == b"two\nthree"
    assert source.read() == b""


def test_a_file_that_is_given_back_twice_counts_once(files):
    file = files.written(b"x" * 600)
    other = files.written(b"y" * 400)
    file.release()
    file.release()
    eventually(lambda: files.spool.used == 400, "the first to be closed")
    assert Input(b"", other).read() == b"y" * 400


def test_more_than_there_is_room_for_is_refused_and_not_counted(files):
    files.written(b"x" * 900)
    file = files.file()
    with pytest.raises(SpoolFull):
        file.write([b"y" * 101], 101)
    assert files.spool.used == 900
    file.write([b"y" * 100], 100)
    assert files.told.acquire(timeout=TIMEOUT)


def test_a_file_that_was_given_back_cannot_be_read(files):
    """Its request is over: what is left of it must not look like the end."""
    file = files.written(b"content")
    source = Input(b"", file)
    assert source.read(3) == b"con"
    file.release()
    with pytest.raises(ClientDisconnected):
        Input(b"", file).read()


def test_a_read_that_was_struck_is_not_guessed(files):
    """Whether its octets were taken, nobody knows."""

    class Struck(list[bytes]):
        def append(self, data: bytes) -> None:
            raise MemoryError

    file = files.written(b"content")
    with pytest.raises(MemoryError):
        file.take(Struck(), 3)
    with pytest.raises(StreamBroken):
        file.take([], 3)


def test_the_thread_is_there_as_long_as_files_are(files):
    def alive() -> bool:
        return any(thread.name == "h2wsgi-files" for thread in threading.enumerate())

    for _ in range(3):
        file = files.written(b"x")
        assert alive()
        file.release()
        eventually(lambda: not alive(), "the thread to end")
