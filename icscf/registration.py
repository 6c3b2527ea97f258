"""User registration at the I-CSCF (TS 24.229 5.3.1, TS 29.228 6.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opencscf.common.actions import Action, Branch, FinalResponse, Forward, Relay
from opencscf.common.errors import PeerUnavailable
from opencscf.common.ims.refusal import hss_unavailable, refuse_register
from opencscf.common.sip.message import Response
from opencscf.diameter.cx import UserAuthorizationRequest, UserAuthorizationType
from opencscf.diameter.results import Result

if TYPE_CHECKING:
    from opencscf.common.ims.register import Register
    from opencscf.common.sip.message import Request
    from opencscf.common.sip.uri import SipUri
    from opencscf.diameter.cx import UserAuthorizationAnswer
    from opencscf.icscf.selection import ScscfPool

# 5.3.1.3: the HSS has decided on this user. Any other failure is the HSS's own, and the UE shall try again.
_FORBIDDEN = frozenset({
    Result.USER_UNKNOWN,
    Result.IDENTITIES_DONT_MATCH,
    Result.IDENTITY_NOT_REGISTERED,
    Result.ROAMING_NOT_ALLOWED,
    Result.IDENTITY_ALREADY_REGISTERED,
    Result.AUTHORIZATION_REJECTED,
})  # fmt: skip


async def on_register(register: Register, pool: ScscfPool, domain: str) -> list[Action]:
    """Ask the HSS whether this user may register, and send the request, whose Route ends here, to its S-CSCF."""
    is_deregistration = register.is_deregistration
    kind = UserAuthorizationType.DE_REGISTRATION if is_deregistration else UserAuthorizationType.REGISTRATION
    uaa = await _ask(register, kind, domain)
    if isinstance(uaa, list):
        return uaa
    scscf = pool.named(uaa.server_name) if uaa.server_name else pool.select(uaa.capabilities)
    if scscf is None:
        return refuse_register(
            register, 600, "no S-CSCF has the capabilities the HSS asks for", step="selection", level="warning"
        )
    response = await _send_to(register.request, scscf)
    if isinstance(response, Response):
        return [Relay(response)]
    if is_deregistration:  # another S-CSCF has nothing to take away
        return _none_left(register, {scscf: response})
    return await _reselect(register, pool, domain, uaa, {scscf: response})


async def _reselect(
    register: Register,
    pool: ScscfPool,
    domain: str,
    uaa: UserAuthorizationAnswer,
    tried: dict[SipUri, str],
) -> list[Action]:
    """Find an S-CSCF in the place of one that does not answer or does not want the user (5.3.1.3)."""
    if uaa.server_name:
        answer = await _ask(register, UserAuthorizationType.REGISTRATION_AND_CAPABILITIES, domain)
        if isinstance(answer, list):
            return answer
        uaa = answer
    while (scscf := pool.select(uaa.capabilities, tuple(tried))) is not None:
        response = await _send_to(register.request, scscf)
        if isinstance(response, Response):
            return [Relay(response)]
        tried[scscf] = response
    return _none_left(register, tried)


def _none_left(register: Register, tried: dict[SipUri, str]) -> list[Action]:
    """Say what each S-CSCF said (5.3.1.3)."""
    peers = "; ".join(f"{scscf.hostport}: {why}" for scscf, why in tried.items())
    return refuse_register(register, 504, "no S-CSCF takes the REGISTER", step="forward", peer=peers, level="warning")


async def _ask(register: Register, kind: UserAuthorizationType, domain: str) -> UserAuthorizationAnswer | list[Action]:
    """Send the UAR; the answer if the user may register, else what to do about it."""
    visited_network = register.visited_network or domain
    try:
        uaa = await UserAuthorizationRequest(register.impi, register.impu, visited_network, kind)
    except PeerUnavailable as fault:
        return hss_unavailable(register, "UAR", fault)
    if uaa.result.is_success:
        return uaa
    status = 403 if uaa.result in _FORBIDDEN else 480
    return refuse_register(register, status, f"HSS answers UAR with {uaa.result}", step="UAR")


async def _send_to(request: Request, scscf: SipUri) -> Response | str:
    """Forward to an S-CSCF; why not, if it does not answer or does not want the user."""
    copy = request.copy()
    copy.remove("Route")  # all of it is ours
    copy.uri = str(scscf)
    try:
        response = await FinalResponse(Forward((Branch(copy),)))
    except PeerUnavailable as fault:
        return fault.reason
    is_refused = response.status in {408, 480} or 300 <= response.status < 400
    return f"{response.status} {response.reason}" if is_refused else response
