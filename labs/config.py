"""lab.toml: the whole lab as one person describes it, from which `render` makes the settings of every process."""

import enum
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from opencscf.common.config import AtLeast, Key128, Matches, Port, Range, Seconds, Secret, SpecificIpAddress, load
from opencscf.common.errors import ConfigError
from opencscf.common.ims.identity import ImsDomain, ims_domain

DEFAULT_LAB = Path(__file__).parent / "lab.toml"

Imsi = Annotated[str, Matches(r"[0-9]{6,15}", "an IMSI of 6 to 15 digits")]
Msisdn = Annotated[str, Matches(r"[0-9]{3,15}", "3 to 15 digits in international form, without +")]
Amf = Annotated[str, Matches(r"[0-9A-Fa-f]{4}", "4 hexadecimal digits")]
Password = Annotated[str, Matches(r"[!-~]{0,64}", "up to 64 printable ASCII characters without blanks"), Secret()]


@dataclass(frozen=True, slots=True)
class Network:
    """[network]: whose network this is and where its processes listen."""

    mcc: Annotated[str, Matches(r"[0-9]{3}", 'three digits in quotes, such as "001"')]
    mnc: Annotated[str, Matches(r"[0-9]{2,3}", 'two or three digits in quotes, such as "01"')]
    pcscf: SpecificIpAddress = "127.0.1.10"
    icscf: SpecificIpAddress = "127.0.1.11"
    scscf: SpecificIpAddress = "127.0.1.12"
    hss: SpecificIpAddress = "127.0.1.14"
    pcrf: SpecificIpAddress = "127.0.1.15"
    sip_port: Port = 5060
    diameter_port: Port = 3868
    health_port: Port = 8080

    def __post_init__(self) -> None:
        """Refuse one address for two processes: they have the same ports."""
        names = ("pcscf", "icscf", "scscf", "hss", "pcrf")
        for number, name in enumerate(names):
            for other in names[:number]:
                if getattr(self, name) == getattr(self, other):
                    raise ConfigError(f"{name}: expected an address of its own, got that of {other}")
        if len({self.sip_port, self.diameter_port, self.health_port}) < 3:
            raise ConfigError("sip_port, diameter_port and health_port: expected three different ports")

    @property
    def domain(self) -> ImsDomain:
        """The home network domain (TS 23.003 13.2)."""
        return ims_domain(self.mcc, self.mnc)


@dataclass(frozen=True, slots=True)
class RegistrationSettings:
    """[registration]: how long a registration lasts."""

    min_expires_s: Annotated[int, Range(1, 600_000)] = 60
    max_expires_s: Annotated[int, Range(1, 604_800)] = 600_000
    default_expires_s: Annotated[int, Range(1, 604_800)] = 600_000

    def __post_init__(self) -> None:
        """Keep the three in order."""
        if not self.min_expires_s <= self.default_expires_s <= self.max_expires_s:
            raise ConfigError("expected min_expires_s <= default_expires_s <= max_expires_s")


class RxMode(enum.StrEnum):
    """What the P-CSCF does about media authorisation."""

    BEST_EFFORT = "best-effort"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class RxSettings:
    """[rx]: media authorisation."""

    mode: RxMode = RxMode.BEST_EFFORT


