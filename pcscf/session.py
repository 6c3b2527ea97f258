"""Everything but REGISTER: calls, messages and what happens within dialogs (TS 24.229 5.2.6 to 5.2.8).

Record-Route carries the binding's dialog token twice: as `ue.TOKEN` in the URI that faces the UE and as `net.TOKEN` in
the one that faces the core. Who uses which one in Route says where a request within the dialog comes from.

Not covered: security associations, the comparison of a dialog's whole route set, releasing a call by the P-CSCF's own
BYE, emergency calls.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from opencscf.common.actions import (
    Action,
    Branch,
    Forward,
    Outcome,
    Procedure,
    RecordRoute,
    Relay,
    Report,
    Respond,
    Start,
)
from opencscf.common.errors import ParseError
from opencscf.common.ims.options import answer_for_node
from opencscf.common.ims.pheaders import ChargingVector, called_party, preferred_identities
from opencscf.common.sip.params import TOKEN_CHARS
from opencscf.common.sip.proxy import Refusal, strip_own_routes
from opencscf.common.sip.session_timer import REFRESHING, Asked
from opencscf.common.sip.uri import SipUri
from opencscf.diameter.rx import new_session_id
from opencscf.pcscf import lifetime
from opencscf.pcscf.qos import SDP, authorise, call_story, end_call, negotiated, subscription_of, told
from opencscf.pcscf.state import Binding, Call, CallKey, Fields, Offer, PcscfState, loose_route, peer_of, same_uri
from opencscf.pcscf.trust import clean_for_ue, clean_from_ue, for_ue, from_ue

if TYPE_CHECKING:
    from opencscf.common.sip.message import Message, Request, Response

DIALOG_FORMING: Final = frozenset({"INVITE", "SUBSCRIBE", "REFER"})
EMERGENCY: Final = "urn:service:sos"  # RFC 5031 4.2, with its sub-services
ENDING: Final = frozenset({"ACK", "BYE"})  # what still passes in a dialog whose registration is over
UE_SIDE: Final = "ue"
CORE_SIDE: Final = "net"
RETRY_AFTER_S: Final = 10  # when there are as many calls as this node takes

_ICID: Final = re.compile(rf"icid-value=([{TOKEN_CHARS}]++)(?:;|\Z)", re.ASCII)  # as most write it


def on_request(pcscf: PcscfState, request: Request, now: float) -> Outcome:
    """Tell by the topmost Route what a request is (PT-01), and treat it so."""
    edited = request.copy()
    routes = strip_own_routes(edited, pcscf.own)
    name = (routes[0].user if routes else None) or ""
    side, dot, token = name.partition(".")
    if dot and side in {UE_SIDE, CORE_SIDE} and request.to_tag is not None:
        return _within_dialog(pcscf, request, edited, token, now, is_from_ue=side == UE_SIDE)
    if name and side != UE_SIDE:
        return _to_ue(pcscf, request, edited, name, is_outbound=routes[0].params.has("ob"))
    if _is_for_us(pcscf, edited):
        return answer_for_node(request)  # a UE or a monitor looks whether we are there
    return _from_ue(pcscf, request, edited)


# ---------------------------------------------------------------------- requests outside of dialogs


def _from_ue(pcscf: PcscfState, request: Request, edited: Request) -> list[Action]:
    """Send a UE's request to its S-CSCF under the identity that is its own (5.2.6.3)."""
    if request.to_tag is not None:
        return _refuse(request, 481, "a dialog whose route does not lead through here")
    if request.uri[: len(EMERGENCY)].lower() == EMERGENCY:
        return _refuse(request, 403, "emergency calls are not served here")  # PS-02
    assert request.flow is not None  # noqa: S101  the transport sets it on every message
    preferred = _preferred(request)
    binding = pcscf.registrations.only_user_on(request.flow)
    if binding is None:
        binding = pcscf.registrations.originator(request.flow, [*preferred, request.from_.uri])
    if binding is None:
        return _refuse(request, 403, "not registered")  # PT-08
    if _has_no_room(pcscf, request):
        return _refuse(request, 503, "too many calls", headers=(("Retry-After", str(RETRY_AFTER_S)),))
    identity = binding.default_identity
    if preferred:
        identity = next(filter(None, map(binding.identity_matching, preferred)), identity)
    icid = pcscf.ids.unique()
    clean_from_ue(edited)
    edited.append("P-Asserted-Identity", f"<{identity}>")  # PT-02
    edited.append("P-Charging-Vector", pcscf.charging_vector(icid))  # PT-04
    _enforce_service_route(pcscf, edited, binding)
    record_route = RecordRoute(f"{UE_SIDE}.{binding.dialog_token}", f"{CORE_SIDE}.{binding.dialog_token}")
    back = TowardsUe(request)
    return _forward_initial(pcscf, request, Branch(edited), record_route, back, binding, identity, icid)


