"""`opencscf bench core`: our core and Kamailio's under the same load on this machine, side by side.

Each core in turn gets the same HSS, the same UEs and the same rates. A registration is both REGISTERs with UAR, MAR,
UAR and SAR; a call is INVITE to BYE through P-, S-, I-, S- and P-CSCF with one LIR. CPU time is that of all processes
of a node, from the first request until `SETTLE_S` after the last response.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import os
import platform
import signal
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opencscf.common.errors import StartupError
from opencscf.labs.bench import kamailio
from opencscf.labs.bench.cores import Peer, running
from opencscf.labs.bench.latency import can_capture, captured, latencies
from opencscf.labs.bench.load import Sipp, find_sipp
from opencscf.labs.bench.measure import Snapshot, families, pss_bytes
from opencscf.labs.bench.report import MAX_FAILED, NODES, Ceiling, LatencyRun, LoadRun, Memory, Report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from opencscf.labs.bench.cores import RunningCore
    from opencscf.labs.bench.load import LoadResult

REGISTRATION: Final = "registration"
CALL: Final = "call"

DEFAULT_PEERS: Final = (Peer.OURS, Peer.KAMAILIO, Peer.KAMAILIO_FM)
DEFAULT_REGISTRATIONS: Final = (300.0, 600.0)
DEFAULT_CALLS: Final = (100.0, 200.0)
LOAD_S: Final = 10.0
LATENCY_S: Final = 5.0
SETTLE_S: Final = 1.0
WARM_UP: Final = 100
MEMORY_USERS: Final = (10_000, 50_000)
MEMORY_BATCH: Final = 10_000  # one SIPp, which has a socket for each UE
MEMORY_SETTLE_S: Final = 40.0  # until the last transaction is over: Timer J is 32 s on UDP
SEARCH_S: Final = 8.0
SEARCH_GROWTH: Final = 1.5
SEARCH_STEPS: Final = 12  # upwards
SEARCH_HALVINGS: Final = 2  # between the last rate that went well and the first that did not
SEARCH_REST_S: Final = 3.0
SLOWNESS: Final = 1.25  # a run that takes longer than this times what its rate asks for was not at that rate


class Part(enum.StrEnum):
    """What can be measured one without the other."""

    LOAD = "load"  # CPU time and latency at given rates
    SEARCH = "search"  # the highest rates
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    peers: tuple[Peer, ...] = DEFAULT_PEERS
    registrations_per_s: tuple[float, ...] = DEFAULT_REGISTRATIONS
    calls_per_s: tuple[float, ...] = DEFAULT_CALLS
    load_s: float = LOAD_S
    latency_s: float = LATENCY_S
    repeat: int = 1
    parts: tuple[Part, ...] = tuple(Part)
    memory_users: tuple[int, ...] = MEMORY_USERS

    @classmethod
    def of(
        cls,
        *,
        peers: Sequence[Peer],
        registrations_per_s: Sequence[float],
        calls_per_s: Sequence[float],
        parts: Sequence[Part],
        users: Sequence[int],
        repeat: int,
        is_quick: bool,
    ) -> Plan:
        """Make a plan of what was asked for; a quick one has one rate of each, no search and no memory."""
        registrations = tuple(registrations_per_s) or DEFAULT_REGISTRATIONS[: 1 if is_quick else None]
        calls = tuple(calls_per_s) or DEFAULT_CALLS[: 1 if is_quick else None]
        return cls(
            peers=tuple(dict.fromkeys(peers)) or DEFAULT_PEERS,
            registrations_per_s=registrations,
            calls_per_s=calls,
            repeat=repeat,
            memory_users=tuple(sorted(users)) or MEMORY_USERS,
            parts=tuple(dict.fromkeys(parts)) or ((Part.LOAD,) if is_quick else tuple(Part)),
        )


def run(plan: Plan, json_path: Path | None = None) -> Report:
    """Measure, print what happens and the table, and leave nothing behind."""
    report = Report(environment(plan), plan.peers)
    tell(*(f"{name}: {value}" for name, value in report.environment.items()))
    with tempfile.TemporaryDirectory(prefix="opencscf-bench-", dir=_memory()) as name:
        try:
            asyncio.run(_until_terminated(_run(plan, report, Path(name))))
        finally:
            if report.has_figures:
                print("", *report.lines(), "", sep="\n", flush=True)
            if json_path is not None:
                json_path.write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
    return report


def environment(plan: Plan) -> dict[str, str]:
    """Say what the figures depend on; raise `StartupError` if a program is missing."""
    find_sipp()
    build = f"{platform.python_compiler()}, {_python_build()}"
    facts = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": f"{os.cpu_count()} CPUs ({_cpu_model()}), Linux {platform.release()}",
        "Python": f"{platform.python_version()} ({build}), uvloop {version('uvloop')}",
    }
    if not all(peer.is_ours for peer in plan.peers):
        found = kamailio.find_kamailio()
        allocators = [name for peer, name in _ALLOCATORS.items() if peer in plan.peers]
        facts["Kamailio"] = f"{found.version}, {kamailio.WORKERS} workers a role, {' and '.join(allocators)}"
    if not can_capture():
        facts["latency"] = "not measured, which needs tcpdump and root or sudo"
    return facts


_ALLOCATORS: Final = {
    Peer.KAMAILIO: "its default allocator (q_malloc in Debian's build)",
    Peer.KAMAILIO_FM: "f_malloc (-x fm -X fm)",
}


def tell(*lines: str) -> None:
    """Tell how it gets on."""
    for line in lines:
        print(line, flush=True)


class Session:
    """One core that is up, and the load on it."""

    def __init__(self, plan: Plan, report: Report, core: RunningCore, folder: Path) -> None:
        self._plan = plan
        self._report = report
        self._core = core
        self._folder = folder
        self._sipp = Sipp(folder)
        self._registered = 0  # UEs from 0 on that were told to register
        self._users = 0  # of them, those that could

    @property
    def _peer(self) -> Peer:
        return self._core.peer

    async def warm_up(self) -> None:
        """See that it works at all before anything is measured."""
        result = await self._register_new(WARM_UP / 2, WARM_UP)
        self._check(result, REGISTRATION)
        async with self._sipp.answering(WARM_UP // 2, WARM_UP // 2):
            self._check(await self._sipp.call(0, WARM_UP // 2, WARM_UP / 4, WARM_UP // 2), CALL)

    async def registrations(self, rate: float) -> None:
        """Register UEs that are new, for CPU time; then some more for latency."""
        count = min(round(rate * self._plan.load_s), self._sipp.max_ues)
        await self._measured(REGISTRATION, rate, lambda: self._register_new(rate, count))
        if self._plan.latency_s and can_capture():
            count = min(round(rate * self._plan.latency_s), self._sipp.max_ues)
            await self._timed(REGISTRATION, rate, lambda: self._register_new(rate, count))

    async def calls(self, rate: float) -> None:
        """Let registered UEs call each other, for CPU time; then for latency."""
        pairs = await self._pairs(rate)
        async with self._sipp.answering(pairs, pairs):
            count = round(rate * self._plan.load_s)
            await self._measured(CALL, rate, lambda: self._sipp.call(0, pairs, rate, count))
            if self._plan.latency_s and can_capture():
                count = round(rate * self._plan.latency_s)
                await self._timed(CALL, rate, lambda: self._sipp.call(0, pairs, rate, count))

    async def ceiling(self, kind: str, rate: float) -> None:
        """Search the highest rate from a given one on, then see what is left of it at twice that rate."""
        if kind == REGISTRATION:
            ues = min(10_000, self._sipp.max_ues)
            search = await self._search(kind, rate, lambda rate, count: self._sipp.register(0, ues, rate, count))
        else:
            pairs = await self._pairs(rate * 4)
            async with self._sipp.answering(pairs, pairs):
                search = await self._search(kind, rate, lambda rate, count: self._sipp.call(0, pairs, rate, count))
        self._report.ceilings.append(search)
        tell(f"  highest rate of {kind}s: {search.words}; at twice that, {search.kept_in_overload:.0%} of it is done")

    async def memory(self) -> None:
        """Register many and look at the memory when their transactions are over."""
        await self._weigh(0)
        rate = self._plan.registrations_per_s[-1]
        for users in self._plan.memory_users:
            while self._registered < users:
                count = min(MEMORY_BATCH, self._sipp.max_ues, users - self._registered)
                await self._measured(REGISTRATION, rate, partial(self._register_new, rate, count))
            tell(f"  waiting {MEMORY_SETTLE_S:g} s for the transactions to end")
            await asyncio.sleep(MEMORY_SETTLE_S)
            await self._weigh(users)

    async def _weigh(self, users: int) -> None:
        self._core.check()
        groups = families(self._core.roots)
        used = sum(pss_bytes(groups[node]) for node in NODES)
        self._report.memory.append(Memory(self._peer, users, self._users, used, await self._core.shared_bytes()))
        tell(f"  {self._users:,} users: {used / 2**20:.0f} MiB (PSS)")

    async def _register_new(self, rate: float, count: int) -> LoadResult:
        first, self._registered = self._registered, self._registered + count
        result = await self._sipp.register(first, count, rate, count)
        self._users += result.successful
        return result

    async def _pairs(self, rate: float) -> int:
        """Have enough UEs registered that none is called while it still talks."""
        pairs = min(max(100, round(rate * 2)), self._sipp.max_ues)
        missing = 2 * pairs - self._registered
        if missing > 0:
            rate = self._plan.registrations_per_s[0]
            tell(f"  {missing} more UEs register for calls")
            self._check(await self._register_new(rate, min(missing, self._sipp.max_ues)), REGISTRATION)
        return min(pairs, self._registered // 2)

    async def _measured(self, kind: str, rate: float, load: Callable[[], Awaitable[LoadResult]]) -> None:
        users = self._registered
        before, cx_before = Snapshot.take(self._core.roots), await self._core.cx()
        result = await load()
        await asyncio.sleep(SETTLE_S)
        usage = before.until(Snapshot.take(self._core.roots))
        cx = await self._core.cx()
        self._core.check()
        done = max(1, result.successful)
        one = LoadRun(
            peer=self._peer, kind=kind, rate=rate, offered=result.offered, successful=result.successful,
            retransmissions=result.retransmissions, seconds=result.seconds,
            cpu_ms={name: used / done * 1000 for name, used in (usage.cpu_s | {"sipp": usage.sipp_s}).items()},
            cx={name: round((count - cx_before[name]) / done, 3) for name, count in cx.items()},
            others=usage.others, first=users,
        )  # fmt: skip
        self._report.loads.append(one)
        tell(
            f"  {one.successful} of {one.offered} {kind}s at {rate:g}/s: {one.core_ms:.2f} ms CPU each"
            f" ({', '.join(f'{node} {one.cpu_ms[node]:.2f}' for node in NODES)}); others used {one.others:.0%}"
        )

    async def _timed(self, kind: str, rate: float, load: Callable[[], Awaitable[LoadResult]]) -> None:
        capture = self._folder / "ues.pcap"
        async with captured(capture):
            await load()
        times = latencies(capture)
        capture.unlink(missing_ok=True)
        self._report.latencies.append(LatencyRun(self._peer, kind, rate, times))
        tell("  " + "; ".join(f"{name} {one.p50:.1f} / {one.p99:.1f} ms" for name, one in sorted(times.items())))

    async def _search(self, kind: str, rate: float, load: Callable[[float, int], Awaitable[LoadResult]]) -> Ceiling:
        steps: list[tuple[float, float]] = []

        async def goes_well(rate: float) -> bool:
            result = await load(rate, round(rate * SEARCH_S))
            self._core.check()
            steps.append((rate, result.failed_share))
            is_well = result.failed_share < MAX_FAILED and result.seconds < SEARCH_S * SLOWNESS + 1
            tell(f"  {rate:g} {kind}s/s: {result.failed_share:.1%} failed, {result.per_s:.0f}/s done")
            await asyncio.sleep(SEARCH_REST_S if is_well else 3 * SEARCH_REST_S)
            return is_well

        best = await search(goes_well, rate)
        result = await load(2 * best, round(2 * best * SEARCH_S)) if best else None
        return Ceiling(
            self._peer, kind, best, len(steps) < SEARCH_STEPS or best < steps[-1][0], tuple(steps), 2 * best,
            0.0 if result is None else result.successful / max(SEARCH_S, result.seconds),
        )  # fmt: skip

    def _check(self, result: LoadResult, kind: str) -> None:
        self._core.check()
        if result.failed_share >= 0.5:
            words = " ".join(result.errors.split())[-300:]
            raise StartupError(
                f"{self._peer.label}: {result.successful} of {result.offered} {kind}s succeeded; SIPp: {words}"
            )


async def search(goes_well: Callable[[float], Awaitable[bool]], rate: float) -> float:
    """Find the highest rate that goes well: upwards in steps, then halving the last step; 0 if not even the first."""
    best, failed = 0.0, None
    for _ in range(SEARCH_STEPS):
        if not await goes_well(rate):
            failed = rate
            break
        best, rate = rate, round(rate * SEARCH_GROWTH)
    if failed is None or not best:
        return best
    for _ in range(SEARCH_HALVINGS):
        middle = round((best + failed) / 2)
        if await goes_well(middle):
            best = middle
        else:
            failed = middle
    return best


async def _run(plan: Plan, report: Report, folder: Path) -> None:
    for repetition in range(plan.repeat if Part.LOAD in plan.parts else 0):
        for peer in plan.peers:
            number = f" ({repetition + 1} of {plan.repeat})" if plan.repeat > 1 else ""
            async with _session(plan, report, peer, folder, f"load{number}") as session:
                for rate in plan.registrations_per_s:
                    await session.registrations(rate)
                for rate in plan.calls_per_s:
                    await session.calls(rate)
    for peer in plan.peers:
        if Part.SEARCH in plan.parts:
            async with _session(plan, report, peer, folder, "highest rate of registrations") as session:
                await session.ceiling(REGISTRATION, plan.registrations_per_s[0])
            async with _session(plan, report, peer, folder, "highest rate of calls") as session:
                await session.ceiling(CALL, plan.calls_per_s[0])
        if Part.MEMORY in plan.parts:
            async with _session(plan, report, peer, folder, "memory") as session:
                await session.memory()


@contextlib.asynccontextmanager
async def _session(plan: Plan, report: Report, peer: Peer, folder: Path, what: str) -> AsyncIterator[Session]:
    """Have a core for one part of the plan, and none of the parts before has left anything in it."""
    tell(f"{peer.label}: {what}")
    with tempfile.TemporaryDirectory(prefix=f"{peer}-", dir=folder) as place:
        async with running(peer, Path(place)) as core:
            session = Session(plan, report, core, _new(Path(place), "sipp"))
            await session.warm_up()
            yield session


async def _until_terminated(main: Awaitable[None]) -> None:
    """Let SIGTERM end it as Ctrl-C does: in order."""
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    terminated: list[int] = []

    def stop() -> None:
        terminated.append(signal.SIGTERM)
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, stop)
    try:
        await task
    except asyncio.CancelledError:
        if terminated:
            raise StartupError("stopped by SIGTERM; all processes have ended") from None
        raise


def _new(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


def _memory() -> str | None:
    """Choose a folder that is in memory: SIPp's files are not to wait for a disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 Linux's own


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _python_build() -> str:
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return "with PGO" if "--enable-optimizations" in options else "without PGO"
