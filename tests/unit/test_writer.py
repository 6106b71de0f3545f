"""The thread that writes log lines: nobody waits for it, and what it dropped is said."""

from __future__ import annotations

import errno
import io
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import suppress
from pathlib import Path

import pytest

from h2wsgi.log import writer as log_writer
from h2wsgi.log.writer import LogWriter

WAIT = 10.0


def said(count: int) -> str:
    return f"[{count} dropped]\n"


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for another thread without a fixed sleep."""
    done = threading.Event()
    for _ in range(int(WAIT * 1000)):
        if condition():
            return
        done.wait(0.001)
    raise AssertionError("it never happened")


@pytest.fixture
def pipe() -> Iterator[tuple[int, io.FileIO]]:
    """The reading end and a file of the writing end of a pipe."""
    reading, writing = os.pipe()
    with open(writing, "wb", buffering=0) as file:
        yield reading, file
    with suppress(OSError):
        os.close(reading)


def lines_of(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def test_lines_arrive_in_their_order(tmp_path):
    with open(tmp_path / "log", "wb") as file:
        writer = LogWriter(file, said)
        for number in range(2000):
            writer.write(f"{number}\n")
        writer.close(WAIT)
    assert lines_of(tmp_path / "log") == [str(number) for number in range(2000)]


def test_a_blocked_pipe_stalls_nobody_and_what_is_dropped_is_said(pipe, monkeypatch):
    monkeypatch.setattr(log_writer, "MAX_LINES", 50)
    reading, file = pipe
    writer = LogWriter(file, said)
    line = "x" * 9999 + "\n"
    for _ in range(200):
        writer.write(line)
    writer.close(0.01)  # Gives up, as the pipe is full: the caller is not held.
    text = b""
    while b"dropped]" not in text:
        text += os.read(reading, 1 << 20)
    written = text.count(b"x\n")
    said_dropped = sum(map(int, re.findall(rb"\[(\d+) dropped\]", text)))
    while written + said_dropped < 200:
        text += os.read(reading, 1 << 20)
        written = text.count(b"x\n")
        said_dropped = sum(map(int, re.findall(rb"\[(\d+) dropped\]", text)))
    writer.close(WAIT)
    assert written + said_dropped == 200
    assert said_dropped >= 200 - 50 - log_writer.BATCH_LINES


def test_the_queue_is_bounded_in_characters_too(pipe, monkeypatch):
    monkeypatch.setattr(log_writer, "MAX_CHARACTERS", 100)
    monkeypatch.setattr(log_writer, "BATCH_LINES", 1)
    reading, file = pipe
    writer = LogWriter(file, said)
    for _ in range(20):
        writer.write("x" * 200_000 + "\n")
    text, dropped = b"", 0
    while dropped < 15:  # told at once, or in two parts if the thread began late
        text += os.read(reading, 1 << 20)
        dropped = sum(map(int, re.findall(rb"\[(\d+) dropped\]", text)))
    draining = threading.Thread(target=drain, args=(reading,), daemon=True)
    draining.start()
    writer.close(WAIT)
    file.close()
    draining.join(WAIT)  # or it would read from what has the descriptor next
    assert text.count(b"x") < 20 * 200_000


def drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 1 << 20):
            continue
    except OSError:
        return


def test_a_pipe_whose_reader_is_gone_is_survived(pipe):
    reading, file = pipe
    os.close(reading)
    writer = LogWriter(file, said)
    for _ in range(5):
        writer.write("x\n")
    writer.close(WAIT)
    writer.write("after the end\n")
    writer.close(WAIT)


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_no_stream_and_a_closed_one_are_survived(stream):
    if stream is not None:
        stream.close()
    writer = LogWriter(stream, said)
    writer.write("x\n")
    writer.close(WAIT)


def test_lines_lost_to_a_full_disk_are_said_once_there_is_space():
    class Disk(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    disk = Disk()
    writer = LogWriter(disk, said)
    writer.write("lost\n")
    wait_for(lambda: writer._dropped == 1)
    disk.full = False
    writer.write("kept\n")
    writer.close(WAIT)
    assert disk.getvalue() == "kept\n[1 dropped]\n"


@pytest.mark.skipif(not hasattr(os, "set_blocking"), reason="not on this platform")
def test_a_terminal_made_non_blocking_gets_every_line(pipe):
    reading, file = pipe
    os.set_blocking(file.fileno(), False)
    writer = LogWriter(file, said)
    for _ in range(30):
        writer.write("x" * 9999 + "\n")
    total = 0
    while total < 300_000:
        total += len(os.read(reading, 1 << 20))
    writer.close(WAIT)
    assert total == 300_000


def test_lines_that_are_just_being_taken_are_not_settled(tmp_path, threads):
    taken, go_on = threading.Event(), threading.Event()

    class Lines(deque[str]):
        def popleft(self) -> str:
            line = super().popleft()
            taken.set()
            assert go_on.wait(WAIT)
            return line

    path = tmp_path / "log"
    with open(path, "wb", buffering=0) as file:
        writer = LogWriter(file, said)
        writer._lines = Lines()
        writer.write("line\n")
        assert taken.wait(WAIT)
        settled = threads.submit(lambda: (writer.settle(WAIT), path.read_text()))
        wait([settled], 0.1)  # in which it would be done at once
        go_on.set()
        assert settled.result(WAIT) == (None, "line\n")
        writer.close(WAIT)


def test_closing_leaves_no_thread(tmp_path):
    before = set(threading.enumerate())
    with open(tmp_path / "log", "wb") as file:
        writer = LogWriter(file, said)
        assert set(threading.enumerate()) - before == {writer._thread}
        writer.close(WAIT)
    assert set(threading.enumerate()) <= before


def test_a_renamed_file_is_left_for_a_new_one(tmp_path):
    path = tmp_path / "log"

    def open_again() -> io.FileIO:
        return io.FileIO(path, "ab")

    writer = LogWriter(open_again(), said, open_again=open_again)
    writer.write("before\n")
    wait_for(lambda: path.read_text() == "before\n")
    path.rename(tmp_path / "log.1")
    errors: list[Exception] = []
    assert writer.is_reopened
    writer.reopen(errors.append)
    wait_for(path.exists)
    writer.write("behind\n")
    writer.close(WAIT)
    assert (lines_of(tmp_path / "log.1"), lines_of(path)) == (["before"], ["behind"])
    assert not errors
    assert not writer.is_reopened


def test_a_file_that_cannot_be_opened_anew_goes_on(tmp_path):
    path = tmp_path / "log"
    refusal = OSError("no folder")

    def open_again() -> io.FileIO:
        raise refusal

    writer = LogWriter(io.FileIO(path, "ab"), said, open_again=open_again)
    errors: list[Exception] = []
    writer.reopen(errors.append)
    wait_for(lambda: bool(errors))
    writer.write("kept\n")
    writer.close(WAIT)
    assert errors == [refusal]
    assert lines_of(path) == ["kept"]


def test_a_pipe_is_not_opened_anew(pipe):
    _, file = pipe
    writer = LogWriter(file, said, open_again=lambda: file)
    assert not writer.is_reopened
    writer.close(WAIT)


def test_a_forked_child_writes_at_once_and_leaves_what_was_queued(pipe):
    """Its copy of the lock is held by a thread that it does not have."""
    reading, file = pipe
    writer = LogWriter(file, said)
    with writer._changed:
        writer._lines.append("the parent's\n")
        pid = forked(lambda: writer.write("the child's\n"))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert os.read(reading, 1000) == b"the child's\n"
    writer.close(WAIT)
    assert os.read(reading, 1000) == b"the parent's\n"


def forked(call: Callable[[], None]) -> int:
    """Fork on another thread; return the child's pid."""
    pids: list[int] = []

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            call()
            os._exit(0)
        pids.append(pid)

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    return pids[0]


