"""Media authorisation at the PCRF: SDP into Rx media components, AAR and STR (TS 29.214 4.4, TS 29.213 6.2).

An AAR is sent once offer and answer are known, and again when they change; an STR when the call ends, whatever
happened to the AAR. A call goes on without its bearers (best effort).

Not covered: SDP inside multipart bodies, media that stays with several callees of a forked call, RAR and ASR, the AF
session for signalling.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from opencscf.common.actions import Action, Procedure, Report, SetTimer, Start
from opencscf.common.errors import PeerUnavailable
from opencscf.common.sip.sdp import Direction, MediaDescription, SessionDescription
from opencscf.diameter.rx import (
    AaRequest,
    FlowStatus,
    FlowUsage,
    MediaComponent,
    MediaSubComponent,
    MediaType,
    SessionTerminationRequest,
)
from opencscf.pcscf.state import Binding, Call, Fields, Offer, RxSession

if TYPE_CHECKING:
    from opencscf.pcscf.state import PcscfState

SDP: Final = "application/sdp"
MAX_COMPONENTS: Final = 16  # more m-lines than any PCRF takes
MAX_CACHED_BYTES: Final = 4096  # of a description
MAX_ADDRESS_CHARS: Final = 45  # of an IPv6 address that ends like one of IPv4

RETRY_TERMINATION_S: Final = (5.0, 30.0, 120.0, 600.0)  # how long after each STR without answer the next one goes

_MEDIA_TYPES: Final = {
    "audio": MediaType.AUDIO,
    "video": MediaType.VIDEO,
    "data": MediaType.DATA,
    "application": MediaType.APPLICATION,
    "control": MediaType.CONTROL,
    "text": MediaType.TEXT,
    "message": MediaType.MESSAGE,
}
_SENDS: Final = frozenset({Direction.SENDRECV, Direction.SENDONLY})
_RECEIVES: Final = frozenset({Direction.SENDRECV, Direction.RECVONLY})
_PRECONDITIONS: Final = ("a=curr:", "a=des:", "a=conf:")  # RFC 3312 5
_UDP: Final = "17"
_TCP: Final = "6"
_ANY_PROTOCOL: Final = "ip"


@dataclass(frozen=True, slots=True)
class TerminationTimer:
    """Repeats an STR that got no answer (RX-02)."""

    call_id: str
    rx_session_id: str
    attempt: int


# ---------------------------------------------------------------------- what to ask for


def negotiated(call: Call, offer: Offer, answer: bytes) -> tuple[MediaComponent, ...]:
    """Say what an offer and its answer need of the network; () if that is what was asked for last."""
    offered, answered = _parsed(offer.body), _parsed(answer)
    ue, peer = (offered, answered) if offer.is_from_ue else (answered, offered)
    known = {component.number for component in call.requested}
    media = tuple(
        [
            component
            for component in media_components(ue, peer, call.ue_address, ue_offers=offer.is_from_ue)
            # A refused m-line is nothing to ask for, and may be of a kind that the PCRF would refuse the rest for.
            if component.flow_status is not FlowStatus.REMOVED or component.number in known
        ]
    )
    if not media or (known and _essence(media) == _essence(call.requested)):
        return ()
    call.requested = media
    return media


def _parsed(body: bytes) -> SessionDescription:
    """Read a description; many come more than once: in 183 and 200, or from a UE of ours to another one."""
    return _parsed_cached(body) if len(body) <= MAX_CACHED_BYTES else SessionDescription.parse(body)


@lru_cache(256)
def _parsed_cached(body: bytes) -> SessionDescription:
    return SessionDescription.parse(body)


def media_components(
    ue: SessionDescription, peer: SessionDescription, ue_address: str, *, ue_offers: bool
) -> tuple[MediaComponent, ...]:
    """Derive a component from each m-line of our UE's description and its peer's (RX-01, RX-08)."""
    pairs = zip(ue.media[:MAX_COMPONENTS], peer.media, strict=False)
    return tuple(
        [
            _component(number, ours, theirs, ue_address, ue_offers=ue_offers)
            for number, (ours, theirs) in enumerate(pairs, start=1)
        ]
    )


def _component(
    number: int, ours: MediaDescription, theirs: MediaDescription, ue_address: str, *, ue_offers: bool
) -> MediaComponent:
    """Describe one m-line (TS 29.213 table 6.2.1); each side's SDP says what that side wants to receive."""
    media_type = _MEDIA_TYPES.get(ours.media.lower(), MediaType.OTHER)
    status = _flow_status(ours, theirs)
    if status is FlowStatus.REMOVED:
        return MediaComponent(number, media_type, flow_status=status)
    return MediaComponent(
        number=number,
        media_type=media_type,
        flows=_flows(ours, theirs, ue_address),
        max_bandwidth_ul=_bandwidth_bps(theirs) or _bandwidth_bps(ours),
        max_bandwidth_dl=_bandwidth_bps(ours) or _bandwidth_bps(theirs),
        flow_status=status,
        rr=_either(ours, theirs, "RR"),
        rs=_either(ours, theirs, "RS"),
        codec_data=(
            _codec_data("uplink", "offer" if ue_offers else "answer", ours),
            _codec_data("downlink", "answer" if ue_offers else "offer", theirs),
        ),
    )


