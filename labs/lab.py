"""The lab's life: render, start five processes, walk, show what happened, stay up, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Final

from opencscf.common.errors import StartupError
from opencscf.common.node.clock import SystemClock
from opencscf.common.node.process import FLUSH_S
from opencscf.common.node.trace import host_port
from opencscf.labs import ladder, render
from opencscf.labs.processes import Port, ProcessGroup, check_port, check_ports
from opencscf.labs.subscriber_table import subscriber_table
from opencscf.labs.ue.endpoint import StepError
from opencscf.labs.walk import leave, simulated_ues, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from opencscf.labs.config import LabSettings
    from opencscf.labs.ladder import Lifeline
    from opencscf.labs.ue.ue import Ue

TRACING_NODES: Final = ("ue1", "pcscf", "icscf", "scscf", "ue2")
TRACE_DELAY_S: Final = FLUSH_S + 0.3  # the nodes write their traces in batches


class Interrupted(BaseException):
    """A signal ended the lab; `number` says which. No `Exception`, as KeyboardInterrupt is none."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Console:
    """Where the lab tells how it gets on."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self.has_finished = False  # the walk went well and was shown; from then on the end is nobody's failure

    def step(self, text: str) -> None:
        """Tell one step with the time since the start."""
        print(f"[{time.monotonic() - self._begin:6.1f} s] {text}", flush=True)

    def show(self, *lines: str) -> None:
        """Show lines as they are."""
        print("\n".join(lines), flush=True)

    @property
    def has_colour(self) -> bool:
        """Whether the reader is a person at a terminal who does not mind colour."""
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def run(lab: LabSettings, directory: Path, *, once: bool) -> None:
    """Run the lab; returns when it has ended well, raises `StartupError` or `StepError` with the reason otherwise."""
    console = Console()
    with _locked(directory):
        render.write(lab, directory)
        for node in TRACING_NODES:
            render.trace_path(directory, node).unlink(missing_ok=True)
        console.step(f"settings, logs and traces are in {directory}")
        try:
            asyncio.run(_until_signal(lambda: _run(lab, directory, console, once=once)))
        except Interrupted as interrupted:
            console.step(f"stopped by {interrupted}; all processes have ended")
            if not console.has_finished:
                raise


async def _run(lab: LabSettings, directory: Path, console: Console, *, once: bool) -> None:
    answering, cscfs = render.plans(lab, directory)
    check_ports([*answering, *cscfs])
    for number, address in enumerate(lab.ue.addresses, 1):
        check_port(f"UE {number}", Port(address, lab.ue.port, "udp"))
    async with ProcessGroup() as processes:
        for stage in (answering, cscfs):
            console.step(f"starting {', '.join(plan.name for plan in stage)}")
            await processes.start(stage, console.step)
        async with simulated_ues(lab, directory, SystemClock()) as ues:
            await _while_alive(processes, _walk_and_show(lab, directory, console, ues))
            console.has_finished = not once
            if once:
                await leave(ues)
                console.step("UE 1 and UE 2 are de-registered")
                return
            console.show(*_invitation(lab, directory))
            try:
                raise StartupError(await processes.wait_for_an_end())
            finally:
                with contextlib.suppress(StepError):
                    await leave(ues)


async def _walk_and_show(lab: LabSettings, directory: Path, console: Console, ues: list[Ue]) -> None:
    """Walk, and show the ladder also when the walk fails, since it shows where."""
    failure = None
    try:
        await walk(ues[0], ues[1], console.step)
    except StepError as error:
        failure = error
    await asyncio.sleep(TRACE_DELAY_S)
    console.show("", *_ladder(lab, directory, colour=console.has_colour), "")
    if failure is not None:
        raise failure
    console.show(*subscriber_table(lab), "")


async def _while_alive(processes: ProcessGroup, walking: Coroutine[None, None, None]) -> None:
    """Await something, unless a process ends before: that is then the reason to give."""
    task = asyncio.create_task(walking)
    death = asyncio.create_task(processes.wait_for_an_end())
    try:
        await asyncio.wait({task, death}, return_when=asyncio.FIRST_COMPLETED)
        if death.done():
            raise StartupError(death.result())
        await task
    finally:
        for one in (task, death):
            one.cancel()
        await asyncio.gather(task, death, return_exceptions=True)


async def _until_signal(main: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run until done or until a signal asks for the end; the same signal again does not disturb the end."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(main())
    received: list[int] = []

    def stop(number: int) -> None:
        if not received:
            received.append(number)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)
    try:
        await task
    except asyncio.CancelledError:
        if received:
            raise Interrupted(received[0]) from None
        raise


def lifelines(lab: LabSettings) -> list[Lifeline]:
    """Order the ladder's columns: UE 1, the CSCFs, their peers, UE 2."""
    network = lab.network
    columns = [
        ("ue1", "UE 1", lab.ue.addresses[0], lab.ue.port),
        ("pcscf", "P-CSCF", network.pcscf, network.sip_port),
        ("icscf", "I-CSCF", network.icscf, network.sip_port),
        ("scscf", "S-CSCF", network.scscf, network.sip_port),
        ("hss", "HSS", network.hss, network.diameter_port),
        ("pcrf", "PCRF", network.pcrf, network.diameter_port),
        ("ue2", "UE 2", lab.ue.addresses[1], lab.ue.port),
    ]
    hosts = [host for _, _, host, _ in columns]
    return [
        ladder.Lifeline(
            node,
            title,
            frozenset({host_port((host, port)), *([host] if hosts.count(host) == 1 else [])}),
        )
        for node, title, host, port in columns
    ]


def _ladder(lab: LabSettings, directory: Path, *, colour: bool) -> list[str]:
    records = ladder.read_traces(render.trace_path(directory, node) for node in TRACING_NODES)
    columns = lifelines(lab)
    return ladder.draw(ladder.rungs(records, columns), columns, colour=colour)


def _invitation(lab: LabSettings, directory: Path) -> list[str]:
    pcscf = host_port((lab.network.pcscf, lab.network.sip_port))
    return [
        "The lab stays up; Ctrl-C stops it. Both UEs stay registered and take calls.",
        f"A softphone that knows AKAv1-MD5: outbound proxy {pcscf} (UDP or TCP), domain as above,",
        "authentication user = IMPI, address = IMPU, K and OPc of a [[subscriber]] of your own in lab.toml.",
        "For a phone on another host, set network.pcscf in lab.toml to this machine's address on that network.",
        f"Logs: tail -f {directory}/*.log",
    ]


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the directory for this lab alone; the kernel lets go of it when the lab ends, however it ends."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("w", encoding="utf-8")
    except OSError as error:
        raise StartupError(f"lab: cannot write {error.filename or directory}: {error.strerror or error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartupError(f"lab: another lab runs in {directory}; stop it, or choose another --dir") from None
        yield
