"""Flow control, both ways (RFC 9113 sections 5.2, 6.9)."""

from __future__ import annotations

from collections.abc import Callable

from ...codes import ErrorCode, Setting
from .. import octets
from ..case import Case, Level, Script, Step, Want
from ..conversation import OK, REACTION, TURN, Conversation, DoesNotApply, NotReached, Starved
from ..octets import DATA, PADDED, frame, padded, settings, window_update
from ..rules import clean, that
from ..scripts import amid
from ..server import Session
from .build import ends_connection, ends_stream, fine

FLOW = ErrorCode.FLOW_CONTROL_ERROR
WINDOW = Setting.INITIAL_WINDOW_SIZE
CREDIT = "Credit for content goes back as it is consumed, or the response never ends."
OBEY = "No more than the windows allow may be sent: the stream's, and the connection's."
LARGEST = "No window may grow beyond 2^31-1."
WITHIN = clean("no DATA frame goes beyond a window or SETTINGS_MAX_FRAME_SIZE", (DATA,))
SMALL, MANY = 2**20, 60_000
"""Octets of a window, and lines of content that exceed it."""
LARGE, VERY_MANY = 2**25, 700_000
"""The same for clients that open a very large window at once, as browsers do."""
DISCARDED = 3
"""Streams whose content is discarded."""


def _larger(largest: int) -> Callable[[Conversation], None]:
    """Send a response that is larger than the windows, if they are at most so large."""

    def play(c: Conversation) -> None:
        c.greet()
        request = c.request()
        c.until(lambda: c.settings, 1)
        c.sleep(0.05)
        if c.window(request.stream) > largest:
            raise DoesNotApply(f"its windows are over {largest // 2**20} MiB")
        c.reach()
        c.respond(request)

    return play


def _all_padding(c: Conversation) -> None:
    """Content in frames that are nearly all padding, which takes from the windows too."""
    c.greet()
    request = c.request()
    c.sleep(0.05)
    if c.window(request.stream) > 250_000:
        raise DoesNotApply("its windows are over 250,000 octets")
    c.reach()
    c.head(request)
    for piece in octets.pieces(request.content, 1):
        if not c.until(lambda: c.window(request.stream) >= 257):
            raise Starved
        c.spend(request.stream, 257)
        c.send(frame(DATA, request.stream, padded(piece, 255), PADDED), seen=False)
    c.send(octets.data(request.stream, b"", end=True))


def _discarded(c: Conversation) -> None:
    """Use up the connection's window on streams that the client has reset; then serve on."""
    c.greet()
    had = spent = 0
    while (request := c.request()).number <= DISCARDED:
        c.sleep(0.05)
        had = had or c.connection_window
        if c.window(request.stream) > LARGE:
            raise DoesNotApply(f"its windows are over {LARGE // 2**20} MiB")
        c.send(octets.headers(request.stream, (*OK, ("X-Upper", "case"))))
        c.sleep(0.05)
        left = min(c.window(request.stream), had - spent)
        spent += max(left, 0)
        while left > 0:
            step = min(left, 2**14)
            left -= step
            c.spend(request.stream, step)
            c.send(octets.data(request.stream, bytes(step)), seen=False)
        c.send(octets.data(request.stream, b"", end=True))
    if had and spent >= had:
        c.reach()
    else:
        c.reason = "the connection's window was not used up on streams that were reset"
    c.respond(request)


def _upload(
    *entries: tuple[int, int], before: Callable[[Conversation, int], None]
) -> Callable[[Conversation], None]:
    """Take a POST under these settings; ``before`` gives credit as the case wants it."""

    def play(c: Conversation) -> None:
        c.credits = False
        c.greet(*entries)
        request = c.request()
        c.until(c.acknowledged, 2)
        c.reach()
        before(c, request.stream)
        if not c.until(lambda: c.has_ended(request.stream)):
            raise NotReached("its upload did not end")
        c.respond(request)

    return play


def _credit(c: Conversation, stream: int, octets_: int) -> None:
    c.send(window_update(0, octets_), window_update(stream, octets_))


def _as_it_comes(c: Conversation, stream: int) -> None:
    given = 0
    while not c.has_ended(stream):
        came = c.received(stream)
        if came > given:
            _credit(c, stream, came - given)
            given = came
        c.pump(TURN)
        if c.session.is_over:
            return


def _by_drips(c: Conversation, stream: int) -> None:
    for step in (1, 1, 10, 100, 1000):
        had = c.received(stream)
        _credit(c, stream, step)
        c.until(lambda: c.received(stream) >= had + step, 1)  # noqa: B023
    _credit(c, stream, 2**20)


def _by_settings(c: Conversation, stream: int) -> None:
    c.sleep(REACTION)
    c.send(settings((WINDOW, 50_000)))
    _as_it_comes(c, stream)


def _negative(c: Conversation, stream: int) -> None:
    """Take all of the window, lower it below 0, and give too little, then enough."""
    c.until(lambda: c.received(stream) >= 20_000, 2)
    had = c.acknowledged()
    c.send(settings((WINDOW, 1_000)))
    c.until(lambda: c.acknowledged() > had, 2)
    _credit(c, stream, 10_000)
    c.sleep(REACTION)
    _credit(c, stream, 2**20)


def _connection_first(c: Conversation, stream: int) -> None:
    c.until(lambda: c.received(stream) >= octets.FIRST_WINDOW, 2)
    c.sleep(REACTION)
    c.send(window_update(0, 2**20))


def _stream_first(c: Conversation, stream: int) -> None:
    c.send(window_update(0, 2**20))
    c.until(lambda: c.received(stream) >= 1_000, 2)
    c.sleep(REACTION)
    c.send(window_update(stream, 2**20))


