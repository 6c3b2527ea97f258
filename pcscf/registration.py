"""User registration at the P-CSCF (TS 24.229 5.2.2; Path: RFC 3327; Service-Route: RFC 3608).

Not covered: security associations (IMS AKA's ck and ik are taken out and dropped), emergency registration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
from opencscf.common.ims.pheaders import (
    ChargingVector,
    associated_uris,
    remove_untrusted,
    visited_network_id,
)
from opencscf.common.ims.public_identity import impu_of
from opencscf.common.ims.register import digest_credentials
from opencscf.pcscf.qos import end_call
from opencscf.pcscf.state import BINDING, Binding, Fields, loose_route, peer_of, same_uri
from opencscf.pcscf.trust import for_ue, mark_unprotected, remove_security_agreement

if TYPE_CHECKING:
    from opencscf.common.sip.flow import Flow
    from opencscf.common.sip.headers import NameAddr
    from opencscf.common.sip.message import Message, Request, Response
    from opencscf.pcscf.state import PcscfState

HANG_UP_S = 3600.0  # how long the calls of an ended registration can still be hung up
MAX_TIMER_S = 3600.0
RETRY_AFTER_S = 60  # when all registrations are taken


@dataclass(frozen=True, slots=True)
class RegistrationTimer:
    """Ends a binding, unless a refresh has moved its expiry meanwhile (PR-06)."""

    token: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class HangUpTimer:
    """Ends the time in which calls that outlived their registration can be hung up."""

    dialog_token: str


def on_register(pcscf: PcscfState, register: Request, now: float) -> Procedure:
    """Send a REGISTER to its home network and keep what comes of it, one at a time per user."""
    impu = impu_of(register.to.parsed_uri)
    return Procedure(_key(_impi(register), impu), _register(pcscf, register, impu, now), register)


def on_timer(pcscf: PcscfState, timer: RegistrationTimer, now: float) -> Procedure | list[Action]:
    """Remove a binding whose time is over."""
    binding = pcscf.registrations.get(timer.token)
    if binding is None or binding.expires_at != timer.expires_at:
        return []
    if binding.expires_at > now:
        return [_timer(binding, now)]
    return Procedure(_key(binding.impi, binding.aor), _expire(pcscf, timer))


def set_timers(pcscf: PcscfState, now: float) -> list[Action]:
    """Go on with the registration timers of the process before."""
    return [_timer(binding, now) for binding in pcscf.registrations]


async def _register(pcscf: PcscfState, register: Request, impu: str, now: float) -> list[Action]:
    flow = register.flow
    assert flow is not None  # noqa: S101  the transport sets it on every message
    contact = _contact(register)
    known = _known(pcscf, impu, contact)
    if known is None and len(pcscf.registrations) >= pcscf.config.pcscf.max_registrations:
        reason = "too many registrations"
        retry_after = ("Retry-After", str(RETRY_AFTER_S))
        return [Respond(register, 503, reason, (retry_after,)), _refused(register, impu, 503, reason)]
    token = known.token if known is not None else pcscf.ids.token()
    forward = Forward((Branch(_towards_home(pcscf, register, token)),), on_response=_relay_provisional)
    try:
        response = await FinalResponse(forward)
    except PeerUnavailable as failure:
        return _home_unreachable(pcscf, register, impu, failure.reason)
    if response.status in {408, 503}:
        return _home_unreachable(pcscf, register, impu, f"{response.status} {response.reason}")
    if not 200 <= response.status < 300:
        report = [] if response.status in {401, 407} else [_refused(register, impu, response.status, response.reason)]
        return [Relay(for_ue(response)), *report]
    outcome = await _accepted(pcscf, register, response, token, impu, contact, flow, now)
    return [Relay(for_ue(response)), *outcome]


def _towards_home(pcscf: PcscfState, register: Request, token: str) -> Request:
    """Edit a REGISTER as the home network wants it (5.2.2.1, 5.2.2.2)."""
    request = register.copy()
    remove_untrusted(request)
    for name in ("Path", "Service-Route", "Route"):
        request.remove(name)
    mark_unprotected(request)
    remove_security_agreement(request)
    request.set("Path", f"<{pcscf.config.path_uri(token)}>")  # PR-01
    _add_option(request, "Require", "path")
    _add_option(request, "Supported", "path")
    request.set("P-Visited-Network-ID", visited_network_id(pcscf.config.pcscf.visited_network))  # PR-02
    request.set("P-Charging-Vector", str(ChargingVector.new(pcscf.ids.token(), pcscf.config.host)))
    request.set("Route", loose_route(pcscf.config.pcscf.icscf))
    return request


def _relay_provisional(response: Response, _now: float) -> list[Action]:
    return [Relay(for_ue(response))]


async def _accepted(
    pcscf: PcscfState,
    register: Request,
    response: Response,
    token: str,
    impu: str,
    contact: NameAddr | None,
    flow: Flow,
    now: float,
) -> list[Action]:
    """Keep what a 200 grants, and forget what it no longer lists (PR-04, PR-05, PR-06)."""
    granted = _granted(response)
    impi = _impi(register)
    actions: list[Action] = []
    for old in pcscf.registrations.of_aor(impu):
        if old.impi in {impi, None} and not any(old.has_contact(uri) for uri in granted):
            await Save(BINDING, old.token, None)
            actions += _forget(pcscf, old, "deregistered")
    expires_s = next((expires_s for uri, expires_s in granted.items() if contact and same_uri(uri, contact.uri)), 0)
    if contact is None or not expires_s:
        return actions
    binding = Binding(
        token=token,
        impi=impi,
        aor=impu,
        contact=contact.uri,
        flow=flow,
        service_route=tuple(route.uri for route in response.service_route),
        identities=tuple(identity.uri for identity in associated_uris(response)) or (register.to.uri,),
        expires_at=now + expires_s,
    )
    for old in pcscf.registrations.displaced_by(binding):
        await Save(BINDING, old.token, None)
        actions += _forget(pcscf, old, "address-taken")
    await Save(BINDING, token, binding.to_record())
    is_refresh = pcscf.registrations.get(token) is not None
    pcscf.registrations.put(binding)
    fields = _story(register, impu) | {"impi": impi, "contact": contact.uri, "expires_s": expires_s}
    event = "registration-refreshed" if is_refresh else "registered"
    return [*actions, _timer(binding, now), Report(event, fields)]


async def _expire(pcscf: PcscfState, timer: RegistrationTimer) -> list[Action]:
    binding = pcscf.registrations.get(timer.token)
    if binding is None or binding.expires_at != timer.expires_at:
        return []  # refreshed or gone while this waited for its turn
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


def _known(pcscf: PcscfState, impu: str, contact: NameAddr | None) -> Binding | None:
    """The binding that a REGISTER is about; with `Contact: *`, or without Contact, any of this user's."""
    if contact is not None:
        return pcscf.registrations.find(impu, contact.uri)
    return next(iter(pcscf.registrations.of_aor(impu)), None)


