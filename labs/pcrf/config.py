"""pcrf.toml: who the PCRF is, where it listens, and whom it refuses."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from opencscf.common.config import Fqdn, IpAddress, Port, Range, SpecificIpAddress, load
from opencscf.common.errors import ConfigError
from opencscf.common.node.settings import HealthSettings, LogLevel


@dataclass(frozen=True, slots=True)
class PcrfTable:
    """[pcrf]: the Diameter identity."""

    address: SpecificIpAddress
    origin_host: Fqdn
    origin_realm: Fqdn
    port: Port = 3868
    max_sessions: Annotated[int, Range(1, 10_000_000)] = 100_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """One [[refuse]]: the media of a UE address that this PCRF does not authorise, for tests."""

    ue_address: IpAddress
    result: Annotated[int, Range(4000, 5999)] = 5065  # IP-CAN_SESSION_NOT_AVAILABLE, TS 29.214 5.5
    is_experimental: bool = True  # a 3GPP result; false: one of RFC 6733


@dataclass(frozen=True, slots=True)
class LogTable:
    """[log]: the least level of lines on stderr."""

    level: LogLevel = LogLevel.INFO


@dataclass(frozen=True, slots=True)
class PcrfSettings:
    """The pcrf.toml file."""

    pcrf: PcrfTable
    refuse: tuple[Refusal, ...] = ()
    health: HealthSettings = field(default_factory=HealthSettings)
    log: LogTable = field(default_factory=LogTable)

    def __post_init__(self) -> None:
        """Refuse an address that is there twice."""
        addresses = [ip_address(refusal.ue_address) for refusal in self.refuse]
        for number, address in enumerate(addresses):
            if address in addresses[:number]:
                raise ConfigError(f"refuse[{number}].ue_address: {address} is given twice")


def load_pcrf(path: Path) -> PcrfSettings:
    """Read and check a pcrf.toml; `ConfigError` has a line for every fault."""
    return load(path, PcrfSettings)