@dataclass(frozen=True, slots=True)
class UeSettings:
    """[ue]: the simulated UEs."""

    addresses: Annotated[tuple[SpecificIpAddress, ...], AtLeast(2)] = ("127.0.2.1", "127.0.2.2")
    port: Port = 5060
    patience_s: Seconds = 6.0  # longer than a CSCF waits for its own peers, whose answer then says more than silence

    def __post_init__(self) -> None:
        """Refuse two UEs on one socket."""
        if len(set(self.addresses)) < len(self.addresses):
            raise ConfigError("addresses: expected a different address for each UE")


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One [[subscriber]]: what is on its SIM, and the number it is called by."""

    imsi: Imsi
    msisdn: Msisdn
    k: Key128 = field(repr=False)
    op: Key128 | None = field(default=None, repr=False)
    opc: Key128 | None = field(default=None, repr=False)
    amf: Amf = "8000"
    password: Password = field(default="", repr=False)

    def __post_init__(self) -> None:
        """OPc is given, or follows from OP."""
        _check_one_of_op_and_opc(self.op, self.opc)


@dataclass(frozen=True, slots=True)
class SubscriberRange:
    """One [[subscriber_range]]: consecutive IMSIs and numbers with one key, for load tests."""

    first_imsi: Imsi
    first_msisdn: Msisdn
    count: Annotated[int, Range(1, 1_000_000)]
    k: Key128 = field(repr=False)
    op: Key128 | None = field(default=None, repr=False)
    opc: Key128 | None = field(default=None, repr=False)
    amf: Amf = "8000"
    password: Password = field(default="", repr=False)

    def __post_init__(self) -> None:
        """OPc is given, or follows from OP; the numbers stay within their digits."""
        _check_one_of_op_and_opc(self.op, self.opc)
        for name, first in (("first_imsi", self.first_imsi), ("first_msisdn", self.first_msisdn)):
            if len(str(int(first) + self.count - 1)) > len(first):
                raise ConfigError(f"{name}: {self.count} numbers from {first} do not fit in {len(first)} digits")


@dataclass(frozen=True, slots=True)
class LabSettings:
    """The lab.toml file."""

    network: Network
    subscriber: Annotated[tuple[Subscriber, ...], AtLeast(2)]
    subscriber_range: tuple[SubscriberRange, ...] = ()
    registration: RegistrationSettings = RegistrationSettings()
    rx: RxSettings = RxSettings()
    ue: UeSettings = UeSettings()

    def __post_init__(self) -> None:
        """Check what concerns several tables: whose IMSIs these are, and that nobody is there twice."""
        faults = [*self._foreign_imsis(), *self._duplicates(), *self._taken_addresses()]
        if faults:
            raise ConfigError(*faults)

    def _foreign_imsis(self) -> list[str]:
        plmn = self.network.mcc + self.network.mnc
        imsis = [(f"subscriber[{n}].imsi", one.imsi) for n, one in enumerate(self.subscriber)]
        imsis += [(f"subscriber_range[{n}].first_imsi", one.first_imsi) for n, one in enumerate(self.subscriber_range)]
        return [
            f"{key}: expected an IMSI of this network, which starts with {plmn}, got {imsi}"
            for key, imsi in imsis
            if not imsi.startswith(plmn)
        ]

    def _duplicates(self) -> list[str]:
        ranges = [(one.first_imsi, one.first_msisdn, one.count) for one in self.subscriber_range]
        ranges += [(one.imsi, one.msisdn, 1) for one in self.subscriber]
        faults = []
        for what, spans in (
            ("IMSI", sorted((len(imsi), int(imsi), count) for imsi, _, count in ranges)),
            ("MSISDN", sorted((len(msisdn), int(msisdn), count) for _, msisdn, count in ranges)),
        ):
            for (digits, first, count), (next_digits, next_first, _) in itertools.pairwise(spans):
                if digits == next_digits and first + count > next_first:
                    faults.append(f"subscriber: {what} {next_first:0{digits}} is given twice")
        return faults

    def _taken_addresses(self) -> list[str]:
        network = self.network
        if self.ue.port != network.sip_port:
            return []
        nodes = {network.pcscf, network.icscf, network.scscf}
        return [f"ue.addresses: {address} is a CSCF's" for address in self.ue.addresses if address in nodes]


def load_lab(path: Path) -> LabSettings:
    """Read and check a lab.toml; `ConfigError` has a line for every fault."""
    return load(path, LabSettings)


def _check_one_of_op_and_opc(op: str | None, opc: str | None) -> None:
    if (op is None) == (opc is None):
        raise ConfigError("op: expected either op or opc, got " + ("none of them" if op is None else "both"))
