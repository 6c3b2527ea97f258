"""How long a call counts as going on when nobody says that it has ended (RFC 4028 8, at the P-CSCF).

A call whose session timer runs out is forgotten, and its media session ends; its UAs send the BYE, never a proxy (8.3).
One without session timer is forgotten when no INVITE and UPDATE came for as long as the operator wants it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opencscf.common.actions import Action, SetTimer
from opencscf.common.sip import session_timer
from opencscf.common.sip.session_timer import Asked
from opencscf.pcscf.deadlines import SWEEP_S
from opencscf.pcscf.qos import end_call

if TYPE_CHECKING:
    from opencscf.common.sip.message import Request, Response
    from opencscf.common.sip.proxy import Refusal
    from opencscf.pcscf.state import Call, Fields, PcscfState


@dataclass(frozen=True, slots=True)
class SweepTimer:
    """Ends the calls whose time is over; there is one for all of them."""


def ask(pcscf: PcscfState, edited: Request) -> Asked | Refusal | None:
    """Take part in what an INVITE or UPDATE on its way asks for."""
    settings = pcscf.config.pcscf
    return session_timer.ask(edited, interval_s=settings.session_expires_s, min_s=settings.min_session_expires_s)


def on_success(pcscf: PcscfState, call: Call, relayed: Response, asked: Asked | None, now: float) -> None:
    """Take note of how long a call lasts from the 2xx to an INVITE or UPDATE on, and finish this for its way back."""
    interval_s = session_timer.agreed(relayed, asked) or pcscf.config.pcscf.silent_call_s
    if interval_s:
        pcscf.deadlines.set(call, now + interval_s)
    else:
        pcscf.deadlines.forget(call)


def on_sweep_timer(pcscf: PcscfState, now: float) -> list[Action]:
    """End the calls that nobody has refreshed."""
    actions: list[Action] = [SetTimer(SweepTimer(), SWEEP_S)]
    for call in pcscf.deadlines.due(now):
        lasted_s = round(now - call.answered_at, 1) if call.answered_at is not None else None
        details: Fields = {"reason": "not refreshed", "lasted_s": lasted_s}
        actions += end_call(pcscf, call, "call-ended", details)
    return actions
