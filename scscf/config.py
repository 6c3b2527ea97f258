"""scscf.toml: the settings of an S-CSCF."""

from dataclasses import dataclass, field
from typing import Annotated

from opencscf.common.config import Fqdn, Range, Seconds, SipUriText
from opencscf.common.errors import ConfigError
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
class ScscfTable:
    """[scscf]: the home network domain, the name under which the HSS knows this S-CSCF, and its next I-CSCF."""

    domain: Fqdn
    server_name: SipUriText
    icscf: SipUriText


@dataclass(frozen=True, slots=True)
class RegistrationTable:
    """[registration]: what a UE may ask for, and how patient we are with it."""

    min_expires_s: Annotated[int, Range(1, 600_000)] = 60
    max_expires_s: Annotated[int, Range(1, 604_800)] = 600_000
    default_expires_s: Annotated[int, Range(1, 604_800)] = 600_000  # TS 24.229 5.1.1.2.1
    await_auth_s: Seconds = 240.0  # reg-await-auth, TS 24.229 table 7.8.1
    max_resyncs: Annotated[int, Range(0, 10)] = 2  # in a row, before a UE whose SQN never fits is refused
    max_contacts: Annotated[int, Range(1, 100)] = 10  # of one user; a further one takes the place of the oldest

    def __post_init__(self) -> None:
        """Keep the three durations in order."""
        if not self.min_expires_s <= self.default_expires_s <= self.max_expires_s:
            raise ConfigError("expected min_expires_s <= default_expires_s <= max_expires_s")


@dataclass(frozen=True, slots=True)
class ScscfConfig:
    """The scscf.toml file."""

    sip: SipSettings
    cx: DiameterSettings
    scscf: ScscfTable
    registration: RegistrationTable = RegistrationTable()
    dns: DnsSettings = field(default_factory=DnsSettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    log: LogSettings = field(default_factory=LogSettings)
    overload: InnerOverloadSettings = field(default_factory=InnerOverloadSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
