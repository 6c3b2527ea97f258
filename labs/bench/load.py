"""SIPp as the UEs: registrations and calls at a given rate, each UE on an address of its own."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import itertools
import re
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opencscf.common.errors import StartupError
from opencscf.labs.bench.children import find_program, spawn, stop
from opencscf.labs.bench.scene import AMF, DOMAIN, OP, PCSCF, SCSCF, SIP_PORT, UE_PORT, K, SimulatedUe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCENARIOS: Final = Path(__file__).parent / "sipp"
PATIENCE_S: Final = 25.0  # beyond the time that the rate asks for; then what is not done is a failure
MAX_CALLS: Final = 6_000  # at one time
FLOOD_PATIENCE_S: Final = 10.0  # in a search, where a rate that needs more has failed
FLOOD_CALLS: Final = 30_000  # in a search: so many that SIPp does not wait for a core that is slow
SOCKETS_TIMEOUT_S: Final = 20.0
SPARE_FILES: Final = 500
MAX_SOCKETS: Final = 13_000  # more of them, and SIPp spends its time looking through them


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What SIPp counted; what it did not finish in time counts as failed."""

    offered: int
    successful: int
    retransmissions: int
    seconds: float
    offered_s: float  # how long requests were offered
    done_meanwhile: int  # of those that succeeded, what did before the last was offered
    errors: str = ""

    @property
    def failed_share(self) -> float:
        """The share that did not succeed."""
        return 1 - self.successful / self.offered

    @property
    def per_s(self) -> float:
        """How many succeeded per second while requests were offered: what came late is left out."""
        return self.done_meanwhile / self.offered_s


