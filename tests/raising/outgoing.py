"""Scenarios of responses: whole, in pieces, waiting for room, failing."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from raising.notes import WHOLE, Notes, numbered
from raising.scenarios import get, scenario
from raising.talk import Talk
from support.peer import Setting

PLAIN = [("content-type", "text/plain")]
PIECES = [numbered(3), numbered(4), numbered(5)]
LARGE = [numbered(30), numbered(40), numbered(20)]
"""Above what one stream may have unsent, see site.OPTIONS."""
SMALL_WINDOW = {Setting.INITIAL_WINDOW_SIZE: 500}

Environ = dict[str, Any]
Start = Callable[..., Any]


def declared(pieces: Iterable[bytes]) -> list[tuple[str, str]]:
    """Return fields with the length of ``pieces``."""
    return [*PLAIN, ("content-length", str(sum(map(len, pieces))))]


@scenario(get, "list")
def whole(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    notes.expected = WHOLE
    notes.write = start("200 OK", PLAIN)
    return [WHOLE]


@scenario(get)
def list_declared(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    notes.expected = b"".join(PIECES)
    notes.write = start("200 OK", declared(PIECES))
    return list(PIECES)


def head_script(talk: Talk) -> Iterator[None]:
    talk.open("HEAD")
    yield
    talk.end_of(talk.stream)


@scenario(head_script)
def head(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    notes.expected = b""
    start("200 OK", declared(PIECES))
    return iter(PIECES)


def crowd_script(talk: Talk) -> Iterator[None]:
    for _ in range(6):
        talk.open()
    yield
    for stream in talk.streams:
        talk.end_of(stream)


@scenario(crowd_script)
def crowd(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    """Six requests at once on one connection."""
    notes.expected = WHOLE
    start("200 OK", PLAIN)
    return [WHOLE]


@scenario(get)
def generator(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    notes.expected = b"".join(PIECES)
    notes.write = start("200 OK", PLAIN)
    yield from PIECES


@scenario(get)
def generator_declared(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    notes.expected = b"".join(PIECES)
    notes.write = start("200 OK", declared(PIECES))
    yield from PIECES


@scenario(get, options={"request_timeout": 30.0})
def timed(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    """With a limit of time for requests, which has a stream of a kind of its own."""
    notes.expected = b"".join(PIECES)
    notes.write = start("200 OK", PLAIN)
    yield from PIECES


@scenario(get)
def write(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    notes.expected = b"".join(PIECES)
    notes.write = start("200 OK", declared(PIECES))
    for piece in PIECES:
        notes.write(piece)
    return []


def open_later(talk: Talk) -> Iterator[None]:
    """Leave the window shut until the application waits, then open it bit by bit."""
    talk.peer.auto_window = False
    talk.open()
    talk.until_it_waits()
    yield
    for _ in range(3):
        talk.peer.window_update(talk.stream, 2000)
        talk.until_it_waits()
    yield
    talk.peer.window_update(talk.stream, 100_000)
    talk.end_of(talk.stream)


@scenario(open_later, points=2, settings=SMALL_WINDOW)
def room_write(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    notes.expected = b"".join(LARGE)
    notes.write = start("200 OK", PLAIN)
    for piece in LARGE:
        notes.write(piece)
    return []


@scenario(open_later, points=2, settings=SMALL_WINDOW)
def room_generator(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    notes.expected = b"".join(LARGE)
    notes.write = start("200 OK", declared(LARGE))
    yield from LARGE


@scenario(open_later, points=2, settings=SMALL_WINDOW, options={"request_timeout": 30.0})
def timed_room(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    return room_write(environ, start, notes)


CEILING = [numbered(700), numbered(80)]
"""The first is more than a connection may have unsent."""


def two_at_once(talk: Talk) -> Iterator[None]:
    """Two streams with shut windows: the second finds the connection full."""
    talk.peer.auto_window = False
    for _ in range(2):
        talk.open()
        talk.until_it_waits()
    yield
    talk.peer.window_update(0, 1_000_000)
    for stream in talk.streams:
        talk.peer.window_update(stream, 100_000)
    for stream in talk.streams:
        talk.end_of(stream)


@scenario(two_at_once, settings=SMALL_WINDOW)
def ceiling(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    """The connection is full, so that a piece is handed over in parts."""
    notes.expected = b"".join(CEILING)
    notes.write = write = start("200 OK", declared(CEILING))
    for piece in CEILING:
        write(piece)  # the other stream has put its own into the notes meanwhile
    return []


class Closing:
    """An iterable that notes its close()."""

    def __init__(self, notes: Notes, pieces: Iterable[bytes]) -> None:
        self._notes = notes
        self._pieces = iter(pieces)

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        self._notes.closed += 1


@scenario(get)
def close(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    notes.expected = b"".join(PIECES)
    notes.write = start("200 OK", PLAIN)
    made = Closing(notes, PIECES)
    notes.iterable_returned = True
    return made


@scenario(open_later, points=2, settings=SMALL_WINDOW)
def close_room(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    notes.expected = b"".join(LARGE)
    notes.write = start("200 OK", declared(LARGE))
    made = Closing(notes, LARGE)
    notes.iterable_returned = True
    return made


@scenario(get)
def file_wrapper(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    notes.expected = b"".join(PIECES)
    notes.write = start("200 OK", declared(PIECES))
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(b"".join(PIECES)), 400)
    return wrapped


@scenario(get)
def raises(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    """The application fails by itself, before its head."""
    raise ValueError("the application's own")


@scenario(get)
def raises_late(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    """The same in the middle of its content."""
    notes.expected = b"never whole"
    start("200 OK", PLAIN)
    yield PIECES[0]
    raise ValueError("the application's own")


@scenario(get)
def errors_write(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    notes.expected = WHOLE
    environ["wsgi.errors"].write("a line\nand half of one")
    start("200 OK", PLAIN)
    return [WHOLE]


@scenario(get)
def caught_500(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    """Answers with a page of its own when anything goes wrong."""
    notes.expected = PIECES[0]
    try:
        write = start("200 OK", declared(PIECES[:1]))
        write(PIECES[0])
    except BaseException as error:
        start("500 Sorry", PLAIN, (type(error), error, error.__traceback__))
        return [b"sorry\n"]
    return []


def _write_on(write: Callable[[bytes], object], pieces: Iterable[bytes], notes: Notes) -> None:
    for piece in pieces:
        notes.pieces.append((piece, False))
        try:
            write(piece)
        except BaseException:
            continue
        notes.pieces[-1] = (piece, True)


@scenario(get)
def caught_write(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    """Goes on writing whatever happens."""
    _write_on(start("200 OK", PLAIN), PIECES, notes)
    return []


@scenario(get)
def caught_write_declared(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    """The same where a hole must not look whole to the client."""
    _write_on(start("200 OK", declared(PIECES)), PIECES, notes)
    return []


@scenario(open_later, points=2, settings=SMALL_WINDOW)
def caught_room(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    """The same where it has to wait for room."""
    _write_on(start("200 OK", PLAIN), LARGE, notes)
    return []
