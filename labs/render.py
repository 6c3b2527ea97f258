"""lab.toml into the settings of its five processes, every key explained, and the plan by which they are started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opencscf.common.errors import StartupError
from opencscf.labs.commented_toml import Key, Table, Value, document
from opencscf.labs.processes import Port, ProcessPlan

if TYPE_CHECKING:
    from pathlib import Path

    from opencscf.labs.config import LabSettings, Network, Subscriber, SubscriberRange

ABOUT_KEYS: Final = "Rendered from the lab's file by `opencscf lab`, and again at each start: change lab.toml instead."


@dataclass(frozen=True, slots=True)
class Names:
    """What the processes are called: Diameter identities and host names of URIs."""

    domain: str

    def host(self, process: str) -> str:
        """Name a process's host."""
        return f"{process}.{self.domain}"

    def sip_uri(self, process: str, port: int) -> str:
        """Name a CSCF as next hop or server name."""
        return f"sip:{self.host(process)}:{port}"


def render(lab: LabSettings) -> dict[str, str]:
    """Write each process's file; the keys are the process names."""
    return {
        "hss": _hss(lab),
        "pcrf": _pcrf(lab),
        "scscf": _scscf(lab),
        "icscf": _icscf(lab),
        "pcscf": _pcscf(lab),
    }


def write(lab: LabSettings, directory: Path) -> dict[str, Path]:
    """Write all files into a directory that only its owner can read, since keys are among them."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        paths = {}
        for name, text in render(lab).items():
            paths[name] = directory / f"{name}.toml"
            descriptor = os.open(paths[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise StartupError(f"lab: cannot write {error.filename or directory}: {error.strerror or error}") from error
    return paths


def plans(lab: LabSettings, directory: Path) -> tuple[list[ProcessPlan], list[ProcessPlan]]:
    """Plan the processes in two stages: those that answer the CSCFs' questions, then the CSCFs."""
    network = lab.network
    modules = {
        "hss": "opencscf.labs.hss",
        "pcrf": "opencscf.labs.pcrf",
        "scscf": "opencscf.scscf",
        "icscf": "opencscf.icscf",
        "pcscf": "opencscf.pcscf",
    }
    found = {}
    for name, module in modules.items():
        address = getattr(network, name)
        if name in {"hss", "pcrf"}:
            ports = [Port(address, network.diameter_port, "tcp")]
        else:
            ports = [Port(address, network.sip_port, "udp"), Port(address, network.sip_port, "tcp")]
        found[name] = ProcessPlan(
            name=name,
            module=module,
            config=directory / f"{name}.toml",
            log=directory / f"{name}.log",
            health=(address, network.health_port),
            ports=(*ports, Port(address, network.health_port, "tcp")),
        )
    return [found["hss"], found["pcrf"]], [found["scscf"], found["icscf"], found["pcscf"]]


def trace_path(directory: Path, node: str) -> Path:
    """Name the trace file of a node or UE."""
    return directory / f"{node}.trace.jsonl"


def _pcscf(lab: LabSettings) -> str:
    names = Names(lab.network.domain)
    return document(
        f"P-CSCF: the first contact of the UEs.\n{ABOUT_KEYS}",
        [
            Table(
                "pcscf",
                "What this node does.",
                (
                    Key(
                        "visited_network", names.domain, "sent as P-Visited-Network-ID; the HSS checks roaming with it"
                    ),
                    Key("icscf", names.sip_uri("icscf", lab.network.sip_port), "where REGISTER goes on to"),
                ),
            ),
            *_sip(lab.network, "pcscf"),
            _diameter(lab.network, "rx", "pcscf", "pcrf", Key("mode", str(lab.rx.mode), "best-effort, or off")),
            *_node(lab.network, "pcscf"),
        ],
    )


def _icscf(lab: LabSettings) -> str:
    names = Names(lab.network.domain)
    return document(
        f"I-CSCF: the entry of the home network.\n{ABOUT_KEYS}",
        [
            Table("icscf", "What this node does.", (Key("domain", names.domain, "the home network domain"),)),
            Table(
                "icscf.scscf",
                "The S-CSCFs it may choose from when the HSS names none, one table each.",
                (
                    Key("name", names.sip_uri("scscf", lab.network.sip_port), "as the HSS stores it"),
                    Key("capabilities", [], "of TS 29.228 6.7; none: good for every user"),
                ),
                is_array=True,
            ),
            *_sip(lab.network, "icscf"),
            _diameter(lab.network, "cx", "icscf", "hss"),
            *_node(lab.network, "icscf"),
        ],
    )