def _to_ue(pcscf: PcscfState, request: Request, edited: Request, token: str, *, is_outbound: bool) -> list[Action]:
    """Send a request down the flow over which its UE registered (5.2.6.4)."""
    binding = pcscf.registrations.get(token)
    if binding is None:
        return _refuse(request, 430 if is_outbound else 404, "no registration for this Path")  # RFC 5626 5.3.1
    assert request.flow is not None  # noqa: S101
    if pcscf.registrations.is_ue_flow(request.flow):  # somebody who has seen the token in a Record-Route
        return _refuse(request, 403, "a UE does not use the Path of another one")
    if _has_no_room(pcscf, request):
        return _refuse(request, 503, "too many calls", headers=(("Retry-After", str(RETRY_AFTER_S)),))
    called = called_party(request)
    identity = (binding.identity_matching(called.uri) if called else None) or binding.default_identity
    icid = _icid(request)
    clean_for_ue(edited)
    record_route = RecordRoute(f"{CORE_SIDE}.{binding.dialog_token}", f"{UE_SIDE}.{binding.dialog_token}")
    branch = Branch(edited, flow=binding.towards_ue)
    back = FromUe(request, identity, unreachable=430 if is_outbound else 480)
    return _forward_initial(pcscf, request, branch, record_route, back, binding, identity, icid)


def _forward_initial(
    pcscf: PcscfState,
    request: Request,
    branch: Branch,
    record_route: RecordRoute,
    back: Back,
    binding: Binding,
    identity: str,
    icid: str | None,
) -> list[Action]:
    if request.method == "ACK":
        return []  # an ACK belongs to a dialog
    if request.method != "INVITE":
        return [Forward((branch,), record_route if request.method in DIALOG_FORMING else None, back)]
    asked = lifetime.ask(pcscf, branch.request)
    if isinstance(asked, Refusal):
        return _refuse(request, asked.status, "session interval too small", headers=asked.headers)
    call = _new_call(pcscf, request, binding, identity, icid, is_originating=isinstance(back, TowardsUe))
    offer = _offer(pcscf, request, is_from_ue=call.key.is_originating)
    handler = CallResponses(pcscf, call, back, offer, is_initial=True, asked=asked)
    forward = Forward((branch,), record_route, handler)
    return [forward, *told(pcscf, call, "call-started", {"cseq": str(request.cseq), "to": request.uri})]


def _enforce_service_route(pcscf: PcscfState, request: Request, binding: Binding) -> None:
    """Put the stored Service-Route in the place of any other Route (PT-03); without one the I-CSCF finds the way."""
    wanted = binding.service_route or (pcscf.config.pcscf.icscf,)
    if request.get_all("Route") == [f"<{uri}>" for uri in wanted]:  # as every phone writes the usual one
        return
    given = [route.uri for route in request.routes]
    if len(given) != len(wanted) or not all(map(same_uri, given, wanted)):
        request.remove("Route")
        request.append("Route", ", ".join(map(loose_route, wanted)))


# ---------------------------------------------------------------------- requests within dialogs


def _within_dialog(
    pcscf: PcscfState, request: Request, edited: Request, dialog_token: str, now: float, *, is_from_ue: bool
) -> list[Action]:
    """Pass a request on to the dialog's other side (5.2.6.3.5, 5.2.6.4)."""
    registrations, flow = pcscf.registrations, request.flow
    assert flow is not None  # noqa: S101
    binding = registrations.in_dialog(dialog_token)
    if binding is None and request.method in ENDING:
        binding = registrations.former(dialog_token)
    if binding is None:
        return _refuse(request, 481, "the registration that the dialog was made with is over")
    if is_from_ue:
        if not registrations.is_of_user(flow, binding):
            return _refuse(request, 403, "not a party of the dialog")  # PT-06
        clean_from_ue(edited)
        branch = Branch(edited)
        back: Back = TowardsUe(request)
        ue_tag, peer_tag = request.from_tag or "", request.to_tag or ""
    else:
        if registrations.is_ue_flow(flow):
            return _refuse(request, 403, "a UE does not use the core's side of a dialog")
        clean_for_ue(edited)
        branch = Branch(edited, flow=binding.towards_ue)
        back = FromUe(request)
        ue_tag, peer_tag = request.to_tag or "", request.from_tag or ""
    if request.method == "ACK" and not pcscf.authorises_media:
        return [Forward((branch,))]  # all that it might bring is an answer to authorise
    call = pcscf.calls.in_dialog(request.call_id, binding.token, ue_tag=ue_tag, peer_tag=peer_tag)
    return _forward_within(pcscf, call, request, branch, back, now, is_from_ue=is_from_ue)