class Sipp:
    """Runs SIPp in a folder of its own, which should be in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = find_sipp()
        self._serial = itertools.count(1)
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    @property
    def max_ues(self) -> int:
        """How many UEs one SIPp can be: each has a socket."""
        return min(MAX_SOCKETS, self._files - SPARE_FILES)

    async def register(self, first: int, ues: int, rate: float, count: int) -> LoadResult:
        """Register `count` times, at `rate` a second, going round and round through the UEs."""
        return await self._run(self._command("register", first, ues), rate, count)

    async def call(self, first: int, pairs: int, rate: float, count: int) -> LoadResult:
        """Let UEs call those that are `pairs` further; all are registered and the callees answer already."""
        return await self._run(self._command("call", first, pairs), rate, count)

    async def flood(self, scenario: str, first: int, ues: int, rate: float, count: int) -> LoadResult:
        """Do either, and go on at that rate whatever the core makes of it."""
        command = self._command(scenario, first, ues)
        return await self._run(command, rate, count, patience_s=FLOOD_PATIENCE_S, most=FLOOD_CALLS)

    @contextlib.asynccontextmanager
    async def answering(self, first: int, ues: int) -> AsyncIterator[int]:
        """Let UEs take calls; this is the process that plays them."""
        before = _udp_sockets()
        process = await spawn(self._command("answer", first, ues), self._folder)
        try:
            deadline = time.monotonic() + SOCKETS_TIMEOUT_S
            while _udp_sockets() - before < ues:
                if process.returncode is not None or time.monotonic() > deadline:
                    raise StartupError("sipp: the UEs that answer did not get their sockets")
                await asyncio.sleep(0.05)
            yield process.pid
        finally:
            await stop(process)

    def _command(self, scenario: str, first: int, ues: int) -> list[str]:
        path = self._folder / f"{next(self._serial)}-{scenario}.xml"
        path.write_text(fill(SCENARIOS / f"{scenario}.xml", WORDS), encoding="utf-8")
        path.with_suffix(".csv").write_text(injection_file(first, ues), encoding="utf-8")
        return [
            self._program, f"{PCSCF}:{SIP_PORT}", "-sf", str(path), "-inf", str(path.with_suffix(".csv")),
            "-t", "ui", "-ip_field", "0", "-i", "127.0.0.1", "-p", str(UE_PORT), "-nostdin",
            "-max_socket", str(self.max_ues + 100), "-buff_size", "4194304", "-default_behaviors", "all,-bye",
            "-trace_err", "-error_file", str(path.with_suffix(".err")),
            "-trace_stat", "-stf", str(path.with_suffix(".stat")), "-fd", "1",
        ]  # fmt: skip

    async def _run(
        self, command: list[str], rate: float, count: int, patience_s: float = PATIENCE_S, most: int = MAX_CALLS
    ) -> LoadResult:
        limit_s = count / rate + patience_s
        more = ["-r", f"{rate:g}", "-m", str(count), "-l", str(min(count, most)), "-timeout", f"{limit_s:.0f}s"]
        begin = time.monotonic()
        process = await spawn([*command, *more], self._folder)
        try:
            async with asyncio.timeout(limit_s + 15):
                await process.wait()
        except TimeoutError:
            pass  # its statistics say how far it came
        finally:
            await stop(process)
        seconds = time.monotonic() - begin
        return read_result(Path(command[3]), count, rate, seconds)


WORDS: Final = {
    "domain": DOMAIN, "port": str(UE_PORT), "pcscf": f"{PCSCF}:{SIP_PORT}", "scscf": f"{SCSCF}:{SIP_PORT}",
}  # fmt: skip


def find_sipp() -> str:
    """Find SIPp, or say where it comes from."""
    path = find_program("sipp")
    if path is None:
        raise StartupError("sipp is missing: apt-get install sip-tester")
    return path


def fill(template: Path, words: dict[str, str]) -> str:
    """Read a file and put words in the place of their names between @."""
    return re.sub(r"@([a-z_]+)@", lambda found: words.get(found[1], found[0]), template.read_text(encoding="utf-8"))


def injection_file(first: int, ues: int) -> str:
    """Write what SIPp knows of each UE: address, IMSI, credentials, and the IMSI of the UE that is `ues` further."""
    lines = ["SEQUENTIAL"]
    for index in range(first, first + ues):
        ue, callee = SimulatedUe(index), SimulatedUe(index + ues)
        # SIPp reads on behind OP and K until it meets a zero octet
        keys = f"aka_OP=0x{OP}00 aka_AMF=0x{AMF} aka_K=0x{K}00"
        lines.append(f"{ue.address};{ue.imsi};[authentication username={ue.imsi}@{DOMAIN} {keys}];{callee.imsi}")
    return "\n".join(lines) + "\n"


def read_result(scenario: Path, offered: int, rate: float, seconds: float) -> LoadResult:
    """Read what SIPp wrote beside its scenario, once a second."""
    statistics, errors = scenario.with_suffix(".stat"), scenario.with_suffix(".err")
    text = errors.read_text(encoding="utf-8", errors="replace")[-2000:] if errors.exists() else ""
    rows = []
    if statistics.exists():
        with statistics.open(encoding="utf-8", errors="replace") as file:
            rows = list(csv.DictReader(file, delimiter=";"))
    if not rows:
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "it left no word")
        raise StartupError(f"sipp ended at once: {last}")
    successful, retransmissions = int(rows[-1]["SuccessfulCall(C)"]), int(rows[-1]["Retransmissions(C)"])
    begin = _second(rows[0]["StartTime"])
    ages_s = [_second(row["CurrentTime"]) - begin for row in rows]
    newest = max((index for index, age_s in enumerate(ages_s) if age_s <= offered / rate), default=0)
    done_meanwhile = int(rows[newest]["SuccessfulCall(C)"])
    return LoadResult(offered, successful, retransmissions, seconds, max(ages_s[newest], 1.0), done_meanwhile, text)


def _second(stamp: str) -> float:
    """Read SIPp's date, time and seconds since the epoch, with tabs between."""
    return float(stamp.rpartition("\t")[2])


def _udp_sockets() -> int:
    return Path("/proc/net/udp").read_text(encoding="ascii").count(f":{UE_PORT:04X} ")
