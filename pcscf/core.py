"""Which procedure an event starts at the P-CSCF (TS 24.229 5.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opencscf.common.events import Event, RequestReceived, TimerFired
from opencscf.pcscf import lifetime, qos, registration, session
from opencscf.pcscf.state import Binding, PcscfState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opencscf.common.actions import Outcome
    from opencscf.common.ids import Ids
    from opencscf.common.sip.message import Request
    from opencscf.common.sip.proxy import OwnUris
    from opencscf.pcscf.config import PcscfConfig


class PCscf:
    """The P-CSCF: events in, actions out."""

    def __init__(
        self,
        config: PcscfConfig,
        own: OwnUris,
        ids: Ids,
        restored: Iterable[tuple[str, dict[str, Any]]] = (),  # Any: JSON values
    ) -> None:
        """Take the settings, the addresses that are this node's, and the saved bindings as (token, record)."""
        self.state = PcscfState(config, own, ids)
        for token, record in restored:
            self.state.registrations.put(Binding.from_record(token, record))

    def on_event(self, event: Event) -> Outcome:
        """Decide what happens."""
        if isinstance(event, RequestReceived):
            request = event.request
            if request.method == "REGISTER":
                return registration.on_register(self.state, request, event.now)
            return session.on_request(self.state, request, event.now)
        if isinstance(event, TimerFired):
            return self._on_timer(event.key, event.now)
        return [*registration.set_timers(self.state, event.now), *lifetime.on_sweep_timer(self.state, event.now)]

    def is_from_ue(self, request: Request) -> bool:
        """Tell on which side a request came in: there the timers of TS 24.229 7.7 apply."""
        if request.method == "REGISTER":
            return True
        return request.flow is not None and self.state.registrations.is_ue_flow(request.flow)

    def _on_timer(self, key: object, now: float) -> Outcome:
        match key:
            case registration.RegistrationTimer():
                return registration.on_timer(self.state, key, now)
            case registration.HangUpTimer(dialog_token):
                self.state.registrations.drop_former(dialog_token)
                return []
            case lifetime.SweepTimer():
                return lifetime.on_sweep_timer(self.state, now)
            case qos.TerminationTimer():
                return qos.on_termination_timer(key)
            case _:
                return []
