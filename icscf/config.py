"""icscf.toml: the settings of an I-CSCF."""

from dataclasses import dataclass, field
from typing import Annotated

from opencscf.common.config import AtLeast, Fqdn, SipUriText
from opencscf.common.node.settings import (
    DnsSettings,
    HealthSettings,
    InnerOverloadSettings,
    LogSettings,
    SipSettings,
    StoreSettings,
)
from opencscf.diameter.settings import DiameterSettings


@dataclass(frozen=True, slots=True)
class ScscfCandidate:
    """One [[icscf.scscf]]: an S-CSCF of this network and the capabilities (TS 29.228 6.7) that the HSS may ask for."""

    name: SipUriText
    capabilities: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class IcscfTable:
    """[icscf]: the home network domain, and its S-CSCFs, the preferred ones first."""

    domain: Fqdn
    scscf: Annotated[tuple[ScscfCandidate, ...], AtLeast(1)]


@dataclass(frozen=True, slots=True)
class IcscfConfig:
    """The icscf.toml file."""

    sip: SipSettings
    cx: DiameterSettings
    icscf: IcscfTable
    dns: DnsSettings = field(default_factory=DnsSettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    log: LogSettings = field(default_factory=LogSettings)
    overload: InnerOverloadSettings = field(default_factory=InnerOverloadSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
