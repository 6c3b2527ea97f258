"""hss.toml: who the HSS is, where it listens, where it remembers, and whom it knows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from opencscf.common.config import Fqdn, Matches, Port, Range, SpecificIpAddress, load
from opencscf.common.errors import ConfigError
from opencscf.common.ims.identity import impi_of_imsi, sip_impu_of_msisdn, tel_impu_of_msisdn, temporary_impu
from opencscf.common.ims.milenage import derive_opc
from opencscf.common.node.settings import HealthSettings, LogLevel
from opencscf.labs.config import Subscriber, SubscriberRange
from opencscf.labs.hss.subscription import PublicIdentity, Subscription

Capability = Annotated[int, Range(0, 0xFFFFFFFF)]
ScscfName = Annotated[str, Matches(r"sips?:[^\s<>]+", "a SIP URI")]


@dataclass(frozen=True, slots=True)
class HssTable:
    """[hss]: the Diameter identity and what holds for every subscriber."""

    address: SpecificIpAddress
    origin_host: Fqdn
    origin_realm: Fqdn
    database: Path
    port: Port = 3868
    domain: Fqdn = ""  # of the subscribers' identities; empty: the realm
    bar_imsi_identity: bool = False  # bar sip:IMSI@domain from all but registration (TS 23.003 13.4B)
    server_names: tuple[ScscfName, ...] = ()  # S-CSCFs to offer in Server-Capabilities
    mandatory_capabilities: tuple[Capability, ...] = ()
    optional_capabilities: tuple[Capability, ...] = ()
    avoid_zero_octet_in_res: bool = False  # for SIPp, which cuts RES at a zero octet
    unregistered_services: bool = False  # calls to users who are not registered get an S-CSCF (TS 29.228 6.1.4.1)


@dataclass(frozen=True, slots=True)
class LogTable:
    """[log]: the least level of lines on stderr."""

    level: LogLevel = LogLevel.INFO


@dataclass(frozen=True, slots=True)
class HssSettings:
    """The hss.toml file."""

    hss: HssTable
    subscriber: tuple[Subscriber, ...] = ()
    subscriber_range: tuple[SubscriberRange, ...] = ()
    health: HealthSettings = field(default_factory=HealthSettings)
    log: LogTable = field(default_factory=LogTable)

    @property
    def domain(self) -> str:
        """The home network domain of the subscribers."""
        return self.hss.domain or self.hss.origin_realm

    def __post_init__(self) -> None:
        """Refuse a SIM or a number that is there twice."""
        seen: set[str] = set()
        for subscriber in self.subscribers():
            for name, value in (("IMSI", f"i{subscriber.imsi}"), ("MSISDN", f"m{subscriber.msisdn}")):
                if value in seen:
                    raise ConfigError(f"subscriber: {name} {value[1:]} is given twice")
                seen.add(value)

    def subscribers(self) -> Iterator[Subscriber]:
        """Go through all subscribers, those of ranges too."""
        yield from self.subscriber
        for many in self.subscriber_range:
            for number in range(many.count):
                yield Subscriber(
                    imsi=f"{int(many.first_imsi) + number:0{len(many.first_imsi)}}",
                    msisdn=f"{int(many.first_msisdn) + number:0{len(many.first_msisdn)}}",
                    k=many.k,
                    op=many.op,
                    opc=many.opc,
                    amf=many.amf,
                    password=many.password,
                )

    def subscriptions(self) -> Iterator[Subscription]:
        """Make what the database holds of each subscriber."""
        opcs: dict[tuple[str, str], bytes] = {}  # the subscribers of a range share theirs
        for subscriber in self.subscribers():
            if subscriber.opc is not None:
                opc = bytes.fromhex(subscriber.opc)
            else:
                pair = (subscriber.k, subscriber.op or "")
                opc = opcs.get(pair) or derive_opc(bytes.fromhex(pair[0]), bytes.fromhex(pair[1]))
                opcs[pair] = opc
            yield self._subscription(subscriber, opc)

    def _subscription(self, subscriber: Subscriber, opc: bytes) -> Subscription:
        return Subscription(
            imsi=subscriber.imsi,
            impi=impi_of_imsi(subscriber.imsi, self.domain),
            msisdn=subscriber.msisdn,
            k=bytes.fromhex(subscriber.k),
            opc=opc,
            amf=bytes.fromhex(subscriber.amf),
            password=subscriber.password,
            identities=(
                PublicIdentity(sip_impu_of_msisdn(subscriber.msisdn, self.domain)),
                PublicIdentity(tel_impu_of_msisdn(subscriber.msisdn)),
                PublicIdentity(temporary_impu(subscriber.imsi, self.domain), is_barred=self.hss.bar_imsi_identity),
            ),
        )


def load_hss(path: Path) -> HssSettings:
    """Read and check an hss.toml; `ConfigError` has a line for every fault."""
    return load(path, HssSettings)
