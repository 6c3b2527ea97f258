"""The table of a node's settings that describes one Diameter application's connections, such as [cx].

Without `from __future__ import annotations`: `common/config.py` needs the annotations at run time.
"""

from dataclasses import dataclass
from typing import Annotated

from opencscf.common.config import AtLeast, Fqdn, Port, Range, Seconds, SpecificIpAddress


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """One of `peers`: an HSS or PCRF, the Diameter identity it answers with, and where it listens."""

    host: Fqdn
    address: SpecificIpAddress
    port: Port = 3868


@dataclass(frozen=True, slots=True)
class DiameterSettings:
    """[cx] or [rx]: who we are and whom we ask. The first peer that can be used is used."""

    origin_host: Fqdn
    origin_realm: Fqdn
    destination_realm: Fqdn
    peers: Annotated[tuple[PeerSettings, ...], AtLeast(1)]
    request_timeout_s: Seconds = 4.0
    watchdog_s: Annotated[float, Range(6, 3600)] = 30.0  # Tw, at least 6 s by RFC 3539 3.4.1
    connect_timeout_s: Seconds = 5.0  # for TCP, and again for the capabilities exchange
    require_at_start: bool = True
