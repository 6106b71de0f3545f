"""Every case, one module for each group. Data, and functions for the threads of connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from ...errors import ConfigurationError
from ..case import Case
from . import (
    floods,
    flow,
    frames,
    goaway,
    hpack,
    limits,
    preface,
    requests,
    responses,
    retries,
    streams,
    timing,
    tls,
)

GROUPS: dict[str, Sequence[Case]] = {
    "Preface and SETTINGS": preface.CASES,
    "Frames": frames.CASES,
    "Stream states": streams.CASES,
    "Flow control": flow.CASES,
    "HPACK": hpack.CASES,
    "Responses": responses.CASES,
    "RST_STREAM, GOAWAY and lost connections": goaway.CASES,
    "Retries": retries.CASES,
    "Limits": limits.CASES,
    "What a client sends": requests.CASES,
    "Floods": floods.CASES,
    "TLS": tls.CASES,
    "Timing": timing.CASES,
}
CATALOGUE = [replace(case, group=group) for group, cases in GROUPS.items() for case in cases]
"""All cases, in the order of the report."""


def chosen(cases: Sequence[Case], only: Sequence[str]) -> list[Case]:
    """Return the cases that are named: all, if nothing is.

    A name is a section (``6.8``), an RFC (``7541``), an identifier, or a pattern of one
    (``9113/6.8/*``).

    Raises:
        ConfigurationError: a name fits no case.
    """
    for word in only:
        if not any(_fits(case, word) for case in cases):
            known = [name for case in cases for name in (case.section, case.id)]
            near = get_close_matches(word, dict.fromkeys(known))
            hint = f"Near to it: {', '.join(near)}. " if near else ""
            raise ConfigurationError(
                f"No case is named {word}.", f"{hint}See h2wsgi-clientspec --list."
            )
    return [case for case in cases if not only or any(_fits(case, word) for word in only)]


def _fits(case: Case, word: str) -> bool:
    return (
        case.id.startswith(f"{word}/")
        or case.section.startswith(f"{word}.")
        or fnmatchcase(case.id, word)
        or fnmatchcase(case.section, word)
    )
