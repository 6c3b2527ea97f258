"""What `opencscf bench core` found, as a table with a column for each core and as JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from opencscf.labs.bench.cores import Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opencscf.labs.bench.latency import Percentiles

NODES: Final = ("pcscf", "icscf", "scscf")
CONTROLS: Final = ("hss", "sipp")
NODE_LABELS: Final = {
    "pcscf": "P-CSCF",
    "icscf": "I-CSCF",
    "scscf": "S-CSCF",
    "hss": "control: HSS",
    "sipp": "control: SIPp",
    "answering": "control: SIPp that is called",
}
MAX_FAILED: Final = 0.01
BUSY: Final = 0.9  # share of CPU time that leaves no more
LATENCIES: Final = (
    "REGISTER to 401",
    "REGISTER to 200",
    "INVITE to 180",
    "INVITE to 200",
    "BYE to 200",
)


@dataclass(frozen=True, slots=True)
class LoadRun:
    """One run of SIPp against a core."""

    peer: Peer
    kind: str  # registration or call
    rate: float
    offered: int
    successful: int
    retransmissions: int
    seconds: float
    cpu_ms: dict[str, float]  # per success, of each node, the HSS and SIPp
    cx: dict[str, float]  # exchanges per success
    others: float  # share of the machine that none of them used
    first: int = 0  # users registered before

    @property
    def core_ms(self) -> float:
        """CPU milliseconds of the three CSCFs together."""
        return sum(self.cpu_ms[node] for node in NODES)

    @property
    def failed_share(self) -> float:
        """The share that did not succeed."""
        return 1 - self.successful / self.offered

    @property
    def is_sound(self) -> bool:
        """Whether so few failed that CPU per success means something."""
        return self.failed_share < MAX_FAILED


@dataclass(frozen=True, slots=True)
class LatencyRun:
    """Latencies at one rate."""

    peer: Peer
    kind: str
    rate: float
    times: dict[str, Percentiles]


@dataclass(frozen=True, slots=True)
class Step:
    """One rate of a search."""

    rate: float
    failed_share: float
    done_per_s: float
    is_in_time: bool  # or what came late shows that the rate was not kept up
    busy: dict[str, float]  # share of one CPU that each node, the HSS and SIPp used
    machine: float  # share of all CPUs that was used
    others: float  # of it, the share that neither the core nor its load used

    @property
    def is_well(self) -> bool:
        """Whether the core kept up."""
        return self.is_in_time and self.failed_share < MAX_FAILED

    @property
    def limit(self) -> str:
        """Name what had no CPU time left, as far as CPU time tells."""
        name, share = max(self.busy.items(), key=lambda one: one[1], default=("", 0.0))
        if share >= BUSY:
            return f"{NODE_LABELS[name].removeprefix('control: ')} ({share:.0%} of a CPU)"
        if self.machine >= BUSY:
            return f"all CPUs ({self.machine:.0%}, of which others {self.others:.0%})"
        return f"not CPU time ({NODE_LABELS[name].removeprefix('control: ')} {share:.0%})" if name else "unknown"


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The highest rate at which less than 1 % fails, and what is done at twice that rate."""

    peer: Peer
    kind: str
    rate: float
    steps: tuple[Step, ...]
    overload: Step | None  # at twice that rate

    @property
    def words(self) -> str:
        """Tell the rate, and whether it may be higher."""
        return f"{self.rate:g}/s" if any(not step.is_well for step in self.steps) else f"over {self.rate:g}/s"

    @property
    def limit(self) -> str:
        """Tell what was the limit at the lowest rate that did not go well."""
        failed = [step for step in self.steps if not step.is_well]
        return min(failed, key=lambda step: step.rate).limit if failed else "not reached"

    @property
    def kept(self) -> str:
        """Tell the part of the highest rate that is still done at twice that rate."""
        return f"{self.overload.done_per_s / self.rate:.0%}" if self.overload and self.rate else "nothing"


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory with a number of users registered."""

    peer: Peer
    users: int  # as planned
    registered: int  # in fact
    pss_bytes: int  # of the three CSCFs, right after the last registration
    settled_bytes: int  # the same when all transactions are over
    shared_bytes: int | None  # what Kamailio counts, then


@dataclass(frozen=True, slots=True)
class Flat:
    """What a registration costs with a number of users registered."""

    users: int
    run: LoadRun


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the CPU time of our nodes goes under a load: shares by node and place."""

    peer: Peer
    kind: str
    rate: float
    shares: dict[str, dict[str, float]]