def _flow_status(ours: MediaDescription, theirs: MediaDescription) -> FlowStatus:
    """Open the gate only for what one side sends and the other one receives."""
    if ours.is_rejected or theirs.is_rejected:
        return FlowStatus.REMOVED
    if ours.direction is Direction.SENDRECV and theirs.direction is Direction.SENDRECV:
        return FlowStatus.ENABLED
    is_uplink = ours.direction in _SENDS and theirs.direction in _RECEIVES
    is_downlink = theirs.direction in _SENDS and ours.direction in _RECEIVES
    match is_uplink, is_downlink:
        case True, True:
            return FlowStatus.ENABLED
        case True, False:
            return FlowStatus.ENABLED_UPLINK
        case False, True:
            return FlowStatus.ENABLED_DOWNLINK
        case _:
            return FlowStatus.DISABLED


def _flows(ours: MediaDescription, theirs: MediaDescription, ue_address: str) -> tuple[MediaSubComponent, ...]:
    """Write the 5-tuples of RTP and, unless it shares them or is turned off, RTCP (RX-09)."""
    protocol = _protocol(ours.proto)
    ue, peer = _ue_side(ours, ue_address), _peer_side(theirs)
    flows = [MediaSubComponent(1, _rules(protocol, ue, ours.port, peer, theirs.port))]
    if _has_rtcp(ours, theirs) and (ue_port := ours.rtcp_port) and (peer_port := theirs.rtcp_port):
        flows.append(MediaSubComponent(2, _rules(protocol, ue, ue_port, peer, peer_port), FlowUsage.RTCP))
    return tuple(flows)


def _has_rtcp(ours: MediaDescription, theirs: MediaDescription) -> bool:
    """Whether RTCP has ports of its own; RS and RR of 0 turn it off (RFC 3556 3)."""
    if "RTP/" not in ours.proto.upper() or (ours.has_rtcp_mux and theirs.has_rtcp_mux):
        return False
    return not (_either(ours, theirs, "RR") == 0 == _either(ours, theirs, "RS"))


def _rules(protocol: str, ue: str, ue_port: int, peer: str, peer_port: int) -> tuple[str, str]:
    return (
        f"permit in {protocol} from {ue} {ue_port} to {peer} {peer_port}",
        f"permit out {protocol} from {peer} {peer_port} to {ue} {ue_port}",
    )


def _protocol(proto: str) -> str:
    if proto == "RTP/AVP":
        return _UDP
    words = proto.upper().split("/")
    if "TCP" in words:
        return _TCP
    return _UDP if {"RTP", "UDP", "UDPTL"} & {*words} else _ANY_PROTOCOL


def _ue_side(ours: MediaDescription, ue_address: str) -> str:
    """The UE's address, never a wildcard: what it says, or where it registered from if that is no address."""
    return _address(ours) or ue_address


def _peer_side(theirs: MediaDescription) -> str:
    return _address(theirs) or "any"


def _address(media: MediaDescription) -> str | None:
    text = media.connection
    return _comparable_address(text) if text and len(text) <= MAX_ADDRESS_CHARS else None


