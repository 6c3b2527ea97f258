"""The S-CSCF: which procedure an event starts (TS 24.229 5.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from opencscf.common.actions import Action, Outcome, Procedure, Report
from opencscf.common.errors import ParseError
from opencscf.common.events import RequestReceived, Started, TimerFired
from opencscf.common.ims.refusal import refuse_register
from opencscf.common.ims.register import Register
from opencscf.common.sip.merged import RecentRequests
from opencscf.scscf import authentication, deregistration, registration, session
from opencscf.scscf.state import Registration, ScscfState

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from opencscf.common.events import Event
    from opencscf.common.ids import Ids
    from opencscf.common.sip.message import Request
    from opencscf.common.sip.proxy import OwnUris
    from opencscf.scscf.config import ScscfConfig


class SCscf:
    """The registrar and the server of its registered users."""

    def __init__(
        self,
        config: ScscfConfig,
        own: OwnUris,
        ids: Ids,
        restored: Iterable[tuple[str, dict[str, Any]]] = (),  # JSON, as it was saved
    ) -> None:
        self._config = config
        self._own = own
        self._state = ScscfState()
        self._recent = RecentRequests()
        self._lost: list[Action] = []
        for key, value in restored:
            self._restore(key, value)

    def on_event(self, event: Event) -> Outcome:
        """Decide what happens."""
        if isinstance(event, RequestReceived):
            if event.request.method == "REGISTER":
                return self._on_register(event.request, event.now)
            return session.on_request(event.request, self._state, self._own, self._config, event.now)
        if isinstance(event, TimerFired):
            return self._on_timer(event.key, event.now)
        if isinstance(event, Started):
            return self._on_start(event.now)
        assert_never(event)

    def _on_register(self, request: Request, now: float) -> Outcome:
        register = Register.parse(request)
        if request.to_tag is None and self._recent.has_seen(request, now):  # RFC 3261 8.2.2.2
            return refuse_register(register, 482, "", step="merging")
        return Procedure(register.impi, registration.on_register(register, self._state, self._config, now), request)

    def _on_timer(self, key: Hashable, now: float) -> Outcome:
        if key == authentication.REG_AWAIT_AUTH:
            return authentication.on_await_auth_timer(self._state, self._config, now)
        return deregistration.on_expiry_timer(str(key), self._state, self._config, now)

    def _restore(self, key: str, value: dict[str, Any]) -> None:  # JSON
        try:
            self._state.put(Registration.from_json(value))
        except (ParseError, KeyError, TypeError, ValueError):
            self._lost.append(Report("unreadable", {"kind": "registration", "key": key}, "error"))

    def _on_start(self, now: float) -> list[Action]:
        """Let the restored registrations expire in their time; those that ended meanwhile end at once."""
        timers = [timer for found in self._state for timer in deregistration.expiry_timer(found, self._state, now)]
        return [*self._lost, *timers]
