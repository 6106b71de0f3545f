"""Memory, threads and descriptors of a process, from Linux's /proc."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Look:
    """A process at one moment, or the average of several; memory in octets."""

    rss: float
    pss: float
    """Resident, with pages that processes share counted in part."""
    threads: float
    descriptors: float

    def cells(self) -> list[str]:
        return [
            f"{self.rss / MIB:.1f}",
            f"{self.pss / MIB:.1f}",
            f"{self.threads:.0f}",
            f"{self.descriptors:.0f}",
        ]


def look(pid: int) -> Look:
    """Look at a process now."""
    folder = Path("/proc") / str(pid)
    status = (folder / "status").read_text()
    return Look(
        rss=_number(status, "VmRSS") * 1024,
        pss=_number((folder / "smaps_rollup").read_text(), "Pss") * 1024,
        threads=_number(status, "Threads"),
        descriptors=len(os.listdir(folder / "fd")),
    )


def average(looks: list[Look]) -> Look:
    """Return the mean of each figure."""
    count = len(looks)
    return Look(
        rss=sum(one.rss for one in looks) / count,
        pss=sum(one.pss for one in looks) / count,
        threads=sum(one.threads for one in looks) / count,
        descriptors=sum(one.descriptors for one in looks) / count,
    )


def _number(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+)", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no line {name} in {text!r}")
    return int(found[1])
