"""Rx: what the P-CSCF asks the PCRF about media and what it answers (TS 29.214 clauses 4.4 and 5).

A question awaits its answer: `aaa = await AaRequest(session_id, ue_address, ...)`. An AF session is one Session-Id,
opened by an AAR and closed by an STR; `new_session_id` makes one.

Not covered: sponsored connectivity, priority services, Required-Access-Info, and the requests of the PCRF (RAR, ASR).
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from opencscf.common.actions import Question
from opencscf.common.errors import ParseError
from opencscf.common.ids import Ids
from opencscf.diameter import dictionary
from opencscf.diameter.codec import Avp
from opencscf.diameter.dictionary import Command, required
from opencscf.diameter.results import Result, encode_result, result_of

DEFAULT_AF_APPLICATION_IDENTIFIER = "urn:urn-7:3gpp-service.ims.icsi.mmtel"

_MAX_BANDWIDTH = 0xFFFFFFFF  # bit/s, all that an Unsigned32 holds
_SIP = 1  # AF-Signalling-Protocol, 5.3.26


class MediaType(enum.IntEnum):
    """What a media component carries (5.3.19)."""

    AUDIO = 0
    VIDEO = 1
    DATA = 2
    APPLICATION = 3
    CONTROL = 4
    TEXT = 5
    MESSAGE = 6
    OTHER = 0xFFFFFFFF


class FlowStatus(enum.IntEnum):
    """Whether a flow may pass (5.3.11)."""

    ENABLED_UPLINK = 0
    ENABLED_DOWNLINK = 1
    ENABLED = 2
    DISABLED = 3
    REMOVED = 4


class FlowUsage(enum.IntEnum):
    """What a flow is for (5.3.12)."""

    NO_INFORMATION = 0
    RTCP = 1
    AF_SIGNALLING = 2


class SpecificAction(enum.IntEnum):
    """What the PCRF shall report (5.3.13)."""

    CHARGING_CORRELATION_EXCHANGE = 1
    INDICATION_OF_LOSS_OF_BEARER = 2
    INDICATION_OF_RECOVERY_OF_BEARER = 3
    INDICATION_OF_RELEASE_OF_BEARER = 4
    IP_CAN_CHANGE = 6
    INDICATION_OF_OUT_OF_CREDIT = 7
    INDICATION_OF_SUCCESSFUL_RESOURCES_ALLOCATION = 8
    INDICATION_OF_FAILED_RESOURCES_ALLOCATION = 9
    INDICATION_OF_LIMITED_PCC_DEPLOYMENT = 10
    USAGE_REPORT = 11
    ACCESS_NETWORK_INFO_REPORT = 12
    INDICATION_OF_RECOVERY_FROM_LIMITED_PCC_DEPLOYMENT = 13
    INDICATION_OF_ACCESS_NETWORK_INFO_REPORTING_FAILURE = 14
    INDICATION_OF_TRANSFER_POLICY_EXPIRED = 15
    PLMN_CHANGE = 16


class RxRequestType(enum.IntEnum):
    """Whether an AAR opens its session (5.3.33)."""

    INITIAL_REQUEST = 0
    UPDATE_REQUEST = 1


class SubscriptionIdType(enum.IntEnum):
    """What Subscription-Id-Data is (RFC 8506 8.47)."""

    END_USER_E164 = 0
    END_USER_IMSI = 1
    END_USER_SIP_URI = 2
    END_USER_NAI = 3
    END_USER_PRIVATE = 4


class TerminationCause(enum.IntEnum):
    """Why a session ends (RFC 6733 8.15), as far as an AF says so."""

    LOGOUT = 1
    SERVICE_NOT_PROVIDED = 2
    BAD_ANSWER = 3
    ADMINISTRATIVE = 4
    LINK_BROKEN = 5
    AUTH_EXPIRED = 6
    USER_MOVED = 7
    SESSION_TIMEOUT = 8


def new_session_id(origin_host: str, ids: Ids) -> str:
    """Make a Session-Id that was never used before (RFC 6733 8.8)."""
    octets = ids.octets(8)
    return f"{origin_host};{int.from_bytes(octets[:4], 'big')};{int.from_bytes(octets[4:], 'big')}"


@dataclass(frozen=True, slots=True)
class MediaSubComponent:
    """One IP flow pair of a component (5.3.17); `descriptions` has at most one rule for each direction."""

    flow_number: int
    descriptions: tuple[str, ...] = ()
    usage: FlowUsage = FlowUsage.NO_INFORMATION
    status: FlowStatus | None = None

    def encode(self) -> bytes:
        """Write Media-Sub-Component."""
        return dictionary.MEDIA_SUB_COMPONENT.write_group(
            dictionary.FLOW_NUMBER.write_number(self.flow_number),
            *map(dictionary.FLOW_DESCRIPTION.write_text, self.descriptions),
            b"" if self.status is None else _FLOW_STATUS[self.status],
            _FLOW_USAGE[self.usage],
        )

    @classmethod
    def from_avp(cls, avp: Avp) -> MediaSubComponent:
        """Read Media-Sub-Component."""
        members = dictionary.MEDIA_SUB_COMPONENT.as_group(avp)
        number, description = dictionary.FLOW_NUMBER, dictionary.FLOW_DESCRIPTION
        return cls(
            required(number.number_in(members), number, "Media-Sub-Component"),
            tuple(map(description.as_text, description.find_all(members))),
            dictionary.FLOW_USAGE.member_in(members, FlowUsage) or FlowUsage.NO_INFORMATION,
            dictionary.FLOW_STATUS.member_in(members, FlowStatus),
        )


@dataclass(frozen=True, slots=True)
class MediaComponent:
    """One m-line (5.3.16), numbered from 1 in their order; 0 is the AF's own signalling. Bandwidths are in bit/s."""

    number: int
    media_type: MediaType | None = None
    flows: tuple[MediaSubComponent, ...] = ()
    max_bandwidth_ul: int | None = None
    max_bandwidth_dl: int | None = None
    flow_status: FlowStatus | None = None
    rr: int | None = None
    rs: int | None = None
    codec_data: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Write Media-Component-Description."""
        bandwidths = (self.max_bandwidth_ul, self.max_bandwidth_dl, self.rr, self.rs)
        return dictionary.MEDIA_COMPONENT_DESCRIPTION.write_group(
            dictionary.MEDIA_COMPONENT_NUMBER.write_number(self.number),
            *[flow.encode() for flow in self.flows],
            b"" if self.media_type is None else dictionary.MEDIA_TYPE.write_number(self.media_type),
            *[
                definition.write_number(min(bandwidth, _MAX_BANDWIDTH))
                for definition, bandwidth in zip(_BANDWIDTHS, bandwidths, strict=True)
                if bandwidth is not None
            ],
            b"" if self.flow_status is None else _FLOW_STATUS[self.flow_status],
            *map(dictionary.CODEC_DATA.write_text, self.codec_data),
        )

    @classmethod
    def from_avp(cls, avp: Avp) -> MediaComponent:
        """Read Media-Component-Description."""
        members = dictionary.MEDIA_COMPONENT_DESCRIPTION.as_group(avp)
        number, codec = dictionary.MEDIA_COMPONENT_NUMBER, dictionary.CODEC_DATA
        uplink, downlink, rr, rs = (definition.number_in(members) for definition in _BANDWIDTHS)
        return cls(
            required(number.number_in(members), number, "Media-Component-Description"),
            dictionary.MEDIA_TYPE.member_in(members, MediaType),
            tuple(map(MediaSubComponent.from_avp, dictionary.MEDIA_SUB_COMPONENT.find_all(members))),
            uplink,
            downlink,
            dictionary.FLOW_STATUS.member_in(members, FlowStatus),
            rr,
            rs,
            tuple(map(codec.as_text, codec.find_all(members))),
        )


_BANDWIDTHS = (
    dictionary.MAX_REQUESTED_BANDWIDTH_UL,
    dictionary.MAX_REQUESTED_BANDWIDTH_DL,
    dictionary.RR_BANDWIDTH,
    dictionary.RS_BANDWIDTH,
)

# What is the same in most requests is written once.
_FLOW_STATUS = {status: dictionary.FLOW_STATUS.write_number(status) for status in FlowStatus}
_FLOW_USAGE = {
    FlowUsage.NO_INFORMATION: b"",
    FlowUsage.RTCP: dictionary.FLOW_USAGE.write_number(FlowUsage.RTCP),
    FlowUsage.AF_SIGNALLING: dictionary.FLOW_USAGE.write_number(FlowUsage.AF_SIGNALLING)
    + dictionary.AF_SIGNALLING_PROTOCOL.write_number(_SIP),
}
_SPECIFIC_ACTION = {action: dictionary.SPECIFIC_ACTION.write_number(action) for action in SpecificAction}
_RX_REQUEST_TYPE = {kind: dictionary.RX_REQUEST_TYPE.write_number(kind) for kind in RxRequestType}
_TERMINATION_CAUSE = {cause: dictionary.TERMINATION_CAUSE.write_number(cause) for cause in TerminationCause}
_encode_af_application = lru_cache(8)(dictionary.AF_APPLICATION_IDENTIFIER.write_text)

SIGNALLING_COMPONENT = MediaComponent(  # the UE's own SIP, to hear of a lost signalling bearer (4.4.5, 4.4.5A)
    0,
    MediaType.CONTROL,
    (MediaSubComponent(0, (), FlowUsage.AF_SIGNALLING, FlowStatus.ENABLED),),
)


@dataclass(frozen=True, slots=True)
class AaAnswer:
    """AAA: whether the media are authorised (5.6.2)."""

    result: Result

    def encode(self) -> bytes:
        """Write the answer's own AVPs."""
        return encode_result(self.result)

    @classmethod
    def from_avps(cls, avps: Sequence[Avp]) -> AaAnswer:
        """Read the answer."""
        return cls(result_of(avps, "AAA"))