@dataclass(slots=True)
class Report:
    """All that was found."""

    environment: dict[str, str]
    peers: tuple[Peer, ...]
    loads: list[LoadRun] = field(default_factory=list)
    latencies: list[LatencyRun] = field(default_factory=list)
    ceilings: list[Ceiling] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    flats: list[Flat] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)

    @property
    def has_figures(self) -> bool:
        """Whether anything was measured at all."""
        return bool(self.loads or self.ceilings or self.memory or self.flats or self.profiles)

    def to_json(self) -> dict[str, object]:
        """Give all runs, also those that the table leaves out."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """Write environment and table."""
        rows = [["", *(peer.label for peer in self.peers)]]
        for kind in ("registration", "call"):
            for rate in sorted({run.rate for run in self.loads if run.kind == kind}):
                rows += self._cpu_rows(kind, rate)
        rows += self._latency_rows() + self._ceiling_rows() + self._memory_rows() + self._flat_rows()
        lines = [*(f"{name}: {value}" for name, value in self.environment.items()), ""]
        if len(rows) > 1 or not self.profiles:
            lines += table(rows)
        for profile in self.profiles:
            lines += ["", f"CPU time of {profile.peer.label}, {profile.kind}s at {profile.rate:g}/s:", ""]
            lines += table(_profile_rows(profile))
        return lines

    def best(self, peer: Peer, kind: str, rate: float) -> LoadRun | None:
        """Choose, of the runs that were repeated, the one that was least disturbed: sound, and cheapest."""
        runs = [run for run in self.loads if (run.peer, run.kind, run.rate) == (peer, kind, rate)]
        return min(runs, key=lambda run: (not run.is_sound, run.core_ms), default=None)

    def _cpu_rows(self, kind: str, rate: float) -> list[list[str]]:
        runs = [self.best(peer, kind, rate) for peer in self.peers]

        def row(label: str, show: Callable[[LoadRun], str]) -> list[str]:
            return [label, *("" if run is None else show(run) for run in runs)]

        rows = [row(f"**{kind} at {rate:g}/s, CPU ms**", lambda run: f"**{run.core_ms:.2f}**")]
        for node in (*NODES, *CONTROLS):
            cells = ["" if run is None else f"{run.cpu_ms[node]:.2f}" for run in runs]
            rows.append([f"- {NODE_LABELS[node]}", *cells])
        rows.append(row("- used by others meanwhile", lambda run: f"{run.others:.0%} of the machine"))
        if any(run is not None and run.failed_share > 0 for run in runs):
            rows.append(row("- failed", lambda run: f"{run.failed_share:.1%}"))
        return rows

    def _latency_rows(self) -> list[list[str]]:
        rows = []
        for kind, rate in sorted({(run.kind, run.rate) for run in self.latencies}, reverse=True):
            for name in LATENCIES:
                cells = [self._latency(peer, kind, rate, name) for peer in self.peers]
                if any(cells):
                    rows.append([f"{name} at {rate:g}/s, p50 / p99 ms", *cells])
        return rows

    def _latency(self, peer: Peer, kind: str, rate: float, name: str) -> str:
        found = [
            run.times[name]
            for run in self.latencies
            if (run.peer, run.kind, run.rate) == (peer, kind, rate) and name in run.times
        ]
        best = min(found, key=lambda times: times.p99, default=None)
        return "" if best is None else f"{best.p50:.1f} / {best.p99:.1f}"

    def _ceiling_rows(self) -> list[list[str]]:
        rows = []
        for kind in ("registration", "call"):
            found = {one.peer: one for one in self.ceilings if one.kind == kind}
            if found:
                ceilings = [found.get(peer) for peer in self.peers]
                rows.append(
                    [
                        f"highest rate of {kind}s under 1 % failure",
                        *("" if one is None else one.words for one in ceilings),
                    ]
                )
                rows.append(["- limit", *("" if one is None else one.limit for one in ceilings)])
                rows.append(["- done at twice that rate", *("" if one is None else one.kept for one in ceilings)])
        return rows

    def _memory_rows(self) -> list[list[str]]:
        rows = []
        for users in sorted({one.users for one in self.memory if one.users}):
            for label, octets in _MEMORY.items():
                cells = [self._per_user(peer, users, octets) for peer in self.peers]
                if any(cells):
                    rows.append([label.format(users=users), *cells])
        return rows

    def _per_user(self, peer: Peer, users: int, octets: Callable[[Memory], int | None]) -> str:
        empty, full = self._memory_of(peer, 0), self._memory_of(peer, users)
        if empty is None or full is None:
            return ""
        before, after = octets(empty), octets(full)
        if before is None or after is None:
            return ""
        return f"{(after - before) / (full.registered - empty.registered) / 1024:.1f}"

    def _flat_rows(self) -> list[list[str]]:
        found = {(one.run.peer, one.users): one.run for one in self.flats}
        rows = []
        for rate, users in sorted({(one.run.rate, one.users) for one in self.flats}):
            runs = [found.get((peer, users)) for peer in self.peers]
            label = f"**registration at {rate:g}/s with {users:,} users, CPU ms**"
            rows.append([label, *("" if run is None else f"**{run.core_ms:.2f}**" for run in runs)])
            for node in NODES:
                cells = ["" if run is None else f"{run.cpu_ms[node]:.2f}" for run in runs]
                rows.append([f"- {NODE_LABELS[node]}", *cells])
        return rows

    def _memory_of(self, peer: Peer, users: int) -> Memory | None:
        return next((one for one in self.memory if (one.peer, one.users) == (peer, users)), None)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Write rows as Markdown that is aligned to be read as it is; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        return f"| {first[0]:<{first[1]}} | " + " | ".join(f"{cell:>{width}}" for cell, width in rest) + " |"

    rule = "|" + "-" * (widths[0] + 2) + "|" + "|".join("-" * (width + 1) + ":" for width in widths[1:]) + "|"
    return [line(rows[0]), rule, *map(line, rows[1:])]


def _profile_rows(profile: Profile) -> list[list[str]]:
    places = dict.fromkeys(place for shares in profile.shares.values() for place in shares)
    rows = [["", *(NODE_LABELS[node] for node in profile.shares)]]
    return rows + [[place, *(f"{shares.get(place, 0):.0%}" for shares in profile.shares.values())] for place in places]


_MEMORY: Final[dict[str, Callable[[Memory], int | None]]] = {
    "memory (PSS) per user at {users:,}, KiB: settled": lambda one: one.settled_bytes,
    "- right after the burst": lambda one: one.pss_bytes,
    "- in Kamailio's shared memory, settled": lambda one: one.shared_bytes,
}
