"""Requests other than REGISTER at the I-CSCF (TS 24.229 5.3.2, TS 29.228 6.1.4).

Not covered: ENUM after an unknown tel URI (the HSS is asked for the number's other forms), originating requests of
application servers (5.3.2.1A), selection of another S-CSCF for a session.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from opencscf.common.actions import Action, Branch, Forward, Outcome, Procedure, Respond
from opencscf.common.errors import PeerUnavailable
from opencscf.common.ims.options import answer_for_node
from opencscf.common.ims.public_identity import forms_of
from opencscf.common.ims.refusal import refuse
from opencscf.common.sip.proxy import OwnUris, strip_own_routes
from opencscf.common.sip.uri import SipUri
from opencscf.diameter.cx import LocationInfoRequest
from opencscf.diameter.results import Result

if TYPE_CHECKING:
    from opencscf.common.sip.message import Request
    from opencscf.diameter.cx import LocationInfoAnswer
    from opencscf.icscf.selection import ScscfPool


def on_request(request: Request, own: OwnUris, pool: ScscfPool, domain: str) -> Outcome:
    """Find the S-CSCF of an initial request; what has a route or belongs to a dialog just goes its way."""
    copy = request.copy()
    strip_own_routes(copy, own)
    if copy.routes:
        return [Forward((Branch(copy),))]
    target = copy.request_uri
    if isinstance(target, SipUri) and target.user is None and (own.is_ours(target) or target.host.lower() == domain):
        return answer_for_node(request)
    if request.method == "ACK" or request.to_tag is not None:
        return _within_dialog(request, copy, own)
    return Procedure(None, _on_initial_request(request, copy, pool, domain), request)


async def _on_initial_request(request: Request, copy: Request, pool: ScscfPool, domain: str) -> list[Action]:
    """Ask the HSS for the S-CSCF of whom the Request-URI names, and send the request there (5.3.2.1)."""
    refusal: list[Action] = []
    for impu in forms_of(copy.uri, domain):
        try:
            lia = await LocationInfoRequest(impu)
        except PeerUnavailable as fault:
            about = {"step": "LIR", "peer": str(fault), "impu": impu}
            return refuse(request, 504, "HSS unavailable", about, level="warning")
        scscf = _serving_scscf(lia, pool)
        if scscf is not None:
            copy.prepend("Route", _route_to(scscf))
            return [Forward((Branch(copy),))]
        if not (refusal and lia.result == Result.USER_UNKNOWN):  # what the HSS knows of one form says more
            refusal = refuse(request, _status(lia), _reason(lia), {"step": "LIR", "impu": impu})
        if lia.result not in _MAY_HAVE_ANOTHER_FORM:
            break
    return refusal


@lru_cache(256)
def _route_to(scscf: SipUri) -> str:
    return f"<{scscf.with_param('lr')}>"


# 2004 without capabilities is what Open5GS says of identities it has never seen registered.
_MAY_HAVE_ANOTHER_FORM = frozenset({Result.USER_UNKNOWN, Result.SUCCESS_SERVER_NAME_NOT_STORED})


def _serving_scscf(lia: LocationInfoAnswer, pool: ScscfPool) -> SipUri | None:
    """The S-CSCF that the answer names, or one for services in the unregistered state (5.3.2.1)."""
    if not lia.result.is_success:
        return None
    if lia.server_name:
        return pool.named(lia.server_name)
    if lia.result == Result.SUCCESS_SERVER_NAME_NOT_STORED and lia.capabilities is None:
        return None
    return pool.select(lia.capabilities)


def _status(lia: LocationInfoAnswer) -> int:
    """What a caller hears when there is no S-CSCF (5.3.2.2)."""
    return 404 if lia.result == Result.USER_UNKNOWN else 480


def _reason(lia: LocationInfoAnswer) -> str:
    if lia.result == Result.SUCCESS_SERVER_NAME_NOT_STORED and lia.capabilities is None:
        return "not registered"
    if lia.result.is_success:
        return "no S-CSCF for this user"
    return f"HSS answers LIR with {lia.result}"


def _within_dialog(request: Request, copy: Request, own: OwnUris) -> list[Action]:
    """Forward by Request-URI, unless that is ourselves."""
    target = copy.request_uri
    if not isinstance(target, SipUri) or own.is_ours(target):
        return [] if request.method == "ACK" else [Respond(request, 481)]
    return [Forward((Branch(copy),))]
