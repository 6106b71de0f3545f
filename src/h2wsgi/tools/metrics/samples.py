"""The values of metrics at one moment, and how those of processes add up. Pure; any thread.

``Samples`` are plain: a name, the values of its labels, a number or the numbers of a histogram. So
those of several processes can be handed on as JSON and added up.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

Labels = tuple[str, ...]
Value = float | list[float]
"""A number; for a histogram how many values each bucket has alone, and last the sum of all
values."""
Samples = dict[str, dict[Labels, Value]]


MOST = 1024
"""Combinations of labels that one metric may have in a sum: any more are "other"."""


class Family(NamedTuple):
    """One metric: ``kind`` is counter, gauge or histogram, ``bounds`` those of its buckets.

    ``least`` says that the least value of several processes counts, and not their sum.
    """

    kind: str
    help: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()
    least: bool = False


def merged(parts: Iterable[Samples], families: dict[str, Family]) -> Samples:
    """Return the samples of several processes as those of one."""
    whole: Samples = {}
    for part in parts:
        for name, values in part.items():
            into = whole.setdefault(name, {})
            for labels, value in values.items():
                if len(into) >= MOST and labels not in into:
                    labels = ("other",) * len(labels)
                before = into.get(labels)
                if before is None:
                    into[labels] = value
                elif isinstance(value, list) and isinstance(before, list):
                    into[labels] = [a + b for a, b in zip(before, value, strict=True)]
                elif isinstance(value, list) or isinstance(before, list):
                    raise ValueError(f"{name} is a histogram here and a number there")
                else:
                    into[labels] = min(before, value) if families[name].least else before + value
    return whole


def lasting(samples: Samples, families: dict[str, Family]) -> Samples:
    """Return what still counts once the process has ended: all but the gauges."""
    return {name: values for name, values in samples.items() if families[name].kind != "gauge"}


def to_json(samples: Samples) -> dict[str, list[Any]]:
    """Return samples as JSON can hold them."""
    return {name: [[list(k), v] for k, v in values.items()] for name, values in samples.items()}


def from_json(document: dict[str, list[Any]], families: dict[str, Family]) -> Samples:
    """Return the samples that :func:`to_json` was given, without what only another version has."""
    return {
        name: {tuple(k): v for k, v in values if _fits(k, v, family)}
        for name, values in document.items()
        if (family := families.get(name)) is not None
    }


def _fits(labels: list[str], value: Value, family: Family) -> bool:
    """Return whether labels and value have the form that the metric has here."""
    numbers = len(value) if isinstance(value, list) else 0
    wanted = len(family.bounds) + 2 if family.kind == "histogram" else 0
    return len(labels) == len(family.labels) and numbers == wanted