@lru_cache(4096)
def _comparable_address(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if address.is_unspecified else str(address)


def _bandwidth_bps(media: MediaDescription) -> int | None:
    """What a side wants to receive at most: b=AS is in kbit/s with IP headers, b=TIAS in bit/s without (RFC 3890)."""
    if "AS" in media.bandwidths:
        return media.bandwidths["AS"] * 1000
    return media.bandwidths.get("TIAS")


def _either(ours: MediaDescription, theirs: MediaDescription, modifier: str) -> int | None:
    """The RTCP bandwidth of RFC 3556 in bit/s, of whichever side says so."""
    value = ours.bandwidths.get(modifier)
    return value if value is not None else theirs.bandwidths.get(modifier)


def _codec_data(direction: str, kind: str, media: MediaDescription) -> str:
    """Write Codec-Data (TS 29.214 5.3.7): whose SDP it is, its part in the negotiation, its lines."""
    text = "\n".join([direction, kind, *media.lines])
    return text if text.isascii() else text.encode("utf-8", "replace").decode()  # an AVP of text holds no other octets


def _essence(media: tuple[MediaComponent, ...]) -> tuple[MediaComponent, ...]:
    """The components without what changes while the media stay: which side makes the offer, how far reservation is."""
    return tuple([replace(component, codec_data=tuple(map(_settled, component.codec_data))) for component in media])


def _settled(codec_data: str) -> str:
    _side, _kind, *lines = codec_data.split("\n")
    return "\n".join(line for line in lines if not line.startswith(_PRECONDITIONS))


# ---------------------------------------------------------------------- AAR and STR


def subscription_of(binding: Binding) -> str:
    """Name the subscriber as PCRFs look him up: sip:IMSI@domain, else his default public user identity."""
    user, _, domain = (binding.impi or "").partition("@")
    if user.isascii() and user.isdecimal():
        return f"sip:{user}@{domain or binding.aor.rpartition('@')[2]}"
    return binding.default_identity


async def authorise(call: Call, media: tuple[MediaComponent, ...], then: list[Action]) -> list[Action]:
    """Ask the PCRF for the call's media, then do what waited for it, whatever the answer (PI-01)."""
    if call.is_over:
        return then
    request = AaRequest(
        session_id=call.rx_session_id,
        ue_address=call.ue_address,
        subscription=call.subscription,
        media=media,
        af_charging_identifier=call.icid or "",
        is_update=call.rx is RxSession.OPEN,
    )
    try:
        aaa = await request
    except PeerUnavailable as failure:
        if call.rx is RxSession.NONE:
            call.rx = RxSession.UNKNOWN
        return [*then, _not_authorised(call, str(failure))]
    if not aaa.result.is_success:
        return [*then, _not_authorised(call, str(aaa.result))]
    call.rx = RxSession.OPEN
    return [*then, Report("media-authorised", {**call_story(call), "components": len(media)})]


def end_call(pcscf: PcscfState, call: Call, event: str, details: Fields) -> list[Action]:
    """Forget a call, say why, and end its AF session after all that is still asked about it (RX-02, PC-03)."""
    if call.is_over:
        return []
    call.is_over = True
    pcscf.calls.remove(call)
    pcscf.deadlines.forget(call)
    actions = told(pcscf, call, event, details)
    if call.requested:
        actions.append(Start(Procedure(call.key, _terminate(call))))
    return actions


def on_termination_timer(timer: TerminationTimer) -> Procedure:
    """Repeat an STR."""
    return Procedure(None, _terminate_again(timer))


async def _terminate(call: Call) -> list[Action]:
    match call.rx:
        case RxSession.NONE:  # refused: there is nothing to end
            return []
        case RxSession.UNKNOWN:  # one STR in case the AAR arrived
            return await _end_session(TerminationTimer(call.key.call_id, call.rx_session_id, len(RETRY_TERMINATION_S)))
        case RxSession.OPEN:
            return await _end_session(TerminationTimer(call.key.call_id, call.rx_session_id, 0))


async def _terminate_again(timer: TerminationTimer) -> list[Action]:
    return await _end_session(replace(timer, attempt=timer.attempt + 1))


async def _end_session(timer: TerminationTimer) -> list[Action]:
    try:
        sta = await SessionTerminationRequest(timer.rx_session_id)
    except PeerUnavailable as failure:
        fields: Fields = {"call_id": timer.call_id, "rx_session_id": timer.rx_session_id, "reason": str(failure)}
        report = Report("media-session-not-ended", fields, "warning")
        if timer.attempt < len(RETRY_TERMINATION_S):
            return [report, SetTimer(timer, RETRY_TERMINATION_S[timer.attempt])]
        return [report]
    return [Report("media-session-ended", {"call_id": timer.call_id, "result": str(sta.result)})]


def told(pcscf: PcscfState, call: Call, event: str, details: Fields) -> list[Action]:
    """Tell how a call goes on, unless nobody reads that."""
    return [Report(event, {**call_story(call), **details})] if pcscf.tells_calls else []


def call_story(call: Call) -> Fields:
    """What tells an operator which call a report is about."""
    side = "originating" if call.key.is_originating else "terminating"
    return {"call_id": call.key.call_id, "impu": call.identity, "side": side}


def _not_authorised(call: Call, reason: str) -> Report:
    """Say whose media are not authorised, with the address that was looked up (RX-06)."""
    fields = {**call_story(call), "ue_address": call.ue_address, "reason": reason}
    return Report("media-not-authorised", fields, "warning")
