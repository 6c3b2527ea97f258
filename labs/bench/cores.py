"""The cores that are compared: ours, and Kamailio's with one or the other allocator; each with the bench HSS.

Equal terms: none writes a log of what goes well, none keeps anything on disk, none asks a PCRF. `Peer.OURS_DURABLE` is
ours as it is installed: with its log and its databases.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import time
import urllib.request
from typing import TYPE_CHECKING, Final

from opencscf.common.errors import StartupError
from opencscf.labs.bench.kamailio import Kamailio
from opencscf.labs.bench.scene import (
    AMF,
    CSCFS,
    DIAMETER_PORT,
    DOMAIN,
    FIRST_IMSI,
    HEALTH_PORT,
    HSS,
    OP,
    SIP_PORT,
    SUBSCRIBERS,
    K,
    sip_uri,
)  # fmt: skip
from opencscf.labs.commented_toml import Key, Table, Value, document
from opencscf.labs.processes import Port, ProcessGroup, ProcessPlan, check_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DIAMETER_TIMEOUT_S: Final = 20.0
CX_CLIENTS: Final = 2  # I-CSCF and S-CSCF
CX_REQUESTS: Final = ("UAR", "MAR", "SAR", "LIR")


class Peer(enum.StrEnum):
    """What can be measured, by the name it has on the command line."""

    OURS = "ours"
    OURS_DURABLE = "ours-durable"
    KAMAILIO = "kamailio"
    KAMAILIO_FM = "kamailio-fm"

    @property
    def is_ours(self) -> bool:
        """Whether it is OpenCSCF."""
        return self in {Peer.OURS, Peer.OURS_DURABLE}

    @property
    def label(self) -> str:
        """Its name in a table."""
        return _LABELS[self]


_LABELS: Final = {
    Peer.OURS: "OpenCSCF",
    Peer.OURS_DURABLE: "OpenCSCF, log and store",
    Peer.KAMAILIO: "Kamailio, default",
    Peer.KAMAILIO_FM: "Kamailio, fm",
}


class RunningCore:
    """A core that is up."""

    def __init__(self, peer: Peer, group: ProcessGroup, kamailio: Kamailio | None) -> None:
        self.peer = peer
        self._group = group
        self._kamailio = kamailio

    @property
    def roots(self) -> dict[str, int]:
        """The main process of each node and of the HSS."""
        ours = {one.plan.name: one.process.pid for one in self._group.processes}
        return ours | (self._kamailio.pids if self._kamailio else {})

    def check(self) -> None:
        """Raise `StartupError` if a process has ended."""
        for one in self._group.processes:
            if one.has_ended:
                raise StartupError(one.obituary())
        if self._kamailio is not None:
            self._kamailio.check()

    async def cx(self) -> dict[str, int]:
        """Ask the HSS how many requests of each kind it has answered."""
        counts = await asyncio.to_thread(_ask_hss)
        return {name: int(counts.get(name, 0)) for name in (*CX_REQUESTS, "refused")}

    async def shared_bytes(self) -> int | None:
        """Ask Kamailio for the shared memory it uses; ours has none."""
        return await self._kamailio.shared_bytes() if self._kamailio else None


@contextlib.asynccontextmanager
async def running(peer: Peer, folder: Path) -> AsyncIterator[RunningCore]:
    """Bring up the HSS and a core; at the end stop both, whatever happened."""
    hss = _plan("hss", "opencscf.labs.bench.hss", HSS, folder, Port(HSS, DIAMETER_PORT, "tcp"))
    nodes = [_plan(name, f"opencscf.{name}", address, folder) for name, address in CSCFS.items()]
    check_ports([hss, *nodes])
    kamailio = None if peer.is_ours else Kamailio(folder, "fm" if peer is Peer.KAMAILIO_FM else None)
    _write(folder, "hss", _hss_tables())
    async with ProcessGroup() as group:
        await group.start([hss], _silent)
        try:
            if kamailio is not None:
                await kamailio.start()
            else:
                for name in CSCFS:
                    _write(folder, name, _node_tables(name, folder, is_durable=peer is Peer.OURS_DURABLE))
                await group.start(nodes, _silent)
            core = RunningCore(peer, group, kamailio)
            await _wait_for_diameter(core)
            yield core
        finally:
            if kamailio is not None:
                await kamailio.stop()


async def _wait_for_diameter(core: RunningCore) -> None:
    deadline = time.monotonic() + DIAMETER_TIMEOUT_S
    while int((await asyncio.to_thread(_ask_hss)).get("CER", 0)) < CX_CLIENTS:
        core.check()
        if time.monotonic() > deadline:
            raise StartupError(f"{core.peer.label}: the I-CSCF and the S-CSCF did not connect to the HSS")
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)  # for what they do with the HSS's answer


def _ask_hss() -> dict[str, int]:
    with urllib.request.urlopen(f"http://{HSS}:{HEALTH_PORT}/health", timeout=5) as answer:
        return dict(json.load(answer))


def _silent(_line: str) -> None:
    pass


def _plan(name: str, module: str, address: str, folder: Path, *ports: Port) -> ProcessPlan:
    return ProcessPlan(
        name=name,
        module=module,
        config=folder / f"{name}.toml",
        log=folder / f"{name}.log",
        health=(address, HEALTH_PORT),
        ports=(*(ports or [Port(address, SIP_PORT, "udp")]), Port(address, HEALTH_PORT, "tcp")),
    )


def _write(folder: Path, name: str, tables: list[Table]) -> None:
    (folder / f"{name}.toml").write_text(document("Of opencscf bench core.", tables), encoding="utf-8")


def _hss_tables() -> list[Table]:
    keys = (
        Key("address", HSS), Key("port", DIAMETER_PORT), Key("origin_host", f"hss.{DOMAIN}"),
        Key("origin_realm", DOMAIN), Key("first_imsi", FIRST_IMSI), Key("subscribers", SUBSCRIBERS),
        Key("k", K), Key("op", OP), Key("amf", AMF),
    )  # fmt: skip
    return [Table("hss", "", keys), Table("health", "", (Key("address", HSS), Key("port", HEALTH_PORT)))]


def _node_tables(name: str, folder: Path, *, is_durable: bool) -> list[Table]:
    listen = Table(
        "sip.listen",
        "",
        (Key("address", CSCFS[name]), Key("port", SIP_PORT), Key("transports", ["udp"])),
        is_array=True,
    )
    health = Table("health", "", (Key("address", CSCFS[name]), Key("port", HEALTH_PORT)))
    log = Table("log", "", (Key("level", "info" if is_durable else "warning"),))
    tables = [*_ROLES[name](), listen, health, log]
    if name != "icscf" and is_durable:
        tables.append(Table("store", "", (Key("path", str(folder / f"{name}.db")),)))
    return tables


def _pcscf() -> list[Table]:
    return [Table("pcscf", "", (Key("visited_network", DOMAIN), Key("icscf", sip_uri("icscf"))))]


def _icscf() -> list[Table]:
    candidate = Table("icscf.scscf", "", (Key("name", sip_uri("scscf")), Key("capabilities", [0])), is_array=True)
    return [Table("icscf", "", (Key("domain", DOMAIN),)), candidate, _cx("icscf")]


def _scscf() -> list[Table]:
    keys = (Key("domain", DOMAIN), Key("server_name", sip_uri("scscf")), Key("icscf", sip_uri("icscf")))
    return [Table("scscf", "", keys), _cx("scscf")]


def _cx(name: str) -> Table:
    peers: list[Value] = [{"host": f"hss.{DOMAIN}", "address": HSS, "port": DIAMETER_PORT}]
    keys = (
        Key("origin_host", f"{name}.{DOMAIN}"), Key("origin_realm", DOMAIN), Key("destination_realm", DOMAIN),
        Key("peers", peers),
    )  # fmt: skip
    return Table("cx", "", keys)


_ROLES: Final = {"pcscf": _pcscf, "icscf": _icscf, "scscf": _scscf}
