"""Every case, one module for each group. Data, and functions for the threads of connections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

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


def chosen(cases: Iterable[Case], only: Sequence[str]) -> list[Case]:
    """Return the cases of the sections (``6.8``) or identifiers (``9113/6.8/*``) that are named."""
    return [case for case in cases if not only or any(_fits(case, word) for word in only)]


def _fits(case: Case, word: str) -> bool:
    if "/" in word:
        return fnmatchcase(case.id, word) or case.id.startswith(f"{word}/")
    return case.section == word or case.section.startswith(f"{word}.")
