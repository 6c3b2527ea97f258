"""The end of a registration: by the user or by its timer (TS 24.229 5.4.1.4.1, 5.4.1.5; TS 29.228 6.1.2).

Not covered: by the HSS or the operator (RTR), NOTIFY to subscribers, release of dialogs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opencscf.common.actions import Action, Outcome, Procedure, Report, Respond, Save, SetTimer
from opencscf.common.ims.refusal import story
from opencscf.diameter.cx import ServerAssignmentType
from opencscf.scscf.authentication import tell_hss
from opencscf.scscf.state import REGISTRATION_KIND

if TYPE_CHECKING:
    from opencscf.common.ims.register import Register
    from opencscf.scscf.config import ScscfConfig
    from opencscf.scscf.state import Registration, ScscfState


async def on_user_deregistration(
    register: Register, registration: Registration | None, state: ScscfState, config: ScscfConfig
) -> list[Action]:
    """Forget the user, whose last contact has gone (5.4.1.4.1).

    The HSS is told also when we know nothing of the user: it may still have our name from before we were restarted.
    Not so when another user is registered with the identity, whom an HSS might take this for.
    """
    if registration is not None:
        await Save(REGISTRATION_KIND, registration.key, None)
        state.remove(registration)
    if registration is None and state.registrations(register.impu):
        hss = "not asked: another user is registered"
    else:
        hss = await tell_hss(register.impi, register.impu, config, ServerAssignmentType.USER_DEREGISTRATION)
    fields = story(register.request, impi=register.impi, impu=register.impu, bindings=0, hss=hss)
    headers = tuple([("Path", line) for line in register.request.get_all("Path")])
    return [Respond(register.request, 200, headers=headers), Report("deregistered", fields)]


def on_expiry_timer(key: str, state: ScscfState, config: ScscfConfig, now: float) -> Outcome:
    """See whether contacts of a registration have expired (5.4.1.5)."""
    if not state.timer_fired(key, now):
        return []
    registration = state.by_key(key)
    if registration is None:
        return []
    if len(registration.live(now)) < len(registration.bindings):
        return Procedure(registration.impi, _expire(key, state, config, now))
    return expiry_timer(registration, state, now)


async def _expire(key: str, state: ScscfState, config: ScscfConfig, now: float) -> list[Action]:
    registration = state.by_key(key)
    if registration is None:
        return []  # the user was faster
    contacts = registration.live(now)
    if contacts:
        if contacts != registration.bindings:
            registration = registration._replace(bindings=contacts)
            await Save(REGISTRATION_KIND, key, registration.to_json())
            state.put(registration)
        return expiry_timer(registration, state, now)
    await Save(REGISTRATION_KIND, key, None)
    state.remove(registration)
    impi, impu = registration.impi, registration.impu
    hss = await tell_hss(impi, impu, config, ServerAssignmentType.TIMEOUT_DEREGISTRATION)
    return [Report("deregistered", {"impi": impi, "impu": impu, "bindings": 0, "reason": "expired", "hss": hss})]


def expiry_timer(registration: Registration, state: ScscfState, now: float) -> list[Action]:
    """Set the timer for the contact that expires next, unless one is set that fires before."""
    delay_s = state.timer_needed(registration, now)
    return [] if delay_s is None else [SetTimer(registration.key, delay_s)]
