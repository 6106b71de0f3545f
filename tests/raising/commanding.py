"""Scenarios of ``environ["h2wsgi.stream"]``: what an application may do to its connection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from raising.notes import WHOLE, Notes
from raising.outgoing import PIECES, PLAIN, SMALL_WINDOW, Environ, Start, declared, open_later
from raising.scenarios import get, scenario
from raising.talk import Talk


def whole(start: Start, notes: Notes) -> Iterable[bytes]:
    """Answer."""
    notes.expected = WHOLE
    notes.write = start("200 OK", PLAIN)
    return [WHOLE]


@scenario(get)
def ping(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    environ["h2wsgi.stream"].ping().wait(1.0)
    return whole(start, notes)


@scenario(get)
def hints(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    environ["h2wsgi.stream"].send_informational(102)
    environ["wsgi.early_hints"]([("link", "</style.css>; rel=preload")])
    return whole(start, notes)


@scenario(get)
def stall(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    environ["h2wsgi.stream"].stall(0.01)
    notes.expected = b"".join(PIECES)
    notes.write = start("200 OK", declared(PIECES))
    yield from PIECES


@scenario(get)
def settings(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    stream = environ["h2wsgi.stream"]
    stream.change_settings({"INITIAL_WINDOW_SIZE": 20_000})
    stream.send_raw_frame(0xF0, payload=b"unknown")
    return whole(start, notes)


@scenario(get)
def reset(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    environ["h2wsgi.stream"].reset("CANCEL")
    return whole(start, notes)


@scenario(open_later, points=2, settings=SMALL_WINDOW)
def reset_late(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    notes.expected = b"never whole"
    write = start("200 OK", PLAIN)
    write(PIECES[0])
    environ["h2wsgi.stream"].reset("CANCEL")
    write(PIECES[1])
    return []


def ending(talk: Talk) -> Iterator[None]:
    talk.ends_connection = True
    talk.open()
    yield
    talk.end_of(talk.stream)


@scenario(ending)
def goaway(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    environ["h2wsgi.stream"].goaway(debug=b"enough")
    return whole(start, notes)


@scenario(ending)
def hang_up(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    environ["h2wsgi.stream"].close_transport()
    return whole(start, notes)


@scenario(get)
def disconnected(environ: Environ, start: Start, notes: Notes) -> Iterable[bytes]:
    gone = environ["h2wsgi.stream"].disconnected
    if not gone.is_set():
        gone.wait(0.005)
    return whole(start, notes)
