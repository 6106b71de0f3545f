"""CPU time and memory of a server's processes, from Linux's clocks and /proc."""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Memory:
    """Octets, summed over processes."""

    rss: int
    """Resident; pages that processes share are counted in each."""
    pss: int
    """Resident; a page that n processes share counts 1/n in each, so once in all."""
    peak: int
    """The sum of the highest resident sizes since each process began."""


def session(leader: int) -> list[int]:
    """Return the processes of a session: a server that was started as its leader, and workers."""
    found = []
    for folder in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(folder.name)) == leader:
                found.append(int(folder.name))
    return sorted(found)


def cpu_clock(pid: int) -> int:
    """Return the clock id of a process's CPU time (clock_getcpuclockid(3), CPUCLOCK_SCHED)."""
    return (~pid << 3) | 2


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU seconds, user and system, of processes with all their threads.

    In nanoseconds from the scheduler, threads that have ended included; /proc/PID/stat would
    give ticks of 10 ms, /proc/PID/task/TID/schedstat only the threads that still live.
    """
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += time.clock_gettime_ns(cpu_clock(pid))
    return total / 1e9


def memory(pids: list[int]) -> Memory:
    rss = pss = peak = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            status = (PROC / str(pid) / "status").read_text()
            rss += kib(status, "VmRSS")
            peak += kib(status, "VmHWM")
            pss += kib((PROC / str(pid) / "smaps_rollup").read_text(), "Pss")
    return Memory(rss=rss, pss=pss, peak=peak)


def kib(text: str, name: str) -> int:
    """Return in octets what a line such as ``VmRSS:  12 kB`` says; 0 if there is none."""
    found = re.search(rf"^{name}:\s*(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
