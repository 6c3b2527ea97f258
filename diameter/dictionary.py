"""AVP, command and application definitions, and how values of AVPs are written and read.

Codes, names and types come from python-diameter's dictionary; what deviates from TS 29.229 and TS 29.214 there is put
right here: it marks every 3GPP AVP mandatory, calls unsigned result codes signed, and has names of its own.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from struct import Struct
from typing import Final, TypeVar

from diameter.message.avp import avp as library_types  # type: ignore[import-untyped]  # has no stubs
from diameter.message.avp.dictionary import (  # type: ignore[import-untyped]  # has no stubs
    AVP_DICTIONARY,
    AVP_VENDOR_DICTIONARY,
    AvpInfo,
)

from opencscf.common.errors import ParseError
from opencscf.diameter.codec import Avp, Avps, avp_word, encode_avp, encode_avps

E = TypeVar("E", bound=enum.IntEnum)
T = TypeVar("T")

TGPP: Final = 10415  # vendor id of 3GPP
ETSI: Final = 13019

MAX_REMEMBERED_BYTES: Final = 256

_NUMBER = Struct("!I")


class Application(enum.IntEnum):
    """Diameter applications (RFC 6733 2.4, TS 29.229 6, TS 29.214 5.1)."""

    BASE = 0
    CX = 16777216
    RX = 16777236
    RELAY = 0xFFFFFFFF


class Command(enum.IntEnum):
    """Command codes (RFC 6733 3.1, TS 29.229 6.1, TS 29.214 5.6)."""

    CAPABILITIES_EXCHANGE = 257
    RE_AUTH = 258
    AA = 265
    ABORT_SESSION = 274
    SESSION_TERMINATION = 275
    DEVICE_WATCHDOG = 280
    DISCONNECT_PEER = 282
    USER_AUTHORIZATION = 300
    SERVER_ASSIGNMENT = 301
    LOCATION_INFO = 302
    MULTIMEDIA_AUTH = 303
    REGISTRATION_TERMINATION = 304
    PUSH_PROFILE = 305


_ABBREVIATIONS: Final = {
    Command.CAPABILITIES_EXCHANGE: "CE",
    Command.RE_AUTH: "RA",
    Command.AA: "AA",
    Command.ABORT_SESSION: "AS",
    Command.SESSION_TERMINATION: "ST",
    Command.DEVICE_WATCHDOG: "DW",
    Command.DISCONNECT_PEER: "DP",
    Command.USER_AUTHORIZATION: "UA",
    Command.SERVER_ASSIGNMENT: "SA",
    Command.LOCATION_INFO: "LI",
    Command.MULTIMEDIA_AUTH: "MA",
    Command.REGISTRATION_TERMINATION: "RT",
    Command.PUSH_PROFILE: "PP",
}


def command_name(command: int, *, is_request: bool) -> str:
    """Abbreviate a command the usual way, such as UAR, UAA."""
    stem = _ABBREVIATIONS.get(command)  # type: ignore[call-overload]  # an int finds the IntEnum key
    suffix = "R" if is_request else "A"
    return f"{stem}{suffix}" if stem else f"{command}-{suffix}"


class AvpFormat(enum.Enum):
    """How an AVP's data is read (RFC 6733 4.2, 4.3)."""

    OCTETS = enum.auto()
    TEXT = enum.auto()
    NUMBER = enum.auto()  # Unsigned32 and Enumerated, whose values are never negative
    ADDRESS = enum.auto()
    GROUP = enum.auto()
    OTHER = enum.auto()  # 64-bit and floating-point numbers, times: not used by Cx and Rx


