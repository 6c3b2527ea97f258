"""User registration at the S-CSCF (TS 24.229 5.4.1, TS 29.228 6.1.2, RFC 3261 10.3, RFC 3327, RFC 3608).

Not covered: third-party registration (5.4.1.7), GRUU, emergency registration, the reg event package.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING

from opencscf.common.actions import Action, Report, Respond, Save
from opencscf.common.errors import ParseError, PeerUnavailable
from opencscf.common.ims.refusal import hss_unavailable, refuse_register, story
from opencscf.common.sip.content import unsupported_content
from opencscf.common.sip.uri import SipUri
from opencscf.diameter.cx import ServerAssignmentRequest, ServerAssignmentType
from opencscf.diameter.results import Result
from opencscf.scscf import bindings, deregistration
from opencscf.scscf.authentication import FORBIDDEN, authenticate, tell_hss
from opencscf.scscf.profile import UserData
from opencscf.scscf.state import REGISTRATION_KIND, Registration, registration_key

if TYPE_CHECKING:
    from opencscf.common.ims.register import Register
    from opencscf.diameter.cx import ServerAssignmentAnswer
    from opencscf.scscf.bindings import ContactBinding
    from opencscf.scscf.config import ScscfConfig
    from opencscf.scscf.state import ScscfState

ORIGINATING_USER = "orig"  # in our Service-Route: what comes along it is from a user we serve (5.4.1.2.2F, 5.4.3.1)

# sec-agree is between UE and P-CSCF; one that forgot to take it out need not cost the user the registration.
_SUPPORTED = frozenset({"path", bindings.OUTBOUND, "sec-agree"})


async def on_register(register: Register, state: ScscfState, config: ScscfConfig, now: float) -> list[Action]:
    """Decide on a REGISTER in the order of RFC 3261 10.3, with authentication and profile of TS 24.229 5.4.1.2.2."""
    request = register.request
    if unsupported := [option for option in request.values("Require") if option.lower() not in _SUPPORTED]:
        return refuse_register(register, 420, "", headers=(("Unsupported", ", ".join(unsupported)),), step="Require")
    if acceptable := unsupported_content(request):  # 8.2.3
        return refuse_register(register, 415, "", headers=acceptable, step="body")
    answer = await authenticate(register, state, config, now)
    if answer is not None:
        return answer
    registration = state.registration(register.impi, register.impu)
    former = registration.bindings if registration else ()
    updated = bindings.update(former, register, config.registration, now)
    if isinstance(updated, bindings.Rejected):  # the challenge stays good for another attempt
        return refuse_register(register, updated.status, updated.reason, headers=updated.headers, step="contacts")
    state.end_authentication(register.impi, register.impu)
    if not request.contacts and not request.is_contact_star:
        return [Respond(request, 200, headers=_headers(register, registration, state, config, now))]
    if not updated:
        return await deregistration.on_user_deregistration(register, registration, state, config)
    if register.is_deregistration and registration is not None:
        return await _keep(register, registration._replace(bindings=updated), state, config, now, "deregistered")
    return await _assign(register, registration, updated, state, config, now)


async def _assign(
    register: Register,
    registration: Registration | None,
    contacts: tuple[ContactBinding, ...],
    state: ScscfState,
    config: ScscfConfig,
    now: float,
) -> list[Action]:
    """Tell the HSS that we serve the user, and take the profile from it (5.4.1.2.2)."""
    kind = ServerAssignmentType.RE_REGISTRATION if registration else ServerAssignmentType.REGISTRATION
    try:
        saa = await ServerAssignmentRequest(
            register.impi,
            register.impu,
            config.scscf.server_name,
            kind,
            data_already_available=registration is not None,
        )
    except PeerUnavailable as fault:
        return hss_unavailable(register, "SAR", fault)
    if not saa.result.is_success:
        return await _on_assignment_refused(register, registration, saa.result, state)
    try:
        data = _user_data(saa, registration)
    except ParseError as fault:
        return refuse_register(register, 500, fault.reason, level="warning", step="SAA")
    if not data.is_of(register.impi):  # an HSS that looks at one identity only would let anybody be anybody
        reason = "HSS gives the profile of another private identity"
        return refuse_register(register, 403, reason, level="warning", step="SAA")
    profile = data.profile
    if not profile.associated:
        await tell_hss(register.impi, register.impu, config, ServerAssignmentType.ADMINISTRATIVE_DEREGISTRATION)
        return refuse_register(register, 403, "all public identities of the user are barred", step="SAA")
    impu = profile.own_text(registration.impu if registration else register.impu)
    updated = Registration(
        key=registration.key if registration else registration_key(register.impi, impu),
        impi=register.impi,
        impu=impu,
        profile=profile,
        bindings=contacts,
        nonce=register.credential("nonce") or (registration.nonce if registration else ""),
        visited_network=sys.intern(register.visited_network),
        charging=saa.charging or (registration.charging if registration else None),
    )
    return await _keep(register, updated, state, config, now, "registered")


def _user_data(saa: ServerAssignmentAnswer, registration: Registration | None) -> UserData:
    if saa.user_data:
        return UserData.parse(saa.user_data)
    if registration is None:
        raise ParseError("HSS gives no user profile")
    return UserData(registration.profile)


async def _on_assignment_refused(
    register: Register, registration: Registration | None, result: Result, state: ScscfState
) -> list[Action]:
    """Refuse what the HSS does not let us serve.

    5002 and 5003 mean that it has lost what it knew of this registration. Only a new one brings the UAR and the SAR
    that restore it, and 504 is what makes a UE start a new one (5.1.1.4.1).
    """
    has_lost_user = result in {Result.IDENTITIES_DONT_MATCH, Result.IDENTITY_NOT_REGISTERED}
    if registration is not None and (has_lost_user or result in FORBIDDEN):
        await Save(REGISTRATION_KIND, registration.key, None)
        state.remove(registration)
    status = 403 if result in FORBIDDEN else 504 if has_lost_user else 480
    return refuse_register(register, status, f"HSS answers SAR with {result}", step="SAR")


async def _keep(
    register: Register, registration: Registration, state: ScscfState, config: ScscfConfig, now: float, event: str
) -> list[Action]:
    """Make the registration durable, then acknowledge it."""
    await Save(REGISTRATION_KIND, registration.key, registration.to_json())
    state.put(registration)
    return [
        Respond(register.request, 200, headers=_headers(register, registration, state, config, now)),
        *deregistration.expiry_timer(registration, state, now),
        Report(
            event,
            story(
                register.request,
                impi=register.impi,
                impu=register.impu,
                bindings=len(registration.bindings),
                expires_s=max([binding.expires_s(now) for binding in registration.bindings]),
            ),
        ),
    ]


def _headers(
    register: Register, registration: Registration | None, state: ScscfState, config: ScscfConfig, now: float
) -> tuple[tuple[str, str], ...]:
    """Write what the 200 tells the UE and the P-CSCF (5.4.1.2.2F)."""
    headers = [
        ("Contact", binding.with_expires(now))
        for shared in state.registrations(register.impu)
        for binding in shared.live(now)
    ]
    headers += [("Path", line) for line in register.request.get_all("Path")]
    if bindings.is_outbound(register):
        headers.append(("Require", bindings.OUTBOUND))
    if registration is not None:
        headers.append(("Service-Route", service_route(config.scscf.server_name)))
        associated = ", ".join([f"<{identity.uri}>" for identity in registration.profile.associated])
        headers.append(("P-Associated-URI", associated))
    return tuple(headers)


@lru_cache(16)
def service_route(server_name: str) -> str:
    """The route that marks later requests as coming from a user we serve (RFC 3608)."""
    return f"<sip:{ORIGINATING_USER}@{SipUri.parse(server_name).hostport};lr>"