@dataclass(frozen=True, slots=True)
class AaRequest(Question[AaAnswer]):
    """AAR: authorise these media for the UE at `ue_address` (5.6.1).

    `subscription` is the subscriber's SIP URI, tel URI, or any other name; some PCRFs look it up instead of the
    address, and understand only `sip:IMSI@domain` or `sip:MSISDN@domain`.
    """

    command: ClassVar[Command] = Command.AA

    session_id: str
    ue_address: str
    subscription: str
    media: tuple[MediaComponent, ...] = ()
    specific_actions: tuple[SpecificAction, ...] = ()
    af_charging_identifier: str = ""
    is_update: bool = False
    af_application_identifier: str = DEFAULT_AF_APPLICATION_IDENTIFIER

    def encode(self) -> bytes:
        """Write the request's own AVPs."""
        kind = RxRequestType.UPDATE_REQUEST if self.is_update else RxRequestType.INITIAL_REQUEST
        charging = self.af_charging_identifier
        return b"".join(
            (
                _encode_af_application(self.af_application_identifier),
                _encode_address(self.ue_address),
                _encode_subscription(self.subscription),
                *[component.encode() for component in self.media],
                *[_SPECIFIC_ACTION[action] for action in self.specific_actions],
                dictionary.AF_CHARGING_IDENTIFIER.write_text(charging) if charging else b"",
                _RX_REQUEST_TYPE[kind],
            )
        )

    def read_answer(self, avps: Sequence[Avp]) -> AaAnswer:
        """Read what the peer answers to this."""
        return AaAnswer.from_avps(avps)

    @classmethod
    def from_avps(cls, avps: Sequence[Avp]) -> AaRequest:
        """Read the request, Session-Id included."""
        action = dictionary.SPECIFIC_ACTION
        return cls(
            required(dictionary.SESSION_ID.text_in(avps), dictionary.SESSION_ID, "AAR"),
            _ue_address(avps),
            _subscription(avps),
            tuple(map(MediaComponent.from_avp, dictionary.MEDIA_COMPONENT_DESCRIPTION.find_all(avps))),
            tuple(action.as_member(avp, SpecificAction) for avp in action.find_all(avps)),
            dictionary.AF_CHARGING_IDENTIFIER.text_in(avps) or "",
            dictionary.RX_REQUEST_TYPE.number_in(avps) == RxRequestType.UPDATE_REQUEST,
            dictionary.AF_APPLICATION_IDENTIFIER.text_in(avps) or "",
        )


