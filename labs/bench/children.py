"""Programs that a benchmark starts besides our own processes, none of which outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import shutil
import signal
from typing import TYPE_CHECKING, Final

from opencscf.labs.processes import die_with

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STOP_TIMEOUT_S: Final = 4.0
PR_CAPBSET_DROP: Final = 24  # prctl(2)
CAP_NET_ADMIN: Final = 12  # capabilities(7)

_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded before any fork


def find_program(name: str) -> str | None:
    """Find a program, also where only root's PATH leads."""
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")


async def spawn(
    command: Sequence[str],
    folder: Path,
    log: Path | None = None,
    *,
    at_our_end: int = signal.SIGKILL,
    is_kept_from_networking: bool = False,
) -> asyncio.subprocess.Process:
    """Start a program in a process group of its own, with as many files as it may open; `log` gets its words.

    `is_kept_from_networking` takes from a program that runs as root the right to change addresses, routes and IPsec.
    """
    parent = os.getpid()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def prepare() -> None:
        die_with(parent, at_our_end)
        if is_kept_from_networking:
            _LIBC.prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    with (log or folder / os.devnull).open("wb") as words:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            process_group=0,  # Ctrl-C is for the benchmark, which stops it
            preexec_fn=prepare,
        )


async def stop(process: asyncio.subprocess.Process, number: int = signal.SIGTERM) -> None:
    """End a program that may have ended, and what is left of its process group."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
    with contextlib.suppress(ProcessLookupError):  # its children, which have no other place
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
