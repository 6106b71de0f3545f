"""What ``--access-log-format`` says: gunicorn's atoms, taken apart. Pure; any thread.

The invariant: a format that is not understood gives a sentence that names what is wrong in it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import ConfigurationError

COMMON = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s'
NAMED = {"common": COMMON, "combined": f'{COMMON} "%(f)s" "%(a)s"'}
"""Formats that have a name, as Apache and nginx have them."""
ATOMS = (
    *("h", "l", "u", "t", "r", "m", "U", "q", "H", "s", "B", "b", "f", "a", "T", "D", "M", "L"),
    *("p", "port", "stream", "outcome"),
)
"""gunicorn's, and three of ours."""
_OF_A_NAME = re.compile(r"\{([^{}]+)\}([ioe])")
_PART = re.compile(r"%(?:\(([^()]*)\)[sd]|(%))")


class Atom(NamedTuple):
    """A value of a request: ``kind`` is one of ATOMS, or i, o, e with a ``name``."""

    kind: str
    name: str = ""


def parse_format(text: str) -> list[str | Atom]:
    """Return the parts, texts and values, of a format, or of the one that ``text`` names.

    Raises:
        ConfigurationError: it has an atom that does not exist, or something else behind a ``%``.
    """
    text = NAMED.get(text, text)
    if not text.isprintable():
        raise _error("a control character", "A request is one line.")
    parts: list[str | Atom] = []
    at = 0
    while at < len(text):
        next_ = text.find("%", at)
        if next_ != at:
            next_ = len(text) if next_ < 0 else next_
            parts.append(text[at:next_])
            at = next_
            continue
        found = _PART.match(text, at)
        if found is None:
            raise _error(repr(text[at : at + 10]), "A percent sign alone is written %%.")
        parts.append("%" if found[2] else _atom(found[1]))
        at = found.end()
    if parts and not any(isinstance(part, Atom) for part in parts):
        raise _error(f"{text!r} alone", "combined and common are formats with a name.")
    return parts


def _atom(text: str) -> Atom:
    if text in ATOMS:
        return Atom(text)
    if found := _OF_A_NAME.fullmatch(text):
        return Atom(found[2], found[1])
    raise _error(
        f"%({text})s",
        f"There are {', '.join(ATOMS)}, and {{field}}i, {{field}}o and {{variable}}e; combined and "
        "common are formats with a name.",
    )


def _error(what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(
        f"The format of the access log (--access-log-format) has {what}, which is no part of one.",
        hint,
    )
