"""User registration at the P-CSCF (TS 24.229 5.2.2; Path: RFC 3327; Service-Route: RFC 3608).

Not covered: security associations (IMS AKA's ck and ik are taken out and dropped), emergency registration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from opencscf.common.actions import (
    Action,
    Branch,
    FinalResponse,
    Forward,
    Procedure,
    Relay,
    Report,
    Respond,
    Save,
    SetTimer,
)
from opencscf.common.errors import PeerUnavailable
from opencscf.common.ims.pheaders import associated_uris
from opencscf.common.ims.register import digest_credentials
from opencscf.common.sip.flow import Transport
from opencscf.pcscf.qos import end_call
from opencscf.pcscf.state import BINDING, Binding, Fields, canonical_identity, identities_of, peer_of, same_uri, shared
from opencscf.pcscf.trust import clean_register, for_ue, mark_unprotected

if TYPE_CHECKING:
    from opencscf.common.sip.headers import Credentials, NameAddr
    from opencscf.common.sip.message import Message, Request, Response
    from opencscf.pcscf.state import PcscfState

HANG_UP_S = 3600.0  # how long the calls of an ended registration can still be hung up
MAX_TIMER_S = 3600.0
RETRY_AFTER_S = 60  # when all registrations are taken
UNTOLD_KEEP_ALIVE_S = 840.0  # how seldom a UE may use a stream that nobody tells it about (RFC 5626 4.4.1)
OUTBOUND = "outbound"  # the option tag (RFC 5626 11.4)
_CLOSED_WHEN_IDLE = frozenset({Transport.TCP, Transport.TLS})  # WebSockets are kept open by our pings


class RegistrationTimer(NamedTuple):
    """Looks whether a binding has ended (PR-06). There is one for each, whatever its refreshes."""

    token: str
    at: float  # when it fires: another one is of no more use


@dataclass(frozen=True, slots=True)
class HangUpTimer:
    """Ends the time in which calls that outlived their registration can be hung up."""

    dialog_token: str


def on_register(pcscf: PcscfState, register: Request, now: float) -> Procedure:
    """Send a REGISTER to its home network and keep what comes of it, one at a time per user."""
    credentials = digest_credentials(register)
    impi = credentials.get("username") or None if credentials is not None else None
    impu = canonical_identity(register.to.uri)
    return Procedure(_key(impi, impu), _register(pcscf, register, credentials, impi, impu, now), register)


def on_timer(pcscf: PcscfState, timer: RegistrationTimer, now: float) -> Procedure | list[Action]:
    """Remove a binding whose time is over."""
    binding = pcscf.registrations.get(timer.token)
    if binding is None or binding.timer_at != timer.at:
        return []
    if binding.expires_at > now:
        return [_timer(binding, now)]
    return Procedure(_key(binding.impi, binding.aor), _expire(pcscf, timer, now))


def set_timers(pcscf: PcscfState, now: float) -> list[Action]:
    """Go on with the registration timers of the process before."""
    return [_timer(binding, now) for binding in pcscf.registrations]


async def _register(
    pcscf: PcscfState,
    register: Request,
    credentials: Credentials | None,
    impi: str | None,
    impu: str,
    now: float,
) -> list[Action]:
    contact = _contact(register)
    known = _known(pcscf, impu, contact)
    if known is None and len(pcscf.registrations) >= pcscf.config.pcscf.max_registrations:
        reason = "too many registrations"
        retry_after = ("Retry-After", str(RETRY_AFTER_S))
        return [Respond(register, 503, reason, (retry_after,)), _refused(register, impu, 503, reason)]
    token = known.token if known is not None else pcscf.ids.token()
    request = _towards_home(pcscf, register, credentials, token, is_outbound=_is_outbound(register, contact))
    try:
        response = await FinalResponse(Forward((Branch(request),), None, _relay_provisional))
    except PeerUnavailable as failure:
        return _home_unreachable(pcscf, register, impu, failure.reason)
    status = response.status
    if status == 503 and (wait := response.get("Retry-After")) is not None:
        return _home_busy(register, impu, wait)
    if status in {408, 503}:
        return _home_unreachable(pcscf, register, impu, f"{status} {response.reason}")
    if not 200 <= status < 300:
        report = [] if status in {401, 407} else [_refused(register, impu, status, response.reason)]
        return [Relay(for_ue(response)), *report]
    outcome = await _accepted(pcscf, register, response, token, impi, impu, contact, now)
    told = for_ue(response)
    if pcscf.config.sip.connections.idle_s < UNTOLD_KEEP_ALIVE_S and _is_outbound(register, contact):
        told = _with_flow_timer(told, register, pcscf.config.sip.connections.idle_s)
    return [Relay(told), *outcome]


def _is_outbound(register: Request, contact: NameAddr | None) -> bool:
    """Whether the UE wants to be reached over this flow, and we are the one who has it (RFC 5626 5.1)."""
    return contact is not None and contact.get("reg-id") is not None and len(register.values("Via")) == 1


def _with_flow_timer(response: Response, register: Request, idle_s: float) -> Response:
    """Tell how often the UE has to use its flow, for we close it earlier than it would expect (RFC 5626 5.4)."""
    flow = register.flow
    if flow is None or flow.transport not in _CLOSED_WHEN_IDLE or not _is_by_outbound(response):
        return response
    copy = response.copy()
    copy.append("Flow-Timer", str(max(1, int(idle_s * 0.75))))  # what is under way shall still come in time
    return copy


def _is_by_outbound(response: Response) -> bool:
    return OUTBOUND in {value.lower() for value in response.values("Require")}


def _towards_home(
    pcscf: PcscfState, register: Request, credentials: Credentials | None, token: str, *, is_outbound: bool
) -> Request:
    """Edit a REGISTER as the home network wants it (5.2.2.1, 5.2.2.2)."""
    request = register.copy()
    clean_register(request)
    mark_unprotected(request, credentials)
    request.append("Path", f"<sip:{token}@{pcscf.path_address}{';ob' if is_outbound else ''}>")  # PR-01
    _add_option(request, "Require", "path")
    _add_option(request, "Supported", "path")
    request.append("P-Visited-Network-ID", pcscf.visited_network)  # PR-02
    request.append("P-Charging-Vector", pcscf.charging_vector(pcscf.ids.unique()))
    request.append("Route", pcscf.route_to_icscf)
    return request


def _relay_provisional(response: Response, _now: float) -> list[Action]:
    return [Relay(for_ue(response))]


async def _accepted(
    pcscf: PcscfState,
    register: Request,
    response: Response,
    token: str,
    impi: str | None,
    impu: str,
    contact: NameAddr | None,
    now: float,
) -> list[Action]:
    """Keep what a 200 grants, and forget what it no longer lists (PR-04, PR-05, PR-06)."""
    registrations = pcscf.registrations
    granted = _granted(response)
    actions: list[Action] = []
    for old in registrations.of_aor(impu):
        if old.impi in {impi, None} and not any(old.has_contact(uri) for uri in granted):
            await Save(BINDING, old.token, None)
            actions += _forget(pcscf, old, "deregistered")
    expires_s = _granted_s(granted, contact.uri) if contact is not None else 0
    if contact is None or not expires_s:
        return actions
    binding = _binding(register, response, token, impi, impu, contact.uri, now + expires_s)
    for old in registrations.displaced_by(binding):
        await Save(BINDING, old.token, None)
        actions += _forget(pcscf, old, "address-taken")
    await Save(BINDING, token, binding.to_record())
    former = registrations.get(token)
    looks_at = former.timer_at if former is not None else 0.0
    binding = registrations.put(binding)
    if now < looks_at <= binding.expires_at:
        binding.timer_at = looks_at  # there the timer finds the new end
    else:
        actions.append(_timer(binding, now))
    fields = _story(register, impu)
    fields["impi"], fields["contact"], fields["expires_s"] = impi, contact.uri, expires_s
    return [*actions, Report("registered" if former is None else "registration-refreshed", fields)]


def _binding(
    register: Request, response: Response, token: str, impi: str | None, impu: str, contact: str, expires_at: float
) -> Binding:
    flow = register.flow
    assert flow is not None  # noqa: S101  the transport sets it on every message
    return Binding(
        token=token,
        impi=impi,
        aor=impu,
        contact=contact,
        flow=flow,
        service_route=shared(tuple([route.uri for route in response.service_route])),
        identities=identities_of(impu, [identity.uri for identity in associated_uris(response)] or [register.to.uri]),
        expires_at=expires_at,
    )


async def _expire(pcscf: PcscfState, timer: RegistrationTimer, now: float) -> list[Action]:
    binding = pcscf.registrations.get(timer.token)
    if binding is None or binding.timer_at != timer.at:
        return []  # gone while this waited for its turn
    if binding.expires_at > now:
        return [_timer(binding, now)]  # refreshed meanwhile
    await Save(BINDING, binding.token, None)
    return _forget(pcscf, binding, "registration-expired")


def _forget(pcscf: PcscfState, binding: Binding, event: str) -> list[Action]:
    """Remove a binding and give back what its calls hold (RX-02)."""
    pcscf.registrations.remove(binding.token)
    actions: list[Action] = [Report(event, {"impu": binding.aor, "impi": binding.impi, "contact": binding.contact})]
    calls = pcscf.calls.of_binding(binding.token)
    for call in calls:
        actions += end_call(pcscf, call, "call-ended", {"reason": event})
    if calls:
        pcscf.registrations.keep_former(binding)
        actions.append(SetTimer(HangUpTimer(binding.dialog_token), HANG_UP_S))
    return actions


def _home_unreachable(pcscf: PcscfState, register: Request, impu: str, reason: str) -> list[Action]:
    """Say which hop does not answer (PR-03)."""
    icscf = pcscf.config.pcscf.icscf
    return [Respond(register, 504, f"no answer from {icscf}"), _refused(register, impu, 504, f"{icscf}: {reason}")]


def _home_busy(register: Request, impu: str, wait: str) -> list[Action]:
    """Have the UE wait as the home network asks for, and with 500 stay with us, who are not busy (RFC 3261 16.7)."""
    reason = "Home Network Overloaded"
    respond = Respond(register, 500, reason, (("Retry-After", wait),))
    return [respond, _refused(register, impu, 500, reason)]


def _known(pcscf: PcscfState, impu: str, contact: NameAddr | None) -> Binding | None:
    """The binding that a REGISTER is about; with `Contact: *`, or without Contact, any of this user's."""
    if contact is not None:
        return pcscf.registrations.find(impu, contact.uri)
    return next(iter(pcscf.registrations.of_aor(impu)), None)


