"""The lab's OS processes: started, watched through their health checks, and never left behind.

A child dies with the lab whatever kills it: orderly ends stop it here, and the kernel kills it (PR_SET_PDEATHSIG) when
the lab had no chance to.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from opencscf.common.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

START_TIMEOUT_S = 40.0  # a node itself gives up before, and says why
HEALTH_INTERVAL_S = 0.05
HEALTH_TIMEOUT_S = 2.0
STOP_TIMEOUT_S = 4.0
KILL_TIMEOUT_S = 2.0
MAX_HEALTH_BYTES = 65_536
MAX_LOG_TAIL_BYTES = 16_384
PR_SET_PDEATHSIG = 1  # prctl(2)

# Loaded before any fork: between fork and exec a child must not load libraries.
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a process will listen on."""

    address: str
    port: int
    protocol: Literal["udp", "tcp"]

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """What is needed to start one process and to know that it serves."""

    name: str
    module: str
    config: Path
    log: Path
    health: tuple[str, int]
    ports: tuple[Port, ...] = ()


class LabProcess:
    """One running process."""

    def __init__(self, plan: ProcessPlan, process: asyncio.subprocess.Process) -> None:
        self.plan = plan
        self.process = process

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.returncode is not None

    def obituary(self) -> str:
        """Say how it ended, in its own last words if it left any."""
        status = self.process.returncode
        if status is not None and status < 0:
            return f"{self.plan.name} was killed by {signal.Signals(-status).name}"
        words = last_line(self.plan.log)
        how = f"{self.plan.name} ended with status {status}"
        return f"{how}: {words}" if words else how


class ProcessGroup:
    """The processes of one lab, an asynchronous context: leaving it stops whatever still runs, last started first."""

    def __init__(self) -> None:
        self._stages: list[list[LabProcess]] = []

    async def __aenter__(self) -> Self:
        """Start with no process."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop all, whatever happened."""
        await self.stop()

    @property
    def processes(self) -> list[LabProcess]:
        """All processes, those started first first."""
        return [one for stage in self._stages for one in stage]

    async def start(self, plans: Sequence[ProcessPlan], progress: Callable[[str], None]) -> None:
        """Start a stage side by side; return when all are healthy, raise `StartupError` when one will not be."""
        begin = time.monotonic()
        earlier = self.processes
        stage: list[LabProcess] = []
        self._stages.append(stage)

        async def watch(process: LabProcess) -> None:
            await _wait_until_healthy(process)
            progress(f"{process.plan.name} is up after {time.monotonic() - begin:.1f} s")

        try:
            async with asyncio.TaskGroup() as tasks:
                guards = [tasks.create_task(_fail_when_ended(one)) for one in earlier]
                watches = []
                for plan in plans:
                    stage.append(LabProcess(plan, await _spawn(plan)))
                    watches.append(tasks.create_task(watch(stage[-1])))
                await asyncio.wait(watches)
                for guard in guards:
                    guard.cancel()
        except ExceptionGroup as group:
            faults = [str(error) for error in group.exceptions if isinstance(error, StartupError)]
            raise (StartupError("\n".join(faults)) if faults else group.exceptions[0]) from None

    async def wait_for_an_end(self) -> str:
        """Wait until any process ends, which none should, and say how it did."""
        waiting = {asyncio.create_task(one.process.wait()): one for stage in self._stages for one in stage}
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return waiting[done.pop()].obituary()
        finally:
            for task in waiting:
                task.cancel()

    async def stop(self) -> None:
        """End all processes: those started last first, since they use the others; force the ones that linger."""
        try:
            for stage in reversed(self._stages):
                await asyncio.gather(*(_stop(one.process) for one in stage))
        finally:  # also when the wait itself is interrupted
            for one in (one for stage in self._stages for one in stage if not one.has_ended):
                with contextlib.suppress(ProcessLookupError):
                    one.process.kill()


def check_ports(plans: Sequence[ProcessPlan]) -> None:
    """Raise `StartupError` naming the first port that is taken, before anything is started."""
    for plan in plans:
        for port in plan.ports:
            check_port(plan.name, port)


def check_port(owner: str, port: Port) -> None:
    """Raise `StartupError` if the port cannot be had."""
    family = socket.AF_INET6 if ":" in port.address else socket.AF_INET
    kind = socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as probe:
        if port.protocol == "tcp":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a former run may linger
        try:
            probe.bind((port.address, port.port))
            if port.protocol == "tcp":
                probe.listen(1)
        except OSError as error:
            raise StartupError(f"{owner}: {port}: {_bind_fault(error)}") from error


def last_line(path: Path) -> str:
    """Return the last line of a log that is not empty; of a traceback that is the one that names the error."""
    try:
        with path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - MAX_LOG_TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def die_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Run in the child: ask the kernel to signal it when its parent is gone; end at once if that is gone already."""
    _LIBC.prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


async def _spawn(plan: ProcessPlan) -> asyncio.subprocess.Process:
    lab = os.getpid()
    with plan.log.open("wb") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # what lies in the lab's directory is not to be imported
            "-m",
            plan.module,
            "--config",
            str(plan.config),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=plan.config.parent,
            process_group=0,  # Ctrl-C is for the lab, which stops the others in order
            preexec_fn=lambda: die_with(lab),
        )


async def _fail_when_ended(process: LabProcess) -> None:
    await process.process.wait()
    raise StartupError(process.obituary())


async def _wait_until_healthy(process: LabProcess) -> None:
    reason = "its health check was never answered"
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.has_ended:
            raise StartupError(process.obituary())
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                status, text = await _get_health(*process.plan.health)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            status = 0
        if status == 200:
            return
        if status:
            reason = f"its health check answers {status} {text}"
        await asyncio.sleep(HEALTH_INTERVAL_S)
    words = last_line(process.plan.log)
    raise StartupError(f"{process.plan.name} did not get ready in {START_TIMEOUT_S:g} s: {reason}; last: {words}")


async def _get_health(address: str, port: int) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection(address, port, limit=MAX_HEALTH_BYTES)
    try:
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read(MAX_HEALTH_BYTES)
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head.split(b"\r\n", 1)[0].split(b" ")[1:2]
        return int(status[0]) if status else 0, body.decode(errors="replace").strip()[:200]
    finally:
        writer.close()


async def _stop(process: asyncio.subprocess.Process) -> None:
    for number, patience_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, KILL_TIMEOUT_S)):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await process.wait()


def _bind_fault(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "is in use by another process"
        case errno.EADDRNOTAVAIL:
            return "is not an address of this machine"
        case errno.EACCES:
            return "needs root, or a port above 1023"
        case _:
            return error.strerror or str(error)