def _scscf(lab: LabSettings) -> str:
    names = Names(lab.network.domain)
    port = lab.network.sip_port
    registration = lab.registration
    return document(
        f"S-CSCF: the registrar and the centre of every call.\n{ABOUT_KEYS}",
        [
            Table(
                "scscf",
                "What this node does.",
                (
                    Key("domain", names.domain, "the home network domain"),
                    Key("server_name", names.sip_uri("scscf", port), "under which the HSS knows this S-CSCF"),
                    Key("icscf", names.sip_uri("icscf", port), "where calls to users of this domain go on to"),
                ),
            ),
            Table(
                "registration",
                "How long a registration lasts, in seconds.",
                (
                    Key("min_expires_s", registration.min_expires_s, "less is refused with 423"),
                    Key("max_expires_s", registration.max_expires_s, "more is cut to this"),
                    Key("default_expires_s", registration.default_expires_s, "when the UE asks for nothing"),
                ),
            ),
            *_sip(lab.network, "scscf"),
            _diameter(lab.network, "cx", "scscf", "hss"),
            *_node(lab.network, "scscf"),
        ],
    )


def _hss(lab: LabSettings) -> str:
    return document(
        f"HSS of the lab: subscribers, their keys and where they are registered.\n{ABOUT_KEYS}",
        [
            _diameter_server(
                lab.network,
                "hss",
                Key("domain", lab.network.domain, "of the subscribers' identities"),
                Key("database", "hss.db", "sequence numbers and registrations outlive a restart"),
            ),
            *_node(lab.network, "hss"),
            *(_subscriber(one) for one in lab.subscriber),
            *(_subscriber_range(one) for one in lab.subscriber_range),
        ],
    )


def _pcrf(lab: LabSettings) -> str:
    return document(
        f"PCRF of the lab: it accepts the media of every call and remembers them.\n{ABOUT_KEYS}",
        [_diameter_server(lab.network, "pcrf"), *_node(lab.network, "pcrf")],
    )


def _sip(network: Network, process: str) -> list[Table]:
    names = Names(network.domain)
    hosts = [Key(names.host(other), getattr(network, other)) for other in ("pcscf", "icscf", "scscf")]
    hosts.append(Key(names.domain, network.icscf, "the domain itself is where its I-CSCF is"))
    return [
        Table(
            "sip.listen",
            "Where SIP is received; the address also goes into Via. One table per address.",
            (
                Key("address", getattr(network, process), "of this machine"),
                Key("port", network.sip_port),
                Key("transports", ["udp", "tcp"]),
            ),
            is_array=True,
        ),
        Table("sip.hosts", "Names that need no DNS.", tuple(hosts)),
    ]


def _diameter(network: Network, table: str, process: str, peer: str, *more: Key) -> Table:
    names = Names(network.domain)
    peers: list[Value] = [
        {"host": names.host(peer), "address": getattr(network, peer), "port": network.diameter_port},
    ]
    return Table(
        table,
        f"The Diameter connection to the {peer.upper()}.",
        (
            Key("origin_host", names.host(process), "our Diameter identity"),
            Key("origin_realm", names.domain, "our realm"),
            Key("destination_realm", names.domain, "the peer's realm"),
            Key("peers", peers, "the first one that can be used is used"),
            *more,
        ),
    )


def _diameter_server(network: Network, process: str, *more: Key) -> Table:
    names = Names(network.domain)
    return Table(
        process,
        "Who this is on Diameter.",
        (
            Key("address", getattr(network, process), "where Diameter connections are accepted"),
            Key("port", network.diameter_port, "TCP"),
            Key("origin_host", names.host(process), "the Diameter identity"),
            Key("origin_realm", names.domain, "the realm"),
            *more,
        ),
    )


def _node(network: Network, process: str) -> list[Table]:
    tables = [
        Table(
            "health",
            "Where GET /health says how this process is.",
            (Key("address", getattr(network, process)), Key("port", network.health_port, "0: nowhere")),
        ),
    ]
    if process in {"hss", "pcrf"}:
        return [
            *tables,
            Table("log", "What is told on stderr.", (Key("level", "info", "debug, info, warning, error"),)),
        ]
    log = (
        Key("level", "info", "debug, info, warning or error"),
        Key("trace", f"{process}.trace.jsonl", "a line of JSON per message; the lab's ladder is drawn from it"),
    )
    tables.append(Table("log", "What is told on stderr and in files.", log))
    if process != "icscf":  # which remembers nothing
        tables.append(Table("store", "What survives a restart.", (Key("path", f"{process}.db", "SQLite"),)))
    return tables


def _subscriber(one: Subscriber) -> Table:
    keys = [
        Key("imsi", one.imsi),
        Key("msisdn", one.msisdn, "becomes sip:MSISDN@domain and tel:+MSISDN"),
        *_key_material(one),
    ]
    return Table("subscriber", "", tuple(keys), is_array=True)


def _subscriber_range(one: SubscriberRange) -> Table:
    keys = [
        Key("first_imsi", one.first_imsi),
        Key("first_msisdn", one.first_msisdn),
        Key("count", one.count, "consecutive subscribers"),
        *_key_material(one),
    ]
    return Table("subscriber_range", "", tuple(keys), is_array=True)


def _key_material(one: Subscriber | SubscriberRange) -> list[Key]:
    op = (
        Key("opc", one.opc, "OPc, of the operator and this SIM")
        if one.opc
        else Key("op", one.op or "", "the operator's OP")
    )
    keys = [Key("k", one.k, "the SIM's key"), op, Key("amf", one.amf, "authentication management field")]
    return [*keys, Key("password", one.password, "for clients without AKA")] if one.password else keys