def _contact(register: Request) -> NameAddr | None:
    """The contact to be registered; softphones remove their old one in the same request."""
    contacts = register.contacts
    for contact in contacts:
        if contact.expires != 0:
            return contact
    return contacts[0] if contacts else None


def _granted(response: Response) -> dict[str, int]:
    """The contacts that a 200 lists as registered and for how long (RFC 3261 10.3 step 8)."""
    granted = {}
    for contact in response.contacts:
        expires_s = contact.expires if contact.expires is not None else response.expires
        if expires_s:
            granted[contact.uri] = expires_s
    return granted


def _granted_s(granted: dict[str, int], contact: str) -> int:
    """For how long one contact is registered, 0 if it is not."""
    if contact in granted:
        return granted[contact]
    return next((expires_s for uri, expires_s in granted.items() if same_uri(uri, contact)), 0)


def _key(impi: str | None, impu: str) -> tuple[str, str]:
    return ("registration", impi or impu)


def _timer(binding: Binding, now: float) -> SetTimer:
    """Look again when the binding expires, or sooner: a timer that is of no more use shall not stay for days."""
    delay_s = min(max(0.0, binding.expires_at - now), MAX_TIMER_S)
    binding.timer_at = now + delay_s
    return SetTimer(RegistrationTimer(binding.token, binding.timer_at), delay_s)


def _refused(register: Request, impu: str, status: int, reason: str) -> Report:
    fields = _story(register, impu)
    fields["status"], fields["reason"] = status, reason
    return Report("registration-refused", fields, "warning")


def _story(register: Request, impu: str) -> Fields:
    return {"call_id": register.call_id, "cseq": str(register.cseq), "impu": impu, "peer": peer_of(register)}


def _add_option(message: Message, name: str, option: str) -> None:
    text = message.get(name)
    if text == option:
        return
    if text is None or option not in {value.lower() for value in message.values(name)}:
        message.append(name, option)
