"""The I-CSCF: which procedure an event starts (TS 24.229 5.3). It remembers nothing between transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opencscf.common.actions import Branch, Forward, Outcome, Procedure
from opencscf.common.events import RequestReceived
from opencscf.common.ims.register import Register
from opencscf.common.sip.proxy import OwnUris, strip_own_routes
from opencscf.common.sip.uri import SipUri
from opencscf.icscf import registration, session
from opencscf.icscf.selection import Candidate, ScscfPool

if TYPE_CHECKING:
    from opencscf.common.events import Event
    from opencscf.common.ids import Ids
    from opencscf.common.sip.message import Request
    from opencscf.icscf.config import IcscfConfig


class ICscf:
    """The entry point of the home network."""

    def __init__(self, config: IcscfConfig, own: OwnUris, ids: Ids) -> None:
        self._own = own
        self._domain = config.icscf.domain.lower()
        self._pool = ScscfPool(
            Candidate(SipUri.parse(scscf.name), frozenset(scscf.capabilities)) for scscf in config.icscf.scscf
        )

    def on_event(self, event: Event) -> Outcome:
        """Decide on a request; there are no timers."""
        if not isinstance(event, RequestReceived):
            return []
        if event.request.method == "REGISTER":
            return self._on_register(event.request)
        return session.on_request(event.request, self._own, self._pool, self._domain)

    def _on_register(self, request: Request) -> Outcome:
        if not all(self._own.is_ours(route.sip_uri) for route in request.routes):
            copy = request.copy()
            strip_own_routes(copy, self._own)
            return [Forward((Branch(copy),))]
        register = Register.parse(request)
        # One at a time would let a silent S-CSCF hold up the user's next attempt, and there is no state to protect.
        return Procedure(None, registration.on_register(register, self._pool, self._domain), request)
