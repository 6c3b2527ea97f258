"""The PCRF's side of Rx: AAR and STR (TS 29.214 4.4, 5.6). It authorises what is well formed, and installs nothing.

Not covered: RAR and ASR, the Gx side, Framed-IPv6-Prefix shared by several UEs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

from opencscf.labs import diameter_codec as codec
from opencscf.labs.diameter_codec import Answer, AvpError, Grammar, Key, Members, Received, ResultCode, make

if TYPE_CHECKING:
    from collections.abc import Callable

    from opencscf.labs.diameter_peer import Reporter
    from opencscf.labs.pcrf.config import PcrfSettings

IpAddress = IPv4Address | IPv6Address

AA: Final = 265
SESSION_TERMINATION: Final = 275

FRAMED_IP_ADDRESS: Final = Key(8)
FRAMED_IPV6_PREFIX: Final = Key(97)
TERMINATION_CAUSE: Final = Key(295)
SUBSCRIPTION_ID: Final = Key(443)
SUBSCRIPTION_ID_DATA: Final = Key(444)
SUBSCRIPTION_ID_TYPE: Final = Key(450)
FLOW_DESCRIPTION: Final = Key(507, codec.VENDOR_3GPP)
FLOW_NUMBER: Final = Key(509, codec.VENDOR_3GPP)
FLOW_STATUS: Final = Key(511, codec.VENDOR_3GPP)
FLOW_USAGE: Final = Key(512, codec.VENDOR_3GPP)
MAX_REQUESTED_BANDWIDTH_DL: Final = Key(515, codec.VENDOR_3GPP)
MAX_REQUESTED_BANDWIDTH_UL: Final = Key(516, codec.VENDOR_3GPP)
MEDIA_COMPONENT_DESCRIPTION: Final = Key(517, codec.VENDOR_3GPP)
MEDIA_COMPONENT_NUMBER: Final = Key(518, codec.VENDOR_3GPP)
MEDIA_SUB_COMPONENT: Final = Key(519, codec.VENDOR_3GPP)
MEDIA_TYPE: Final = Key(520, codec.VENDOR_3GPP)
IP_CAN_TYPE: Final = Key(1027, codec.VENDOR_3GPP)
RAT_TYPE: Final = Key(1032, codec.VENDOR_3GPP)

# Experimental-Result-Code, TS 29.214 5.5
INVALID_SERVICE_INFORMATION: Final = ResultCode(5061, codec.VENDOR_3GPP)
FILTER_RESTRICTIONS: Final = ResultCode(5062, codec.VENDOR_3GPP)
TEMPORARY_NETWORK_FAILURE: Final = ResultCode(5068, codec.VENDOR_3GPP)

IP_CAN_3GPP_EPS: Final = 5
RAT_EUTRAN: Final = 1004
FLOW_REMOVED: Final = 4
MAX_FLOW_STATUS: Final = 4
MAX_FLOW_USAGE: Final = 2
MAX_DESCRIPTIONS: Final = 2  # one for each direction, TS 29.214 5.3.8

_COMMON: Final = (codec.SESSION_ID, codec.AUTH_APPLICATION_ID, codec.ORIGIN_HOST, codec.ORIGIN_REALM)
_FLOW = re.compile(
    r"permit (?P<direction>in|out) (?:[0-9]{1,3}|ip|udp|tcp|rtp)"
    r" from (?P<source>\S+)(?: (?P<source_ports>[0-9,-]+))? to (?P<target>\S+)(?: (?P<target_ports>[0-9,-]+))?",
    re.ASCII,
)

GRAMMARS: Final = {
    AA: Grammar(
        "AAR",
        (*_COMMON, codec.DESTINATION_REALM),
        frozenset({*_COMMON, codec.DESTINATION_REALM, FRAMED_IP_ADDRESS, FRAMED_IPV6_PREFIX}),
    ),
    SESSION_TERMINATION: Grammar(
        "STR",
        (*_COMMON, codec.DESTINATION_REALM, TERMINATION_CAUSE),
        frozenset({*_COMMON, codec.DESTINATION_REALM, TERMINATION_CAUSE}),
    ),
}


@dataclass(slots=True)
class AfSession:
    """One AF session: whose it is, and the media components authorised in it, by number and with their flows."""

    ue_address: IpAddress
    components: dict[int, tuple[str, ...]] = field(default_factory=dict)


class RxApplication:
    """Answers Rx requests and keeps the open sessions."""

    application_id = codec.RX_APPLICATION
    product_name = "OpenCSCF lab PCRF"
    grammars = GRAMMARS
    answer_avps = (make(codec.AUTH_APPLICATION_ID, codec.RX_APPLICATION),)

    def __init__(self, settings: PcrfSettings, report: Reporter) -> None:
        self.sessions: dict[str, AfSession] = {}
        self._max_sessions = settings.pcrf.max_sessions
        self._refusals = {
            ip_address(refusal.ue_address): ResultCode(
                refusal.result, codec.VENDOR_3GPP if refusal.is_experimental else 0
            )
            for refusal in settings.refuse
        }
        self._report = report
        self._procedures: dict[int, Callable[[str, Received], Answer]] = {
            AA: self._on_aa,
            SESSION_TERMINATION: self._on_session_termination,
        }

    def answer(self, request: Received) -> Answer:
        """Answer one request."""
        if request.number(codec.AUTH_APPLICATION_ID) != codec.RX_APPLICATION:
            avp = request.first(codec.AUTH_APPLICATION_ID)
            raise AvpError(codec.INVALID_AVP_VALUE, "Auth-Application-Id is not that of Rx", avp)
        session_id = request.text(codec.SESSION_ID) or ""
        answer = self._procedures[request.command](session_id, request)
        self._report.event(
            "debug",
            GRAMMARS[request.command].name.lower(),
            peer=request.text(codec.ORIGIN_HOST),
            session=session_id,
            code=answer.result.code,
        )
        return answer

    def commit(self) -> bool:
        """Have nothing to commit: the sessions live as long as the process."""
        return True

    def _on_aa(self, session_id: str, request: Received) -> Answer:
        """Authorise the media of a new session, or a change of an open one (TS 29.214 4.4.1, 4.4.2)."""
        session = self.sessions.get(session_id)
        address = ue_address(request) or (session.ue_address if session is not None else None)
        if address is None:
            raise codec.missing(FRAMED_IP_ADDRESS)
        _check_subscription_ids(request)
        refusal = self._refusals.get(address)
        if refusal is not None:
            return Answer(refusal)
        components = media_components(request)
        if session is None:
            if len(self.sessions) >= self._max_sessions:
                return Answer(TEMPORARY_NETWORK_FAILURE)
            session = self.sessions[session_id] = AfSession(address)
            self._report.event("info", "session-open", session=session_id, ue=str(address), media=len(components))
        for number, flows in components.items():
            if flows is None:
                session.components.pop(number, None)
            else:
                session.components[number] = flows
        return Answer(codec.SUCCESS, (make(IP_CAN_TYPE, IP_CAN_3GPP_EPS), make(RAT_TYPE, RAT_EUTRAN)))

    def _on_session_termination(self, session_id: str, request: Received) -> Answer:
        """End a session (TS 29.214 4.4.4)."""
        cause = request.number(TERMINATION_CAUSE)
        if self.sessions.pop(session_id, None) is None:
            return Answer(codec.UNKNOWN_SESSION_ID)
        self._report.event("info", "session-closed", session=session_id, cause=cause)
        return Answer(codec.SUCCESS)


def ue_address(request: Members) -> IpAddress | None:
    """Read whom the media is for: an IPv4 address, or a whole IPv6 address as a prefix of 128 bits."""
    avp = request.first(FRAMED_IP_ADDRESS)
    if avp is not None:
        if len(avp.payload) != 4:
            raise AvpError(codec.INVALID_AVP_LENGTH, "Framed-IP-Address is not 4 octets", avp)
        return IPv4Address(bytes(avp.payload))
    avp = request.first(FRAMED_IPV6_PREFIX)
    if avp is None:
        return None
    payload = bytes(avp.payload)  # RFC 3162 2.3: a reserved octet, the prefix length in bits, the prefix
    if not 2 <= len(payload) <= 18 or payload[1] > 128 or (len(payload) - 2) * 8 < payload[1]:
        raise AvpError(codec.INVALID_AVP_VALUE, "Framed-IPv6-Prefix is not a prefix", avp)
    return IPv6Address(payload[2:].ljust(16, b"\0"))


def media_components(request: Members) -> dict[int, tuple[str, ...] | None]:
    """Read every media component's flows; None for one that is removed (TS 29.214 5.3.7 to 5.3.17)."""
    components: dict[int, tuple[str, ...] | None] = {}
    for component in request.groups(MEDIA_COMPONENT_DESCRIPTION):
        number = codec.number_of(component.required(MEDIA_COMPONENT_NUMBER))
        if number in components:
            raise AvpError(
                INVALID_SERVICE_INFORMATION,
                f"two media components have number {number}",
                component.first(MEDIA_COMPONENT_NUMBER),
            )
        _check_numbers(component)
        flows = tuple(text for sub in component.groups(MEDIA_SUB_COMPONENT) for text in _flows(sub))
        components[number] = None if component.number(FLOW_STATUS) == FLOW_REMOVED else flows
    return components


