"""Scenarios of requests with content: read in every way, and what else may be on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from h2wsgi.http2 import gathering
from raising.notes import CONTENT, WHOLE, Notes
from raising.outgoing import PIECES, PLAIN, Environ, Start
from raising.scenarios import THIRDS, post_in_pieces, post_whole, scenario
from raising.talk import Talk


def answer(start: Start, notes: Notes) -> Iterable[bytes]:
    """Say how much was read."""
    notes.expected = b"%d\n" % sum(map(len, notes.read))
    notes.write = start("200 OK", PLAIN)
    return [notes.expected]


@scenario(post_whole, "post-whole")
@scenario(post_in_pieces, "read-n", points=2)
def read_n(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    read = environ["wsgi.input"].read
    while notes.take(read(250)):
        pass
    return answer(start, notes)


@scenario(post_in_pieces, points=2)
def read_all(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    notes.take(environ["wsgi.input"].read())
    notes.saw_end = True
    return answer(start, notes)


@scenario(post_in_pieces, points=2)
def readline(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    line = environ["wsgi.input"].readline
    while notes.take(line()):
        pass
    return answer(start, notes)


@scenario(post_in_pieces, points=2)
def iteration(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    for line in environ["wsgi.input"]:
        notes.take(line)
    notes.saw_end = True
    return answer(start, notes)


@scenario(post_in_pieces, points=2)
def read_mixed(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    """Small reads, a line of bounded size, read1, readinto, readlines."""
    content = environ["wsgi.input"]
    for read in (lambda: content.read(1), lambda: content.read(4), lambda: content.readline(50),
                 lambda: content.read1(60)):  # fmt: skip
        notes.take(read())
    target = bytearray(150)
    notes.take(bytes(target[: content.readinto(target)]))
    for line in content.readlines():
        notes.take(line)
    notes.saw_end = True
    return answer(start, notes)


def _read_on(read: Callable[[], bytes], notes: Notes) -> None:
    """Read to the end, whatever happens, but not for ever."""
    failures = 0
    while failures < 3:
        try:
            data = read()
        except BaseException:
            failures += 1
            notes.caught.set()
            continue
        if not notes.take(data):
            break


@scenario(post_in_pieces, points=2)
def caught_read(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    """Goes on reading whatever happens."""
    _read_on(lambda: environ["wsgi.input"].read(250), notes)
    return answer(start, notes)


@scenario(post_in_pieces, points=2)
def caught_readline(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    _read_on(environ["wsgi.input"].readline, notes)
    return answer(start, notes)


def expecting(talk: Talk) -> Iterator[None]:
    talk.open("POST", fields=[("expect", "100-continue")], end=False)
    talk.until(lambda response: bool(response.informational))
    yield
    talk.data(CONTENT, end=True)
    talk.end_of(talk.stream)


@scenario(expecting)
def expect_continue(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    notes.take(environ["wsgi.input"].read())
    notes.saw_end = True
    return answer(start, notes)


def upload_on(talk: Talk) -> Iterator[None]:
    """Go on sending behind the response."""
    talk.open("POST", end=False)
    talk.data(THIRDS[0])
    yield
    talk.until(lambda response: response.status != 0)
    talk.data(THIRDS[1])
    yield
    talk.end_of(talk.stream)
    talk.data(THIRDS[2], end=True)


@scenario(upload_on, points=2)
def early_answer(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    """Answers without a look at the content."""
    notes.expected = WHOLE
    start("200 OK", PLAIN)
    return [WHOLE]


@scenario(upload_on, points=2)
def early_answer_half_read(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    """Takes a little of it before."""
    notes.take(environ["wsgi.input"].read(100))
    notes.expected = WHOLE
    start("200 OK", PLAIN)
    return iter([WHOLE])


def echo_script(talk: Talk) -> Iterator[None]:
    talk.open("POST", end=False)
    for number, piece in enumerate(THIRDS):
        talk.data(piece, end=number == 2)
        wanted = CONTENT.rfind(b"\n", 0, 300 * (number + 1)) + 1  # whole lines come back
        talk.until(lambda response, wanted=wanted: response.received >= wanted)
        if number < 2:
            yield
    talk.end_of(talk.stream)


@scenario(echo_script, points=2)
def echo(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    """Reads a line and writes it."""
    notes.expected = CONTENT
    notes.write = start("200 OK", PLAIN)
    while line := notes.take(environ["wsgi.input"].readline()):
        notes.write(line)
    return []


def with_trailers(talk: Talk) -> Iterator[None]:
    talk.open("POST", fields=[("trailer", "sum")], end=False)
    talk.data(CONTENT)
    talk.until_it_waits()
    yield
    talk.peer.headers(talk.stream, [("sum", "42")], end_stream=True)
    talk.end_of(talk.stream)


@scenario(with_trailers)
def trailers(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    notes.take(environ["wsgi.input"].read())
    notes.saw_end = True
    notes.trailers = environ["h2wsgi.trailers"]()
    notes.expected = b"".join(PIECES)
    notes.write = start("200 OK", [*PLAIN, ("trailer", "sum")])
    environ["wsgi.ext.http.send_trailers"]([("sum", "43")])
    return iter(PIECES)


gathering.IN_MEMORY = 500
"""So that what is sent here lies in a file, where it has to be whole first."""


def post_and_pause(talk: Talk) -> Iterator[None]:
    """Send the content of a request that starts once all of it is there."""
    talk.open("POST", end=False)
    talk.data(CONTENT[:600])
    yield
    talk.data(CONTENT[600:], end=True)
    talk.end_of(talk.stream)


@scenario(post_and_pause, options={"unsized_content": "buffer"})
def read_a_file(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    """Reads on whatever happens."""
    _read_on(lambda: environ["wsgi.input"].read(250), notes)
    return answer(start, notes)
