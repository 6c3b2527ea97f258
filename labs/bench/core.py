"""`opencscf bench core`: our core and Kamailio's under the same load on this machine, side by side.

Each core in turn gets the same HSS, the same UEs and the same rates. A registration is both REGISTERs with UAR, MAR,
UAR and SAR; a call is INVITE to BYE through P-, S-, I-, S- and P-CSCF with one LIR. CPU time is that of all processes
of a node, from the first request until `SETTLE_S` after the last response.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import signal
import sysconfig
import tempfile
import time
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
from opencscf.labs.bench.plan import Part, Plan
from opencscf.labs.bench.profile import sample, why_no_sampling
from opencscf.labs.bench.report import (
    NODE_LABELS,
    NODES,
    Ceiling,
    Flat,
    LatencyRun,
    LoadRun,
    Memory,
    Profile,
    Report,
    Step,
)
from opencscf.labs.bench.search import search

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from opencscf.labs.bench.cores import RunningCore
    from opencscf.labs.bench.load import LoadResult

REGISTRATION: Final = "registration"
CALL: Final = "call"

SETTLE_S: Final = 1.0
WARM_UP: Final = 100
BATCH: Final = 10_000  # one SIPp, which has a socket for each UE
FILLING_PER_S: Final = 600.0  # at least, when what counts comes after
QUIET_S: Final = 145.0  # to the end of every transaction (Timer J towards UEs is 128 s, TS 24.229 7.7) and some more
PROFILE_S: Final = 8.0
SEARCH_S: Final = 8.0
SEARCH_REST_S: Final = 2.0
SEARCH_RECOVERY_S: Final = 10.0  # after a rate that failed, whose retransmissions go on for a while
AFTERMATH_S: Final = 40.0  # until what failed has been given up by everybody (64*T1): then twice the highest rate
SLOWNESS: Final = 1.25  # a run that takes longer than this times what its rate asks for was not at that rate
CPUS: Final = os.cpu_count() or 1


def run(plan: Plan, json_path: Path | None = None) -> Report:
    """Measure, print what happens and the table, and leave nothing behind."""
    if json_path is not None:
        _write(json_path, "")  # now, not after half an hour, is the time to see that it cannot be
    report = Report(environment(plan), plan.peers)
    tell(*(f"{name}: {value}" for name, value in report.environment.items()))
    with tempfile.TemporaryDirectory(prefix="opencscf-bench-", dir=_memory()) as name:
        try:
            asyncio.run(_until_terminated(_run(plan, report, Path(name))))
        finally:
            if report.has_figures:
                print("", *report.lines(), "", sep="\n", flush=True)
            if json_path is not None:
                _write(json_path, json.dumps(report.to_json(), indent=1) + "\n")
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
        self._answering: dict[str, int] = {}  # the SIPp that takes calls, while its CPU time is of interest

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
        run = await self._measured(REGISTRATION, rate, lambda: self._register_new(rate, count))
        self._report.loads.append(run)
        if self._plan.latency_s and can_capture():
            count = min(round(rate * self._plan.latency_s), self._sipp.max_ues)
            await self._timed(REGISTRATION, rate, lambda: self._register_new(rate, count))

    async def calls(self, rate: float) -> None:
        """Let registered UEs call each other, for CPU time; then for latency."""
        pairs = await self._pairs(rate)
        async with self._sipp.answering(pairs, pairs):
            count = round(rate * self._plan.load_s)
            run = await self._measured(CALL, rate, lambda: self._sipp.call(0, pairs, rate, count))
            self._report.loads.append(run)
            if self._plan.latency_s and can_capture():
                count = round(rate * self._plan.latency_s)
                await self._timed(CALL, rate, lambda: self._sipp.call(0, pairs, rate, count))

    async def ceiling(self, kind: str, rate: float) -> None:
        """Search the highest rate from a given one on, then see what is left of it at twice that rate."""
        if kind == REGISTRATION:
            ues = self._sipp.max_ues
            one = await self._search(kind, rate, lambda rate, count: self._sipp.flood("register", 0, ues, rate, count))
        else:
            pairs = await self._pairs(rate * 4)
            async with self._sipp.answering(pairs, pairs) as answering:
                self._answering = {"answering": answering}
                one = await self._search(
                    kind, rate, lambda rate, count: self._sipp.flood("call", 0, pairs, rate, count)
                )
            self._answering = {}
        self._report.ceilings.append(one)
        tell(f"  highest rate of {kind}s: {one.words}; limit: {one.limit}; at twice that, {one.kept} of it is done")

    async def memory(self) -> None:
        """Register many; look at the memory soon afterwards, and when their transactions are over."""
        empty = await self._weigh()
        self._report.memory.append(Memory(self._peer, 0, self._users, empty, empty, await self._core.shared_bytes()))
        for users in self._plan.memory_users:
            await self._fill(users, self._plan.registrations_per_s[-1], is_measured=True)
            soon = await self._weigh()
            await self._quiet()
            settled, shared = await self._weigh(), await self._core.shared_bytes()
            self._report.memory.append(Memory(self._peer, users, self._users, soon, settled, shared))

    async def flatness(self, rate: float) -> None:
        """Measure a registration at one rate, with few users registered and with many."""
        for users in self._plan.flat_users:
            await self._fill(users, max(rate, FILLING_PER_S), is_measured=False)
            await self._quiet()
            count = min(round(rate * self._plan.load_s), self._sipp.max_ues)
            run = await self._measured(REGISTRATION, rate, partial(self._register_new, rate, count))
            self._report.flats.append(Flat(users, run))

    async def profile(self, registration_rate: float, call_rate: float) -> None:
        """Sample where our nodes are under registrations, then under calls."""
        count = min(round(registration_rate * (PROFILE_S + 4)), self._sipp.max_ues)
        await self._sampled(REGISTRATION, registration_rate, lambda: self._register_new(registration_rate, count))
        pairs = await self._pairs(call_rate)
        async with self._sipp.answering(pairs, pairs):
            count = round(call_rate * (PROFILE_S + 4))
            await self._sampled(CALL, call_rate, lambda: self._sipp.call(0, pairs, call_rate, count))

    async def _sampled(self, kind: str, rate: float, load: Callable[[], Awaitable[LoadResult]]) -> None:
        loading = asyncio.ensure_future(load())
        try:
            await asyncio.sleep(2)  # SIPp has to get its sockets first
            nodes = {name: pid for name, pid in self._core.roots.items() if name in NODES}
            shares = await sample(nodes, PROFILE_S, self._folder)
            self._check(await loading, kind)
        finally:
            loading.cancel()
        self._report.profiles.append(Profile(self._peer, kind, rate, shares))

    async def _fill(self, users: int, rate: float, *, is_measured: bool) -> None:
        while self._registered < users:
            count = min(BATCH, self._sipp.max_ues, users - self._registered)
            if is_measured:
                run = await self._measured(REGISTRATION, rate, partial(self._register_new, rate, count))
                self._report.loads.append(run)
            else:
                self._check(await self._register_new(rate, count), REGISTRATION)
        tell(f"  {self._users:,} users are registered")

    async def _quiet(self) -> None:
        tell(f"  waiting {QUIET_S:g} s for the transactions to end")
        await asyncio.sleep(QUIET_S)

    async def _weigh(self) -> int:
        self._core.check()
        groups = families(self._core.roots)
        used = {node: pss_bytes(groups[node]) for node in NODES}
        parts = ", ".join(f"{NODE_LABELS[node]} {octets / 2**20:.0f}" for node, octets in used.items())
        tell(f"  {self._users:,} users: {sum(used.values()) / 2**20:.0f} MiB PSS ({parts})")
        return sum(used.values())

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

    async def _measured(self, kind: str, rate: float, load: Callable[[], Awaitable[LoadResult]]) -> LoadRun:
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
        tell(
            f"  {one.successful} of {one.offered} {kind}s at {rate:g}/s: {one.core_ms:.2f} ms CPU each"
            f" ({', '.join(f'{node} {one.cpu_ms[node]:.2f}' for node in NODES)}); others used {one.others:.0%}"
        )
        return one

    async def _timed(self, kind: str, rate: float, load: Callable[[], Awaitable[LoadResult]]) -> None:
        capture = self._folder / "ues.pcap"
        async with captured(capture):
            await load()
        times = latencies(capture)
        capture.unlink(missing_ok=True)
        self._report.latencies.append(LatencyRun(self._peer, kind, rate, times))
        tell("  " + "; ".join(f"{name} {one.p50:.1f} / {one.p99:.1f} ms" for name, one in sorted(times.items())))

    async def _search(self, kind: str, rate: float, load: Callable[[float, int], Awaitable[LoadResult]]) -> Ceiling:
        steps: list[Step] = []

        async def goes_well(rate: float) -> bool:
            steps.append(await self._step(kind, rate, load))
            await asyncio.sleep(SEARCH_REST_S if steps[-1].is_well else SEARCH_RECOVERY_S)
            return steps[-1].is_well

        best = await search(goes_well, rate)
        if not best:
            return Ceiling(self._peer, kind, best, tuple(steps), None)
        await asyncio.sleep(AFTERMATH_S)
        overload = await self._step(kind, 2 * best, load)
        return Ceiling(self._peer, kind, best, tuple(steps), overload)

    async def _step(self, kind: str, rate: float, load: Callable[[float, int], Awaitable[LoadResult]]) -> Step:
        roots = self._core.roots | self._answering
        before = Snapshot.take(roots)
        result = await load(rate, round(rate * SEARCH_S))
        usage = before.until(Snapshot.take(roots))
        self._core.check()
        used = usage.cpu_s | {"sipp": usage.sipp_s}
        step = Step(
            rate, result.failed_share, result.per_s, result.seconds <= SEARCH_S * SLOWNESS + 1,
            {name: used_s / usage.seconds for name, used_s in used.items()},
            sum(used.values()) / usage.seconds / CPUS + usage.others, usage.others,
        )  # fmt: skip
        busy = ", ".join(f"{name} {share:.0%}" for name, share in step.busy.items())
        tell(
            f"  {rate:g} {kind}s/s: {step.failed_share:.1%} failed, {step.done_per_s:.0f}/s done; of a CPU: {busy};"
            f" others used {usage.others:.0%}"
        )
        return step

    def _check(self, result: LoadResult, kind: str) -> None:
        self._core.check()
        if result.failed_share >= 0.5:
            words = " ".join(result.errors.split())[-300:]
            raise StartupError(
                f"{self._peer.label}: {result.successful} of {result.offered} {kind}s succeeded; SIPp: {words}"
            )


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
                await session.ceiling(REGISTRATION, plan.registrations_per_s[-1])
            async with _session(plan, report, peer, folder, "highest rate of calls") as session:
                await session.ceiling(CALL, plan.calls_per_s[-1])
        if Part.MEMORY in plan.parts:
            async with _session(plan, report, peer, folder, "memory") as session:
                await session.memory()
        if Part.FLAT in plan.parts:
            async with _session(plan, report, peer, folder, "a registration with few users and with many") as session:
                await session.flatness(plan.registrations_per_s[0])
        if Part.PROFILE in plan.parts and peer.is_ours and _can_profile():
            async with _session(plan, report, peer, folder, "where the time goes") as session:
                await session.profile(plan.registrations_per_s[0], plan.calls_per_s[0])


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


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StartupError(f"cannot write {path}: {error.strerror}") from error


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
    """Say what its build tells: Debian's has PGO, but says so nowhere."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return "PGO by its build flags" if "--enable-optimizations" in options else "PGO not stated"


def _can_profile() -> bool:
    obstacle = why_no_sampling()
    if obstacle:
        tell(f"  no profile: {obstacle}")
    return obstacle is None
