"""How cases are written down: a function for each kind of right answer. Pure."""

from __future__ import annotations

from typing import Any

from ...codes import ErrorCode
from ..case import Case, Level, Script, Step, Want
from ..rules import GOES_ON, Rule, connection_ends, stream_ends

GET_WHOLE = (Step(Want.WHOLE),)
GET_ERROR = (Step(Want.ERROR),)
GET_EITHER = (Step(Want.EITHER),)


def fine(id: str, title: str, script: Script, advice: str, *rules: Rule, **more: Any) -> Case:
    """A case that every client takes as if nothing was the matter."""
    more = {"level": Level.MUST, "steps": GET_WHOLE, "wire": (GOES_ON, *rules)} | more
    return Case(id=id, title=title, script=script, advice=advice, **more)


def ends_connection(
    id: str, title: str, script: Script, advice: str, *codes: ErrorCode, **more: Any
) -> Case:
    """A connection error (RFC 9113 section 5.4.1)."""
    more = {"level": Level.MUST, "steps": GET_ERROR, "wire": (connection_ends(*codes),)} | more
    return Case(id=id, title=title, script=script, advice=advice, **more)


def ends_stream(
    id: str, title: str, script: Script, advice: str, *codes: ErrorCode, **more: Any
) -> Case:
    """A stream error (RFC 9113 section 5.4.2), which may be made a connection error."""
    more = {"level": Level.MUST, "steps": GET_ERROR, "wire": (stream_ends(*codes),)} | more
    return Case(id=id, title=title, script=script, advice=advice, **more)


def error(id: str, title: str, script: Script, advice: str, *rules: Rule, **more: Any) -> Case:
    """A case in which the caller has to get an error, whatever goes over the wire."""
    more = {"level": Level.MUST, "steps": GET_ERROR, "wire": rules} | more
    return Case(id=id, title=title, script=script, advice=advice, **more)


def optional(
    id: str,
    title: str,
    script: Script,
    advice: str,
    words: tuple[str, str],
    *rules: Rule,
    **more: Any,
) -> Case:
    """A case in which a client may do this or that: a word tells which."""
    more = {"level": Level.MAY, "steps": GET_EITHER, "wire": rules} | more
    return Case(id=id, title=title, script=script, advice=advice, words=words, **more)
