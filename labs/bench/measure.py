"""What processes cost, from /proc: CPU time of their threads and children, memory, and what others use meanwhile."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PROC = Path("/proc")


def families(roots: Mapping[str, int], proc: Path = PROC) -> dict[str, list[int]]:
    """Find each root's descendants, itself first."""
    children: dict[int, list[int]] = {}
    for entry in proc.iterdir():
        if entry.name.isdigit() and (fields := _read(entry / "stat").rpartition(")")[2].split()):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = {}
    for name, root in roots.items():
        family = [root]
        for pid in family:
            family += children.get(pid, [])
        found[name] = family
    return found


def cpu_s(pids: Iterable[int], proc: Path = PROC) -> float:
    """Add up the time on a CPU of all threads, in seconds; schedstat counts nanoseconds, where `stat` counts ticks."""
    nanoseconds = 0
    for pid in pids:
        for thread in proc.glob(f"{pid}/task/*/schedstat"):
            nanoseconds += int((_read(thread).split() or ["0"])[0])
    return nanoseconds / 1e9


def pss_bytes(pids: Iterable[int], proc: Path = PROC) -> int:
    """Add up the memory of processes, pages that several share divided among them."""
    kibibytes = 0
    for pid in pids:
        for line in _read(proc / str(pid) / "smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                kibibytes += int(line.split()[1])
    return kibibytes * 1024


def machine_busy_s(proc: Path = PROC) -> float:
    """Tell for how long the CPUs of this machine have been busy; steal is not counted."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, _read(proc / "stat").split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def reaped_children_s() -> float:
    """Tell the CPU time of our children that have ended, which is how SIPp's becomes known."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The clocks at one moment."""

    at: float
    cpu_s: dict[str, float]
    machine_s: float
    children_s: float

    @classmethod
    def take(cls, roots: Mapping[str, int]) -> Self:
        """Read all clocks."""
        groups = families(roots)
        return cls(
            time.monotonic(),
            {name: cpu_s(pids) for name, pids in groups.items()},
            machine_busy_s(),
            reaped_children_s(),
        )

    def until(self, later: Snapshot) -> Usage:
        """Tell what passed between two moments."""
        used = {name: later.cpu_s[name] - before for name, before in self.cpu_s.items()}
        sipp_s = later.children_s - self.children_s
        seconds = later.at - self.at
        others_s = later.machine_s - self.machine_s - sum(used.values()) - sipp_s
        return Usage(seconds, used, sipp_s, max(0.0, others_s / (seconds * (os.cpu_count() or 1))))


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds between two snapshots; `others` is the share of the machine that neither core nor load used."""

    seconds: float
    cpu_s: dict[str, float]
    sipp_s: float
    others: float


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # it ended meanwhile
        return ""
