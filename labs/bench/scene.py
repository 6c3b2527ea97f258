"""Where everything of a core benchmark is, the same for each core that is measured. Nothing leaves loopback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DOMAIN: Final = "ims.mnc001.mcc001.3gppnetwork.org"
PCSCF: Final = "127.193.0.10"
ICSCF: Final = "127.193.0.11"
SCSCF: Final = "127.193.0.12"
HSS: Final = "127.193.0.14"
SIP_PORT: Final = 5060
DIAMETER_PORT: Final = 3868
HEALTH_PORT: Final = 8080
UE_PORT: Final = 5066

SUBSCRIBERS: Final = 1_000_000
FIRST_IMSI: Final = "001010000000001"
# TS 35.208 set 3: neither has an octet that SIPp stumbles over
K: Final = "fec86ba6eb707ed08905757b1bb44b8f"
OP: Final = "dbc59adcb6f9a0ef735477b7fadf8374"
AMF: Final = "8000"

CSCFS: Final = {"pcscf": PCSCF, "icscf": ICSCF, "scscf": SCSCF}

_HOSTS, _NETS, _ROWS = 240, 250, 100  # UE addresses: 127.100.0.1 to 127.199.249.240


@dataclass(frozen=True, slots=True)
class SimulatedUe:
    """A subscriber by number, from 0, with an address of its own: Kamailio finds contacts by the UE's address."""

    index: int

    @property
    def imsi(self) -> str:
        """Its IMSI."""
        return f"{int(FIRST_IMSI) + self.index:0{len(FIRST_IMSI)}}"

    @property
    def address(self) -> str:
        """Its address."""
        net, host = divmod(self.index, _HOSTS)
        row, net = divmod(net, _NETS)
        return f"127.{100 + row % _ROWS}.{net}.{1 + host}"


def sip_uri(node: str) -> str:
    """Name a CSCF by its address, since Kamailio looks up no names here."""
    return f"sip:{CSCFS[node]}:{SIP_PORT}"