@dataclass(frozen=True, slots=True)
class SessionTerminationAnswer:
    """STA: the session is over (5.6.6)."""

    result: Result

    def encode(self) -> bytes:
        """Write the answer's own AVPs."""
        return encode_result(self.result)

    @classmethod
    def from_avps(cls, avps: Sequence[Avp]) -> SessionTerminationAnswer:
        """Read the answer; a repeated Result-Code counts once."""
        return cls(result_of(avps, "STA"))


@dataclass(frozen=True, slots=True)
class SessionTerminationRequest(Question[SessionTerminationAnswer]):
    """STR: end the AF session (5.6.5)."""

    command: ClassVar[Command] = Command.SESSION_TERMINATION

    session_id: str
    cause: TerminationCause = TerminationCause.LOGOUT

    def encode(self) -> bytes:
        """Write the request's own AVPs."""
        return _TERMINATION_CAUSE[self.cause]

    def read_answer(self, avps: Sequence[Avp]) -> SessionTerminationAnswer:
        """Read what the peer answers to this."""
        return SessionTerminationAnswer.from_avps(avps)

    @classmethod
    def from_avps(cls, avps: Sequence[Avp]) -> SessionTerminationRequest:
        """Read the request, Session-Id included."""
        kind = dictionary.TERMINATION_CAUSE
        return cls(
            required(dictionary.SESSION_ID.text_in(avps), dictionary.SESSION_ID, "STR"),
            required(kind.member_in(avps, TerminationCause), kind, "STR"),
        )


