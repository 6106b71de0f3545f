"""When octets come, and in which pieces: slow servers, and odd cuts."""

from __future__ import annotations

from collections.abc import Callable

from ...codes import Setting
from .. import octets
from ..case import Case, Level, Script, Step, Want
from ..conversation import OK, Conversation
from ..scripts import whole
from .build import GET_ERROR, fine, optional

PIECES = "TCP keeps no borders: frames come in any pieces, whatever they were sent as."
PATIENT = "A response that is slow is no error."
ROBUST = {"level": Level.ROBUST}


def _octet_by_octet(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.reach()
    sent = whole(request)
    for at in range(200):
        c.send(sent[at : at + 1], seen=False)
    c.send(sent[200:], seen=False)


def _at_once(c: Conversation) -> None:
    request = c.request()
    c.reach()
    c.is_greeted = True
    c.send(octets.settings(), octets.frame(octets.SETTINGS, 0, b"", 1), whole(request))


def _slow_head(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.reach()
    c.sleep(1.5)
    c.respond(request)


def _drip(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.head(request)
    c.reach()
    for piece in octets.pieces(request.content, 40):
        c.content(request, piece, end=False)
        c.sleep(0.02)
    c.send(octets.data(request.stream, b"", end=True))


def _stall(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.head(request)
    c.content(request, request.content[:100], end=False)
    c.reach()
    c.sleep(3)
    c.content(request, request.content[100:])


def _no_acknowledgement(c: Conversation) -> None:
    c.acknowledges = False
    c.greet()
    request = c.request()
    c.reach()
    c.sleep(0.5)
    c.respond(request)


def _late_end(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.head(request)
    c.content(request, request.content, end=False)
    c.reach()
    c.sleep(1)
    c.send(octets.data(request.stream, b"", end=True))


def _small_frames(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.reach()
    c.send(octets.headers(request.stream, OK))
    c.content(request, request.content, size=1)


def _stall_on(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.head(request)
    c.content(request, request.content[:100], end=False)
    c.reach()
    c.linger()


def _silent(c: Conversation) -> None:
    c.greet()
    c.request()
    c.reach()
    c.linger()


def _mute(c: Conversation) -> None:
    c.reach()
    c.linger()


def _shut(c: Conversation) -> None:
    c.credits = False
    c.greet((Setting.INITIAL_WINDOW_SIZE, 1_000))
    c.request()
    c.reach()
    c.linger()


def _endless(
    id: str,
    title: str,
    words: str,
    play: Callable[[Conversation], None],
    steps: tuple[Step, ...] = GET_ERROR,
) -> Case:
    """A case in which nothing comes any more: only the caller knows how long to wait."""
    advice = "Who waits for ever needs a time limit of its own; a part is no response."
    script = Script(words, play)
    return optional(id, title, script, advice, ("gives up", ""), hangs="waits on", steps=steps)


CASES: list[Case] = [
    fine(
        "9113/4.1/3",
        "frames that come octet by octet",
        Script("It sends a response octet by octet.", _octet_by_octet),
        PIECES,
    ),
    fine(
        "9113/4.1/4",
        "all frames at once",
        Script("It sends its preface and the response at once.", _at_once),
        PIECES,
    ),
    fine(
        "9113/6.1/7",
        "content in frames of one octet",
        Script("It sends content in frames of one octet.", _small_frames),
        "Frames may be as small as a server likes.",
    ),
    fine(
        "9110/15/1",
        "a head that is slow",
        Script("It answers after 1.5 s.", _slow_head),
        PATIENT,
        **ROBUST,
    ),
    fine(
        "9110/6.4/1",
        "content that drips",
        Script("It sends 40 octets at a time.", _drip),
        PATIENT,
        **ROBUST,
    ),
    fine(
        "9110/6.4/2",
        "an end that is slow",
        Script("It ends the stream a second behind all of the content.", _late_end),
        "The response has ended when END_STREAM came, not before.",
        **ROBUST,
    ),
    optional(
        "9110/6.4/3",
        "content that stalls for 3 s",
        Script("It stalls for 3 s in the middle of the content.", _stall),
        PATIENT,
        ("gives up", "waits"),
    ),
    _endless("9110/6.4/4", "content that stalls for ever", "It stalls in the content.", _stall_on),
    _endless("9110/15/2", "a head that never comes", "It answers nothing.", _silent),
    _endless("9113/3.4/9", "a preface that never comes", "It sends nothing at all.", _mute),
    _endless(
        "9113/6.9/9",
        "an upload whose window never opens",
        "It lets 1,000 octets of an upload come, and no more.",
        _shut,
        steps=(Step(Want.ERROR, "post", size=100_000),),
    ),
    optional(
        "9113/6.5.3/4",
        "SETTINGS that are not acknowledged",
        Script("It acknowledges no SETTINGS.", _no_acknowledgement),
        "A client may wait for the acknowledgement, or not.",
        ("gives up", "takes the response"),
    ),
]
