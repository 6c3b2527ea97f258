"""Requests other than REGISTER at the S-CSCF (TS 24.229 5.4.3, 5.4.4); whom a caller may reach: RFC 3841.

Not covered: initial filter criteria and application servers, number translation (ENUM), services for unregistered
users, GRUU, the reg event package, to which every phone subscribes after its registration: it hears that there is no
notifier.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from opencscf.common.actions import Action, Branch, Forward, RecordRoute, Report, Respond
from opencscf.common.ims.options import answer_for_node
from opencscf.common.ims.public_identity import forms_of, impu_of, impu_of_text
from opencscf.common.ims.refusal import refuse, story
from opencscf.common.sip.headers import NameAddr
from opencscf.common.sip.params import NO_PARAMS
from opencscf.common.sip.preferences import choose, directives
from opencscf.common.sip.proxy import OwnUris, strip_own_routes
from opencscf.common.sip.uri import SipUri
from opencscf.scscf.forking import InTurn, has_flow, in_turns, one_flow_each
from opencscf.scscf.registration import ORIGINATING_USER

if TYPE_CHECKING:
    from opencscf.common.sip.message import Request
    from opencscf.scscf.bindings import ContactBinding
    from opencscf.scscf.config import ScscfConfig
    from opencscf.scscf.state import Registration, ScscfState

_DIALOG_FORMING = frozenset({"INVITE", "SUBSCRIBE", "REFER"})  # 5.4.3.2, 5.4.3.3: these are record-routed
_ORIGINATING_SIDE = RecordRoute("mo", "mo")
_TERMINATING_SIDE = RecordRoute("mt", "mt")


def on_request(request: Request, state: ScscfState, own: OwnUris, config: ScscfConfig, now: float) -> list[Action]:
    """Tell the session case of an initial request (5.4.3.1); all others follow their Route (5.4.4.2)."""
    copy = request.copy()
    own_routes = strip_own_routes(copy, own)
    if request.method == "ACK" or request.to_tag is not None:
        return _on_subsequent_request(request, copy, own)
    if own_routes and _is_originating(own_routes[0]):
        return _on_originating_request(request, copy, state, config, now)
    if copy.routes:
        return [Forward((Branch(copy),))]
    if _is_this_node(copy, own):
        return answer_for_node(request)
    return _on_terminating_request(request, copy, state, config, now)


def _is_originating(route: SipUri) -> bool:
    """Whether the topmost Route is the Service-Route we gave, or that of an application server (5.4.3.1)."""
    return route.user == ORIGINATING_USER or route.params.has("orig")


def _is_this_node(request: Request, own: OwnUris) -> bool:
    target = request.request_uri
    return isinstance(target, SipUri) and target.user is None and own.is_ours(target)


def _on_subsequent_request(request: Request, copy: Request, own: OwnUris) -> list[Action]:
    if copy.has("Route") or (isinstance(target := copy.request_uri, SipUri) and not own.is_ours(target)):
        return [Forward((Branch(copy),))]
    return [] if request.method == "ACK" else [Respond(request, 481)]


# ---------------------------------------------------------------------- originating, 5.4.3.2


def _on_originating_request(
    request: Request, copy: Request, state: ScscfState, config: ScscfConfig, now: float
) -> list[Action]:
    """Serve the calling user: check who it is, and send the request to the target's home (5.4.3.2)."""
    asserted = request.values("P-Asserted-Identity")
    if not asserted:
        return refuse(request, 403, "no asserted identity", {"step": "originating"})
    impu = impu_of_text(NameAddr.parse(asserted[0]).uri)
    if not _may_originate(impu, state, now):
        return refuse(request, 403, "caller is not registered or barred", {"step": "originating", "impu": impu})
    if _subscribes_to_reg(request) and _served(copy, state, config)[1]:
        return _no_notifier(request, "originating", impu)
    target = copy.request_uri
    if not copy.routes and (not isinstance(target, SipUri) or _is_home(target, config)):
        copy.prepend("Route", _route_to(config.scscf.icscf))
    forward = Forward((Branch(copy),), _record_route(request, _ORIGINATING_SIDE))
    return [forward, *_session_report(config, "originating", request, impu=impu)]


@lru_cache(16)
def _route_to(icscf: str) -> str:
    return f"<{SipUri.parse(icscf).with_param('lr')}>"


def _may_originate(impu: str, state: ScscfState, now: float) -> bool:
    """Whether the identity is registered and not barred."""
    for registration in state.registrations(impu):
        identity = registration.profile.find(impu)
        if identity is not None and not identity.is_barred and registration.live(now):
            return True
    return False