def test_lines_go_into_a_pipe_whole_as_other_processes_write_there_too(pipe, monkeypatch):
    """A write of more than PIPE_BUF octets may have another's in its middle."""
    reading, file = pipe
    written: list[bytes] = []
    write = os.write

    def note(descriptor: int, octets: bytes) -> int:
        if descriptor == file.fileno():
            written.append(bytes(octets))
        return write(descriptor, octets)

    monkeypatch.setattr(os, "write", note)
    writer = LogWriter(file, said)
    lines = [f"{'x' * 300} {number}\n" for number in range(100)]
    lines.insert(50, "y" * 5000 + "\n")
    with writer._changed:
        for line in lines:
            writer.write(line)
    writer.close(WAIT)
    assert b"".join(written) == os.read(reading, 1_000_000) == "".join(lines).encode()
    assert all(octets.endswith(b"\n") for octets in written)
    assert sum(len(octets) > 4096 for octets in written) == 1
    assert len(written) < 20


def full_at(size: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have files be full at so many octets, in the middle of a line too; return what makes room."""
    write = os.write
    room = size

    def write_as_far_as_it_goes(descriptor: int, octets: bytes) -> int:
        left = room - os.fstat(descriptor).st_size
        if left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, octets[:left])

    def make_room() -> None:
        nonlocal room
        room = 1 << 30

    monkeypatch.setattr(os, "write", write_as_far_as_it_goes)
    return make_room


@pytest.mark.parametrize("mode", ["ab", "wb"])
def test_a_line_that_a_full_disk_cut_is_taken_back_and_counted(tmp_path, monkeypatch, mode):
    make_room = full_at(len("one\ntwo\nthr"), monkeypatch)
    with open(tmp_path / "log", mode, buffering=0) as file:
        writer = LogWriter(file, said)
        with writer._changed:  # all are written at once
            for line in ("one\n", "two\n", "three\n", "four\n"):
                writer.write(line)
        wait_for(lambda: writer._dropped == 2)
        assert lines_of(tmp_path / "log") == ["one", "two"]
        make_room()
        writer.write("five\n")
        writer.close(WAIT)
    assert lines_of(tmp_path / "log") == ["one", "two", "five", "[2 dropped]"]


def test_what_others_have_written_behind_a_line_that_was_cut_stays(tmp_path, monkeypatch):
    path = tmp_path / "log"
    full_at(len("on"), monkeypatch)
    take_back = log_writer._Output._take_back

    def another_writes_first(output: log_writer._Output, octets: int) -> None:
        with path.open("a") as other:
            other.write("another's\n")
        take_back(output, octets)

    monkeypatch.setattr(log_writer._Output, "_take_back", another_writes_first)
    with open(path, "ab", buffering=0) as file:
        writer = LogWriter(file, said)
        writer.write("one\n")
        wait_for(lambda: writer._dropped == 1)
        writer.close(WAIT)
    assert path.read_text() == "onanother's\n"


def test_lines_that_a_full_disk_drops_again_are_counted_once(tmp_path, monkeypatch):
    make_room = full_at(0, monkeypatch)
    with open(tmp_path / "log", "ab", buffering=0) as file:
        writer = LogWriter(file, said)
        for number in range(1, 4):
            writer.write("lost\n")
            wait_for(lambda number=number: writer._dropped == number)
        make_room()
        writer.write("found\n")
        writer.close(WAIT)
    assert lines_of(tmp_path / "log") == ["found", "[3 dropped]"]