def _contact(register: Request) -> NameAddr | None:
    """The contact to be registered; softphones remove their old one in the same request."""
    contacts = register.contacts
    return next((contact for contact in contacts if contact.expires != 0), contacts[0] if contacts else None)


def _granted(response: Response) -> dict[str, int]:
    """The contacts that a 200 lists as registered and for how long (RFC 3261 10.3 step 8)."""
    granted = {}
    for contact in response.contacts:
        expires_s = contact.expires if contact.expires is not None else response.expires
        if expires_s:
            granted[contact.uri] = expires_s
    return granted


def _impi(register: Request) -> str | None:
    credentials = digest_credentials(register)
    return credentials.get("username") or None if credentials is not None else None


def _key(impi: str | None, impu: str) -> tuple[str, str]:
    return ("registration", impi or impu)


def _timer(binding: Binding, now: float) -> SetTimer:
    """Look again when the binding expires, or sooner: the timers of former refreshes shall not pile up for days."""
    delay_s = min(max(0.0, binding.expires_at - now), MAX_TIMER_S)
    return SetTimer(RegistrationTimer(binding.token, binding.expires_at), delay_s)


def _refused(register: Request, impu: str, status: int, reason: str) -> Report:
    fields = _story(register, impu) | {"status": status, "reason": reason}
    return Report("registration-refused", fields, "warning")


def _story(register: Request, impu: str) -> Fields:
    return {"call_id": register.call_id, "cseq": str(register.cseq), "impu": impu, "peer": peer_of(register)}


def _add_option(message: Message, name: str, option: str) -> None:
    if option not in {value.lower() for value in message.values(name)}:
        message.append(name, option)