def _forward_within(
    pcscf: PcscfState, call: Call | None, request: Request, branch: Branch, back: Back, now: float, *, is_from_ue: bool
) -> list[Action]:
    if call is None:
        return [Forward((branch,), None, None if request.method == "ACK" else back)]
    match request.method:
        case "ACK":
            if call.offer is None:
                return [Forward((branch,))]
            return [Forward((branch,)), *_answered_late(call, request, is_from_ue=is_from_ue)]
        case "BYE":
            lasted_s = round(now - call.answered_at, 1) if call.answered_at is not None else None
            details: Fields = {"by": "ue" if is_from_ue else "peer", "lasted_s": lasted_s}
            return [Forward((branch,), None, back), *end_call(pcscf, call, "call-ended", details)]
        case "PRACK" if call.offer is not None and call.offer.is_from_ue is not is_from_ue:
            return [Forward((branch,), None, back), *_answered_late(call, request, is_from_ue=is_from_ue)]
        case "INVITE" | "UPDATE" | "PRACK":
            asked = lifetime.ask(pcscf, branch.request) if request.method in REFRESHING else None
            if isinstance(asked, Refusal):
                return _refuse(request, asked.status, "session interval too small", headers=asked.headers)
            offer = _offer(pcscf, request, is_from_ue=is_from_ue)
            if offer is not None:
                call.renegotiated_with = _callee_tag(call, request)
            return [Forward((branch,), None, CallResponses(pcscf, call, back, offer, is_initial=False, asked=asked))]
        case _:
            return [Forward((branch,), None, back)]


def _answered_late(call: Call, request: Request, *, is_from_ue: bool) -> list[Action]:
    """Take the answer to an offer that came in a response (RFC 3261 13.2.1, RFC 3262 5)."""
    offer, answer = call.offer, _sdp(request)
    if offer is None or offer.is_from_ue is is_from_ue or answer is None:
        return []
    call.offer = None
    call.renegotiated_with = _callee_tag(call, request)
    outcome = _media_wanted(call, offer, answer, [])
    return [Start(outcome)] if isinstance(outcome, Procedure) else outcome


# ---------------------------------------------------------------------- responses


@dataclass(slots=True)
class TowardsUe:
    """Passes responses of the core to the UE that sent the request."""

    request: Request | None  # None once it has been answered

    def __call__(self, response: Response, now: float) -> list[Action]:
        """Pass one on."""
        return [self.passed(response)]

    def passed(self, response: Response) -> Action:
        """Take out what the UE must not see; a 503 of somebody else must not turn it away from us (RFC 3261 16.7).

        How long it should wait goes on, so that an overload of the core ends.
        """
        if response.status == 503 and self.request is not None:
            retry_after = response.get("Retry-After")
            headers = () if retry_after is None else (("Retry-After", retry_after),)
            return Respond(self.request, 500, "Next Hop Unavailable", headers)
        return Relay(for_ue(response))


@dataclass(slots=True)
class FromUe:
    """Passes responses of a UE to the core, under the identity by which it was called (PT-10)."""

    request: Request | None  # None once it has been answered
    identity: str | None = None  # None within a dialog
    unreachable: int = 480  # what to say of a UE that cannot be reached

    def __call__(self, response: Response, now: float) -> list[Action]:
        """Pass one on."""
        return [self.passed(response)]

    def passed(self, response: Response) -> Action:
        """Assert who answers; that a UE cannot be reached is no fault of this node (PT-11, RFC 5626 5.3.1)."""
        status = response.status
        if status == 503 and self.request is not None:
            return Respond(self.request, self.unreachable)
        return Relay(from_ue(response, self.identity if 100 < status < 300 else None))


Back: TypeAlias = TowardsUe | FromUe