def _encode_address(ue_address: str) -> bytes:
    """Write the UE's address; an IPv6 one as a /128 prefix, because some PCRFs refuse a /64 (RFC 3162 2.3)."""
    address = ipaddress.ip_address(ue_address)
    if address.version == 4:
        return dictionary.FRAMED_IP_ADDRESS.write_octets(address.packed)
    return dictionary.FRAMED_IPV6_PREFIX.write_octets(b"\x00\x80" + address.packed)


def _ue_address(avps: Sequence[Avp]) -> str:
    ipv4 = dictionary.FRAMED_IP_ADDRESS.octets_in(avps)
    if ipv4 is not None:
        if len(ipv4) != 4:
            raise ParseError(f"Framed-IP-Address has {len(ipv4)} octets")
        return str(ipaddress.IPv4Address(ipv4))
    ipv6 = required(dictionary.FRAMED_IPV6_PREFIX.octets_in(avps), dictionary.FRAMED_IP_ADDRESS, "AAR")
    if not 2 <= len(ipv6) <= 18:
        raise ParseError(f"Framed-IPv6-Prefix has {len(ipv6)} octets")
    return str(ipaddress.IPv6Address(ipv6[2:].ljust(16, b"\0")))


def _encode_subscription(subscription: str) -> bytes:
    if subscription.startswith("tel:"):
        kind, data = SubscriptionIdType.END_USER_E164, subscription.removeprefix("tel:").removeprefix("+")
    elif subscription.startswith(("sip:", "sips:")):
        kind, data = SubscriptionIdType.END_USER_SIP_URI, subscription
    else:
        kind, data = SubscriptionIdType.END_USER_PRIVATE, subscription
    return dictionary.SUBSCRIPTION_ID.write_group(
        dictionary.SUBSCRIPTION_ID_TYPE.write_number(kind), dictionary.SUBSCRIPTION_ID_DATA.write_text(data)
    )


def _subscription(avps: Sequence[Avp]) -> str:
    members = dictionary.SUBSCRIPTION_ID.group_in(avps)
    if members is None:
        return ""
    data = dictionary.SUBSCRIPTION_ID_DATA
    text = required(data.text_in(members), data, "Subscription-Id")
    is_e164 = dictionary.SUBSCRIPTION_ID_TYPE.number_in(members) == SubscriptionIdType.END_USER_E164
    return f"tel:+{text}" if is_e164 else text
