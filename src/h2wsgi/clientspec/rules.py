"""What is right on the wire, as rules that look at what was seen. Pure.

RFC 9113 section 5.4 leaves much to a client: it may make a stream error a connection error, leave
out GOAWAY, or take another code. What counts as a MUST is that the stream or the connection ends;
GOAWAY and the code are a SHOULD.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ..codes import ErrorCode, code_name
from ..tools.tap.frames import Section
from . import octets
from .conversation import Conversation
from .server import Session


class Finding(NamedTuple):
    """What is wrong: with a MUST, and with a SHOULD; empty for nothing."""

    must: str = ""
    should: str = ""


GOOD = Finding()


@dataclass(frozen=True, slots=True)
class Rule:
    """What is right, in words, and the function that looks."""

    words: str
    check: Callable[[Session], Finding]
    waits: bool = False
    """Whether it is about what a client does in the end, for which the client gets a moment."""


def reached(session: Session) -> list[Conversation]:
    """Return the connections on which the case was played."""
    return [c for c in session.conversations if c.is_reached]


def request_fields(conversations: Iterable[Conversation]) -> Iterator[list[tuple[str, str]]]:
    """Yield the fields of each request."""
    for conversation in conversations:
        for one in conversation.frames:
            if one.block is not None and one.section is Section.REQUEST:
                yield [(field.name, field.value) for field in one.block.fields]


def goaway_codes(conversation: Conversation) -> list[int]:
    """Return the codes of the GOAWAY frames that the client sent."""
    frames = conversation.frames
    return [f.error_code for f in frames if f.type == octets.GOAWAY and f.error_code is not None]


def reset_codes(conversation: Conversation) -> list[int]:
    """Return the codes of the client's RST_STREAM frames."""
    frames = conversation.frames
    return [
        f.error_code for f in frames if f.type == octets.RST_STREAM and f.error_code is not None
    ]


def connection_ends(*codes: ErrorCode) -> Rule:
    """A connection error: the client closes, with GOAWAY and one of the codes before it."""

    def check(session: Session) -> Finding:
        for conversation in reached(session):
            said = [code for code in goaway_codes(conversation) if code]
            if not conversation.ended and not said:
                return Finding("it kept the connection open")
            if not said:
                return Finding("", "it closed without GOAWAY")
            if said[0] not in codes:
                return Finding("", f"its GOAWAY says {code_name(said[0])}")
        return GOOD

    wanted = " or ".join(code.name for code in codes)
    return Rule(f"the connection ends, with GOAWAY({wanted})", check, waits=True)


def stream_ends(*codes: ErrorCode) -> Rule:
    """A stream error: RST_STREAM with one of the codes, or more than that."""

    def check(session: Session) -> Finding:
        for conversation in reached(session):
            said = reset_codes(conversation) + [c for c in goaway_codes(conversation) if c]
            if not said and not conversation.ended and not _is_done(conversation):
                return Finding("it ended neither the stream nor the connection")
            if said and said[0] not in codes:
                return Finding("", f"it says {code_name(said[0])}")
        return GOOD

    wanted = " or ".join(code.name for code in codes)
    return Rule(f"the stream ends, with RST_STREAM({wanted}) if it is open", check, waits=True)


def _is_done(conversation: Conversation) -> bool:
    """Return whether no stream is open, as the frames tell."""
    return not conversation.exchanged or conversation.exchanged[-1].open_streams == 0


def _goes_on(session: Session) -> Finding:
    for conversation in session.conversations:
        ended: set[int] = set()
        for frame in conversation.exchanged:
            code = frame.error_code
            if not frame.received and frame.ends_stream:
                ended.add(frame.stream_id)
            elif frame.received and frame.type == octets.GOAWAY and code:
                return Finding(f"it ended the connection with GOAWAY({code_name(code)})")
            # A stream that has ended may be reset by a client that forgets it.
            elif (
                frame.received
                and frame.type == octets.RST_STREAM
                and code
                and frame.stream_id not in ended
            ):
                return Finding(f"it ended the stream with RST_STREAM({code_name(code)})")
    return GOOD


GOES_ON = Rule("neither the stream nor the connection ends with an error", _goes_on)


def clean(words: str, kinds: tuple[int, ...] = ()) -> Rule:
    """No frame of the client's, or none of these types, has anything wrong with it."""

    def check(session: Session) -> Finding:
        for conversation in session.conversations:
            for frame in conversation.frames:
                if frame.problems and (not kinds or frame.type in kinds):
                    return Finding(f"{frame.name} on stream {frame.stream_id}: {frame.problems[0]}")
        return GOOD

    return Rule(words, check)


def that(words: str, check: Callable[[Session], str], *, waits: bool = False) -> Rule:
    """Return a rule of a case's own; ``check`` returns what is wrong, or nothing."""
    return Rule(words, lambda session: Finding(check(session)), waits)


def should(words: str, check: Callable[[Session], str]) -> Rule:
    """The same for a SHOULD."""
    return Rule(words, lambda session: Finding("", check(session)))