@dataclass(slots=True)
class CallResponses:
    """Passes responses within a call, keeps the call's story, and has media authorised that an answer settles."""

    pcscf: PcscfState = field(repr=False)
    call: Call
    back: Back
    offer: Offer | None  # that of the request
    is_initial: bool
    asked: Asked | None = None  # of the session timer

    def __call__(self, response: Response, now: float) -> Outcome:
        """Pass one on, once its media are settled."""
        actions = [self.back.passed(response)]
        pcscf, call, status = self.pcscf, self.call, response.status
        if status >= 300:
            if self.is_initial and call.answered_at is None:
                details: Fields = {"status": status, "reason": response.reason}
                actions += end_call(pcscf, call, "call-failed", details)
            return actions
        if status >= 200:
            self.back.request = None  # this waits for further 2xx for as long as Timer L runs, and the request is large
        if self.is_initial and status > 100 and not call.is_over:
            if pcscf.registrations.get(call.key.token) is None:
                call.is_over = True  # nothing would tell of its end
                return actions
            pcscf.calls.put(call)
            if status >= 200 and call.answered_at is None:
                call.answered_at = now
                actions += told(pcscf, call, "call-answered", {})
        if status >= 200 and not call.is_over and response.cseq.method in REFRESHING:
            self._on_success(response, actions, now)
        if pcscf.authorises_media and response.body and not call.is_over:
            return self._with_media(response, actions)
        return actions

    def _on_success(self, response: Response, actions: list[Action], now: float) -> None:
        relay = actions[0]
        assert isinstance(relay, Relay)  # noqa: S101  only a 503 becomes something else
        if relay.response is response and self.asked is not None:
            actions[0] = relay = Relay(response.copy())
        lifetime.on_success(self.pcscf, self.call, relay.response, self.asked, now)

    def _with_media(self, response: Response, actions: list[Action]) -> Outcome:
        sdp = _sdp(response)
        if sdp is None:
            return actions
        renegotiated_with = self.call.renegotiated_with
        if self.is_initial and renegotiated_with is not None and renegotiated_with == response.to_tag:
            return actions  # a copy of what PRACK or UPDATE have changed since (RFC 3261 13.2.1)
        if self.offer is not None:
            return _media_wanted(self.call, self.offer, sdp, actions)
        if response.cseq.method == "INVITE":
            self.call.offer = Offer(sdp, is_from_ue=isinstance(self.back, FromUe))
        return actions


def _media_wanted(call: Call, offer: Offer, answer: bytes, actions: list[Action]) -> Outcome:
    """Have the media of an offer and its answer authorised before the answer goes on, if they are new (PI-01)."""
    try:
        media = negotiated(call, offer, answer)
    except ParseError as fault:
        return [*actions, Report("media-not-understood", {**call_story(call), "reason": fault.reason}, "warning")]
    return Procedure(call.key, authorise(call, media, actions)) if media else actions


# ---------------------------------------------------------------------- pieces


def _new_call(
    pcscf: PcscfState, request: Request, binding: Binding, identity: str, icid: str | None, *, is_originating: bool
) -> Call:
    key = CallKey(request.call_id, binding.token, is_originating, request.from_tag or "")
    rx = pcscf.config.rx if pcscf.authorises_media else None
    return pcscf.calls.get(key) or Call(
        key=key,
        identity=identity,
        ue_address=binding.flow.remote[0],
        subscription=subscription_of(binding) if rx is not None else "",
        icid=icid,
        rx_session_id=new_session_id(rx.origin_host, pcscf.ids) if rx is not None else "",
    )


def _preferred(request: Request) -> list[str]:
    if not request.has("P-Preferred-Identity"):
        return []
    return [identity.uri for identity in preferred_identities(request)]


def _has_no_room(pcscf: PcscfState, request: Request) -> bool:
    return request.method == "INVITE" and len(pcscf.calls) >= pcscf.config.pcscf.max_calls


def _refuse(request: Request, status: int, reason: str, *, headers: tuple[tuple[str, str], ...] = ()) -> list[Action]:
    """Answer with a failure and tell the operator why; nothing answers an ACK."""
    if request.method == "ACK":
        return []
    fields: Fields = {
        "call_id": request.call_id,
        "cseq": str(request.cseq),
        "impu": request.from_.uri,
        "peer": peer_of(request),
        "status": status,
        "reason": reason,
    }
    return [Respond(request, status, reason, headers), Report("request-refused", fields, "warning")]


def _is_for_us(pcscf: PcscfState, request: Request) -> bool:
    if request.has("Route"):
        return False
    with suppress(ParseError):
        uri = request.request_uri
        return isinstance(uri, SipUri) and (uri.user is None or request.method == "OPTIONS") and pcscf.own.is_ours(uri)
    return False


def _callee_tag(call: Call, request: Request) -> str | None:
    return request.to_tag if request.from_tag == call.key.caller_tag else request.from_tag


def _offer(pcscf: PcscfState, request: Request, *, is_from_ue: bool) -> Offer | None:
    """The description that a request makes, if there is somebody to authorise it."""
    sdp = _sdp(request) if pcscf.authorises_media else None
    return Offer(sdp, is_from_ue) if sdp is not None else None


def _sdp(message: Message) -> bytes | None:
    if not message.body:
        return None
    try:
        return message.body if message.content_type == SDP else None
    except ParseError:
        return None


def _icid(request: Request) -> str | None:
    text = request.get("P-Charging-Vector")
    if text is None:
        return None
    match = _ICID.match(text)
    if match is not None:
        return match[1]
    try:
        return ChargingVector.parse(text).icid_value
    except ParseError:
        return None
