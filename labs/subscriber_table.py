"""The table of what a client needs to know: the network, and per subscriber its identities and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opencscf.common.ims.identity import impi_of_imsi, sip_impu_of_msisdn, tel_impu_of_msisdn
from opencscf.common.ims.milenage import derive_opc
from opencscf.common.node.trace import host_port

if TYPE_CHECKING:
    from opencscf.labs.config import LabSettings, Subscriber

SHOWN: Final = 8  # subscribers; more are in lab.toml for who wants to see them
PER_ROW: Final = 2
LABEL_WIDTH: Final = 9


def subscriber_table(lab: LabSettings) -> list[str]:
    """Write the table in lines of at most 120 characters."""
    network = lab.network
    lines = [
        _row("P-CSCF", f"{host_port((network.pcscf, network.sip_port))} (UDP and TCP)"),
        _row("Domain", network.domain),
    ]
    shown = [_fields(one, network.domain) for one in lab.subscriber[:SHOWN]]
    for start in range(0, len(shown), PER_ROW):
        lines.append("")
        group = shown[start : start + PER_ROW]
        width = max(len(value) for fields in group for value in fields.values())
        lines += [_row(name, "  ".join(fields[name].ljust(width) for fields in group)).rstrip() for name in group[0]]
    hidden = len(lab.subscriber) - len(shown)
    if hidden:
        lines.append(f"... and {hidden} more")
    lines += [
        f"... and {one.count} from IMSI {one.first_imsi}, MSISDN {one.first_msisdn}" for one in lab.subscriber_range
    ]
    return lines


def opc_of(subscriber: Subscriber) -> str:
    """OPc in hexadecimal, derived if the file has OP."""
    if subscriber.opc is not None:
        return subscriber.opc.lower()
    return derive_opc(bytes.fromhex(subscriber.k), bytes.fromhex(subscriber.op or "")).hex()


def _fields(one: Subscriber, domain: str) -> dict[str, str]:
    return {
        "IMSI": one.imsi,
        "IMPI": impi_of_imsi(one.imsi, domain),
        "IMPU": sip_impu_of_msisdn(one.msisdn, domain),
        "": tel_impu_of_msisdn(one.msisdn),
        "MSISDN": one.msisdn,
        "K": one.k.lower(),
        "OPc": opc_of(one),
        "password": one.password or "-",
    }


def _row(name: str, text: str) -> str:
    return f"{name.ljust(LABEL_WIDTH)} {text}"