def _is_home(target: SipUri, config: ScscfConfig) -> bool:
    return target.host.lower() == config.scscf.domain.lower()


# ---------------------------------------------------------------------- registration state, 5.4.2.1.1


def _subscribes_to_reg(request: Request) -> bool:
    """Whether it asks for the state of a registration, which is the S-CSCF's to tell and not the contacts'."""
    return request.method == "SUBSCRIBE" and (request.get("Event") or "").partition(";")[0].strip() == "reg"


def _no_notifier(request: Request, step: str, impu: str) -> list[Action]:
    return refuse(request, 489, "no reg event notifier yet", {"step": step, "impu": impu})


# ---------------------------------------------------------------------- terminating, 5.4.3.3


def _on_terminating_request(
    request: Request, copy: Request, state: ScscfState, config: ScscfConfig, now: float
) -> list[Action]:
    """Serve the called user: send the request to its contacts (5.4.3.3)."""
    impu, registrations = _served(copy, state, config)
    if not registrations:
        return refuse(request, 480, "callee is not registered", {"step": "terminating", "impu": impu})
    if _subscribes_to_reg(request):
        return _no_notifier(request, "terminating", impu)
    if all(_is_barred(registration, impu) for registration in registrations):
        return refuse(request, 404, "callee's identity is barred", {"step": "terminating", "impu": impu})
    contacts = [binding for registration in registrations for binding in registration.live(now)]
    if not contacts:
        return refuse(request, 480, "callee's registration has expired", {"step": "terminating", "impu": impu})
    contacts = choose(request, contacts, lambda binding: binding.address)  # RFC 3841 7.2
    if not contacts:
        return refuse(request, 480, "caller wants none of callee's contacts", {"step": "terminating", "impu": impu})
    forward = _fork(request, copy, contacts)
    return [forward, *_session_report(config, "terminating", request, impu=impu, contacts=len(contacts))]


def _fork(request: Request, copy: Request, contacts: list[ContactBinding]) -> Forward:
    """Send a request to contacts the way callee and caller want it (RFC 3841 9.1), and once to each UE (RFC 5626 7)."""
    record_route = _record_route(request, _TERMINATING_SIDE)
    if len(contacts) == 1 and not has_flow(contacts):
        return Forward((_branch(copy, contacts[0]),), record_route)
    wishes = directives(request)
    if "no-fork" in wishes:
        del contacts[1:]
    chosen, other_flows = one_flow_each(contacts)
    sets = [tuple([_branch(copy.copy(), binding) for binding in turn]) for turn in in_turns(chosen, wishes)]
    if len(sets) == 1 and not other_flows and not has_flow(chosen):
        return Forward(sets[0], record_route)
    others = tuple(_branch(copy.copy(), binding) for binding in other_flows)
    return Forward(sets[0], record_route, InTurn(request, record_route, sets[1:], others))


def _served(copy: Request, state: ScscfState, config: ScscfConfig) -> tuple[str, tuple[Registration, ...]]:
    """Find whom the Request-URI means, in whatever form the number is provisioned."""
    for impu in forms_of(copy.uri, config.scscf.domain):
        if registrations := state.registrations(impu):
            return impu, registrations
    return impu_of(copy.request_uri), ()


def _is_barred(registration: Registration, impu: str) -> bool:
    """Whether the identity may not be called; one that is not in the profile may neither."""
    identity = registration.profile.find(impu)
    return identity is None or identity.is_barred


def _branch(branch: Request, binding: ContactBinding) -> Branch:
    """Address a copy of the request to one contact, along the Path it registered by, and say whom the caller called."""
    called, address = branch.uri, binding.address
    contact = address.sip_uri
    branch.uri = address.uri
    if contact.headers or contact.params.has("method"):  # neither may stand there (RFC 3261 16.6 step 2, 19.1.1)
        branch.uri = str(contact.without_params("method")._replace(headers=NO_PARAMS))
    for hop in reversed(binding.path):
        branch.prepend("Route", hop)
    branch.set("P-Called-Party-ID", f"<{called}>")
    return Branch(branch)


def _record_route(request: Request, side: RecordRoute) -> RecordRoute | None:
    return side if request.method in _DIALOG_FORMING else None


def _session_report(config: ScscfConfig, case: str, request: Request, **fields: str | int) -> list[Action]:
    """Tell the operator of calls, but not of every MESSAGE and OPTIONS, and only if he reads such lines."""
    if request.method != "INVITE" or not config.log.tells_stories:
        return []
    return [Report(case, story(request, to=request.uri, **fields))]
