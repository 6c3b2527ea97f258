"""Which contacts a request goes to at once, and which after them.

In the order of the callee's q (RFC 3261 16.6), as the caller wishes (RFC 3841 9.1), and over another flow of the same
UE if one is lost (RFC 5626 7).

Not covered: a limit on how long the contacts of one q ring before the others do, other than Timer C.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from opencscf.common.actions import Action, Branch, Forward, RecordRoute, Relay, Respond
from opencscf.common.sip.preferences import q_of
from opencscf.common.sip.proxy import rank

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opencscf.common.sip.message import Request, Response
    from opencscf.scscf.bindings import ContactBinding

_FLOW_LOST: Final = frozenset({408, 430})  # RFC 5626 7: the UE has not had its say


def has_flow(contacts: Iterable[ContactBinding]) -> bool:
    """Whether one of them is a flow of RFC 5626, whose loss its edge proxy tells with 430."""
    return any(_flow_of(contact) is not None for contact in contacts)


def one_flow_each(contacts: list[ContactBinding]) -> tuple[list[ContactBinding], list[ContactBinding]]:
    """Take of each UE only the flow that was refreshed last; the others come second (RFC 5626 7)."""
    latest: dict[str, ContactBinding] = {}
    for contact in contacts:
        instance = _flow_of(contact)
        if instance is not None and (instance not in latest or latest[instance].refreshed_at < contact.refreshed_at):
            latest[instance] = contact
    if not latest:
        return contacts, []
    others = [contact for contact in contacts if latest.get(_flow_of(contact) or "", contact) is not contact]
    return [contact for contact in contacts if contact not in others], others


def in_turns(contacts: list[ContactBinding], wishes: frozenset[str]) -> list[list[ContactBinding]]:
    """Group contacts, the best first, by who is called at once: those of one q, unless the caller wishes otherwise."""
    if "sequential" in wishes:
        return [[contact] for contact in contacts]
    if "parallel" in wishes:
        return [contacts]
    by_q: dict[float, list[ContactBinding]] = {}
    for contact in contacts:
        by_q.setdefault(q_of(contact.address), []).append(contact)
    return list(by_q.values())


def _flow_of(contact: ContactBinding) -> str | None:
    address = contact.address
    return address.get("+sip.instance") if address.get("reg-id") is not None else None


@dataclass(slots=True)
class InTurn:
    """Sends a request on to the next contacts when the ones before do not take it, and the best answer back."""

    request: Request
    record_route: RecordRoute | None
    waiting: list[tuple[Branch, ...]]
    other_flows: tuple[Branch, ...]
    best: Response | None = field(default=None, repr=False)

    def __call__(self, response: Response, now: float) -> list[Action]:
        """Take a response: 2xx and 6xx end the search."""
        status = response.status
        if status < 300 or status >= 600:
            return [Relay(response)]
        if self.best is None or _rank(response) < _rank(self.best):
            self.best = response
        if self.waiting:
            return [Forward(self.waiting.pop(0), self.record_route, self)]
        if self.other_flows and self.best.status in _FLOW_LOST:
            flows, self.other_flows = self.other_flows, ()
            return [Forward(flows, self.record_route, self)]
        return [self._last_word(self.best)]

    def _last_word(self, best: Response) -> Action:
        """Answer the caller, whom a lost flow and an overloaded node of the callee's side do not concern."""
        if best.status == 430:  # RFC 5626 11.5: between edge proxy and us
            return Respond(self.request, 480)
        if best.status == 503:  # RFC 3261 16.7 step 6
            wait = best.get("Retry-After")
            return Respond(self.request, 500, "Next hop unavailable", () if wait is None else (("Retry-After", wait),))
        return Relay(best)


def _rank(response: Response) -> tuple[bool, tuple[int, int]]:
    """Prefer what a UE has said itself, then what a proxy prefers (RFC 3261 16.7 step 6)."""
    return response.status in _FLOW_LOST, rank(response)