@dataclass(frozen=True, slots=True)
class AvpDefinition:
    """One AVP of the dictionary; makes such AVPs, writes them at once, and finds them among others."""

    name: str
    code: int
    vendor: int
    mandatory: bool
    format: AvpFormat
    _word: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_word", avp_word(self.vendor, self.mandatory))

    def write_octets(self, value: bytes) -> bytes:
        """Write the AVP with these octets."""
        return encode_avp(self.code, value, self.vendor, self._word)

    def write_text(self, value: str) -> bytes:
        """Write the AVP with this text; octets that were no UTF-8 when they came in with SIP go out as they came."""
        return encode_avp(self.code, value.encode("utf-8", "surrogateescape"), self.vendor, self._word)

    def write_number(self, value: int) -> bytes:
        """Write the AVP with a number or an enumeration's member."""
        return encode_avp(self.code, _NUMBER.pack(value), self.vendor, self._word)

    def write_group(self, *members: bytes) -> bytes:
        """Write the AVP with members that have been written."""
        return encode_avp(self.code, b"".join(members), self.vendor, self._word)

    def octets(self, value: bytes) -> Avp:
        """Make the AVP from octets."""
        return Avp(self.code, value, self.vendor, self.mandatory)

    def text(self, value: str) -> Avp:
        """Make the AVP from text; octets that were no UTF-8 when they came in with SIP go out as they came."""
        return Avp(self.code, value.encode("utf-8", "surrogateescape"), self.vendor, self.mandatory)

    def number(self, value: int) -> Avp:
        """Make the AVP from a number or an enumeration's member."""
        return Avp(self.code, _NUMBER.pack(value), self.vendor, self.mandatory)

    def address(self, value: str) -> Avp:
        """Make the AVP from an IP address (4.3.1: its family, then its octets)."""
        address = ipaddress.ip_address(value)
        family = b"\0\1" if address.version == 4 else b"\0\2"
        return Avp(self.code, family + address.packed, self.vendor, self.mandatory)

    def group(self, *members: Avp) -> Avp:
        """Make the AVP from its members."""
        return Avp(self.code, encode_avps(members), self.vendor, self.mandatory)

    def find(self, avps: Iterable[Avp]) -> Avp | None:
        """Find the first such AVP."""
        code, vendor = self.code, self.vendor
        for avp in avps:
            if avp.code == code and avp.vendor == vendor:
                return avp
        return None

    def find_all(self, avps: Iterable[Avp]) -> list[Avp]:
        """Find every such AVP, in order."""
        if type(avps) is Avps:
            return avps.find_all(self.code, self.vendor)
        return [avp for avp in avps if avp.code == self.code and avp.vendor == self.vendor]

    def octets_in(self, avps: Iterable[Avp]) -> bytes | None:
        """Read the first such AVP as octets."""
        if type(avps) is Avps:
            return avps.octets(self.code, self.vendor)
        avp = self.find(avps)
        return None if avp is None else avp.data

    def text_in(self, avps: Iterable[Avp]) -> str | None:
        """Read the first such AVP as text."""
        data = self.octets_in(avps)
        return None if data is None else self._text(data)

    def number_in(self, avps: Iterable[Avp]) -> int | None:
        """Read the first such AVP as a number."""
        data = self.octets_in(avps)
        return None if data is None else self._number(data)

    def group_in(self, avps: Iterable[Avp]) -> Avps | None:
        """Read the members of the first such AVP."""
        data = self.octets_in(avps)
        return None if data is None else self.members(data)

    def member_in(self, avps: Iterable[Avp], kind: type[E]) -> E | None:
        """Read the first such AVP as a member of its enumeration."""
        value = self.number_in(avps)
        return None if value is None else self._member(value, kind)

    def as_text(self, avp: Avp) -> str:
        """Read one such AVP as text."""
        return self._text(avp.data)

    def as_number(self, avp: Avp) -> int:
        """Read one such AVP as a number."""
        return self._number(avp.data)

    def as_member(self, avp: Avp, kind: type[E]) -> E:
        """Read one such AVP as a member of its enumeration."""
        return self._member(self._number(avp.data), kind)

    def as_group(self, avp: Avp) -> Avps:
        """Read the members of one such AVP."""
        return self.members(avp.data)

    def members(self, data: bytes) -> Avps:
        """Read the members of such an AVP from its octets."""
        try:
            return Avps(data)
        except ParseError as error:
            raise ParseError(f"{self.name}: {error.reason}") from None

    def _text(self, data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise ParseError(f"{self.name} is not UTF-8 text") from None

    def _member(self, value: int, kind: type[E]) -> E:
        try:
            return kind(value)
        except ValueError:
            raise ParseError(f"{self.name} has no value {value}") from None

    def _number(self, data: bytes) -> int:
        if len(data) != 4:
            raise ParseError(f"{self.name} has {len(data)} octets instead of 4")
        return int.from_bytes(data, "big")


def remembered(read: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """Read the same octets only once, because peers repeat themselves; long ones are not worth their memory."""
    cached = lru_cache(64)(read)
    return lambda data: cached(data) if len(data) <= MAX_REMEMBERED_BYTES else read(data)


def required(value: T | None, definition: AvpDefinition, command: str) -> T:
    """Insist on a value that the command's grammar makes mandatory."""
    if value is None:
        raise ParseError(f"{command} without {definition.name}")
    return value


_TYPES: Final[Sequence[tuple[type[library_types.Avp], AvpFormat]]] = (
    (library_types.AvpUtf8String, AvpFormat.TEXT),
    (library_types.AvpInteger32, AvpFormat.NUMBER),
    (library_types.AvpUnsigned32, AvpFormat.NUMBER),
    (library_types.AvpAddress, AvpFormat.ADDRESS),
    (library_types.AvpGrouped, AvpFormat.GROUP),
    (library_types.AvpOctetString, AvpFormat.OCTETS),
)

_SPECIFICATION_NAMES: Final = {  # where the library's name is its own (TS 29.229 6.3)
    606: "User-Data",
    634: "Wildcarded-Public-Identity",
    652: "Privileged-Sender-Indication",
}

_TEXT_IN_SPITE: Final = frozenset(  # identities and rules, octets to the library: DiameterIdentity, IPFilterRule, URN
    {
        (264, 0),
        (282, 0),
        (283, 0),
        (293, 0),
        (296, 0),
        (507, TGPP),
        (525, TGPP),
        (600, TGPP),
    }
)

_NOT_MANDATORY_BASE: Final = frozenset({267, 269, 281})  # Firmware-Revision, Product-Name, Error-Message (RFC 6733 4.5)
_MANDATORY_RX: Final = frozenset({*range(500, 514), *range(515, 528)})  # TS 29.214 table 5.3.0.1
_MANDATORY_CX: Final = frozenset({*range(600, 627), 633})  # TS 29.229 table 6.3.1


def _is_mandatory(code: int, vendor: int, info: AvpInfo) -> bool:
    if vendor == ETSI:
        return False  # TS 29.214 5.4 wants Reservation-Priority so
    if vendor == TGPP and 500 <= code < 700:
        return code in _MANDATORY_RX or code in _MANDATORY_CX
    return bool(info.get("mandatory")) and not (vendor == 0 and code in _NOT_MANDATORY_BASE)


def _define(code: int, vendor: int, info: AvpInfo) -> AvpDefinition:
    name = info["name"].removeprefix("3GPP-")
    if vendor == TGPP:
        name = _SPECIFICATION_NAMES.get(code, name)
    kind = next((ours for theirs, ours in _TYPES if issubclass(info["type"], theirs)), AvpFormat.OTHER)
    if (code, vendor) in _TEXT_IN_SPITE:
        kind = AvpFormat.TEXT
    return AvpDefinition(name, code, vendor, _is_mandatory(code, vendor, info), kind)


def definition_of(code: int, vendor: int = 0) -> AvpDefinition | None:
    """Look an AVP up by code and vendor."""
    info = AVP_VENDOR_DICTIONARY.get(vendor, {}).get(code) if vendor else AVP_DICTIONARY.get(code)
    return None if info is None else _define(code, vendor, info)


def avp_name(code: int, vendor: int = 0) -> str:
    """Name an AVP for a person."""
    definition = definition_of(code, vendor)
    if definition is not None:
        return definition.name
    return f"AVP {code} of vendor {vendor}" if vendor else f"AVP {code}"


def _defined(code: int, vendor: int = 0) -> AvpDefinition:
    info = AVP_VENDOR_DICTIONARY[vendor][code] if vendor else AVP_DICTIONARY[code]
    return _define(code, vendor, info)


# RFC 6733 4.5
USER_NAME: Final = _defined(1)
HOST_IP_ADDRESS: Final = _defined(257)
AUTH_APPLICATION_ID: Final = _defined(258)
ACCT_APPLICATION_ID: Final = _defined(259)
VENDOR_SPECIFIC_APPLICATION_ID: Final = _defined(260)
SESSION_ID: Final = _defined(263)
ORIGIN_HOST: Final = _defined(264)
SUPPORTED_VENDOR_ID: Final = _defined(265)
VENDOR_ID: Final = _defined(266)
RESULT_CODE: Final = _defined(268)
PRODUCT_NAME: Final = _defined(269)
DISCONNECT_CAUSE: Final = _defined(273)
AUTH_SESSION_STATE: Final = _defined(277)
FAILED_AVP: Final = _defined(279)
ERROR_MESSAGE: Final = _defined(281)
DESTINATION_REALM: Final = _defined(283)
PROXY_INFO: Final = _defined(284)
DESTINATION_HOST: Final = _defined(293)
TERMINATION_CAUSE: Final = _defined(295)
ORIGIN_REALM: Final = _defined(296)
EXPERIMENTAL_RESULT: Final = _defined(297)
EXPERIMENTAL_RESULT_CODE: Final = _defined(298)

# RFC 7155, RFC 8506
FRAMED_IP_ADDRESS: Final = _defined(8)
FRAMED_IPV6_PREFIX: Final = _defined(97)
SUBSCRIPTION_ID: Final = _defined(443)
SUBSCRIPTION_ID_DATA: Final = _defined(444)
SUBSCRIPTION_ID_TYPE: Final = _defined(450)

# TS 29.214 5.3
AF_APPLICATION_IDENTIFIER: Final = _defined(504, TGPP)
AF_CHARGING_IDENTIFIER: Final = _defined(505, TGPP)
FLOW_DESCRIPTION: Final = _defined(507, TGPP)
FLOW_NUMBER: Final = _defined(509, TGPP)
FLOW_STATUS: Final = _defined(511, TGPP)
FLOW_USAGE: Final = _defined(512, TGPP)
SPECIFIC_ACTION: Final = _defined(513, TGPP)
MAX_REQUESTED_BANDWIDTH_DL: Final = _defined(515, TGPP)
MAX_REQUESTED_BANDWIDTH_UL: Final = _defined(516, TGPP)
MEDIA_COMPONENT_DESCRIPTION: Final = _defined(517, TGPP)
MEDIA_COMPONENT_NUMBER: Final = _defined(518, TGPP)
MEDIA_SUB_COMPONENT: Final = _defined(519, TGPP)
MEDIA_TYPE: Final = _defined(520, TGPP)
RR_BANDWIDTH: Final = _defined(521, TGPP)
RS_BANDWIDTH: Final = _defined(522, TGPP)
CODEC_DATA: Final = _defined(524, TGPP)
AF_SIGNALLING_PROTOCOL: Final = _defined(529, TGPP)
RX_REQUEST_TYPE: Final = _defined(533, TGPP)

# TS 29.229 6.3
VISITED_NETWORK_IDENTIFIER: Final = _defined(600, TGPP)
PUBLIC_IDENTITY: Final = _defined(601, TGPP)
SERVER_NAME: Final = _defined(602, TGPP)
SERVER_CAPABILITIES: Final = _defined(603, TGPP)
MANDATORY_CAPABILITY: Final = _defined(604, TGPP)
OPTIONAL_CAPABILITY: Final = _defined(605, TGPP)
USER_DATA: Final = _defined(606, TGPP)
SIP_NUMBER_AUTH_ITEMS: Final = _defined(607, TGPP)
SIP_AUTHENTICATION_SCHEME: Final = _defined(608, TGPP)
SIP_AUTHENTICATE: Final = _defined(609, TGPP)
SIP_AUTHORIZATION: Final = _defined(610, TGPP)
SIP_AUTH_DATA_ITEM: Final = _defined(612, TGPP)
SIP_ITEM_NUMBER: Final = _defined(613, TGPP)
SERVER_ASSIGNMENT_TYPE: Final = _defined(614, TGPP)
CHARGING_INFORMATION: Final = _defined(618, TGPP)
PRIMARY_EVENT_CHARGING_FUNCTION_NAME: Final = _defined(619, TGPP)
SECONDARY_EVENT_CHARGING_FUNCTION_NAME: Final = _defined(620, TGPP)
PRIMARY_CHARGING_COLLECTION_FUNCTION_NAME: Final = _defined(621, TGPP)
SECONDARY_CHARGING_COLLECTION_FUNCTION_NAME: Final = _defined(622, TGPP)
USER_AUTHORIZATION_TYPE: Final = _defined(623, TGPP)
USER_DATA_ALREADY_AVAILABLE: Final = _defined(624, TGPP)
CONFIDENTIALITY_KEY: Final = _defined(625, TGPP)
INTEGRITY_KEY: Final = _defined(626, TGPP)
ORIGINATING_REQUEST: Final = _defined(633, TGPP)
WILDCARDED_PUBLIC_IDENTITY: Final = _defined(634, TGPP)
UAR_FLAGS: Final = _defined(637, TGPP)
