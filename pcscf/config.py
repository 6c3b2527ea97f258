"""The P-CSCF's settings: `pcscf.toml`."""

import enum
from dataclasses import dataclass, field
from typing import Annotated

from opencscf.common.config import Fqdn, Range, Seconds, SipUriText
from opencscf.common.node.settings import (
    DnsSettings,
    HealthSettings,
    ListenSettings,
    ListenTransport,
    LogSettings,
    OverloadSettings,
    SipSettings,
    StoreSettings,
)
from opencscf.common.sip.uri import with_brackets
from opencscf.diameter.settings import DiameterSettings


class RxMode(enum.StrEnum):
    """What the P-CSCF does about media authorisation."""

    BEST_EFFORT = "best-effort"  # a call goes on without it
    OFF = "off"  # the PCRF is not asked


@dataclass(frozen=True, slots=True)
class RxSettings(DiameterSettings):
    """[rx]: the connection to the PCRF."""

    mode: RxMode = RxMode.BEST_EFFORT


@dataclass(frozen=True, slots=True)
class UeTimerSettings:
    """[pcscf.ue_timers]: the timers towards the UEs, longer than those of [sip.timers] (TS 24.229 table 7.7.1)."""

    t1_s: Seconds = 2.0
    t2_s: Seconds = 16.0
    t4_s: Seconds = 17.0


@dataclass(frozen=True, slots=True)
class PcscfSettings:
    """[pcscf]: the network this node stands in, the way to the home network, and how much it takes on."""

    visited_network: Fqdn
    icscf: SipUriText
    max_registrations: Annotated[int, Range(1, 10_000_000)] = 200_000
    max_calls: Annotated[int, Range(1, 10_000_000)] = 100_000
    session_expires_s: Annotated[int, Range(0, 604_800)] = 0  # RFC 4028 4 recommends 1800; 0 asks for no session timer
    min_session_expires_s: Annotated[int, Range(90, 86_400)] = 90  # RFC 4028 5
    silent_call_s: Annotated[int, Range(0, 31_536_000)] = 86_400  # 0: as long as the registration lasts
    ue_timers: UeTimerSettings = UeTimerSettings()


@dataclass(frozen=True, slots=True)
class PcscfConfig:
    """The whole file; without [rx] the PCRF is not asked."""

    sip: SipSettings
    pcscf: PcscfSettings
    rx: RxSettings | None = None
    dns: DnsSettings = field(default_factory=DnsSettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    log: LogSettings = field(default_factory=LogSettings)
    overload: OverloadSettings = field(default_factory=OverloadSettings)
    store: StoreSettings = field(default_factory=StoreSettings)

    @property
    def authorises_media(self) -> bool:
        """Whether the PCRF is asked about the media of calls."""
        return self.rx is not None and self.rx.mode is not RxMode.OFF

    @property
    def host(self) -> str:
        """The address by which the core knows this node, IPv6 in brackets."""
        return with_brackets(self._core_listener.address)

    @property
    def _core_listener(self) -> ListenSettings:
        """The first listener, apart from those for browsers."""
        return next(listener for listener in self.sip.listen if not listener.is_for_browsers)

    @property
    def path_address(self) -> str:
        """What follows the user part in the URI under which the core reaches a UE (RFC 3327)."""
        listener = self._core_listener
        transport = "" if ListenTransport.UDP in listener.transports else f";transport={listener.transports[0]}"
        return f"{self.host}:{listener.port}{transport};lr"