def _at_once(c: Conversation, stream: int) -> None:
    _credit(c, stream, 2**20)


def _too_large_by_settings(c: Conversation) -> None:
    """Have SETTINGS move a window that was credited beyond the largest."""
    c.credits = False
    c.greet((WINDOW, 1_000))
    request = c.request()
    c.until(lambda: c.received(request.stream) >= 1_000, 2)
    c.send(window_update(request.stream, 10_000))
    c.reach()
    c.send(window_update(request.stream, 2**30), settings((WINDOW, 2**31 - 1)))
    c.sleep(REACTION)
    c.send(window_update(0, 2**20))
    c.respond(request)


def _post(
    id: str,
    title: str,
    words: str,
    play: Callable[[Conversation], None],
    size: int = 100_000,
) -> Case:
    step = Step(Want.WHOLE, "post", size=size)
    return fine(id, title, Script(words, play), OBEY, WITHIN, steps=(step,))


def _is_credited(session: Session) -> str:
    for conversation in session.conversations:
        if conversation.is_reached and not any(
            f.type == octets.WINDOW_UPDATE for f in conversation.frames
        ):
            return "it never sent WINDOW_UPDATE"
    return ""


CASES: list[Case] = [
    # ---------------------------------------------------------------------- what a client takes
    fine(
        "9113/5.2/1",
        "a response larger than the windows",
        Script("It sends 3 MB, as far as the client's windows allow.", _larger(SMALL)),
        CREDIT,
        that("WINDOW_UPDATE gives credit for what was taken", _is_credited),
        lines=MANY,
    ),
    fine(
        "9113/5.2/2",
        "a response larger than windows of 32 MiB",
        Script("It sends 36 MB, as far as the client's windows allow.", _larger(LARGE)),
        CREDIT,
        that("WINDOW_UPDATE gives credit for what was taken", _is_credited),
        lines=VERY_MANY,
    ),
    fine(
        "9113/6.9.1/1",
        "padding that takes all of the windows",
        Script("It sends content in frames that are all padding but for an octet.", _all_padding),
        "Padding takes from the windows, so credit for it goes back too.",
    ),
    Case(
        id="9113/5.2.2/1",
        title="content that the client discards",
        level=Level.MUST,
        script=Script(
            "It uses up the connection's window on three streams with malformed responses, and "
            "answers the next request well.",
            _discarded,
        ),
        steps=(*[Step(Want.ERROR)] * DISCARDED, Step(Want.WHOLE)),
        wire=(),
        advice="Credit of the connection goes back for DATA that is discarded too.",
    ),
    # -------------------------------------------------------------------------------- overflow
    ends_connection(
        "9113/6.9.1/2",
        "the connection's window over 2^31-1",
        amid("two increments of 2^31-1 for the connection", window_update(0, 2**31 - 1) * 2),
        LARGEST,
        FLOW,
    ),
    ends_stream(
        "9113/6.9.1/3",
        "the stream's window over 2^31-1",
        amid(
            "two increments of 2^31-1 for the stream",
            lambda r: window_update(r.stream, 2**31 - 1) * 2,
        ),
        LARGEST,
        FLOW,
    ),
    ends_connection(
        "9113/6.9.2/1",
        "a window over 2^31-1 by SETTINGS",
        Script(
            "It gives credit in an upload, and then a setting that takes the window over 2^31-1.",
            _too_large_by_settings,
        ),
        LARGEST,
        FLOW,
        steps=(Step(Want.ERROR, "post", size=200_000),),
    ),
    # ------------------------------------------------------------------------ what a client sends
    _post(
        "9113/6.9/6",
        "an upload larger than the windows",
        "It gives credit for an upload as it comes.",
        _upload(before=_as_it_comes),
        300_000,
    ),
    _post(
        "9113/6.9/7",
        "an upload through a window of 1,000 octets",
        "Its windows for streams are 1,000 octets.",
        _upload((WINDOW, 1_000), before=_as_it_comes),
        20_000,
    ),
    _post(
        "9113/6.9/8",
        "a window that opens by drips",
        "Its windows for streams are 0 octets, and open by 1, 1, 10, 100, 1,000 and all.",
        _upload((WINDOW, 0), before=_by_drips),
        20_000,
    ),
    _post(
        "9113/6.9.2/2",
        "a window that SETTINGS open",
        "Its windows for streams are 0 octets, until SETTINGS change that.",
        _upload((WINDOW, 0), before=_by_settings),
    ),
    _post(
        "9113/6.9.2/3",
        "a window that SETTINGS make negative",
        "It lowers a window that is used up, and gives too little, then enough.",
        _upload((WINDOW, 20_000), before=_negative),
        60_000,
    ),
    _post(
        "9113/6.9.1/4",
        "the connection's window before the stream's",
        "Its windows for streams are large; that of the connection is used up first.",
        _upload((WINDOW, 2**20), before=_connection_first),
        200_000,
    ),
    _post(
        "9113/6.9.1/5",
        "the stream's window before the connection's",
        "The connection's window is large; that of the stream is used up first.",
        _upload((WINDOW, 1_000), before=_stream_first),
    ),
    _post(
        "9113/4.2/4",
        "an upload within MAX_FRAME_SIZE",
        "Its windows are large, and its MAX_FRAME_SIZE is the smallest.",
        _upload((WINDOW, 2**20), before=_at_once),
        300_000,
    ),
    _post(
        "9113/6.5/5",
        "one setting twice in a frame",
        "It says INITIAL_WINDOW_SIZE 0 and 65,535 in one frame: the last counts.",
        _upload((WINDOW, 0), (WINDOW, 65_535), before=_as_it_comes),
    ),
]