def _flows(sub: Members) -> list[str]:
    codec.number_of(sub.required(FLOW_NUMBER))
    _check_numbers(sub)
    avps = sub.all(FLOW_DESCRIPTION)
    if len(avps) > MAX_DESCRIPTIONS:
        raise AvpError(codec.AVP_OCCURS_TOO_MANY_TIMES, "a flow has more than two descriptions", avps[MAX_DESCRIPTIONS])
    texts = []
    for avp in avps:
        text = codec.text_of(avp)
        match = _FLOW.fullmatch(text)
        if match is None or not all(_is_address(match[end]) for end in ("source", "target")):
            raise AvpError(FILTER_RESTRICTIONS, f"Flow-Description is not allowed: {text}", avp)
        texts.append(text)
    return texts


def _is_address(text: str) -> bool:
    if text in {"any", "assigned"}:
        return True
    address, slash, bits = text.removeprefix("!").partition("/")
    try:
        width = ip_address(address).max_prefixlen
    except ValueError:
        return False
    return not slash or (bits.isdecimal() and int(bits) <= width)


def _check_numbers(members: Members) -> None:
    """Read the numbers of a component or flow, so that one of a wrong length or value is refused."""
    for key, highest in (
        (FLOW_STATUS, MAX_FLOW_STATUS),
        (FLOW_USAGE, MAX_FLOW_USAGE),
        (MEDIA_TYPE, None),
        (MAX_REQUESTED_BANDWIDTH_UL, None),
        (MAX_REQUESTED_BANDWIDTH_DL, None),
    ):
        number = members.number(key)
        if number is not None and highest is not None and number > highest:
            avp = members.first(key)
            raise AvpError(codec.INVALID_AVP_VALUE, f"AVP {key.code} has no value {number}", avp)


def _check_subscription_ids(request: Members) -> None:
    for subscription in request.groups(SUBSCRIPTION_ID):
        codec.number_of(subscription.required(SUBSCRIPTION_ID_TYPE))
        codec.text_of(subscription.required(SUBSCRIPTION_ID_DATA))
