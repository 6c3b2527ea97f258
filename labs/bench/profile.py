"""Where the CPU time of our nodes goes, by Linux's perf: interpreter, C twins, kernel, libraries."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
from typing import TYPE_CHECKING, Final

from opencscf.labs.bench.children import find_program

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SAMPLES_PER_S: Final = 499  # no divisor of the timers' tick, so that none of them is hit again and again
TIMEOUT_S: Final = 30.0

# the first that matches the shared object that perf names; what none matches is another library
_PLACES: Final = (
    ("kernel", re.compile(r"^\[(?!vdso)[^\]]*\]")),
    ("C twins", re.compile(r"^_(?:scan|values|batch)\.")),
    ("interpreter", re.compile(r"^(?:libpython|python3|_[a-z]+\.cpython)")),
    ("event loop (uvloop)", re.compile(r"^(?:loop|libuv)\b")),
    ("libc", re.compile(r"^(?:libc|ld-|libm|libpthread)\b|^\[vdso\]$")),
)
OTHERS: Final = "other libraries"
_LINE = re.compile(r"^\s*(\d+(?:\.\d+)?)%\s+(\d+):\S*\s+(\S+)\s*$", re.MULTILINE)


def why_no_sampling() -> str | None:
    """Say what is missing; None if we can."""
    program = find_program("perf")
    if program is None:
        return "perf is missing: apt-get install linux-perf"
    tried = subprocess.run(
        [program, "record", "-e", "cpu-clock", "-o", "/dev/null", "--", "true"],
        capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    if tried.returncode == 0:
        return None
    return "perf may not sample here: run it as root, or lower kernel.perf_event_paranoid"


async def sample(nodes: Mapping[str, int], seconds: float, folder: Path) -> dict[str, dict[str, float]]:
    """Watch processes for a while; shares of each one's CPU time by place."""
    program, file = find_program("perf") or "perf", folder / "perf.data"
    pids = ",".join(map(str, nodes.values()))
    await _output(
        program, "record", "-q", "-e", "cpu-clock", "-F", str(SAMPLES_PER_S), "-p", pids, "-o", str(file),
        "--", "sleep", f"{seconds:g}",
    )  # fmt: skip
    words = await _output(program, "report", "-q", "-i", str(file), "--stdio", "--sort", "pid,dso")
    file.unlink(missing_ok=True)
    found = shares(words)
    return {name: found.get(pid, {}) for name, pid in nodes.items()}


def shares(words: str) -> dict[int, dict[str, float]]:
    """Read `perf report --sort pid,dso`: by process, the share of its samples in each place."""
    samples: dict[int, dict[str, float]] = {}
    for percent, pid, library in _LINE.findall(words):
        places = samples.setdefault(int(pid), dict.fromkeys(_names(), 0.0))
        places[place(library)] += float(percent)
    return {
        pid: {name: part / sum(places.values()) for name, part in places.items()} for pid, places in samples.items()
    }


def place(library: str) -> str:
    """Name the place that a shared object belongs to."""
    return next((name for name, pattern in _PLACES if pattern.search(library)), OTHERS)


def _names() -> Iterable[str]:
    return (*(name for name, _ in _PLACES), OTHERS)


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            words, _ = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return words.decode("utf-8", "replace")
